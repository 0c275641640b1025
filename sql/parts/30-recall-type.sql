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
COMMENT ON COLUMN rappel_conso.recall.reference_fiche IS 'number of the fiche (recall notice); identifies it';
COMMENT ON COLUMN rappel_conso.recall.date_de_publication IS 'when the notice was published';
COMMENT ON COLUMN rappel_conso.recall.date_de_fin_de_la_procedure_de_rappel IS 'last day of the recall; null: none is given';
COMMENT ON COLUMN rappel_conso.recall.categorie_de_produit IS 'category of the product, such as alimentation';
COMMENT ON COLUMN rappel_conso.recall.sous_categorie_de_produit IS 'subcategory of the product';
COMMENT ON COLUMN rappel_conso.recall.nom_de_la_marque_du_produit IS 'brand';
COMMENT ON COLUMN rappel_conso.recall.noms_des_modeles_ou_references IS 'names of models or references';
COMMENT ON COLUMN rappel_conso.recall.identification_des_produits IS 'GTINs, lot numbers and dates that identify the product, as one text';
COMMENT ON COLUMN rappel_conso.recall.conditionnements IS 'packaging';
COMMENT ON COLUMN rappel_conso.recall.temperature_de_conservation IS 'storage temperature';
COMMENT ON COLUMN rappel_conso.recall.zone_geographique_de_vente IS 'where the product was sold';
COMMENT ON COLUMN rappel_conso.recall.distributeurs IS 'shops and distributors that sold it';
COMMENT ON COLUMN rappel_conso.recall.motif_du_rappel IS 'reason for the recall';
COMMENT ON COLUMN rappel_conso.recall.numero_de_contact IS 'telephone number for consumers';
COMMENT ON COLUMN rappel_conso.recall.modalites_de_compensation IS 'compensation, such as a refund or a replacement';
COMMENT ON COLUMN rappel_conso.recall.risques_pour_le_consommateur IS 'risks to the consumer, and their description';
COMMENT ON COLUMN rappel_conso.recall.recommandations_sante IS 'advice on health, and what consumers should do';
COMMENT ON COLUMN rappel_conso.recall.informations_complementaires IS 'further information';
COMMENT ON COLUMN rappel_conso.recall.date_debut_commercialisation IS 'first day of sale';
COMMENT ON COLUMN rappel_conso.recall.date_fin_commercialisation IS 'last day of sale';
COMMENT ON COLUMN rappel_conso.recall.liens_vers_les_images IS 'URLs of images, one a line';
COMMENT ON COLUMN rappel_conso.recall.lien_vers_la_liste_des_produits IS 'URL of the list of products';
COMMENT ON COLUMN rappel_conso.recall.lien_vers_la_liste_des_distributeurs IS 'URL of the list of distributors';
COMMENT ON COLUMN rappel_conso.recall.lien_vers_affichette_pdf IS 'URL of the notice as PDF';
COMMENT ON COLUMN rappel_conso.recall.lien_vers_la_fiche_rappel IS 'URL of the notice';
COMMENT ON COLUMN rappel_conso.recall.numero_de_version IS 'version of the notice: of two records of a fiche, the higher version is kept';
COMMENT ON COLUMN rappel_conso.recall.nature_juridique_du_rappel IS 'legal nature of the recall: voluntary, or ordered by an authority';
COMMENT ON COLUMN rappel_conso.recall.marque_de_salubrite IS 'health mark of the establishment';
COMMENT ON COLUMN rappel_conso.recall.libelle IS 'title of the notice';
COMMENT ON COLUMN rappel_conso.recall.id IS 'number of the record in the dataset';
COMMENT ON COLUMN rappel_conso.recall.rappelguid IS 'identifier of the notice in the RappelConso application';
COMMENT ON COLUMN rappel_conso.recall.gtin IS 'GTINs found in identification_des_produits whose check digits are right';
