# odsql.py
#     A small ODSQL: the conditions and orders that the extension sends, parsed
#     and evaluated for the stand-in of the Explore API (explore_api.py).
#
# It must not be lenient: what it does not know is an error, in the API's form,
# so that a condition that the real API would refuse does not pass here.
#
# Grammar of a condition (names of fields, bare or in back quotes):
#
#     or        := and ('or' and)*
#     and       := not ('and' not)*
#     not       := 'not' not | '(' or ')' | field test
#     test      := 'is' ['not'] 'null' | op literal
#     op        := '=' | '==' | '!=' | '<>' | '<' | '<=' | '>' | '>='
#     literal   := number | '..' | ".." | date'..' | date".."
#
# Nulls compare as in SQL: the result is unknown, and an unknown condition does
# not select its row.

import datetime
import operator
import re

OPS = {"=": operator.eq, "==": operator.eq, "!=": operator.ne,
       "<>": operator.ne, "<": operator.lt, "<=": operator.le,
       ">": operator.gt, ">=": operator.ge}

TOKEN = re.compile(r"""\s*(?:
    (?P<date>date\s*(?:'[^']*'|"[^"]*"))
  | (?P<number>[-+]?\d+(?:\.\d+)?(?![\w.]))
  | (?P<name>[A-Za-z_]\w*|`[^`]+`)
  | (?P<text>'(?:[^'\\]|\\.)*'|"(?:[^"\\]|\\.)*")
  | (?P<op><=|>=|!=|<>|==|=|<|>)
  | (?P<paren>[(),])
)""", re.VERBOSE | re.IGNORECASE)

TIME = re.compile(r"^(\d{4})(?:-(\d\d)(?:-(\d\d)"
                  r"(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,6})\d*)?)?"
                  r"(Z|[-+]\d\d:?\d\d)?)?)?)?$")

EPOCH = datetime.datetime(1970, 1, 1)


class OdsqlError(Exception):
    """An error of the client's, with the API's code and words."""

    def __init__(self, code, message):
        super().__init__(message)
        self.code = code
        self.message = message


def syntax_error(clause, text, position, found):
    return OdsqlError(
        "ODSQLSyntaxError",
        f"ODSQL syntax exception: unexpected {found} at position {position}"
        f" in {text}. Clause(s) containing the error(s): {clause}.")


def semantic_error(clause, what):
    return OdsqlError(
        "ODSQLError",
        f"ODSQL query is malformed: {what}."
        f" Clause(s) containing the error(s): {clause}.")


def micros(text):
    """A date or time as microseconds since 1970 (UTC); None if it is none."""
    found = TIME.match(text)
    if not found:
        return None
    year, month, day, hour, minute, second, fraction, zone = found.groups()
    try:
        when = datetime.datetime(int(year), int(month or 1), int(day or 1),
                                 int(hour or 0), int(minute or 0),
                                 int(second or 0))
    except ValueError:
        return None
    result = (when - EPOCH) // datetime.timedelta(microseconds=1)
    result += int((fraction or "0").ljust(6, "0"))
    if zone and zone != "Z":
        digits = zone[1:].replace(":", "")
        offset = int(digits[:2]) * 3600 + int(digits[2:]) * 60
        result -= (offset if zone[0] == "+" else -offset) * 1000000
    return result


def comparable(kind, value):
    """The value of a field of the given type in the form it is compared in."""
    if value is None:
        return None
    if kind in ("date", "datetime"):
        return micros(value) if isinstance(value, str) else None
    if kind in ("int", "double"):
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            return None
        return value
    if isinstance(value, list):
        return " ".join(str(v) for v in value)
    return value if isinstance(value, str) else str(value)


def tokens(clause, text):
    result = []
    at = 0
    while text[at:].strip():
        found = TOKEN.match(text, at)
        if not found:
            at += len(text[at:]) - len(text[at:].lstrip())
            raise syntax_error(clause, text, at, text[at])
        kind = found.lastgroup
        result.append((kind, found.group(kind), found.start(kind)))
        at = found.end()
    result.append(("end", "end of clause", len(text)))
    return result


class Condition:
    """A parsed where clause.

    fields are the names it reads; test(values) takes their comparable values
    in that order and returns True, False, or None for unknown.
    """

    def __init__(self, text, types, clause="where"):
        self.text = text
        self.types = types
        self.clause = clause
        self.fields = []
        self.tokens = tokens(clause, text)
        self.at = 0
        self.test = self.parse_or()
        if self.tokens[self.at][0] != "end":
            self.unexpected()

    def unexpected(self):
        _, found, position = self.tokens[self.at]
        raise syntax_error(self.clause, self.text, position, found)

    def next(self):
        self.at += 1
        return self.tokens[self.at - 1]

    def word(self, *words):
        kind, text, _ = self.tokens[self.at]
        if kind in ("name", "paren") and text.lower() in words:
            self.at += 1
            return True
        return False

    def expect(self, *words):
        if not self.word(*words):
            self.unexpected()

    def parse_or(self):
        parts = [self.parse_and()]
        while self.word("or"):
            parts.append(self.parse_and())
        if len(parts) == 1:
            return parts[0]

        def either(values):
            results = [part(values) for part in parts]
            return True if True in results else (
                None if None in results else False)
        return either

    def parse_and(self):
        parts = [self.parse_not()]
        while self.word("and"):
            parts.append(self.parse_not())
        if len(parts) == 1:
            return parts[0]

        def both(values):
            results = [part(values) for part in parts]
            return False if False in results else (
                None if None in results else True)
        return both

    def parse_not(self):
        if self.word("not"):
            part = self.parse_not()

            def opposite(values):
                result = part(values)
                return None if result is None else not result
            return opposite
        if self.word("("):
            part = self.parse_or()
            self.expect(")")
            return part
        return self.parse_test()

    def parse_test(self):
        kind, name, _ = self.tokens[self.at]
        if kind != "name" or name.lower() in ("and", "or", "is", "null"):
            self.unexpected()
        self.at += 1
        if self.tokens[self.at][1] == "(":
            self.unexpected()
        name = name.strip("`")
        if name not in self.types:
            raise semantic_error(self.clause, f"Unknown field: {name}")
        if name not in self.fields:
            self.fields.append(name)
        index = self.fields.index(name)
        if self.word("is"):
            negated = self.word("not")
            self.expect("null")
            return lambda values: (values[index] is None) != negated
        if self.tokens[self.at][0] != "op":
            self.unexpected()
        compare = OPS[self.next()[1]]
        constant = self.parse_literal(name)

        def test(values):
            value = values[index]
            return None if value is None else compare(value, constant)
        return test

    def parse_literal(self, name):
        kind, text, _ = self.tokens[self.at]
        field_type = self.types[name]
        if kind == "number":
            value = float(text) if "." in text else int(text)
            wanted = ("int", "double")
        elif kind == "date":
            value = micros(text[4:].strip()[1:-1])
            if value is None:
                raise semantic_error(self.clause, f"Invalid date: {text}")
            wanted = ("date", "datetime")
        elif kind == "text":
            value = re.sub(r"\\(.)", r"\1", text[1:-1])
            wanted = ("text",)
            if field_type in ("date", "datetime"):
                value = micros(value)
                wanted = ("date", "datetime") if value is not None else ()
        else:
            self.unexpected()
        if field_type not in wanted:
            raise semantic_error(
                self.clause,
                f"Field {name} of type {field_type} cannot be compared with"
                f" {text}")
        self.at += 1
        return value


def parse_order(text, types, clause="order_by"):
    """An order_by clause as a list of (field, descending)."""
    found = tokens(clause, text)
    result = []
    at = 0
    while True:
        kind, name, position = found[at]
        if kind != "name":
            raise syntax_error(clause, text, position, name)
        name = name.strip("`")
        if name not in types:
            raise semantic_error(clause, f"Unknown field: {name}")
        at += 1
        descending = found[at][1].lower() == "desc"
        if found[at][1].lower() in ("asc", "desc"):
            at += 1
        result.append((name, descending))
        if found[at][0] == "end":
            return result
        if found[at][1] != ",":
            raise syntax_error(clause, text, found[at][2], found[at][1])
        at += 1


def parse_select(text, types, clause="select"):
    """A select clause as a list of fields; None for all of them."""
    if text.strip() == "*":
        return None
    found = tokens(clause, text)
    result = []
    for at, (kind, name, position) in enumerate(found[:-1]):
        if at % 2 == (name != ","):
            raise syntax_error(clause, text, position, name)
        if at % 2 == 0:
            if kind != "name":
                raise syntax_error(clause, text, position, name)
            if name.strip("`") not in types:
                raise semantic_error(clause, f"Unknown field: {name}")
            result.append(name.strip("`"))
    if len(found) % 2:
        raise syntax_error(clause, text, len(text), "end of clause")
    return result
