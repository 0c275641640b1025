# latency.py
#     How long an event takes: from its producer to a committed row, and to a
#     message on an output topic.
#
# Times are those of one clock: the producer writes it into the event, the
# server knows when a row was committed (track_commit_timestamp), and the
# consumer of the output topic looks at it when a message has come.

import json
import subprocess
import sys
import threading
import time

from server import SERVERS, Failure

sys.path.append(SERVERS)

import transaction              # noqa: E402

STREAMS = """
CREATE TABLE event (n integer, sent double precision);
INSERT INTO rappel_conso.stream (name, topics, start_at, statement) VALUES
  ('to_table', '{events}', 'earliest', $$INSERT INTO event
     SELECT (value->>'n')::integer, (value->>'sent')::double precision
       FROM records$$);
INSERT INTO rappel_conso.stream (name, topics, start_at, output_topic,
                                 statement) VALUES
  ('to_topic', '{events}', 'earliest', 'echo',
   'SELECT key, value FROM records')
"""
COMMITTED = """
SELECT n, extract(epoch FROM pg_xact_commit_timestamp(xmin)) - sent
  FROM event WHERE n > 0
"""
LIMIT = 60                      # seconds until the last event must be there


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

    def send(self, n):
        key = str(n).encode()
        event = json.dumps({"n": n, "sent": time.time()}).encode()
        if self.lib.rd_kafka_produce(self.topic, -1, transaction.COPY, event,
                                     len(event), key, len(key), None) != 0:
            raise Failure("could not send an event")

    def stop(self):
        self.lib.rd_kafka_flush(self.client, transaction.TIMEOUT)


def percentile(delays, share):
    ordered = sorted(delays)
    return ordered[min(len(ordered) - 1, int(len(ordered) * share))]


def measure(session, kafka, events, rate):
    """{title: delays in seconds} of so many events at so many a second."""
    kafka.create_topic("events")
    kafka.create_topic("echo")
    session.ask(STREAMS)
    session.ask("SELECT rc_start()")
    listener = Listener(kafka.brokers, "echo")
    producer = Producer(kafka.brokers, "events")
    try:
        producer.send(0)        # all that runs once has run
        listener.wait(0)
        begin = time.monotonic()
        for n in range(1, events + 1):
            time.sleep(max(0, begin + n / rate - time.monotonic()))
            producer.send(n)
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
