--
-- Definitions are rows: what a source or a stream may say, how a wrong one is
-- refused, and what a change of one does to the state beside it.
--
\set SHOW_CONTEXT never
CREATE EXTENSION rappel_conso;
CREATE ROLE regress_rc_cook;
CREATE ROLE regress_rc_guest;
GRANT USAGE ON SCHEMA rappel_conso TO regress_rc_cook;
GRANT SELECT, INSERT, UPDATE, DELETE ON rappel_conso.stream, rappel_conso.source TO regress_rc_cook;
GRANT SELECT ON rappel_conso.stream_offset, rappel_conso.stream_state, rappel_conso.source_state TO regress_rc_cook;
INSERT INTO rappel_conso.topic_grant VALUES ('regress_rc_guest', 't', true, false);

CREATE TABLE dish (id int PRIMARY KEY, name text NOT NULL, price numeric);
CREATE TABLE cellar (bottle text);
CREATE TYPE plate AS (id int, name text);

-- Runs a command that must fail, and says how.
CREATE FUNCTION refused(command text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  state text; message text; detail text; hint text;
BEGIN
  EXECUTE command;
  RETURN NEXT 'accepted: ' || command;
EXCEPTION WHEN OTHERS THEN
  GET STACKED DIAGNOSTICS state = RETURNED_SQLSTATE, message = MESSAGE_TEXT, detail = PG_EXCEPTION_DETAIL,
    hint = PG_EXCEPTION_HINT;
  RETURN NEXT state || ': ' || message;
  IF detail <> '' AND detail !~ '^Failing row' THEN RETURN NEXT '   DETAIL: ' || detail; END IF;
  IF hint <> '' THEN RETURN NEXT '   HINT: ' || hint; END IF;
END
$$;
-- A good row, with one column set to something else.
CREATE FUNCTION stream_with(name text, setting text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  columns jsonb := jsonb_build_object('name', 'wrong', 'topics', '{t}', 'statement', 'SELECT 1 FROM records')
    || jsonb_build_object(name, setting);
BEGIN
  RETURN NEXT name || ' = ' || COALESCE(setting, 'null');
  RETURN QUERY SELECT '   ' || r FROM refused((
    SELECT format('INSERT INTO rappel_conso.stream (%s) VALUES (%s)', string_agg(quote_ident(key), ', ' ORDER BY key),
                  string_agg(quote_nullable(value), ', ' ORDER BY key)) FROM jsonb_each_text(columns))) r;
END
$$;
CREATE FUNCTION source_with(name text, setting text) RETURNS SETOF text LANGUAGE plpgsql AS $$
DECLARE
  columns jsonb := jsonb_build_object('name', 'wrong', 'dataset', 'd') || jsonb_build_object(name, setting);
BEGIN
  RETURN NEXT name || ' = ' || COALESCE(setting, 'null');
  RETURN QUERY SELECT '   ' || r FROM refused((
    SELECT format('INSERT INTO rappel_conso.source (%s) VALUES (%s)', string_agg(quote_ident(key), ', ' ORDER BY key),
                  string_agg(quote_nullable(value), ', ' ORDER BY key)) FROM jsonb_each_text(columns))) r;
END
$$;
\pset format unaligned
\pset tuples_only on

--
-- Values of a stream's row
--
SELECT stream_with(c.name, c.setting) FROM (VALUES
  (1, 'name', NULL),
  (2, 'name', ''),
  (3, 'name', 'a b'),
  (4, 'name', '.a'),
  (5, 'name', repeat('n', 64)),
  (6, 'topics', NULL),
  (7, 'topics', '{}'),
  (8, 'topics', '{good,NULL}'),
  (9, 'topics', '{good,"not good"}'),
  (10, 'topics', '{..}'),
  (11, 'topics', '{' || repeat('t', 250) || '}'),
  (12, 'statement', NULL),
  (13, 'value_type', 'int'),
  (14, 'value_type', 'no_such_type'),
  (15, 'key_type', 'int'),
  (16, 'key_type', NULL),
  (17, 'start_at', 'yesteryear'),
  (18, 'batch_size', '0'),
  (19, 'batch_size', '100001'),
  (20, 'workers', '0'),
  (21, 'workers', '65'),
  (22, 'on_error', 'panic'),
  (23, 'stop_after', '0'),
  (24, 'output_topic', 'else where'),
  (25, 'owner', 'no_such_role'),
  (26, 'start_at', 'group:'),
  (27, 'start_at', 'Group:app'),
  (28, 'group_id', ''),
  (29, 'group_id', repeat('g', 250)),
  (30, 'group_id', E'a\tb'),
  (31, 'start_at', 'group:' || repeat('g', 250)),
  (32, 'start_at', E'group:a\nb'),
  (33, 'envelope', 'avro'),
  (34, 'envelope', NULL),
  (35, 'decimal', 'base64'),
  (36, 'decimal', 'auto'),
  (37, 'numeric_time', 'h'),
  (38, 'numeric_time', 'ms')) c (at, name, setting) ORDER BY c.at;
SELECT count(*) FROM rappel_conso.stream;

-- Change events: what their rows can be, and which columns "records" has then.
SELECT refused($$INSERT INTO rappel_conso.stream (name, topics, envelope, value_type, statement) VALUES ('e', '{t}', 'debezium', 'text', 'SELECT FROM records')$$);
SELECT refused($$INSERT INTO rappel_conso.stream (name, topics, envelope, value_type, statement) VALUES ('e', '{t}', 'debezium', 'bytea', 'SELECT FROM records')$$);
SELECT refused($$INSERT INTO rappel_conso.stream (name, topics, envelope, statement) VALUES ('e', '{t}', 'debezium', 'SELECT value FROM records')$$);
SELECT refused($$INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('e', '{t}', 'SELECT op FROM records')$$);
CREATE TYPE event_row AS (key text, op int, "after" date, headers text);
INSERT INTO rappel_conso.stream (name, topics, envelope, value_type, "decimal", numeric_time, statement) VALUES
  ('e', '{t}', 'debezium', 'event_row', 'precise', 'adaptive',
   'SELECT key, op, (before).op, (after)."after", (old_key).key, ts, lsn, xid, unavailable, missing, extra, source, headers FROM records');
SELECT refused($$UPDATE rappel_conso.stream SET "decimal" = 'base64' WHERE name = 'e'$$);
SELECT refused($$UPDATE rappel_conso.stream SET numeric_time = 'h' WHERE name = 'e'$$);
SELECT refused($$UPDATE rappel_conso.stream SET envelope = 'none' WHERE name = 'e'$$);
SELECT refused($$UPDATE rappel_conso.stream SET value_type = 'jsonb' WHERE name = 'e'$$);
SELECT refused($$UPDATE rappel_conso.stream SET value_type = 'jsonb', "decimal" = NULL, numeric_time = NULL, statement = 'SELECT after->>''x'', before - ''x'', old_key->''y'' FROM records' WHERE name = 'e'$$);
SELECT refused($$UPDATE rappel_conso.stream SET envelope = 'none' WHERE name = 'e'$$);
DELETE FROM rappel_conso.stream WHERE name = 'e';
DROP TYPE event_row;

-- The borders of what is allowed.
INSERT INTO rappel_conso.stream (name, topics, statement, value_type, key_type, start_at, batch_size, workers, on_error, stop_after)
VALUES (repeat('n', 63), ARRAY[repeat('t', 249), 'A.b_c-9'], 'SELECT 1 FROM records', 'bytea', 'bytea', 'latest', 1, 1, 'stop', 1),
       ('9.b_c-d', '{t}', 'SELECT 1 FROM records', 'text', 'text', '2026-01-02 03:04:05+00', 100000, 64, 'dead_letter', 2147483647),
       ('_', '{t}', 'SELECT name FROM records', 'plate', 'text', 'earliest', 7, 2, 'dead_letter', 100);
UPDATE rappel_conso.stream SET start_at = 'group:the ''app''', group_id = repeat('g', 249) WHERE name = '_';
SELECT name, topics[1] = repeat('t', 249), start_at, length(group_id) FROM rappel_conso.stream WHERE name <> 'rappel_conso' ORDER BY name COLLATE "C";
DELETE FROM rappel_conso.stream WHERE name <> 'rappel_conso';

--
-- Values of a source's row
--
SELECT source_with(c.name, c.setting) FROM (VALUES
  (1, 'name', 'a/b'),
  (2, 'name', repeat('n', 64)),
  (3, 'dataset', NULL),
  (4, 'dataset', '../users'),
  (5, 'dataset', ''),
  (6, 'url', 'file:///etc/hosts'),
  (7, 'url', 'data.economie.gouv.fr'),
  (8, 'transform', 'magic'),
  (9, 'transform', 'recall'),
  (10, 'topic', 'a topic'),
  (11, 'topic', '.'),
  (12, 'topic', repeat('t', 250)),
  (13, 'partitions', '0'),
  (14, 'replication', '0'),
  (15, 'stream', 'no_such_stream'),
  (16, 'overlap', '-1 day'),
  (17, 'full_interval', '0'),
  (18, 'poll_interval', '10 ms'),
  (19, 'retry_delay', '-1 s'),
  (20, 'retries', '-1'),
  (21, 'retries', '101'),
  (22, 'overlap', '1000 years 1 day'),
  (23, 'full_interval', '1000000 years'),
  (24, 'poll_interval', '170000000 years'),
  (25, 'retry_delay', '1001 years'),
  (26, 'full_interval', '300000 years -107999999 days'),
  (27, 'overlap', '-1 mon +31 days'),
  (28, 'poll_interval', '2 days -23 hours'),
  (29, 'retry_delay', '-100000 days 2400001 hours'),
  (30, 'overlap', '1 day -0.000001 s'),
  (31, 'topic_config', '{retention.ms}'),
  (32, 'topic_config', '{retention.ms=1,NULL}'),
  (33, 'topic_config', '{=1}'),
  (34, 'topic_config', '{"no such=1"}'),
  (35, 'topic_config', E'{"retention.ms=1\n"}'),
  (36, 'topic_config', '{a=1,b=2,a=3}')) c (at, name, setting) ORDER BY c.at;
SELECT count(*) FROM rappel_conso.source;

-- The address: no credentials, of which nothing is shown (R9), and nothing that
-- gives what is put behind it another meaning (V17).
SELECT source_with('url', c.url) FROM (VALUES
  (1, 'https://user:pw@example.org/api/explore/v2.1'),
  (2, 'https://user@example.org/api/explore/v2.1'),
  (3, 'https://:pw@example.org/api/explore/v2.1'),
  (4, 'https://@example.org/api/explore/v2.1'),
  (5, 'https://data.economie.gouv.fr@example.org/'),
  (6, 'https://example.org' || chr(92) || '@data.economie.gouv.fr/'),
  (7, 'https://user:p/w@example.org/'),
  (8, 'user:pw@example.org/api'),
  (9, '//user:pw@example.org/api'),
  (10, 'https:/user:pw@example.org/api'),
  (11, 'https:user:pw@example.org'),
  (12, 'ftp://user:pw@example.org/api'),
  (13, 'https://example.org/api/explore/v2.1?apikey=pw'),
  (14, 'https://example.org?apikey=pw'),
  (15, 'https://example.org/api?'),
  (16, 'https://example.org/api#pw'),
  (17, 'https://example.org/api/#'),
  (18, 'https://example.org/a b'),
  (19, ' https://example.org/api'),
  (20, 'https://example.org/api '),
  (21, 'https://example.org/api' || chr(10)),
  (22, 'https://example.org/' || chr(9) || 'api'),
  (23, 'https://exa' || chr(1) || 'mple.org/'),
  (24, 'https://example.org/api' || chr(127)),
  (25, 'https://example.org/%2e%2e/api'),
  (26, 'https://example.org/api%3Fapikey'),
  (27, 'https://example%2eorg/api'),
  (28, 'https://example.org/' || chr(92) || 'api'),
  (29, 'https://example.org/../api'),
  (30, 'https://example.org/api/..'),
  (31, 'https://example.org/./api'),
  (32, 'https://example.org/api/.'),
  (33, 'https://' || chr(233) || 'xample.org/api'),
  (34, 'https://example.org/' || chr(233) || 't' || chr(233)),
  (35, 'https://'),
  (36, 'https:///api'),
  (37, 'https://:443/api'),
  (38, 'https://example.org:/api'),
  (39, 'https://example.org:0/api'),
  (40, 'https://example.org:65536/api'),
  (41, 'https://example.org:44x/api'),
  (42, 'https://example.org:1:2/api'),
  (43, 'https://[::1/api'),
  (44, 'https://[::1]x/api'),
  (45, 'https://[]/api'),
  (46, 'https://a[b]/api'),
  (47, 'https://exam;ple.org/api'),
  (48, 'https://example.org/{a}'),
  (49, 'https://example.org/"a"'),
  (50, 'httpsx://example.org/api'),
  (51, '')) c (at, url) ORDER BY c.at;
SELECT source_with('dataset', c.dataset) FROM (VALUES
  (1, '.'), (2, '..'), (3, '...'), (4, 'a/b'), (5, '/a'), (6, 'a/'), (7, 'a%2fb'), (8, '%2e%2e'), (9, 'a?b'), (10, 'a#b'),
  (11, 'a b'), (12, ' a'), (13, 'a' || chr(10)), (14, 'a' || chr(7)), (15, chr(233) || 't' || chr(233)), (16, 'a' || chr(92) || 'b'),
  (17, 'a;b'), (18, 'a&b'), (19, 'a=b')) c (at, dataset) ORDER BY c.at;
-- An update is no other way in, nor is COPY; other columns do not matter.
INSERT INTO rappel_conso.source (name, dataset) VALUES ('good', 'a.b_c-d@e');
-- A keyed source whose topic is not compacted.
UPDATE rappel_conso.source SET topic_config = '{cleanup.policy=delete,retention.ms=1}' WHERE name = 'good';
UPDATE rappel_conso.source SET key_field = 'k' WHERE name = 'good';
UPDATE rappel_conso.source SET topic_config = '{"cleanup.policy=delete, Compact"}' WHERE name = 'good';
UPDATE rappel_conso.source SET topic_config = '{retention.ms=}', key_field = NULL WHERE name = 'good';
SELECT refused(c.command) FROM (VALUES
  (1, 'UPDATE rappel_conso.source SET url = ''https://user:pw@example.org/'' WHERE name = ''good'''),
  (2, 'UPDATE rappel_conso.source SET dataset = ''..'' WHERE name = ''good''')) c (at, command) ORDER BY c.at;
COPY rappel_conso.source (name, url, dataset) FROM stdin (DELIMITER ',');
copied,https://example.org/api?a,d
\.
-- What is allowed.
SELECT refused(format('UPDATE rappel_conso.source SET url = %L WHERE name = ''good''', c.url)) FROM (VALUES
  (1, 'https://example.org'), (2, 'http://example.org/'), (3, 'HTTPS://EXAMPLE.ORG/API'), (4, 'https://example.org.:8443/api/explore/v2.1/'),
  (5, 'http://127.0.0.1:65535/a/b/c'), (6, 'http://[::1]:80/api'), (7, 'https://a_b-c.example/~me/v2.1/.../x..y/;v=1,2/a@b:c'),
  (8, 'https://xn--xample-9ua.org/api')) c (at, url) ORDER BY c.at;
DELETE FROM rappel_conso.source WHERE name = 'good';

-- The longest that is allowed, and what a run makes of it.
INSERT INTO rappel_conso.source (name, dataset, "overlap", full_interval, poll_interval, retry_delay)
VALUES ('patient', 'd', '1000 years', '1000 years', '1000 years', '1000 years');
SELECT now() + full_interval > now(), '0001-01-01'::timestamptz - "overlap" < now(),
       (extract(epoch FROM poll_interval) * 4 * 1000)::int8 > 0
  FROM rappel_conso.source WHERE name = 'patient';
DELETE FROM rappel_conso.source WHERE name = 'patient';

--
-- The statement is planned when it is stored: errors point into it
--
\pset tuples_only off
\pset format aligned
INSERT INTO rappel_conso.stream (name, topics, statement)
VALUES ('s', '{t}', 'INSERT INTO dish SELECT (value->>''id'')::int, nom FROM records');
INSERT INTO rappel_conso.stream (name, topics, statement, value_type)
VALUES ('s', '{t}', 'INSERT INTO dish SELECT id, value FROM records', 'plate');
INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('s', '{t}', 'INSERT INTO dish SELEC value FROM records');
INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('s', '{t}', 'SELECT value + 1 FROM records');

\pset tuples_only on
\pset format unaligned
SELECT stream_with('statement', c.statement) FROM (VALUES
  (1, ''),
  (2, ';'),
  (3, 'SELECT 1 FROM records; DELETE FROM dish'),
  (4, 'SELECT 1; SELECT 2; SELECT 3'),
  (5, 'TRUNCATE dish'),
  (6, 'CREATE TABLE loot AS SELECT * FROM records'),
  (7, 'SELECT * INTO loot FROM records'),
  (8, 'SELECT topic INTO loot FROM records UNION SELECT key FROM records'),
  (9, 'COPY dish FROM ''/dev/null'''),
  (10, 'COMMIT'),
  (11, 'EXPLAIN SELECT 1'),
  (12, 'DO ''BEGIN END'''),
  (13, 'SELECT $1 FROM records'),
  (14, 'SELECT $1::text'),
  (15, 'INSERT INTO records SELECT * FROM records'),
  (16, 'UPDATE records SET key = NULL'),
  (17, 'DELETE FROM records'),
  (18, 'SELECT * FROM no_such_table'),
  (19, 'SELECT no_such_function(key) FROM records'),
  (20, 'INSERT INTO dish (id, taste) SELECT 1, key FROM records'),
  (21, 'INSERT INTO dish SELECT key FROM records'),
  (22, 'INSERT INTO dish (id, name) SELECT 1, key FROM records ON CONFLICT (name) DO NOTHING'),
  (23, 'SELECT key FROM records GROUP BY partition'),
  (24, 'SELECT offset FROM records'),
  (25, 'INSERT INTO cellar SELECT (key::bytea)::date FROM records'),
  -- what never reads records would pass over them in silence
  (26, 'VALUES (1)'),
  (27, 'INSERT INTO cellar VALUES (''x'')'),
  (28, 'WITH gone AS (DELETE FROM cellar RETURNING bottle) INSERT INTO cellar SELECT bottle FROM gone'),
  (128, 'WITH a AS (SELECT key FROM records), b AS MATERIALIZED (SELECT key FROM a) INSERT INTO cellar VALUES (''x'')'),
  (29, 'WITH records AS (SELECT ''x'' AS key) INSERT INTO cellar SELECT key FROM records'),
  (30, 'UPDATE dish SET name = (SELECT count(*) FROM cellar)::text')) c (at, statement) ORDER BY c.at;

-- Every command that the planner knows, and each of the columns.
INSERT INTO rappel_conso.stream (name, topics, statement) VALUES
  ('select', '{t}', 'SELECT topic, partition, record_offset, record_timestamp, key, value, headers FROM records'),
  ('insert', '{t}', 'INSERT INTO dish AS d SELECT record_offset, key FROM records ON CONFLICT (id) DO UPDATE SET name = EXCLUDED.name RETURNING d.name'),
  ('update', '{t}', 'UPDATE dish SET name = r.key FROM records r WHERE r.record_offset = dish.id'),
  ('delete', '{t}', 'DELETE FROM dish USING records r WHERE r.key = dish.name'),
  ('merge', '{t}', 'MERGE INTO dish d USING records r ON d.id = r.record_offset WHEN MATCHED THEN UPDATE SET name = r.key WHEN NOT MATCHED THEN DO NOTHING'),
  ('two', '{t}', 'WITH gone AS (DELETE FROM dish USING records r WHERE r.key = dish.name RETURNING dish.*) INSERT INTO cellar SELECT name FROM gone;'),
  ('values', '{t}', 'VALUES ((SELECT count(*) FROM records))'),
  ('empty', '{t}', '/* nothing but */ SELECT FROM records -- a comment');
INSERT INTO rappel_conso.stream (name, topics, value_type, key_type, statement) VALUES
  ('types', '{t}', 'plate', 'bytea',
   'SELECT pg_typeof(topic), pg_typeof(key), pg_typeof(headers), id + 1, name || name FROM records');
SELECT count(*), count(*) FILTER (WHERE search_path = current_setting('search_path')) AS filled_in
  FROM rappel_conso.stream WHERE name <> 'rappel_conso';
-- Planned, not executed.
SELECT count(*) FROM dish;

-- What a statement with an output topic must return.
CREATE FUNCTION output_with(statement text) RETURNS SETOF text LANGUAGE sql AS $$
  SELECT statement UNION ALL
  SELECT '   ' || refused(format('INSERT INTO rappel_conso.stream (name, topics, statement, output_topic) VALUES (''wrong'', ''{t}'', %L, ''out'')', statement))
$$;
SELECT output_with(c.statement) FROM (VALUES
  (1, 'SELECT value FROM records'),
  (2, 'INSERT INTO cellar SELECT key FROM records'),
  (3, 'INSERT INTO cellar SELECT key FROM records RETURNING bottle AS key'),
  (4, 'SELECT key, value, headers::text AS headers FROM records')) c (at, statement) ORDER BY c.at;
INSERT INTO rappel_conso.stream (name, topics, output_topic, statement) VALUES
  ('out', '{t}', 'out', 'SELECT key, value FROM records'),
  ('out_headers', '{t}', 'out', 'INSERT INTO cellar SELECT key FROM records RETURNING NULL::jsonb AS headers, bottle AS value, bottle AS key');
SELECT refused($$UPDATE rappel_conso.stream SET output_topic = 'out' WHERE name = 'update'$$);

-- A later change is planned too, but only one of what the plan depends on.
SELECT refused($$UPDATE rappel_conso.stream SET statement = 'SELECT nothing FROM records' WHERE name = 'select'$$);
SELECT refused($$UPDATE rappel_conso.stream SET value_type = 'jsonb' WHERE name = 'types'$$);
SELECT refused($$UPDATE rappel_conso.stream SET key_type = 'bytea' WHERE name = 'insert'$$);
SELECT refused($$UPDATE rappel_conso.stream SET owner = 'regress_rc_guest' WHERE name = 'delete'$$);
ALTER TABLE cellar RENAME TO cave;
UPDATE rappel_conso.stream SET paused = true, batch_size = 5 WHERE name = 'two';
SELECT refused($$UPDATE rappel_conso.stream SET statement = statement || ' ' WHERE name = 'two'$$);
ALTER TABLE cave RENAME TO cellar;

-- A search_path of one's own is kept, and used from then on.
CREATE SCHEMA pantry;
CREATE TABLE pantry.jar (name text);
SET search_path = pantry;
INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('jars', '{t}', 'INSERT INTO jar SELECT key FROM records');
RESET search_path;
SELECT search_path FROM rappel_conso.stream WHERE name = 'jars';
UPDATE rappel_conso.stream SET statement = 'INSERT INTO jar SELECT topic FROM records' WHERE name = 'jars';
SELECT refused($$UPDATE rappel_conso.stream SET statement = 'INSERT INTO dish SELECT 1, key FROM records' WHERE name = 'jars'$$);
UPDATE rappel_conso.stream SET search_path = NULL, statement = 'INSERT INTO dish SELECT 1, key FROM records' WHERE name = 'jars';
SELECT search_path = current_setting('search_path') FROM rappel_conso.stream WHERE name = 'jars';

-- A row that arrives with it is a restore: stored unchecked.
INSERT INTO rappel_conso.stream (name, topics, statement, search_path)
VALUES ('restored', '{t}', 'INSERT INTO not_yet_there SELECT 1', 'public');
SELECT statement, search_path FROM rappel_conso.stream WHERE name = 'restored';

--
-- Owners, and the topics that they may use
--
CREATE FUNCTION topic_with(topic text, output text DEFAULT NULL) RETURNS SETOF text LANGUAGE plpgsql AS $$
BEGIN
  RETURN NEXT topic || COALESCE(' -> ' || output, '');
  RETURN QUERY SELECT '   ' || refused(format('INSERT INTO rappel_conso.stream (name, topics, output_topic, statement)
    VALUES (''wrong'', ARRAY[%L], %L, ''SELECT key, value FROM records'')', topic, output));
END
$$;
INSERT INTO rappel_conso.topic_grant VALUES ('regress_rc_cook', 'a_b.*', true, false), ('regress_rc_cook', '*-out', false, true);
SET ROLE regress_rc_cook;
BEGIN;
SELECT topic_with(c.topic, c.output) FROM (VALUES (1, 't', NULL), (2, 'a_b', NULL), (3, 'aXb.c', NULL), (4, 'a_bXc', NULL),
  (5, 'x.a_b.c', NULL), (6, 'x-out', NULL), (7, 'a_b.c', 'a_b.d'), (8, 'a_b.c', 'out'), (9, 'a_b.c', 'x-out')) c (at, topic, output) ORDER BY c.at;
ROLLBACK;
RESET ROLE;
SELECT refused($$INSERT INTO rappel_conso.topic_grant VALUES ('regress_rc_cook', '(a|b)')$$);
SELECT refused($$INSERT INTO rappel_conso.topic_grant VALUES ('no_such_role', 't')$$);
-- What is granted to a role goes to its members.
CREATE ROLE regress_rc_cooks;
GRANT regress_rc_cooks TO regress_rc_cook;
INSERT INTO rappel_conso.topic_grant VALUES ('regress_rc_cooks', 't', true, false);

SET ROLE regress_rc_cook;
\pset tuples_only off
\pset format aligned
INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('mine', '{t}', 'INSERT INTO public.dish SELECT 1, key FROM records');
INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('mine', '{t}', 'SELECT * FROM rappel_conso.dead_letter, records');
INSERT INTO rappel_conso.stream (name, topics, statement, owner) VALUES ('mine', '{t}', 'SELECT 1', 'regress_rc_guest');
INSERT INTO rappel_conso.stream (name, topics, statement, owner, search_path) VALUES ('mine', '{t}', 'SELECT 1', 'regress_rc_guest', 'public');
INSERT INTO rappel_conso.source (name, dataset, owner) VALUES ('mine', 'd', 'regress_rc_guest');
INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('mine', '{t}', 'SELECT key FROM records');
UPDATE rappel_conso.stream SET paused = true WHERE name = 'mine';
UPDATE rappel_conso.stream SET owner = 'regress_rc_guest' WHERE name = 'mine';
-- Others' rows are not there for it.
UPDATE rappel_conso.stream SET paused = true WHERE name <> 'mine' RETURNING name;
DELETE FROM rappel_conso.source RETURNING name;
SELECT name, owner FROM rappel_conso.stream;
RESET ROLE;
SELECT name, owner FROM rappel_conso.stream WHERE name = 'mine';
-- It is planned as the owner, not as the role that stores it.
CREATE FUNCTION planned_as() RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
  RAISE NOTICE 'planned as %', current_user;
  RETURN current_user;
END
$$;
INSERT INTO rappel_conso.stream (name, topics, statement, owner)
VALUES ('planned', '{t}', 'SELECT key FROM records WHERE key = public.planned_as()', 'regress_rc_cook');
SELECT current_user = session_user AS myself_again;
-- Given to a role that cannot do what the statement does.
GRANT INSERT ON dish TO regress_rc_cook;
UPDATE rappel_conso.stream SET owner = 'regress_rc_cook' WHERE name = 'insert';
GRANT SELECT, UPDATE ON dish TO regress_rc_cook;
UPDATE rappel_conso.stream SET owner = 'regress_rc_cook' WHERE name = 'insert';

--
-- Built-in rows
--
DELETE FROM rappel_conso.stream WHERE name = 'rappel_conso';
DELETE FROM rappel_conso.source WHERE name = 'rappel_conso';
UPDATE rappel_conso.stream SET name = 'recalls' WHERE name = 'rappel_conso';
UPDATE rappel_conso.source SET name = 'recalls' WHERE name = 'rappel_conso';
UPDATE rappel_conso.stream SET paused = true, batch_size = 50 WHERE name = 'rappel_conso';
UPDATE rappel_conso.source SET paused = true, poll_interval = '1 hour' WHERE name = 'rappel_conso';
SELECT st.paused, st.batch_size, so.paused, so.poll_interval
  FROM rappel_conso.stream st JOIN rappel_conso.source so USING (name);
SELECT name, state FROM rc_status() WHERE component IN ('source', 'stream') AND name = 'rappel_conso' ORDER BY component;
-- A restored built-in row updates the fresh one.
CREATE TEMP TABLE kept_stream AS SELECT * FROM rappel_conso.stream WHERE name = 'rappel_conso';
CREATE TEMP TABLE kept_source AS SELECT * FROM rappel_conso.source WHERE name = 'rappel_conso';
UPDATE kept_stream SET batch_size = 77, topics = '{restored}', paused = false;
UPDATE kept_source SET dataset = 'archive', partitions = 6, paused = false;
INSERT INTO rappel_conso.stream SELECT * FROM kept_stream;
INSERT INTO rappel_conso.source SELECT * FROM kept_source;
SELECT st.batch_size, st.topics, st.paused, st.value_type, so.dataset, so.partitions, so.poll_interval, so.paused
  FROM rappel_conso.stream st JOIN rappel_conso.source so USING (name);
-- Any other name is there once.
SELECT name FROM rappel_conso.stream GROUP BY name HAVING count(*) > 1;
INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('jars', '{t}', 'SELECT 1 FROM records');

--
-- What a change does to the state
--
INSERT INTO rappel_conso.source (name, dataset, key_field, cursor_field, stream) VALUES ('menu', 'd', 'k', 'c', 'select');
CREATE FUNCTION change_menu(setting text) RETURNS TABLE (change text, cursor_now text, complete boolean, full_now boolean, epoch bigint, remembered bigint)
LANGUAGE plpgsql AS $$
BEGIN
  DELETE FROM rappel_conso.source_state;
  INSERT INTO rappel_conso.source_state (source, destination, cursor_value, next_offset, complete, data_processed, records_count, full_at)
  VALUES ('menu', 'direct', '2026-01-01', 9, true, 'then', 8, '2026-01-02'), ('rappel_conso', 'direct', '2026-01-01', 9, true, 'then', 8, '2026-01-02');
  EXECUTE format('UPDATE rappel_conso.source SET %s WHERE name = ''menu''', setting);
  -- the other source's state stays as it is
  ASSERT (SELECT cursor_value = '2026-01-01' AND s.epoch = 1 FROM rappel_conso.source_state s WHERE s.source = 'rappel_conso');
  RETURN QUERY SELECT setting, s.cursor_value, s.complete, s.full_at IS NOT NULL, s.epoch, s.next_offset
    FROM rappel_conso.source_state s WHERE s.source = 'menu';
END
$$;
SELECT c.* FROM (VALUES (1, 'dataset = ''e'''), (2, 'url = ''http://localhost:1/x'''), (3, 'filter = ''a > 1'''),
  (4, 'filter = NULL'), (5, 'key_field = NULL'), (6, 'key_field = ''k'''), (7, 'cursor_field = NULL'),
  (8, 'transform = ''recall'''), (9, 'fold_accents = false'),
  (10, 'fold_accents = fold_accents, dataset = dataset'), (11, 'poll_interval = ''1 min'''), (12, 'paused = true'),
  (13, 'topic = ''t'', partitions = 2'), (14, 'retries = 0'), (15, '"overlap" = ''0''')) s (at, setting),
  LATERAL change_menu(s.setting) c ORDER BY s.at;

INSERT INTO rappel_conso.stream_offset (stream, topic, partition, next_offset) VALUES ('select', 't', 0, 5), ('insert', 't', 0, 5);
INSERT INTO rappel_conso.stream_state (stream, state, failures, retry_at, error) VALUES ('select', 'failed', 3, 'infinity', 'it broke');
UPDATE rappel_conso.stream SET workers = 2 WHERE name = 'select';
SELECT stream, next_offset, epoch FROM rappel_conso.stream_offset ORDER BY stream;
SELECT stream, state, failures, retry_at, error FROM rappel_conso.stream_state;

-- rc_seek
SELECT rc_seek('select', '0:12');
SELECT stream, partition, next_offset, epoch, seek_to FROM rappel_conso.stream_offset WHERE stream = 'select';
SELECT rc_seek('select', 'earliest');
SELECT seek_to, epoch FROM rappel_conso.stream_offset WHERE stream = 'select';
SELECT rc_seek('select', '2026-02-03 04:05:06+00');
SELECT seek_to::timestamptz = '2026-02-03 04:05:06+00', epoch FROM rappel_conso.stream_offset WHERE stream = 'select';
SELECT rc_seek('update', 'latest');
SELECT start_at FROM rappel_conso.stream WHERE name = 'update';
\set VERBOSITY terse
SELECT rc_seek('select', '7:1');
SELECT rc_seek('select', 'the end');
SELECT rc_seek('no_such_stream', 'earliest');
SELECT rc_seek('select', '0:1,');
SELECT rc_seek('select', '0:99999999999999999999');
SELECT rc_seek('select', 't:99999999999:1');
SELECT rc_seek('select', '0:1,0:99999999999999999999');

-- What is null where something must be said is an error of each function.
SELECT c.call, refused('SELECT ' || c.call) FROM unnest(ARRAY[
  'rc_sync_now(NULL)', 'rc_sync_now(full_sync => NULL)', 'rc_trigger(NULL)', 'rc_trigger(full_sync => NULL)',
  'rc_backfill(NULL, ''2023-02-01'', ''2023-03-01'')', 'rc_backfill(''rappel_conso'', NULL, ''2023-03-01'')',
  'rc_backfill(''rappel_conso'', ''2023-02-01'', NULL)', 'rc_backfill(''rappel_conso'', ''2023-02-01'', ''2023-03-01'', NULL)',
  'rc_wait(NULL)', 'rc_cancel(NULL)', 'rc_seek(NULL, ''earliest'')', 'rc_seek(''select'', NULL)', 'rc_drain(NULL)',
  'rc_retry(NULL)', 'rc_retry(NULL, 1)', 'rc_publish(NULL, ''a''::text)', 'rc_publish(NULL, ''1''::jsonb)',
  'rc_publish(NULL, ''a''::bytea)', 'rc_recalls_at(NULL)']) WITH ORDINALITY c (call, n) ORDER BY c.n;

-- A table that setup is going to make may be missing, but nothing else be wrong.
INSERT INTO rappel_conso.stream (name, topics, setup, statement)
VALUES ('later', '{t}', 'CREATE TABLE IF NOT EXISTS larder (jar text)', 'INSERT INTO larder SELECT key FROM records');
SELECT refused($$INSERT INTO rappel_conso.stream (name, topics, setup, statement)
  VALUES ('wrong', '{t}', 'CREATE TABLE IF NOT EXISTS dish ()', 'INSERT INTO dish (lid) SELECT key FROM records')$$);
DELETE FROM rappel_conso.stream WHERE name = 'later';

-- Names and rows that go.
UPDATE rappel_conso.stream SET name = 'renamed' WHERE name = 'select';
SELECT (SELECT stream FROM rappel_conso.source WHERE name = 'menu'), o.stream, o.next_offset
  FROM rappel_conso.stream_offset o WHERE o.stream <> 'insert';
DELETE FROM rappel_conso.stream WHERE name = 'renamed';
DELETE FROM rappel_conso.source WHERE name = 'menu';
DELETE FROM rappel_conso.stream WHERE name = 'renamed';
SELECT stream FROM rappel_conso.stream_offset;
SELECT count(*) FROM rappel_conso.stream_state;
SELECT source FROM rappel_conso.source_state;

DROP EXTENSION rappel_conso;
DROP SCHEMA pantry CASCADE;
DROP TABLE dish, cellar;
DROP TYPE plate;
DROP FUNCTION refused(text), stream_with(text, text), source_with(text, text), planned_as(), output_with(text), topic_with(text, text), change_menu(text);
DROP OWNED BY regress_rc_cook;
DROP ROLE regress_rc_cook, regress_rc_cooks, regress_rc_guest;
