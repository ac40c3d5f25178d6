"""What has not changed is not sent again, and what is sent is compressed where that is asked for."""

import gzip
from itertools import pairwise

import httpx
import pytest
from conftest import both_databases, wait_for

from ncore.client import Client


@pytest.fixture(scope="module")
def ended(service):
    with Client(service.url) as client:
        yield client.submit("fig1", {"optimizer.steps": 200, "measure.points": 20}).wait(progress=False)


@pytest.fixture(scope="module")
def swept(service):
    base = {"preset": "fig1", "set": {"optimizer.steps": 50, "measure.points": 3}}
    with Client(service.url) as client:
        yield client.sweep(base, {"seeds": [[0], [1]]}).wait(progress=False)


def paths_of(experiment_id, sweep_id):
    own, sweep = f"/experiments/{experiment_id}", f"/sweeps/{sweep_id}"
    return [
        f"{own}/metrics",
        f"{own}/metrics?metric=nc1&max_points=5",
        f"{own}/metrics?format=csv",
        f"{own}/plot.svg",
        f"{own}/plot.json?theme=dark",
        f"/compare.json?experiment={experiment_id}&metric=nc1",
        "/presets",
        "/presets/fig1",
        f"{sweep}?metric=nc1&limit=1",
        f"{sweep}?format=csv",
        f"{sweep}/plot.svg",
        f"{sweep}/plot.json?metric=objective&theme=dark",
    ]


def test_an_answer_is_not_sent_again_to_one_who_has_it(client, ended, swept):
    tags, paths = set(), paths_of(ended.id, swept.id)
    for path in paths:
        first = httpx.get(f"{client.url}{path}")
        tag = first.headers["ETag"]
        tags.add(tag)
        for known in (tag, f'"other", {tag}', tag.removeprefix("W/"), "*"):
            again = httpx.get(f"{client.url}{path}", headers={"If-None-Match": known})
            assert (again.status_code, again.content, again.headers["ETag"]) == (304, b"", tag)
        other = httpx.get(f"{client.url}{path}", headers={"If-None-Match": '"other"'})
        assert (other.status_code, other.content) == (200, first.content)
    assert len(tags) == len(paths)


@both_databases
def test_what_has_been_measured_since_is_sent(client):
    made = client.submit("fig1", {"optimizer.steps": 10**8, "measure.points": 20_000, "measure.spacing": "linear"})
    known: dict[str, str] = {}
    path, seen = f"{client.url}/experiments/{made.id}/metrics?metric=objective", []
    for kind, _ in made.events():
        if kind == "measurement" and len(seen) < 3:
            answer = httpx.get(path, headers=known)
            known = {"If-None-Match": answer.headers["ETag"]}
            if answer.status_code == 200 and answer.json()["next"] > 0:
                seen.append(answer.json()["next"])
        if len(seen) == 3:
            made.cancel()
    assert seen[0] < seen[1] < seen[2]
    assert httpx.get(path, headers=known).json()["status"] == "cancelled"


@both_databases
def test_every_change_of_a_sweep_is_sent(client):
    endless = {"preset": "fig1", "set": {"optimizer.steps": 10**8, "measure.points": 5}}
    other = client.submit("fig1", endless["set"])
    wait_for("the one worker to be busy", lambda: other.refresh().status == "running")
    made = client.sweep(endless, {"seeds": [[0], [1]]})
    first, last = (client.experiment(item["experiment"]) for item in made.data["items"])
    path = f"{client.url}/sweeps/{made.id}/plot.json"
    tags = [httpx.get(path).headers["ETag"]]
    try:
        for change in (last.cancel, last.retry, last.cancel, first.cancel, last.delete):
            assert httpx.get(path, headers={"If-None-Match": tags[-1]}).status_code == 304
            change()
            tags.append(httpx.get(path, headers={"If-None-Match": tags[-1]}).headers["ETag"])
    finally:
        other.cancel()
    assert all(before != after for before, after in pairwise(tags))


def test_series_are_compressed_for_those_who_take_it(client, ended):
    path = f"{client.url}/experiments/{ended.id}/metrics"
    plain = httpx.get(path, headers={"Accept-Encoding": "identity"})
    with httpx.stream("GET", path, headers={"Accept-Encoding": "gzip"}) as answer:
        packed = b"".join(answer.iter_raw())
    assert "Content-Encoding" not in plain.headers
    assert answer.headers["Content-Encoding"] == "gzip"
    assert answer.headers["Vary"] == "Accept-Encoding"
    assert gzip.decompress(packed) == plain.content
    assert len(packed) < 0.6 * len(plain.content)
