/*-------------------------------------------------------------------------
 *
 * check.c
 *	  The check when a stream is stored: the row's values, and a plan of its
 *	  statement over an empty "records", as its owner.
 *
 * Nothing is executed here.  A row that arrives with its search_path filled
 * in is a restore: its statement is not planned now, since the objects that
 * it names may be incomplete; the worker finds out.  So it does where a table
 * is missing that the stream's setup may be going to make.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "executor/executor.h"
#include "miscadmin.h"
#include "tcop/dest.h"
#include "tcop/tcopprot.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/fmgrprotos.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/plancache.h"
#include "utils/queryenvironment.h"
#include "utils/rel.h"
#include "utils/resowner.h"
#include "utils/snapmgr.h"

PG_FUNCTION_INFO_V1(rc_stream_check);

/* A row of rappel_conso.stream by the names of its columns. */
typedef struct Row
{
	HeapTuple	tuple;
	TupleDesc	desc;
} Row;

static char *row_text(const Row *row, const char *column);
static Oid	row_oid(const Row *row, const char *column);
static bool changed(const Row *old, const Row *new, const char *column);
static Oid	row_owner(const Row *row);
static void check_topics(const Row *row, const char *name);
static void check_row_grants(const Row *row, const char *name);
static void settle_start(Row *row);
static void check_type(const Row *row, const char *name);
static void check_statement(const Row *row, const char *name,
							const char *search_path);
static void plan_statement(const RcStream *stream, RcDecoder *decoder);
static void plan_before_setup(RcStream *stream);
static void check_commands(List *commands, const char *name);
static bool selects_into(Node *command);
static void start_plan(SPIPlanPtr plan, Tuplestorestate *store,
					   TupleDesc desc);
static void add_hint(void *arg);

/*
 * Trigger function: BEFORE INSERT OR UPDATE ON rappel_conso.stream.
 */
Datum
rc_stream_check(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	bool		update;
	Row			new;
	Row			old;
	char	   *name;
	bool		restored;
	HeapTuple	result;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "stream_check() is a trigger function");
	update = TRIGGER_FIRED_BY_UPDATE(data->tg_event);
	new.tuple = update ? data->tg_newtuple : data->tg_trigtuple;
	old.tuple = data->tg_trigtuple;
	new.desc = old.desc = RelationGetDescr(data->tg_relation);
	if (!update || changed(&old, &new, "start_at"))
		settle_start(&new);
	result = new.tuple;
	name = row_text(&new, "name");

	check_topics(&new, name);
	check_type(&new, name);

	restored = rc_is_restore() ||
		(!update && row_text(&new, "search_path") != NULL);
	if (!restored && (!update || changed(&old, &new, "topics") ||
					  changed(&old, &new, "output_topic") ||
					  changed(&old, &new, "owner")))
		check_row_grants(&new, name);
	if (!restored &&
		(!update || changed(&old, &new, "statement") ||
		 changed(&old, &new, "value_type") ||
		 changed(&old, &new, "key_type") ||
		 changed(&old, &new, "output_topic") ||
		 changed(&old, &new, "owner")))
	{
		char	   *search_path = row_text(&new, "search_path");

		if (search_path == NULL)
		{
			int			column = SPI_fnumber(new.desc, "search_path");
			Datum		value;
			bool		isnull = false;

			search_path = pstrdup(GetConfigOption("search_path", false, false));
			value = CStringGetTextDatum(search_path);
			result = heap_modify_tuple_by_cols(new.tuple, new.desc, 1,
											   &column, &value, &isnull);
		}
		check_statement(&new, name, search_path);
	}
	return PointerGetDatum(result);
}

/* A column as text; NULL for null. */
static char *
row_text(const Row *row, const char *column)
{
	return SPI_getvalue(row->tuple, row->desc,
						SPI_fnumber(row->desc, column));
}

static Oid
row_oid(const Row *row, const char *column)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row->tuple, row->desc,
									  SPI_fnumber(row->desc, column), &isnull);

	return isnull ? InvalidOid : DatumGetObjectId(value);
}

static bool
changed(const Row *old, const Row *new, const char *column)
{
	char	   *a = row_text(old, column);
	char	   *b = row_text(new, column);

	if (a == NULL || b == NULL)
		return a != b;
	return strcmp(a, b) != 0;
}

/* There is one: rc_role_check has seen to it. */
static Oid
row_owner(const Row *row)
{
	return get_role_oid(row_text(row, "owner"), false);
}

static void
check_topics(const Row *row, const char *name)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row->tuple, row->desc,
									  SPI_fnumber(row->desc, "topics"),
									  &isnull);
	Datum	   *topics;
	bool	   *nulls;
	int			n;
	char	   *output = row_text(row, "output_topic");

	if (isnull)
		return;					/* the table's own check says it */
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &topics, &nulls, &n);
	if (n == 0)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_PARAMETER_VALUE),
				 errmsg("stream \"%s\" has no topics", name)));
	for (int i = 0; i < n; i++)
		rc_check_topic(nulls[i] ? "" : TextDatumGetCString(topics[i]),
					   psprintf("stream \"%s\"", name));
	if (output != NULL)
		rc_check_topic(output, psprintf("stream \"%s\"", name));
}

/* Whether the owner still has all grants that a stream needs. */
bool
rc_grants_suffice(const RcStream *stream)
{
	ListCell   *lc;

	foreach(lc, stream->topics)
	{
		if (!rc_topic_allowed(stream->owner, (const char *) lfirst(lc), false))
			return false;
	}
	return stream->output_topic == NULL ||
		rc_topic_allowed(stream->owner, stream->output_topic, true);
}

/*
 * The owner needs a grant for each topic, unless he is a superuser.  Checked
 * again when a worker starts.
 */
void
rc_check_grants(Oid owner, const char *owner_name, List *topics,
				const char *output_topic, const char *name)
{
	ListCell   *lc;
	const char *missing = NULL;

	foreach(lc, topics)
	{
		if (!rc_topic_allowed(owner, (const char *) lfirst(lc), false))
			missing = psprintf("read topic \"%s\"", (char *) lfirst(lc));
	}
	if (output_topic != NULL && !rc_topic_allowed(owner, output_topic, true))
		missing = psprintf("write topic \"%s\"", output_topic);
	if (missing != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("owner \"%s\" of stream \"%s\" may not %s",
						owner_name, name, missing),
				 errhint("A superuser can allow it with a row of rappel_conso.topic_grant.")));
}

static void
check_row_grants(const Row *row, const char *name)
{
	bool		isnull;
	Datum		value = SPI_getbinval(row->tuple, row->desc,
									  SPI_fnumber(row->desc, "topics"),
									  &isnull);
	Datum	   *topics;
	int			n;
	List	   *list = NIL;

	if (isnull)
		return;
	deconstruct_array(DatumGetArrayTypeP(value), TEXTOID, -1, false,
					  TYPALIGN_INT, &topics, NULL, &n);
	for (int i = 0; i < n; i++)
		list = lappend(list, TextDatumGetCString(topics[i]));
	rc_check_grants(row_owner(row), row_text(row, "owner"), list,
					row_text(row, "output_topic"), name);
}

/*
 * Check a topic's name by Kafka's own rule
 * (org.apache.kafka.common.internals.Topic); "name" says whose it is.
 */
void
rc_check_topic(const char *topic, const char *name)
{
	size_t		len = strlen(topic);

	if (len == 0 || len > 249 || strcmp(topic, ".") == 0 ||
		strcmp(topic, "..") == 0 ||
		strspn(topic, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-") != len)
		ereport(ERROR,
				(errcode(ERRCODE_INVALID_NAME),
				 errmsg("topic of %s is not a name that Kafka allows: \"%s\"",
						name, topic),
				 errhint("Use up to 249 letters, digits, dots, underscores and hyphens.")));
}

/* Store a time that it starts at so that workers read the same. */
static void
settle_start(Row *row)
{
	char	   *start = row_text(row, "start_at");
	int			column = SPI_fnumber(row->desc, "start_at");
	bool		isnull = false;
	Datum		value;

	if (start == NULL)
		return;
	value = CStringGetTextDatum(rc_time_place(start));
	row->tuple = heap_modify_tuple_by_cols(row->tuple, row->desc, 1, &column,
										   &value, &isnull);
}

static void
check_type(const Row *row, const char *name)
{
	Oid			type = row_oid(row, "value_type");

	if (type == JSONBOID || type == TEXTOID || type == BYTEAOID ||
		get_typtype(type) == TYPTYPE_COMPOSITE)
		return;
	ereport(ERROR,
			(errcode(ERRCODE_WRONG_OBJECT_TYPE),
			 errmsg("value_type of stream \"%s\" cannot be %s", name,
					format_type_be(type)),
			 errhint("Use jsonb, text, bytea, or a table or composite type.")));
}

/*
 * Plan the statement as its owner, with the search_path it will run with.
 */
static void
check_statement(const Row *row, const char *name, const char *search_path)
{
	RcStream	stream = {0};
	Oid			user;
	int			context;
	int			level;

	stream.name = unconstify(char *, name);
	stream.statement = row_text(row, "statement");
	stream.setup = row_text(row, "setup");
	stream.output_topic = row_text(row, "output_topic");
	stream.value_type = row_oid(row, "value_type");
	stream.key_type = row_oid(row, "key_type");
	if (stream.statement == NULL || !OidIsValid(stream.key_type))
		return;					/* the table's own check says it */

	GetUserIdAndSecContext(&user, &context);
	SetUserIdAndSecContext(row_owner(row),
						   context | SECURITY_LOCAL_USERID_CHANGE |
						   SECURITY_RESTRICTED_OPERATION);
	level = NewGUCNestLevel();
	(void) set_config_option("search_path", search_path, PGC_USERSET,
							 PGC_S_SESSION, GUC_ACTION_SAVE, true, 0, false);
	if (stream.setup)
		plan_before_setup(&stream);
	else
		plan_statement(&stream, rc_decoder_make(&stream));
	AtEOXact_GUC(false, level);
	SetUserIdAndSecContext(user, context);
}

/*
 * The same where setup has not run yet: a missing table is no error, since
 * that may make it.
 */
static void
plan_before_setup(RcStream *stream)
{
	if (!rc_statement_lacks_table(stream, true))
		return;
	check_commands(pg_parse_query(stream->statement), stream->name);
	ereport(NOTICE,
			(errmsg("statement of stream \"%s\" is checked when its setup has run",
					stream->name)));
}

/*
 * Whether a table is missing that the statement of a stream names; user and
 * search_path are the caller's.  Other errors of its plan are raised if
 * "strict", else setup may mend them, too; and a table that is locked is there.
 */
bool
rc_statement_lacks_table(const RcStream *stream, bool strict)
{
	MemoryContext old = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	volatile bool missing = false;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(old);
	PG_TRY();
	{
		plan_statement(stream, rc_decoder_make(stream));
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		ErrorData  *error;

		MemoryContextSwitchTo(old);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
		missing = error->sqlerrcode == ERRCODE_UNDEFINED_TABLE;
		if (!missing &&
			(strict || (rc_error_may_pass(error->sqlerrcode) &&
						error->sqlerrcode != ERRCODE_LOCK_NOT_AVAILABLE)))
			ReThrowError(error);
		FreeErrorData(error);
	}
	PG_END_TRY();
	MemoryContextSwitchTo(old);
	CurrentResourceOwner = owner;
	return missing;
}

static void
plan_statement(const RcStream *stream, RcDecoder *decoder)
{
	Tuplestorestate *store = tuplestore_begin_heap(false, false, 64);
	TupleDesc	desc = rc_decoder_desc(decoder);
	ErrorContextCallback callback;
	SPIPlanPtr	plan;

	if (SPI_connect() != SPI_OK_CONNECT)
		elog(ERROR, "SPI_connect failed");
	rc_relation_register("records", store, desc, 1000);

	callback.callback = add_hint;
	callback.arg = desc;
	callback.previous = error_context_stack;
	error_context_stack = &callback;
	plan = SPI_prepare(stream->statement, 0, NULL);
	if (plan == NULL)
		elog(ERROR, "SPI_prepare failed: %s",
			 SPI_result_code_string(SPI_result));
	rc_check_plan(plan, stream->name);
	if (stream->output_topic)
		rc_output_check(((CachedPlanSource *)
						 linitial(SPI_plan_get_plan_sources(plan)))->resultDesc,
						stream->name);
	start_plan(plan, store, desc);
	error_context_stack = callback.previous;

	SPI_finish();
	tuplestore_end(store);
}

/*
 * The commands of a stream's statement, when it is stored and again before it
 * first runs: what arrived as a restored row has not been checked.
 */
void
rc_check_plan(SPIPlanPtr plan, const char *name)
{
	List	   *commands = NIL;
	ListCell   *lc;

	foreach(lc, SPI_plan_get_plan_sources(plan))
		commands = lappend(commands,
						   ((CachedPlanSource *) lfirst(lc))->raw_parse_tree);
	check_commands(commands, name);
}

/* One command (RawStmt), and one that the planner knows. */
static void
check_commands(List *commands, const char *name)
{
	Node	   *command;

	if (list_length(commands) != 1)
		ereport(ERROR,
				(errcode(ERRCODE_SYNTAX_ERROR),
				 errmsg("statement of stream \"%s\" must be one command, not %d",
						name, list_length(commands)),
				 errhint("Use data-modifying CTEs to do several things with one batch.")));
	command = linitial_node(RawStmt, commands)->stmt;
	if ((!IsA(command, SelectStmt) && !IsA(command, InsertStmt) &&
		 !IsA(command, UpdateStmt) && !IsA(command, DeleteStmt) &&
		 !IsA(command, MergeStmt)) || selects_into(command))
		ereport(ERROR,
				(errcode(ERRCODE_FEATURE_NOT_SUPPORTED),
				 errmsg("statement of stream \"%s\" must be INSERT, UPDATE, DELETE, MERGE or SELECT",
						name)));
}

/* SELECT .. INTO makes a table: a utility command in disguise. */
static bool
selects_into(Node *command)
{
	SelectStmt *select;

	if (!IsA(command, SelectStmt))
		return false;
	for (select = (SelectStmt *) command; select->larg != NULL;)
		select = select->larg;
	return select->intoClause != NULL;
}

/* Start the executor as EXPLAIN does: that checks the privileges. */
static void
start_plan(SPIPlanPtr plan, Tuplestorestate *store, TupleDesc desc)
{
	CachedPlan *cached = SPI_plan_get_cached_plan(plan);
	QueryEnvironment *environment = create_queryEnv();
	EphemeralNamedRelation relation = palloc0(sizeof(EphemeralNamedRelationData));
	ListCell   *lc;

	if (cached == NULL)
		return;
	relation->md.name = "records";
	relation->md.reliddesc = InvalidOid;
	relation->md.tupdesc = desc;
	relation->md.enrtype = ENR_NAMED_TUPLESTORE;
	relation->reldata = store;
	register_ENR(environment, relation);

	PushActiveSnapshot(GetTransactionSnapshot());
	foreach(lc, cached->stmt_list)
	{
		PlannedStmt *statement = lfirst_node(PlannedStmt, lc);
		QueryDesc  *query;

		if (statement->commandType == CMD_UTILITY)
			continue;
		query = CreateQueryDesc(statement, "", GetActiveSnapshot(),
								InvalidSnapshot, None_Receiver, NULL,
								environment, 0);
		ExecutorStart(query, EXEC_FLAG_EXPLAIN_ONLY);
		ExecutorEnd(query);
		FreeQueryDesc(query);
	}
	PopActiveSnapshot();
	ReleaseCachedPlan(cached, NULL);
}

/* A column that is missing is mostly one of "records": say what it has. */
static void
add_hint(void *arg)
{
	TupleDesc	desc = (TupleDesc) arg;
	StringInfoData columns;

	if (geterrcode() != ERRCODE_UNDEFINED_COLUMN)
		return;
	initStringInfo(&columns);
	for (int i = 0; i < desc->natts; i++)
	{
		const char *name = NameStr(TupleDescAttr(desc, i)->attname);

		if (name[0] != '"')
			appendStringInfo(&columns, "%s%s", i > 0 ? ", " : "",
							 quote_identifier(name));
	}
	errhint("The relation records has the columns %s.", columns.data);
}
