-- 90-builtin
--     Rows that come built in: the stream and the source of recalls.
--
-- Setup and statement run as the stream's owner, with no other rights.  The
-- tables that setup makes outlive the extension, so they must not depend on it.

-- Lists of the columns, one a line; "content" is all but the key.
WITH list AS (
  SELECT pg_catalog.string_agg(pg_catalog.format('%I', c.name), c.separator ORDER BY c.attnum) AS names,
         pg_catalog.string_agg(pg_catalog.format('OLD.%I', c.name), c.separator ORDER BY c.attnum) AS of_old,
         pg_catalog.string_agg(pg_catalog.format('r.%I', c.name), c.separator ORDER BY c.attnum) AS of_r,
         pg_catalog.string_agg(pg_catalog.format('r.%I', c.name), c.separator ORDER BY c.attnum) FILTER (WHERE NOT c.is_key) AS content_of_r,
         pg_catalog.string_agg(pg_catalog.format('o.%I', c.name), c.separator ORDER BY c.attnum) FILTER (WHERE NOT c.is_key) AS content_of_o,
         pg_catalog.string_agg(pg_catalog.format('%1$I = EXCLUDED.%1$I', c.name), c.separator ORDER BY c.attnum) FILTER (WHERE NOT c.is_key) AS excluded,
         pg_catalog.string_agg(pg_catalog.format('%I %s%s', c.name, c.type, CASE WHEN c.is_key THEN ' PRIMARY KEY' END),
                               c.separator ORDER BY c.attnum) AS definitions
    FROM (SELECT a.attnum, a.attname AS name, a.attname OPERATOR(pg_catalog.=) 'reference_fiche' AS is_key,
                 -- the table outlives the domain; the other columns that it has say timestamptz, too
                 CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod)
                      ELSE pg_catalog.replace(pg_catalog.format_type(a.atttypid, a.atttypmod), 'timestamp with time zone', 'timestamptz')
                 END AS type,
                 pg_catalog.concat(',', pg_catalog.chr(10), '      ') AS separator
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
           WHERE a.attrelid OPERATOR(pg_catalog.=) 'rappel_conso.recall'::pg_catalog.regclass::pg_catalog.oid
             AND a.attnum OPERATOR(pg_catalog.>) 0) c
)
INSERT INTO rappel_conso.stream (name, topics, value_type, search_path, setup, statement)
SELECT 'rappel_conso', '{rappel_conso}'::pg_catalog.text[], 'rappel_conso.recall'::pg_catalog.regtype, 'pg_catalog, pg_temp',
pg_catalog.concat($setup$
DO $do$
DECLARE
  me CONSTANT pg_catalog.oid := (SELECT oid FROM pg_catalog.pg_roles WHERE rolname OPERATOR(pg_catalog.=) current_user);
  holder pg_catalog.oid;
  holder_of_table pg_catalog.oid;
  made pg_catalog.regclass[] := '{}';
  relation pg_catalog.regclass;
  comment record;
BEGIN
  SELECT relowner INTO holder_of_table FROM pg_catalog.pg_class
   WHERE oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('@extschema@.rappel_conso_table')::pg_catalog.oid;
  IF holder_of_table IS NULL AND pg_catalog.to_regprocedure('@extschema@.rappel_conso_keep_history()') IS NULL THEN
    CREATE FUNCTION @extschema@.rappel_conso_keep_history() RETURNS trigger
    LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $history$
    BEGIN
      IF TG_WHEN = 'BEFORE' THEN
        -- another transaction began later and was first
        NEW.updated_at := OLD.updated_at + interval '1 microsecond';
        RETURN NEW;
      END IF;
      IF pg_catalog.to_regclass('@extschema@.rappel_conso_history') IS NULL THEN
        -- of a class that is never one record's fault: the stream starts again, and its setup creates the table
        RAISE EXCEPTION 'table "rappel_conso_history" is missing'
          USING ERRCODE = 'undefined_file',
                HINT = 'The next run or start of the stream creates it. To keep no history, use ALTER TABLE rappel_conso_table DISABLE TRIGGER keep_superseded, DISABLE TRIGGER keep_deleted.';
      END IF;
      -- another role may have put another table there since setup looked
      LOCK TABLE ONLY @extschema@.rappel_conso_history IN ROW EXCLUSIVE MODE;
      IF NOT EXISTS (SELECT FROM pg_catalog.pg_class h JOIN pg_catalog.pg_class t ON t.oid = TG_RELID JOIN pg_catalog.pg_roles r ON r.oid = h.relowner
                      WHERE h.oid = pg_catalog.to_regclass('@extschema@.rappel_conso_history') AND h.relkind IN ('r', 'p')
                        AND (h.relowner = t.relowner OR r.rolsuper)) THEN
        RAISE EXCEPTION '"rappel_conso_history" is not a table of the owner of table "%"', TG_TABLE_NAME
          USING ERRCODE = 'insufficient_privilege',
                HINT = 'Rename it, or make that role its owner.';
      END IF;
      INSERT INTO @extschema@.rappel_conso_history (
      $setup$, list.names, $setup$, first_seen_at, updated_at, withdrawn_at, valid_from, valid_to)
      VALUES (
      $setup$, list.of_old, $setup$, OLD.first_seen_at, OLD.updated_at, OLD.withdrawn_at, OLD.updated_at,
        COALESCE(NEW.updated_at, GREATEST(now(), OLD.updated_at)));
      RETURN NULL;
    END
    $history$;
    COMMENT ON FUNCTION @extschema@.rappel_conso_keep_history() IS 'stores the old row in rappel_conso_history, and keeps a row''s timestamps in order';
  END IF;

  -- what exists there under our names must be ours: it will run, or be written, with our rights
  SELECT o.owner INTO holder
    FROM (SELECT relowner FROM pg_catalog.pg_class
           WHERE oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('@extschema@.rappel_conso_history')::pg_catalog.oid
          UNION ALL
          SELECT proowner FROM pg_catalog.pg_proc
           WHERE oid OPERATOR(pg_catalog.=) pg_catalog.to_regprocedure('@extschema@.rappel_conso_keep_history()')::pg_catalog.oid) o (owner)
   WHERE o.owner OPERATOR(pg_catalog.<>) me LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'rappel_conso_history or rappel_conso_keep_history() belongs to role "%", not to the owner of the stream', pg_catalog.pg_get_userbyid(holder)
      USING ERRCODE = 'insufficient_privilege',
            HINT = 'Rename it, or make the owner of the stream its owner.';
  END IF;

  IF holder_of_table IS NULL THEN
    CREATE TABLE @extschema@.rappel_conso_table (
      $setup$, list.definitions, $setup$,
      first_seen_at timestamptz NOT NULL DEFAULT now(),
      updated_at timestamptz NOT NULL DEFAULT now(),
      withdrawn_at timestamptz
    );
    CREATE INDEX ON @extschema@.rappel_conso_table (date_de_publication);
    CREATE INDEX ON @extschema@.rappel_conso_table USING gin (gtin);
    COMMENT ON TABLE @extschema@.rappel_conso_table IS 'French product recalls, one row per fiche; filled by the stream rappel_conso';
    COMMENT ON COLUMN @extschema@.rappel_conso_table.first_seen_at IS 'when the row was inserted';
    COMMENT ON COLUMN @extschema@.rappel_conso_table.updated_at IS 'when the row was last inserted or updated';
    COMMENT ON COLUMN @extschema@.rappel_conso_table.withdrawn_at IS 'when the fiche was found to be deleted from the dataset; null: it is present';
    made := pg_catalog.array_append(made, '@extschema@.rappel_conso_table'::pg_catalog.regclass);

    CREATE TRIGGER keep_order BEFORE UPDATE ON @extschema@.rappel_conso_table
      FOR EACH ROW WHEN (NEW.updated_at < OLD.updated_at)
      EXECUTE FUNCTION @extschema@.rappel_conso_keep_history();
    CREATE TRIGGER keep_superseded AFTER UPDATE ON @extschema@.rappel_conso_table
      FOR EACH ROW WHEN (OLD.updated_at IS DISTINCT FROM NEW.updated_at)
      EXECUTE FUNCTION @extschema@.rappel_conso_keep_history();
    CREATE TRIGGER keep_deleted AFTER DELETE ON @extschema@.rappel_conso_table
      FOR EACH ROW EXECUTE FUNCTION @extschema@.rappel_conso_keep_history();
  ELSIF holder_of_table OPERATOR(pg_catalog.<>) me THEN
    RAISE EXCEPTION 'table "rappel_conso_table" belongs to role "%", not to the owner of the stream', pg_catalog.pg_get_userbyid(holder_of_table)
      USING ERRCODE = 'insufficient_privilege',
            HINT = 'Rename that table, or make the owner of the stream its owner.';
  END IF;

  -- with the table, and again wherever it is missing and rows are to be kept
  IF pg_catalog.to_regclass('@extschema@.rappel_conso_history') IS NULL
     AND EXISTS (SELECT FROM pg_catalog.pg_trigger
                  WHERE tgrelid OPERATOR(pg_catalog.=) '@extschema@.rappel_conso_table'::pg_catalog.regclass::pg_catalog.oid
                    AND tgname OPERATOR(pg_catalog.=) ANY (ARRAY['keep_superseded', 'keep_deleted']::pg_catalog.name[])
                    AND tgenabled OPERATOR(pg_catalog.<>) 'D') THEN
    -- without what the user has added to the table
    EXECUTE (SELECT pg_catalog.format('CREATE TABLE %s (%s, valid_from timestamptz NOT NULL, valid_to timestamptz NOT NULL)',
                      '@extschema@.rappel_conso_history', pg_catalog.string_agg(pg_catalog.format('%I %s%s', attname, pg_catalog.format_type(atttypid, atttypmod),
                        CASE WHEN attname OPERATOR(pg_catalog.=) ANY (ARRAY['reference_fiche', 'first_seen_at', 'updated_at']::pg_catalog.name[])
                             THEN ' NOT NULL' END), ', ' ORDER BY attnum))
               FROM pg_catalog.pg_attribute
              WHERE attrelid OPERATOR(pg_catalog.=) '@extschema@.rappel_conso_table'::pg_catalog.regclass::pg_catalog.oid
                AND (attname OPERATOR(pg_catalog.=) ANY (ARRAY['first_seen_at', 'updated_at', 'withdrawn_at']::pg_catalog.name[])
                     OR attname OPERATOR(pg_catalog.=) ANY (SELECT r.attname FROM pg_catalog.pg_attribute r
                                                             WHERE r.attrelid OPERATOR(pg_catalog.=) 'rappel_conso.recall'::pg_catalog.regclass::pg_catalog.oid)));
    CREATE INDEX ON @extschema@.rappel_conso_history (reference_fiche, valid_from);
    COMMENT ON TABLE @extschema@.rappel_conso_history IS 'superseded rows of rappel_conso_table, with the time they were valid';
    COMMENT ON COLUMN @extschema@.rappel_conso_history.valid_from IS 'since when the row was in rappel_conso_table';
    COMMENT ON COLUMN @extschema@.rappel_conso_history.valid_to IS 'when the row was replaced or deleted';
    made := pg_catalog.array_append(made, '@extschema@.rappel_conso_history'::pg_catalog.regclass);
  END IF;

  -- what was made just now: the table has the comments of the type that its rows are decoded from, the history those of the table
  FOREACH relation IN ARRAY made LOOP
    FOR comment IN
      SELECT a.attname, pg_catalog.col_description(o.attrelid, o.attnum) AS text
        FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_attribute o ON o.attname OPERATOR(pg_catalog.=) a.attname
       WHERE a.attrelid OPERATOR(pg_catalog.=) relation::pg_catalog.oid AND a.attnum OPERATOR(pg_catalog.>) 0
         AND o.attrelid OPERATOR(pg_catalog.=) CASE WHEN relation::pg_catalog.oid OPERATOR(pg_catalog.=) pg_catalog.to_regclass('@extschema@.rappel_conso_table')::pg_catalog.oid
                                                    THEN 'rappel_conso.recall' ELSE '@extschema@.rappel_conso_table' END::pg_catalog.regclass::pg_catalog.oid
         AND pg_catalog.col_description(a.attrelid, a.attnum) IS NULL
    LOOP
      EXECUTE pg_catalog.format('COMMENT ON COLUMN %s.%I IS %L', relation, comment.attname, comment.text);
    END LOOP;
  END LOOP;
END
$do$
$setup$),
pg_catalog.concat($statement$
-- A record without a value withdraws its fiche.  Such fiches are few; of each
-- the last life in the batch counts: it begins after the offset "born" (null:
-- before the batch), and may be over.
WITH gone AS (
  SELECT DISTINCT w.key AS fiche FROM records w WHERE w.reference_fiche IS NULL AND w.key IS NOT NULL
), life AS (
  SELECT p.fiche, max(p.gone_at) FILTER (WHERE p.live) AS born,
         COALESCE(max(p.record_offset) FILTER (WHERE p.live) < max(p.gone_at), true) AS over,
         COALESCE(max(p.record_timestamp) FILTER (WHERE NOT p.live), now()) AS over_at
    FROM (SELECT g.fiche, w.record_offset, w.record_timestamp, w.reference_fiche IS NOT NULL AS live,
                 max(w.record_offset) FILTER (WHERE w.reference_fiche IS NULL)
                   OVER (PARTITION BY g.fiche ORDER BY w.record_offset) AS gone_at
            FROM records w JOIN gone g ON g.fiche = COALESCE(w.reference_fiche, w.key)) p
   GROUP BY p.fiche
), marked AS (
UPDATE @extschema@.rappel_conso_table t SET withdrawn_at = l.over_at, updated_at = now()
  FROM life l
 WHERE l.over AND t.reference_fiche = l.fiche AND t.withdrawn_at IS NULL
   -- else it is written below
   AND NOT EXISTS (
         SELECT FROM records n
          WHERE n.reference_fiche = l.fiche
            AND (l.born IS NOT NULL OR ROW(COALESCE(n.numero_de_version, -1), COALESCE(n.date_de_publication, '-infinity'), COALESCE(n.rappelguid, '') COLLATE "C")
                                    >= ROW(COALESCE(t.numero_de_version, -1), COALESCE(t.date_de_publication, '-infinity'), COALESCE(t.rappelguid, '') COLLATE "C")))
RETURNING false AS inserted
), written AS (
INSERT INTO @extschema@.rappel_conso_table AS t (
      $statement$, list.names, $statement$, withdrawn_at)
SELECT
      $statement$, list.of_r, $statement$, CASE WHEN l.over THEN l.over_at END
  FROM records r
  LEFT JOIN life l ON l.fiche = r.reference_fiche
 WHERE r.reference_fiche IS NOT NULL AND (l.born IS NULL OR r.record_offset > l.born)
   -- the winner, where the batch holds a fiche several times
   AND NOT EXISTS (
         SELECT FROM records n
          WHERE n.reference_fiche = r.reference_fiche AND (l.born IS NULL OR n.record_offset > l.born)
            AND ROW(COALESCE(n.numero_de_version, -1), COALESCE(n.date_de_publication, '-infinity'), COALESCE(n.rappelguid, '') COLLATE "C", n.record_offset, n.partition)
              > ROW(COALESCE(r.numero_de_version, -1), COALESCE(r.date_de_publication, '-infinity'), COALESCE(r.rappelguid, '') COLLATE "C", r.record_offset, r.partition))
   -- older than what the table has, or equal: not even the row is locked; a
   -- withdrawn row gives way to what came after its withdrawal, whatever the
   -- version
   AND NOT EXISTS (
         SELECT FROM @extschema@.rappel_conso_table o
          WHERE o.reference_fiche = r.reference_fiche
            AND (o.withdrawn_at > r.record_timestamp
             OR o.withdrawn_at IS NULL AND l.born IS NULL AND ROW(COALESCE(r.numero_de_version, -1), COALESCE(r.date_de_publication, '-infinity'), COALESCE(r.rappelguid, '') COLLATE "C")
               < ROW(COALESCE(o.numero_de_version, -1), COALESCE(o.date_de_publication, '-infinity'), COALESCE(o.rappelguid, '') COLLATE "C")
             OR ROW(
      $statement$, list.content_of_r, $statement$)
                IS NOT DISTINCT FROM ROW(
      $statement$, list.content_of_o, $statement$)
                AND (o.withdrawn_at IS NOT NULL) = COALESCE(l.over, false))
          OFFSET 0)
    ON CONFLICT (reference_fiche) DO UPDATE SET
      $statement$, list.excluded, $statement$, withdrawn_at = EXCLUDED.withdrawn_at,
  updated_at = now()
 WHERE t.withdrawn_at IS NOT NULL
    OR EXCLUDED.reference_fiche IN (SELECT l.fiche FROM life l WHERE l.born IS NOT NULL)
    OR ROW(COALESCE(EXCLUDED.numero_de_version, -1), COALESCE(EXCLUDED.date_de_publication, '-infinity'), COALESCE(EXCLUDED.rappelguid, '') COLLATE "C")
    >= ROW(COALESCE(t.numero_de_version, -1), COALESCE(t.date_de_publication, '-infinity'), COALESCE(t.rappelguid, '') COLLATE "C")
RETURNING xmax = 0 AS inserted
)
SELECT inserted FROM written UNION ALL SELECT inserted FROM marked
$statement$)
FROM list;

-- Where all rows of a batch are new, and each is there once, a plain INSERT does
-- what the statement does, if nothing of the table would notice the difference:
-- no rules or policies, no triggers for a statement, and no rights that only one
-- of the two needs.
DO $do$
DECLARE
  relation CONSTANT text := '@extschema@.rappel_conso_table';
  ask CONSTANT text := pg_catalog.concat(
'SELECT NOT c.relhasrules AND NOT c.relrowsecurity
   AND c.relowner = (SELECT oid FROM pg_roles WHERE rolname = current_user)
   AND NOT EXISTS (SELECT FROM pg_trigger g WHERE g.tgrelid = c.oid AND (g.tgtype & 1) = 0)
   AND NOT EXISTS (SELECT FROM records r
                    WHERE r.reference_fiche IS NULL
                       OR EXISTS (SELECT FROM ', relation, ' t WHERE t.reference_fiche = r.reference_fiche OFFSET 0))
   AND NOT EXISTS (SELECT FROM records r GROUP BY r.reference_fiche HAVING count(*) > 1)
  FROM pg_class c WHERE c.oid = ', pg_catalog.quote_literal(relation), '::regclass');
  insert CONSTANT text := (
    SELECT pg_catalog.format('INSERT INTO %s (%s) SELECT %s FROM records r', relation,
             pg_catalog.string_agg(pg_catalog.format('%I', a.attname), ', ' ORDER BY a.attnum),
             pg_catalog.string_agg(pg_catalog.format('r.%I', a.attname), ', ' ORDER BY a.attnum))
      FROM pg_catalog.pg_attribute a
     WHERE a.attrelid OPERATOR(pg_catalog.=) 'rappel_conso.recall'::pg_catalog.regclass::pg_catalog.oid
       AND a.attnum OPERATOR(pg_catalog.>) 0);
BEGIN
  EXECUTE (SELECT pg_catalog.format(
    'CREATE FUNCTION rappel_conso.recalls_all_new(statement text) RETURNS text[]
     LANGUAGE sql IMMUTABLE SET search_path = pg_catalog, pg_temp AS %L',
    pg_catalog.format('SELECT ARRAY[%L, %L] WHERE $1 = %L', ask, insert, s.statement))
    FROM rappel_conso.stream s WHERE s.name OPERATOR(pg_catalog.=) 'rappel_conso');
END
$do$;
REVOKE ALL ON FUNCTION rappel_conso.recalls_all_new(text) FROM PUBLIC;
COMMENT ON FUNCTION rappel_conso.recalls_all_new(text) IS 'for the statement that stream rappel_conso comes with: the question whether all rows of a batch are new, and the INSERT that then does the same; null for other statements';

INSERT INTO rappel_conso.source (name, dataset, key_field, cursor_field, transform, topic, stream)
VALUES ('rappel_conso', 'rappelconso-v2-gtin-espaces', 'numero_fiche', 'date_publication', 'recall',
        'rappel_conso', 'rappel_conso');
