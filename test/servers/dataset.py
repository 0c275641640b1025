# dataset.py
#     A dataset of the stand-in of the Explore API: lines of JSON kept as they
#     will be sent, the types of their fields, and queries over them.
#
# It must not change a list of lines that a running export may be reading:
# every change makes new lists.

import datetime
import functools
import gzip
import json
import re
import threading

import odsql

DATE = re.compile(r"^\d{4}-\d\d-\d\d$")
DATETIME = re.compile(r"^\d{4}-\d\d-\d\dT\d\d:\d\d")
SAMPLE = 20000                  # lines looked at to find fields and types


def encode(record):
    """A record as a line; a text is a line as it is, whatever is in it."""
    if isinstance(record, str):
        return record.encode("utf-8") + b"\n"
    return json.dumps(record, ensure_ascii=False).encode("utf-8") + b"\n"


@functools.lru_cache(maxsize=1 << 15)
def decode(line):
    """The record of a line, not to be changed; an empty one if it is no object."""
    try:
        record = json.loads(line)
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def type_of(value):
    if isinstance(value, bool):
        return "text"
    if isinstance(value, int):
        return "int"
    if isinstance(value, float):
        return "double"
    if isinstance(value, str):
        if DATE.match(value):
            return "date"
        if DATETIME.match(value):
            return "datetime"
    return "text"


def guess_types(records):
    """Field names, in the order they are met, with the type of their values."""
    seen = {}
    for record in records:
        for name, value in record.items():
            kinds = seen.setdefault(name, set())
            if value is not None:
                kinds.add(type_of(value))
    types = {}
    for name, kinds in seen.items():
        if len(kinds) == 1:
            types[name] = kinds.pop()
        elif kinds == {"int", "double"}:
            types[name] = "double"
        elif kinds == {"date", "datetime"}:
            types[name] = "datetime"
        else:
            types[name] = "text"
    return types


class Dataset:
    """Lines, and what the API says of them.

    records_count and total_count, when set, are what the API claims instead
    of the truth.
    """

    def __init__(self, name, lines):
        self.name = name
        self.lock = threading.Lock()
        self.lines = lines
        self.columns = {}
        self.types = guess_types(decode(line) for line in lines[:SAMPLE])
        self.records_count = None
        self.total_count = None
        self.stamp = datetime.datetime(2026, 1, 1)
        self.touch()

    @classmethod
    def load(cls, name, path):
        opener = gzip.open if path.endswith(".gz") else open
        with opener(path, "rb") as file:
            lines = file.read().split(b"\n")
        return cls(name, [line + b"\n" for line in lines if line])

    def touch(self):
        """Move the dataset's times on, by a second at least."""
        now = datetime.datetime.now(datetime.timezone.utc)
        now = now.replace(microsecond=0, tzinfo=None)
        self.stamp = max(now, self.stamp + datetime.timedelta(seconds=1))

    def set_lines(self, lines):
        """Replace the lines; types of fields that are known stay."""
        with self.lock:
            types = guess_types(decode(line) for line in lines[:SAMPLE])
            self.types = {**types, **self.types}
            self.lines = lines
            self.columns = {}
            self.touch()

    def append(self, records):
        self.set_lines(self.lines + [encode(record) for record in records])

    def delete(self, where):
        """Take out the lines that the condition selects."""
        gone = set(self.select(where, None)[1])
        kept = [line for at, line in enumerate(self.lines) if at not in gone]
        self.set_lines(kept)
        return len(gone)

    def update(self, where, values):
        """Set fields of the lines that the condition selects."""
        changed = set(self.select(where, None)[1])
        self.set_lines([encode({**decode(line), **values})
                        if at in changed else line
                        for at, line in enumerate(self.lines)])
        return len(changed)

    def column(self, field):
        """All values of a field, comparable; under the lock."""
        if field not in self.columns:
            kind = self.types[field]
            self.columns[field] = [
                odsql.comparable(kind, decode(line).get(field))
                for line in self.lines]
        return self.columns[field]

    def select(self, where, order_by):
        """The lines, and the positions that a query gives, in its order."""
        condition = None
        order = []
        if where is not None and where.strip():
            condition = odsql.Condition(where, self.types)
        if order_by is not None and order_by.strip():
            order = odsql.parse_order(order_by, self.types)
        with self.lock:
            lines = self.lines
            places = range(len(lines))
            if condition:
                columns = [self.column(field) for field in condition.fields]
                rows = zip(*columns) if columns else (() for _ in lines)
                places = [at for at, row in zip(places, rows)
                          if condition.test(row) is True]
            for field, descending in reversed(order):
                places = self.sorted(places, self.column(field), descending)
        return lines, places

    @staticmethod
    def sorted(places, column, descending):
        """Places in the order of a column, nulls last, stable."""
        known = [at for at in places if column[at] is not None]
        known.sort(key=lambda at: column[at], reverse=descending)
        return known + [at for at in places if column[at] is None]

    def meta(self):
        """The body of the dataset's own page."""
        count = self.records_count
        stamp = self.stamp.isoformat() + "+00:00"
        return {
            "dataset_id": self.name,
            "dataset_uid": "da_" + self.name.replace("-", "")[:6],
            "attachments": [],
            "has_records": bool(self.lines),
            "data_visible": True,
            "features": ["analyze", "timeserie"],
            "metas": {"default": {
                "title": self.name,
                "modified": stamp,
                "data_processed": stamp,
                "records_count": len(self.lines) if count is None else count,
            }},
            "fields": [{"name": name, "label": name.replace("_", " "),
                        "type": kind, "description": None, "annotations": {}}
                       for name, kind in self.types.items()],
        }
