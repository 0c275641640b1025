/*-------------------------------------------------------------------------
 *
 * debezium_decimal.c
 *	  Decimals: bytes of a big integer with a scale, or a text.
 *
 * Digits are exact: nothing here may go through a floating point number.
 *
 *-------------------------------------------------------------------------
 */
#include "debezium/debezium_internal.h"

/* What numeric takes, behind the point and in front of it. */
#define MOST_SCALE		16383
#define MOST_DIGITS		131072

/* Bytes of which no number has more digits than numeric takes in all. */
#define MOST_BYTES		61231

/* Big integers are kept in pieces of 9 digits, the lowest first. */
#define PIECE			UINT64CONST(1000000000)
#define PIECE_DIGITS	9

static const char *append_struct(const RcDebeziumJson *value, StringInfo out);
static const char *append_either(const RcDebeziumType *type,
								 const RcDebeziumJson *value, StringInfo out);
static const char *append_base64(const RcDebeziumJson *value, int64 scale,
								 StringInfo out);
static const char *append_number(const RcDebeziumJson *value, StringInfo out);
static bool is_number(const char *at, int len);
static bool is_big_integer(const RcDebeziumJson *value);
static bool negate(uint8 *bytes, int nbytes);
static char *decimal_digits(const uint8 *bytes, int nbytes, int *ndigits);
static void append_zeros(StringInfo out, int n);

const char *
rc_debezium_append_decimal(const RcDebeziumType *type, const RcDebeziumJson *value,
						   StringInfo out)
{
	switch (type->kind)
	{
		case RC_DEBEZIUM_DECIMAL:
			return append_base64(value, type->scale, out);
		case RC_DEBEZIUM_DECIMAL_STRUCT:
			return append_struct(value, out);
		case RC_DEBEZIUM_DECIMAL_AUTO:
			return append_either(type, value, out);
		default:
			return append_number(value, out);
	}
}

/* {"scale": 2, "value": base64}: numeric without a scale of its own. */
static const char *
append_struct(const RcDebeziumJson *value, StringInfo out)
{
	RcDebeziumJson member;
	int64		scale;

	if (value->kind != JSON_TOKEN_OBJECT_START)
		return RC_NO_OBJECT;
	if (!rc_debezium_member(value, "scale", &member) ||
		!rc_debezium_integer(&member, &scale))
		return "has no scale";
	if (!rc_debezium_member(value, "value", &member))
		return "has no value";
	return append_base64(&member, scale, out);
}

/* Without a schema: what it can only be. */
static const char *
append_either(const RcDebeziumType *type, const RcDebeziumJson *value,
			  StringInfo out)
{
	bool		number;
	bool		base64;

	if (value->kind == JSON_TOKEN_OBJECT_START)
		return append_struct(value, out);
	if (value->kind != JSON_TOKEN_STRING)
		return append_number(value, out);
	number = is_number(value->text, value->len);
	base64 = type->scale >= 0 && is_big_integer(value);
	if (number && base64)
		return "could be a number, and the base64 of another";
	if (base64)
		return append_base64(value, type->scale, out);
	if (!number)
		return "is neither a number nor the base64 of one";
	return append_number(value, out);
}

/*
 * A number, or the text of one.  SpecialValueDecimal has names of its own for
 * what is no number; NAN needs no help.
 */
static const char *
append_number(const RcDebeziumJson *value, StringInfo out)
{
	if (value->kind != JSON_TOKEN_STRING && value->kind != JSON_TOKEN_NUMBER)
		return "is no number";
	if (!is_number(value->text, value->len))
		return "is no number";
	if (rc_debezium_equals(value, "POSITIVE_INFINITY"))
		appendStringInfoString(out, "Infinity");
	else if (rc_debezium_equals(value, "NEGATIVE_INFINITY"))
		appendStringInfoString(out, "-Infinity");
	else
		appendBinaryStringInfo(out, value->text, value->len);
	return NULL;
}

static bool
is_number(const char *at, int len)
{
	static const char *const words[] = {
		"nan", "infinity", "+infinity", "-infinity", "positive_infinity",
		"negative_infinity"
	};
	const char *end = at + len;
	int			digits = 0;

	for (int i = 0; i < lengthof(words); i++)
	{
		if (len == strlen(words[i]) && pg_strncasecmp(at, words[i], len) == 0)
			return true;
	}
	if (at < end && (*at == '-' || *at == '+'))
		at++;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
		digits++;
	if (at < end && *at == '.')
		at++;
	for (; at < end && *at >= '0' && *at <= '9'; at++)
		digits++;
	if (digits == 0 || at == end)
		return digits > 0;
	if (*at != 'e' && *at != 'E')
		return false;
	if (++at < end && (*at == '-' || *at == '+'))
		at++;
	if (at == end)
		return false;
	while (at < end && *at >= '0' && *at <= '9')
		at++;
	return at == end;
}

/* Whether it is base64 as Java writes big integers: with no byte too many. */
static bool
is_big_integer(const RcDebeziumJson *value)
{
	int			nbytes;
	uint8	   *bytes;
	bool		result;

	if (value->len % 4 != 0)
		return false;
	bytes = rc_debezium_base64(value->text, value->len, &nbytes);
	if (bytes == NULL)
		return false;
	result = nbytes == 1 ||
		(nbytes > 1 && !(bytes[0] == 0 && bytes[1] < 0x80) &&
		 !(bytes[0] == 0xFF && bytes[1] >= 0x80));
	pfree(bytes);
	return result;
}

static const char *
append_base64(const RcDebeziumJson *value, int64 scale, StringInfo out)
{
	uint8	   *bytes;
	int			nbytes;
	char	   *digits;
	int			ndigits;

	if (value->kind != JSON_TOKEN_STRING)
		return RC_NO_STRING;
	if (scale > MOST_SCALE || scale < -MOST_DIGITS)
		return "has a scale that numeric does not take";
	bytes = rc_debezium_base64(value->text, value->len, &nbytes);
	if (bytes == NULL)
		return RC_NO_BASE64;
	if (nbytes == 0)
		return "is empty";
	if (nbytes > MOST_BYTES)
		return "has more digits than numeric takes";

	if (negate(bytes, nbytes))
		appendStringInfoChar(out, '-');
	digits = decimal_digits(bytes, nbytes, &ndigits);
	if (scale <= 0)
	{
		appendBinaryStringInfo(out, digits, ndigits);
		append_zeros(out, digits[0] == '0' ? 0 : -scale);
	}
	else if (ndigits > scale)
	{
		appendBinaryStringInfo(out, digits, ndigits - scale);
		appendStringInfoChar(out, '.');
		appendBinaryStringInfo(out, digits + ndigits - scale, scale);
	}
	else
	{
		appendStringInfoString(out, "0.");
		append_zeros(out, scale - ndigits);
		appendBinaryStringInfo(out, digits, ndigits);
	}
	pfree(digits);
	pfree(bytes);
	return NULL;
}

/* Make the number of these bytes its absolute value; true if it was negative. */
static bool
negate(uint8 *bytes, int nbytes)
{
	int			carry = 1;

	if (bytes[0] < 0x80)
		return false;
	for (int i = nbytes - 1; i >= 0; i--)
	{
		carry += (uint8) ~bytes[i];
		bytes[i] = (uint8) carry;
		carry >>= 8;
	}
	return true;
}

/*
 * The decimal digits of a number, at least one; palloc'd.  Four bytes are
 * taken at a time, so all fits into 64 bits.
 */
static char *
decimal_digits(const uint8 *bytes, int nbytes, int *ndigits)
{
	uint64	   *pieces = palloc((nbytes / 3 + 2) * sizeof(uint64));
	int			npieces = 0;
	char	   *digits;
	char	   *at;

	for (int i = 0; i < nbytes;)
	{
		uint64		carry = 0;
		int			shift = 0;

		do
		{
			carry = carry << 8 | bytes[i++];
			shift += 8;
		} while ((nbytes - i) % 4 != 0);
		for (int n = 0; n < npieces; n++)
		{
			carry += pieces[n] << shift;
			pieces[n] = carry % PIECE;
			carry /= PIECE;
		}
		for (; carry != 0; carry /= PIECE)
			pieces[npieces++] = carry % PIECE;
	}

	/* all pieces in full, then without the zeros in front */
	digits = palloc(npieces * PIECE_DIGITS + 1);
	at = digits + npieces * PIECE_DIGITS;
	for (int n = 0; n < npieces; n++)
	{
		for (int i = 0; i < PIECE_DIGITS; i++, pieces[n] /= 10)
			*--at = '0' + pieces[n] % 10;
	}
	*ndigits = npieces * PIECE_DIGITS;
	if (npieces == 0)
		digits[(*ndigits)++] = '0';
	while (*ndigits > 1 && *at == '0')
	{
		at++;
		(*ndigits)--;
	}
	memmove(digits, at, *ndigits);
	pfree(pieces);
	return digits;
}

static void
append_zeros(StringInfo out, int n)
{
	enlargeStringInfo(out, n);
	memset(out->data + out->len, '0', n);
	out->len += n;
	out->data[out->len] = '\0';
}
