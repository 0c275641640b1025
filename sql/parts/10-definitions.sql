-- 10-definitions
--     Tables that users write: streams and sources; and which role a name in
--     them means.
--
-- What happens to a row that is stored is in 40-guards, who may store it in
-- 80-privileges, and the built-in rows are in 90-builtin.

-- The first table: see lock_extension() in src/store/query.c.
CREATE TABLE rappel_conso.known_role (
  name name PRIMARY KEY,
  oid oid NOT NULL
);
COMMENT ON TABLE rappel_conso.known_role IS 'OID of the role that each name denoted when it was stored as an owner or in a grant; not dumped: another cluster looks the names up again';
COMMENT ON COLUMN rappel_conso.known_role.name IS 'name of the role';
COMMENT ON COLUMN rappel_conso.known_role.oid IS 'OID of the role; 0: there was none. A name whose role has another OID now gives no right';

CREATE TABLE rappel_conso.stream (
  name text PRIMARY KEY
    CONSTRAINT stream_name_check CHECK (name OPERATOR(pg_catalog.~) '^[A-Za-z0-9_][A-Za-z0-9_.-]*$' AND octet_length(name) OPERATOR(pg_catalog.<=) 63),
  topics text[] NOT NULL,
  statement text NOT NULL,
  setup text,
  value_type regtype NOT NULL DEFAULT 'jsonb'::regtype,
  key_type regtype NOT NULL DEFAULT 'text'::regtype
    CONSTRAINT stream_key_type_check CHECK (key_type OPERATOR(pg_catalog.=) ANY (ARRAY['text'::regtype, 'bytea'::regtype]::oid[])),
  envelope text NOT NULL DEFAULT 'none'
    CONSTRAINT stream_envelope_check CHECK (envelope OPERATOR(pg_catalog.=) ANY (ARRAY['none', 'debezium'])),
  "decimal" text
    CONSTRAINT stream_decimal_check CHECK ("decimal" OPERATOR(pg_catalog.=) ANY (ARRAY['auto', 'precise', 'string', 'double'])),
  numeric_time text
    CONSTRAINT stream_numeric_time_check CHECK (numeric_time OPERATOR(pg_catalog.=) ANY (ARRAY['error', 's', 'ms', 'us', 'ns', 'adaptive'])),
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
  search_path text,
  group_id text
    CONSTRAINT stream_group_id_check CHECK (octet_length(group_id) OPERATOR(pg_catalog.>=) 1 AND octet_length(group_id) OPERATOR(pg_catalog.<=) 249 AND group_id OPERATOR(pg_catalog.!~) '[[:cntrl:]]')
);
COMMENT ON TABLE rappel_conso.stream IS 'definitions of streams: topics, and the SQL statement that is applied to each batch of their records';
COMMENT ON COLUMN rappel_conso.stream.name IS 'name of the stream, the key';
COMMENT ON COLUMN rappel_conso.stream.topics IS 'Kafka topics that are consumed';
COMMENT ON COLUMN rappel_conso.stream.statement IS 'one SQL command over the relation "records"';
COMMENT ON COLUMN rappel_conso.stream.setup IS 'SQL run as the owner before consuming starts';
COMMENT ON COLUMN rappel_conso.stream.value_type IS 'type of a record''s value: jsonb, text, bytea, or a composite type whose columns replace "value" in the relation "records"';
COMMENT ON COLUMN rappel_conso.stream.key_type IS 'type of a record''s key: text or bytea';
COMMENT ON COLUMN rappel_conso.stream.envelope IS 'what a record''s value means: none (itself) or debezium (a change event of Debezium: "records" has op, before, after and more)';
COMMENT ON COLUMN rappel_conso.stream."decimal" IS 'with a row type, how decimals are written that have no schema: auto, precise (base64), string or double; null: auto with envelope debezium, else string';
COMMENT ON COLUMN rappel_conso.stream.numeric_time IS 'with a row type, what a number without a schema means for a column that is a date or a time: s, ms, us or ns (units; days for a date), adaptive (milliseconds up to a precision of 3 digits, else microseconds) or error; null: adaptive with envelope debezium, else error';
COMMENT ON COLUMN rappel_conso.stream.output_topic IS 'topic that the rows returned by the statement go to';
COMMENT ON COLUMN rappel_conso.stream.start_at IS 'where a partition without offset starts: earliest, latest, a timestamp, which is stored in UTC, or group:NAME, the offsets of that consumer group (to be set by a superuser)';
COMMENT ON COLUMN rappel_conso.stream.batch_size IS 'maximum number of records in one transaction';
COMMENT ON COLUMN rappel_conso.stream.workers IS 'number of worker processes that share the partitions';
COMMENT ON COLUMN rappel_conso.stream.on_error IS 'what happens when a single record fails: dead_letter (it becomes a dead letter) or stop (the stream stops)';
COMMENT ON COLUMN rappel_conso.stream.stop_after IS 'number of consecutive failed records that stops the stream';
COMMENT ON COLUMN rappel_conso.stream.paused IS 'true: the stream consumes nothing, except by rc_drain()';
COMMENT ON COLUMN rappel_conso.stream.owner IS 'name of the role that the statement runs as; a role that is later created with the same name gets no rights from it';
COMMENT ON COLUMN rappel_conso.stream.search_path IS 'search_path of the statement; null: replaced by that of the session that stores the row';
COMMENT ON COLUMN rappel_conso.stream.group_id IS 'consumer group under which Kafka shows the offsets of the stream (to be set by a superuser); null: rappel_conso.<system identifier>.<database>.<stream>';

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
  owner name NOT NULL DEFAULT current_user,
  topic_config text[]
);
COMMENT ON TABLE rappel_conso.source IS 'definitions of sources: datasets of an Explore API that are polled for records';
COMMENT ON COLUMN rappel_conso.source.name IS 'name of the source, the key';
COMMENT ON COLUMN rappel_conso.source.url IS 'base URL of the Explore API, up to and including /api/explore/v2.1';
COMMENT ON COLUMN rappel_conso.source.dataset IS 'identifier of the dataset';
COMMENT ON COLUMN rappel_conso.source.filter IS 'ODSQL condition that limits the records; null: all';
COMMENT ON COLUMN rappel_conso.source.key_field IS 'field that identifies a record and becomes its key';
COMMENT ON COLUMN rappel_conso.source.cursor_field IS 'field whose value increases with new records; null: every run reads all records';
COMMENT ON COLUMN rappel_conso.source."overlap" IS 'how far before the cursor each run starts reading';
COMMENT ON COLUMN rappel_conso.source.full_interval IS 'time after which a run does a full scan';
COMMENT ON COLUMN rappel_conso.source.transform IS 'recall: convert records to the columns of rappel_conso_table; none: publish them as they are';
COMMENT ON COLUMN rappel_conso.source.fold_accents IS 'with transform recall: fold the text columns to ASCII';
COMMENT ON COLUMN rappel_conso.source.topic IS 'Kafka topic that records are published to';
COMMENT ON COLUMN rappel_conso.source.partitions IS 'partitions of the topic when the extension creates it';
COMMENT ON COLUMN rappel_conso.source.replication IS 'replication factor of the topic when the extension creates it; -1: the broker''s default';
COMMENT ON COLUMN rappel_conso.source.stream IS 'stream that applies the source''s records: in direct mode within the run, with Kafka in its own worker, for which the task load waits';
COMMENT ON COLUMN rappel_conso.source.poll_interval IS 'how often the scheduler runs the source; null: only on demand';
COMMENT ON COLUMN rappel_conso.source.retries IS 'how many times a failed task is retried';
COMMENT ON COLUMN rappel_conso.source.retry_delay IS 'delay before the first retry; doubled for each further one, up to 10 minutes';
COMMENT ON COLUMN rappel_conso.source.paused IS 'true: the scheduler does not poll the source; rc_sync_now() and rc_trigger() still run it';
COMMENT ON COLUMN rappel_conso.source.owner IS 'name of the role that the source''s runs connect as; a role that is later created with the same name gets no rights from it';
COMMENT ON COLUMN rappel_conso.source.topic_config IS 'settings of the topic when the extension creates it, each as name=value, such as retention.ms=3600000; an existing topic is not changed';

CREATE INDEX source_stream_idx ON rappel_conso.source (stream);

CREATE TABLE rappel_conso.known_name (
  name name PRIMARY KEY
);
COMMENT ON TABLE rappel_conso.known_name IS 'names in known_role; those whose role was dropped or renamed are dumped, so that they denote no role after a restore either';
COMMENT ON COLUMN rappel_conso.known_name.name IS 'name of the role';
