-- 53-status
--     One function, rc_status(): how all parts are, for who looks after them.
--
-- It only reads, and by row security: who calls it sees what is his.

-- PL/pgSQL asks for the privilege only where it gets that far.
CREATE FUNCTION rappel_conso.error_detail(stream text) RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
  IF NOT has_column_privilege('rappel_conso.stream_state', 'error_detail', 'SELECT') THEN
    RETURN NULL;
  END IF;
  RETURN (SELECT t.error_detail FROM rappel_conso.stream_state t WHERE t.stream = error_detail.stream);
END
$$;
COMMENT ON FUNCTION rappel_conso.error_detail(text) IS 'detail of a stream''s newest error, which can contain values of a record, for roles that are allowed to see it';

CREATE FUNCTION @extschema@.rc_status(
  OUT component text, OUT name text, OUT state text, OUT detail text, OUT lag bigint,
  OUT last_success timestamptz, OUT last_error text, OUT last_error_at timestamptz)
RETURNS SETOF record
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = on SET datestyle = iso
BEGIN ATOMIC
  WITH world AS (
    SELECT rappel_conso.worker_pid('scheduler') AS scheduler,
           COALESCE(current_setting('rappel_conso.kafka_brokers', true), '') AS brokers,
           rappel_conso.library_version() AS library,
           (SELECT e.extversion FROM pg_extension e WHERE e.extname = 'rappel_conso') AS installed,
           rappel_conso.is_preloaded() AS preloaded,
           (SELECT p.stopped_at FROM rappel_conso.stopped p WHERE p.stopped_at >= pg_postmaster_start_time()) AS stopped_at
  ), stream_part AS (
    SELECT s.name, s.paused, LEAST(s.workers, o.partitions) AS workers, s.topics, t.state AS said, t.detail, t.sqlstate, t.error,
           t.hint, t.last_error_at, t.retry_at, o.lag, o.applied_at, o.observed_at, d.dead, f.rate, f.started_at,
           (SELECT count(rappel_conso.worker_pid('stream', s.name, n)) FROM generate_series(0, s.workers - 1) n) AS alive
      FROM rappel_conso.stream s
      LEFT JOIN rappel_conso.stream_state t ON t.stream = s.name
      LEFT JOIN LATERAL (SELECT GREATEST(max(l.partition) FILTER (WHERE l.topic = ANY (s.topics)) + 1, 1) AS partitions, sum(l.lag)::bigint AS lag, max(l.applied_at) AS applied_at,
                                max(l.observed_at) AS observed_at
                           FROM rappel_conso.lag l WHERE l.stream = s.name) o ON true
      LEFT JOIN LATERAL (SELECT sum(p.applied - p.applied_before)
                                / NULLIF(extract(epoch FROM clock_timestamp() - min(p.started_at)), 0) AS rate,
                                min(p.started_at) AS started_at
                           FROM rappel_conso.stream_offset p WHERE p.stream = s.name) f ON true
      LEFT JOIN LATERAL (SELECT count(*) AS dead FROM rappel_conso.dead_letter d
                          WHERE d.origin = 'stream' AND d.name = s.name AND d.owner = s.owner AND d.resolved_at IS NULL) d ON true
  )
  SELECT 'scheduler' AS component, current_database()::text AS name,
         CASE WHEN w.library <> w.installed THEN 'restart needed'
              WHEN w.scheduler IS NOT NULL THEN 'running'
              WHEN w.preloaded AND w.stopped_at IS NULL THEN 'waiting' ELSE 'stopped' END,
         CASE WHEN w.library <> w.installed
              THEN format('the library is version %s, the extension %s; restart the server', w.library, w.installed)
              WHEN w.scheduler IS NOT NULL THEN format('process %s', w.scheduler)
              WHEN w.stopped_at IS NOT NULL THEN format('rc_stop() was called at %s; rc_start() starts it', w.stopped_at)
              WHEN w.preloaded THEN 'the server starts it within a minute, in a free worker slot; rc_start() starts it now'
              ELSE 'rc_start() starts it; or preload the library and list this database in rappel_conso.databases' END,
         NULL::bigint AS lag, NULL::timestamptz AS last_success, NULL::text AS last_error, NULL::timestamptz AS last_error_at
    FROM world w
  UNION ALL
  SELECT 'kafka' AS component, CASE WHEN w.brokers = '' THEN 'none' ELSE w.brokers END,
         CASE WHEN w.brokers = '' THEN 'direct mode' ELSE 'configured' END,
         CASE WHEN w.brokers = '' THEN 'sources feed their streams without Kafka'
              ELSE (SELECT 'cluster ' || string_agg(DISTINCT o.cluster_id, ', ') FROM rappel_conso.stream_offset o) END,
         NULL AS lag, (SELECT max(o.observed_at) FROM rappel_conso.stream_offset o), NULL AS last_error, NULL AS last_error_at
    FROM world w
  UNION ALL
  SELECT 'source' AS component, s.name,
         CASE WHEN rappel_conso.worker_pid('run', s.name) IS NOT NULL THEN 'running'
              WHEN q.reason IS NOT NULL AND w.scheduler IS NOT NULL THEN 'waiting'
              WHEN s.paused THEN 'paused'
              WHEN r.id IS NULL THEN 'never run'
              WHEN r.state = 'running' THEN 'failed'
              ELSE r.state END,
         CASE WHEN q.reason IS NOT NULL AND w.scheduler IS NOT NULL
              THEN format('due since %s, but cannot run: %s; ', q.since, q.reason) ELSE '' END
         || CASE WHEN r.id IS NOT NULL
              THEN format('run %s: %s fetched, %s inserted, %s updated, %s unchanged, %s dead',
                          r.id, r.fetched, r.inserted, r.updated, r.unchanged, r.dead)
                   || CASE WHEN r.withdrawn > 0 THEN format(', %s withdrawn', r.withdrawn) ELSE '' END
                   || COALESCE((SELECT format('; %s retried at %s: %s', k.name, k.next_try_at, k.error)
                                  FROM rappel_conso.task k WHERE k.run = r.id AND k.state = 'up_for_retry'), '')
                   || COALESCE((SELECT format('; %s of %s windows done', count(*) FILTER (WHERE k.state = 'success'), count(*))
                                  FROM rappel_conso.task k WHERE k.run = r.id AND k.window_from IS NOT NULL
                                HAVING count(*) > 0), '')
                   || COALESCE((SELECT format('; quota low: %s of %s calls left until %s', t.quota_remaining, t.quota_limit, t.quota_reset_at)
                                  FROM rappel_conso.source_state t
                                 WHERE t.source = s.name AND t.quota_remaining * 10 < t.quota_limit
                                   AND t.quota_reset_at > clock_timestamp() LIMIT 1), '')
              ELSE s.dataset END,
         NULL AS lag, ok.finished_at, bad.error, bad.finished_at
    FROM world w CROSS JOIN rappel_conso.source s
    LEFT JOIN rappel_conso.source_wait q ON q.source = s.name
    LEFT JOIN LATERAL (SELECT r.id, r.state, r.fetched, r.inserted, r.updated, r.unchanged, r.dead, r.withdrawn
                         FROM rappel_conso.run r WHERE r.source = s.name AND r.owner = s.owner
                        ORDER BY r.state = 'running' DESC, r.id DESC LIMIT 1) r ON true
    LEFT JOIN LATERAL (SELECT r.finished_at FROM rappel_conso.run r WHERE r.source = s.name AND r.owner = s.owner AND r.state = 'success'
                        ORDER BY r.id DESC LIMIT 1) ok ON true
    LEFT JOIN LATERAL (SELECT r.error, r.finished_at FROM rappel_conso.run r WHERE r.source = s.name AND r.owner = s.owner AND r.state = 'failed'
                        ORDER BY r.id DESC LIMIT 1) bad ON true
  UNION ALL
  SELECT 'stream' AS component, p.name,
         CASE WHEN p.paused THEN 'paused'
              WHEN p.said = 'failed' THEN 'failed'
              WHEN w.brokers = '' THEN 'direct mode'
              WHEN p.alive > 0 THEN CASE WHEN p.said = 'waiting' THEN 'waiting' ELSE 'running' END
              WHEN w.scheduler IS NOT NULL THEN 'waiting'
              ELSE 'stopped' END,
         concat_ws('; ',
                   CASE WHEN w.brokers <> '' THEN format('%s of %s workers', p.alive, p.workers) END,
                   CASE WHEN p.alive > 0 AND p.rate IS NOT NULL
                        THEN format('%s records/s since %s', round(p.rate, 1), p.started_at) END,
                   p.detail,
                   CASE WHEN p.said = 'failed' AND p.retry_at IS NOT NULL THEN format('tried again at %s', p.retry_at) END,
                   CASE WHEN p.dead > 0 THEN format('%s dead letter%s', p.dead, CASE WHEN p.dead > 1 THEN 's' END) END),
         CASE WHEN w.brokers <> '' THEN p.lag END, p.applied_at,
         p.error || COALESCE(chr(10) || rappel_conso.error_detail(p.name), '') || COALESCE(chr(10) || 'HINT: ' || p.hint, ''), p.last_error_at
    FROM stream_part p, world w
  UNION ALL
  SELECT 'outbox' AS component, current_database()::text AS name,
         CASE WHEN w.brokers = '' THEN 'direct mode'
              WHEN rappel_conso.worker_pid('outbox') IS NOT NULL
              THEN CASE WHEN o.n > 0 AND o.waiting = o.n THEN 'waiting'
                        ELSE COALESCE((SELECT t.state FROM rappel_conso.outbox_state t), 'running') END
              WHEN o.n = 0 THEN 'idle'
              WHEN w.scheduler IS NOT NULL THEN 'waiting'
              ELSE 'stopped' END,
         CASE WHEN o.n = 1 THEN format('1 message waits, since %s', o.oldest)
              WHEN o.n > 0 THEN format('%s messages wait, the oldest since %s', o.n, o.oldest) END
           || CASE WHEN w.brokers = '' OR o.topics = 0 THEN ''
                   WHEN o.topics = 1 THEN format('; topic "%s" waits', o.topic)
                   ELSE format('; %s topics wait', o.topics) END,
         o.n, NULL AS last_success, (SELECT t.error || COALESCE(chr(10) || 'HINT: ' || t.hint, '') FROM rappel_conso.outbox_state t),
         (SELECT t.last_error_at FROM rappel_conso.outbox_state t)
    FROM world w, (SELECT count(*) AS n, min(m.created_at) AS oldest, count(t.topic) AS waiting,
                          count(DISTINCT t.topic) AS topics, min(t.topic) AS topic
                     FROM rappel_conso.outbox m LEFT JOIN rappel_conso.outbox_topic t ON t.topic = m.topic) o
  UNION ALL
  SELECT 'topic' AS component, t.topic, 'waiting' AS state,
         CASE WHEN m.n = 1 THEN format('1 message waits, since %s', m.oldest)
              ELSE format('%s messages wait, the oldest since %s', m.n, m.oldest) END
           || COALESCE(format('; tried again at %s', t.retry_at), ''),
         m.n, NULL AS last_success, t.error || COALESCE(chr(10) || 'HINT: ' || t.hint, ''), t.last_error_at
    FROM world w, rappel_conso.outbox_topic t
    JOIN LATERAL (SELECT count(*) AS n, min(o.created_at) AS oldest
                    FROM rappel_conso.outbox o WHERE o.topic = t.topic) m ON m.n > 0
   WHERE w.brokers <> '';
END;
COMMENT ON FUNCTION @extschema@.rc_status() IS 'one row for each part of the pipelines: state, progress and newest error';
