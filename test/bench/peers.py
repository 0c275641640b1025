# peers.py
#     The same topic into the same table by other programs: a JDBC sink of Kafka
#     Connect and a consumer in Python; and by COPY, from a file.
#
# It must not let a peer begin cold: Connect's Java has taken 20,000 records of
# another topic before it is measured.  What they promise differs: our stream
# commits offsets with the rows, the others bring records at least once.

import argparse
import json
import os
import signal
import subprocess
import sys
import time

import data
import proc
import report
from bench import stop, versions
from kafka_connect import Connect, free_port
from measure import Bench
from report import Pairs, Spent
from server import Failure, World

HERE = os.path.dirname(os.path.abspath(__file__))
DATABASE, TABLE, TOPIC, WARM = "peers", "readings", "readings", "warm_readings"
WARM_ROWS = 20000
END_LIMIT = 900                 # seconds
COLUMNS = ("message_id", "sensor_id", "temperature", "humidity", "battery",
           "timestamp")
TYPES = "text, integer, float8, float8, float8, timestamptz".split(", ")
SCHEMA = {"type": "struct", "optional": False, "fields": [
    {"field": name, "type": kind, "optional": True} for name, kind in
    zip(COLUMNS, ("string", "int32", "double", "double", "double", "string"))]}
OURS, COPY = "this extension, typed stream", "COPY from a file"
PYTHON, CONNECT = "Python: confluent-kafka, psycopg COPY", \
    "Kafka Connect: Debezium's JDBC sink"


def columns():
    return ", ".join(f'"{name}" {kind}' for name, kind in zip(COLUMNS, TYPES))


def write_topic(bench, topic, rows, copied=None):
    """Readings as flat objects: a JDBC sink has no column for an object."""
    path = bench.world.path("p")
    with open(path, "w", encoding="ascii") as file, \
            open(copied or os.devnull, "w", encoding="ascii") as other:
        for key, (number, sensor, message, stamp) in data.sensors(rows):
            file.write(f'{key}\t{{"message_id":"{number}","sensor_id":{sensor},'
                       f'{message[1:-1]},"timestamp":"{stamp}"}}\n')
            values = "\t".join(map(str, json.loads(message).values()))
            other.write(f"{number}\t{sensor}\t{values}\t{stamp}\n")
    bench.world.kafka.create_topic(topic, 4)
    bench.world.kafka.produce(topic, path)
    bench.world.drop_files("p")


class Backends:
    """CPU seconds of the clients of a database, and of children that have
    ended, but for a session of ours."""

    def __init__(self, server, session):
        self.server, self.session = server, session
        self.before = self.total()

    def total(self):
        pids = self.session.ask(
            "SELECT pid FROM pg_stat_activity WHERE backend_type = 'client "
            "backend' AND pid <> pg_backend_pid()").split()
        cpu = proc.cpu_of_children(self.server.postmaster)
        for pid in pids:
            try:
                cpu += proc.cpu(int(pid))
            except TypeError:           # it has ended since
                pass
        return cpu

    def spent(self):
        return self.total() - self.before


def clear(session):
    session.ask(f"TRUNCATE {TABLE}; CHECKPOINT")
    return float(session.ask("SELECT extract(epoch FROM clock_timestamp())"))


def wait_rows(session, rows, begin, failed=lambda: False):
    """Seconds from begin on to the commit of the last of so many rows."""
    end = time.monotonic() + END_LIMIT
    while session.ask(f"SELECT count(*) FROM {TABLE}") != str(rows):
        if failed() or time.monotonic() > end:
            raise Failure(f"{TABLE} has not got its {rows} rows")
        time.sleep(0.3)
    return float(session.ask("SELECT extract(epoch FROM max("
                             "pg_xact_commit_timestamp(xmin))) "
                             f"FROM {TABLE}")) - begin


# ---- those who bring the records ----

def ours(bench, session, rows, pair):
    name = f"peer_{pair}"
    clear(session)
    bench.stream(session, name, TOPIC, f"INSERT INTO {TABLE} SELECT " +
                 ", ".join(f'"{column}"' for column in COLUMNS) +
                 " FROM records", "reading")
    spent = bench.consume(session, name, rows)
    bench.drop_stream(session, name)
    return spent


def python(bench, session, rows, options, pair):
    begin = clear(session)
    backends = Backends(bench.ours.server, session)
    done = subprocess.run(
        [sys.executable, os.path.join(HERE, "python_consumer.py"),
         bench.world.kafka.brokers, TOPIC,
         f"host={bench.ours.server.folder} dbname={DATABASE} user=postgres",
         TABLE, str(rows), str(pair)], check=False, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, "PYTHONPATH": options.python})
    if done.returncode != 0:
        raise Failure(f"the consumer in Python failed:\n{done.stderr}")
    wall = wait_rows(session, rows, begin)
    return Spent(float(done.stdout) + backends.spent(), wall)


def bring(bench, connect, session, name, topic, rows):
    """What a sink of Connect spends on a topic: Java and the backends."""
    begin = clear(session)
    backends = Backends(bench.ours.server, session)
    cpu = proc.cpu(connect.process.pid)
    connect.sink(name, topic, TABLE)
    try:
        wall = wait_rows(session, rows, begin, lambda: connect.failed(name))
    except Failure as error:
        raise Failure(f"{error}\n{connect.state(name)}") from error
    spent = Spent(proc.cpu(connect.process.pid) - cpu + backends.spent(), wall)
    connect.remove(name)
    return spent


def measure(bench, options, session, connect):
    rows = options.rows
    found = {name: Pairs(name, rows) for name in (OURS, COPY, PYTHON, CONNECT)}
    copied = bench.world.path("p.copy")
    bench.report.line(f"writing {rows} readings")
    write_topic(bench, TOPIC, rows, copied)
    if connect:
        write_topic(bench, WARM, WARM_ROWS)
        bring(bench, connect, session, "warm", WARM, WARM_ROWS)
    for pair in bench.pairs:
        found[OURS].add("ours", ours(bench, session, rows, pair))
        rows_are(session, copied, bench, found[COPY], pair)
        if options.python:
            found[PYTHON].add("ours", python(bench, session, rows, options,
                                             pair))
        if connect:
            found[CONNECT].add("ours", bring(
                bench, connect, session, f"sink_{pair}", TOPIC, rows))
        for one in found.values():
            if one.spent["ours"]:
                bench.report.line(one.last().replace(": ours ", ": "))
    return found


def rows_are(session, copied, bench, pairs, pair):
    """COPY beside ours, and the first time that both gave the same rows."""
    pairs.add("ours", bench.copy(session, DATABASE, TABLE, copied,
                                 compare=pair == 1))


def table(found, reasons):
    lines = [("", "CPU us/row", "wall s", "rows/s", "CPU of ours")]
    base = found[OURS].per_row("ours")
    for name, pairs in found.items():
        if name in reasons:
            lines.append((name, f"skipped: {reasons[name]}", "", "", ""))
        else:
            cost, wall = pairs.per_row("ours"), pairs.median("ours", "wall")
            lines.append((name, f"{cost:.2f}", f"{wall:.2f}",
                          f"{pairs.rows / wall:.0f}", f"{cost / base:.1f}"))
    widths = [max(len(line[at]) for line in lines) for at in range(5)]
    rows = ["| " + " | ".join(
        cell.ljust(width) if at == 0 else cell.rjust(width)
        for at, (cell, width) in enumerate(zip(line, widths))) + " |"
        for line in lines]
    rows.insert(1, "|" + "|".join("-" * (width + 1) + ("-" if at == 0 else ":")
                                  for at, width in enumerate(widths)) + "|")
    return "\n".join(rows)


def parse():
    parser = argparse.ArgumentParser(
        prog="test/bench/run --peers [--no-install]",
        description="Measures other programs beside the extension.")
    parser.add_argument("--rows", type=int, default=500000,
                        help="readings in the topic (%(default)s)")
    parser.add_argument("--pairs", type=int, default=3,
                        help="how often each is measured (%(default)s)")
    for name in ("bindir", "data", "work"):
        parser.add_argument(f"--{name}", required=True, help=argparse.SUPPRESS)
    for name in ("connect", "python", "no-connect", "no-python"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    options.setting = []
    return options


def main():
    options = parse()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    reasons = {name: reason for name, reason in (
        (CONNECT, options.no_connect), (PYTHON, options.no_python)) if reason}
    port = free_port()
    os.environ["PGPORT"] = str(port)    # Connect's driver knows TCP only
    before = report.load()
    world = World(options.bindir, options.work)
    bench = Bench(world, options, report.Report())
    connect = None
    try:
        bench.start(settings=f"listen_addresses = '127.0.0.1'\nport = {port}\n")
        print(f"machine: {report.machine()}\nversions: "
              f"{versions(world.server)}\nload average before: {before}")
        session = world.server.database(DATABASE)
        session.ask(f"CREATE TABLE {TABLE} ({columns()});"
                    f"CREATE TYPE reading AS ({columns()})")
        if options.connect:
            bench.report.line("starting Kafka Connect")
            connect = Connect(bench.world, options.connect, SCHEMA,
                              f"jdbc:postgresql://127.0.0.1:{port}/{DATABASE}")
        found = measure(bench, options, session, connect)
        session.close()
    except Failure as error:
        print(f"bench: {error}\n{world.server.log_end()}", file=sys.stderr)
        return 1
    finally:
        if connect:
            connect.stop()
        bench.stop()
        world.close()
    print(f"\n{options.rows} readings of 130 bytes, 4 partitions; medians of "
          f"{options.pairs}; CPU of the program and of its backends\n\n"
          f"{table(found, reasons)}\n\nload average before: {before}; after: "
          f"{report.load()}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
