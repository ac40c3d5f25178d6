"""Protection against other sites' pages, under whatever name a browser reaches this machine."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.types import Scope

from api.settings import Settings
from api.web.errors import Problem
from ncore.faults import shortened

SAFE = ("GET", "HEAD", "OPTIONS")
OWN_SITE = ("same-origin", "none")
"""The values of Sec-Fetch-Site for requests of our own page, and for an address that was typed."""


def host_of(netloc: str) -> str:
    """The name or address in `name:port`, without port, brackets and final dot."""
    try:
        return (urlsplit(f"//{netloc.strip()}").hostname or "").rstrip(".")
    except ValueError:
        return ""


def is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_public(settings: Settings, host: str) -> bool:
    """Whether who listens at `host` is open to other machines and asks nobody for a token."""
    return not settings.asks_for_tokens and not is_loopback(host_of(host) or host.strip("[]"))


def open_doors(settings: Settings, listening: str | None = None) -> str | None:
    """The warning of who listens for everybody, at the settings' address or at the one that a connection has."""
    if not is_public(settings, listening or settings.host):
        return None
    address = listening or f"{settings.host}:{settings.port}"
    return f"ANYBODY who reaches {address} can submit, read and delete here: set NCORE_TOKENS, or listen at 127.0.0.1"


def refusal(settings: Settings, scope: Scope) -> Problem | None:
    """The 403 for a name that is not ours, and for a change that another site's page asks for; else None."""
    headers = [(name, value.decode("latin-1")) for name, value in scope["headers"]]
    named = [value for name, value in headers if name == b"host"]
    if not settings.asks_for_tokens and scope["path"] != "/healthz":
        strange = next((host for host in named if not _is_ours(host_of(host), settings, scope)), None)
        if strange is not None:
            return _no(
                "Host",
                f"{shortened(strange)} is not a name of this service; if it is, add it to NCORE_ALLOWED_HOSTS, "
                "or have tokens asked for by NCORE_TOKENS",
            )
    if scope["method"] in SAFE:
        return None
    given = dict(headers)
    site, origin = given.get(b"sec-fetch-site"), given.get(b"origin")
    if site is not None and site.lower() not in OWN_SITE:
        return _no("Sec-Fetch-Site", f"a page of another site may change nothing here; got {shortened(site)}")
    if site is None and origin is not None and not _is_same(origin, named, settings):
        return _no("Origin", f"a page of another site may change nothing here; got {shortened(origin)}")
    return None


def _no(header: str, message: str) -> Problem:
    return Problem(403, f"{header}: {message}", [{"field": header, "message": message}])


def _is_ours(host: str, settings: Settings, scope: Scope) -> bool:
    """Whether the name is ours. By DNS rebinding other sites' pages reach loopback too, but never under an address."""
    allowed = settings.allowed_host_set
    own = (scope.get("server") or ("",))[0]
    return is_loopback(host) or host in {settings.host.strip("[]").lower(), own} or "*" in allowed or host in allowed


def _is_same(origin: str, named: Iterable[str], settings: Settings) -> bool:
    try:
        parts = urlsplit(origin)
    except ValueError:
        return False
    standard = {"http": ":80", "https": ":443"}.get(parts.scheme, "")
    ours = {name.lower().removesuffix(standard) for name in named}
    return parts.netloc.lower().removesuffix(standard) in ours or (parts.hostname or "") in settings.allowed_host_set
