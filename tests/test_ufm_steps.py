"""Steps against autograd + optim.SGD, the sample-free form against the samples, batches against single runs."""

import itertools
import math

import pytest
import torch
from torch import Tensor

from ncore.run import Diverged
from ncore.spec import UfmSpec, parse_spec
from ncore.ufm import steps
from ncore.ufm.arithmetic import Arithmetic
from ncore.ufm.operations import BlasOperations
from ncore.ufm.run import ARITHMETICS, UfmRun
from ncore.ufm.start import make_start


def a_spec(**changes: object) -> UfmSpec:
    """A small UFM; keyword arguments are dotted paths with __ for the dots."""
    body: dict = {
        "model": {"kind": "ufm", "classes": 3, "samples_per_class": 7, "widths": [5]},
        "regularization": {"weights": 0.01, "features": 0.02},
        "optimizer": {"learning_rate": 0.3, "steps": 50},
        "measure": {"points": 2},
    }
    for path, value in changes.items():
        part = body
        *parents, last = path.split("__")
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    spec = parse_spec(body)
    assert isinstance(spec, UfmSpec)
    return spec


def by_autograd(spec: UfmSpec, seed: int, steps: int) -> tuple[Tensor, list[Tensor], Tensor]:
    """The usual loop: autograd and torch.optim.SGD on the objective as theory.md writes it."""
    full = spec.model_copy(update={"optimizer": spec.optimizer.model_copy(update={"form": "full"})})
    start = make_start(full, seed)
    h, b = start.columns.requires_grad_(), start.bias.requires_grad_(spec.model.bias)
    weights = [w.requires_grad_() for w in start.weights]
    parameters = [h, *weights, *([b] if spec.model.bias else [])]
    sgd = torch.optim.SGD(parameters, lr=spec.optimizer.learning_rate, momentum=spec.optimizer.momentum)
    for _ in range(steps):
        sgd.zero_grad()
        out = h
        for w in weights[:-1]:
            out = w @ out
            out = out.relu() if spec.model.activation == "relu" else out
        logits = weights[-1] @ out + b[:, None]
        if spec.loss == "mse":
            data = (logits - start.targets).square().sum() / (2 * h.shape[1])
        else:
            data = torch.nn.functional.cross_entropy(logits.T, start.labels)
        penalty = spec.regularization.features * h.square().sum() + spec.regularization.bias * b.square().sum()
        for w, decay in zip(weights, spec.weight_decays, strict=True):
            penalty = penalty + decay * w.square().sum()
        (data + penalty / 2).backward()
        sgd.step()
    return h.detach(), [w.detach() for w in weights], b.detach()


def trained(spec: UfmSpec, seed: int = 0, steps: int | None = None, arithmetic: Arithmetic = "torch") -> UfmRun:
    run = UfmRun([(spec, seed)], "cpu", arithmetic=arithmetic)
    run._train(steps or spec.optimizer.steps)
    return run


def measured(run: UfmRun) -> dict[tuple[str, str | None], Tensor]:
    run._measurer.take(0)
    return run._measurer.measure()[0]


FORMS = list(
    itertools.product(
        [[5], [5, 6], [5, 6, 4]],
        ["identity", "relu"],
        ["mse", "cross_entropy"],
        [(False, 0.0), (True, 0.0), (True, 0.05)],
        [0.0, 0.9],
        [7, [2, 9, 5]],
    )
)


@pytest.mark.parametrize(("widths", "activation", "loss", "bias", "momentum", "sizes"), FORMS)
def test_steps_equal_those_of_autograd_and_sgd(widths, activation, loss, bias, momentum, sizes):
    spec = a_spec(
        model__widths=widths,
        model__activation=activation,
        model__samples_per_class=sizes,
        model__bias=bias[0],
        model__init_scale=0.5,
        loss=loss,
        regularization__weights=[0.01, 0.03, 0.02][: len(widths)],
        regularization__bias=bias[1],
        optimizer__momentum=momentum,
        optimizer__learning_rate=0.1,
        optimizer__form="full",
    )
    h, weights, b = by_autograd(spec, 0, 50)
    for arithmetic in ARITHMETICS:
        batch = trained(spec, arithmetic=arithmetic)._batch
        torch.testing.assert_close(batch.columns[0], h, rtol=1e-12, atol=1e-13)
        torch.testing.assert_close(batch.bias[0], b, rtol=1e-12, atol=1e-13)
        for ours, w in zip(batch.weights, weights, strict=True):
            torch.testing.assert_close(ours[0], w, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("arithmetic", ARITHMETICS)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("columns", [1, 3, 10])
def test_steps_in_blocks_of_columns_equal_those_of_autograd(bias, momentum, columns, arithmetic, monkeypatch):
    """Of two replicas with other rates and classes, so that columns of padding stand in the last block, too."""
    monkeypatch.setattr(steps, "BLOCK_BYTES", 0 if arithmetic == "torch" else 2**20)
    monkeypatch.setattr(steps, "LEAST_COLUMNS", columns)
    monkeypatch.setattr(steps, "LEAST_BLAS_COLUMNS", 1)
    monkeypatch.setattr(steps, "BLAS_MULTIPLICATIONS", 3 * 5 * columns)
    specs = [
        a_spec(
            model__samples_per_class=sizes,
            model__bias=bias,
            loss="cross_entropy",
            regularization__bias=0.05 if bias else 0,
            optimizer__momentum=momentum,
            optimizer__learning_rate=rate,
        )
        for sizes, rate in ((7, 0.1), ([2, 9, 5], 0.2))
    ]
    batch = UfmRun([(spec, 0) for spec in specs], "cpu", arithmetic=arithmetic)
    assert len(steps._blocks(batch._programs[0])) == math.ceil(21 / columns)
    batch._train(50)
    alone = [trained(spec, arithmetic=arithmetic)._batch for spec in specs]
    for i, spec in enumerate(specs):
        h, (w,), b = by_autograd(spec, 0, 50)
        for ours in (batch._batch.replica(i), alone[i].replica(0)):
            torch.testing.assert_close(ours.columns[:, : h.shape[1]], h, rtol=1e-12, atol=1e-13)
            torch.testing.assert_close(ours.weights[0], w, rtol=1e-12, atol=1e-13)
            torch.testing.assert_close(ours.bias, b, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize(("loss", "activation"), [("mse", "identity"), ("mse", "relu"), ("cross_entropy", "identity")])
@pytest.mark.parametrize("momentum", [(0.0, 0.0), (0.9, 0.9), (0.0, 0.8)])
@pytest.mark.parametrize("arithmetic", ARITHMETICS)
def test_a_batch_of_different_rates_and_class_sizes_equals_its_single_runs(loss, activation, momentum, arithmetic):
    specs = [
        a_spec(
            loss=loss,
            model__activation=activation,
            model__widths=[5, 4],
            model__init_scale=0.4,
            model__bias=True,
            model__samples_per_class=sizes,
            regularization__weights=weights,
            regularization__features=features,
            regularization__bias=features,
            optimizer__learning_rate=rate,
            optimizer__momentum=mu,
        )
        for sizes, weights, features, rate, mu in (
            (7, 0.01, 0.02, 0.3, momentum[0]),
            ([3, 12, 4], [0.02, 0.05], 0.001, 0.1, momentum[1]),
        )
    ]
    batch = UfmRun([(spec, seed) for seed, spec in enumerate(specs)], "cpu", arithmetic=arithmetic)
    batch._train(40)
    together = measured(batch)
    for i, spec in enumerate(specs):
        alone = measured(trained(spec, seed=i, steps=40))
        assert alone.keys() == together.keys()
        for series, value in alone.items():
            torch.testing.assert_close(together[series][i], value[0], rtol=1e-8, atol=1e-10, equal_nan=True)


SAMPLE_FREE = list(
    itertools.product([[6], [6, 5], [6, 5, 7]], [(False, 0.0), (True, 0.0), (True, 0.02)], [0.0, 0.9], [12, [4, 20, 9]])
)


@pytest.mark.parametrize(("widths", "bias", "momentum", "sizes"), SAMPLE_FREE)
def test_the_sample_free_form_keeps_the_trajectory_of_the_samples(widths, bias, momentum, sizes):
    specs = {
        form: a_spec(
            model__widths=widths,
            model__samples_per_class=sizes,
            model__bias=bias[0],
            model__init_scale=0.4,
            regularization__weights=0.004,
            regularization__features=0.002,
            regularization__bias=bias[1],
            optimizer__momentum=momentum,
            optimizer__learning_rate=0.1 if momentum == 0.0 else 0.02,
            optimizer__form=form,
            optimizer__steps=5000,
            measure={"points": 12},
        )
        for form in ("full", "sample_free")
    }
    runs = {form: UfmRun([(spec, 3)], "cpu") for form, spec in specs.items()}
    assert [run.engine for run in runs.values()] == ["full", "sample_free"]
    while not runs["full"].done:
        full, free = (run.advance()[0] for run in runs.values())
        assert full.step == free.step
        assert full.values.keys() == free.values.keys()
        noise = 1e-14 / max(full.values["nc1_trace", "h1"], 1e-16)  # what float64 leaves of NC1 in the full form
        for (metric, layer), expected in full.values.items():
            value = free.values[metric, layer]
            if metric in ("nc1", "nc1_trace", "cdnv"):
                assert value == pytest.approx(expected, rel=1e-8 + noise, abs=1e-28), (metric, layer, full.step)
            else:
                assert value == pytest.approx(expected, rel=1e-9, abs=1e-10, nan_ok=True), (metric, layer, full.step)
    means = {form: run._measurer.first_level().means for form, run in runs.items()}
    gram = {form: m.mT @ m for form, m in means.items()}
    torch.testing.assert_close(gram["sample_free"], gram["full"], rtol=0, atol=1e-10)


def test_very_large_classes_are_drawn_from_the_same_law():
    """Mean and scatter of 10⁶ samples a class: the expected ones within the sampling error (5 standard deviations)."""
    spec = a_spec(model__classes=2, model__samples_per_class=10**6, model__widths=[10], model__init_scale=2.0)
    start = make_start(spec, 0)
    n, d = 10**6, 10
    root = start.columns[:, 2:]
    scatter = root @ root.T / (2 * (n - 1))
    torch.testing.assert_close(
        scatter, 4 * torch.eye(d, dtype=torch.float64), rtol=0, atol=5 * 4 * (2 / (2 * n)) ** 0.5
    )
    means = start.columns[:, :2] / n**0.5
    assert float(means.abs().max()) < 5 * 2 / n**0.5
    per_class = torch.einsum("ia,kab,ib->ki", root, start.gram, root) / n
    torch.testing.assert_close(per_class, torch.full_like(per_class, 4.0), rtol=0, atol=5 * 4 * (2 / n) ** 0.5)
    known = root @ start.q
    assert known.shape == (d, 2000)
    assert float(known.std()) == pytest.approx(2.0, rel=0.05)


def test_a_start_of_the_wrong_shape_is_refused_by_name():
    spec = a_spec()
    with pytest.raises(ValueError, match=r"start\['H'\] has shape \(5, 3\), must have \(5, 21\)"):
        make_start(spec, 0, {"H": torch.zeros(5, 3)})
    with pytest.raises(ValueError, match=r"start\['W_1'\] has shape"):
        make_start(spec, 0, {"W": [torch.zeros(5, 3)]})
    with pytest.raises(ValueError, match="not finite"):
        make_start(spec, 0, {"b": torch.full((3,), torch.nan)})


@pytest.mark.parametrize(
    ("arithmetic", "changes"),
    [
        *[(arithmetic, {"model__widths": [5, 4], "model__init_scale": 0.4}) for arithmetic in ARITHMETICS],
        ("blas", {"loss": "cross_entropy"}),
    ],
)
@pytest.mark.parametrize("momentum", [0.0, 0.9])
def test_a_checkpoint_goes_on_in_the_arithmetic_in_which_it_began(arithmetic, changes, momentum, monkeypatch):
    monkeypatch.setattr(steps, "BLAS_MULTIPLICATIONS", 3 * 5 * 4)  # one layer in blocks
    spec = a_spec(**changes, optimizer__momentum=momentum, optimizer__learning_rate=0.02)
    whole, half = trained(spec, arithmetic=arithmetic), trained(spec, steps=20, arithmetic=arithmetic)
    again = UfmRun([(spec, 0)], "cpu", checkpoint=half.checkpoint())
    assert again.arithmetic == arithmetic
    assert again._goes_in_blocks == ("loss" in changes)
    again._train(30)
    for name, tensor in whole.checkpoint().items():
        assert torch.equal(again.checkpoint()[name], tensor), name


def test_blas_is_not_given_what_it_would_copy():
    gaps, whole = torch.zeros(4, 6, dtype=torch.float64)[:, ::2], torch.zeros(4, 3, dtype=torch.float64)
    operations = BlasOperations(torch.float64)
    for bind in (
        lambda: operations.product(gaps, whole, whole),
        lambda: operations.product(whole, gaps, whole),
        lambda: operations.copy(gaps, whole),
        lambda: operations.add_multiple(gaps, whole, 2.0),
    ):
        with pytest.raises(ValueError, match="without gaps"):
            bind()


def test_what_was_measured_before_a_divergence_is_not_lost():
    run = UfmRun([(a_spec(optimizer__learning_rate=1e6, measure={"points": 50}), 0)], "cpu")
    assert [m.step for m in run.advance(60.0)][:2] == [0, 1]
    with pytest.raises(Diverged):
        run.advance(60.0)


@pytest.mark.parametrize("share", [0.5, 1.2])
@pytest.mark.parametrize("changes", [{"loss": "cross_entropy"}, {}], ids=["full", "sample-free"])
def test_large_steps_go_through_blas_block_by_block_where_that_is_faster(changes, share, monkeypatch):
    asked = []
    monkeypatch.setattr("ncore.ufm.arithmetic.blocks_time_share", lambda *shape: asked.append(shape) or share)
    large = {"model__classes": 4, "model__widths": [600], "model__samples_per_class": 300}
    run = UfmRun([(a_spec(**large, **changes), 0)], "cpu")
    columns = run._batch.columns
    assert asked == [((4, 600, columns.shape[-1]), torch.float64, torch.get_num_threads())]
    assert run.arithmetic == ("blas" if share < 1 else "torch")
    assert columns[0].mT.is_contiguous() == (share < 1)
