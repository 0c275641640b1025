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
#include "store/known_role.h"

#include "access/xact.h"
#include "fmgr.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/builtins.h"

#include "store/query.h"

PG_FUNCTION_INFO_V1(rc_role_oid);

static void note_role(const char *role_name);

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

/* The roles that own streams or sources, as OIDs in the current context. */
List *
rc_role_owners(void)
{
	RcQueryScope scope;
	List	   *owners = NIL;
	uint64		n;

	rc_query_begin(&scope);
	n = rc_query("SELECT r.oid FROM pg_catalog.pg_roles r WHERE r.rolname IN"
				 " (SELECT owner FROM rappel_conso.stream"
				 "  UNION SELECT owner FROM rappel_conso.source)", NULL);
	for (uint64 i = 0; i < n; i++)
	{
		MemoryContext inner = MemoryContextSwitchTo(rc_query_result_context());

		owners = lappend_oid(owners, (Oid) rc_column_int8(i, 1, InvalidOid));
		MemoryContextSwitchTo(inner);
	}
	rc_query_end(&scope);
	return owners;
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

/* The OID that is known of a name; false: none. */
bool
rc_role_known(const char *role_name, Oid *known)
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

/* From now on the name means this role; InvalidOid: none. */
void
rc_role_remember(const char *role_name, Oid role)
{
	RcParams	params = {0};

	rc_param_text(&params, role_name);
	rc_param_oid(&params, role);
	rc_execute("INSERT INTO rappel_conso.known_role AS k (name, oid)"
			   " VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET oid = $2"
			   " WHERE k.oid <> $2", &params);
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
