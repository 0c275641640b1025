-- 60-recalls
--     Functions over the tables of recalls, which are not the extension's: the
--     setup of the built-in stream makes them (90-builtin).  Also the folding of
--     accents.
--
-- Nothing here may have SECURITY DEFINER: the tables are a role's, who may have
-- put anything there.

CREATE FUNCTION @extschema@.rc_fold(text) RETURNS text
AS 'MODULE_PATHNAME', 'rc_fold' LANGUAGE C IMMUTABLE STRICT PARALLEL SAFE;
COMMENT ON FUNCTION @extschema@.rc_fold(text) IS 'text folded to ASCII';

-- Whoever may create something in the schema could put a view, or a table with
-- code of his own, where ours is missing, and the stream's owner could put code
-- into ours.  So src/session/recall_functions.c looks whose the tables are, and calls
-- the second of each pair below with the rights that it may have.  Since those
-- can be a role's that has none here, it uses nothing but those tables and
-- pg_catalog.
CREATE FUNCTION @extschema@.rc_own_table(name text) RETURNS regclass
AS 'MODULE_PATHNAME', 'rc_own_table' LANGUAGE C STABLE STRICT PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_own_table(text) IS 'rappel_conso_table or rappel_conso_history, if it is a table of the stream''s owner or of a superuser; null if it is missing';

CREATE FUNCTION @extschema@.rc_recalls_at(
  at timestamptz,
  OUT reference_fiche text,
  OUT date_de_publication timestamptz,
  OUT date_de_fin_de_la_procedure_de_rappel date,
  OUT categorie_de_produit text,
  OUT sous_categorie_de_produit text,
  OUT nom_de_la_marque_du_produit text,
  OUT noms_des_modeles_ou_references text,
  OUT identification_des_produits text,
  OUT conditionnements text,
  OUT temperature_de_conservation text,
  OUT zone_geographique_de_vente text,
  OUT distributeurs text,
  OUT motif_du_rappel text,
  OUT numero_de_contact text,
  OUT modalites_de_compensation text,
  OUT risques_pour_le_consommateur text,
  OUT recommandations_sante text,
  OUT informations_complementaires text,
  OUT date_debut_commercialisation date,
  OUT date_fin_commercialisation date,
  OUT liens_vers_les_images text,
  OUT lien_vers_la_liste_des_produits text,
  OUT lien_vers_la_liste_des_distributeurs text,
  OUT lien_vers_affichette_pdf text,
  OUT lien_vers_la_fiche_rappel text,
  OUT numero_de_version integer,
  OUT nature_juridique_du_rappel text,
  OUT marque_de_salubrite text,
  OUT libelle text,
  OUT id bigint,
  OUT rappelguid text,
  OUT gtin text[],
  OUT withdrawn_at timestamptz)
RETURNS SETOF record
AS 'MODULE_PATHNAME', 'rc_recalls_at' LANGUAGE C STABLE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_recalls_at(timestamptz) IS 'rappel_conso_table as it was known at that time';

CREATE FUNCTION rappel_conso.recalls_at_as_owner(at timestamptz) RETURNS SETOF record
LANGUAGE plpgsql STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
#variable_conflict use_variable
DECLARE
  since timestamptz;
BEGIN
  RETURN QUERY
    SELECT
      t.reference_fiche, t.date_de_publication, t.date_de_fin_de_la_procedure_de_rappel,
      t.categorie_de_produit, t.sous_categorie_de_produit, t.nom_de_la_marque_du_produit,
      t.noms_des_modeles_ou_references, t.identification_des_produits, t.conditionnements,
      t.temperature_de_conservation, t.zone_geographique_de_vente, t.distributeurs, t.motif_du_rappel,
      t.numero_de_contact, t.modalites_de_compensation, t.risques_pour_le_consommateur,
      t.recommandations_sante, t.informations_complementaires, t.date_debut_commercialisation,
      t.date_fin_commercialisation, t.liens_vers_les_images, t.lien_vers_la_liste_des_produits,
      t.lien_vers_la_liste_des_distributeurs, t.lien_vers_affichette_pdf, t.lien_vers_la_fiche_rappel,
      t.numero_de_version, t.nature_juridique_du_rappel, t.marque_de_salubrite, t.libelle, t.id, t.rappelguid,
      t.gtin, t.withdrawn_at
      FROM @extschema@.rappel_conso_table t WHERE t.updated_at <= at
    UNION ALL
    SELECT
      h.reference_fiche, h.date_de_publication, h.date_de_fin_de_la_procedure_de_rappel,
      h.categorie_de_produit, h.sous_categorie_de_produit, h.nom_de_la_marque_du_produit,
      h.noms_des_modeles_ou_references, h.identification_des_produits, h.conditionnements,
      h.temperature_de_conservation, h.zone_geographique_de_vente, h.distributeurs, h.motif_du_rappel,
      h.numero_de_contact, h.modalites_de_compensation, h.risques_pour_le_consommateur,
      h.recommandations_sante, h.informations_complementaires, h.date_debut_commercialisation,
      h.date_fin_commercialisation, h.liens_vers_les_images, h.lien_vers_la_liste_des_produits,
      h.lien_vers_la_liste_des_distributeurs, h.lien_vers_affichette_pdf, h.lien_vers_la_fiche_rappel,
      h.numero_de_version, h.nature_juridique_du_rappel, h.marque_de_salubrite, h.libelle, h.id, h.rappelguid,
      h.gtin, h.withdrawn_at
      FROM @extschema@.rappel_conso_history h WHERE h.valid_from <= at AND h.valid_to > at;
  IF FOUND THEN
    RETURN;
  END IF;
  -- nothing was published, or nothing was known: that is not the same
  since := LEAST((SELECT min(t.updated_at) FROM @extschema@.rappel_conso_table t),
                 (SELECT min(h.valid_from) FROM @extschema@.rappel_conso_history h));
  IF since IS NULL THEN
    RAISE NOTICE 'no recall is known yet' USING HINT = 'SELECT * FROM rc_sync_now() reads them.';
  ELSIF at < since THEN
    RAISE NOTICE 'recalls are known only since %', to_char(since, 'YYYY-MM-DD HH24:MI:SS.USOF');
  END IF;
END
$$;
COMMENT ON FUNCTION rappel_conso.recalls_at_as_owner(timestamptz) IS 'what rc_recalls_at() does, with the rights of the tables'' owner';
