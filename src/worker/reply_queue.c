/*-------------------------------------------------------------------------
 *
 * reply_queue.c
 *	  A worker's end of the shared-memory queue to the backend that waits for
 *	  it: notices and errors are sent as in parallel query.
 *
 * If the backend exits that is not an error here: the worker is signalled (see
 * worker_request.c).  The scheduler's queue exists only until the worker is
 * connected (see worker_children.c).
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "libpq/pqformat.h"
#include "libpq/pqmq.h"
#include "miscadmin.h"
#include "storage/proc.h"
#include "storage/shm_mq.h"
#include "utils/resowner.h"

static dsm_segment *attached = NULL;

/*
 * Attach to the queue in the segment (0: there is none).  Called before
 * connecting to the database, so that a failure to connect is reported too.
 * Raises ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE if the backend has exited.
 */
void
rc_queue_attach(dsm_handle handle)
{
	dsm_segment *segment;
	shm_mq	   *queue;

	Assert(attached == NULL && !OidIsValid(MyDatabaseId));
	if (handle == 0)
		return;
	CurrentResourceOwner = ResourceOwnerCreate(NULL, "rappel_conso queue");
	segment = dsm_attach(handle);
	if (segment == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE),
				 errmsg("the backend that requested this worker has exited")));
	dsm_pin_mapping(segment);
	queue = (shm_mq *) dsm_segment_address(segment);
	shm_mq_set_sender(queue, MyProc);
	pq_redirect_to_shm_mq(segment, shm_mq_attach(queue, segment, NULL));
	attached = segment;
}

/*
 * Inform the scheduler that the worker is connected, and detach from its
 * queue, which it stops reading then.
 */
void
rc_queue_connected(void)
{
	if (attached == NULL)
		return;
	pq_putemptymessage('C');
	dsm_detach(attached);
	attached = NULL;
}

/* Report that another process does the work already. */
void
rc_queue_send_busy(void)
{
	if (attached != NULL)
		pq_putemptymessage('B');
}

/* Report that the work is committed, with up to RC_REPLY_VALUES numbers. */
void
rc_queue_send_end(const int64 *values, int n)
{
	StringInfoData message;

	if (attached == NULL)
		return;
	pq_beginmessage(&message, 'R');
	pq_sendint32(&message, n);
	for (int i = 0; i < n; i++)
		pq_sendint64(&message, values[i]);
	pq_endmessage(&message);
}
