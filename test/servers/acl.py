#!/usr/bin/env python3
# acl.py
#     Gives and takes rights on a Kafka cluster for tests, in milliseconds
#     where Kafka's own tool needs a second and more.
#
# It must not return before a broker judges by what was changed.
#
# usage: acl.py BROKERS add|remove USER OPERATION RESOURCE [NAME]
#               [--deny] [--prefix]
#
# OPERATION is all, read, write, create, delete, alter, describe,
# cluster_action, describe_configs, alter_configs or idempotent_write, or
# several of them with commas; RESOURCE topic, group or cluster, which has no
# NAME.  With --deny the right is denied instead of given; with --prefix NAME is
# the beginning of names.  The brokers must be those of a listener whose users
# may change rights.

import argparse
import ctypes
import sys
import time

LIMIT = 30                      # seconds until a change must have come
OPERATIONS = ("all", "read", "write", "create", "delete", "alter", "describe",
              "cluster_action", "describe_configs", "alter_configs",
              "idempotent_write")
FIRST_OPERATION = 2             # RD_KAFKA_ACL_OPERATION_ALL
RESOURCES = {"topic": 2, "group": 3, "cluster": 4}
LITERAL, PREFIXED = 3, 4
DENY, ALLOW = 2, 3
CLUSTER_NAME = "kafka-cluster"
PRODUCER = 0


def library():
    lib = ctypes.CDLL("librdkafka.so.1")
    pointer, text, number = ctypes.c_void_p, ctypes.c_char_p, ctypes.c_int
    size = ctypes.c_size_t
    binding = (number, text, number, text, text, number, number, text, size)
    request = (pointer, pointer, size, pointer, pointer)
    for name, result, *arguments in (
            ("conf_new", pointer),
            ("conf_set", number, pointer, text, text, text, size),
            ("new", pointer, number, pointer, text, size),
            ("queue_new", pointer, pointer),
            ("queue_poll", pointer, pointer, number),
            ("AclBinding_new", pointer, *binding),
            ("AclBindingFilter_new", pointer, *binding),
            ("CreateAcls", None, *request),
            ("DeleteAcls", None, *request),
            ("DescribeAcls", None, pointer, pointer, pointer, pointer),
            ("event_error", number, pointer),
            ("event_error_string", text, pointer),
            ("event_CreateAcls_result", pointer, pointer),
            ("CreateAcls_result_acls", ctypes.POINTER(pointer), pointer,
             ctypes.POINTER(size)),
            ("acl_result_error", pointer, pointer),
            ("error_string", text, pointer),
            ("DescribeAcls_result_acls", pointer, pointer,
             ctypes.POINTER(size)),
            ("event_destroy", None, pointer)):
        function = getattr(lib, "rd_kafka_" + name)
        function.restype, function.argtypes = result, arguments
    return lib


class Acls:
    """A client that changes rights."""

    def __init__(self, brokers):
        words = ctypes.create_string_buffer(512)
        self.lib = library()
        conf = self.lib.rd_kafka_conf_new()
        self.lib.rd_kafka_conf_set(conf, b"bootstrap.servers",
                                   brokers.encode(), words, len(words))
        self.client = self.lib.rd_kafka_new(PRODUCER, conf, words, len(words))
        if not self.client:
            sys.exit(f"acl: {words.value.decode()}")
        self.queue = self.lib.rd_kafka_queue_new(self.client)

    def binding(self, make, user, operation, options):
        words = ctypes.create_string_buffer(512)
        made = make(RESOURCES[options.resource],
                    (options.name or CLUSTER_NAME).encode(),
                    PREFIXED if options.prefix else LITERAL,
                    f"User:{user}".encode(), b"*",
                    FIRST_OPERATION + OPERATIONS.index(operation),
                    DENY if options.deny else ALLOW, words, len(words))
        if not made:
            sys.exit(f"acl: {words.value.decode()}")
        return ctypes.c_void_p(made)

    def answer(self):
        event = self.lib.rd_kafka_queue_poll(self.queue, LIMIT * 1000)
        if not event:
            sys.exit("acl: no answer")
        if self.lib.rd_kafka_event_error(event):
            sys.exit("acl: " +
                     self.lib.rd_kafka_event_error_string(event).decode())
        return event

    def add(self, binding):
        count = ctypes.c_size_t()
        self.lib.rd_kafka_CreateAcls(self.client, ctypes.byref(binding), 1,
                                     None, self.queue)
        event = self.answer()
        acls = self.lib.rd_kafka_CreateAcls_result_acls(
            self.lib.rd_kafka_event_CreateAcls_result(event),
            ctypes.byref(count))
        error = self.lib.rd_kafka_acl_result_error(acls[0])
        if error:
            sys.exit("acl: " + self.lib.rd_kafka_error_string(error).decode())
        self.lib.rd_kafka_event_destroy(event)

    def remove(self, binding):
        self.lib.rd_kafka_DeleteAcls(self.client, ctypes.byref(binding), 1,
                                     None, self.queue)
        self.lib.rd_kafka_event_destroy(self.answer())

    def known(self, binding):
        count = ctypes.c_size_t()
        self.lib.rd_kafka_DescribeAcls(self.client, binding, None, self.queue)
        event = self.answer()
        self.lib.rd_kafka_DescribeAcls_result_acls(event, ctypes.byref(count))
        self.lib.rd_kafka_event_destroy(event)
        return count.value > 0


def change(brokers, options):
    acls = Acls(brokers)
    adding = options.action == "add"
    deadline = time.monotonic() + LIMIT
    for operation in options.operation.split(","):
        match = acls.binding(acls.lib.rd_kafka_AclBindingFilter_new,
                             options.user, operation, options)
        if adding:
            acls.add(acls.binding(acls.lib.rd_kafka_AclBinding_new,
                                  options.user, operation, options))
        else:
            acls.remove(match)
        while acls.known(match) != adding:
            if time.monotonic() > deadline:
                sys.exit("acl: the change has not come to the broker")
            time.sleep(0.01)


def add_arguments(parser):
    parser.add_argument("action", choices=("add", "remove"))
    parser.add_argument("user")
    parser.add_argument("operation")
    parser.add_argument("resource", choices=sorted(RESOURCES))
    parser.add_argument("name", nargs="?")
    parser.add_argument("--deny", action="store_true")
    parser.add_argument("--prefix", action="store_true")


def main():
    parser = argparse.ArgumentParser(description="rights on a Kafka cluster")
    parser.add_argument("brokers")
    add_arguments(parser)
    options = parser.parse_args()
    change(options.brokers, options)


if __name__ == "__main__":
    main()
