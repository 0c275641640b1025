#!/usr/bin/env python3
# data.py
#     Records for the benchmarks: recalls made many by varying their keys, and
#     sensor messages, each kind with the file that COPY reads beside them.
#
# It must make the same bytes each time: ratios of two runs are compared.
#
# usage: data.py --self-check     makes a few of each kind, and demands that keys
#                                 differ and that COPY reads what messages hold

import gzip
import json
import os
import random
import sys
import tempfile

import made_up

SAMPLE = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "sample", "recalls.jsonl")
RECORDED = "rappelconso_v2_espaces.jsonl.gz"
MADE_UP = "made-up.jsonl"
MADE_UP_ROWS = 10000
SENSORS = 500
SENSOR_SECONDS = 0.01
SEED = 20260301
BLOCK = 10000                   # lines that are written at once


def recorded(folder):
    """The file of recorded recalls, or None."""
    path = os.path.join(folder, RECORDED)
    return path if os.access(path, os.R_OK) else None


def recalls(folder, work):
    """A file of recalls: recorded ones, or some that are made up."""
    path = recorded(folder)
    if path is None:
        path = os.path.join(work, MADE_UP)
        if not os.path.exists(path):
            made_up.write(path, MADE_UP_ROWS)
    return path


def lines_of(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as file:
        return file.read().splitlines()


def _copies(lines, count):
    """(line, number of the copy), the lines over and over."""
    return ((lines[at % len(lines)], at // len(lines)) for at in range(count))


def write_recalls(source, target, count):
    """A dataset of so many recalls as the API gives them."""
    with open(target, "wb") as file:
        for line, copy in _copies(lines_of(source), count):
            if copy:
                record = json.loads(line)
                record["numero_fiche"] += f"-{copy}"
                line = json.dumps(record, ensure_ascii=False).encode("utf-8")
            file.write(line + b"\n")
    return target


def write_messages(source, target, count):
    """So many messages, from a file of keys and values of a topic.  Their keys
    end otherwise than those of write_recalls(), whose copies may be in it."""
    with open(target, "wb") as file:
        for line, copy in _copies(lines_of(source), count):
            key, _, value = line.partition(b"\t")
            if copy:
                new = key + b"/%d" % copy
                value = value.replace(b'"' + key + b'"', b'"' + new + b'"', 1)
                key = new
            file.write(key + b"\t" + value + b"\n")


def _readings(dice, size):
    """What a sensor has measured: so many bytes, by the number of its values."""
    text = (f'"temperature":{dice.uniform(-10, 45):.2f},'
            f'"humidity":{dice.uniform(10, 95):.1f},'
            f'"battery":{dice.uniform(2.9, 4.2):.3f}')
    if len(text) > size > 0:
        return text.partition(",")[0]
    parts = [text]
    parts += [f'"value{n:05}":{dice.uniform(-1000, 1000):.3f}'
              for n in range(max(0, size - len(text)) // 21)]
    return ",".join(parts)


def sensors(count, size=0, bad_every=None):
    """(key, columns of a sensor message); about 150 bytes, or as many as size
    says.  Of so many each, one lacks its sensor."""
    dice = random.Random(SEED)
    readings = size - 85 if size else 0
    for at in range(count):
        sensor = dice.randrange(SENSORS)
        second = at * SENSOR_SECONDS
        stamp = "2026-03-01T%02d:%02d:%06.3fZ" % (
            second // 3600 % 24, second // 60 % 60, second % 60)
        bad = bad_every and at % bad_every == bad_every // 2
        yield sensor, (f"m-{at:012d}", "null" if bad else sensor,
                       f"{{{_readings(dice, readings)}}}", stamp)


def write_sensors(target, count, rows=None, **shape):
    """Sensor messages with the sensor as the key; into the file rows, the same
    for COPY: the same JSON, with its keys in the same order."""
    lines, copied = [], []
    with open(target, "w", encoding="ascii") as file, \
            open(rows or os.devnull, "w", encoding="ascii") as other:
        for at, (key, (number, sensor, message, stamp)) in enumerate(
                sensors(count, **shape), 1):
            lines.append(f'{key}\t{{"message_id":"{number}","sensor_id":'
                         f'{sensor},"message":{message},'
                         f'"timestamp":"{stamp}"}}\n')
            copied.append(f"{number}\t{sensor}\t{message}\t{stamp}\n")
            if at % BLOCK == 0 or at == count or len(message) > BLOCK:
                file.write("".join(lines))
                other.write("".join(copied))
                lines, copied = [], []


# ---- self-check ----

def check_recalls(folder):
    """However often recalls are copied, their keys differ."""
    source, dataset, seed, topic = (os.path.join(folder, name) for name in
                                    ("source", "dataset", "seed", "topic"))
    made_up.write(source, 30)
    before = lines_of(source)
    made_up.write(source, 30)
    if lines_of(source) != before:
        return "recalls are made up otherwise the second time"
    write_recalls(source, dataset, 70)
    with open(seed, "w", encoding="utf-8") as file:
        for line in lines_of(dataset):
            key = json.loads(line)["numero_fiche"]
            file.write(f'{key}\t{{"reference_fiche": "{key}"}}\n')
    write_messages(seed, topic, 300)
    keys = [line.partition(b"\t")[0] for line in lines_of(topic)]
    values = [json.loads(line.partition(b"\t")[2])["reference_fiche"].encode()
              for line in lines_of(topic)]
    if len(set(keys)) != 300 or keys != values:
        return "recalls of a topic have one key twice, or another one inside"
    return None


def check_sensors(folder):
    """COPY reads the texts that the messages hold; sizes are as asked for."""
    messages, rows = (os.path.join(folder, name) for name in ("m", "rows"))
    for size in (0, 100, 1000, 50000):
        write_sensors(messages, 50, rows, size=size, bad_every=20)
        for line, row in zip(lines_of(messages), lines_of(rows)):
            value = line.partition(b"\t")[2].decode()
            number, sensor, message, stamp = row.decode().split("\t")
            if value != (f'{{"message_id":"{number}","sensor_id":{sensor},'
                         f'"message":{message},"timestamp":"{stamp}"}}'):
                return f"COPY reads another message than {value[:200]}"
            json.loads(value)
            if size and not size * 0.9 <= len(value) <= size * 1.25:
                return f"a message of {size} bytes has {len(value)}"
        bad = sum(b'"sensor_id":null' in line for line in lines_of(messages))
        if bad != 2:
            return f"of 50 messages, {bad} are bad, not 2"
    return None


if __name__ == "__main__":
    if sys.argv[1:] != ["--self-check"]:
        sys.exit("usage: data.py --self-check")
    with tempfile.TemporaryDirectory() as scratch:
        sys.exit(check_recalls(scratch) or check_sensors(scratch))
