#!/usr/bin/env python3
# produce_at.py
#     Sends messages with timestamps of the caller's choice, or with very many
#     headers, to a topic, which kcat cannot.
#
# It must not end before the broker has them.
#
# usage: produce_at.py BROKERS TOPIC PARTITION:TIMESTAMP[:HEADERS]=VALUE ..
#
# A timestamp is in milliseconds since 1970, and may be negative.  HEADERS: so
# many headers "h".

import ctypes
import sys

import transaction

# rd_kafka_vtype_t
END, TOPIC, PARTITION, VALUE = 0, 1, 3, 4
MSGFLAGS, TIMESTAMP, HEADERS = 7, 8, 10


def headers(lib, count):
    lib.rd_kafka_headers_new.restype = ctypes.c_void_p
    made = ctypes.c_void_p(lib.rd_kafka_headers_new(ctypes.c_size_t(count)))
    for _ in range(count):
        lib.rd_kafka_header_add(made, b"h", ctypes.c_ssize_t(1), b"1",
                                ctypes.c_ssize_t(1))
    return made


def main():
    brokers, topic, *messages = sys.argv[1:]
    lib = transaction.library()
    client = ctypes.c_void_p(transaction.producer(lib, brokers, None))
    for message in messages:
        place, _, value = message.partition("=")
        partition, timestamp, *count = place.split(":")
        data = value.encode()
        if lib.rd_kafka_producev(
                client, ctypes.c_int(TOPIC), topic.encode(),
                ctypes.c_int(PARTITION), ctypes.c_int32(int(partition)),
                ctypes.c_int(MSGFLAGS), ctypes.c_int(transaction.COPY),
                ctypes.c_int(VALUE), data, ctypes.c_size_t(len(data)),
                ctypes.c_int(TIMESTAMP), ctypes.c_int64(int(timestamp)),
                ctypes.c_int(HEADERS), headers(lib, int(*count)),
                ctypes.c_int(END)) != 0:
            sys.exit("produce_at: could not send")
    if lib.rd_kafka_flush(client, transaction.TIMEOUT) != 0:
        sys.exit("produce_at: not sent in time")


if __name__ == "__main__":
    main()
