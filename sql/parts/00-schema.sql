-- complain if script is sourced in psql, rather than via CREATE EXTENSION
\echo Use "CREATE EXTENSION rappel_conso" to load this file. \quit

-- 00-schema
--     What comes before all else: the settings that the whole script runs with,
--     the schema, and what the tables' columns are computed with.
--
-- The install script is the files of sql/parts, one after the other in the order
-- of their names.  So each may use what an earlier one makes, and none what
-- comes later, but for functions that are called by a body that is a text.
-- Nothing here may make an object in the extension's own schema.

-- Every object is made by its full name.  Names inside expressions are looked
-- up in pg_catalog only: another role may have put a function
-- or an operator whose arguments fit better.
SET LOCAL search_path = pg_catalog, pg_temp;

-- A role that can create functions beside ours can add one that fits a call better.
DO $$
DECLARE
  others text;
BEGIN
  SELECT string_agg(w.name, ', ' ORDER BY w.name) INTO others
    FROM (SELECT DISTINCT CASE WHEN r.oid IS NULL THEN 'PUBLIC' ELSE quote_ident(r.rolname) END AS name
            FROM pg_namespace n
           CROSS JOIN LATERAL (SELECT a.grantee FROM aclexplode(n.nspacl) a WHERE a.privilege_type = 'CREATE'
                               UNION SELECT n.nspowner) g (role)
            LEFT JOIN pg_roles r
                   ON r.oid = CASE WHEN g.role = 'pg_database_owner'::regrole
                                   THEN (SELECT d.datdba FROM pg_database d WHERE d.datname = current_database()) ELSE g.role END
           WHERE n.oid = '@extschema@'::regnamespace AND r.rolsuper IS NOT TRUE) w;
  IF others IS NOT NULL THEN
    RAISE WARNING 'roles without superuser can create objects in the schema of extension "rappel_conso"'
      USING DETAIL = format('These roles have CREATE on schema %s: %s. A function that one of them adds can make calls of the extension''s functions ambiguous, or replace them.', '@extschema@', others),
            HINT = 'Use REVOKE CREATE ON SCHEMA, or create the extension in a schema of its own.';
  END IF;
END
$$;

CREATE SCHEMA rappel_conso;
COMMENT ON SCHEMA rappel_conso IS 'definitions and state of the pipelines of rappel_conso';

-- It is immutable only as a row is stored: the generated columns that use it
-- keep which role the name meant then, and a restore computes them again.
CREATE FUNCTION rappel_conso.role_oid(name) RETURNS oid
AS 'MODULE_PATHNAME', 'rc_role_oid' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION rappel_conso.role_oid(name) IS 'OID of the role that has a name now; null if there is none';
