"""The body of a request: read within bounds of size and time, unpacked, as UTF-8."""

from __future__ import annotations

import asyncio
import json
import zlib
from typing import NamedTuple

from starlette.types import Message, Receive

from api.web.errors import Problem
from ncore.faults import shortened

BODY_SECONDS = 60.0
"""A body that has not arrived by then is refused."""
WINDOWS = {"gzip": 16 + zlib.MAX_WBITS, "x-gzip": 16 + zlib.MAX_WBITS, "deflate": zlib.MAX_WBITS}
JSON_TYPE = b"application/json"
Headers = list[tuple[bytes, bytes]]


class Limit(NamedTuple):
    """Most bytes of a body, and the setting that says so."""

    setting: str
    size: int

    def check(self, what: str, size: int) -> None:
        if size > self.size:
            raise Problem(413, f"the {what} is larger than {self.setting} = {self.size}")


async def read(receive: Receive, headers: Headers, limit: Limit, *, is_json: bool) -> tuple[bytes, Headers]:
    """The body as the routes take it, and the headers that say so. Raises Problem: 400, 408, 413, 415."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            packed = await _received(receive, limit)
    except TimeoutError:
        raise Problem(408, f"the body did not come in within {BODY_SECONDS:g} s") from None
    body = packed
    for coding in reversed(_listed(headers, b"content-encoding")):
        body = _unpacked(body, coding, limit)
    kinds = [value for name, value in headers if name == b"content-type"]
    rest = [(n, v) for n, v in headers if n not in (b"content-encoding", b"content-length", b"content-type")]
    if body and is_json:
        kinds = [_json_type(kinds[-1])] if kinds else [JSON_TYPE]
        body = _as_utf8(body)
    rest += [(b"content-type", kind) for kind in kinds]
    return body, [*rest, (b"content-length", str(len(body)).encode())]


async def _received(receive: Receive, limit: Limit) -> bytes:
    """The whole body, with or without a Content-Length."""
    body = bytearray()
    while True:
        message = await receive()
        body += message.get("body", b"")
        limit.check("body", len(body))
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return bytes(body)


def _listed(headers: Headers, wanted: bytes) -> list[str]:
    values = b",".join(value for name, value in headers if name == wanted).decode("latin-1")
    return [word for word in (value.strip().lower() for value in values.split(",")) if word and word != "identity"]


def _unpacked(body: bytes, coding: str, limit: Limit) -> bytes:
    if coding not in WINDOWS:
        message = f"must be gzip, deflate or identity; got {shortened(coding)}"
        raise Problem(415, f"Content-Encoding: {message}", [{"field": "Content-Encoding", "message": message}])
    unpacked = bytearray()
    try:
        while body:  # a gzip file can have several members
            part = zlib.decompressobj(WINDOWS[coding])
            unpacked += part.decompress(body, limit.size + 1 - len(unpacked))
            limit.check("unpacked body", len(unpacked))
            if not part.eof:
                raise Problem(400, f"the body ends in the middle of its {coding} data")
            body = part.unused_data
    except zlib.error:
        raise Problem(400, f"the body is not {coding} data, as its Content-Encoding says") from None
    return bytes(unpacked)


def _json_type(given: bytes) -> bytes:
    kind = given.partition(b";")[0].strip().lower()
    if kind == JSON_TYPE or (kind.startswith(b"application/") and kind.endswith(b"+json")):
        return JSON_TYPE
    message = f"must be application/json (curl: --json instead of -d); got {shortened(given.decode('latin-1'))}"
    raise Problem(415, f"Content-Type: {message}", [{"field": "Content-Type", "message": message}])


def _as_utf8(body: bytes) -> bytes:
    """JSON comes in UTF-8, UTF-16 or UTF-32, with or without a byte order mark."""
    encoding = json.detect_encoding(body)
    try:
        return body.decode(encoding).removeprefix("\ufeff").encode()
    except UnicodeDecodeError as error:
        raise Problem(400, f"the body is not {encoding.upper()} at byte {error.start}") from None


def replayed(body: bytes, receive: Receive) -> Receive:
    """A `receive` that gives this body first."""
    left: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive_on() -> Message:
        return left.pop() if left else await receive()

    return receive_on
