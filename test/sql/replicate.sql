--
-- rc_replicate(): what is stored, what is refused; rc_debezium_fold(): what
-- changes leave of rows.  How a topic is followed: test/t/134_replicate.pl.
--
CREATE EXTENSION rappel_conso;
SET client_min_messages = warning;

CREATE TABLE item (id integer, part text, name text, big text, qty integer DEFAULT 7, twice integer GENERATED ALWAYS AS (qty * 2) STORED,
                   PRIMARY KEY (id, part));
ALTER TABLE item DROP COLUMN name;
SELECT rc_replicate('srv.public.item', 'item') AS stream;
SELECT topics, envelope, value_type, statement FROM rappel_conso.stream WHERE name = 'item';
SELECT rc_replicate('t', 'item', name => 'other', on_truncate => 'ignore', on_new_column => 'ignore') AS stream;
SELECT statement FROM rappel_conso.stream WHERE name = 'other';

-- Other shapes of tables.
CREATE SCHEMA "Shop";
CREATE TABLE "Shop"."Odd Näme" ("Id" integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY, stored text, "quo""te" integer GENERATED ALWAYS AS IDENTITY);
CREATE TABLE key_only (a integer, b integer, PRIMARY KEY (b, a));
SELECT rc_replicate('t', '"Shop"."Odd Näme"') AS stream, rc_replicate('t', 'key_only') AS key_only;
SELECT statement FROM rappel_conso.stream WHERE name IN ('Shop.Odd_N_me', 'key_only') ORDER BY name;

-- What changes leave.
CREATE FUNCTION pg_temp.row_of(text) RETURNS item LANGUAGE sql AS $$ SELECT NULLIF($1, '')::item $$;
CREATE FUNCTION pg_temp.folded(stored text[], changes text[], on_truncate text DEFAULT 'apply', on_new_column text DEFAULT 'error')
RETURNS SETOF text LANGUAGE sql AS $$
  SELECT COALESCE(f.line::text, 'all') || CASE WHEN f.gone THEN ' gone' ELSE '' END
    FROM rc_debezium_fold(NULL::item, '{id,part,big,qty}',
           ARRAY(SELECT ROW(split_part(c, ' ', 1)::"char", pg_temp.row_of(split_part(c, ' ', 2)), pg_temp.row_of(split_part(c, ' ', 3)),
                            pg_temp.row_of(split_part(c, ' ', 4)), NULLIF(split_part(c, ' ', 5), '')::text[],
                            NULLIF(split_part(c, ' ', 6), '')::text[], NULLIF(split_part(c, ' ', 7), '')::jsonb)
                   FROM unnest(changes) WITH ORDINALITY AS u (c, at) ORDER BY at),
           ARRAY(SELECT s::item FROM unnest(stored) s), on_truncate, on_new_column) f $$;
-- op before after old_key unavailable missing extra
SELECT pg_temp.folded('{}', ARRAY['c  (1,a,x,1,)', 'u  (1,a,y,2,)', 'c  (2,a,z,3,)', 'd (2,a,,,)', 'd (2,a,,,)']) AS last_one_wins;
SELECT pg_temp.folded('{"(1,a,old,1,2)"}', ARRAY['u  (1,a,,5,)  {big}']) AS unavailable;
SELECT pg_temp.folded('{"(1,a,old,1,2)"}', ARRAY['u  (1,a,new,5,)', 'u  (1,a,,6,)  {big}', 'u  (1,a,,7,)  {big}']) AS from_the_batch;
SELECT pg_temp.folded('{}', ARRAY['u (1,a,of_before,1,) (1,a,,2,)  {big}']) AS from_before;
SELECT pg_temp.folded('{"(1,a,old,1,2)"}', ARRAY['d (1,a,,,)', 'd (1,a,,,)', 'c  (2,a,,1,) (1,a,,,) {big}']) AS moved;
SELECT pg_temp.folded('{"(1,a,old,1,2)"}', ARRAY['c  (2,a,,1,) (1,a,,,) {big}', 'd (1,a,,,)']) AS moved_of_two_partitions;
SELECT pg_temp.folded('{"(1,a,one,1,2)","(2,a,two,1,2)"}',
  ARRAY['d (1,a,,,)', 'c  (3,a,,1,) (1,a,,,) {big}', 'd (2,a,,,)', 'c  (1,a,,1,) (2,a,,,) {big}', 'd (3,a,,,)', 'd (3,a,,,)', 'c  (2,a,,1,) (3,a,,,) {big}']) AS swapped;
SELECT pg_temp.folded('{"(1,a,one,1,2)","(2,a,two,1,2)"}',
  ARRAY['d (2,a,,,)', 'c  (2,a,,1,) (1,a,,,) {big}', 'd (1,a,,,)', 'c  (1,a,,1,) (2,a,,,) {big}']) AS swapped_of_two_partitions;
SELECT pg_temp.folded('{"(1,a,old,1,2)"}', ARRAY['u (1,a,,,) (4,a,new,3,)']) AS moved_by_an_update;
SELECT pg_temp.folded('{"(1,a,old,1,2)"}', ARRAY['u  (1,a,new,,)   {qty}', 'c  (2,a,new,,)   {qty}']) AS missing;
SELECT pg_temp.folded('{"(1,a,old,1,2)","(2,a,old,1,2)"}', ARRAY['u  (1,a,new,2,)', 't', 'c  (2,a,new,,)   {qty}']) AS truncated;
SELECT pg_temp.folded('{}', ARRAY['t', 'm', 'c  (2,a,new,1,)']) AS truncated, pg_temp.folded('{}', ARRAY['c  (2,a,new,1,)', 't'], 'ignore') AS ignored;
SELECT pg_temp.folded('{}', ARRAY['c  (2,a,new,1,)    {"more":1}'], 'apply', 'ignore') AS new_column;
\set VERBOSITY terse
SELECT pg_temp.folded('{}', ARRAY['u  (1,a,,5,)  {big}']);
SELECT pg_temp.folded('{"(1,a,old,1,2)"}', ARRAY['d (1,a,,,)', 'c  (1,a,,5,)  {big}']);
SELECT pg_temp.folded('{"(1,a,old,1,2)"}', ARRAY['t', 'u  (1,a,,5,)  {big}']);
SELECT pg_temp.folded('{}', ARRAY['t'], 'error');
SELECT pg_temp.folded('{}', ARRAY['c  (2,a,new,1,)    {"more":1,"yet":{"a":2}}']);
SELECT pg_temp.folded('{}', ARRAY['d (1,,,,)']);
SELECT pg_temp.folded('{}', ARRAY['c  (,a,,,)']);
SELECT pg_temp.folded('{}', ARRAY['c']);
SELECT pg_temp.folded('{}', ARRAY['d']);
SELECT pg_temp.folded('{}', ARRAY['x  (1,a,,,)']);
SELECT pg_temp.folded('{}', '{}', 'no');
SELECT pg_temp.folded('{}', '{}', 'apply', 'add');
SELECT pg_temp.folded('{}', NULL);
SELECT rc_debezium_fold(NULL::item, '{}', ARRAY[ROW(1)], '{}'::item[], 'apply', 'error');
SELECT rc_debezium_fold(1, '{}', '{}', '{}'::integer[], 'apply', 'error');
SELECT rc_debezium_fold(NULL::item, '{}', ARRAY[ROW('c'::"char", NULL::item, NULL::key_only, NULL::item, NULL::text[], NULL::text[], NULL::jsonb)], '{}'::item[], 'apply', 'error');

SELECT rc_debezium_fold(NULL::item, '{id,part}', ARRAY[ROW('c'::"char", NULL::item, '(1,a,b,2,)'::item, NULL::item, NULL::text[], '{qty}'::text[], NULL::jsonb)], '{}'::item[], 'apply', 'error');
SELECT rc_debezium_fold(NULL::item, '{}', NULL, '{}'::item[], 'apply', 'error');

-- Called again, it writes the statement again: of the same stream only.
ALTER TABLE item ADD more text;
SELECT rc_replicate('srv.public.item', 'item') AS again;
SELECT statement LIKE '%EXCLUDED.more%' AS more FROM rappel_conso.stream WHERE name = 'item';
SELECT rc_replicate('another', 'item');

-- What is refused.
CREATE TABLE keyless (id integer);
CREATE TABLE late_key (id integer PRIMARY KEY DEFERRABLE);
CREATE TABLE parent (id integer PRIMARY KEY, of integer REFERENCES parent DEFERRABLE, u text UNIQUE);
CREATE TABLE child (id integer PRIMARY KEY, parent integer REFERENCES parent DEFERRABLE);
CREATE VIEW seen AS SELECT 1 AS id;
CREATE TEMP TABLE passing (id integer PRIMARY KEY);
SELECT rc_replicate('t', 'keyless');
SELECT rc_replicate('t', 'late_key');
SELECT rc_replicate('t', 'parent');
SELECT rc_replicate('t', 'child');
SELECT rc_replicate('t', 'seen');
SELECT rc_replicate('t', 'passing');
SELECT rc_replicate('not a topic', 'item', 'x');
SELECT rc_replicate(NULL, 'item');
SELECT rc_replicate('t', NULL);
SELECT rc_replicate('t', 'item', capture => 'c');
SELECT rc_replicate('t', 'item', on_truncate => 'no');
SELECT rc_replicate('t', 'item', on_new_column => NULL);
SELECT rc_replicate('t', 'item', on_new_column => 'add');
DROP TABLE child;
SELECT rc_replicate('t', 'parent') AS of_itself;

DELETE FROM rappel_conso.stream WHERE topics <@ '{t,srv.public.item}';
DROP TABLE item, key_only, keyless, late_key, parent, passing CASCADE;
DROP VIEW seen;
DROP SCHEMA "Shop" CASCADE;
DROP EXTENSION rappel_conso;
