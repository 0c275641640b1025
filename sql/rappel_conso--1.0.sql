/* rappel_conso 1.0 */

-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION rappel_conso" to load this file. \quit

-- 00-schema
--     What comes before all else: the settings that the whole script runs with,
--     the schema, and what the tables' columns are computed with.
--
-- The install script is the files of sql/parts, one after the other in the order
-- of their names.  So each may use what an earlier one makes, and none what
-- comes later, but for functions that are called by a body that is a text.
-- Nothing here may make an object in the extension's own schema.

-- Every object is made by its full name.  Names inside expressions are looked
-- up in pg_catalog only: in the target schema somebody may have put a function
-- or an operator whose arguments fit better.
SET LOCAL search_path = pg_catalog, pg_temp;

-- Whoever may create functions beside ours can add one that fits a call better.
DO $$
DECLARE
  others text;
BEGIN
  SELECT string_agg(w.name, ', ' ORDER BY w.name) INTO others
    FROM (SELECT DISTINCT CASE WHEN r.oid IS NULL THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS name
            FROM pg_namespace n
           CROSS JOIN LATERAL (SELECT a.grantee FROM aclexplode(n.nspacl) a WHERE a.privilege_type = 'CREATE'
                               UNION SELECT n.nspowner) g (role)
            LEFT JOIN pg_roles r
                   ON r.oid = CASE WHEN g.role = 'pg_database_owner'::regrole
                                   THEN (SELECT d.datdba FROM pg_database d WHERE d.datname = current_database()) ELSE g.role END
           WHERE n.oid = '@extschema@'::regnamespace AND r.rolsuper IS NOT TRUE) w;
  IF others IS NOT NULL THEN
    RAISE WARNING 'roles that are not superusers may create objects in the schema of extension "rappel_conso"'
      USING DETAIL = format('In schema %s these may: %s. A function that one of them adds can make a call of ours ambiguous, or take its place.', '@extschema@', others),
            HINT = 'REVOKE CREATE ON SCHEMA, or create the extension in a schema of its own.';
  END IF;
END
$$;

CREATE SCHEMA rappel_conso;
COMMENT ON SCHEMA rappel_conso IS 'definitions and state of the pipelines of rappel_conso';

-- It is immutable only as a row is stored: the generated columns that use it
-- keep which role the name meant then, and a restore computes them anew.
CREATE FUNCTION rappel_conso.role_oid(name) RETURNS oid
AS 'MODULE_PATHNAME', 'rc_role_oid' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION rappel_conso.role_oid(name) IS 'OID of the role that has a name now; null if there is none';
-- 10-definitions
--     Tables that users write: streams and sources; and which role a name in
--     them means.
--
-- What happens to a row that is stored stands in 40-guards, who may store it in
-- 80-privileges, and the rows that come built in stand in 90-builtin.

CREATE TABLE rappel_conso.stream (
  name text PRIMARY KEY
    CONSTRAINT stream_name_check CHECK (name OPERATOR(pg_catalog.~) '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' AND octet_length(name) OPERATOR(pg_catalog.<=) 63),
  topics text[] NOT NULL,
  statement text NOT NULL,
  setup text,
  value_type regtype NOT NULL DEFAULT 'jsonb'::regtype,
  key_type regtype NOT NULL DEFAULT 'text'::regtype
    CONSTRAINT stream_key_type_check CHECK (key_type OPERATOR(pg_catalog.=) ANY (ARRAY['text'::regtype, 'bytea'::regtype]::oid[])),
  output_topic text,
  start_at text NOT NULL DEFAULT 'earliest',
  batch_size integer NOT NULL DEFAULT 10000
    CONSTRAINT stream_batch_size_check CHECK (batch_size OPERATOR(pg_catalog.>=) 1 AND batch_size OPERATOR(pg_catalog.<=) 100000),
  workers integer NOT NULL DEFAULT 1
    CONSTRAINT stream_workers_check CHECK (workers OPERATOR(pg_catalog.>=) 1 AND workers OPERATOR(pg_catalog.<=) 64),
  on_error text NOT NULL DEFAULT 'dead_letter'
    CONSTRAINT stream_on_error_check CHECK (on_error OPERATOR(pg_catalog.=) ANY (ARRAY['dead_letter', 'stop'])),
  stop_after integer NOT NULL DEFAULT 100
    CONSTRAINT stream_stop_after_check CHECK (stop_after OPERATOR(pg_catalog.>=) 1),
  paused boolean NOT NULL DEFAULT false,
  owner name NOT NULL DEFAULT current_user,
  search_path text
);
COMMENT ON TABLE rappel_conso.stream IS 'streams: topics and the SQL statement that is applied to each batch of their records';
COMMENT ON COLUMN rappel_conso.stream.name IS 'name of the stream, the key';
COMMENT ON COLUMN rappel_conso.stream.topics IS 'Kafka topics that are consumed';
COMMENT ON COLUMN rappel_conso.stream.statement IS 'one SQL command over the relation "records"';
COMMENT ON COLUMN rappel_conso.stream.setup IS 'SQL run as the owner before consuming starts';
COMMENT ON COLUMN rappel_conso.stream.value_type IS 'type of a record''s value: jsonb, text, bytea, or a row type whose columns stand in place of "value"';
COMMENT ON COLUMN rappel_conso.stream.key_type IS 'type of a record''s key: text or bytea';
COMMENT ON COLUMN rappel_conso.stream.output_topic IS 'topic that the rows returned by the statement go to';
COMMENT ON COLUMN rappel_conso.stream.start_at IS 'where a partition without offset starts: earliest, latest or a timestamp, which is stored in UTC';
COMMENT ON COLUMN rappel_conso.stream.batch_size IS 'greatest number of records in one transaction';
COMMENT ON COLUMN rappel_conso.stream.workers IS 'number of worker processes that share the partitions';
COMMENT ON COLUMN rappel_conso.stream.on_error IS 'what a record that fails alone does: dead_letter, or stop the stream';
COMMENT ON COLUMN rappel_conso.stream.stop_after IS 'number of failed records in a row that stops the stream';
COMMENT ON COLUMN rappel_conso.stream.paused IS 'true: nothing is consumed';
COMMENT ON COLUMN rappel_conso.stream.owner IS 'name of the role that the statement runs as; it gives no right to another role that takes the name later';
COMMENT ON COLUMN rappel_conso.stream.search_path IS 'search_path of the statement; null: that of whoever stores it';

CREATE TABLE rappel_conso.source (
  name text PRIMARY KEY
    CONSTRAINT source_name_check CHECK (name OPERATOR(pg_catalog.~) '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' AND octet_length(name) OPERATOR(pg_catalog.<=) 63),
  url text NOT NULL DEFAULT 'https://data.economie.gouv.fr/api/explore/v2.1',
  dataset text NOT NULL,
  filter text,
  key_field text,
  cursor_field text,
  "overlap" interval NOT NULL DEFAULT '30 days',
  full_interval interval NOT NULL DEFAULT '7 days',
  transform text NOT NULL DEFAULT 'none',
  fold_accents boolean NOT NULL DEFAULT true,
  topic text,
  partitions integer NOT NULL DEFAULT 1
    CONSTRAINT source_partitions_check CHECK (partitions OPERATOR(pg_catalog.>=) 1 AND partitions OPERATOR(pg_catalog.<=) 10000),
  replication integer NOT NULL DEFAULT -1
    CONSTRAINT source_replication_check CHECK (replication OPERATOR(pg_catalog.=) -1 OR replication OPERATOR(pg_catalog.>=) 1 AND replication OPERATOR(pg_catalog.<=) 32767),
  stream text REFERENCES rappel_conso.stream (name) ON UPDATE CASCADE,
  poll_interval interval,
  retries integer NOT NULL DEFAULT 3
    CONSTRAINT source_retries_check CHECK (retries OPERATOR(pg_catalog.>=) 0 AND retries OPERATOR(pg_catalog.<=) 100),
  retry_delay interval NOT NULL DEFAULT '5 seconds',
  paused boolean NOT NULL DEFAULT false,
  owner name NOT NULL DEFAULT current_user
);
COMMENT ON TABLE rappel_conso.source IS 'sources: Explore API datasets whose records are polled';
COMMENT ON COLUMN rappel_conso.source.name IS 'name of the source, the key';
COMMENT ON COLUMN rappel_conso.source.url IS 'base of the Explore API, up to and with /api/explore/v2.1';
COMMENT ON COLUMN rappel_conso.source.dataset IS 'identifier of the dataset';
COMMENT ON COLUMN rappel_conso.source.filter IS 'ODSQL condition that limits the records; null: all';
COMMENT ON COLUMN rappel_conso.source.key_field IS 'field that identifies a record and becomes its key';
COMMENT ON COLUMN rappel_conso.source.cursor_field IS 'field that rises with new records; null: everything is read each time';
COMMENT ON COLUMN rappel_conso.source."overlap" IS 'how far before the cursor each run starts to read';
COMMENT ON COLUMN rappel_conso.source.full_interval IS 'after this time a run reads everything again';
COMMENT ON COLUMN rappel_conso.source.transform IS 'recall: bring records to the shape of rappel_conso_table; none: as they come';
COMMENT ON COLUMN rappel_conso.source.fold_accents IS 'with transform recall: fold the text columns to ASCII';
COMMENT ON COLUMN rappel_conso.source.topic IS 'Kafka topic that records are published to';
COMMENT ON COLUMN rappel_conso.source.partitions IS 'partitions of the topic when the extension creates it';
COMMENT ON COLUMN rappel_conso.source.replication IS 'replication factor of the topic when the extension creates it; -1: the broker''s default';
COMMENT ON COLUMN rappel_conso.source.stream IS 'the source''s own stream: fed by it in direct mode, awaited by the task load';
COMMENT ON COLUMN rappel_conso.source.poll_interval IS 'how often the scheduler runs the source; null: only on demand';
COMMENT ON COLUMN rappel_conso.source.retries IS 'how often a failed task is tried again';
COMMENT ON COLUMN rappel_conso.source.retry_delay IS 'wait before the first retry; doubled for each further one, at most 10 minutes';
COMMENT ON COLUMN rappel_conso.source.paused IS 'true: the scheduler does not poll it; rc_sync_now() and rc_trigger() work';
COMMENT ON COLUMN rappel_conso.source.owner IS 'name of the role that the source''s runs connect as; it gives no right to another role that takes the name later';

CREATE INDEX source_stream_idx ON rappel_conso.source (stream);

CREATE TABLE rappel_conso.known_role (
  name name PRIMARY KEY,
  oid oid NOT NULL
);
COMMENT ON TABLE rappel_conso.known_role IS 'which role a name meant when it was stored as an owner or in a grant; not dumped: in another cluster the names are looked up anew';
COMMENT ON COLUMN rappel_conso.known_role.name IS 'name of the role';
COMMENT ON COLUMN rappel_conso.known_role.oid IS 'OID of the role; 0: there was none. A name whose role has another OID now gives no right';

CREATE TABLE rappel_conso.known_name (
  name name PRIMARY KEY
);
COMMENT ON TABLE rappel_conso.known_name IS 'names in known_role; a dump has those whose role was dropped or renamed, so that they mean nobody where it is restored either';
COMMENT ON COLUMN rappel_conso.known_name.name IS 'name of the role';
-- 20-runs
--     State of runs and their tasks.  Only the extension writes it.
--
-- A run outlives its source, so no foreign key leads from here to a definition.

CREATE TABLE rappel_conso.run (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  source text NOT NULL,
  owner name,
  owner_oid oid GENERATED ALWAYS AS (rappel_conso.role_oid(owner)) STORED,
  state text NOT NULL
    CONSTRAINT run_state_check CHECK (state OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'running', 'success', 'failed', 'cancelled'])),
  trigger text NOT NULL DEFAULT 'manual',
  full_sync boolean NOT NULL DEFAULT false,
  window_from timestamptz,
  window_to timestamptz,
  window_every interval,
  reads text,
  destination text,
  requested_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  started_at timestamptz DEFAULT clock_timestamp(),
  finished_at timestamptz,
  fetched bigint NOT NULL DEFAULT 0,
  published bigint NOT NULL DEFAULT 0,
  inserted bigint NOT NULL DEFAULT 0,
  updated bigint NOT NULL DEFAULT 0,
  unchanged bigint NOT NULL DEFAULT 0,
  dead bigint NOT NULL DEFAULT 0,
  withdrawn bigint NOT NULL DEFAULT 0,
  sqlstate text,
  error text,
  detail text,
  hint text,
  context text
);
CREATE INDEX run_source_idx ON rappel_conso.run (source, id);
CREATE UNIQUE INDEX run_queued_idx ON rappel_conso.run (source)
  WHERE state OPERATOR(pg_catalog.=) 'queued' AND trigger OPERATOR(pg_catalog.=) 'trigger';
CREATE UNIQUE INDEX run_backfill_idx ON rappel_conso.run (source, window_from, window_to, window_every)
  WHERE state OPERATOR(pg_catalog.=) 'queued' AND trigger OPERATOR(pg_catalog.=) 'backfill';
CREATE INDEX run_waiting_idx ON rappel_conso.run (source) WHERE state OPERATOR(pg_catalog.=) 'queued';
CREATE UNIQUE INDEX run_running_idx ON rappel_conso.run (source) WHERE state OPERATOR(pg_catalog.=) 'running';
COMMENT ON TABLE rappel_conso.run IS 'runs: one execution of a source each';
COMMENT ON SEQUENCE rappel_conso.run_id_seq IS 'numbers of runs';
COMMENT ON COLUMN rappel_conso.run.id IS 'number of the run';
COMMENT ON COLUMN rappel_conso.run.source IS 'name of the source';
COMMENT ON COLUMN rappel_conso.run.owner IS 'name of the role that the source belongs to, which an earlier source of that name may not have done';
COMMENT ON COLUMN rappel_conso.run.owner_oid IS 'OID of that role when the run was asked for: who takes the name later does not see it';
COMMENT ON COLUMN rappel_conso.run.state IS 'queued, running, success, failed or cancelled';
COMMENT ON COLUMN rappel_conso.run.trigger IS 'what started it: manual (rc_sync_now), trigger (rc_trigger), backfill (rc_backfill) or schedule (poll_interval)';
COMMENT ON COLUMN rappel_conso.run.full_sync IS 'true: cursor and remembered records were ignored';
COMMENT ON COLUMN rappel_conso.run.window_from IS 'start of a backfill';
COMMENT ON COLUMN rappel_conso.run.window_to IS 'end of a backfill, exclusive';
COMMENT ON COLUMN rappel_conso.run.window_every IS 'length of a backfill''s windows';
COMMENT ON COLUMN rappel_conso.run.reads IS 'hash of what the source''s definition was when it started';
COMMENT ON COLUMN rappel_conso.run.destination IS 'where records went: direct, or Kafka cluster id and topic';
COMMENT ON COLUMN rappel_conso.run.requested_at IS 'when it was asked for';
COMMENT ON COLUMN rappel_conso.run.started_at IS 'when it started';
COMMENT ON COLUMN rappel_conso.run.finished_at IS 'when it ended';
COMMENT ON COLUMN rappel_conso.run.fetched IS 'records read from the API';
COMMENT ON COLUMN rappel_conso.run.published IS 'records that Kafka has confirmed; 0 in direct mode';
COMMENT ON COLUMN rappel_conso.run.inserted IS 'rows inserted by the source''s stream';
COMMENT ON COLUMN rappel_conso.run.updated IS 'rows updated by the source''s stream';
COMMENT ON COLUMN rappel_conso.run.unchanged IS 'records that changed nothing, those that were not handed on again among them';
COMMENT ON COLUMN rappel_conso.run.dead IS 'records that went to rappel_conso.dead_letter';
COMMENT ON COLUMN rappel_conso.run.withdrawn IS 'records that two full passes have missed: a record without a value each';
COMMENT ON COLUMN rappel_conso.run.sqlstate IS 'SQLSTATE of the error that ended it';
COMMENT ON COLUMN rappel_conso.run.error IS 'message of the error that ended it';
COMMENT ON COLUMN rappel_conso.run.detail IS 'detail of the error';
COMMENT ON COLUMN rappel_conso.run.hint IS 'hint of the error';
COMMENT ON COLUMN rappel_conso.run.context IS 'context of the error';

CREATE TABLE rappel_conso.task (
  run bigint NOT NULL REFERENCES rappel_conso.run (id) ON DELETE CASCADE,
  name text NOT NULL
    CONSTRAINT task_name_check CHECK (name OPERATOR(pg_catalog.=) ANY (ARRAY['extract', 'load', 'sync'])
                                      OR name OPERATOR(pg_catalog.~) '^window '),
  state text NOT NULL
    CONSTRAINT task_state_check CHECK (state OPERATOR(pg_catalog.=) ANY (ARRAY['queued', 'running', 'up_for_retry', 'success', 'failed', 'upstream_failed', 'cancelled'])),
  attempt integer NOT NULL DEFAULT 0,
  started_at timestamptz,
  finished_at timestamptz,
  next_try_at timestamptz,
  window_from timestamptz,
  window_to timestamptz,
  fetched bigint NOT NULL DEFAULT 0,
  published bigint NOT NULL DEFAULT 0,
  inserted bigint NOT NULL DEFAULT 0,
  updated bigint NOT NULL DEFAULT 0,
  unchanged bigint NOT NULL DEFAULT 0,
  dead bigint NOT NULL DEFAULT 0,
  withdrawn bigint NOT NULL DEFAULT 0,
  sqlstate text,
  error text,
  PRIMARY KEY (run, name)
);
COMMENT ON TABLE rappel_conso.task IS 'tasks: the retried steps of runs';
COMMENT ON COLUMN rappel_conso.task.run IS 'number of the run';
COMMENT ON COLUMN rappel_conso.task.name IS 'extract (API to topic), load (topic to table), sync (both, in direct mode), or the window of a backfill';
COMMENT ON COLUMN rappel_conso.task.state IS 'queued, running, up_for_retry, success, failed, upstream_failed or cancelled';
COMMENT ON COLUMN rappel_conso.task.attempt IS 'number of the try, from 1';
COMMENT ON COLUMN rappel_conso.task.started_at IS 'when the first try started';
COMMENT ON COLUMN rappel_conso.task.finished_at IS 'when it ended';
COMMENT ON COLUMN rappel_conso.task.next_try_at IS 'when it is tried again, while up_for_retry';
COMMENT ON COLUMN rappel_conso.task.window_from IS 'start of the window of a backfill';
COMMENT ON COLUMN rappel_conso.task.window_to IS 'end of the window, exclusive';
COMMENT ON COLUMN rappel_conso.task.fetched IS 'records read from the API';
COMMENT ON COLUMN rappel_conso.task.published IS 'records that Kafka has confirmed; 0 in direct mode';
COMMENT ON COLUMN rappel_conso.task.inserted IS 'rows inserted by the source''s stream';
COMMENT ON COLUMN rappel_conso.task.updated IS 'rows updated by the source''s stream';
COMMENT ON COLUMN rappel_conso.task.unchanged IS 'records that changed nothing, those that were not handed on again among them';
COMMENT ON COLUMN rappel_conso.task.dead IS 'records that went to rappel_conso.dead_letter';
COMMENT ON COLUMN rappel_conso.task.withdrawn IS 'records that two full passes have missed: a record without a value each';
COMMENT ON COLUMN rappel_conso.task.sqlstate IS 'SQLSTATE of the newest error';
COMMENT ON COLUMN rappel_conso.task.error IS 'message of the newest error';
-- 21-source-state
--     State of sources: how far each is read, what is known of its records, why
--     one waits.  Only the extension writes it.

CREATE TABLE rappel_conso.source_state (
  source text NOT NULL REFERENCES rappel_conso.source (name) ON UPDATE CASCADE ON DELETE CASCADE,
  destination text NOT NULL,
  epoch bigint NOT NULL DEFAULT 1,
  cursor_value text,
  next_offset bigint NOT NULL DEFAULT 0,
  complete boolean NOT NULL DEFAULT false,
  data_processed text,
  records_count bigint,
  full_at timestamptz,
  surplus bigint,
  missing_refused boolean NOT NULL DEFAULT false,
  missing_accepted bigint NOT NULL DEFAULT 0,
  record_timestamp timestamptz,
  checked_at timestamptz,
  quota_limit bigint,
  quota_remaining bigint,
  quota_reset_at timestamptz,
  PRIMARY KEY (source, destination)
);
COMMENT ON TABLE rappel_conso.source_state IS 'how far each source has been read for each destination';
COMMENT ON COLUMN rappel_conso.source_state.source IS 'name of the source';
COMMENT ON COLUMN rappel_conso.source_state.destination IS 'direct, or Kafka cluster id and topic';
COMMENT ON COLUMN rappel_conso.source_state.epoch IS 'raised when the definition changes; a run that started before can no longer move the cursor';
COMMENT ON COLUMN rappel_conso.source_state.cursor_value IS 'greatest value of the cursor field among the records that are safe';
COMMENT ON COLUMN rappel_conso.source_state.next_offset IS 'number of the source''s next record in direct mode';
COMMENT ON COLUMN rappel_conso.source_state.complete IS 'false until everything up to data_processed has been read';
COMMENT ON COLUMN rappel_conso.source_state.data_processed IS 'the dataset''s own time of its last change, as last read completely';
COMMENT ON COLUMN rappel_conso.source_state.records_count IS 'the dataset''s number of records, as last read completely';
COMMENT ON COLUMN rappel_conso.source_state.full_at IS 'when everything was last read';
COMMENT ON COLUMN rappel_conso.source_state.surplus IS 'what the dataset counts beyond the records remembered, such as keys that occur twice, after the last full pass; another number makes a run read everything';
COMMENT ON COLUMN rappel_conso.source_state.missing_refused IS 'true: more records were missing than may vanish at once, and the runs fail until they are back or full_sync is asked for';
COMMENT ON COLUMN rappel_conso.source_state.missing_accepted IS 'number of missing records that full_sync has accepted';
COMMENT ON COLUMN rappel_conso.source_state.record_timestamp IS 'timestamp of the last record handed on; none after it is earlier';
COMMENT ON COLUMN rappel_conso.source_state.checked_at IS 'when the API was last asked with success';
COMMENT ON COLUMN rappel_conso.source_state.quota_limit IS 'calls that the API allows, as it last said';
COMMENT ON COLUMN rappel_conso.source_state.quota_remaining IS 'calls that were left then; under a tenth, polls come four times less often';
COMMENT ON COLUMN rappel_conso.source_state.quota_reset_at IS 'when the count begins anew';

CREATE TABLE rappel_conso.source_record (
  source text NOT NULL,
  destination text NOT NULL,
  key bytea NOT NULL,
  hash bigint,
  version bytea,
  run bigint,
  missed_at timestamptz,
  PRIMARY KEY (source, destination, key),
  FOREIGN KEY (source, destination) REFERENCES rappel_conso.source_state (source, destination)
    ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE INDEX source_record_missed_idx ON rappel_conso.source_record (source, destination, missed_at)
  WHERE missed_at IS NOT NULL;
COMMENT ON TABLE rappel_conso.source_record IS 'what is remembered of each record that a source has handed on, so that it is not handed on again';
COMMENT ON COLUMN rappel_conso.source_record.source IS 'name of the source';
COMMENT ON COLUMN rappel_conso.source_record.destination IS 'direct, or Kafka cluster id and topic';
COMMENT ON COLUMN rappel_conso.source_record.key IS 'key of the record, as published';
COMMENT ON COLUMN rappel_conso.source_record.hash IS 'hash of its value, as published; null while another one, or its withdrawal, is being published';
COMMENT ON COLUMN rappel_conso.source_record.version IS 'version of the recall, as bytes that sort as versions do; an older one is not published after it';
COMMENT ON COLUMN rappel_conso.source_record.run IS 'run that handed it on';
COMMENT ON COLUMN rappel_conso.source_record.missed_at IS 'when a full pass first missed it; null: it is there';

CREATE TABLE rappel_conso.source_wait (
  source text PRIMARY KEY REFERENCES rappel_conso.source (name) ON UPDATE CASCADE ON DELETE CASCADE,
  reason text NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE rappel_conso.source_wait IS 'sources that are due but whose run cannot start';
COMMENT ON COLUMN rappel_conso.source_wait.source IS 'name of the source';
COMMENT ON COLUMN rappel_conso.source_wait.reason IS 'why it cannot start';
COMMENT ON COLUMN rappel_conso.source_wait.since IS 'since when';
-- 22-stream-state
--     State of streams: offsets, what their workers said last, and the lag.  Only
--     the extension writes it.

CREATE TABLE rappel_conso.stream_offset (
  stream text NOT NULL REFERENCES rappel_conso.stream (name) ON UPDATE CASCADE ON DELETE CASCADE,
  topic text NOT NULL,
  partition integer NOT NULL,
  next_offset bigint NOT NULL,
  epoch bigint NOT NULL DEFAULT 1,
  cluster_id text,
  seek_to text,
  last_offset bigint,
  record_timestamp timestamptz,
  applied_at timestamptz,
  applied bigint NOT NULL DEFAULT 0,
  inserted bigint NOT NULL DEFAULT 0,
  updated bigint NOT NULL DEFAULT 0,
  dead bigint NOT NULL DEFAULT 0,
  started_at timestamptz,
  applied_before bigint NOT NULL DEFAULT 0,
  high_watermark bigint,
  observed_at timestamptz,
  PRIMARY KEY (stream, topic, partition)
) WITH (fillfactor = 50);
COMMENT ON TABLE rappel_conso.stream_offset IS 'how far each stream has applied each partition, in the same commit as the rows';
COMMENT ON COLUMN rappel_conso.stream_offset.stream IS 'name of the stream';
COMMENT ON COLUMN rappel_conso.stream_offset.topic IS 'Kafka topic';
COMMENT ON COLUMN rappel_conso.stream_offset.partition IS 'partition of the topic';
COMMENT ON COLUMN rappel_conso.stream_offset.next_offset IS 'offset of the next record to apply';
COMMENT ON COLUMN rappel_conso.stream_offset.epoch IS 'raised when the stream changes or is sought; a batch that was read before can no longer commit';
COMMENT ON COLUMN rappel_conso.stream_offset.cluster_id IS 'Kafka cluster that the offsets belong to';
COMMENT ON COLUMN rappel_conso.stream_offset.seek_to IS 'where rc_seek() sends it: the worker resolves earliest, latest or a timestamp (ISO 8601, UTC); null: nowhere';
COMMENT ON COLUMN rappel_conso.stream_offset.last_offset IS 'offset of the last record applied';
COMMENT ON COLUMN rappel_conso.stream_offset.record_timestamp IS 'timestamp of the last record applied';
COMMENT ON COLUMN rappel_conso.stream_offset.applied_at IS 'when the last batch was committed';
COMMENT ON COLUMN rappel_conso.stream_offset.applied IS 'number of records applied, dead letters among them';
COMMENT ON COLUMN rappel_conso.stream_offset.inserted IS 'rows inserted or written by batches that began with this partition';
COMMENT ON COLUMN rappel_conso.stream_offset.updated IS 'rows updated by batches that began with this partition';
COMMENT ON COLUMN rappel_conso.stream_offset.dead IS 'dead letters of batches that began with this partition';
COMMENT ON COLUMN rappel_conso.stream_offset.started_at IS 'when its worker began with it';
COMMENT ON COLUMN rappel_conso.stream_offset.applied_before IS 'value of applied at that time';
COMMENT ON COLUMN rappel_conso.stream_offset.high_watermark IS 'end of the partition when last observed';
COMMENT ON COLUMN rappel_conso.stream_offset.observed_at IS 'when high_watermark was observed';

CREATE TABLE rappel_conso.stream_state (
  stream text PRIMARY KEY REFERENCES rappel_conso.stream (name) ON UPDATE CASCADE ON DELETE CASCADE,
  state text NOT NULL
    CONSTRAINT stream_state_check CHECK (state OPERATOR(pg_catalog.=) ANY (ARRAY['running', 'failed', 'waiting'])),
  detail text,
  failures integer NOT NULL DEFAULT 0,
  retry_at timestamptz,
  last_error_at timestamptz,
  sqlstate text,
  error text,
  error_detail text,
  hint text,
  context text
);
COMMENT ON TABLE rappel_conso.stream_state IS 'what the workers last said of each stream';
COMMENT ON COLUMN rappel_conso.stream_state.stream IS 'name of the stream';
COMMENT ON COLUMN rappel_conso.stream_state.state IS 'running, failed, or waiting (for a worker slot or the brokers)';
COMMENT ON COLUMN rappel_conso.stream_state.detail IS 'what it waits for, or what has to be known, such as a gap in a topic';
COMMENT ON COLUMN rappel_conso.stream_state.failures IS 'failures in a row';
COMMENT ON COLUMN rappel_conso.stream_state.retry_at IS 'when a failed stream is tried again';
COMMENT ON COLUMN rappel_conso.stream_state.last_error_at IS 'when the newest error happened';
COMMENT ON COLUMN rappel_conso.stream_state.sqlstate IS 'SQLSTATE of the newest error';
COMMENT ON COLUMN rappel_conso.stream_state.error IS 'message of the newest error';
COMMENT ON COLUMN rappel_conso.stream_state.error_detail IS 'detail of the newest error';
COMMENT ON COLUMN rappel_conso.stream_state.hint IS 'hint of the newest error';
COMMENT ON COLUMN rappel_conso.stream_state.context IS 'context of the newest error';

-- Whatever empties unlogged tables empties this one.
CREATE UNLOGGED TABLE rappel_conso.unlogged_kept (
  stream text PRIMARY KEY REFERENCES rappel_conso.stream (name) ON UPDATE CASCADE ON DELETE CASCADE
);
COMMENT ON TABLE rappel_conso.unlogged_kept IS 'streams that have begun since a crash or promotion has last emptied unlogged tables; not dumped';
COMMENT ON COLUMN rappel_conso.unlogged_kept.stream IS 'name of the stream';

CREATE VIEW rappel_conso.lag WITH (security_invoker = true) AS
  SELECT o.stream, o.topic, o.partition, o.next_offset, o.high_watermark,
         CASE WHEN o.high_watermark IS NOT NULL
              THEN GREATEST(o.high_watermark OPERATOR(pg_catalog.-) o.next_offset, 0) END AS lag,
         CASE WHEN o.high_watermark OPERATOR(pg_catalog.>) o.next_offset
              THEN pg_catalog.now() OPERATOR(pg_catalog.-) o.record_timestamp
              WHEN o.high_watermark IS NOT NULL THEN interval '0' END AS lag_time,
         o.record_timestamp, o.applied_at, o.observed_at
    FROM rappel_conso.stream_offset o;
COMMENT ON VIEW rappel_conso.lag IS 'records in Kafka that are not yet applied, for each partition';
COMMENT ON COLUMN rappel_conso.lag.stream IS 'name of the stream';
COMMENT ON COLUMN rappel_conso.lag.topic IS 'Kafka topic';
COMMENT ON COLUMN rappel_conso.lag.partition IS 'partition of the topic';
COMMENT ON COLUMN rappel_conso.lag.next_offset IS 'offset of the next record to apply';
COMMENT ON COLUMN rappel_conso.lag.high_watermark IS 'end of the partition when last observed';
COMMENT ON COLUMN rappel_conso.lag.lag IS 'number of offsets between the two; null until the end was observed';
COMMENT ON COLUMN rappel_conso.lag.lag_time IS 'age of the last record applied, while there are newer ones';
COMMENT ON COLUMN rappel_conso.lag.record_timestamp IS 'timestamp of the last record applied';
COMMENT ON COLUMN rappel_conso.lag.applied_at IS 'when the last batch was committed';
COMMENT ON COLUMN rappel_conso.lag.observed_at IS 'when high_watermark was observed';
-- 23-dead-letter
--     Records that failed alone.  Only the extension writes them.
--
-- They outlive what they came from, so no foreign key leads from here to a
-- definition.

CREATE TABLE rappel_conso.dead_letter (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  origin text NOT NULL
    CONSTRAINT dead_letter_origin_check CHECK (origin OPERATOR(pg_catalog.=) ANY (ARRAY['source', 'stream', 'outbox'])),
  name text NOT NULL,
  run bigint,
  topic text,
  partition integer,
  record_offset bigint,
  record_timestamp timestamptz,
  key bytea,
  value bytea,
  headers jsonb,
  message_id uuid,
  sqlstate text NOT NULL,
  message text NOT NULL,
  detail text,
  context text,
  owner name,
  owner_oid oid GENERATED ALWAYS AS (rappel_conso.role_oid(owner)) STORED,
  attempts integer NOT NULL DEFAULT 1,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  resolved_at timestamptz
);
CREATE INDEX dead_letter_value_idx ON rappel_conso.dead_letter (name, md5(COALESCE(value, '')))
  WHERE resolved_at IS NULL AND run IS NOT NULL;
CREATE INDEX dead_letter_place_idx ON rappel_conso.dead_letter (name, topic, partition, record_offset)
  WHERE origin OPERATOR(pg_catalog.=) 'stream' AND resolved_at IS NULL;
CREATE INDEX dead_letter_name_idx ON rappel_conso.dead_letter (origin, name, id);
COMMENT ON TABLE rappel_conso.dead_letter IS 'records that failed alone, with their bytes, place and error';
COMMENT ON SEQUENCE rappel_conso.dead_letter_id_seq IS 'numbers of dead letters';
COMMENT ON COLUMN rappel_conso.dead_letter.id IS 'number of the dead letter';
COMMENT ON COLUMN rappel_conso.dead_letter.origin IS 'what refused the record: source, stream or outbox';
COMMENT ON COLUMN rappel_conso.dead_letter.name IS 'name of the source or stream';
COMMENT ON COLUMN rappel_conso.dead_letter.run IS 'run that the record belongs to';
COMMENT ON COLUMN rappel_conso.dead_letter.topic IS 'topic of the record';
COMMENT ON COLUMN rappel_conso.dead_letter.partition IS 'partition of the record';
COMMENT ON COLUMN rappel_conso.dead_letter.record_offset IS 'offset of the record';
COMMENT ON COLUMN rappel_conso.dead_letter.record_timestamp IS 'timestamp of the record';
COMMENT ON COLUMN rappel_conso.dead_letter.key IS 'key of the record, as it came';
COMMENT ON COLUMN rappel_conso.dead_letter.value IS 'value of the record, as it came';
COMMENT ON COLUMN rappel_conso.dead_letter.headers IS 'headers of the record, in the form of records.headers';
COMMENT ON COLUMN rappel_conso.dead_letter.message_id IS 'identifier of a message of the outbox, with which rc_republish() puts it back';
COMMENT ON COLUMN rappel_conso.dead_letter.sqlstate IS 'SQLSTATE of the error';
COMMENT ON COLUMN rappel_conso.dead_letter.message IS 'message of the error';
COMMENT ON COLUMN rappel_conso.dead_letter.detail IS 'detail of the error';
COMMENT ON COLUMN rappel_conso.dead_letter.context IS 'context of the error';
COMMENT ON COLUMN rappel_conso.dead_letter.owner IS 'name of the role that the record belonged to: owner of the source, stream or message';
COMMENT ON COLUMN rappel_conso.dead_letter.owner_oid IS 'OID of that role when the row was stored: who takes the name later does not see it';
COMMENT ON COLUMN rappel_conso.dead_letter.attempts IS 'how often it was tried';
COMMENT ON COLUMN rappel_conso.dead_letter.created_at IS 'when it failed first';
COMMENT ON COLUMN rappel_conso.dead_letter.resolved_at IS 'when it was applied, or its message published, after all; null: still dead';
-- 24-outbox
--     Messages that wait to be published, the state of their topics and of the
--     publisher; and which role may read and write which topic, the only table
--     here that is not written by the extension alone.

CREATE TABLE rappel_conso.outbox (
  id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  message_id uuid NOT NULL DEFAULT gen_random_uuid(),
  topic text COLLATE pg_catalog."C" NOT NULL,
  key bytea
    CONSTRAINT outbox_key_check CHECK (octet_length(key) OPERATOR(pg_catalog.<=) 16777216),
  value bytea
    CONSTRAINT outbox_value_check CHECK (octet_length(value) OPERATOR(pg_catalog.<=) 16777216),
  headers jsonb
    CONSTRAINT outbox_headers_check CHECK (jsonb_typeof(headers) OPERATOR(pg_catalog.=) 'object'),
  origin text NOT NULL DEFAULT 'rc_publish',
  owner name NOT NULL,
  owner_oid oid GENERATED ALWAYS AS (rappel_conso.role_oid(owner)) STORED,
  created_at timestamptz NOT NULL DEFAULT clock_timestamp(),
  dead_letter bigint
);
CREATE INDEX outbox_topic_idx ON rappel_conso.outbox (topic, id);
CREATE UNIQUE INDEX outbox_dead_letter_idx ON rappel_conso.outbox (dead_letter) WHERE dead_letter IS NOT NULL;
COMMENT ON TABLE rappel_conso.outbox IS 'messages that wait to be published; deleted when Kafka has confirmed them';
COMMENT ON SEQUENCE rappel_conso.outbox_id_seq IS 'numbers of messages';
COMMENT ON COLUMN rappel_conso.outbox.id IS 'number of the message: the messages of a topic are published in this order';
COMMENT ON COLUMN rappel_conso.outbox.message_id IS 'identifier that travels as header rappel_conso-id, to drop repeats by';
COMMENT ON COLUMN rappel_conso.outbox.topic IS 'topic that it goes to';
COMMENT ON COLUMN rappel_conso.outbox.key IS 'key of the message';
COMMENT ON COLUMN rappel_conso.outbox.value IS 'value of the message';
COMMENT ON COLUMN rappel_conso.outbox.headers IS 'headers of the message, in the form of records.headers';
COMMENT ON COLUMN rappel_conso.outbox.origin IS 'stream that emitted it, or rc_publish';
COMMENT ON COLUMN rappel_conso.outbox.owner IS 'name of the role that emitted it';
COMMENT ON COLUMN rappel_conso.outbox.owner_oid IS 'OID of that role when the message was emitted: who takes the name later does not see it';
COMMENT ON COLUMN rappel_conso.outbox.created_at IS 'when it was emitted';
COMMENT ON COLUMN rappel_conso.outbox.dead_letter IS 'dead letter that rc_republish() has put back, which is resolved when Kafka has confirmed the message';

CREATE TABLE rappel_conso.outbox_topic (
  topic text COLLATE pg_catalog."C" PRIMARY KEY,
  failures integer NOT NULL,
  waits_since timestamptz NOT NULL DEFAULT clock_timestamp(),
  retry_at timestamptz,
  sqlstate text NOT NULL,
  error text NOT NULL,
  hint text,
  last_error_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE rappel_conso.outbox_topic IS 'topics whose messages wait in the outbox, and why; those of other topics are published meanwhile';
COMMENT ON COLUMN rappel_conso.outbox_topic.topic IS 'name of the topic';
COMMENT ON COLUMN rappel_conso.outbox_topic.failures IS 'failures in a row';
COMMENT ON COLUMN rappel_conso.outbox_topic.waits_since IS 'when it failed first';
COMMENT ON COLUMN rappel_conso.outbox_topic.retry_at IS 'when it is tried again';
COMMENT ON COLUMN rappel_conso.outbox_topic.sqlstate IS 'SQLSTATE of the newest error';
COMMENT ON COLUMN rappel_conso.outbox_topic.error IS 'message of the newest error';
COMMENT ON COLUMN rappel_conso.outbox_topic.hint IS 'what can be done about it';
COMMENT ON COLUMN rappel_conso.outbox_topic.last_error_at IS 'when the newest error happened';

CREATE TABLE rappel_conso.outbox_state (
  one boolean PRIMARY KEY DEFAULT true CONSTRAINT outbox_state_one_check CHECK (one),
  state text NOT NULL,
  error text,
  last_error_at timestamptz
);
COMMENT ON TABLE rappel_conso.outbox_state IS 'what the publisher last said';
COMMENT ON COLUMN rappel_conso.outbox_state.one IS 'always true: there is one row at most';
COMMENT ON COLUMN rappel_conso.outbox_state.state IS 'running, or waiting for the brokers: all messages wait';
COMMENT ON COLUMN rappel_conso.outbox_state.error IS 'message of the newest error';
COMMENT ON COLUMN rappel_conso.outbox_state.last_error_at IS 'when it happened';

CREATE TABLE rappel_conso.topic_grant (
  role name NOT NULL,
  topic text NOT NULL
    CONSTRAINT topic_grant_topic_check CHECK (topic OPERATOR(pg_catalog.~) '^[A-Za-z0-9._*-]+$'),
  can_read boolean NOT NULL DEFAULT false,
  can_write boolean NOT NULL DEFAULT false,
  PRIMARY KEY (role, topic)
);
COMMENT ON TABLE rappel_conso.topic_grant IS 'which topics a role that is not superuser may read and write';
COMMENT ON COLUMN rappel_conso.topic_grant.role IS 'name of the role, or of one that it is a member of; it gives no right to another role that takes the name later';
COMMENT ON COLUMN rappel_conso.topic_grant.topic IS 'name of the topic; * stands for any characters';
COMMENT ON COLUMN rappel_conso.topic_grant.can_read IS 'streams of the role may consume it';
COMMENT ON COLUMN rappel_conso.topic_grant.can_write IS 'streams of the role and rc_publish() may write to it';
-- 25-stopped
--     State of the database's workers as a whole.  Only rc_stop() and rc_start()
--     write it.

CREATE TABLE rappel_conso.stopped (
  one boolean PRIMARY KEY DEFAULT true CONSTRAINT stopped_one_check CHECK (one),
  stopped_at timestamptz NOT NULL
);
COMMENT ON TABLE rappel_conso.stopped IS 'holds a row after rc_stop(): preloaded workers stay away until rc_start() or a restart of the server';
COMMENT ON COLUMN rappel_conso.stopped.one IS 'always true: there is one row at most';
COMMENT ON COLUMN rappel_conso.stopped.stopped_at IS 'when rc_stop() was called';
-- 30-recall-type
--     The columns of a recall.

-- What the recalls stream decodes its records into.  A record without its
-- key must be a dead letter, not a row that the statement passes over.
CREATE DOMAIN rappel_conso.reference_fiche AS text
  CONSTRAINT reference_fiche_not_null NOT NULL;
COMMENT ON DOMAIN rappel_conso.reference_fiche IS 'key of a recall; never null';

CREATE TYPE rappel_conso.recall AS (
  reference_fiche rappel_conso.reference_fiche,
  date_de_publication timestamptz,
  date_de_fin_de_la_procedure_de_rappel date,
  categorie_de_produit text,
  sous_categorie_de_produit text,
  nom_de_la_marque_du_produit text,
  noms_des_modeles_ou_references text,
  identification_des_produits text,
  conditionnements text,
  temperature_de_conservation text,
  zone_geographique_de_vente text,
  distributeurs text,
  motif_du_rappel text,
  numero_de_contact text,
  modalites_de_compensation text,
  risques_pour_le_consommateur text,
  recommandations_sante text,
  informations_complementaires text,
  date_debut_commercialisation date,
  date_fin_commercialisation date,
  liens_vers_les_images text,
  lien_vers_la_liste_des_produits text,
  lien_vers_la_liste_des_distributeurs text,
  lien_vers_affichette_pdf text,
  lien_vers_la_fiche_rappel text,
  numero_de_version integer,
  nature_juridique_du_rappel text,
  marque_de_salubrite text,
  libelle text,
  id bigint,
  rappelguid text,
  gtin text[]
);
COMMENT ON TYPE rappel_conso.recall IS 'a recall as source rappel_conso publishes it';
-- 40-guards
--     Triggers: what is checked when a definition is stored, and what becomes of
--     the state when it changes.
--
-- Whoever may store a definition fires them, so what is written for him is
-- written by functions in C or with SECURITY DEFINER, and by its full name.

CREATE FUNCTION rappel_conso.source_check() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  longest CONSTANT interval := '1000 years';
  checked record;
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF OLD.name = 'rappel_conso' THEN
      RAISE EXCEPTION 'cannot delete the built-in source "rappel_conso"'
        USING ERRCODE = 'dependent_objects_still_exist', HINT = 'Set its column "paused" instead.';
    END IF;
    RETURN OLD;
  END IF;

  IF TG_OP = 'UPDATE' AND OLD.name = 'rappel_conso' AND NEW.name <> OLD.name THEN
    RAISE EXCEPTION 'cannot rename the built-in source "rappel_conso"'
      USING ERRCODE = 'dependent_objects_still_exist';
  END IF;
  IF NEW.transform NOT IN ('recall', 'none') THEN
    RAISE EXCEPTION 'transform of source "%" must be "recall" or "none", not "%"', NEW.name, NEW.transform
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF NEW.transform = 'recall' AND NEW.key_field IS NULL THEN
    RAISE EXCEPTION 'source "%" needs a key_field', NEW.name
      USING ERRCODE = 'not_null_violation', HINT = 'It is numero_fiche in V2 datasets and reference_fiche in V1 archives.';
  END IF;
  IF NEW.topic !~ '^[A-Za-z0-9._-]{1,249}$' OR NEW.topic IN ('.', '..') THEN
    RAISE EXCEPTION 'topic of source "%" is not a name that Kafka allows: "%"', NEW.name, NEW.topic
      USING ERRCODE = 'invalid_name', HINT = 'Use up to 249 letters, digits, dots, underscores and hyphens.';
  END IF;
  IF NEW."overlap" < '0' OR NEW.full_interval <= '0' OR NEW.retry_delay < '0' OR NEW.poll_interval < '1 second' THEN
    RAISE EXCEPTION 'an interval of source "%" is too short', NEW.name
      USING ERRCODE = 'invalid_parameter_value',
            HINT = 'overlap and retry_delay must not be negative, full_interval must be positive, poll_interval at least one second.';
  END IF;
  FOR checked IN
    SELECT c.name, c.value FROM (VALUES ('overlap', NEW."overlap"), ('full_interval', NEW.full_interval),
                                        ('poll_interval', NEW.poll_interval), ('retry_delay', NEW.retry_delay)) c (name, value)
  LOOP
    IF checked.value > longest THEN
      RAISE EXCEPTION '% of source "%" is too long', checked.name, NEW.name
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Use at most 1000 years.';
    END IF;
    -- intervals compare as if months had 30 days; a time to which months, days
    -- and seconds are added can leave the calendar on the way to a short sum
    IF LEAST(extract(year FROM checked.value), extract(month FROM checked.value), extract(day FROM checked.value),
             extract(hour FROM checked.value), extract(minute FROM checked.value), extract(microseconds FROM checked.value)) < 0 THEN
      RAISE EXCEPTION '% of source "%" has a negative part', checked.name, NEW.name
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Write its months, days and time without a sign.';
    END IF;
  END LOOP;

  -- a restored built-in row updates the fresh one
  IF TG_OP = 'INSERT' AND NEW.name = 'rappel_conso'
     AND EXISTS (SELECT FROM rappel_conso.source s WHERE s.name = NEW.name) THEN
    UPDATE rappel_conso.source s
       SET url = NEW.url, dataset = NEW.dataset, filter = NEW.filter, key_field = NEW.key_field,
           cursor_field = NEW.cursor_field, "overlap" = NEW."overlap", full_interval = NEW.full_interval,
           transform = NEW.transform, fold_accents = NEW.fold_accents, topic = NEW.topic,
           partitions = NEW.partitions, replication = NEW.replication, stream = NEW.stream,
           poll_interval = NEW.poll_interval, retries = NEW.retries, retry_delay = NEW.retry_delay,
           paused = NEW.paused, owner = NEW.owner
     WHERE s.name = NEW.name;
    RETURN NULL;
  END IF;

  RETURN NEW;
END
$$;
COMMENT ON FUNCTION rappel_conso.source_check() IS 'checks a source, and keeps the built-in one';

CREATE TRIGGER source_check BEFORE INSERT OR UPDATE OR DELETE ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.source_check();
COMMENT ON TRIGGER source_check ON rappel_conso.source IS 'checks a source, and keeps the built-in one';

-- The library has the rules, since runs go by them too: of rows that were
-- stored while triggers were disabled.
CREATE FUNCTION rappel_conso.source_address() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_source_address' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.source_address() IS 'checks what a source asks for, and where';

CREATE TRIGGER source_address BEFORE INSERT OR UPDATE OF url, dataset, filter, key_field, cursor_field ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.source_address();
COMMENT ON TRIGGER source_address ON rappel_conso.source IS 'checks what a source asks for, and where';

CREATE FUNCTION rappel_conso.forget(source text, destination text DEFAULT NULL) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  UPDATE rappel_conso.source_state s
     SET cursor_value = NULL, complete = false, data_processed = NULL, records_count = NULL, full_at = NULL,
         surplus = NULL, missing_refused = false, missing_accepted = 0, epoch = s.epoch + 1
   WHERE s.source = $1 AND s.destination = COALESCE($2, s.destination);
  DELETE FROM rappel_conso.source_record r WHERE r.source = $1 AND r.destination = COALESCE($2, r.destination);
END;
COMMENT ON FUNCTION rappel_conso.forget(text, text) IS 'resets the cursor and what is remembered of the records of a source, for one destination or all';

-- Restored rows are copied: what is copied into a definition is taken as it is,
-- since pg_restore with several jobs copies these tables in any order.
CREATE FUNCTION rappel_conso.source_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_stat_progress_copy c WHERE c.pid = pg_backend_pid() AND c.relid = TG_RELID) THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'DELETE' THEN
    UPDATE rappel_conso.run r
       SET state = 'cancelled', finished_at = clock_timestamp(), sqlstate = '57014', error = 'the source was deleted'
     WHERE r.source = OLD.name AND r.state = 'queued';
    RETURN NULL;
  END IF;
  IF TG_NAME = 'source_renamed' THEN
    -- not what an earlier source or role of that name has left; what is queued
    -- is of this one, since it is cancelled when a source goes
    UPDATE rappel_conso.run r SET source = NEW.name, owner = NEW.owner
     WHERE r.source = OLD.name
       AND (r.state = 'queued'
            OR r.owner = OLD.owner AND r.owner_oid IN (rappel_conso.role_oid(OLD.owner), rappel_conso.role_oid(NEW.owner)))
       AND (r.source, r.owner, r.owner_oid) IS DISTINCT FROM (NEW.name, NEW.owner, rappel_conso.role_oid(NEW.owner));
    UPDATE rappel_conso.dead_letter d SET name = NEW.name, owner = NEW.owner
     WHERE d.origin = 'source' AND d.name = OLD.name AND d.owner = OLD.owner
       AND d.owner_oid IN (rappel_conso.role_oid(OLD.owner), rappel_conso.role_oid(NEW.owner))
       AND (NEW.name, NEW.owner) <> (OLD.name, OLD.owner);
    RETURN NULL;
  END IF;
  IF TG_NAME = 'source_fed' THEN
    -- another stream has got nothing yet; one that was renamed has
    IF NEW.stream IS NULL OR EXISTS (SELECT FROM rappel_conso.stream s WHERE s.name = OLD.stream) THEN
      PERFORM rappel_conso.forget(NEW.name, 'direct'::text);
    END IF;
    RETURN NULL;
  END IF;
  PERFORM rappel_conso.forget(NEW.name, NULL::text);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rappel_conso.source_changed() IS 'forgets what was read when that changes, and cares for runs of a source that is deleted, renamed or given away';

CREATE TRIGGER source_changed AFTER UPDATE ON rappel_conso.source
  FOR EACH ROW
  WHEN ((NEW.url, NEW.dataset, NEW.filter, NEW.key_field, NEW.cursor_field, NEW.transform, NEW.fold_accents)
        IS DISTINCT FROM
        (OLD.url, OLD.dataset, OLD.filter, OLD.key_field, OLD.cursor_field, OLD.transform, OLD.fold_accents))
  EXECUTE FUNCTION rappel_conso.source_changed();
COMMENT ON TRIGGER source_changed ON rappel_conso.source IS 'forgets cursor and records when what is read changes';

CREATE TRIGGER source_deleted AFTER DELETE ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.source_changed();
COMMENT ON TRIGGER source_deleted ON rappel_conso.source IS 'withdraws what is queued of a source that goes';

CREATE TRIGGER source_renamed AFTER UPDATE OF name, owner ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.source_changed();
COMMENT ON TRIGGER source_renamed ON rappel_conso.source IS 'takes runs and dead letters of the source to its new name or owner';

CREATE TRIGGER source_fed AFTER UPDATE OF stream ON rappel_conso.source
  FOR EACH ROW WHEN (OLD.stream IS NOT NULL AND NEW.stream IS DISTINCT FROM OLD.stream)
  EXECUTE FUNCTION rappel_conso.source_changed();
COMMENT ON TRIGGER source_fed ON rappel_conso.source IS 'forgets what another stream was given in direct mode';

CREATE FUNCTION rappel_conso.source_stream() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_source_stream' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.source_stream() IS 'checks that the stream of a source exists, and that the caller may act for its owner';

CREATE TRIGGER source_stream AFTER INSERT OR UPDATE OF stream ON rappel_conso.source
  FOR EACH ROW WHEN (NEW.stream IS NOT NULL) EXECUTE FUNCTION rappel_conso.source_stream();
COMMENT ON TRIGGER source_stream ON rappel_conso.source IS 'checks source_stream_fkey, but for restored rows, and that the stream is not another role''s';

CREATE FUNCTION rappel_conso.stream_deleted() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_stream_deleted' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.stream_deleted() IS 'takes a stream that is deleted from the sources of other roles';

CREATE TRIGGER b_stream_deleted BEFORE DELETE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.stream_deleted();
COMMENT ON TRIGGER b_stream_deleted ON rappel_conso.stream IS 'takes a stream that is deleted from the sources of other roles';

CREATE FUNCTION rappel_conso.stream_builtin() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF OLD.name = 'rappel_conso' THEN
      RAISE EXCEPTION 'cannot delete the built-in stream "rappel_conso"'
        USING ERRCODE = 'dependent_objects_still_exist', HINT = 'Set its column "paused" instead.';
    END IF;
    RETURN OLD;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF OLD.name = 'rappel_conso' AND NEW.name <> OLD.name THEN
      RAISE EXCEPTION 'cannot rename the built-in stream "rappel_conso"'
        USING ERRCODE = 'dependent_objects_still_exist';
    END IF;
    RETURN NEW;
  END IF;

  -- a restored built-in row updates the fresh one
  IF NEW.name = 'rappel_conso' AND EXISTS (SELECT FROM rappel_conso.stream s WHERE s.name = NEW.name) THEN
    UPDATE rappel_conso.stream s
       SET topics = NEW.topics, statement = NEW.statement, setup = NEW.setup, value_type = NEW.value_type,
           key_type = NEW.key_type, output_topic = NEW.output_topic, start_at = NEW.start_at,
           batch_size = NEW.batch_size, workers = NEW.workers, on_error = NEW.on_error,
           stop_after = NEW.stop_after, paused = NEW.paused, owner = NEW.owner, search_path = NEW.search_path
     WHERE s.name = NEW.name;
    RETURN NULL;
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION rappel_conso.stream_builtin() IS 'keeps the built-in stream, and lets a restored one update it';

CREATE TRIGGER a_stream_builtin BEFORE INSERT OR UPDATE OR DELETE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.stream_builtin();
COMMENT ON TRIGGER a_stream_builtin ON rappel_conso.stream IS 'keeps the built-in stream, and lets a restored one update it';

CREATE FUNCTION rappel_conso.role_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_role_check' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.role_check() IS 'checks that the caller may name this role, and notes which one is meant';

CREATE TRIGGER b_role_check BEFORE INSERT OR UPDATE OF owner ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.role_check('owner', 'name');
COMMENT ON TRIGGER b_role_check ON rappel_conso.stream IS 'checks that the caller may name this role, and notes which one is meant';
CREATE TRIGGER source_role BEFORE INSERT OR UPDATE OF owner ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.role_check('owner', 'name');
COMMENT ON TRIGGER source_role ON rappel_conso.source IS 'checks that the caller may name this role, and notes which one is meant';
CREATE FUNCTION rappel_conso.source_topic_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_source_topic_check' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.source_topic_check() IS 'checks that the owner may write to the topic, where Kafka is used';
CREATE TRIGGER source_topic BEFORE INSERT OR UPDATE OF topic, owner ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.source_topic_check();
COMMENT ON TRIGGER source_topic ON rappel_conso.source IS 'checks that the owner may write to the topic, where Kafka is used';
CREATE TRIGGER topic_grant_role BEFORE INSERT OR UPDATE OF role ON rappel_conso.topic_grant
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.role_check('role', 'topic');
COMMENT ON TRIGGER topic_grant_role ON rappel_conso.topic_grant IS 'notes which role is meant';

CREATE FUNCTION rappel_conso.name_known() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_TABLE_NAME = 'known_role' THEN
    INSERT INTO rappel_conso.known_name (name) VALUES (NEW.name) ON CONFLICT DO NOTHING;
  ELSIF pg_trigger_depth() = 1 THEN
    -- not by the above, so from a dump; a definition of it may have come first
    INSERT INTO rappel_conso.known_role AS k (name, oid) VALUES (NEW.name, 0) ON CONFLICT (name) DO UPDATE SET oid = 0;
    RETURN NULL;
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION rappel_conso.name_known() IS 'keeps known_name; a name in it that comes from a dump means nobody';
CREATE TRIGGER name_known AFTER INSERT ON rappel_conso.known_role
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.name_known();
COMMENT ON TRIGGER name_known ON rappel_conso.known_role IS 'keeps known_name';
CREATE TRIGGER restored BEFORE INSERT ON rappel_conso.known_name
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.name_known();
COMMENT ON TRIGGER restored ON rappel_conso.known_name IS 'a name that comes from a dump means nobody';

-- Where somebody has put a trigger before updates, each of them computes
-- generated columns anew, and the name may be another role's by then.
CREATE FUNCTION rappel_conso.owner_kept() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_owner_kept' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.owner_kept() IS 'keeps what a dropped role has left from a role that takes its name later: it becomes nobody''s';

CREATE TRIGGER owner_kept AFTER UPDATE ON rappel_conso.run
  FOR EACH ROW WHEN (NEW.owner = OLD.owner AND NEW.owner_oid IS DISTINCT FROM OLD.owner_oid)
  EXECUTE FUNCTION rappel_conso.owner_kept();
COMMENT ON TRIGGER owner_kept ON rappel_conso.run IS 'keeps what a dropped role has left from a role that takes its name later';
CREATE TRIGGER owner_kept AFTER UPDATE ON rappel_conso.dead_letter
  FOR EACH ROW WHEN (NEW.owner = OLD.owner AND NEW.owner_oid IS DISTINCT FROM OLD.owner_oid)
  EXECUTE FUNCTION rappel_conso.owner_kept();
COMMENT ON TRIGGER owner_kept ON rappel_conso.dead_letter IS 'keeps what a dropped role has left from a role that takes its name later';
CREATE TRIGGER owner_kept AFTER UPDATE ON rappel_conso.outbox
  FOR EACH ROW WHEN (NEW.owner = OLD.owner AND NEW.owner_oid IS DISTINCT FROM OLD.owner_oid)
  EXECUTE FUNCTION rappel_conso.owner_kept();
COMMENT ON TRIGGER owner_kept ON rappel_conso.outbox IS 'keeps what a dropped role has left from a role that takes its name later';

CREATE FUNCTION rappel_conso.owner_known() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_owner_known' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.owner_known() IS 'keeps what a dropped role has left from a role that takes its name later';

CREATE TRIGGER a_owner_known BEFORE UPDATE OR DELETE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.owner_known();
COMMENT ON TRIGGER a_owner_known ON rappel_conso.stream IS 'keeps what a dropped role has left from a role that takes its name later';
CREATE TRIGGER a_owner_known BEFORE UPDATE OR DELETE ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.owner_known();
COMMENT ON TRIGGER a_owner_known ON rappel_conso.source IS 'keeps what a dropped role has left from a role that takes its name later';

CREATE FUNCTION rappel_conso.topic_grant_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_topic_grant_changed' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.topic_grant_changed() IS 'has all stream workers look whether they may still read and write their topics, and tries those again that might not';

CREATE TRIGGER wake AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rappel_conso.topic_grant
  FOR EACH STATEMENT EXECUTE FUNCTION rappel_conso.topic_grant_changed();
COMMENT ON TRIGGER wake ON rappel_conso.topic_grant IS 'has all stream workers look whether they may still read and write their topics';

CREATE FUNCTION rappel_conso.stream_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_stream_check' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.stream_check() IS 'checks a stream, its statement included';

CREATE TRIGGER b_stream_check BEFORE INSERT OR UPDATE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.stream_check();
COMMENT ON TRIGGER b_stream_check ON rappel_conso.stream IS 'checks a stream, its statement included';

-- A dump would write the OID of such a type, which may be another type where
-- it is restored.  What somebody has locked is left to the scheduler's next
-- round: nobody waits for the owner of a stream to drop his own type.
CREATE FUNCTION rappel_conso.settle_types() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  UPDATE rappel_conso.stream s SET value_type = 0::oid::regtype
   WHERE s.name IN (SELECT g.name FROM rappel_conso.stream g
                     WHERE g.value_type <> 0::oid AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = g.value_type)
                     LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED);
END;
COMMENT ON FUNCTION rappel_conso.settle_types() IS 'takes a value_type that does not exist any more out of streams, of 1000 at most';

CREATE FUNCTION rappel_conso.type_dropped() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100 ms' AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_event_trigger_dropped_objects() o WHERE o.classid = 'pg_type'::regclass) THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() o JOIN rappel_conso.stream s ON s.value_type = o.objid
              WHERE o.classid = 'pg_type'::regclass) THEN
    PERFORM rappel_conso.settle_types();
  END IF;
EXCEPTION WHEN lock_not_available OR serialization_failure OR deadlock_detected THEN
  -- nobody's DROP depends on who uses our tables: the scheduler does it later
  NULL;
END
$$;
COMMENT ON FUNCTION rappel_conso.type_dropped() IS 'takes the value_type out of streams when it is dropped';

CREATE EVENT TRIGGER rappel_conso_type_dropped ON sql_drop EXECUTE FUNCTION rappel_conso.type_dropped();
ALTER EVENT TRIGGER rappel_conso_type_dropped ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER rappel_conso_type_dropped IS 'takes the value_type out of streams when it is dropped';

CREATE FUNCTION rappel_conso.stream_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_stat_progress_copy c WHERE c.pid = pg_backend_pid() AND c.relid = TG_RELID) THEN
    RETURN NULL;
  END IF;
  PERFORM FROM rappel_conso.stream_offset o WHERE o.stream = NEW.name ORDER BY o.topic, o.partition FOR UPDATE;
  UPDATE rappel_conso.stream_offset o SET epoch = o.epoch + 1 WHERE o.stream = NEW.name;
  UPDATE rappel_conso.dead_letter d SET name = NEW.name, owner = NEW.owner
   WHERE d.origin = 'stream' AND d.name = OLD.name AND d.owner = OLD.owner AND d.resolved_at IS NULL
     -- not what an earlier role of that name has left
     AND d.owner_oid IN (rappel_conso.role_oid(OLD.owner), rappel_conso.role_oid(NEW.owner))
     AND (NEW.name, NEW.owner) <> (OLD.name, OLD.owner);
  UPDATE rappel_conso.stream_state s SET retry_at = NULL, failures = 0 WHERE s.stream = NEW.name;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rappel_conso.stream_changed() IS 'raises the epoch, so that no batch of the old definition can commit';

CREATE TRIGGER stream_changed AFTER UPDATE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.stream_changed();
COMMENT ON TRIGGER stream_changed ON rappel_conso.stream IS 'raises the epoch, so that no batch of the old definition can commit';

CREATE FUNCTION rappel_conso.definition_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_definition_changed' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.definition_changed() IS 'wakes the workers that a changed definition concerns';

CREATE TRIGGER wake AFTER INSERT OR UPDATE OR DELETE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.definition_changed();
COMMENT ON TRIGGER wake ON rappel_conso.stream IS 'wakes the workers that a changed definition concerns';
CREATE TRIGGER wake AFTER INSERT OR UPDATE OR DELETE ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.definition_changed();
COMMENT ON TRIGGER wake ON rappel_conso.source IS 'wakes the workers that a changed definition concerns';

-- Workers, and functions of ours that roles call, write these tables with a
-- superuser's rights.  A trigger runs with those, and what a foreign key does
-- in the table that it is of makes that one's triggers do so, too.
CREATE FUNCTION rappel_conso.trigger_check() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made record;
BEGIN
  IF (SELECT u.rolsuper FROM pg_roles u WHERE u.rolname = current_user) THEN
    RETURN;
  END IF;
  SELECT 'trigger'::text AS what, t.tgname AS name, t.tgrelid::regclass AS relation INTO made
    FROM pg_event_trigger_ddl_commands() c JOIN pg_trigger t ON t.oid = c.objid JOIN pg_class r ON r.oid = t.tgrelid
   WHERE c.classid = 'pg_trigger'::regclass AND r.relnamespace = 'rappel_conso'::regnamespace
   UNION ALL
  SELECT 'foreign key', k.conname, k.confrelid::regclass
    FROM pg_event_trigger_ddl_commands() c JOIN pg_constraint k ON k.conrelid = c.objid JOIN pg_class r ON r.oid = k.confrelid
   WHERE c.classid = 'pg_class'::regclass AND k.contype = 'f' AND r.relnamespace = 'rappel_conso'::regnamespace
   LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'must be superuser to create % "%" on table %', made.what, made.name, made.relation
      USING ERRCODE = 'insufficient_privilege',
            DETAIL = 'The extension writes this table with the rights of a superuser, and triggers would run with those.';
  END IF;
END
$$;
COMMENT ON FUNCTION rappel_conso.trigger_check() IS 'refuses triggers on tables of schema rappel_conso, and foreign keys to them, that are not made by a superuser';

CREATE EVENT TRIGGER rappel_conso_trigger_check ON ddl_command_end
  WHEN TAG IN ('CREATE TRIGGER', 'CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA')
  EXECUTE FUNCTION rappel_conso.trigger_check();
COMMENT ON EVENT TRIGGER rappel_conso_trigger_check IS 'refuses triggers on tables of schema rappel_conso, and foreign keys to them, that are not made by a superuser';
-- 50-run-functions
--     Functions that ask for runs, wait for them and end them.

CREATE FUNCTION @extschema@.rc_sync_now(
  source text DEFAULT 'rappel_conso', full_sync boolean DEFAULT false,
  OUT run_id bigint, OUT state text, OUT fetched bigint, OUT published bigint, OUT inserted bigint,
  OUT updated bigint, OUT unchanged bigint, OUT dead bigint, OUT duration interval)
AS 'MODULE_PATHNAME', 'rc_sync_now' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_sync_now(text, boolean) IS 'runs a source now and waits for the end of the run';

CREATE FUNCTION @extschema@.rc_trigger(source text DEFAULT 'rappel_conso', full_sync boolean DEFAULT false)
RETURNS bigint
AS 'MODULE_PATHNAME', 'rc_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_trigger(text, boolean) IS 'asks for a run of a source and returns its id; takes effect at commit';

CREATE FUNCTION rappel_conso.reads(source text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT hashtextextended(ROW(s.url, s.dataset, s.filter, s.key_field, s.cursor_field, s.transform, s.fold_accents, s.stream, s.topic,
                 COALESCE(current_setting('rappel_conso.kafka_brokers', true), ''))::text, 0)::text
    FROM rappel_conso.source s WHERE s.name = $1;
END;
COMMENT ON FUNCTION rappel_conso.reads(text) IS 'hash of what a source reads and where it goes: it differs when windows have to be read again';

CREATE FUNCTION rappel_conso.backfill(source text, "from" timestamptz, "to" timestamptz, every interval)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most CONSTANT integer := 10000;
  starts timestamptz[];
  new_run bigint;
  definition record;
BEGIN
  SELECT s.owner, rappel_conso.role_oid(s.owner) AS owner_oid INTO definition FROM rappel_conso.source s WHERE s.name = backfill.source;
  IF NOT isfinite("from") OR NOT isfinite("to") THEN
    RAISE EXCEPTION 'a backfill must have a start and an end' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF "from" < '0001-01-01 00:00:00+00' THEN
    RAISE EXCEPTION 'a backfill cannot begin before the year 1'
      USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It would begin at %s.', "from");
  END IF;
  IF "from" > clock_timestamp() THEN
    RAISE EXCEPTION 'cannot backfill the future'
      USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It would begin at %s.', "from");
  END IF;
  IF "from" >= "to" THEN
    RAISE EXCEPTION 'the start of a backfill must be before its end'
      USING ERRCODE = 'invalid_parameter_value', DETAIL = format('It would go from %s to %s.', "from", "to");
  END IF;
  IF every < '1 second' OR "from" + every < "from" + interval '1 second' OR date_trunc('second', every) <> every THEN
    RAISE EXCEPTION 'a window of a backfill must be some whole seconds long, not %', every
      USING ERRCODE = 'invalid_parameter_value';
  END IF;

  -- the API is asked by whole seconds: rather one too many than a part of one
  "from" := date_trunc('second', "from");
  IF date_trunc('second', "to") <> "to" THEN
    "to" := date_trunc('second', "to") + interval '1 second';
  END IF;
  FOR n IN 0 .. most LOOP
    BEGIN
      EXIT WHEN "from" + every * n >= "to";
      starts[n + 1] := "from" + every * n;
      IF starts[n + 1] <= starts[n] THEN
        RAISE EXCEPTION 'windows of % do not follow one another', every
          USING ERRCODE = 'invalid_parameter_value', DETAIL = format('One would begin at %s.', starts[n + 1]);
      END IF;
    EXCEPTION WHEN datetime_field_overflow OR interval_field_overflow THEN
      EXIT;
    END;
  END LOOP;
  IF cardinality(starts) > most THEN
    RAISE EXCEPTION 'a backfill must have at most % windows', most
      USING ERRCODE = 'program_limit_exceeded', HINT = 'Use longer windows.';
  END IF;

  LOOP
    INSERT INTO rappel_conso.run AS r (source, owner, state, trigger, window_from, window_to, window_every, started_at)
    VALUES (backfill.source, definition.owner, 'queued', 'backfill', "from", "to", every, NULL)
    ON CONFLICT DO NOTHING RETURNING r.id INTO new_run;
    EXIT WHEN FOUND;
    SELECT r.id INTO new_run FROM rappel_conso.run r
     WHERE r.source = backfill.source AND r.state = 'queued' AND r.trigger = 'backfill'
       AND (r.window_from, r.window_to, r.window_every) = ("from", "to", every);
    IF FOUND THEN
      RETURN new_run;
    END IF;
  END LOOP;
  INSERT INTO rappel_conso.task (run, name, state, window_from, window_to)
  SELECT new_run, 'window ' || to_char(w.start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'queued',
         w.start, COALESCE(starts[w.n + 1], "to")
    FROM unnest(starts) WITH ORDINALITY AS w (start, n);

  -- what an earlier run of the same backfill has done need not be done again,
  -- if it would be the same; one that says it runs may have been killed
  UPDATE rappel_conso.task t
     SET state = 'success', started_at = o.started_at, finished_at = o.finished_at
    FROM rappel_conso.task o
   WHERE t.run = new_run AND o.name = t.name AND o.window_to = t.window_to AND o.state = 'success'
     AND o.run = (SELECT max(r.id) FROM rappel_conso.run r
                   WHERE r.source = backfill.source AND r.reads = rappel_conso.reads(backfill.source)
                     AND (r.owner, r.owner_oid) = (definition.owner, definition.owner_oid)
                     AND (r.window_from, r.window_to, r.window_every) = ("from", "to", every)
                     AND (r.state IN ('failed', 'cancelled')
                          OR r.state = 'running' AND rappel_conso.worker_pid('run'::text, r.source, 0) IS NULL)
                     AND r.id > COALESCE((SELECT max(p.id) FROM rappel_conso.run p
                                           WHERE p.source = backfill.source AND p.state = 'success'
                                             AND (p.window_from, p.window_to, p.window_every) = ("from", "to", every)), 0));
  RETURN new_run;
END
$$;
COMMENT ON FUNCTION rappel_conso.backfill(text, timestamptz, timestamptz, interval) IS 'what rc_backfill() does once it has checked its caller';

CREATE FUNCTION @extschema@.rc_backfill(source text, "from" timestamptz, "to" timestamptz, every interval DEFAULT '1 month')
RETURNS bigint
AS 'MODULE_PATHNAME', 'rc_backfill' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_backfill(text, timestamptz, timestamptz, interval) IS 'asks for a run that reads a source window by window, and returns its id';

CREATE FUNCTION @extschema@.rc_wait(run bigint, timeout interval DEFAULT NULL,
  OUT run_id bigint, OUT state text, OUT fetched bigint, OUT published bigint, OUT inserted bigint,
  OUT updated bigint, OUT unchanged bigint, OUT dead bigint, OUT duration interval)
AS 'MODULE_PATHNAME', 'rc_wait' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_wait(bigint, interval) IS 'waits for the end of a run';

CREATE FUNCTION @extschema@.rc_cancel(run_id bigint) RETURNS boolean
AS 'MODULE_PATHNAME', 'rc_cancel' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_cancel(bigint) IS 'cancels a run that is queued or under way';
-- 51-worker-functions
--     Functions that start and stop the workers of this database, and tell what
--     runs.

CREATE FUNCTION @extschema@.rc_start() RETURNS boolean
AS 'MODULE_PATHNAME', 'rc_start' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_start() IS 'starts this database''s workers; false if they were running';

CREATE FUNCTION @extschema@.rc_stop() RETURNS integer
AS 'MODULE_PATHNAME', 'rc_stop' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_stop() IS 'stops this database''s workers and returns how many ran';

CREATE FUNCTION rappel_conso.worker_pid(kind text, name text DEFAULT '', number integer DEFAULT 0) RETURNS integer
AS 'MODULE_PATHNAME', 'rc_worker_pid' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rappel_conso.worker_pid(text, text, integer) IS 'process id of a worker of this database: kind scheduler, run, stream or outbox; null if it does not run';

CREATE FUNCTION rappel_conso.is_preloaded() RETURNS boolean
AS 'MODULE_PATHNAME', 'rc_is_preloaded' LANGUAGE C STRICT VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION rappel_conso.is_preloaded() IS 'whether the server starts the workers of this database by itself';

CREATE FUNCTION rappel_conso.library_version() RETURNS text
AS 'MODULE_PATHNAME', 'rc_library_version' LANGUAGE C STRICT STABLE PARALLEL SAFE;
COMMENT ON FUNCTION rappel_conso.library_version() IS 'version that the loaded library was compiled as';
-- 52-stream-functions
--     Functions that move streams, publish, and apply or publish dead letters
--     again.

CREATE FUNCTION rappel_conso.seek(stream text, topics text[], partitions integer[], offsets bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  single text;
  wrong record;
BEGIN
  -- in the order in which workers lock
  PERFORM FROM rappel_conso.stream s WHERE s.name = seek.stream FOR NO KEY UPDATE;
  PERFORM FROM rappel_conso.stream_offset o WHERE o.stream = seek.stream ORDER BY o.topic, o.partition FOR UPDATE;
  single := (SELECT min(o.topic) FROM rappel_conso.stream_offset o WHERE o.stream = seek.stream HAVING min(o.topic) = max(o.topic));
  IF single IS NULL AND array_position(topics, NULL) > 0
     AND EXISTS (SELECT FROM rappel_conso.stream_offset o WHERE o.stream = seek.stream) THEN
    RAISE EXCEPTION 'stream "%" reads several topics', stream
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Say which one: topic:partition:offset,...';
  END IF;
  SELECT p.partition, count(*) AS times, count(o.stream) AS known INTO wrong
    FROM unnest(topics, partitions) AS p (topic, partition)
    LEFT JOIN rappel_conso.stream_offset o
      ON o.stream = seek.stream AND o.topic = COALESCE(p.topic, single) AND o.partition = p.partition
   GROUP BY COALESCE(p.topic, single), p.partition
  HAVING count(*) > 1 OR count(o.stream) = 0
   ORDER BY count(o.stream), COALESCE(p.topic, single), p.partition LIMIT 1;
  IF wrong.known = 0 THEN
    RAISE EXCEPTION 'stream "%" has no offset for partition %', stream, wrong.partition
      USING ERRCODE = 'undefined_object',
            HINT = 'A partition gets its offset when a worker first sees it.';
  ELSIF wrong.times > 1 THEN
    RAISE EXCEPTION 'partition % is given % times', wrong.partition, wrong.times
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Give one offset for each partition.';
  END IF;
  UPDATE rappel_conso.stream_offset o
     SET next_offset = p.next_offset, epoch = o.epoch + 1, seek_to = NULL,
         last_offset = NULL, record_timestamp = NULL, cluster_id = NULL
    FROM unnest(topics, partitions, offsets) AS p (topic, partition, next_offset)
   WHERE o.stream = seek.stream AND o.topic = COALESCE(p.topic, single) AND o.partition = p.partition;
  -- what it says of a gap, or of a table made anew, is answered by this
  UPDATE rappel_conso.stream_state t SET retry_at = NULL, failures = 0, detail = NULL WHERE t.stream = seek.stream;
END
$$;
COMMENT ON FUNCTION rappel_conso.seek(text, text[], integer[], bigint[]) IS 'what rc_seek() does for partition:offset,...';

CREATE FUNCTION rappel_conso.seek(stream text, "to" text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM rappel_conso.stream s WHERE s.name = seek.stream FOR NO KEY UPDATE;
  PERFORM FROM rappel_conso.stream_offset o WHERE o.stream = seek.stream ORDER BY o.topic, o.partition FOR UPDATE;
  UPDATE rappel_conso.stream_offset o
     SET seek_to = "to", epoch = o.epoch + 1
   WHERE o.stream = seek.stream;
  IF NOT FOUND THEN
    UPDATE rappel_conso.stream s SET start_at = "to" WHERE s.name = seek.stream;
  END IF;
  UPDATE rappel_conso.stream_state t SET retry_at = NULL, failures = 0, detail = NULL WHERE t.stream = seek.stream;
END
$$;
COMMENT ON FUNCTION rappel_conso.seek(text, text) IS 'what rc_seek() does for earliest, latest and times, which are in ISO 8601 and UTC';

CREATE FUNCTION @extschema@.rc_seek(stream text, "to" text) RETURNS void
AS 'MODULE_PATHNAME', 'rc_seek' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_seek(text, text) IS 'sends a stream to another place: earliest, latest, a timestamp, or partition:offset,...';

CREATE FUNCTION @extschema@.rc_publish(topic text, value bytea, key bytea DEFAULT NULL, headers jsonb DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'rc_publish' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_publish(text, bytea, bytea, jsonb) IS 'puts a message into the outbox, in the caller''s transaction';

CREATE FUNCTION @extschema@.rc_publish(topic text, value text, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN @extschema@.rc_publish(topic, convert_to(value, 'UTF8'), convert_to(key, 'UTF8'), headers);
COMMENT ON FUNCTION @extschema@.rc_publish(text, text, text, jsonb) IS 'puts a message into the outbox, in the caller''s transaction';

CREATE FUNCTION @extschema@.rc_publish(topic text, value jsonb, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN @extschema@.rc_publish(topic, convert_to(value::text, 'UTF8'), convert_to(key, 'UTF8'), headers);
COMMENT ON FUNCTION @extschema@.rc_publish(text, jsonb, text, jsonb) IS 'puts a message into the outbox, in the caller''s transaction';

CREATE FUNCTION @extschema@.rc_republish(topic text DEFAULT NULL, id bigint DEFAULT NULL,
  OUT republished bigint, OUT still_dead bigint)
AS 'MODULE_PATHNAME', 'rc_republish' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_republish(text, bigint) IS 'puts dead letters of the outbox back into it, oldest first, in the caller''s transaction';

CREATE FUNCTION @extschema@.rc_retry(stream text, id bigint DEFAULT NULL,
  OUT retried bigint, OUT resolved bigint, OUT still_dead bigint)
AS 'MODULE_PATHNAME', 'rc_retry' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_retry(text, bigint) IS 'applies dead letters of a stream again, at their original places';

CREATE FUNCTION @extschema@.rc_drain(stream text, timeout interval DEFAULT NULL,
  OUT applied bigint, OUT inserted bigint, OUT updated bigint, OUT unchanged bigint, OUT dead bigint)
AS 'MODULE_PATHNAME', 'rc_drain' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_drain(text, interval) IS 'applies everything that is in a stream''s topics now';
-- 53-status
--     One function, rc_status(): how all parts are, for who looks after them.
--
-- It only reads, and by row security: who calls it sees what is his.

CREATE FUNCTION @extschema@.rc_status(
  OUT component text, OUT name text, OUT state text, OUT detail text, OUT lag bigint,
  OUT last_success timestamptz, OUT last_error text, OUT last_error_at timestamptz)
RETURNS SETOF record
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = on SET datestyle = iso
BEGIN ATOMIC
  WITH world AS (
    SELECT rappel_conso.worker_pid('scheduler') AS scheduler,
           COALESCE(current_setting('rappel_conso.kafka_brokers', true), '') AS brokers,
           rappel_conso.library_version() AS library,
           (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'rappel_conso') AS installed,
           rappel_conso.is_preloaded() AS preloaded,
           (SELECT p.stopped_at FROM rappel_conso.stopped p WHERE p.stopped_at >= pg_postmaster_start_time()) AS stopped_at
  ), stream_part AS (
    SELECT s.name, s.paused, LEAST(s.workers, o.partitions) AS workers, s.topics, t.state AS said, t.detail, t.sqlstate, t.error, t.error_detail,
           t.hint, t.last_error_at, t.retry_at, o.lag, o.applied_at, o.observed_at, d.dead, f.rate, f.started_at,
           (SELECT count(rappel_conso.worker_pid('stream', s.name, n)) FROM generate_series(0, s.workers - 1) n) AS alive
      FROM rappel_conso.stream s
      LEFT JOIN rappel_conso.stream_state t ON t.stream = s.name
      LEFT JOIN LATERAL (SELECT GREATEST(max(l.partition) FILTER (WHERE l.topic = ANY (s.topics)) + 1, 1) AS partitions, sum(l.lag)::bigint AS lag, max(l.applied_at) AS applied_at,
                                max(l.observed_at) AS observed_at
                           FROM rappel_conso.lag l WHERE l.stream = s.name) o ON true
      LEFT JOIN LATERAL (SELECT sum(p.applied - p.applied_before)
                                / NULLIF(extract(epoch FROM clock_timestamp() - min(p.started_at)), 0) AS rate,
                                min(p.started_at) AS started_at
                           FROM rappel_conso.stream_offset p WHERE p.stream = s.name) f ON true
      LEFT JOIN LATERAL (SELECT count(*) AS dead FROM rappel_conso.dead_letter d
                          WHERE d.origin = 'stream' AND d.name = s.name AND d.owner = s.owner AND d.resolved_at IS NULL) d ON true
  )
  SELECT 'scheduler' AS component, current_database()::text AS name,
         CASE WHEN w.library <> w.installed THEN 'restart needed'
              WHEN w.scheduler IS NOT NULL THEN 'running'
              WHEN w.preloaded AND w.stopped_at IS NULL THEN 'waiting' ELSE 'stopped' END,
         CASE WHEN w.library <> w.installed
              THEN format('the library is version %s, the extension %s; restart the server', w.library, w.installed)
              WHEN w.scheduler IS NOT NULL THEN format('process %s', w.scheduler)
              WHEN w.stopped_at IS NOT NULL THEN format('rc_stop() was called at %s; rc_start() starts it', w.stopped_at)
              WHEN w.preloaded THEN 'the server starts it within a minute, in a free worker slot; rc_start() starts it now'
              ELSE 'rc_start() starts it; or preload the library and list this database in rappel_conso.databases' END,
         NULL::bigint AS lag, NULL::timestamptz AS last_success, NULL::text AS last_error, NULL::timestamptz AS last_error_at
    FROM world w
  UNION ALL
  SELECT 'kafka' AS component, CASE WHEN w.brokers = '' THEN 'none' ELSE w.brokers END,
         CASE WHEN w.brokers = '' THEN 'direct mode' ELSE 'configured' END,
         CASE WHEN w.brokers = '' THEN 'sources feed their streams without Kafka'
              ELSE (SELECT 'cluster ' || string_agg(DISTINCT o.cluster_id, ', ') FROM rappel_conso.stream_offset o) END,
         NULL AS lag, (SELECT max(o.observed_at) FROM rappel_conso.stream_offset o), NULL AS last_error, NULL AS last_error_at
    FROM world w
  UNION ALL
  SELECT 'source' AS component, s.name,
         CASE WHEN rappel_conso.worker_pid('run', s.name) IS NOT NULL THEN 'running'
              WHEN q.reason IS NOT NULL AND w.scheduler IS NOT NULL THEN 'waiting'
              WHEN s.paused THEN 'paused'
              WHEN r.id IS NULL THEN 'never run'
              WHEN r.state = 'running' THEN 'failed'
              ELSE r.state END,
         CASE WHEN q.reason IS NOT NULL AND w.scheduler IS NOT NULL
              THEN format('due since %s, but cannot run: %s; ', q.since, q.reason) ELSE '' END
         || CASE WHEN r.id IS NOT NULL
              THEN format('run %s: %s fetched, %s inserted, %s updated, %s unchanged, %s dead',
                          r.id, r.fetched, r.inserted, r.updated, r.unchanged, r.dead)
                   || CASE WHEN r.withdrawn > 0 THEN format(', %s withdrawn', r.withdrawn) ELSE '' END
                   || COALESCE((SELECT format('; %s retried at %s: %s', k.name, k.next_try_at, k.error)
                                  FROM rappel_conso.task k WHERE k.run = r.id AND k.state = 'up_for_retry'), '')
                   || COALESCE((SELECT format('; %s of %s windows done', count(*) FILTER (WHERE k.state = 'success'), count(*))
                                  FROM rappel_conso.task k WHERE k.run = r.id AND k.window_from IS NOT NULL
                                HAVING count(*) > 0), '')
                   || COALESCE((SELECT format('; quota low: %s of %s calls left until %s', t.quota_remaining, t.quota_limit, t.quota_reset_at)
                                  FROM rappel_conso.source_state t
                                 WHERE t.source = s.name AND t.quota_remaining * 10 < t.quota_limit
                                   AND t.quota_reset_at > clock_timestamp() LIMIT 1), '')
              ELSE s.dataset END,
         NULL AS lag, ok.finished_at, bad.error, bad.finished_at
    FROM world w CROSS JOIN rappel_conso.source s
    LEFT JOIN rappel_conso.source_wait q ON q.source = s.name
    LEFT JOIN LATERAL (SELECT * FROM rappel_conso.run r WHERE r.source = s.name AND r.owner = s.owner
                        ORDER BY r.state = 'running' DESC, r.id DESC LIMIT 1) r ON true
    LEFT JOIN LATERAL (SELECT * FROM rappel_conso.run r WHERE r.source = s.name AND r.owner = s.owner AND r.state = 'success'
                        ORDER BY r.id DESC LIMIT 1) ok ON true
    LEFT JOIN LATERAL (SELECT * FROM rappel_conso.run r WHERE r.source = s.name AND r.owner = s.owner AND r.state = 'failed'
                        ORDER BY r.id DESC LIMIT 1) bad ON true
  UNION ALL
  SELECT 'stream' AS component, p.name,
         CASE WHEN p.paused THEN 'paused'
              WHEN p.said = 'failed' THEN 'failed'
              WHEN w.brokers = '' THEN 'direct mode'
              WHEN p.alive > 0 THEN CASE WHEN p.said = 'waiting' THEN 'waiting' ELSE 'running' END
              WHEN w.scheduler IS NOT NULL THEN 'waiting'
              ELSE 'stopped' END,
         concat_ws('; ',
                   CASE WHEN w.brokers <> '' THEN format('%s of %s workers', p.alive, p.workers) END,
                   CASE WHEN p.alive > 0 AND p.rate IS NOT NULL
                        THEN format('%s records/s since %s', round(p.rate, 1), p.started_at) END,
                   p.detail,
                   CASE WHEN p.said = 'failed' AND p.retry_at IS NOT NULL THEN format('tried again at %s', p.retry_at) END,
                   CASE WHEN p.dead > 0 THEN format('%s dead letter%s', p.dead, CASE WHEN p.dead > 1 THEN 's' END) END),
         CASE WHEN w.brokers <> '' THEN p.lag END, p.applied_at,
         p.error || COALESCE(chr(10) || p.error_detail, '') || COALESCE(chr(10) || 'HINT: ' || p.hint, ''), p.last_error_at
    FROM stream_part p, world w
  UNION ALL
  SELECT 'outbox' AS component, current_database()::text AS name,
         CASE WHEN w.brokers = '' THEN 'direct mode'
              WHEN rappel_conso.worker_pid('outbox') IS NOT NULL
              THEN CASE WHEN o.n > 0 AND o.waiting = o.n THEN 'waiting'
                        ELSE COALESCE((SELECT t.state FROM rappel_conso.outbox_state t), 'running') END
              WHEN o.n = 0 THEN 'idle'
              WHEN w.scheduler IS NOT NULL THEN 'waiting'
              ELSE 'stopped' END,
         CASE WHEN o.n = 1 THEN format('1 message waits, since %s', o.oldest)
              WHEN o.n > 0 THEN format('%s messages wait, the oldest since %s', o.n, o.oldest) END
           || CASE WHEN w.brokers = '' OR o.topics = 0 THEN ''
                   WHEN o.topics = 1 THEN format('; topic "%s" waits', o.topic)
                   ELSE format('; %s topics wait', o.topics) END,
         o.n, NULL AS last_success, (SELECT t.error FROM rappel_conso.outbox_state t),
         (SELECT t.last_error_at FROM rappel_conso.outbox_state t)
    FROM world w, (SELECT count(*) AS n, min(m.created_at) AS oldest, count(t.topic) AS waiting,
                          count(DISTINCT t.topic) AS topics, min(t.topic) AS topic
                     FROM rappel_conso.outbox m LEFT JOIN rappel_conso.outbox_topic t ON t.topic = m.topic) o
  UNION ALL
  SELECT 'topic' AS component, t.topic, 'waiting' AS state,
         CASE WHEN m.n = 1 THEN format('1 message waits, since %s', m.oldest)
              ELSE format('%s messages wait, the oldest since %s', m.n, m.oldest) END
           || COALESCE(format('; tried again at %s', t.retry_at), ''),
         m.n, NULL AS last_success, t.error || COALESCE(chr(10) || 'HINT: ' || t.hint, ''), t.last_error_at
    FROM world w, rappel_conso.outbox_topic t
    JOIN LATERAL (SELECT count(*) AS n, min(o.created_at) AS oldest
                    FROM rappel_conso.outbox o WHERE o.topic = t.topic) m ON m.n > 0
   WHERE w.brokers <> '';
END;
COMMENT ON FUNCTION @extschema@.rc_status() IS 'one row for each part: what it does, how far it is, what failed last';
-- 60-recalls
--     Functions over the tables of recalls, which are not the extension's: the
--     setup of the built-in stream makes them (90-builtin).  Also the folding of
--     accents.
--
-- Nothing here may have SECURITY DEFINER: the tables are a role's, who may have
-- put anything there.

CREATE FUNCTION @extschema@.rc_fold(text) RETURNS text
AS 'MODULE_PATHNAME', 'rc_fold' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.rc_fold(text) IS 'text folded to ASCII';

-- Whoever may create something in the schema could put a view, or a table with
-- code of his own, where ours is missing, and the stream's owner could put code
-- into ours.  So src/session/recall_functions.c looks whose the tables are, and calls
-- the second of each pair below with the rights that it may have.  Since those
-- can be a role's that has none here, it uses nothing but those tables and
-- pg_catalog.
CREATE FUNCTION @extschema@.rc_own_table(name text) RETURNS regclass
AS 'MODULE_PATHNAME', 'rc_own_table' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_own_table(text) IS 'rappel_conso_table or rappel_conso_history, if it is a table of the stream''s owner or of a superuser; null if it is missing';

CREATE FUNCTION @extschema@.rc_recalls_at(
  at timestamptz,
  OUT reference_fiche text,
  OUT date_de_publication timestamptz,
  OUT date_de_fin_de_la_procedure_de_rappel date,
  OUT categorie_de_produit text,
  OUT sous_categorie_de_produit text,
  OUT nom_de_la_marque_du_produit text,
  OUT noms_des_modeles_ou_references text,
  OUT identification_des_produits text,
  OUT conditionnements text,
  OUT temperature_de_conservation text,
  OUT zone_geographique_de_vente text,
  OUT distributeurs text,
  OUT motif_du_rappel text,
  OUT numero_de_contact text,
  OUT modalites_de_compensation text,
  OUT risques_pour_le_consommateur text,
  OUT recommandations_sante text,
  OUT informations_complementaires text,
  OUT date_debut_commercialisation date,
  OUT date_fin_commercialisation date,
  OUT liens_vers_les_images text,
  OUT lien_vers_la_liste_des_produits text,
  OUT lien_vers_la_liste_des_distributeurs text,
  OUT lien_vers_affichette_pdf text,
  OUT lien_vers_la_fiche_rappel text,
  OUT numero_de_version integer,
  OUT nature_juridique_du_rappel text,
  OUT marque_de_salubrite text,
  OUT libelle text,
  OUT id bigint,
  OUT rappelguid text,
  OUT gtin text[],
  OUT withdrawn_at timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'rc_recalls_at' LANGUAGE C STABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_recalls_at(timestamptz) IS 'rappel_conso_table as it was known at that time';

CREATE FUNCTION rappel_conso.recalls_at_as_owner(at timestamptz) RETURNS SETOF record
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  since timestamptz;
BEGIN
  RETURN QUERY
    SELECT
      t.reference_fiche, t.date_de_publication, t.date_de_fin_de_la_procedure_de_rappel,
      t.categorie_de_produit, t.sous_categorie_de_produit, t.nom_de_la_marque_du_produit,
      t.noms_des_modeles_ou_references, t.identification_des_produits, t.conditionnements,
      t.temperature_de_conservation, t.zone_geographique_de_vente, t.distributeurs, t.motif_du_rappel,
      t.numero_de_contact, t.modalites_de_compensation, t.risques_pour_le_consommateur,
      t.recommandations_sante, t.informations_complementaires, t.date_debut_commercialisation,
      t.date_fin_commercialisation, t.liens_vers_les_images, t.lien_vers_la_liste_des_produits,
      t.lien_vers_la_liste_des_distributeurs, t.lien_vers_affichette_pdf, t.lien_vers_la_fiche_rappel,
      t.numero_de_version, t.nature_juridique_du_rappel, t.marque_de_salubrite, t.libelle, t.id, t.rappelguid,
      t.gtin, t.withdrawn_at
      FROM @extschema@.rappel_conso_table t WHERE t.updated_at <= at
    UNION ALL
    SELECT
      h.reference_fiche, h.date_de_publication, h.date_de_fin_de_la_procedure_de_rappel,
      h.categorie_de_produit, h.sous_categorie_de_produit, h.nom_de_la_marque_du_produit,
      h.noms_des_modeles_ou_references, h.identification_des_produits, h.conditionnements,
      h.temperature_de_conservation, h.zone_geographique_de_vente, h.distributeurs, h.motif_du_rappel,
      h.numero_de_contact, h.modalites_de_compensation, h.risques_pour_le_consommateur,
      h.recommandations_sante, h.informations_complementaires, h.date_debut_commercialisation,
      h.date_fin_commercialisation, h.liens_vers_les_images, h.lien_vers_la_liste_des_produits,
      h.lien_vers_la_liste_des_distributeurs, h.lien_vers_affichette_pdf, h.lien_vers_la_fiche_rappel,
      h.numero_de_version, h.nature_juridique_du_rappel, h.marque_de_salubrite, h.libelle, h.id, h.rappelguid,
      h.gtin, h.withdrawn_at
      FROM @extschema@.rappel_conso_history h WHERE h.valid_from <= at AND h.valid_to > at;
  IF FOUND THEN
    RETURN;
  END IF;
  -- nothing was published, or nothing was known: that is not the same
  since := LEAST((SELECT min(t.updated_at) FROM @extschema@.rappel_conso_table t),
                 (SELECT min(h.valid_from) FROM @extschema@.rappel_conso_history h));
  IF since IS NULL THEN
    RAISE NOTICE 'no recall is known yet' USING HINT = 'SELECT * FROM rc_sync_now() reads them.';
  ELSIF at < since THEN
    RAISE NOTICE 'recalls are known only since %', to_char(since, 'YYYY-MM-DD HH24:MI:SS.USOF');
  END IF;
END
$$;
COMMENT ON FUNCTION rappel_conso.recalls_at_as_owner(timestamptz) IS 'what rc_recalls_at() does, with the rights of the tables'' owner';
-- 61-search
--     Functions that find recalls by words.  As in 60-recalls, nothing here may
--     have SECURITY DEFINER.

-- The words of a recall, as an expression over the columns of
-- rappel_conso_table.  It is made of nothing but PostgreSQL's own immutable
-- functions, so that a column made of it outlives the extension.  The lexemes
-- "@b:n" are the time of publication: the n-th span of 2^b seconds since 1970,
-- from 24 days to 17 years; "@" is none.  Accents and ligatures are those that
-- the database's encoding has; in SQL_ASCII there are no such characters.
CREATE FUNCTION rappel_conso.search_vector() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  plain text := '%s';
BEGIN
  IF getdatabaseencoding() IN ('UTF8', 'LATIN1', 'LATIN5', 'LATIN9', 'WIN1252', 'WIN1254') THEN
    plain := format('translate(%s, %L, %L)', plain,
                    convert_from(decode('c380c381c382c383c384c385c387c388c389c38ac38bc38cc38dc38ec38fc391c392c393c394c395c396c399c39ac39bc39c'
                                        'c3a0c3a1c3a2c3a3c3a4c3a5c3a7c3a8c3a9c3aac3abc3acc3adc3aec3afc3b1c3b2c3b3c3b4c3b5c3b6c3b9c3bac3bbc3bc', 'hex'), 'UTF8'),
                    'AAAAAACEEEEIIIINOOOOOUUUUaaaaaaceeeeiiiinooooouuuu');
  END IF;
  IF getdatabaseencoding() IN ('UTF8', 'LATIN9', 'WIN1252', 'WIN1254') THEN
    plain := format('replace(replace(%s, %L, %L), %L, %L)', plain,
                    convert_from(decode('c593', 'hex'), 'UTF8'), 'oe', convert_from(decode('c592', 'hex'), 'UTF8'), 'OE');
  END IF;
  RETURN (
  SELECT string_agg(
           format($f$setweight(to_tsvector('pg_catalog.french'::regconfig, %s), %L)$f$, format(plain, g.words), g.weight),
           ' || ' ORDER BY g.weight)
         || ' || array_to_tsvector(ARRAY['
         || (SELECT string_agg(format(
                      $f$COALESCE('@%1$s:' || CASE WHEN isfinite(date_de_publication)
                         THEN (floor(extract(epoch FROM date_de_publication AT TIME ZONE 'UTC'))::bigint >> %1$s)::text END, '@')$f$, b), ', ')
               FROM generate_series(21, 29, 2) b)
         || '])'
    FROM (SELECT c.weight, string_agg(format('COALESCE(%I, %L)', c.name, ''), $f$ || ' ' || $f$ ORDER BY c.name) AS words
            FROM (VALUES ('A', 'nom_de_la_marque_du_produit'), ('A', 'noms_des_modeles_ou_references'), ('A', 'libelle'),
                         ('B', 'categorie_de_produit'), ('B', 'sous_categorie_de_produit'),
                         ('C', 'motif_du_rappel'), ('C', 'risques_pour_le_consommateur'),
                         ('D', 'distributeurs')) AS c (weight, name)
           GROUP BY c.weight) g);
END
$$;
COMMENT ON FUNCTION rappel_conso.search_vector() IS 'expression for the words of a row of rappel_conso_table, as rc_search() compares them';

CREATE FUNCTION @extschema@.rc_search_index() RETURNS boolean
AS 'MODULE_PATHNAME', 'rc_search_index' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_search_index() IS 'adds to rappel_conso_table the column and index that make rc_search() fast; false if they are there';

CREATE FUNCTION rappel_conso.search_index_as_owner(vector text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_attribute a
              WHERE a.attrelid = '@extschema@.rappel_conso_table'::regclass AND a.attname = 'mots'
                AND a.atttypid = 'tsvector'::regtype) THEN
    RETURN false;
  END IF;
  EXECUTE format('ALTER TABLE %s ADD COLUMN mots tsvector GENERATED ALWAYS AS (%s) STORED',
                 '@extschema@.rappel_conso_table', vector);
  CREATE INDEX ON @extschema@.rappel_conso_table USING gin (mots) WITH (fastupdate = off);
  COMMENT ON COLUMN @extschema@.rappel_conso_table.mots IS 'words that rc_search() finds the row by';
  RETURN true;
END
$$;
COMMENT ON FUNCTION rappel_conso.search_index_as_owner(text) IS 'what rc_search_index() does, with the rights of the table''s owner; vector is the expression for the words of a row';

CREATE FUNCTION @extschema@.rc_search(query text,
  OUT reference_fiche text, OUT date_de_publication timestamptz, OUT nom_de_la_marque_du_produit text,
  OUT noms_des_modeles_ou_references text, OUT libelle text, OUT categorie_de_produit text,
  OUT motif_du_rappel text, OUT lien_vers_la_fiche_rappel text, OUT rank real)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'rc_search' LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION @extschema@.rc_search(text) IS 'recalls by words, best first: of the 500 newest that match and are not withdrawn; for GTINs: WHERE gtin @> ARRAY[...]';

CREATE FUNCTION rappel_conso.search_as_owner(words tsquery, vector text) RETURNS SETOF record
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE ROWS 100 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off AS $$
#variable_conflict use_variable
DECLARE
  most CONSTANT integer := 500;
  shortest CONSTANT integer := 21;
  longest CONSTANT integer := 29;
  bits integer := 23;
  newest timestamptz;
  until timestamptz;
  first bigint;
  span tsquery;
  enough integer;
  hits tid[];
  found tid[] := '{}';
BEGIN
  IF numnode(words) = 0 THEN
    RETURN;
  END IF;

  IF NOT EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = '@extschema@.rappel_conso_table'::regclass AND a.attname = 'mots'
                    AND a.atttypid = 'tsvector'::regtype) THEN
    RAISE NOTICE 'rc_search() reads the whole table'
      USING HINT = 'SELECT rc_search_index() makes an index for it.';
    RETURN QUERY EXECUTE format(
      'SELECT reference_fiche, date_de_publication, nom_de_la_marque_du_produit, noms_des_modeles_ou_references,
              libelle, categorie_de_produit, motif_du_rappel, lien_vers_la_fiche_rappel, ts_rank(mots, $1)
         FROM (SELECT r.*, v.mots
                 FROM %s r, LATERAL (SELECT %s AS mots OFFSET 0) v
                WHERE v.mots @@ $1 AND r.withdrawn_at IS NULL
                ORDER BY r.date_de_publication DESC NULLS LAST, r.reference_fiche LIMIT %s) newest
        ORDER BY 9 DESC, 2 DESC NULLS LAST, 1', '@extschema@.rappel_conso_table', vector, most) USING words;
    RETURN;
  END IF;

  -- From the newest on, span after span, each shorter than the last if that
  -- had too many and longer if it had few: reading the index once for each is
  -- what takes time, and so is reading rows that are not wanted.
  LOOP
    newest := (SELECT max(r.date_de_publication) FROM @extschema@.rappel_conso_table r
                WHERE r.date_de_publication < COALESCE(until, 'infinity') AND r.date_de_publication > '-infinity');
    IF newest IS NULL OR bits > longest THEN
      span := words;
    ELSE
      first := floor(extract(epoch FROM newest))::bigint >> bits << bits;
      span := words && quote_literal(format('@%s:%s', bits, first >> bits))::tsquery;
    END IF;
    enough := CASE WHEN newest IS NOT NULL AND bits > shortest THEN 2 * most END;
    hits := ARRAY(
      SELECT h.ctid
        FROM (SELECT r.ctid, r.reference_fiche, r.date_de_publication FROM @extschema@.rappel_conso_table r
               WHERE r.mots @@ span AND (NULLIF(r.date_de_publication, 'infinity') < until) IS NOT FALSE
                 AND r.withdrawn_at IS NULL LIMIT enough + 1) h
       ORDER BY h.date_de_publication DESC NULLS LAST, h.reference_fiche);
    IF cardinality(hits) > enough THEN
      bits := bits - 2;
      CONTINUE;
    END IF;
    found := found || hits;
    EXIT WHEN cardinality(found) >= most OR newest IS NULL OR bits > longest;
    until := to_timestamp(first);
    bits := LEAST(longest + 2, bits + CASE WHEN cardinality(hits) = 0 THEN 4
                                           WHEN cardinality(hits) * 3 > most - cardinality(found) THEN 0
                                           ELSE 2 END);
  END LOOP;
  RETURN QUERY
  SELECT r.reference_fiche, r.date_de_publication, r.nom_de_la_marque_du_produit, r.noms_des_modeles_ou_references,
         r.libelle, r.categorie_de_produit, r.motif_du_rappel, r.lien_vers_la_fiche_rappel, ts_rank(r.mots, words)
    FROM @extschema@.rappel_conso_table r
   WHERE r.ctid = ANY (found[1:most])
   ORDER BY 9 DESC, 2 DESC NULLS LAST, 1;
END
$$;
COMMENT ON FUNCTION rappel_conso.search_as_owner(tsquery, text) IS 'what rc_search() does, with the rights of the table''s owner; vector is the expression for the words of a row';
-- 70-report
--     The page of rc_report().
--
-- It must be ASCII only, and whatever is data goes through html().

CREATE FUNCTION rappel_conso.html(text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN replace(replace(replace(replace(replace(
         translate(COALESCE($1, ''), convert_from(decode('01020304050607080b0c0d0e0f101112131415161718191a1b1c1d1e1f7f', 'hex'), 'UTF8'), repeat(' ', 30)),
         '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;');
COMMENT ON FUNCTION rappel_conso.html(text) IS 'text for a page: what HTML would take for its own is escaped';

CREATE FUNCTION rappel_conso.html_time(timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN COALESCE('<time>' || to_char($1, 'YYYY-MM-DD HH24:MI:SS') || '</time>', '');
COMMENT ON FUNCTION rappel_conso.html_time(timestamptz) IS 'a time for a page, to the second';

CREATE FUNCTION rappel_conso.html_number(numeric) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN COALESCE(to_char($1, 'FM999,999,999,999,990'), '');
COMMENT ON FUNCTION rappel_conso.html_number(numeric) IS 'a number for a page';

CREATE FUNCTION rappel_conso.html_state(state text, title text DEFAULT NULL) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT format('<i class="%s"%s>%s</i>',
                CASE WHEN state IN ('success', 'configured', 'direct mode', 'idle') THEN 'good'
                     WHEN state IN ('failed', 'restart needed') THEN 'bad'
                     WHEN state = 'running' THEN 'busy'
                     WHEN state IN ('queued', 'waiting', 'up_for_retry') THEN 'wait'
                     ELSE 'off' END,
                CASE WHEN title IS NOT NULL THEN ' title="' || rappel_conso.html(title) || '"' END,
                CASE WHEN state IN ('success', 'configured', 'direct mode', 'idle') THEN '&#10003;'
                     WHEN state IN ('failed', 'restart needed') THEN '&#10007;'
                     WHEN state = 'running' THEN '&#9656;'
                     WHEN state = 'up_for_retry' THEN '&#8635;'
                     WHEN state IN ('queued', 'waiting') THEN '&#8230;'
                     WHEN state = 'upstream_failed' THEN '&#8593;'
                     ELSE '&#8211;' END);
END;
COMMENT ON FUNCTION rappel_conso.html_state(text, text) IS 'a state for a page: a sign in the colour of its kind';

CREATE FUNCTION rappel_conso.report_style() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN $css$
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --text: #1c2430; --dim: #5b6675; --line: #dde1e7;
  --good: #1a7f45; --bad: #c62828; --busy: #1b66c9; --wait: #a06200; --off: #6b7480; --bar: #2f6fb5; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --card: #1b212a; --text: #e4e8ee; --dim: #9aa6b5; --line: #303946;
    --good: #46c17c; --bad: #ff7b72; --busy: #6cb0ff; --wait: #e3a93c; --off: #97a2b0; --bar: #5b9be0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 74rem; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { margin: 0 0 .6rem; font-size: 1.05rem; }
h3 { margin: 1.1rem 0 .3rem; font-size: .95rem; overflow-wrap: anywhere; }
h2 + h3 { margin-top: 0; }
p { margin: .3rem 0; }
header { padding: .2rem .2rem .6rem; }
.dim, caption, figcaption, th { color: var(--dim); }
section { margin: 0 0 1rem; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th { font-weight: 600; text-align: left; }
th, td { padding: .3rem .9rem .3rem 0; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.k { font-weight: 600; white-space: nowrap; }
td.w { min-width: 12rem; overflow-wrap: anywhere; white-space: pre-line; }
time, .state { white-space: nowrap; font-variant-numeric: tabular-nums; }
i { display: inline-block; width: 1.15rem; height: 1.15rem; border-radius: .25rem; color: var(--card); font: bold .8rem/1.15rem system-ui, sans-serif;
  text-align: center; vertical-align: -.2em; overflow: hidden; }
i.good { background: var(--good); } i.bad { background: var(--bad); } i.busy { background: var(--busy); }
i.wait { background: var(--wait); } i.off { background: var(--off); }
p .state { margin-right: .7rem; }
.error { color: var(--bad); }
table.grid { table-layout: fixed; margin-bottom: .6rem; font-size: .8rem; }
table.grid th { width: 4.4rem; padding: 0; border: 0; font-weight: 400; vertical-align: middle; }
table.grid td { padding: 1px; border: 0; height: 1.35rem; vertical-align: bottom; }
table.grid i { width: 100%; display: block; }
table.grid b { display: block; background: var(--dim); border-radius: 2px 2px 0 0; }
table.grid tr:first-child td { height: 2.6rem; }
figure { margin: 0 0 1.2rem; } figure:last-child { margin: 0; }
svg { display: block; width: 100%; overflow: visible; }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim); } svg .name { fill: var(--text); }
svg rect { fill: var(--bar); } svg line { stroke: var(--line); }
@media (max-width: 40rem) {
  body { padding: .6rem; } section { padding: .8rem; }
  table.cards thead { position: absolute; left: -99rem; }
  table.cards, table.cards tbody, table.cards tr, table.cards td { display: block; }
  table.cards tr { padding: .5rem 0; border-top: 1px solid var(--line); } table.cards tr:first-child { border: 0; padding-top: 0; }
  table.cards td { padding: .05rem 0; border: 0; text-align: left; white-space: normal; }
  table.cards td.n, table.cards td.k { display: inline-block; margin-right: .7rem; }
  table.cards td:empty { display: none !important; }
  table.grid i { font-size: .55rem; }
  table.cards td[data-name]::before { content: attr(data-name) ": "; color: var(--dim); }
}
$css$;
COMMENT ON FUNCTION rappel_conso.report_style() IS 'the style sheet of the page of rc_report()';

CREATE FUNCTION rappel_conso.report_parts() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = on
BEGIN ATOMIC
  SELECT format('<section id="parts"><h2>Parts</h2><table class="cards"><thead><tr><th>Part</th><th>Name</th><th>State</th><th>Detail</th><th class="n">Lag</th>'
                '<th>Last success</th><th>Last error</th></tr></thead><tbody>%s</tbody></table></section>',
           string_agg(format('<tr><td class="k">%s</td><td class="k">%s</td><td class="state">%s %s</td><td class="w">%s'
                             '</td><td class="n" data-name="lag">%s</td><td data-name="last success">%s</td><td class="w error">%s</td></tr>',
                        rappel_conso.html(s.component), rappel_conso.html(s.name), rappel_conso.html_state(s.state),
                        rappel_conso.html(s.state), rappel_conso.html(s.detail), rappel_conso.html_number(s.lag),
                        rappel_conso.html_time(s.last_success),
                        concat_ws(chr(10), NULLIF(rappel_conso.html_time(s.last_error_at), ''), NULLIF(rappel_conso.html(s.last_error), ''))), ''
                      ORDER BY array_position(ARRAY['scheduler', 'kafka', 'source', 'stream', 'outbox', 'topic'], s.component), s.name))
    FROM @extschema@.rc_status() s;
END;
COMMENT ON FUNCTION rappel_conso.report_parts() IS 'the parts of rc_report()';

-- A backfill has a task for each window: one row stands for them all.
CREATE FUNCTION rappel_conso.report_grid(source text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET row_security = on SET datestyle = iso SET intervalstyle = postgres
BEGIN ATOMIC
  WITH shown AS (
    SELECT r.id, r.state, r.trigger, r.started_at, r.finished_at,
           COALESCE(r.finished_at, clock_timestamp()) - r.started_at AS duration
      FROM rappel_conso.run r WHERE r.source = report_grid.source ORDER BY r.id DESC LIMIT 30
  ), step AS (
    SELECT k.run, CASE WHEN k.window_from IS NULL THEN k.name ELSE 'windows' END AS name, count(*) AS tasks,
           (array_agg(k.state ORDER BY array_position(ARRAY['running', 'failed', 'up_for_retry', 'upstream_failed',
                                                            'cancelled', 'queued', 'success'], k.state)))[1] AS state,
           count(*) FILTER (WHERE k.state = 'success') AS done, max(k.attempt) AS attempt,
           COALESCE(max(k.finished_at), clock_timestamp()) - min(k.started_at) AS duration, max(k.error) AS error,
           sum(k.fetched) AS fetched, sum(k.published) AS published, sum(k.inserted) AS inserted, sum(k.updated) AS updated,
           sum(k.unchanged) AS unchanged, sum(k.dead) AS dead, sum(k.withdrawn) AS withdrawn
      FROM rappel_conso.task k WHERE k.run IN (SELECT h.id FROM shown h)
     GROUP BY 1, 2
  ), line AS (
    SELECT -1 AS place, 'duration' AS name, h.id,
           format('<b style="height:%spx" title="%s"></b>',
                  GREATEST(2, 40 * extract(epoch FROM h.duration) / NULLIF(max(extract(epoch FROM h.duration)) OVER (), 0))::integer,
                  COALESCE(rappel_conso.html(format('run %s: %s', h.id, date_trunc('milliseconds', h.duration))), '')) AS cell
      FROM shown h
     UNION ALL
    SELECT 0 AS place, 'run' AS name, h.id,
           rappel_conso.html_state(h.state, format('run %s (%s): %s, %s', h.id, h.trigger, h.state, h.started_at)) FROM shown h
     UNION ALL
    SELECT CASE n.name WHEN 'extract' THEN 1 WHEN 'load' THEN 2 WHEN 'sync' THEN 3 ELSE 4 END, n.name, h.id,
           CASE WHEN t.run IS NULL THEN '' ELSE rappel_conso.html_state(t.state,
             concat_ws(', ', format('run %s, %s: %s', h.id, t.name, t.state),
                       CASE WHEN t.tasks > 1 THEN format('%s of %s done', t.done, t.tasks) END,
                       CASE WHEN t.attempt > 1 THEN format('%s tries', t.attempt) END,
                       date_trunc('milliseconds', t.duration)::text,
                       (SELECT string_agg(format('%s %s', c.n, c.what), ', ' ORDER BY c.place)
                          FROM unnest(ARRAY['fetched', 'published', 'inserted', 'updated', 'unchanged', 'dead', 'withdrawn'],
                                      ARRAY[t.fetched, t.published, t.inserted, t.updated, t.unchanged, t.dead, t.withdrawn])
                               WITH ORDINALITY AS c (what, n, place) WHERE c.n > 0), t.error)) END
      FROM (SELECT DISTINCT s.name FROM step s) n
     CROSS JOIN shown h
      LEFT JOIN step t ON t.run = h.id AND t.name = n.name
  )
  SELECT format('<table class="grid" style="max-width:calc(4.4rem + %s * 1.4rem)"><tbody>%s</tbody></table>',
                max(l.runs), string_agg(format('<tr><th scope="row">%s</th>%s</tr>', rappel_conso.html(l.name), l.cells), '' ORDER BY l.place))
    FROM (SELECT i.place, i.name, count(*) AS runs,
                 string_agg('<td>' || i.cell || '</td>', '' ORDER BY i.id) AS cells
            FROM line i GROUP BY i.place, i.name) l;
END;
COMMENT ON FUNCTION rappel_conso.report_grid(text) IS 'the last 30 runs of a source for rc_report(): a column for each run, a row for each task';

CREATE FUNCTION rappel_conso.report_runs() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET row_security = on SET datestyle = iso SET intervalstyle = postgres
BEGIN ATOMIC
  SELECT format('<section id="runs"><h2>Runs</h2>%s<p class="dim">%s</p></section>',
           COALESCE(string_agg(format('<h3>%s</h3>%s%s', rappel_conso.html(s.name), rappel_conso.report_grid(s.name), l.runs), ''
                               ORDER BY s.name), '<p class="dim">There has been no run yet.</p>'),
           (SELECT string_agg(format('<span class="state">%s %s</span>', rappel_conso.html_state(n), replace(n, '_', ' ')), ' ' ORDER BY o)
              FROM unnest(ARRAY['success', 'running', 'queued', 'up_for_retry', 'failed', 'upstream_failed', 'cancelled'])
                   WITH ORDINALITY AS w (n, o)))
    FROM (SELECT DISTINCT r.source AS name FROM rappel_conso.run r) s
   CROSS JOIN LATERAL (
          SELECT format('<div class="scroll"><table class="cards"><thead><tr><th>Run</th><th>Started</th><th>State</th><th class="n">Duration</th><th class="n">Fetched</th><th class="n">Published</th>'
                        '<th class="n">Inserted</th><th class="n">Updated</th><th class="n">Unchanged</th><th class="n">Withdrawn</th><th class="n">Dead</th><th>Error</th></tr></thead><tbody>%s</tbody></table></div>',
                   string_agg(format('<tr><td class="k">%s (%s)</td><td>%s</td><td class="state">%s %s</td><td class="n" data-name="duration">%s</td><td class="n" data-name="fetched">%s'
                                     '</td><td class="n" data-name="published">%s</td><td class="n" data-name="inserted">%s</td><td class="n" data-name="updated">%s</td><td class="n" data-name="unchanged">%s'
                                     '</td><td class="n" data-name="withdrawn">%s</td><td class="n" data-name="dead">%s</td><td class="w error">%s</td></tr>',
                                r.id, rappel_conso.html(r.trigger), rappel_conso.html_time(r.started_at),
                                rappel_conso.html_state(r.state), rappel_conso.html(r.state),
                                date_trunc('milliseconds', r.finished_at - r.started_at), rappel_conso.html_number(r.fetched),
                                rappel_conso.html_number(NULLIF(r.published, 0)), rappel_conso.html_number(r.inserted),
                                rappel_conso.html_number(r.updated), rappel_conso.html_number(r.unchanged),
                                rappel_conso.html_number(NULLIF(r.withdrawn, 0)), rappel_conso.html_number(r.dead), rappel_conso.html(r.error)), '' ORDER BY r.id DESC)) AS runs
            FROM (SELECT * FROM rappel_conso.run u WHERE u.source = s.name ORDER BY u.id DESC LIMIT 5) r) l;
END;
COMMENT ON FUNCTION rappel_conso.report_runs() IS 'the runs of rc_report()';

CREATE FUNCTION rappel_conso.recalls(OUT date_de_publication timestamptz, OUT categorie_de_produit text) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'rc_read_recalls' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 20000;
COMMENT ON FUNCTION rappel_conso.recalls() IS 'two columns of rappel_conso_table, read without a query, so that nothing is run that its owner has put there';

CREATE FUNCTION rappel_conso.recalls_by_day(OUT day date, OUT n bigint) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH recall AS MATERIALIZED (
    SELECT r.date_de_publication AS at FROM rappel_conso.recalls() r
  )
  SELECT (r.at AT TIME ZONE 'UTC')::date, count(*)
    FROM recall r
   WHERE r.at >= ((SELECT max(m.at) FROM recall m) AT TIME ZONE 'UTC')::date::timestamp AT TIME ZONE 'UTC' - interval '59 days'
   GROUP BY 1;
END;
COMMENT ON FUNCTION rappel_conso.recalls_by_day() IS 'the number of recalls of each day (UTC) that has some, of the last 60 days that the table knows';

CREATE FUNCTION rappel_conso.recalls_by_category(OUT category text, OUT n bigint, OUT categories bigint) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT r.categorie_de_produit, count(*), count(*) OVER ()
    FROM rappel_conso.recalls() r
   GROUP BY r.categorie_de_produit ORDER BY 2 DESC, 1 LIMIT 12;
END;
COMMENT ON FUNCTION rappel_conso.recalls_by_category() IS 'the number of recalls of each of the 12 most frequent categories, and how many categories there are';

CREATE FUNCTION rappel_conso.report_days() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = iso
BEGIN ATOMIC
  WITH recall AS MATERIALIZED (
    SELECT c.day, c.n FROM rappel_conso.recalls_by_day() c
  ), bar AS (
    SELECT d.day, COALESCE(r.n, 0) AS n, d.place,
           130.0 * COALESCE(r.n, 0) / (SELECT max(x.n) FROM recall x) AS height
      FROM (SELECT (SELECT max(x.day) FROM recall x) - 59 + g AS day, g AS place FROM generate_series(0, 59) g) d
      LEFT JOIN recall r ON r.day = d.day
  )
  SELECT format('<figure><figcaption>Recalls per day: %s in the 60 days up to %s</figcaption>'
                '<svg height="172" role="img" aria-label="Recalls per day"><text x="0" y="10">%s</text>'
                '<line x1="0" x2="100%%" y1="16" y2="16"></line><line x1="0" x2="100%%" y1="146" y2="146"></line>%s%s</svg></figure>',
           rappel_conso.html_number(sum(b.n)), max(b.day), max(b.n),
           string_agg(format('<rect x="%s%%" y="%s" width="1.35%%" height="%s"><title>%s: %s</title></rect>',
                             round(b.place * 100 / 60.0, 2), round(146 - b.height, 1), round(b.height, 1), b.day, b.n), '' ORDER BY b.day)
             FILTER (WHERE b.n > 0),
           string_agg(format('<text x="%s%%" y="164">%s</text>', round(b.place * 100 / 60.0, 2), to_char(b.day, 'DD.MM.')), '' ORDER BY b.day)
             FILTER (WHERE b.place % 12 = 0))
    FROM bar b
  HAVING max(b.n) > 0;
END;
COMMENT ON FUNCTION rappel_conso.report_days() IS 'recalls per day as a chart, for rc_report()';

CREATE FUNCTION rappel_conso.report_categories() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT format('<figure><figcaption>Recalls by category: the most frequent of %s</figcaption>'
                '<svg height="%s" role="img" aria-label="Recalls by category">%s</svg></figure>',
           max(c.categories), 34 * count(*),
           string_agg(format('<text class="name" x="0" y="%s">%s</text><text x="100%%" y="%s" text-anchor="end">%s</text>'
                             '<rect x="0" y="%s" width="%s%%" height="9" rx="2"><title>%s: %s</title></rect>',
                        34 * c.place - 20, rappel_conso.html(CASE WHEN char_length(c.name) > 40 THEN left(c.name, 39) || '...' ELSE c.name END),
                        34 * c.place - 20, rappel_conso.html_number(c.n::numeric), 34 * c.place - 15, round(100.0 * c.n / c.most, 2),
                        rappel_conso.html(c.name), c.n), '' ORDER BY c.place))
    FROM (SELECT COALESCE(n.category, '(none)') AS name, n.n, n.categories, max(n.n) OVER () AS most,
                 row_number() OVER (ORDER BY n.n DESC, n.category) AS place
            FROM rappel_conso.recalls_by_category() n) c
  HAVING count(*) > 0;
END;
COMMENT ON FUNCTION rappel_conso.report_categories() IS 'recalls per category as a chart, for rc_report()';

-- Who has locked the table does not keep the page.
CREATE FUNCTION rappel_conso.report_recalls() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  relation CONSTANT oid := to_regclass('@extschema@.rappel_conso_table');
  charts text;
BEGIN
  IF relation IS NULL THEN
    RETURN '';
  END IF;
  BEGIN
    -- two columns are enough; it is an error if there is no such column any more
    IF NOT has_column_privilege(relation, 'date_de_publication', 'SELECT')
       OR NOT has_column_privilege(relation, 'categorie_de_produit', 'SELECT') THEN
      RETURN '';
    END IF;
    charts := COALESCE(rappel_conso.report_days() || rappel_conso.report_categories(),
                       rappel_conso.report_categories(), '<p class="dim">The table is empty.</p>');
  EXCEPTION WHEN OTHERS THEN
    charts := format('<p class="error">Not read: %s.</p>', rappel_conso.html(SQLERRM));
  END;
  RETURN format('<section id="recalls"><h2>Recalls</h2>%s</section>', charts);
END
$$;
COMMENT ON FUNCTION rappel_conso.report_recalls() IS 'the charts of rc_report(): nothing where there is no table, or it may not be read; why, where it is not ours';

CREATE FUNCTION rappel_conso.report_lag() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET row_security = on
BEGIN ATOMIC
  SELECT format('<section id="lag"><h2>Lag</h2><table class="cards"><thead><tr><th>Stream</th><th>Topic</th><th class="n">Partition</th><th class="n">Next offset</th>'
                '<th class="n">End</th><th class="n">Lag</th><th>Last applied</th><th>End seen</th></tr></thead><tbody>%s</tbody></table>%s</section>',
           string_agg(format('<tr><td class="w">%s</td><td class="w" data-name="topic">%s</td><td class="n" data-name="partition">%s</td><td class="n" data-name="next offset">%s'
                             '</td><td class="n" data-name="end">%s</td><td class="n" data-name="lag">%s</td><td data-name="last applied">%s</td><td data-name="end seen">%s</td></tr>',
                        rappel_conso.html(l.stream), rappel_conso.html(l.topic), l.partition, l.next_offset, l.high_watermark,
                        rappel_conso.html_number(l.lag), rappel_conso.html_time(l.applied_at), rappel_conso.html_time(l.observed_at)), '' ORDER BY l.lag DESC NULLS LAST, l.stream, l.topic, l.partition) FILTER (WHERE l.place <= 50),
           CASE WHEN count(*) > 50 THEN format('<p class="dim">The 50 greatest of %s.</p>', count(*)) END)
    FROM (SELECT *, row_number() OVER (ORDER BY g.lag DESC NULLS LAST, g.stream, g.topic, g.partition) AS place
            FROM rappel_conso.lag g) l
  HAVING count(*) > 0;
END;
COMMENT ON FUNCTION rappel_conso.report_lag() IS 'the lag of rc_report()';

CREATE FUNCTION rappel_conso.report_dead_letters() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET row_security = on
BEGIN ATOMIC
  SELECT format('<section id="dead"><h2>Dead letters</h2><p>%s %s to be retried, %s %s resolved.</p>%s</section>',
           rappel_conso.html_number(n.dead), CASE n.dead WHEN 1 THEN 'waits' ELSE 'wait' END,
           rappel_conso.html_number(n.resolved), CASE n.resolved WHEN 1 THEN 'is' ELSE 'are' END,
           '<table class="cards"><thead><tr><th>Number</th><th>Of</th><th>Place</th><th>Failed first</th><th class="n">Tries</th><th>Error</th></tr></thead><tbody>' || d.letters || '</tbody></table>')
    FROM (SELECT count(*) FILTER (WHERE t.resolved_at IS NULL) AS dead, count(t.resolved_at) AS resolved
            FROM rappel_conso.dead_letter t) n,
         (SELECT string_agg(format('<tr><td data-name="number">%s</td><td class="w">%s %s</td><td class="w">%s</td><td>%s</td><td class="n" data-name="tries">%s</td><td class="w error">%s %s</td></tr>',
                              e.id, e.origin, rappel_conso.html(e.name),
                              rappel_conso.html(concat_ws(' ', e.topic, 'partition ' || e.partition, 'offset ' || e.record_offset, 'run ' || e.run)),
                              rappel_conso.html_time(e.created_at), e.attempts, rappel_conso.html(e.sqlstate),
                              rappel_conso.html(CASE WHEN char_length(e.message) > 200 THEN left(e.message, 199) || '...' ELSE e.message END)), '' ORDER BY e.id DESC) AS letters
            FROM (SELECT t.id, t.origin, t.name, t.topic, t.partition, t.record_offset, t.run, t.created_at, t.attempts, t.sqlstate, t.message
                    FROM rappel_conso.dead_letter t WHERE t.resolved_at IS NULL ORDER BY t.id DESC LIMIT 20) e) d;
END;
COMMENT ON FUNCTION rappel_conso.report_dead_letters() IS 'the newest dead letters for rc_report(), without keys, values and headers';

CREATE FUNCTION rappel_conso.report_outbox() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET row_security = on
BEGIN ATOMIC
  SELECT format('<section id="outbox"><h2>Outbox</h2>%s</section>',
           COALESCE('<table class="cards"><thead><tr><th>Topic</th><th>From</th><th class="n">Messages</th><th>Oldest</th></tr></thead><tbody>'
                    || string_agg(format('<tr><td class="w">%s</td><td class="w" data-name="from">%s</td><td class="n" data-name="messages">%s</td><td data-name="oldest">%s</td></tr>',
                                         rappel_conso.html(o.topic), rappel_conso.html(o.origin), rappel_conso.html_number(o.n),
                                         rappel_conso.html_time(o.oldest)), '' ORDER BY o.n DESC, o.topic, o.origin)
                    || '</tbody></table>', '<p class="dim">No message waits to be published.</p>'))
    FROM (SELECT m.topic, m.origin, count(*) AS n, min(m.created_at) AS oldest
            FROM rappel_conso.outbox m GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 50) o;
END;
COMMENT ON FUNCTION rappel_conso.report_outbox() IS 'the outbox of rc_report()';

CREATE FUNCTION @extschema@.rc_report() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = on
BEGIN ATOMIC
  SELECT concat('<!DOCTYPE html>', chr(10),
           '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
           '<meta http-equiv="Content-Security-Policy" content="default-src ''none''; style-src ''unsafe-inline''">',
           '<title>rappel_conso: ', rappel_conso.html(current_database()), '</title><style>', rappel_conso.report_style(), '</style></head><body>',
           '<header><h1>rappel_conso in ', rappel_conso.html(current_database()), '</h1><p class="dim">',
           rappel_conso.html_time(now()), ' ', rappel_conso.html(current_setting('TimeZone')), ', version ', rappel_conso.library_version(),
           ', PostgreSQL ', rappel_conso.html(split_part(current_setting('server_version'), ' ', 1)), '</p></header>', chr(10),
           rappel_conso.report_parts(), chr(10), rappel_conso.report_runs(), chr(10), rappel_conso.report_recalls(), chr(10),
           rappel_conso.report_lag(), chr(10), rappel_conso.report_dead_letters(), chr(10), rappel_conso.report_outbox(), chr(10),
           '</body></html>', chr(10));
END;
COMMENT ON FUNCTION @extschema@.rc_report() IS 'one HTML page: parts, runs, charts, lag, dead letters, outbox';
-- 80-privileges
--     Who may do what: nothing for PUBLIC.  It comes when all objects are there,
--     and no part before it grants anything.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rappel_conso FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.rc_fold(text), @extschema@.rc_sync_now(text, boolean),
  @extschema@.rc_backfill(text, timestamptz, timestamptz, interval),
  @extschema@.rc_trigger(text, boolean), @extschema@.rc_wait(bigint, interval), @extschema@.rc_cancel(bigint),
  @extschema@.rc_own_table(text), @extschema@.rc_recalls_at(timestamptz), @extschema@.rc_start(), @extschema@.rc_stop(), @extschema@.rc_status(), @extschema@.rc_seek(text, text),
  @extschema@.rc_publish(text, bytea, bytea, jsonb), @extschema@.rc_publish(text, text, text, jsonb),
  @extschema@.rc_publish(text, jsonb, text, jsonb), @extschema@.rc_republish(text, bigint), @extschema@.rc_retry(text, bigint),
  @extschema@.rc_drain(text, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.rc_search(text), @extschema@.rc_search_index(), @extschema@.rc_report() FROM PUBLIC;
REVOKE ALL ON TYPE rappel_conso.recall, rappel_conso.reference_fiche FROM PUBLIC;

GRANT USAGE ON SCHEMA rappel_conso TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@.rc_status(), rappel_conso.worker_pid(text, text, integer),
  rappel_conso.library_version(), rappel_conso.is_preloaded() TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@.rc_report(), @extschema@.rc_own_table(text), rappel_conso.html(text), rappel_conso.html_time(timestamptz),
  rappel_conso.html_number(numeric), rappel_conso.html_state(text, text), rappel_conso.report_style(),
  rappel_conso.report_parts(), rappel_conso.report_grid(text), rappel_conso.report_runs(), rappel_conso.recalls(), rappel_conso.recalls_by_day(),
  rappel_conso.recalls_by_category(), rappel_conso.report_days(),
  rappel_conso.report_categories(), rappel_conso.report_recalls(), rappel_conso.report_lag(),
  rappel_conso.report_dead_letters(), rappel_conso.report_outbox() TO pg_monitor;
GRANT SELECT ON rappel_conso.run, rappel_conso.task, rappel_conso.source_state, rappel_conso.stream_offset,
  rappel_conso.stream_state, rappel_conso.source_wait, rappel_conso.stopped, rappel_conso.lag TO pg_monitor;
GRANT SELECT (name, dataset, url, topic, stream, poll_interval, paused, owner) ON rappel_conso.source TO pg_monitor;
GRANT SELECT (name, topics, output_topic, workers, paused, owner) ON rappel_conso.stream TO pg_monitor;
GRANT SELECT ON rappel_conso.outbox_state, rappel_conso.outbox_topic TO pg_monitor;
GRANT SELECT (id, message_id, topic, origin, owner, created_at) ON rappel_conso.outbox TO pg_monitor;
GRANT SELECT (id, origin, name, run, topic, partition, record_offset, record_timestamp, sqlstate, message,
  owner, attempts, created_at, resolved_at) ON rappel_conso.dead_letter TO pg_monitor;

-- Owners see their own; pg_monitor sees states.  Superusers see everything.
ALTER TABLE rappel_conso.stream ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.source ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.run ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.task ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.source_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.source_record ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.stream_offset ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.stream_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.source_wait ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.unlogged_kept ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.dead_letter ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.outbox_topic ENABLE ROW LEVEL SECURITY;

-- In PostgreSQL 16 and newer a membership says of its own whether the member
-- has the role's rights (USAGE: to see its rows) and may become it (SET: to
-- store what runs as it).  Not pg_has_role(name, ..): it raises for a role
-- that is gone, and one such row would hide all others.
DO $do$
DECLARE
  roles constant text := $$SELECT r.rolname%s FROM pg_catalog.pg_roles r
           WHERE pg_catalog.pg_has_role(r.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 160000
                                                    THEN %L ELSE 'MEMBER' END)$$;
  sees text := pg_catalog.format('owner OPERATOR(pg_catalog.=) ANY (' || roles || ')', '', 'USAGE');
  becomes text := pg_catalog.format('owner OPERATOR(pg_catalog.=) ANY (' || roles || ')', '', 'SET');
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['stream', 'source'] LOOP
    EXECUTE pg_catalog.format('CREATE POLICY own ON rappel_conso.%I FOR SELECT USING (%s)', name, sees);
    EXECUTE pg_catalog.format('CREATE POLICY store ON rappel_conso.%I FOR INSERT WITH CHECK (%s)', name, becomes);
    EXECUTE pg_catalog.format('CREATE POLICY change ON rappel_conso.%1$I FOR UPDATE USING (%2$s) WITH CHECK (%2$s)', name, becomes);
    EXECUTE pg_catalog.format('CREATE POLICY remove ON rappel_conso.%I FOR DELETE USING (%s)', name, becomes);
  END LOOP;
  -- what outlives a role is not that of the next one of its name
  FOREACH name IN ARRAY ARRAY['run', 'dead_letter', 'outbox'] LOOP
    EXECUTE pg_catalog.format('CREATE POLICY own ON rappel_conso.%I FOR SELECT USING ((owner, owner_oid) IN (%s))',
                              name, pg_catalog.format(roles, ', r.oid', 'USAGE'));
  END LOOP;
END
$do$;
CREATE POLICY own ON rappel_conso.task FOR SELECT
  USING (run OPERATOR(pg_catalog.=) ANY (SELECT r.id FROM rappel_conso.run r));
CREATE POLICY own ON rappel_conso.source_state FOR SELECT
  USING (source OPERATOR(pg_catalog.=) ANY (SELECT s.name FROM rappel_conso.source s));
CREATE POLICY own ON rappel_conso.source_record FOR SELECT
  USING (source OPERATOR(pg_catalog.=) ANY (SELECT s.name FROM rappel_conso.source s));
CREATE POLICY own ON rappel_conso.stream_offset FOR SELECT
  USING (stream OPERATOR(pg_catalog.=) ANY (SELECT s.name FROM rappel_conso.stream s));
CREATE POLICY own ON rappel_conso.stream_state FOR SELECT
  USING (stream OPERATOR(pg_catalog.=) ANY (SELECT s.name FROM rappel_conso.stream s));
CREATE POLICY own ON rappel_conso.source_wait FOR SELECT
  USING (source OPERATOR(pg_catalog.=) ANY (SELECT s.name FROM rappel_conso.source s));
COMMENT ON POLICY own ON rappel_conso.source_wait IS 'members of the owner see what is theirs';
CREATE POLICY monitor ON rappel_conso.source_wait FOR SELECT TO pg_monitor USING (true);
COMMENT ON POLICY monitor ON rappel_conso.source_wait IS 'pg_monitor sees states of all';
COMMENT ON POLICY own ON rappel_conso.outbox IS 'roles see the messages that they emitted';
CREATE POLICY own ON rappel_conso.outbox_topic FOR SELECT
  USING (topic OPERATOR(pg_catalog.=) ANY (SELECT o.topic FROM rappel_conso.outbox o));
COMMENT ON POLICY own ON rappel_conso.outbox_topic IS 'roles see the topics that their messages wait for';
CREATE POLICY monitor ON rappel_conso.outbox_topic FOR SELECT TO pg_monitor USING (true);
COMMENT ON POLICY monitor ON rappel_conso.outbox_topic IS 'pg_monitor sees states of all';
CREATE POLICY monitor ON rappel_conso.outbox FOR SELECT TO pg_monitor USING (true);
COMMENT ON POLICY monitor ON rappel_conso.outbox IS 'pg_monitor sees all rows, but neither keys, values nor headers';
CREATE POLICY monitor ON rappel_conso.stream FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.source FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.run FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.task FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.source_state FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.stream_offset FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.stream_state FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.dead_letter FOR SELECT TO pg_monitor USING (true);

COMMENT ON POLICY own ON rappel_conso.stream IS 'members of the owner see what is theirs';
COMMENT ON POLICY store ON rappel_conso.stream IS 'who can become the owner may store what runs as it';
COMMENT ON POLICY change ON rappel_conso.stream IS 'who can become the owner may change what runs as it';
COMMENT ON POLICY remove ON rappel_conso.stream IS 'who can become the owner may delete what runs as it';
COMMENT ON POLICY own ON rappel_conso.source IS 'members of the owner see what is theirs';
COMMENT ON POLICY store ON rappel_conso.source IS 'who can become the owner may store what runs as it';
COMMENT ON POLICY change ON rappel_conso.source IS 'who can become the owner may change what runs as it';
COMMENT ON POLICY remove ON rappel_conso.source IS 'who can become the owner may delete what runs as it';
COMMENT ON POLICY own ON rappel_conso.run IS 'members of the owner see what is theirs';
COMMENT ON POLICY own ON rappel_conso.task IS 'members of the owner see what is theirs';
COMMENT ON POLICY own ON rappel_conso.source_state IS 'members of the owner see what is theirs';
COMMENT ON POLICY own ON rappel_conso.source_record IS 'members of the owner see what is theirs';
COMMENT ON POLICY own ON rappel_conso.stream_offset IS 'members of the owner see what is theirs';
COMMENT ON POLICY own ON rappel_conso.stream_state IS 'members of the owner see what is theirs';
COMMENT ON POLICY own ON rappel_conso.dead_letter IS 'members of the owner see what is theirs';
COMMENT ON POLICY monitor ON rappel_conso.stream IS 'pg_monitor sees states of all';
COMMENT ON POLICY monitor ON rappel_conso.source IS 'pg_monitor sees states of all';
COMMENT ON POLICY monitor ON rappel_conso.run IS 'pg_monitor sees states of all';
COMMENT ON POLICY monitor ON rappel_conso.task IS 'pg_monitor sees states of all';
COMMENT ON POLICY monitor ON rappel_conso.source_state IS 'pg_monitor sees states of all';
COMMENT ON POLICY monitor ON rappel_conso.stream_offset IS 'pg_monitor sees states of all';
COMMENT ON POLICY monitor ON rappel_conso.stream_state IS 'pg_monitor sees states of all';
COMMENT ON POLICY monitor ON rappel_conso.dead_letter IS 'pg_monitor sees states of all';
-- 90-builtin
--     Rows that come built in: the stream and the source of recalls.
--
-- Setup and statement run as the stream's owner, with no other rights.  The
-- tables that setup makes outlive the extension, so they must not depend on it.

INSERT INTO rappel_conso.stream (name, topics, value_type, search_path, setup, statement)
VALUES ('rappel_conso', '{rappel_conso}', 'rappel_conso.recall', 'pg_catalog, pg_temp', $setup$
DO $do$
DECLARE
  me CONSTANT pg_catalog.oid := (SELECT oid FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) current_user);
  holder pg_catalog.oid;
  holder_of_table pg_catalog.oid;
BEGIN
  SELECT relowner INTO holder_of_table FROM pg_catalog.pg_class
   WHERE oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('@extschema@.rappel_conso_table')::pg_catalog.oid;
  IF holder_of_table IS NULL AND pg_catalog.to_regprocedure('@extschema@.rappel_conso_keep_history()') IS NULL THEN
    CREATE FUNCTION @extschema@.rappel_conso_keep_history() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $history$
    BEGIN
      IF TG_WHEN = 'BEFORE' THEN
        -- another transaction began later and was first
        NEW.updated_at := OLD.updated_at + interval '1 microsecond';
        RETURN NEW;
      END IF;
      IF pg_catalog.to_regclass('@extschema@.rappel_conso_history') IS NULL THEN
        -- of a class that is never one record's fault: the stream begins anew, and its setup makes the table
        RAISE EXCEPTION 'table "rappel_conso_history" is missing'
          USING ERRCODE = 'undefined_file',
                HINT = 'The next run or start of the stream makes it. To keep no history: ALTER TABLE rappel_conso_table DISABLE TRIGGER keep_superseded, DISABLE TRIGGER keep_deleted.';
      END IF;
      -- somebody may have put another there since setup looked
      LOCK TABLE ONLY @extschema@.rappel_conso_history IN ROW EXCLUSIVE MODE;
      IF NOT EXISTS (SELECT FROM pg_catalog.pg_class h JOIN pg_catalog.pg_class t ON t.oid = TG_RELID JOIN pg_catalog.pg_roles r ON r.oid = h.relowner
                      WHERE h.oid = pg_catalog.to_regclass('@extschema@.rappel_conso_history') AND h.relkind IN ('r', 'p')
                        AND (h.relowner = t.relowner OR r.rolsuper)) THEN
        RAISE EXCEPTION '"rappel_conso_history" is not a table of the owner of table "%"', TG_TABLE_NAME
          USING ERRCODE = 'insufficient_privilege',
                HINT = 'Rename it, or give it to that role.';
      END IF;
      INSERT INTO @extschema@.rappel_conso_history (
        reference_fiche, date_de_publication, date_de_fin_de_la_procedure_de_rappel, categorie_de_produit,
        sous_categorie_de_produit, nom_de_la_marque_du_produit, noms_des_modeles_ou_references,
        identification_des_produits, conditionnements, temperature_de_conservation,
        zone_geographique_de_vente, distributeurs, motif_du_rappel, numero_de_contact,
        modalites_de_compensation, risques_pour_le_consommateur, recommandations_sante,
        informations_complementaires, date_debut_commercialisation, date_fin_commercialisation,
        liens_vers_les_images, lien_vers_la_liste_des_produits, lien_vers_la_liste_des_distributeurs,
        lien_vers_affichette_pdf, lien_vers_la_fiche_rappel, numero_de_version, nature_juridique_du_rappel,
        marque_de_salubrite, libelle, id, rappelguid, gtin, first_seen_at, updated_at, withdrawn_at, valid_from, valid_to)
      VALUES (
        OLD.reference_fiche, OLD.date_de_publication, OLD.date_de_fin_de_la_procedure_de_rappel,
        OLD.categorie_de_produit, OLD.sous_categorie_de_produit, OLD.nom_de_la_marque_du_produit,
        OLD.noms_des_modeles_ou_references, OLD.identification_des_produits, OLD.conditionnements,
        OLD.temperature_de_conservation, OLD.zone_geographique_de_vente, OLD.distributeurs,
        OLD.motif_du_rappel, OLD.numero_de_contact, OLD.modalites_de_compensation,
        OLD.risques_pour_le_consommateur, OLD.recommandations_sante, OLD.informations_complementaires,
        OLD.date_debut_commercialisation, OLD.date_fin_commercialisation, OLD.liens_vers_les_images,
        OLD.lien_vers_la_liste_des_produits, OLD.lien_vers_la_liste_des_distributeurs,
        OLD.lien_vers_affichette_pdf, OLD.lien_vers_la_fiche_rappel, OLD.numero_de_version,
        OLD.nature_juridique_du_rappel, OLD.marque_de_salubrite, OLD.libelle, OLD.id, OLD.rappelguid,
        OLD.gtin, OLD.first_seen_at, OLD.updated_at, OLD.withdrawn_at, OLD.updated_at,
        COALESCE(NEW.updated_at, GREATEST(now(), OLD.updated_at)));
      RETURN NULL;
    END
    $history$;
    COMMENT ON FUNCTION @extschema@.rappel_conso_keep_history() IS 'keeps the old row in rappel_conso_history, and the times of a row in order';
  END IF;

  -- what stands there under our names must be ours: it will run, or be written, with our rights
  SELECT o.owner INTO holder
    FROM (SELECT relowner FROM pg_catalog.pg_class
           WHERE oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('@extschema@.rappel_conso_history')::pg_catalog.oid
          UNION ALL
          SELECT proowner FROM pg_catalog.pg_proc
           WHERE oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure('@extschema@.rappel_conso_keep_history()')::pg_catalog.oid) o (owner)
   WHERE o.owner OPERATOR(pg_catalog.<>) me LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'rappel_conso_history or rappel_conso_keep_history() belongs to role "%", not to the owner of the stream', pg_catalog.pg_get_userbyid(holder)
      USING ERRCODE = 'insufficient_privilege',
            HINT = 'Rename it, or give it to the owner of the stream.';
  END IF;

  IF holder_of_table IS NULL THEN
    CREATE TABLE @extschema@.rappel_conso_table (
      reference_fiche text PRIMARY KEY,
      date_de_publication timestamptz,
      date_de_fin_de_la_procedure_de_rappel date,
      categorie_de_produit text,
      sous_categorie_de_produit text,
      nom_de_la_marque_du_produit text,
      noms_des_modeles_ou_references text,
      identification_des_produits text,
      conditionnements text,
      temperature_de_conservation text,
      zone_geographique_de_vente text,
      distributeurs text,
      motif_du_rappel text,
      numero_de_contact text,
      modalites_de_compensation text,
      risques_pour_le_consommateur text,
      recommandations_sante text,
      informations_complementaires text,
      date_debut_commercialisation date,
      date_fin_commercialisation date,
      liens_vers_les_images text,
      lien_vers_la_liste_des_produits text,
      lien_vers_la_liste_des_distributeurs text,
      lien_vers_affichette_pdf text,
      lien_vers_la_fiche_rappel text,
      numero_de_version integer,
      nature_juridique_du_rappel text,
      marque_de_salubrite text,
      libelle text,
      id bigint,
      rappelguid text,
      gtin text[],
      first_seen_at timestamptz NOT NULL DEFAULT now(),
      updated_at timestamptz NOT NULL DEFAULT now(),
      withdrawn_at timestamptz
    );
    CREATE INDEX ON @extschema@.rappel_conso_table (date_de_publication);
    CREATE INDEX ON @extschema@.rappel_conso_table USING gin (gtin);
    COMMENT ON TABLE @extschema@.rappel_conso_table IS 'French product recalls, one row per fiche; filled by the stream rappel_conso';
    COMMENT ON COLUMN @extschema@.rappel_conso_table.gtin IS 'GTINs found in identification_des_produits, their check digits verified';
    COMMENT ON COLUMN @extschema@.rappel_conso_table.first_seen_at IS 'when the row was inserted';
    COMMENT ON COLUMN @extschema@.rappel_conso_table.updated_at IS 'when the row was last inserted or updated';
    COMMENT ON COLUMN @extschema@.rappel_conso_table.withdrawn_at IS 'when it was found that the fiche had vanished from the dataset; null: it is there';

    CREATE TRIGGER keep_order BEFORE UPDATE ON @extschema@.rappel_conso_table
      FOR EACH ROW WHEN (NEW.updated_at < OLD.updated_at)
      EXECUTE FUNCTION @extschema@.rappel_conso_keep_history();
    CREATE TRIGGER keep_superseded AFTER UPDATE ON @extschema@.rappel_conso_table
      FOR EACH ROW WHEN (OLD.updated_at IS DISTINCT FROM NEW.updated_at)
      EXECUTE FUNCTION @extschema@.rappel_conso_keep_history();
    CREATE TRIGGER keep_deleted AFTER DELETE ON @extschema@.rappel_conso_table
      FOR EACH ROW EXECUTE FUNCTION @extschema@.rappel_conso_keep_history();
  ELSIF holder_of_table OPERATOR(pg_catalog.<>) me THEN
    RAISE EXCEPTION 'table "rappel_conso_table" belongs to role "%", not to the owner of the stream', pg_catalog.pg_get_userbyid(holder_of_table)
      USING ERRCODE = 'insufficient_privilege',
            HINT = 'Rename that table, or give it to the owner of the stream.';
  END IF;

  -- with the table, and again wherever it is missing and rows are to be kept
  IF pg_catalog.to_regclass('@extschema@.rappel_conso_history') IS NULL
     AND EXISTS (SELECT FROM pg_catalog.pg_trigger
                  WHERE tgrelid OPERATOR(pg_catalog.=) '@extschema@.rappel_conso_table'::pg_catalog.regclass::pg_catalog.oid
                    AND tgname OPERATOR(pg_catalog.=) ANY (ARRAY['keep_superseded', 'keep_deleted']::pg_catalog.name[])
                    AND tgenabled OPERATOR(pg_catalog.<>) 'D') THEN
    -- without what the user has added to the table
    EXECUTE (SELECT pg_catalog.format('CREATE TABLE %s (%s, valid_from timestamptz NOT NULL, valid_to timestamptz NOT NULL)',
                      '@extschema@.rappel_conso_history', pg_catalog.string_agg(pg_catalog.format('%I %s%s', attname, pg_catalog.format_type(atttypid, atttypmod),
                        CASE WHEN attname OPERATOR(pg_catalog.=) ANY (ARRAY['reference_fiche', 'first_seen_at', 'updated_at']::pg_catalog.name[])
                             THEN ' NOT NULL' END), ', ' ORDER BY attnum))
               FROM pg_catalog.pg_attribute
              WHERE attrelid OPERATOR(pg_catalog.=) '@extschema@.rappel_conso_table'::pg_catalog.regclass::pg_catalog.oid
                AND (attname OPERATOR(pg_catalog.=) ANY (ARRAY['first_seen_at', 'updated_at', 'withdrawn_at']::pg_catalog.name[])
                     OR attname OPERATOR(pg_catalog.=) ANY (SELECT r.attname FROM pg_catalog.pg_attribute r
                                                             WHERE r.attrelid OPERATOR(pg_catalog.=) 'rappel_conso.recall'::pg_catalog.regclass::pg_catalog.oid)));
    CREATE INDEX ON @extschema@.rappel_conso_history (reference_fiche, valid_from);
    COMMENT ON TABLE @extschema@.rappel_conso_history IS 'superseded rows of rappel_conso_table, with the time they were valid';
    COMMENT ON COLUMN @extschema@.rappel_conso_history.valid_from IS 'when the row came into rappel_conso_table';
    COMMENT ON COLUMN @extschema@.rappel_conso_history.valid_to IS 'when another took its place, or it was deleted';
  END IF;
END
$do$
$setup$, $statement$
-- A record without a value withdraws its fiche.  Such fiches are few; of each
-- the last life in the batch counts: it begins after the offset "born" (null:
-- before the batch), and may be over.
WITH gone AS (
  SELECT DISTINCT w.key AS fiche FROM records w WHERE w.reference_fiche IS NULL AND w.key IS NOT NULL
), life AS (
  SELECT p.fiche, max(p.gone_at) FILTER (WHERE p.live) AS born,
         COALESCE(max(p.record_offset) FILTER (WHERE p.live) < max(p.gone_at), true) AS over,
         COALESCE(max(p.record_timestamp) FILTER (WHERE NOT p.live), now()) AS over_at
    FROM (SELECT g.fiche, w.record_offset, w.record_timestamp, w.reference_fiche IS NOT NULL AS live,
                 max(w.record_offset) FILTER (WHERE w.reference_fiche IS NULL)
                   OVER (PARTITION BY g.fiche ORDER BY w.record_offset) AS gone_at
            FROM records w JOIN gone g ON g.fiche = COALESCE(w.reference_fiche, w.key)) p
   GROUP BY p.fiche
), marked AS (
UPDATE @extschema@.rappel_conso_table t SET withdrawn_at = l.over_at, updated_at = now()
  FROM life l
 WHERE l.over AND t.reference_fiche = l.fiche AND t.withdrawn_at IS NULL
   -- else it is written below
   AND NOT EXISTS (
         SELECT FROM records n
          WHERE n.reference_fiche = l.fiche
            AND (l.born IS NOT NULL OR ROW(COALESCE(n.numero_de_version, -1), COALESCE(n.date_de_publication, '-infinity'), COALESCE(n.rappelguid, '') COLLATE "C")
                                    >= ROW(COALESCE(t.numero_de_version, -1), COALESCE(t.date_de_publication, '-infinity'), COALESCE(t.rappelguid, '') COLLATE "C")))
RETURNING false AS inserted
), written AS (
INSERT INTO @extschema@.rappel_conso_table AS t (
  reference_fiche, date_de_publication, date_de_fin_de_la_procedure_de_rappel, categorie_de_produit,
  sous_categorie_de_produit, nom_de_la_marque_du_produit, noms_des_modeles_ou_references,
  identification_des_produits, conditionnements, temperature_de_conservation, zone_geographique_de_vente,
  distributeurs, motif_du_rappel, numero_de_contact, modalites_de_compensation, risques_pour_le_consommateur,
  recommandations_sante, informations_complementaires, date_debut_commercialisation,
  date_fin_commercialisation, liens_vers_les_images, lien_vers_la_liste_des_produits,
  lien_vers_la_liste_des_distributeurs, lien_vers_affichette_pdf, lien_vers_la_fiche_rappel,
  numero_de_version, nature_juridique_du_rappel, marque_de_salubrite, libelle, id, rappelguid, gtin, withdrawn_at)
SELECT
  r.reference_fiche, r.date_de_publication, r.date_de_fin_de_la_procedure_de_rappel, r.categorie_de_produit,
  r.sous_categorie_de_produit, r.nom_de_la_marque_du_produit, r.noms_des_modeles_ou_references,
  r.identification_des_produits, r.conditionnements, r.temperature_de_conservation,
  r.zone_geographique_de_vente, r.distributeurs, r.motif_du_rappel, r.numero_de_contact,
  r.modalites_de_compensation, r.risques_pour_le_consommateur, r.recommandations_sante,
  r.informations_complementaires, r.date_debut_commercialisation, r.date_fin_commercialisation,
  r.liens_vers_les_images, r.lien_vers_la_liste_des_produits, r.lien_vers_la_liste_des_distributeurs,
  r.lien_vers_affichette_pdf, r.lien_vers_la_fiche_rappel, r.numero_de_version, r.nature_juridique_du_rappel,
  r.marque_de_salubrite, r.libelle, r.id, r.rappelguid, r.gtin, CASE WHEN l.over THEN l.over_at END
  FROM records r
  LEFT JOIN life l ON l.fiche = r.reference_fiche
 WHERE r.reference_fiche IS NOT NULL AND (l.born IS NULL OR r.record_offset > l.born)
   -- the winner, where the batch holds a fiche several times
   AND NOT EXISTS (
         SELECT FROM records n
          WHERE n.reference_fiche = r.reference_fiche AND (l.born IS NULL OR n.record_offset > l.born)
            AND ROW(COALESCE(n.numero_de_version, -1), COALESCE(n.date_de_publication, '-infinity'), COALESCE(n.rappelguid, '') COLLATE "C", n.record_offset, n.partition)
              > ROW(COALESCE(r.numero_de_version, -1), COALESCE(r.date_de_publication, '-infinity'), COALESCE(r.rappelguid, '') COLLATE "C", r.record_offset, r.partition))
   -- older than what the table has, or equal: not even the row is locked; a
   -- withdrawn row gives way to what came after its withdrawal, whatever the
   -- version
   AND NOT EXISTS (
         SELECT FROM @extschema@.rappel_conso_table o
          WHERE o.reference_fiche = r.reference_fiche
            AND (o.withdrawn_at > r.record_timestamp
             OR o.withdrawn_at IS NULL AND l.born IS NULL AND ROW(COALESCE(r.numero_de_version, -1), COALESCE(r.date_de_publication, '-infinity'), COALESCE(r.rappelguid, '') COLLATE "C")
               < ROW(COALESCE(o.numero_de_version, -1), COALESCE(o.date_de_publication, '-infinity'), COALESCE(o.rappelguid, '') COLLATE "C")
             OR ROW(
  r.date_de_publication, r.date_de_fin_de_la_procedure_de_rappel, r.categorie_de_produit,
  r.sous_categorie_de_produit, r.nom_de_la_marque_du_produit, r.noms_des_modeles_ou_references,
  r.identification_des_produits, r.conditionnements, r.temperature_de_conservation,
  r.zone_geographique_de_vente, r.distributeurs, r.motif_du_rappel, r.numero_de_contact,
  r.modalites_de_compensation, r.risques_pour_le_consommateur, r.recommandations_sante,
  r.informations_complementaires, r.date_debut_commercialisation, r.date_fin_commercialisation,
  r.liens_vers_les_images, r.lien_vers_la_liste_des_produits, r.lien_vers_la_liste_des_distributeurs,
  r.lien_vers_affichette_pdf, r.lien_vers_la_fiche_rappel, r.numero_de_version, r.nature_juridique_du_rappel,
  r.marque_de_salubrite, r.libelle, r.id, r.rappelguid, r.gtin)
                IS NOT DISTINCT FROM ROW(
  o.date_de_publication, o.date_de_fin_de_la_procedure_de_rappel, o.categorie_de_produit,
  o.sous_categorie_de_produit, o.nom_de_la_marque_du_produit, o.noms_des_modeles_ou_references,
  o.identification_des_produits, o.conditionnements, o.temperature_de_conservation,
  o.zone_geographique_de_vente, o.distributeurs, o.motif_du_rappel, o.numero_de_contact,
  o.modalites_de_compensation, o.risques_pour_le_consommateur, o.recommandations_sante,
  o.informations_complementaires, o.date_debut_commercialisation, o.date_fin_commercialisation,
  o.liens_vers_les_images, o.lien_vers_la_liste_des_produits, o.lien_vers_la_liste_des_distributeurs,
  o.lien_vers_affichette_pdf, o.lien_vers_la_fiche_rappel, o.numero_de_version, o.nature_juridique_du_rappel,
  o.marque_de_salubrite, o.libelle, o.id, o.rappelguid, o.gtin)
                AND (o.withdrawn_at IS NOT NULL) = COALESCE(l.over, false))
          OFFSET 0)
    ON CONFLICT (reference_fiche) DO UPDATE SET
  date_de_publication = EXCLUDED.date_de_publication,
  date_de_fin_de_la_procedure_de_rappel = EXCLUDED.date_de_fin_de_la_procedure_de_rappel,
  categorie_de_produit = EXCLUDED.categorie_de_produit,
  sous_categorie_de_produit = EXCLUDED.sous_categorie_de_produit,
  nom_de_la_marque_du_produit = EXCLUDED.nom_de_la_marque_du_produit,
  noms_des_modeles_ou_references = EXCLUDED.noms_des_modeles_ou_references,
  identification_des_produits = EXCLUDED.identification_des_produits,
  conditionnements = EXCLUDED.conditionnements,
  temperature_de_conservation = EXCLUDED.temperature_de_conservation,
  zone_geographique_de_vente = EXCLUDED.zone_geographique_de_vente, distributeurs = EXCLUDED.distributeurs,
  motif_du_rappel = EXCLUDED.motif_du_rappel, numero_de_contact = EXCLUDED.numero_de_contact,
  modalites_de_compensation = EXCLUDED.modalites_de_compensation,
  risques_pour_le_consommateur = EXCLUDED.risques_pour_le_consommateur,
  recommandations_sante = EXCLUDED.recommandations_sante,
  informations_complementaires = EXCLUDED.informations_complementaires,
  date_debut_commercialisation = EXCLUDED.date_debut_commercialisation,
  date_fin_commercialisation = EXCLUDED.date_fin_commercialisation,
  liens_vers_les_images = EXCLUDED.liens_vers_les_images,
  lien_vers_la_liste_des_produits = EXCLUDED.lien_vers_la_liste_des_produits,
  lien_vers_la_liste_des_distributeurs = EXCLUDED.lien_vers_la_liste_des_distributeurs,
  lien_vers_affichette_pdf = EXCLUDED.lien_vers_affichette_pdf,
  lien_vers_la_fiche_rappel = EXCLUDED.lien_vers_la_fiche_rappel,
  numero_de_version = EXCLUDED.numero_de_version,
  nature_juridique_du_rappel = EXCLUDED.nature_juridique_du_rappel,
  marque_de_salubrite = EXCLUDED.marque_de_salubrite, libelle = EXCLUDED.libelle, id = EXCLUDED.id,
  rappelguid = EXCLUDED.rappelguid, gtin = EXCLUDED.gtin, withdrawn_at = EXCLUDED.withdrawn_at,
  updated_at = now()
 WHERE t.withdrawn_at IS NOT NULL
    OR EXCLUDED.reference_fiche IN (SELECT l.fiche FROM life l WHERE l.born IS NOT NULL)
    OR ROW(COALESCE(EXCLUDED.numero_de_version, -1), COALESCE(EXCLUDED.date_de_publication, '-infinity'), COALESCE(EXCLUDED.rappelguid, '') COLLATE "C")
    >= ROW(COALESCE(t.numero_de_version, -1), COALESCE(t.date_de_publication, '-infinity'), COALESCE(t.rappelguid, '') COLLATE "C")
RETURNING xmax = 0 AS inserted
)
SELECT inserted FROM written UNION ALL SELECT inserted FROM marked
$statement$);

INSERT INTO rappel_conso.source (name, dataset, key_field, cursor_field, transform, topic, stream)
VALUES ('rappel_conso', 'rappelconso-v2-gtin-espaces', 'numero_fiche', 'date_publication', 'recall',
        'rappel_conso', 'rappel_conso');
-- 99-dump
--     What pg_dump keeps.
--
-- A table of state that is not named here is empty after a restore.

-- It does not tell pg_restore which of these tables to fill first.  So rows do
-- not look for what they refer to; deletes and renames cascade as ever.
DO $$
DECLARE
  check_of record;
BEGIN
  FOR check_of IN
    SELECT t.tgrelid::pg_catalog.regclass AS relation, t.tgname AS name
      FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_constraint c ON c.oid OPERATOR(pg_catalog.=) t.tgconstraint
     WHERE c.contype OPERATOR(pg_catalog.=) 'f' AND c.conrelid OPERATOR(pg_catalog.=) t.tgrelid
       AND c.connamespace OPERATOR(pg_catalog.=) 'rappel_conso'::pg_catalog.regnamespace::pg_catalog.oid
  LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER %I', check_of.relation, check_of.name);
  END LOOP;
END
$$;


SELECT pg_catalog.pg_extension_config_dump('rappel_conso.known_name',
  'WHERE NOT EXISTS (SELECT FROM rappel_conso.known_role k JOIN pg_catalog.pg_roles r ON r.rolname OPERATOR(pg_catalog.=) k.name AND r.oid OPERATOR(pg_catalog.=) k.oid WHERE k.name OPERATOR(pg_catalog.=) known_name.name)');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.stream', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.source', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.run', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.task', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.source_state', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.source_record', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.stream_offset', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.stream_state', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.source_wait', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.dead_letter_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.outbox', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.outbox_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.outbox_topic', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.topic_grant', '');
