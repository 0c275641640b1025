/*-------------------------------------------------------------------------
 *
 * target.c
 *	  Working for a stream from another process than its workers: up to where,
 *	  and whether it is theirs to do.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker.h"

#include "miscadmin.h"

/* Whether a stream's committed offsets have passed all targets (RcTarget). */
bool
rc_targets_reached(const char *stream, List *targets)
{
	List	   *offsets = rc_offsets_load(stream);
	ListCell   *lc;

	foreach(lc, targets)
	{
		RcTarget   *target = (RcTarget *) lfirst(lc);
		bool		reached = false;
		ListCell   *lo;

		foreach(lo, offsets)
		{
			RcOffset   *offset = (RcOffset *) lfirst(lo);

			if (offset->partition == target->partition &&
				offset->next_offset > target->offset &&
				strcmp(offset->topic, target->topic) == 0)
				reached = true;
		}
		if (!reached)
			return false;
	}
	return true;
}

/* Whether any worker of the stream runs in another process. */
bool
rc_stream_worked(const RcStream *stream)
{
	for (int i = 0; i < stream->workers; i++)
	{
		int			pid = rc_lock_holder(MyDatabaseId, RC_WORKER_STREAM,
										 stream->name, i);

		if (pid != 0 && pid != MyProcPid)
			return true;
	}
	return false;
}

/* Take the places of all workers of a stream; false when one is taken. */
bool
rc_stream_take(const RcStream *stream)
{
	for (int i = 0; i < stream->workers; i++)
	{
		if (rc_lock_take(RC_WORKER_STREAM, stream->name, i))
			continue;
		while (--i >= 0)
			rc_lock_release(RC_WORKER_STREAM, stream->name, i);
		return false;
	}
	return true;
}

/* Give them back. */
void
rc_stream_give(const RcStream *stream)
{
	for (int i = 0; i < stream->workers; i++)
		rc_lock_release(RC_WORKER_STREAM, stream->name, i);
}
