-- sensors.sql
--     Readings of sensors: every one into a table, the hot ones to another
--     topic as alerts.
--
-- Topic "sensors" holds messages like
--
--     {"message_id": "b8f5ad0e-6f0c-4b27-9c4e-3f8d2a51c7e4", "sensor_id": 7,
--      "message": {"temperature": 31.5, "humidity": 40},
--      "timestamp": "2026-03-01T12:00:00Z"}
--
-- To run it, on a database with the extension and with workers running
-- (rappel_conso.databases, or rc_start()):
--
--     psql -v ON_ERROR_STOP=1 -f sensors.sql
--
-- and to try it without any other program:
--
--     SELECT rc_publish('sensors', jsonb_build_object(
--              'message_id', gen_random_uuid(), 'sensor_id', 7,
--              'message', jsonb_build_object('temperature', 31.5),
--              'timestamp', now()), '7');
--     SELECT * FROM raw_sensors_data;

BEGIN;

CREATE TABLE raw_sensors_data (
  message_id uuid PRIMARY KEY,
  sensor_id integer NOT NULL,
  message jsonb NOT NULL,
  "timestamp" timestamptz NOT NULL
);
CREATE INDEX ON raw_sensors_data (sensor_id, "timestamp");

-- The table's row type is the type of the values: records has the columns
-- message_id, sensor_id, message and "timestamp" instead of "value", decoded
-- from the keys of the JSON object.  A message that does not fit (not JSON, a
-- sensor_id that is not a number, no message_id) becomes a row of
-- rappel_conso.dead_letter; the others of its batch are stored.
--
-- A producer that does not know whether a message arrived sends it again.  The
-- primary key drops such duplicates, and since only rows that were inserted
-- make an alert, there is one alert for each message_id, too.
--
-- The alerts are the rows that the statement returns.  They are committed
-- together with the readings, and published after that, each at least once:
-- the copies of one that was sent twice have the same header rappel_conso-id.

INSERT INTO rappel_conso.stream (name, topics, value_type, output_topic, statement)
VALUES ('sensors', '{sensors}', 'raw_sensors_data', 'alerts', $$
WITH stored AS (
  INSERT INTO raw_sensors_data (message_id, sensor_id, message, "timestamp")
  SELECT message_id, sensor_id, message, "timestamp"
    FROM records
      ON CONFLICT (message_id) DO NOTHING
  RETURNING message_id, sensor_id, message, "timestamp"
)
SELECT sensor_id::text AS key,
       jsonb_build_object('message_id', message_id,
                          'sensor_id', sensor_id,
                          'temperature', (message->>'temperature')::numeric,
                          'timestamp', "timestamp") AS value
  FROM stored
 WHERE (message->>'temperature')::numeric > 30
$$);

COMMIT;

-- To remove it all:
--
--     DELETE FROM rappel_conso.stream WHERE name = 'sensors';
--     DROP TABLE raw_sensors_data;
