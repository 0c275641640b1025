-- 50-run-functions
--     Functions that ask for runs, wait for them and end them.

CREATE FUNCTION @extschema@.rc_sync_now(
  source text DEFAULT 'rappel_conso', full_sync boolean DEFAULT false,
  OUT run_id bigint, OUT state text, OUT fetched bigint, OUT published bigint, OUT inserted bigint,
  OUT updated bigint, OUT unchanged bigint, OUT dead bigint, OUT duration interval)
AS 'MODULE_PATHNAME', 'rc_sync_now' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_sync_now(text, boolean) IS 'runs a source now, waits for the run to end and returns its counts';

CREATE FUNCTION @extschema@.rc_trigger(source text DEFAULT 'rappel_conso', full_sync boolean DEFAULT false)
RETURNS bigint
AS 'MODULE_PATHNAME', 'rc_trigger' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_trigger(text, boolean) IS 'requests a run of a source and returns its id; takes effect at commit';

CREATE FUNCTION rappel_conso.reads(source text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT hashtextextended(ROW(s.url, s.dataset, s.filter, s.key_field, s.cursor_field, s.transform, s.fold_accents, s.stream, s.topic,
                 COALESCE(current_setting('rappel_conso.kafka_brokers', true), ''))::text, 0)::text
    FROM rappel_conso.source s WHERE s.name = $1;
END;
COMMENT ON FUNCTION rappel_conso.reads(text) IS 'hash of what a source reads and where it sends it; when it changes, windows are read again';

CREATE FUNCTION rappel_conso.backfill(source text, "from" timestamptz, "to" timestamptz, every interval)
RETURNS bigint LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  most CONSTANT integer := 10000;
  starts timestamptz[];
  new_run bigint;
  definition record;
BEGIN
  SELECT s.owner, rappel_conso.role_oid(s.owner) AS owner_oid INTO definition FROM rappel_conso.source s WHERE s.name = backfill.source;
  IF NOT isfinite("from") OR NOT isfinite("to") THEN
    RAISE EXCEPTION 'a backfill must have a start and an end' USING ERRCODE = 'invalid_parameter_value';
  END IF;
  IF "from" < '0001-01-01 00:00:00+00' THEN
    RAISE EXCEPTION 'a backfill cannot begin before the year 1'
      USING ERRCODE = 'invalid_parameter_value', DETAIL = format('The start is %s.', "from");
  END IF;
  IF "from" > clock_timestamp() THEN
    RAISE EXCEPTION 'cannot backfill the future'
      USING ERRCODE = 'invalid_parameter_value', DETAIL = format('The start is %s.', "from");
  END IF;
  IF "from" >= "to" THEN
    RAISE EXCEPTION 'the start of a backfill must be before its end'
      USING ERRCODE = 'invalid_parameter_value', DETAIL = format('The start is %s, the end is %s.', "from", "to");
  END IF;
  IF every > '10000 years' THEN
    RAISE EXCEPTION 'window length of a backfill is out of range: %', every
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Use a window that is not longer than the backfill.';
  END IF;
  IF every < '1 second' OR "from" + every < "from" + interval '1 second' OR date_trunc('second', every) <> every THEN
    RAISE EXCEPTION 'window length of a backfill must be a positive number of whole seconds, not %', every
      USING ERRCODE = 'invalid_parameter_value';
  END IF;

  -- the API is asked by whole seconds: rather one too many than a part of one
  "from" := date_trunc('second', "from");
  IF date_trunc('second', "to") <> "to" THEN
    "to" := date_trunc('second', "to") + interval '1 second';
  END IF;
  FOR n IN 0 .. most LOOP
    BEGIN
      EXIT WHEN "from" + every * n >= "to";
      starts[n + 1] := "from" + every * n;
      IF starts[n + 1] <= starts[n] THEN
        RAISE EXCEPTION 'windows of length % overlap', every
          USING ERRCODE = 'invalid_parameter_value', DETAIL = format('One of them starts at %s.', starts[n + 1]);
      END IF;
    EXCEPTION WHEN datetime_field_overflow OR interval_field_overflow THEN
      EXIT;
    END;
  END LOOP;
  IF cardinality(starts) > most THEN
    RAISE EXCEPTION 'backfill has too many windows, at most % are allowed', most
      USING ERRCODE = 'program_limit_exceeded', HINT = 'Use longer windows.';
  END IF;

  LOOP
    INSERT INTO rappel_conso.run AS r (source, owner, state, trigger, window_from, window_to, window_every, started_at)
    VALUES (backfill.source, definition.owner, 'queued', 'backfill', "from", "to", every, NULL)
    ON CONFLICT DO NOTHING RETURNING r.id INTO new_run;
    EXIT WHEN FOUND;
    SELECT r.id INTO new_run FROM rappel_conso.run r
     WHERE r.source = backfill.source AND r.state = 'queued' AND r.trigger = 'backfill'
       AND (r.window_from, r.window_to, r.window_every) = ("from", "to", every);
    IF FOUND THEN
      RETURN new_run;
    END IF;
  END LOOP;
  INSERT INTO rappel_conso.task (run, name, state, window_from, window_to)
  SELECT new_run, 'window ' || to_char(w.start AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'), 'queued',
         w.start, COALESCE(starts[w.n + 1], "to")
    FROM unnest(starts) WITH ORDINALITY AS w (start, n);

  -- what an earlier run of the same backfill has done need not be done again,
  -- if it would be the same; one that says it runs may have been killed
  UPDATE rappel_conso.task t
     SET state = 'success', started_at = o.started_at, finished_at = o.finished_at
    FROM rappel_conso.task o
   WHERE t.run = new_run AND o.name = t.name AND o.window_to = t.window_to AND o.state = 'success'
     AND o.run = (SELECT max(r.id) FROM rappel_conso.run r
                   WHERE r.source = backfill.source AND r.reads = rappel_conso.reads(backfill.source)
                     AND (r.owner, r.owner_oid) = (definition.owner, definition.owner_oid)
                     AND (r.window_from, r.window_to, r.window_every) = ("from", "to", every)
                     AND (r.state IN ('failed', 'cancelled')
                          OR r.state = 'running' AND rappel_conso.worker_pid('run'::text, r.source, 0) IS NULL)
                     AND r.id > COALESCE((SELECT max(p.id) FROM rappel_conso.run p
                                           WHERE p.source = backfill.source AND p.state = 'success'
                                             AND (p.window_from, p.window_to, p.window_every) = ("from", "to", every)), 0));
  RETURN new_run;
END
$$;
COMMENT ON FUNCTION rappel_conso.backfill(text, timestamptz, timestamptz, interval) IS 'implementation of rc_backfill(), after its caller was checked';

CREATE FUNCTION @extschema@.rc_backfill(source text, "from" timestamptz, "to" timestamptz, every interval DEFAULT '1 month')
RETURNS bigint
AS 'MODULE_PATHNAME', 'rc_backfill' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_backfill(text, timestamptz, timestamptz, interval) IS 'requests a run that reads a source window by window, and returns its id';

CREATE FUNCTION @extschema@.rc_wait(run bigint, timeout interval DEFAULT NULL,
  OUT run_id bigint, OUT state text, OUT fetched bigint, OUT published bigint, OUT inserted bigint,
  OUT updated bigint, OUT unchanged bigint, OUT dead bigint, OUT duration interval)
AS 'MODULE_PATHNAME', 'rc_wait' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_wait(bigint, interval) IS 'waits for a run to end and returns its counts';

CREATE FUNCTION @extschema@.rc_cancel(run_id bigint) RETURNS boolean
AS 'MODULE_PATHNAME', 'rc_cancel' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_cancel(bigint) IS 'cancels a run that is queued or running; false if it had ended';
