/*-------------------------------------------------------------------------
 *
 * debezium_json.c
 *	  Parts of JSON values, for the conversions beside it.
 *
 * rc_debezium_read() checks a whole value; what walks through an object or
 * an array relies on that.
 *
 *-------------------------------------------------------------------------
 */
#include "debezium/debezium_internal.h"

/*
 * Read a value, and scan behind it.  False if it is no valid JSON, or has an
 * escape that the server's encoding may lack (see rc_scan_escapes()).
 */
bool
rc_debezium_read(RcScan *scan, RcDebeziumJson *value)
{
	char		c = rc_scan_space(scan);

	if (c == '{' || c == '[')
	{
		value->kind = c == '{' ? JSON_TOKEN_OBJECT_START :
			JSON_TOKEN_ARRAY_START;
		value->text = scan->at;
		if (!rc_scan_skip(scan, 0))
			return false;
		value->len = scan->at - value->text;
		return true;
	}
	if (!rc_scan_scalar(scan, c, &value->number))
		return false;
	value->kind = value->number.kind;
	value->text = value->number.text;
	value->len = value->number.len;
	if (value->number.escaped)
		value->text = rc_scan_unescape(&value->number, &value->len);
	return true;
}

/* Begin to walk through an object or array; false if it is empty. */
bool
rc_debezium_first(const RcDebeziumJson *container, RcScan *scan)
{
	scan->at = container->text + 1;
	scan->end = container->text + container->len - 1;
	scan->utf8 = true;
	(void) rc_scan_space(scan);
	return scan->at < scan->end;
}

/* Find the next value behind one; false at the end. */
bool
rc_debezium_next(RcScan *scan)
{
	if (rc_scan_space(scan) != ',')
		return false;
	scan->at++;
	return true;
}

/* Read the name of a member, up to its value. */
void
rc_debezium_name(RcScan *scan, RcDebeziumJson *name)
{
	(void) rc_debezium_read(scan, name);
	(void) rc_scan_space(scan);
	scan->at++;
}

/*
 * Find a member of an object by its name: the last one, as for jsonb.  False
 * if there is none, or if it is null.
 */
bool
rc_debezium_member(const RcDebeziumJson *object, const char *name,
				   RcDebeziumJson *member)
{
	RcScan		scan;
	RcDebeziumJson found;
	bool		is_there = false;

	if (object->kind != JSON_TOKEN_OBJECT_START ||
		!rc_debezium_first(object, &scan))
		return false;
	do
	{
		bool		wanted;

		rc_debezium_name(&scan, &found);
		wanted = rc_debezium_equals(&found, name);
		(void) rc_debezium_read(&scan, &found);
		if (wanted)
		{
			*member = found;
			is_there = found.kind != JSON_TOKEN_NULL;
		}
	} while (rc_debezium_next(&scan));
	return is_there;
}

/* The value of a number without a fraction, of 64 bits. */
bool
rc_debezium_integer(const RcDebeziumJson *value, int64 *integer)
{
	const RcScanned *number = &value->number;
	const uint64 lowest = (uint64) PG_INT64_MAX + 1;

	if (value->kind != JSON_TOKEN_NUMBER || number->exponent ||
		number->scale != 0 || number->ndigits > 19 ||
		number->digits > lowest ||
		(number->digits == lowest && !number->negative))
		return false;
	*integer = number->digits == lowest ? PG_INT64_MIN :
		number->negative ? -(int64) number->digits : (int64) number->digits;
	return true;
}
