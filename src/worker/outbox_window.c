/*-------------------------------------------------------------------------
 *
 * outbox_window.c
 *	  Chooses the topics that the outbox worker handles: all that have
 *	  messages or, if there are very many, a window of them at a time.
 *
 * No more topics may be kept in memory than one window, those with a batch in
 * flight, and those that the producer knows.  A window is left when each of
 * its topics has been handled, or after a short time, so that the topics of
 * other windows are not kept waiting.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/outbox_worker.h"

#include "access/xact.h"
#include "miscadmin.h"
#include "utils/guc.h"
#include "utils/memutils.h"
#include "utils/timestamp.h"

/* Number of topics in a window. */
#define WINDOW_TOPICS	1000

/* Time limit of a window, in ms. */
#define WINDOW_TIME		1000

/* Interval between two scans of a damaged table, in ms. */
#define SCAN_INTERVAL	5000

/* Interval between two deletions of rows of topics without messages, in ms. */
#define SWEEP_INTERVAL	60000

/* The window begins after this topic; "": at the first one. */
static char begins_after[RC_TOPIC_NAME_MAX + 1] = "";
static TimestampTz since = 0;

/* Its last topic; "": it contains the last one of all. */
static char ends_with[RC_TOPIC_NAME_MAX + 1] = "";

/* There are more topics than this window contains. */
static bool many = false;

/* Some window since the first one had something to do. */
static bool cycle_used = false;

static bool is_read_next(const char *name);
static void move_window(void);
static bool all_had_turn(void);
static void note_topics(List *listed);
static void note_topic(const RcOutboxTopic *found);
static void note_damage(const char *error_text);

/*
 * Find out which topics have messages.  If the table or index cannot be read,
 * the caller aborts and calls rc_out_list_readable().
 */
void
rc_out_list_topics(void)
{
	bool		were_many = many;
	List	   *listed;

	Assert(IsTransactionState());
	move_window();
	listed = rc_outbox_topics(begins_after[0] ? begins_after : NULL,
							  WINDOW_TOPICS, is_read_next);
	if (list_length(listed) == WINDOW_TOPICS)
		strlcpy(ends_with, ((RcOutboxTopic *) llast(listed))->name,
				sizeof(ends_with));
	else
		ends_with[0] = '\0';
	many = begins_after[0] != '\0' || ends_with[0] != '\0';
	if (many && !were_many)
		since = GetCurrentTimestamp();
	/* rows of topics removed from memory */
	if (were_many && !many)
		rc_outbox_topics_sweep();
	note_topics(listed);
}

/*
 * RcTopicAssume: a topic that is about to be read need not be looked up.  One
 * that has failed has to be: it stops waiting when it has no messages left.
 */
static bool
is_read_next(const char *name)
{
	const RcOutTopic *topic = rc_out_topic(name, false);

	return topic != NULL && topic->phase == RC_TOPIC_READY &&
		topic->failures == 0 && !topic->has_row;
}

/*
 * Like rc_out_list_topics(), from those blocks of the damaged table that can
 * be read.  Between two scans, known topics are assumed to have messages
 * still.
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
							 gettext_noop("%d block of table \"rappel_conso.outbox\" cannot be read, and its messages are waiting: %s") :
							 gettext_noop("%d blocks of table \"rappel_conso.outbox\" cannot be read, and their messages are waiting: %s"),
							 unreadable, error->message));
	else
		note_damage(psprintf(gettext_noop("an index of table \"rappel_conso.outbox\" cannot be read: %s"),
							 error->message));
}

/* Report damage: in the log if it is new, and for rc_status(). */
static void
note_damage(const char *error_text)
{
	static char *noted = NULL;

	rc_outbox_state_set("running", ERRCODE_DATA_CORRUPTED, error_text,
						RC_DAMAGE_HINT);
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

/* Something was done for a topic of this window. */
void
rc_out_window_used(void)
{
	cycle_used = true;
}

/*
 * Whether to continue with the next window at once.  After the last one, only
 * if some window since the first had something to do.
 */
bool
rc_out_window_more(void)
{
	if (!many || !all_had_turn())
		return false;
	return ends_with[0] != '\0' || cycle_used;
}

/* Move to the next window, or back to the first one. */
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
 * Whether each topic of the window waits, has been read, or has a batch in
 * flight.
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
 * Update which topics have messages.  A topic whose messages were deleted by a
 * user stops waiting.  Topics outside of the window are assumed to have
 * messages if the producer knows them, that is, if they were sent to lately.
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
 * Add a topic of the window.  The wait in its row still applies if it was
 * stored after this process started and after the last reload, which may have
 * fixed the cause.
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
