/*-------------------------------------------------------------------------
 *
 * query.c
 *	  Runs the extension's own SQL: fixed, schema-qualified statements with
 *	  saved plans, run as the bootstrap superuser, as referential-integrity
 *	  triggers run theirs as the table's owner.
 *
 * A statement written by a user must never run here: see statement_run.c.
 *
 *-------------------------------------------------------------------------
 */
#include "store/query.h"

#include "catalog/dependency.h"
#include "catalog/namespace.h"
#include "catalog/pg_authid.h"
#include "catalog/pg_namespace.h"
#include "commands/extension.h"
#include "miscadmin.h"
#include "storage/lmgr.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/snapmgr.h"
#include "utils/syscache.h"

/*
 * A saved plan.  The key is the address of the SQL, which is a string
 * constant.
 */
typedef struct KeptPlan
{
	const char *sql;
	SPIPlanPtr	plan;
} KeptPlan;

static List *kept_plans = NIL;

/* lock_timeout of these statements, in ms; 0: that of the session. */
int			rc_query_lock_timeout = 0;

typedef struct PinnedSetting
{
	const char *name;
	const char *value;
} PinnedSetting;

/*
 * Settings that change the meaning or the results of these statements, and the
 * values that they were written for.  A session, a role or a database may have
 * set any of them.  A setting that this server version lacks is skipped.
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

static void begin(RcQueryScope *scope);
static void switch_up(const RcQueryScope *scope);
static void pin_settings(void);
static bool is_of_extension(Oid schema);
static void check_schema_owner(Oid schema);
static SPIPlanPtr find_plan(const char *sql, RcParams *params);

/*
 * Connect to SPI and switch to the bootstrap superuser.  Until rc_query_end()
 * only rc_query() may run SQL.  The state to restore is kept in *scope, on the
 * caller's stack, because calls nest: a trigger on one of our tables may call
 * a function that comes here again.  An error in between needs no cleanup: the
 * abort of the (sub)transaction restores user, settings and SPI.
 */
void
rc_query_begin(RcQueryScope *scope)
{
	if (!rc_query_begin_if_there(scope))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("extension \"%s\" does not exist", RC_NAME)));
}

/* The same; if there is no extension, returns false without beginning. */
bool
rc_query_begin_if_there(RcQueryScope *scope)
{
	begin(scope);
	if (!OidIsValid(rc_extension_lock()))
	{
		rc_query_end(scope);
		return false;
	}
	switch_up(scope);
	return true;
}

/* The same without a lock, for SQL that reads nothing but pg_catalog. */
void
rc_query_begin_catalog(RcQueryScope *scope)
{
	begin(scope);
	switch_up(scope);
}

static void
begin(RcQueryScope *scope)
{
	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	GetUserIdAndSecContext(&scope->user, &scope->sec_context);
	scope->guc_level = NewGUCNestLevel();
	pin_settings();
}

static void
switch_up(const RcQueryScope *scope)
{
	SetUserIdAndSecContext(BOOTSTRAP_SUPERUSERID,
						   scope->sec_context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_NOFORCE_RLS);
}

/* Set pinned_settings until rc_query_end(). */
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
 * Lock the extension until the end of the transaction, against DROP EXTENSION,
 * and check that the schema of our tables belongs to it.  Returns the schema;
 * InvalidOid: there is no extension.
 *
 * A worker can outlive the extension, and so can a query that calls one of our
 * functions.  After DROP EXTENSION any role that may create schemas could create
 * another one of this name, with views of its own in the place of our tables,
 * and our SQL would run them as a superuser.
 *
 * What is locked is a table, which DROP EXTENSION locks before it removes
 * anything.  It locks the extension itself before it checks the caller's
 * rights: with a lock on that, any role could make everybody wait behind its
 * own DROP EXTENSION, for as long as some transaction has used ours.  The
 * table is the first one of the install script, so that it is the first one
 * that DROP EXTENSION waits for: no deadlock.
 */
Oid
rc_extension_lock(void)
{
	static Oid	known_schema = InvalidOid;
	static Oid	table = InvalidOid;

	for (;;)
	{
		Oid			schema = get_namespace_oid(RC_SCHEMA, true);

		if (!OidIsValid(schema))
			return InvalidOid;
		if (schema != known_schema)
		{
			table = is_of_extension(schema) ?
				get_relname_relid("known_role", schema) : InvalidOid;
			known_schema = schema;
		}
		if (!OidIsValid(table))
		{
			known_schema = InvalidOid;
			return InvalidOid;
		}
		LockRelationOid(table, AccessShareLock);

		/* the lock has made us see a DROP that was committed meanwhile */
		if (get_namespace_oid(RC_SCHEMA, true) == schema)
		{
			check_schema_owner(schema);
			return schema;
		}
		UnlockRelationOid(table, AccessShareLock);
	}
}

/* Whether the schema belongs to our extension. */
static bool
is_of_extension(Oid schema)
{
	Oid			extension = getExtensionOfObject(NamespaceRelationId, schema);

	return OidIsValid(extension) &&
		extension == get_extension_oid(RC_NAME, true);
}

/*
 * The owner of the schema can replace what is in it, which we run as a
 * superuser.  It can be changed by ALTER SCHEMA, and can lose SUPERUSER.
 */
static void
check_schema_owner(Oid schema)
{
	HeapTuple	tuple = SearchSysCache1(NAMESPACEOID, ObjectIdGetDatum(schema));
	Oid			owner;

	if (!HeapTupleIsValid(tuple))
		elog(ERROR, "cache lookup failed for schema %u", schema);
	owner = ((Form_pg_namespace) GETSTRUCT(tuple))->nspowner;
	ReleaseSysCache(tuple);
	if (!superuser_arg(owner))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("schema \"%s\" belongs to role \"%s\", which is no superuser",
						RC_SCHEMA, GetUserNameFromId(owner, false)),
				 errdetail("The extension runs what is in it as a superuser."),
				 errhint("Give the schema, its tables and functions to a superuser, or make that role one.")));
}

/*
 * Run "sql", a string constant, with params (NULL: none).  Returns the number
 * of rows; those of a result are read with rc_column_*() until rc_query_end().
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
 * Like rc_query(), with a snapshot that sees what other transactions have just
 * committed, whatever the caller's isolation level.  Read-only.
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

/* Switch back and disconnect from SPI, which frees the results. */
void
rc_query_end(RcQueryScope *scope)
{
	AtEOXact_GUC(false, scope->guc_level);
	SetUserIdAndSecContext(scope->user, scope->sec_context);
	SPI_finish();
}

/* Run one statement whose result is not read.  Returns the number of rows. */
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
 * The transaction that wrote a row: the first column of the result of "sql",
 * an xmin as text.  InvalidTransactionId if there is no row.
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

/* The saved plan of "sql", prepared when first used in this process. */
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
