/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Our own fixed, schema-qualified SQL: kept plans, run with the rights of
 *	  the bootstrap superuser, as referential-integrity triggers run theirs
 *	  with the rights of a table's owner.
 *
 * It must never run a statement that a user wrote: see apply.c for those.
 *
 *-------------------------------------------------------------------------
 */
#include "store/query.h"

#include "catalog/pg_authid.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"

/* A kept plan, found by the address of its constant text. */
typedef struct KeptPlan
{
	const char *sql;
	SPIPlanPtr	plan;
} KeptPlan;

static List *kept_plans = NIL;

/* How long our SQL waits for a lock, in ms; 0: as the session says. */
int			rc_query_lock_timeout = 0;

typedef struct PinnedSetting
{
	const char *name;
	const char *value;
} PinnedSetting;

/*
 * Settings that change what our SQL means or what it returns, and the value
 * that it was written for.  A session, a role or a database may have set any
 * of them; one that this server does not know is passed over.
 */
static const PinnedSetting pinned_settings[] = {
	{"search_path", "pg_catalog, pg_temp"},
	{"standard_conforming_strings", "on"},
	{"backslash_quote", "safe_encoding"},
	{"array_nulls", "on"},
	{"bytea_output", "hex"},
	{"DateStyle", "ISO, MDY"},
	{"extra_float_digits", "1"},
	{"IntervalStyle", "postgres"},
	{"quote_all_identifiers", "off"},
	{"restrict_nonsystem_relation_kind", ""},
	{"row_security", "on"},
	{"transform_null_equals", "off"},
	{"xmloption", "content"}
};

static void pin_settings(void);
static SPIPlanPtr find_plan(const char *sql, RcParams *params);

/*
 * Connect to SPI and switch up.  Between this and rc_query_end only rc_query
 * may run SQL of ours.  What has to be restored is kept in *scope, on the
 * caller's stack: a trigger on one of our tables may call a function that
 * comes here again.  An error in between needs no cleaning up, since the
 * abort of the (sub)transaction restores user, settings and SPI.
 */
void
rc_query_begin(RcQueryScope *scope)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	GetUserIdAndSecContext(&scope->user, &scope->sec_context);
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
	scope->guc_level = NewGUCNestLevel();
	pin_settings();
}

/* Give our SQL the settings that it was written for, until rc_query_end. */
static void
pin_settings(void)
{
	for (int i = 0; i < lengthof(pinned_settings); i++)
	{
		const char *name = pinned_settings[i].name;
		const char *now = GetConfigOption(name, true, false);

		if (now != NULL && strcmp(now, pinned_settings[i].value) != 0)
			(void) set_config_option(name, pinned_settings[i].value,
									 PGC_USERSET, PGC_S_SESSION,
									 GUC_ACTION_SAVE, true, 0, false);
	}
	if (rc_query_lock_timeout > 0)
	{
		char		value[12];

		snprintf(value, sizeof(value), "%d", rc_query_lock_timeout);
		(void) set_config_option("lock_timeout", value, PGC_USERSET,
								 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0,
								 false);
	}
}

/*
 * Run "sql", a string constant, with params (NULL: none); returns the number
 * of rows.  Rows of a result are read by rc_column_*() until rc_query_end.
 */
uint64
rc_query(const char *sql, RcParams *params)
{
	SPIPlanPtr	plan = find_plan(sql, params);
	int			result;

	result = SPI_execute_plan(plan, params ? params->values : NULL,
							  params ? params->nulls : NULL, false, 0);
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s",
			 SPI_result_code_string(result));
	return SPI_processed;
}

/*
 * The same for a query that must see what others have just committed,
 * whatever the caller's isolation level.
 */
uint64
rc_query_latest(const char *sql, RcParams *params)
{
	SPIPlanPtr	plan = find_plan(sql, params);
	int			result;

	PushActiveSnapshot(GetLatestSnapshot());
	result = SPI_execute_plan(plan, params ? params->values : NULL,
							  params ? params->nulls : NULL, true, 0);
	PopActiveSnapshot();
	if (result < 0)
		elog(ERROR, "SPI_execute_plan failed: %s",
			 SPI_result_code_string(result));
	return SPI_processed;
}

/* Switch down again and leave SPI; results are gone after it. */
void
rc_query_end(RcQueryScope *scope)
{
	AtEOXact_GUC(false, scope->guc_level);
	SetUserIdAndSecContext(scope->user, scope->sec_context);
	SPI_finish();
}

/* One statement without a result to read; returns the number of rows. */
uint64
rc_execute(const char *sql, RcParams *params)
{
	RcQueryScope scope;
	uint64		rows;

	rc_query_begin(&scope);
	rows = rc_query(sql, params);
	rc_query_end(&scope);
	return rows;
}

/*
 * Which transaction has written a row, as "sql" returns it: its xmin as text;
 * InvalidTransactionId for none.
 */
TransactionId
rc_query_xmin(const char *sql, RcParams *params)
{
	RcQueryScope scope;
	TransactionId xmin = InvalidTransactionId;

	rc_query_begin(&scope);
	if (rc_query(sql, params) > 0)
		xmin = (TransactionId) strtoul(rc_column_text(0, 1), NULL, 10);
	rc_query_end(&scope);
	return xmin;
}

/* The kept plan of "sql", prepared at its first use in this process. */
static SPIPlanPtr
find_plan(const char *sql, RcParams *params)
{
	ListCell   *lc;
	KeptPlan   *kept;
	MemoryContext old;

	foreach(lc, kept_plans)
	{
		kept = (KeptPlan *) lfirst(lc);
		if (kept->sql == sql)
			return kept->plan;
	}

	old = MemoryContextSwitchTo(TopMemoryContext);
	kept = palloc0(sizeof(KeptPlan));
	kept->sql = sql;
	MemoryContextSwitchTo(old);

	kept->plan = SPI_prepare(sql, params ? params->n : 0,
							 params ? params->types : NULL);
	if (kept->plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	SPI_keepplan(kept->plan);

	old = MemoryContextSwitchTo(TopMemoryContext);
	kept_plans = lappend(kept_plans, kept);
	MemoryContextSwitchTo(old);
	return kept->plan;
}
