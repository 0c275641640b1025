/*-------------------------------------------------------------------------
 *
 * debezium_bytes.c
 *	  Bytes that are base64 or hexadecimal digits: for bytea, for bits, and of
 *	  types that the connector does not know.
 *
 * Both alphabets of base64 are taken, with padding and without, but nothing
 * that an encoder does not write: white space, or bits behind the last byte.
 *
 *-------------------------------------------------------------------------
 */
#include "debezium/debezium_internal.h"

#include <ctype.h>

#include "mb/pg_wchar.h"

/* The longest bit string that PostgreSQL has. */
#define MOST_BITS	(10 * 1024 * 1024 * 8)

static int	base64_value(unsigned char c);
static const char *append_hex_text(const RcDebeziumJson *value,
								   StringInfo out);
static const char *append_verified(const uint8 *bytes, int nbytes,
								   StringInfo out);
static const char *append_bits(int length, const uint8 *bytes, int nbytes,
							   StringInfo out);

const char *
rc_debezium_append_bytes(const RcDebeziumType *type, const RcDebeziumJson *value,
						 StringInfo out)
{
	uint8	   *bytes;
	int			nbytes;
	const char *wrong = NULL;

	if (type->kind == RC_DEBEZIUM_BITS &&
		(value->kind == JSON_TOKEN_TRUE || value->kind == JSON_TOKEN_FALSE))
	{
		uint8		bit = value->kind == JSON_TOKEN_TRUE;

		return append_bits(type->length > 0 ? type->length : 1, &bit, 1, out);
	}
	if (value->kind != JSON_TOKEN_STRING)
		return RC_NO_STRING;
	if (type->kind == RC_DEBEZIUM_HEX)
		return append_hex_text(value, out);

	bytes = rc_debezium_base64(value->text, value->len, &nbytes);
	if (bytes == NULL)
		return RC_NO_BASE64;
	if (type->kind == RC_DEBEZIUM_BITS)
		wrong = append_bits(type->length, bytes, nbytes, out);
	else if (type->kind == RC_DEBEZIUM_BYTES_TEXT)
		wrong = append_verified(bytes, nbytes, out);
	else
	{
		appendStringInfoString(out, "\\x");
		rc_debezium_hex(bytes, nbytes, out);
	}
	pfree(bytes);
	return wrong;
}

/* Decode; NULL if it is not base64. */
uint8 *
rc_debezium_base64(const char *text, int len, int *nbytes)
{
	uint8	   *bytes;
	uint32		bits = 0;
	int			nbits = 0;

	if (len % 4 == 0 && len > 0 && text[len - 1] == '=')
		len -= text[len - 2] == '=' ? 2 : 1;
	if (len % 4 == 1)
		return NULL;
	bytes = palloc(len / 4 * 3 + 3);
	*nbytes = 0;
	for (int i = 0; i < len; i++)
	{
		int			value = base64_value(text[i]);

		if (value < 0)
			break;
		bits = (bits << 6 | value) & 0xFFFF;
		nbits += 6;
		if (nbits >= 8)
		{
			nbits -= 8;
			bytes[(*nbytes)++] = bits >> nbits;
		}
	}
	if (*nbytes == (int64) len * 6 / 8 && (bits & ((1 << nbits) - 1)) == 0)
		return bytes;
	pfree(bytes);
	return NULL;
}

static int
base64_value(unsigned char c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	if (c == '+' || c == '-')
		return 62;
	if (c == '/' || c == '_')
		return 63;
	return -1;
}

/* Append hexadecimal digits. */
void
rc_debezium_hex(const uint8 *bytes, int nbytes, StringInfo out)
{
	static const char digits[] = "0123456789abcdef";
	char	   *to;

	enlargeStringInfo(out, nbytes * 2);
	to = out->data + out->len;
	for (int i = 0; i < nbytes; i++)
	{
		*to++ = digits[bytes[i] >> 4];
		*to++ = digits[bytes[i] & 0xF];
	}
	*to = '\0';
	out->len += nbytes * 2;
}

static const char *
append_hex_text(const RcDebeziumJson *value, StringInfo out)
{
	if (value->len % 2 != 0)
		return "has half a byte of hexadecimal digits";
	for (int i = 0; i < value->len; i++)
	{
		if (!isxdigit((unsigned char) value->text[i]))
			return "has something else than hexadecimal digits";
	}
	appendStringInfoString(out, "\\x");
	appendBinaryStringInfo(out, value->text, value->len);
	return NULL;
}

/* A text that comes as bytes has not been verified with the message. */
static const char *
append_verified(const uint8 *bytes, int nbytes, StringInfo out)
{
	bool		utf8 = GetDatabaseEncoding() == PG_UTF8;

	for (int i = 0; i < nbytes;)
	{
		int			len = 1;

		if (bytes[i] == '\0')
			return "has a null byte";
		if (bytes[i] >= 0x80 && utf8)
			len = pg_utf_mblen(bytes + i);
		if (bytes[i] >= 0x80 &&
			(!utf8 || len > nbytes - i || !pg_utf8_islegal(bytes + i, len)))
			return "has bytes that are no text in the database's encoding";
		i += len;
	}
	appendBinaryStringInfo(out, (const char *) bytes, nbytes);
	return NULL;
}

/* The first bit of the first byte is the last one of PostgreSQL's text. */
static const char *
append_bits(int length, const uint8 *bytes, int nbytes, StringInfo out)
{
	int64		have = (int64) nbytes * 8;
	int64		want = length > 0 ? length : have;

	if (want > MOST_BITS)
		return "has more bits than a bit string of PostgreSQL";
	for (int64 i = want; i < have; i++)
	{
		if (bytes[i / 8] >> (i % 8) & 1)
			return "has more bits than its length";
	}
	enlargeStringInfo(out, want);
	for (int64 i = want - 1; i >= 0; i--)
	{
		bool		bit = i < have && (bytes[i / 8] >> (i % 8) & 1);

		appendStringInfoCharMacro(out, bit ? '1' : '0');
	}
	return NULL;
}
