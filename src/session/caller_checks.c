/*-------------------------------------------------------------------------
 *
 * caller_checks.c
 *	  What the functions ask of whoever calls them: arguments that say
 *	  something, rights on what they name, and nothing that only the caller's
 *	  transaction can see.
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

/* The longest wait that somebody may ask for. */
#define MAX_TIMEOUT_YEARS	10000

/*
 * An argument that says nothing: a job that passes it would seem to succeed.
 */
void
rc_caller_check_null(FunctionCallInfo fcinfo, int arg, const char *name)
{
	if (PG_ARGISNULL(arg))
		ereport(ERROR,
				(errcode(ERRCODE_NULL_VALUE_NOT_ALLOWED),
				 errmsg("%s must not be null", name)));
}

/* When a wait ends, from how long it may last at most. */
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

/* Whether the caller sees all streams, sources and runs, whosever they are. */
bool
rc_caller_sees_all(void)
{
	return has_privs_of_role(GetUserId(), ROLE_PG_MONITOR);
}

/*
 * A stream or source ("what") that does not exist, or that the caller may not
 * know of: the words are the same.
 */
void
rc_caller_raise_missing(const char *what, const char *name)
{
	ereport(ERROR,
			(errcode(ERRCODE_UNDEFINED_OBJECT),
			 errmsg("%s \"%s\" does not exist", what, name),
			 errhint("The %ss are the rows of rappel_conso.%s.", what, what)));
	pg_unreachable();
}

/* The stream, which must exist; errors: 42704. */
RcStream *
rc_stream_get(const char *name)
{
	RcStream   *stream = rc_stream_load(name);

	if (stream == NULL)
		rc_caller_raise_missing("stream", name);
	return stream;
}

/* The source, likewise. */
RcSource *
rc_source_get(const char *name)
{
	RcSource   *source = rc_source_load(name);

	if (source == NULL)
		rc_caller_raise_missing("source", name);
	return source;
}

/* Whether the caller may ask for what is done as the owner. */
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
			 errmsg("must be member of role \"%s\" to use %s \"%s\"",
					owner_name, what, name)));
}

/*
 * Whether a worker can work as the owner, and the caller may ask for it.
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
				 errmsg("owner \"%s\" of %s \"%s\" is not permitted to log in",
						owner_name, what, name),
				 errhint("Workers connect as the owner: grant it LOGIN, or make another role the owner.")));
}

/* The stream, if it exists and the caller may use it. */
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
 * A row that this transaction has made or changed, no worker can see.  xmin
 * is that of the row, as far as there is one.
 */
void
rc_check_committed(TransactionId xmin, const char *what, const char *name)
{
	if (TransactionIdIsNormal(xmin) &&
		TransactionIdIsCurrentTransactionId(xmin))
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_IN_USE),
				 errmsg("%s \"%s\" was changed by this transaction", what,
						name),
				 errdetail("The work is done in another process, which cannot see the change yet."),
				 errhint("Commit first, then call the function.")));
}
