# librdkafka.py
#     librdkafka for the test servers, by ctypes: a client, and requests that
#     change a cluster, in milliseconds where each of Kafka's own tools, a JVM,
#     needs a second and more of a processor.
#
# It must declare all functions that it and others call: ctypes would cut their
# pointers.

import ctypes

LIMIT = 30                      # seconds that a request may take
PRODUCER, CONSUMER = 0, 1

POINTER, TEXT, NUMBER = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
SIZE = ctypes.c_size_t
COUNT = ctypes.POINTER(SIZE)
LIST = ctypes.POINTER(POINTER)
REQUEST = (POINTER, LIST, SIZE, POINTER, POINTER)
COMMON = (
    ("conf_new", POINTER),
    ("conf_set", NUMBER, POINTER, TEXT, TEXT, TEXT, SIZE),
    ("new", POINTER, NUMBER, POINTER, TEXT, SIZE),
    ("queue_new", POINTER, POINTER),
    ("queue_poll", POINTER, POINTER, NUMBER),
    ("event_error", NUMBER, POINTER),
    ("event_error_string", TEXT, POINTER),
    ("error_string", TEXT, POINTER))


class Failure(Exception):
    """What librdkafka or a broker refused."""


def library(*functions):
    """librdkafka with these functions: name, result, arguments .."""
    lib = ctypes.CDLL("librdkafka.so.1")
    for name, result, *arguments in COMMON + functions:
        function = getattr(lib, "rd_kafka_" + name)
        function.restype, function.argtypes = result, arguments
    return lib


def client(lib, kind, brokers, **properties):
    """A client; properties have _ where librdkafka's have dots."""
    words = ctypes.create_string_buffer(512)
    conf = lib.rd_kafka_conf_new()
    for key, value in {"bootstrap_servers": brokers, **properties}.items():
        if lib.rd_kafka_conf_set(conf, key.replace("_", ".").encode(),
                                 value.encode(), words, len(words)) != 0:
            raise Failure(words.value.decode())
    made = lib.rd_kafka_new(kind, conf, words, len(words))
    if not made:
        raise Failure(words.value.decode())
    return made


class Admin:
    """A client that changes a cluster."""

    def __init__(self, brokers, *functions):
        self.lib = library(*functions)
        self.client = client(self.lib, PRODUCER, brokers)
        self.queue = self.lib.rd_kafka_queue_new(self.client)

    def make(self, constructor, *arguments):
        """An object whose constructor has room for the words of an error."""
        words = ctypes.create_string_buffer(512)
        made = getattr(self.lib, "rd_kafka_" + constructor)(
            *arguments, words, len(words))
        if not made:
            raise Failure(words.value.decode())
        return made

    def request(self, name, objects, options=None):
        """Ask for a change of some objects; returns its result."""
        getattr(self.lib, "rd_kafka_" + name)(
            self.client, (POINTER * len(objects))(*objects), len(objects),
            options, self.queue)
        return getattr(self.lib, f"rd_kafka_event_{name}_result")(
            self.answer())

    def answer(self):
        event = self.lib.rd_kafka_queue_poll(self.queue, LIMIT * 1000)
        if not event:
            raise Failure("no answer")
        if self.lib.rd_kafka_event_error(event):
            raise Failure(self.lib.rd_kafka_event_error_string(event).decode())
        return event
