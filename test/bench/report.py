# report.py
#     What was measured, pair by pair, and the one table of it.
#
# It must not measure anything.  A ratio is the median of the ratios of pairs:
# what was measured at one time is compared, since a machine's speed varies.

import csv
import os
import platform
import statistics
import sys
from typing import NamedTuple

HEAD = ("path", "CPU us/row", "COPY's", "ratio", "base's", "wall s", "COPY's",
        "base's", "required", "met")


MEMORY_LIMIT = 100              # MB, RssAnon of any worker


class Spent(NamedTuple):
    """Of a path, once: seconds of CPU and of wall-clock time."""
    cpu: float
    wall: float


class Pairs:
    """What was spent on one path by us, by COPY and by the base, each time."""

    def __init__(self, path, rows):
        self.path = path
        self.rows = rows
        self.spent = {"ours": [], "COPY": [], "base": []}

    def add(self, who, spent):
        self.spent[who].append(spent)

    def ratio(self, who, to, field):
        """Median of the ratios of pairs; None where there are none."""
        both = list(zip(self.spent[who], self.spent[to]))
        if not both:
            return None
        return statistics.median(getattr(one, field) / getattr(other, field)
                                 for one, other in both)

    def median(self, who, field):
        spent = self.spent[who]
        return statistics.median(getattr(one, field) for one in spent) \
            if spent else None

    def per_row(self, who):
        """Microseconds of CPU; None where none was measured."""
        cpu = self.median(who, "cpu")
        return cpu / self.rows * 1e6 if cpu else None

    def last(self):
        """The newest pair in words, to show that work proceeds."""
        parts = []
        for who, spent in self.spent.items():
            if spent:
                one = spent[-1]
                cpu = one.cpu / self.rows * 1e6
                parts.append(f"{who} " + (f"{cpu:.2f} us, " if cpu else "")
                             + f"{one.wall:.2f} s")
        return f"{self.path}: {'; '.join(parts)}"


# ---- what is required: text, and whether it is met (None: nothing to say) ----

def nothing(_):
    return "", None


def copy_ratio(must):
    """COPY's CPU seconds divided by ours."""
    def require(pairs):
        ratio = pairs.ratio("COPY", "ours", "cpu")
        return f"ratio >= {must}", None if ratio is None else ratio >= must
    return require


def copy_wall(pairs):
    ratio = pairs.ratio("ours", "COPY", "wall")
    return "wall <= COPY's", None if ratio is None else ratio <= 1


def base_share(field, must):
    """Our seconds divided by those of the base."""
    def require(pairs):
        ratio = pairs.ratio("ours", "base", field)
        text = f"{field} <= {must} of base's"
        if ratio is None:
            return text, None
        return f"{text}: {ratio:.2f}", ratio <= must
    return require


def number(value, digits=2):
    return "" if value is None else f"{value:.{digits}f}"


class Report:
    def __init__(self):
        self.rows = []
        self.all = []
        self.missed = []
        self.peaks = {"ours": {}, "base": {}}   # RssAnon by worker

    def head(self, text):
        print(f"\n== {text}", flush=True)

    def line(self, text):
        print(f"   {text}", flush=True)

    def add(self, path, cells, required, met):
        answer = {None: "", True: "yes", False: "NO"}[met]
        self.rows.append((path, *cells, required, answer))
        if met is False:
            self.missed.append(path)

    def pairs(self, pairs, require=nothing):
        """A row of what was measured in pairs."""
        self.all.append(pairs)
        self.add(pairs.path, (
            number(pairs.per_row("ours")), number(pairs.per_row("COPY")),
            number(pairs.ratio("COPY", "ours", "cpu")),
            number(pairs.per_row("base")), number(pairs.median("ours", "wall")),
            number(pairs.median("COPY", "wall")),
            number(pairs.median("base", "wall"))), *require(pairs))

    def value(self, path, ours, base="", required="", met=None):
        """A row of something else than time per row, in words."""
        self.line(f"{path}: {ours}" + (f"; base {base}" if base else ""))
        self.add(path, (ours, "", "", base, "", "", ""), required, met)

    def memory(self, path, ours, base=None):
        """A row of a worker's private memory, in MB."""
        self.value(path, f"{ours:.0f} MB", "" if base is None
                   else f"{base:.0f} MB", f"< {MEMORY_LIMIT} MB",
                   ours < MEMORY_LIMIT)

    def peak(self, who, peaks):
        """Remember the greatest memory of each worker."""
        for name, size in peaks.items():
            known = self.peaks[who]
            known[name] = max(known.get(name, 0), size)

    def table(self):
        rows = [HEAD, *self.rows]
        widths = [max(len(row[at]) for row in rows) for at in range(len(HEAD))]
        lines = []
        for row in rows:
            cells = [cell.ljust(width) if at in (0, 8, 9) else cell.rjust(width)
                     for at, (cell, width) in enumerate(zip(row, widths))]
            lines.append(f"| {' | '.join(cells)} |")
        lines.insert(1, "|" + "|".join(
            "-" * (width + 1) + ("-" if at in (0, 8, 9) else ":")
            for at, width in enumerate(widths)) + "|")
        return "\n".join(lines)

    def write_csv(self, path):
        with open(path, "w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(("path", "who", "pair", "rows", "cpu_seconds",
                             "wall_seconds"))
            for pairs in self.all:
                for who, spent in pairs.spent.items():
                    for at, one in enumerate(spent, 1):
                        writer.writerow((pairs.path, who, at, pairs.rows,
                                         f"{one.cpu:.4f}", f"{one.wall:.4f}"))


def machine():
    """The processor, its cores and the memory."""
    model = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return (f"{model}, {os.cpu_count()} cores, {memory / 2 ** 30:.0f} GB; "
            f"Linux {platform.release()}, Python {sys.version.split()[0]}")


def load():
    return " ".join(f"{value:.1f}" for value in os.getloadavg())
