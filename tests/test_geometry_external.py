"""The geometry that loops elsewhere send: kept once by seed and step, within bounds, refused by field."""

import copy

import numpy as np
import orjson
import pytest
from conftest import ncore, points, settings_for

import ncore as package
from api.database import sessions
from api.database.geometries import surplus
from api.database.tables import Experiment
from api.routes.external import send_measurements
from api.routes.geometry import get_geometry, get_singular_values
from api.service import running
from api.submission import row_of
from api.web.errors import Problem
from ncore.client import Client
from ncore.client.spool import Spool
from ncore.geometry import MOST_KEPT_BYTES as BYTES
from ncore.geometry import MOST_KEPT_STEPS as STEPS
from ncore.geometry import unpacked
from ncore.presets import spec_of
from ncore.probed import MOST_NUMBERS, Probed, geometry_of
from ncore.sent_geometry import as_items, parse_geometry
from ncore.spec import SpecError

SPEC = {"model": {"kind": "external", "layers": ["a", "b"]}, "theory": {"preset": "fig1", "set": {"model.classes": 3}}}
RNG = np.random.default_rng(0)


def drawn(classes=3, layers=("a", "b")):
    means = {layer: RNG.normal(size=(5, classes)) for layer in layers}
    return geometry_of(means, RNG.normal(size=(classes, 5)), layers[-1])


def body(*keys, shapes=None, **more):
    shapes = [drawn() for _ in keys] if shapes is None else shapes
    geometry = [
        {"seed": seed, "step": step, "items": orjson.loads(orjson.dumps(as_items(one)))}
        for (seed, step), one in zip(keys, shapes, strict=True)
    ]
    return {"columns": ["loss"], "rows": [[*key, 0.5] for key in keys], "geometry": geometry} | more


def send(experiment_id, content):
    return send_measurements(experiment_id, orjson.dumps(content))


@pytest.fixture
def made(tables):
    with sessions.writing() as session:
        return row_of(session, spec_of(SPEC)).id


def test_what_is_sent_is_shown_beside_theory_and_is_there_once(made):
    shapes = [drawn() for _ in range(3)]
    keys = [(0, 0), (0, 10), (4, 0)]
    first = body(*keys, shapes=shapes)
    assert (send(made, first).stored, send(made, first).stored) == (3, 0)
    for (seed, step), several in zip(keys, shapes, strict=True):
        found = get_geometry(made, seed, step)
        assert [one.name for one in found.items] == ["a", "b", "W", "W H"]
        for item, shape in zip(found.items, several, strict=True):
            assert np.allclose(item.gram, shape.matrix, rtol=1e-6, atol=1e-6 * np.abs(shape.matrix).max())
            assert np.array_equal(item.singular_values, shape.singular_values)
    last = get_geometry(made)
    assert (last.seed, last.step, last.steps, last.predicted_name) == (0, 10, [0, 10], "predicted")
    assert [one.predicted is not None for one in last.items] == [False, True, True, True]  # h1 stands beside b
    assert get_singular_values(made).steps == [0, 10]

    other = body((0, 10), shapes=[drawn()])
    with pytest.raises(Problem, match="seed 0, step 10 has another geometry already") as refused:
        send(made, other)
    assert refused.value.status == 409
    assert send(made, {**other, "on_conflict": "keep"}).kept == 1
    assert get_geometry(made).items == last.items
    send(made, {"columns": ["loss"], "rows": [[0, 20, 0.1]]})
    assert send(made, {**body((0, 20)), "rows": [[0, 20, 0.1]]}).stored == 0  # beside a row that is there
    assert get_geometry(made).steps == [0, 10, 20]
    send(made, body((0, 30), shapes=[drawn(4, ["c"])]))  # the loop measures something else now
    spectra = get_singular_values(made)
    assert [(one.name, one.predicted) for one in spectra.items] == [(name, None) for name in ("c", "W", "W H")]


def test_a_long_run_keeps_some_steps_which_sending_again_does_not_change(made):
    for begin in range(0, 400, 40):
        send(made, body(*((0, step) for step in range(begin, begin + 40))))
    steps = get_geometry(made).steps
    assert (steps[0], steps[-1], len(steps)) == (0, 399, STEPS)
    assert max(np.diff(steps)) <= 4 * min(np.diff(steps)[:-1])
    before = get_geometry(made, step=steps[7])
    send(made, {**body(*((0, step) for step in range(100, 140))), "on_conflict": "keep"})
    assert get_geometry(made, step=steps[7]) == before
    send(made, late := body((0, 400), geometry=[]))
    with sessions.writing() as session:
        session.get(Experiment, made).status = "succeeded"
    assert send(made, late).stored == 0
    with pytest.raises(Problem, match="takes no more rows"):
        send(made, body((0, 400)))


@pytest.mark.parametrize("seeds", [1, 3, 100])
@pytest.mark.parametrize("size", [100, 300_000])
def test_what_is_too_much_is_left_out_evenly(seeds, size):
    sizes = {(seed, 10 * i): size for seed in range(seeds) for i in range(70 if seeds < 100 else 2)}
    left = {key: sizes[key] for key in sizes.keys() - surplus(sizes)}
    assert sum(left.values()) <= BYTES
    assert len(left) >= min(STEPS * seeds, len(sizes), BYTES // size)
    assert not surplus(left)
    counts = [sum(seed == one for seed, _ in left) for one in range(seeds)]
    assert max(counts) <= min(STEPS, min(counts) + 1)
    gaps = np.diff(sorted(step for seed, step in left if seed == 0))
    assert gaps.max(initial=0) <= 3 * gaps.min(initial=10**6)
    assert seeds == 100 or {(seed, step) for seed in range(seeds) for step in (0, 690)} <= left.keys()


GOOD = {"seed": 0, "step": 0, "items": [{"name": "a", "gram": [[2.0, -1], [-1, 2]], "singular_values": [1.7, 1.0]}]}


@pytest.mark.parametrize(
    ("path", "value", "field", "message"),
    [
        (["items", 0, "gram", 0, 1], "x", "items.0.gram.0.1", "must be a number; got 'x'"),
        (["items", 0, "gram", 0, 1], 1e200, "items.0.gram.0.1", "less than or equal to"),
        (["items", 0, "gram", 0, 1], None, "items.0.gram.0.1", "must be a number"),
        (["items", 0, "gram", 0], [1.0], "items.0.gram", "must be square; got 2 rows, one of 1 numbers"),
        (["items", 0, "gram", 0], [2.0, 1.0], "items.0.gram", "must be symmetric"),
        (["items", 0, "gram", 0, 0], -2.0, "items.0.gram", "must have squared norms on its diagonal; got -2.0"),
        (["items", 0, "gram"], [[0.0] * 101] * 101, "items.0.gram", "must have at most 100 entries, not 101"),
        (["items", 0, "singular_values"], [1.0, 1.7], "items.0.singular_values", "at most 2, largest first"),
        (["items", 0, "name"], "", "items.0.name", "must not be empty"),
        (["items", 0, "cosines"], [], "items.0.cosines", "unknown field"),
        (["items"], [], "items", "must have at least 1 entry"),
        (["items"], GOOD["items"] * 2, "items", "must have names of their own; got 'a' twice"),
        (["items"], [*GOOD["items"], {"name": "b", "gram": [[1.0]]}], "items", "must all be of one size; got 1, 2"),
        (["step"], 1, "", "seed 0, step 1 is without a row in this request"),
        (["seed"], "0", "seed", "must be a whole number; got '0'"),
    ],
)
def test_what_is_no_geometry_is_refused_by_field(path, value, field, message):
    assert [one.name for one in unpacked(parse_geometry([GOOD], {(0, 0)})[0, 0])] == ["a"]
    bad = copy.deepcopy(GOOD)
    *front, last = path
    place = bad
    for one in front:
        place = place[one]
    place[last] = value
    with pytest.raises(SpecError) as caught:
        parse_geometry([GOOD, bad], {(0, 0), (1, 0)})
    assert [one["field"] for one in caught.value.errors] == [f"geometry.1.{field}".rstrip(".")]
    assert message in caught.value.errors[0]["message"]


def test_singular_values_that_are_left_out_are_found_from_the_matrix():
    sent = [{"name": name, "gram": [[4.0, 0], [0, 0]]} for name in ("a", "W H")]
    found = unpacked(parse_geometry([{**GOOD, "items": sent}], {(0, 0)})[0, 0])
    assert [one.singular_values.tolist() for one in found] == [[2, 0], [4, 0]]
    with pytest.raises(SpecError, match=r"geometry.1: seed 0, step 0 is there twice"):
        parse_geometry([GOOD, GOOD], {(0, 0)})
    for wrong, message in (({}, "must be a list"), ([GOOD] * 51, "at most 50 entries, not 51")):
        with pytest.raises(SpecError, match=message):
            parse_geometry(wrong, {(0, 0)})


def test_what_a_probe_gives_is_bounded():
    layers = [f"l{i}" for i in range(9)]
    assert [one.name for one in drawn(100, layers)] == [*layers[-4:], "W", "W H"]
    assert len(drawn(10, layers)) == 11
    assert drawn(101) == geometry_of({"a": np.full((5, 3), np.nan)}, None, None) == ()
    assert len(orjson.dumps(as_items(drawn(100, layers)))) < 15 * MOST_NUMBERS < 1_000_000


def test_a_loop_offline_keeps_some_steps_and_sync_sends_them(service, client, tmp_path):
    run = package.start("shapes", offline=True, folder=tmp_path, layers=["a", "b"])
    logged = {}
    for step in range(120):
        values = Probed({("nc1", "b"): 1.0 / (step + 1)})
        values.geometry = logged[step] = drawn()
        run.log(step, values, loss=0.5)
    run.finish()
    lines, _ = Spool(run.folder).read()
    kept = [line["step"] for line in lines if "geometry" in line]
    assert kept == [*range(50), *range(50, 100, 2), *range(100, 120, 4), 119]
    assert ncore("--url", service.url, "sync", run.folder).returncode == 0
    experiment = client.experiment(Spool(run.folder).state["id"])
    assert len(points(client, experiment.id)) == 240
    series = {one.layer: one for one in experiment.geometry()}
    assert list(series) == ["a", "b", "W", "W H"]
    steps = series["b"].steps.tolist()
    assert (steps[0], steps[-1], len(steps)) == (0, 119, STEPS)
    for place in (0, 20, -1):
        shape = logged[steps[place]][1]
        assert np.allclose(series["b"].matrices[place], shape.matrix, rtol=1e-6, atol=1e-6)
        assert np.array_equal(series["b"].singular_values[place], shape.singular_values)


def test_a_service_that_does_not_take_the_geometry_has_all_else(tmp_path, request, caplog):
    settings = settings_for("sqlite", tmp_path / "home", request, max_body_bytes=5000)
    with running(settings, with_workers=False) as small, Client(small.url) as client:
        run = package.start("large shapes", url=small.url, folder=tmp_path, layers=["a", "b"])
        for step in range(6):
            values = Probed({("nc1", "b"): 1.0 / (step + 1)})
            values.geometry = drawn(classes=30 if step % 2 else 3)
            run.log(step, values, loss=0.5)
        run.finish()
        experiment = client.experiment(run.id)
        assert (experiment.status, len(points(client, experiment.id))) == ("succeeded", 12)
        assert experiment.geometry()[0].steps.tolist() == [0, 2, 4]
    assert "the service has not taken the class means: " in caplog.text
    assert "NCORE_MAX_BODY_BYTES = 5000" in caplog.text
