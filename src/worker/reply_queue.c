/*-------------------------------------------------------------------------
 *
 * reply_queue.c
 *	  A worker's end of the shared-memory queue to the backend that waits
 *	  for it: notices and errors travel as in parallel query.
 *
 * A backend that is gone is no error: its going is told by a signal (see
 * worker_request.c).  The scheduler's queue is there only until the worker is
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
 * Attach to the queue in the segment (0: there is none), before the database
 * connection is made, so that its failure is told too.  Errors:
 * ERRCODE_OBJECT_NOT_IN_PREREQUISITE_STATE when the backend has gone.
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
				 errmsg("the backend that asked for this worker has gone")));
	dsm_pin_mapping(segment);
	queue = (shm_mq *) dsm_segment_address(segment);
	shm_mq_set_sender(queue, MyProc);
	pq_redirect_to_shm_mq(segment, shm_mq_attach(queue, segment, NULL));
	attached = segment;
}

/*
 * Tell the scheduler that we are connected, and let go of its queue: it reads
 * no more of it.
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

/* Another process does it already. */
void
rc_queue_send_busy(void)
{
	if (attached != NULL)
		pq_putemptymessage('B');
}

/* The work is done and committed; up to RC_REPLY_VALUES numbers tell of it. */
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
