/*-------------------------------------------------------------------------
 *
 * dead_letter.c
 *	  Records that failed alone, kept with their bytes, place and error.
 *
 * It must be called in the transaction that moves the offset past the
 * record: else the record would be lost, or dead twice.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "utils/elog.h"
#include "utils/timestamp.h"

/*
 * Put a record into rappel_conso.dead_letter.  "origin" is source, stream or
 * outbox, "name" its name; run 0: of no run.  A record's topic may be NULL.
 */
void
rc_dead_letter_add(const char *origin, const char *name, int64 run,
				   const RcRecord *record, const ErrorData *error)
{
	RcParams	params = {0};

	rc_param_text(&params, origin);
	rc_param_text(&params, name);
	rc_param_int8(&params, run > 0 ? run : -1);
	rc_param_text(&params, record->topic);
	rc_param_int4(&params, record->partition);
	rc_param_int8(&params, record->offset);
	rc_param_int8(&params, record->timestamp_ms);
	rc_param_bytea(&params, record->key, record->key_len);
	rc_param_bytea(&params, record->value, record->value_len);
	rc_param_jsonb(&params, rc_headers_jsonb(record), false);
	rc_param_text(&params, unpack_sql_state(error->sqlerrcode));
	rc_param_text(&params, error->message);
	rc_param_text(&params, error->detail);
	rc_param_text(&params, error->context);
	rc_execute("INSERT INTO rappel_conso.dead_letter (origin, name, run,"
			   " topic, partition, record_offset, record_timestamp, key,"
			   " value, headers, sqlstate, message, detail, context)"
			   " VALUES ($1, $2, $3, $4, CASE WHEN $4 IS NOT NULL THEN $5 END,"
			   " $6, pg_catalog.to_timestamp($7 / 1000.0), $8, $9, $10, $11,"
			   " $12, $13, $14)", &params);
}
