"""The contents of a file: its names, each read when it is asked for; and the errors that refuse it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

SHOWN_NAMES = 20
ZIP = b"PK"
"""How an archive begins."""


class UnreadableError(ValueError):
    """A file that cannot be measured; the message names the file, the key and what is allowed."""


@dataclass(frozen=True)
class Contents:
    """Names in the order of the file, and the array of each."""

    names: tuple[str, ...]
    read: Callable[[str], Any]


def listed(names: tuple[str, ...]) -> str:
    shown = ", ".join(repr(name[:64]) for name in names[:SHOWN_NAMES]) or "nothing"
    return shown + (f", … ({len(names)} in all)" if len(names) > SHOWN_NAMES else "")


def check_size(name: str, size_bytes: int, limit_bytes: int) -> None:
    """Raises UnreadableError before so much memory is taken."""
    if size_bytes > limit_bytes:
        raise UnreadableError(
            f"{name}: declares {_in_words(size_bytes)}, the limit is {_in_words(limit_bytes)} (all that is read)"
        )


def _in_words(size_bytes: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.4g} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.4g} GiB"
