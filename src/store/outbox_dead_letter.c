/*-------------------------------------------------------------------------
 *
 * outbox_dead_letter.c
 *	  Moves messages of the outbox to the dead letters.
 *
 * This must not fail because of damage on disk: a message that can neither be
 * sent nor moved would block its topic forever.  Columns that cannot be read
 * are lost; the dead letter says so and cannot be published again.
 *
 *-------------------------------------------------------------------------
 */
#include "store/outbox_dead_letter.h"

#include "access/xact.h"
#include "utils/memutils.h"

#include "store/outbox_topics.h"
#include "store/query.h"
#include "store/subtransaction.h"

/* The columns of a message that may be toasted. */
#define NCOLUMNS	3

static const char *const columns[NCOLUMNS] = {"key", "value", "headers"};

static bool to_dead_letters_if_whole(const RcDeadMessages *dead);
static void to_dead_letters_step(void *arg);
static bool is_whole(RcStep step, void *arg);
static void to_dead_letters(const RcDeadMessages *dead, const bool *lost);
static void salvage_to_dead_letter(const RcDeadMessages *dead,
								   const RcOutboxRow *row);
static char *find_lost(const RcOutboxRow *row, bool *lost);
static bool can_be_read(NullableDatum value);
static void detoast(void *arg);

/*
 * Move messages to the dead letters, with this error.  A message that was put
 * back from a dead letter updates that one.  "bare" headers are kept as they
 * are, because they are too large or cannot be read; otherwise the message's
 * id is added to them, as a consumer would see it.  An existing dead letter
 * that is intact, while its message in the outbox is damaged, keeps its own
 * error.
 */
void
rc_outbox_to_dead_letters(const RcDeadMessages *dead)
{
	if (ERRCODE_TO_CATEGORY(dead->sqlstate) != ERRCODE_INTERNAL_ERROR &&
		to_dead_letters_if_whole(dead))
		return;
	for (int i = 0; i < dead->n; i++)
		salvage_to_dead_letter(dead, &dead->rows[i]);
}

/* Returns false, and moves nothing, if one of them is damaged on disk. */
static bool
to_dead_letters_if_whole(const RcDeadMessages *dead)
{
	return is_whole(to_dead_letters_step, unconstify(RcDeadMessages *, dead));
}

static void
to_dead_letters_step(void *arg)
{
	static const bool none[NCOLUMNS] = {false};

	to_dead_letters((const RcDeadMessages *) arg, none);
}

/* Returns false, and rolls back the step, if it ran into damage on disk. */
static bool
is_whole(RcStep step, void *arg)
{
	ErrorData  *error = rc_subtransaction_try(step, arg);

	if (error == NULL)
		return true;
	if (ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTERNAL_ERROR)
		ReThrowError(error);
	FreeErrorData(error);
	return false;
}

/* Move what can be read of one message. */
static void
salvage_to_dead_letter(const RcDeadMessages *dead, const RcOutboxRow *row)
{
	RcDeadMessages one = *dead;
	bool		lost[NCOLUMNS];
	char	   *names = find_lost(row, lost);

	one.rows = row;
	one.n = 1;
	if (names != NULL)
	{
		one.sqlstate = ERRCODE_DATA_CORRUPTED;
		one.message = psprintf(gettext_noop("%s (lost: %s)"), dead->message, names);
		one.bare = true;
	}
	to_dead_letters(&one, lost);
}

static void
to_dead_letters(const RcDeadMessages *dead, const bool *lost)
{
	RcQueryScope scope;
	RcParams	params = {0};
	RcParams	rows = {0};

	rc_param_rows(&params, dead->rows, dead->n);
	rc_param_text(&params, unpack_sql_state(dead->sqlstate));
	rc_param_error_text(&params, dead->message);
	rc_param_bool(&params, dead->bare);
	for (int i = 0; i < NCOLUMNS; i++)
		rc_param_bool(&params, lost[i]);
	rc_param_rows(&rows, dead->rows, dead->n);
	rc_query_begin(&scope);
	rc_outbox_by_index();
	/* a role that takes the owner's name later must not publish it */
	rc_query("INSERT INTO rappel_conso.known_role (name, oid)"
			 " SELECT DISTINCT o.owner, COALESCE(r.oid, 0)"
			 " FROM rappel_conso.outbox o"
			 " LEFT JOIN pg_catalog.pg_roles r ON r.rolname = o.owner"
			 " WHERE " RC_IS_OUTBOX_ROW " AND NOT EXISTS (SELECT"
			 "  FROM rappel_conso.known_role k WHERE k.name = o.owner)"
			 " ON CONFLICT DO NOTHING", &rows);

	/*
	 * never copy a row of the outbox as a whole here: that would read all of
	 * its columns
	 */
	rc_query("WITH again AS (UPDATE rappel_conso.dead_letter d"
			 "  SET sqlstate = CASE WHEN $7 OR $8 OR $9 THEN d.sqlstate ELSE $4 END,"
			 "  message = CASE WHEN $7 OR $8 OR $9 THEN d.message ELSE $5 END,"
			 "  attempts = d.attempts + 1 FROM rappel_conso.outbox o"
			 "  WHERE " RC_IS_OUTBOX_ROW " AND d.id = o.dead_letter)"
			 " INSERT INTO rappel_conso.dead_letter (origin, name, topic, key, value,"
			 "  headers, message_id, sqlstate, message, owner)"
			 " SELECT 'outbox', o.origin, o.topic,"
			 "  CASE WHEN NOT $7 THEN o.key END, CASE WHEN NOT $8 THEN o.value END,"
			 "  CASE WHEN $9 THEN NULL WHEN $6 THEN o.headers"
			 "   ELSE COALESCE(o.headers, '{}')"
			 "   || pg_catalog.jsonb_build_object('rappel_conso-id', o.message_id) END,"
			 "  o.message_id, $4, $5, o.owner FROM rappel_conso.outbox o"
			 " WHERE " RC_IS_OUTBOX_ROW
			 " AND NOT EXISTS (SELECT FROM rappel_conso.dead_letter d"
			 "  WHERE d.id = o.dead_letter) ORDER BY o.id", &params);
	rc_query("DELETE FROM rappel_conso.outbox o WHERE " RC_IS_OUTBOX_ROW,
			 &rows);
	rc_query_end(&scope);
}

/*
 * Find the columns of a message that cannot be read.  Returns their names, for
 * the error message, or NULL if there are none.
 */
static char *
find_lost(const RcOutboxRow *row, bool *lost)
{
	RcQueryScope scope;
	RcParams	params = {0};
	uint64		n;
	char	   *names = NULL;

	rc_param_rows(&params, row, 1);
	rc_query_begin(&scope);
	rc_outbox_by_index();
	n = rc_query("SELECT o.key, o.value, o.headers FROM rappel_conso.outbox o"
				 " WHERE " RC_IS_OUTBOX_ROW, &params);
	for (int i = 0; i < NCOLUMNS; i++)
		lost[i] = n > 0 && !can_be_read(rc_column_any(0, i + 1));
	rc_query_end(&scope);
	for (int i = 0; i < NCOLUMNS; i++)
	{
		if (lost[i])
			names = names == NULL ? pstrdup(columns[i]) :
				psprintf("%s, %s", names, columns[i]);
	}
	return names;
}

static bool
can_be_read(NullableDatum value)
{
	return value.isnull || is_whole(detoast, &value);
}

static void
detoast(void *arg)
{
	Datum		value = ((NullableDatum *) arg)->value;
	struct varlena *whole = PG_DETOAST_DATUM(value);

	if ((Pointer) whole != DatumGetPointer(value))
		pfree(whole);
}
