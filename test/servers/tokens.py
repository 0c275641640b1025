#!/usr/bin/env python3
# tokens.py
#     The token endpoint and the keys of an OpenID provider, for tests of
#     OAUTHBEARER: it gives signed tokens to a client that knows its secret.
#
# It must listen on 127.0.0.1 only, and end when its standard input does.
#
# usage: tokens.py DIR
#
# Prints "PORT http https": GET /keys, POST /token[/MODE] and POST /_control by
# each of the ports.  DIR gets the client's secret (token.secret), the signing keys, and
# ca.pem, the authority that has signed the certificate.
#
# MODE is
#
#   expired   tokens that have expired
#   foreign   tokens of a key that is not among the keys
#   stranger  tokens for another audience
#   nameless  tokens without the claim "sub"
#   html      a page instead of JSON, as from a wrong URL
#   busy      503, each time
#   silent    no answer
#
# /_control takes an object; what it does not name stays:
#
#   lifetime  of tokens, in seconds (300)
#   secret    of the client, from now on
#
# and answers how many requests for a token there were, and how many of them
# got one.

import base64
import http.server
import json
import os
import secrets
import subprocess
import sys
import threading
import time
import urllib.parse

import certificates
import tls

HOST = "127.0.0.1"
CLIENT = "app"
AUDIENCE = "kafka"
ISSUER = "tokens.py"
KEYS = ("current", "foreign")
PAGES = {"/token": None} | {"/token/" + mode: mode for mode in (
    "expired", "foreign", "stranger", "nameless", "html", "busy", "silent")}


def openssl(*arguments, data=None):
    return subprocess.run(["openssl", *arguments], check=True, input=data,
                          stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL).stdout


def encode(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class Provider:
    """What it knows, and is told to do."""

    def __init__(self, directory):
        self.directory = directory
        self.lifetime = 300
        self.secret = secrets.token_hex(16)
        self.lock = threading.Lock()
        self.asked = self.given = 0
        for name in KEYS:
            openssl("genpkey", "-algorithm", "RSA", "-pkeyopt",
                    "rsa_keygen_bits:2048", "-out", self.key(name))
        with open(os.open(os.path.join(directory, "token.secret"),
                          os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600),
                  "w", encoding="ascii") as file:
            file.write(self.secret + "\n")

    def key(self, name):
        return os.path.join(self.directory, f"token.{name}.key")

    def keys(self):
        modulus = openssl("rsa", "-in", self.key("current"), "-noout",
                          "-modulus").decode().strip().partition("=")[2]
        return {"keys": [{
            "kty": "RSA", "kid": "current", "use": "sig", "alg": "RS256",
            "n": encode(bytes.fromhex(modulus)), "e": "AQAB"}]}

    def token(self, mode):
        now = int(time.time())
        expires = now + (-60 if mode == "expired" else self.lifetime)
        claims = {"iss": ISSUER, "iat": now - 120, "exp": expires,
                  "aud": "other" if mode == "stranger" else AUDIENCE,
                  "scope": "kafka"}
        if mode != "nameless":
            claims["sub"] = CLIENT
        signed = ".".join(encode(json.dumps(part).encode()) for part in (
            {"alg": "RS256", "typ": "JWT", "kid": "current"}, claims))
        name = "foreign" if mode == "foreign" else "current"
        return signed + "." + encode(openssl(
            "dgst", "-sha256", "-sign", self.key(name), data=signed.encode()))

    def answer(self, mode, client, secret):
        """Status, content type and text for who asks for a token."""
        with self.lock:
            self.asked += 1
        if mode == "silent":
            threading.Event().wait()
        if mode == "busy":
            return 503, "text/plain", "come again later"
        if mode == "html":
            return 200, "text/html", "<html>a page</html>"
        if (client, secret) != (CLIENT, self.secret):
            return 401, "application/json", json.dumps({
                "error": "invalid_client",
                "error_description": "client or secret is wrong"})
        with self.lock:
            self.given += 1
        return 200, "application/json", json.dumps({
            "access_token": self.token(mode), "token_type": "Bearer",
            "expires_in": self.lifetime})

    def control(self, order):
        with self.lock:
            for name in ("lifetime", "secret"):
                setattr(self, name, order.get(name, getattr(self, name)))
            return {"asked": self.asked, "given": self.given}


class Handler(http.server.BaseHTTPRequestHandler):
    """Each request is answered alone: the connection is closed after it."""

    def send(self, status, kind, text):
        data = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def do_GET(self):
        if self.path == "/keys":
            self.send(200, "application/json",
                      json.dumps(self.server.provider.keys()))
        else:
            self.send(404, "text/plain", "no such page")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/_control":
            self.send(200, "application/json", json.dumps(
                self.server.provider.control(json.loads(body))))
        elif self.path in PAGES:
            kind, _, given = self.headers.get("Authorization", "").partition(" ")
            pair = base64.b64decode(given if kind == "Basic" else "").decode()
            client, _, secret = pair.partition(":")
            self.send(*self.server.provider.answer(
                PAGES[self.path], urllib.parse.unquote(client), urllib.parse.unquote(secret)))
        else:
            self.send(404, "text/plain", "no such page")

    def log_message(self, *arguments):
        pass


class Server(tls.MaybeTls, http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, provider, certificate=None):
        super().__init__((HOST, 0), Handler)
        self.provider = provider
        self.certificate = certificate

    def handle_error(self, request, client_address):
        pass                    # a client that went away, or trusts us not


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: tokens.py DIR")
    directory = sys.argv[1]
    certificates.make(directory, "tokens", host=HOST)
    provider = Provider(directory)
    servers = [Server(provider),
               Server(provider, os.path.join(directory, "tokens.both.pem"))]
    for server in servers:
        threading.Thread(target=server.serve_forever, daemon=True).start()
    print("PORT", *(server.server_address[1] for server in servers),
          flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
