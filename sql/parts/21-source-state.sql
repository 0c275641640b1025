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
COMMENT ON TABLE rappel_conso.source_state IS 'position of each source in its dataset, for each destination';
COMMENT ON COLUMN rappel_conso.source_state.source IS 'name of the source';
COMMENT ON COLUMN rappel_conso.source_state.destination IS 'direct, or Kafka cluster id and topic';
COMMENT ON COLUMN rappel_conso.source_state.epoch IS 'incremented when the definition changes; a run that started before can no longer move the cursor';
COMMENT ON COLUMN rappel_conso.source_state.cursor_value IS 'greatest value of the cursor field among the records that are committed or confirmed by Kafka';
COMMENT ON COLUMN rappel_conso.source_state.next_offset IS 'number of the source''s next record in direct mode';
COMMENT ON COLUMN rappel_conso.source_state.complete IS 'false until everything up to data_processed has been read';
COMMENT ON COLUMN rappel_conso.source_state.data_processed IS 'time of the dataset''s last change, as the API reported it at the last complete read';
COMMENT ON COLUMN rappel_conso.source_state.records_count IS 'number of records in the dataset at the last complete read';
COMMENT ON COLUMN rappel_conso.source_state.full_at IS 'when the last full scan ended';
COMMENT ON COLUMN rappel_conso.source_state.surplus IS 'difference of the dataset''s record count and the known records after the last full scan, such as keys that occur twice; another difference makes a run do a full scan';
COMMENT ON COLUMN rappel_conso.source_state.missing_refused IS 'true: more records were missing than are withdrawn at once; runs fail until the records are back or a full sync is requested';
COMMENT ON COLUMN rappel_conso.source_state.missing_accepted IS 'number of missing records that a full sync has accepted';
COMMENT ON COLUMN rappel_conso.source_state.record_timestamp IS 'timestamp of the last record that was sent; timestamps never decrease';
COMMENT ON COLUMN rappel_conso.source_state.checked_at IS 'when the API last answered successfully';
COMMENT ON COLUMN rappel_conso.source_state.quota_limit IS 'number of requests that the API allows, as it last reported';
COMMENT ON COLUMN rappel_conso.source_state.quota_remaining IS 'number of requests that were left then; below a tenth, the source is polled four times less often';
COMMENT ON COLUMN rappel_conso.source_state.quota_reset_at IS 'when the quota is reset';

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
COMMENT ON TABLE rappel_conso.source_record IS 'hash of each record that a source has sent, so that an unchanged record is not sent again';
COMMENT ON COLUMN rappel_conso.source_record.source IS 'name of the source';
COMMENT ON COLUMN rappel_conso.source_record.destination IS 'direct, or Kafka cluster id and topic';
COMMENT ON COLUMN rappel_conso.source_record.key IS 'key of the record, as published';
COMMENT ON COLUMN rappel_conso.source_record.hash IS 'hash of its value, as sent; null while a change or its withdrawal is being sent';
COMMENT ON COLUMN rappel_conso.source_record.version IS 'version of the recall, as bytes that sort as versions do; an older version is not sent after it';
COMMENT ON COLUMN rappel_conso.source_record.run IS 'run that sent it';
COMMENT ON COLUMN rappel_conso.source_record.missed_at IS 'when a full scan first missed it; null: it is present';

CREATE TABLE rappel_conso.source_wait (
  source text PRIMARY KEY REFERENCES rappel_conso.source (name) ON UPDATE CASCADE ON DELETE CASCADE,
  reason text NOT NULL,
  since timestamptz NOT NULL DEFAULT clock_timestamp()
);
COMMENT ON TABLE rappel_conso.source_wait IS 'sources that are due but cannot run, with the reason';
COMMENT ON COLUMN rappel_conso.source_wait.source IS 'name of the source';
COMMENT ON COLUMN rappel_conso.source_wait.reason IS 'why it cannot start';
COMMENT ON COLUMN rappel_conso.source_wait.since IS 'since when it has waited';
