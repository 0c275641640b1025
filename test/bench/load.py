#!/usr/bin/env python3
# load.py
#     Publishes messages of a file to a topic, so many a second: prints "ready"
#     when it begins, and in the end how many it has published.
#
# It must not take more of a processor than it needs: it shares it with what is
# measured.  So messages are given to the library in blocks, from memory that
# stays where it is.
#
# usage: load.py BROKERS TOPIC FILE RATE SECONDS    FILE: key, a tab, value

import ctypes
import os
import sys
import time

sys.path.append(os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "servers"))

import librdkafka               # noqa: E402
from librdkafka import NUMBER, POINTER, TEXT    # noqa: E402

BLOCKS = 200                    # a second
ANY_PARTITION = -1
FLUSH_MS = 60000


class Message(ctypes.Structure):
    """rd_kafka_message_t"""
    _fields_ = [("err", NUMBER), ("rkt", POINTER),
                ("partition", ctypes.c_int32), ("payload", POINTER),
                ("len", ctypes.c_size_t), ("key", POINTER),
                ("key_len", ctypes.c_size_t), ("offset", ctypes.c_int64),
                ("private", POINTER)]


def blocks_of(path, size, count):
    """So many arrays of messages, and the memory that they point to."""
    blocks, memory = [], []
    with open(path, "rb") as file:
        for _ in range(count):
            block = (Message * size)()
            for message in block:
                line = file.readline()
                if not line:
                    file.seek(0)
                    line = file.readline()
                key, _, value = line.rstrip(b"\n").partition(b"\t")
                memory += [ctypes.create_string_buffer(key, len(key)),
                           ctypes.create_string_buffer(value, len(value))]
                message.key = ctypes.addressof(memory[-2])
                message.key_len = len(key)
                message.payload = ctypes.addressof(memory[-1])
                message.len = len(value)
            blocks.append(block)
    return blocks, memory


def main():
    brokers, topic, path, rate, seconds = sys.argv[1:]
    size = max(1, round(float(rate) / BLOCKS))
    blocks, memory = blocks_of(path, size, 20)
    lib = librdkafka.library(
        ("topic_new", POINTER, POINTER, TEXT, POINTER),
        ("produce_batch", NUMBER, POINTER, ctypes.c_int32, NUMBER, POINTER,
         NUMBER),
        ("poll", NUMBER, POINTER, NUMBER),
        ("flush", NUMBER, POINTER, NUMBER))
    client = librdkafka.client(
        lib, librdkafka.PRODUCER, brokers, linger_ms="2",
        compression_codec="lz4", queue_buffering_max_messages="2000000")
    handle = lib.rd_kafka_topic_new(client, topic.encode(), None)
    print("ready", flush=True)
    sent = 0
    begin = time.monotonic()
    for n in range(BLOCKS * int(seconds)):
        time.sleep(max(0, begin + n / BLOCKS - time.monotonic()))
        if time.monotonic() > begin + float(seconds):
            break
        sent += lib.rd_kafka_produce_batch(handle, ANY_PARTITION, 0,
                                           blocks[n % len(blocks)], size)
        lib.rd_kafka_poll(client, 0)
    if lib.rd_kafka_flush(client, FLUSH_MS) != 0:
        sys.exit("load: not sent in time")
    del memory
    print(sent)


if __name__ == "__main__":
    main()
