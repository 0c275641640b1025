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

TIMEOUT = 60_000                # ms
COPY = 2                        # RD_KAFKA_MSG_F_COPY


def library():
    lib = ctypes.CDLL("librdkafka.so.1")
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    for name, result, *arguments in (
            ("conf_new", pointer),
            ("conf_set", number, pointer, text, text, text, ctypes.c_size_t),
            ("new", pointer, number, pointer, text, ctypes.c_size_t),
            ("topic_new", pointer, pointer, text, pointer),
            ("produce", number, pointer, ctypes.c_int32, number, text,
             ctypes.c_size_t, text, ctypes.c_size_t, pointer),
            ("flush", number, pointer, number),
            ("init_transactions", pointer, pointer, number),
            ("begin_transaction", pointer, pointer),
            ("commit_transaction", pointer, pointer, number),
            ("abort_transaction", pointer, pointer, number),
            ("error_string", text, pointer)):
        function = getattr(lib, "rd_kafka_" + name)
        function.restype, function.argtypes = result, arguments
    return lib


def producer(lib, brokers, name):
    """A producer; with a name, one of transactions."""
    conf = lib.rd_kafka_conf_new()
    words = ctypes.create_string_buffer(512)
    properties = {"bootstrap.servers": brokers, "linger.ms": "0",
                  "message.max.bytes": "10000000"}
    if name is not None:
        properties["transactional.id"] = name
    for key, value in properties.items():
        if lib.rd_kafka_conf_set(conf, key.encode(), value.encode(), words,
                                 len(words)) != 0:
            sys.exit(f"transaction: {words.value.decode()}")
    client = lib.rd_kafka_new(0, conf, words, len(words))
    if not client:
        sys.exit(f"transaction: {words.value.decode()}")
    return client


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
