/*-------------------------------------------------------------------------
 *
 * republish.c
 *	  Puts dead letters of the outbox back into it.
 *
 * A message is put back with its old id.  Its dead letter is resolved only
 * when Kafka has confirmed it (outbox_read.c).  A message must not be put back
 * for an owner whose rights the caller lacks, or who may not write to the
 * topic any more.  One that cannot be put back must not hold up the others.
 *
 *-------------------------------------------------------------------------
 */
#include "store/republish.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "miscadmin.h"
#include "utils/acl.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/memutils.h"

#include "store/dead_letter.h"
#include "store/error_class.h"
#include "store/known_role.h"
#include "store/message.h"
#include "store/query.h"
#include "store/statement_output.h"
#include "store/topic_grant.h"
#include "store/subtransaction.h"

/* Dead letters read at a time. */
#define PAGE	1000

/* Maximum number of topics that a hint lists. */
#define TOPICS_SHOWN	10

/*
 * Upper limit of the bytes of the id header, which a dead letter shows among
 * the others.
 */
#define ID_BYTES	64

/* An owner of dead letters, and the role that the name means. */
typedef struct Owner
{
	char	   *name;
	int64		known;			/* OID in known_role; -1: none */
	Oid			role;			/* InvalidOid: dropped or renamed */
} Owner;

/* A dead letter, without its message. */
typedef struct Letter
{
	int64		id;
	char	   *topic;
	char	   *owner;
	bool		unfit;			/* message is too large, or incomplete */
	ErrorData  *error;			/* why it could not be put back; NULL: no
								 * error */
} Letter;

/* Argument of measure(): a row of the query, and its size. */
typedef struct Measure
{
	int			row;
	RcMessageSize size;
} Measure;

/* Dead letters to put back in one statement. */
typedef struct Batch
{
	const int64 *ids;
	int			n;
	int64		done;
} Batch;

static List *owners_for_caller(const char *topic, int64 id);
static Datum name_array(List *owners);
static Letter *next_letters(const char *topic, int64 id, List *owners,
							int64 after, int *n);
static bool may_publish(const Letter *letter, List *owners);
static void report_topics(const char *topic);
static int64 put_back(Letter **letters, int n);
static ErrorData *try_step(RcStep step, void *arg);
static void measure(void *arg);
static void insert_batch(void *arg);

/*
 * Put back dead letters of the outbox that belong to roles whose rights the
 * caller has, oldest first: those of a topic (NULL: of all), or only the one
 * with that id (0: all).  Dead letters that have been put back already are
 * skipped.  Sets the number put back, and the number that could not be, whose
 * rows have the reason.
 *
 * Errors: ERRCODE_UNDEFINED_OBJECT if the caller has no dead letter "id".
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
	if (owners == NIL && topic != NULL)
		report_topics(topic);
	while (owners != NIL && n == PAGE)
	{
		Letter	   *letters = next_letters(topic, id, owners, after, &n);
		Letter	  **fit = palloc(sizeof(Letter *) * Max(n, 1));
		int			nfit = 0;
		bool		may = false;

		for (int i = 0; i < n; i++)
		{
			after = letters[i].id;
			/* consecutive letters mostly have the same owner and topic */
			if (i == 0 || strcmp(letters[i].owner, letters[i - 1].owner) != 0 ||
				strcmp(letters[i].topic, letters[i - 1].topic) != 0)
				may = may_publish(&letters[i], owners);
			if (may && !letters[i].unfit)
				fit[nfit++] = &letters[i];
			else
				(*still_dead)++;
		}
		*republished += put_back(fit, nfit);
		for (int i = 0; i < n; i++)
		{
			if (letters[i].error != NULL)
				rc_dead_letter_again(letters[i].id, letters[i].error);
		}
		for (int i = 0; i < nfit; i++)
			*still_dead += fit[i]->error != NULL ? 1 : 0;
	}
}

/*
 * The topic has no dead letters, and may be misspelled: report the topics that
 * have some.
 */
static void
report_topics(const char *topic)
{
	RcQueryScope scope;
	RcParams	params = {0};
	List	   *owners = owners_for_caller(NULL, 0);
	char	   *topics = NULL;

	if (owners != NIL)
	{
		rc_param_datum(&params, TEXTARRAYOID, name_array(owners));
		rc_param_bool(&params, superuser());
		rc_param_int4(&params, TOPICS_SHOWN);
		rc_query_begin(&scope);
		rc_query("SELECT pg_catalog.string_agg(pg_catalog.format("
				 "  CASE WHEN t.n > $3 THEN '..' ELSE '\"%s\"' END, t.topic), ', ' ORDER BY t.n)"
				 " FROM (SELECT d.topic, pg_catalog.row_number() OVER (ORDER BY d.topic) AS n"
				 "  FROM rappel_conso.dead_letter d"
				 "  WHERE d.origin = 'outbox' AND d.resolved_at IS NULL"
				 "  AND d.topic IS NOT NULL AND d.owner::text = ANY ($1)"
				 "  AND ($2 OR d.owner_oid = rappel_conso.role_oid(d.owner))"
				 "  GROUP BY d.topic ORDER BY d.topic LIMIT $3 + 1) t", &params);
		topics = rc_column_text(0, 1);
		rc_query_end(&scope);
	}
	ereport(NOTICE,
			(errmsg("no dead letter of the outbox exists for topic \"%s\"", topic),
			 topics != NULL ?
			 errhint("Topics that have dead letters: %s.", topics) :
			 errhint("No topic has any.")));
}

/* Owners of matching dead letters whose rights the caller has. */
static List *
owners_for_caller(const char *topic, int64 id)
{
	RcQueryScope scope;
	RcParams	params = {0};
	List	   *all = NIL;
	List	   *owners = NIL;
	ListCell   *lc;
	uint64		n;

	rc_param_text(&params, topic);
	rc_param_int8(&params, id);
	rc_param_bool(&params, superuser());
	rc_query_begin(&scope);
	/* only superusers get what an earlier role of the name has left */
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

		owner->name = rc_column_text(i, 1);
		owner->known = rc_column_int8(i, 2, -1);
		all = rc_result_append(all, owner);
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

/*
 * The next unresolved dead letters after id "after", at most PAGE, locked
 * until the end of the transaction.
 */
static Letter *
next_letters(const char *topic, int64 id, List *owners, int64 after, int *n)
{
	RcQueryScope scope;
	RcParams	params = {0};
	Letter	   *letters;
	MemoryContext context = CurrentMemoryContext;

	rc_param_text(&params, topic);
	rc_param_int8(&params, id);
	rc_param_datum(&params, TEXTARRAYOID, name_array(owners));
	rc_param_int8(&params, after);
	rc_param_int4(&params, PAGE);
	rc_param_bool(&params, superuser());
	rc_query_begin(&scope);
	*n = (int) rc_query("SELECT d.id, COALESCE(d.topic, ''), d.owner, d.key, d.value, d.headers,"
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
		Measure		of = {i};
		MemoryContext spi;

		letters[i].id = rc_column_int8(i, 1, 0);
		letters[i].topic = rc_column_text(i, 2);
		letters[i].owner = rc_column_text(i, 3);
		letters[i].unfit = rc_column_bool(i, 7);
		spi = MemoryContextSwitchTo(context);
		letters[i].error = letters[i].unfit ? NULL : try_step(measure, &of);
		MemoryContextSwitchTo(spi);
		letters[i].unfit |= letters[i].error != NULL ||
			rc_message_too_large(&of.size) != NULL;
	}
	rc_query_end(&scope);
	return letters;
}

static void
measure(void *arg)
{
	Measure    *of = (Measure *) arg;

	rc_message_measure(rc_column_any(of->row, 4), rc_column_any(of->row, 5),
					   rc_column_any(of->row, 6), RC_MAX_HEADERS + ID_BYTES,
					   &of->size);
	of->size.headers -= Min(of->size.headers, ID_BYTES);
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

/* Whether the letter's owner may write to its topic now. */
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
 * Insert into the outbox, oldest first; returns the number inserted.  If the
 * statement fails, each letter is inserted on its own, and those that fail get
 * their error.
 */
static int64
put_back(Letter **letters, int n)
{
	int64	   *ids = palloc(sizeof(int64) * Max(n, 1));
	Batch		all = {ids, n, 0};

	for (int i = 0; i < n; i++)
		ids[i] = letters[i]->id;
	if (n == 0 || try_step(insert_batch, &all) == NULL)
		return all.done;

	all.done = 0;
	for (int i = 0; i < n; i++)
	{
		Batch		one = {&ids[i], 1, 0};

		letters[i]->error = try_step(insert_batch, &one);
		all.done += letters[i]->error == NULL ? one.done : 0;
	}
	return all.done;
}

/*
 * Run a step in a subtransaction.  Returns the error that rolled it back, or
 * NULL.  A transient error is rethrown, since no letter is at fault; damage on
 * disk is not transient, although its class counts as that elsewhere.
 */
static ErrorData *
try_step(RcStep step, void *arg)
{
	ErrorData  *error = rc_subtransaction_try(step, arg);

	if (error != NULL && rc_error_is_transient(error->sqlerrcode) &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTERNAL_ERROR)
		ReThrowError(error);
	return error;
}

/*
 * Restore the messages as they were, without the header rappel_conso-id that
 * was added to the dead letter.  ON CONFLICT skips those that another session
 * has just put back.
 */
static void
insert_batch(void *arg)
{
	Batch	   *batch = (Batch *) arg;
	RcParams	params = {0};

	rc_param_ids(&params, batch->ids, batch->n);
	batch->done = (int64) rc_execute("INSERT INTO rappel_conso.outbox"
									 " (message_id, topic, key, value, headers, origin, owner, dead_letter)"
									 " SELECT COALESCE(d.message_id, pg_catalog.gen_random_uuid()),"
									 "  d.topic, d.key, d.value,"
									 "  NULLIF(d.headers - 'rappel_conso-id', '{}'), d.name,"
									 "  d.owner, d.id FROM rappel_conso.dead_letter d"
									 " WHERE d.id = ANY ($1) ORDER BY d.id"
									 " ON CONFLICT DO NOTHING", &params);
}
