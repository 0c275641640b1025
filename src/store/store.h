/*-------------------------------------------------------------------------
 *
 * store.h
 *	  Umbrella header of src/store: definitions and state of sources, streams,
 *	  runs and the outbox in SQL, and the application of batches.
 *
 * Nothing in src/store uses the network.  All functions need an open
 * transaction with an active snapshot, unless they say otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STORE_H
#define RC_STORE_H

#include "store/apply.h"
#include "store/dead_letter.h"
#include "store/due_work.h"
#include "store/error_class.h"
#include "store/extension_state.h"
#include "store/first_scan.h"
#include "store/known_role.h"
#include "store/message.h"
#include "store/outbox_dead_letter.h"
#include "store/outbox_delete.h"
#include "store/outbox_read.h"
#include "store/outbox_table.h"
#include "store/outbox_topics.h"
#include "store/owner_check.h"
#include "store/query.h"
#include "store/recall_table.h"
#include "store/records_relation.h"
#include "store/republish.h"
#include "store/run_request.h"
#include "store/run_table.h"
#include "store/source_missing.h"
#include "store/source_record.h"
#include "store/source_state.h"
#include "store/source_table.h"
#include "store/start_position.h"
#include "store/statement_check.h"
#include "store/statement_output.h"
#include "store/statement_setup.h"
#include "store/stream_check.h"
#include "store/stream_offset.h"
#include "store/stream_state.h"
#include "store/stream_table.h"
#include "store/subtransaction.h"
#include "store/task_table.h"
#include "store/topic_grant.h"
#include "store/trigger_call.h"
#include "store/unlogged_tables.h"
#include "store/user_sql.h"
#include "store/value_format.h"
#include "store/wait_reason.h"
#include "store/worker_activity.h"

#endif							/* RC_STORE_H */
