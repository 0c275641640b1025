/*-------------------------------------------------------------------------
 *
 * outbox_window.c
 *	  Which topics the publisher looks at: all that have messages, or, where
 *	  those are very many, some of them at a time.
 *
 * It must not keep more topics in memory than a window holds, those with a
 * batch under way, and those that the producer knows, however many there are
 * messages for.  A window is left once each of its topics has had its turn, or
 * after a short time, so that none keeps those of other windows waiting.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_worker.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Topics of a window. */
#define WINDOW_TOPICS	1000

/* How long a window lasts at most, in ms. */
#define WINDOW_TIME		1000

/* Between two reads of all that is readable of a damaged table, in ms. */
#define SCAN_INTERVAL	5000

/* Between two looks for rows of topics that no message waits for, in ms. */
#define SWEEP_INTERVAL	60000

/* Behind this topic the window begins; "": with the first one. */
static char begins_after[RC_TOPIC_NAME_MAX + 1] = "";
static TimestampTz since = 0;

/* Its last topic; "": there is none behind it. */
static char ends_with[RC_TOPIC_NAME_MAX + 1] = "";

/* There are more topics than this window has. */
static bool many = false;

/* Windows since the first one had something to do. */
static bool cycle_used = false;

static void move_window(void);
static bool all_had_turn(void);
static void note_topics(List *listed);
static void note_topic(const RcOutboxTopic *found);
static void note_damage(const char *error_text);

/*
 * See which topics have messages.  Where that cannot be read, the caller
 * aborts and calls rc_out_list_readable().
 */
void
rc_out_list_topics(void)
{
	bool		were_many = many;
	List	   *listed;

	Assert(IsTransactionState());
	move_window();
	listed = rc_outbox_topics(begins_after[0] ? begins_after : NULL,
							  WINDOW_TOPICS);
	if (list_length(listed) == WINDOW_TOPICS)
		strlcpy(ends_with, ((RcOutboxTopic *) llast(listed))->name,
				sizeof(ends_with));
	else
		ends_with[0] = '\0';
	many = begins_after[0] != '\0' || ends_with[0] != '\0';
	if (many && !were_many)
		since = GetCurrentTimestamp();
	/* rows of topics that had been forgotten */
	if (were_many && !many)
		rc_outbox_topics_sweep();
	note_topics(listed);
}

/*
 * The same after that error: the topics of what can be read of the table.  In
 * between those that are known are taken to have messages still.
 */
void
rc_out_list_readable(const ErrorData *error)
{
	static TimestampTz scanned_at = 0;
	int			unreadable;

	many = true;
	ends_with[0] = '\0';
	if (!rc_time_passed(scanned_at, SCAN_INTERVAL))
		return;
	scanned_at = GetCurrentTimestamp();
	note_topics(rc_outbox_topics_readable(WINDOW_TOPICS, &unreadable));
	if (unreadable > 0)
		note_damage(psprintf(unreadable == 1 ?
							 "%d block of table \"rappel_conso.outbox\" cannot be read, and its messages wait: %s" :
							 "%d blocks of table \"rappel_conso.outbox\" cannot be read, and their messages wait: %s",
							 unreadable, error->message));
	else
		note_damage(psprintf("an index of table \"rappel_conso.outbox\" cannot be read: %s",
							 error->message));
}

/* In the log when it is new, and for rc_status(). */
static void
note_damage(const char *error_text)
{
	static char *noted = NULL;

	rc_outbox_state_set("running", psprintf("%s\nHINT: %s", error_text, RC_DAMAGE_HINT));
	if (noted != NULL && strcmp(noted, error_text) == 0)
		return;
	if (noted != NULL)
		pfree(noted);
	noted = MemoryContextStrdup(TopMemoryContext, error_text);
	ereport(LOG,
			(errcode(ERRCODE_DATA_CORRUPTED),
			 errmsg("%s", error_text),
			 errhint(RC_DAMAGE_HINT)));
}

/* Something could be done for a topic. */
void
rc_out_window_used(void)
{
	cycle_used = true;
}

/*
 * Whether there are topics to be looked at at once: those of the next window,
 * unless there was nothing to do in all of them.
 */
bool
rc_out_window_more(void)
{
	if (!many || !all_had_turn())
		return false;
	return ends_with[0] != '\0' || cycle_used;
}

/* Go on to the next window, or to the first one again. */
static void
move_window(void)
{
	static TimestampTz swept_at = 0;

	if (!many || !(all_had_turn() || rc_time_passed(since, WINDOW_TIME)))
		return;
	strlcpy(begins_after, ends_with, sizeof(begins_after));
	since = GetCurrentTimestamp();
	if (begins_after[0] != '\0')
		return;
	cycle_used = false;
	if (rc_time_passed(swept_at, SWEEP_INTERVAL))
	{
		swept_at = since;
		rc_outbox_topics_sweep();
	}
}

/*
 * Whether each topic of the window waits, has been read, or has a batch under
 * way.
 */
static bool
all_had_turn(void)
{
	TimestampTz now = GetCurrentTimestamp();
	RcOutTopic *topic;

	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (topic->listed && !topic->asked && topic->nsent == 0 &&
			topic->phase != RC_TOPIC_MAKING && !rc_out_waits(topic, now))
			return false;
	}
	return true;
}

/*
 * Which topics have messages.  One whose messages somebody has deleted does
 * not wait any more.  Of one that is not of the window nothing is known, but
 * the producer knows it if it has been sent to lately.
 */
static void
note_topics(List *listed)
{
	RcOutTopic *topic;
	ListCell   *lc;

	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		topic->was_listed = topic->listed;
		topic->listed = false;
		topic->has_messages = many && topic->phase == RC_TOPIC_READY;
	}
	foreach(lc, listed)
		note_topic((RcOutboxTopic *) lfirst(lc));
	for (int i = 0; (topic = rc_out_topic_at(i)) != NULL; i++)
	{
		if (many || topic->has_messages || topic->nsent > 0 ||
			(!topic->has_row && topic->failures == 0))
			continue;
		rc_out_wait_over(topic);
	}
	rc_out_forget_idle(many);
}

/*
 * A topic of the window.  When it tries again is in its row, if that was
 * written after whatever could have cured it: that it was forgotten meanwhile
 * makes no difference.
 */
static void
note_topic(const RcOutboxTopic *found)
{
	RcOutTopic *topic = rc_out_topic(found->name, false);

	if (topic == NULL)
	{
		topic = rc_out_topic(found->name, true);
		if (found->waiting && found->failed_at > MyStartTimestamp &&
			found->failed_at > PgReloadTime)
			rc_out_resume_wait(topic, found);
	}
	topic->has_row |= found->waiting;
	topic->has_messages = topic->listed = true;
	if (!topic->was_listed)
		topic->asked = false;
}
