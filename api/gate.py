"""What every request passes: the token, the size of the body, the headers against sniffing."""

from __future__ import annotations

import secrets
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.errors import Problem, answer
from api.settings import get_settings

OPEN_PATHS = ("/healthz", "/", "/docs")
"""Free of tokens: liveness, and the pages on which the token is entered; they hold no data."""


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        headers = dict(scope["headers"])
        if not _is_allowed(scope["path"], headers):
            problem = Problem(401, "a token is needed: Authorization: Bearer …", headers={"WWW-Authenticate": "Bearer"})
            await answer(problem)(scope, receive, send)
            return
        limit = get_settings().max_body_bytes
        if int(headers.get(b"content-length", b"0") or 0) > limit:
            await answer(_too_large(limit))(scope, receive, send)
            return
        await self.app(scope, _limited(receive, limit), send)


def _is_allowed(path: str, headers: dict[bytes, bytes]) -> bool:
    tokens = get_settings().token_set
    if not tokens or path in OPEN_PATHS or path.startswith("/static/"):
        return True
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    # every token is compared, so that the time does not tell which one was nearly right
    matches = [secrets.compare_digest(given.strip(), token.encode()) for token in tokens]
    return scheme.lower() == b"bearer" and any(matches)


def _too_large(limit: int) -> Problem:
    return Problem(413, f"the body is larger than NCORE_MAX_BODY_BYTES = {limit}")


def _limited(receive: Receive, limit: int) -> Any:
    seen = 0

    async def counted() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise _too_large(limit)
        return message

    return counted
