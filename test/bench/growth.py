# growth.py
#     What a row costs as a topic, its messages or the number of its partitions
#     grow: typed sensor messages, one worker, COPY beside each point.
#
# It writes growth.csv, which chart.py draws; it must not draw anything, nor
# take more of the disk than the longest topic needs.

import csv

import sensors
from measure import MB, Bench
from report import Pairs

DATABASE = "growth"
FIRST_ROWS = 10000
SIZES = (100, 1000, 10000, 100000, 1000000)     # bytes of a message
PARTITIONS = (1, 10, 100, 1000)
FLAT = 1.1                      # the most that a point may be of one before it
MEASURED_FROM = 100000          # rows: below, starting a worker is most of it
HEAD = ("sweep", "at", "rows", "bytes", "us_per_row", "copy_us_per_row",
        "wall_seconds", "copy_wall_seconds", "rss_mb")


class Sweep:
    """Points of one sweep, and the rows of the file."""

    def __init__(self, bench, writer, session):
        self.bench = bench
        self.writer = writer
        self.session = session
        self.points = []

    def point(self, sweep, at, rows, size=0, partitions=4, repeat=1):
        """Measure one point, as often as it needs to be seen."""
        bench = self.bench
        messages, copied = bench.files("g", "g.copy")
        topic = f"{sweep}_{at}"
        bench.sensors(topic, messages, rows, copied, partitions=partitions,
                      size=size)
        with open(messages, "rb") as file:
            _, _, value = file.readline().rstrip(b"\n").partition(b"\t")
        bench.world.drop_files("g")
        pairs = Pairs(f"{sweep} {at}", rows)
        bench.take_memory()
        for n in range(repeat):
            name = f"{topic}_{n}"
            self.session.ask(f"TRUNCATE {sensors.TABLE}")
            bench.stream(self.session, name, topic, sensors.TYPED.format(
                table=sensors.TABLE), "sensor_message")
            pairs.add("ours", bench.consume(self.session, name, rows))
            bench.drop_stream(self.session, name)
            pairs.add("COPY", bench.copy(self.session, DATABASE, sensors.TABLE,
                                         copied, compare=False))
        peaks = bench.ours.sampler.take()
        bench.report.peak("ours", peaks)
        rss = max(size for worker, size in peaks.items()
                  if topic in worker) / MB
        bench.world.kafka.delete_topics(topic)
        bench.world.drop_files("g.copy")
        self.points.append((pairs, rss))
        bench.report.line(f"{pairs.last()}; RssAnon {rss:.0f} MB")
        self.writer.writerow((
            sweep, at, rows, len(value), f"{pairs.per_row('ours'):.4f}",
            f"{pairs.per_row('COPY'):.4f}",
            f"{pairs.median('ours', 'wall'):.3f}",
            f"{pairs.median('COPY', 'wall'):.3f}", f"{rss:.1f}"))

    def take(self):
        points, self.points = self.points, []
        return points


def run(bench):
    bench.report.head("growth: typed, 1 worker")
    alone = Bench(bench.world, bench.options, bench.report)
    alone.sides = alone.sides[:1]
    alone.start()
    session = alone.ours.server.database(DATABASE)
    session.ask(sensors.TABLES)
    with open(bench.world.path("growth.csv"), "w", encoding="ascii",
              newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEAD)
        sweep = Sweep(alone, writer, session)
        records(sweep, bench.options.growth_rows)
        for size in SIZES:
            sweep.point("bytes", size, max(20, bench.options.growth_bytes
                                           // max(size, 200)), size,
                        repeat=bench.options.pairs)
        sweep.take()
        most = min(bench.options.growth_rows, 1000000)
        for partitions in PARTITIONS:
            sweep.point("partitions", partitions, most, partitions=partitions,
                        repeat=bench.options.pairs)
    alone.drop_database(alone.ours, session, DATABASE)
    alone.stop()


def records(sweep, most):
    """From few records to many: cost per row and memory stay as they are."""
    rows = FIRST_ROWS
    while rows <= most:
        # the small ones often: a tick of the clock is a part of them
        sweep.point("records", rows, rows, repeat=max(
            1, min(sweep.bench.options.pairs, most // rows)))
        rows *= 10
    points = [(pairs, rss) for pairs, rss in sweep.take()
              if pairs.rows >= min(MEASURED_FROM, rows // 10)]
    costs = [pairs.per_row("ours") for pairs, _ in points]
    memory = [rss for _, rss in points]
    report = sweep.bench.report
    required = f"flat within {FLAT - 1:.0%}"
    report.value(f"us/row, {points[0][0].rows} to {points[-1][0].rows} records",
                 f"{min(costs):.2f} to {max(costs):.2f} us", "", required,
                 growth(costs) <= FLAT)
    report.value("RssAnon, the same", f"{min(memory):.0f} to "
                 f"{max(memory):.0f} MB", "", required,
                 growth(memory) <= FLAT)


def growth(values):
    """The most that a value is of the least one before it."""
    return max(value / min(values[:at + 1]) for at, value in enumerate(values))
