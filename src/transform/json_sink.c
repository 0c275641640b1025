/*-------------------------------------------------------------------------
 *
 * json_sink.c
 *	  Writes the fields of a record as a JSON object.
 *
 * Numbers and other JSON values must be copied digit by digit, not parsed.
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "transform/json_sink.h"

static void write_field(RcFieldSink *base, const char *name, RcFieldKind kind,
						const char *bytes, size_t len);

/* Begin an object, which replaces what is in "out". */
void
rc_json_sink_begin(RcJsonSink *sink, StringInfo out)
{
	sink->sink.field = write_field;
	sink->out = out;
	resetStringInfo(out);
	appendStringInfoChar(out, '{');
}

/* End the object. */
void
rc_json_sink_end(RcJsonSink *sink)
{
	appendStringInfoChar(sink->out, '}');
}

/* RcFieldSink.field */
static void
write_field(RcFieldSink *base, const char *name, RcFieldKind kind,
			const char *bytes, size_t len)
{
	StringInfo	out = ((RcJsonSink *) base)->out;

	Assert(kind == RC_FIELD_MISSING || bytes != NULL);
	Assert(strpbrk(name, "\"\\") == NULL);
	appendStringInfoString(out, out->len > 1 ? ",\"" : "\"");
	appendStringInfoString(out, name);
	appendStringInfoString(out, "\":");
	switch (kind)
	{
		case RC_FIELD_MISSING:
			appendBinaryStringInfo(out, "null", 4);
			break;
		case RC_FIELD_TEXT:
		case RC_FIELD_TIME:
			rc_json_write_string(out, bytes, len);
			break;
		case RC_FIELD_NUMBER:
		case RC_FIELD_JSON:
			appendBinaryStringInfo(out, bytes, len);
			break;
	}
}
