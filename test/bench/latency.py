# latency.py
#     How long an event takes: from its producer to a committed row, and to a
#     message on an output topic, with little to do and at half of full load;
#     and what a stream worker costs that has nothing to do.
#
# Times are those of one clock: the producer writes it into the event, the
# server knows when a row was committed (track_commit_timestamp), and the
# consumer of the output topic looks at it when a message has come.
#
# It must not take a load that the producer has not reached for half of full
# load: the one that was reached is printed.

import json
import os
import subprocess
import sys
import threading
import time

import proc
import sensors
from server import SERVERS, Failure

sys.path.append(SERVERS)

import transaction              # noqa: E402

LATENCY_LIMIT = 100             # ms, 99th percentile, little to do
LOADED_LIMIT = 50               # ms, the same at half of full load
IDLE_LIMIT = 0.005              # of a core
LIMIT = 60                      # seconds until the last event must be there
PROBES = 100                    # events a second that are looked at
HERE = os.path.dirname(os.path.abspath(__file__))

STREAMS = """
CREATE TABLE event (n integer, sent double precision);
INSERT INTO rappel_conso.stream (name, topics, start_at, statement) VALUES
  ('to_table', '{%s}', 'earliest', $$INSERT INTO event
     SELECT (value->>'n')::integer, (value->>'sent')::double precision
       FROM records$$);
INSERT INTO rappel_conso.stream (name, topics, start_at, output_topic,
                                 statement) VALUES
  ('to_topic', '{%s}', 'earliest', '%s',
   'SELECT key, value FROM records');
SELECT rc_start()
"""
COMMITTED = """
SELECT n, extract(epoch FROM pg_xact_commit_timestamp(xmin)) - sent
  FROM event WHERE n > 0
"""
LOADED = f"""
SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin))
       - (message->>'sent')::double precision
  FROM {sensors.TABLE} WHERE sensor_id = -1 AND message_id <> 'probe-0'
"""


def run(bench):
    little(bench)
    half_load(bench)
    idle(bench)


class Listener(threading.Thread):
    """Notes when each event comes out of a topic."""

    def __init__(self, brokers, topic):
        super().__init__(daemon=True)
        self.delays = {}
        self.process = subprocess.Popen(
            ["kcat", "-b", brokers, "-q", "-C", "-u", "-t", topic,
             "-o", "beginning", "-X", "fetch.wait.max.ms=10", "-f", "%s\n"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self.start()

    def run(self):
        for line in self.process.stdout:
            event = json.loads(line)
            self.delays.setdefault(event["n"], time.time() - event["sent"])

    def wait(self, n):
        limit = time.monotonic() + LIMIT
        while n not in self.delays:
            if time.monotonic() > limit:
                raise Failure(f"event {n} did not come out of the topic")
            time.sleep(0.02)

    def stop(self):
        self.process.kill()
        self.process.wait()
        self.join()


class Producer:
    """Publishes events, each with the time it was sent: by the library itself,
    since kcat reads its input in blocks."""

    def __init__(self, brokers, topic):
        self.lib = transaction.library()
        self.client = transaction.producer(self.lib, brokers, None)
        self.topic = self.lib.rd_kafka_topic_new(self.client, topic.encode(),
                                                 None)

    def send(self, n, event):
        key = str(n).encode()
        event = json.dumps(event).encode()
        if self.lib.rd_kafka_produce(self.topic, -1, transaction.COPY, event,
                                     len(event), key, len(key), None) != 0:
            raise Failure("could not send an event")

    def stop(self):
        self.lib.rd_kafka_flush(self.client, transaction.TIMEOUT)
        self.lib.rd_kafka_topic_destroy(self.topic)
        self.lib.rd_kafka_destroy(self.client)


def percentile(delays, share):
    ordered = sorted(delays)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def in_words(delays):
    return (f"p50 {percentile(delays, 0.5) * 1000:.0f} ms, "
            f"p99 {percentile(delays, 0.99) * 1000:.0f} ms")


def paced(rate, count):
    """Numbers from 1 on, so many a second."""
    begin = time.monotonic()
    for n in range(1, count + 1):
        time.sleep(max(0, begin + n / rate - time.monotonic()))
        yield n


# ---- little to do ----

def little(bench):
    events, rate = bench.options.events, bench.options.rate
    bench.report.head(f"latency, {events} events at {rate}/s")
    bench.start()
    found = {}
    rounds = (1, 2) if len(bench.sides) > 1 else (1,)
    for number in rounds:       # each build is the first once
        for side, in bench.turn(number):
            session = side.server.database("latency")
            for title, delays in measure(
                    session, bench.world.kafka, f"{side.name}_{number}",
                    events // len(rounds), rate).items():
                found.setdefault(title, {}).setdefault(side.name,
                                                       []).extend(delays)
            bench.drop_database(side, session, "latency")
    for title, delays in found.items():
        late = percentile(delays["ours"], 0.99) * 1000
        bench.report.value(
            f"{title}, {rate} a second", in_words(delays["ours"]),
            in_words(delays["base"]) if "base" in delays else "",
            f"p99 < {LATENCY_LIMIT} ms", late < LATENCY_LIMIT)
    bench.take_memory()


def measure(session, kafka, name, events, rate):
    """{title: delays in seconds} of so many events at so many a second."""
    topic, output = f"latency_{name}", f"echo_{name}"
    kafka.create_topic(topic)
    kafka.create_topic(output)
    session.ask(STREAMS % (topic, topic, output))
    listener = Listener(kafka.brokers, output)
    producer = Producer(kafka.brokers, topic)
    try:
        producer.send(0, {"n": 0, "sent": time.time()})
        listener.wait(0)        # all that runs once has run
        for n in paced(rate, events):
            producer.send(n, {"n": n, "sent": time.time()})
        listener.wait(events)
        session.wait(f"SELECT count(*) = {events + 1} FROM event")
        rows = [line.split("|") for line in session.ask(COMMITTED).split("\n")]
        if sorted(listener.delays) != list(range(events + 1)) or \
                sorted(int(n) for n, _ in rows) != list(range(1, events + 1)):
            raise Failure("events are missing, or there twice")
        return {"event to committed row": [float(delay) for _, delay in rows],
                "event to output topic": [listener.delays[n] for n in
                                          range(1, events + 1)]}
    finally:
        producer.stop()
        listener.stop()


# ---- half of full load ----

def probe(producer, n):
    producer.send(n, {"message_id": f"probe-{n}", "sensor_id": -1,
                      "message": {"sent": time.time()},
                      "timestamp": "2026-03-01T00:00:00Z"})


def half_load(bench):
    """Full load is what one worker takes from a full topic; half of it is
    produced while it reads, with a few events among it that are looked at."""
    rows, seconds = bench.options.load_rows, bench.options.load_seconds
    bench.report.head("latency at half of full load, typed, 1 worker")
    bench.start()
    session = bench.ours.server.database("loaded")
    session.ask(sensors.TABLES)
    bench.sensors("full", bench.world.path("m"), rows)
    bench.stream(session, "full", "full", sensors.TYPED.format(
        table=sensors.TABLE), "sensor_message")
    full = rows / bench.consume(session, "full", rows).wall
    bench.drop_stream(session, "full")
    bench.report.line(f"full load: {full:.0f} rows a second")
    bench.world.kafka.create_topic("half", 4)
    bench.stream(session, "half", "half", sensors.TYPED.format(
        table=sensors.TABLE), "sensor_message")
    session.ask(f"TRUNCATE {sensors.TABLE}; UPDATE rappel_conso.stream SET "
                "paused = false WHERE name = 'half'; SELECT rc_start()")
    producer = Producer(bench.world.kafka.brokers, "half")
    probe(producer, 0)
    session.wait(f"SELECT count(*) = 1 FROM {sensors.TABLE}")   # it reads
    load = subprocess.Popen(
        [sys.executable, os.path.join(HERE, "load.py"),
         bench.world.kafka.brokers, "half", bench.world.path("m"),
         str(full / 2), str(seconds)], stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, text=True)
    load.stdout.readline()      # it begins
    for n in paced(PROBES, PROBES * seconds):
        probe(producer, n)
    producer.stop()
    sent = int(load.communicate()[0])
    session.wait(f"SELECT count(*) = {sent + PROBES * seconds + 1} "
                 f"FROM {sensors.TABLE}")
    delays = [float(word) for word in session.ask(LOADED).split()]
    bench.report.value(
        f"event to committed row, {sent / seconds / full:.0%} of "
        f"{full / 1000:.0f} k/s", in_words(delays), "",
        f"p99 < {LOADED_LIMIT} ms",
        percentile(delays, 0.99) * 1000 < LOADED_LIMIT)
    bench.take_memory()
    bench.drop_database(bench.ours, session, "loaded")
    bench.world.drop_files("m")


# ---- nothing to do ----

def idle(bench):
    seconds = bench.options.idle_seconds
    bench.report.head(f"an idle stream worker, {seconds} s")
    bench.sensors("idle", bench.world.path("m"), 1000, partitions=1)
    bench.start()
    sessions = [side.server.database("idle") for side in bench.sides]
    for session in sessions:
        session.ask(sensors.TABLES)
        bench.stream(session, "idle", "idle", sensors.TYPED.format(
            table=sensors.TABLE), "sensor_message")
        bench.consume(session, "idle", 1000)
        # its last writes are the watermarks
        session.wait("SELECT coalesce(bool_and(next_offset = high_watermark),"
                     " false) FROM rappel_conso.lag WHERE stream = 'idle'")
        session.ask("CHECKPOINT")
    pids = [int(session.ask("SELECT rappel_conso.worker_pid('stream', 'idle')"))
            for session in sessions]
    wal = sessions[0].ask("SELECT pg_current_wal_insert_lsn()")
    before = [proc.cpu_exact(pid) for pid in pids]
    time.sleep(seconds)
    shares = [(proc.cpu_exact(pid) - cpu) / seconds
              for pid, cpu in zip(pids, before)]
    end = sessions[0].ask("SELECT pg_current_wal_insert_lsn()")
    state = sessions[0].ask("SELECT state, xact_start IS NULL, backend_xmin IS "
                            f"NULL FROM pg_stat_activity WHERE pid = {pids[0]}")
    sessions[0].ask("SELECT pg_switch_wal()")   # so that it can be read
    kinds = bench.ours.server.wal_kinds(wal, end)
    for kind in ("Standby", "XLOG"):
        kinds.pop(kind, None)                   # of the server itself
    texts = [f"{share:.2%} of a core" for share in shares]
    bench.report.value("idle stream worker", *texts, *[""] * (2 - len(texts)),
                       f"< {IDLE_LIMIT:.1%}", shares[0] < IDLE_LIMIT)
    bench.report.value("WAL, transaction of an idle worker",
                       f"{sum(kinds.values())} bytes, {state}", "",
                       "0 bytes, idle|t|t",
                       not kinds and state == "idle|t|t")
    bench.take_memory()
    for side, session in zip(bench.sides, sessions):
        bench.drop_database(side, session, "idle")
