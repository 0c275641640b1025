-- 52-stream-functions
--     Functions that move streams, publish, and apply or publish dead letters
--     again.

CREATE FUNCTION rappel_conso.seek(stream text, topics text[], partitions integer[], offsets bigint[]) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
DECLARE
  single text;
  wrong record;
BEGIN
  -- in the order in which workers lock
  PERFORM FROM rappel_conso.stream s WHERE s.name = seek.stream FOR NO KEY UPDATE;
  PERFORM FROM rappel_conso.stream_offset o WHERE o.stream = seek.stream ORDER BY o.topic, o.partition FOR UPDATE;
  single := (SELECT min(o.topic) FROM rappel_conso.stream_offset o WHERE o.stream = seek.stream HAVING min(o.topic) = max(o.topic));
  IF single IS NULL AND array_position(topics, NULL) > 0
     AND EXISTS (SELECT FROM rappel_conso.stream_offset o WHERE o.stream = seek.stream) THEN
    RAISE EXCEPTION 'stream "%" reads several topics', stream
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Name the topic: topic:partition:offset,...';
  END IF;
  SELECT p.partition, count(*) AS times, count(o.stream) AS known INTO wrong
    FROM unnest(topics, partitions) AS p (topic, partition)
    LEFT JOIN rappel_conso.stream_offset o
      ON o.stream = seek.stream AND o.topic = COALESCE(p.topic, single) AND o.partition = p.partition
   GROUP BY COALESCE(p.topic, single), p.partition
  HAVING count(*) > 1 OR count(o.stream) = 0
   ORDER BY count(o.stream), COALESCE(p.topic, single), p.partition LIMIT 1;
  IF wrong.known = 0 THEN
    RAISE EXCEPTION 'partition % of stream "%" has no offset yet', wrong.partition, stream
      USING ERRCODE = 'undefined_object',
            DETAIL = 'A partition gets its offset when a worker of the stream first reads it.',
            HINT = 'Let the stream run first, or seek to earliest, latest or a timestamp.';
  ELSIF wrong.times > 1 THEN
    RAISE EXCEPTION 'partition % is specified % times', wrong.partition, wrong.times
      USING ERRCODE = 'invalid_parameter_value', HINT = 'Specify one offset for each partition.';
  END IF;
  UPDATE rappel_conso.stream_offset o
     SET next_offset = p.next_offset, epoch = o.epoch + 1, seek_to = NULL,
         last_offset = NULL, record_timestamp = NULL, cluster_id = NULL
    FROM unnest(topics, partitions, offsets) AS p (topic, partition, next_offset)
   WHERE o.stream = seek.stream AND o.topic = COALESCE(p.topic, single) AND o.partition = p.partition;
  -- what it says of a gap, or of a re-created table, is answered by this
  UPDATE rappel_conso.stream_state t SET retry_at = NULL, failures = 0, detail = NULL WHERE t.stream = seek.stream;
END
$$;
COMMENT ON FUNCTION rappel_conso.seek(text, text[], integer[], bigint[]) IS 'implementation of rc_seek() for partition:offset,...';

CREATE FUNCTION rappel_conso.seek(stream text, "to" text) RETURNS void
LANGUAGE plpgsql SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  PERFORM FROM rappel_conso.stream s WHERE s.name = seek.stream FOR NO KEY UPDATE;
  PERFORM FROM rappel_conso.stream_offset o WHERE o.stream = seek.stream ORDER BY o.topic, o.partition FOR UPDATE;
  UPDATE rappel_conso.stream_offset o
     SET seek_to = "to", epoch = o.epoch + 1
   WHERE o.stream = seek.stream;
  IF NOT FOUND THEN
    UPDATE rappel_conso.stream s SET start_at = "to" WHERE s.name = seek.stream;
  END IF;
  UPDATE rappel_conso.stream_state t SET retry_at = NULL, failures = 0, detail = NULL WHERE t.stream = seek.stream;
END
$$;
COMMENT ON FUNCTION rappel_conso.seek(text, text) IS 'implementation of rc_seek() for earliest, latest and timestamps (ISO 8601, UTC)';

CREATE FUNCTION @extschema@.rc_seek(stream text, "to" text) RETURNS void
AS 'MODULE_PATHNAME', 'rc_seek' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_seek(text, text) IS 'moves a stream to another position: earliest, latest, a timestamp, or partition:offset,...';

CREATE FUNCTION @extschema@.rc_publish(topic text, value bytea, key bytea DEFAULT NULL, headers jsonb DEFAULT NULL)
RETURNS uuid
AS 'MODULE_PATHNAME', 'rc_publish' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_publish(text, bytea, bytea, jsonb) IS 'puts a message into the outbox, in the caller''s transaction';

CREATE FUNCTION @extschema@.rc_publish(topic text, value text, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN @extschema@.rc_publish(topic, convert_to(value, 'UTF8'), convert_to(key, 'UTF8'), headers);
COMMENT ON FUNCTION @extschema@.rc_publish(text, text, text, jsonb) IS 'puts a message into the outbox, in the caller''s transaction';

CREATE FUNCTION @extschema@.rc_publish(topic text, value jsonb, key text DEFAULT NULL, headers jsonb DEFAULT NULL)
RETURNS uuid LANGUAGE sql VOLATILE PARALLEL UNSAFE
RETURN @extschema@.rc_publish(topic, convert_to(value::text, 'UTF8'), convert_to(key, 'UTF8'), headers);
COMMENT ON FUNCTION @extschema@.rc_publish(text, jsonb, text, jsonb) IS 'puts a message into the outbox, in the caller''s transaction';

CREATE FUNCTION @extschema@.rc_republish(topic text DEFAULT NULL, id bigint DEFAULT NULL,
  OUT republished bigint, OUT still_dead bigint)
AS 'MODULE_PATHNAME', 'rc_republish' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_republish(text, bigint) IS 'puts dead letters of the outbox back into the outbox, oldest first, in the caller''s transaction';

CREATE FUNCTION @extschema@.rc_retry(stream text, id bigint DEFAULT NULL,
  OUT retried bigint, OUT resolved bigint, OUT still_dead bigint)
AS 'MODULE_PATHNAME', 'rc_retry' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_retry(text, bigint) IS 'applies dead letters of a stream again, with their original topic, partition and offset';

CREATE FUNCTION @extschema@.rc_drain(stream text, timeout interval DEFAULT NULL,
  OUT applied bigint, OUT inserted bigint, OUT updated bigint, OUT unchanged bigint, OUT dead bigint)
AS 'MODULE_PATHNAME', 'rc_drain' LANGUAGE C VOLATILE PARALLEL UNSAFE;
COMMENT ON FUNCTION @extschema@.rc_drain(text, interval) IS 'applies all records that a stream''s topics hold now, and waits for the end';
