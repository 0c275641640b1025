-- 60-recalls
--     Functions over the tables of recalls, which are not the extension's: the
--     setup of the built-in stream makes them (90-builtin).  Also the folding of
--     accents.
--
-- The columns are those of rappel_conso.recall; what names them all is built.
-- Nothing here may have SECURITY DEFINER: the tables are a role's, who may have
-- put anything there.

CREATE FUNCTION @extschema@.rc_fold(text) RETURNS text
AS 'MODULE_PATHNAME', 'rc_fold' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.rc_fold(text) IS 'text folded to ASCII';

-- A role that can create objects in the schema could put a view, or a table with
-- code of his own, where ours is missing, and the stream's owner could put code
-- into ours.  So src/session/recall_functions.c looks whose the tables are, and calls
-- the second of each pair below with the rights that it may have.  Since those
-- can be a role's that has none here, it uses nothing but those tables and
-- pg_catalog.
CREATE FUNCTION @extschema@.rc_own_table(name text) RETURNS regclass
AS 'MODULE_PATHNAME', 'rc_own_table' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_own_table(text) IS 'the table rappel_conso_table or rappel_conso_history, if it belongs to the stream''s owner or a superuser; null if it does not exist';

DO $do$
DECLARE
  list record;
BEGIN
  SELECT pg_catalog.string_agg(pg_catalog.format('OUT %I %s', c.name, c.type), c.separator ORDER BY c.attnum) AS parameters,
         pg_catalog.string_agg(pg_catalog.format('t.%I', c.name), c.separator ORDER BY c.attnum) AS of_t,
         pg_catalog.string_agg(pg_catalog.format('h.%I', c.name), c.separator ORDER BY c.attnum) AS of_h
    INTO STRICT list
    FROM (SELECT a.attnum, a.attname AS name,
                 -- who calls the function need not know the domain
                 CASE WHEN t.typtype OPERATOR(pg_catalog.=) 'd' THEN pg_catalog.format_type(t.typbasetype, t.typtypmod)
                      ELSE pg_catalog.format_type(a.atttypid, a.atttypmod) END AS type,
                 pg_catalog.concat(',', pg_catalog.chr(10), '      ') AS separator
            FROM pg_catalog.pg_attribute a JOIN pg_catalog.pg_type t ON t.oid OPERATOR(pg_catalog.=) a.atttypid
           WHERE a.attrelid OPERATOR(pg_catalog.=) 'rappel_conso.recall'::pg_catalog.regclass::pg_catalog.oid
             AND a.attnum OPERATOR(pg_catalog.>) 0) c;

  EXECUTE pg_catalog.concat($f$
CREATE FUNCTION @extschema@.rc_recalls_at(at timestamptz,
      $f$, list.parameters, $f$, OUT withdrawn_at timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'rc_recalls_at' LANGUAGE C STABLE PARALLEL UNSAFE
$f$);

  EXECUTE pg_catalog.concat($f$
CREATE FUNCTION rappel_conso.recalls_at_as_owner(at timestamptz) RETURNS SETOF record
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  since timestamptz;
BEGIN
  RETURN QUERY
    SELECT
      $f$, list.of_t, $f$, t.withdrawn_at
      FROM @extschema@.rappel_conso_table t WHERE t.updated_at <= at
    UNION ALL
    SELECT
      $f$, list.of_h, $f$, h.withdrawn_at
      FROM @extschema@.rappel_conso_history h WHERE h.valid_from <= at AND h.valid_to > at;
  IF FOUND THEN
    RETURN;
  END IF;
  -- nothing was published, or nothing was known: that is not the same
  since := LEAST((SELECT min(t.updated_at) FROM @extschema@.rappel_conso_table t),
                 (SELECT min(h.valid_from) FROM @extschema@.rappel_conso_history h));
  IF since IS NULL THEN
    RAISE NOTICE 'no recalls are known yet' USING HINT = 'Load them with SELECT * FROM rc_sync_now().';
  ELSIF at < since THEN
    RAISE NOTICE 'recalls are known only since %', to_char(since, 'YYYY-MM-DD HH24:MI:SS.USOF');
  END IF;
END
$$
$f$);
END
$do$;
COMMENT ON FUNCTION @extschema@.rc_recalls_at(timestamptz) IS 'rappel_conso_table as it was known at that time';
COMMENT ON FUNCTION rappel_conso.recalls_at_as_owner(timestamptz) IS 'implementation of rc_recalls_at(), with the privileges of the tables'' owner';
