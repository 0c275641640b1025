# topics.py
#     Makes, enlarges, trims and deletes topics of a Kafka cluster for tests.
#
# It must not return before all brokers that run know of it: a client may ask
# any of them.

import ctypes
import time

import librdkafka
from librdkafka import (COUNT, LIST, NUMBER, POINTER, REQUEST, SIZE, TEXT,
                        Failure)

UNKNOWN_TOPIC = 3               # RD_KAFKA_RESP_ERR_UNKNOWN_TOPIC_OR_PART
BROKERS_CHOOSE = -1             # the replication factor


class Partition(ctypes.Structure):
    _fields_ = (("id", ctypes.c_int32), ("error", NUMBER),
                ("leader", ctypes.c_int32), ("replica_count", NUMBER),
                ("replicas", POINTER), ("isr_count", NUMBER),
                ("isrs", POINTER))


class Topic(ctypes.Structure):
    _fields_ = (("name", TEXT), ("count", NUMBER),
                ("partitions", ctypes.POINTER(Partition)), ("error", NUMBER))


class Metadata(ctypes.Structure):
    _fields_ = (("broker_count", NUMBER), ("brokers", POINTER),
                ("count", NUMBER), ("topics", ctypes.POINTER(Topic)),
                ("origin", ctypes.c_int32), ("origin_name", TEXT))


class Offset(ctypes.Structure):
    _fields_ = (("topic", TEXT), ("partition", ctypes.c_int32),
                ("offset", ctypes.c_int64), ("metadata", POINTER),
                ("metadata_size", SIZE), ("opaque", POINTER),
                ("error", NUMBER), ("private", POINTER))


class Offsets(ctypes.Structure):
    _fields_ = (("count", NUMBER), ("size", NUMBER),
                ("elements", ctypes.POINTER(Offset)))


OFFSETS = ctypes.POINTER(Offsets)
METADATA = ctypes.POINTER(Metadata)
CHANGES = {"CreateTopics": 1, "DeleteTopics": 2, "CreatePartitions": 3}
FUNCTIONS = (
    ("NewTopic_new", POINTER, TEXT, NUMBER, NUMBER, TEXT, SIZE),
    ("NewTopic_set_config", NUMBER, POINTER, TEXT, TEXT),
    ("NewPartitions_new", POINTER, TEXT, SIZE, TEXT, SIZE),
    ("DeleteTopic_new", POINTER, TEXT),
    ("DeleteRecords_new", POINTER, OFFSETS),
    *[(name, None, *REQUEST) for name in (*CHANGES, "DeleteRecords")],
    *[(f"event_{name}_result", POINTER, POINTER)
      for name in (*CHANGES, "DeleteRecords")],
    *[(f"{name}_result_topics", LIST, POINTER, COUNT) for name in CHANGES],
    ("topic_result_error", NUMBER, POINTER),
    ("topic_result_error_string", TEXT, POINTER),
    ("topic_result_name", TEXT, POINTER),
    ("topic_partition_list_new", OFFSETS, NUMBER),
    ("topic_partition_list_add", ctypes.POINTER(Offset), OFFSETS, TEXT,
     ctypes.c_int32),
    ("DeleteRecords_result_offsets", OFFSETS, POINTER),
    ("AdminOptions_new", POINTER, POINTER, NUMBER),
    ("AdminOptions_set_broker", NUMBER, POINTER, ctypes.c_int32, TEXT, SIZE),
    ("err2str", TEXT, NUMBER),
    ("topic_new", POINTER, POINTER, TEXT, POINTER),
    ("metadata", NUMBER, POINTER, NUMBER, POINTER,
     ctypes.POINTER(METADATA), NUMBER),
    ("metadata_destroy", None, METADATA))


class Topics(librdkafka.Admin):
    """A client that changes topics; brokers: addresses of those that run, by
    their id."""

    def __init__(self, brokers):
        super().__init__(",".join(brokers.values()), *FUNCTIONS)
        self.first = min(brokers)
        # A consumer's question does not make a topic.
        self.watchers = [librdkafka.client(self.lib, librdkafka.CONSUMER,
                                           broker)
                         for broker in brokers.values()]

    def options(self, name):
        """Ask a broker that runs: the one that is said to be the controller
        may just have been killed."""
        options = self.lib.rd_kafka_AdminOptions_new(self.client, CHANGES[name])
        self.lib.rd_kafka_AdminOptions_set_broker(options, self.first, None, 0)
        return options

    def change(self, name, objects):
        count = SIZE()
        topics = getattr(self.lib, f"rd_kafka_{name}_result_topics")(
            self.request(name, objects, self.options(name)),
            ctypes.byref(count))
        for topic in topics[:count.value]:
            if self.lib.rd_kafka_topic_result_error(topic):
                raise Failure(
                    self.lib.rd_kafka_topic_result_name(topic).decode() + ": "
                    + self.lib.rd_kafka_topic_result_error_string(topic)
                    .decode())

    def partitions_at(self, watcher, name):
        """How many partitions with a leader a broker knows of a topic; None
        if one has none, or the broker is not to be had."""
        found = METADATA()
        if self.lib.rd_kafka_metadata(
                watcher, 0, self.lib.rd_kafka_topic_new(watcher, name.encode(),
                                                        None),
                ctypes.byref(found), librdkafka.LIMIT * 1000):
            return None
        topic = found[0].topics[0]
        count = topic.count
        if (topic.error not in (0, UNKNOWN_TOPIC)
                or any(partition.leader < 0 or partition.error
                       for partition in topic.partitions[:count])):
            count = None
        self.lib.rd_kafka_metadata_destroy(found)
        return count

    def wait(self, name, partitions):
        deadline = time.monotonic() + librdkafka.LIMIT
        for watcher in self.watchers:
            while self.partitions_at(watcher, name) != partitions:
                if time.monotonic() > deadline:
                    raise Failure(f"{name}: the change has not come to all"
                                  " brokers")
                time.sleep(0.005)

    def create(self, name, partitions, replication, config):
        topic = self.make("NewTopic_new", name.encode(), partitions,
                          replication or BROKERS_CHOOSE)
        for pair in config:
            key, _, value = pair.partition("=")
            self.lib.rd_kafka_NewTopic_set_config(topic, key.encode(),
                                                  value.encode())
        self.change("CreateTopics", [topic])
        self.wait(name, partitions)

    def enlarge(self, name, partitions):
        self.change("CreatePartitions", [
            self.make("NewPartitions_new", name.encode(), partitions)])
        self.wait(name, partitions)

    def delete(self, names):
        self.change("DeleteTopics", [
            self.lib.rd_kafka_DeleteTopic_new(name.encode())
            for name in names])
        for name in names:
            self.wait(name, 0)

    def trim(self, name, partition, offset):
        """Delete a partition's records before an offset."""
        before = self.lib.rd_kafka_topic_partition_list_new(1)
        self.lib.rd_kafka_topic_partition_list_add(
            before, name.encode(), partition)[0].offset = offset
        answer = self.lib.rd_kafka_DeleteRecords_result_offsets(
            self.request("DeleteRecords",
                         [self.lib.rd_kafka_DeleteRecords_new(before)]))
        error = answer[0].elements[0].error
        if error:
            raise Failure(f"{name}: {self.lib.rd_kafka_err2str(error).decode()}")
