/*-------------------------------------------------------------------------
 *
 * kafka_admin.c
 *	  Requests of librdkafka's admin API, which are asynchronous: their
 *	  options, and the wait for a result.
 *
 * A request that is given up leaves its result in the queue.  So each has an
 * opaque of its own, and what belongs to another one is dropped.
 *
 *-------------------------------------------------------------------------
 */
#include "kafka/kafka_internal.h"

/* Interval of polling for a result, in ms. */
#define PAUSE_MS	100

/* An opaque that no other request of this process has. */
void *
rc_admin_opaque(void)
{
	static uintptr_t requests = 0;

	return (void *) ++requests;
}

/*
 * Options of a request: the time after which librdkafka ends it, in ms, and
 * the opaque that identifies its result.  The caller destroys them.  Makes the
 * queue of results, kafka->admin, where there is none yet.
 */
rd_kafka_AdminOptions_t *
rc_admin_options(RcKafka *kafka, rd_kafka_admin_op_t operation, long timeout_ms,
				 void *opaque)
{
	rd_kafka_AdminOptions_t *options;
	char		error_text[RC_KAFKA_ERRSTR_MAX];

	if (kafka->admin == NULL)
		kafka->admin = rd_kafka_queue_new(kafka->rk);
	options = rd_kafka_AdminOptions_new(kafka->rk, operation);
	rd_kafka_AdminOptions_set_opaque(options, opaque);
	rd_kafka_AdminOptions_set_request_timeout(options,
											  (int) Max(timeout_ms, 1),
											  error_text, sizeof(error_text));
	return options;
}

/*
 * Wait for the result of the request "opaque", which the caller destroys; NULL
 * if it is given up: see rc_kafka_resend().
 */
rd_kafka_event_t *
rc_admin_wait(RcKafka *kafka, void *opaque, RcDeadline *deadline)
{
	for (;;)
	{
		rd_kafka_event_t *event;

		while ((event = rd_kafka_queue_poll(kafka->admin, 0)) != NULL)
		{
			if (rd_kafka_event_opaque(event) == opaque)
				return event;
			rd_kafka_event_destroy(event);
		}
		if (!rc_kafka_resend(kafka, deadline))
			return NULL;
		rc_kafka_pause(kafka, PAUSE_MS);
	}
}
