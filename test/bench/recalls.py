# recalls.py
#     Recalls into the table of the built-in stream, with its indexes: from a
#     full topic, from the API without Kafka, and whole first syncs.
#
# It must not take a made up recall and a recorded one into one measurement.

import time
import urllib.request

import data
import proc
from measure import MB
from report import Pairs, Spent, base_share, copy_ratio
from server import DATASET, Failure

TABLE = "rappel_conso_table"
COPIED = "recalls.copy"
SOON = 0.2                      # seconds until an ended worker is reaped


def run(bench):
    from_topic(bench)
    direct(bench)
    syncs(bench, "direct")
    syncs(bench, "Kafka")


def count_rows(session, rows):
    found = session.ask(f"SELECT count(*) FROM {TABLE}")
    if found != str(rows):
        raise Failure(f"{found} rows are there, not {rows}")


def copy(bench, session, database, pair):
    """COPY beside ours: of a file that the first pair writes."""
    path = bench.world.path(COPIED)
    if pair == 1:
        bench.world.drop_files(COPIED)
        session.ask(f"COPY {TABLE} TO '{path}'")
    return bench.copy(session, database, TABLE, path, compare=pair == 1)


# ---- from a topic ----

def seed_messages(bench):
    """A file of messages as the built-in source publishes them."""
    source = data.write_recalls(bench.recalls, bench.world.path("s.jsonl"),
                                bench.options.sync_rows)
    api = bench.world.api(source)
    bench.start()
    session = bench.ours.server.database("seed", api)
    session.ask("UPDATE rappel_conso.source SET topic = 'seed';"
                "UPDATE rappel_conso.stream SET topics = '{seed}', "
                "paused = false")
    sync(session)
    path = bench.world.path("seed")
    bench.world.kafka.consume("seed", path)
    bench.drop_database(bench.ours, session, "seed")
    bench.world.drop_files("s.jsonl")
    return path


def from_topic(bench):
    rows = bench.options.rows
    bench.report.head(f"{rows} recalls from a topic, built-in stream")
    path = bench.world.path("m")
    data.write_messages(seed_messages(bench), path, rows)
    bench.world.kafka.create_topic("recalls")
    bench.world.kafka.produce("recalls", path,
                              "content-type=application/json",
                              "rappel_conso-source=rappel_conso",
                              "rappel_conso-run=bench")
    bench.world.drop_files("m")
    pairs = Pairs("recalls, topic to table", rows)
    for pair in bench.pairs:
        for side, in bench.turn(pair):
            database = f"recalls_{pair}"
            session = side.server.database(database)
            session.ask("UPDATE rappel_conso.stream SET topics = '{recalls}'")
            pairs.add(side.name, bench.consume(session, "rappel_conso", rows))
            count_rows(session, rows)
            if side is bench.ours:
                pairs.add("COPY", copy(bench, session, database, pair))
            bench.drop_database(side, session, database)
        bench.report.line(pairs.last())
    bench.report.pairs(pairs, copy_ratio(0.65))
    bench.take_memory()


# ---- from the API ----

def sync(session, full=False):
    """(numbers of rc_sync_now, wall-clock)."""
    wall = time.monotonic()
    answer = session.ask("SELECT fetched, inserted, updated, unchanged, dead "
                         f"FROM rc_sync_now(full_sync => {str(full).lower()})")
    return [int(word) for word in answer.split("|")], time.monotonic() - wall


def export(api):
    """Seconds that the stand-in takes for a whole export."""
    wall = time.monotonic()
    with urllib.request.urlopen(
            f"{api.url}/catalog/datasets/{DATASET}/exports/jsonl"
            "?order_by=date_publication%20asc,numero_fiche%20asc") as answer:
        while answer.read(MB):
            pass
    return time.monotonic() - wall


def direct(bench):
    rows = bench.options.direct_rows
    bench.report.head(f"{rows} recalls from the API, direct mode")
    api = bench.world.api(data.write_recalls(
        bench.recalls, bench.world.path("d.jsonl"), rows))
    export(api)                 # it sorts the dataset when first asked
    bench.start(kafka=False)
    pairs = Pairs("recalls, HTTP to table", rows)
    for pair in bench.pairs:
        for side, in bench.turn(pair):
            database = f"direct_{pair}"
            session = side.server.database(database, api)
            session.ask("UPDATE rappel_conso.stream SET paused = false;"
                        "CHECKPOINT")
            pairs.add(side.name, direct_once(side, session, rows))
            if side is bench.ours:
                pairs.add("COPY", copy(bench, session, database, pair))
            bench.drop_database(side, session, database)
        bench.report.line(pairs.last())
    bench.report.pairs(pairs, copy_ratio(0.33))
    bench.take_memory()
    bench.world.drop_files("d.jsonl")


def direct_once(side, session, rows):
    cpu = proc.cpu_of_children(side.server.postmaster)
    counts, wall = sync(session)
    # the run worker has ended; no other has
    session.wait("SELECT rappel_conso.worker_pid('run', 'rappel_conso') "
                 "IS NULL")
    time.sleep(SOON)
    cpu = proc.cpu_of_children(side.server.postmaster) - cpu
    if counts != [rows, rows, 0, 0, 0]:
        raise Failure(f"the run of {rows} recalls counted {counts}")
    return Spent(cpu, wall)


# ---- whole syncs, as a user sees them ----

def syncs(bench, mode):
    rows = bench.options.sync_rows
    bench.report.head(f"whole syncs of {rows} recalls, {mode}: rc_sync_now() "
                      "until it returns")
    api = bench.world.api(data.write_recalls(
        bench.recalls, bench.world.path("w.jsonl"), rows))
    export(api)
    bench.start(kafka=mode == "Kafka")
    pairs = Pairs(f"first sync, {mode}", rows)
    second = {}
    for pair in bench.pairs:
        for side, in bench.turn(pair):
            database = f"sync_{pair}"
            session = side.server.database(database, api)
            if mode == "Kafka":
                topic = f"sync_{side.name}_{pair}"
                session.ask(f"UPDATE rappel_conso.source SET topic = '{topic}';"
                            "UPDATE rappel_conso.stream SET topics = "
                            f"'{{{topic}}}'")
            session.ask("UPDATE rappel_conso.stream SET paused = false;"
                        "CHECKPOINT")
            first, second[side.name] = sync_once(session, rows)
            pairs.add(side.name, first)
            bench.drop_database(side, session, database)
        bench.report.line(pairs.last())
    bench.report.pairs(pairs, base_share("wall", 0.5))
    bench.report.value(f"second sync, {mode}, nothing new",
                       f"{second['ours']:.2f} s",
                       f"{second['base']:.2f} s" if "base" in second else "")
    bench.report.line(f"(the stand-in alone takes {export(api):.2f} s for its "
                      "export)")
    bench.take_memory()
    bench.world.drop_files("w.jsonl")


def sync_once(session, rows):
    """What a first sync spends, and the wall-clock time of a second one."""
    counts, wall = sync(session)
    again, second = sync(session)
    if counts != [rows, rows, 0, 0, 0] or again != [0, 0, 0, 0, 0]:
        raise Failure(f"two syncs counted {counts} and {again}")
    return Spent(0, wall), second
