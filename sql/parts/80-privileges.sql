-- 80-privileges
--     Who may do what: nothing for PUBLIC.  It comes when all objects are there,
--     and no part before it grants anything.

REVOKE ALL ON ALL FUNCTIONS IN SCHEMA rappel_conso FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.rc_fold(text), @extschema@.rc_sync_now(text, boolean),
  @extschema@.rc_backfill(text, timestamptz, timestamptz, interval),
  @extschema@.rc_trigger(text, boolean), @extschema@.rc_wait(bigint, interval), @extschema@.rc_cancel(bigint),
  @extschema@.rc_own_table(text), @extschema@.rc_recalls_at(timestamptz), @extschema@.rc_start(), @extschema@.rc_stop(), @extschema@.rc_status(), @extschema@.rc_seek(text, text),
  @extschema@.rc_publish(text, bytea, bytea, jsonb), @extschema@.rc_publish(text, text, text, jsonb),
  @extschema@.rc_publish(text, jsonb, text, jsonb), @extschema@.rc_republish(text, bigint), @extschema@.rc_retry(text, bigint),
  @extschema@.rc_drain(text, interval) FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.rc_search(text), @extschema@.rc_search_index(), @extschema@.rc_report() FROM PUBLIC;
REVOKE ALL ON FUNCTION @extschema@.rc_debezium_decimal(text, integer), @extschema@.rc_debezium_date(integer),
  @extschema@.rc_debezium_timestamp(bigint, text), @extschema@.rc_debezium_time(bigint, text),
  @extschema@.rc_debezium_bytes(text), @extschema@.rc_debezium_bits(text, integer),
  @extschema@.rc_debezium_fold(anyelement, text[], record[], anyarray, text, text),
  @extschema@.rc_replicate(text, regclass, text, text, text, text) FROM PUBLIC;
REVOKE ALL ON TYPE rappel_conso.recall, rappel_conso.reference_fiche FROM PUBLIC;

GRANT USAGE ON SCHEMA rappel_conso TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@.rc_status(), rappel_conso.worker_pid(text, text, integer),
  rappel_conso.library_version(), rappel_conso.is_preloaded(), rappel_conso.error_detail(text) TO pg_monitor;
GRANT EXECUTE ON FUNCTION @extschema@.rc_report(), @extschema@.rc_own_table(text), rappel_conso.html(text), rappel_conso.html_time(timestamptz),
  rappel_conso.html_number(numeric), rappel_conso.html_state(text, text), rappel_conso.report_style(),
  rappel_conso.report_parts(), rappel_conso.report_grid(text), rappel_conso.report_runs(), rappel_conso.recalls(), rappel_conso.recalls_by_day(),
  rappel_conso.recalls_by_category(), rappel_conso.report_days(),
  rappel_conso.report_categories(), rappel_conso.report_recalls(), rappel_conso.report_lag(),
  rappel_conso.report_dead_letters(), rappel_conso.report_outbox() TO pg_monitor;
GRANT SELECT ON rappel_conso.task, rappel_conso.source_state, rappel_conso.stream_offset,
  rappel_conso.source_wait, rappel_conso.stopped, rappel_conso.lag TO pg_monitor;
-- a detail can hold a whole row, and a context the SQL of a function
GRANT SELECT (id, source, owner, owner_oid, state, trigger, full_sync, window_from, window_to, window_every, reads, destination,
  requested_at, started_at, finished_at, fetched, published, inserted, updated, unchanged, dead, withdrawn,
  sqlstate, error, hint) ON rappel_conso.run TO pg_monitor;
GRANT SELECT (stream, state, detail, failures, retry_at, last_error_at, sqlstate, error, hint) ON rappel_conso.stream_state TO pg_monitor;
GRANT SELECT (name, dataset, url, topic, stream, poll_interval, paused, owner) ON rappel_conso.source TO pg_monitor;
GRANT SELECT (name, topics, output_topic, workers, paused, owner) ON rappel_conso.stream TO pg_monitor;
GRANT SELECT ON rappel_conso.outbox_state, rappel_conso.outbox_topic TO pg_monitor;
GRANT SELECT (id, message_id, topic, origin, owner, created_at) ON rappel_conso.outbox TO pg_monitor;
GRANT SELECT (id, origin, name, run, topic, partition, record_offset, record_timestamp, sqlstate, message,
  owner, attempts, created_at, resolved_at) ON rappel_conso.dead_letter TO pg_monitor;

-- Owners see their own; pg_monitor sees states.  Superusers see everything.
ALTER TABLE rappel_conso.stream ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.source ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.run ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.task ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.source_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.source_record ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.stream_offset ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.stream_state ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.source_wait ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.unlogged_kept ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.dead_letter ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.outbox ENABLE ROW LEVEL SECURITY;
ALTER TABLE rappel_conso.outbox_topic ENABLE ROW LEVEL SECURITY;

-- In PostgreSQL 16 and newer a membership says of its own whether the member
-- has the role's rights (USAGE: to see its rows) and may become it (SET: to
-- store what runs as it).  Not pg_has_role(name, ..): it raises for a role
-- that is gone, and one such row would hide all others.
DO $do$
DECLARE
  roles constant text := $$SELECT r.rolname%s FROM pg_catalog.pg_roles r
           WHERE pg_catalog.pg_has_role(r.oid, CASE WHEN pg_catalog.current_setting('server_version_num')::integer >= 160000
                                                    THEN %L ELSE 'MEMBER' END)$$;
  sees text := pg_catalog.format('owner OPERATOR(pg_catalog.=) ANY (' || roles || ')', '', 'USAGE');
  becomes text := pg_catalog.format('owner OPERATOR(pg_catalog.=) ANY (' || roles || ')', '', 'SET');
  name text;
BEGIN
  FOREACH name IN ARRAY ARRAY['stream', 'source'] LOOP
    EXECUTE pg_catalog.format('CREATE POLICY own ON rappel_conso.%I FOR SELECT USING (%s)', name, sees);
    EXECUTE pg_catalog.format('CREATE POLICY store ON rappel_conso.%I FOR INSERT WITH CHECK (%s)', name, becomes);
    EXECUTE pg_catalog.format('CREATE POLICY change ON rappel_conso.%1$I FOR UPDATE USING (%2$s) WITH CHECK (%2$s)', name, becomes);
    EXECUTE pg_catalog.format('CREATE POLICY remove ON rappel_conso.%I FOR DELETE USING (%s)', name, becomes);
  END LOOP;
  -- what outlives a role is not that of the next one of its name
  FOREACH name IN ARRAY ARRAY['run', 'dead_letter', 'outbox'] LOOP
    EXECUTE pg_catalog.format('CREATE POLICY own ON rappel_conso.%I FOR SELECT USING ((owner, owner_oid) IN (%s))',
                              name, pg_catalog.format(roles, ', r.oid', 'USAGE'));
  END LOOP;
END
$do$;
CREATE POLICY own ON rappel_conso.task FOR SELECT
  USING (run OPERATOR(pg_catalog.=) ANY (SELECT r.id FROM rappel_conso.run r));
CREATE POLICY own ON rappel_conso.source_state FOR SELECT
  USING (source OPERATOR(pg_catalog.=) ANY (SELECT s.name FROM rappel_conso.source s));
CREATE POLICY own ON rappel_conso.source_record FOR SELECT
  USING (source OPERATOR(pg_catalog.=) ANY (SELECT s.name FROM rappel_conso.source s));
CREATE POLICY own ON rappel_conso.stream_offset FOR SELECT
  USING (stream OPERATOR(pg_catalog.=) ANY (SELECT s.name FROM rappel_conso.stream s));
CREATE POLICY own ON rappel_conso.stream_state FOR SELECT
  USING (stream OPERATOR(pg_catalog.=) ANY (SELECT s.name FROM rappel_conso.stream s));
CREATE POLICY own ON rappel_conso.source_wait FOR SELECT
  USING (source OPERATOR(pg_catalog.=) ANY (SELECT s.name FROM rappel_conso.source s));
COMMENT ON POLICY own ON rappel_conso.source_wait IS 'members of the owner see its rows';
CREATE POLICY monitor ON rappel_conso.source_wait FOR SELECT TO pg_monitor USING (true);
COMMENT ON POLICY monitor ON rappel_conso.source_wait IS 'pg_monitor sees the rows of all owners';
COMMENT ON POLICY own ON rappel_conso.outbox IS 'roles see the messages that they published';
CREATE POLICY own ON rappel_conso.outbox_topic FOR SELECT
  USING (topic OPERATOR(pg_catalog.=) ANY (SELECT o.topic FROM rappel_conso.outbox o));
COMMENT ON POLICY own ON rappel_conso.outbox_topic IS 'roles see the topics of their waiting messages';
CREATE POLICY monitor ON rappel_conso.outbox_topic FOR SELECT TO pg_monitor USING (true);
COMMENT ON POLICY monitor ON rappel_conso.outbox_topic IS 'pg_monitor sees the rows of all owners';
CREATE POLICY monitor ON rappel_conso.outbox FOR SELECT TO pg_monitor USING (true);
COMMENT ON POLICY monitor ON rappel_conso.outbox IS 'pg_monitor sees all rows, without keys, values and headers';
CREATE POLICY monitor ON rappel_conso.stream FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.source FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.run FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.task FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.source_state FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.stream_offset FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.stream_state FOR SELECT TO pg_monitor USING (true);
CREATE POLICY monitor ON rappel_conso.dead_letter FOR SELECT TO pg_monitor USING (true);

COMMENT ON POLICY own ON rappel_conso.stream IS 'members of the owner see its rows';
COMMENT ON POLICY store ON rappel_conso.stream IS 'roles that can SET ROLE to the owner can insert';
COMMENT ON POLICY change ON rappel_conso.stream IS 'roles that can SET ROLE to the owner can update';
COMMENT ON POLICY remove ON rappel_conso.stream IS 'roles that can SET ROLE to the owner can delete';
COMMENT ON POLICY own ON rappel_conso.source IS 'members of the owner see its rows';
COMMENT ON POLICY store ON rappel_conso.source IS 'roles that can SET ROLE to the owner can insert';
COMMENT ON POLICY change ON rappel_conso.source IS 'roles that can SET ROLE to the owner can update';
COMMENT ON POLICY remove ON rappel_conso.source IS 'roles that can SET ROLE to the owner can delete';
COMMENT ON POLICY own ON rappel_conso.run IS 'members of the owner see its rows';
COMMENT ON POLICY own ON rappel_conso.task IS 'members of the owner see its rows';
COMMENT ON POLICY own ON rappel_conso.source_state IS 'members of the owner see its rows';
COMMENT ON POLICY own ON rappel_conso.source_record IS 'members of the owner see its rows';
COMMENT ON POLICY own ON rappel_conso.stream_offset IS 'members of the owner see its rows';
COMMENT ON POLICY own ON rappel_conso.stream_state IS 'members of the owner see its rows';
COMMENT ON POLICY own ON rappel_conso.dead_letter IS 'members of the owner see its rows';
COMMENT ON POLICY monitor ON rappel_conso.stream IS 'pg_monitor sees the rows of all owners';
COMMENT ON POLICY monitor ON rappel_conso.source IS 'pg_monitor sees the rows of all owners';
COMMENT ON POLICY monitor ON rappel_conso.run IS 'pg_monitor sees the rows of all owners';
COMMENT ON POLICY monitor ON rappel_conso.task IS 'pg_monitor sees the rows of all owners';
COMMENT ON POLICY monitor ON rappel_conso.source_state IS 'pg_monitor sees the rows of all owners';
COMMENT ON POLICY monitor ON rappel_conso.stream_offset IS 'pg_monitor sees the rows of all owners';
COMMENT ON POLICY monitor ON rappel_conso.stream_state IS 'pg_monitor sees the rows of all owners';
COMMENT ON POLICY monitor ON rappel_conso.dead_letter IS 'pg_monitor sees the rows of all owners';
