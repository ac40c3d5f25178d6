"""Titles and names that fit: wrapped and shortened by the width that they take, East Asian letters two columns each."""

from __future__ import annotations

import unicodedata

ELLIPSIS = "…"


def width(text: str) -> int:
    """Columns that the text takes: two for a wide letter, none for an accent or an invisible one."""
    return sum(_columns(letter) for letter in text)


def _columns(letter: str) -> int:
    if unicodedata.combining(letter) or unicodedata.category(letter) in ("Cf", "Me", "Mn"):
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def wrapped(text: str, columns: int, lines: int) -> list[str]:
    """At most `lines` lines of `columns`, broken at blanks, a longer word anywhere; the last one shortened."""
    made = [""]
    for word in text.split():
        rest = word
        while rest:
            line = f"{made[-1]} {rest}".strip()
            if width(line) <= columns:
                made[-1], rest = line, ""
            elif made[-1]:
                made.append("")
            else:
                head = _head(rest, columns)
                made[-1], rest = head, rest[len(head) :]
                made.append("")
    made = [line for line in made if line]
    if len(made) > lines:
        made[lines - 1 :] = [_head(made[lines - 1], columns - 1) + ELLIPSIS]
    return made


def title_of(text: str, columns: int, lines: int) -> str | list[str]:
    """The wrapped text as Vega-Lite takes a title: a list only where it has several lines."""
    made = wrapped(text, columns, lines)
    return made if len(made) > 1 else "".join(made)


def shortened(text: str, columns: int) -> str:
    """The text in at most `columns`, its middle left out: names of a series of runs differ at their ends."""
    if width(text) <= columns:
        return text
    tail = _head(text[::-1], (columns - 1) // 2)[::-1]
    return _head(text, columns - 1 - width(tail)) + ELLIPSIS + tail


def _head(text: str, columns: int) -> str:
    """The longest beginning that takes no more columns; at least one letter."""
    taken = 0
    for i, letter in enumerate(text):
        taken += _columns(letter)
        if taken > columns and i > 0:
            return text[:i]
    return text


def distinct(names: list[str], columns: int) -> list[str]:
    """The names shortened, numbered where that makes two of them equal."""
    made: list[str] = []
    for name in names:
        short, number = shortened(name, columns), 2
        while short in made:
            short, number = f"{shortened(name, columns - 4)} ({number})", number + 1
        made.append(short)
    return made
