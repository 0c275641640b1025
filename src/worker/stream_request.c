/*-------------------------------------------------------------------------
 *
 * stream_request.c
 *	  Start of a worker that does one thing for a stream and exits: rc_retry()
 *	  and rc_drain().
 *
 * Errors here are reported to the backend that waits.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker_share.h"

#include "utils/memutils.h"

static RcStream *load_stream(const char *name);

/*
 * Connect, and load the stream into a new memory context, which becomes the
 * current one.  Raises ERRCODE_UNDEFINED_OBJECT if there is no such stream.
 */
RcStream *
rc_request_begin(RcWorkerArgs *args, RcWorkerKind kind)
{
	MemoryContext context;

	rc_queue_attach(args->segment);
	rc_cancel_ends_worker = true;
	rc_worker_connect(args, kind);
	rc_share_check();
	context = AllocSetContextCreate(TopMemoryContext, "rappel_conso request",
									ALLOCSET_DEFAULT_SIZES);
	MemoryContextSwitchTo(context);
	rc_statement_expect();
	return load_stream(args->name);
}

static RcStream *
load_stream(const char *name)
{
	MemoryContext context = CurrentMemoryContext;
	RcStream   *stream = NULL;

	rc_transaction_begin_in(context);
	if (rc_extension_present())
		stream = rc_stream_load(name);
	rc_transaction_commit();
	if (stream == NULL)
		ereport(ERROR,
				(errcode(ERRCODE_UNDEFINED_OBJECT),
				 errmsg("stream \"%s\" does not exist", name)));
	return stream;
}
