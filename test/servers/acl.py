# acl.py
#     Gives and takes rights on a Kafka cluster for tests.
#
# It must not return before a broker judges by what was changed.
#
# The brokers must be those of a listener whose users may change rights.

import ctypes
import time

import librdkafka
from librdkafka import (COUNT, LIST, NUMBER, POINTER, REQUEST, SIZE, TEXT,
                        Failure)

OPERATIONS = ("all", "read", "write", "create", "delete", "alter", "describe",
              "cluster_action", "describe_configs", "alter_configs",
              "idempotent_write")
FIRST_OPERATION = 2             # RD_KAFKA_ACL_OPERATION_ALL
RESOURCES = {"topic": 2, "group": 3, "cluster": 4}
LITERAL, PREFIXED = 3, 4
DENY, ALLOW = 2, 3
CLUSTER_NAME = "kafka-cluster"

BINDING = (NUMBER, TEXT, NUMBER, TEXT, TEXT, NUMBER, NUMBER, TEXT, SIZE)
FUNCTIONS = (
    ("AclBinding_new", POINTER, *BINDING),
    ("AclBindingFilter_new", POINTER, *BINDING),
    ("CreateAcls", None, *REQUEST),
    ("DeleteAcls", None, *REQUEST),
    ("DescribeAcls", None, POINTER, POINTER, POINTER, POINTER),
    ("event_CreateAcls_result", POINTER, POINTER),
    ("event_DeleteAcls_result", POINTER, POINTER),
    ("CreateAcls_result_acls", LIST, POINTER, COUNT),
    ("acl_result_error", POINTER, POINTER),
    ("DescribeAcls_result_acls", POINTER, POINTER, COUNT))


class Acls(librdkafka.Admin):
    """A client that changes rights."""

    def __init__(self, brokers):
        super().__init__(brokers, *FUNCTIONS)

    def binding(self, constructor, user, operation, options):
        return self.make(
            constructor, RESOURCES[options.resource],
            (options.name or CLUSTER_NAME).encode(),
            PREFIXED if options.prefix else LITERAL, f"User:{user}".encode(),
            b"*", FIRST_OPERATION + OPERATIONS.index(operation),
            DENY if options.deny else ALLOW)

    def add(self, binding):
        acls = self.lib.rd_kafka_CreateAcls_result_acls(
            self.request("CreateAcls", [binding]), ctypes.byref(SIZE()))
        error = self.lib.rd_kafka_acl_result_error(acls[0])
        if error:
            raise Failure(self.lib.rd_kafka_error_string(error).decode())

    def known(self, binding):
        count = SIZE()
        self.lib.rd_kafka_DescribeAcls(self.client, binding, None, self.queue)
        event = self.answer()
        self.lib.rd_kafka_DescribeAcls_result_acls(event, ctypes.byref(count))
        return count.value > 0


def change(brokers, options):
    acls = Acls(brokers)
    adding = options.action == "add"
    deadline = time.monotonic() + librdkafka.LIMIT
    for operation in options.operation.split(","):
        match = acls.binding("AclBindingFilter_new", options.user, operation,
                             options)
        if adding:
            acls.add(acls.binding("AclBinding_new", options.user, operation,
                                  options))
        else:
            acls.request("DeleteAcls", [match])
        while acls.known(match) != adding:
            if time.monotonic() > deadline:
                raise Failure("the change has not come to the broker")
            time.sleep(0.01)


def add_arguments(parser):
    parser.add_argument("action", choices=("add", "remove"))
    parser.add_argument("user")
    parser.add_argument("operation")
    parser.add_argument("resource", choices=sorted(RESOURCES))
    parser.add_argument("name", nargs="?")
    parser.add_argument("--deny", action="store_true")
    parser.add_argument("--prefix", action="store_true")
