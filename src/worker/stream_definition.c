/*-------------------------------------------------------------------------
 *
 * stream_definition.c
 *	  Opens a stream as currently defined, and checks whether the open
 *	  definition is still current: the row, its offsets, the grants of its
 *	  owner.
 *
 * Nothing is fetched or applied here: see stream_consumer.c.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/stream_consumer.h"

#include "run_header.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Wait of a run before it checks again for a missing topic, in ms. */
#define POLL_INTERVAL_MS		5000

static void close_stream(RcStreamConsumer *consumer);
static void wait_for_topic(RcConsumption *c);
static void report_table_made(const RcStream *stream);
static void open_kafka(RcStreamConsumer *consumer, const RcStream *stream,
					   int number);
static bool definition_current(RcConsumption *c);
static bool granted(RcConsumption *c);

/* Make a consumer of one stream; it exists as long as the process. */
RcStreamConsumer *
rc_stream_consumer_create(void)
{
	return MemoryContextAllocZero(TopMemoryContext, sizeof(RcStreamConsumer));
}

/* Close the Kafka client and the definition; also after an error. */
void
rc_stream_close(RcStreamConsumer *consumer)
{
	if (consumer->kafka)
		rc_kafka_close(consumer->kafka);
	consumer->kafka = NULL;
	close_stream(consumer);
}

/* Close only the definition: the Kafka client is kept for the next one. */
static void
close_stream(RcStreamConsumer *consumer)
{
	RcConsumption *c = consumer->current;

	consumer->current = NULL;
	if (c == NULL)
		return;
	if (c->applier)
		rc_applier_close(c->applier);
	MemoryContextDelete(c->context);
}

/*
 * Load the definition, run its setup and assign its partitions.  Returns false
 * if the stream was deleted or paused, its topics do not exist yet, or it
 * changed meanwhile.
 */
bool
rc_consumption_open(RcStreamConsumer *consumer, const char *name, int number,
					bool even_paused)
{
	MemoryContext context;
	RcConsumption *c;

	close_stream(consumer);
	context = AllocSetContextCreate(TopMemoryContext, "rappel_conso stream",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	c = palloc0(sizeof(RcConsumption));
	c->consumer = consumer;
	c->context = context;
	c->batch_context = AllocSetContextCreate(context, "rappel_conso stream batch",
											 ALLOCSET_DEFAULT_SIZES);
	c->number = number;
	consumer->current = c;

	rc_statement_expect();
	rc_transaction_begin_in(context);
	c->stream = rc_stream_load(name);
	c->run_prefix = rc_run_header_prefix();
	rc_stream_begin(name);
	rc_proof_expect(consumer, rc_stream_unproven(name));
	rc_transaction_commit();
	if (c->stream == NULL || (c->stream->paused && !even_paused))
		return false;

	rc_transaction_begin();
	rc_check_grants(c->stream->owner, c->stream->owner_name,
					c->stream->topics, c->stream->output_topic, name);
	if (rc_applier_setup(c->stream))
		report_table_made(c->stream);
	rc_transaction_commit();
	c->applier = rc_applier_open(c->stream);

	open_kafka(consumer, c->stream, number);
	c->kafka = consumer->kafka;
	if (!rc_partitions_assign(c) && !c->stale)
	{
		wait_for_topic(c);
		return false;
	}
	if (c->stale)
		return false;
	if (!rc_proof_wanted(c))
		rc_consume_show(c, NULL);
	return true;
}

/*
 * None of the topics exists.  A stream worker exits, since it would occupy a
 * slot for nothing: see rc_stream_postponed().
 */
static void
wait_for_topic(RcConsumption *c)
{
	char	   *why = psprintf(gettext_noop("topic \"%s\" does not exist"),
							   (char *) linitial(c->stream->topics));

	if (c->number < 0)
	{
		rc_consume_show(c, why);
		rc_worker_wait(POLL_INTERVAL_MS);
		return;
	}
	rc_transaction_begin();
	rc_stream_postpone(c->stream->name, why);
	rc_transaction_commit();
}

/*
 * Warn that setup has re-created a table to which records had been applied:
 * only the user knows whether to apply them again.
 */
static void
report_table_made(const RcStream *stream)
{
	static const char *const detail = gettext_noop("a table was missing and was re-created; it lacks the rows that were applied before");
	ListCell   *lc;
	bool		applied = false;

	foreach(lc, rc_offsets_load(stream->name))
		applied |= ((RcOffset *) lfirst(lc))->last_offset >= 0;
	if (!applied)
		return;
	rc_stream_state_set(stream->name, "running", detail);
	ereport(WARNING,
			(errcode(ERRCODE_UNDEFINED_TABLE),
			 errmsg("stream \"%s\": %s", stream->name, detail),
			 errhint("SELECT rc_seek('%s', 'earliest') applies everything that is in its topics again.",
					 stream->name)));
}

/*
 * Open a consumer with the current settings and secrets, in the stream's
 * consumer group, unless it is open.
 */
static void
open_kafka(RcStreamConsumer *consumer, const RcStream *stream, int number)
{
	char	   *client = rc_client_id(stream->name);
	const char *group = stream->group_id != NULL ? stream->group_id : client;

	if (consumer->kafka != NULL && !rc_kafka_stale(consumer->kafka) &&
		strcmp(consumer->group, group) == 0)
		return;
	if (consumer->kafka != NULL)
		rc_kafka_close(consumer->kafka);
	consumer->kafka = NULL;
	strlcpy(consumer->group, group, sizeof(consumer->group));
	consumer->kafka = rc_kafka_open(RC_KAFKA_CONSUMER,
									number < 0 ? client :
									psprintf("%s.%d", client, number), group);
	rc_kafka_stop_when(consumer->kafka, rc_statement_changed);
}

/*
 * Whether the open definition and the grants are still current.  If not,
 * polled_at is left alone, so that the next call checks again.
 */
bool
rc_consumption_wanted(RcConsumption *c)
{
	if (!definition_current(c) || !granted(c))
		return false;
	c->polled_at = GetCurrentTimestamp();
	return true;
}

/* Whether the open definition has been changed since. */
bool
rc_stream_stale(const RcStreamConsumer *consumer)
{
	RcConsumption *c = consumer->current;

	return c != NULL && c->stream != NULL && !definition_current(c);
}

/*
 * Whether the row of the stream and its epochs are those that were opened, and
 * its owner is still the same role.
 */
static bool
definition_current(RcConsumption *c)
{
	RcStream   *now = NULL;
	bool		same;

	rc_transaction_begin_in(c->batch_context);
	if (rc_extension_present())
		now = rc_stream_load(c->stream->name);
	same = now != NULL && strcmp(now->version, c->stream->version) == 0 &&
		now->owner == c->stream->owner;
	if (same)
	{
		ListCell   *lc;

		foreach(lc, rc_offsets_load(c->stream->name))
		{
			RcOffset   *offset = (RcOffset *) lfirst(lc);

			for (int i = 0; i < c->n; i++)
			{
				if (c->offsets[i].partition == offset->partition &&
					strcmp(c->offsets[i].topic, offset->topic) == 0 &&
					c->offsets[i].epoch != offset->epoch)
					same = false;
			}
		}
	}
	rc_transaction_commit();
	MemoryContextReset(c->batch_context);
	return same;
}

/* Whether the owner may still read and write the stream's topics. */
static bool
granted(RcConsumption *c)
{
	bool		granted;

	rc_transaction_begin();
	granted = rc_grants_suffice(c->stream);
	rc_transaction_commit();
	return granted;
}
