#!/usr/bin/env python3
# explore_api.py
#     A stand-in for the Opendatasoft Explore API v2.1, for tests and the demo:
#     it serves datasets from files, and can be told to fail in every way that
#     the real API has been seen to fail.
#
# It must not need anything but Python's standard library, and must not answer
# what the real API would refuse.
#
# usage: explore_api.py [--port P] --dataset ID=FILE.jsonl[.gz] ... [options]
#
# It prints "PORT n" when it can be asked, and ends at SIGTERM, or at the end of
# its standard input with --stdin-eof.  Each --listen HOST[=FILE] is one more
# address that it answers at, by TLS if FILE is given, which holds certificate
# and key and is read at each connection; their ports follow n.  Endpoints under
# /api/explore/v2.1:
#
#   GET /catalog/datasets/ID                    metas, fields and their types
#   GET /catalog/datasets/ID/records            where, order_by, select, limit,
#                                               offset
#   GET /catalog/datasets/ID/exports/jsonl      the same, streamed
#
# Steering it while it runs, for tests:
#
#   GET /_control/log      the requests so far, as a JSON array; one that is
#                          still being answered has "complete": null
#   GET /_control/state    {"held": requests held by a fault, "datasets": ..}
#   POST /_control         a JSON object; its members are done in this order:
#     reset: true          datasets, faults and log as at the start
#     faults: [..]         these faults instead of those in force (faults.py)
#     fault: {..}          one more
#     replace, append: {dataset, records: [..]}    a text is a line as it is
#     load: {dataset, file}
#     delete: {dataset, where}          update: {dataset, where, set: {..}}
#     drop: ID                          touch: ID (new times, same records)
#     lie: {dataset, records_count, total_count}   null: the truth again
#     rate: {limit, remaining}
#     release: true        let the requests go on that are held
#     wait_held: {count, timeout}       answers when so many are held
#     clear_log: true

import argparse
import datetime
import gzip
import http.server
import json
import os
import select
import signal
import socket
import ssl
import sys
import threading
import time
import urllib.parse
import zlib

import dataset
import faults
import odsql
import tls

ROOT = "/api/explore/v2.1/catalog/datasets/"
WINDOW = 10000                  # the most that offset + limit may be
PAGE = 100                      # the most that limit may be on a page
HTML = "text/html; charset=utf-8"
JSON = "application/json; charset=utf-8"
JSONL = "application/jsonl; charset=utf-8"

FIREWALL_PAGE = """<!DOCTYPE html>
<html><head><title>Access denied</title></head>
<body><h1>This request was blocked</h1></body></html>
"""
GATEWAY_PAGE = """<html>
<head><title>{status} {reason}</title></head>
<body><center><h1>{status} {reason}</h1></center></body>
</html>
"""

# What a client meets that does not say who it is.
FIREWALL = faults.Fault({"fault": "status", "status": 403, "body": "html"})


class ApiError(Exception):
    """An answer that is not 200, with the API's code and words."""

    def __init__(self, status, code, message):
        super().__init__(message)
        self.status = status
        self.body = {"error_code": code, "message": message}


def next_midnight():
    day = datetime.datetime.now(datetime.timezone.utc).date()
    return day + datetime.timedelta(days=1)


class Site:
    """What all requests share: datasets, faults, the quota and the log."""

    def __init__(self, options):
        self.options = options
        self.lock = threading.Lock()
        self.log_file = open(options.log, "a", buffering=1,
                             encoding="utf-8") if options.log else None
        self.faults = faults.Faults([])
        self.reset()

    def reset(self):
        sets = {}
        for pair in self.options.dataset:
            name, _, path = pair.partition("=")
            sets[name] = dataset.Dataset.load(name, path)
        self.faults.set([faults.parse(s) for s in self.options.fault])
        with self.lock:
            self.datasets = sets
            self.limit = self.remaining = self.options.rate_limit
            self.log = []

    def begin(self, entry):
        with self.lock:
            self.log.append(entry)

    def end(self, entry, complete):
        with self.lock:
            entry["complete"] = complete
            if self.log_file:
                json.dump(entry, self.log_file, ensure_ascii=False)
                self.log_file.write("\n")

    def spend(self):
        """Count a request; whether the quota allows it."""
        with self.lock:
            allowed = self.remaining > 0
            self.remaining = max(0, self.remaining - 1)
            return allowed

    def find(self, name):
        found = self.datasets.get(name)
        if found is None:
            raise ApiError(404, "NotFoundResource",
                           f"The requested dataset {name} does not exist.")
        return found

    def control(self, order):
        """Do what POST /_control asks; returns the answer."""
        answer = {"ok": True}
        if order.get("reset"):
            self.reset()
        if "faults" in order:
            self.faults.set(order["faults"])
        if "fault" in order:
            self.faults.add([order["fault"]])
        self.control_data(order, answer)
        if "rate" in order:
            with self.lock:
                self.limit = order["rate"].get("limit", self.limit)
                self.remaining = order["rate"].get("remaining", self.limit)
        if order.get("release"):
            self.faults.release()
        if "wait_held" in order:
            wait = order["wait_held"]
            answer["ok"] = self.faults.wait_held(wait.get("count", 1),
                                                 wait.get("timeout", 60))
        if order.get("clear_log"):
            with self.lock:
                self.log = []
        return answer

    def control_data(self, order, answer):
        """The part of control() that changes datasets."""
        if "replace" in order:
            name = order["replace"]["dataset"]
            lines = [dataset.encode(r) for r in order["replace"]["records"]]
            if name in self.datasets:
                self.datasets[name].set_lines(lines)
            else:
                self.datasets[name] = dataset.Dataset(name, lines)
        if "load" in order:
            name = order["load"]["dataset"]
            self.datasets[name] = dataset.Dataset.load(
                name, order["load"]["file"])
        if "append" in order:
            self.find(order["append"]["dataset"]).append(
                order["append"]["records"])
        if "delete" in order:
            answer["deleted"] = self.find(order["delete"]["dataset"]).delete(
                order["delete"].get("where"))
        if "update" in order:
            update = order["update"]
            answer["updated"] = self.find(update["dataset"]).update(
                update.get("where"), update["set"])
        if "drop" in order:
            self.datasets.pop(order["drop"], None)
        if "touch" in order:
            self.find(order["touch"]).touch()
        if "lie" in order:
            lied = self.find(order["lie"]["dataset"])
            for what in ("records_count", "total_count"):
                if what in order["lie"]:
                    setattr(lied, what, order["lie"][what])


class Body:
    """The body of an answer on its way: chunked, compressed, slowed."""

    def __init__(self, handler, chunked, compressed):
        self.handler = handler
        self.chunked = chunked
        self.compressor = zlib.compressobj(1, wbits=31) if compressed else None
        self.rate = None        # bytes a second, for slow_bytes; None: no limit
        self.slow_bytes = 0

    def write(self, data):
        if self.compressor:
            data = self.compressor.compress(data)
        self.send(data)

    def flush(self):
        """Have everything written so far on the wire."""
        if self.compressor:
            self.send(self.compressor.flush(zlib.Z_SYNC_FLUSH))

    def finish(self):
        if self.compressor:
            self.send(self.compressor.flush())
        if self.chunked:
            self.raw(b"0\r\n\r\n")

    def send(self, data):
        if not data:
            return
        if self.chunked:
            data = b"%x\r\n%b\r\n" % (len(data), data)
        while self.rate and self.slow_bytes > 0 and data:
            step = max(1, min(int(self.rate / 20), self.slow_bytes))
            self.raw(data[:step])
            self.handler.wfile.flush()
            self.slow_bytes -= step
            data = data[step:]
            time.sleep(step / self.rate)
        if data:
            self.raw(data)

    def raw(self, data):
        self.handler.wfile.write(data)
        self.handler.entry["bytes"] += len(data)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = 1 << 16
    site = None                 # set by main()

    def log_message(self, *args):
        pass                    # the log is ours, see Site.begin()

    # ---- the two ways in ----

    def do_POST(self):
        length = int(self.headers.get("Content-Length") or 0)
        try:
            if self.path != "/_control":
                raise ApiError(404, "NotFoundResource", "no such page")
            order = json.loads(self.rfile.read(length))
            self.plain_json(200, self.site.control(order))
        except (ApiError, odsql.OdsqlError, KeyError, TypeError,
                OSError, ValueError) as error:
            self.plain_json(400, {"ok": False, "error": str(error)})

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        if url.path == "/_control/log":
            with self.site.lock:
                self.plain_json(200, self.site.log)
            return
        if url.path == "/_control/state":
            self.plain_json(200, {
                "held": self.site.faults.held,
                "datasets": {name: len(found.lines) for name, found
                             in self.site.datasets.items()}})
            return
        self.query = dict(urllib.parse.parse_qsl(url.query,
                                                 keep_blank_values=True))
        self.entry = {
            "time": datetime.datetime.now().isoformat(),
            "path": url.path, "query": self.query, "kind": None,
            "status": None, "bytes": 0, "complete": None, "fault": None,
            "user_agent": self.headers.get("User-Agent"),
            "accept_encoding": self.headers.get("Accept-Encoding"),
            "host": self.headers.get("Host"),
            "authorization": self.headers.get("Authorization"),
            "proxy_authorization": self.headers.get("Proxy-Authorization")}
        self.site.begin(self.entry)
        complete = False
        try:
            complete = self.answer(url.path)
            self.wfile.flush()
        except (BrokenPipeError, ConnectionResetError):
            complete = False
        if not complete:
            self.close_connection = True
        self.site.end(self.entry, complete)

    def answer(self, path):
        """Answer one request of the API; False if it was left unfinished."""
        try:
            name, kind = self.route(path)
            self.entry["kind"] = kind
            fault = self.site.faults.take(kind, name)
            allowed = self.site.spend()
            if fault:
                self.entry["fault"] = fault.kind
                done = self.fault_first(fault)
                if done is not None:
                    return done
            if not allowed:
                return self.too_many({})
            if not self.headers.get("User-Agent"):
                return self.status_fault(FIREWALL)
            self.check_key()
            found = self.site.find(name)
            if kind == "meta":
                return self.json(200, found.meta(), fault)
            if kind == "export":
                return self.export(found, fault)
            return self.json(200, self.page(found), fault)
        except odsql.OdsqlError as error:
            return self.json(400, {"error_code": error.code,
                                   "message": error.message})
        except ApiError as error:
            return self.json(error.status, error.body)

    def route(self, path):
        """The dataset of a path and what is asked of it."""
        name, _, rest = path[len(ROOT):].partition("/")
        if path.startswith(ROOT) and name:
            name = urllib.parse.unquote(name)
            if rest == "":
                return name, "meta"
            if rest == "records":
                return name, ("count" if self.query.get("limit") == "0"
                              else "records")
            if rest == "exports/jsonl":
                return name, "export"
        raise ApiError(404, "NotFoundResource",
                       "The requested resource does not exist.")

    def check_key(self):
        key = self.site.options.apikey
        given = self.headers.get("Authorization")
        if key and given != "Apikey " + key:
            raise ApiError(401, "Unauthorized", "The API key is not valid.")

    # ---- faults that come before the answer ----

    def fault_first(self, fault):
        """Act out a fault; None if an answer is still to be given."""
        if fault.kind == "status":
            return self.status_fault(fault)
        if fault.kind == "redirect":
            return self.plain(fault.get("status", 302), HTML, b"",
                              {"Location": fault.get("location")})
        if fault.kind == "drop":
            return False
        if fault.kind == "hang" and not self.site.faults.hold(self.gone):
            return False
        return None

    def status_fault(self, fault):
        status = int(fault.get("status", 500))
        body = fault.get("body", "html" if status >= 500 else "json")
        headers = fault.get("headers", {})
        if status == 429 and body == "json":
            return self.too_many(headers, fault.get("reset_time"))
        if body == "json":
            code, words = {
                401: ("Unauthorized", "The API key is not valid."),
                403: ("ForbiddenAccess", "You may not read this resource."),
                404: ("NotFoundResource", "There is no such dataset."),
            }.get(status, ("InternalError", "Something went wrong."))
            content = json.dumps({"error_code": code, "message": words})
            content_type = JSON
        elif body == "html":
            content_type = HTML
            content = FIREWALL_PAGE if status == 403 else GATEWAY_PAGE.format(
                status=status, reason=self.responses.get(status, ("",))[0])
        else:
            content = "" if body == "empty" else body
            content_type = "text/plain; charset=utf-8"
        return self.plain(status, fault.get("content_type", content_type),
                          content.encode("utf-8"), headers)

    def too_many(self, headers, reset_time=None):
        reset_time = reset_time or f"{next_midnight()}T00:00:00Z"
        content = {"errorcode": 10002, "reset_time": reset_time,
                   "limit_time_unit": "day", "call_limit": self.site.limit,
                   "error": "The quota of requests for this site is used up."}
        return self.plain(429, JSON, json.dumps(content).encode("utf-8"),
                          headers)

    def gone(self):
        """Whether the client has closed its side; with TLS, not known."""
        if isinstance(self.connection, ssl.SSLSocket):
            return False
        try:
            if not select.select([self.connection], [], [], 0)[0]:
                return False
            return self.connection.recv(1, socket.MSG_PEEK) == b""
        except OSError:
            return True

    # ---- answers ----

    def number(self, name, default, low, high):
        text = self.query.get(name, str(default))
        try:
            value = int(text)
        except ValueError:
            value = None
        if value is None or value < low or (high is not None and value > high):
            bounds = f"{low} <= {name}" + (f" <= {high}" if high else "")
            raise ApiError(400, "InvalidRESTParameterError",
                           f"Invalid value for {name} API parameter: {text}"
                           f" was found but {bounds} is expected.")
        return value

    def page(self, found):
        """The body of a page of records."""
        limit = self.number("limit", 10, -1, PAGE)
        limit = PAGE if limit < 0 else limit
        offset = self.number("offset", 0, 0, None)
        if offset + limit > WINDOW:
            raise ApiError(400, "InvalidRESTParameterError",
                           "Invalid value for sum of offset + limit API"
                           f" parameter: {offset + limit} was found but"
                           f" <= {WINDOW} is expected.")
        lines, places = found.select(self.query.get("where"),
                                     self.query.get("order_by"))
        total = len(places)
        if found.total_count is not None:
            total = found.total_count
        fields = self.selected(found)
        results = [self.shape(lines[at], fields, found)
                   for at in places[offset:offset + limit]]
        return {"total_count": total, "results": results}

    def selected(self, found):
        text = self.query.get("select")
        return odsql.parse_select(text, found.types) if text else None

    @staticmethod
    def shape(line, fields, found):
        """A record with every field, or every field that was asked for."""
        record = dataset.decode(line)
        return {name: record.get(name) for name in fields or found.types}

    def export(self, found, fault):
        limit = self.number("limit", -1, -1, None)
        offset = self.number("offset", 0, 0, None)
        lines, places = found.select(self.query.get("where"),
                                     self.query.get("order_by"))
        fields = self.selected(found)
        places = places[offset:] if limit < 0 else places[offset:offset + limit]
        if fields:
            lines = [dataset.encode(self.shape(lines[at], fields, found))
                     for at in places]
        else:
            lines = [lines[at] for at in places]
        if offset and offset + len(lines) > WINDOW:
            fault = faults.Fault({
                "fault": "interrupted",
                "message": "Invalid value for sum of offset + limit API"
                f" parameter: {offset + len(lines)} was found but <= {WINDOW}"
                " is expected. (error_code: InvalidRESTParameterError)"})
        if fault and fault.kind in ("close", "short", "gzip_cut", "members",
                                    "encoding"):
            return self.framed_lines(lines, fault)
        if fault and fault.kind == "bom":
            lines = [b"\xef\xbb\xbf" + lines[0]] + lines[1:]
            fault = None
        if fault and fault.kind == "array":
            lines = [b"[\n", b",\n".join(line.rstrip(b"\n")
                                         for line in lines), b"\n]\n"]
            fault = None
        chunked = self.request_version != "HTTP/1.0"
        body = self.begin(200, JSONL, chunked, None, {})
        if fault is None:
            self.write_lines(body, lines)
            done = True
        else:
            done = self.faulty_lines(body, lines, fault)
        if done:
            body.finish()
        return done and chunked

    @staticmethod
    def write_lines(body, lines):
        for at in range(0, len(lines), 200):
            body.write(b"".join(lines[at:at + 200]))

    def faulty_lines(self, body, lines, fault):
        """Write the lines of an export with a fault; False if cut."""
        kind, at = fault.kind, fault.lines
        self.write_lines(body, lines[:at])
        rest = lines[at:]
        if kind == "interrupted":
            words = fault.get("message", "the search engine gave up")
            body.write(b"Streaming interrupted due to the following error: "
                       + words.encode("utf-8"))
            return True
        if kind == "cut":
            body.write(rest[0][:len(rest[0]) // 2] if rest else b"")
            body.flush()
            return False
        if kind in ("hang_after", "gate"):
            body.flush()
            self.wfile.flush()
            if not self.site.faults.hold(self.gone):
                return False
        elif kind == "slow":
            body.flush()
            self.slow(body, fault)
        elif kind == "garbage_line":
            body.write(fault.data() + b"\n")
            rest = rest[1:]
        elif kind == "extra_lines":
            body.write(fault.data())
        self.write_lines(body, rest)
        return True

    def framed_lines(self, lines, fault):
        """An export whose end is not what its head says; never to be
        continued."""
        content = b"".join(lines[:fault.lines])
        if fault.lines < len(lines):
            piece = fault.get("bytes", len(lines[fault.lines]) // 2)
            content += lines[fault.lines][:piece]
        headers = {"Content-Encoding": "gzip"}
        if fault.kind == "gzip_cut" and "trim" in fault.spec:
            content = gzip.compress(b"".join(lines))[:-fault.get("trim")]
        elif fault.kind == "gzip_cut":
            stream = zlib.compressobj(wbits=31)
            content = stream.compress(content) + stream.flush(
                zlib.Z_SYNC_FLUSH)
        elif fault.kind == "members":
            size = max(fault.lines, 1)
            content = b"".join(
                gzip.compress(b"".join(lines[at:at + size]))
                for at in range(0, len(lines), size))
            if "base64" in fault.spec:
                content += fault.data()
        elif fault.kind == "encoding":
            content = b"".join(lines)
            headers = {"Content-Encoding": fault.get("text", "br")}
        else:
            headers = {}
        if fault.kind == "short":
            headers["Content-Length"] = str(len(content))
        elif fault.kind != "close":
            headers["Transfer-Encoding"] = "chunked"
        self.protocol_version = ("HTTP/1.0" if fault.kind == "close"
                                 else "HTTP/1.1")
        self.entry["status"] = 200
        self.send_response(200)
        self.send_header("Content-Type", JSONL)
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        body = Body(self, "Transfer-Encoding" in headers, False)
        # in pieces that do not fit anything
        for at in range(0, len(content), 1000):
            body.send(content[at:at + 1000])
        body.finish()
        return False

    @staticmethod
    def slow(body, fault):
        body.rate = float(fault.get("rate", 1))
        body.slow_bytes = int(fault.get("bytes", 1 << 60))

    # ---- HTTP ----

    def begin(self, status, content_type, chunked, length, headers):
        """Send the head of an answer; returns its body."""
        self.entry["status"] = status
        compressed = (length is None and "gzip" in
                      (self.headers.get("Accept-Encoding") or ""))
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Cache-Control", "no-cache, no-store")
        self.send_header("X-RateLimit-Limit", str(self.site.limit))
        self.send_header("X-RateLimit-Remaining", str(self.site.remaining))
        self.send_header("X-RateLimit-Reset",
                         f"{next_midnight()} 00:00:00+00:00")
        if compressed:
            self.send_header("Content-Encoding", "gzip")
        if chunked:
            self.send_header("Transfer-Encoding", "chunked")
        elif length is not None:
            self.send_header("Content-Length", str(length))
        else:
            self.send_header("Connection", "close")
        for name, value in headers.items():
            self.send_header(name, str(value))
        self.end_headers()
        return Body(self, chunked, compressed)

    def plain(self, status, content_type, content, headers):
        """A short answer, as it is."""
        body = self.begin(status, content_type, False, len(content), headers)
        body.raw(content)
        return True

    def json(self, status, content, fault=None):
        """A JSON answer, compressed if that is accepted, perhaps faulty."""
        content = json.dumps(content, ensure_ascii=False).encode("utf-8")
        if fault and fault.kind in ("garbage_line", "extra_lines"):
            content = fault.data()
        chunked = self.request_version != "HTTP/1.0"
        body = self.begin(status, JSON, chunked, None, {})
        if fault and fault.kind in ("cut", "hang_after"):
            body.write(content[:len(content) // 2])
            body.flush()
            self.wfile.flush()
            if fault.kind == "cut" or not self.site.faults.hold(self.gone):
                return False
            content = content[len(content) // 2:]
        elif fault and fault.kind == "gate":
            self.wfile.flush()
            if not self.site.faults.hold(self.gone):
                return False
        elif fault and fault.kind == "slow":
            self.slow(body, fault)
        body.write(content)
        body.finish()
        return chunked

    def plain_json(self, status, content):
        """An answer to whoever steers the server; not logged."""
        content = json.dumps(content, ensure_ascii=False).encode("utf-8")
        self.send_response(status)
        self.send_header("Content-Type", JSON)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)


class Server(tls.MaybeTls, http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 64

    def __init__(self, host, port, certificate=None):
        self.address_family = (socket.AF_INET6 if ":" in host
                               else socket.AF_INET)
        self.certificate = certificate
        super().__init__((host, port), Handler)

    def handle_error(self, request, client_address):
        if not isinstance(sys.exc_info()[1], (ConnectionError, ssl.SSLError)):
            super().handle_error(request, client_address)


def main():
    parser = argparse.ArgumentParser(
        description="a stand-in for the Explore API; see the head of the file")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--listen", action="append", default=[],
                        metavar="HOST[=FILE]", help="one more address")
    parser.add_argument("--dataset", action="append", default=[],
                        metavar="ID=FILE")
    parser.add_argument("--fault", action="append", default=[],
                        metavar="SPEC", help="see faults.py")
    parser.add_argument("--log", help="a line of JSON for each request")
    parser.add_argument("--apikey", help="refuse requests without this key")
    parser.add_argument("--rate-limit", type=int, default=50000)
    parser.add_argument("--stdin-eof", action="store_true",
                        help="end at the end of the standard input")
    options = parser.parse_args()

    signal.signal(signal.SIGTERM, lambda *args: os._exit(0))
    Handler.site = Site(options)
    server = Server(options.host, options.port)
    ports = [server.server_port]
    for address in options.listen:
        host, _, certificate = address.partition("=")
        other = Server(host, 0, certificate)
        ports.append(other.server_port)
        threading.Thread(target=other.serve_forever, daemon=True).start()
    if options.stdin_eof:
        def watch():
            while os.read(0, 4096):
                pass
            os._exit(0)
        threading.Thread(target=watch, daemon=True).start()
    print("PORT", *ports, flush=True)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        pass


if __name__ == "__main__":
    main()
