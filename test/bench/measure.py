# measure.py
#     What the benchmarks' parts share: the builds that are compared, a stream
#     that reads a full topic, and COPY beside it.
#
# It must not judge by wall-clock time where CPU seconds can be had.
#
# What is compared: CPU seconds (user and system) of the worker with all its
# threads, from its start to its last commit, per row; and those of a backend
# that does COPY FROM of the same texts into an equal table with the same
# indexes.  Wall-clock time is from un-pausing a stream with a full topic to its
# last commit.  Autovacuum is off, so that it takes work from neither.  Reading
# from Kafka, decoding and offsets are in the worker's part; brokers, the
# stand-in for the API and the scheduler are not.

import time

import data
import proc
from report import Spent
from server import Failure, Session

MB = 1024 * 1024
MANY = 1000000                  # messages, whose making is announced


class Side:
    """A build that is measured: its server, and a watch on its workers."""

    def __init__(self, name, server):
        self.name = name                # "ours" or "base"
        self.server = server
        self.sampler = None

    def start(self, brokers, settings):
        self.stop_watch()
        self.server.start(brokers, settings)
        self.sampler = proc.Sampler(self.server.postmaster)
        self.sampler.start()

    def stop_watch(self):
        if self.sampler:
            self.sampler.stop()
            self.sampler = None


class Bench:
    def __init__(self, world, options, report):
        self.world = world
        self.options = options
        self.report = report
        self.ours = Side("ours", world.server)
        self.sides = [self.ours]
        if world.base:
            self.sides.append(Side("base", world.base))
        self._recalls = None

    @property
    def pairs(self):
        return range(1, self.options.pairs + 1)

    @property
    def recalls(self):
        """The file of recalls that others are made of."""
        if self._recalls is None:
            self._recalls = data.recalls(self.options.data, self.world.folder)
        return self._recalls

    def start(self, kafka=True, settings=""):
        """Start the servers, or start them again; without Kafka: direct mode."""
        settings += "".join(f"\n{line}" for line in self.options.setting)
        for side in self.sides:
            side.start(self.world.kafka.brokers if kafka else "", settings)

    def take_memory(self):
        """Note the greatest memory of each worker since the last time."""
        for side in self.sides:
            self.report.peak(side.name, side.sampler.take())

    def stop(self):
        for side in self.sides:
            side.stop_watch()

    def turn(self, pair, *others):
        """The builds, with what else there is of each, in the order of a pair:
        no build is the first to be measured each time."""
        sides = list(zip(self.sides, *others))
        return sides if pair % 2 else sides[::-1]

    # ---- one measurement ----

    def stream(self, session, name, topic, statement, value_type="jsonb",
               workers=1, output=None):
        """A paused stream that reads a topic from its beginning."""
        session.ask(
            "INSERT INTO rappel_conso.stream (name, topics, value_type, "
            "workers, paused, start_at, output_topic, statement) VALUES "
            f"('{name}', '{{{topic}}}', '{value_type}', {workers}, true, "
            f"'earliest', {repr(output) if output else 'NULL'}, "
            f"$${statement}$$)")

    def consume(self, session, stream, rows, dead=0, watch=None):
        """What a stream's workers spend until so many records are applied."""
        workers = int(session.ask("SELECT workers FROM rappel_conso.stream "
                                  f"WHERE name = '{stream}'"))
        session.ask("CHECKPOINT; SELECT rc_start()")
        begin = session.ask("SELECT clock_timestamp()")
        session.ask("UPDATE rappel_conso.stream SET paused = false "
                    f"WHERE name = '{stream}'")
        session.wait("SELECT coalesce(sum(next_offset), 0) = "
                     f"{rows} FROM rappel_conso.stream_offset "
                     f"WHERE stream = '{stream}'", watch=watch)
        wall = float(session.ask(
            f"SELECT extract(epoch FROM max(applied_at) - '{begin}') FROM "
            f"rappel_conso.stream_offset WHERE stream = '{stream}'"))
        cpu = sum(proc.cpu(int(session.ask(
            f"SELECT rappel_conso.worker_pid('stream', '{stream}', {n})")))
            for n in range(workers))
        found = session.ask("SELECT sum(dead) FROM rappel_conso.stream_offset "
                            f"WHERE stream = '{stream}'")
        if found != str(dead):
            raise Failure(f"stream {stream} has {found} dead letters: " +
                          session.ask("SELECT min(error) FROM "
                                      "rappel_conso.dead_letter"))
        return Spent(cpu, wall)

    def drop_stream(self, session, name):
        session.ask(f"DELETE FROM rappel_conso.stream WHERE name = '{name}'")

    def copy(self, session, database, table, path, compare):
        """What COPY of a file spends, into a table like one that is there;
        compare: demand that this has the same rows then."""
        session.ask(f"CREATE TABLE copied (LIKE {table} INCLUDING ALL);"
                    "CHECKPOINT")
        backend = Session(self.ours.server, database)
        cpu = proc.cpu_exact(backend.pid)
        wall = time.monotonic()
        backend.ask(f"COPY copied FROM '{path}'")
        spent = Spent(proc.cpu_exact(backend.pid) - cpu,
                      time.monotonic() - wall)
        backend.close()
        if compare:
            differ = session.ask(
                f"SELECT count(*) FROM ((TABLE {table} EXCEPT TABLE copied)"
                f" UNION ALL (TABLE copied EXCEPT TABLE {table})) d")
            if differ != "0":
                raise Failure(f"COPY of {table} gave {differ} other rows")
        session.ask("DROP TABLE copied")
        return spent

    def drop_database(self, side, session, name):
        """End a database, with the workers that it has."""
        session.close()
        session = Session(side.server, "postgres")
        session.ask(f"DROP DATABASE {name} WITH (FORCE)")
        session.close()

    # ---- what is measured ----

    def sensors(self, topic, path, rows, copied=None, partitions=4, **shape):
        """A topic of sensor messages; path: the file that they are put into."""
        if rows >= MANY:
            self.report.line(f"writing {rows} messages to topic {topic}")
        data.write_sensors(path, rows, copied, **shape)
        self.world.kafka.create_topic(topic, partitions)
        self.world.kafka.produce(topic, path)

    def files(self, *names):
        return [self.world.path(name) for name in names]
