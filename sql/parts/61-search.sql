-- 61-search
--     Functions that find recalls by words.  As in 60-recalls, nothing here may
--     have SECURITY DEFINER.

-- The words of a recall, as an expression over the columns of
-- rappel_conso_table.  It is made of nothing but PostgreSQL's own immutable
-- functions, so that a column made of it outlives the extension.  The lexemes
-- "@b:n" are the time of publication: the n-th span of 2^b seconds since 1970,
-- from 24 days to 17 years; "@" is none.  Accents and ligatures are those that
-- the database's encoding has; in SQL_ASCII there are no such characters.
CREATE FUNCTION rappel_conso.search_vector() RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  plain text := '%s';
BEGIN
  IF getdatabaseencoding() IN ('UTF8', 'LATIN1', 'LATIN5', 'LATIN9', 'WIN1252', 'WIN1254') THEN
    plain := format('translate(%s, %L, %L)', plain,
                    convert_from(decode('c380c381c382c383c384c385c387c388c389c38ac38bc38cc38dc38ec38fc391c392c393c394c395c396c399c39ac39bc39c'
                                        'c3a0c3a1c3a2c3a3c3a4c3a5c3a7c3a8c3a9c3aac3abc3acc3adc3aec3afc3b1c3b2c3b3c3b4c3b5c3b6c3b9c3bac3bbc3bc', 'hex'), 'UTF8'),
                    'AAAAAACEEEEIIIINOOOOOUUUUaaaaaaceeeeiiiinooooouuuu');
  END IF;
  IF getdatabaseencoding() IN ('UTF8', 'LATIN9', 'WIN1252', 'WIN1254') THEN
    plain := format('replace(replace(%s, %L, %L), %L, %L)', plain,
                    convert_from(decode('c593', 'hex'), 'UTF8'), 'oe', convert_from(decode('c592', 'hex'), 'UTF8'), 'OE');
  END IF;
  RETURN (
  SELECT string_agg(
           format($f$setweight(to_tsvector('pg_catalog.french'::regconfig, %s), %L)$f$, format(plain, g.words), g.weight),
           ' || ' ORDER BY g.weight)
         || ' || array_to_tsvector(ARRAY['
         || (SELECT string_agg(format(
                      $f$COALESCE('@%1$s:' || CASE WHEN isfinite(date_de_publication)
                         THEN (floor(extract(epoch FROM date_de_publication AT TIME ZONE 'UTC'))::bigint >> %1$s)::text END, '@')$f$, b), ', ')
               FROM generate_series(21, 29, 2) b)
         || '])'
    FROM (SELECT c.weight, string_agg(format('COALESCE(%I, %L)', c.name, ''), $f$ || ' ' || $f$ ORDER BY c.name) AS words
            FROM (VALUES ('A', 'nom_de_la_marque_du_produit'), ('A', 'noms_des_modeles_ou_references'), ('A', 'libelle'),
                         ('B', 'categorie_de_produit'), ('B', 'sous_categorie_de_produit'),
                         ('C', 'motif_du_rappel'), ('C', 'risques_pour_le_consommateur'),
                         ('D', 'distributeurs')) AS c (weight, name)
           GROUP BY c.weight) g);
END
$$;
COMMENT ON FUNCTION rappel_conso.search_vector() IS 'expression for the tsvector of a row of rappel_conso_table that rc_search() compares';

CREATE FUNCTION @extschema@.rc_search_index() RETURNS boolean
AS 'MODULE_PATHNAME', 'rc_search_index' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_search_index() IS 'adds the column and index to rappel_conso_table that make rc_search() fast; false if they exist';

CREATE FUNCTION rappel_conso.search_index_as_owner(vector text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF EXISTS (SELECT FROM pg_attribute a
              WHERE a.attrelid = '@extschema@.rappel_conso_table'::regclass AND a.attname = 'mots'
                AND a.atttypid = 'tsvector'::regtype) THEN
    RETURN false;
  END IF;
  EXECUTE format('ALTER TABLE %s ADD COLUMN mots tsvector GENERATED ALWAYS AS (%s) STORED',
                 '@extschema@.rappel_conso_table', vector);
  CREATE INDEX ON @extschema@.rappel_conso_table USING gin (mots) WITH (fastupdate = off);
  COMMENT ON COLUMN @extschema@.rappel_conso_table.mots IS 'words of the row, for rc_search()';
  RETURN true;
END
$$;
COMMENT ON FUNCTION rappel_conso.search_index_as_owner(text) IS 'implementation of rc_search_index(), with the privileges of the table''s owner; vector is the expression for the words of a row';

CREATE FUNCTION @extschema@.rc_search(query text,
  OUT reference_fiche text, OUT date_de_publication timestamptz, OUT nom_de_la_marque_du_produit text,
  OUT noms_des_modeles_ou_references text, OUT libelle text, OUT categorie_de_produit text,
  OUT motif_du_rappel text, OUT lien_vers_la_fiche_rappel text, OUT rank real)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'rc_search' LANGUAGE C STABLE STRICT PARALLEL UNSAFE ROWS 100;
COMMENT ON FUNCTION @extschema@.rc_search(text) IS 'full-text search of recalls, best matches first, among the 500 newest that match and are not withdrawn; for a GTIN use WHERE gtin @> ARRAY[...]';

-- Where there is no index, enable_seqscan = off makes a cost of 10^10 of reading
-- the table: far above that of a plan that is worth being compiled.
CREATE FUNCTION rappel_conso.search_as_owner(words tsquery, vector text) RETURNS SETOF record
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE ROWS 100 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET jit = off AS $$
#variable_conflict use_variable
DECLARE
  most CONSTANT integer := 500;
  shortest CONSTANT integer := 21;
  longest CONSTANT integer := 29;
  bits integer := 23;
  newest timestamptz;
  until timestamptz;
  first bigint;
  span tsquery;
  enough integer;
  hits tid[];
  found tid[] := '{}';
BEGIN
  IF numnode(words) = 0 THEN
    RETURN;
  END IF;

  IF NOT EXISTS (SELECT FROM pg_attribute a
                  WHERE a.attrelid = '@extschema@.rappel_conso_table'::regclass AND a.attname = 'mots'
                    AND a.atttypid = 'tsvector'::regtype) THEN
    RAISE NOTICE 'rc_search() reads the whole table'
      USING HINT = 'Create an index for it with SELECT rc_search_index().';
    RETURN QUERY EXECUTE format(
      'SELECT reference_fiche, date_de_publication, nom_de_la_marque_du_produit, noms_des_modeles_ou_references,
              libelle, categorie_de_produit, motif_du_rappel, lien_vers_la_fiche_rappel, ts_rank(mots, $1)
         FROM (SELECT r.*, v.mots
                 FROM %s r, LATERAL (SELECT %s AS mots OFFSET 0) v
                WHERE v.mots @@ $1 AND r.withdrawn_at IS NULL
                ORDER BY r.date_de_publication DESC NULLS LAST, r.reference_fiche LIMIT %s) newest
        ORDER BY 9 DESC, 2 DESC NULLS LAST, 1', '@extschema@.rappel_conso_table', vector, most) USING words;
    RETURN;
  END IF;

  -- From the newest on, span after span, each shorter than the last if that
  -- had too many and longer if it had few: reading the index once for each is
  -- what takes time, and so is reading rows that are not wanted.
  LOOP
    newest := (SELECT max(r.date_de_publication) FROM @extschema@.rappel_conso_table r
                WHERE r.date_de_publication < COALESCE(until, 'infinity') AND r.date_de_publication > '-infinity');
    IF newest IS NULL OR bits > longest THEN
      span := words;
    ELSE
      first := floor(extract(epoch FROM newest))::bigint >> bits << bits;
      span := words && quote_literal(format('@%s:%s', bits, first >> bits))::tsquery;
    END IF;
    enough := CASE WHEN newest IS NOT NULL AND bits > shortest THEN 2 * most END;
    hits := ARRAY(
      SELECT h.ctid
        FROM (SELECT r.ctid, r.reference_fiche, r.date_de_publication FROM @extschema@.rappel_conso_table r
               WHERE r.mots @@ span AND (NULLIF(r.date_de_publication, 'infinity') < until) IS NOT FALSE
                 AND r.withdrawn_at IS NULL LIMIT enough + 1) h
       ORDER BY h.date_de_publication DESC NULLS LAST, h.reference_fiche);
    IF cardinality(hits) > enough THEN
      bits := bits - 2;
      CONTINUE;
    END IF;
    found := found || hits;
    EXIT WHEN cardinality(found) >= most OR newest IS NULL OR bits > longest;
    until := to_timestamp(first);
    bits := LEAST(longest + 2, bits + CASE WHEN cardinality(hits) = 0 THEN 4
                                           WHEN cardinality(hits) * 3 > most - cardinality(found) THEN 0
                                           ELSE 2 END);
  END LOOP;
  RETURN QUERY
  SELECT r.reference_fiche, r.date_de_publication, r.nom_de_la_marque_du_produit, r.noms_des_modeles_ou_references,
         r.libelle, r.categorie_de_produit, r.motif_du_rappel, r.lien_vers_la_fiche_rappel, ts_rank(r.mots, words)
    FROM @extschema@.rappel_conso_table r
   WHERE r.ctid = ANY (found[1:most])
   ORDER BY 9 DESC, 2 DESC NULLS LAST, 1;
END
$$;
COMMENT ON FUNCTION rappel_conso.search_as_owner(tsquery, text) IS 'implementation of rc_search(), with the privileges of the table''s owner; vector is the expression for the words of a row';
