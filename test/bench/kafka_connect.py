# kafka_connect.py
#     A worker of Kafka Connect with Debezium's JDBC sink, for peers.py.
#
# It must not touch anything outside its folder.  Its settings are those that one
# would choose for speed: large polls and batches, and inserts of many rows.

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request

from server import SERVERS, Failure

sys.path.append(SERVERS)

import jars                     # noqa: E402

START_LIMIT = 120               # seconds
BATCH = 5000                    # records that are polled and written at once

# Connect's worker; its sink is made over HTTP when Java is warm.
WORKER = """
bootstrap.servers={brokers}
key.converter=org.apache.kafka.connect.storage.StringConverter
value.converter=org.apache.kafka.connect.json.JsonConverter
value.converter.schemas.enable=true
value.converter.schema.content={schema}
offset.storage.file.filename={folder}/connect.offsets
listeners=http://127.0.0.1:{rest}
plugin.path={plugins}
consumer.auto.offset.reset=earliest
consumer.max.poll.records={batch}
"""
LOGGING = """status = error
rootLogger.level = warn
rootLogger.appenderRef.console.ref = console
appender.console.type = Console
appender.console.name = console
appender.console.layout.type = PatternLayout
appender.console.layout.pattern = [%d] %p %m (%c)%n
"""

def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Connect:
    """A worker of Kafka Connect."""

    def __init__(self, world, plugin, schema, url):
        """plugin: the folder of the sink's jars; schema: of the messages, which
        hold none; url: of the database."""
        self.folder = world.path("connect")
        self.url = url
        os.makedirs(self.folder)
        os.symlink(jars.CACHE, os.path.join(self.folder, jars.LINK))
        plugins = os.path.join(self.folder, "plugins")
        os.makedirs(plugins)
        os.symlink(plugin, os.path.join(plugins, "jdbc"))
        self.rest = free_port()
        self.write("worker.properties", WORKER.format(
            brokers=world.kafka.brokers, schema=json.dumps(schema),
            folder=self.folder, rest=self.rest, plugins=plugins, batch=BATCH))
        self.write("log4j2.properties", LOGGING)
        self.log = os.path.join(self.folder, "log")
        with open(self.log, "wb") as log:
            self.process = subprocess.Popen(
                ["java", "-Xmx1g", "-cp", jars.LINK + "/*",
                 "-Dlog4j2.configurationFile=log4j2.properties",
                 "org.apache.kafka.connect.cli.ConnectStandalone",
                 "worker.properties"], cwd=self.folder, stdout=log,
                stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL)
        limit = time.monotonic() + START_LIMIT
        while not self.ask("GET", "/connectors", quiet=True):
            if self.process.poll() is not None or time.monotonic() > limit:
                raise Failure(f"Connect did not start:\n{self.log_end()}")
            time.sleep(0.3)

    def write(self, name, text):
        with open(os.path.join(self.folder, name), "w",
                  encoding="ascii") as file:
            file.write(text)

    def log_end(self):
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-30:])

    def ask(self, method, path, body=None, quiet=False):
        """The text of the answer; with quiet, None where there is none."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self.rest}{path}", method=method,
            data=None if body is None else json.dumps(body).encode(),
            headers={"Content-Type": "application/json"})
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return answer.read().decode() or "ok"
        except OSError as error:        # HTTPError is one
            if quiet:
                return None
            words = getattr(error, "read", str(error).encode)().decode()
            raise Failure(f"Connect: {words}\n{self.log_end()}") from error

    def sink(self, name, topic, table):
        """Begin to bring a topic into a table."""
        self.ask("PUT", f"/connectors/{name}/config", {
            "connector.class":
                "io.debezium.connector.jdbc.JdbcSinkConnector",
            "tasks.max": "1", "topics": topic,
            "connection.url": self.url +
            "?stringtype=unspecified&reWriteBatchedInserts=true",
            "connection.username": "postgres", "connection.password": "none",
            "insert.mode": "insert", "primary.key.mode": "none",
            "schema.evolution": "none", "collection.name.format": table,
            "batch.size": str(BATCH)})

    def failed(self, name):
        status = self.ask("GET", f"/connectors/{name}/status", quiet=True)
        return '"FAILED"' in (status or "")

    def state(self, name):
        return (self.ask("GET", f"/connectors/{name}/status") + "\n"
                + self.log_end())

    def remove(self, name):
        self.ask("DELETE", f"/connectors/{name}")

    def stop(self):
        self.process.terminate()
        self.process.wait()
