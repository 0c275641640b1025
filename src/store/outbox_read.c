/*-------------------------------------------------------------------------
 *
 * outbox_read.c
 *	  Reads messages from the outbox, deletes those that Kafka has confirmed,
 *	  and records the topics that wait for a retry.
 *
 * A message is deleted only when Kafka has confirmed it, or in the transaction
 * that makes it a dead letter (outbox_dead_letter.c): each is sent at least
 * once.
 *
 *-------------------------------------------------------------------------
 */
#include "store/outbox_read.h"

#include "access/xact.h"
#include "catalog/pg_type.h"
#include "utils/array.h"
#include "utils/builtins.h"
#include "utils/guc.h"
#include "utils/memutils.h"

#include "store/error_class.h"
#include "store/message.h"
#include "store/outbox_topics.h"
#include "store/query.h"
#include "store/subtransaction.h"

/* The problem of a message that cannot be read, with the error's message. */
#define UNREADABLE	gettext_noop("could not read the message: %s")

/* A message to be read in a subtransaction. */
typedef struct Reading
{
	int			row;
	RcMessageTake take;
	void	   *arg;
	RcMessage  *message;		/* NULL: "take" has declined it */
	bool		asked;			/* "take" has been called, or is about to be */
} Reading;

static RcMessage *read_message(int row, RcMessageTake take, void *arg,
							   bool *asked);
static RcMessage *read_alone(int row, RcMessageTake take, void *arg);
static void read_step(void *arg);
static RcOutboxRow read_place(int row);
static char *unreadable(const ErrorData *error);
static uint64 delete_in_place(const RcOutboxRow *rows, int n);
static Datum text_array(char **values, int n);

/*
 * The oldest messages of these topics, at most "limit" in all, that "take"
 * accepts: a list of RcMessage ordered by id, in the current context.  Key,
 * value and headers of the others are not detoasted.
 *
 * "one_by_one" is set after a call has failed: each message is read in a
 * subtransaction, and an error becomes the problem of that message.
 */
List *
rc_outbox_read(char **topics, int ntopics, int limit, bool one_by_one,
			   RcMessageTake take, void *arg)
{
	RcQueryScope scope;
	RcParams	params = {0};
	List	   *messages = NIL;
	uint64		n;

	rc_param_datum(&params, TEXTARRAYOID, text_array(topics, ntopics));

	/*
	 * divide the limit, or the topics with the newest messages would wait for
	 * all others
	 */
	rc_param_int4(&params, Max(limit / ntopics, 1));
	rc_param_int4(&params, limit);
	rc_query_begin(&scope);
	rc_outbox_by_index();
	n = rc_query("SELECT m.id, m.topic, m.key, m.value, m.headers, m.message_id, m.ctid"
				 " FROM pg_catalog.unnest($1) AS t (topic)"
				 " CROSS JOIN LATERAL (SELECT o.id, o.topic, o.key, o.value, o.headers, o.message_id, o.ctid"
				 "  FROM rappel_conso.outbox o"
				 "  WHERE o.topic >= t.topic AND o.topic <= t.topic"
				 "  ORDER BY o.topic, o.id LIMIT $2) m"
				 " ORDER BY m.id LIMIT $3", &params);
	for (uint64 i = 0; i < n; i++)
	{
		bool		asked;
		RcMessage  *message = one_by_one ? read_alone(i, take, arg) :
			read_message(i, take, arg, &asked);

		if (message != NULL)
			messages = rc_result_append(messages, message);
	}
	rc_query_end(&scope);
	return messages;
}

/*
 * Read one message, in the context outside of SPI; NULL if "take" declines it.
 * *asked is set before "take" is called.
 */
static RcMessage *
read_message(int row, RcMessageTake take, void *arg, bool *asked)
{
	RcMessage  *message = SPI_palloc(sizeof(RcMessage));
	RcRecord   *record = &message->record;
	NullableDatum headers = rc_column_any(row, 5);
	MemoryContext old;

	memset(message, 0, sizeof(RcMessage));
	message->row = read_place(row);
	record->topic = rc_column_text(row, 2);
	record->partition = -1;
	record->offset = record->timestamp_ms = -1;
	rc_message_measure(rc_column_any(row, 3), rc_column_any(row, 4), headers,
					   RC_MAX_HEADERS, &message->size);
	*asked = true;
	if (!take(arg, message))
	{
		pfree(unconstify(char *, record->topic));
		pfree(message);
		return NULL;
	}
	old = MemoryContextSwitchTo(rc_query_result_context());
	message->problem = rc_message_too_large(&message->size);
	if (message->problem != NULL)
		message->sqlstate = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
	else
	{
		record->headers = rc_message_headers(headers.value, headers.isnull,
											 rc_column_text(row, 6),
											 &record->nheaders);
		record->key = rc_column_bytes(row, 3, &record->key_len);
		record->value = rc_column_bytes(row, 4, &record->value_len);
	}
	MemoryContextSwitchTo(old);
	return message;
}

/*
 * Read one message in a subtransaction.  A transient error is rethrown, since
 * it is not the message's fault; damage on disk is not transient, although its
 * class counts as that elsewhere.  A message whose size cannot be determined
 * is offered to "take" as well, because messages of a topic are taken in
 * order.
 */
static RcMessage *
read_alone(int row, RcMessageTake take, void *arg)
{
	Reading		reading = {row, take, arg};
	ErrorData  *error = rc_subtransaction_try(read_step, &reading);
	RcMessage  *message = reading.message;

	if (error != NULL)
	{
		if (rc_error_is_transient(error->sqlerrcode) &&
			ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTERNAL_ERROR)
			ReThrowError(error);
		message = SPI_palloc(sizeof(RcMessage));
		memset(message, 0, sizeof(RcMessage));
		message->row = read_place(row);
		message->record.topic = rc_column_text(row, 2);
		message->sqlstate = error->sqlerrcode;
		message->problem = unreadable(error);
	}
	if (message != NULL && !reading.asked && !take(arg, message))
		return NULL;
	return message;
}

static void
read_step(void *arg)
{
	Reading    *reading = (Reading *) arg;

	reading->message = read_message(reading->row, reading->take, reading->arg,
									&reading->asked);
}

static RcOutboxRow
read_place(int row)
{
	RcOutboxRow place;

	place.id = rc_column_int8(row, 1, 0);
	place.place = *(ItemPointer) DatumGetPointer(rc_column_any(row, 7).value);
	return place;
}

static char *
unreadable(const ErrorData *error)
{
	Size		size = strlen(UNREADABLE) + strlen(error->message) + 1;
	char	   *problem = SPI_palloc(size);

	snprintf(problem, size, UNREADABLE, error->message);
	return problem;
}

static Datum
text_array(char **values, int n)
{
	Datum	   *datums = palloc(sizeof(Datum) * Max(n, 1));

	for (int i = 0; i < n; i++)
		datums[i] = CStringGetTextDatum(values[i]);
	return PointerGetDatum(construct_array(datums, n, TEXTOID, -1, false,
										   TYPALIGN_INT));
}

/*
 * Delete messages that Kafka has confirmed.  Dead letters from which they were
 * put back are resolved.  Rows are looked for where they were read; by their
 * ids if a user has updated them.
 */
void
rc_outbox_delete(const RcOutboxRow *rows, int n)
{
	RcQueryScope scope;
	RcParams	params = {0};
	int64	   *ids;

	if (delete_in_place(rows, n) == n)
		return;
	ids = palloc(sizeof(int64) * n);
	for (int i = 0; i < n; i++)
		ids[i] = rows[i].id;
	rc_param_ids(&params, ids, n);
	rc_query_begin(&scope);
	rc_outbox_by_index();
	rc_query("WITH gone AS (DELETE FROM rappel_conso.outbox"
			 "  WHERE id = ANY ($1) RETURNING dead_letter)"
			 " UPDATE rappel_conso.dead_letter d"
			 " SET resolved_at = pg_catalog.clock_timestamp(),"
			 " attempts = d.attempts + 1"
			 " FROM gone g WHERE d.id = g.dead_letter", &params);
	rc_query_end(&scope);
}

/* Returns how many have been there. */
static uint64
delete_in_place(const RcOutboxRow *rows, int n)
{
	RcQueryScope scope;
	RcParams	params = {0};
	Datum	   *places = palloc(sizeof(Datum) * n);
	int64	   *ids = palloc(sizeof(int64) * n);
	uint64		deleted;

	for (int i = 0; i < n; i++)
	{
		places[i] = PointerGetDatum(&rows[i].place);
		ids[i] = rows[i].id;
	}
	rc_param_ids(&params, ids, n);
	rc_param_datum(&params, TIDARRAYOID,
				   PointerGetDatum(construct_array(places, n, TIDOID,
												   sizeof(ItemPointerData),
												   false, TYPALIGN_SHORT)));
	rc_query_begin(&scope);
	rc_outbox_by_index();
	rc_query("WITH gone AS (DELETE FROM rappel_conso.outbox o"
			 "  USING ROWS FROM (pg_catalog.unnest($1), pg_catalog.unnest($2)) AS u (id, place)"
			 "  WHERE o.ctid = u.place AND o.id = u.id RETURNING o.dead_letter),"
			 " resolved AS (UPDATE rappel_conso.dead_letter d"
			 "  SET resolved_at = pg_catalog.clock_timestamp(),"
			 "  attempts = d.attempts + 1"
			 "  FROM gone g WHERE d.id = g.dead_letter)"
			 " SELECT count(*) FROM gone", &params);
	deleted = (uint64) rc_column_int8(0, 1, 0);
	rc_query_end(&scope);
	return deleted;
}

/*
 * Store the state of the outbox worker: "running" or "waiting", with an error
 * or, without one (error NULL), keeping the newest.
 */
void
rc_outbox_state_set(const char *state, int sqlstate, const char *error,
					const char *hint)
{
	RcParams	params = {0};

	rc_param_text(&params, state);
	rc_param_text(&params, error ? unpack_sql_state(sqlstate) : NULL);
	rc_param_error_text(&params, error);
	rc_param_error_text(&params, hint);
	if (error == NULL)
		rc_execute("INSERT INTO rappel_conso.outbox_state AS t (state)"
				   " VALUES ($1) ON CONFLICT (one) DO UPDATE SET state = $1"
				   " WHERE t.state <> $1", &params);
	else
		rc_execute("INSERT INTO rappel_conso.outbox_state AS t"
				   " (state, sqlstate, error, hint, last_error_at)"
				   " VALUES ($1, $2, $3, $4, pg_catalog.clock_timestamp())"
				   " ON CONFLICT (one) DO UPDATE SET state = $1,"
				   " sqlstate = $2, error = $3, hint = $4,"
				   " last_error_at = EXCLUDED.last_error_at", &params);
}

/*
 * Store that messages for this topic wait until retry_at; other topics
 * continue.
 */
void
rc_outbox_topic_waits(const char *topic, int failures, TimestampTz retry_at,
					  int sqlstate, const char *error, const char *hint)
{
	RcParams	params = {0};

	rc_param_text(&params, topic);
	rc_param_int4(&params, failures);
	rc_param_time(&params, retry_at);
	rc_param_text(&params, unpack_sql_state(sqlstate));
	rc_param_error_text(&params, error);
	rc_param_error_text(&params, hint);
	rc_execute("INSERT INTO rappel_conso.outbox_topic AS t"
			   " (topic, failures, retry_at, sqlstate, error, hint)"
			   " VALUES ($1, $2, $3, $4, $5, $6)"
			   " ON CONFLICT (topic) DO UPDATE SET failures = $2, retry_at = $3,"
			   " sqlstate = $4, error = $5, hint = $6,"
			   " last_error_at = pg_catalog.clock_timestamp()", &params);
}

/* Messages for this topic need not wait any more. */
void
rc_outbox_topic_goes(const char *topic)
{
	RcParams	params = {0};

	rc_param_text(&params, topic);
	rc_execute("DELETE FROM rappel_conso.outbox_topic WHERE topic = $1",
			   &params);
}
