/*-------------------------------------------------------------------------
 *
 * outbox_topic.c
 *	  The topics that the outbox worker knows, the current batch of each, and
 *	  Kafka's answers.
 *
 * Nothing here accesses a table or waits: this is the state of outbox_worker.c
 * and outbox_settle.c, and must be right whatever error interrupts them.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_worker.h"

#include "utils/hsearch.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Backoff between two attempts for a topic, in ms. */
#define MIN_BACKOFF		500
#define MAX_BACKOFF		60000

/* A first failure after so long is reported at once, in ms. */
#define REPORT_AFTER	5000

/* A batch in flight for longer than this counts as slow, in ms. */
#define SLOW_AFTER		1000

static MemoryContext context = NULL;
static HTAB *topics = NULL;
static RcOutTopic **by_number = NULL;
static int	ntopics = 0;
static int	by_number_size = 0;

/* More topics have messages than are kept in memory at a time. */
static bool there_are_many = false;

static void make_table(void);
static bool is_idle(const RcOutTopic *topic);
static bool is_slow(const RcOutTopic *topic);
static void count_bytes(const RcOutTopic *topic, int64 n, RcOutBytes *bytes);
static void keep_text(char **kept, const char *text);

/*
 * The topic of that name, valid until rc_out_forget_idle().  If it is not
 * known it is added if "create", else NULL is returned.
 */
RcOutTopic *
rc_out_topic(const char *name, bool create)
{
	RcOutTopic *topic;
	bool		found;

	if (topics == NULL)
		make_table();
	if (!create)
		return hash_search(topics, name, HASH_FIND, NULL);
	if (ntopics >= by_number_size)
	{
		by_number_size *= 2;
		by_number = repalloc_huge(by_number,
								  sizeof(RcOutTopic *) * by_number_size);
	}
	topic = hash_search(topics, name, HASH_ENTER, &found);
	if (!found)
	{
		memset((char *) topic + sizeof(topic->name), 0,
			   sizeof(RcOutTopic) - sizeof(topic->name));
		topic->number = ntopics;
		by_number[ntopics++] = topic;
	}
	return topic;
}

static void
make_table(void)
{
	HASHCTL		control = {0};

	if (context == NULL)
		context = AllocSetContextCreate(TopMemoryContext,
										"rappel_conso outbox topics",
										ALLOCSET_DEFAULT_SIZES);
	by_number_size = 64;
	by_number = MemoryContextAlloc(context,
								   sizeof(RcOutTopic *) * by_number_size);
	control.keysize = sizeof(((RcOutTopic *) NULL)->name);
	control.entrysize = sizeof(RcOutTopic);
	control.hcxt = context;
	topics = hash_create("rappel_conso outbox topics", 64, &control,
						 HASH_ELEM | HASH_STRINGS | HASH_CONTEXT);
}

/* A topic by its number, from 0; NULL after the last one. */
RcOutTopic *
rc_out_topic_at(int number)
{
	return number < ntopics ? by_number[number] : NULL;
}

/*
 * Remove topics that have no state worth keeping, so that their number stays
 * limited.  With "many", the stored row of a waiting topic is enough.  The
 * last topic takes the number of a removed one, unless reports tagged with its
 * own number are due.
 */
void
rc_out_forget_idle(bool many)
{
	there_are_many = many;

	for (int i = ntopics - 1; i >= 0; i--)
	{
		RcOutTopic *topic = by_number[i];
		RcOutTopic *last = by_number[ntopics - 1];

		if (!is_idle(topic) || last->nopen > 0)
			continue;
		last->number = i;
		by_number[i] = last;
		ntopics--;
		keep_text(&topic->refusal, NULL);
		keep_text(&topic->error, NULL);
		keep_text(&topic->hint, NULL);
		if (topic->sent != NULL)
			pfree(topic->sent); /* left by rc_out_drop_batch() */
		(void) hash_search(topics, topic->name, HASH_REMOVE, NULL);
	}
}

/*
 * Whether a topic can be removed.  One that the producer knows cannot:
 * RC_OUT_READY counts those, to limit them.
 */
static bool
is_idle(const RcOutTopic *topic)
{
	return !topic->has_messages && topic->nsent == 0 && !topic->changed &&
		(there_are_many || (topic->failures == 0 && !topic->has_row)) &&
		topic->phase != RC_TOPIC_READY && topic->phase != RC_TOPIC_MAKING;
}

bool
rc_out_waits(const RcOutTopic *topic, TimestampTz now)
{
	return topic->retry_at > now;
}

/*
 * Make the topic wait for its next attempt, with exponential backoff.  A first
 * connection failure is not reported unless it took long: a partition of a new
 * topic has no leader for a moment.
 */
void
rc_out_wait(RcOutTopic *topic, int sqlstate, const char *error,
			const char *hint)
{
	int			backoff = MIN_BACKOFF << Min(topic->failures, 7);

	topic->failures++;
	topic->phase = RC_TOPIC_NEW;
	topic->retry_at = TimestampTzPlusMilliseconds(GetCurrentTimestamp(),
												  Min(backoff, MAX_BACKOFF));
	if (topic->failures == 1 && sqlstate == ERRCODE_CONNECTION_FAILURE &&
		!there_are_many &&
		!(topic->nsent > 0 && rc_time_passed(topic->sent_at, REPORT_AFTER)))
		return;
	if (topic->error == NULL || strcmp(topic->error, error) != 0)
		ereport(LOG,
				(errcode(sqlstate),
				 errmsg("messages for topic \"%s\" are waiting: %s", topic->name,
						error),
				 hint ? errhint("%s", hint) : 0));
	keep_text(&topic->error, error);
	topic->sqlstate = sqlstate;
	keep_text(&topic->hint, hint);
	topic->changed = true;
}

/* Restore the wait of a topic that was removed from memory, from its row. */
void
rc_out_resume_wait(RcOutTopic *topic, const RcOutboxTopic *row)
{
	topic->failures = row->failures;
	topic->retry_at = row->retry_at;
	topic->sqlstate = rc_sqlstate(row->sqlstate);
	keep_text(&topic->error, row->error);
	keep_text(&topic->hint, row->hint);
}

/* End the wait of a topic. */
void
rc_out_wait_over(RcOutTopic *topic)
{
	topic->failures = 0;
	topic->retry_at = 0;
	keep_text(&topic->error, NULL);
	keep_text(&topic->hint, NULL);
	topic->changed = topic->has_row;
}

/* The topic is permanently rejected: its messages become dead letters. */
void
rc_out_refuse(RcOutTopic *topic, int sqlstate, const char *error)
{
	keep_text(&topic->refusal, error);
	topic->refusal_sqlstate = sqlstate;
	topic->retry_at = 0;
	topic->phase = RC_TOPIC_REFUSED;
}

/* Add a message to the topic's batch. */
void
rc_out_add(RcOutTopic *topic, const RcOutboxRow *row, int64 bytes)
{
	if (topic->nsent >= topic->sent_size)
	{
		int			size = Max(16, topic->sent_size * 2);

		if (topic->sent == NULL)
			topic->sent = MemoryContextAlloc(context, size * sizeof(RcSent));
		else
			topic->sent = repalloc(topic->sent, size * sizeof(RcSent));
		topic->sent_size = size;
	}
	if (topic->nsent == 0)
		topic->aside = false;
	memset(&topic->sent[topic->nsent], 0, sizeof(RcSent));
	topic->sent[topic->nsent].row = *row;
	topic->nsent++;
	topic->bytes += bytes;
}

/* Drop the topic's batch, of which nothing has been, or will be, sent. */
void
rc_out_drop_batch(RcOutTopic *topic)
{
	topic->nsent = topic->next = 0;
	topic->bytes = 0;
	topic->full = false;
}

/* The tag of message i of the topic's batch in delivery reports. */
uint64
rc_out_tag(const RcOutTopic *topic, int i)
{
	return ((uint64) topic->number << 32) | (uint32) i;
}

/* Process the delivery report of a message. */
void
rc_out_answer(const RcAnswer *answer)
{
	RcOutTopic *topic = rc_out_topic_at((int) (answer->tag >> 32));
	RcSent	   *sent = &topic->sent[(uint32) answer->tag];

	Assert((int) (uint32) answer->tag < topic->nsent);
	Assert(sent->fate == RC_FATE_OPEN);
	sent->fate = RC_FATE_LEFT;
	topic->nopen--;
	switch (answer->outcome)
	{
		case RC_KAFKA_DONE:
			sent->fate = RC_FATE_DELIVERED;
			break;
		case RC_KAFKA_REFUSED:
			sent->refused = true;
			sent->sqlstate = answer->sqlstate;
			keep_text(&sent->error, answer->error);
			break;
		case RC_KAFKA_TOPIC_REFUSED:
			rc_out_dead(sent, answer->sqlstate,
						psprintf(gettext_noop("Kafka rejected the message: %s"), answer->error));
			break;
		case RC_KAFKA_LATER:
			rc_out_later(topic, answer->sqlstate, answer->error);
			break;
	}
}

/* Mark a message of the batch to become a dead letter. */
void
rc_out_dead(RcSent *sent, int sqlstate, const char *error)
{
	keep_text(&sent->error, error);
	sent->sqlstate = sqlstate;
	sent->fate = RC_FATE_DEAD;
}

/* Some messages of the batch are left for later; keep the first reason. */
void
rc_out_later(RcOutTopic *topic, int sqlstate, const char *error)
{
	if (topic->later_error != NULL)
		return;
	topic->later_sqlstate = sqlstate;
	keep_text(&topic->later_error, error);
}

/*
 * The current producer is replaced, and only reports on what it has in flight:
 * remember which batches those are.  The new producer has to look up all
 * topics.
 */
void
rc_out_put_aside(void)
{
	for (int i = 0; i < ntopics; i++)
	{
		RcOutTopic *topic = by_number[i];

		topic->aside |= topic->nopen > 0;
		if (topic->phase != RC_TOPIC_REFUSED)
			topic->phase = RC_TOPIC_NEW;
	}
}

/*
 * The current producer, or (with "aside") the replaced one, was closed: no
 * report will come for what it had in flight.
 */
void
rc_out_lost(bool aside)
{
	for (int i = 0; i < ntopics; i++)
	{
		RcOutTopic *topic = by_number[i];

		if (topic->aside != aside)
			continue;
		topic->aside = false;
		for (int k = 0; k < topic->nsent && topic->nopen > 0; k++)
		{
			if (topic->sent[k].fate != RC_FATE_OPEN)
				continue;
			topic->sent[k].fate = RC_FATE_LEFT;
			topic->nopen--;
		}
		if (topic->phase != RC_TOPIC_REFUSED)
			topic->phase = RC_TOPIC_NEW;
	}
}

/* Count the bytes of the batches in flight. */
void
rc_out_open_bytes(RcOutBytes *bytes)
{
	memset(bytes, 0, sizeof(RcOutBytes));
	for (int i = 0; i < ntopics; i++)
	{
		if (by_number[i]->nopen > 0)
			count_bytes(by_number[i], by_number[i]->bytes, bytes);
	}
}

/*
 * Whether one more message of the topic may be sent.  Slow topics, such as
 * those without a leader, have a limit of their own, so that they leave room
 * for others.
 */
bool
rc_out_room(const RcOutTopic *topic, const RcOutBytes *bytes)
{
	if (bytes->all >= RC_OPEN_LIMIT)
		return false;
	return is_slow(topic) ? bytes->slow < RC_SLOW_LIMIT :
		bytes->fresh < RC_BYTES_LIMIT;
}

/* Count bytes that are about to be added to the topic's batch. */
void
rc_out_more_bytes(const RcOutTopic *topic, int64 more, RcOutBytes *bytes)
{
	count_bytes(topic, topic->bytes + more, bytes);
	count_bytes(topic, -topic->bytes, bytes);
}

/*
 * Whether a topic failed the last time, or its batch has been in flight for
 * long.
 */
static bool
is_slow(const RcOutTopic *topic)
{
	return topic->failures > 0 ||
		(topic->nopen > 0 && rc_time_passed(topic->sent_at, SLOW_AFTER));
}

static void
count_bytes(const RcOutTopic *topic, int64 n, RcOutBytes *bytes)
{
	bytes->all += n;
	if (is_slow(topic))
		bytes->slow += n;
	else
		bytes->fresh += Max(Min(n, RC_BYTES_LIMIT / 2), -RC_BYTES_LIMIT / 2);
}

/* The number of topics in a state. */
int
rc_out_count(RcOutCount what)
{
	int			n = 0;

	for (int i = 0; i < ntopics; i++)
	{
		RcOutTopic *topic = by_number[i];

		switch (what)
		{
			case RC_OUT_WITH_MESSAGES:
				n += topic->has_messages;
				break;
			case RC_OUT_READY:
				n += topic->phase == RC_TOPIC_READY;
				break;
			case RC_OUT_MAKING:
				n += topic->phase == RC_TOPIC_MAKING;
				break;
			case RC_OUT_OPEN:
				n += topic->nopen > 0;
				break;
			case RC_OUT_UNSETTLED:
				n += topic->nsent > 0;
				break;
		}
	}
	return n;
}

/* Replace a text kept with the topic by a copy of another one; NULL: none. */
static void
keep_text(char **kept, const char *text)
{
	char	   *copy = text ? MemoryContextStrdup(context, text) : NULL;

	if (*kept != NULL)
		pfree(*kept);
	*kept = copy;
}
