#!/usr/bin/env python3
# certificates.py
#     Certificates for tests of TLS, made with openssl: an authority, another
#     that nobody trusts, and what they sign.
#
# It must not use or change anything that the machine trusts.
#
# usage: certificates.py DIR NAME [--ca ca|stranger] [--cn NAME] [--host HOST]
#                        [--expired] [--passphrase TEXT]
#
# Writes DIR/NAME.pem (the certificate), DIR/NAME.key (its key, encrypted with
# the passphrase if there is one) and DIR/NAME.both.pem (both, for brokers; the
# key in it is not encrypted).  The authorities are DIR/ca.pem and
# DIR/stranger.pem, made when they are not there.  Files are replaced by
# rename, as tools that renew certificates do.

import argparse
import os
import secrets
import subprocess
import sys
import tempfile

VALID = ("20200101000000Z", "20491231235959Z")
EXPIRED = ("20200101000000Z", "20200102000000Z")

CONFIG = """[ca]
default_ca = own
[own]
database = {directory}/index.txt
new_certs_dir = {directory}
serial = {directory}/serial
default_md = sha256
policy = any
copy_extensions = none
unique_subject = no
[any]
commonName = supplied
[authority]
basicConstraints = critical,CA:true
keyUsage = critical,keyCertSign,cRLSign
[leaf]
basicConstraints = CA:false
extendedKeyUsage = serverAuth,clientAuth
{host}
"""


def openssl(*arguments):
    done = subprocess.run(["openssl", *arguments], check=False, text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"certificates: openssl {arguments[0]} failed:\n"
                 + done.stdout)


def make_key(path):
    openssl("genpkey", "-algorithm", "EC", "-pkeyopt",
            "ec_paramgen_curve:P-256", "-out", path)


def sign(scratch, extensions, host, dates, *signer):
    """Sign the request in scratch; the certificate goes there, too."""
    config = os.path.join(scratch, "ca.conf")
    with open(os.path.join(scratch, "index.txt"), "w", encoding="ascii"):
        pass
    with open(os.path.join(scratch, "serial"), "w", encoding="ascii") as file:
        file.write("01" + secrets.token_hex(8) + "\n")
    with open(config, "w", encoding="ascii") as file:
        file.write(CONFIG.format(
            directory=scratch,
            host=f"subjectAltName = {host}" if host else ""))
    openssl("ca", "-batch", "-notext", "-config", config,
            "-extensions", extensions, "-startdate", dates[0],
            "-enddate", dates[1], "-in", os.path.join(scratch, "request"),
            "-out", os.path.join(scratch, "certificate"), *signer)


def put(directory, scratch, source, name):
    path = os.path.join(scratch, source)
    os.chmod(path, 0o600)
    os.rename(path, os.path.join(directory, name))


def request(scratch, common_name):
    make_key(os.path.join(scratch, "key"))
    openssl("req", "-new", "-key", os.path.join(scratch, "key"),
            "-subj", "/CN=" + common_name,
            "-out", os.path.join(scratch, "request"))


def authority(directory, name):
    """Have an authority there."""
    if os.path.exists(os.path.join(directory, name + ".pem")):
        return
    os.makedirs(directory, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        request(scratch, f"authority {name}")
        sign(scratch, "authority", None, VALID, "-selfsign",
             "-keyfile", os.path.join(scratch, "key"))
        put(directory, scratch, "key", name + ".key")
        put(directory, scratch, "certificate", name + ".pem")


def make(directory, name, ca="ca", cn=None, host=None, expired=False,
         passphrase=None):
    """Make a certificate; host is a name or an IP address."""
    authority(directory, ca)
    if host is not None:
        kind = "IP" if host.replace(".", "").isdigit() else "DNS"
        host = f"{kind}:{host}"
    with tempfile.TemporaryDirectory(dir=directory) as scratch:
        request(scratch, cn or name)
        sign(scratch, "leaf", host, EXPIRED if expired else VALID,
             "-cert", os.path.join(directory, ca + ".pem"),
             "-keyfile", os.path.join(directory, ca + ".key"))
        both = os.path.join(scratch, "both")
        with open(both, "w", encoding="ascii") as file:
            for part in ("key", "certificate"):
                with open(os.path.join(scratch, part),
                          encoding="ascii") as source:
                    file.write(source.read())
        if passphrase is not None:
            plain = os.path.join(scratch, "plain")
            os.rename(os.path.join(scratch, "key"), plain)
            openssl("pkcs8", "-topk8", "-v2", "aes-256-cbc", "-in", plain,
                    "-passout", "pass:" + passphrase,
                    "-out", os.path.join(scratch, "key"))
        put(directory, scratch, "key", name + ".key")
        put(directory, scratch, "both", name + ".both.pem")
        put(directory, scratch, "certificate", name + ".pem")


def add_arguments(parser):
    parser.add_argument("name")
    parser.add_argument("--ca", default="ca")
    parser.add_argument("--cn")
    parser.add_argument("--host")
    parser.add_argument("--expired", action="store_true")
    parser.add_argument("--passphrase")


def main():
    parser = argparse.ArgumentParser(description="certificates for tests")
    parser.add_argument("directory")
    add_arguments(parser)
    options = vars(parser.parse_args())
    make(options.pop("directory"), options.pop("name"), **options)


if __name__ == "__main__":
    main()
