-- 30-recall-type
--     The columns of a recall: the only list of them in the install script.
--
-- What names them all in 60-recalls and 90-builtin is built from it.  A column
-- here needs its line in src/transform/recall.c, which writes the records.

-- What the recalls stream decodes its records into.  A record without its
-- key must be a dead letter, not a row that the statement passes over.
CREATE DOMAIN rappel_conso.reference_fiche AS text
  CONSTRAINT reference_fiche_not_null NOT NULL;
COMMENT ON DOMAIN rappel_conso.reference_fiche IS 'key of a recall; never null';

CREATE TYPE rappel_conso.recall AS (
  reference_fiche rappel_conso.reference_fiche,
  date_de_publication timestamptz,
  date_de_fin_de_la_procedure_de_rappel date,
  categorie_de_produit text,
  sous_categorie_de_produit text,
  nom_de_la_marque_du_produit text,
  noms_des_modeles_ou_references text,
  identification_des_produits text,
  conditionnements text,
  temperature_de_conservation text,
  zone_geographique_de_vente text,
  distributeurs text,
  motif_du_rappel text,
  numero_de_contact text,
  modalites_de_compensation text,
  risques_pour_le_consommateur text,
  recommandations_sante text,
  informations_complementaires text,
  date_debut_commercialisation date,
  date_fin_commercialisation date,
  liens_vers_les_images text,
  lien_vers_la_liste_des_produits text,
  lien_vers_la_liste_des_distributeurs text,
  lien_vers_affichette_pdf text,
  lien_vers_la_fiche_rappel text,
  numero_de_version integer,
  nature_juridique_du_rappel text,
  marque_de_salubrite text,
  libelle text,
  id bigint,
  rappelguid text,
  gtin text[]
);
COMMENT ON TYPE rappel_conso.recall IS 'a recall as source rappel_conso publishes it';
