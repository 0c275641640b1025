/*-------------------------------------------------------------------------
 *
 * consumer_group.c
 *	  Consumer groups: commits to the one of this consumer, and the offsets of
 *	  others.
 *
 * A group only shows our offsets to Kafka's own tools, so an offset must be
 * committed when the caller says so.  Offsets of a group may be read only where
 * a user has asked for it: a stream continues from those in PostgreSQL.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/consumer_internal.h"

/* After so long without a result, another commit can be sent. */
#define COMMIT_LIMIT_MS	60000

/* Interval of polling for the result of a commit. */
#define COMMIT_PAUSE_MS	10

/* Between two attempts to read offsets. */
#define PAUSE_MS	100

/* Error of the protocol that librdkafka 2.0.2 has no name for. */
#define ERR_STALE_MEMBER_EPOCH	113

static void commit_cb(rd_kafka_t *rk, rd_kafka_resp_err_t err,
					  rd_kafka_topic_partition_list_t *offsets, void *opaque);
static bool in_use(rd_kafka_resp_err_t err);
static void take_group_error(RcKafka *kafka);
static rd_kafka_resp_err_t ask_offsets(RcKafka *kafka, const char *group,
									   const char *topic, int n,
									   int64 *offsets, RcDeadline *deadline);
static rd_kafka_resp_err_t read_offsets(const rd_kafka_event_t *event, int n,
										int64 *offsets);
static void check_answer(const char *group, const char *topic,
						 rd_kafka_resp_err_t err);

/*
 * Register the callback for results of commits.
 */
void
rc_consumer_attach(rd_kafka_conf_t *conf)
{
	rd_kafka_conf_set_offset_commit_cb(conf, commit_cb);
}

/*
 * Commit offsets, each the next one to read, to the consumer group.  Does not
 * wait, and a failure is only logged (DEBUG1), since only Kafka's own tools
 * read them.  While one commit is in progress further ones are skipped, which
 * returns false: a later commit has to contain their offsets.
 */
bool
rc_consumer_commit(RcKafka *kafka, const RcPartition *partitions, int n)
{
	RcConsumer *consumer = kafka->consumer;
	rd_kafka_topic_partition_list_t *list;

	if (n <= 0)
		return true;
	if (consumer->committing && rc_deadline_left(&consumer->commit_limit) > 0)
		return false;
	list = rc_consumer_list(partitions, n);
	consumer->committing =
		rd_kafka_commit(kafka->rk, list, 1) == RD_KAFKA_RESP_ERR_NO_ERROR;
	rc_deadline_start(&consumer->commit_limit, COMMIT_LIMIT_MS);
	rd_kafka_topic_partition_list_destroy(list);
	return consumer->committing;
}

/*
 * The same, and wait for the result for timeout_ms at most.  A failed commit
 * is retried, since the coordinator of a new group has to be found first,
 * unless rc_consumer_group_refusal() has a reason.  Raises no error.
 */
void
rc_consumer_commit_wait(RcKafka *kafka, const RcPartition *partitions, int n,
						int timeout_ms)
{
	RcConsumer *consumer = kafka->consumer;
	RcDeadline	deadline;
	bool		asked = false;
	const char *error;

	rc_deadline_start(&deadline, timeout_ms);
	while (n > 0 && rc_kafka_resend(kafka, &deadline) &&
		   rc_consumer_group_refusal(kafka, &error) == ERRCODE_SUCCESSFUL_COMPLETION)
	{
		if (!consumer->committing)
		{
			if (asked && consumer->commit_error == RD_KAFKA_RESP_ERR_NO_ERROR)
				return;
			(void) rc_consumer_commit(kafka, partitions, n);
			asked = true;
		}
		rc_kafka_pause(kafka, COMMIT_PAUSE_MS);
		if (consumer->nassigned == 0)
			take_group_error(kafka);
	}
}

/*
 * Commit offsets to a group that a user has chosen, before anything is
 * assigned, and find out whether it can be used: Kafka rejects commits of others
 * while a group has members.  If the group's coordinator does not answer within
 * timeout_ms, nothing is known, and later commits are as good.
 *
 * Errors: 55006 if the group has members, 42501 if the Kafka user has no right
 * on it, 42809 if it is not one of consumers, such as a share group.
 */
void
rc_consumer_claim_group(RcKafka *kafka, const char *group,
						const RcPartition *partitions, int n, int timeout_ms)
{
	const char *error;
	int			code;

	rc_consumer_assign(kafka, NULL, 0);
	kafka->consumer->commit_error = RD_KAFKA_RESP_ERR_NO_ERROR;
	rc_consumer_commit_wait(kafka, partitions, n, timeout_ms);
	code = rc_consumer_group_refusal(kafka, &error);
	if (code == ERRCODE_SUCCESSFUL_COMPLETION)
		return;
	if (code == ERRCODE_OBJECT_IN_USE)
		ereport(ERROR,
				(errcode(code),
				 errmsg("consumer group \"%s\" has members", group),
				 errdetail("Kafka rejects offsets of others: %s.", error),
				 errhint("Stop the consumers of that group, or use another group_id.")));
	ereport(ERROR,
			(errcode(code),
			 errmsg("could not commit offsets to consumer group \"%s\": %s",
					group, error),
			 code == ERRCODE_INSUFFICIENT_PRIVILEGE ?
			 errhint("Give the Kafka user the right to read the group.") :
			 errhint("It may be a share group; use another group_id.")));
}

/*
 * Without an assignment nothing else reads the consumer's queue, to which an
 * error of finding the group's coordinator goes.
 */
static void
take_group_error(RcKafka *kafka)
{
	rd_kafka_message_t *message;

	while (rd_kafka_consume_batch_queue(kafka->queue, 0, &message, 1) == 1)
	{
		if (message->err == RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED)
			rc_consumer_group_denied(kafka);
		rd_kafka_message_destroy(message);
	}
}

/* No commit will succeed until the Kafka user has the right. */
void
rc_consumer_group_denied(RcKafka *kafka)
{
	kafka->consumer->commit_error = RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED;
}

/*
 * Why the last commit was rejected, if that does not pass by itself: 55006 if
 * the group has members, 42501 if the Kafka user has no right on it, 42809 if
 * no consumer can use it; else 00000.  *error is Kafka's text.
 */
int
rc_consumer_group_refusal(const RcKafka *kafka, const char **error)
{
	rd_kafka_resp_err_t err = kafka->consumer->commit_error;

	*error = rd_kafka_err2str(err);
	switch (err)
	{
		case RD_KAFKA_RESP_ERR_GROUP_AUTHORIZATION_FAILED:
			return ERRCODE_INSUFFICIENT_PRIVILEGE;
		case RD_KAFKA_RESP_ERR_GROUP_ID_NOT_FOUND:
			/* that of a consumer is made by its first commit */
		case RD_KAFKA_RESP_ERR_INVALID_GROUP_ID:
			return ERRCODE_WRONG_OBJECT_TYPE;
		default:
			return in_use(err) ? ERRCODE_OBJECT_IN_USE :
				ERRCODE_SUCCESSFUL_COMPLETION;
	}
}

/* Whether an error of a commit means that the group has members. */
static bool
in_use(rd_kafka_resp_err_t err)
{
	switch ((int) err)
	{
		case RD_KAFKA_RESP_ERR_UNKNOWN_MEMBER_ID:
		case RD_KAFKA_RESP_ERR_ILLEGAL_GENERATION:
		case RD_KAFKA_RESP_ERR_REBALANCE_IN_PROGRESS:
		case ERR_STALE_MEMBER_EPOCH:
			return true;
		default:
			return false;
	}
}

/*
 * librdkafka's callback for the result of a commit.
 */
static void
commit_cb(rd_kafka_t *rk, rd_kafka_resp_err_t err,
		  rd_kafka_topic_partition_list_t *offsets, void *opaque)
{
	RcKafka    *kafka = (RcKafka *) opaque;

	if (!kafka->open)
		return;
	kafka->consumer->committing = false;
	kafka->consumer->commit_error = err;
	if (err)
		rc_report_note("COMMIT", rd_kafka_err2str(err));
}

/*
 * The offsets of a consumer group in partitions 0 to n - 1 of a topic: of the
 * next record each, and -1 where it has none.  Offsets that an open
 * Kafka transaction will commit are waited for, for timeout_ms at most.
 *
 * Errors: 08006 if no broker responds, 42501 if the Kafka user has no right on
 * group or topic, 42704 if the group has no offset at all there; others by
 * rc_kafka_errcode().
 */
void
rc_consumer_group_offsets(RcKafka *kafka, const char *group, const char *topic,
						  int n, int64 *offsets, int timeout_ms)
{
	RcDeadline	deadline;
	rd_kafka_resp_err_t err;

	rc_deadline_start(&deadline, timeout_ms);
	do
	{
		err = ask_offsets(kafka, group, topic, n, offsets, &deadline);
		check_answer(group, topic, err);
		if (err == RD_KAFKA_RESP_ERR_NO_ERROR)
		{
			rc_kafka_mark_up(kafka);
			for (int p = 0; p < n; p++)
			{
				if (offsets[p] >= 0)
					return;
			}
			ereport(ERROR,
					(errcode(ERRCODE_UNDEFINED_OBJECT),
					 errmsg("consumer group \"%s\" has no offset in topic \"%s\"",
							group, topic),
					 errdetail("There is no such group, it never committed an offset there, or its offsets have expired."),
					 errhint("Correct start_at, or set it to earliest, latest or a timestamp.")));
		}
		rc_kafka_pause(kafka, PAUSE_MS);
	} while (rc_kafka_resend(kafka, &deadline));
	rc_kafka_unreachable(kafka, err);
}

/* Ask once.  Returns an error, or sets offsets[]. */
static rd_kafka_resp_err_t
ask_offsets(RcKafka *kafka, const char *group, const char *topic, int n,
			int64 *offsets, RcDeadline *deadline)
{
	void	   *opaque = rc_admin_opaque();
	rd_kafka_topic_partition_list_t *list;
	rd_kafka_ListConsumerGroupOffsets_t *request;
	rd_kafka_AdminOptions_t *options;
	rd_kafka_event_t *event;
	rd_kafka_resp_err_t err;

	list = rd_kafka_topic_partition_list_new(n);
	rd_kafka_topic_partition_list_add_range(list, topic, 0, n - 1);
	request = rd_kafka_ListConsumerGroupOffsets_new(group, list);
	rd_kafka_topic_partition_list_destroy(list);
	options = rc_admin_options(kafka,
							   RD_KAFKA_ADMIN_OP_LISTCONSUMERGROUPOFFSETS,
							   rc_deadline_left(deadline), opaque);
	rd_kafka_error_destroy(rd_kafka_AdminOptions_set_require_stable_offsets(options, 1));
	rd_kafka_ListConsumerGroupOffsets(kafka->rk, &request, 1, options,
									  kafka->admin);
	rd_kafka_AdminOptions_destroy(options);
	rd_kafka_ListConsumerGroupOffsets_destroy(request);

	event = rc_admin_wait(kafka, opaque, deadline);
	if (event == NULL)
		return RD_KAFKA_RESP_ERR__TIMED_OUT;
	err = read_offsets(event, n, offsets);
	rd_kafka_event_destroy(event);
	return err;
}

static rd_kafka_resp_err_t
read_offsets(const rd_kafka_event_t *event, int n, int64 *offsets)
{
	rd_kafka_event_t *result = unconstify(rd_kafka_event_t *, event);
	const rd_kafka_group_result_t **groups;
	const rd_kafka_topic_partition_list_t *list;
	size_t		ngroups;

	for (int p = 0; p < n; p++)
		offsets[p] = -1;
	if (rd_kafka_event_error(result))
		return rd_kafka_event_error(result);
	groups = rd_kafka_ListConsumerGroupOffsets_result_groups(rd_kafka_event_ListConsumerGroupOffsets_result(result),
															 &ngroups);
	if (ngroups != 1)
		return RD_KAFKA_RESP_ERR__FAIL;
	if (rd_kafka_group_result_error(groups[0]) != NULL)
		return rd_kafka_error_code(rd_kafka_group_result_error(groups[0]));
	list = rd_kafka_group_result_partitions(groups[0]);
	for (int i = 0; list != NULL && i < list->cnt; i++)
	{
		if (list->elems[i].err)
			return list->elems[i].err;
		if (list->elems[i].partition < n)
			offsets[list->elems[i].partition] = Max(list->elems[i].offset, -1);
	}
	return RD_KAFKA_RESP_ERR_NO_ERROR;
}

/*
 * Raise an error that another attempt would not fix; return if one might.
 */
static void
check_answer(const char *group, const char *topic, rd_kafka_resp_err_t err)
{
	int			code = rc_kafka_errcode(err);

	if (err == RD_KAFKA_RESP_ERR_NO_ERROR || code == ERRCODE_CONNECTION_FAILURE)
		return;
	ereport(ERROR,
			(errcode(code),
			 errmsg("could not read the offsets of consumer group \"%s\" in topic \"%s\": %s",
					group, topic, rd_kafka_err2str(err)),
			 code == ERRCODE_INSUFFICIENT_PRIVILEGE ?
			 errhint("Give the Kafka user the right to describe the group and the topic.") : 0));
}
