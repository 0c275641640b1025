/*-------------------------------------------------------------------------
 *
 * known_role.c
 *	  Which role an owner's name means.  Definitions, dead letters and grants
 *	  store roles by name, so that a dump means the same roles in another
 *	  cluster; rappel_conso.known_role holds the OID that the name had when it
 *	  was stored, so that a role that takes the name later gets no rights by
 *	  it.
 *
 * A role that is missing, or is not the one that was meant, must get no
 * rights: if unsure, the answer is InvalidOid.
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
 * The role that an owner's name means, or InvalidOid if it is missing or its
 * OID is not "known", the OID in rappel_conso.known_role.  If "is_known" is
 * false, the name has no row there, as after a restore: the role that has the
 * name now is meant, and a worker stores its OID.  A session does not store
 * it, because workers would wait for its transaction.
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
 * Store the OID of the role that has this name now, or 0 if there is none,
 * unless the name has a row already.
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
 * Store OIDs for all owners' names that have no row yet, as after a restore
 * without triggers.  A missing role is stored as 0, so that one created later
 * gets no rights.  Returns the number of such names.
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
 * Fill *error for a stream or source ("what" says which) whose owner was
 * dropped or renamed.  Its strings are allocated in the current context.
 */
void
rc_role_lost(const char *role_name, const char *what, const char *name,
			 ErrorData *error)
{
	memset(error, 0, sizeof(ErrorData));
	error->sqlerrcode = ERRCODE_UNDEFINED_OBJECT;
	error->message = psprintf(gettext_noop("role \"%s\" was dropped or renamed"), role_name);
	error->detail = psprintf("It was the owner of %s \"%s\". A role that takes its name later has no right to it.",
							 what, name);
	error->hint = psprintf("UPDATE rappel_conso.%s SET owner = '...' WHERE name = '%s' gives it to a role that exists.",
						   what, name);
}

/* Raise that error (ERRCODE_UNDEFINED_OBJECT). */
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

/* Look up the OID stored for a name; false if there is none. */
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

/* Store that the name means this role, or none if InvalidOid. */
void
rc_role_store(const char *role_name, Oid role)
{
	RcParams	params = {0};

	rc_param_text(&params, role_name);
	rc_param_oid(&params, role);
	rc_execute("INSERT INTO rappel_conso.known_role AS k (name, oid)"
			   " VALUES ($1, $2) ON CONFLICT (name) DO UPDATE SET oid = $2"
			   " WHERE k.oid <> $2", &params);
}

/* SQL function rappel_conso.role_oid(name): NULL if there is no such role. */
Datum
rc_role_oid(PG_FUNCTION_ARGS)
{
	Oid			role = get_role_oid(NameStr(*PG_GETARG_NAME(0)), true);

	if (!OidIsValid(role))
		PG_RETURN_NULL();
	PG_RETURN_OID(role);
}
