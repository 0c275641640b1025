--
-- What CREATE EXTENSION makes: its members, a description for each of them,
-- nothing for PUBLIC, and nothing left behind when it is dropped.
--
\set VERBOSITY terse
CREATE EXTENSION rappel_conso;

\pset format unaligned
\pset tuples_only on
SELECT i.type, i.identity
  FROM pg_depend d, pg_identify_object(d.classid, d.objid, 0) i
 WHERE d.refclassid = 'pg_extension'::regclass
   AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'rappel_conso')
   AND d.deptype = 'e' AND i.identity !~ '\[\]$'
   AND NOT EXISTS (SELECT FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid
                    WHERE d.classid = 'pg_type'::regclass AND t.oid = d.objid AND c.relkind <> 'c')
 ORDER BY i.type COLLATE "C", i.identity COLLATE "C";
\pset tuples_only off
\pset format aligned

-- The version of the extension is that of its library.
SELECT extversion = rappel_conso.library_version() AS same_version, extrelocatable FROM pg_extension
 WHERE extname = 'rappel_conso';
ALTER EXTENSION rappel_conso SET SCHEMA pg_catalog;

-- What has no COMMENT: no row may come.
WITH member AS (
  SELECT d.classid, d.objid FROM pg_depend d
   WHERE d.refclassid = 'pg_extension'::regclass AND d.deptype = 'e'
     AND d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'rappel_conso')
), relation AS (
  SELECT c.oid, c.relkind FROM pg_class c JOIN member m ON m.classid = 'pg_class'::regclass AND m.objid = c.oid
   WHERE c.relkind IN ('r', 'v', 'S')
  UNION ALL
  SELECT c.oid, c.relkind FROM pg_type t JOIN pg_class c ON c.oid = t.typrelid
    JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
   WHERE c.relkind = 'c'
), object AS (
  SELECT 'pg_class'::regclass AS class, r.oid AS id, 0 AS sub FROM relation r WHERE r.relkind <> 'c'
  UNION ALL
  SELECT 'pg_class'::regclass, a.attrelid, a.attnum FROM pg_attribute a JOIN relation r ON r.oid = a.attrelid
   WHERE r.relkind IN ('r', 'v', 'c') AND a.attnum > 0 AND NOT a.attisdropped
  UNION ALL
  SELECT 'pg_proc'::regclass, m.objid, 0 FROM member m WHERE m.classid = 'pg_proc'::regclass
  UNION ALL
  SELECT 'pg_namespace'::regclass, m.objid, 0 FROM member m WHERE m.classid = 'pg_namespace'::regclass
  UNION ALL
  SELECT 'pg_type'::regclass, t.oid, 0 FROM pg_type t JOIN member m ON m.classid = 'pg_type'::regclass AND m.objid = t.oid
    LEFT JOIN pg_class c ON c.oid = t.typrelid
   WHERE t.typelem = 0 AND (c.oid IS NULL OR c.relkind = 'c')
  UNION ALL
  SELECT 'pg_trigger'::regclass, t.oid, 0 FROM pg_trigger t JOIN relation r ON r.oid = t.tgrelid
   WHERE NOT t.tgisinternal
  UNION ALL
  SELECT 'pg_policy'::regclass, p.oid, 0 FROM pg_policy p JOIN relation r ON r.oid = p.polrelid
)
SELECT pg_describe_object(o.class, o.id, o.sub) AS undescribed FROM object o
 WHERE NOT EXISTS (SELECT FROM pg_description d
                    WHERE d.classoid = o.class AND d.objoid = o.id AND d.objsubid = o.sub AND d.description <> '')
 ORDER BY 1;

-- How many objects of each class that query looks at, so that it cannot pass
-- by looking at none.
SELECT count(*) FILTER (WHERE c.relkind = 'r') > 5 AS tables, count(*) FILTER (WHERE c.relkind = 'v') AS views,
       count(*) FILTER (WHERE c.relkind = 'S') AS sequences,
       (SELECT count(*) > 100 FROM pg_description d WHERE d.classoid = 'pg_class'::regclass AND d.objsubid > 0
           AND d.objoid IN (SELECT oid FROM pg_class WHERE relnamespace = 'rappel_conso'::regnamespace)) AS columns
  FROM pg_class c WHERE c.relnamespace = 'rappel_conso'::regnamespace;

-- What PUBLIC may do: no row may come.
WITH acl AS (
  SELECT 'schema' AS kind, nspname::text AS name, COALESCE(nspacl, acldefault('n', nspowner)) AS acl
    FROM pg_namespace WHERE nspname = 'rappel_conso'
  UNION ALL
  SELECT 'relation', c.oid::regclass::text, COALESCE(relacl, acldefault(CASE relkind WHEN 'S' THEN 's' ELSE 'r' END::"char", relowner))
    FROM pg_class c WHERE relnamespace = 'rappel_conso'::regnamespace
  UNION ALL
  SELECT 'column', a.attrelid::regclass || '.' || a.attname, a.attacl
    FROM pg_attribute a JOIN pg_class c ON c.oid = a.attrelid WHERE c.relnamespace = 'rappel_conso'::regnamespace
  UNION ALL
  SELECT 'function', p.oid::regprocedure::text, COALESCE(proacl, acldefault('f', proowner))
    FROM pg_proc p JOIN pg_depend d ON d.classid = 'pg_proc'::regclass AND d.objid = p.oid AND d.deptype = 'e'
   WHERE d.refobjid = (SELECT oid FROM pg_extension WHERE extname = 'rappel_conso')
  UNION ALL
  SELECT 'type', t.oid::regtype::text, COALESCE(typacl, acldefault('T', typowner))
    FROM pg_type t LEFT JOIN pg_class c ON c.oid = t.typrelid
   WHERE typnamespace = 'rappel_conso'::regnamespace AND typelem = 0 AND (c.oid IS NULL OR c.relkind = 'c')
)
SELECT a.kind, a.name, e.privilege_type FROM acl a, aclexplode(a.acl) e WHERE e.grantee = 0 ORDER BY 1, 2, 3;

CREATE ROLE regress_rc_nobody;
SET ROLE regress_rc_nobody;
SELECT * FROM rc_sync_now();
SELECT * FROM rc_status();
SELECT rc_start();
SELECT rc_stop();
SELECT rc_seek('rappel_conso', 'earliest');
SELECT rc_fold('a');
SELECT * FROM rappel_conso.run;
SELECT rappel_conso.library_version();
RESET ROLE;
-- Not even with the schema opened.
GRANT USAGE ON SCHEMA rappel_conso TO regress_rc_nobody;
SET ROLE regress_rc_nobody;
SELECT * FROM rappel_conso.run;
SELECT * FROM rappel_conso.lag;
INSERT INTO rappel_conso.stream (name, topics, statement) VALUES ('s', '{t}', 'SELECT 1');
SELECT rappel_conso.library_version();
SELECT rappel_conso.worker_pid('scheduler');
RESET ROLE;

-- What pg_dump keeps: every table and sequence but the mark of rc_stop().
SELECT c.oid::regclass::text AS not_kept FROM pg_class c
 WHERE c.relnamespace = 'rappel_conso'::regnamespace AND c.relkind IN ('r', 'S')
   AND c.oid <> ALL ((SELECT extconfig FROM pg_extension WHERE extname = 'rappel_conso')::oid[])
 ORDER BY 1;

-- What comes built in.
SELECT name, topics, value_type, key_type, start_at, batch_size, workers, on_error, stop_after, paused,
       owner = current_user AS mine, search_path
  FROM rappel_conso.stream \gx
SELECT name, url, dataset, filter, key_field, cursor_field, "overlap", full_interval, transform, fold_accents,
       topic, partitions, replication, stream, poll_interval, retries, retry_delay, paused,
       owner = current_user AS mine
  FROM rappel_conso.source \gx
SELECT to_regclass('rappel_conso_table') IS NULL AS made_by_the_first_run;

-- Before the first run.
SELECT component, name, state, lag, last_success, last_error FROM rc_status()
 ORDER BY component COLLATE "C", name COLLATE "C";
SELECT rappel_conso.worker_pid('scheduler');
\set VERBOSITY default
SELECT rappel_conso.worker_pid('cook');
\set VERBOSITY terse
SELECT rc_stop();
SELECT count(*) FROM rappel_conso.stopped;
CREATE EXTENSION rappel_conso;

-- Dropped without CASCADE, and nothing stays.
DROP OWNED BY regress_rc_nobody;
DROP ROLE regress_rc_nobody;
DROP EXTENSION rappel_conso;
SELECT count(*) AS left_behind FROM pg_proc WHERE proname ~ '^rc_';
SELECT count(*) AS left_behind FROM pg_namespace WHERE nspname = 'rappel_conso';

-- In a schema of its own, and out of it again.
CREATE SCHEMA kitchen;
CREATE EXTENSION rappel_conso SCHEMA kitchen;
SELECT count(*) > 5 AS there, count(*) FILTER (WHERE pronamespace <> 'kitchen'::regnamespace) AS elsewhere
  FROM pg_proc WHERE proname ~ '^rc_';
SELECT bool_and(position('kitchen.rappel_conso_table' in s.statement || s.setup) > 0
                AND position('@' in s.statement || s.setup) = 0) AS qualified
  FROM rappel_conso.stream s;
SELECT name, state FROM kitchen.rc_status() WHERE component = 'source';
DROP EXTENSION rappel_conso;
DROP SCHEMA kitchen;
