"""What every request passes: the token, the size of the body; and the clock that /metrics tells of."""

from __future__ import annotations

import secrets
import time

from prometheus_client import Histogram
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.database import integrity
from api.database.migrating import migrated
from api.settings import get_settings
from api.web.errors import Problem, answer

OPEN_PATHS = ("/healthz", "/", "/docs")
"""Free of tokens and of the database: liveness, and the pages on which a token is entered; they hold no data."""

READING_POSTS = ("/theory",)
"""Changes nothing, though it takes a body."""


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500

        async def observed(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._admit(scope, receive, observed)
        finally:
            observe(scope, status, time.perf_counter() - began)

    async def _admit(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        problem = _refusal(scope["method"], scope["path"], headers)
        if problem is not None:
            await answer(problem)(scope, receive, send)
            return
        if not migrated.is_set() and not _is_open(scope["path"]):
            detail = integrity.watch.damage or "the database is being prepared; try again"
            problem = Problem(503, detail, headers={"Retry-After": "1"})
            await answer(problem)(scope, receive, send)
            return
        if "\0" in scope["path"] or b"%00" in scope["query_string"]:
            await answer(Problem(400, "the character NUL is in no name, id or filter"))(scope, receive, send)
            return
        limit = get_settings().max_body_bytes
        body = await _read(receive, limit) if scope["method"] in ("POST", "PUT", "PATCH") else b""
        if body is None:
            problem = Problem(413, f"the body is larger than NCORE_MAX_BODY_BYTES = {limit}")
            await answer(problem)(scope, receive, send)
            return
        await self.app(scope, _replay(body, receive), send)


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith("/static/")


def _refusal(method: str, path: str, headers: dict[bytes, bytes]) -> Problem | None:
    """401 without a token, 403 for what changes something with a token that may only read."""
    settings = get_settings()
    if not (settings.token_set or settings.read_token_set) or _is_open(path):
        return None
    scheme, _, given = headers.get(b"authorization", b"").partition(b" ")
    is_bearer = scheme.lower() == b"bearer"
    may_change = _is_one_of(given, settings.token_set) and is_bearer
    may_read = _is_one_of(given, settings.read_token_set) and is_bearer
    if may_change or (may_read and (method in ("GET", "HEAD", "OPTIONS") or path in READING_POSTS)):
        return None
    if may_read:
        return Problem(403, f"this token is of NCORE_READ_TOKENS: it may read, not {method} {path}")
    return Problem(401, "a token is needed: Authorization: Bearer …", headers={"WWW-Authenticate": "Bearer"})


def _is_one_of(given: bytes, tokens: frozenset[str]) -> bool:
    """Every token is compared, so that the time does not tell which one was nearly right."""
    return sum(secrets.compare_digest(given.strip(), token.encode()) for token in tokens) > 0


async def _read(receive: Receive, limit: int) -> bytes | None:
    """The whole body, with or without a Content-Length; None when it is larger than the limit."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        if len(body) > limit:
            return None
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    told = False

    async def replayed() -> Message:
        nonlocal told
        if told:
            return await receive()
        told = True
        return {"type": "http.request", "body": body, "more_body": False}

    return replayed


REQUEST_SECONDS = Histogram(
    "ncore_http_request_seconds",
    "Time until the whole answer was sent",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)


def observe(scope: Scope, status: int, seconds: float) -> None:
    """Counts a request under its route's template, so that ids make no series of their own."""
    route = getattr(scope.get("route"), "path", "unknown")
    REQUEST_SECONDS.labels(scope["method"], route, str(status)).observe(seconds)
