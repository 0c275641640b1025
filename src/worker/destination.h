/*-------------------------------------------------------------------------
 *
 * destination.h
 *	  Where the records of a run are sent: the interface that each kind of
 *	  destination implements.
 *
 * All functions except commit and close are called with no transaction open,
 * since they may wait for the network, or begin a transaction themselves.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_DESTINATION_H
#define RC_DESTINATION_H

#include "record.h"
#include "store/store.h"

struct RcRun;

typedef struct RcDestination RcDestination;

/* Records of a batch being sent. */
typedef struct RcSending
{
	const RcRecord *records;
	int			n;
	const RcSourceState *state; /* of the source, for rc_source_fence() */

	/*
	 * Set by send: permanently rejected records, as RcRefused in the batch's
	 * context.  Tags are indexes in "records"; errors say who rejected them.
	 */
	List	   *refused;

	/* set by commit */
	int			safe;			/* number of records that are safe, from the
								 * first */
	RcCounts	counts;			/* results of those */
} RcSending;

/*
 * A kind of destination.  To add one, write a file with such a struct and
 * choose it in destination.c.  Members that may be NULL say so.
 */
typedef struct RcDestinationClass
{
	const char *name;

	/*
	 * Records reach the destination before the commit that stores their
	 * hashes.  Changed records are therefore marked as unconfirmed first, and
	 * the run's id, which is sent with them, must survive a crash.
	 */
	bool		ahead_of_commit;

	/* Records may have packed values, see record_fields.h. */
	bool		takes_fields;

	/*
	 * Make a destination for the whole run, in the current memory context.
	 * Uses no network.  External resources are opened later, and released
	 * after each attempt of a task.
	 */
	RcDestination *(*make) (struct RcRun *run);

	/* Raise an error if the definitions rule out the run; NULL: no checks. */
	void		(*check) (const RcDestination *destination);

	/* Connect, create what is missing, and set the id. */
	void		(*open) (RcDestination *destination);

	/*
	 * Whether the destination may still hold the records sent earlier, so
	 * that they need not be sent again.  Called for polls: sets the id, and
	 * creates nothing.
	 */
	bool		(*holds) (RcDestination *destination);

	/* Send records and wait for confirmation; NULL: commit does that. */
	void		(*send) (RcDestination *destination, RcSending *sending);

	/* First step of the transaction that advances the cursor past them. */
	void		(*commit) (RcDestination *destination, RcSending *sending);

	/*
	 * Called when a commit left some records not safe: whether later records
	 * must be added to them first.  With "at_end" there are none, and it
	 * raises an error.  NULL: all are always safe.
	 */
	bool		(*needs_more) (RcDestination *destination, bool at_end);

	/*
	 * The task that waits until the stream has applied what was sent; NULL:
	 * what is committed has been applied.
	 */
	void		(*load) (RcDestination *destination);

	/* Whether an error that ended an attempt is transient. */
	bool		(*is_transient) (const RcDestination *destination,
								 const ErrorData *error);

	/* Release external resources; may be called again. */
	void		(*close) (RcDestination *destination);
} RcDestinationClass;

/* First member of the destination of each class. */
struct RcDestination
{
	const RcDestinationClass *class;
	struct RcRun *run;			/* the run it belongs to */
	char	   *id;				/* as in source_state; NULL until opened */
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
