/*-------------------------------------------------------------------------
 *
 * unlogged_tables.c
 *	  Finds unlogged tables that a statement writes, and whether they have
 *	  been emptied.
 *
 * A crash or a promotion empties unlogged tables, but keeps a stream's
 * offsets: records applied before would be missing without notice.
 *
 *-------------------------------------------------------------------------
 */
#include "store/unlogged_tables.h"

#include "access/genam.h"
#include "catalog/pg_class.h"
#include "catalog/pg_inherits.h"
#include "nodes/nodeFuncs.h"
#include "parser/parsetree.h"
#include "utils/lsyscache.h"

#include "store/query.h"

static bool collect_unlogged(Node *node, List **unlogged);
static void add_unlogged(Oid table, bool inherited, List **unlogged);

/*
 * OIDs of the unlogged tables that rewritten queries (a List of Query) write.
 */
List *
rc_unlogged_written(List *queries)
{
	List	   *unlogged = NIL;

	(void) collect_unlogged((Node *) queries, &unlogged);
	return unlogged;
}

/* Tree walker: add the unlogged tables that a query and its CTEs write. */
static bool
collect_unlogged(Node *node, List **unlogged)
{
	if (node == NULL)
		return false;
	if (IsA(node, Query))
	{
		Query	   *query = (Query *) node;

		if (query->resultRelation > 0)
		{
			RangeTblEntry *entry = rt_fetch(query->resultRelation,
											query->rtable);

			add_unlogged(entry->relid,
						 query->commandType != CMD_INSERT && entry->inh,
						 unlogged);
		}
		return query_tree_walker(query, collect_unlogged, unlogged, 0);
	}
	return expression_tree_walker(node, collect_unlogged, unlogged);
}

/* Add the table, unless it is partitioned, and its partitions or children. */
static void
add_unlogged(Oid table, bool inherited, List **unlogged)
{
	List	   *tables = list_make1_oid(table);
	ListCell   *lc;

	if (inherited || get_rel_relkind(table) == RELKIND_PARTITIONED_TABLE)
		tables = find_all_inheritors(table, NoLock, NULL);
	foreach(lc, tables)
	{
		Oid			member = lfirst_oid(lc);

		if (get_rel_relkind(member) == RELKIND_RELATION &&
			get_rel_persistence(member) == RELPERSISTENCE_UNLOGGED)
			*unlogged = list_append_unique_oid(*unlogged, member);
	}
}

/*
 * Names of those unlogged tables that are empty because of a crash or a
 * promotion since the stream applied records; NULL if there are none.  The
 * sign is that our own unlogged table has been emptied as well.
 */
char *
rc_unlogged_emptied(const RcStream *stream, List *unlogged)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int64	   *ids = palloc(sizeof(int64) * list_length(unlogged));
	int			n = 0;
	char	   *names = NULL;
	ListCell   *lc;

	foreach(lc, unlogged)
		ids[n++] = lfirst_oid(lc);
	rc_param_ids(&params, ids, n);
	rc_param_text(&params, stream->name);
	rc_query_begin(&scope);
	if (rc_query("SELECT pg_catalog.string_agg(pg_catalog.format('\"%s\"', c.relname), ', ' ORDER BY c.relname)"
				 " FROM pg_catalog.pg_class c"
				 " WHERE c.oid::int8 = ANY ($1)"
				 " AND pg_catalog.pg_relation_size(c.oid) = 0"
				 " AND NOT EXISTS (SELECT FROM rappel_conso.unlogged_kept k"
				 "  WHERE k.stream = $2)"
				 " AND (EXISTS (SELECT FROM rappel_conso.stream_offset o"
				 "   WHERE o.stream = $2 AND o.last_offset IS NOT NULL"
				 "   AND o.seek_to IS NULL)"
				 "  OR EXISTS (SELECT FROM rappel_conso.run r"
				 "   JOIN rappel_conso.source s ON s.name = r.source"
				 "   WHERE s.stream = $2 AND r.destination = 'direct'"
				 "   AND r.inserted + r.updated > 0))", &params) == 1)
		names = rc_column_text(0, 1);
	rc_query_end(&scope);
	return names;
}
