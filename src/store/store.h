/*-------------------------------------------------------------------------
 *
 * store.h
 *	  Definitions, state and the application of batches, in SQL.
 *
 * Nothing in src/store knows the network.  All functions need an open
 * transaction with an active snapshot, unless they say otherwise.
 *
 *-------------------------------------------------------------------------
 */
#ifndef RC_STORE_H
#define RC_STORE_H

#include "rappel_conso.h"
#include "record.h"

#include "access/tupdesc.h"
#include "executor/spi.h"
#include "utils/tuplestore.h"

/* ---- query.c: our own fixed plans ---- */

#define RC_MAX_PARAMS 24

/* What is stored of the words of an error, in bytes. */
#define RC_WORDS_BYTES	8192

typedef struct RcParams
{
	int			n;
	Oid			types[RC_MAX_PARAMS];
	Datum		values[RC_MAX_PARAMS];
	char		nulls[RC_MAX_PARAMS];
} RcParams;

/* What rc_query_begin changes and rc_query_end restores. */
typedef struct RcQueryScope
{
	Oid			user;
	int			sec_context;
	int			guc_level;
} RcQueryScope;

extern int	rc_query_lock_timeout;

extern void rc_query_begin(RcQueryScope *scope);
extern uint64 rc_query(const char *sql, RcParams *params);
extern uint64 rc_query_latest(const char *sql, RcParams *params);
extern void rc_query_end(RcQueryScope *scope);
extern uint64 rc_execute(const char *sql, RcParams *params);

extern void rc_param_text(RcParams *params, const char *value);
extern void rc_param_words(RcParams *params, const char *words);
extern void rc_param_error(RcParams *params, const ErrorData *error);
extern void rc_param_int4(RcParams *params, int32 value);
extern void rc_param_int8(RcParams *params, int64 value);
extern void rc_param_int8_or_null(RcParams *params, int64 value,
								  bool isnull);
extern void rc_param_bool(RcParams *params, bool value);
extern void rc_param_time(RcParams *params, TimestampTz value);
extern void rc_param_kafka_time(RcParams *params, int64 ms);
extern void rc_param_bytea(RcParams *params, const char *bytes, int len);
extern void rc_param_jsonb(RcParams *params, Datum value, bool isnull);
extern void rc_param_datum(RcParams *params, Oid type, Datum value);

extern void rc_param_ids(RcParams *params, const int64 *ids, int n);

extern MemoryContext rc_query_result_context(void);
extern List *rc_result_append(List *list, void *value);
extern char *rc_column_text(int row, int column);
extern char *rc_column_bytes(int row, int column, int *len);
extern RcHeader *rc_column_headers(int row, int column, int *n);
extern NullableDatum rc_column_any(int row, int column);
extern int64 rc_column_int8(int row, int column, int64 if_null);
extern bool rc_column_bool(int row, int column);
extern TimestampTz rc_column_time(int row, int column);

/* ---- subtransaction.c: what may fail ---- */

typedef void (*RcStep) (void *arg);

extern ErrorData *rc_subtransaction_try(RcStep step, void *arg);

/* ---- definitions.c: definitions ---- */

typedef struct RcStream
{
	char	   *name;
	List	   *topics;			/* of char * */
	char	   *statement;
	char	   *setup;			/* NULL if none */
	Oid			value_type;
	Oid			key_type;
	char	   *output_topic;	/* NULL if none */
	char	   *start_at;
	int			batch_size;
	int			workers;
	bool		stop_on_error;	/* on_error = stop */
	int			stop_after;
	bool		paused;
	char	   *owner_name;
	Oid			owner;			/* InvalidOid: the name means no role now */
	char	   *search_path;
	char	   *version;		/* differs after each change of the row */
} RcStream;

typedef struct RcSource
{
	char	   *name;
	char	   *url;
	char	   *dataset;
	char	   *filter;
	char	   *key_field;
	char	   *cursor_field;
	char	   *transform;
	bool		fold_accents;
	char	   *topic;
	int			partitions;
	int			replication;
	char	   *stream;			/* NULL if none */
	int64		poll_interval_ms;	/* 0: only on demand */
	int			retries;
	int64		retry_delay_ms;
	bool		paused;
	char	   *owner_name;
	Oid			owner;			/* InvalidOid: the name means no role now */
	char	   *version;
} RcSource;

extern bool rc_extension_present(void);
extern RcStream *rc_stream_load(const char *name);
extern void rc_stream_lock(const char *name);
extern RcSource *rc_source_load(const char *name);
extern bool rc_source_reads_same(const RcSource *a, const RcSource *b);

/* ---- recall_table.c: whose the tables of recalls are ---- */

#define RC_RECALLS_TABLE	"rappel_conso_table"
#define RC_HISTORY_TABLE	"rappel_conso_history"

extern Oid	rc_recall_table_lock(const char *name, Oid stream_owner,
								 bool alter, Oid *owner);
extern void rc_recall_table_check(const RcStream *stream);

/* ---- known_role.c: which role an owner's name means ---- */

extern Oid	rc_role_resolve(const char *role_name, Oid known, bool is_known);
extern bool rc_role_known(const char *role_name, Oid *known);
extern void rc_role_remember(const char *role_name, Oid role);
extern uint64 rc_roles_fill(void);
extern void rc_role_lost(const char *role_name, const char *what,
						 const char *name, ErrorData *error);
pg_noreturn extern void rc_role_lost_error(const char *role_name,
										   const char *what,
										   const char *name);
extern bool rc_is_restore(void);

/* ---- wait_reason.c: why something does not go on ---- */

extern char *rc_lock_words(const ErrorData *error);
extern bool rc_source_wait(const char *source, const char *why);
extern void rc_stream_postpone(const char *stream, const char *why);
extern bool rc_stream_postponed(const char *stream);
extern void rc_stream_topic_made(const char *topic);

/* ---- stream_check.c: the check when a stream is stored ---- */

extern void rc_check_topic(const char *topic, const char *name);
extern bool rc_grants_suffice(const RcStream *stream);
extern void rc_check_grants(Oid owner, const char *owner_name, List *topics,
							const char *output_topic, const char *name);
extern void rc_check_source_grant(Oid owner, const char *owner_name,
								  const char *topic, const char *name);

/* ---- statement_check.c: what a statement is, reads and writes ---- */

typedef struct RcStatementLook
{
	bool		lacks_table;	/* that it names */
	bool		planned;		/* what follows is known */
	bool		reads_records;
	List	   *unlogged;		/* OIDs of such tables that it writes */
	char	   *emptied;		/* names of those that were emptied since;
								 * NULL: none */
} RcStatementLook;

extern void rc_statement_check(const RcStream *stream);
extern void rc_statement_check_command(const RcStream *stream);
extern void rc_statement_check_plan(const RcStream *stream, SPIPlanPtr plan);
extern void rc_statement_require_records(const RcStream *stream,
										 const RcStatementLook *look);
extern void rc_statement_look(const RcStream *stream, bool strict,
							  RcStatementLook *look);

/* ---- run_table.c: runs, tasks, cursors ---- */

/* Which counter of a run and of its task a number belongs to. */
typedef struct RcCounts
{
	int64		fetched;
	int64		published;
	int64		inserted;
	int64		updated;
	int64		unchanged;
	int64		dead;
	int64		withdrawn;
} RcCounts;

/* How far a source has been read for one destination. */
typedef struct RcSourceState
{
	int64		epoch;
	char	   *cursor;			/* NULL: none yet */
	int64		next_offset;
	bool		complete;
	char	   *data_processed;
	int64		records_count;
	bool		full_due;		/* by full_interval */
	bool		first_pass;		/* never read to its end */

	int64		surplus;		/* what the dataset counts beyond the records
								 * remembered; 0 when not known */
	bool		missing_refused;	/* more than may vanish at once */
	int64		missing_accepted;	/* by a full sync that was asked for */
	bool		moved;			/* the last run went to another destination */
	int64		last_timestamp_ms;	/* of the records handed on; 0: none */
} RcSourceState;

/* A window of a backfill. */
typedef struct RcWindow
{
	char	   *task;			/* name of its task */
	char	   *from;			/* ISO 8601 */
	char	   *to;				/* exclusive */
	bool		done;
} RcWindow;

extern int64 rc_run_start(const char *source, const char *trigger,
						  bool full_sync, const char *destination);
extern bool rc_run_take(int64 run, const char *destination, bool *full_sync);
extern void rc_counts_add(RcCounts *to, const RcCounts *more);
extern void rc_run_add(int64 run, const char *task, const char *stream,
					   const RcCounts *counts);
extern void rc_run_finish(int64 run, const char *state,
						  const ErrorData *error);
extern int	rc_run_cancel_orphans(const char *source);
extern void rc_run_refuse(int64 run, const char *source,
						  const ErrorData *error);
extern void rc_run_destination(int64 run, const char *destination);
extern int	rc_run_abandon(const char *source);
extern List *rc_run_windows(int64 run);
extern void rc_task_set(int64 run, const char *task, const char *state,
						int attempt, TimestampTz next_try,
						const ErrorData *error);
extern char *rc_cursor_before(const char *cursor, const RcSource *source);
extern void rc_source_rewind(const RcSource *source, const char *destination,
							 RcSourceState *state, const char *cursor);
extern void rc_param_source(RcParams *params, const RcSource *source,
							const char *destination);
extern RcSourceState *rc_source_state(const RcSource *source,
									  const char *destination);
extern void rc_source_advance(const RcSource *source, const char *destination,
							  RcSourceState *state, const char *cursor,
							  int64 next_offset);
extern void rc_source_fence(const RcSource *source, const char *destination,
							const RcSourceState *state);
extern void rc_source_changed(const RcSource *source);
extern ErrorData *rc_source_gone(const RcSource *source);
extern void rc_source_checked(const RcSource *source, const char *destination);
extern void rc_source_quota(const RcSource *source, const RcQuota *quota);
extern void rc_source_complete(const RcSource *source, const char *destination,
							   RcSourceState *state,
							   const char *data_processed,
							   int64 records_count, bool full);
extern void rc_source_surplus(const RcSource *source, const char *destination,
							  RcSourceState *state, int64 surplus, bool known);
extern void rc_source_missing(const RcSource *source, const char *destination,
							  RcSourceState *state, bool refused,
							  int64 accepted);
extern void rc_source_forget(const RcSource *source, const char *destination);
extern void rc_stream_forget(const RcStream *stream);

/* ---- source_record.c: what was handed on, record by record ---- */

/* A record that full passes miss for so long is withdrawn. */
#define RC_MISSING_TIME "'1 hour'::interval"

/* What is remembered of a record, and what to do with it. */
typedef struct RcMemory
{
	bool		known;
	int64		hash;			/* of the value */
	char	   *version;		/* sorts as versions do; NULL: not known */
	int64		run;			/* that handed it on */
	bool		missed;			/* by an earlier full pass */
	bool		doubted;		/* nobody knows whether something else
								 * followed */
	bool		fresh;			/* nothing of its key was handed on */
	bool		changed;		/* differs from what was handed on */
	bool		news;			/* has to be handed on */
	bool		write;			/* has to be remembered */
} RcMemory;

/* Which records have to be handed on. */
typedef enum RcHandOn
{
	RC_HAND_ON_NEWS,			/* what is new or differs */
	RC_HAND_ON_EQUAL,			/* what is known, too */
	RC_HAND_ON_ALL				/* even what is older than known */
} RcHandOn;

/* Of which records of a source and destination. */
typedef enum RcCountOf
{
	RC_COUNT_ALL,				/* that are remembered */
	RC_COUNT_KNOWN,				/* not missing, and not in doubt */
	RC_COUNT_MISSING			/* from the newest full pass */
} RcCountOf;

typedef struct RcSeen RcSeen;

extern RcSeen *rc_seen_begin(void);
extern void rc_seen_add(RcSeen *seen, const RcRecord *records, int n);
extern void rc_remembered_compare(const RcSource *source,
								  const char *destination,
								  const RcRecord *records, RcMemory *memory,
								  int n, int64 run, RcHandOn mode);
extern void rc_remembered_doubt(const RcSource *source,
								const char *destination,
								const RcRecord *records,
								const RcMemory *memory, int n,
								bool fresh_too);
extern void rc_remember(const RcSource *source, const char *destination,
						const RcRecord *records, const RcMemory *memory,
						int n);
extern void rc_forget(const RcSource *source, const char *destination,
					  const RcRecord *records, int n);
extern bool rc_remembered_at_most(const RcSource *source,
								  const char *destination, int64 most);
extern int64 rc_remembered_count(const RcSource *source,
								 const char *destination, RcCountOf what);
extern int64 rc_remembered_miss(const RcSource *source,
								const char *destination, RcSeen *seen);
extern RcRecord *rc_remembered_missing(const RcSource *source,
									   const char *destination,
									   const RcRecord *after, int limit,
									   int *n);

/* ---- start_position.c: where a stream starts ---- */

extern char *rc_time_place(const char *text, const char *what,
						   const char *accepted);

/* ---- stream_offset.c: offsets and states of streams ---- */

typedef struct RcOffset
{
	char	   *topic;
	int32		partition;
	int64		next_offset;
	int64		epoch;
	char	   *cluster_id;
	int64		last_offset;	/* -1: none yet */
	int64		last_timestamp_ms;	/* -1: none yet */
	int64		high_watermark; /* -1: not yet observed */
	char	   *seek_to;		/* earliest, latest or a timestamp; else NULL */
} RcOffset;

/* A partition whose stream has no worker. */
typedef struct RcUnwatched
{
	char	   *stream;
	RcOffset	offset;			/* topic, partition and high_watermark of it */
} RcUnwatched;

extern RcUnwatched *rc_offsets_unwatched(int *n);
extern List *rc_offsets_load(const char *stream);
extern void rc_offset_insert(const char *stream, const char *topic,
							 int32 partition, int64 next_offset,
							 const char *cluster_id);
extern void rc_offset_advance(const char *stream, const RcOffset *from,
							  int64 next_offset, int64 last_offset,
							  int64 last_timestamp_ms, int64 applied,
							  const RcCounts *counts);
extern bool rc_offset_outdate(const char *stream, const char *topic);
extern void rc_offset_started(const char *stream, const RcOffset *at);
extern void rc_offset_totals(const char *stream, RcCounts *counts);
extern void rc_offset_skip(const char *stream, const RcOffset *from,
						   int64 next_offset);
extern void rc_offset_seek(const char *stream, const RcOffset *from,
						   int64 next_offset, const char *cluster_id);
extern void rc_offset_observe(const char *stream, const RcOffset *at,
							  int64 high_watermark);

/*
 * SQL: a failed stream's next try is not due yet.  One that is further away
 * than any backoff dates from before the clock was set back.
 */
#define RC_RETRY_IS_DUE_LATER(state) \
	state ".retry_at > pg_catalog.clock_timestamp()" \
	" AND " state ".retry_at <= pg_catalog.clock_timestamp() + '5 minutes'::interval"

extern void rc_stream_say(const char *stream, const char *state,
						  const char *detail);
extern void rc_stream_begin(const char *stream);
extern void rc_stream_run(const char *stream, bool cured);
extern void rc_stream_wait(const char *stream, const ErrorData *error);
extern bool rc_stream_unproven(const char *stream);
extern int	rc_stream_fail(const char *stream, const ErrorData *error);
extern void rc_stream_retry_all(void);

/* ---- statement_output.c: messages into the outbox ---- */

/* Rows that a statement has returned, copied out of SPI. */
typedef struct RcOutput
{
	int			n;
	Datum	   *keys;			/* bytea */
	bool	   *key_nulls;
	Datum	   *values;			/* bytea */
	bool	   *value_nulls;
	Datum	   *headers;		/* jsonb */
	bool	   *header_nulls;
} RcOutput;

extern void rc_output_check(TupleDesc desc, const char *stream);
extern RcOutput *rc_output_collect(const char *stream);
extern void rc_outbox_insert(const RcStream *stream, const RcOutput *output);
extern bool rc_topic_allowed(Oid role, const char *topic, bool write);

/* ---- message.c: what a message may be ---- */

/* Limits of a message, in bytes; headers count as text. */
#define RC_MAX_KEY		1048576
#define RC_MAX_HEADERS	1048576
#define RC_MAX_MESSAGE	16777216	/* key, value and headers together */

typedef struct RcMessageSize
{
	int64		key;
	int64		value;
	int64		headers;
} RcMessageSize;

extern void rc_message_check(NullableDatum key, NullableDatum value,
							 NullableDatum headers);
extern void rc_message_measure(NullableDatum key, NullableDatum value,
							   NullableDatum headers, int64 enough,
							   RcMessageSize *size);
extern char *rc_message_too_large(const RcMessageSize *size);
extern RcHeader *rc_message_headers(Datum jsonb, bool isnull,
									const char *message_id, int *n);

/* ---- outbox_bury.c: what can never be sent ---- */

extern void rc_outbox_bury(const int64 *ids, int n, int sqlstate,
						   const char *message, bool bare);

/* ---- outbox_read.c: and out of it ---- */

/* A topic that messages are there for. */
typedef struct RcOutboxTopic
{
	char	   *name;
	bool		waiting;		/* the rest is its row of outbox_topic */
	int			failures;
	TimestampTz retry_at;
	TimestampTz failed_at;
	char	   *sqlstate;
	char	   *error;
	char	   *hint;
} RcOutboxTopic;

typedef struct RcMessage
{
	int64		id;
	RcMessageSize size;
	int			sqlstate;		/* of the problem */
	char	   *problem;		/* why it can never be sent; NULL: it can */
	RcRecord	record;			/* only its topic where there is a problem */
} RcMessage;

/*
 * Whether a message shall be read.  Those of a topic are asked for in the
 * order of their ids, before key, value and headers are read.
 */
typedef bool (*RcMessageTake) (void *arg, const RcMessage *message);

extern List *rc_outbox_read(char **topics, int ntopics, int limit,
							bool one_by_one, RcMessageTake take, void *arg);
extern void rc_outbox_delete(const int64 *ids, int n);
extern void rc_outbox_say(const char *state, const char *error);
extern void rc_outbox_topic_waits(const char *topic, int failures,
								  TimestampTz retry_at, int sqlstate,
								  const char *error, const char *hint);
extern void rc_outbox_topic_goes(const char *topic);

/* ---- outbox_topics.c ---- */

extern List *rc_outbox_topics(const char *after, int limit);
extern List *rc_outbox_topics_readable(int limit, int *unreadable);
extern void rc_outbox_by_index(void);
extern void rc_outbox_topics_sweep(void);

/* ---- republish.c ---- */

extern void rc_republish_letters(const char *topic, int64 id,
								 int64 *republished, int64 *still_dead);

/* ---- dead_letter.c ---- */

typedef struct RcDeadLetter
{
	int64		id;
	RcRecord	record;
	bool		still_dead;		/* it has failed again */
} RcDeadLetter;

extern RcDeadLetter *rc_dead_letters(const RcStream *stream, int64 id,
									 int64 after, int limit, int *n);
extern void rc_dead_letter_again(int64 id, const ErrorData *error);
extern int64 rc_dead_letter_supersede(const RcStream *stream, int64 id);
extern void rc_dead_letter_resolve(const int64 *ids, int n);
pg_noreturn extern void rc_dead_letter_missing(const char *stream, int64 id);

extern void rc_dead_letter_add(const char *origin, const char *name,
							   int64 run, const RcRecord *record,
							   const ErrorData *error,
							   const char *owner);

/* ---- records_relation.c: records as a relation ---- */

typedef struct RcDecoder RcDecoder;

extern RcDecoder *rc_decoder_make(const RcStream *stream);
extern TupleDesc rc_decoder_desc(RcDecoder *decoder);
extern bool rc_decoder_current(RcDecoder *decoder);
extern void rc_decoder_put(RcDecoder *decoder, Tuplestorestate *store,
						   const RcRecord *record);
extern void rc_relation_register(char *name, Tuplestorestate *store,
								 TupleDesc desc, double tuples);

/* ---- headers_json.c: headers of a record as jsonb, and back ---- */

extern Datum rc_headers_jsonb(const RcRecord *record);
extern RcHeader *rc_headers_from_jsonb(Datum headers, int *n);

/* ---- row_decoder.c: a JSON object to the columns of a row type ---- */

typedef struct RcRowDecoder RcRowDecoder;

extern RcRowDecoder *rc_row_decoder_make(TupleDesc desc);
extern bool rc_row_decoder_current(const RcRowDecoder *decoder);
extern void rc_row_decode(RcRowDecoder *decoder, const char *json, int len,
						  Datum *values, bool *nulls);

/* ---- apply.c: a batch to tables ---- */

/* With so many records behind it at least a record that failed is tried. */
#define RC_PROOF_RECORDS	100

typedef struct RcApplier RcApplier;

/* Records of a batch that belong to one run. */
typedef struct RcPart
{
	int			n;
	int64		run;			/* that handed them on; 0: none */
	int			applied;		/* so many of them, from the first on */
	RcCounts	counts;			/* what became of those */
} RcPart;

/* What the error that a batch has left means for its stream. */
typedef enum RcOutcome
{
	RC_OUTCOME_CODE,			/* what its SQLSTATE says */
	RC_OUTCOME_WAITS,			/* may pass: the same batch again */
	RC_OUTCOME_FAILED			/* would fail for all records */
} RcOutcome;

extern RcApplier *rc_applier_open(const RcStream *stream);
extern void rc_applier_close(RcApplier *applier);
extern void rc_applier_retry(RcApplier *applier, RcDeadLetter *letters);
extern int	rc_apply(RcApplier *applier, const RcRecord *records,
					 RcPart *parts, int nparts);
extern int	rc_applier_proof_records(const RcApplier *applier);
extern bool rc_applier_undecided(const RcApplier *applier,
								 const RcRecord **at);
extern void rc_applier_check(RcApplier *applier, bool at_end, bool sought);
extern bool rc_applier_may_pass(const RcApplier *applier,
								const ErrorData *error);

/* ---- statement_run.c and user_sql.c: a user's SQL ---- */

extern void rc_statement_check_owner(const RcStream *stream);
extern bool rc_applier_setup(const RcStream *stream);
extern void rc_statement_expect(void);
extern bool rc_statement_changed(void);
extern void rc_statement_cancel(SIGNAL_ARGS);
extern void rc_user_cancel(SIGNAL_ARGS);

/* ---- error_class.c: what an error means ---- */

extern bool rc_error_may_pass(int sqlstate);
extern int	rc_sqlstate(const char *code);
extern bool rc_error_is_damage(int sqlstate);
extern bool rc_error_needs_proof(int sqlstate);
extern bool rc_error_is_timeout(const ErrorData *error);

#endif							/* RC_STORE_H */
