#!/usr/bin/env python3
# proxy.py
#     An HTTP proxy for tests, with CONNECT and without, with a password, and
#     with hosts that it does not connect to.
#
# It must not look up a name: what it reaches is what it is told of.
#
# usage: proxy.py RULES LOG [--port P] [--certificate FILE] [--stdin-eof]
#
# It prints "PORT n" when it can be asked.  RULES is a JSON file, read for each
# request:
#
#   user: "NAME:PASSWORD"        whom it admits; without it, everybody
#   targets: {"HOST:PORT": port} what it connects to, on this machine; others
#                                get 403
#
# LOG has a line of JSON for each request: what it asked for, the status that the
# proxy answered with (null if the target did), and the names of headers.  With a
# certificate (and key, in one file) it speaks TLS.

import argparse
import base64
import json
import os
import select
import socket
import socketserver
import ssl
import threading
import urllib.parse

import tls

PHRASES = {200: "Connection established", 400: "Bad request",
           403: "Forbidden", 407: "Proxy authentication required",
           502: "Bad gateway"}


class Handler(socketserver.StreamRequestHandler):
    options = None              # set by main()
    rules = None

    def handle(self):
        with open(self.options.rules, encoding="utf-8") as file:
            self.rules = json.load(file)
        line = self.rfile.readline().decode("latin-1").split()
        if len(line) != 3:
            return
        headers = []
        while True:
            header = self.rfile.readline()
            if header in (b"\r\n", b"\n", b""):
                break
            headers.append(header.decode("latin-1").rstrip("\r\n"))
        entry = {"method": line[0], "target": line[1], "status": None,
                 "headers": [h.split(":")[0].lower() for h in headers]}
        status, target = self.judge(line, headers)
        if status == 200:
            try:
                server = socket.create_connection(("127.0.0.1", target))
            except OSError:
                status = 502
        tunnel = line[0] == "CONNECT"
        if tunnel or status != 200:
            entry["status"] = status
        with open(self.options.log, "a", encoding="utf-8") as file:
            file.write(json.dumps(entry) + "\n")
        if status != 200:
            self.refuse(status)
            return
        with server:
            if tunnel:
                self.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                server.sendall(self.forwarded(line, headers))
            self.pump(server)

    def judge(self, line, headers):
        """The status for a request, and the port to connect to."""
        user = self.rules.get("user")
        given = [h.split(":", 1)[1].strip() for h in headers
                 if h.lower().startswith("proxy-authorization:")]
        if user is not None and given != [
                "Basic " + base64.b64encode(user.encode()).decode()]:
            return 407, None
        if line[0] == "CONNECT":
            host = line[1]
        else:
            url = urllib.parse.urlsplit(line[1])
            if url.scheme != "http":
                return 400, None
            host = f"{url.hostname}:{url.port or 80}"
        target = self.rules.get("targets", {}).get(host)
        return (403, None) if target is None else (200, target)

    def refuse(self, status):
        text = f"<html><body>{status} {PHRASES[status]}</body></html>"
        more = ('Proxy-Authenticate: Basic realm="proxy"\r\n'
                if status == 407 else "")
        self.wfile.write(
            f"HTTP/1.1 {status} {PHRASES[status]}\r\n{more}"
            f"Content-Type: text/html\r\nContent-Length: {len(text)}\r\n"
            f"Connection: close\r\n\r\n{text}".encode("latin-1"))

    @staticmethod
    def forwarded(line, headers):
        url = urllib.parse.urlsplit(line[1])
        path = url.path + ("?" + url.query if url.query else "")
        kept = [h for h in headers if not h.lower().startswith("proxy-")]
        return "\r\n".join([f"{line[0]} {path} {line[2]}", *kept,
                            "Connection: close", "", ""]).encode("latin-1")

    def pump(self, server):
        """Copy in both directions until one side ends."""
        ends = {self.request: server, server: self.request}
        while True:
            ready = select.select(list(ends), [], [], 1)[0]
            if self.request not in ready and isinstance(
                    self.request, ssl.SSLSocket) and self.request.pending():
                ready.append(self.request)
            for end in ready:
                data = end.recv(65536)
                if not data:
                    return
                ends[end].sendall(data)


class Server(tls.MaybeTls, socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def handle_error(self, request, client_address):
        pass                    # a client that goes away, or fails in TLS


def main():
    parser = argparse.ArgumentParser(description="a proxy for tests")
    parser.add_argument("rules")
    parser.add_argument("log")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--certificate")
    parser.add_argument("--stdin-eof", action="store_true")
    Handler.options = parser.parse_args()
    server = Server(("127.0.0.1", Handler.options.port), Handler)
    server.certificate = Handler.options.certificate
    if Handler.options.stdin_eof:
        def watch():
            while os.read(0, 4096):
                pass
            os._exit(0)
        threading.Thread(target=watch, daemon=True).start()
    print("PORT", server.server_address[1], flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
