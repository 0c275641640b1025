# faults.py
#     The faults that the stand-in of the Explore API can be told to show, and
#     the requests that it holds until it is told to go on.
#
# It must not know HTTP: it says which fault meets a request, explore_api.py
# acts it out.
#
# A fault is an object (in JSON; on the command line also as k=v,k=v):
#
#   fault     its kind, see below
#   on        meta, count, records, export or any (default any)
#   dataset   only requests for this one (default: all)
#   skip      leave that many matching requests alone first (default 0)
#   times     then meet that many (default 1; 0 forever)
#   lines     k: for faults inside an export, after that many lines (default 0)
#
# kinds and what they take besides:
#
#   status         status; body: json, html, empty, or any text; headers
#                  (an object), content_type; reset_time (429).  Without a body
#                  500 and above are HTML, the others the API's JSON
#   redirect       location, status (302)
#   drop           close without an answer
#   hang           no answer until released
#   cut            k lines and half of the next one, then close
#   interrupted    k lines, then the API's "Streaming interrupted" line; message
#   hang_after     k lines, then nothing until released
#   gate           the same, for tests that act in the middle of an export
#   slow           rate bytes a second (1) for the first bytes bytes (all) that
#                  follow line k
#   garbage_line   line k (from 0) replaced by text, or base64
#   extra_lines    text or base64, given as it is before line k
#   close          k lines and a piece of the next one in an answer of HTTP/1.0,
#                  which the end of the connection ends; bytes: how long the
#                  piece is (half; -1: all but its line break)
#   short          the same with a Content-Length that ends there
#   gzip_cut       the same in a gzip stream that does not end, though the answer
#                  does; trim: of all lines, a whole stream but for its last
#                  bytes, so many
#   members        all lines, compressed by k at a time (1); then base64
#   bom            all lines behind the mark of UTF-8
#   array          all lines as one JSON array, an element in each
#   encoding       all lines, said to be encoded as text
#
# An answer that is not an export has no lines: cut and hang_after send half of
# it, garbage_line and extra_lines put their bytes in its place.

import base64
import json
import threading

KINDS = ("status", "redirect", "drop", "hang", "cut", "interrupted",
         "hang_after", "gate", "slow", "garbage_line", "extra_lines",
         "close", "short", "gzip_cut", "members", "bom", "array", "encoding")
PLACES = ("meta", "count", "records", "export", "any")
INTEGERS = ("skip", "times", "lines", "status", "bytes", "trim")


def parse(spec):
    """A fault from the command line: JSON, or k=v,k=v."""
    if spec.lstrip().startswith("{"):
        return json.loads(spec)
    result = {}
    for pair in spec.split(","):
        key, _, value = pair.partition("=")
        key = key.strip()
        if key in INTEGERS:
            value = int(value)
        elif key == "rate":
            value = float(value)
        result[key] = value
    return result


class Fault:
    def __init__(self, spec):
        self.spec = spec
        self.kind = spec.get("fault")
        self.on = spec.get("on", "any")
        if self.kind not in KINDS:
            raise ValueError(f"no such fault: {self.kind}")
        if self.on not in PLACES:
            raise ValueError(f"no such kind of request: {self.on}")
        self.dataset = spec.get("dataset")
        self.skip = int(spec.get("skip", 0))
        self.times = int(spec.get("times", 1))
        self.lines = int(spec.get("lines", 0))
        self.met = 0

    def takes(self, place, dataset):
        """Whether this fault meets a request; counts it."""
        if self.on not in ("any", place):
            return False
        if self.dataset not in (None, dataset):
            return False
        if self.skip > 0:
            self.skip -= 1
            return False
        if self.times > 0 and self.met >= self.times:
            return False
        self.met += 1
        return True

    def get(self, name, default=None):
        return self.spec.get(name, default)

    def data(self):
        """The bytes that the fault puts in."""
        if "base64" in self.spec:
            return base64.b64decode(self.spec["base64"])
        return self.spec.get("text", "<html>rubbish</html>").encode("utf-8")


class Faults:
    """The faults in force and the requests held; for all threads."""

    def __init__(self, specs):
        self.changed = threading.Condition()
        self.released = 0
        self.held = 0
        self.faults = [Fault(spec) for spec in specs]

    def set(self, specs):
        faults = [Fault(spec) for spec in specs]
        with self.changed:
            self.faults = faults

    def add(self, specs):
        faults = [Fault(spec) for spec in specs]
        with self.changed:
            self.faults = self.faults + faults

    def take(self, place, dataset):
        """The fault that meets this request, or None."""
        with self.changed:
            for fault in self.faults:
                if fault.takes(place, dataset):
                    return fault
        return None

    def release(self):
        """Let all requests go on that are held now."""
        with self.changed:
            self.released += 1
            self.changed.notify_all()

    def hold(self, gone):
        """Wait for a release; False if gone() says that the client left."""
        with self.changed:
            mine = self.released
            self.held += 1
            self.changed.notify_all()
            try:
                while self.released == mine:
                    if gone():
                        return False
                    self.changed.wait(0.02)
                return True
            finally:
                self.held -= 1
                self.changed.notify_all()

    def wait_held(self, count, timeout):
        """Wait until so many requests are held; whether they are."""
        with self.changed:
            return self.changed.wait_for(lambda: self.held >= count, timeout)
