--
-- rc_publish: what a message may be, and how one that may not is refused.
--
\set SHOW_CONTEXT never
CREATE EXTENSION rappel_conso;

-- Runs a command and says how it failed, or that it did not.
CREATE FUNCTION outcome(command text) RETURNS text LANGUAGE plpgsql AS $$
BEGIN
  EXECUTE command;
  RETURN 'done';
EXCEPTION WHEN OTHERS THEN
  RETURN sqlstate || ': ' || sqlerrm;
END
$$;

-- M1: headers that are no object.
SELECT headers, outcome(format('SELECT rc_publish(''t'', ''v'', NULL, %L)', headers))
  FROM unnest(ARRAY['[1]', '"a"', '1', 'null', 'true', '{}', '{"a": null}']) headers;
-- A null is no headers, and a broken one is jsonb's own matter.
SELECT outcome($$SELECT rc_publish('t', 'v', 'k', NULL)$$);

-- D3, M1: at each limit, and one byte more.
SELECT what, outcome(format('SELECT rc_publish(''t'', %s, %s, %s)', value, key, headers))
  FROM (VALUES
    (1, 'key', $$'v'$$, $$repeat('k', 1048576)$$, 'NULL'),
    (2, 'longer key', $$'v'$$, $$repeat('k', 1048577)$$, 'NULL'),
    (3, 'key of bytes', $$'\x01'::bytea$$, $$convert_to(repeat('k', 3000000), 'UTF8')$$, 'NULL'),
    (4, 'value', $$repeat('v', 16777216)$$, 'NULL', 'NULL'),
    (5, 'longer value', $$repeat('v', 16777217)$$, 'NULL', 'NULL'),
    (6, 'value of json', $$to_jsonb(repeat('v', 16777215))$$, 'NULL', 'NULL'),
    (7, 'headers', 'NULL::text', 'NULL', $$jsonb_build_object('a', repeat('h', 1048567))$$),
    (8, 'longer headers', 'NULL::text', 'NULL', $$jsonb_build_object('a', repeat('h', 1048568))$$),
    (9, 'all', $$repeat('v', 14680064)$$, $$repeat('k', 1048576)$$, $$jsonb_build_object('a', repeat('h', 1048567))$$),
    (10, 'more', $$repeat('v', 14680065)$$, $$repeat('k', 1048576)$$, $$jsonb_build_object('a', repeat('h', 1048567))$$),
    (11, 'small ones of much text', $$'v'$$, 'NULL', $$(SELECT jsonb_build_object('a', jsonb_agg(1e131071)) FROM generate_series(1, 9))$$),
    (12, 'a long name, often', $$'v'$$, 'NULL', $$(SELECT jsonb_build_object(repeat('n', 1000), jsonb_agg(n % 10)) FROM generate_series(1, 2000) n)$$))
    c (n, what, value, key, headers) ORDER BY n;

-- What is measured is what jsonb is written as.
WITH shapes (shape) AS (VALUES
  ('{}'::jsonb), ('{"a": 1}'), ('{"a": [1]}'), ('{"a": []}'), ('{"a": {}}'), ('{"a": {"b": [1, [2, {"c": null}], {}]}, "d": true}'),
  ('{"a": -1.50, "b": 1e20, "c": 12345678901234567890.10, "d": false, "e": null, "f": ""}'),
  ('{"\"q\\": "\b\f\n\r\t\u0001\u001f\u007f/é€🙂"}'), ('{"a": [[], [[]], {}, [{}]], "b": [null, true, "x"]}'),
  ('{"a": {"b": {"c": {"d": [1, 2, 3]}}}, "e": {"f": 1, "g": 2}}'))
SELECT shape FROM shapes, LATERAL (SELECT shape || jsonb_build_object('pad', repeat('x', 1048576)) AS h) padded
 WHERE outcome(format('SELECT rc_publish(''t'', ''v'', NULL, %L)', h))
       <> format('54000: headers of a message have %s bytes, their limit is 1048576',
                 octet_length(h::text) + CASE WHEN shape->'a' = '[[], [[]], {}, [{}]]' THEN 3 + 2 ELSE 0 END);

-- The same for what a stream returns; see 099_outbox_limits.pl for its records.
SELECT count(*), count(DISTINCT message_id) FROM rappel_conso.outbox;

DROP EXTENSION rappel_conso;
DROP FUNCTION outcome(text);
