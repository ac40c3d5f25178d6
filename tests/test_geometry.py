"""The geometry at measured steps: class means by the slow obvious way, bounds on what is kept, answers of the API."""

import io

import numpy as np
import pytest
from safetensors.numpy import load, save_file
from sqlalchemy import func, select

from api.database import claims, parts, sessions
from api.database.tables import Experiment, MeasurementRow, Sweep
from api.routes.geometry import get_geometry, get_singular_values
from api.shapes import write_archive
from api.submission import row_of
from api.web.errors import Problem
from ncore.geometry import MOST_KEPT_BYTES as BYTES
from ncore.geometry import MOST_KEPT_STEPS as STEPS
from ncore.geometry import Shape, arrays_in, class_means, kept_steps, packed, shapes_at_end, shown, state_of, unpacked
from ncore.geometry_file import over_steps, read_geometry, write_geometry
from ncore.pictures.files import rendered
from ncore.pictures.geometry import geometry_figure
from ncore.presets import spec_of
from ncore.schedule import measuring_steps
from ncore.spec import parse_spec
from ncore.theory import predict
from ncore.train import begin, begin_together
from worker.job import Job

CONVNET = {
    "model": {"kind": "convnet", "channels": [4, 8], "head_layers": 1},
    "data": {"name": "synthetic", "image_size": 8, "samples_per_class": 7},
    "optimizer": {"learning_rate": 0.02, "epochs": 1, "batch_size": 16},
    "measure": {"every_epochs": 1},
    "device": "cpu",
}
EXTERNAL = {"model": {"kind": "external", "classes": 4, "layers": ["h1"]}}


def short(preset, **changes):
    short = {"seeds": [3, 4], "optimizer.steps": 400, "measure.points": 3}
    return spec_of({"preset": preset, "set": {**short, **{name.replace("__", "."): v for name, v in changes.items()}}})


def steps_of(run):
    """What is measured of the last seed at each step, and the state there."""
    while not run.done:
        found = run.advance()
        if found:
            yield found[-1], {name: tensor.numpy() for name, tensor in run.final_state().items()}


def assert_geometry(geometry, samples, labels, weight, rtol=1e-9):
    """Of features (d, N) by level, the last of which meets the weight: averaged class by class; σ² by eigenvalues."""
    means = {
        level: np.stack([h[:, labels == k].mean(axis=1) for k in range(int(labels.max()) + 1)], axis=1)
        for level, h in samples.items()
    }
    last = weight @ list(means.values())[-1]
    expected = {level: (one.T @ one, one) for level, one in means.items()}
    expected |= {"W": (weight @ weight.T, weight), "W H": (last, last)}
    assert [one.name for one in geometry] == list(expected)
    for one in geometry:
        matrix, factor = expected[one.name]
        squares = np.linalg.eigvalsh(factor @ factor.T)[::-1][: len(one.singular_values)]
        scale = np.abs(matrix).max()
        assert np.allclose(one.matrix, matrix, rtol=rtol, atol=rtol * scale)
        assert np.allclose(one.singular_values**2, squares, rtol=rtol, atol=rtol * squares[0])


@pytest.mark.parametrize(
    ("preset", "form"), [("fig1", "full"), ("fig1", "sample_free"), ("fig3", "full"), ("fig4", "full")]
)
def test_the_geometry_of_a_ufm_is_that_of_its_samples_at_each_step(preset, form, tmp_path):
    """Plain, linear and ReLU: each sample is sent through the layers. The file of its end says the same."""
    spec = short(preset, optimizer__form=form)
    levels = len(spec.model.widths)
    for measured, state in steps_of(begin(spec, geometry=True)):
        samples = {"h1": state["H"][1]}
        for j in range(1, levels):
            h = state[f"W_{j}"][1] @ samples[f"h{j}"]
            samples[f"h{j + 1}"] = np.maximum(h, 0) if spec.model.activation == "relu" else h
        geometry = unpacked(measured.geometry)
        assert_geometry(geometry, samples, state["labels"][1], state[f"W_{levels}"][1])
    save_file({name: np.ascontiguousarray(one) for name, one in state.items()}, tmp_path / "final.safetensors")
    at_end = shapes_at_end(spec, state_of(spec, tmp_path / "final.safetensors"), 1)
    assert [one.name for one in at_end] == [one.name for one in geometry]
    assert all(np.allclose(a.matrix, b.matrix) for a, b in zip(at_end, geometry, strict=True))


@pytest.mark.parametrize("layers", [None, ["block1"]])
def test_a_networks_geometry_is_that_of_its_features(layers):
    spec = parse_spec({**CONVNET, "model": {**CONVNET["model"], "layers": layers}})
    for measured, state in steps_of(begin(spec, geometry=True)):
        samples = {name.partition(".")[2]: one.T for name, one in state.items() if name.startswith("features.")}
        geometry = unpacked(measured.geometry)
        if layers:  # none of them meets the weight
            assert [one.name for one in geometry] == [*layers, "W"]
        else:
            assert_geometry(geometry, samples, state["labels"], state["network.classifier.weight"], rtol=1e-5)


def test_neither_pieces_nor_a_batch_nor_a_checkpoint_change_a_byte():
    spec, other = short("fig3", measure__points=40), short("fig3", measure__points=40, regularization__features=0.01)

    def of_first(run, seconds):
        found = []
        while not run.done:
            found += [m for m in run.advance(seconds) if m.experiment == 0]
        return {(m.seed, m.step): m.geometry for m in found}

    whole = of_first(begin(spec, geometry=True), 1)
    assert len(whole) == 80
    assert of_first(begin(spec, geometry=True), None) == whole
    run = begin(spec, geometry=True)
    while run.step < 150:
        run.advance()
    later = of_first(begin(spec, checkpoint=run.checkpoint(), geometry=True), 1)
    assert later == {key: whole[key] for key in later}
    together = of_first(begin_together([spec, other], geometry=True), 1)  # equal but for rounding
    for key, geometry in together.items():
        for one, alone in zip(unpacked(geometry), unpacked(whole[key]), strict=True):
            assert np.allclose(one.matrix, alone.matrix, atol=1e-9)
    assert not any(of_first(begin(spec), 1).values())


@pytest.mark.parametrize("levels", [1, 6])
@pytest.mark.parametrize("seeds", [1, 30, 1000])
@pytest.mark.parametrize("classes", [2, 10, 100])
def test_what_is_kept_is_bounded_and_has_the_first_and_the_last_step(classes, seeds, levels):
    means = {f"h{j + 1}": np.eye(classes)[None] for j in range(levels)}
    size = seeds * len(packed(means, np.eye(classes)[None], f"h{levels}")[0])
    for points in (2, 49, 3000):
        due = measuring_steps(10_000, points, "log")
        kept = sorted(kept_steps(due, seeds, classes, classes, levels))
        assert set(kept) <= set(due)
        assert len(kept) * size <= BYTES
        assert len(kept) <= STEPS
        assert len(kept) == min(STEPS, len(due)) or (len(kept) + 1) * 1.4 * size > BYTES  # no fewer than there is room
        assert kept[-1:] in ([], [10_000])
        assert len(kept) < 2 or kept[0] == 0
    assert not kept_steps([0, 1], 1, 101, 101, 1)


def test_what_is_packed_is_read_by_the_library_of_its_form():
    means, weight = {"h1": np.arange(12.0).reshape(4, 3), "h2": np.eye(5, 3)}, np.ones((3, 5)).T[::-1].T
    (data,) = packed({level: one[None] for level, one in means.items()}, weight[None], "h2")
    found = load(data)
    assert [one.name for one in unpacked(data)] == ["h1", "h2", "W", "W H"]
    for i, one in enumerate(unpacked(data)):
        assert np.array_equal(found[f"{i} {one.name}"], one.matrix)
        assert np.array_equal(found[str(i)], one.singular_values)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_what_is_not_finite_is_not_kept_and_leaves_the_others_as_they_are(bad):
    means, weights = np.random.default_rng(0).normal(size=(2, 4, 5, 3)), np.ones((4, 3, 5))
    alone = packed({"h1": means[0, 1:2], "h2": means[1, 1:2]}, weights[1:2], "h2")
    means[1, 0, 2, 2] = weights[2, 0, 0] = bad
    found = packed({"h1": means[0], "h2": means[1]}, weights, "h2")
    assert [one is None for one in found] == [True, False, True, False]
    assert found[1:2] == alone


def test_a_zero_mean_has_no_cosine_and_samples_that_are_left_out_leave_out_what_needs_them():
    spec = short("fig4")
    state = {name: one.numpy().copy() for name, one in begin(spec).final_state().items()}
    state["class_means"][0, :, 1] = 0
    state["H"] = state["H"][:, :, :3]
    assert list(class_means(spec, state, 0)) == ["h1"]
    first, weights = shown(shapes_at_end(spec, state, 0), {"h1": [[1.0] * 4] * 4})
    assert first.cosines[1][0] is None
    assert weights.name == "W"
    assert first.predicted is not None
    assert rendered(geometry_figure([first, weights], "λ_W"), "svg").startswith(b"<svg")


def test_a_file_that_is_none_is_refused(tmp_path):
    for content in (b"", b"\xff" * 40, b"\x05\0\0\0\0\0\0\0[1,2]"):
        (tmp_path / "x").write_bytes(content)
        with pytest.raises((ValueError, AttributeError)):
            arrays_in(tmp_path / "x", {"H"})


def trained(*specs, **values) -> list[str]:
    """Experiments that a worker in this process has trained."""
    with sessions.writing() as session:
        rows = [row_of(session, spec, **values) for spec in specs]
    with sessions.writing() as session:
        claimed = claims.claim(session, "here:1", "cpu")
    Job(claimed).run()
    return [row.id for row in rows]


def archive_of(experiment_id, seed=(), layer=()):
    file = io.BytesIO()
    with sessions.reading() as session:
        write_archive(session, session.get(Experiment, experiment_id), file, seed, layer)
    file.seek(0)
    return read_geometry(file)


@pytest.mark.parametrize(
    ("preset", "changes", "name"),
    [
        ("fig1", {}, "predicted"),
        ("fig4", {}, "OF"),
        ("fig4", {"model.widths": [8] * 4, "model.classes": 3, "regularization.weights": 0.005}, "OF"),
    ],
)
def test_only_a_proven_minimum_is_called_predicted(preset, changes, name):
    known = predict(spec_of({"preset": preset, "set": changes}))
    assert (known.matrix_name, {"W", "W H"} <= known.matrices.keys()) == (name, True)
    shapes = [Shape(one, np.array(matrix), np.ones(3)) for one, matrix in known.matrices.items()]
    titles = [one["title"] for one in geometry_figure(shown(shapes, known.matrices), "", predicted=name)["concat"]]
    assert titles[-2:] == ["W × class means, largest entry 1", f"W × class means, {name}"]


SMALL = {
    "model": {"classes": 3, "widths": [5]},
    "regularization": {"weights": 0.01, "features": 0.01},
    "optimizer": {"steps": 4000, "learning_rate": 0.2},
    "measure": {"points": 2},
    "device": "cpu",
}


@pytest.mark.parametrize(
    ("loss", "model"),
    [
        ("mse", {"samples_per_class": 4, "targets": [[1, 0, 0.5], [0, 1, 0.3]]}),
        ("cross_entropy", {"samples_per_class": [6, 3, 3]}),
    ],
)
def test_training_ends_at_the_predicted_matrices(loss, model):
    spec = parse_spec({**SMALL, "loss": loss, "model": {**SMALL["model"], **model}})
    *_, (last, _) = steps_of(begin(spec, geometry=True))
    known = predict(spec).matrices
    assert list(known) == ["h1", "W", "W H"]
    for one in unpacked(last.geometry):
        assert np.allclose(one.matrix, known[one.name], atol=1e-4 * np.abs(one.matrix).max()), one.name


def test_a_file_of_several_steps_gives_back_what_was_written():
    rng = np.random.default_rng(0)

    def shape(name, size=4):
        return Shape(name, rng.normal(size=(size, size)), rng.random(3))

    kept = {step: [shape("a/b ü"), shape("W")] for step in (0, 5, 9)} | {12: [shape("W")]}
    kept[0][1] = shape("W", 5)  # the loop has changed its classes since
    file = io.BytesIO()
    write_geometry(file, over_steps(7, kept), {"a/b ü": np.eye(4), "h2": np.eye(4)})
    first = file.getvalue()
    found = {one.layer: one for one in read_geometry(io.BytesIO(first))}
    assert {name: one.steps.tolist() for name, one in found.items()} == {"a/b ü": [0, 5, 9], "W": [5, 9, 12]}
    assert np.array_equal(found["a/b ü"].matrices[1], kept[5][0].matrix)
    assert np.array_equal(found["W"].singular_values[2], kept[12][0].singular_values)
    assert (found["W"].seed, found["W"].predicted, found["a/b ü"].predicted.tolist()) == (7, None, np.eye(4).tolist())
    write_geometry(again := io.BytesIO(), over_steps(7, kept), {"a/b ü": np.eye(4)})
    assert again.getvalue() == first
    for content in (b"", b"PK", first[:-60]):
        with pytest.raises(ValueError):  # noqa: PT011 (of NumPy, of the zip, of the names)
            read_geometry(io.BytesIO(content))


def test_a_run_has_its_geometry_at_kept_steps_and_a_member_of_a_sweep_at_its_end(tables):
    spec = short("fig1", measure__points=80, optimizer__steps=8000)
    first, second = trained(spec, spec)
    steps = get_geometry(first).steps
    assert (steps[0], steps[-1], len(steps)) == (0, 8000, STEPS)
    for asked, nearest in ((None, 8000), (0, 0), (10**6, 8000), (steps[20] + 1, steps[20])):
        assert get_geometry(first, step=asked).step == nearest
    later = get_geometry(second, seed=4, step=8000)
    assert [(one.name, later.predicted_name) for one in later.items] == [(n, "predicted") for n in ("h1", "W", "W H")]
    assert all(np.allclose(one.gram, one.predicted, atol=0.05) for one in later.items)
    assert [one.name for one in get_geometry(second, layer=["h1", "W H"]).items] == ["h1", "W H"]
    over = get_singular_values(first, seed=3, layer=["h1"])
    assert over.steps == steps
    assert over.items[0].values[-1] == get_geometry(first).items[0].singular_values
    assert over.items[0].predicted == pytest.approx(np.linalg.svd(later.items[0].predicted)[1] ** 0.5)
    for ask in (get_geometry, archive_of):
        with pytest.raises(Problem, match="layer: must be one of h1, W, W H"):
            ask(first, layer=["h2"])
    series = archive_of(first)
    assert [(one.seed, one.layer) for one in series] == [(s, name) for s in (3, 4) for name in ("h1", "W", "W H")]
    for one in series:
        for place in (0, 20, -1):
            item = get_geometry(first, one.seed, int(one.steps[place]), [one.layer]).items[0]
            assert np.array_equal(one.matrices[place], item.gram)
            assert one.singular_values[place].tolist() == item.singular_values
            assert np.array_equal(one.predicted, item.predicted)
        assert one.steps.tolist() == steps
    assert [(one.seed, one.layer) for one in archive_of(first, [4], ["W"])] == [(4, "W")]

    with sessions.writing() as session:
        session.add(Sweep(id="s", name="", base={}, axes={}, total=1))
    (member,) = trained(spec, sweep_id="s")
    assert get_geometry(member).steps == [8000]
    assert np.allclose(get_geometry(member).items[0].gram, get_geometry(first).items[0].gram)
    assert [(one.steps.tolist(), len(one.predicted)) for one in archive_of(member)] == [([8000], 4)] * 6

    with sessions.writing() as session:
        parts.take_out(session, Experiment.id == first)
        while parts.delete_part(session, first):
            pass
        kept = select(func.count()).select_from(MeasurementRow).where(MeasurementRow.geometry.is_not(None))
        assert session.scalar(kept) == 2 * STEPS


def test_an_experiment_without_geometry_says_why(tables):
    with sessions.writing() as session:
        ids = {name: row_of(session, spec).id for name, spec in (
            ("measured elsewhere, and its loop has sent none", parse_spec(EXTERNAL)),
            ("is not measured yet", parse_spec(CONVNET)),
            ("is queued and has left no final state", short("fig1")),
            ("101 classes; at most 100 are shown", short("fig1", model__classes=101, model__widths=[101])),
        )}  # fmt: skip
    for words, experiment_id in ids.items():
        for ask in (get_geometry, get_singular_values, archive_of):
            with pytest.raises(Problem, match=words):
                ask(experiment_id)
