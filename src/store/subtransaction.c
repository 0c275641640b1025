/*-------------------------------------------------------------------------
 *
 * subtransaction.c
 *	  Something that may fail, and be undone, within a transaction that goes
 *	  on.
 *
 * It must not judge errors: which of them its caller may pass over is the
 * caller's to say, and the others are raised again.
 *
 *-------------------------------------------------------------------------
 */
#include "store/subtransaction.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/*
 * Run step(arg) in a sub-transaction, in the current context and with SPI
 * connected as it is.  Returns NULL, or the error that it was rolled back for,
 * in the current context: raise it with ReThrowError(), or free it.
 */
ErrorData *
rc_subtransaction_try(RcStep step, void *arg)
{
	MemoryContext context = CurrentMemoryContext;
	ResourceOwner owner = CurrentResourceOwner;
	ErrorData  *volatile error = NULL;

	BeginInternalSubTransaction(NULL);
	MemoryContextSwitchTo(context);
	PG_TRY();
	{
		step(arg);
		ReleaseCurrentSubTransaction();
	}
	PG_CATCH();
	{
		MemoryContextSwitchTo(context);
		error = CopyErrorData();
		FlushErrorState();
		RollbackAndReleaseCurrentSubTransaction();
	}
	PG_END_TRY();
	MemoryContextSwitchTo(context);
	CurrentResourceOwner = owner;
	return error;
}
