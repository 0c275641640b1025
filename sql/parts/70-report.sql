-- 70-report
--     The page of rc_report().
--
-- It must be ASCII only, and whatever is data goes through html().

CREATE FUNCTION rappel_conso.html(text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN replace(replace(replace(replace(replace(
         translate(COALESCE($1, ''), convert_from(decode('01020304050607080b0c0d0e0f101112131415161718191a1b1c1d1e1f7f', 'hex'), 'UTF8'), repeat(' ', 30)),
         '&', '&amp;'), '<', '&lt;'), '>', '&gt;'), '"', '&quot;'), '''', '&#39;');
COMMENT ON FUNCTION rappel_conso.html(text) IS 'text with HTML''s special characters escaped';

CREATE FUNCTION rappel_conso.html_time(timestamptz) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
RETURN COALESCE('<time>' || to_char($1, 'YYYY-MM-DD HH24:MI:SS') || '</time>', '');
COMMENT ON FUNCTION rappel_conso.html_time(timestamptz) IS 'a time for a page, to the second';

CREATE FUNCTION rappel_conso.html_number(numeric) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN COALESCE(to_char($1, 'FM999,999,999,999,990'), '');
COMMENT ON FUNCTION rappel_conso.html_number(numeric) IS 'a number for a page';

CREATE FUNCTION rappel_conso.html_state(state text, title text DEFAULT NULL) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT format('<i class="%s"%s>%s</i>',
                CASE WHEN state IN ('success', 'configured', 'direct mode', 'idle') THEN 'good'
                     WHEN state IN ('failed', 'restart needed') THEN 'bad'
                     WHEN state = 'running' THEN 'busy'
                     WHEN state IN ('queued', 'waiting', 'up_for_retry') THEN 'wait'
                     ELSE 'off' END,
                CASE WHEN title IS NOT NULL THEN ' title="' || rappel_conso.html(title) || '"' END,
                CASE WHEN state IN ('success', 'configured', 'direct mode', 'idle') THEN '&#10003;'
                     WHEN state IN ('failed', 'restart needed') THEN '&#10007;'
                     WHEN state = 'running' THEN '&#9656;'
                     WHEN state = 'up_for_retry' THEN '&#8635;'
                     WHEN state IN ('queued', 'waiting') THEN '&#8230;'
                     WHEN state = 'upstream_failed' THEN '&#8593;'
                     ELSE '&#8211;' END);
END;
COMMENT ON FUNCTION rappel_conso.html_state(text, text) IS 'a state for a page, as a coloured sign';

CREATE FUNCTION rappel_conso.report_style() RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE
RETURN $css$
:root { color-scheme: light dark; --page: #f4f5f7; --card: #fff; --text: #1c2430; --dim: #5b6675; --line: #dde1e7;
  --good: #1a7f45; --bad: #c62828; --busy: #1b66c9; --wait: #a06200; --off: #6b7480; --bar: #2f6fb5; }
@media (prefers-color-scheme: dark) {
  :root { --page: #12161c; --card: #1b212a; --text: #e4e8ee; --dim: #9aa6b5; --line: #303946;
    --good: #46c17c; --bad: #ff7b72; --busy: #6cb0ff; --wait: #e3a93c; --off: #97a2b0; --bar: #5b9be0; } }
* { box-sizing: border-box; }
body { margin: 0 auto; padding: 1rem; max-width: 74rem; background: var(--page); color: var(--text);
  font: 15px/1.45 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
h1 { margin: 0; font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { margin: 0 0 .6rem; font-size: 1.05rem; }
h3 { margin: 1.1rem 0 .3rem; font-size: .95rem; overflow-wrap: anywhere; }
h2 + h3 { margin-top: 0; }
p { margin: .3rem 0; }
header { padding: .2rem .2rem .6rem; }
.dim, caption, figcaption, th { color: var(--dim); }
section { margin: 0 0 1rem; padding: 1rem; background: var(--card); border: 1px solid var(--line); border-radius: .6rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .88rem; }
th { font-weight: 600; text-align: left; }
th, td { padding: .3rem .9rem .3rem 0; border-top: 1px solid var(--line); vertical-align: top; }
thead th { border-top: 0; white-space: nowrap; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.k { font-weight: 600; white-space: nowrap; }
td.w { min-width: 12rem; overflow-wrap: anywhere; white-space: pre-line; }
time, .state { white-space: nowrap; font-variant-numeric: tabular-nums; }
i { display: inline-block; width: 1.15rem; height: 1.15rem; border-radius: .25rem; color: var(--card); font: bold .8rem/1.15rem system-ui, sans-serif;
  text-align: center; vertical-align: -.2em; overflow: hidden; }
i.good { background: var(--good); } i.bad { background: var(--bad); } i.busy { background: var(--busy); }
i.wait { background: var(--wait); } i.off { background: var(--off); }
p .state { margin-right: .7rem; }
.error { color: var(--bad); }
table.grid { table-layout: fixed; margin-bottom: .6rem; font-size: .8rem; }
table.grid th { width: 4.4rem; padding: 0; border: 0; font-weight: 400; vertical-align: middle; }
table.grid td { padding: 1px; border: 0; height: 1.35rem; vertical-align: bottom; }
table.grid i { width: 100%; display: block; }
table.grid b { display: block; background: var(--dim); border-radius: 2px 2px 0 0; }
table.grid tr:first-child td { height: 2.6rem; }
figure { margin: 0 0 1.2rem; } figure:last-child { margin: 0; }
svg { display: block; width: 100%; overflow: visible; }
svg text { font: 12px system-ui, sans-serif; fill: var(--dim); } svg .name { fill: var(--text); }
svg rect { fill: var(--bar); } svg line { stroke: var(--line); }
@media (max-width: 40rem) {
  body { padding: .6rem; } section { padding: .8rem; }
  table.cards thead { position: absolute; left: -99rem; }
  table.cards, table.cards tbody, table.cards tr, table.cards td { display: block; }
  table.cards tr { padding: .5rem 0; border-top: 1px solid var(--line); } table.cards tr:first-child { border: 0; padding-top: 0; }
  table.cards td { padding: .05rem 0; border: 0; text-align: left; white-space: normal; }
  table.cards td.n, table.cards td.k { display: inline-block; margin-right: .7rem; }
  table.cards td:empty { display: none !important; }
  table.grid i { font-size: .55rem; }
  table.cards td[data-name]::before { content: attr(data-name) ": "; color: var(--dim); }
}
$css$;
COMMENT ON FUNCTION rappel_conso.report_style() IS 'the style sheet of the page of rc_report()';

CREATE FUNCTION rappel_conso.report_parts() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = on
BEGIN ATOMIC
  SELECT format('<section id="parts"><h2>Parts</h2><table class="cards"><thead><tr><th>Part</th><th>Name</th><th>State</th><th>Detail</th><th class="n">Lag</th>'
                '<th>Last success</th><th>Last error</th></tr></thead><tbody>%s</tbody></table></section>',
           string_agg(format('<tr><td class="k">%s</td><td class="k">%s</td><td class="state">%s %s</td><td class="w">%s'
                             '</td><td class="n" data-name="lag">%s</td><td data-name="last success">%s</td><td class="w error">%s</td></tr>',
                        rappel_conso.html(s.component), rappel_conso.html(s.name), rappel_conso.html_state(s.state),
                        rappel_conso.html(s.state), rappel_conso.html(s.detail), rappel_conso.html_number(s.lag),
                        rappel_conso.html_time(s.last_success),
                        concat_ws(chr(10), NULLIF(rappel_conso.html_time(s.last_error_at), ''), NULLIF(rappel_conso.html(s.last_error), ''))), ''
                      ORDER BY array_position(ARRAY['scheduler', 'kafka', 'source', 'stream', 'outbox', 'topic'], s.component), s.name))
    FROM @extschema@.rc_status() s;
END;
COMMENT ON FUNCTION rappel_conso.report_parts() IS 'the parts of rc_report()';

-- A backfill has a task for each window: one row sums them up.
CREATE FUNCTION rappel_conso.report_grid(source text) RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET row_security = on SET datestyle = iso SET intervalstyle = postgres
BEGIN ATOMIC
  WITH shown AS (
    SELECT r.id, r.state, r.trigger, r.started_at, r.finished_at,
           COALESCE(r.finished_at, clock_timestamp()) - r.started_at AS duration
      FROM rappel_conso.run r WHERE r.source = report_grid.source ORDER BY r.id DESC LIMIT 30
  ), step AS (
    SELECT k.run, CASE WHEN k.window_from IS NULL THEN k.name ELSE 'windows' END AS name, count(*) AS tasks,
           (array_agg(k.state ORDER BY array_position(ARRAY['running', 'failed', 'up_for_retry', 'upstream_failed',
                                                            'cancelled', 'queued', 'success'], k.state)))[1] AS state,
           count(*) FILTER (WHERE k.state = 'success') AS done, max(k.attempt) AS attempt,
           COALESCE(max(k.finished_at), clock_timestamp()) - min(k.started_at) AS duration, max(k.error) AS error,
           sum(k.fetched) AS fetched, sum(k.published) AS published, sum(k.inserted) AS inserted, sum(k.updated) AS updated,
           sum(k.unchanged) AS unchanged, sum(k.dead) AS dead, sum(k.withdrawn) AS withdrawn
      FROM rappel_conso.task k WHERE k.run IN (SELECT h.id FROM shown h)
     GROUP BY 1, 2
  ), line AS (
    SELECT -1 AS place, 'duration' AS name, h.id,
           format('<b style="height:%spx" title="%s"></b>',
                  GREATEST(2, 40 * extract(epoch FROM h.duration) / NULLIF(max(extract(epoch FROM h.duration)) OVER (), 0))::integer,
                  COALESCE(rappel_conso.html(format('run %s: %s', h.id, date_trunc('milliseconds', h.duration))), '')) AS cell
      FROM shown h
     UNION ALL
    SELECT 0 AS place, 'run' AS name, h.id,
           rappel_conso.html_state(h.state, format('run %s (%s): %s, %s', h.id, h.trigger, h.state, h.started_at)) FROM shown h
     UNION ALL
    SELECT CASE n.name WHEN 'extract' THEN 1 WHEN 'load' THEN 2 WHEN 'sync' THEN 3 ELSE 4 END, n.name, h.id,
           CASE WHEN t.run IS NULL THEN '' ELSE rappel_conso.html_state(t.state,
             concat_ws(', ', format('run %s, %s: %s', h.id, t.name, t.state),
                       CASE WHEN t.tasks > 1 THEN format('%s of %s done', t.done, t.tasks) END,
                       CASE WHEN t.attempt > 1 THEN format('%s tries', t.attempt) END,
                       date_trunc('milliseconds', t.duration)::text,
                       (SELECT string_agg(format('%s %s', c.n, c.what), ', ' ORDER BY c.place)
                          FROM unnest(ARRAY['fetched', 'published', 'inserted', 'updated', 'unchanged', 'dead', 'withdrawn'],
                                      ARRAY[t.fetched, t.published, t.inserted, t.updated, t.unchanged, t.dead, t.withdrawn])
                               WITH ORDINALITY AS c (what, n, place) WHERE c.n > 0), t.error)) END
      FROM (SELECT DISTINCT s.name FROM step s) n
     CROSS JOIN shown h
      LEFT JOIN step t ON t.run = h.id AND t.name = n.name
  )
  SELECT format('<table class="grid" style="max-width:calc(4.4rem + %s * 1.4rem)"><tbody>%s</tbody></table>',
                max(l.runs), string_agg(format('<tr><th scope="row">%s</th>%s</tr>', rappel_conso.html(l.name), l.cells), '' ORDER BY l.place))
    FROM (SELECT i.place, i.name, count(*) AS runs,
                 string_agg('<td>' || i.cell || '</td>', '' ORDER BY i.id) AS cells
            FROM line i GROUP BY i.place, i.name) l;
END;
COMMENT ON FUNCTION rappel_conso.report_grid(text) IS 'the last 30 runs of a source for rc_report(): a column for each run, a row for each task';

CREATE FUNCTION rappel_conso.report_runs() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET row_security = on SET datestyle = iso SET intervalstyle = postgres
BEGIN ATOMIC
  SELECT format('<section id="runs"><h2>Runs</h2>%s<p class="dim">%s</p></section>',
           COALESCE(string_agg(format('<h3>%s</h3>%s%s', rappel_conso.html(s.name), rappel_conso.report_grid(s.name), l.runs), ''
                               ORDER BY s.name), '<p class="dim">There has been no run yet.</p>'),
           (SELECT string_agg(format('<span class="state">%s %s</span>', rappel_conso.html_state(n), replace(n, '_', ' ')), ' ' ORDER BY o)
              FROM unnest(ARRAY['success', 'running', 'queued', 'up_for_retry', 'failed', 'upstream_failed', 'cancelled'])
                   WITH ORDINALITY AS w (n, o)))
    FROM (SELECT DISTINCT r.source AS name FROM rappel_conso.run r) s
   CROSS JOIN LATERAL (
          SELECT format('<div class="scroll"><table class="cards"><thead><tr><th>Run</th><th>Started</th><th>State</th><th class="n">Duration</th><th class="n">Fetched</th><th class="n">Published</th>'
                        '<th class="n">Inserted</th><th class="n">Updated</th><th class="n">Unchanged</th><th class="n">Withdrawn</th><th class="n">Dead</th><th>Error</th></tr></thead><tbody>%s</tbody></table></div>',
                   string_agg(format('<tr><td class="k">%s (%s)</td><td>%s</td><td class="state">%s %s</td><td class="n" data-name="duration">%s</td><td class="n" data-name="fetched">%s'
                                     '</td><td class="n" data-name="published">%s</td><td class="n" data-name="inserted">%s</td><td class="n" data-name="updated">%s</td><td class="n" data-name="unchanged">%s'
                                     '</td><td class="n" data-name="withdrawn">%s</td><td class="n" data-name="dead">%s</td><td class="w error">%s</td></tr>',
                                r.id, rappel_conso.html(r.trigger), rappel_conso.html_time(r.started_at),
                                rappel_conso.html_state(r.state), rappel_conso.html(r.state),
                                date_trunc('milliseconds', r.finished_at - r.started_at), rappel_conso.html_number(r.fetched),
                                rappel_conso.html_number(NULLIF(r.published, 0)), rappel_conso.html_number(r.inserted),
                                rappel_conso.html_number(r.updated), rappel_conso.html_number(r.unchanged),
                                rappel_conso.html_number(NULLIF(r.withdrawn, 0)), rappel_conso.html_number(r.dead), rappel_conso.html(r.error)), '' ORDER BY r.id DESC)) AS runs
            FROM (SELECT u.id, u.trigger, u.state, u.started_at, u.finished_at, u.fetched, u.published, u.inserted, u.updated, u.unchanged,
                         u.withdrawn, u.dead, u.error FROM rappel_conso.run u WHERE u.source = s.name ORDER BY u.id DESC LIMIT 5) r) l;
END;
COMMENT ON FUNCTION rappel_conso.report_runs() IS 'the runs of rc_report()';

CREATE FUNCTION rappel_conso.recalls(OUT date_de_publication timestamptz, OUT categorie_de_produit text) RETURNS SETOF record
AS 'MODULE_PATHNAME', 'rc_read_recalls' LANGUAGE C STABLE PARALLEL UNSAFE ROWS 20000;
COMMENT ON FUNCTION rappel_conso.recalls() IS 'two columns of rappel_conso_table, read without a query so that no code of the table''s owner runs';

CREATE FUNCTION rappel_conso.recalls_by_day(OUT day date, OUT n bigint) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  WITH recall AS MATERIALIZED (
    SELECT r.date_de_publication AS at FROM rappel_conso.recalls() r
  )
  SELECT (r.at AT TIME ZONE 'UTC')::date, count(*)
    FROM recall r
   WHERE r.at >= ((SELECT max(m.at) FROM recall m) AT TIME ZONE 'UTC')::date::timestamp AT TIME ZONE 'UTC' - interval '59 days'
   GROUP BY 1;
END;
COMMENT ON FUNCTION rappel_conso.recalls_by_day() IS 'number of recalls per day (UTC), for days that have any, of the last 60 days in the table';

CREATE FUNCTION rappel_conso.recalls_by_category(OUT category text, OUT n bigint, OUT categories bigint) RETURNS SETOF record
LANGUAGE sql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT r.categorie_de_produit, count(*), count(*) OVER ()
    FROM rappel_conso.recalls() r
   GROUP BY r.categorie_de_produit ORDER BY 2 DESC, 1 LIMIT 12;
END;
COMMENT ON FUNCTION rappel_conso.recalls_by_category() IS 'number of recalls in each of the 12 most frequent categories, and the number of categories';

CREATE FUNCTION rappel_conso.report_days() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET datestyle = iso
BEGIN ATOMIC
  WITH recall AS MATERIALIZED (
    SELECT c.day, c.n FROM rappel_conso.recalls_by_day() c
  ), bar AS (
    SELECT d.day, COALESCE(r.n, 0) AS n, d.place,
           130.0 * COALESCE(r.n, 0) / (SELECT max(x.n) FROM recall x) AS height
      FROM (SELECT (SELECT max(x.day) FROM recall x) - 59 + g AS day, g AS place FROM generate_series(0, 59) g) d
      LEFT JOIN recall r ON r.day = d.day
  )
  SELECT format('<figure><figcaption>Recalls per day: %s in the 60 days up to %s</figcaption>'
                '<svg height="172" role="img" aria-label="Recalls per day"><text x="0" y="10">%s</text>'
                '<line x1="0" x2="100%%" y1="16" y2="16"></line><line x1="0" x2="100%%" y1="146" y2="146"></line>%s%s</svg></figure>',
           rappel_conso.html_number(sum(b.n)), max(b.day), max(b.n),
           string_agg(format('<rect x="%s%%" y="%s" width="1.35%%" height="%s"><title>%s: %s</title></rect>',
                             round(b.place * 100 / 60.0, 2), round(146 - b.height, 1), round(b.height, 1), b.day, b.n), '' ORDER BY b.day)
             FILTER (WHERE b.n > 0),
           string_agg(format('<text x="%s%%" y="164">%s</text>', round(b.place * 100 / 60.0, 2), to_char(b.day, 'DD.MM.')), '' ORDER BY b.day)
             FILTER (WHERE b.place % 12 = 0))
    FROM bar b
  HAVING max(b.n) > 0;
END;
COMMENT ON FUNCTION rappel_conso.report_days() IS 'recalls per day as a chart, for rc_report()';

CREATE FUNCTION rappel_conso.report_categories() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp
BEGIN ATOMIC
  SELECT format('<figure><figcaption>Recalls by category: the most frequent of %s</figcaption>'
                '<svg height="%s" role="img" aria-label="Recalls by category">%s</svg></figure>',
           max(c.categories), 34 * count(*),
           string_agg(format('<text class="name" x="0" y="%s">%s</text><text x="100%%" y="%s" text-anchor="end">%s</text>'
                             '<rect x="0" y="%s" width="%s%%" height="9" rx="2"><title>%s: %s</title></rect>',
                        34 * c.place - 20, rappel_conso.html(CASE WHEN char_length(c.name) > 40 THEN left(c.name, 39) || '...' ELSE c.name END),
                        34 * c.place - 20, rappel_conso.html_number(c.n::numeric), 34 * c.place - 15, round(100.0 * c.n / c.most, 2),
                        rappel_conso.html(c.name), c.n), '' ORDER BY c.place))
    FROM (SELECT COALESCE(n.category, '(none)') AS name, n.n, n.categories, max(n.n) OVER () AS most,
                 row_number() OVER (ORDER BY n.n DESC, n.category) AS place
            FROM rappel_conso.recalls_by_category() n) c
  HAVING count(*) > 0;
END;
COMMENT ON FUNCTION rappel_conso.report_categories() IS 'recalls per category as a chart, for rc_report()';

-- Who has locked the table does not keep the page.
CREATE FUNCTION rappel_conso.report_recalls() RETURNS text
LANGUAGE plpgsql STABLE SET search_path = pg_catalog, pg_temp SET lock_timeout = '2s' AS $$
DECLARE
  relation CONSTANT oid := to_regclass('@extschema@.rappel_conso_table');
  charts text;
BEGIN
  IF relation IS NULL THEN
    RETURN '';
  END IF;
  BEGIN
    -- two columns are enough; it is an error if there is no such column any more
    IF NOT has_column_privilege(relation, 'date_de_publication', 'SELECT')
       OR NOT has_column_privilege(relation, 'categorie_de_produit', 'SELECT') THEN
      RETURN '';
    END IF;
    charts := COALESCE(rappel_conso.report_days() || rappel_conso.report_categories(),
                       rappel_conso.report_categories(), '<p class="dim">The table is empty.</p>');
  EXCEPTION WHEN OTHERS THEN
    charts := format('<p class="error">Not read: %s.</p>', rappel_conso.html(SQLERRM));
  END;
  RETURN format('<section id="recalls"><h2>Recalls</h2>%s</section>', charts);
END
$$;
COMMENT ON FUNCTION rappel_conso.report_recalls() IS 'the charts of rc_report(): nothing if the table is missing or must not be read; the reason if it has another owner';

CREATE FUNCTION rappel_conso.report_lag() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET row_security = on
BEGIN ATOMIC
  SELECT format('<section id="lag"><h2>Lag</h2><table class="cards"><thead><tr><th>Stream</th><th>Topic</th><th class="n">Partition</th><th class="n">Next offset</th>'
                '<th class="n">End</th><th class="n">Lag</th><th>Last applied</th><th>End seen</th></tr></thead><tbody>%s</tbody></table>%s</section>',
           string_agg(format('<tr><td class="w">%s</td><td class="w" data-name="topic">%s</td><td class="n" data-name="partition">%s</td><td class="n" data-name="next offset">%s'
                             '</td><td class="n" data-name="end">%s</td><td class="n" data-name="lag">%s</td><td data-name="last applied">%s</td><td data-name="end seen">%s</td></tr>',
                        rappel_conso.html(l.stream), rappel_conso.html(l.topic), l.partition, l.next_offset, l.high_watermark,
                        rappel_conso.html_number(l.lag), rappel_conso.html_time(l.applied_at), rappel_conso.html_time(l.observed_at)), '' ORDER BY l.lag DESC NULLS LAST, l.stream, l.topic, l.partition) FILTER (WHERE l.place <= 50),
           CASE WHEN count(*) > 50 THEN format('<p class="dim">The 50 greatest of %s.</p>', count(*)) END)
    FROM (SELECT *, row_number() OVER (ORDER BY g.lag DESC NULLS LAST, g.stream, g.topic, g.partition) AS place
            FROM rappel_conso.lag g) l
  HAVING count(*) > 0;
END;
COMMENT ON FUNCTION rappel_conso.report_lag() IS 'the lag of rc_report()';

CREATE FUNCTION rappel_conso.report_dead_letters() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET row_security = on
BEGIN ATOMIC
  SELECT format('<section id="dead"><h2>Dead letters</h2><p>%s %s to be retried, %s %s resolved.</p>%s</section>',
           rappel_conso.html_number(n.dead), CASE n.dead WHEN 1 THEN 'waits' ELSE 'wait' END,
           rappel_conso.html_number(n.resolved), CASE n.resolved WHEN 1 THEN 'is' ELSE 'are' END,
           '<table class="cards"><thead><tr><th>Number</th><th>Of</th><th>Place</th><th>Failed first</th><th class="n">Tries</th><th>Error</th></tr></thead><tbody>' || d.letters || '</tbody></table>')
    FROM (SELECT count(*) FILTER (WHERE t.resolved_at IS NULL) AS dead, count(t.resolved_at) AS resolved
            FROM rappel_conso.dead_letter t) n,
         (SELECT string_agg(format('<tr><td data-name="number">%s</td><td class="w">%s %s</td><td class="w">%s</td><td>%s</td><td class="n" data-name="tries">%s</td><td class="w error">%s %s</td></tr>',
                              e.id, e.origin, rappel_conso.html(e.name),
                              rappel_conso.html(concat_ws(' ', e.topic, 'partition ' || e.partition, 'offset ' || e.record_offset, 'run ' || e.run)),
                              rappel_conso.html_time(e.created_at), e.attempts, rappel_conso.html(e.sqlstate),
                              rappel_conso.html(CASE WHEN char_length(e.message) > 200 THEN left(e.message, 199) || '...' ELSE e.message END)), '' ORDER BY e.id DESC) AS letters
            FROM (SELECT t.id, t.origin, t.name, t.topic, t.partition, t.record_offset, t.run, t.created_at, t.attempts, t.sqlstate, t.message
                    FROM rappel_conso.dead_letter t WHERE t.resolved_at IS NULL ORDER BY t.id DESC LIMIT 20) e) d;
END;
COMMENT ON FUNCTION rappel_conso.report_dead_letters() IS 'the newest dead letters for rc_report(), without keys, values and headers';

CREATE FUNCTION rappel_conso.report_outbox() RETURNS text
LANGUAGE sql STABLE SET search_path = pg_catalog, pg_temp SET row_security = on
BEGIN ATOMIC
  SELECT format('<section id="outbox"><h2>Outbox</h2>%s</section>',
           COALESCE('<table class="cards"><thead><tr><th>Topic</th><th>From</th><th class="n">Messages</th><th>Oldest</th></tr></thead><tbody>'
                    || string_agg(format('<tr><td class="w">%s</td><td class="w" data-name="from">%s</td><td class="n" data-name="messages">%s</td><td data-name="oldest">%s</td></tr>',
                                         rappel_conso.html(o.topic), rappel_conso.html(o.origin), rappel_conso.html_number(o.n),
                                         rappel_conso.html_time(o.oldest)), '' ORDER BY o.n DESC, o.topic, o.origin)
                    || '</tbody></table>', '<p class="dim">No message waits to be published.</p>'))
    FROM (SELECT m.topic, m.origin, count(*) AS n, min(m.created_at) AS oldest
            FROM rappel_conso.outbox m GROUP BY 1, 2 ORDER BY 3 DESC, 1, 2 LIMIT 50) o;
END;
COMMENT ON FUNCTION rappel_conso.report_outbox() IS 'the outbox of rc_report()';

CREATE FUNCTION @extschema@.rc_report() RETURNS text
LANGUAGE sql VOLATILE SET search_path = pg_catalog, pg_temp SET row_security = on
BEGIN ATOMIC
  SELECT concat('<!DOCTYPE html>', chr(10),
           '<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
           '<meta http-equiv="Content-Security-Policy" content="default-src ''none''; style-src ''unsafe-inline''">',
           '<title>rappel_conso: ', rappel_conso.html(current_database()), '</title><style>', rappel_conso.report_style(), '</style></head><body>',
           '<header><h1>rappel_conso in ', rappel_conso.html(current_database()), '</h1><p class="dim">',
           rappel_conso.html_time(now()), ' ', rappel_conso.html(current_setting('TimeZone')), ', version ', rappel_conso.library_version(),
           ', PostgreSQL ', rappel_conso.html(split_part(current_setting('server_version'), ' ', 1)), '</p></header>', chr(10),
           rappel_conso.report_parts(), chr(10), rappel_conso.report_runs(), chr(10), rappel_conso.report_recalls(), chr(10),
           rappel_conso.report_lag(), chr(10), rappel_conso.report_dead_letters(), chr(10), rappel_conso.report_outbox(), chr(10),
           '</body></html>', chr(10));
END;
COMMENT ON FUNCTION @extschema@.rc_report() IS 'one HTML page: parts, runs, charts, lag, dead letters, outbox';
