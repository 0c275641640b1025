/*-------------------------------------------------------------------------
 *
 * outbox_read.c
 *	  Reads messages from the outbox, and records the topics that wait for a
 *	  retry.
 *
 * A message is deleted only when Kafka has confirmed it (outbox_delete.c), or
 * in the transaction that makes it a dead letter (outbox_dead_letter.c): each
 * is sent at least once.
 *
 *-------------------------------------------------------------------------
 */
#include "store/outbox_read.h"

#include "utils/builtins.h"
#include "utils/fmgrprotos.h"

#include "store/error_class.h"
#include "store/message.h"
#include "store/outbox_scan.h"
#include "store/outbox_topics.h"
#include "store/query.h"
#include "store/subtransaction.h"

/* The problem of a message that cannot be read, with the error's message. */
#define UNREADABLE	gettext_noop("could not read the message: %s")

typedef struct Reading
{
	MemoryContext results;		/* holds the messages */
	RcMessageTake take;
	void	   *arg;
	bool		one_by_one;
	List	   *messages;		/* read so far */

	/* the one that is being read */
	const RcStoredMessage *stored;
	RcMessage  *message;		/* NULL: "take" has declined it */
	bool		asked;			/* "take" has been called, or is about to be */
} Reading;

static void select_messages(char **topics, int ntopics, int limit,
							Reading *reading);
static bool read_message(void *arg, const RcStoredMessage *stored);
static void read_step(void *arg);
static void read_alone(Reading *reading);
static RcMessage *make_message(const RcStoredMessage *stored);
static const char *text_of_id(NullableDatum message_id);
static char *copy_bytes(NullableDatum value, int *len);

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
	Reading		reading = {
		.results = CurrentMemoryContext,
		.take = take,
		.arg = arg,
		.one_by_one = one_by_one
	};

	if (!rc_outbox_scan(topics, ntopics, limit, read_message, &reading))
		select_messages(topics, ntopics, limit, &reading);
	return reading.messages;
}

/* What rc_outbox_scan() does, by a query. */
static void
select_messages(char **topics, int ntopics, int limit, Reading *reading)
{
	RcQueryScope scope;
	RcParams	params = {0};
	uint64		n;

	rc_param_texts(&params, topics, ntopics);
	rc_param_int4(&params, Max(limit / ntopics, 1));
	rc_param_int4(&params, limit);
	rc_query_begin(&scope);
	rc_outbox_by_index();
	n = rc_query("SELECT m.id, t.n, m.key, m.value, m.headers, m.message_id, m.ctid"
				 " FROM pg_catalog.unnest($1) WITH ORDINALITY AS t (topic, n)"
				 " CROSS JOIN LATERAL (SELECT o.id, o.key, o.value, o.headers, o.message_id, o.ctid"
				 "  FROM rappel_conso.outbox o WHERE o.topic = t.topic"
				 "  ORDER BY o.id LIMIT $2) m"
				 " ORDER BY m.id LIMIT $3", &params);
	for (uint64 i = 0; i < n; i++)
	{
		RcStoredMessage stored;

		stored.row.topic = topics[rc_column_int8(i, 2, 0) - 1];
		stored.row.id = rc_column_int8(i, 1, 0);
		stored.row.place = *(ItemPointer) DatumGetPointer(rc_column_any(i, 7).value);
		stored.key = rc_column_any(i, 3);
		stored.value = rc_column_any(i, 4);
		stored.headers = rc_column_any(i, 5);
		stored.message_id = rc_column_any(i, 6);
		rc_outbox_row_set_id(&stored.row, stored.message_id);
		(void) read_message(reading, &stored);
	}
	rc_query_end(&scope);
}

/* RcStoredVisit: read a message, and add it to the list if "take" accepts it. */
static bool
read_message(void *arg, const RcStoredMessage *stored)
{
	Reading    *reading = (Reading *) arg;
	MemoryContext old = MemoryContextSwitchTo(reading->results);

	reading->stored = stored;
	reading->message = NULL;
	reading->asked = false;
	if (reading->one_by_one)
		read_alone(reading);
	else
		read_step(reading);
	if (reading->message != NULL)
		reading->messages = lappend(reading->messages, reading->message);
	MemoryContextSwitchTo(old);
	return reading->message != NULL;
}

static void
read_step(void *arg)
{
	Reading    *reading = (Reading *) arg;
	const RcStoredMessage *stored = reading->stored;
	RcMessage  *message = make_message(stored);
	RcRecord   *record = &message->record;

	rc_message_measure(stored->key, stored->value, stored->headers,
					   RC_MAX_HEADERS, &message->size);
	reading->asked = true;
	if (!reading->take(reading->arg, message))
	{
		pfree(message);
		return;
	}
	message->problem = rc_message_too_large(&message->size);
	if (message->problem != NULL)
		message->sqlstate = ERRCODE_PROGRAM_LIMIT_EXCEEDED;
	else
	{
		record->headers = rc_message_headers(stored->headers.value,
											 stored->headers.isnull,
											 text_of_id(stored->message_id),
											 &record->nheaders);
		record->key = copy_bytes(stored->key, &record->key_len);
		record->value = copy_bytes(stored->value, &record->value_len);
	}
	reading->message = message;
}

/*
 * Read one message in a subtransaction.  A transient error is rethrown, since
 * it is not the message's fault; damage on disk is not transient, although its
 * class counts as that elsewhere.  A message whose size cannot be determined
 * is offered to "take" as well, because messages of a topic are taken in
 * order.
 */
static void
read_alone(Reading *reading)
{
	ErrorData  *error = rc_subtransaction_try(read_step, reading);
	RcMessage  *message;

	if (error == NULL)
		return;
	if (rc_error_is_transient(error->sqlerrcode) &&
		ERRCODE_TO_CATEGORY(error->sqlerrcode) != ERRCODE_INTERNAL_ERROR)
		ReThrowError(error);
	message = make_message(reading->stored);
	message->sqlstate = error->sqlerrcode;
	message->problem = psprintf(UNREADABLE, error->message);
	if (reading->asked || reading->take(reading->arg, message))
		reading->message = message;
}

static RcMessage *
make_message(const RcStoredMessage *stored)
{
	RcMessage  *message = palloc0(sizeof(RcMessage));

	message->row = stored->row;
	message->record.topic = stored->row.topic;
	message->record.partition = -1;
	message->record.offset = message->record.timestamp_ms = -1;
	return message;
}

static const char *
text_of_id(NullableDatum message_id)
{
	return message_id.isnull ? "" :
		DatumGetCString(DirectFunctionCall1(uuid_out, message_id.value));
}

/* A bytea; *len is -1 for null. */
static char *
copy_bytes(NullableDatum value, int *len)
{
	bytea	   *bytes;
	char	   *copy;

	*len = -1;
	if (value.isnull)
		return NULL;
	bytes = DatumGetByteaPP(value.value);
	*len = VARSIZE_ANY_EXHDR(bytes);
	copy = palloc(*len);
	memcpy(copy, VARDATA_ANY(bytes), *len);
	if ((Pointer) bytes != DatumGetPointer(value.value))
		pfree(bytes);
	return copy;
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
