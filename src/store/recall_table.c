/*-------------------------------------------------------------------------
 *
 * recall_table.c
 *	  The tables of recalls, which the stream "rappel_conso" makes, by their
 *	  names: whose they are.
 *
 * They are no members of the extension.  Where one is missing, a role that may
 * create in the schema could put a view, or a table with code of its own, in
 * its place; so whoever reads or writes under these names asks here first, and
 * in the same transaction.
 *
 *-------------------------------------------------------------------------
 */
#include "store/recall_table.h"

#include "access/htup_details.h"
#include "catalog/namespace.h"
#include "catalog/pg_class.h"
#include "miscadmin.h"
#include "nodes/makefuncs.h"
#include "utils/acl.h"
#include "utils/lsyscache.h"
#include "utils/syscache.h"

#include "store/query.h"
#include "store/stream_table.h"

/* What is asked of a table, and what was found. */
typedef struct Look
{
	Oid			stream_owner;
	bool		alter;
	Oid			owner;
} Look;

static void look_at_table(const RangeVar *relation, Oid oid, Oid old_oid,
						  void *arg);
static void check_owner(Oid owner, Oid stream_owner, const char *name);
static char *extension_schema(void);

/*
 * Lock RC_RECALLS_TABLE or RC_HISTORY_TABLE, so that neither its owner nor its
 * policies change until the end of the transaction.  It must be a table of
 * stream_owner, who is the owner of the stream (InvalidOid: nobody), or of a
 * superuser; with "alter" the current user must have the rights of its owner,
 * too.  Returns its OID, and its owner in *owner; InvalidOid if there is none.
 */
Oid
rc_recall_table_lock(const char *name, Oid stream_owner, bool alter,
					 Oid *owner)
{
	Look		look = {stream_owner, alter, InvalidOid};
	Oid			oid;

	oid = RangeVarGetRelidExtended(makeRangeVar(extension_schema(),
												pstrdup(name), -1),
								   alter ? ShareUpdateExclusiveLock :
								   AccessShareLock,
								   RVR_MISSING_OK, look_at_table, &look);
	*owner = look.owner;
	return oid;
}

/*
 * Before the built-in stream applies a batch: it must not write what somebody
 * has put under the name of its table since its setup made that.
 */
void
rc_recall_table_check(const RcStream *stream)
{
	Oid			owner;

	if (strcmp(stream->name, RC_NAME) == 0 &&
		strstr(stream->statement, RC_RECALLS_TABLE) != NULL)
		(void) rc_recall_table_lock(RC_RECALLS_TABLE, stream->owner, false,
									&owner);
}

/*
 * It is called before the table is locked, and again when something has
 * changed since.
 */
static void
look_at_table(const RangeVar *relation, Oid oid, Oid old_oid, void *arg)
{
	Look	   *look = (Look *) arg;
	HeapTuple	tuple;
	Form_pg_class class;

	if (!OidIsValid(oid))
		return;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tuple))
		return;					/* dropped just now: it will be looked up
								 * again */
	class = (Form_pg_class) GETSTRUCT(tuple);
	if (class->relkind != RELKIND_RELATION &&
		class->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", relation->relname),
				 errhint("Rename what stands there; the next run makes the table.")));
	check_owner(class->relowner, look->stream_owner, relation->relname);
	if (look->alter && !has_privs_of_role(GetUserId(), class->relowner))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, relation->relname);
	look->owner = class->relowner;
	ReleaseSysCache(tuple);
}

/* A table of somebody else is not the one that runs write. */
static void
check_owner(Oid owner, Oid stream_owner, const char *name)
{
	if (owner == stream_owner || superuser_arg(owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("table \"%s\" belongs to role \"%s\", not to the owner of the stream",
					name, GetUserNameFromId(owner, false)),
			 errhint("Rename that table, or give it to the owner of the stream.")));
}

/* The schema that holds the tables, and the functions named rc_*. */
static char *
extension_schema(void)
{
	RcQueryScope scope;
	char	   *name;

	rc_query_begin(&scope);
	if (rc_query("SELECT n.nspname FROM pg_catalog.pg_extension e"
				 " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
				 " WHERE e.extname = 'rappel_conso'", NULL) != 1)
		elog(ERROR, "extension \"%s\" is not there", RC_NAME);
	name = rc_column_text(0, 1);
	rc_query_end(&scope);
	return name;
}
