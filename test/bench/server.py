# server.py
#     A private PostgreSQL, a Kafka and a stand-in for the Explore API, in one
#     folder, for the benchmarks.
#
# It must not touch anything outside that folder, and must not leave a process
# behind.

import os
import shutil
import subprocess
import sys
import time

import proc

HERE = os.path.dirname(os.path.abspath(__file__))
SERVERS = os.path.join(os.path.dirname(HERE), "servers")
DATASET = "rappelconso-v2-gtin-espaces"
WAIT_LIMIT = 600
START_LIMIT = 120
WAL_MB = 1500                   # written before anything is measured
MESSAGE_BYTES = 4000000         # the largest message

# As a server comes, but for what would make two runs differ.  WAL files are
# kept, so that nobody has to fill new ones with zeros: see World.
SETTINGS = """
listen_addresses = ''
unix_socket_directories = '{folder}'
max_worker_processes = 16
min_wal_size = '4GB'
max_wal_size = '8GB'
checkpoint_timeout = '1h'
autovacuum = off
log_line_prefix = '%m [%p] %b '
shared_preload_libraries = 'rappel_conso'
track_commit_timestamp = on
"""


class Failure(Exception):
    """What ends the benchmarks, in words."""


class Session:
    """A psql that is kept, so that it is one backend."""

    MARK = "-- done --"

    def __init__(self, server, database):
        self.psql = subprocess.Popen(
            [os.path.join(server.bindir, "psql"), "-X", "-qAt",
             "-v", "ON_ERROR_STOP=1", "-h", server.folder, "-U", "postgres",
             "-d", database],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, encoding="utf-8",
            env={**os.environ, "PGOPTIONS": "-c client_min_messages=warning"})
        self.pid = int(self.ask("SELECT pg_backend_pid()"))

    def ask(self, sql):
        """Run SQL; its answer as psql -At prints it."""
        lines = []
        self.psql.stdin.write(f"{sql}\n;\n\\echo {self.MARK}\n")
        self.psql.stdin.flush()
        for line in self.psql.stdout:
            if line.rstrip("\n") == self.MARK:
                return "".join(lines).strip()
            lines.append(line)
        raise Failure(f"{sql}\n{''.join(lines)}")

    def wait(self, sql, seconds=WAIT_LIMIT, watch=None):
        """Until a query says t; watch is called meanwhile."""
        limit = time.monotonic() + seconds
        while self.ask(sql) != "t":
            if watch:
                watch()
            if time.monotonic() > limit:
                raise Failure(f"waited {seconds} s in vain for: {sql}\n" +
                              self.ask("SELECT * FROM rc_status()"))
            time.sleep(0.1)

    def close(self):
        self.psql.stdin.close()
        self.psql.wait()
        self.psql.stdout.close()


class Server:
    """A cluster of its own."""

    def __init__(self, bindir, folder, under=()):
        self.bindir = bindir
        self.folder = folder
        self.under = list(under)        # a command that runs the server
        self.process = None             # of that command
        self.data = os.path.join(folder, "data")
        self.log = os.path.join(folder, "postgresql.log")
        self.running = False
        self.postmaster = None
        self.call("initdb", "-U", "postgres", "-A", "trust", "-N",
                  "--encoding=UTF8", "--no-locale", "-D", self.data)

    def call(self, program, *arguments):
        done = subprocess.run([os.path.join(self.bindir, program), *arguments],
                              check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, encoding="utf-8")
        if done.returncode != 0:
            raise Failure(f"{program} failed:\n{done.stdout}{self.log_end()}")
        return done.stdout

    def log_end(self):
        if not os.path.exists(self.log):
            return ""
        with open(self.log, encoding="utf-8", errors="replace") as file:
            return "".join(file.readlines()[-20:])

    def start(self, brokers="", settings=""):
        """Start, or start again; no brokers: direct mode."""
        self.stop()
        with open(os.path.join(self.data, "postgresql.auto.conf"), "w",
                  encoding="utf-8") as file:
            file.write(SETTINGS.format(folder=self.folder))
            file.write(f"rappel_conso.kafka_brokers = '{brokers}'\n")
            file.write(settings)
        self.launch()
        self.running = True
        with open(os.path.join(self.data, "postmaster.pid"),
                  encoding="utf-8") as file:
            self.postmaster = int(file.readline())

    def launch(self):
        # not by call(): the server would keep its pipe
        with open(self.log, "a", encoding="utf-8") as log:
            command = [os.path.join(self.bindir, "pg_ctl"), "-s", "-w", "-D",
                       self.data, "-l", self.log, "start"]
            if self.under:
                self.process = subprocess.Popen(
                    [*self.under, os.path.join(self.bindir, "postgres"),
                     "-D", self.data], stdin=subprocess.DEVNULL, stdout=log,
                    stderr=log, start_new_session=True)
                command = [os.path.join(self.bindir, "pg_isready"), "-q",
                           "-h", self.folder]
            limit = time.monotonic() + START_LIMIT
            while subprocess.run(command, check=False, stdout=log, stderr=log,
                                 stdin=subprocess.DEVNULL).returncode != 0:
                if not self.under or time.monotonic() > limit:
                    raise Failure(f"the server did not start:\n"
                                  f"{self.log_end()}")
                time.sleep(0.2)

    def stop(self):
        if self.running:
            self.running = False
            self.call("pg_ctl", "-s", "-w", "-t", str(START_LIMIT), "-m",
                      "fast", "-D", self.data, "stop")
            if self.process:
                self.process.wait()

    def database(self, name, api=None):
        """A new database with the extension, its stream paused."""
        session = Session(self, "postgres")
        session.ask(f"CREATE DATABASE {name}")
        session.close()
        session = Session(self, name)
        session.ask("BEGIN; CREATE EXTENSION rappel_conso;"
                    "UPDATE rappel_conso.stream SET paused = true;"
                    "COMMIT")
        if api:
            session.ask(f"UPDATE rappel_conso.source SET url = '{api.url}'")
        return session

    def wal_kinds(self, start, end):
        """Bytes of WAL by resource manager, between two places."""
        kinds = {}
        if start == end:
            return kinds
        for line in self.call("pg_waldump", "-p",
                              os.path.join(self.data, "pg_wal"), "-s", start,
                              "-e", end).splitlines():
            if line.startswith("rmgr: "):
                words = line.replace("/", " ").replace(",", " ").split()
                kind = words[1]
                size = int(words[words.index("tot):") + 2])
                kinds[kind] = kinds.get(kind, 0) + size
        return kinds


class Kafka:
    """A broker of its own."""

    def __init__(self, folder):
        self.folder = folder
        self.script("start", folder)
        with open(os.path.join(folder, "brokers"), encoding="ascii") as file:
            self.brokers = file.read().strip()
        self.warm_up()

    def warm_up(self):
        """Have it make what it makes once in its life: the topics that groups
        and transactions are kept in."""
        path = os.path.join(self.folder, "warm")
        with open(path, "wb") as file:
            file.write(b"key\tvalue\n")
        self.create_topic("warm")
        self.produce("warm", path)
        subprocess.run(["kcat", "-b", self.brokers, "-q", "-G", "warm",
                        "-c", "1", "-o", "beginning",
                        "-X", "auto.offset.reset=earliest", "warm"],
                       check=True, stdin=subprocess.DEVNULL,
                       stdout=subprocess.DEVNULL, timeout=WAIT_LIMIT)

    @staticmethod
    def script(*command):
        done = subprocess.run([os.path.join(SERVERS, "kafka"), *command],
                              check=False, stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                              text=True, encoding="utf-8")
        if done.returncode != 0:
            raise Failure(f"kafka {command[0]} failed:\n{done.stdout}")

    def create_topic(self, name, partitions=1):
        self.script("topic", self.folder, name, "--partitions",
                    str(partitions), "--config",
                    f"max.message.bytes={MESSAGE_BYTES}")

    def delete_topics(self, *names):
        self.script("delete", self.folder, *names)

    def consume(self, topic, path):
        """All of a topic to a file: key, a tab, value on each line."""
        with open(path, "wb") as file:
            subprocess.run(["kcat", "-b", self.brokers, "-q", "-C", "-e",
                            "-o", "beginning", "-t", topic,
                            "-f", "%k\t%s\n"], check=True, stdout=file)

    def produce(self, topic, path, *headers):
        """Publish such a file, in the order of its lines."""
        options = [word for header in headers for word in ("-H", header)]
        with open(path, "rb") as file:
            subprocess.run(["kcat", "-b", self.brokers, "-q", "-P",
                            "-t", topic, "-K", "\t", "-z", "lz4",
                            "-X", "linger.ms=5",
                            "-X", f"message.max.bytes={MESSAGE_BYTES}",
                            "-X", "enable.idempotence=true", *options],
                           check=True, stdin=file)

    def stop(self):
        self.script("stop", self.folder)


class Api:
    """The stand-in for the API, serving one file."""

    def __init__(self, path):
        self.process = subprocess.Popen(
            [sys.executable, os.path.join(SERVERS, "explore_api.py"),
             "--stdin-eof", "--dataset", f"{DATASET}={path}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        line = self.process.stdout.readline()
        if not line.startswith("PORT "):
            raise Failure("could not start the stand-in for the API")
        self.url = f"http://127.0.0.1:{int(line[5:])}/api/explore/v2.1"

    def cpu(self):
        return proc.cpu(self.process.pid)

    def stop(self):
        self.process.stdin.close()
        self.process.wait()
        self.process.stdout.close()


class World:
    """All of it, and the end of it; base: the programs of another server, to
    compare with."""

    def __init__(self, bindir, folder, under=(), base=None):
        self.folder = folder
        self.server = Server(bindir, os.path.join(folder, "pg"), under)
        self.base = base and Server(base, os.path.join(folder, "base"), under)
        self._kafka = None
        self.apis = []

    def write_wal(self):
        """Give the server files of WAL to use again, as a server has that has
        run for a while."""
        for server in filter(None, (self.server, self.base)):
            server.start()
            session = Session(server, "postgres")
            session.ask("SELECT count(pg_logical_emit_message(false, 'bench', "
                        "repeat('x', 1000000))) FROM "
                        f"generate_series(1, {WAL_MB}); CHECKPOINT")
            session.close()

    @property
    def kafka(self):
        """The broker, started when it is first asked for."""
        if self._kafka is None:
            self._kafka = Kafka(os.path.join(self.folder, "kafka"))
        return self._kafka

    def path(self, name):
        return os.path.join(self.folder, name)

    def api(self, path):
        self.apis.append(Api(path))
        return self.apis[-1]

    def close(self):
        for api in self.apis:
            api.stop()
        if self._kafka is not None:
            self._kafka.stop()
        self.server.stop()
        if self.base:
            self.base.stop()

    def drop_files(self, *names):
        for name in names:
            path = self.path(name)
            if os.path.isdir(path):
                shutil.rmtree(path)
            elif os.path.exists(path):
                os.unlink(path)
