# search.py
#     How long rc_search() takes over many recalls: queries of each kind,
#     beside a lookup by key and a LIKE that reads the whole table.
#
# It must not time psql: each time is taken inside the one backend that runs
# the queries, by clock_timestamp().  The table is in memory, as that of a
# server is that people search in; no query is helped by parallel workers.
#
# usage: search.py --bindir .. --data .. --work .. [--rows N] [--years N]

import argparse
import collections
import json
import os
import random
import re
import sys
import time

import data
from latency import percentile
from server import Failure, World

ROWS = 200000
YEARS = 27                      # that they spread over: 20 of them a day
LIMIT = 20                      # ms, 99th percentile of all queries
SETTINGS = "shared_buffers = '1GB'\n"     # more than the table
LOOKUPS = 400
LIKES = 20
SEED = 20260301

# Fields whose words rc_search() finds a recall by.
FIELDS = ("marque_produit", "modeles_ou_references", "libelle",
          "categorie_produit", "motif_rappel", "distributeurs")
WORD = re.compile(r"[a-z\u00e0-\u00ff\u0153]{4,}")
PHRASE = re.compile(r"(?<!\S)[a-z\u00e0-\u00ff]{3,}(?: [a-z\u00e0-\u00ff]{3,})"
                    r"{1,2}(?!\S)")
PLAIN = str.maketrans("\u00e0\u00e2\u00e7\u00e8\u00e9\u00ea\u00eb\u00ee\u00ef"
                      "\u00f4\u00f9\u00fb", "aaceeeeiiouu")

# Words that nobody has written: one for each number.
NEW_WORD = """
CREATE FUNCTION pg_temp.word(n bigint) RETURNS text LANGUAGE sql IMMUTABLE
RETURN (SELECT string_agg((ARRAY[
  'ba','ce','di','fo','gu','ja','ke','li','mo','nu',
  'pa','re','si','to','vu','za','cha','pre','tri','blo'])
  [n / (20 ^ k)::bigint % 20 + 1], '' ORDER BY k)
  FROM generate_series(0, 3) k)
"""

# Copies of what the API gave: other keys, dates, brands and reasons, and two
# words more, a few of which are in many recalls and many in a few.
CHANGED = {
    "reference_fiche": "s.reference_fiche || '-' || n",
    "date_de_publication": "s.date_de_publication"
                           " - {shift} * (n - random()) * interval '1 day'",
    "nom_de_la_marque_du_produit": "o.nom_de_la_marque_du_produit",
    "motif_du_rappel": "o.motif_du_rappel",
    "libelle": "s.libelle || ' '"
               " || pg_temp.word((150000 * random() ^ 4)::bigint) || ' '"
               " || pg_temp.word((150000 * random() ^ 4)::bigint)",
}

MEASURE = """
DO $$
DECLARE
  q record;
  began timestamptz;
  found bigint;
BEGIN
  FOR q IN SELECT id, words FROM query WHERE how = '{how}' ORDER BY id LOOP
    began := clock_timestamp();
    {statement};
    UPDATE query SET hits = found,
           took = extract(epoch FROM clock_timestamp() - began)
     WHERE id = q.id;
  END LOOP;
END
$$
"""
STATEMENTS = {
    "search": "SELECT count(*) INTO found FROM rc_search(q.words)",
    "lookup": "SELECT count(t) INTO found FROM rappel_conso_table t"
              " WHERE reference_fiche = q.words",
    "like": "SELECT count(*) INTO found FROM rappel_conso_table"
            " WHERE libelle LIKE '%' || q.words || '%'",
}


def texts(record):
    return [record[field] for field in FIELDS
            if isinstance(record.get(field), str)]


def words_of(record):
    return {word for text in texts(record) for word in WORD.findall(text)}


def make_queries(lines):
    """{kind: queries}, all different, the same ones each time."""
    dice = random.Random(SEED)
    records = [json.loads(line) for line in lines]
    seen = collections.Counter(word for record in records
                               for word in words_of(record))
    words = sorted(seen, key=lambda word: (-seen[word], word))
    some = max(3, len(records) // 500)
    usual = [word for word in words if some <= seen[word] <= 20 * some]
    rare = [word for word in words if seen[word] <= 2]
    accented = [word for word in words if word.translate(PLAIN) != word]
    phrases = sorted({phrase for record in records for phrase in
                      PHRASE.findall(record.get("libelle") or "")})

    def pick(population, count):
        return dice.sample(population, min(count, len(population)))

    def several():
        record = sorted(words_of(dice.choice(records)))
        return " ".join(pick(record, dice.randint(2, 4)))

    def nonsense():
        return "".join(dice.choice("qxwkz") + dice.choice("aeiou")
                       for _ in range(5)) + "xq"

    kinds = {
        "very frequent": words[:40],
        "one word": pick(usual, 60),
        "rare": pick(rare, 60),
        "several words": [several() for _ in range(80)],
        "phrase": [f'"{phrase}"' for phrase in pick(phrases, 60)],
        "accents": [form(word) for word in pick(accented, 15) for form in
                    (str.upper, str.title, lambda w: w.translate(PLAIN))],
        "or, without": [f"{a} or {b}" for a, b in
                        zip(pick(usual, 20), pick(rare, 20))] +
                       [f"{a} -{b}" for a, b in
                        zip(pick(words[:100], 20), pick(rare, 20))],
        "no hit": [nonsense() for _ in range(30)] +
                  [f"{word} {nonsense()}" for word in words[:20]],
    }
    taken = set()
    for kind, queries in kinds.items():
        kinds[kind] = [query for query in dict.fromkeys(queries)
                       if query not in taken]
        taken.update(kinds[kind])
    return kinds


def load(db, rows, years):
    """So many recalls over so many years, made of those that are there;
    returns their number."""
    columns = db.ask(
        "SELECT string_agg(attname, ' ' ORDER BY attnum) FROM pg_attribute "
        "WHERE attrelid = 'rappel_conso_table'::regclass AND attnum > 0 "
        "AND NOT attisdropped").split()
    seeds = int(db.ask("SELECT count(*) FROM rappel_conso_table"))
    days = int(db.ask("SELECT extract(day FROM max(date_de_publication) "
                           "- min(date_de_publication)) "
                           "FROM rappel_conso_table"))
    copies = max(1, -(-(rows - seeds) // seeds))
    shift = max(0, years * 365 - days) / copies
    values = ", ".join(CHANGED.get(name, f"s.{name}").format(shift=shift)
                       for name in columns)
    db.ask(NEW_WORD)
    db.ask(
        f"SELECT setseed(0.42);"
        "CREATE TEMP TABLE seed AS SELECT row_number() OVER (ORDER BY "
        "reference_fiche) - 1 AS i, t.* FROM rappel_conso_table t;"
        f"INSERT INTO rappel_conso_table ({', '.join(columns)}) "
        f"SELECT {values} FROM generate_series(1, {copies}) n "
        "CROSS JOIN seed s "
        f"JOIN seed o ON o.i = (s.i * 7 + n * 131) % {seeds};"
        "DROP TABLE seed")
    return int(db.ask("SELECT count(*) FROM rappel_conso_table"))


def store(db, how, kinds):
    for kind, queries in kinds.items():
        for at in range(0, len(queries), 100):
            rows = ", ".join(
                "('%s', '%s', '%s')" % (how, kind, query.replace("'", "''"))
                for query in queries[at:at + 100])
            db.ask(f"INSERT INTO query (how, kind, words) VALUES {rows}")


def times(db, how, kind=None):
    """Seconds of each query."""
    only = f"AND kind = '{kind}'" if kind else ""
    return [float(word) for word in db.ask(
        f"SELECT took FROM query WHERE how = '{how}' {only}").split()]


def measure(db, lines, rows, years=YEARS, say=lambda text: None):
    """The seconds of each query: of "search", "lookup" and "like", and under
    "kinds" those of rc_search() by kind.  The database holds the recalls of
    these lines, and gets as many more as are missing."""
    begin = time.monotonic()
    count = load(db, rows, years)
    say(f"{count} recalls, made in {time.monotonic() - begin:.0f} s")
    begin = time.monotonic()
    if db.ask("SELECT rc_search_index()") != "t":
        raise Failure("there is an index already")
    db.ask("VACUUM ANALYZE rappel_conso_table")
    say(f"indexed in {time.monotonic() - begin:.0f} s: table "
        + db.ask("""
        SELECT pg_size_pretty(pg_table_size('rappel_conso_table')) ||
               ', index of words ' || pg_size_pretty(pg_relation_size(
                 'rappel_conso_table_mots_idx')) || ', ' ||
               count(DISTINCT date_trunc('month', date_de_publication)) ||
               ' months'
          FROM rappel_conso_table"""))

    dice = random.Random(SEED)
    kinds = make_queries(lines)
    keys = db.ask("SELECT reference_fiche FROM rappel_conso_table "
                       f"ORDER BY md5(reference_fiche) LIMIT {LOOKUPS}")
    db.ask("CREATE TEMP TABLE query (id integer GENERATED ALWAYS AS "
                "IDENTITY PRIMARY KEY, how text, kind text, words text, "
                "hits bigint, took float8);"
                "SET max_parallel_workers_per_gather = 0")
    store(db, "search", kinds)
    # in no order of kinds
    db.ask("CREATE TEMP TABLE mixed AS SELECT how, kind, words FROM query"
                " ORDER BY md5(words); TRUNCATE query; INSERT INTO query "
                "(how, kind, words) SELECT how, kind, words FROM mixed")
    store(db, "lookup", {"lookup": keys.split("\n")})
    store(db, "like", {"like": dice.sample(kinds["one word"], min(
        LIKES, len(kinds["one word"])))})

    # The first round brings everything into memory.  It also tells which
    # queries are none: stop words, or a word that stands inside an address.
    for _ in range(2):
        for how, statement in STATEMENTS.items():
            db.ask(MEASURE.format(how=how, statement=statement))
        dropped = db.ask(
            "WITH d AS (DELETE FROM query WHERE how = 'search' AND "
            "(hits = 0) <> (kind = 'no hit') RETURNING 1) "
            "SELECT count(*) FROM d")
        if dropped != "0":
            say(f"{dropped} queries that find nothing, or should not find "
                "anything, are left out")
    if db.ask("SELECT count(*) FROM query WHERE how = 'lookup' "
                   "AND hits <> 1") != "0":
        raise Failure("a lookup did not find its recall")

    found = dict(line.split("|") for line in db.ask(
        "SELECT kind, percentile_disc(0.5) WITHIN GROUP (ORDER BY hits) "
        "FROM query WHERE how = 'search' GROUP BY 1").split("\n"))
    result = [(f"{kind} ({found[kind]} hits)", times(db, "search", kind))
              for kind in kinds if kind in found]
    return {"kinds": result, "search": times(db, "search"),
            "lookup": times(db, "lookup"), "like": times(db, "like")}


def table(measured, say):
    """Print the times, and how they compare."""
    say(f"{'ms':36}{'queries':>8}{'p50':>9}{'p95':>9}{'p99':>9}{'most':>9}")
    for title, seconds in measured["kinds"] + [
            ("rc_search(), all", measured["search"]),
            ("lookup by reference_fiche", measured["lookup"]),
            ("LIKE, reading the table", measured["like"])]:
        marks = [percentile(seconds, share) * 1000
                 for share in (0.5, 0.95, 0.99)] + [max(seconds) * 1000]
        say(f"{title:36}{len(seconds):8}" +
            "".join(f"{mark:9.2f}" for mark in marks))
    middle = {what: percentile(measured[what], 0.5)
              for what in ("lookup", "like")}
    for mark, share in (("median", 0.5), ("99th percentile", 0.99)):
        mine = percentile(measured["search"], share)
        say(f"{mark} of rc_search(): {mine / middle['lookup']:.0f} times the "
            f"median of a lookup, {mine / middle['like']:.2f} of that of a "
            "LIKE")


def verdict(measured):
    """(whether it is quick enough, in words)."""
    late = percentile(measured["search"], 0.99) * 1000
    return late < LIMIT, (f"rc_search(): 99th percentile {late:.1f} ms "
                          f"(required: below {LIMIT})")


def run(bench):
    """A row of the benchmarks' table."""
    rows = bench.options.search_rows
    bench.report.head(f"rc_search() over {rows} recalls")
    bench.start(kafka=False, settings=SETTINGS)
    session, lines = seed(bench.world, bench.recalls, "search")
    measured = measure(session, lines, rows, say=bench.report.line)
    table(measured, bench.report.line)
    good, _ = verdict(measured)
    marks = [percentile(measured["search"], share) * 1000
             for share in (0.5, 0.99)]
    bench.report.value(f"rc_search(), {rows} recalls",
                       "p50 {:.0f} ms, p99 {:.1f} ms".format(*marks), "",
                       f"p99 < {LIMIT} ms", good)
    bench.take_memory()
    session.close()


def seed(world, source, name):
    """A database with the recalls of a file, and its lines."""
    lines = data.lines_of(source)
    api = world.api(data.write_recalls(source, world.path("search.jsonl"),
                                       len(lines)))
    db = world.server.database(name, api)
    db.ask("UPDATE rappel_conso.stream SET paused = false")
    answer = db.ask("SELECT state, dead FROM rc_sync_now()")
    if answer != "success|0":
        raise Failure(f"the sync gave {answer}")
    return db, lines


def main():
    parser = argparse.ArgumentParser()
    for name in ("bindir", "data", "work"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--years", type=int, default=YEARS)
    options = parser.parse_args()
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    world = World(options.bindir, options.work)
    try:
        world.server.start(settings=SETTINGS)
        db, lines = seed(world, data.recalls(options.data,
                                               world.folder), "search")
        measured = measure(db, lines, options.rows, options.years, print)
        table(measured, print)
        good, text = verdict(measured)
        print(f"{'ok' if good else 'MISSED'}: {text}")
        db.close()
    except Failure as error:
        print(f"search: {error}\n{world.server.log_end()}", file=sys.stderr)
        return 1
    finally:
        world.close()
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
