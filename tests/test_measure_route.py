"""POST /measure: what a file gives here it gives there; what is hostile is refused by name, and nothing is left."""

import io
import sys
import time
import zipfile

import httpx
import numpy as np
import pytest
import torch
from fastapi import FastAPI
from safetensors.numpy import save
from starlette.testclient import TestClient
from test_saved import EXPECTED, B, W, X, Y, bomb_of_zeros, packed

from api.companion import CrowdedError
from api.engine import MOST_WAITING, AwayError, Engine
from api.routes import measure
from api.web import errors
from api.web.errors import Problem
from ncore.faults import SpecError
from ncore.kinds.networks import NETWORKS

RESNET = NETWORKS["torchvision"].model_validate({"kind": "torchvision", "name": "resnet18", "stem": "cifar"})


def posted(service, body, **asked):
    return httpx.post(f"{service.url}/measure", content=body, params=asked, timeout=60)


def values_of(answer):
    assert answer.status_code == 200, answer.text
    return {(one["metric"], one["layer"]): one["value"] for one in answer.json()["metrics"]}


def test_files_are_measured_and_read_by_one_reader(service):
    answer = posted(service, packed(features=X, labels=Y, weight=W, bias=B))
    assert values_of(answer) == {(metric, None): pytest.approx(value) for metric, value in EXPECTED.items()}
    assert (answer.json()["samples"], answer.json()["classes"]) == (60, 3)
    layered = save({"features.a": X, "features.b": X, "labels": Y, "fc.weight": W})
    found = values_of(posted(service, layered))
    assert found["nc1", "a"] == found["nc1", "b"] == pytest.approx(EXPECTED["nc1"])
    assert ("nc3", "b") in found
    few = packed(mine=X, y=np.where(Y == 1, 2, Y))
    assert values_of(posted(service, few, features="mine"))["nc1", None] is None  # NaN: a class is empty
    assert values_of(posted(service, few, features="mine", classes="present"))["absent_classes", None] == 1


def test_what_is_hostile_is_refused_by_name_and_the_service_goes_on(service):
    many = io.BytesIO()
    with zipfile.ZipFile(many, "w") as archive:
        for i in range(20_000):
            archive.writestr(f"{i}.npy", b"")
    pickled = io.BytesIO()
    torch.save({"features": X, "labels": Y}, pickled)
    objects = packed(features=X, labels=np.array([{}] * 60, dtype=object))
    cases = [
        (objects, "labels", "is an array of objects"),
        (bomb_of_zeros((1,), 2**28), "features", "declares 256 MiB, the limit is 128 MiB"),
        (bomb_of_zeros((2**40, 2**20), 2**20), "features", "declares shape"),
        (pickled.getvalue(), "body", "is a file of torch.save"),
        (packed(features=X, labels=Y)[:300], "body", "is no .npz archive, or was cut off"),
        (packed(features=X, labels=Y + 1, weight=W), "labels", "labels has values in 1 … 3, must be in 0 … 2"),
        (packed(features=X, labels=Y + 2**62), "labels", f"labels has values up to {2 + 2**62}, must be below 2^31"),
        (packed(features=X, labels=0 * Y + 1), "labels", "all are 1, must be of two or more classes"),
        (packed(features=X, labels=Y[:5]), "labels", "labels has shape (5,), must be (N,) = (60,)"),
        (packed(wrong=X, keys=Y), "features", "is not there"),
        (many.getvalue(), "features", "(20000 in all)"),
        (b"\x80\x04K\x01.", "body", "must be a .npz or .safetensors file"),
        (b'{"features": [[1.0]]}', "body", "must be a .npz or .safetensors file"),
        (b"", "body", "must be a .npz or .safetensors file"),
    ]
    for body, field, message in cases:
        answer = posted(service, body)
        assert answer.status_code == 422, answer.text
        assert answer.headers["Content-Type"] == "application/problem+json"
        [fault] = answer.json()["errors"]
        assert fault["field"] == field, fault
        assert message in fault["message"], fault
        assert answer.json()["detail"] == f"{field}: {fault['message']}"
    assert posted(service, packed(features=X, labels=Y), labels="z").json()["errors"][0]["field"] == "labels"
    assert posted(service, b"", pickle="yes").status_code == 422
    assert values_of(posted(service, packed(features=X, labels=Y)))


def test_without_torch_it_says_so(monkeypatch):
    app = FastAPI()
    errors.install(app)
    app.include_router(measure.router)
    monkeypatch.setitem(sys.modules, "torch", None)
    with TestClient(app) as client:
        answer = client.post("/measure", content=packed(features=X, labels=Y))
    assert answer.status_code == 501
    assert "ncore measure FILE" in answer.json()["detail"]


def test_what_takes_too_long_is_given_up_and_what_is_idle_ends():
    engine = Engine(seconds=0.01, idle_seconds=0.05)  # less than torch takes to be imported
    body = packed(features=X, labels=Y)
    with pytest.raises(AwayError, match=r"it took longer than 0\.01 s"):
        engine.measure(body, "all", {})
    with pytest.raises(SpecError, match=r"^model: cannot be built here: it took longer than 0\.01 s"):
        engine.describe(RESNET, 3, 8)
    engine.seconds = 60
    assert engine.measure(body, "all", {})["samples"] == 60
    until = time.monotonic() + 10
    while engine._companion is not None:
        assert time.monotonic() < until
        time.sleep(0.02)
    for _ in range(1 + MOST_WAITING):
        engine._places.acquire()
    with pytest.raises(CrowdedError, match="try again"):
        engine.measure(body, "all", {})
    with pytest.raises(Problem, match="try again") as crowded:
        engine.describe(RESNET, 3, 8)
    assert (crowded.value.status, crowded.value.headers) == (503, {"Retry-After": "2"})
    engine.stop()


def test_without_torch_a_model_is_described_by_nobody_here(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert Engine().describe(RESNET, 3, 8) is None
