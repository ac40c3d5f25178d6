"""A temporary file as an answer."""

from __future__ import annotations

from collections.abc import Iterator
from typing import IO

from fastapi.responses import StreamingResponse

CHUNK_BYTES = 1 << 18


def file_answer(file: IO[bytes], kind: str, name: str) -> StreamingResponse:
    """Sends what has been written to the file, which is closed behind it, under this name."""
    headers = {"Content-Disposition": f'attachment; filename="{name}"', "Content-Length": str(file.tell())}
    return StreamingResponse(_chunks(file), media_type=kind, headers=headers)


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        file.seek(0)
        while chunk := file.read(CHUNK_BYTES):
            yield chunk
