"""Artifacts and checkpoints in a directory and in an S3-compatible store."""

import os
import signal
import subprocess
import sys
import uuid

import httpx
import pytest
from conftest import settings_for, wait_for
from safetensors.torch import load

from api.service import free_port, running
from api.store import CHECKPOINT, FINAL, DirectoryStore, FsspecStore, StoreError
from ncore.client import Client

LONG = {"optimizer.steps": 1_000_000, "measure.points": 40}
KEYS = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": "test", "AWS_DEFAULT_REGION": "us-east-1"}
SERVER = """
import sys
from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple
run_simple("127.0.0.1", int(sys.argv[1]), DomainDispatcherApplication(create_backend_app), threaded=True)
"""


@pytest.fixture(scope="module")
def s3():
    """Environment of a process that uses the store: an S3 server of the tests' own."""
    port = free_port("127.0.0.1")
    server = subprocess.Popen([sys.executable, "-c", SERVER, str(port)], env={**os.environ, **KEYS}, stderr=-3)
    wait_for("the S3 server", lambda: answers(port))
    yield {**KEYS, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}"}
    server.terminate()
    server.wait(10)


def answers(port: int) -> bool:
    try:
        return httpx.get(f"http://127.0.0.1:{port}/moto-api/").status_code == 200
    except httpx.TransportError:
        return False


def bucket(s3: dict[str, str]) -> str:
    name = f"ncore-{uuid.uuid4().hex[:8]}"
    httpx.put(f"{s3['AWS_ENDPOINT_URL']}/{name}").raise_for_status()
    return f"s3://{name}/kept"


@pytest.fixture(params=["directory", "s3"])
def store(request, tmp_path, monkeypatch):
    if request.param == "directory":
        return DirectoryStore(tmp_path)
    s3 = request.getfixturevalue("s3")
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    return FsspecStore(bucket(s3))


def test_a_file_is_kept_replaced_listed_and_removed(store):
    assert store.sizes("a") == {}
    with store.local_copy("a", "x.pt") as path:
        assert path is None
    store.save("a", "x.pt", lambda path: path.write_bytes(b"1"))
    store.save("a", "x.pt", lambda path: path.write_bytes(b"22"))
    store.save("a", "y.pt", lambda path: path.write_bytes(b"333"))
    store.save("ab", "x.pt", lambda path: path.write_bytes(b"4444"))
    assert store.sizes("a") == {"x.pt": 2, "y.pt": 3}
    with store.local_copy("a", "x.pt") as path:
        assert path.read_bytes() == b"22"
    assert b"".join(store.chunks("a", "y.pt")) == b"333"
    store.remove("a", "x.pt")
    store.remove("a", "x.pt")
    assert store.sizes("a") == {"y.pt": 3}
    store.remove_all("a")
    assert (store.sizes("a"), store.sizes("ab")) == ({}, {"x.pt": 4})


def test_a_write_that_fails_leaves_what_was_there(store):
    store.save("a", "x.pt", lambda path: path.write_bytes(b"1"))

    def half(path):
        path.write_bytes(b"2")
        raise OSError("the disk is full")

    with pytest.raises(OSError, match="full"):
        store.save("a", "x.pt", half)
    assert b"".join(store.chunks("a", "x.pt")) == b"1"


def test_a_url_of_no_known_kind_is_named():
    with pytest.raises(StoreError, match="NCORE_ARTIFACTS: 'gopher://x' cannot be used"):
        FsspecStore("gopher://x")


@pytest.mark.nightly
def test_a_killed_worker_goes_on_from_the_checkpoint_in_the_store(s3, request, tmp_path, monkeypatch):
    for name, value in s3.items():
        monkeypatch.setenv(name, value)
    url = bucket(s3)
    with running(settings_for("sqlite", tmp_path, request, artifacts=url)) as service, Client(service.url) as client:
        calm = client.submit("fig1", LONG).wait(progress=False, timeout_seconds=120)
        killed = client.submit("fig1", LONG)
        wait_for("a checkpoint", lambda: CHECKPOINT in files(service.url, killed.id))
        os.kill(int(killed.refresh().data["worker"].partition(":")[2]), signal.SIGKILL)
        killed.wait(progress=False, timeout_seconds=120)
        assert (killed.data["attempt"], killed.series()) == (2, calm.series())
        assert set(files(service.url, killed.id)) == {FINAL}
        final = httpx.get(f"{service.url}/experiments/{killed.id}/artifacts/{FINAL}").content
        assert len(final) == files(service.url, killed.id)[FINAL]
        assert load(final)
        killed.delete()
        assert not (tmp_path / "experiments").exists()
    assert FsspecStore(url).sizes(killed.id) == {}
    assert set(FsspecStore(url).sizes(calm.id)) == {FINAL}


def files(url: str, experiment_id: str) -> dict[str, int]:
    items = httpx.get(f"{url}/experiments/{experiment_id}/artifacts").json()["items"]
    return {item["name"]: item["bytes"] for item in items}
