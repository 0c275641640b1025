/*-------------------------------------------------------------------------
 *
 * worker_functions.c
 *	  The SQL-callable functions: arguments in, rows out.  What they do is in
 *	  src/worker and src/store.
 *
 * A C symbol that a released install script names is never removed.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include <signal.h>

#include "fmgr.h"
#include "catalog/pg_type.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "funcapi.h"
#include "miscadmin.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/rel.h"
#include "utils/timestamp.h"

#include "latch_wait.h"
#include "source/address.h"
#include "source/query_check.h"
#include "session/run_wait.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(rc_start);
PG_FUNCTION_INFO_V1(rc_stop);
PG_FUNCTION_INFO_V1(rc_worker_pid);
PG_FUNCTION_INFO_V1(rc_library_version);
PG_FUNCTION_INFO_V1(rc_is_preloaded);
PG_FUNCTION_INFO_V1(rc_definition_changed);
PG_FUNCTION_INFO_V1(rc_topic_grant_changed);
PG_FUNCTION_INFO_V1(rc_source_address);
PG_FUNCTION_INFO_V1(rc_publish);
PG_FUNCTION_INFO_V1(rc_republish);
PG_FUNCTION_INFO_V1(rc_retry);
PG_FUNCTION_INFO_V1(rc_drain);

/* How long rc_start and rc_stop wait for workers, in steps of 20 ms. */
#define WORKER_WAIT_STEPS	500

/* How often they are looked for, in ms. */
#define STOP_INTERVAL		20

static void cancel_stream(const char *name, int workers);
static Datum values_row(FunctionCallInfo fcinfo, const int64 *values, int n);

/* rc_start(): true if the scheduler was started, false if it ran. */
Datum
rc_start(PG_FUNCTION_ARGS)
{
	RcWorkerArgs args = {0};
	BackgroundWorkerHandle *handle;
	pid_t		pid;

	PreventCommandDuringRecovery("rc_start()");
	if (rc_lock_holder(MyDatabaseId, RC_WORKER_SCHEDULER, "", 0) != 0)
		PG_RETURN_BOOL(false);

	args.database = MyDatabaseId;
	args.by_hand = true;
	if (!rc_worker_launch(RC_WORKER_SCHEDULER, &args, &handle))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the scheduler"),
				 errhint("You may need to increase max_worker_processes.")));
	if (WaitForBackgroundWorkerStartup(handle, &pid) != BGWH_STARTED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_RESOURCES),
				 errmsg("could not start the scheduler"),
				 errhint("More details may be available in the server log.")));

	/* Until it holds its lock nobody else knows of it. */
	for (int i = 0; i < WORKER_WAIT_STEPS; i++)
	{
		if (rc_lock_holder(MyDatabaseId, RC_WORKER_SCHEDULER, "", 0) != 0 ||
			GetBackgroundWorkerPid(handle, &pid) != BGWH_STARTED)
			break;
		rc_wait_latch(STOP_INTERVAL, RC_WAIT_END);
	}
	PG_RETURN_BOOL(true);
}

/* rc_stop(): ends all workers of this database; returns how many there were. */
Datum
rc_stop(PG_FUNCTION_ARGS)
{
	List	   *pids = rc_lock_holders(MyDatabaseId);
	int			ended = list_length(pids);
	ListCell   *lc;

	if (!RecoveryInProgress())
		rc_execute("INSERT INTO rappel_conso.stopped (stopped_at)"
				   " VALUES (pg_catalog.clock_timestamp())"
				   " ON CONFLICT (one) DO UPDATE SET stopped_at = EXCLUDED.stopped_at",
				   NULL);
	for (int i = 0; i < WORKER_WAIT_STEPS && pids != NIL; i++)
	{
		if (i % 50 == 0)
		{
			foreach(lc, pids)
				kill(lfirst_int(lc), SIGTERM);
		}
		rc_wait_latch(STOP_INTERVAL, RC_WAIT_END);
		pids = rc_lock_holders(MyDatabaseId);
	}
	if (pids != NIL)
		ereport(WARNING,
				(errmsg("%d workers have not ended yet", list_length(pids))));
	PG_RETURN_INT32(ended);
}

/* rappel_conso.worker_pid(kind, name, number): null if it does not run. */
Datum
rc_worker_pid(PG_FUNCTION_ARGS)
{
	char	   *kind = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(1));
	RcWorkerKind worker;
	int			pid;

	if (!rc_worker_kind_find(kind, &worker))
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("kind of worker \"%s\" does not exist", kind),
				 errhint("The kinds are %s.", rc_worker_kind_names())));

	pid = rc_lock_holder(MyDatabaseId, worker, name, PG_GETARG_INT32(2));
	if (pid == 0)
		PG_RETURN_NULL();
	PG_RETURN_INT32(pid);
}

/* rappel_conso.library_version() */
Datum
rc_library_version(PG_FUNCTION_ARGS)
{
	PG_RETURN_TEXT_P(cstring_to_text(RC_VERSION));
}

/* rappel_conso.is_preloaded() */
Datum
rc_is_preloaded(PG_FUNCTION_ARGS)
{
	PG_RETURN_BOOL(rc_launcher_serves_us());
}

/*
 * When this is committed, whoever runs a statement of the stream is cancelled:
 * its workers, or who works in their place, a retry, and runs that feed it in
 * direct mode.
 */
static void
cancel_stream(const char *name, int workers)
{
	RcQueryScope scope;
	RcParams	params = {0};
	uint64		n;

	for (int i = 0; i < workers; i++)
		rc_cancel_at_commit(RC_WORKER_STREAM, name, i);
	rc_cancel_at_commit(RC_WORKER_RETRY, name, 0);
	rc_param_text(&params, name);
	rc_query_begin(&scope);
	n = rc_query("SELECT name FROM rappel_conso.source WHERE stream = $1",
				 &params);
	for (uint64 i = 0; i < n; i++)
		rc_cancel_at_commit(RC_WORKER_RUN, rc_column_text(i, 1), 0);
	rc_query_end(&scope);
}

/*
 * Trigger function: AFTER INSERT OR UPDATE OR DELETE on the definitions.
 * Wakes whom it concerns when the change is committed.
 */
Datum
rc_definition_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	char	   *name;
	char	   *workers;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "definition_changed() is a trigger function");
	rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
	if (creating_extension)
		rc_launcher_start_at_commit();

	desc = RelationGetDescr(data->tg_relation);
	if (SPI_fnumber(desc, "workers") != SPI_ERROR_NOATTRIBUTE)
	{
		name = SPI_getvalue(data->tg_trigtuple, desc, SPI_fnumber(desc, "name"));
		workers = SPI_getvalue(data->tg_trigtuple, desc,
							   SPI_fnumber(desc, "workers"));
		cancel_stream(name, atoi(workers));
	}
	return PointerGetDatum(NULL);
}

/*
 * Trigger function: AFTER any change of rappel_conso.topic_grant, for each
 * statement.  Workers look at their grants when they are woken; a stream that
 * has failed for want of one is tried again at once.
 */
Datum
rc_topic_grant_changed(PG_FUNCTION_ARGS)
{
	RcQueryScope scope;
	uint64		n;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "topic_grant_changed() is a trigger function");
	rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
	rc_query_begin(&scope);
	rc_query("UPDATE rappel_conso.stream_state SET retry_at = NULL"
			 " WHERE state = 'failed' AND sqlstate = '42501'"
			 " AND retry_at IS NOT NULL", NULL);
	n = rc_query("SELECT name, workers FROM rappel_conso.stream"
				 " WHERE NOT paused", NULL);
	for (uint64 i = 0; i < n; i++)
	{
		char	   *name = rc_column_text(i, 1);

		for (int k = 0; k < rc_column_int8(i, 2, 0); k++)
			rc_wake_at_commit(RC_WORKER_STREAM, name, k);
	}
	rc_query_end(&scope);
	return PointerGetDatum(NULL);
}

/*
 * Trigger function: BEFORE INSERT OR UPDATE OF what a source asks for, and
 * where, ON rappel_conso.source.  The columns' own NOT NULL says what it has
 * to.
 */
Datum
rc_source_address(PG_FUNCTION_ARGS)
{
	static const char *const columns[] = {"filter", "key_field", "cursor_field"};
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	row;
	char	   *name;
	char	   *url;
	char	   *dataset;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "source_address() is a trigger function");
	desc = RelationGetDescr(data->tg_relation);
	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple :
		data->tg_trigtuple;
	name = SPI_getvalue(row, desc, SPI_fnumber(desc, "name"));
	url = SPI_getvalue(row, desc, SPI_fnumber(desc, "url"));
	dataset = SPI_getvalue(row, desc, SPI_fnumber(desc, "dataset"));
	if (name == NULL || url == NULL || dataset == NULL)
		return PointerGetDatum(row);	/* the table's own check says it */
	rc_address_check(name, url, dataset);
	for (int i = 0; i < lengthof(columns); i++)
	{
		char	   *value = SPI_getvalue(row, desc, SPI_fnumber(desc, columns[i]));
		char	   *utf8 = rc_to_utf8(value, psprintf("%s of source \"%s\"",
													  columns[i], name));

		if (i == 0)
			rc_filter_check(name, utf8);
		else
			rc_field_check(name, columns[i], value);
	}
	return PointerGetDatum(row);
}

/*
 * rc_publish(topic, value, key, headers): a message into the outbox, in the
 * caller's transaction; returns its uuid.  Value and key are bytes here: the
 * SQL functions over text and jsonb convert.
 */
Datum
rc_publish(PG_FUNCTION_ARGS)
{
	RcQueryScope scope;
	RcParams	params = {0};
	char	   *topic;
	char	   *id;
	Datum		uuid;

	rc_call_check_null(fcinfo, 0, "topic");
	topic = text_to_cstring(PG_GETARG_TEXT_PP(0));
	rc_check_topic(topic, "rc_publish()");
	if (!rc_topic_allowed(GetUserId(), topic, true))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role \"%s\" may not write topic \"%s\"",
						GetUserNameFromId(GetUserId(), false), topic),
				 errhint("A superuser can allow it with a row of rappel_conso.topic_grant.")));

	rc_message_check(fcinfo->args[2], fcinfo->args[1], fcinfo->args[3]);
	rc_param_text(&params, topic);
	for (int i = 1; i <= 2; i++)
	{
		bytea	   *bytes = PG_ARGISNULL(i) ? NULL : PG_GETARG_BYTEA_PP(i);

		rc_param_bytea(&params, bytes ? VARDATA_ANY(bytes) : NULL,
					   bytes ? (int) VARSIZE_ANY_EXHDR(bytes) : -1);
	}
	rc_param_jsonb(&params, PG_ARGISNULL(3) ? (Datum) 0 : PG_GETARG_DATUM(3),
				   PG_ARGISNULL(3));
	rc_param_text(&params, GetUserNameFromId(GetUserId(), false));
	rc_query_begin(&scope);
	rc_query("INSERT INTO rappel_conso.outbox (topic, value, key, headers, owner)"
			 " VALUES ($1, $2, $3, $4, $5) RETURNING message_id", &params);
	id = rc_column_text(0, 1);
	rc_query_end(&scope);
	uuid = DirectFunctionCall1(uuid_in, CStringGetDatum(id));

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
	return values_row(fcinfo, values, 2);
}

/* rc_retry(stream, id): (retried, resolved, still_dead). */
Datum
rc_retry(PG_FUNCTION_ARGS)
{
	char	   *name;
	RcStream   *stream;
	RcCall		call = {0};

	rc_call_check_null(fcinfo, 0, "stream");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	stream = rc_call_stream(name, "rc_retry()");
	rc_sync_check_stream(name);

	call.kind = RC_WORKER_RETRY;
	call.args.role = stream->owner;
	if (!PG_ARGISNULL(1))
	{
		call.args.id = PG_GETARG_INT64(1);
		if (call.args.id <= 0)
			rc_dead_letter_missing(name, call.args.id);
	}
	strlcpy(call.args.name, name, sizeof(call.args.name));
	call.what = psprintf("retry of stream \"%s\"", name);
	rc_call_worker(&call);
	if (call.busy)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("dead letters of stream \"%s\" are being retried by another process",
						name)));
	return values_row(fcinfo, call.values, 3);
}

/* rc_drain(stream, timeout): the counts. */
Datum
rc_drain(PG_FUNCTION_ARGS)
{
	char	   *name;
	RcStream   *stream;
	RcCall		call = {0};

	rc_call_check_null(fcinfo, 0, "stream");
	name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	stream = rc_call_stream(name, "rc_drain()");
	rc_sync_check_stream(name);

	call.kind = RC_WORKER_DRAIN;
	call.args.role = stream->owner;
	strlcpy(call.args.name, name, sizeof(call.args.name));
	call.what = psprintf("drain of stream \"%s\"", name);
	call.stream = name;
	if (!PG_ARGISNULL(1))
		call.deadline = rc_call_deadline(PG_GETARG_DATUM(1), "rc_drain()");
	rc_call_worker(&call);
	return values_row(fcinfo, call.values, 5);
}

/* A row of n bigints. */
static Datum
values_row(FunctionCallInfo fcinfo, const int64 *values, int n)
{
	TupleDesc	desc;
	Datum		datums[RC_CALL_VALUES];
	bool		nulls[RC_CALL_VALUES] = {0};

	if (get_call_result_type(fcinfo, NULL, &desc) != TYPEFUNC_COMPOSITE)
		elog(ERROR, "return type must be a row type");
	for (int i = 0; i < n; i++)
		datums[i] = Int64GetDatum(values[i]);
	return HeapTupleGetDatum(heap_form_tuple(BlessTupleDesc(desc), datums,
											 nulls));
}
