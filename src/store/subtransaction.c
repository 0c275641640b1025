/*-------------------------------------------------------------------------
 *
 * subtransaction.c
 *	  Runs a step that may fail in a subtransaction.
 *
 * Errors are returned, not interpreted: the caller decides which of them it
 * can handle, and rethrows the others.
 *
 *-------------------------------------------------------------------------
 */
#include "store/subtransaction.h"

#include "access/xact.h"
#include "utils/memutils.h"
#include "utils/resowner.h"

/*
 * Run step(arg) in a subtransaction, in the current context and with the
 * current SPI connection.  Returns NULL, or the error that rolled it back, in
 * the current context: rethrow it with ReThrowError(), or free it.
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
