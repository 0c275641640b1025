# valgrind.py
#     Runs a sync in each mode, with dead letters, retries and streams of each
#     kind, in a server under valgrind, and tells what valgrind has found.
#
# It must not hide an error that has a frame of ours: what PostgreSQL does
# itself is passed over by valgrind.supp alone.
#
# PostgreSQL as it is packaged does not tell valgrind of palloc(), so this sees
# what is done to memory of malloc() (libcurl, cJSON, librdkafka), to whole
# blocks of memory contexts, and with values that nobody has set.

import argparse
import json
import os
import sys
import urllib.request
import xml.etree.ElementTree

import data
from server import DATASET, SERVERS, Failure, World

OURS = "rappel_conso.so"
HERE = os.path.dirname(os.path.abspath(__file__))
FRAMES = 12                     # of a stack, printed

COMMAND = ["valgrind", "--tool=memcheck", "--leak-check=full",
           "--show-leak-kinds=definite", "--num-callers=60",
           "--error-limit=no", "--child-silent-after-fork=no",
           "--suppressions=" + os.path.join(HERE, "valgrind.supp"),
           "--xml=yes"]

STREAMS = """
CREATE TABLE seen (stream text, id integer NOT NULL, label text);
CREATE TYPE message AS (id integer, label text, tags text[], rest jsonb);
INSERT INTO rappel_conso.stream (name, topics, value_type, statement) VALUES
('jsonb', '{messages}', 'jsonb', $$
  INSERT INTO seen SELECT 'jsonb', (value->>'id')::integer, value->>'label'
    FROM records$$),
('typed', '{messages}', 'message', $$
  INSERT INTO seen SELECT 'typed', id, label FROM records$$),
('text', '{messages}', 'text', $$
  INSERT INTO seen SELECT 'text', (value::json->>'id')::integer, headers->>'h'
    FROM records$$);
"""
MESSAGES = 500
BAD = ('{"id": 1, "label"', '{"label": "none"}', '[1]', '{"id": "x"}',
       '{"id": 1, "label": "\\u0000"}')


def control(api, order):
    """Steer the stand-in for the API."""
    url = api.url.split("/api/")[0] + "/_control"
    urllib.request.urlopen(urllib.request.Request(
        url, json.dumps(order).encode("utf-8"))).close()


def sync(session, expected, full=False):
    answer = session.ask(
        "SELECT state, fetched, inserted, updated, unchanged, dead "
        f"FROM rc_sync_now(full_sync => {str(full).lower()})")
    if answer != expected:
        raise Failure(f"the run gave {answer}, not {expected}")
    print(f"   run: {answer}", flush=True)


def source(session):
    session.ask("UPDATE rappel_conso.source SET retry_delay = '100 ms'")
    session.ask("UPDATE rappel_conso.stream SET paused = false")


def faults(api):
    """Faults for the next export: they all pass at a retry."""
    control(api, {"faults": [
        {"fault": "cut", "on": "export", "lines": 50},
        {"fault": "status", "on": "meta", "status": 502},
        {"fault": "interrupted", "on": "export", "lines": 90},
        {"fault": "garbage_line", "on": "export", "lines": 5,
         "text": "<html>"}]})


def rows_of(path):
    """Distinct keys of the sample."""
    return len({json.loads(line)["numero_fiche"].upper()
                for line in data.lines_of(path)})


def direct(world, api):
    print("== direct mode", flush=True)
    world.server.start()
    session = world.server.database("direct", api)
    source(session)
    lines = len(data.lines_of(data.SAMPLE))
    rows = rows_of(data.SAMPLE)
    sync(session, f"success|{lines}|{rows}|0|{lines - rows}|0")
    sync(session, "success|0|0|0|0|0")
    faults(api)
    control(api, {"touch": DATASET})
    session.ask("UPDATE rappel_conso.source SET fold_accents = false")
    answer = session.ask("SELECT state, dead FROM rc_sync_now()")
    if answer != "success|1":
        raise Failure(f"the run with faults gave {answer}")
    print(f"   run with faults: {answer}", flush=True)
    control(api, {"faults": []})
    session.close()


def kafka(world, api):
    print("== through Kafka", flush=True)
    with open(world.path("m"), "w", encoding="utf-8") as file:
        for at in range(MESSAGES):
            value = (f'{{"id": {at}, "label": "n\\u00e9 \\"{at}\\"", '
                     f'"tags": ["a", "{at}"], "rest": {{"x": [{at}, null]}}}}')
            if at % 50 == 7:
                value = BAD[at // 50 % len(BAD)]
            file.write(f"{at}\t{value}\n")
    world.kafka.create_topic("messages", 2)
    world.kafka.produce("messages", world.path("m"), "h=1", "h=2")
    world.server.start(world.kafka.brokers)
    session = world.server.database("kafka", api)
    source(session)
    lines = len(data.lines_of(data.SAMPLE))
    rows = rows_of(data.SAMPLE)
    sync(session, f"success|{lines}|{rows}|0|{lines - rows}|0")
    session.ask(STREAMS)
    session.ask("SELECT rc_start()")
    session.wait("SELECT coalesce(sum(next_offset), 0) = "
                 f"{3 * MESSAGES} FROM rappel_conso.stream_offset "
                 "WHERE topic = 'messages'")
    print("   streams: " + session.ask(
        "SELECT string_agg(stream || ' ' || n, ', ' ORDER BY stream) "
        "FROM (SELECT stream, count(*) AS n FROM seen GROUP BY 1) s"
        ).replace("\n", " "), flush=True)
    print("   dead letters: " + session.ask(
        "SELECT string_agg(sqlstate || ' ' || n, ', ' ORDER BY sqlstate) "
        "FROM (SELECT sqlstate, count(*) AS n FROM rappel_conso.dead_letter "
        "GROUP BY 1) d"), flush=True)
    sync(session, f"success|{lines}|0|0|{lines}|0", full=True)
    session.ask("SELECT rc_seek('typed', 'earliest')")
    session.wait("SELECT count(*) = 1 FROM rappel_conso.stream_offset "
                 "WHERE stream = 'typed' AND seek_to IS NULL AND next_offset "
                 f"> 0 GROUP BY stream HAVING sum(next_offset) = {MESSAGES}"
                 .replace("count(*) = 1", "true"))
    session.ask("SELECT rc_stop()")
    session.close()


def text(element, name):
    found = element.find(name)
    return found.text if found is not None and found.text else ""


def errors_of(path):
    """(kind, what, frames) of the errors that have a frame of ours."""
    try:
        root = xml.etree.ElementTree.parse(path).getroot()
    except xml.etree.ElementTree.ParseError as error:
        # a process that was killed leaves half a file
        yield "unreadable", f"{os.path.basename(path)}: {error}", []
        return
    for error in root.iter("error"):
        frames = [(os.path.basename(text(frame, "obj")),
                   text(frame, "fn") or text(frame, "ip"),
                   text(frame, "file"), text(frame, "line"))
                  for frame in error.find("stack").iter("frame")]
        if any(frame[0] == OURS for frame in frames):
            what = text(error, "what") or text(error.find("xwhat"), "text")
            yield text(error, "kind"), what, frames


def report(folder):
    """Print what was found, each place once; the number of places."""
    files = sorted(name for name in os.listdir(folder)
                   if name.endswith(".xml"))
    found = {}
    for name in files:
        for kind, what, frames in errors_of(os.path.join(folder, name)):
            found.setdefault((kind, tuple(frames)), [what, 0])[1] += 1
    for (kind, frames), (what, count) in found.items():
        print(f"\n{kind} ({count} times): {what}")
        for obj, function, file, line in frames[:FRAMES]:
            print(f"    {function} ({file}:{line})" if file else
                  f"    {function} ({obj})")
    print(f"\nvalgrind: {len(files)} processes, {len(found)} errors that the "
          "extension has a part in")
    return len(found)


def main():
    parser = argparse.ArgumentParser()
    for name in ("bindir", "data", "work"):
        parser.add_argument(f"--{name}", required=True)
    options = parser.parse_args()
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    folder = os.path.join(options.work, "xml")
    os.mkdir(folder)
    world = World(options.bindir, options.work,
                  [*COMMAND, f"--xml-file={folder}/%p.xml"])
    try:
        api = world.api(data.SAMPLE)
        direct(world, api)
        kafka(world, api)
    except Failure as error:
        print(f"valgrind: {error}\n{world.server.log_end()}", file=sys.stderr)
        return 1
    finally:
        world.close()
    return 1 if report(folder) else 0


if __name__ == "__main__":
    sys.exit(main())
