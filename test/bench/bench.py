# bench.py
#     The benchmarks themselves: each case measures what a worker spends on its
#     records, against what COPY spends on the same rows.
#
# It must not judge by wall-clock time: what is required is a ratio of CPU
# seconds of one run, memory, or nothing at all.  The case latency is the
# exception: it is for an idle machine.
#
# What is compared: CPU seconds (user and system) of the worker with all its
# threads, from its start to its last commit, per row; and those of a backend
# that does COPY FROM of the same rows, written by COPY TO, into a new table
# with the same columns and indexes.  Autovacuum is off, so that it takes work
# from neither.  Reading from Kafka, decoding and offsets are in the worker's
# part; brokers, the stand-in for the API and the scheduler are not.

import argparse
import os
import signal
import sys
import time
import urllib.request

import data
import latency
import proc
import search
from server import DATASET, Failure, Session, World

MB = 1024 * 1024
REQUIRED_RATIO = 0.35           # Kafka to table
MEMORY_LIMIT = 100 * MB         # RssAnon of any worker
LATENCY_LIMIT = 100             # ms, 99th percentile
IDLE_LIMIT = 0.005              # of a core

RECALLS = "rappel_conso_table"
SENSORS = "raw_sensors_data"

SENSOR_TABLE = f"""
CREATE TABLE {SENSORS} (
  message_id text, sensor_id integer, message jsonb, "timestamp" timestamptz);
CREATE TYPE sensor_message AS (
  message_id text, sensor_id integer, message jsonb, "timestamp" timestamptz)
"""
SENSOR_STREAMS = {
    "jsonb": ("jsonb", f"""
INSERT INTO {SENSORS}
SELECT value->>'message_id', (value->>'sensor_id')::integer, value->'message',
       (value->>'timestamp')::timestamptz
  FROM records"""),
    "typed": ("sensor_message", f"""
INSERT INTO {SENSORS}
SELECT message_id, sensor_id, message, "timestamp" FROM records"""),
}


class Report:
    """The numbers, and whether what is required is there."""

    def __init__(self):
        self.missed = []
        self.sampler = None

    def head(self, text):
        print(f"\n== {text}", flush=True)

    def line(self, text):
        print(f"   {text}", flush=True)

    def require(self, good, text):
        self.line(f"{'ok' if good else 'MISSED'}: {text}")
        if not good:
            self.missed.append(text)

    def ratio(self, name, rows, worker, copy, required=None):
        """worker and copy are (CPU seconds, wall-clock seconds)."""
        ratio = copy[0] / worker[0]
        self.line(f"{'':24}{'CPU s':>9}{'us/row':>9}{'wall s':>9}"
                  f"{'rows/s':>10}")
        for title, (cpu, wall) in (("worker", worker), ("COPY", copy)):
            self.line(f"{title:24}{cpu:9.2f}{cpu / rows * 1e6:9.1f}"
                      f"{wall:9.2f}{rows / wall:10.0f}")
        text = f"{name}, {rows} rows: {ratio:.2f} of COPY's speed"
        if required is None:
            self.line(text)
        else:
            self.require(ratio >= required, f"{text} (required: {required})")

    def memory(self):
        """The peaks of all workers since the last call."""
        for name, size in sorted(self.sampler.take().items()):
            self.require(size < MEMORY_LIMIT, f"peak RssAnon of {name}: "
                         f"{size / MB:.0f} MB (required: below 100)")


class Bench:
    def __init__(self, world, options, report):
        self.world = world
        self.options = options
        self.report = report
        self.source = data.recorded(options.data)
        self.seed = None

    def start(self, brokers="", settings=""):
        if self.report.sampler:
            self.report.sampler.stop()
        settings += "".join(f"\n{setting}" for setting in
                            self.options.setting)
        self.world.server.start(brokers, settings)
        self.report.sampler = proc.Sampler(self.world.server.postmaster)
        self.report.sampler.start()

    def copy(self, session, database, table):
        """(CPU, wall-clock) of COPY of a table's rows into one like it."""
        path = self.world.path("copy.data")
        session.ask(f"COPY {table} TO '{path}';"
                    f"CREATE TABLE copied (LIKE {table} INCLUDING ALL);"
                    "CHECKPOINT")
        backend = Session(self.world.server, database)
        cpu = proc.cpu_exact(backend.pid)
        wall = time.monotonic()
        backend.ask(f"COPY copied FROM '{path}'")
        spent = (proc.cpu_exact(backend.pid) - cpu, time.monotonic() - wall)
        backend.close()
        # rows as they were: neither lost nor changed
        differ = session.ask(
            f"SELECT count(*) FROM ((TABLE {table} EXCEPT TABLE copied)"
            f" UNION ALL (TABLE copied EXCEPT TABLE {table})) d")
        if differ != "0":
            raise Failure(f"COPY of {table} gave {differ} other rows")
        session.ask("DROP TABLE copied")
        os.unlink(path)
        return spent

    def sync(self, session, full=False):
        """(row of rc_sync_now, wall-clock)."""
        wall = time.monotonic()
        answer = session.ask(
            "SELECT fetched, inserted, updated, unchanged, dead "
            f"FROM rc_sync_now(full_sync => {str(full).lower()})")
        return [int(word) for word in answer.split("|")], \
            time.monotonic() - wall

    # ---- extract and load without Kafka ----

    def direct(self):
        rows = self.options.direct_rows
        self.report.head(f"API to table, direct mode, {rows} recalls")
        path = data.write_recalls(self.source, self.world.path("d.jsonl"),
                                  rows)
        api = self.world.api(path)
        self.start()
        session = self.world.server.database("direct", api)
        session.ask("UPDATE rappel_conso.stream SET paused = false;CHECKPOINT")
        postmaster = self.world.server.postmaster
        api_cpu = api.cpu()
        cpu = proc.cpu_of_children(postmaster)
        counts, wall = self.sync(session)
        # the run worker has ended; none but it has
        session.wait("SELECT rappel_conso.worker_pid('run', 'rappel_conso') "
                     "IS NULL")
        time.sleep(0.2)
        cpu = proc.cpu_of_children(postmaster) - cpu
        if counts != [rows, rows, 0, 0, 0]:
            raise Failure(f"the run of {rows} recalls counted {counts}")
        self.report.ratio("API to table", rows, (cpu, wall),
                          self.copy(session, "direct", RECALLS))
        self.report.line(f"the stand-in for the API took "
                         f"{api.cpu() - api_cpu:.2f} s of CPU")
        self.report.memory()
        session.close()
        self.world.drop_files("d.jsonl")

    # ---- whole syncs, as a user sees them ----

    def export(self, api):
        """Seconds that the stand-in takes for a whole export."""
        wall = time.monotonic()
        with urllib.request.urlopen(
                f"{api.url}/catalog/datasets/{DATASET}/exports/jsonl"
                "?order_by=date_publication%20asc,numero_fiche%20asc"
                ) as answer:
            while answer.read(MB):
                pass
        return time.monotonic() - wall

    def syncs(self, mode, session, api):
        rows = None
        self.export(api)        # it sorts the dataset when first asked
        for name, full in (("first sync", False), ("second sync", False),
                           ("second full sync", True)):
            counts, wall = self.sync(session, full)
            rows = rows or counts[0]
            expected = {"first sync": [rows, rows, 0, 0, 0],
                        "second sync": [0, 0, 0, 0, 0],
                        "second full sync": [rows, 0, 0, rows, 0]}[name]
            if counts != expected:
                raise Failure(f"{name}, {mode}: counted {counts}, "
                              f"not {expected}")
            self.report.line(f"{mode}, {name:17}{counts[0]:6} read"
                             f"{counts[1]:6} inserted{wall:8.2f} s")
        self.report.line(f"(the stand-in alone takes {self.export(api):.2f} s"
                         " for its export)")

    def wall(self):
        self.report.head("whole syncs: rc_sync_now() until it returns")
        path = data.write_recalls(self.source, self.world.path("w.jsonl"),
                                  self.options.sync_rows)
        api = self.world.api(path)
        self.start()
        session = self.world.server.database("walldirect", api)
        session.ask("UPDATE rappel_conso.stream SET paused = false")
        self.syncs("direct", session, api)
        session.close()
        self.report.memory()
        self.start(self.world.kafka.brokers)
        session = self.world.server.database("wallkafka", api)
        session.ask("UPDATE rappel_conso.source SET topic = 'wall';"
                    "UPDATE rappel_conso.stream SET topics = '{wall}',"
                    " paused = false")
        self.syncs("Kafka", session, api)
        self.report.memory()
        session.close()

    # ---- Kafka to table ----

    def seed_messages(self):
        """A file of messages as the built-in source publishes them."""
        if self.seed is None:
            path = data.write_recalls(self.source, self.world.path("s.jsonl"),
                                      self.options.sync_rows)
            api = self.world.api(path)
            self.start(self.world.kafka.brokers)
            session = self.world.server.database("seed", api)
            session.ask("UPDATE rappel_conso.source SET topic = 'seed';"
                        "UPDATE rappel_conso.stream SET topics = '{seed}',"
                        " paused = false")
            self.sync(session)
            session.close()
            self.report.sampler.take()
            self.seed = self.world.path("seed")
            self.world.kafka.consume("seed", self.seed)
        return self.seed

    def consume(self, session, stream, rows):
        """(CPU, wall-clock) of a stream's workers until rows are applied."""
        workers = int(session.ask("SELECT workers FROM rappel_conso.stream "
                                  f"WHERE name = '{stream}'"))
        session.ask("CHECKPOINT; SELECT rc_start()")
        begin = session.ask("SELECT clock_timestamp()")
        session.ask("UPDATE rappel_conso.stream SET paused = false "
                    f"WHERE name = '{stream}'")
        session.wait("SELECT coalesce(sum(next_offset), 0) = "
                     f"{rows} FROM rappel_conso.stream_offset "
                     f"WHERE stream = '{stream}'")
        wall = float(session.ask(
            f"SELECT extract(epoch FROM max(applied_at) - '{begin}') FROM "
            f"rappel_conso.stream_offset WHERE stream = '{stream}'"))
        cpu = sum(proc.cpu(int(session.ask(
            f"SELECT rappel_conso.worker_pid('stream', '{stream}', {n})")))
            for n in range(workers))
        dead = session.ask("SELECT count(*) FROM rappel_conso.dead_letter")
        if dead != "0":
            raise Failure(f"stream {stream} has {dead} dead letters")
        return cpu, wall

    def recalls(self):
        rows = self.options.rows
        self.report.head(f"Kafka to table, {rows} recalls, built-in stream")
        data.write_messages(self.seed_messages(), self.world.path("m"), rows)
        self.world.kafka.create_topic("recalls")
        self.world.kafka.produce("recalls", self.world.path("m"),
                                 "content-type=application/json",
                                 "rappel_conso-source=rappel_conso",
                                 "rappel_conso-run=bench")
        self.world.drop_files("m")
        self.start(self.world.kafka.brokers)
        session = self.world.server.database("recalls")
        session.ask("UPDATE rappel_conso.stream SET topics = '{recalls}'")
        worker = self.consume(session, "rappel_conso", rows)
        if session.ask(f"SELECT count(*) FROM {RECALLS}") != str(rows):
            raise Failure("rows are missing")
        self.report.ratio("Kafka to table", rows, worker,
                          self.copy(session, "recalls", RECALLS),
                          REQUIRED_RATIO)
        self.report.memory()
        session.close()

    def sensors(self):
        rows = self.options.sensor_rows
        self.report.head(f"Kafka to table, {rows} sensor messages of "
                         "150 bytes, 4 partitions")
        data.write_sensors(self.world.path("m"), rows)
        self.world.kafka.create_topic("sensors", 4)
        self.world.kafka.produce("sensors", self.world.path("m"))
        self.world.drop_files("m")
        self.start(self.world.kafka.brokers)
        session = self.world.server.database("sensors")
        session.ask(SENSOR_TABLE)
        copy = None
        for kind, (value_type, statement) in SENSOR_STREAMS.items():
            for workers in (1, 2):
                stream = f"{kind}_{workers}"
                session.ask(f"TRUNCATE {SENSORS}")
                session.ask(
                    "INSERT INTO rappel_conso.stream (name, topics, "
                    "value_type, workers, paused, statement) VALUES "
                    f"('{stream}', '{{sensors}}', '{value_type}', {workers}, "
                    f"true, $${statement}$$)")
                worker = self.consume(session, stream, rows)
                if session.ask("SELECT count(DISTINCT message_id) || ' ' || "
                               f"count(*) FROM {SENSORS}") != f"{rows} {rows}":
                    raise Failure("rows are missing, or there twice")
                copy = copy or self.copy(session, "sensors", SENSORS)
                self.report.ratio(f"{kind} stream, {workers} workers", rows,
                                  worker, copy)
                session.ask("DELETE FROM rappel_conso.stream "
                            f"WHERE name = '{stream}'")
        self.report.memory()
        session.close()

    # ---- one at a time ----

    def latency(self):
        events, rate = self.options.events, self.options.rate
        self.report.head(f"latency, {events} events at {rate}/s")
        kafka = self.world.kafka
        self.start(kafka.brokers)
        session = self.world.server.database("latency")
        for title, delays in latency.measure(session, kafka, events,
                                             rate).items():
            middle = latency.percentile(delays, 0.5) * 1000
            late = latency.percentile(delays, 0.99) * 1000
            self.report.require(late < LATENCY_LIMIT,
                                f"{title}: 50th percentile {middle:.0f} ms, "
                                f"99th {late:.0f} ms (required: below "
                                f"{LATENCY_LIMIT})")
        session.close()

    # ---- nothing to do ----

    def idle(self):
        seconds = self.options.idle_seconds
        self.report.head(f"an idle stream worker, {seconds} s")
        self.seed_messages()
        self.start(self.world.kafka.brokers)
        session = self.world.server.database("idle")
        session.ask("UPDATE rappel_conso.stream SET topics = '{seed}',"
                    " paused = false; SELECT rc_start()")
        # its last writes are the watermarks
        session.wait("SELECT coalesce(bool_and(next_offset = high_watermark),"
                     " false) FROM rappel_conso.lag")
        session.ask("CHECKPOINT")
        pid = int(session.ask("SELECT rappel_conso.worker_pid("
                              "'stream', 'rappel_conso')"))
        state = session.ask("SELECT state, xact_start IS NULL, backend_xmin "
                            "IS NULL FROM pg_stat_activity WHERE pid = "
                            f"{pid}")
        wal = session.ask("SELECT pg_current_wal_insert_lsn()")
        cpu = proc.cpu_exact(pid)
        time.sleep(seconds)
        cpu = proc.cpu_exact(pid) - cpu
        end = session.ask("SELECT pg_current_wal_insert_lsn()")
        session.ask("SELECT pg_switch_wal()")   # so that it can be read
        kinds = self.world.server.wal_kinds(wal, end)
        server = sum(kinds.pop(kind, 0) for kind in ("Standby", "XLOG"))
        session.close()
        self.report.require(cpu < seconds * IDLE_LIMIT,
                            f"{cpu * 1000:.1f} ms of CPU in {seconds} s: "
                            f"{cpu / seconds:.3%} of a core (required: below "
                            f"{IDLE_LIMIT:.1%})")
        self.report.require(not kinds,
                            f"WAL: {sum(kinds.values())} bytes {kinds or ''} "
                            f"(required: none), and {server} bytes of the "
                            "server itself")
        self.report.require(state == "idle|t|t",
                            f"state {state.split('|')[0]}, no transaction, "
                            "no snapshot")
        self.report.memory()

    def search(self):
        """rc_search() over many recalls."""
        rows = self.options.rows
        self.report.head(f"rc_search() over {rows} recalls")
        self.start(settings=search.SETTINGS)
        session, lines = search.seed(self.world, self.source, "search")
        measured = search.measure(session, lines, rows, say=self.report.line)
        search.table(measured, self.report.line)
        self.report.require(*search.verdict(measured))
        session.close()


CASES = {"recalls": Bench.recalls, "direct": Bench.direct, "wall": Bench.wall,
         "latency": Bench.latency, "idle": Bench.idle,
         "sensors": Bench.sensors, "search": Bench.search}
USUAL = ("recalls", "direct", "wall", "latency", "idle", "search")


def parse():
    parser = argparse.ArgumentParser(
        prog="test/bench/run [--no-install]",
        description="Measures the extension in a private server.")
    parser.add_argument("cases", nargs="*", metavar="CASE",
                        help=f"{', '.join(CASES)}; by default "
                        f"{', '.join(USUAL)}")
    parser.add_argument("--sensors", action="store_true",
                        help="the case sensors, too")
    parser.add_argument("--rows", type=int, default=200000,
                        help="recalls in the topic (%(default)s)")
    parser.add_argument("--direct-rows", type=int, default=40000,
                        help="recalls in direct mode (%(default)s)")
    parser.add_argument("--sync-rows", type=int, default=data.RECORDED_ROWS,
                        help="recalls of whole syncs (%(default)s)")
    parser.add_argument("--sensor-rows", type=int, default=1000000,
                        help="sensor messages (%(default)s)")
    parser.add_argument("--events", type=int, default=1000,
                        help="of the case latency (%(default)s)")
    parser.add_argument("--rate", type=int, default=100,
                        help="of them in a second (%(default)s)")
    parser.add_argument("--idle-seconds", type=int, default=30,
                        help="(%(default)s)")
    parser.add_argument("--setting", action="append", default=[],
                        metavar="LINE", help="a line of postgresql.conf, such "
                        "as \"rappel_conso.fast_paths = ''\"")
    parser.add_argument("--wait", action="store_true",
                        help="wait for Enter before all ends, to look around")
    for name in ("bindir", "data", "work"):
        parser.add_argument(f"--{name}", required=True,
                            help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [case for case in options.cases if case not in CASES]
    if unknown:
        parser.error(f"no such case: {', '.join(unknown)}")
    options.cases = options.cases or list(USUAL)
    if options.sensors and "sensors" not in options.cases:
        options.cases.append("sensors")
    return options


def stop(number, frame):
    sys.exit(1)


def main():
    options = parse()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    report = Report()
    print(f"{os.cpu_count()} cores; recalls from "
          f"{os.path.basename(data.recorded(options.data))}")
    world = World(options.bindir, options.work)
    try:
        world.write_wal()
        bench = Bench(world, options, report)
        for case in options.cases:
            CASES[case](bench)
        if options.wait:
            input(f"\n{options.work} (Enter ends it) ")
    except Failure as error:
        print(f"bench: {error}\n{world.server.log_end()}", file=sys.stderr)
        return 1
    finally:
        if report.sampler:
            report.sampler.stop()
        world.close()
    print()
    for text in report.missed:
        print(f"MISSED: {text}")
    return 1 if report.missed else 0


if __name__ == "__main__":
    sys.exit(main())
