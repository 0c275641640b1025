--
-- rc_republish, rc_retry: a dead letter that cannot be republished or retried,
-- because of what users have changed in its row or around it, blocks no other one.
--
\set SHOW_CONTEXT never
CREATE EXTENSION rappel_conso;
SET bytea_output = escape;

CREATE FUNCTION bury(VARIADIC topics text[]) RETURNS bigint LANGUAGE sql AS $$
  WITH d AS (INSERT INTO rappel_conso.dead_letter (origin, name, topic, value, headers, message_id, sqlstate, message, owner)
    SELECT 'outbox', 'rc_publish', t, convert_to(n::text, 'UTF8'), '{"a": "b"}', gen_random_uuid(), '22023', 'first error', current_user
      FROM unnest(topics) WITH ORDINALITY t (t, n) RETURNING 1) SELECT count(*) FROM d $$;

-- D2: headers of every kind that is no object, in the middle
SELECT bury('a', 'a', 'a', 'a', 'a', 'a', 'a', 'a');
UPDATE rappel_conso.dead_letter SET headers = (ARRAY['"text"', '12', 'null', '[]', '["a"]', '[{"a": "b"}]', '{}'])[id - 1]::jsonb WHERE id > 1;
SELECT * FROM rc_republish('a');
SELECT convert_from(value, 'UTF8') AS value, headers, attempts, sqlstate, message FROM rappel_conso.dead_letter ORDER BY id;
SELECT convert_from(value, 'UTF8') AS value, headers FROM rappel_conso.outbox ORDER BY id;
-- again: they fail again, and what waits is passed over
SELECT * FROM rc_republish();
SELECT attempts, count(*) FROM rappel_conso.dead_letter GROUP BY 1 ORDER BY 1;
-- one that was put right goes
UPDATE rappel_conso.dead_letter SET headers = NULL WHERE id = 4;
SELECT * FROM rc_republish('a', 4);
SELECT * FROM rc_republish(id => 5);
DELETE FROM rappel_conso.outbox;
DELETE FROM rappel_conso.dead_letter;

-- D2: no topic; a trigger or a constraint of a user rejects it, or raises an error
SELECT bury('b', NULL, 'b', 'c', 'd', 'b');
ALTER TABLE rappel_conso.outbox ADD CONSTRAINT not_c CHECK (topic <> 'c');
CREATE FUNCTION refuse_d() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
  IF NEW.topic = 'd' THEN
    RAISE EXCEPTION 'not "d"' USING ERRCODE = 'ZZ001', DETAIL = 'by a trigger';
  END IF;
  RETURN NEW;
END
$$;
CREATE TRIGGER refuse_d BEFORE INSERT ON rappel_conso.outbox FOR EACH ROW EXECUTE FUNCTION refuse_d();
SELECT * FROM rc_republish();
SELECT topic, attempts, sqlstate, message, left(detail, 12) AS detail FROM rappel_conso.dead_letter ORDER BY id;
SELECT topic, convert_from(value, 'UTF8') AS value FROM rappel_conso.outbox ORDER BY id;
DROP TRIGGER refuse_d ON rappel_conso.outbox;
ALTER TABLE rappel_conso.outbox DROP CONSTRAINT not_c;

-- an error that may pass is no letter's: it is raised, and nothing is changed
CREATE FUNCTION full_disk() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'no space' USING ERRCODE = 'disk_full'; END $$;
CREATE TRIGGER full_disk BEFORE INSERT ON rappel_conso.outbox FOR EACH ROW EXECUTE FUNCTION full_disk();
SELECT * FROM rc_republish('c');
DROP TRIGGER full_disk ON rappel_conso.outbox;
SELECT * FROM rc_republish('c');
SELECT attempts, message FROM rappel_conso.dead_letter WHERE topic = 'c';

-- a topic that has none, perhaps a wrong name
SELECT * FROM rc_republish('cc');
SELECT bury(VARIADIC array_agg('t' || to_char(n, 'FM00'))) FROM generate_series(1, 12) n;
SELECT * FROM rc_republish('cc');
CREATE ROLE regress_reader;
GRANT EXECUTE ON FUNCTION rc_republish TO regress_reader;
SET ROLE regress_reader;
SELECT * FROM rc_republish('cc');
SELECT * FROM rc_republish('t01');
SELECT * FROM rc_republish();
RESET ROLE;
DELETE FROM rappel_conso.dead_letter;
SELECT * FROM rc_republish('t01');
SELECT * FROM rc_republish();
DROP OWNED BY regress_reader;
DROP ROLE regress_reader;

-- D2: rc_retry() of what has no topic, or headers of another kind
CREATE TABLE tried (topic text, value text, headers jsonb);
INSERT INTO rappel_conso.stream (name, topics, value_type, statement)
VALUES ('tried', '{x}', 'text', 'INSERT INTO tried SELECT topic, value, headers FROM records');
INSERT INTO rappel_conso.dead_letter (origin, name, topic, value, headers, sqlstate, message, owner)
SELECT 'stream', 'tried', t, convert_to(n::text, 'UTF8'), h, '22023', 'first error', current_user
  FROM (VALUES (1, 'x', '{"a": "b"}'::jsonb), (2, NULL, NULL), (3, 'x', '"text"'), (4, 'x', '[{"a": "b"}]'), (5, NULL, '3'), (6, 'x', '{"c": "d"}')) v (n, t, h);
SET client_min_messages = warning;
SELECT * FROM rc_retry('tried');
RESET client_min_messages;
SELECT * FROM tried ORDER BY value;

DROP EXTENSION rappel_conso;
DROP TABLE tried;
DROP FUNCTION bury, refuse_d, full_disk;
