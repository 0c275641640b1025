/*-------------------------------------------------------------------------
 *
 * topic_grant.c
 *	  Checks which role may read and write which topic:
 *	  rappel_conso.topic_grant.
 *
 * A grant counts only if its role's name still means the role that it meant
 * when the grant was given.
 *
 *-------------------------------------------------------------------------
 */
#include "store/topic_grant.h"


#include "store/known_role.h"
#include "store/query.h"

/*
 * Whether a role may read (or write) a topic: superusers may, others if
 * rappel_conso.topic_grant grants it to them or to a role whose rights they
 * have.  A grant to a name that means no role, or another one than when it was
 * given, is void.
 */
bool
rc_topic_allowed(Oid role, const char *topic, bool write)
{
	RcQueryScope scope;
	RcParams	params = {0};
	bool		allowed;

	rc_param_oid(&params, role);
	rc_param_text(&params, topic);
	rc_param_bool(&params, write);
	rc_query_begin(&scope);
	rc_query("SELECT EXISTS (SELECT FROM pg_catalog.pg_roles"
			 "  WHERE oid = $1 AND rolsuper)"
			 " OR EXISTS (SELECT FROM rappel_conso.topic_grant g"
			 "  JOIN rappel_conso.known_role k ON k.name = g.role"
			 "  JOIN pg_catalog.pg_roles r ON r.rolname = k.name AND r.oid = k.oid"
			 "  WHERE pg_catalog.pg_has_role($1, r.oid, 'USAGE')"
			 "  AND CASE WHEN $3 THEN g.can_write ELSE g.can_read END"
			 "  AND $2 ~ ('^' || pg_catalog.replace(pg_catalog.replace(g.topic, '.', '[.]'), '*', '.*') || '$'))",
			 &params);
	allowed = rc_column_bool(0, 1);
	rc_query_end(&scope);

	/* a restored grant may name a role whose OID is not stored yet */
	if (!allowed && rc_roles_fill() > 0)
		return rc_topic_allowed(role, topic, write);
	return allowed;
}

/* Whether the owner of a stream has all grants that it needs. */
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
 * Raise ERRCODE_INSUFFICIENT_PRIVILEGE unless the owner has a grant for each
 * topic.  Workers check again when they start.
 */
void
rc_check_grants(Oid owner, const char *owner_name, List *topics,
				const char *output_topic, const char *name)
{
	ListCell   *lc;
	const char *missing = NULL;
	bool		write = false;

	foreach(lc, topics)
	{
		if (!rc_topic_allowed(owner, (const char *) lfirst(lc), false))
			missing = (const char *) lfirst(lc);
	}
	if (output_topic != NULL && !rc_topic_allowed(owner, output_topic, true))
	{
		missing = output_topic;
		write = true;
	}
	if (missing != NULL)
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for topic \"%s\"", missing),
				 write ?
				 errdetail("Role \"%s\", the owner of stream \"%s\", has no grant to write to it.",
						   owner_name, name) :
				 errdetail("Role \"%s\", the owner of stream \"%s\", has no grant to read it.",
						   owner_name, name),
				 errhint("Ask a superuser to insert a row for it into rappel_conso.topic_grant.")));
}

/* The same check for the topic that a source publishes to. */
void
rc_check_source_grant(Oid owner, const char *owner_name, const char *topic,
					  const char *name)
{
	if (!rc_topic_allowed(owner, topic, true))
		ereport(ERROR,
				(errcode(ERRCODE_INSUFFICIENT_PRIVILEGE),
				 errmsg("permission denied for topic \"%s\"", topic),
				 errdetail("Role \"%s\", the owner of source \"%s\", has no grant to write to it.",
						   owner_name, name),
				 errhint("Ask a superuser to insert a row for it into rappel_conso.topic_grant.")));
}
