-- replicate.sql
--     A copy of a table of another database, kept up to date by its change
--     events: a Debezium topic applied to a table, by key.
--
-- Topic "shop.public.order_details" holds what Debezium publishes of
--
--     CREATE TABLE order_details (order_id text, line integer, ..,
--                                 PRIMARY KEY (order_id, line))
--
-- with the schema envelope ({"schema": .., "payload": ..}, in key and value)
-- or without.  decimal.handling.mode is "string", so numeric columns come as
-- texts and keep every digit; timestamptz columns come as ISO texts.  To run
-- it:
--
--     psql -v ON_ERROR_STOP=1 -f replicate.sql

BEGIN;

-- Each row stores the partition and offset of the event that it is from, and a
-- deleted row is only marked.  Both are needed for events that arrive late: a
-- record that failed goes to rappel_conso.dead_letter while the records after
-- it are applied, and rc_retry() applies it, with its original offset, days
-- later. If its key has had a newer event by then, the greater offset shows
-- it.  If deleted rows were removed, a retried insert could not be recognized
-- as older than the delete, and would restore the row.

CREATE TABLE order_details_replica (
  order_id text,
  line integer,
  customer_id text,
  payment_method_id text,
  product_id text,
  quantity integer,
  unit_price numeric(8,2),
  ordered_at timestamptz,
  note text,
  deleted boolean NOT NULL,
  source_partition integer NOT NULL,
  source_offset bigint NOT NULL,
  changed_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (order_id, line)
);

-- The table as it is in the other database.

CREATE VIEW order_details AS
  SELECT order_id, line, customer_id, payment_method_id, product_id, quantity, unit_price, ordered_at, note
    FROM order_details_replica
   WHERE NOT deleted;

-- change: key and event without their envelopes.  A tombstone (value null) is
-- a delete, too: in a compacted topic it can be all that is left.
--
-- A batch can contain a key many times; only its last event is applied, since
-- ON CONFLICT cannot update a row twice.  All events of a key are in one
-- partition, so the one with the greatest offset is the last.  A change of the
-- key is a delete of the old key and a create of the new one, which needs no
-- extra case.
--
-- If a key's partition differs from the stored one, partitions were added to
-- the topic, and the event is the newer one.

INSERT INTO rappel_conso.stream (name, topics, statement)
VALUES ('replicate', '{shop.public.order_details}', $$
WITH change AS (
  SELECT CASE WHEN key::jsonb ? 'payload' THEN key::jsonb->'payload' ELSE key::jsonb END AS id,
         CASE WHEN value ? 'payload' THEN value->'payload' ELSE value END AS event,
         partition, record_offset
    FROM records
), newest AS (
  SELECT DISTINCT ON (id->>'order_id', (id->>'line')::integer)
         id, event->'after' AS after, event IS NULL OR event->>'op' = 'd' AS deleted,
         partition, record_offset
    FROM change
   ORDER BY id->>'order_id', (id->>'line')::integer, record_offset DESC
)
INSERT INTO order_details_replica AS t (order_id, line, customer_id, payment_method_id, product_id, quantity,
                                        unit_price, ordered_at, note, deleted, source_partition, source_offset)
SELECT id->>'order_id', (id->>'line')::integer, after->>'customer_id', after->>'payment_method_id',
       after->>'product_id', (after->>'quantity')::integer, (after->>'unit_price')::numeric,
       (after->>'ordered_at')::timestamptz, after->>'note', deleted, partition, record_offset
  FROM newest
    ON CONFLICT (order_id, line) DO UPDATE
   SET customer_id = EXCLUDED.customer_id, payment_method_id = EXCLUDED.payment_method_id,
       product_id = EXCLUDED.product_id, quantity = EXCLUDED.quantity, unit_price = EXCLUDED.unit_price,
       ordered_at = EXCLUDED.ordered_at, note = EXCLUDED.note, deleted = EXCLUDED.deleted,
       source_partition = EXCLUDED.source_partition, source_offset = EXCLUDED.source_offset, changed_at = now()
 WHERE EXCLUDED.source_partition <> t.source_partition OR EXCLUDED.source_offset > t.source_offset
RETURNING xmax = 0 AS inserted
$$);

COMMIT;

-- Deleted rows can go once no dead letter could still name them:
--
--     DELETE FROM order_details_replica t
--      WHERE t.deleted AND t.changed_at < now() - interval '7 days'
--        AND NOT EXISTS (SELECT FROM rappel_conso.dead_letter d
--                         WHERE d.origin = 'stream' AND d.name = 'replicate' AND d.resolved_at IS NULL);
--
-- To build the copy again from the topic:
--
--     BEGIN;
--     TRUNCATE order_details_replica;
--     SELECT rc_seek('replicate', 'earliest');
--     COMMIT;
--
-- To remove it all:
--
--     DELETE FROM rappel_conso.stream WHERE name = 'replicate';
--     DROP VIEW order_details;
--     DROP TABLE order_details_replica;
