/*-------------------------------------------------------------------------
 *
 * json_sink.c
 *	  Sinks of fields: a JSON object, and fields that are packed as they are
 *	  (record_fields.h).
 *
 *-------------------------------------------------------------------------
 */
#include "postgres.h"

#include "transform/json_sink.h"

#include "record_fields.h"

static void write_field(RcFieldSink *base, const char *name, RcFieldKind kind,
						const char *bytes, size_t len);
static void pack_field(RcFieldSink *base, const char *name, RcFieldKind kind,
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

	RcField		field = {.name = name,.kind = kind,.bytes = bytes,.len = len};

	rc_field_json(out, &field);
}

/* Begin to pack fields, which replace what is in "out". */
void
rc_pack_sink_begin(RcJsonSink *sink, StringInfo out)
{
	sink->sink.field = pack_field;
	sink->out = out;
	resetStringInfo(out);
}

/* RcFieldSink.field: names are known by the order of the fields. */
static void
pack_field(RcFieldSink *base, const char *name, RcFieldKind kind,
		   const char *bytes, size_t len)
{
	rc_field_pack(((RcJsonSink *) base)->out, kind, bytes, len);
}
