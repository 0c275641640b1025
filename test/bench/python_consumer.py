#!/usr/bin/env python3
# python_consumer.py
#     A consumer of the usual kind, to compare with: confluent-kafka reads, json
#     decodes, COPY of psycopg writes, and what was read is committed to Kafka once
#     the rows are.
#
# It must not be slower than one would write it with some care: batches of ten
# thousand, one COPY and one transaction for each.
#
# usage: python_consumer.py BROKERS TOPIC CONNECTION TABLE COUNT GROUP
#
# Prints the CPU seconds that it has taken when COUNT records are in the table.

import json
import sys
import time

import confluent_kafka
import psycopg

BATCH = 10000
WAIT = 1.0                      # seconds for the rest of a batch


def main():
    brokers, topic, connection, table, count, group = sys.argv[1:]
    consumer = confluent_kafka.Consumer({
        "bootstrap.servers": brokers, "group.id": f"python_{group}",
        "auto.offset.reset": "earliest", "enable.auto.commit": False})
    consumer.subscribe([topic])
    done = 0
    with psycopg.connect(connection) as session, session.cursor() as cursor:
        while done < int(count):
            messages = consumer.consume(BATCH, WAIT)
            if not messages:
                continue
            with cursor.copy(f"COPY {table} (message_id, sensor_id, "
                             "temperature, humidity, battery, \"timestamp\") "
                             "FROM STDIN") as copy:
                for message in messages:
                    if message.error():
                        raise SystemExit(message.error())
                    row = json.loads(message.value())
                    copy.write_row((row["message_id"], row["sensor_id"],
                                    row["temperature"], row["humidity"],
                                    row["battery"], row["timestamp"]))
            session.commit()
            consumer.commit(asynchronous=False)
            done += len(messages)
    print(time.process_time(), flush=True)
    consumer.close()


if __name__ == "__main__":
    main()
