/*-------------------------------------------------------------------------
 *
 * debezium_event.h
 *	  Change events of Debezium, as messages have them: their envelope.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DEBEZIUM_EVENT_H
#define RC_DEBEZIUM_EVENT_H

#include "debezium/debezium_scan.h"

typedef enum RcDebeziumResult
{
	RC_DEBEZIUM_CHANGE,			/* op and the parts are set */
	RC_DEBEZIUM_TOMBSTONE,		/* the payload is null */
	RC_DEBEZIUM_SKIPPED,		/* a heartbeat, a border of a transaction, a
								 * change of the source's tables */
	RC_DEBEZIUM_WRONG,			/* see "wrong" */
	RC_DEBEZIUM_BROKEN			/* no JSON, or nested more deeply than is
								 * scanned */
} RcDebeziumResult;

typedef struct RcDebeziumEvent
{
	char		op;				/* c u d r t m */
	bool		flat;			/* a row with fields that begin with "__" */
	bool		mysql;			/* or its kin: times are in microseconds */
	RcDebeziumPart schema;
	RcDebeziumPart before;
	RcDebeziumPart after;
	RcDebeziumPart source;		/* flat: all of the row */
	RcDebeziumPart message;		/* of op m */
	bool		has_ts;
	int64		ts_us;			/* since 1970: of the change */
	bool		has_lsn;
	uint64		lsn;
	bool		has_xid;
	int64		xid;
	const char *wrong;			/* a sentence, or NULL */
} RcDebeziumEvent;

/*
 * What a reader asks at a schema: whether it is known by its bytes, and then
 * where it ends.  It may be asked for nothing else.
 */
typedef const char *(*RcKnownSchema) (void *arg, const char *at,
									  const char *end);

extern RcDebeziumResult rc_debezium_event_read(const char *json, int len, char flat_op,
											   RcKnownSchema known, void *arg,
											   RcDebeziumEvent *event);
extern RcDebeziumResult rc_debezium_key_read(const char *json, int len,
											 RcKnownSchema known, void *arg,
											 RcDebeziumPart *schema,
											 RcDebeziumPart *payload);
extern char rc_debezium_op(const char *text, int len);

#endif							/* RC_DEBEZIUM_EVENT_H */
