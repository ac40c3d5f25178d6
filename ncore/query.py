"""A query about experiments, `nc1.h1 < 1e-6 and tag:paper and not (status:failed or started < 2026-01-01)`, as a tree.

    query      = all { "or" all }
    all        = one { "and" one }
    one        = "not" one | "(" query ")" | comparison
    comparison = field operator value | field "in" "(" value { "," value } ")"
    field      = name | "min(" name ")" | "max(" name ")"
    operator   = "=" | "==" | ":" | "!=" | "<" | "<=" | ">" | ">=" | "~" (contains)

What a name is, and which values it takes, is for the one who reads the tree: here is only the form.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NoReturn

from ncore.faults import shortened

MAX_LENGTH = 2000
MAX_DEPTH = 20
"""Parentheses and `not` within each other."""
MAX_COMPARISONS = 50
MAX_VALUES = 100
"""Values of one `in`."""
OPERATORS = ("=", "==", ":", "!=", "<", "<=", ">", ">=", "~")
_TOKEN = re.compile(
    r"""(?P<time>\d{4}-\d\d-\d\dT[\d:.]+(?:Z|[+-]\d\d:?\d\d)?)  # the only word with colons
    |(?P<quoted>"(?:[^"]|"")*"|'(?:[^']|'')*')|(?P<list>\[[^\]]*\])|(?P<operator>[<>!=]=|[<>=~:])|(?P<mark>[(),])
    |(?P<word>[^\s()<>=!~:,"'\[][^\s()<>=!~:,"']*)|(?P<other>\S)""",
    re.VERBOSE,
)
_WORDS = ("and", "or", "not", "in")


class QueryError(ValueError):
    """A query that cannot be read; the message names the place, what stands there, and what may."""

    def __init__(self, message: str, position: int, token: str = "") -> None:
        self.position, self.token = position, token
        got = f"got {shortened(token)}" if token else "the query ends"
        super().__init__(f"{message}; {got} at character {position + 1}")


@dataclass(frozen=True)
class Token:
    kind: str
    text: str
    """The text without quotes."""
    position: int

    def refuse(self, message: str) -> NoReturn:
        """Raises the QueryError at this place."""
        raise QueryError(message, self.position, self.text or ('""' if self.kind == "quoted" else ""))


@dataclass(frozen=True)
class Comparison:
    """`field operator values`, one value but for `in`; `reduction` over seeds is "min", "max", or "" for the median."""

    field: Token
    reduction: str
    operator: str
    values: tuple[Token, ...]


@dataclass(frozen=True)
class Not:
    of: Condition


@dataclass(frozen=True)
class Every:
    of: tuple[Condition, ...]


@dataclass(frozen=True)
class Some:
    of: tuple[Condition, ...]


Condition = Comparison | Not | Every | Some


def parse(text: str) -> Condition | None:
    """The tree of a query; None of an empty one. Raises QueryError."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"must have at most {MAX_LENGTH} characters, not {len(text)}", MAX_LENGTH, text[MAX_LENGTH:])
    return _Reader(text).whole() if text.strip() else None


def field_of(text: str) -> tuple[Token, str]:
    """A field alone, as a column or what is sorted by: its name and its reduction. Raises QueryError."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"must have at most {MAX_LENGTH} characters, not {len(text)}", MAX_LENGTH, text[MAX_LENGTH:])
    reader = _Reader(text)
    found = reader.field()
    if reader.now.kind != "end":
        reader.now.refuse("expected the name of a field alone")
    return found


class _Reader:
    """Recursive descent over the tokens, a method for each line of the grammar."""

    def __init__(self, text: str) -> None:
        self._tokens = [_token(found) for found in _TOKEN.finditer(text)]
        self._end = Token("end", "", len(text))
        self._at = self._depth = self._comparisons = 0

    @property
    def now(self) -> Token:
        return self._tokens[self._at] if self._at < len(self._tokens) else self._end

    def _next(self) -> Token:
        token = self.now
        self._at += 1
        return token

    def _has(self, text: str) -> bool:
        """Whether this comes next, which is then read."""
        has = self.now.kind in ("word", "mark") and self.now.text.lower() == text
        self._at += has
        return has

    def whole(self) -> Condition:
        found = self._query()
        if self.now.kind != "end":
            self.now.refuse("expected `and`, `or` or the end")
        return found

    def _query(self) -> Condition:
        found = [self._all()]
        while self._has("or"):
            found.append(self._all())
        return found[0] if len(found) == 1 else Some(tuple(found))

    def _all(self) -> Condition:
        found = [self._one()]
        while self._has("and"):
            found.append(self._one())
        return found[0] if len(found) == 1 else Every(tuple(found))

    def _one(self) -> Condition:
        begin = self.now
        is_not = self._has("not")
        if not is_not and not self._has("("):
            return self._comparison()
        self._depth += 1
        if self._depth > MAX_DEPTH:
            begin.refuse(f"must have at most {MAX_DEPTH} `not` and parentheses within each other")
        if is_not:
            found: Condition = Not(self._one())
        else:
            found = self._query()
            if not self._has(")"):
                self.now.refuse("expected `and`, `or` or `)`")
        self._depth -= 1
        return found

    def _comparison(self) -> Comparison:
        self._comparisons += 1
        if self._comparisons > MAX_COMPARISONS:
            self.now.refuse(f"must have at most {MAX_COMPARISONS} comparisons")
        field, reduction = self.field()
        if self._has("in"):
            return Comparison(field, reduction, "in", self._values())
        operator = self.now
        if operator.kind != "operator":
            operator.refuse(f"expected one of {' '.join(OPERATORS)} in after {shortened(field.text)}")
        self._at += 1
        return Comparison(field, reduction, {"==": "="}.get(operator.text, operator.text), (self._value(),))

    def field(self) -> tuple[Token, str]:
        """A name, and what is taken of the seeds' values."""
        name = self._name()
        if name.text.lower() not in ("min", "max") or not self._has("("):
            return name, ""
        inner = self._name()
        if not self._has(")"):
            self.now.refuse("expected `)`")
        return inner, name.text.lower()

    def _name(self) -> Token:
        name = self._next()
        is_name = name.kind in ("word", "quoted") and bool(name.text)
        if not is_name or (name.kind == "word" and name.text.lower() in _WORDS):
            name.refuse("expected the name of a field")
        return name

    def _value(self) -> Token:
        value = self._next()
        if value.kind not in ("word", "quoted", "list", "time"):
            value.refuse("expected a value (texts with blanks or signs in quotes)")
        return value

    def _values(self) -> tuple[Token, ...]:
        if not self._has("("):
            self.now.refuse("expected `(` and values after `in`")
        found = [self._value()]
        while self._has(","):
            if len(found) == MAX_VALUES:
                self.now.refuse(f"must have at most {MAX_VALUES} values after `in`")
            found.append(self._value())
        if not self._has(")"):
            self.now.refuse("expected `,` or `)`")
        return tuple(found)


def _token(found: re.Match[str]) -> Token:
    kind = str(found.lastgroup)
    text = found[0]
    if kind == "quoted":
        text = text[1:-1].replace(text[0] * 2, text[0])
    return Token(kind, text, found.start())
