-- 99-dump
--     What pg_dump keeps.
--
-- A table of state that is not named here is empty after a restore.

-- It does not say to pg_restore which of these tables to fill first.  So rows do
-- not look for what they refer to; deletes and renames cascade as ever.
DO $$
DECLARE
  check_of record;
BEGIN
  FOR check_of IN
    SELECT t.tgrelid::pg_catalog.regclass AS relation, t.tgname AS name
      FROM pg_catalog.pg_trigger t JOIN pg_catalog.pg_constraint c ON c.oid OPERATOR(pg_catalog.=) t.tgconstraint
     WHERE c.contype OPERATOR(pg_catalog.=) 'f' AND c.conrelid OPERATOR(pg_catalog.=) t.tgrelid
       AND c.connamespace OPERATOR(pg_catalog.=) 'rappel_conso'::pg_catalog.regnamespace::pg_catalog.oid
  LOOP
    EXECUTE pg_catalog.format('ALTER TABLE %s DISABLE TRIGGER %I', check_of.relation, check_of.name);
  END LOOP;
END
$$;


SELECT pg_catalog.pg_extension_config_dump('rappel_conso.known_name',
  'WHERE NOT EXISTS (SELECT FROM rappel_conso.known_role k JOIN pg_catalog.pg_roles r ON r.rolname OPERATOR(pg_catalog.=) k.name AND r.oid OPERATOR(pg_catalog.=) k.oid WHERE k.name OPERATOR(pg_catalog.=) known_name.name)');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.stream', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.source', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.run', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.run_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.task', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.source_state', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.source_record', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.stream_offset', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.stream_state', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.source_wait', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.dead_letter', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.dead_letter_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.outbox', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.outbox_id_seq', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.outbox_topic', '');
SELECT pg_catalog.pg_extension_config_dump('rappel_conso.topic_grant', '');
