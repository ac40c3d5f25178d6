"""Addresses in settings: what database, broker, artifacts and the API's own listening may be given as.

Every function raises ValueError in the words of a setting: what it must be, and what it is instead. No password is
repeated.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import socket
import tempfile
from pathlib import Path
from urllib.parse import quote, unquote, urlsplit

LONGEST_VALUE = 80
"""Characters of a wrong value that a message repeats."""
LONGEST_SOCKET_PATH = 100
"""Bytes; the kernel takes 107, on some systems 103."""
PLAIN = re.compile(r"[\w./-]+", re.ASCII)
"""Paths that mean the same in a URL, in a server's configuration and in a shell."""
POSTGRESQL = ("postgres", "postgresql", "postgresql+psycopg")
CERTIFICATES = ("required", "optional", "none", "CERT_REQUIRED", "CERT_OPTIONAL", "CERT_NONE")
WILDCARDS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 (recognised, not listened on)


class ListeningError(ValueError):
    """The API cannot listen where NCORE_HOST and NCORE_PORT say."""


def absolute(path: Path) -> Path:
    try:
        return path.expanduser().resolve()
    except (RuntimeError, OSError) as error:
        raise ValueError(f"must be a folder; got {shown(path)}: {error}") from None


def sqlite(path: Path) -> str:
    """URL of a database file; what has a meaning of its own in URLs is quoted."""
    from sqlalchemy import URL

    return URL.create("sqlite", database=str(path)).render_as_string()


def database(text: str) -> str:
    """A SQLAlchemy URL with the driver that is installed; a file of SQLite with its whole path."""
    from sqlalchemy import make_url
    from sqlalchemy.exc import ArgumentError

    allowed = "must be sqlite:///FILE or postgresql://USER:PASSWORD@HOST:PORT/DATABASE"
    scheme = _scheme(text)
    if scheme not in ("sqlite", *POSTGRESQL):
        raise ValueError(f"{allowed}; got {shown(text)}")
    try:
        url = make_url(text)
    except (ArgumentError, ValueError):
        raise ValueError(f"{allowed}; got {shown(text)}") from None
    if scheme != "sqlite":
        if url.port is not None and not 0 < url.port < 65_536:
            raise ValueError(f"{allowed}; got the port {url.port}")
        return url.set(drivername="postgresql+psycopg").render_as_string(hide_password=False)
    if url.query or url.host:
        raise ValueError(f"{allowed}, where ? and # in FILE are written %3F and %23; got {shown(text)}")
    if not url.database or url.database == ":memory:" or url.database.startswith("file:"):
        raise ValueError(f"{allowed}: all processes of the service share it, so it must be a file; got {shown(text)}")
    return sqlite(absolute(Path(url.database)))


def broker(text: str) -> str:
    """A URL of Redis as Celery wants it; redis:// and rediss:// by a host, unix:// by a socket."""
    allowed = "must be redis://:PASSWORD@HOST:PORT/NUMBER, rediss://… or unix:///PATH"
    scheme = _scheme(text)
    if scheme not in ("redis", "rediss", "unix", "redis+socket"):
        raise ValueError(f"{allowed}; got {shown(text)}")
    if "#" in text:
        raise ValueError(f"{allowed}, where # is written %23; got one with a #")
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError(f"{allowed}; got a port that is no number up to 65535") from None
    path = unquote(parts.path)
    if scheme in ("redis", "rediss"):
        if port == 0 or not re.fullmatch(r"/?|/[0-9]{1,5}", path):
            raise ValueError(f"{allowed}; got {'the port 0' if port == 0 else f'the number {path[1:81]!r}'}")
        return _with_certificates(text, parts.query, allowed) if scheme == "rediss" else text
    if len(path) < 2:
        raise ValueError(f"{allowed}; got no path of a socket")
    if len(os.fsencode(path)) > LONGEST_SOCKET_PATH:
        raise ValueError(f"{allowed}, PATH of at most {LONGEST_SOCKET_PATH} bytes; got {shown(path)}")
    query = re.sub(r"(^|&)db=", r"\1virtual_host=", parts.query)  # redis-py's word and kombu's
    return f"redis+socket://{parts.netloc}{quote(path)}{'?' if query else ''}{query}"


def _with_certificates(text: str, query: str, allowed: str) -> str:
    """Turns certificate checks on where the URL does not mention them."""
    given = re.search(r"(?:^|&)ssl_cert_reqs=([^&]*)", query)
    if given is None:
        return f"{text}{'&' if query else '?'}ssl_cert_reqs=required"
    if given[1] not in CERTIFICATES:
        raise ValueError(f"{allowed}, ssl_cert_reqs one of required, optional, none; got {shown(given[1])}")
    return text


def store(text: str) -> str:
    """A folder, or a URL that fsspec knows and that all processes see alike."""
    if "://" not in text:
        return str(absolute(Path(text)))
    scheme = _scheme(text)
    if scheme in ("file", "local"):
        return unquote(urlsplit(text).path) if scheme == "file" else text.partition("://")[2]
    from fsspec.registry import known_implementations

    allowed = "must be a folder or a URL like s3://BUCKET/FOLDER"
    if scheme not in known_implementations or scheme == "memory":
        raise ValueError(f"{allowed}; got {shown(text)}")
    if not text.partition("://")[2].strip("/"):
        raise ValueError(f"{allowed}; got {shown(text)}")
    return text


def _scheme(text: str) -> str:
    found = re.match(r"([A-Za-z][\w+.-]*)://", text)
    return found[1].lower() if found else ""


def socket_path(home: Path) -> Path:
    """The embedded broker's socket in `home`; in this user's own folder for temporary files where the path is too long
    for a socket or would have to be quoted."""
    path = home / "broker.sock"
    if _fits(path):
        return path
    name = f"ncore-{os.getuid()}/{hashlib.sha256(os.fsencode(home)).hexdigest()[:16]}.sock"
    for folder in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 (a folder of our own in it)
        if _fits(folder / name):
            return folder / name
    raise ValueError(f"no socket fits: {path} and {tempfile.gettempdir()} are both longer than {LONGEST_SOCKET_PATH}")


def _fits(path: Path) -> bool:
    return len(os.fsencode(path)) <= LONGEST_SOCKET_PATH and PLAIN.fullmatch(str(path)) is not None


def url_of(host: str, port: int) -> str:
    """Where an API that listens on `host` is reached from this machine."""
    reached = WILDCARDS.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def free_port(host: str) -> int:
    """A port that nobody listens on. Raises ListeningError as `check_listening` does."""
    with _bound(host, 0) as probe:
        port: int = probe.getsockname()[1]
        return port


def check_listening(host: str, port: int) -> None:
    """Raises ListeningError naming the setting where the API could not listen there."""
    _bound(host, port).close()


def _bound(host: str, port: int) -> socket.socket:
    """A socket bound as the API's will be."""
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
        family, kind, _, _, address = found[0]
        probe = socket.socket(family, kind)
    except (OSError, UnicodeError):
        raise ListeningError(f"NCORE_HOST: must be an address or a name of this machine; got {shown(host)}") from None
    try:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(address)
    except OSError as error:
        probe.close()
        why = {
            errno.EADDRINUSE: f"NCORE_PORT: {port} of {host} is taken; choose another by --port or PORT=",
            errno.EACCES: f"NCORE_PORT: {port} is kept for the system; use one from 1024 to 65535",
            errno.EADDRNOTAVAIL: f"NCORE_HOST: must be an address of this machine; got {shown(host)}",
        }
        raise ListeningError(why.get(error.errno or 0, f"NCORE_HOST: {shown(host)}: {error.strerror}")) from None
    return probe


def shown(value: object) -> str:
    """A wrong value in a message: short, on one line, without what stands before the @ of a URL or after its ?."""
    text = re.sub(r"(://).*@", r"\1…@", str(value), flags=re.DOTALL)
    return repr(re.sub(r"(://[^?]*)\?.*", r"\1?…", text, flags=re.DOTALL)[:LONGEST_VALUE])
