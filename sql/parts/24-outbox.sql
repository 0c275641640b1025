-- 24-outbox
--     Messages that wait to be published, the state of their topics and of the
--     publisher; and which role may read and write which topic, the only table
--     here that is not written by the extension alone.

CREATE TABLE rappel_conso.outbox (
  id bigint GENERATED ALWAYS AS IDENTITY,
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
  dead_letter bigint,
  PRIMARY KEY (topic, id)
);
CREATE UNIQUE INDEX outbox_dead_letter_idx ON rappel_conso.outbox (dead_letter) WHERE dead_letter IS NOT NULL;
COMMENT ON TABLE rappel_conso.outbox IS 'messages waiting to be published to Kafka; deleted once Kafka has confirmed them';
COMMENT ON SEQUENCE rappel_conso.outbox_id_seq IS 'numbers of messages';
COMMENT ON COLUMN rappel_conso.outbox.id IS 'number of the message: the messages of a topic are published in this order';
COMMENT ON COLUMN rappel_conso.outbox.message_id IS 'identifier, sent as header rappel_conso-id so that consumers can drop duplicates';
COMMENT ON COLUMN rappel_conso.outbox.topic IS 'topic that the message is published to';
COMMENT ON COLUMN rappel_conso.outbox.key IS 'key of the message';
COMMENT ON COLUMN rappel_conso.outbox.value IS 'value of the message';
COMMENT ON COLUMN rappel_conso.outbox.headers IS 'headers of the message, in the form of records.headers';
COMMENT ON COLUMN rappel_conso.outbox.origin IS 'stream that emitted it, or rc_publish';
COMMENT ON COLUMN rappel_conso.outbox.owner IS 'name of the role that emitted it';
COMMENT ON COLUMN rappel_conso.outbox.owner_oid IS 'OID of that role when the message was emitted; a later role of the same name does not see the message';
COMMENT ON COLUMN rappel_conso.outbox.created_at IS 'when it was emitted';
COMMENT ON COLUMN rappel_conso.outbox.dead_letter IS 'dead letter that rc_republish() put back into the outbox; it is resolved once Kafka has confirmed the message';

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
COMMENT ON TABLE rappel_conso.outbox_topic IS 'topics whose messages are held back, with the reason; messages of other topics are published meanwhile';
COMMENT ON COLUMN rappel_conso.outbox_topic.topic IS 'name of the topic';
COMMENT ON COLUMN rappel_conso.outbox_topic.failures IS 'number of consecutive failures';
COMMENT ON COLUMN rappel_conso.outbox_topic.waits_since IS 'when it first failed';
COMMENT ON COLUMN rappel_conso.outbox_topic.retry_at IS 'when it is retried';
COMMENT ON COLUMN rappel_conso.outbox_topic.sqlstate IS 'SQLSTATE of the newest error';
COMMENT ON COLUMN rappel_conso.outbox_topic.error IS 'message of the newest error';
COMMENT ON COLUMN rappel_conso.outbox_topic.hint IS 'hint of the newest error';
COMMENT ON COLUMN rappel_conso.outbox_topic.last_error_at IS 'when the newest error happened';

CREATE TABLE rappel_conso.outbox_state (
  one boolean PRIMARY KEY DEFAULT true CONSTRAINT outbox_state_one_check CHECK (one),
  state text NOT NULL,
  sqlstate text,
  error text,
  hint text,
  last_error_at timestamptz
);
COMMENT ON TABLE rappel_conso.outbox_state IS 'state of the publisher, as it last reported it';
COMMENT ON COLUMN rappel_conso.outbox_state.one IS 'always true: the table has at most one row';
COMMENT ON COLUMN rappel_conso.outbox_state.state IS 'running, or waiting (for the brokers, with all messages)';
COMMENT ON COLUMN rappel_conso.outbox_state.sqlstate IS 'SQLSTATE of the newest error';
COMMENT ON COLUMN rappel_conso.outbox_state.error IS 'message of the newest error';
COMMENT ON COLUMN rappel_conso.outbox_state.hint IS 'hint of the newest error';
COMMENT ON COLUMN rappel_conso.outbox_state.last_error_at IS 'when it happened';

CREATE TABLE rappel_conso.topic_grant (
  role name NOT NULL,
  topic text NOT NULL
    CONSTRAINT topic_grant_topic_check CHECK (topic OPERATOR(pg_catalog.~) '^[A-Za-z0-9._*-]+$'),
  can_read boolean NOT NULL DEFAULT false,
  can_write boolean NOT NULL DEFAULT false,
  PRIMARY KEY (role, topic)
);
COMMENT ON TABLE rappel_conso.topic_grant IS 'topics that a role without superuser is allowed to read and write';
COMMENT ON COLUMN rappel_conso.topic_grant.role IS 'name of the role; its members have the grant, too, but not a role that is later created with the same name';
COMMENT ON COLUMN rappel_conso.topic_grant.topic IS 'name of the topic; * matches any characters';
COMMENT ON COLUMN rappel_conso.topic_grant.can_read IS 'whether streams of the role can consume the topic';
COMMENT ON COLUMN rappel_conso.topic_grant.can_write IS 'whether streams of the role and rc_publish() can write to the topic';
