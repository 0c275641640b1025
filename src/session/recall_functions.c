/*-------------------------------------------------------------------------
 *
 * recall_functions.c
 *	  The SQL-callable functions that read the table of recalls and its
 *	  history, and rc_fold(), which their search uses.
 *
 * This file decides which table is read, whether the caller may read it, and
 * with whose privileges.  The queries are in the install script: rc_search()
 * calls rappel_conso.search_as_owner(), and so on.
 *
 * Planning a query can already run functions that the table's owner has put
 * into its indexes and constraints.  So a table whose owner is neither the
 * caller nor a superuser is read as its owner in a security-restricted
 * operation, as REINDEX does, after the caller's privileges on it have been
 * checked here.  No code may read the table by its name before that.
 *
 * rc_report() counts rows without a query (recall_scan.c): it is for
 * superusers and monitors, and that owner must not be able to make it fail.
 *
 *-------------------------------------------------------------------------
 */
#include "rappel_conso.h"

#include "catalog/pg_type.h"
#include "fmgr.h"
#include "mb/pg_wchar.h"
#include "miscadmin.h"
#include "nodes/execnodes.h"
#include "parser/parse_func.h"
#include "tsearch/ts_utils.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/rls.h"

#include "session/caller_checks.h"
#include "session/recall_scan.h"
#include "store/store.h"
#include "transform/fold.h"
#include "worker/worker.h"

PG_FUNCTION_INFO_V1(rc_search);
PG_FUNCTION_INFO_V1(rc_search_index);
PG_FUNCTION_INFO_V1(rc_recalls_at);
PG_FUNCTION_INFO_V1(rc_read_recalls);
PG_FUNCTION_INFO_V1(rc_own_table);
PG_FUNCTION_INFO_V1(rc_fold);

/* The most arguments of a function ("*_as_owner") that runs as the owner. */
#define MOST_ARGS	2

/* Limits of rc_search()'s query: a longer one would take minutes. */
#define MAX_CHARACTERS	10000
#define MAX_WORDS		300

/* The tables of one call. */
typedef struct Tables
{
	List	   *oids;			/* OIDs of tables, which are locked */
	Oid			stream_owner;	/* InvalidOid: there is no stream */
	Oid			reader;			/* whose privileges they are read with */
	bool		alter;			/* the tables are altered, not read */
} Tables;

static void begin(Tables *tables, bool alter);
static bool lock_table(Tables *tables, const char *name);
static void lock_recalls(Tables *tables);
static void check_caller(Oid oid, Oid reader);
static Oid	own_function(const char *name, int nargs, const Oid *types);
static Datum call_as_reader(FunctionCallInfo fcinfo, const Tables *tables,
							int nargs, const Oid *types, const Datum *args);
static void want_tuplestore(Node *resultinfo, const char *function);
static Datum invoke_foreign(FunctionCallInfo call);
static Datum search_vector(void);
static Datum search_words(text * query);

/*
 * rc_search(query): the query is parsed as the caller, the rows are read as
 * the owner.  Strict.
 */
Datum
rc_search(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {TSQUERYOID, TEXTOID};
	Tables		tables;
	Datum		args[2];

	args[0] = search_words(PG_GETARG_TEXT_PP(0));
	begin(&tables, false);
	lock_recalls(&tables);
	args[1] = search_vector();
	return call_as_reader(fcinfo, &tables, lengthof(types), types, args);
}

/* rc_search_index(): true if the index was created, false if it existed. */
Datum
rc_search_index(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {TEXTOID};
	Tables		tables;
	Datum		args[1];

	begin(&tables, true);
	lock_recalls(&tables);
	args[0] = search_vector();
	return call_as_reader(fcinfo, &tables, lengthof(types), types, args);
}

/* rc_recalls_at(at): the table as it was at that time, by its history. */
Datum
rc_recalls_at(PG_FUNCTION_ARGS)
{
	static const Oid types[] = {TIMESTAMPTZOID};
	Tables		tables;
	Datum		args[1];

	rc_caller_check_null(fcinfo, 0, "at");
	begin(&tables, false);
	lock_recalls(&tables);
	if (!lock_table(&tables, RC_HISTORY_TABLE))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" does not exist", RC_HISTORY_TABLE),
				 errhint("Enable the triggers keep_superseded and keep_deleted of rappel_conso_table; the next run then creates it.")));
	args[0] = PG_GETARG_DATUM(0);
	return call_as_reader(fcinfo, &tables, lengthof(types), types, args);
}

/* rappel_conso.recalls(): the rows that rc_report() counts. */
Datum
rc_read_recalls(PG_FUNCTION_ARGS)
{
	Tables		tables;

	begin(&tables, false);
	lock_recalls(&tables);
	rc_recall_scan(fcinfo, linitial_oid(tables.oids));
	return (Datum) 0;
}

/*
 * rc_own_table(name): the table that the functions above read by that name;
 * null if there is none.
 */
Datum
rc_own_table(PG_FUNCTION_ARGS)
{
	char	   *name = text_to_cstring(PG_GETARG_TEXT_PP(0));
	Tables		tables;

	begin(&tables, false);
	if (!lock_table(&tables, name))
		PG_RETURN_NULL();
	PG_RETURN_OID(linitial_oid(tables.oids));
}

static void
begin(Tables *tables, bool alter)
{
	RcStream   *stream = rc_stream_load(RC_NAME);

	tables->oids = NIL;
	tables->stream_owner = stream ? stream->owner : InvalidOid;
	tables->reader = GetUserId();
	tables->alter = alter;
}

static void
lock_recalls(Tables *tables)
{
	if (!lock_table(tables, RC_RECALLS_TABLE))
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_TABLE),
				 errmsg("table \"%s\" does not exist yet",
						RC_RECALLS_TABLE),
				 errhint("Create it with SELECT * FROM rc_sync_now().")));
}

/* Lock one of the tables; false if there is none. */
static bool
lock_table(Tables *tables, const char *name)
{
	Oid			owner;
	Oid			oid = rc_recall_table_lock(name, tables->stream_owner,
										   tables->alter, &owner);

	if (!OidIsValid(oid))
		return false;
	tables->oids = lappend_oid(tables->oids, oid);
	if (owner != GetUserId() && !superuser_arg(owner))
	{
		/* no other table is locked */
		Assert(owner == tables->stream_owner);
		tables->reader = owner;
	}
	return true;
}

/*
 * Check that the caller may see all that "reader", as whom the table is read,
 * sees.
 */
static void
check_caller(Oid oid, Oid reader)
{
	Oid			caller = GetUserId();
	char	   *name = get_rel_name(oid);

	if (pg_class_aclcheck(oid, caller, ACL_SELECT) != ACLCHECK_OK &&
		pg_attribute_aclcheck_all(oid, caller, ACL_SELECT,
								  ACLMASK_ALL) != ACLCHECK_OK)
		aclcheck_error(ACLCHECK_NO_PRIV, OBJECT_TABLE, name);
	if (check_enable_rls(oid, caller, true) == RLS_ENABLED ||
		check_enable_rls(oid, reader, true) == RLS_ENABLED)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("table \"%s\" cannot be read for role \"%s\": it has row-level security",
						name, GetUserNameFromId(caller, false)),
				 errdetail("The function reads it with the privileges of the stream's owner, to whom other rows may be visible."),
				 errhint("Make a superuser the owner of the stream and its tables, or disable row-level security.")));
}

/*
 * Look up a function of schema rappel_conso.  Only superusers can create
 * functions there, and the caller needs no USAGE on the schema.
 */
static Oid
own_function(const char *name, int nargs, const Oid *types)
{
	RcQueryScope scope;
	Oid			oid;

	rc_query_begin(&scope);
	oid = LookupFuncName(list_make2(makeString(RC_SCHEMA),
									makeString(unconstify(char *, name))),
						 nargs, types, false);
	rc_query_end(&scope);
	return oid;
}

/* The SQL expression for the tsvector of a row, as text. */
static Datum
search_vector(void)
{
	return OidFunctionCall0(own_function("search_vector", 0, NULL));
}

/*
 * Parse a search query to a tsquery.  Errors: 54000 if it is too long.
 */
static Datum
search_words(text * query)
{
	char	   *string = VARDATA_ANY(query);
	int			characters = pg_mbstrlen_with_len(string,
												  VARSIZE_ANY_EXHDR(query));
	Oid			french;
	TSQuery		words;
	int			n = 0;

	if (characters > MAX_CHARACTERS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("query of rc_search() is too long: %d characters, at most %d are allowed",
						characters, MAX_CHARACTERS),
				 errhint("Search for fewer words.")));
	french = get_ts_config_oid(list_make2(makeString("pg_catalog"),
										  makeString("french")), false);
	words = DatumGetTSQuery(DirectFunctionCall2(websearch_to_tsquery_byid,
												ObjectIdGetDatum(french),
												DirectFunctionCall1(rc_fold, PointerGetDatum(query))));
	for (int i = 0; i < words->size; i++)
	{
		if (GETQUERY(words)[i].type == QI_VAL)
			n++;
	}
	if (n > MAX_WORDS)
		ereport(ERROR,
				(errcode(ERRCODE_PROGRAM_LIMIT_EXCEEDED),
				 errmsg("query of rc_search() has too many words: %d, at most %d are allowed", n,
						MAX_WORDS),
				 errhint("Search for fewer words.")));
	return TSQueryGetDatum(words);
}

/*
 * Call this function's "*_as_owner" function as tables->reader, and return
 * its result.  A set is returned as a tuplestore, since rows returned one by
 * one would be computed after the switch of user has ended.
 */
static Datum
call_as_reader(FunctionCallInfo fcinfo, const Tables *tables, int nargs,
			   const Oid *types, const Datum *args)
{
	char	   *name = get_func_name(fcinfo->flinfo->fn_oid);
	FmgrInfo	flinfo;
	Datum		result;
	Oid			user;
	int			context;
	int			level;

	LOCAL_FCINFO(call, MOST_ARGS);

	Assert(nargs <= MOST_ARGS);
	if (fcinfo->resultinfo != NULL)
		want_tuplestore(fcinfo->resultinfo, name);
	if (strncmp(name, "rc_", 3) == 0)
		name += 3;
	fmgr_info(own_function(psprintf("%s_as_owner", name), nargs, types), &flinfo);
	InitFunctionCallInfoData(*call, &flinfo, nargs, fcinfo->fncollation, NULL,
							 fcinfo->resultinfo);
	for (int i = 0; i < nargs; i++)
	{
		call->args[i].value = args[i];
		call->args[i].isnull = false;
	}

	GetUserIdAndSecContext(&user, &context);
	level = NewGUCNestLevel();
	if (tables->reader != user)
	{
		ListCell   *lc;

		foreach(lc, tables->oids)
		{
			if (!tables->alter)
				check_caller(lfirst_oid(lc), tables->reader);
		}
		SetUserIdAndSecContext(tables->reader,
							   context | SECURITY_LOCAL_USERID_CHANGE |
							   SECURITY_RESTRICTED_OPERATION);
	}
	result = tables->reader != user ? invoke_foreign(call) :
		FunctionCallInvoke(call);
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(user, context);
	fcinfo->isnull = call->isnull;
	return result;
}

/* Let the called function return a set as a tuplestore.  Errors: 0A000. */
static void
want_tuplestore(Node *resultinfo, const char *function)
{
	ReturnSetInfo *set = (ReturnSetInfo *) resultinfo;

	if (!IsA(set, ReturnSetInfo) || !(set->allowedModes & SFRM_Materialize))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("%s() must be called where a set is accepted",
						function)));
	set->allowedModes = SFRM_Materialize | SFRM_Materialize_Preferred |
		(set->allowedModes & SFRM_Materialize_Random);
}

/*
 * Call a function that can run code of the table's owner.  PL/pgSQL's WHEN
 * OTHERS does not catch query_canceled and assert_failure, so that code could
 * abort a caller that catches all errors: its errors of these kinds become
 * 38000.  A real cancel is raised in ProcessInterrupts(), a function name
 * that RAISE cannot set.
 */
static Datum
invoke_foreign(FunctionCallInfo call)
{
	MemoryContext context = CurrentMemoryContext;
	Datum		result = (Datum) 0;

	PG_TRY();
	{
		result = FunctionCallInvoke(call);
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		if (error->funcname != NULL &&
			strcmp(error->funcname, "ProcessInterrupts") == 0)
			PG_RE_THROW();
		if (error->sqlerrcode != ERRCODE_ASSERT_FAILURE &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) !=
			ERRCODE_TO_CATEGORY(ERRCODE_QUERY_CANCELED))
			PG_RE_THROW();
		FlushErrorState();
		error->sqlerrcode = ERRCODE_EXTERNAL_ROUTINE_EXCEPTION;
		ReThrowError(error);
	}
	PG_END_TRY();
	return result;
}

/*
 * rc_fold(text): text folded to ASCII.  Immutable and strict.
 *
 * Errors: 22021 in a SQL_ASCII database for bytes that are not UTF-8.
 */
Datum
rc_fold(PG_FUNCTION_ARGS)
{
	char	   *input = text_to_cstring(PG_GETARG_TEXT_PP(0));
	char	   *utf8 = pg_server_to_any(input, strlen(input), PG_UTF8);
	size_t		len;
	char	   *folded = rc_fold_utf8(utf8, strlen(utf8), &len);

	folded = pg_any_to_server(folded, len, PG_UTF8);
	PG_RETURN_TEXT_P(cstring_to_text(folded));
}
