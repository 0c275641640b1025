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
-- or without, decimals as texts, numbers or base64, times as numbers or texts:
-- as its connector is configured.  To run it:
--
--     psql -v ON_ERROR_STOP=1 -f replicate.sql

BEGIN;

-- The same columns, and the same primary key.  A column that the source does
-- not have can be added: it keeps its value, or has its default in a new row.

CREATE TABLE order_details (
  order_id text,
  line integer,
  customer_id text,
  payment_method_id text,
  product_id text,
  quantity integer,
  unit_price numeric(8,2),
  ordered_at timestamptz,
  note text,
  PRIMARY KEY (order_id, line)
);

-- It stores an ordinary stream, named "replicate".  Its statement is in
-- rappel_conso.stream: inserts, updates, deletes, truncates and changes of the
-- key are applied in the order of the topic.  A record that fails alone goes to
-- rappel_conso.dead_letter; if its row has a newer change by the time that the
-- cause is fixed, it is resolved, and rc_retry() leaves it out.

SELECT rc_replicate('shop.public.order_details', 'order_details', 'replicate');

COMMIT;

-- After ALTER TABLE order_details ADD COLUMN .., for a column that the source
-- has got, call it again: it writes the statement again.
--
-- To build the copy again from the topic:
--
--     BEGIN;
--     TRUNCATE order_details;
--     SELECT rc_seek('replicate', 'earliest');
--     COMMIT;
--
-- To remove it all:
--
--     DELETE FROM rappel_conso.stream WHERE name = 'replicate';
--     DROP TABLE order_details;
