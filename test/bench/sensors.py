# sensors.py
#     Narrow messages from a topic into a table: typed and as jsonb, by one
#     worker and by two, with a bad record here and there, and the memory that
#     arrays of small numbers take.
#
# It must not give COPY other texts than the messages hold.

from measure import MB
from report import Pairs, base_share, copy_ratio, copy_wall
from server import Failure

TOPIC = "sensors"
TABLE = "raw_sensors_data"
BAD_TABLE = "known_sensors_data"
BAD_EVERY = 10000
NO_DEARER = 1.05                # that is noise
ARRAYS = 40
ARRAY_BYTES = 900000

TABLES = f"""
CREATE TABLE {TABLE} (
  message_id text, sensor_id integer, message jsonb, "timestamp" timestamptz);
CREATE TABLE {BAD_TABLE} (LIKE {TABLE});
ALTER TABLE {BAD_TABLE} ALTER sensor_id SET NOT NULL;
CREATE TABLE array_length (n integer);
CREATE TYPE sensor_message AS (
  message_id text, sensor_id integer, message jsonb, "timestamp" timestamptz)
"""
TYPED = """
INSERT INTO {table}
SELECT message_id, sensor_id, message, "timestamp" FROM records"""
JSONB = """
INSERT INTO {table}
SELECT value->>'message_id', (value->>'sensor_id')::integer, value->'message',
       (value->>'timestamp')::timestamptz
  FROM records"""

# path, type of the values, statement, workers, what is required
PATHS = (
    ("typed, 1 worker", "sensor_message", TYPED, 1, copy_ratio(1.2)),
    ("typed, 2 workers", "sensor_message", TYPED, 2, copy_wall),
    ("jsonb, 1 worker", "jsonb", JSONB, 1, copy_ratio(0.75)),
)


def run(bench):
    rows = bench.options.sensor_rows
    bench.report.head(f"{rows} sensor messages of 150 bytes, 4 partitions")
    messages, copied = bench.files("m", "m.copy")
    bench.sensors(TOPIC, messages, rows, copied)
    bench.start()
    sessions = [side.server.database("sensors") for side in bench.sides]
    for session in sessions:
        session.ask(TABLES)
    for path, value_type, statement, workers, require in PATHS:
        pairs = Pairs(path, rows)
        for pair in bench.pairs:
            for side, session in bench.turn(pair, sessions):
                name = f"s{len(bench.report.rows)}_{pair}"
                session.ask(f"TRUNCATE {TABLE}")
                bench.stream(session, name, TOPIC,
                             statement.format(table=TABLE), value_type, workers)
                pairs.add(side.name, bench.consume(session, name, rows))
                bench.drop_stream(session, name)
                check(session, rows)
            pairs.add("COPY", bench.copy(sessions[0], "sensors", TABLE, copied,
                                         compare=pair == 1))
            bench.report.line(pairs.last())
        bench.report.pairs(pairs, require)
    bad(bench, sessions, bench.options.bad_rows)
    arrays(bench, sessions)
    bench.take_memory()
    for side, session in zip(bench.sides, sessions):
        bench.drop_database(side, session, "sensors")
    bench.world.drop_files("m", "m.copy")


def check(session, rows):
    if session.ask("SELECT count(DISTINCT message_id) || ' ' || count(*) "
                   f"FROM {TABLE}") != f"{rows} {rows}":
        raise Failure("rows are missing, or there twice")


def bad(bench, sessions, rows):
    """One record in ten thousand breaks a constraint of the table."""
    topic = "sensors_bad"
    dead = (rows + BAD_EVERY // 2) // BAD_EVERY
    bench.sensors(topic, bench.world.path("b"), rows, bad_every=BAD_EVERY)
    bench.world.drop_files("b")
    path = f"typed, 1 bad record in {BAD_EVERY}"
    pairs = Pairs(path, rows)
    tuples = {side.name: 0 for side in bench.sides}
    for pair in bench.pairs:
        for side, session in bench.turn(pair, sessions):
            name = f"bad_{pair}"
            session.ask(f"TRUNCATE {BAD_TABLE}; SELECT "
                        "pg_stat_reset_single_table_counters"
                        f"('{BAD_TABLE}'::regclass)")
            bench.stream(session, name, topic, TYPED.format(table=BAD_TABLE),
                         "sensor_message")
            pairs.add(side.name, bench.consume(session, name, rows, dead))
            bench.drop_stream(session, name)
            tuples[side.name] = max(tuples[side.name],
                                    dead_tuples(session, rows - dead))
        bench.report.line(pairs.last())
    bench.report.pairs(pairs, base_share("cpu", NO_DEARER))
    mine, base = tuples["ours"], tuples.get("base")
    bench.report.value("dead tuples left by these", str(mine),
                       "" if base is None else str(base),
                       "<= 2 times base's",
                       None if base is None else mine <= 2 * base)


def dead_tuples(session, rows):
    """Of the table, once the worker that has ended has reported."""
    session.wait(f"SELECT n_live_tup >= {rows} FROM pg_stat_user_tables "
                 f"WHERE relid = '{BAD_TABLE}'::regclass")
    return int(session.ask("SELECT n_dead_tup FROM pg_stat_user_tables "
                           f"WHERE relid = '{BAD_TABLE}'::regclass"))


def arrays(bench, sessions):
    """Long arrays of small numbers, which are several times as large as jsonb:
    the watch on memory sees how much of them is held at once."""
    path = bench.world.path("a")
    value = "[" + ",".join("1" * (ARRAY_BYTES // 2)) + "]"
    with open(path, "w", encoding="ascii") as file:
        for at in range(ARRAYS):
            file.write(f"{at}\t{value}\n")
    bench.world.kafka.create_topic("arrays")
    bench.world.kafka.produce("arrays", path)
    bench.world.drop_files("a")
    bench.take_memory()
    for session in sessions:
        bench.stream(session, "arrays", "arrays", "INSERT INTO array_length "
                     "SELECT jsonb_array_length(value) FROM records")
        bench.consume(session, "arrays", ARRAYS)
        if session.ask("SELECT count(*) || ' ' || min(n) FROM array_length") \
                != f"{ARRAYS} {ARRAY_BYTES // 2}":
            raise Failure("arrays are missing")
        bench.drop_stream(session, "arrays")
    peaks = [max(side.sampler.peaks.values()) / MB for side in bench.sides]
    bench.take_memory()
    bench.report.memory(f"RssAnon, [1,1,1,..] of {ARRAY_BYTES // 1000} kB",
                        *peaks)
