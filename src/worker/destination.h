/*-------------------------------------------------------------------------
 *
 * destination.h
 *	  Where the records of a run go: what the run asks for, and what each kind
 *	  of destination has to provide.
 *
 * All but commit and close are called with no transaction open, since they may
 * wait for the network, or begin one of their own.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DESTINATION_H
#define RC_DESTINATION_H

#include "record.h"
#include "store/store.h"

struct RcRun;

typedef struct RcDestination RcDestination;

/* Records of a batch on their way. */
typedef struct RcSending
{
	const RcRecord *records;
	int			n;
	const RcSourceState *state; /* of the source, for its fence */

	/*
	 * By send: what is refused for its own sake, as RcRefused in the batch's
	 * context; tags are places in records, errors say who refused.
	 */
	List	   *refused;

	/* by commit */
	int			safe;			/* so many of them, from the first on */
	RcCounts	counts;			/* what became of those */
} RcSending;

/*
 * A kind of destination.  A new one is a file of its own with such a struct,
 * and is chosen in destination.c.  What may be NULL says so.
 */
typedef struct RcDestinationClass
{
	const char *name;

	/*
	 * Records get there before the commit that writes them down.  So those
	 * are marked before that may differ afterwards, and the run's number,
	 * which goes with them, must outlast a crash.
	 */
	bool		ahead_of_commit;

	/*
	 * A destination in the current memory context, for the whole run; what it
	 * holds abroad is for one try of a task.  Nothing is asked yet.
	 */
	RcDestination *(*make) (struct RcRun *run);

	/* raise what can be seen to be impossible; NULL: nothing can be */
	void		(*check) (const RcDestination *destination);

	/* make it ready for records, and set its id */
	void		(*open) (RcDestination *destination);

	/*
	 * Whether it can still have what it was sent, so that what is known need
	 * not be sent again.  For a poll: sets its id, and makes nothing.
	 */
	bool		(*holds) (RcDestination *destination);

	/* send records and wait until they are there; NULL: commit does it */
	void		(*send) (RcDestination *destination, RcSending *sending);

	/* in the transaction that moves the cursor over them, its first step */
	void		(*commit) (RcDestination *destination, RcSending *sending);

	/*
	 * After a commit with some of them not safe: whether more records have to
	 * come behind those first; "at_end" there are none, and what they wait
	 * for is an error.  NULL: all are safe, always.
	 */
	bool		(*needs_more) (RcDestination *destination, bool at_end);

	/*
	 * The task that waits until the stream has applied what was sent; NULL:
	 * what is committed is applied.
	 */
	void		(*load) (RcDestination *destination);

	/* whether an error that ended a try may be gone at the next one */
	bool		(*is_transient) (const RcDestination *destination,
								 const ErrorData *error);

	/* let go of what it holds abroad; may be called again */
	void		(*close) (RcDestination *destination);
} RcDestinationClass;

/* First member of the destination of each class. */
struct RcDestination
{
	const RcDestinationClass *class;
	struct RcRun *run;			/* whose records it takes */
	char	   *id;				/* as states of sources name it; NULL: not
								 * known before it is open */
};

extern const RcDestinationClass rc_direct_class;
extern const RcDestinationClass rc_topic_class;

extern RcDestination *rc_destination_make(struct RcRun *run);

static inline void
rc_destination_check(const RcDestination *destination)
{
	if (destination->class->check != NULL)
		destination->class->check(destination);
}

static inline void
rc_destination_open(RcDestination *destination)
{
	destination->class->open(destination);
}

static inline bool
rc_destination_holds(RcDestination *destination)
{
	return destination->class->holds(destination);
}

static inline void
rc_destination_send(RcDestination *destination, RcSending *sending)
{
	if (destination->class->send != NULL)
		destination->class->send(destination, sending);
}

static inline void
rc_destination_commit(RcDestination *destination, RcSending *sending)
{
	destination->class->commit(destination, sending);
}

static inline bool
rc_destination_needs_more(RcDestination *destination, bool at_end)
{
	Assert(destination->class->needs_more != NULL);
	return destination->class->needs_more(destination, at_end);
}

static inline bool
rc_destination_has_load(const RcDestination *destination)
{
	return destination->class->load != NULL;
}

static inline void
rc_destination_load(RcDestination *destination)
{
	destination->class->load(destination);
}

static inline bool
rc_destination_error_is_transient(const RcDestination *destination,
								  const ErrorData *error)
{
	return destination->class->is_transient(destination, error);
}

static inline void
rc_destination_close(RcDestination *destination)
{
	destination->class->close(destination);
}

#endif							/* RC_DESTINATION_H */
