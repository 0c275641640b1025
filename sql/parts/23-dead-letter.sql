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
CREATE INDEX dead_letter_key_idx ON rappel_conso.dead_letter (name, topic, md5(key))
  WHERE origin OPERATOR(pg_catalog.=) 'stream' AND resolved_at IS NULL AND key IS NOT NULL;
CREATE INDEX dead_letter_name_idx ON rappel_conso.dead_letter (origin, name, id);
COMMENT ON TABLE rappel_conso.dead_letter IS 'records that failed, with their bytes, position and error';
COMMENT ON SEQUENCE rappel_conso.dead_letter_id_seq IS 'numbers of dead letters';
COMMENT ON COLUMN rappel_conso.dead_letter.id IS 'number of the dead letter';
COMMENT ON COLUMN rappel_conso.dead_letter.origin IS 'where the record failed: source, stream or outbox';
COMMENT ON COLUMN rappel_conso.dead_letter.name IS 'name of the source or stream';
COMMENT ON COLUMN rappel_conso.dead_letter.run IS 'run in which the record failed';
COMMENT ON COLUMN rappel_conso.dead_letter.topic IS 'topic of the record';
COMMENT ON COLUMN rappel_conso.dead_letter.partition IS 'partition of the record';
COMMENT ON COLUMN rappel_conso.dead_letter.record_offset IS 'offset of the record';
COMMENT ON COLUMN rappel_conso.dead_letter.record_timestamp IS 'timestamp of the record';
COMMENT ON COLUMN rappel_conso.dead_letter.key IS 'key of the record, as received';
COMMENT ON COLUMN rappel_conso.dead_letter.value IS 'value of the record, as received';
COMMENT ON COLUMN rappel_conso.dead_letter.headers IS 'headers of the record, in the form of records.headers';
COMMENT ON COLUMN rappel_conso.dead_letter.message_id IS 'identifier of a message of the outbox; rc_republish() keeps it';
COMMENT ON COLUMN rappel_conso.dead_letter.sqlstate IS 'SQLSTATE of the error';
COMMENT ON COLUMN rappel_conso.dead_letter.message IS 'message of the error';
COMMENT ON COLUMN rappel_conso.dead_letter.detail IS 'detail of the error';
COMMENT ON COLUMN rappel_conso.dead_letter.context IS 'context of the error';
COMMENT ON COLUMN rappel_conso.dead_letter.owner IS 'name of the role that the record belonged to: owner of the source, stream or message';
COMMENT ON COLUMN rappel_conso.dead_letter.owner_oid IS 'OID of that role when the row was stored; a later role of the same name does not see the row';
COMMENT ON COLUMN rappel_conso.dead_letter.attempts IS 'number of attempts';
COMMENT ON COLUMN rappel_conso.dead_letter.created_at IS 'when it first failed';
COMMENT ON COLUMN rappel_conso.dead_letter.resolved_at IS 'when a retry applied it, or its message was published; null: unresolved';
