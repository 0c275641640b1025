-- watch.sql
--     A shop's watch: a table of brands, words and GTINs that are sold, and a
--     message for each recall that concerns one of them, in the commit in which
--     the recall arrives, changes or is withdrawn.
--
-- The message is published to topic "recall_alerts" through the outbox, and
-- its reference is sent to sessions that have executed LISTEN recall_alerts.
-- A recall that has not changed is not announced again.  Without Kafka
-- (rappel_conso.kafka_brokers is empty) remove the line with rc_publish:
-- messages would stay in rappel_conso.outbox.
--
-- To be run by the owner of rappel_conso_table, after the first run has
-- created that table (so that the recalls of that run are not announced).  An
-- owner that is not a superuser needs EXECUTE on rc_publish and rc_fold, and a
-- row for the topic in rappel_conso.topic_grant.
--
--     psql -v ON_ERROR_STOP=1 -f watch.sql

BEGIN;

-- One product or search in each row.  Words are a query of
-- websearch_to_tsquery(): all of them must occur, and "or", quotes and a minus
-- sign have their usual meaning.

CREATE TABLE watched (
  id integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
  brand text,
  words text,
  gtin text CHECK (gtin ~ '^(\d{8}|\d{12,14})$'),
  note text,
  CHECK (num_nonnulls(brand, words, gtin) = 1)
);

INSERT INTO watched (brand, words, gtin, note) VALUES
  ('Crèmerie du Lac', NULL, NULL, 'fridge 2'),
  (NULL, 'fromage "lait cru"', NULL, 'cheese counter'),
  (NULL, NULL, '3012345678902', 'aisle 7');

-- The ids of the rows that a recall concerns.  Upper and lower case, accents
-- and leading zeros of a GTIN are ignored.

CREATE FUNCTION watched_by(recall rappel_conso_table) RETURNS integer[]
LANGUAGE sql STABLE SET search_path FROM CURRENT AS $$
  SELECT array_agg(w.id ORDER BY w.id)
    FROM watched w
   WHERE lower(rc_fold(w.brand)) = lower(rc_fold(recall.nom_de_la_marque_du_produit))
      OR websearch_to_tsquery('french', rc_fold(w.words))
         @@ to_tsvector('french', rc_fold(concat_ws(' ', recall.nom_de_la_marque_du_produit,
              recall.noms_des_modeles_ou_references, recall.libelle, recall.sous_categorie_de_produit,
              recall.motif_du_rappel)))
      OR lpad(w.gtin, 14, '0') IN (SELECT lpad(g, 14, '0') FROM unnest(recall.gtin) g)
$$;

-- Streams run with their own search_path, so the function sets the one that it
-- is created with.

CREATE FUNCTION announce_recalls() RETURNS trigger
LANGUAGE plpgsql SET search_path FROM CURRENT AS $$
DECLARE
  recall record;
BEGIN
  FOR recall IN
    SELECT a.reference_fiche AS reference,
           jsonb_build_object(
             'reference', a.reference_fiche,
             'change', CASE WHEN a.withdrawn_at IS NOT NULL THEN 'withdrawn'
                            WHEN TG_OP = 'INSERT' THEN 'new' ELSE 'changed' END,
             'published', a.date_de_publication,
             'brand', a.nom_de_la_marque_du_produit,
             'models', a.noms_des_modeles_ou_references,
             'reason', a.motif_du_rappel,
             'gtin', to_jsonb(a.gtin),
             'link', a.lien_vers_la_fiche_rappel,
             'watched', to_jsonb(m.ids)) AS message
      FROM arrived a
     CROSS JOIN LATERAL watched_by(a::rappel_conso_table) AS m (ids)
     WHERE m.ids IS NOT NULL
     ORDER BY a.reference_fiche
  LOOP
    PERFORM rc_publish('recall_alerts', recall.message, recall.reference);
    PERFORM pg_notify('recall_alerts', recall.reference);
  END LOOP;
  RETURN NULL;
END
$$;

-- Once for each batch, not for each row.

CREATE TRIGGER announce_new AFTER INSERT ON rappel_conso_table
  REFERENCING NEW TABLE AS arrived
  FOR EACH STATEMENT EXECUTE FUNCTION announce_recalls();
CREATE TRIGGER announce_changed AFTER UPDATE ON rappel_conso_table
  REFERENCING NEW TABLE AS arrived
  FOR EACH STATEMENT EXECUTE FUNCTION announce_recalls();

COMMIT;

-- To list the recalls that were stored before:
--
--     SELECT r.reference_fiche, r.libelle, w.note
--       FROM rappel_conso_table r, watched w
--      WHERE w.id = ANY (watched_by(r));
--
-- To remove it all:
--
--     DROP TRIGGER announce_new ON rappel_conso_table;
--     DROP TRIGGER announce_changed ON rappel_conso_table;
--     DROP FUNCTION announce_recalls(), watched_by(rappel_conso_table);
--     DROP TABLE watched;
