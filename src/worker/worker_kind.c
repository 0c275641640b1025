/*-------------------------------------------------------------------------
 *
 * worker_kind.c
 *	  The table of the kinds of worker.
 *
 * What a kind does is in the file of its entry point, not here.
 *
 *-------------------------------------------------------------------------
 */
#include "worker/worker_kind.h"

#include "lib/stringinfo.h"

#include "store/worker_activity.h"

static const RcWorkerKindInfo kinds[] = {
	[RC_WORKER_SCHEDULER] = {
		.name = "scheduler",
		.entry_point = "rc_scheduler_main",
		.title = "rappel_conso scheduler",
		.in_worker_pid = true
	},
	[RC_WORKER_RUN] = {
		.name = "run",
		.entry_point = "rc_run_main",
		.title = RC_TITLE_RUN,
		.per_name = true,
		.name_in_type = true,	/* see rc_due_dead_runs() */
		.in_worker_pid = true
	},
	[RC_WORKER_STREAM] = {
		.name = "stream",
		.entry_point = "rc_stream_main",
		.title = RC_TITLE_STREAM,
		.per_name = true,
		.numbered = true,
		.in_worker_pid = true
	},
	[RC_WORKER_OUTBOX] = {
		.name = "outbox",
		.entry_point = "rc_outbox_main",
		.title = "rappel_conso outbox",
		.in_worker_pid = true
	},
	[RC_WORKER_RETRY] = {
		.name = "retry",
		.entry_point = "rc_retry_main",
		.title = RC_TITLE_RETRY,
		.per_name = true
	},
	[RC_WORKER_DRAIN] = {
		.name = "drain",
		.entry_point = "rc_drain_main",
		.title = RC_TITLE_DRAIN,
		.per_name = true
	},
	[RC_WORKER_RUN_ID] = {
		.name = "run id",
		.per_name = true
	},
	[RC_WORKER_LAUNCHER] = {
		.name = "launcher",
		.entry_point = "rc_launcher_main",
		.title = "rappel_conso launcher"
	},
	[RC_WORKER_WATERMARKS] = {
		.name = "watermarks",
		.entry_point = "rc_watermarks_main",
		.title = "rappel_conso watermarks"
	},
	[RC_WORKER_SLOT] = {
		.name = "slot",
		.per_name = true
	}
};

StaticAssertDecl(lengthof(kinds) == RC_WORKER_LAST + 1,
				 "each kind of worker must have its row");

const RcWorkerKindInfo *
rc_worker_kind(RcWorkerKind kind)
{
	Assert(kind > 0 && kind < lengthof(kinds) && kinds[kind].name != NULL);
	return &kinds[kind];
}

/*
 * The title of a kind's process, with the name of the source or stream that it
 * is for, if it is for one; else "name" is not used.
 */
const char *
rc_worker_title(RcWorkerKind kind, const char *name)
{
	const RcWorkerKindInfo *info = rc_worker_kind(kind);

	return info->per_name ? psprintf("%s %s", info->title, name) : info->title;
}

/* The kind that worker_pid() accepts by that name; false if there is none. */
bool
rc_worker_kind_find(const char *name, RcWorkerKind *kind)
{
	for (int i = 1; i < lengthof(kinds); i++)
	{
		if (!kinds[i].in_worker_pid || strcmp(kinds[i].name, name) != 0)
			continue;
		*kind = (RcWorkerKind) i;
		return true;
	}
	return false;
}

/* The names that worker_pid() accepts, joined for a sentence. */
char *
rc_worker_kind_names(void)
{
	StringInfoData names;
	int			left = 0;

	for (int i = 1; i < lengthof(kinds); i++)
		left += kinds[i].in_worker_pid ? 1 : 0;
	initStringInfo(&names);
	for (int i = 1; i < lengthof(kinds); i++)
	{
		if (!kinds[i].in_worker_pid)
			continue;
		if (names.len > 0)
			appendStringInfoString(&names, left == 1 ? " and " : ", ");
		appendStringInfoString(&names, kinds[i].name);
		left--;
	}
	return names.data;
}
