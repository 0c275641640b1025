-- orders.sql
--     Suggestions for orders that are being made: the change events of a table
--     order_details, as Debezium publishes them, become the state of the
--     orders of the last 90 seconds; customers of level diamond get a
--     suggestion of what goes with their order.
--
-- Topic "shop.public.order_details" holds change events, with the schema
-- envelope ({"schema": .., "payload": ..}) or without:
--
--     {"op": "c", "before": null, "source": {"ts_ms": 1772366400000},
--      "after": {"order_id": "A1", "line": 1, "customer_id": "C1",
--                "payment_method_id": "P1", "product_id": "espresso",
--                "quantity": 2, "unit_price": "2.50"}}
--
-- The stream's envelope is debezium, so the statement sees op, before and after,
-- whatever the form of the messages and of the decimals in them.  To run it:
--
--     psql -v ON_ERROR_STOP=1 -f orders.sql

BEGIN;

-- Lookup tables: ordinary tables, joined in the statement.

CREATE TABLE customers (
  customer_id text PRIMARY KEY,
  name text NOT NULL,
  level text NOT NULL CHECK (level IN ('bronze', 'silver', 'gold', 'diamond'))
);

CREATE TABLE products (
  product_id text PRIMARY KEY,
  name text NOT NULL,
  price numeric(8,2) NOT NULL,
  goes_with text REFERENCES products
);

CREATE TABLE payment_methods (
  payment_method_id text PRIMARY KEY,
  name text NOT NULL
);

INSERT INTO customers VALUES
  ('C1', 'First Customer', 'diamond'),
  ('C2', 'Second Customer', 'silver'),
  ('C3', 'Third Customer', 'diamond');
INSERT INTO products VALUES
  ('croissant', 'Croissant', 1.80, NULL),
  ('brownie', 'Brownie', 2.60, NULL),
  ('espresso', 'Espresso', 2.50, 'croissant'),
  ('latte', 'Latte', 3.90, 'brownie');
INSERT INTO payment_methods VALUES
  ('P1', 'card'),
  ('P2', 'cash');

-- The state of the orders.  A deleted line stays as a row until it expires:
-- else an older event that is applied later (a retried dead letter) would
-- restore the line.

CREATE TABLE order_state (
  order_id text,
  line integer,
  customer_id text,
  payment_method_id text,
  product_id text,
  quantity integer,
  unit_price numeric(8,2),
  deleted boolean NOT NULL,
  changed_at timestamptz NOT NULL,
  record_offset bigint NOT NULL,
  PRIMARY KEY (order_id, line)
);
CREATE INDEX ON order_state (changed_at);

-- A line expires 90 seconds after its last change.  The view's predicate makes
-- that exact to the second; the DELETE below only removes rows that are not
-- visible any more.

CREATE VIEW current_orders AS
  SELECT order_id, line, customer_id, payment_method_id, product_id, quantity, unit_price, changed_at
    FROM order_state
   WHERE NOT deleted AND changed_at > now() - interval '90 seconds';

-- The columns that the stream wants of the events' rows.

CREATE TYPE ordered_line AS (
  order_id text,
  line integer,
  customer_id text,
  payment_method_id text,
  product_id text,
  quantity integer,
  unit_price numeric(8,2)
);

-- change: the row of each event, before it was deleted or as it is now.  A
-- tombstone, which follows a delete, has no time.
-- newest: the last change of each line in this batch, which can have many.
-- stored: writes the state; an event that is older than the stored one changes
-- nothing.
-- basket: the orders that have changed, with all their lines.  Rows that
-- "stored" writes are not visible in the table before the end of the
-- statement, so they are read from "stored", and the other lines from the
-- table.
--
-- An invalid event (no order_id, a quantity that is not a number) becomes a
-- dead letter.  workers must stay 1: the lines of an order are in several
-- partitions, and two workers would not see each other's uncommitted lines.

INSERT INTO rappel_conso.stream (name, topics, envelope, value_type, output_topic, statement)
VALUES ('orders', '{shop.public.order_details}', 'debezium', 'ordered_line', 'order_suggestions', $$
WITH change AS (
  SELECT CASE op WHEN 'd' THEN before ELSE after END AS line, op = 'd' AS deleted, ts AS changed_at, record_offset
    FROM records
   WHERE op IN ('c', 'r', 'u') OR op = 'd' AND ts IS NOT NULL
), newest AS (
  SELECT DISTINCT ON ((line).order_id, (line).line) *
    FROM change
   WHERE changed_at > now() - interval '90 seconds' OR changed_at IS NULL
   ORDER BY (line).order_id, (line).line, changed_at DESC, record_offset DESC
), stored AS (
  INSERT INTO order_state AS s (order_id, line, customer_id, payment_method_id, product_id, quantity,
                                unit_price, deleted, changed_at, record_offset)
  SELECT (line).order_id, (line).line, (line).customer_id, (line).payment_method_id, (line).product_id,
         (line).quantity, (line).unit_price, deleted, changed_at, record_offset
    FROM newest
      ON CONFLICT (order_id, line) DO UPDATE
     SET customer_id = EXCLUDED.customer_id, payment_method_id = EXCLUDED.payment_method_id,
         product_id = EXCLUDED.product_id, quantity = EXCLUDED.quantity, unit_price = EXCLUDED.unit_price,
         deleted = EXCLUDED.deleted, changed_at = EXCLUDED.changed_at, record_offset = EXCLUDED.record_offset
   WHERE (EXCLUDED.changed_at, EXCLUDED.record_offset) > (s.changed_at, s.record_offset)
  RETURNING s.*
), basket AS (
  SELECT order_id, customer_id, payment_method_id, product_id, quantity, unit_price
    FROM stored
   WHERE NOT deleted
   UNION ALL
  SELECT o.order_id, o.customer_id, o.payment_method_id, o.product_id, o.quantity, o.unit_price
    FROM current_orders o
   WHERE o.order_id IN (SELECT s.order_id FROM stored s)
     AND NOT EXISTS (SELECT FROM stored s WHERE s.order_id = o.order_id AND s.line = o.line)
), summed AS (
  SELECT order_id, customer_id, payment_method_id, array_agg(DISTINCT product_id) AS products,
         sum(quantity * unit_price) AS total
    FROM basket
   GROUP BY order_id, customer_id, payment_method_id
)
SELECT b.order_id AS key,
       jsonb_build_object('order_id', b.order_id,
                          'customer', c.name,
                          'payment_method', m.name,
                          'total', b.total,
                          'suggestion', p.name,
                          'price', p.price) AS value
  FROM summed b
  JOIN customers c ON c.customer_id = b.customer_id AND c.level = 'diamond'
  JOIN payment_methods m ON m.payment_method_id = b.payment_method_id
 CROSS JOIN LATERAL (
        -- products that match the order and are not in it
        SELECT g.name, g.price
          FROM products o
          JOIN products g ON g.product_id = o.goes_with
         WHERE o.product_id = ANY (b.products) AND g.product_id <> ALL (b.products)
         ORDER BY g.price DESC, g.product_id
         LIMIT 1) p
$$);

COMMIT;

-- Expired lines are deleted once a minute, if pg_cron is installed.

DO $$
BEGIN
  IF EXISTS (SELECT FROM pg_extension WHERE extname = 'pg_cron') THEN
    PERFORM cron.schedule('expire-orders', '* * * * *',
                          'DELETE FROM order_state WHERE changed_at < now() - interval ''90 seconds''');
  END IF;
END
$$;

-- To remove it all:
--
--     SELECT cron.unschedule('expire-orders');
--     DELETE FROM rappel_conso.stream WHERE name = 'orders';
--     DROP TYPE ordered_line;
--     DROP VIEW current_orders;
--     DROP TABLE order_state, customers, products, payment_methods;
