/*-------------------------------------------------------------------------
 *
 * outbox_functions.c
 *	  rc_publish() and rc_republish(): messages into the outbox, in the
 *	  caller's transaction.
 *
 * They must not use the network: src/worker/outbox_worker.c sends what has
 * been committed.
 *
 * A C symbol that a released install script names must never be removed.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/builtins.h"

#include "session/caller_checks.h"
#include "session/worker_request.h"
#include "store/kept_grant.h"
#include "store/message.h"
#include "store/outbox_table.h"
#include "store/republish.h"
#include "store/stream_check.h"

PG_FUNCTION_INFO_V1(rc_publish);
PG_FUNCTION_INFO_V1(rc_republish);

/*
 * rc_publish(topic, value, key, headers): insert a message into the outbox;
 * returns its uuid.  Value and key are bytea here; the SQL functions for text
 * and jsonb convert.
 */
Datum
rc_publish(PG_FUNCTION_ARGS)
{
	char	   *topic;
	Datum		uuid;

	rc_caller_check_null(fcinfo, 0, "topic");
	topic = text_to_cstring(PG_GETARG_TEXT_PP(0));
	rc_check_topic(topic, "rc_publish()");
	if (!rc_topic_writable(GetUserId(), topic))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for topic \"%s\"", topic),
				 errdetail("Role \"%s\" has no grant to write to it.",
						   GetUserNameFromId(GetUserId(), false)),
				 errhint("Ask a superuser to insert a row for it into rappel_conso.topic_grant.")));

	rc_message_check(fcinfo->args[2], fcinfo->args[1], fcinfo->args[3]);
	uuid = rc_outbox_add(topic, fcinfo->args[2], fcinfo->args[1],
						 fcinfo->args[3]);
	rc_wake_at_commit(RC_WORKER_OUTBOX, "", 0);
	return uuid;
}

/* rc_republish(topic, id): (republished, still_dead). */
Datum
rc_republish(PG_FUNCTION_ARGS)
{
	char	   *topic = PG_ARGISNULL(0) ? NULL :
		text_to_cstring(PG_GETARG_TEXT_PP(0));
	int64		id = 0;
	int64		values[2];

	PreventCommandDuringRecovery("rc_republish()");
	PreventCommandIfReadOnly("rc_republish()");
	if (!PG_ARGISNULL(1))
	{
		id = PG_GETARG_INT64(1);
		if (id <= 0)
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("dead letter %lld of the outbox does not exist",
							(long long) id)));
	}
	rc_republish_letters(topic, id, &values[0], &values[1]);
	if (values[0] > 0)
		rc_wake_at_commit(RC_WORKER_OUTBOX, "", 0);
	return rc_worker_reply_row(fcinfo, values, 2);
}
