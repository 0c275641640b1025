/*-------------------------------------------------------------------------
 *
 * republish.c
 *	  Dead letters of the outbox back into it.
 *
 * A message is put back with the id that it had, and its dead letter is
 * resolved when Kafka has confirmed it (outbox_read.c): until then nothing is
 * known of it.  Here nothing may be put back for an owner whose rights the
 * caller does not have, or who may not write to the topic any more.
 *
 *-------------------------------------------------------------------------
 */
#include "store/store.h"

#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"

/* Dead letters that are looked at in one go. */
#define PAGE	1000

/* What the id takes among the headers that a dead letter shows. */
#define ID_BYTES	64

/* An owner of dead letters, and the role that it means. */
typedef struct Owner
{
	char	   *name;
	int64		known;			/* OID in known_role; -1: none */
	Oid			role;			/* InvalidOid: none any more */
} Owner;

/* A dead letter; of its message only what decides. */
typedef struct Letter
{
	int64		id;
	char	   *topic;
	char	   *owner;
	bool		unfit;			/* too large, or not all of it is there */
} Letter;

static List *owners_for_caller(const char *topic, int64 id);
static Datum name_array(List *owners);
static Letter *next_letters(const char *topic, int64 id, List *owners,
							int64 after, int *n);
static bool may_publish(const Letter *letter, List *owners);
static int64 put_back(const int64 *ids, int n);

/*
 * Put back the dead letters of the outbox, or those of a topic, or the one of
 * that id (0: all) that belong to roles whose rights the caller has, oldest
 * first.  Those that wait in the outbox already are passed over.
 *
 * Errors: 42704 if there is no such dead letter for the caller.
 */
void
rc_republish_letters(const char *topic, int64 id, int64 *republished,
					 int64 *still_dead)
{
	List	   *owners = owners_for_caller(topic, id);
	int64		after = 0;
	int			n = PAGE;

	*republished = *still_dead = 0;
	if (owners == NIL && id != 0)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("dead letter %lld of the outbox does not exist",
						(long long) id)));
	while (owners != NIL && n == PAGE)
	{
		Letter	   *letters = next_letters(topic, id, owners, after, &n);
		int64	   *ids = palloc(sizeof(int64) * Max(n, 1));
		int			nids = 0;
		bool		may = false;

		for (int i = 0; i < n; i++)
		{
			after = letters[i].id;
			/* letters of one owner and topic mostly follow each other */
			if (i == 0 || strcmp(letters[i].owner, letters[i - 1].owner) != 0 ||
				strcmp(letters[i].topic, letters[i - 1].topic) != 0)
				may = may_publish(&letters[i], owners);
			if (may && !letters[i].unfit)
				ids[nids++] = letters[i].id;
			else
				(*still_dead)++;
		}
		*republished += put_back(ids, nids);
	}
}

/* The owners of such dead letters whose rights the caller has. */
static List *
owners_for_caller(const char *topic, int64 id)
{
	RcQueryScope scope;
	RcParams	params = {0};
	List	   *all = NIL;
	List	   *owners = NIL;
	ListCell   *lc;
	MemoryContext context = CurrentMemoryContext;
	uint64		n;

	rc_param_text(&params, topic);
	rc_param_int8(&params, id);
	rc_param_bool(&params, superuser());
	rc_query_begin(&scope);
	/* what an earlier role of the name has left is a superuser's only */
	n = rc_query("SELECT DISTINCT d.owner, k.oid FROM rappel_conso.dead_letter d"
				 " LEFT JOIN rappel_conso.known_role k ON k.name = d.owner"
				 " WHERE d.origin = 'outbox' AND d.owner IS NOT NULL"
				 " AND ($1 IS NULL OR d.topic = $1) AND ($2 = 0 OR d.id = $2)"
				 " AND ($2 <> 0 OR d.resolved_at IS NULL)"
				 " AND ($3 OR d.owner_oid = rappel_conso.role_oid(d.owner))",
				 &params);
	for (uint64 i = 0; i < n; i++)
	{
		Owner	   *owner = SPI_palloc(sizeof(Owner));
		MemoryContext spi;

		owner->name = rc_column_text(i, 1);
		owner->known = rc_column_int8(i, 2, -1);
		spi = MemoryContextSwitchTo(context);
		all = lappend(all, owner);
		MemoryContextSwitchTo(spi);
	}
	rc_query_end(&scope);

	foreach(lc, all)
	{
		Owner	   *owner = (Owner *) lfirst(lc);

		owner->role = rc_role_resolve(owner->name, (Oid) owner->known,
									  owner->known >= 0);
		if (superuser() || (OidIsValid(owner->role) &&
							rc_may_act_for(GetUserId(), owner->role)))
			owners = lappend(owners, owner);
	}
	return owners;
}

/* The next unresolved dead letters, locked until the end of the transaction. */
static Letter *
next_letters(const char *topic, int64 id, List *owners, int64 after, int *n)
{
	RcQueryScope scope;
	RcParams	params = {0};
	Letter	   *letters;

	rc_param_text(&params, topic);
	rc_param_int8(&params, id);
	rc_param_datum(&params, TEXTARRAYOID, name_array(owners));
	rc_param_int8(&params, after);
	rc_param_int4(&params, PAGE);
	rc_param_bool(&params, superuser());
	rc_query_begin(&scope);
	*n = (int) rc_query("SELECT d.id, d.topic, d.owner, d.key, d.value, d.headers,"
						" d.sqlstate = 'XX001'"
						" FROM rappel_conso.dead_letter d"
						" WHERE d.origin = 'outbox' AND d.resolved_at IS NULL"
						" AND ($1 IS NULL OR d.topic = $1) AND ($2 = 0 OR d.id = $2)"
						" AND d.owner::text = ANY ($3) AND d.id > $4"
						" AND ($6 OR d.owner_oid = rappel_conso.role_oid(d.owner))"
						" AND NOT EXISTS (SELECT FROM rappel_conso.outbox o"
						"  WHERE o.dead_letter = d.id)"
						" ORDER BY d.id LIMIT $5 FOR UPDATE OF d", &params);
	letters = SPI_palloc(sizeof(Letter) * Max(*n, 1));
	for (int i = 0; i < *n; i++)
	{
		RcMessageSize size;

		letters[i].id = rc_column_int8(i, 1, 0);
		letters[i].topic = rc_column_text(i, 2);
		letters[i].owner = rc_column_text(i, 3);
		rc_message_measure(rc_column_any(i, 4), rc_column_any(i, 5),
						   rc_column_any(i, 6), RC_MAX_HEADERS + ID_BYTES,
						   &size);
		size.headers -= Min(size.headers, ID_BYTES);
		letters[i].unfit = rc_message_too_large(&size) != NULL ||
			rc_column_bool(i, 7);
	}
	rc_query_end(&scope);
	return letters;
}

static Datum
name_array(List *owners)
{
	Datum	   *datums = palloc(sizeof(Datum) * list_length(owners));

	for (int i = 0; i < list_length(owners); i++)
		datums[i] = CStringGetTextDatum(((Owner *) list_nth(owners, i))->name);
	return PointerGetDatum(construct_array(datums, list_length(owners),
										   TEXTOID, -1, false, TYPALIGN_INT));
}

/* Whether the owner may write to the topic now. */
static bool
may_publish(const Letter *letter, List *owners)
{
	ListCell   *lc;

	foreach(lc, owners)
	{
		Owner	   *owner = (Owner *) lfirst(lc);

		if (strcmp(owner->name, letter->owner) == 0)
			return OidIsValid(owner->role) &&
				rc_topic_allowed(owner->role, letter->topic, true);
	}
	return false;
}

/*
 * Into the outbox, oldest first, as they were: what the dead letter shows as
 * header rappel_conso-id was none.  Returns how many; one that another session
 * has put back meanwhile is in the outbox already.
 */
static int64
put_back(const int64 *ids, int n)
{
	RcParams	params = {0};

	if (n == 0)
		return 0;
	rc_param_ids(&params, ids, n);
	return (int64) rc_execute("INSERT INTO rappel_conso.outbox"
							  " (message_id, topic, key, value, headers, origin, owner, dead_letter)"
							  " SELECT COALESCE(d.message_id, pg_catalog.gen_random_uuid()),"
							  "  d.topic, d.key, d.value,"
							  "  NULLIF(d.headers - 'rappel_conso-id', '{}'), d.name,"
							  "  d.owner, d.id FROM rappel_conso.dead_letter d"
							  " WHERE d.id = ANY ($1) ORDER BY d.id"
							  " ON CONFLICT DO NOTHING", &params);
}
