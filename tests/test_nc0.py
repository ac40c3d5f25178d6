"""NC0: the sum of a classifier's rows follows the optimiser's recursion, an end-to-end test of the trainers."""

import pytest
import torch

from ncore.pictures.setting import setting_of
from ncore.run import Measurement
from ncore.spec import parse_spec, with_changes
from ncore.theory.nc0 import nc0_factors
from ncore.train import train
from ncore.verdict import verdicts

MODELS = {
    "mlp": {"kind": "mlp", "widths": [12]},
    "convnet": {"kind": "convnet", "channels": [4, 6]},
    "resnet": {"kind": "resnet", "stem": "imagenet"},
}
COSINE = {"kind": "cosine", "warmup_epochs": 1.5}
SMOOTH = {"kind": "cross_entropy", "label_smoothing": 0.1}
CASES = [
    ("mlp", {"momentum": 0.9, "milestones": [2], "label_smoothing": 0.1}, "cross_entropy", "float64"),
    ("mlp", {"momentum": 0.8, "nesterov": True, "clip_norm": 0.1}, {"kind": "focal", "gamma": 1.5}, "float64"),
    ("mlp", {"kind": "sgdw", "momentum": 0.9, "weight_decay": 0.02, "decays": "weights"}, "cross_entropy", "float64"),
    ("mlp", {"feature_decay": {"layer": "hidden1", "value": 0.001}, "schedule": COSINE}, SMOOTH, "float32"),
    ("convnet", {"momentum": 0.9, "nesterov": True, "schedule": COSINE}, SMOOTH, "float64"),
    ("convnet", {"momentum": 0.0, "schedule": {"kind": "linear"}}, "cross_entropy", "float32"),
    ("resnet", {"momentum": 0.9, "nesterov": True, "milestones": [1], "epochs": 2}, SMOOTH, "float64"),
    ("resnet", {"momentum": 0.9, "schedule": COSINE, "epochs": 2}, "cross_entropy", "float32"),
]
BODY = {
    "model": MODELS["mlp"],
    "data": {"name": "digits", "samples_per_class": 4, "image_size": 8},
    "optimizer": {"epochs": 3, "batch_size": 16, "weight_decay": 0.05, "learning_rate": 0.02},
    "device": "cpu",
}


@pytest.mark.parametrize(("model", "optimizer", "loss", "precision"), CASES)
def test_nc0_of_a_network_follows_its_law(model, optimizer, loss, precision):
    """Rates, decay and momentum of every step, whatever the data."""
    changes = {f"optimizer.{name}": value for name, value in optimizer.items()}
    body = with_changes(BODY, {"model": MODELS[model], "loss": loss, "precision": precision, **changes})
    spec, first, *finals = parse_spec(body), *list(train(body))
    bound = 1e-9 if precision == "float64" else 1e-3
    for one in finals:
        assert one.values["nc0", None] == pytest.approx(one.values["nc0_predicted", None], rel=bound)
    assert finals[-1].values["nc0", None] < 0.9999 * first.values["nc0", None]
    assert "NC0 agrees" in verdicts(spec, finals[-1:], 10)[0]["note"]
    wrong = dict(finals[-1].values) | {("nc0", None): finals[-1].values["nc0", None] * (1 + 10 * bound)}
    assert "NC0 differs" in verdicts(spec, [Measurement(0, finals[-1].step, wrong)], 10)[0]["note"]
    assert "nc0" in setting_of(spec, 10).panels


NO_LAW = [
    {"loss": "mse"},
    {"optimizer.kind": "adam"},
    {"optimizer.kind": "adamw"},
    {"model.fixed_etf": True},
    {"model.normalized": True, "model.bias": False},
]


@pytest.mark.parametrize("changes", NO_LAW, ids=str)
def test_where_no_law_of_nc0_holds_none_is_shown(changes):
    body = with_changes(BODY, {"loss": "cross_entropy", "optimizer.epochs": 1, **changes})
    final = list(train(body))[-1]
    assert ("nc0", None) in final.values
    assert ("nc0_predicted", None) not in final.values
    assert verdicts(parse_spec(body), [final], 10)[0]["note"] is None
    assert "nc0" not in setting_of(parse_spec(body), 10).panels


def test_rounding_at_the_end_of_a_long_run_is_no_difference():
    spec = parse_spec({**BODY, "loss": "cross_entropy", "precision": "float64"})
    values = {("objective", None): 1.0, ("nc0", None): 3e-15, ("nc0_predicted", None): 1e-20}
    for rows, word in ((1.0, "agrees"), (1e-8, "differs")):
        final = Measurement(0, 10_000, {**values, ("weight_norm_sq", None): rows**2})
        assert word in verdicts(spec, [final], 10)[0]["note"]


@pytest.mark.parametrize("widths", [[5], [4, 3]])
def test_nc0_of_a_ufm_follows_the_same_law(widths):
    body = {
        "model": {"kind": "ufm", "classes": 3, "samples_per_class": [4, 2, 3], "widths": widths, "bias": True},
        "loss": SMOOTH,
        "regularization": {"weights": 0.05, "features": 0.01},
        "optimizer": {"steps": 40, "learning_rate": 0.2, "momentum": 0.7},
        "measure": {"points": 41, "spacing": "linear"},
    }
    found = torch.tensor([m.values["nc0", None] for m in train(body)], dtype=torch.float64)
    law = torch.tensor(nc0_factors([0.2] * 40, 0.05, optimizer="gd", momentum=0.7), dtype=torch.float64)
    assert torch.allclose(found, found[0] * law.abs(), rtol=1e-11)
