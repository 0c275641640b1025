# data.py
#     Records for the benchmarks: recalls made many by varying their keys, and
#     sensor messages.
#
# It must make the same bytes each time: ratios of two runs are compared.

import gzip
import json
import os
import random

SAMPLE = os.path.join(os.path.dirname(os.path.dirname(
    os.path.abspath(__file__))), "sample", "recalls.jsonl")
RECORDED = "rappelconso_v2_espaces.jsonl.gz"
RECORDED_ROWS = 10223
SENSORS = 500
SENSOR_SECONDS = 0.01


def recorded(folder):
    """The file of recorded recalls, or the sample where it is absent."""
    path = os.path.join(folder, RECORDED)
    return path if os.access(path, os.R_OK) else SAMPLE


def lines_of(path):
    opener = gzip.open if path.endswith(".gz") else open
    with opener(path, "rb") as file:
        return file.read().splitlines()


def _copies(lines, count):
    """(line, number of the copy), the lines over and over."""
    return ((lines[at % len(lines)], at // len(lines)) for at in range(count))


def write_recalls(source, target, count):
    """A dataset of so many recalls as the API gives them."""
    lines = lines_of(source)
    if count == len(lines) and not source.endswith(".gz"):
        return source
    with open(target, "wb") as file:
        for line, copy in _copies(lines, count):
            if copy:
                record = json.loads(line)
                record["numero_fiche"] += f"-{copy}"
                line = json.dumps(record, ensure_ascii=False).encode("utf-8")
            file.write(line + b"\n")
    return target


def write_messages(source, target, count):
    """So many messages, from a file of keys and values of a topic."""
    with open(target, "wb") as file:
        for line, copy in _copies(lines_of(source), count):
            key, _, value = line.partition(b"\t")
            if copy:
                new = key + b"-%d" % copy
                value = value.replace(b'"' + key + b'"', b'"' + new + b'"', 1)
                key = new
            file.write(key + b"\t" + value + b"\n")


def write_sensors(target, count):
    """Sensor messages of about 150 bytes, with the sensor as the key."""
    dice = random.Random(20260301)
    with open(target, "w", encoding="ascii") as file:
        for at in range(count):
            sensor = dice.randrange(SENSORS)
            second = at * SENSOR_SECONDS
            stamp = "2026-03-01T%02d:%02d:%06.3fZ" % (
                second // 3600 % 24, second // 60 % 60, second % 60)
            file.write(
                f'{sensor}\t{{"message_id":"m-{at:012d}",'
                f'"sensor_id":{sensor},'
                f'"message":{{"temperature":{dice.uniform(-10, 45):.2f},'
                f'"humidity":{dice.uniform(10, 95):.1f},'
                f'"battery":{dice.uniform(2.9, 4.2):.3f}}},'
                f'"timestamp":"{stamp}"}}\n')
