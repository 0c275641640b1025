#!/usr/bin/env python3
# chart.py
#     Draws growth.csv, which test/bench/growth.py writes, as an SVG.
#
# It must be read on a light and on a dark page: it has a ground of its own, whose
# colours follow the reader's settings, and draws with nothing but text, lines and
# points.
#
# usage: test/bench/chart.py growth.csv growth.svg
#        test/bench/chart.py --check growth.csv growth.svg
#                                             whether it is the picture of these
#        test/bench/chart.py --self-check     draws points of its own, and reads
#                                             the picture again

import csv
import io
import math
import sys
import xml.etree.ElementTree

WIDTH, HEIGHT = 900, 650        # of all; a panel has the rest of its cell
LEFT, RIGHT, TOP, BOTTOM = 70, 18, 62, 52
GAP = 40
POINT = 3.5
NEARLY = 0.02                   # of a power of ten, that an axis may lack
OURS, COPY = "ours", "copy"

STYLE = """
text { font: 13px system-ui, sans-serif; fill: #24292f }
.ground { fill: #ffffff; stroke: #d0d7de }
.grid { stroke: #d8dee4; stroke-width: 1 }
.title { font-weight: 600 }
.line { fill: none; stroke-width: 2 }
.ours { stroke: #0550ae } .copy { stroke: #bc4c00; stroke-dasharray: 6 4 }
.ours-point { fill: #0550ae } .copy-point { fill: #bc4c00 }
.ours-text { fill: #0550ae } .copy-text { fill: #bc4c00 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  .ground { fill: #0d1117; stroke: #30363d }
  .grid { stroke: #30363d }
  .ours { stroke: #79c0ff } .copy { stroke: #ffa657 }
  .ours-point, .ours-text { fill: #79c0ff }
  .copy-point, .copy-text { fill: #ffa657 }
}"""

# Of each panel: title, sweep, column that x is, its label, the columns of y
# with their line and name, the label of y, whether y grows by powers of ten.
COSTS = (("us_per_row", OURS), ("copy_us_per_row", COPY))
MEMORY = (("rss_mb", OURS),)
PANELS = (
    ("Number of records", "records", "rows", "records in the topic",
     COSTS, "CPU, \u00b5s per row", False),
    ("Size of messages", "bytes", "bytes", "bytes of a message",
     COSTS, "CPU, \u00b5s per row", True),
    ("Number of partitions", "partitions", "at", "partitions of the topic",
     COSTS, "CPU, \u00b5s per row", False),
    ("Memory", "records", "rows", "records in the topic",
     MEMORY, "RssAnon of the worker, MB", False),
)


def short(value):
    """A number as an axis shows it: 10 k, 0.5."""
    for size, unit in ((1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:g} {unit}"
    return f"{value:g}"


class Axis:
    """Where a value is drawn, and the marks beside it."""

    def __init__(self, values, first, last, powers):
        self.first, self.last, self.powers = first, last, powers
        if powers:
            self.low = math.floor(math.log10(min(values)) + 1e-9)
            self.high = max(math.ceil(math.log10(max(values)) - NEARLY),
                            self.low + 1)
            self.marks = [10.0 ** n for n in range(self.low, self.high + 1)]
        else:
            step = self.step(max(values))
            self.low, self.high = 0, step * math.ceil(max(values) / step)
            self.marks = [step * n for n in range(round(self.high / step) + 1)]

    @staticmethod
    def step(most):
        """A round number, of which four to eight reach the greatest value."""
        power = 10.0 ** math.floor(math.log10(most))
        return next(power * part for part in (0.2, 0.25, 0.5, 1, 2)
                    if most / (power * part) <= 6)

    def place(self, value):
        if self.powers:
            value = math.log10(value)
        share = (value - self.low) / (self.high - self.low)
        return self.first + share * (self.last - self.first)


def text(x, y, words, kind="", anchor="middle", more=""):
    words = words.replace("&", "&amp;").replace("<", "&lt;")
    style = f' class="{kind}"' if kind else ""
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{style}'
            f"{more}>{words}</text>")


def rule(x1, y1, x2, y2):
    return (f'<line class="grid" x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" '
            f'y2="{y2:.1f}"/>')


def panel(rows, box, title, sweep, column, x_label, lines, y_label, powers):
    """One of the small pictures; box: left, top, right, bottom of its cell."""
    rows = [row for row in rows if row["sweep"] == sweep]
    left, top, right, bottom = (box[0] + LEFT, box[1] + 32, box[2] - RIGHT,
                                box[3] - BOTTOM)
    out = [text((left + right) / 2, box[1] + 16, title, "title")]
    if not rows:
        return out + [text((left + right) / 2, (top + bottom) / 2,
                           "not measured")]
    x = Axis([float(row[column]) for row in rows], left, right, True)
    y = Axis([float(row[name]) for row in rows for name, _ in lines], bottom,
             top, powers)
    for mark in x.marks:
        out += [rule(x.place(mark), top, x.place(mark), bottom),
                text(x.place(mark), bottom + 18, short(mark))]
    for mark in y.marks:
        out += [rule(left, y.place(mark), right, y.place(mark)),
                text(left - 8, y.place(mark) + 4, short(mark), anchor="end")]
    out.append(text((left + right) / 2, bottom + 40, x_label))
    middle = (top + bottom) / 2
    out.append(text(box[0] + 16, middle, y_label, more=" transform=\"rotate("
                    f"-90 {box[0] + 16:.1f} {middle:.1f})\""))
    for name, kind in lines:
        points = [(x.place(float(row[column])), y.place(float(row[name])))
                  for row in rows]
        path = " ".join(f"{at:.1f},{to:.1f}" for at, to in points)
        out.append(f'<polyline class="line {kind}" points="{path}"/>')
        out += [f'<circle class="{kind}-point" cx="{at:.1f}" cy="{to:.1f}" '
                f'r="{POINT}"/>' for at, to in points]
    return out


def draw(rows):
    """The picture, as text."""
    words = ("What a row costs as topics grow: CPU time and memory of one "
             "worker, and of COPY")
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} '
           f'{HEIGHT}" role="img" aria-label="{words}">',
           f"<title>{words}</title>", f"<style>{STYLE}\n</style>",
           f'<rect class="ground" x="0.5" y="0.5" width="{WIDTH - 1}" '
           f'height="{HEIGHT - 1}" rx="6"/>']
    for at, kind, name in ((LEFT, OURS, "worker, all its threads"),
                           (LEFT + 230, COPY, "COPY of the same rows")):
        out += [f'<line class="line {kind}" x1="{at}" y1="28" x2="{at + 34}" '
                'y2="28"/>',
                text(at + 42, 32, name, f"{kind}-text", "start")]
    width, height = (WIDTH - GAP / 2) / 2, (HEIGHT - TOP) / 2
    for number, one in enumerate(PANELS):
        across, down = number % 2, number // 2
        box = (across * (width + GAP / 4), TOP + down * height,
               across * (width + GAP / 4) + width, TOP + (down + 1) * height)
        out += panel(rows, box, *one)
    return "\n".join(out + ["</svg>", ""])


def self_check():
    """Each point of a file is in the picture, at its place."""
    head = ("sweep,at,rows,bytes,us_per_row,copy_us_per_row,wall_seconds,"
            "copy_wall_seconds,rss_mb\n")
    lines = ["records,10000,10000,150,2.5,3,1,1,40",
             "records,100000,100000,150,2.4,3,1,1,44",
             "bytes,100,1000,117,2,3,1,1,40", "bytes,1000,1000,1004,20,30,1,1,41",
             "partitions,1,1000,150,2,3,1,1,40",
             "partitions,1000,1000,150,4,3,1,1,42"]
    for wanted in (lines, lines[:3], lines[4:]):
        rows = list(csv.DictReader(io.StringIO(head + "\n".join(wanted))))
        root = xml.etree.ElementTree.fromstring(draw(rows))
        tag = "{http://www.w3.org/2000/svg}"
        points = root.findall(f"{tag}circle")
        count = sum(len(lines_of) for _, sweep, _, _, lines_of, _, _ in PANELS
                    for row in rows if row["sweep"] == sweep)
        inside = all(0 < float(point.get("cx")) < WIDTH
                     and TOP < float(point.get("cy")) < HEIGHT
                     for point in points)
        if len(points) != count or not inside:
            sys.exit(f"chart: {len(points)} points are drawn of {count}")
    axis = Axis([2.4, 3], 100, 0, False)
    if (axis.place(0), axis.place(axis.high), axis.high >= 3) != (100, 0, True):
        sys.exit("chart: an axis does not begin and end where it should")


def main():
    if sys.argv[1:] == ["--self-check"]:
        self_check()
        return
    *check, source, target = sys.argv[1:] if len(sys.argv) > 2 else ["", "", ""]
    if check not in ([], ["--check"]):
        sys.exit("usage: chart.py [--check] growth.csv growth.svg")
    with open(source, encoding="ascii", newline="") as file:
        picture = draw(list(csv.DictReader(file)))
    if not check:
        with open(target, "w", encoding="utf-8") as file:
            file.write(picture)
        return
    with open(target, encoding="utf-8") as file:
        if file.read() != picture:
            sys.exit(f"{target}: not the picture of {source}; run "
                     f"test/bench/chart.py {source} {target}")


if __name__ == "__main__":
    main()
