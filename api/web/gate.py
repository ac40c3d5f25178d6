"""The gate that every request passes: host, token, size and coding of the body; and the time it takes, for /metrics."""

from __future__ import annotations

import logging
import secrets
import time

from prometheus_client import Histogram
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api.database import integrity
from api.database.migrating import migrated
from api.settings import get_settings
from api.web import hosts, incoming
from api.web.errors import Problem, answer
from api.web.hosts import open_doors

log = logging.getLogger("ncore.api")

OPEN_PATHS = ("/healthz", "/", "/docs")
"""Free of tokens and of the database: liveness, and the pages on which a token is entered; they hold no data."""

READING_POSTS = ("/theory", "/estimate", "/sweeps/estimate", "/measure")
"""Changes nothing, though it takes a body."""

FILE_POSTS = ("/measure",)
"""Takes a file, not JSON."""


class Gate:
    """ASGI middleware."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app
        self._has_warned = False

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began, status = time.perf_counter(), 500
        inner = {**scope, "method": "GET"} if scope["method"] == "HEAD" else scope

        async def observed(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            self._warn_once(scope)
            _check(scope)
            if scope["method"] == "HEAD":
                await self._head(inner, receive, observed)
            elif scope["method"] in ("POST", "PUT", "PATCH"):
                is_file = scope["path"] in FILE_POSTS
                setting = "max_measure_bytes" if is_file else "max_body_bytes"
                limit = incoming.Limit(f"NCORE_{setting.upper()}", getattr(get_settings(), setting))
                body, inner["headers"] = await incoming.read(receive, scope["headers"], limit, is_json=not is_file)
                await self.app(inner, incoming.replayed(body, receive), observed)
            else:
                await self.app(inner, receive, observed)
        except Problem as problem:
            await answer(problem)(scope, receive, observed)
        finally:
            observe(scope["method"], inner, status, time.perf_counter() - began)

    async def _head(self, scope: Scope, receive: Receive, send: Send) -> None:
        """GET without its body, of which no more is made than is needed to know the headers."""

        async def without_body(message: Message) -> None:
            await send({**message, "body": b"", "more_body": False} if "body" in message else message)
            if message.get("more_body", False):
                raise _NoMoreWanted

        try:
            await self.app(scope, receive, without_body)
        except (_NoMoreWanted, ClientDisconnect):
            return

    def _warn_once(self, scope: Scope) -> None:
        """The address of a connection: a server started without our settings can be known from that alone."""
        address = (scope.get("server") or ("",))[0]
        warning = None if self._has_warned or not address else open_doors(get_settings(), address)
        if warning is not None:
            self._has_warned = True
            log.warning(warning)


class _NoMoreWanted(OSError):  # noqa: N818 (no error)
    """Ends an answer as a client does that hangs up."""


def _check(scope: Scope) -> None:
    """Raises the Problem for which a request goes no further."""
    path, settings = scope["path"], get_settings()
    problem = hosts.refusal(settings, scope) or _token_refusal(scope["method"], path, dict(scope["headers"]))
    if problem is not None:
        raise problem
    if not migrated.is_set() and not _is_open(path):
        detail = integrity.watch.damage or "the database is being prepared; try again"
        raise Problem(503, detail, headers={"Retry-After": "1"})
    if "\0" in path or b"%00" in scope["query_string"]:
        raise Problem(400, "the character NUL is in no name, id or filter")


def _is_open(path: str) -> bool:
    return path in OPEN_PATHS or path.startswith("/static/")


def _token_refusal(method: str, path: str, headers: dict[bytes, bytes]) -> Problem | None:
    """401 without a token, 403 for what changes something with a token that may only read."""
    settings = get_settings()
    if not settings.asks_for_tokens or _is_open(path):
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
    """Compares with every token, so that the time it takes does not show which one was nearly right."""
    return sum(secrets.compare_digest(given.strip(), token.encode()) for token in tokens) > 0


REQUEST_SECONDS = Histogram(
    "ncore_http_request_seconds",
    "Time until the whole answer was sent",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)


def observe(method: str, scope: Scope, status: int, seconds: float) -> None:
    """Counts a request under its route's template, so that ids make no series of their own."""
    route = getattr(scope.get("route"), "path", "unknown")
    REQUEST_SECONDS.labels(method, route, str(status)).observe(seconds)
