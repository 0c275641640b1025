/*-------------------------------------------------------------------------
 *
 * debezium_unavailable.c
 *	  Knows the placeholders of values that the source has not sent: large ones
 *	  that an update has not touched.
 *
 * The connector for PostgreSQL writes its unavailable.value.placeholder, which
 * must have its default here, in a form that the column's type can hold.
 *
 *-------------------------------------------------------------------------
 */
#include "debezium/debezium_row.h"

#define MARKER		"__debezium_unavailable_value"
#define MARKER_LEN	28
#define BASE64		"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ=="
#define HEX			"5f5f646562657a69756d5f756e617661696c61626c655f76616c7565"

/* What is in the quotes of a string. */
static const char *const texts[] = {
	MARKER,
	BASE64,						/* of both alphabets */
	"X19kZWJleml1bV91bmF2YWlsYWJsZV92YWx1ZQ",
	HEX,

	/* an element of an array: a UUID of version 3 */
	"b68a35a7-17ad-35b3-af2a-ae46edb4545a",

	/* of hstore */
	"{\\\"" MARKER "\\\":\\\"" MARKER "\\\"}"
};

/* The bytes, in wkb, of a geometry and a geography that are placeholders. */
static const char *const geometries[] = {
	"AQEAACDmEAAAAAAA/IPXl8EAAAD8g9eXwQ==", "AQEAACDmEAAADCHn/f9/ZkAYQs77/39WQA=="
};

static bool is_text(const char *json, int len);
static bool is_array(const char *json, int len);
static bool is_byte(const RcScanned *element, char byte);
static bool is_object(const char *json, int len);

/* Whether a JSON value, which has been scanned, is a placeholder. */
bool
rc_debezium_unavailable(const char *json, int len)
{
	if (len < MARKER_LEN + 2)
		return false;
	switch (*json)
	{
		case '"':
			return is_text(json, len);
		case '[':
			return is_array(json, len);
		case '{':
			return is_object(json, len);
		default:
			return false;
	}
}

static bool
is_text(const char *json, int len)
{
	for (int i = 0; i < lengthof(texts); i++)
	{
		if (len == (int) strlen(texts[i]) + 2 &&
			memcmp(json + 1, texts[i], len - 2) == 0)
			return true;
	}
	return false;
}

/* One element for the whole array, or an element for each byte. */
static bool
is_array(const char *json, int len)
{
	RcScan		scan;
	RcScanned	element;
	RcStep		step;
	int			n = 0;

	rc_debezium_scan_begin(&scan, json, len);
	step = rc_debezium_scan_element(&scan, true);
	for (; step == RC_STEP_NEXT; step = rc_debezium_scan_element(&scan, false))
	{
		const char *at = scan.at;

		if (!rc_scan_scalar(&scan, *at, &element))
			return false;
		if (n == 0 && element.kind == JSON_TOKEN_STRING &&
			is_text(at, scan.at - at))
			return rc_scan_space(&scan) == ']';
		if (n == MARKER_LEN || !is_byte(&element, MARKER[n]))
			return false;
		n++;
	}
	return step == RC_STEP_END && n == MARKER_LEN;
}

/* Whether an element is a byte of the marker: 95, 95.0, or a decimal of it. */
static bool
is_byte(const RcScanned *element, char byte)
{
	static const char base64[] =
		"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	if (element->kind == JSON_TOKEN_NUMBER)
	{
		uint64		expected = byte;

		for (int i = 0; i < element->scale && i < 4; i++)
			expected *= 10;
		return !element->negative && !element->exponent &&
			element->digits == expected;
	}
	return element->kind == JSON_TOKEN_STRING && element->len == 4 &&
		element->text[0] == base64[byte >> 2] &&
		element->text[1] == base64[(byte & 3) << 4] &&
		memcmp(element->text + 2, "==", 2) == 0;
}

/* {"marker":"marker"} for hstore, or a geometry. */
static bool
is_object(const char *json, int len)
{
	RcScan		scan;
	RcScanned	key;
	RcScanned	value;
	RcStep		step;

	rc_debezium_scan_begin(&scan, json, len);
	step = rc_debezium_scan_member(&scan, true, &key);
	for (; step == RC_STEP_NEXT; step = rc_debezium_scan_member(&scan, false, &key))
	{
		RcDebeziumPart part;

		if (*scan.at != '"')
		{
			if (!rc_debezium_scan_skip(&scan, &part))
				return false;
			continue;
		}
		if (!rc_scan_string(&scan, &value))
			return false;
		if (rc_debezium_scan_is(&key, MARKER))
			return rc_debezium_scan_is(&value, MARKER);
		for (int i = 0; i < lengthof(geometries); i++)
		{
			if (rc_debezium_scan_is(&key, "wkb") &&
				rc_debezium_scan_is(&value, geometries[i]))
				return true;
		}
	}
	return false;
}
