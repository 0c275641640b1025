/*-------------------------------------------------------------------------
 *
 * caller_checks.c
 *	  Checks that the SQL-callable functions share: no NULL arguments,
 *	  privileges on the object named, and no definition that is not
 *	  committed yet.
 *
 * They raise an error or do nothing.
 *
 *-------------------------------------------------------------------------
 */
#include "session/caller_checks.h"

#include "access/transam.h"
#include "access/xact.h"
#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/timestamp.h"

#include "store/known_role.h"
#include "worker/worker.h"

/* The longest timeout that a function accepts. */
#define MAX_TIMEOUT_YEARS	10000

/*
 * Reject NULL: a scheduled job that passes it would otherwise appear to
 * succeed.
 */
void
rc_caller_check_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

/* The time at which a wait of "timeout" (an interval) ends. */
TimestampTz
rc_deadline(Datum timeout, const char *function)
{
	Interval	most = {0, 0, MAX_TIMEOUT_YEARS * MONTHS_PER_YEAR};

	if (DatumGetInt32(DirectFunctionCall2(interval_cmp, timeout,
										  IntervalPGetDatum(&most))) > 0)
		ereport(ERROR,
				(errcode(ERRCODE_DATETIME_VALUE_OUT_OF_RANGE),
				 errmsg("timeout of %s is out of range: %s", function,
						DatumGetCString(DirectFunctionCall1(interval_out, timeout))),
				 errhint("Use null to wait without an end.")));
	most.month = 0;
	if (DatumGetInt32(DirectFunctionCall2(interval_cmp, timeout,
										  IntervalPGetDatum(&most))) <= 0)
		return GetCurrentTimestamp();
	return DatumGetTimestampTz(DirectFunctionCall2(timestamptz_pl_interval,
												   TimestampTzGetDatum(GetCurrentTimestamp()),
												   timeout));
}

/* Does the caller see the streams, sources and runs of all owners? */
bool
rc_caller_sees_all(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}

/*
 * Raise the error for a stream or source ("what") that does not exist.  It is
 * also raised for one that the caller must not know of, so that the error
 * does not reveal that it exists.
 */
void
rc_caller_raise_missing(const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 strcmp(what, "stream") == 0 ?
			 errmsg("stream \"%s\" does not exist", name) :
			 errmsg("source \"%s\" does not exist", name),
			 errhint("Look for the name in table rappel_conso.%s.", what)));
	pg_unreachable();
}

/* Load a stream.  Errors: 42704 if there is none of that name. */
RcStream *
rc_stream_get(const char *name)
{
	RcStream   *stream = rc_stream_load(name);

	if (stream == NULL)
		rc_caller_raise_missing("stream", name);
	return stream;
}

/* Load a source.  Errors: 42704 if there is none of that name. */
RcSource *
rc_source_get(const char *name)
{
	RcSource   *source = rc_source_load(name);

	if (source == NULL)
		rc_caller_raise_missing("source", name);
	return source;
}

/*
 * Check that the caller has the privileges of the owner.
 *
 * Errors: 42501; 42704 if the caller must not know of the object.
 */
void
rc_caller_check_member(Oid owner, const char *owner_name, const char *what,
					   const char *name)
{
	if (rc_may_act_for(GetUserId(), owner))
		return;
	if (!rc_caller_sees_all())
		rc_caller_raise_missing(what, name);
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("must be member of role \"%s\"", owner_name),
			 errdetail("It is the owner of row \"%s\" of table \"rappel_conso.%s\".",
					   name, what)));
}

/*
 * Check that a worker can connect as the owner, and that the caller has the
 * owner's privileges.
 *
 * Errors: as rc_caller_check_member(); 55000 if the owner lacks LOGIN.
 */
void
rc_caller_check_owner(Oid owner, const char *owner_name, const char *what,
					  const char *name)
{
	rc_caller_check_member(owner, owner_name, what, name);
	if (!OidIsValid(owner))
		rc_role_lost_error(owner_name, what, name);
	if (!rc_role_can_login(owner))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("role \"%s\" is not permitted to log in", owner_name),
				 errdetail("It is the owner of row \"%s\" of table \"rappel_conso.%s\".",
						   name, what),
				 errhint("Workers connect as the owner: grant it LOGIN, or make another role the owner.")));
}

/* Load a stream, and check that the caller has its owner's privileges. */
RcStream *
rc_caller_stream(const char *name, const char *function)
{
	RcStream   *stream;

	PreventCommandDuringRecovery(function);
	PreventCommandIfReadOnly(function);
	stream = rc_stream_get(name);
	rc_caller_check_owner(stream->owner, stream->owner_name, "stream", name);
	return stream;
}

/*
 * Reject a row that this transaction has inserted or changed, since no worker
 * could see it.  xmin is that of the row, or invalid if there is no row.
 */
void
rc_check_committed(TransactionId xmin, const char *table, const char *name)
{
	if (TransactionIdIsNormal(xmin) &&
		TransactionIdIsCurrentTransactionId(xmin))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("row \"%s\" of table \"%s\" was changed by this transaction",
						name, table),
				 errdetail("The work is done in another process, which cannot see the change yet."),
				 errhint("Commit first, then call the function.")));
}
