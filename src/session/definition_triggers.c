/*-------------------------------------------------------------------------
 *
 * definition_triggers.c
 *	  Triggers of streams, sources and grants that check columns of the new
 *	  row alone, or that wake or cancel the workers that a change affects.
 *
 * Triggers that compare a row with other rows are in src/store
 * (stream_check.c, source_stream.c, owner_check.c).
 *
 * A C symbol that a released install script names must never be removed:
 * databases with that version of the extension still reference it.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "fmgr.h"
#include "commands/extension.h"
#include "commands/trigger.h"
#include "executor/spi.h"
#include "miscadmin.h"
#include "utils/inval.h"
#include "utils/rel.h"

#include "source/address.h"
#include "source/query_check.h"
#include "store/source_table.h"
#include "store/stream_state.h"
#include "store/stream_table.h"
#include "store/trigger_call.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(rc_definition_changed);
PG_FUNCTION_INFO_V1(rc_topic_grant_changed);
PG_FUNCTION_INFO_V1(rc_source_address);

static void cancel_users(const char *name, int workers);

/*
 * Trigger function: AFTER INSERT OR UPDATE OR DELETE on stream and source.
 * At commit it wakes the scheduler and cancels what runs by the old
 * definition of a stream.
 */
Datum
rc_definition_changed(PG_FUNCTION_ARGS)
{
	TriggerData *data = rc_trigger_call(fcinfo, true, RC_ON_ANY, 0,
										" stream source ");
	TupleDesc	desc;
	char	   *name;
	char	   *workers;

	rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
	if (creating_extension)
		rc_launcher_start_at_commit();

	desc = RelationGetDescr(data->tg_relation);
	if (SPI_fnumber(desc, "workers") != SPI_ERROR_NOATTRIBUTE)
	{
		name = SPI_getvalue(data->tg_trigtuple, desc, SPI_fnumber(desc, "name"));
		workers = SPI_getvalue(data->tg_trigtuple, desc,
							   SPI_fnumber(desc, "workers"));
		cancel_users(name, atoi(workers));
	}
	return PointerGetDatum(NULL);
}

/*
 * At commit, cancel all processes that run the stream's statement: its
 * workers (or a run or drain in their place), a retry, and runs that feed it
 * in direct mode.
 */
static void
cancel_users(const char *name, int workers)
{
	ListCell   *lc;

	rc_cancel_stream(name, workers);
	rc_cancel_at_commit(RC_WORKER_RETRY, name, 0);
	foreach(lc, rc_sources_of_stream(name))
		rc_cancel_at_commit(RC_WORKER_RUN, (char *) lfirst(lc), 0);
}

/*
 * Trigger function: AFTER any change of rappel_conso.topic_grant, for each
 * statement.  Workers read their grants when they are woken; a stream that
 * has failed because of a missing grant is retried at once.
 */
Datum
rc_topic_grant_changed(PG_FUNCTION_ARGS)
{
	ListCell   *lc;
	TriggerData *data = rc_trigger_call(fcinfo, false, RC_ON_ANY, 0,
										" topic_grant ");

	/* once more: a trigger of another may have published before the change */
	CacheInvalidateRelcacheByRelid(RelationGetRelid(data->tg_relation));
	rc_wake_at_commit(RC_WORKER_SCHEDULER, "", 0);
	rc_stream_retry_denied();
	foreach(lc, rc_streams_unpaused())
	{
		RcStreamWorkers *stream = (RcStreamWorkers *) lfirst(lc);

		rc_wake_stream(stream->name, stream->workers);
	}
	return PointerGetDatum(NULL);
}

/*
 * Trigger function: BEFORE INSERT OR UPDATE on the columns of
 * rappel_conso.source that make a request's URL.  A NULL is left to the
 * columns' NOT NULL.
 */
Datum
rc_source_address(PG_FUNCTION_ARGS)
{
	static const char *const columns[] = {"filter", "key_field", "cursor_field"};
	TriggerData *data = rc_trigger_call(fcinfo, true,
										RC_ON_INSERT | RC_ON_UPDATE, 0,
										" source ");
	TupleDesc	desc;
	HeapTuple	row;
	char	   *name;
	char	   *url;
	char	   *dataset;

	desc = RelationGetDescr(data->tg_relation);
	row = rc_trigger_row(data);
	name = SPI_getvalue(row, desc, SPI_fnumber(desc, "name"));
	url = SPI_getvalue(row, desc, SPI_fnumber(desc, "url"));
	dataset = SPI_getvalue(row, desc, SPI_fnumber(desc, "dataset"));
	if (name == NULL || url == NULL || dataset == NULL)
		return PointerGetDatum(row);	/* violates NOT NULL */
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
