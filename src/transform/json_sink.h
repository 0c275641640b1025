/*-------------------------------------------------------------------------
 *
 * json_sink.h
 *	  A sink that writes the fields of a record as a JSON object.
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

#endif							/* RC_JSON_SINK_H */
