/*-------------------------------------------------------------------------
 *
 * recall_table.c
 *	  Checks who owns the tables of recalls, which the setup of stream
 *	  "rappel_conso" creates, before they are used by name.
 *
 * The tables are not members of the extension.  If one is missing, a role that
 * may create objects in the schema could create a view or a table with its own
 * code under that name; so code that reads or writes these tables must check
 * here first, in the same transaction.
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

/* Arguments and result of check_table(). */
typedef struct TableCheck
{
	Oid			stream_owner;
	bool		alter;
	Oid			owner;
} TableCheck;

static void check_table(const RangeVar *relation, Oid oid, Oid old_oid,
						void *arg);
static void check_owner(Oid owner, Oid stream_owner, const char *name);
static char *extension_schema(void);

/*
 * Lock RC_RECALLS_TABLE or RC_HISTORY_TABLE, so that neither its owner nor its
 * policies change until the end of the transaction.  It must be a table owned
 * by stream_owner, the owner of the stream (InvalidOid: none), or by a
 * superuser; with "alter" the current user must also have the rights of its
 * owner.  Returns its OID, with its owner in *owner; InvalidOid if it does not
 * exist.
 *
 * Errors: ERRCODE_WRONG_OBJECT_TYPE, ERRCODE_INSUFFICIENT_PRIVILEGE.
 */
Oid
rc_recall_table_lock(const char *name, Oid stream_owner, bool alter,
					 Oid *owner)
{
	TableCheck	check = {stream_owner, alter, InvalidOid};
	Oid			oid;

	oid = RangeVarGetRelidExtended(makeRangeVar(extension_schema(),
												pstrdup(name), -1),
								   alter ? ShareUpdateExclusiveLock :
								   AccessShareLock,
								   RVR_MISSING_OK, check_table, &check);
	*owner = check.owner;
	return oid;
}

/*
 * Called before the built-in stream applies a batch: the table may have been
 * replaced by another role's since the stream's setup created it.
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
 * RangeVarGetRelidCallback: called before the table is locked, and again if
 * the name has changed its meaning since.
 */
static void
check_table(const RangeVar *relation, Oid oid, Oid old_oid, void *arg)
{
	TableCheck *check = (TableCheck *) arg;
	HeapTuple	tuple;
	Form_pg_class class;

	if (!OidIsValid(oid))
		return;
	tuple = SearchSysCache1(RELOID, ObjectIdGetDatum(oid));
	if (!HeapTupleIsValid(tuple))
		return;					/* just dropped; it will be looked up again */
	class = (Form_pg_class) GETSTRUCT(tuple);
	if (class->relkind != RELKIND_RELATION &&
		class->relkind != RELKIND_PARTITIONED_TABLE)
		ereport(ERROR,
				(errcode(ERRCODE_WRONG_OBJECT_TYPE),
				 errmsg("\"%s\" is not a table", relation->relname),
				 errhint("Rename the existing relation; the next run creates the table.")));
	check_owner(class->relowner, check->stream_owner, relation->relname);
	if (check->alter && !has_privs_of_role(GetUserId(), class->relowner))
		aclcheck_error(ACLCHECK_NOT_OWNER, OBJECT_TABLE, relation->relname);
	check->owner = class->relowner;
	ReleaseSysCache(tuple);
}

/* Raise an error unless the table is the stream owner's or a superuser's. */
static void
check_owner(Oid owner, Oid stream_owner, const char *name)
{
	if (owner == stream_owner || superuser_arg(owner))
		return;
	ereport(ERROR,
			(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
			 errmsg("table \"%s\" belongs to role \"%s\", not to the owner of the stream",
					name, GetUserNameFromId(owner, false)),
			 errhint("Rename that table, or make the owner of the stream its owner.")));
}

/* The extension's schema, which holds these tables. */
static char *
extension_schema(void)
{
	RcQueryScope scope;
	char	   *name;

	rc_query_begin_catalog(&scope);
	if (rc_query("SELECT n.nspname FROM pg_catalog.pg_extension e"
				 " JOIN pg_catalog.pg_namespace n ON n.oid = e.extnamespace"
				 " WHERE e.extname = 'rappel_conso'", NULL) != 1)
		elog(ERROR, "extension \"%s\" is not there", RC_NAME);
	name = rc_column_text(0, 1);
	rc_query_end(&scope);
	return name;
}
