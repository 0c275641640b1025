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
COMMENT ON TABLE rappel_conso.run IS 'runs: one row per execution of a source';
COMMENT ON SEQUENCE rappel_conso.run_id_seq IS 'numbers of runs';
COMMENT ON COLUMN rappel_conso.run.id IS 'number of the run';
COMMENT ON COLUMN rappel_conso.run.source IS 'name of the source';
COMMENT ON COLUMN rappel_conso.run.owner IS 'name of the owner of the source at that time';
COMMENT ON COLUMN rappel_conso.run.owner_oid IS 'OID of that role when the run was requested; a later role of the same name does not see the run';
COMMENT ON COLUMN rappel_conso.run.state IS 'queued, running, success, failed or cancelled';
COMMENT ON COLUMN rappel_conso.run.trigger IS 'what started it: manual (rc_sync_now), trigger (rc_trigger), backfill (rc_backfill) or schedule (poll_interval)';
COMMENT ON COLUMN rappel_conso.run.full_sync IS 'true: the cursor and the known records were ignored';
COMMENT ON COLUMN rappel_conso.run.window_from IS 'start of a backfill';
COMMENT ON COLUMN rappel_conso.run.window_to IS 'end of a backfill, exclusive';
COMMENT ON COLUMN rappel_conso.run.window_every IS 'length of a backfill''s windows';
COMMENT ON COLUMN rappel_conso.run.reads IS 'hash of the source''s definition when the run started';
COMMENT ON COLUMN rappel_conso.run.destination IS 'where records were sent: direct, or Kafka cluster id and topic';
COMMENT ON COLUMN rappel_conso.run.requested_at IS 'when it was requested';
COMMENT ON COLUMN rappel_conso.run.started_at IS 'when it started';
COMMENT ON COLUMN rappel_conso.run.finished_at IS 'when it ended';
COMMENT ON COLUMN rappel_conso.run.fetched IS 'records read from the API';
COMMENT ON COLUMN rappel_conso.run.published IS 'records that Kafka has confirmed; 0 in direct mode';
COMMENT ON COLUMN rappel_conso.run.inserted IS 'rows inserted by the source''s stream';
COMMENT ON COLUMN rappel_conso.run.updated IS 'rows updated by the source''s stream';
COMMENT ON COLUMN rappel_conso.run.unchanged IS 'records that changed no row, including records that were not sent because they had not changed';
COMMENT ON COLUMN rappel_conso.run.dead IS 'records that went to rappel_conso.dead_letter';
COMMENT ON COLUMN rappel_conso.run.withdrawn IS 'records deleted at the source (missing in two full scans); each became a record without a value';
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
COMMENT ON TABLE rappel_conso.task IS 'tasks: the steps of runs, each retried on its own';
COMMENT ON COLUMN rappel_conso.task.run IS 'number of the run';
COMMENT ON COLUMN rappel_conso.task.name IS 'extract (API to topic), load (topic to table), sync (both, in direct mode), or the window of a backfill';
COMMENT ON COLUMN rappel_conso.task.state IS 'queued, running, up_for_retry, success, failed, upstream_failed or cancelled';
COMMENT ON COLUMN rappel_conso.task.attempt IS 'number of the attempt, from 1';
COMMENT ON COLUMN rappel_conso.task.started_at IS 'when the first attempt started';
COMMENT ON COLUMN rappel_conso.task.finished_at IS 'when it ended';
COMMENT ON COLUMN rappel_conso.task.next_try_at IS 'when the next attempt starts, while up_for_retry';
COMMENT ON COLUMN rappel_conso.task.window_from IS 'start of the window of a backfill';
COMMENT ON COLUMN rappel_conso.task.window_to IS 'end of the window, exclusive';
COMMENT ON COLUMN rappel_conso.task.fetched IS 'records read from the API';
COMMENT ON COLUMN rappel_conso.task.published IS 'records that Kafka has confirmed; 0 in direct mode';
COMMENT ON COLUMN rappel_conso.task.inserted IS 'rows inserted by the source''s stream';
COMMENT ON COLUMN rappel_conso.task.updated IS 'rows updated by the source''s stream';
COMMENT ON COLUMN rappel_conso.task.unchanged IS 'records that changed no row, including records that were not sent because they had not changed';
COMMENT ON COLUMN rappel_conso.task.dead IS 'records that went to rappel_conso.dead_letter';
COMMENT ON COLUMN rappel_conso.task.withdrawn IS 'records deleted at the source (missing in two full scans); each became a record without a value';
COMMENT ON COLUMN rappel_conso.task.sqlstate IS 'SQLSTATE of the newest error';
COMMENT ON COLUMN rappel_conso.task.error IS 'message of the newest error';
