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
COMMENT ON TABLE rappel_conso.stream_offset IS 'offsets of each stream in each partition, committed together with the rows';
COMMENT ON COLUMN rappel_conso.stream_offset.stream IS 'name of the stream';
COMMENT ON COLUMN rappel_conso.stream_offset.topic IS 'Kafka topic';
COMMENT ON COLUMN rappel_conso.stream_offset.partition IS 'partition of the topic';
COMMENT ON COLUMN rappel_conso.stream_offset.next_offset IS 'offset of the next record to apply';
COMMENT ON COLUMN rappel_conso.stream_offset.epoch IS 'incremented when the stream is changed or rc_seek() is called; a batch that was read before can no longer commit';
COMMENT ON COLUMN rappel_conso.stream_offset.cluster_id IS 'Kafka cluster that the offsets belong to';
COMMENT ON COLUMN rappel_conso.stream_offset.seek_to IS 'position requested by rc_seek() that the worker has yet to resolve: earliest, latest or a timestamp (ISO 8601, UTC); null: none';
COMMENT ON COLUMN rappel_conso.stream_offset.last_offset IS 'offset of the last record applied';
COMMENT ON COLUMN rappel_conso.stream_offset.record_timestamp IS 'timestamp of the last record applied';
COMMENT ON COLUMN rappel_conso.stream_offset.applied_at IS 'when the last batch was committed';
COMMENT ON COLUMN rappel_conso.stream_offset.applied IS 'number of records applied, including dead letters';
COMMENT ON COLUMN rappel_conso.stream_offset.inserted IS 'rows inserted or written by batches whose first record is of this partition';
COMMENT ON COLUMN rappel_conso.stream_offset.updated IS 'rows updated by batches whose first record is of this partition';
COMMENT ON COLUMN rappel_conso.stream_offset.dead IS 'dead letters of batches whose first record is of this partition';
COMMENT ON COLUMN rappel_conso.stream_offset.started_at IS 'when the present worker began to apply it';
COMMENT ON COLUMN rappel_conso.stream_offset.applied_before IS 'value of applied at that time';
COMMENT ON COLUMN rappel_conso.stream_offset.high_watermark IS 'end offset of the partition when last observed';
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
COMMENT ON TABLE rappel_conso.stream_state IS 'state of each stream, as its workers last reported it';
COMMENT ON COLUMN rappel_conso.stream_state.stream IS 'name of the stream';
COMMENT ON COLUMN rappel_conso.stream_state.state IS 'running, failed, or waiting (for a worker slot or the brokers)';
COMMENT ON COLUMN rappel_conso.stream_state.detail IS 'what the stream is waiting for, or a warning, such as a gap in a topic';
COMMENT ON COLUMN rappel_conso.stream_state.failures IS 'number of consecutive failures';
COMMENT ON COLUMN rappel_conso.stream_state.retry_at IS 'when a failed stream is retried';
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
COMMENT ON TABLE rappel_conso.unlogged_kept IS 'streams that have started since a crash or promotion last emptied unlogged tables; not dumped';
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
COMMENT ON COLUMN rappel_conso.lag.high_watermark IS 'end offset of the partition when last observed';
COMMENT ON COLUMN rappel_conso.lag.lag IS 'number of offsets between the two; null until the end offset has been observed';
COMMENT ON COLUMN rappel_conso.lag.lag_time IS 'age of the last record applied, while there are newer ones';
COMMENT ON COLUMN rappel_conso.lag.record_timestamp IS 'timestamp of the last record applied';
COMMENT ON COLUMN rappel_conso.lag.applied_at IS 'when the last batch was committed';
COMMENT ON COLUMN rappel_conso.lag.observed_at IS 'when high_watermark was observed';
