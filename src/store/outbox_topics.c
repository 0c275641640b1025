/*-------------------------------------------------------------------------
 *
 * outbox_topics.c
 *	  Which topics the outbox has messages for.
 *
 * There may be very many messages and topics: neither all messages are read
 * for this, nor all names held at a time.
 *
 *-------------------------------------------------------------------------
 */
#include "store/outbox_topics.h"

#include "access/relation.h"
#include "access/xact.h"
#include "catalog/namespace.h"
#include "storage/bufmgr.h"
#include "utils/guc.h"
#include "utils/lsyscache.h"
#include "utils/memutils.h"
#include "utils/rel.h"

#include "store/error_class.h"
#include "store/outbox_names.h"
#include "store/outbox_read.h"
#include "store/query.h"
#include "store/subtransaction.h"

/* Topics from the first one on, or after $1; at most $2. */
#define NAMES_FROM(first) \
	"WITH RECURSIVE t (topic, n) AS (" \
	" (SELECT o.topic, 1 FROM rappel_conso.outbox o " first \
	"  ORDER BY o.topic LIMIT 1)" \
	" UNION ALL" \
	" SELECT (SELECT o.topic FROM rappel_conso.outbox o" \
	"  WHERE o.topic > t.topic ORDER BY o.topic LIMIT 1), t.n + 1" \
	" FROM t WHERE t.topic IS NOT NULL AND t.n < $2)" \
	" SELECT t.topic, w.failures, w.retry_at, w.last_error_at, w.sqlstate," \
	" w.error, w.hint FROM t" \
	" LEFT JOIN rappel_conso.outbox_topic w ON w.topic = t.topic" \
	" WHERE t.topic IS NOT NULL ORDER BY t.n"

/* A range of blocks of the outbox, and the topics found so far. */
typedef struct Range
{
	BlockNumber from;
	BlockNumber to;
	int			limit;
	List	   *topics;
} Range;

static List *select_topics(const char *after, int limit);
static List *add_states(List *names);
static List *read_topics(uint64 n);
static RcOutboxTopic *read_topic(uint64 row);
static RcOutboxTopic *make_topic(char *name);
static List *scan(BlockNumber from, BlockNumber to, int limit, List *topics,
				  int *unreadable);
static void scan_range(void *arg);
static bool has_name(List *topics, const char *name);
static void set_for_query(const char *name, const char *value);

/*
 * The topics of messages in the outbox, by name, after the one named "after"
 * (NULL: from the first one on), at most "limit"; in the current context.  Each
 * costs the same whether it has one message or a million.  Those for which
 * "assume" returns true may have none.
 */
List *
rc_outbox_topics(const char *after, int limit, RcTopicAssume assume)
{
	List	   *names;
	List	   *topics = NIL;
	bool		looked_up;
	ListCell   *lc;

	if (!rc_outbox_names(after, limit, assume, &names, &looked_up))
		return select_topics(after, limit);
	if (looked_up)
		return add_states(names);
	foreach(lc, names)
		topics = lappend(topics, make_topic(lfirst(lc)));
	return topics;
}

/* By a query that looks each topic up in the index on (topic, id). */
static List *
select_topics(const char *after, int limit)
{
	RcQueryScope scope;
	RcParams	params = {0};
	List	   *topics;

	rc_param_text(&params, after);
	rc_param_int4(&params, limit);
	rc_query_begin(&scope);
	rc_outbox_by_index();
	topics = read_topics(after == NULL ?
						 rc_query(NAMES_FROM("WHERE $1::pg_catalog.text IS NULL"), &params) :
						 rc_query(NAMES_FROM("WHERE o.topic > $1"), &params));
	rc_query_end(&scope);
	return topics;
}

/* The topics of these names, with their rows of outbox_topic. */
static List *
add_states(List *names)
{
	RcQueryScope scope;
	RcParams	params = {0};
	char	  **array = palloc(sizeof(char *) * list_length(names));
	List	   *topics;

	for (int i = 0; i < list_length(names); i++)
		array[i] = list_nth(names, i);
	rc_param_texts(&params, array, list_length(names));
	rc_query_begin(&scope);
	topics = read_topics(rc_query("SELECT t.topic, w.failures, w.retry_at,"
								  " w.last_error_at, w.sqlstate, w.error, w.hint"
								  " FROM pg_catalog.unnest($1) WITH ORDINALITY AS t (topic, n)"
								  " LEFT JOIN rappel_conso.outbox_topic w ON w.topic = t.topic"
								  " ORDER BY t.n", &params));
	rc_query_end(&scope);
	return topics;
}

/* In the context outside of SPI. */
static List *
read_topics(uint64 n)
{
	List	   *topics = NIL;

	for (uint64 i = 0; i < n; i++)
		topics = rc_result_append(topics, read_topic(i));
	return topics;
}

/* Allocated in the context outside of SPI. */
static RcOutboxTopic *
read_topic(uint64 row)
{
	MemoryContext old = MemoryContextSwitchTo(rc_query_result_context());
	RcOutboxTopic *topic = make_topic(rc_column_text(row, 1));

	MemoryContextSwitchTo(old);
	topic->waiting = rc_column_text(row, 5) != NULL;
	if (!topic->waiting)
		return topic;
	topic->failures = (int) rc_column_int8(row, 2, 0);
	topic->retry_at = rc_column_time(row, 3);
	topic->failed_at = rc_column_time(row, 4);
	topic->sqlstate = rc_column_text(row, 5);
	topic->error = rc_column_text(row, 6);
	topic->hint = rc_column_text(row, 7);
	return topic;
}

/* In the current context. */
static RcOutboxTopic *
make_topic(char *name)
{
	RcOutboxTopic *topic = palloc0(sizeof(RcOutboxTopic));

	topic->name = name;
	return topic;
}

/*
 * The topics that can still be read if the index or the table is damaged,
 * block by block, in no particular order. *unreadable is set to the number of
 * blocks that cannot be read.
 */
List *
rc_outbox_topics_readable(int limit, int *unreadable)
{
	Oid			schema = get_namespace_oid(RC_SCHEMA, false);
	Relation	relation = relation_open(get_relname_relid("outbox", schema),
										 AccessShareLock);
	BlockNumber blocks = RelationGetNumberOfBlocks(relation);

	relation_close(relation, NoLock);
	*unreadable = 0;
	return scan(0, blocks, limit, NIL, unreadable);
}

/* If a range of blocks cannot be read, read its halves. */
static List *
scan(BlockNumber from, BlockNumber to, int limit, List *topics,
	 int *unreadable)
{
	Range		range = {from, to, limit, topics};
	ErrorData  *error;

	if (from >= to || list_length(topics) >= limit)
		return topics;
	error = rc_subtransaction_try(scan_range, &range);
	if (error == NULL)
		return range.topics;
	if (!rc_error_is_damage(error->sqlerrcode))
		ReThrowError(error);
	FreeErrorData(error);
	if (to - from == 1)
	{
		(*unreadable)++;
		return topics;
	}
	topics = scan(from, from + (to - from) / 2, limit, topics, unreadable);
	return scan(from + (to - from) / 2, to, limit, topics, unreadable);
}

static void
scan_range(void *arg)
{
	Range	   *range = (Range *) arg;
	RcQueryScope scope;
	RcParams	params = {0};
	uint64		n;

	rc_param_text(&params, psprintf("(%u,0)", range->from));
	rc_param_text(&params, psprintf("(%u,0)", range->to));
	rc_param_int4(&params, range->limit);
	rc_query_begin(&scope);
	set_for_query("enable_seqscan", "off");
	set_for_query("enable_indexscan", "off");
	set_for_query("enable_indexonlyscan", "off");
	set_for_query("enable_bitmapscan", "off");
	set_for_query("enable_tidscan", "on");
	n = rc_query("SELECT t.topic, w.failures, w.retry_at, w.last_error_at,"
				 " w.sqlstate, w.error, w.hint"
				 " FROM (SELECT DISTINCT o.topic FROM rappel_conso.outbox o"
				 "  WHERE o.ctid >= $1::pg_catalog.tid"
				 "  AND o.ctid < $2::pg_catalog.tid LIMIT $3) t"
				 " LEFT JOIN rappel_conso.outbox_topic w ON w.topic = t.topic",
				 &params);
	for (uint64 i = 0; i < n; i++)
	{
		RcOutboxTopic *topic = read_topic(i);

		if (!has_name(range->topics, topic->name))
			range->topics = rc_result_append(range->topics, topic);
	}
	rc_query_end(&scope);
}

static bool
has_name(List *topics, const char *name)
{
	ListCell   *lc;

	foreach(lc, topics)
	{
		if (strcmp(((RcOutboxTopic *) lfirst(lc))->name, name) == 0)
			return true;
	}
	return false;
}

/*
 * Make the queries until rc_query_end() use the index on (topic, id).  A plan
 * made while the table was nearly empty is saved, and would later read the
 * whole table; and a damaged block must not fail queries that do not need it.
 */
void
rc_outbox_by_index(void)
{
	set_for_query("enable_seqscan", "off");
	set_for_query("enable_bitmapscan", "off");
	set_for_query("enable_indexscan", "on");
	set_for_query("enable_tidscan", "on");
}

/* Set a parameter until rc_query_end(). */
static void
set_for_query(const char *name, const char *value)
{
	(void) set_config_option(name, value, PGC_USERSET, PGC_S_SESSION,
							 GUC_ACTION_SAVE, true, 0, false);
}

/* Delete the state of topics whose messages were deleted by a user. */
void
rc_outbox_topics_sweep(void)
{
	rc_execute("DELETE FROM rappel_conso.outbox_topic t"
			   " WHERE NOT EXISTS (SELECT FROM rappel_conso.outbox o"
			   "  WHERE o.topic = t.topic)", NULL);
}
