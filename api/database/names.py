"""Names as search compares them: alike on every database."""

from __future__ import annotations

import unicodedata


def folded(text: str) -> str:
    """The text as search compares it: without case, and letters with accents in one form, as Unicode has it."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFD", text).casefold())
