"""Faults of a spec or a request, field by field, in words that quote the given value; bounded in number and length."""

from __future__ import annotations

import reprlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ncore.text import escaped

MAX_FAULTS = 100
MAX_FIELD = 120
MAX_MESSAGE = 400
MAX_LISTED = 10
"""Faults that the summary in one line names."""
Fault = dict[str, str]

_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxlist, _brief.maxtuple, _brief.maxdict = 3, 8, 8, 4
_brief.maxstring, _brief.maxother, _brief.maxlong = 70, 70, 40


def shortened(value: Any, most: int = 80) -> str:
    """Any value in a few words, whatever its size: what is left out is not even looked at."""
    text = _brief.repr(value)
    return text if len(text) <= most else f"{text[: most - 3]}..."


def bounded(faults: Iterable[Mapping[str, str]]) -> list[Fault]:
    """The first faults, short and of plain characters, and how many more there are."""
    found = list(faults)
    kept = [
        {"field": _cut(fault["field"], MAX_FIELD), "message": _cut(fault["message"], MAX_MESSAGE)}
        for fault in found[:MAX_FAULTS]
    ]
    if len(found) > MAX_FAULTS:
        kept[-1] = {"field": "", "message": f"and {len(found) - MAX_FAULTS + 1} more faults"}
    return kept


def summary(faults: Sequence[Mapping[str, str]]) -> str:
    """The faults in one line."""
    listed = [": ".join(filter(None, (fault["field"], fault["message"]))) for fault in faults[:MAX_LISTED]]
    return "; ".join([*listed, f"and {len(faults) - MAX_LISTED} more"] if len(faults) > MAX_LISTED else listed)


def _cut(text: str, most: int) -> str:
    return escaped(text if len(text) <= most else f"{text[: most - 3]}...")


class SpecError(ValueError):
    """A spec that is refused; `errors` holds one {"field", "message"} for each fault, `field` a dotted path."""

    def __init__(self, errors: Iterable[Mapping[str, str]]) -> None:
        self.errors = bounded(errors)
        super().__init__(summary(self.errors))


_WORDS = {
    "missing": "is required",
    "extra_forbidden": "unknown field",
    "int_type": "must be a whole number",
    "int_from_float": "must be a whole number",
    "int_parsing": "must be a whole number",
    "int_parsing_size": "must be a whole number of at most 64 bits",
    "float_type": "must be a number",
    "float_parsing": "must be a number",
    "finite_number": "must be a finite number",
    "bool_type": "must be true or false",
    "bool_parsing": "must be true or false",
    "string_type": "must be a text",
    "string_unicode": "must be a text of whole characters, not half a surrogate pair",
    "string_too_short": "must not be empty",
    "list_type": "must be a list",
    "tuple_type": "must be a list",
    "dict_type": "must be an object",
    "model_type": "must be an object",
    "model_attributes_type": "must be an object",
    "mapping_type": "must be an object",
    "union_tag_not_found": "must have a `kind`",
}
_WITHOUT_VALUE = ("missing", "extra_forbidden", "union_tag_not_found")


def _message(kind: str, text: str, context: Mapping[str, Any]) -> str:
    """The words for one of pydantic's kinds of faults; its own text where that says it in plain words."""
    if kind in _WORDS:
        return _WORDS[kind]
    if kind == "string_too_long":
        return f"must have at most {context['max_length']} characters"
    if kind in ("too_short", "too_long"):
        bound = context["min_length" if kind == "too_short" else "max_length"]
        return f"must have at {'least' if kind == 'too_short' else 'most'} {bound} entries"
    if kind == "union_tag_invalid":
        return f"must be one of {context['expected_tags']}"
    return text.removeprefix("Value error, ").replace("Input should be", "must be", 1)


def fault_of(item: Mapping[str, Any], field: str) -> Fault:
    """One of pydantic's findings at `field`, with the value that was refused."""
    kind, message = item["type"], _message(item["type"], item["msg"], item.get("ctx", {}))
    named, _, rest = message.partition(": ")
    if kind == "value_error" and rest and " " not in named:  # raised by a part's validator, which names the field
        return {"field": f"{field}.{named}" if field else named, "message": rest}
    if kind in _WITHOUT_VALUE or (kind == "value_error" and "; got " in message):
        return {"field": field, "message": message}
    return {"field": field, "message": f"{message}; got {shortened(item['input'])}"}
