"""The public face: names, what importing costs, what is taken for a spec or a number, notebooks, pickles, frames."""

import pickle
import subprocess
import sys
from decimal import Decimal
from fractions import Fraction
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

import ncore
from ncore.client import Client, body_of
from ncore.plain import plain
from ncore.presets import PRESETS
from ncore.series import framed
from ncore.spec import SpecError, parse_spec

SHORT = {"optimizer.steps": 20, "measure.points": 5, "seeds": [0]}


def in_a_process(code: str) -> str:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_every_name_is_there_and_listed():
    assert set(ncore.__all__) <= set(dir(ncore))
    for name in ncore.__all__:
        assert getattr(ncore, name) is not None
    with pytest.raises(AttributeError, match="no attribute 'nothing'; it has PRESETS"):
        ncore.nothing  # noqa: B018


def test_importing_it_loads_nothing_slow():
    code = "import sys, ncore; print({'torch', 'numpy', 'pydantic', 'httpx', 'altair', 'rich'} & set(sys.modules))"
    assert in_a_process(code) == "set()\n"


def test_train_is_callable_whatever_was_imported_before():
    code = "import ncore.train\nfrom ncore import train\nprint(next(iter(train('fig1', None))).step)"
    assert in_a_process(code) == "0\n"
    assert next(iter(ncore.train("fig1"))).step == 0


def test_spec_dict_and_name_train_and_predict_the_same():
    body = {**PRESETS["fig1"].spec, "seeds": [3]}
    assert ncore.predict("fig1") == ncore.predict(PRESETS["fig1"].spec) == ncore.predict(parse_spec(body))
    values = [
        next(iter(ncore.train(given))).values
        for given in (body, parse_spec(body), {"preset": "fig1", "set": {"seeds": [3]}})
    ]
    assert values[0] == values[1] == values[2]
    with pytest.raises(SpecError, match="preset: must be one of fig1"):
        ncore.begin("fig77")


NUMBERS = [
    (np.float64(0.01), 0.01), (np.float32(0.25), 0.25), (np.int64(3), 3), (np.bool_(True), True),
    (np.arange(3), [0, 1, 2]),    (list(np.arange(2)), [0, 1]), (range(2), [0, 1]), ({2, 1}, [1, 2]), ((1, 2), [1, 2]),
    (torch.tensor(0.5), 0.5),
    (torch.arange(2), [0, 1]), (np.str_("a"), "a"), (Fraction(1, 4), 0.25), (Decimal("0.5"), 0.5), (Path("a"), "a"),
    (pl.Series([1, 2]), [1, 2]), (np.array(5), 5), ({"a": {"b": np.float16(2)}}, {"a": {"b": 2.0}}), (iter([1]), [1]),
]  # fmt: skip


@pytest.mark.parametrize(("given", "held"), NUMBERS, ids=lambda value: type(value).__name__)
def test_numbers_of_every_library_are_numbers(given, held):
    found = plain(given)
    assert found == held
    assert type(found) is type(held)


@pytest.mark.parametrize("wrong", [float("nan"), np.array([1, np.inf]), b"bytes", 1j, object(), {1: 2}, {"a": {2: 3}}])
def test_what_json_cannot_hold_is_named_by_its_field(wrong):
    with pytest.raises(SpecError, match=r"^optimizer\.learning_rate"):
        body_of("fig1", {"optimizer.learning_rate": wrong})
    with pytest.raises(SpecError, match="seeds"):
        parse_spec({**PRESETS["fig1"].spec, "seeds": wrong})


def test_the_client_takes_numpy_and_torch(client):
    changes = {
        **SHORT,
        "optimizer.steps": np.int64(20),
        "seeds": np.arange(2),
        "regularization.features": torch.tensor(0.01),
    }
    spec = client.submit("fig1", changes).data["spec"]
    assert (spec["optimizer"]["steps"], spec["seeds"]) == (20, [0, 1])
    sweep = client.sweep(parse_spec(PRESETS["fig1"].spec), {"regularization.features": np.logspace(-3, -2, 2)}, SHORT)
    assert sweep.data["axes"] == {"regularization.features": [0.001, 0.01]}
    sweep.wait(progress=False)
    assert sweep.frame("polars", metric="nc1")["mean"].len() == 2


def test_handles_show_themselves_in_notebooks_and_can_be_pickled(client):
    made = client.submit("fig1", {**SHORT, "name": "<b>bold</b> & [x]"}).wait(progress=False)
    shown = made._repr_html_()
    assert "&lt;b&gt;bold&lt;/b&gt; &amp; [x]" in shown
    assert "<svg" in shown
    assert made.id in client._repr_html_()
    again = pickle.loads(pickle.dumps(made))
    with again._client:
        assert again.refresh().status == "succeeded"
    assert made.frame("polars", metric="nc1").columns == ["metric", "layer", "seed", "step", "value"]
    with Client("http://127.0.0.1:9") as away:
        assert "no service answers" in type(made)(away, made.data)._repr_html_()


def test_a_frame_names_the_package_that_it_needs(monkeypatch):
    for package in ("pandas", "polars"):
        monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match="pandas or polars"):
        framed([], required=True)
    assert framed([]) == []
    with pytest.raises(ValueError, match="must be pandas, polars or records"):
        framed([], "excel")
