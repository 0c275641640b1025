/*-------------------------------------------------------------------------
 *
 * json_sink.h
 *	  Sinks that write the fields of a record as a JSON object, or pack them.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_JSON_SINK_H
#define RC_JSON_SINK_H

#include "transform/transform.h"

typedef struct RcJsonSink
{
	RcFieldSink sink;
	StringInfo	out;
} RcJsonSink;

extern void rc_json_sink_begin(RcJsonSink *sink, StringInfo out);
extern void rc_json_sink_end(RcJsonSink *sink);
extern void rc_pack_sink_begin(RcJsonSink *sink, StringInfo out);

#endif							/* RC_JSON_SINK_H */
