-- 66-replicate
--     A table that follows a topic of Debezium.  What is stored is an ordinary
--     stream, whose statement can be read and changed; nothing here may work
--     in another way than that.

CREATE FUNCTION @extschema@.rc_debezium_fold("table" anyelement, columns text[], changes record[], stored anyarray,
  on_truncate text, on_new_column text, OUT line anyelement, OUT gone boolean) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'rc_debezium_fold' LANGUAGE C VOLATILE PARALLEL UNSAFE ROWS 1000;
COMMENT ON FUNCTION @extschema@.rc_debezium_fold(anyelement, text[], record[], anyarray, text, text) IS 'what changes, in their order, leave of the rows of a table: each row that is to be written, or whose key is gone; a null line means all rows are gone';

CREATE FUNCTION @extschema@.rc_replicate(topic text, relation regclass, name text DEFAULT NULL, capture text DEFAULT NULL,
  on_truncate text DEFAULT 'apply', on_new_column text DEFAULT 'error') RETURNS text
LANGUAGE plpgsql VOLATILE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  stream text;
  body text;
  target record;
  other record;
  stored text := 'stored';
  key text;            -- the columns of the primary key, of three relations
  key_of_stored text;
  key_of_line text;
  columns text;        -- all columns, and those that an update writes
  line text;
  names text[];
  written text;
  excluded text;
  only_it text;        -- rows of tables that inherit from it are not its rows
BEGIN
  IF topic IS NULL OR relation IS NULL THEN
    RAISE EXCEPTION 'rc_replicate() does not accept null for %', CASE WHEN topic IS NULL THEN 'topic' ELSE 'relation' END
      USING ERRCODE = 'null_value_not_allowed';
  END IF;
  IF capture IS NOT NULL THEN
    RAISE EXCEPTION 'rc_replicate() cannot read from a capture'
      USING ERRCODE = 'feature_not_supported', HINT = 'Leave capture out.';
  END IF;
  IF (on_truncate IN ('apply', 'ignore', 'error')) IS NOT TRUE THEN
    RAISE EXCEPTION 'on_truncate cannot be %', COALESCE('"' || on_truncate || '"', 'null')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Use apply, ignore or error.';
  END IF;
  IF on_new_column = 'add' THEN
    RAISE EXCEPTION 'rc_replicate() cannot add columns'
      USING ERRCODE = 'feature_not_supported', HINT = 'Use error or ignore for on_new_column.';
  ELSIF (on_new_column IN ('error', 'ignore')) IS NOT TRUE THEN
    RAISE EXCEPTION 'on_new_column cannot be %', COALESCE('"' || on_new_column || '"', 'null')
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Use error or ignore.';
  END IF;

  SELECT c.relkind, c.relname, n.nspname, c.reltype, c.relpersistence, i.indexrelid, i.indimmediate INTO target
    FROM pg_class c JOIN pg_namespace n ON n.oid = c.relnamespace
    LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
   WHERE c.oid = relation;
  IF (target.relkind IN ('r', 'p')) IS NOT TRUE OR target.relpersistence = 't' THEN
    RAISE EXCEPTION '"%" is not a table that can follow a topic', relation
      USING ERRCODE = 'wrong_object_type', HINT = 'Use an ordinary or a partitioned table, not a temporary one.';
  END IF;
  IF target.indexrelid IS NULL OR NOT target.indimmediate THEN
    RAISE EXCEPTION 'table "%" has no primary key that is checked at once', relation
      USING ERRCODE = 'invalid_table_definition',
            HINT = 'Changes find their rows by it: add one, not deferrable, with the columns that the topic has as key.';
  END IF;

  only_it := CASE target.relkind WHEN 'r' THEN 'ONLY ' ELSE '' END;
  SELECT a.attname, format_type(a.atttypid, a.atttypmod) AS type INTO other
    FROM pg_index i CROSS JOIN LATERAL unnest(i.indkey::smallint[], i.indclass::oid[]) WITH ORDINALITY AS k (attnum, class, at)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    JOIN pg_opclass b ON b.oid = k.class
   WHERE i.indexrelid = target.indexrelid AND k.at <= i.indnkeyatts
     AND (NOT EXISTS (SELECT FROM pg_amop m JOIN pg_operator o ON o.oid = m.amopopr
                       WHERE m.amopfamily = b.opcfamily AND m.amopstrategy = 3 AND m.amoplefttype = b.opcintype
                         AND m.amoprighttype = b.opcintype AND o.oprname = '=' AND o.oprnamespace = 'pg_catalog'::regnamespace)
       OR NOT EXISTS (SELECT FROM pg_opclass h JOIN pg_am am ON am.oid = h.opcmethod
                       WHERE am.amname = 'hash' AND h.opcintype = b.opcintype AND h.opcdefault))
   ORDER BY k.at LIMIT 1;
  IF other.attname IS NOT NULL THEN
    RAISE EXCEPTION 'column "%" of the primary key of table "%" is of type %, which rc_replicate() cannot compare', other.attname, relation, other.type
      USING ERRCODE = 'feature_not_supported', HINT = 'Use a type of PostgreSQL itself that can be hashed, such as text in place of citext.';
  END IF;
  SELECT a.attname INTO other FROM pg_attribute a JOIN pg_index i ON i.indexrelid = target.indexrelid
   WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attidentity = 'a'
     AND a.attnum <> ALL ((i.indkey::smallint[])[0:i.indnkeyatts - 1]) LIMIT 1;
  IF other.attname IS NOT NULL THEN
    RAISE EXCEPTION 'column "%" of table "%" is GENERATED ALWAYS AS IDENTITY and not part of its primary key', other.attname, relation
      USING ERRCODE = 'feature_not_supported', DETAIL = 'It could not be set to what the source has.',
            HINT = 'Make it GENERATED BY DEFAULT in the copy.';
  END IF;

  -- what lets rows in that arrive one by one, in the order of their topic
  SELECT c.conname, c.conrelid::regclass AS from_table, c.confrelid::regclass AS to_table INTO other
    FROM pg_constraint c
   WHERE c.contype = 'f' AND relation IN (c.conrelid, c.confrelid)
     AND NOT (c.conrelid = c.confrelid AND c.condeferrable)
   ORDER BY c.conname LIMIT 1;
  IF other.conname IS NOT NULL THEN
    RAISE EXCEPTION 'table "%" has the foreign key "%", from "%" to "%"', relation, other.conname, other.from_table, other.to_table
      USING ERRCODE = 'feature_not_supported',
            DETAIL = 'Rows of two tables come from two topics, each at its own pace: one can refer to another that is not there yet.',
            HINT = 'Drop the constraint in the copy, where the source has checked it already.';
  END IF;
  SELECT string_agg(i.indexrelid::regclass::text, ', ' ORDER BY i.indexrelid::regclass::text) AS names INTO other
    FROM pg_index i
   WHERE i.indrelid = relation AND (i.indisunique OR i.indisexclusion) AND NOT i.indisprimary;
  IF other.names IS NOT NULL THEN
    RAISE WARNING 'table "%" has unique constraints besides its primary key', relation
      USING DETAIL = format('They are %s. A value that one row gives up and another takes can arrive in the wrong order if the topic has more than one partition, and then the change becomes a dead letter.', other.names),
            HINT = 'Make them plain indexes in the copy, where the source has checked them already.';
  END IF;

  -- a name that no column has
  WHILE EXISTS (SELECT FROM pg_attribute a WHERE a.attrelid = relation AND a.attname = stored) LOOP
    stored := stored || '_';
  END LOOP;
  SELECT string_agg(quote_ident(a.attname), ', ' ORDER BY k.at),
         string_agg(format('%s.%I', stored, a.attname), ', ' ORDER BY k.at),
         string_agg(format('(c.line).%I', a.attname), ', ' ORDER BY k.at)
    INTO key, key_of_stored, key_of_line
    FROM pg_index i CROSS JOIN unnest(i.indkey::smallint[]) WITH ORDINALITY AS k (attnum, at)
    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
   WHERE i.indrelid = relation AND i.indisprimary AND k.at <= i.indnkeyatts;
  SELECT string_agg(quote_ident(c.attname), ', ' ORDER BY c.attnum),
         string_agg(format('(c.line).%I', c.attname), ', ' ORDER BY c.attnum), array_agg(c.attname ORDER BY c.attnum),
         string_agg(quote_ident(c.attname), ', ' ORDER BY c.attnum) FILTER (WHERE c.changes),
         string_agg(format('EXCLUDED.%I', c.attname), ', ' ORDER BY c.attnum) FILTER (WHERE c.changes)
    INTO columns, line, names, written, excluded
    FROM (SELECT a.attname, a.attnum,
                 -- also of the key: what is equal need not be the same, such as 1.0 and 1.00
                 a.attidentity <> 'a' AS changes
            FROM pg_attribute a
           WHERE a.attrelid = relation AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = '') c;
  body := format('WITH change AS (
  SELECT f.line, f.gone
    FROM %1$s.rc_debezium_fold(NULL::%2$s, %9$L,
           ARRAY(SELECT ROW(op, before, after, old_key, unavailable, missing, %3$s)
                   FROM records ORDER BY partition, record_offset),
           ARRAY(SELECT %4$s FROM %10$s%2$s %4$s
                  WHERE (%5$s) IN
                        (SELECT %6$s
                           FROM records r CROSS JOIN LATERAL (VALUES (r.after), (r.before), (r.old_key)) c (line)
                          WHERE r.unavailable IS NOT NULL OR r.missing IS NOT NULL)),
           %7$L, %8$L) f
), gone AS (
  DELETE FROM %10$s%2$s %4$s USING change c
   WHERE c.gone AND (%5$s) = (%6$s)
)', '@extschema@', relation, CASE on_new_column WHEN 'ignore' THEN 'NULL::pg_catalog.jsonb' ELSE 'extra' END,
           stored, key_of_stored, key_of_line, on_truncate, on_new_column, names, only_it)
    || CASE on_truncate WHEN 'apply' THEN format(', emptied AS (
  DELETE FROM %5$s%1$s %2$s
   WHERE EXISTS (SELECT FROM change c WHERE c.gone AND c.line IS NULL)
     AND NOT EXISTS (SELECT FROM change c WHERE NOT c.gone AND (%3$s) = (%4$s))
)', relation, stored, key_of_stored, key_of_line, only_it) ELSE '' END
    || format('
INSERT INTO %1$s (%2$s) OVERRIDING SYSTEM VALUE
SELECT %3$s
  FROM change c WHERE NOT c.gone
ON CONFLICT (%4$s) DO ', relation, columns, line, key)
    || CASE WHEN written IS NULL THEN 'NOTHING' ELSE format('UPDATE
   SET (%1$s) = ROW (%2$s)', written, excluded) END;

  stream := COALESCE(name, left(regexp_replace(ltrim(regexp_replace(format('%s.%s', target.nspname, target.relname), '[^A-Za-z0-9_.-]', '_', 'g'), '.-'),
                                               '^public[.]', ''), 63));
  -- called again, it writes the statement again
  SELECT regexp_match(s.statement, '(apply|ignore|error)'', ''(error|ignore)''[)] f') AS options INTO other
    FROM rappel_conso.stream s
   WHERE s.name = stream AND s.topics = ARRAY[topic] AND s.envelope = 'debezium' AND s.value_type = target.reltype::regtype;
  IF FOUND THEN
    UPDATE rappel_conso.stream s SET statement = body WHERE s.name = stream;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'permission denied to change stream "%"', stream
        USING ERRCODE = 'insufficient_privilege', HINT = 'Only a role that can become its owner may.';
    END IF;
    IF other.options <> ARRAY[on_truncate, on_new_column] THEN
      RAISE NOTICE 'options of stream "%" have changed: on_truncate from % to %, on_new_column from % to %',
        stream, other.options[1], on_truncate, other.options[2], on_new_column;
    END IF;
  ELSE
    INSERT INTO rappel_conso.stream (name, topics, envelope, value_type, statement)
    VALUES (stream, ARRAY[topic], 'debezium', target.reltype::regtype, body);
  END IF;
  RETURN stream;
END
$$;
COMMENT ON FUNCTION @extschema@.rc_replicate(text, regclass, text, text, text, text) IS 'stores a stream that makes a table the copy of another, whose changes a topic has from Debezium; returns its name';
