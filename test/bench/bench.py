# bench.py
#     The benchmarks: what workers spend on their records, beside what COPY spends
#     on the same rows, and beside another build where one is given.
#
# It must not judge by wall-clock time where CPU seconds can be had; what is
# compared is of one run.  Measurements are in measure.py, the table in
# report.py, and each part in a file of its own.

import argparse
import ctypes
import os
import signal
import sys
import time

import data
import growth
import latency
import made_up
import outbox
import recalls
import report
import search
import sensors
from measure import MB, Bench
from server import Failure, Session, World

PARTS = {"sensors": sensors.run, "recalls": recalls.run, "outbox": outbox.run,
         "latency": latency.run, "search": search.run, "growth": growth.run}
USUAL = ("sensors", "recalls", "outbox", "latency", "search")

# Numbers of records, and of the same in a quick run that shows only whether the
# benchmarks work.
SIZES = {"sensor-rows": (1000000, 20000, "sensor messages"),
         "bad-rows": (300000, 20000, "of those with bad records"),
         "rows": (100000, 2000, "recalls in the topic"),
         "direct-rows": (40000, 1000, "recalls in direct mode"),
         "sync-rows": (10000, 500, "recalls of whole syncs"),
         "publish-rows": (50000, 2000, "calls of rc_publish()"),
         "outbox-rows": (100000, 2000, "events to an output topic"),
         "events": (1000, 100, "events of which each is looked at"),
         "load-rows": (1000000, 50000, "messages that show what full load is"),
         "load-seconds": (10, 2, "how long half of it lasts"),
         "idle-seconds": (30, 2, "how long a worker is watched"),
         "search-rows": (200000, 12000, "recalls to search in"),
         "growth-rows": (10000000, 40000, "sensor messages of the longest topic"),
         "growth-bytes": (50 * MB, 2 * MB, "of the messages of each size")}


def parse():
    parser = argparse.ArgumentParser(
        prog="test/bench/run [--no-install] [--base REVISION]",
        description="Measures the extension in a private server.")
    parser.add_argument("parts", nargs="*", metavar="PART",
                        help=f"{', '.join(PARTS)}; by default "
                        f"{', '.join(USUAL)}")
    parser.add_argument("--pairs", type=int, metavar="N",
                        help="how often each is measured (5)")
    parser.add_argument("--quick", action="store_true",
                        help="one pair, and few records: shows that it works")
    for name, (usual, _, words) in SIZES.items():
        parser.add_argument(f"--{name}", type=int, metavar="N",
                            help=f"{words} ({usual})")
    parser.add_argument("--rate", type=int, default=100,
                        help="events a second (%(default)s)")
    parser.add_argument("--setting", action="append", default=[],
                        metavar="LINE", help="a line of postgresql.conf, such "
                        "as \"rappel_conso.fast_paths = ''\"")
    parser.add_argument("--wait", action="store_true",
                        help="wait for Enter before all ends, to look around")
    for name in ("bindir", "data", "work"):
        parser.add_argument(f"--{name}", required=True,
                            help=argparse.SUPPRESS)
    for name in ("base", "base-name", "name"):
        parser.add_argument(f"--{name}", help=argparse.SUPPRESS)
    options = parser.parse_args()
    unknown = [part for part in options.parts if part not in PARTS]
    if unknown:
        parser.error(f"no such part: {', '.join(unknown)}")
    options.parts = options.parts or list(USUAL)
    options.pairs = options.pairs or (1 if options.quick else 5)
    for name, (usual, quick, _) in SIZES.items():
        name = name.replace("-", "_")
        if getattr(options, name) is None:
            setattr(options, name, quick if options.quick else usual)
    return options


def stop(number, frame):
    sys.exit(1)


def versions(server):
    """Of the server and the libraries."""
    session = Session(server, "postgres")
    version = session.ask("SHOW server_version")
    session.close()
    texts = [f"PostgreSQL {version}"]
    for name, function in (("librdkafka.so.1", "rd_kafka_version_str"),
                           ("libcurl.so.4", "curl_version")):
        call = getattr(ctypes.CDLL(name), function)
        call.restype = ctypes.c_char_p
        text = call().decode().split()[0]
        texts.append(text if "/" in text
                     else f"{name.partition('.')[0]} {text}")
    return ", ".join(texts)


def print_head(options, world):
    recorded = data.recorded(options.data)
    print(f"machine: {report.machine()}")
    print(f"versions: {versions(world.server)}")
    print(f"measured: {options.name or 'this tree'}; base: "
          f"{options.base_name or 'none'}")
    print("recalls: " + (f"recorded ones, {os.path.basename(recorded)}"
                         if recorded else f"made up, seed {made_up.SEED}, with "
                         "texts as long as those of real ones"))
    if options.setting:
        print(f"settings: {'; '.join(options.setting)}")
    print(f"{options.pairs} pairs; parts: {' '.join(options.parts)}",
          flush=True)


def memory(bench):
    """A row for the worker with the greatest memory of all."""
    peaks = {who: max(found.values()) / MB
             for who, found in bench.report.peaks.items() if found}
    if "ours" in peaks:
        found = bench.report.peaks["ours"]
        worst = max(found, key=found.get)
        bench.report.head("memory")
        bench.report.memory(f"RssAnon of any worker (here: {worst})",
                            peaks["ours"], peaks.get("base"))


def main():
    options = parse()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, stop)
    os.environ["no_proxy"] = os.environ["NO_PROXY"] = "127.0.0.1,localhost"
    results = report.Report()
    begin, before = time.monotonic(), report.load()
    world = World(options.bindir, options.work, base=options.base)
    bench = Bench(world, options, results)
    try:
        world.write_wal()
        print_head(options, world)
        print(f"load average before: {before}", flush=True)
        for part in options.parts:
            PARTS[part](bench)
        memory(bench)
        if options.wait:
            input(f"\n{options.work} (Enter ends it) ")
    except Failure as error:
        print(f"bench: {error}\n{world.server.log_end()}", file=sys.stderr)
        return 1
    finally:
        bench.stop()
        world.close()
    print(f"\n{results.table()}\n")
    print(f"load average before: {before}; after: {report.load()}; "
          f"{(time.monotonic() - begin) / 60:.0f} minutes")
    results.write_csv(world.path("bench.csv"))
    for path in results.missed:
        print(f"MISSED: {path}")
    return 1 if results.missed else 0


if __name__ == "__main__":
    sys.exit(main())
