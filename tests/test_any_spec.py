"""Any spec: refused with the names of its fields, or it runs, or it fails with a reason."""

import copy
import math

import pytest
from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from api.submission import check_limits
from ncore.presets import PRESETS
from ncore.run import DeviceError
from ncore.spec import SpecError, parse_spec, stored_spec
from ncore.train import Diverged, train

UFM = {
    "name": "any",
    "tags": [],
    "model": {
        "kind": "ufm",
        "classes": 3,
        "samples_per_class": 4,
        "widths": [5, 4],
        "activation": "relu",
        "bias": True,
        "init_scale": 1.0,
    },
    "loss": "mse",
    "regularization": {"weights": [0.01, 0.02], "features": 0.005, "bias": 0.01},
    "optimizer": {"kind": "gd", "learning_rate": 0.1, "momentum": 0.0, "steps": 6, "form": "auto"},
    "seeds": [0, 1],
    "measure": {"points": 3, "spacing": "log"},
    "precision": "float64",
    "device": "cpu",
    "priority": 0,
}
NETWORK = {
    "name": "any",
    "model": {"kind": "mlp", "widths": [6, 5], "bias": True, "layers": ["hidden2"], "fixed_etf": False},
    "data": {"name": "digits", "samples_per_class": 3, "image_size": 8, "augment": False, "random_labels": False},
    "loss": "cross_entropy",
    "optimizer": {
        "kind": "sgd",
        "learning_rate": 0.05,
        "momentum": 0.9,
        "nesterov": False,
        "weight_decay": 0.001,
        "epochs": 2,
        "batch_size": 16,
        "milestones": [1],
        "gamma": 0.1,
    },
    "seeds": [0],
    "measure": {"every_epochs": 1},
    "precision": "float32",
    "device": "cpu",
}
ODD = st.sampled_from(
    (0, 1, 2, 3, 7, -1, 0.0, 0.5, -0.5, 1e-300, 1e300, math.nan, math.inf, 10**30, True, False, None, "", "1", "x", "λ",
     "\0", "relu", "identity", "cross_entropy", "cuda:99", "float32", "tf32", "linear", "sample_free", "resnet", "mlp",
     "ufm", "synthetic", "folder", "../..", [], [0], [1, 2], [2, 2, 2], [0.1], [-1], ["layer1"], {}, {"kind": "ufm"})
)  # fmt: skip

FITTING = {
    "model.classes": (2, 3, 7),
    "model.samples_per_class": (1, 2, 9, [3, 4, 5]),
    "model.widths": ([2], [4], [3, 9], [8, 2]),
    "model.activation": ("identity", "relu"),
    "model.bias": (True, False),
    "model.init_scale": (0.1, 3),
    "loss": ("mse", "cross_entropy"),
    "regularization.weights": (0.0, 0.3, [0.01, 0.4]),
    "regularization.features": (0.0, 1.0),
    "regularization.bias": (0.0, 0.5),
    "optimizer.learning_rate": (0.001, 0.5, 50.0),
    "optimizer.momentum": (0.0, 0.9),
    "optimizer.steps": (1, 9),
    "optimizer.form": ("full", "sample_free"),
    "seeds": ([3], [0, 9, 2**40]),
    "measure.points": (2, 9),
    "precision": ("float32", "float64"),
    "device": ("auto", "cpu", "cuda"),
}


def paths(body: dict, above: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    own = [(*above, key) for key in body]
    return own + [
        path for key, value in body.items() if isinstance(value, dict) for path in paths(value, (*above, key))
    ]


def changed(base: dict):
    change = st.tuples(st.sampled_from([*paths(base), ("model", "new"), ("unknown",)]), ODD)
    return st.lists(change, min_size=1, max_size=2).map(lambda changes: applied(base, changes))


def fitting():
    one = st.sampled_from([(tuple(path.split(".")), value) for path, values in FITTING.items() for value in values])
    return st.lists(one, max_size=4).map(lambda changes: applied(UFM, changes))


def applied(base: dict, changes: list) -> dict:
    body = copy.deepcopy(base)
    for (*parents, last), value in changes:
        inner = body
        for parent in parents:
            inner = inner.setdefault(parent, {}) if isinstance(inner, dict) else inner
        if isinstance(inner, dict):
            inner[last] = value
    return body


def fate(body: dict) -> tuple[str, object]:
    try:
        spec = parse_spec(body)
        check_limits(spec)
    except SpecError as error:
        return "refused", error.errors
    assert parse_spec(spec.model_dump(mode="json")) == spec  # what is stored is what was meant
    try:
        return "ran", (spec, list(train(spec)))
    except (Diverged, DeviceError, ValueError, FileNotFoundError) as error:
        return "failed", str(error)


@settings(max_examples=400, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck))
@given(st.one_of(changed(UFM), changed(NETWORK), fitting()))
def test_a_spec_is_refused_by_field_or_runs_or_fails_with_a_reason(body):
    end, told = fate(body)
    event(end)
    if end == "refused":
        assert told
        assert all(fault["field"] and fault["message"] for fault in told)
    elif end == "failed":
        assert len(told) > 20
    else:
        spec, found = told
        assert {m.seed for m in found} == set(spec.seeds)
        assert all("objective" in {metric for metric, _ in m.values} for m in found)


@pytest.mark.parametrize("body", [UFM, NETWORK], ids=["ufm", "network"])
def test_what_is_changed_there_runs_when_it_is_not(body):
    assert fate(body)[0] == "ran"


def test_a_spec_of_before_texts_had_to_be_plain_is_still_read():
    old = {**PRESETS["fig1"].spec, "name": "a\u2028b\x1b", "tags": ["\ufffe"]}
    with pytest.raises(SpecError, match=r"name: .* U\+2028"):
        parse_spec(old)
    assert (stored_spec(old).name, stored_spec(old).tags) == ("a\ufffdb\ufffd", ("\ufffd",))
