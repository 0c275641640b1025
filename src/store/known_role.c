/*-------------------------------------------------------------------------
 *
 * known_role.c
 *	  Which role an owner's name means.  Definitions, dead letters and grants
 *	  name roles by their names, so that a dump means the same roles in
 *	  another cluster; rappel_conso.known_role holds the OID that a name had
 *	  when it was stored, so that a name gives no right to another role that
 *	  took it later.
 *
 * Nothing here may give a right to a role that is missing, or that is not the
 * one that was meant: in doubt the answer is InvalidOid.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "access/sysattr.h"
#include "access/xact.h"
#include "catalog/pg_type.h"
#include "commands/trigger.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "nodes/parsenodes.h"
#include "nodes/plannodes.h"
#include "tcop/cmdtag.h"
#include "tcop/pquery.h"
#include "utils/acl.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/portal.h"
#include "utils/rel.h"

PG_FUNCTION_INFO_V1(rc_role_check);
PG_FUNCTION_INFO_V1(rc_owner_known);
PG_FUNCTION_INFO_V1(rc_owner_kept);
PG_FUNCTION_INFO_V1(rc_role_oid);

static bool is_restored(TriggerData *data);
static bool from_dump(TriggerData *data);
static void check_membership(Oid role, const char *role_name,
							 const char *table, const char *name);
static void check_same_role(TriggerData *data, const char *role_name,
							Oid role, const char *name);
static bool known_role(const char *role_name, Oid *known);
static int64 count_others(TriggerData *data, const char *role_name,
						  const char *name);
static void note_role(const char *role_name);
static void remember_role(const char *role_name, Oid role);

/*
 * The role that an owner's name means: InvalidOid when it is missing, or is
 * not the one that was known by this name.  "known" is the OID in
 * rappel_conso.known_role; with "is_known" false it has none there, as after
 * a restore: the role that has the name now is meant, and a worker writes that
 * down.  A session does not: workers would wait for its transaction.
 */
Oid
rc_role_resolve(const char *role_name, Oid known, bool is_known)
{
	Oid			role = get_role_oid(role_name, true);

	if (is_known)
		return OidIsValid(role) && role == known ? role : InvalidOid;
	if (rc_in_worker && !XactReadOnly)
		note_role(role_name);
	return role;
}

/*
 * Write down whom a name means that is not known yet: the role that has it
 * now, or nobody.
 */
static void
note_role(const char *role_name)
{
	RcParams	params = {0};

	rc_param_text(&params, role_name);
	rc_execute("INSERT INTO rappel_conso.known_role (name, oid)"
			   " SELECT n.name, COALESCE(r.oid, 0)"
			   " FROM (SELECT $1::name) n (name)"
			   " LEFT JOIN pg_catalog.pg_roles r ON r.rolname = n.name"
			   " WHERE NOT EXISTS (SELECT FROM rappel_conso.known_role k"
			   "  WHERE k.name = n.name) ON CONFLICT DO NOTHING", &params);
}

/*
 * Write down whom the names mean that nobody has stored here, as after a
 * restore without triggers: a role that is missing as 0, so that one who is
 * made later gets nothing.  Returns the number of such names.
 */
uint64
rc_roles_fill(void)
{
	if (!rc_in_worker || XactReadOnly)
		return 0;
	return rc_execute("INSERT INTO rappel_conso.known_role (name, oid)"
					  " SELECT n.name, COALESCE(r.oid, 0)"
					  " FROM (SELECT owner FROM rappel_conso.stream"
					  "  UNION SELECT owner FROM rappel_conso.source"
					  "  UNION SELECT role FROM rappel_conso.topic_grant) n (name)"
					  " LEFT JOIN pg_catalog.pg_roles r ON r.rolname = n.name"
					  " WHERE NOT EXISTS (SELECT FROM rappel_conso.known_role k"
					  "  WHERE k.name = n.name) ON CONFLICT DO NOTHING",
					  NULL);
}

/*
 * The error of a stream or source ("what") whose owner means no role any
 * more; its strings are allocated in the current context.
 */
void
rc_role_lost(const char *role_name, const char *what, const char *name,
			 ErrorData *error)
{
	memset(error, 0, sizeof(ErrorData));
	error->sqlerrcode = ERRCODE_UNDEFINED_OBJECT;
	error->message = psprintf("role \"%s\" was dropped or renamed", role_name);
	error->detail = psprintf("It was the owner of %s \"%s\". A role that takes its name later has no right to it.",
							 what, name);
	error->hint = psprintf("UPDATE rappel_conso.%s SET owner = '...' WHERE name = '%s' gives it to a role that exists.",
						   what, name);
}

/* The same, raised. */
void
rc_role_lost_error(const char *role_name, const char *what, const char *name)
{
	ErrorData	error;

	rc_role_lost(role_name, what, name, &error);
	ereport(ERROR,
			(errcode(error.sqlerrcode),
			 errmsg_internal("%s", error.message),
			 errdetail_internal("%s", error.detail),
			 errhint("%s", error.hint)));
}

/*
 * Whether the running command is a COPY FROM: rows of a dump are stored as they
 * are, for an error would leave the whole table empty.
 */
bool
rc_is_restore(void)
{
	Node	   *command;

	if (ActivePortal == NULL || ActivePortal->commandTag != CMDTAG_COPY ||
		list_length(ActivePortal->stmts) != 1)
		return false;
	command = linitial_node(PlannedStmt, ActivePortal->stmts)->utilityStmt;
	return command != NULL && IsA(command, CopyStmt) &&
		((CopyStmt *) command)->is_from;
}

/*
 * Trigger function: BEFORE INSERT OR UPDATE OF the column, named by its first
 * argument, that holds a role's name; the second one names the key.  Setting
 * the column, to the same name too, says that the role of now is meant.
 */
Datum
rc_role_check(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	HeapTuple	row;
	char	   *role_name;
	char	   *name;
	char	   *table;
	Oid			role;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "role_check() is a trigger function");
	desc = RelationGetDescr(data->tg_relation);
	row = TRIGGER_FIRED_BY_UPDATE(data->tg_event) ? data->tg_newtuple :
		data->tg_trigtuple;
	table = RelationGetRelationName(data->tg_relation);
	role_name = SPI_getvalue(row, desc,
							 SPI_fnumber(desc, data->tg_trigger->tgargs[0]));
	name = SPI_getvalue(row, desc,
						SPI_fnumber(desc, data->tg_trigger->tgargs[1]));
	if (role_name == NULL || name == NULL)
		return PointerGetDatum(row);	/* the table's own check says it */

	/* a dump says that the name had lost its role: it means nobody here */
	if (from_dump(data) && known_role(role_name, &role) && !OidIsValid(role))
		return PointerGetDatum(row);

	role = get_role_oid(role_name, true);
	if (!OidIsValid(role))
	{
		ereport(is_restored(data) ? WARNING : ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("role \"%s\" of %s \"%s\" does not exist", role_name,
						table, name),
				 errhint("Set the column \"%s\" to a role that exists.",
						 data->tg_trigger->tgargs[0])));
		remember_role(role_name, InvalidOid);
		return PointerGetDatum(row);
	}
	if (strcmp(data->tg_trigger->tgargs[0], "owner") == 0)
		check_membership(role, role_name, table, name);
	check_same_role(data, role_name, role, name);
	return PointerGetDatum(row);
}

/*
 * Trigger function: BEFORE UPDATE OR DELETE of a stream or source.  Row-level
 * security goes by the name; a role that has only the name of the owner
 * changes nothing.
 */
Datum
rc_owner_known(PG_FUNCTION_ARGS)
{
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	char	   *role_name;
	Oid			known;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "owner_known() is a trigger function");
	desc = RelationGetDescr(data->tg_relation);
	role_name = SPI_getvalue(data->tg_trigtuple, desc,
							 SPI_fnumber(desc, "owner"));
	if (!superuser() && known_role(role_name, &known) &&
		get_role_oid(role_name, true) != known)
		rc_role_lost_error(role_name,
						   RelationGetRelationName(data->tg_relation),
						   SPI_getvalue(data->tg_trigtuple, desc,
										SPI_fnumber(desc, "name")));
	return PointerGetDatum(TRIGGER_FIRED_BY_UPDATE(data->tg_event) ?
						   data->tg_newtuple : data->tg_trigtuple);
}

/*
 * Trigger function: AFTER UPDATE of a row whose name of an owner means another
 * role than when it was stored, though nobody has set the owner: it becomes
 * nobody's.  No role can be named "none".
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
		{"outbox", "UPDATE rappel_conso.outbox SET owner = 'none' WHERE id = $1"}
	};
	TriggerData *data = (TriggerData *) fcinfo->context;
	TupleDesc	desc;
	int			owner;
	RcParams	params = {0};
	bool		isnull;

	if (!CALLED_AS_TRIGGER(fcinfo))
		elog(ERROR, "owner_kept() is a trigger function");
	desc = RelationGetDescr(data->tg_relation);
	owner = SPI_fnumber(desc, "owner") - FirstLowInvalidHeapAttributeNumber;
	if (bms_is_member(owner, data->tg_updatedcols))
		return PointerGetDatum(NULL);
	rc_param_int8(&params, DatumGetInt64(SPI_getbinval(data->tg_newtuple, desc,
													   SPI_fnumber(desc, "id"),
													   &isnull)));
	for (int i = 0; i < lengthof(rows); i++)
	{
		if (strcmp(rows[i].table, RelationGetRelationName(data->tg_relation)) == 0)
			rc_execute(rows[i].sql, &params);
	}
	return PointerGetDatum(NULL);
}

/* rappel_conso.role_oid(name): null if there is no such role. */
Datum
rc_role_oid(PG_FUNCTION_ARGS)
{
	Oid			role = get_role_oid(NameStr(*PG_GETARG_NAME(0)), true);

	if (!OidIsValid(role))
		PG_RETURN_NULL();
	PG_RETURN_OID(role);
}

/* By COPY, or as pg_dump --inserts writes a stream, with all its columns. */
static bool
is_restored(TriggerData *data)
{
	TupleDesc	desc = RelationGetDescr(data->tg_relation);
	int			column = SPI_fnumber(desc, "search_path");

	return rc_is_restore() ||
		(TRIGGER_FIRED_BY_INSERT(data->tg_event) && column > 0 &&
		 SPI_getvalue(data->tg_trigtuple, desc, column) != NULL);
}

/* The same, and also other tables' rows by INSERT: pg_dump sets that. */
static bool
from_dump(TriggerData *data)
{
	return is_restored(data) || !check_function_bodies;
}

static void
check_membership(Oid role, const char *role_name, const char *table,
				 const char *name)
{
	if (!rc_may_make_owner(GetUserId(), role))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("must be able to SET ROLE \"%s\" to make it the owner of %s \"%s\"",
						role_name, table, name)));
}

/*
 * What still carries the name of an earlier role would come to life with the
 * rights of this one, and grants of that one would be this one's: only a
 * superuser may want that.
 */
static void
check_same_role(TriggerData *data, const char *role_name, Oid role,
				const char *name)
{
	Oid			known;
	bool		is_known = known_role(role_name, &known);
	int64		others;

	if (is_known && known == role)
		return;

	others = is_known ? count_others(data, role_name, name) : 0;
	if (others > 0 && !superuser())
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("name \"%s\" is still used by what an earlier role of this name has left",
						role_name),
				 errdetail("It is in %lld other rows of rappel_conso.stream, source, topic_grant, dead_letter and outbox.",
						   (long long) others),
				 errhint("A superuser must delete these rows, or set the owner or the grant again.")));
	if (others > 0)
		ereport(NOTICE,
				(errmsg("%lld other rows of rappel_conso.stream, source, topic_grant, dead_letter and outbox now mean the role \"%s\" of today, too",
						(long long) others, role_name)));
	remember_role(role_name, role);
}

/* The OID that is known of a name; false: none. */
static bool
known_role(const char *role_name, Oid *known)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		is_known;

	rc_param_text(&params, role_name);
	rc_query_begin(&scope);
	is_known = rc_query("SELECT oid FROM rappel_conso.known_role"
						" WHERE name = $1", &params) == 1;
	*known = is_known ? (Oid) rc_column_int8(0, 1, InvalidOid) : InvalidOid;
	rc_query_end(&scope);
	return is_known;
}

/* Rows that carry the name, but for the one that is being stored. */
static int64
count_others(TriggerData *data, const char *role_name, const char *name)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int64		n;

	rc_param_text(&params, role_name);
	rc_param_text(&params, RelationGetRelationName(data->tg_relation));
	rc_param_text(&params, name);
	rc_query_begin(&scope);
	rc_query("SELECT (SELECT pg_catalog.count(*) FROM rappel_conso.stream s"
			 "  WHERE s.owner = $1 AND (s.name <> $3 OR $2 <> 'stream'))"
			 " + (SELECT pg_catalog.count(*) FROM rappel_conso.source s"
			 "  WHERE s.owner = $1 AND (s.name <> $3 OR $2 <> 'source'))"
			 " + (SELECT pg_catalog.count(*) FROM rappel_conso.topic_grant g"
			 "  WHERE g.role = $1 AND (g.topic <> $3 OR $2 <> 'topic_grant'))"
			 " + (SELECT pg_catalog.count(*) FROM rappel_conso.dead_letter d"
			 "  WHERE d.owner = $1)"
			 " + (SELECT pg_catalog.count(*) FROM rappel_conso.outbox m"
			 "  WHERE m.owner = $1)",
			 &params);
	n = rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	return n;
}

/* From now on the name means this role; InvalidOid: none. */
static void
remember_role(const char *role_name, Oid role)
{
	RcParams	params = {0};

	rc_param_text(&params, role_name);
	rc_param_datum(&params, OIDOID, ObjectIdGetDatum(role));
	rc_execute("INSERT INTO rappel_conso.known_role AS k (name, oid)"
			   " VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET oid = $2"
			   " WHERE k.oid <> $2", &params);
}
