"""Connections that nobody uses are closed: `uvicorn … --http api.web.sockets:Sockets`.

uvicorn itself waits for ever for the first request of a connection, and for a reader that has stopped to read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

HEAD_SECONDS = 15.0
"""Time limit for a request's line and headers, from the connection or from the first byte."""
HEAD_BYTES = 65_536
STALLED_SECONDS = 120.0
"""Time after which an answer is abandoned if the reader takes no more bytes."""


class Sockets(HttpToolsProtocol):
    """uvicorn's protocol with clocks for what it does not watch."""

    _head_timer: asyncio.TimerHandle | None = None
    _write_timer: asyncio.TimerHandle | None = None
    _head_bytes = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self.is_between_requests:
            self._head_bytes += len(data)
        super().data_received(data)
        if self.transport.is_closing():
            return
        if self.is_between_requests:
            self._await_head()
            if self._head_bytes > HEAD_BYTES:
                self.send_400_response(f"The request's headers are longer than {HEAD_BYTES} bytes.")

    @property
    def is_between_requests(self) -> bool:
        return self.cycle is None or self.cycle.response_complete

    def on_headers_complete(self) -> None:
        _cancel(self._head_timer)
        self._head_timer, self._head_bytes = None, 0
        super().on_headers_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._write_timer = self._write_timer or self._after(STALLED_SECONDS, self.transport.abort)

    def resume_writing(self) -> None:
        _cancel(self._write_timer)
        self._write_timer = None
        super().resume_writing()

    def connection_lost(self, exc: Exception | None) -> None:
        _cancel(self._head_timer)
        _cancel(self._write_timer)
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._head_timer = self._head_timer or self._after(HEAD_SECONDS, self.transport.close)

    def _after(self, seconds: float, close: Callable[[], None]) -> asyncio.TimerHandle:
        return self.loop.call_later(seconds, close)


def _cancel(timer: asyncio.TimerHandle | None) -> None:
    if timer is not None:
        timer.cancel()
