# outbox.py
#     What it costs to publish: rc_publish() in one transaction, the publisher
#     that sends what is in the outbox, and a stream with an output topic.
#
# It must not begin with messages of an earlier measurement in the outbox.

import time

import proc
from report import Pairs, Spent, base_share

VALUE = ('{"message_id":"m-000000000001","sensor_id":123,"message":'
         '{"temperature":21.55,"humidity":48.2,"battery":3.912},'
         '"timestamp":"2026-03-01T00:00:00.010Z"}')
EMPTY = "SELECT NOT EXISTS (SELECT FROM rappel_conso.outbox)"


def run(bench):
    bench.report.head("publishing")
    rows = bench.options.outbox_rows
    bench.start()
    sessions = [side.server.database("outbox") for side in bench.sides]
    for session in sessions:
        session.ask("SELECT rc_start()")
    publish(bench, sessions, bench.options.publish_rows)
    output(bench, sessions, rows)
    bench.take_memory()
    for side, session in zip(bench.sides, sessions):
        bench.drop_database(side, session, "outbox")


class Publisher:
    """The worker that sends the messages of a database: the CPU seconds that
    it has taken, also if it ends and another one starts."""

    def __init__(self, session):
        self.session = session
        self.seen = {}
        self.size = self.greatest = 0
        self.look()
        self.before = self.total()

    def look(self):
        """Note what it has taken, and how large the table is."""
        self.size = int(self.session.ask(
            "SELECT pg_total_relation_size('rappel_conso.outbox')"))
        self.greatest = max(self.greatest, self.size)
        pid = self.session.ask("SELECT rappel_conso.worker_pid('outbox')")
        if pid:
            try:
                self.seen[pid] = proc.cpu(int(pid))
            except TypeError:           # it has ended since
                pass

    def total(self):
        return sum(self.seen.values())

    def drain(self):
        """Wait until all is sent; the CPU seconds that it has taken."""
        self.session.wait(EMPTY, watch=self.look)
        self.look()
        return self.total() - self.before


def publish(bench, sessions, rows):
    """One transaction with many calls, then the publisher's part."""
    calls = Pairs("rc_publish(), in one transaction", rows)
    sent = Pairs("outbox to topic", rows)
    for pair in bench.pairs:
        for side, session in bench.turn(pair, sessions):
            topic = f"published_{side.name}_{pair}"
            bench.world.kafka.create_topic(topic)
            publisher = Publisher(session)
            cpu = proc.cpu_exact(session.pid)
            wall = time.monotonic()
            session.ask(f"SELECT count(rc_publish('{topic}', '{VALUE}'::text, "
                        f"n::text)) FROM generate_series(1, {rows}) n")
            now = time.monotonic()
            calls.add(side.name, Spent(proc.cpu_exact(session.pid) - cpu,
                                       now - wall))
            spent = publisher.drain()
            sent.add(side.name, Spent(spent, time.monotonic() - now))
        bench.report.line(calls.last())
        bench.report.line(sent.last())
    bench.report.pairs(calls, base_share("cpu", 0.5))
    bench.report.pairs(sent)


def output(bench, sessions, rows):
    """Records of a topic, a statement, and the messages of its rows."""
    bench.sensors("events", bench.world.path("m"), rows)
    bench.world.drop_files("m")
    pairs = Pairs("statement to output topic", rows)
    sizes = {}
    for pair in bench.pairs:
        for side, session in bench.turn(pair, sessions):
            topic = f"output_{side.name}_{pair}"
            name = f"output_{pair}"
            bench.world.kafka.create_topic(topic)
            session.ask("VACUUM rappel_conso.outbox")
            publisher = Publisher(session)
            bench.stream(session, name, "events",
                         "SELECT key, value FROM records", "text",
                         output=topic)
            wall = time.monotonic()
            spent = bench.consume(session, name, rows, watch=publisher.look)
            sent = publisher.drain()
            pairs.add(side.name, Spent(spent.cpu + sent,
                                       time.monotonic() - wall))
            sizes.setdefault(side.name, []).append(
                (publisher.greatest, publisher.size))
            bench.drop_stream(session, name)
        bench.report.line(pairs.last())
    bench.report.pairs(pairs, base_share("cpu", 0.7))
    texts = {name: "{:.0f} MB, {:.0f} in the end".format(
        *(max(pair) / 1e6 for pair in zip(*found)))
        for name, found in sizes.items()}
    bench.report.value(f"size of the outbox, {rows} events", texts["ours"],
                       texts.get("base", ""))
