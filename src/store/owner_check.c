/*-------------------------------------------------------------------------
 *
 * owner_check.c
 *	  Triggers on columns that name a role: who may set them, which role the
 *	  name means from then on, and what happens to rows whose role was
 *	  dropped.
 *
 * The triggers run before the table's constraints and before row-level
 * security has checked the new row, so no value of the row may be trusted yet.
 *
 *-------------------------------------------------------------------------
 */
#include "store/owner_check.h"

#include "access/sysattr.h"
#include "catalog/namespace.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "tcop/cmdtag.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/rel.h"

#include "store/known_role.h"
#include "store/query.h"
#include "store/trigger_call.h"

PG_FUNCTION_INFO_V1(rc_role_check);
PG_FUNCTION_INFO_V1(rc_owner_known);
PG_FUNCTION_INFO_V1(rc_owner_kept);

static char *column_or_error(Relation table, HeapTuple row,
							 const char *column);
static bool is_restored(TriggerData *data);
static bool from_dump(TriggerData *data);
static void check_membership(Oid role, const char *role_name,
							 const char *table, const char *name);
static void check_same_role(TriggerData *data, const char *role_name,
							Oid role, const char *name);
static int64 count_others(TriggerData *data, const char *role_name);

/*
 * Whether the running command is a COPY into this table.  Rows of a dump are
 * stored even if they fail a check, since an error would leave the whole table
 * empty.  Rows that a trigger on another table inserts here during a COPY are
 * not such rows.
 */
bool
rc_is_restore(Relation table)
{
	Node	   *command;

	if (ActivePortal == NULL || ActivePortal->commandTag != CMDTAG_COPY ||
		list_length(ActivePortal->stmts) != 1)
		return false;
	command = linitial_node(PlannedStmt, ActivePortal->stmts)->utilityStmt;
	return command != NULL && IsA(command, CopyStmt) &&
		((CopyStmt *) command)->is_from &&
		RangeVarGetRelid(((CopyStmt *) command)->relation, NoLock, true) ==
		RelationGetRelid(table);
}

/*
 * Trigger function: BEFORE INSERT OR UPDATE OF the column that holds a role's
 * name, which is its first argument; the second one is the table's key column.
 * Setting the column, even to the same name, stores that the role that has the
 * name now is meant.
 *
 * Errors: ERRCODE_UNDEFINED_OBJECT if there is no such role,
 * ERRCODE_INSUFFICIENT_PRIVILEGE if the current user cannot become the owner.
 */
Datum
rc_role_check(PG_FUNCTION_ARGS)
{
	TriggerData *data = rc_trigger_call(fcinfo, true,
										RC_ON_INSERT | RC_ON_UPDATE, 2,
										" stream source topic_grant ");
	HeapTuple	row = rc_trigger_row(data);
	char	   *column;
	char	   *role_name;
	char	   *name;
	char	   *table;
	Oid			role;

	column = data->tg_trigger->tgargs[0];
	table = RelationGetRelationName(data->tg_relation);
	role_name = column_or_error(data->tg_relation, row, column);
	name = column_or_error(data->tg_relation, row,
						   data->tg_trigger->tgargs[1]);

	/* in the dumped cluster the name meant no role; it means none here */
	if (from_dump(data) && rc_role_known(role_name, &role) && !OidIsValid(role))
		return PointerGetDatum(row);

	role = get_role_oid(role_name, true);
	if (!OidIsValid(role))
	{
		ereport(is_restored(data) ? WARNING : ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" does not exist", role_name),
				 errdetail("Row \"%s\" of table \"rappel_conso.%s\" names it.",
						   name, table),
				 errhint("Set the column \"%s\" to a role that exists.",
						 data->tg_trigger->tgargs[0])));
		rc_role_store(role_name, InvalidOid);
		return PointerGetDatum(row);
	}
	if (strcmp(column, "owner") == 0)
		check_membership(role, role_name, table, name);
	check_same_role(data, role_name, role, name);
	return PointerGetDatum(row);
}

/*
 * The value of a column; a null is an error here, as the table's own NOT NULL
 * is checked later.
 */
static char *
column_or_error(Relation table, HeapTuple row, const char *column)
{
	TupleDesc	desc = RelationGetDescr(table);
	char	   *value = SPI_getvalue(row, desc, SPI_fnumber(desc, column));

	if (value == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_NOT_NULL_VIOLATION),
				 errmsg("null value in column \"%s\" of relation \"%s\" violates not-null constraint",
						column, RelationGetRelationName(table)),
				 errtablecol(table, SPI_fnumber(desc, column))));
	return value;
}

/*
 * Trigger function: BEFORE UPDATE OR DELETE of a stream or source.  Row-level
 * security compares names, does not bind all roles, and does not apply through
 * a view of another owner.  Here a role is refused if it merely has the
 * owner's name, or if it cannot SET ROLE to the owner, whose rights the row's
 * SQL runs with.
 */
Datum
rc_owner_known(PG_FUNCTION_ARGS)
{
	TriggerData *data = rc_trigger_call(fcinfo, true,
										RC_ON_UPDATE | RC_ON_DELETE, 0,
										" stream source ");
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	char	   *table = RelationGetRelationName(data->tg_relation);
	char	   *role_name;
	char	   *name;
	Oid			known;
	Oid			role;

	if (superuser())
		return PointerGetDatum(rc_trigger_row(data));
	role_name = SPI_getvalue(data->tg_trigtuple, desc,
							 SPI_fnumber(desc, "owner"));
	name = SPI_getvalue(data->tg_trigtuple, desc, SPI_fnumber(desc, "name"));
	role = get_role_oid(role_name, true);
	if (!OidIsValid(role) ||
		(rc_role_known(role_name, &known) && role != known))
		rc_role_lost_error(role_name, table, name);
	if (!rc_may_make_owner(GetUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be able to SET ROLE \"%s\"", role_name),
				 errdetail("It is the owner of row \"%s\" of table \"rappel_conso.%s\".",
						   name, table)));
	return PointerGetDatum(rc_trigger_row(data));
}

/*
 * Trigger function: AFTER UPDATE of a row whose owner's name now means another
 * role than when it was stored, and whose owner was not set by the update: the
 * row loses its owner.  No role can be named "none".
 */
Datum
rc_owner_kept(PG_FUNCTION_ARGS)
{
	static const struct
	{
		const char *table;
		const char *sql;
	}			rows[] = {
		{"run", "UPDATE rappel_conso.run SET owner = 'none' WHERE id = $1"},
		{"dead_letter", "UPDATE rappel_conso.dead_letter SET owner = 'none' WHERE id = $1"},
		{"outbox", "UPDATE rappel_conso.outbox SET owner = 'none' WHERE topic = $2 AND id = $1"}
	};
	TriggerData *data = rc_trigger_call(fcinfo, true, RC_ON_UPDATE, 0,
										" run dead_letter outbox ");
	TupleDesc	desc;
	int			owner;
	int			topic;
	RcParams	params = {0};
	bool		isnull;

	desc = RelationGetDescr(data->tg_relation);
	owner = SPI_fnumber(desc, "owner") - FirstLowInvalidHeapAttributeNumber;
	if (bms_is_member(owner, data->tg_updatedcols))
		return PointerGetDatum(NULL);
	rc_param_int8(&params, DatumGetInt64(SPI_getbinval(data->tg_newtuple, desc,
													   SPI_fnumber(desc, "id"),
													   &isnull)));
	topic = SPI_fnumber(desc, "topic");
	rc_param_text(&params, topic < 0 ? NULL :
				  SPI_getvalue(data->tg_newtuple, desc, topic));
	for (int i = 0; i < lengthof(rows); i++)
	{
		if (strcmp(rows[i].table, RelationGetRelationName(data->tg_relation)) == 0)
			rc_execute(rows[i].sql, &params);
	}
	return PointerGetDatum(NULL);
}

/*
 * Whether a superuser restores the row, by COPY or by the INSERTs of pg_dump
 * --inserts, which set all columns of a stream.  Other roles do not restore.
 * Row-level security does not bind all of them, and a row that names a role
 * that does not exist would take effect when that role is created.
 */
static bool
is_restored(TriggerData *data)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	int			column = SPI_fnumber(desc, "search_path");

	return superuser() &&
		(rc_is_restore(data->tg_relation) ||
		 (TRIGGER_FIRED_BY_INSERT(data->tg_event) && column > 0 &&
		  SPI_getvalue(data->tg_trigtuple, desc, column) != NULL));
}

/*
 * Like is_restored(), and also true for INSERTs of pg_dump into other tables:
 * it turns check_function_bodies off.
 */
static bool
from_dump(TriggerData *data)
{
	return superuser() && (is_restored(data) || !check_function_bodies);
}

static void
check_membership(Oid role, const char *role_name, const char *table,
				 const char *name)
{
	if (!rc_may_make_owner(GetUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be able to SET ROLE \"%s\"", role_name),
				 errdetail("It would be the owner of row \"%s\" of table \"rappel_conso.%s\".",
						   name, table)));
}

/*
 * Rows that an earlier role of this name has left would get the rights of the
 * new role, and it would get that role's grants.  Only a superuser may accept
 * that.
 */
static void
check_same_role(TriggerData *data, const char *role_name, Oid role,
				const char *name)
{
	Oid			known;
	bool		is_known = rc_role_known(role_name, &known);
	int64		others;

	if (is_known && known == role)
		return;

	others = is_known ? count_others(data, role_name) : 0;
	if (others > 0 && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("role name \"%s\" is still used by rows that belong to a dropped role of this name",
						role_name),
				 errdetail("%lld other rows of rappel_conso.stream, source, topic_grant, dead_letter and outbox name it.",
						   (long long) others),
				 errhint("Ask a superuser to delete these rows, or to set their owner or role again.")));
	if (others > 0)
		ereport(NOTICE,
				(errmsg("%lld other rows of rappel_conso.stream, source, topic_grant, dead_letter and outbox now belong to the present role \"%s\", too",
						(long long) others, role_name)));
	rc_role_store(role_name, role);
}

/* The number of rows with this name, without the one being changed. */
static int64
count_others(TriggerData *data, const char *role_name)
{
	RcQueryScope scope;
	RcParams	params = {0};
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	int64		n;

	rc_param_text(&params, role_name);
	rc_param_text(&params, RelationGetRelationName(data->tg_relation));
	rc_param_text(&params, TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
				  SPI_getvalue(data->tg_trigtuple, desc,
							   SPI_fnumber(desc, data->tg_trigger->tgargs[1])) :
				  NULL);
	rc_query_begin(&scope);
	rc_query("SELECT (SELECT pg_catalog.count(*) FROM rappel_conso.stream s"
			 "  WHERE s.owner = $1 AND (s.name IS DISTINCT FROM $3 OR $2 <> 'stream'))"
			 " + (SELECT pg_catalog.count(*) FROM rappel_conso.source s"
			 "  WHERE s.owner = $1 AND (s.name IS DISTINCT FROM $3 OR $2 <> 'source'))"
			 " + (SELECT pg_catalog.count(*) FROM rappel_conso.topic_grant g"
			 "  WHERE g.role = $1 AND (g.topic IS DISTINCT FROM $3 OR $2 <> 'topic_grant'))"
			 " + (SELECT pg_catalog.count(*) FROM rappel_conso.dead_letter d"
			 "  WHERE d.owner = $1)"
			 " + (SELECT pg_catalog.count(*) FROM rappel_conso.outbox m"
			 "  WHERE m.owner = $1)",
			 &params);
	n = rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	return n;
}
