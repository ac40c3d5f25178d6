"""Losses and variants of UFMs: steps against autograd, the sample-free form against samples, runs against theory."""

import math

import pytest
import torch
from optimum import written_objective
from torch.nn.functional import normalize

from ncore.kinds.losses import LOSSES
from ncore.spec import SpecError, UfmSpec, parse_spec
from ncore.theory import predict
from ncore.train import train
from ncore.ufm import steps
from ncore.ufm.run import UfmRun
from ncore.ufm.start import make_start


def a_spec(**changes) -> UfmSpec:
    """A small UFM; keyword arguments are dotted paths with __ for the dots."""
    body: dict = {
        "model": {"classes": 3, "samples_per_class": 4, "widths": [5], "init_scale": 0.5},
        "regularization": {"weights": 0.02, "features": 0.01},
        "optimizer": {"learning_rate": 0.3, "steps": 40, "form": "full"},
        "measure": {"points": 2},
    }
    for path, value in changes.items():
        part = body
        *parents, last = path.split("__")
        for parent in parents:
            part = part.setdefault(parent, {})
        part[last] = value
    if body["model"].get("normalized"):
        del body["regularization"]
    return parse_spec(body)


def by_autograd(spec: UfmSpec, steps: int):
    """(h, weights, b, value, gradient norm) after plain gradient descent (with heavy-ball momentum), by autograd."""
    start = make_start(spec, 0)
    labels = start.labels if start.given is None else start.given
    parts = [start.columns, *start.weights, start.bias]
    free = [True] * (len(parts) - 1) + [spec.model.bias]
    free[-2] = spec.model.classifier == "free"
    velocities = [torch.zeros_like(part) for part in parts]
    for step in range(steps + 1):
        parts = [part.detach().requires_grad_() for part in parts]
        value = written_objective(spec, parts[0], parts[1:-1], parts[-1], labels)
        gradients = torch.autograd.grad(value, parts, allow_unused=True)
        gradients = [g if f else torch.zeros_like(p) for g, f, p in zip(gradients, free, parts, strict=True)]
        if spec.model.normalized:
            for i, dim in ((0, 0), (1, 1)):
                gradients[i] = gradients[i] - parts[i] * (parts[i] * gradients[i]).sum(dim, keepdim=True)
        if step == steps:
            return parts, float(value.detach()), math.sqrt(sum(float((g.detach() ** 2).sum()) for g in gradients))
        velocities = [spec.optimizer.momentum * v + g for v, g in zip(velocities, gradients, strict=True)]
        parts = [p - spec.optimizer.learning_rate * v for p, v in zip(parts, velocities, strict=True)]
        if spec.model.normalized:
            parts[:2] = [normalize(parts[0].detach(), dim=0), normalize(parts[1].detach(), dim=1)]
    raise AssertionError


SMOOTH = {"kind": "cross_entropy", "label_smoothing": 0.1}
FOCAL = {"kind": "focal", "gamma": 2.0}
ROWS = [[1.0, -0.5, 0.3], [0.0, 0.7, -1.2]]
VARIANTS = [
    *[{"loss": loss} for loss in (SMOOTH, FOCAL, {"kind": "focal", "gamma": 0.5}, {"kind": "focal", "gamma": 0})],
    {"loss": FOCAL, "model__widths": [5, 4], "model__activation": "relu", "model__bias": True},
    {"loss": SMOOTH, "model__samples_per_class": [2, 5, 3], "model__bias": True, "regularization__bias": 0.1},
    *[{"model__classifier": "etf", "loss": loss} for loss in ("mse", "cross_entropy", FOCAL)],
    {"model__classifier": "etf", "model__classifier_norm": 2.5, "model__bias": True, "optimizer__momentum": 0.8},
    {"model__classifier": "etf", "model__widths": [4, 3], "model__activation": "relu", "loss": "cross_entropy"},
    {"model__classifier": "etf", "model__widths": [4, 3]},
    {"model__targets": ROWS}, {"model__targets": ROWS, "model__bias": True, "model__widths": [4, 3]},
    {"model__targets": ROWS, "model__widths": [4, 3], "model__activation": "relu", "optimizer__momentum": 0.5},
    {"model__normalized": True, "loss": "cross_entropy"},
    {"model__normalized": True, "loss": SMOOTH, "model__temperature": 4.0, "model__samples_per_class": [2, 5, 3]},
    {"model__label_noise": 0.5, "loss": "cross_entropy"}, {"model__label_noise": 0.3, "model__widths": [4, 3]},
]  # fmt: skip


IN_BLOCKS = 2 * 5 * 4
"""Multiplications of blocks of four columns and less, of which the smallest X here has two."""
ONE_LAYER = [one for one in VARIANTS if "model__widths" not in one and "model__normalized" not in one]


@pytest.mark.parametrize(
    ("changes", "arithmetic", "in_blocks"),
    [
        *[(changes, arithmetic, False) for changes in VARIANTS for arithmetic in ("torch", "blas")],
        *[(changes, "blas", True) for changes in ONE_LAYER],
    ],
    ids=str,
)
def test_steps_and_measurements_equal_those_of_autograd(changes, arithmetic, in_blocks, monkeypatch):
    if in_blocks:
        monkeypatch.setattr(steps, "LEAST_BLAS_COLUMNS", 1)
        monkeypatch.setattr(steps, "BLAS_MULTIPLICATIONS", IN_BLOCKS)
    spec = a_spec(**changes)
    run = UfmRun([(spec, 0)], "cpu", arithmetic=arithmetic)
    assert (len(steps._blocks(run._programs[0])) > 1) == in_blocks
    run._train(40)
    parts, value, gradient = by_autograd(spec, 40)
    found = list(run._batch.trained().values())
    for mine, theirs in zip(found, parts, strict=True):
        torch.testing.assert_close(mine[0], theirs.detach(), rtol=1e-11, atol=1e-12)
    run._measurer.take(0)
    measured = run._measurer.measure()[0]
    assert measured["objective", None][0].item() == pytest.approx(value, rel=1e-12)
    assert measured["grad_norm", None][0].item() == pytest.approx(gradient, rel=1e-9, abs=1e-13)


@pytest.mark.parametrize("kind", LOSSES)
@pytest.mark.parametrize("scale", [1.0, 30.0])
def test_the_gradient_of_a_loss_is_autograds(kind, scale):
    torch.manual_seed(2)
    loss = LOSSES[kind]()
    logits = (torch.randn(2, 4, 9, dtype=torch.float64) * scale).requires_grad_()
    targets = loss.targets(torch.eye(4, dtype=torch.float64)[:, torch.randint(0, 4, (9,))].expand(2, -1, -1), -2)
    (gradient,) = torch.autograd.grad(loss.values(logits, targets, -2).sum(), logits)
    torch.testing.assert_close(loss.residual(logits, targets, -2), gradient, rtol=1e-12, atol=1e-12)
    if loss.sums_to_zero:
        assert float(gradient.sum(-2).abs().max()) < 1e-14 * scale


ONE_LAYER_LINEAR = [
    {"model__targets": ROWS, "model__samples_per_class": [9, 2, 5]},
    {"model__samples_per_class": [9, 2, 5], "model__bias": True, "optimizer__momentum": 0.7},
    {"model__classifier": "etf", "model__samples_per_class": [9, 2, 5]},
]


@pytest.mark.parametrize(
    ("changes", "in_blocks"),
    [
        ({"model__targets": ROWS, "model__bias": True, "model__widths": [4, 3], "optimizer__momentum": 0.7}, False),
        ({"model__classifier": "etf", "model__widths": [4, 3], "model__bias": True}, False),
        *[(changes, in_blocks) for changes in ONE_LAYER_LINEAR for in_blocks in (False, True)],
    ],
    ids=str,
)
def test_the_sample_free_form_gives_the_same_measurements(changes, in_blocks, monkeypatch):
    if in_blocks:
        monkeypatch.setattr(steps, "LEAST_BLAS_COLUMNS", 1)
        monkeypatch.setattr(steps, "BLAS_MULTIPLICATIONS", IN_BLOCKS)
    sample_free = UfmRun([(a_spec(**changes, optimizer__form="sample_free"), 0)], "cpu")
    assert (len(steps._blocks(sample_free._programs[0])) > 1) == in_blocks
    full = list(train(a_spec(**changes)))
    short = list(train(a_spec(**changes, optimizer__form="sample_free")))
    for one, other in zip(full, short, strict=True):
        for key, value in one.values.items():
            assert other.values[key] == pytest.approx(value, rel=1e-8, abs=1e-10, nan_ok=True), key


@pytest.mark.parametrize(
    "changes",
    [
        {}, {"model__bias": True, "regularization__bias": 0.3}, {"model__bias": True, "model__label_noise": 0.5},
        {"model__widths": [4, 3], "model__activation": "relu"}, {"model__samples_per_class": [2, 5, 3]},
        {"optimizer__form": "sample_free", "model__widths": [4, 3], "regularization__weights": [0.1, 0.02]},
    ],
    ids=str,
)  # fmt: skip
def test_the_central_path_sums_to_the_objective_of_the_last_level(changes):
    spec, layer = a_spec(**changes), f"h{len(changes.get('model__widths', [5]))}"
    for one in train(spec):
        values, suffix = one.values, "_given" if spec.model.label_noise else ""
        losses = [values[f"{name}{suffix}", layer] for name in ("lnc1", "lnc23", "lnc_perp")]
        assert min(losses) >= 0
        penalty = spec.weight_decays[-1] * spec.model.classes * values["weight_norm_sq", None]
        penalty += spec.regularization.bias * values["bias_norm", None] ** 2
        assert sum(losses) == pytest.approx(values["loss", None] + penalty / 2, rel=1e-12)


def test_the_margin_of_normalized_models_is_that_of_the_polygon():
    changes = {"model__normalized": True, "loss": "cross_entropy", "model__classes": 5, "model__widths": [2]}
    last = list(train(a_spec(**changes, optimizer__learning_rate=2.0, optimizer__steps=2000)))[-1].values
    # from a corner of the regular pentagon to the line through its neighbours
    assert last["margin", "h1"] == pytest.approx(1 - math.cos(2 * math.pi / 5), rel=1e-4)


CONVERGED = [
    {"loss": SMOOTH}, {"loss": FOCAL}, {"loss": "cross_entropy", "model__samples_per_class": [12, 4, 4]},
    {"loss": SMOOTH, "model__samples_per_class": [12, 4, 4], "model__bias": True, "regularization__bias": 0.1},
    {"loss": "cross_entropy", "model__samples_per_class": [24, 1, 1], "regularization__weights": 0.05},
    {"model__classifier": "etf"}, {"model__classifier": "etf", "loss": "cross_entropy", "model__classifier_norm": 2.0},
    {"model__classifier": "etf", "model__samples_per_class": [1, 4, 9]}, {"model__classifier": "etf", "loss": FOCAL},
    {"model__targets": ROWS}, {"model__targets": ROWS, "model__bias": True, "model__samples_per_class": [2, 5, 3]},
    {"model__targets": ROWS, "model__widths": [4, 3], "optimizer__learning_rate": 0.5},
    {"model__normalized": True, "loss": "cross_entropy", "model__temperature": 3.0, "optimizer__learning_rate": 0.5},
    {"model__normalized": True, "loss": "cross_entropy", "model__classes": 5, "model__widths": [2],
     "optimizer__learning_rate": 2.0},
    {"model__label_noise": 0.5}, {"model__label_noise": 0.5, "loss": "cross_entropy", "model__bias": True},
    {"model__label_noise": 0.25, "model__samples_per_class": 8, "model__widths": [5], "loss": "cross_entropy"},
]  # fmt: skip


@pytest.mark.parametrize("changes", CONVERGED, ids=str)
def test_a_run_ends_where_theory_says(changes):
    spec = a_spec(**({"optimizer__learning_rate": 1.0} | changes), optimizer__steps=6000)
    predicted, final = predict(spec), list(train(spec))[-1].values
    assert final["objective", None] == pytest.approx(predicted.objective, rel=1e-7)
    assert predicted.levels["objective"][""] == predicted.objective
    for name, layers in predicted.levels.items():
        for layer, value in layers.items():
            if (name, layer or None) in final and name != "objective":
                assert final[name, layer or None] == pytest.approx(value, abs=2e-3), (name, layer)
    for layer, norm in (predicted.feature_norm_sq or {}).items():
        mean = sum(norm) / len(norm) if isinstance(norm, list) else norm
        assert final["feature_norm_sq", layer] == pytest.approx(mean, rel=1e-3, abs=1e-6)


def test_label_noise_is_dealt_evenly_and_measured_by_both_labels():
    spec = a_spec(model__label_noise=0.5)
    assert spec.model.given_labels == ((2, 1, 1), (1, 2, 1), (1, 1, 2))
    start = make_start(spec, 0)
    assert start.given.tolist() == [0, 0, 1, 2, 1, 1, 0, 2, 2, 2, 0, 1]
    names = {name for name, _ in next(iter(train(spec))).values}
    assert {"nc1", "nc1_given", "nc2_etf_given"} <= names


@pytest.mark.parametrize(
    ("changes", "field", "other"),
    [
        ({"model__targets": ROWS, "loss": "cross_entropy"}, "loss", "model.targets"),
        ({"model__targets": [[1.0, 2.0]]}, "model.targets.0", "model.classes"),
        ({"model__targets": ROWS, "model__classifier": "etf"}, "model.classifier", "model.targets"),
        ({"model__targets": ROWS, "model__normalized": True}, "model.normalized", "model.targets"),
        ({"model__targets": ROWS, "model__label_noise": 0.5}, "model.label_noise", "model.targets"),
        ({"model__normalized": True}, "loss", "model.normalized"),
        ({"model__normalized": True, "loss": "cross_entropy", "model__bias": True}, "model.bias", "model.normalized"),
        ({"model__normalized": True, "loss": "cross_entropy", "model__widths": [5, 5]}, "model.widths",
         "model.normalized"),
        ({"model__normalized": True, "loss": "cross_entropy", "optimizer__momentum": 0.5}, "optimizer.momentum",
         "model.normalized"),
        ({"model__classifier": "etf", "model__widths": [1]}, "model.widths", "model.classifier"),
        ({"model__classifier_norm": 2.0}, "model.classifier_norm", "model.classifier"),
        ({"model__temperature": 2.0}, "model.temperature", "model.normalized"),
        ({"loss": {"kind": "mse", "label_smoothing": 0.1}}, "loss.label_smoothing", "loss.kind"),
        ({"loss": {"kind": "huber"}}, "loss.kind", "focal"),
        ({"loss": "focal"}, "loss", "kind"),
        ({"model__label_noise": 0.1, "model__classes": 2000}, "model.label_noise", "model.classes"),
        ({"model__label_noise": 0.5, "optimizer__form": "sample_free"}, "optimizer.form", "model.label_noise"),
        ({"model__activation": "relu", "optimizer__form": "sample_free"}, "optimizer.form", "model.activation"),
        ({"model__targets": ROWS, "loss": FOCAL}, "loss", "model.targets"),
        ({"model__normalized": True, "loss": FOCAL}, "loss", "model.normalized"),
        ({"model__normalized": True, "loss": "cross_entropy", "model__classifier": "etf"}, "model.classifier",
         "model.normalized"),
        ({"model__normalized": True, "loss": "cross_entropy", "model__label_noise": 0.5}, "model.label_noise",
         "model.normalized"),
        ({"loss": {"kind": "focal", "label_smoothing": 0.1}}, "loss.label_smoothing", "loss.kind"),
        ({"regularization__bias": 0.1}, "regularization.bias", "model.bias"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_with_both_fields(changes, field, other):
    with pytest.raises(SpecError) as caught:
        a_spec(**changes)
    (error,) = caught.value.errors
    assert error["field"] == field
    assert other in error["message"]


def test_normalized_models_have_no_regulariser():
    body = {"model": {"classes": 3, "samples_per_class": 2, "widths": [3], "normalized": True}, "loss": "cross_entropy"}
    spec = parse_spec(body)
    assert (spec.regularization.weights, spec.regularization.features) == (0.0, 0.0)
    with pytest.raises(SpecError, match=r"regularization\.features.*model\.normalized"):
        parse_spec({**body, "regularization": {"weights": 0, "features": 0.1}})
    with pytest.raises(SpecError, match=r"regularization\.weights.*model\.normalized"):
        parse_spec({**body, "regularization": {"weights": 0.1}})


def test_a_fixed_classifier_cannot_be_given():
    with pytest.raises(ValueError, match=r"start\['W'\].*model\.classifier"):
        next(iter(train(a_spec(model__classifier="etf"), start={"W": [torch.eye(3, 5)]})))


def test_specs_are_written_as_before_and_read_back():
    plain = a_spec().model_dump(mode="json")
    assert plain["loss"] == "mse"
    assert set(plain["model"]) == {
        "kind", "classes", "samples_per_class", "widths", "activation", "bias", "init_scale"
    }  # fmt: skip
    for changes in VARIANTS:
        spec = a_spec(**changes)
        assert parse_spec(spec.model_dump(mode="json")) == spec
    assert a_spec(loss={"kind": "mse"}) == a_spec()
    assert a_spec(loss={"kind": "cross_entropy", "label_smoothing": 0}).loss == "cross_entropy"


def test_noise_that_flips_no_label_is_no_noise():
    noisy, plain = (predict(a_spec(model__label_noise=share)) for share in (0.1, 0.0))
    assert "flips no label" in noisy.notes[0]
    assert noisy.model_copy(update={"notes": noisy.notes[1:]}) == plain.model_copy(update={"boundaries": []})


@pytest.mark.parametrize("model", [{"kind": "mlp", "widths": [40, 8]}, {"kind": "convnet", "channels": [8]}])
def test_a_network_too_narrow_for_a_fixed_etf_is_refused(model):
    body = {"model": {**model, "fixed_etf": True}, "data": {"name": "digits"}}
    with pytest.raises(SpecError, match=r"model\.fixed_etf.* 8 features.*10 classes.*K − 1 = 9"):
        parse_spec(body)
    parse_spec({**body, "data": {"name": "digits", "classes": list(range(9))}})


NETWORK = {"model": {"kind": "mlp", "widths": [6]}, "data": {"name": "digits"}}


def test_a_networks_label_smoothing_has_two_names():
    alias = parse_spec({**NETWORK, "loss": "cross_entropy", "optimizer": {"label_smoothing": 0.1}})
    assert alias.criterion == parse_spec({**NETWORK, "loss": SMOOTH}).criterion
    for loss in ("mse", {"kind": "cross_entropy", "label_smoothing": 0.2}, FOCAL):
        with pytest.raises(SpecError, match=r"optimizer\.label_smoothing.*loss"):
            parse_spec({**NETWORK, "loss": loss, "optimizer": {"label_smoothing": 0.1}})
