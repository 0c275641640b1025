#!/usr/bin/env python3
# transaction.py
#     Sends the lines of its arguments to a topic in one Kafka transaction, for
#     tests of what a consumer sees of it.
#
# It must not leave a transaction open when it ends: one that was left open is
# aborted when its standard input ends.
#
# usage: transaction.py BROKERS TOPIC commit|abort|open VALUE ..
#
# Prints "sent" when all brokers concerned have the messages, then ends the
# transaction; with "open" only after its standard input has ended.

import ctypes
import sys

import librdkafka
from librdkafka import NUMBER, POINTER, SIZE, TEXT

TIMEOUT = 60_000                # ms
COPY = 2                        # RD_KAFKA_MSG_F_COPY


def library():
    return librdkafka.library(
        ("topic_new", POINTER, POINTER, TEXT, POINTER),
        ("topic_destroy", None, POINTER),
        ("produce", NUMBER, POINTER, ctypes.c_int32, NUMBER, TEXT, SIZE, TEXT,
         SIZE, POINTER),
        ("flush", NUMBER, POINTER, NUMBER),
        ("destroy", None, POINTER),
        ("init_transactions", POINTER, POINTER, NUMBER),
        ("begin_transaction", POINTER, POINTER),
        ("commit_transaction", POINTER, POINTER, NUMBER),
        ("abort_transaction", POINTER, POINTER, NUMBER))


def producer(lib, brokers, name):
    """A producer; with a name, one of transactions."""
    properties = {"linger_ms": "0", "message_max_bytes": "10000000"}
    if name is not None:
        properties["transactional_id"] = name
    return librdkafka.client(lib, librdkafka.PRODUCER, brokers, **properties)


def main():
    brokers, topic, how, *values = sys.argv[1:]
    lib = library()
    client = producer(lib, brokers, topic)

    def check(error):
        if error:
            sys.exit("transaction: " + lib.rd_kafka_error_string(error).decode())

    check(lib.rd_kafka_init_transactions(client, TIMEOUT))
    check(lib.rd_kafka_begin_transaction(client))
    handle = lib.rd_kafka_topic_new(client, topic.encode(), None)
    for value in values:
        data = value.encode()
        if lib.rd_kafka_produce(handle, -1, COPY, data, len(data), b"k", 1,
                                None) != 0:
            sys.exit("transaction: could not send")
    if lib.rd_kafka_flush(client, TIMEOUT) != 0:
        sys.exit("transaction: not sent in time")
    print("sent", flush=True)
    if how == "open":
        sys.stdin.read()
    if how == "commit":
        check(lib.rd_kafka_commit_transaction(client, TIMEOUT))
    else:
        check(lib.rd_kafka_abort_transaction(client, TIMEOUT))


if __name__ == "__main__":
    main()
