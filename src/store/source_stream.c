/*-------------------------------------------------------------------------
 *
 * source_stream.c
 *	  Triggers that check which stream a source may name, and what happens to
 *	  sources when their stream is deleted.
 *
 * A foreign key compares names only, and checks with the rights of the table's
 * owner: a role that may store a source could find out the names of others'
 * streams, and prevent their deletion.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/rel.h"

#include "store/owner_check.h"
#include "store/query.h"
#include "store/source_table.h"
#include "store/stream_table.h"
#include "store/trigger_call.h"

PG_FUNCTION_INFO_V1(rc_source_stream);
PG_FUNCTION_INFO_V1(rc_stream_deleted);

static bool may_act(Oid owner);
static void raise_missing(const char *stream);
static List *sources_of_others(const char *stream);

/*
 * Trigger function: AFTER INSERT OR UPDATE OF stream ON rappel_conso.source.
 * A stream that the caller may not act for is treated as missing.  A restore
 * by a superuser is not checked further, since it fills the tables in any
 * order.
 */
Datum
rc_source_stream(PG_FUNCTION_ARGS)
{
	TriggerData *data = rc_trigger_call(fcinfo, true,
										RC_ON_INSERT | RC_ON_UPDATE, 0,
										" source ");
	TupleDesc	desc;
	int			column;
	char	   *old = NULL;
	char	   *name;
	RcStream   *stream;

	desc = RelationGetDescr(data->tg_relation);
	column = SPI_fnumber(desc, "stream");
	name = SPI_getvalue(data->tg_trigtuple, desc, column);
	if (TRIGGER_FIRED_BY_UPDATE(data->tg_event))
	{
		old = name;
		name = SPI_getvalue(data->tg_newtuple, desc, column);
	}
	if (name == NULL || (old != NULL && strcmp(old, name) == 0))
		return PointerGetDatum(NULL);

	/* check the right before locking the row of the stream */
	stream = rc_stream_load(name);
	if (stream != NULL && !may_act(stream->owner))
		raise_missing(name);
	if (rc_is_restore(data->tg_relation) && superuser())
		return PointerGetDatum(NULL);
	if (stream == NULL)
		raise_missing(name);
	if (!rc_stream_keep(name))
		raise_missing(name);
	return PointerGetDatum(NULL);
}

/*
 * Trigger function: BEFORE DELETE ON rappel_conso.stream.  Sources of roles
 * that the caller may not act for, and cannot see, do not prevent the
 * deletion: their column "stream" is set to null.  Other sources do prevent
 * it, by the foreign key.
 */
Datum
rc_stream_deleted(PG_FUNCTION_ARGS)
{
	TriggerData *data = rc_trigger_call(fcinfo, true, RC_ON_DELETE, 0,
										" stream ");
	TupleDesc	desc;
	char	   *name;
	ListCell   *lc;

	desc = RelationGetDescr(data->tg_relation);
	name = SPI_getvalue(data->tg_trigtuple, desc, SPI_fnumber(desc, "name"));
	foreach(lc, sources_of_others(name))
	{
		RcParams	params = {0};

		rc_param_text(&params, (const char *) lfirst(lc));
		rc_param_text(&params, name);
		rc_execute("UPDATE rappel_conso.source SET stream = NULL"
				   " WHERE name = $1 AND stream = $2", &params);
	}
	return PointerGetDatum(data->tg_trigtuple);
}

static bool
may_act(Oid owner)
{
	return superuser() ||
		(OidIsValid(owner) && rc_may_act_for(GetUserId(), owner));
}

/* Raise the same error as the foreign key would. */
static void
raise_missing(const char *stream)
{
	ereport(ERROR,
			(errcode(ERRCODE_FOREIGN_KEY_VIOLATION),
			 errmsg("insert or update on table \"source\" violates foreign key constraint \"source_stream_fkey\""),
			 errdetail("Key (stream)=(%s) is not present in table \"stream\".",
					   stream),
			 err_generic_string(PG_DIAG_SCHEMA_NAME, "rappel_conso"),
			 err_generic_string(PG_DIAG_TABLE_NAME, "source"),
			 err_generic_string(PG_DIAG_CONSTRAINT_NAME, "source_stream_fkey")));
}

/* Names of the sources of a stream that the caller may not act for. */
static List *
sources_of_others(const char *stream)
{
	List	   *others = NIL;
	ListCell   *lc;

	foreach(lc, rc_sources_of_stream(stream))
	{
		RcSource   *source = rc_source_load((const char *) lfirst(lc));

		if (source != NULL && !may_act(source->owner))
			others = lappend(others, lfirst(lc));
	}
	return others;
}
