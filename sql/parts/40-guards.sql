-- 40-guards
--     Triggers: what is checked when a definition is stored, and what changes in
--     the state with it.
--
-- Each role that stores a definition fires them, so what is written for it is
-- written by functions in C or with SECURITY DEFINER, and by its full name.

-- Of both tables, before the checks of either.
CREATE FUNCTION rappel_conso.builtin_kept() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  updated bigint;
BEGIN
  IF TG_OP = 'DELETE' THEN
    IF OLD.name = 'rappel_conso' THEN
      RAISE EXCEPTION 'cannot delete built-in row "%" of table "%"', OLD.name, TG_TABLE_NAME
        USING ERRCODE = 'dependent_objects_still_exist', HINT = 'Set its column "paused" instead.';
    END IF;
    RETURN OLD;
  END IF;
  IF TG_OP = 'UPDATE' THEN
    IF OLD.name = 'rappel_conso' AND NEW.name <> OLD.name THEN
      RAISE EXCEPTION 'cannot rename built-in row "%" of table "%"', OLD.name, TG_TABLE_NAME
        USING ERRCODE = 'dependent_objects_still_exist';
    END IF;
    RETURN NEW;
  END IF;

  -- a restored built-in row updates the fresh one, in all of its columns
  IF NEW.name = 'rappel_conso' THEN
    EXECUTE (SELECT format('UPDATE %s t SET %s WHERE t.name = ($1).name', TG_RELID::regclass,
                           string_agg(format('%I = ($1).%I', a.attname, a.attname), ', '))
               FROM pg_attribute a
              WHERE a.attrelid = TG_RELID AND a.attnum > 0 AND NOT a.attisdropped AND a.attname <> 'name')
      USING NEW;
    GET DIAGNOSTICS updated = ROW_COUNT;
    IF updated > 0 THEN
      RETURN NULL;
    END IF;
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION rappel_conso.builtin_kept() IS 'protects the built-in source and stream; restored rows update them';

CREATE TRIGGER b_builtin_kept BEFORE INSERT OR UPDATE OR DELETE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.builtin_kept();
COMMENT ON TRIGGER b_builtin_kept ON rappel_conso.stream IS 'protects the built-in stream; a restored row updates it';
CREATE TRIGGER b_builtin_kept BEFORE INSERT OR UPDATE OR DELETE ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.builtin_kept();
COMMENT ON TRIGGER b_builtin_kept ON rappel_conso.source IS 'protects the built-in source; a restored row updates it';

CREATE FUNCTION rappel_conso.source_check() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  longest CONSTANT interval := '1000 years';
  checked record;
BEGIN
  IF NEW.transform NOT IN ('recall', 'none') THEN
    RAISE EXCEPTION 'transform of source "%" must be "recall" or "none", not "%"', NEW.name, NEW.transform
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF NEW.transform = 'recall' AND NEW.key_field IS NULL THEN
    RAISE EXCEPTION 'key_field of source "%" must not be null', NEW.name
      USING ERRCODE = 'not_null_violation', HINT = 'Use numero_fiche for V2 datasets and reference_fiche for V1 archives.';
  END IF;
  IF NEW.topic !~ '^[A-Za-z0-9._-]{1,249}$' OR NEW.topic IN ('.', '..') THEN
    RAISE EXCEPTION 'topic of source "%" is not a valid Kafka topic name: "%"', NEW.name, NEW.topic
      USING ERRCODE = 'invalid_name', HINT = 'Use up to 249 letters, digits, dots, underscores and hyphens.';
  END IF;
  SELECT c.setting, c.setting !~ '^[A-Za-z0-9._-]+=[^[:cntrl:]]*$' OR c.setting IS NULL AS malformed INTO checked
    FROM (SELECT s.setting, count(*) OVER (PARTITION BY split_part(s.setting, '=', 1)) AS times
            FROM unnest(NEW.topic_config) s (setting)) c
   WHERE c.times > 1 OR (c.setting ~ '^[A-Za-z0-9._-]+=[^[:cntrl:]]*$') IS NOT TRUE
   ORDER BY malformed DESC, c.setting LIMIT 1;
  IF checked.malformed THEN
    RAISE EXCEPTION 'invalid setting % in topic_config of source "%"', COALESCE('"' || checked.setting || '"', 'null'), NEW.name
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Write each setting as name=value, for example retention.ms=3600000.';
  ELSIF checked.malformed IS NOT NULL THEN
    RAISE EXCEPTION 'topic_config of source "%" sets "%" more than once', NEW.name, split_part(checked.setting, '=', 1)
      USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF NEW.key_field IS NOT NULL
     AND EXISTS (SELECT FROM unnest(NEW.topic_config) s (setting) WHERE s.setting ~ '^cleanup[.]policy=' AND s.setting !~* 'compact') THEN
    RAISE WARNING 'topic of source "%" will not be compacted', NEW.name
      USING DETAIL = 'Its records have keys. Kafka deletes the newest version of a record with the others, when it is old, and a new consumer cannot read them all.',
            HINT = 'Leave cleanup.policy out of topic_config, or set it to compact.';
  END IF;
  IF NEW."overlap" < '0' OR NEW.full_interval <= '0' OR NEW.retry_delay < '0' OR NEW.poll_interval < '1 second' THEN
    RAISE EXCEPTION 'an interval of source "%" is too short', NEW.name
      USING ERRCODE = 'invalid_parameter_value',
            HINT = 'Columns overlap and retry_delay must not be negative, full_interval must be positive, and poll_interval must be at least one second.';
  END IF;
  FOR checked IN
    SELECT c.name, c.value FROM (VALUES ('overlap', NEW."overlap"), ('full_interval', NEW.full_interval),
                                        ('poll_interval', NEW.poll_interval), ('retry_delay', NEW.retry_delay)) c (name, value)
  LOOP
    IF checked.value > longest THEN
      RAISE EXCEPTION 'column "%" of source "%" is too long', checked.name, NEW.name
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Use at most 1000 years.';
    END IF;
    -- intervals compare as if months had 30 days; a time to which months, days
    -- and seconds are added can leave the calendar on the way to a short sum
    IF LEAST(extract(year FROM checked.value), extract(month FROM checked.value), extract(day FROM checked.value),
             extract(hour FROM checked.value), extract(minute FROM checked.value), extract(microseconds FROM checked.value)) < 0 THEN
      RAISE EXCEPTION 'column "%" of source "%" has a negative part', checked.name, NEW.name
        USING ERRCODE = 'invalid_parameter_value', HINT = 'Use months, days and time without a sign.';
    END IF;
  END LOOP;

  RETURN NEW;
END
$$;
COMMENT ON FUNCTION rappel_conso.source_check() IS 'checks a source';

CREATE TRIGGER source_check BEFORE INSERT OR UPDATE ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.source_check();
COMMENT ON TRIGGER source_check ON rappel_conso.source IS 'checks a source';

-- The library has the rules, since runs go by them too: of rows that were
-- stored while triggers were disabled.
CREATE FUNCTION rappel_conso.source_address() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_source_address' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.source_address() IS 'checks url, dataset, filter and fields of a source';

CREATE TRIGGER source_address BEFORE INSERT OR UPDATE OF url, dataset, filter, key_field, cursor_field ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.source_address();
COMMENT ON TRIGGER source_address ON rappel_conso.source IS 'checks url, dataset, filter and fields of a source';

CREATE FUNCTION rappel_conso.forget(source text, destination text DEFAULT NULL) RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  UPDATE rappel_conso.source_state s
     SET cursor_value = NULL, complete = false, data_processed = NULL, records_count = NULL, full_at = NULL,
         surplus = NULL, missing_refused = false, missing_accepted = 0, epoch = s.epoch + 1
   WHERE s.source = $1 AND s.destination = COALESCE($2, s.destination);
  DELETE FROM rappel_conso.source_record r WHERE r.source = $1 AND r.destination = COALESCE($2, r.destination);
END;
COMMENT ON FUNCTION rappel_conso.forget(text, text) IS 'resets the cursor and the known records of a source, for one destination or all';

-- Restored rows are copied: what is copied into a definition is taken as it is,
-- since pg_restore with several jobs copies these tables in any order.
CREATE FUNCTION rappel_conso.source_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_RELID <> 'rappel_conso.source'::regclass OR TG_LEVEL <> 'ROW' THEN
    RAISE EXCEPTION 'trigger "%" of table "%" cannot execute function "%"', TG_NAME, TG_TABLE_NAME, 'source_changed'
      USING ERRCODE = 'trigger_protocol_violated', DETAIL = 'Only the extension''s own triggers can use the function.', HINT = 'Drop the trigger.';
  END IF;
  IF EXISTS (SELECT FROM pg_stat_progress_copy c WHERE c.pid = pg_backend_pid() AND c.relid = TG_RELID) THEN
    RETURN NULL;
  END IF;
  IF TG_OP = 'DELETE' THEN
    UPDATE rappel_conso.run r
       SET state = 'cancelled', finished_at = clock_timestamp(), sqlstate = '57014', error = 'the source was deleted'
     WHERE r.source = OLD.name AND r.state = 'queued';
    RETURN NULL;
  END IF;
  IF TG_NAME = 'source_renamed' THEN
    -- not what an earlier source or role of that name has left; what is queued
    -- is of this one, since it is cancelled when a source goes
    UPDATE rappel_conso.run r SET source = NEW.name, owner = NEW.owner
     WHERE r.source = OLD.name
       AND (r.state = 'queued'
            OR r.owner = OLD.owner AND r.owner_oid IN (rappel_conso.role_oid(OLD.owner), rappel_conso.role_oid(NEW.owner)))
       AND (r.source, r.owner, r.owner_oid) IS DISTINCT FROM (NEW.name, NEW.owner, rappel_conso.role_oid(NEW.owner));
    UPDATE rappel_conso.dead_letter d SET name = NEW.name, owner = NEW.owner
     WHERE d.origin = 'source' AND d.name = OLD.name AND d.owner = OLD.owner
       AND d.owner_oid IN (rappel_conso.role_oid(OLD.owner), rappel_conso.role_oid(NEW.owner))
       AND (NEW.name, NEW.owner) <> (OLD.name, OLD.owner);
    RETURN NULL;
  END IF;
  IF TG_NAME = 'source_fed' THEN
    -- another stream has got nothing yet; one that was renamed has
    IF NEW.stream IS NULL OR EXISTS (SELECT FROM rappel_conso.stream s WHERE s.name = OLD.stream) THEN
      PERFORM rappel_conso.forget(NEW.name, 'direct'::text);
    END IF;
    RETURN NULL;
  END IF;
  PERFORM rappel_conso.forget(NEW.name, NULL::text);
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rappel_conso.source_changed() IS 'resets the state of a source whose definition changes, and updates the runs of a source that is deleted, renamed or given to another owner';

CREATE TRIGGER source_changed AFTER UPDATE ON rappel_conso.source
  FOR EACH ROW
  WHEN ((NEW.url, NEW.dataset, NEW.filter, NEW.key_field, NEW.cursor_field, NEW.transform, NEW.fold_accents)
        IS DISTINCT FROM
        (OLD.url, OLD.dataset, OLD.filter, OLD.key_field, OLD.cursor_field, OLD.transform, OLD.fold_accents))
  EXECUTE FUNCTION rappel_conso.source_changed();
COMMENT ON TRIGGER source_changed ON rappel_conso.source IS 'resets cursor and known records when the definition changes';

CREATE TRIGGER source_deleted AFTER DELETE ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.source_changed();
COMMENT ON TRIGGER source_deleted ON rappel_conso.source IS 'cancels queued runs of a source that is deleted';

CREATE TRIGGER source_renamed AFTER UPDATE OF name, owner ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.source_changed();
COMMENT ON TRIGGER source_renamed ON rappel_conso.source IS 'moves runs and dead letters of the source to its new name or owner';

CREATE TRIGGER source_fed AFTER UPDATE OF stream ON rappel_conso.source
  FOR EACH ROW WHEN (OLD.stream IS NOT NULL AND NEW.stream IS DISTINCT FROM OLD.stream)
  EXECUTE FUNCTION rappel_conso.source_changed();
COMMENT ON TRIGGER source_fed ON rappel_conso.source IS 'resets the state of direct mode when the stream changes';

CREATE FUNCTION rappel_conso.source_stream() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_source_stream' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.source_stream() IS 'checks that the stream of a source exists and belongs to a role that the caller can act for';

CREATE TRIGGER source_stream AFTER INSERT OR UPDATE OF stream ON rappel_conso.source
  FOR EACH ROW WHEN (NEW.stream IS NOT NULL) EXECUTE FUNCTION rappel_conso.source_stream();
COMMENT ON TRIGGER source_stream ON rappel_conso.source IS 'checks source_stream_fkey, except for restored rows, and that the stream belongs to the same role';

CREATE FUNCTION rappel_conso.stream_deleted() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_stream_deleted' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.stream_deleted() IS 'sets the stream of other roles'' sources to null when it is deleted';

CREATE TRIGGER b_stream_deleted BEFORE DELETE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.stream_deleted();
COMMENT ON TRIGGER b_stream_deleted ON rappel_conso.stream IS 'sets the stream of other roles'' sources to null when it is deleted';

CREATE FUNCTION rappel_conso.role_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_role_check' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.role_check() IS 'checks that the caller is allowed to name this role, and records its OID';

CREATE TRIGGER b_role_check BEFORE INSERT OR UPDATE OF owner ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.role_check('owner', 'name');
COMMENT ON TRIGGER b_role_check ON rappel_conso.stream IS 'checks that the caller is allowed to name this role, and records its OID';
CREATE TRIGGER source_role BEFORE INSERT OR UPDATE OF owner ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.role_check('owner', 'name');
COMMENT ON TRIGGER source_role ON rappel_conso.source IS 'checks that the caller is allowed to name this role, and records its OID';
CREATE FUNCTION rappel_conso.source_topic_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_source_topic_check' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.source_topic_check() IS 'checks that the owner is allowed to write to the topic, if Kafka is used';
CREATE TRIGGER source_topic BEFORE INSERT OR UPDATE OF topic, owner ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.source_topic_check();
COMMENT ON TRIGGER source_topic ON rappel_conso.source IS 'checks that the owner is allowed to write to the topic, if Kafka is used';
CREATE TRIGGER topic_grant_role BEFORE INSERT OR UPDATE OF role ON rappel_conso.topic_grant
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.role_check('role', 'topic');
COMMENT ON TRIGGER topic_grant_role ON rappel_conso.topic_grant IS 'records the OID of the role';

CREATE FUNCTION rappel_conso.name_known() RETURNS trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_TABLE_NAME = 'known_role' THEN
    INSERT INTO rappel_conso.known_name (name) VALUES (NEW.name) ON CONFLICT DO NOTHING;
  ELSIF pg_trigger_depth() = 1 THEN
    -- not by the above, so from a dump; a definition of it may have been restored first
    INSERT INTO rappel_conso.known_role AS k (name, oid) VALUES (NEW.name, 0) ON CONFLICT (name) DO UPDATE SET oid = 0;
    RETURN NULL;
  END IF;
  RETURN NEW;
END
$$;
COMMENT ON FUNCTION rappel_conso.name_known() IS 'maintains known_name; a name restored from a dump denotes no role';
CREATE TRIGGER name_known AFTER INSERT ON rappel_conso.known_role
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.name_known();
COMMENT ON TRIGGER name_known ON rappel_conso.known_role IS 'maintains known_name';
CREATE TRIGGER restored BEFORE INSERT ON rappel_conso.known_name
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.name_known();
COMMENT ON TRIGGER restored ON rappel_conso.known_name IS 'makes a name restored from a dump denote no role';

-- With a trigger before updates, each update computes
-- generated columns again, and the name may be another role's by then.
CREATE FUNCTION rappel_conso.owner_kept() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_owner_kept' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.owner_kept() IS 'protects rows of a dropped role from a later role of the same name: they get no owner';

CREATE TRIGGER owner_kept AFTER UPDATE ON rappel_conso.run
  FOR EACH ROW WHEN (NEW.owner = OLD.owner AND NEW.owner_oid IS DISTINCT FROM OLD.owner_oid)
  EXECUTE FUNCTION rappel_conso.owner_kept();
COMMENT ON TRIGGER owner_kept ON rappel_conso.run IS 'protects rows of a dropped role from a later role of the same name';
CREATE TRIGGER owner_kept AFTER UPDATE ON rappel_conso.dead_letter
  FOR EACH ROW WHEN (NEW.owner = OLD.owner AND NEW.owner_oid IS DISTINCT FROM OLD.owner_oid)
  EXECUTE FUNCTION rappel_conso.owner_kept();
COMMENT ON TRIGGER owner_kept ON rappel_conso.dead_letter IS 'protects rows of a dropped role from a later role of the same name';
CREATE TRIGGER owner_kept AFTER UPDATE ON rappel_conso.outbox
  FOR EACH ROW WHEN (NEW.owner = OLD.owner AND NEW.owner_oid IS DISTINCT FROM OLD.owner_oid)
  EXECUTE FUNCTION rappel_conso.owner_kept();
COMMENT ON TRIGGER owner_kept ON rappel_conso.outbox IS 'protects rows of a dropped role from a later role of the same name';

CREATE FUNCTION rappel_conso.owner_known() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_owner_known' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.owner_known() IS 'protects rows of a dropped role from a later role of the same name';

CREATE TRIGGER a_owner_known BEFORE UPDATE OR DELETE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.owner_known();
COMMENT ON TRIGGER a_owner_known ON rappel_conso.stream IS 'protects rows of a dropped role from a later role of the same name';
CREATE TRIGGER a_owner_known BEFORE UPDATE OR DELETE ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.owner_known();
COMMENT ON TRIGGER a_owner_known ON rappel_conso.source IS 'protects rows of a dropped role from a later role of the same name';

CREATE FUNCTION rappel_conso.topic_grant_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_topic_grant_changed' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.topic_grant_changed() IS 'makes all stream workers check their topic grants again, and retries streams that had failed for lack of one';

CREATE TRIGGER wake AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON rappel_conso.topic_grant
  FOR EACH STATEMENT EXECUTE FUNCTION rappel_conso.topic_grant_changed();
COMMENT ON TRIGGER wake ON rappel_conso.topic_grant IS 'makes all stream workers check their topic grants again';

-- After all others before a change.  Always, also for what is replicated or
-- restored without triggers: sessions have nothing else to learn it from.
CREATE FUNCTION rappel_conso.grant_changes() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_grant_changes' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.grant_changes() IS 'makes sessions forget which topics they may publish to';

CREATE TRIGGER z_grant_changes BEFORE INSERT OR UPDATE OR DELETE ON rappel_conso.topic_grant
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.grant_changes();
COMMENT ON TRIGGER z_grant_changes ON rappel_conso.topic_grant IS 'makes sessions forget which topics they may publish to';
CREATE TRIGGER z_grant_changes BEFORE INSERT OR UPDATE OR DELETE ON rappel_conso.known_role
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.grant_changes();
COMMENT ON TRIGGER z_grant_changes ON rappel_conso.known_role IS 'makes sessions forget which topics they may publish to';
ALTER TABLE rappel_conso.topic_grant ENABLE ALWAYS TRIGGER z_grant_changes;
ALTER TABLE rappel_conso.known_role ENABLE ALWAYS TRIGGER z_grant_changes;

CREATE FUNCTION rappel_conso.stream_check() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_stream_check' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.stream_check() IS 'checks a stream, including its statement';

CREATE TRIGGER b_stream_check BEFORE INSERT OR UPDATE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.stream_check();
COMMENT ON TRIGGER b_stream_check ON rappel_conso.stream IS 'checks a stream, including its statement';

-- A dump would write the OID of such a type, which may be another type where
-- it is restored.  A row that is locked is left to the scheduler's next
-- round: DROP TYPE must not wait for the owner of a stream.
CREATE FUNCTION rappel_conso.settle_types() RETURNS void
LANGUAGE sql SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  UPDATE rappel_conso.stream s SET value_type = 0::oid::regtype
   WHERE s.name IN (SELECT g.name FROM rappel_conso.stream g
                     WHERE g.value_type <> 0::oid AND NOT EXISTS (SELECT FROM pg_type t WHERE t.oid = g.value_type)
                     LIMIT 1000 FOR NO KEY UPDATE SKIP LOCKED);
END;
COMMENT ON FUNCTION rappel_conso.settle_types() IS 'resets the value_type of streams, at most 1000, whose type no longer exists';

CREATE FUNCTION rappel_conso.type_dropped() RETURNS event_trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '100 ms' AS $$
BEGIN
  IF NOT EXISTS (SELECT FROM pg_event_trigger_dropped_objects() o WHERE o.classid = 'pg_type'::regclass) THEN
    RETURN;
  END IF;
  IF EXISTS (SELECT FROM pg_event_trigger_dropped_objects() o JOIN rappel_conso.stream s ON s.value_type = o.objid
              WHERE o.classid = 'pg_type'::regclass) THEN
    PERFORM rappel_conso.settle_types();
  END IF;
EXCEPTION WHEN lock_not_available OR serialization_failure OR deadlock_detected THEN
  -- a DROP must not depend on who uses our tables: the scheduler does it later
  NULL;
END
$$;
COMMENT ON FUNCTION rappel_conso.type_dropped() IS 'resets the value_type of streams when the type is dropped';

CREATE EVENT TRIGGER rappel_conso_type_dropped ON sql_drop EXECUTE FUNCTION rappel_conso.type_dropped();
ALTER EVENT TRIGGER rappel_conso_type_dropped ENABLE ALWAYS;
COMMENT ON EVENT TRIGGER rappel_conso_type_dropped IS 'resets the value_type of streams when the type is dropped';

CREATE FUNCTION rappel_conso.stream_changed() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF TG_RELID <> 'rappel_conso.stream'::regclass OR TG_LEVEL <> 'ROW' THEN
    RAISE EXCEPTION 'trigger "%" of table "%" cannot execute function "%"', TG_NAME, TG_TABLE_NAME, 'stream_changed'
      USING ERRCODE = 'trigger_protocol_violated', DETAIL = 'Only the extension''s own triggers can use the function.', HINT = 'Drop the trigger.';
  END IF;
  IF EXISTS (SELECT FROM pg_stat_progress_copy c WHERE c.pid = pg_backend_pid() AND c.relid = TG_RELID) THEN
    RETURN NULL;
  END IF;
  PERFORM FROM rappel_conso.stream_offset o WHERE o.stream = NEW.name ORDER BY o.topic, o.partition FOR UPDATE;
  UPDATE rappel_conso.stream_offset o SET epoch = o.epoch + 1 WHERE o.stream = NEW.name;
  UPDATE rappel_conso.dead_letter d SET name = NEW.name, owner = NEW.owner
   WHERE d.origin = 'stream' AND d.name = OLD.name AND d.owner = OLD.owner AND d.resolved_at IS NULL
     -- not what an earlier role of that name has left
     AND d.owner_oid IN (rappel_conso.role_oid(OLD.owner), rappel_conso.role_oid(NEW.owner))
     AND (NEW.name, NEW.owner) <> (OLD.name, OLD.owner);
  UPDATE rappel_conso.stream_state s SET retry_at = NULL, failures = 0 WHERE s.stream = NEW.name;
  RETURN NULL;
END
$$;
COMMENT ON FUNCTION rappel_conso.stream_changed() IS 'increments the epoch, so that no batch of the old definition can commit';

CREATE TRIGGER stream_changed AFTER UPDATE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.stream_changed();
COMMENT ON TRIGGER stream_changed ON rappel_conso.stream IS 'increments the epoch, so that no batch of the old definition can commit';

CREATE FUNCTION rappel_conso.definition_changed() RETURNS trigger
AS 'MODULE_PATHNAME', 'rc_definition_changed' LANGUAGE C;
COMMENT ON FUNCTION rappel_conso.definition_changed() IS 'wakes the workers that use the changed definition';

CREATE TRIGGER wake AFTER INSERT OR UPDATE OR DELETE ON rappel_conso.stream
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.definition_changed();
COMMENT ON TRIGGER wake ON rappel_conso.stream IS 'wakes the workers that use the changed definition';
CREATE TRIGGER wake AFTER INSERT OR UPDATE OR DELETE ON rappel_conso.source
  FOR EACH ROW EXECUTE FUNCTION rappel_conso.definition_changed();
COMMENT ON TRIGGER wake ON rappel_conso.source IS 'wakes the workers that use the changed definition';

-- Workers, and functions of ours that roles call, write these tables with a
-- superuser's rights.  A trigger runs with those, and what a foreign key does
-- in the table that it is of makes that one's triggers do so, too.  And they
-- name the schema: were it renamed, another role could create one.
CREATE FUNCTION rappel_conso.trigger_check() RETURNS event_trigger
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  made record;
BEGIN
  IF to_regnamespace('rappel_conso') IS NULL THEN
    RAISE EXCEPTION 'cannot rename schema "rappel_conso"'
      USING ERRCODE = 'dependent_objects_still_exist', DETAIL = 'The extension names its tables with it.';
  END IF;
  IF (SELECT u.rolsuper FROM pg_roles u WHERE u.rolname = current_user) THEN
    RETURN;
  END IF;
  SELECT 'trigger'::text AS what, t.tgname AS name, t.tgrelid::regclass AS relation INTO made
    FROM pg_event_trigger_ddl_commands() c JOIN pg_trigger t ON t.oid = c.objid JOIN pg_class r ON r.oid = t.tgrelid
   WHERE c.classid = 'pg_trigger'::regclass AND r.relnamespace = 'rappel_conso'::regnamespace
   UNION ALL
  SELECT 'foreign key', k.conname, k.confrelid::regclass
    FROM pg_event_trigger_ddl_commands() c JOIN pg_constraint k ON k.conrelid = c.objid JOIN pg_class r ON r.oid = k.confrelid
   WHERE c.classid = 'pg_class'::regclass AND k.contype = 'f' AND r.relnamespace = 'rappel_conso'::regnamespace
   LIMIT 1;
  IF FOUND THEN
    RAISE EXCEPTION 'must be superuser to create % "%" on table %', made.what, made.name, made.relation
      USING ERRCODE = 'insufficient_privilege',
            DETAIL = 'The extension writes to this table with superuser privileges, and triggers would run with them.';
  END IF;
END
$$;
COMMENT ON FUNCTION rappel_conso.trigger_check() IS 'rejects triggers on tables of schema rappel_conso, and foreign keys to them, unless a superuser creates them; and a new name for the schema';

CREATE EVENT TRIGGER rappel_conso_trigger_check ON ddl_command_end
  WHEN TAG IN ('CREATE TRIGGER', 'CREATE TABLE', 'ALTER TABLE', 'CREATE SCHEMA', 'ALTER SCHEMA')
  EXECUTE FUNCTION rappel_conso.trigger_check();
COMMENT ON EVENT TRIGGER rappel_conso_trigger_check IS 'rejects triggers on tables of schema rappel_conso, and foreign keys to them, unless a superuser creates them; and a new name for the schema';
