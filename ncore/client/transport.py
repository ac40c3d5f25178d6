"""Requests to a service that may be restarted meanwhile, and what can come back instead of an answer."""

from __future__ import annotations

import ipaddress
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # imported where a request is made: a tenth of a second that `ncore run` does without
    import httpx

RETRY_SECONDS = 0.3
SWEEP_SECONDS = 600.0
"""What changes a whole sweep may take: 10,000 combinations are written in parts, in about half a minute when quiet."""


class ApiError(RuntimeError):
    """The service refused (RFC 9457): `status`, `title`, and `errors` as {"field", "message"}; `str` is the detail."""

    def __init__(self, status: int, title: str, detail: str, errors: list[dict[str, str]]) -> None:
        super().__init__(detail)
        self.status, self.title, self.detail, self.errors = status, title, detail, errors


class NotReached(RuntimeError):  # noqa: N818 (says what is the case)
    """No service answers at this address."""


class Transport:
    """HTTP to one service. What may be sent twice is sent again for `patience_seconds` while nothing answers."""

    def __init__(self, url: str, token: str | None, timeout_seconds: float, patience_seconds: float) -> None:
        self.url, self.patience_seconds, self._timeout_seconds = url, patience_seconds, timeout_seconds
        self._was_reached = False
        self._http = _http_client(url, token, timeout_seconds)

    def close(self) -> None:
        self._http.close()

    def send(self, method: str, path: str, *, repeatable: bool | None = None, **options: Any) -> httpx.Response:
        """The answer; GET is repeatable, others only where said. Raises ApiError for a refusal, NotReached."""
        import httpx

        if method != "GET" and path.startswith("/sweeps"):  # sent again meanwhile, all of it would be written again
            longest = max(SWEEP_SECONDS, self._timeout_seconds)
            options.setdefault("timeout", httpx.Timeout(self._timeout_seconds, read=longest))
        repeatable = method == "GET" if repeatable is None else repeatable
        until = time.monotonic() + (self.patience_seconds if repeatable else 0.0)
        while True:
            try:
                response = self._http.request(method, path, **options)
            except httpx.UnsupportedProtocol as error:
                raise ValueError(f"url: must be like http://127.0.0.1:8000; got {self.url!r}") from error
            except httpx.TransportError as error:
                self.wait_a_little(error, until)
                continue
            self._was_reached = True
            if response.status_code == 503 and time.monotonic() < until:
                time.sleep(RETRY_SECONDS)
                continue
            if response.is_error:
                raise refusal(response)
            return response

    @contextmanager
    def stream(
        self, path: str, headers: dict[str, str], params: Mapping[str, Any] | None = None
    ) -> Iterator[httpx.Response]:
        """An answer that is still being written. Raises ApiError, and httpx.TransportError where it breaks off."""
        with self._http.stream("GET", path, headers=headers, params=params) as response:
            if response.is_error:
                response.read()
                raise refusal(response)
            yield response

    def save(self, path: str, target: Path, params: Mapping[str, Any] | None = None) -> Path:
        """Writes an answer of any size to a file, which is there only once it is whole.

        Raises as `send` does, and OSError.
        """
        import httpx

        part = target.with_name(f"{target.name}.part")
        until = time.monotonic() + self.patience_seconds
        while True:
            try:
                with self.stream(path, {}, params) as response, part.open("wb") as file:
                    for chunk in response.iter_bytes():
                        file.write(chunk)
                return part.replace(target)
            except httpx.TransportError as error:
                self.wait_a_little(error, until)
            finally:
                part.unlink(missing_ok=True)

    def wait_a_little(self, error: httpx.TransportError, until: float) -> None:
        """Before the next try. Raises NotReached when there is none: too late, or nothing has ever been here."""
        import httpx

        is_absent = isinstance(error, httpx.ConnectError) and not self._was_reached
        if is_absent or time.monotonic() > until:
            hint = f"no service answers at {self.url} ({error}); start one with `ncore up`"
            silent = f"what is at {self.url} has not answered in time ({error}): it may be busy, or stopped"
            raise NotReached(silent if isinstance(error, httpx.ReadTimeout) else hint) from error
        time.sleep(RETRY_SECONDS)


def is_loopback(host: str) -> bool:
    """Whether a name or an address of a URL is this machine's own."""
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _http_client(url: str, token: str | None, timeout_seconds: float) -> httpx.Client:
    """The environment's proxies are for other machines, never for this one. Raises ValueError."""
    import httpx

    headers = {b"Authorization": f"Bearer {token}".encode()} if token else {}
    try:
        elsewhere = not is_loopback(httpx.URL(url).host)
        options: dict[str, Any] = {"headers": headers, "timeout": timeout_seconds, "trust_env": elsewhere}
        return httpx.Client(base_url=url, auth=lambda request: request, **options)  # lest a .netrc take its place
    except httpx.InvalidURL as error:
        raise ValueError(f"url: must be like http://127.0.0.1:8000; got {url!r} ({error})") from error
    except ImportError as error:
        raise ValueError("the environment names a SOCKS proxy, which needs: pip install 'httpx[socks]'") from error
    except ValueError as error:
        raise ValueError(
            f"the environment's proxy (HTTP_PROXY, HTTPS_PROXY, ALL_PROXY) cannot be used: {error}"
        ) from error


def refusal(response: httpx.Response) -> ApiError:
    try:
        body = response.json()
    except ValueError:
        body = {}
    phrase = response.reason_phrase
    return ApiError(response.status_code, body.get("title", phrase), body.get("detail", phrase), body.get("errors", []))
