"""Downloads of data sets, from a host on this machine: what is fetched, what is refused, and that nothing is left."""

import gzip
import hashlib
import io
import os
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from conftest import full_disk, wait_for

from ncore.network.download import Archive, provide
from ncore.stopping import Stopped, go_on

CONTENT = os.urandom(300_000)


class Host(ThreadingHTTPServer):
    """`files` by path; what is in `short` breaks off. It answers while `is_open`."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Answer)
        self.files, self.short, self.asked, self.is_open = {}, set(), [], threading.Event()
        self.is_open.set()
        self.url = f"http://127.0.0.1:{self.server_port}"

    def archive(self, name, body, holds, *urls):
        """An archive at this host, and its file."""
        self.files[f"/{name}"] = body
        md5 = hashlib.md5(body, usedforsecurity=False).hexdigest()
        return Archive((*urls, f"{self.url}/{name}"), name, md5, holds)


class Answer(BaseHTTPRequestHandler):
    def do_GET(self):
        self.server.asked.append(self.path)
        self.server.is_open.wait(10)
        body = self.server.files.get(self.path)
        if body is None:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body[: len(body) // 2] if self.path in self.server.short else body)

    def log_message(self, *_):
        """Nothing is printed."""


@pytest.fixture
def host(monkeypatch):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with Host() as made:
        threading.Thread(target=made.serve_forever, kwargs={"poll_interval": 0.01}).start()
        yield made
        made.shutdown()


def tar_of(**files):
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for name, content in files.items():
            about = tarfile.TarInfo(name)
            about.size = len(content)
            tar.addfile(about, io.BytesIO(content))
    return file.getvalue()


def files_of(root):
    """{name: content} of all that lies there but the lock."""
    there = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    assert there.pop(".download.lock") == b""
    assert not list(root.glob(".download-*"))
    return there


PACKED = {
    "images.gz": (gzip.compress(CONTENT), {"raw/images": CONTENT}),
    "batches.tar.gz": (
        tar_of(**{"deep/a": b"a", "deep/other": b"not asked for", "deep/b": CONTENT, "../out": b"harm"}),
        {"deep/a": b"a", "deep/b": CONTENT},
    ),
    "train.mat": (CONTENT, {"train.mat": CONTENT}),
}


@pytest.mark.parametrize("name", PACKED)
def test_what_an_archive_holds_is_put_where_it_belongs_and_is_fetched_once(tmp_path, host, name):
    body, holds = PACKED[name]
    archive = host.archive(name, body, tuple(holds))
    for _ in range(2):
        provide([archive], tmp_path, go_on)
        assert files_of(tmp_path) == holds
    assert host.asked == [f"/{name}"]
    first = tmp_path / next(iter(holds))
    first.unlink()
    place = first.parent / name  # laid beside what it holds, by hand
    place.write_bytes(body)
    host.files.clear()
    provide([archive], tmp_path, go_on)
    assert first.read_bytes() == holds[next(iter(holds))]
    assert len(host.asked) == 1


def test_every_host_is_named_with_what_it_answered_and_the_next_one_is_asked(tmp_path, host):
    body = gzip.compress(CONTENT)
    host.files |= {"/wrong": b"<html>moved</html>", "/short": body}
    host.short.add("/short")
    bad = [f"{host.url}/gone", f"{host.url}/wrong", f"{host.url}/short", "http://127.0.0.1:9/closed"]
    archive = host.archive("images.gz", body, ("images",), *bad)
    (tmp_path / "images.gz").write_bytes(b"another file of this name")
    provide([archive], tmp_path, go_on)
    assert files_of(tmp_path) == {"images": CONTENT, "images.gz": b"another file of this name"}
    assert host.asked == ["/gone", "/wrong", "/short", "/images.gz"]
    (tmp_path / "images").unlink()
    host.files.clear()
    host.files["/images.gz"] = host.files["/wrong"] = b"<html>moved</html>"
    with pytest.raises(OSError, match="gone: HTTP Error 404") as refused:
        provide([archive], tmp_path, go_on)
    _, wrong, short, closed, last = str(refused.value).split("; ")
    assert wrong == f"{bad[1]}: what it sent has not the published checksum"
    assert "404" in short
    assert closed.startswith(f"{bad[3]}: ")
    assert "refused" in closed
    assert "checksum" in last
    assert files_of(tmp_path) == {"images.gz": b"another file of this name"}


def test_a_full_disk_is_no_fault_of_a_host(tmp_path, host):
    archive = host.archive("train.mat", CONTENT, ("train.mat",), f"{host.url}/first")
    host.files["/first"] = CONTENT
    with full_disk(100_000), pytest.raises(OSError, match=r"^\[Errno \d+\] File too large$"):
        provide([archive], tmp_path, go_on)
    assert host.asked == ["/first"]
    assert files_of(tmp_path) == {}


@pytest.mark.parametrize("name", PACKED)
def test_wherever_a_download_is_stopped_nothing_is_left_of_it(tmp_path, host, name):
    body, holds = PACKED[name]
    archive = host.archive(name, body, tuple(holds))
    last = 0
    for last in range(100):
        left = iter(range(last))

        def check(left=left):
            if next(left, None) is None:
                raise Stopped

        try:
            provide([archive], tmp_path, check)
        except Stopped:
            assert files_of(tmp_path) == {}
        else:
            break
    assert 3 < last < 99
    assert files_of(tmp_path) == holds


def test_of_two_that_want_a_data_set_one_fetches_it_and_the_other_waits_and_may_be_stopped(tmp_path, host):
    body, holds = PACKED["images.gz"]
    archive = host.archive("images.gz", body, tuple(holds))
    host.is_open.clear()
    waits = threading.Event()

    def stopped():
        waits.set()
        raise Stopped

    with ThreadPoolExecutor() as threads:
        first = threads.submit(provide, [archive], tmp_path, go_on)
        wait_for("the request", lambda: host.asked != [])
        with pytest.raises(Stopped):
            provide([archive], tmp_path, stopped)
        second = threads.submit(provide, [archive], tmp_path, waits.set)
        waits.clear()
        assert waits.wait(10)
        host.is_open.set()
        first.result()
        second.result()
    assert host.asked == ["/images.gz"]
    assert files_of(tmp_path) == holds
