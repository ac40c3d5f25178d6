"""Measuring a network: sums batch by batch against features that are kept."""

import pytest
import torch

from ncore.estimate import memory_bytes
from ncore.network.estimate import KEPT_FEATURES_BYTES, features_bytes, keeps_features
from ncore.network.measuring import NetworkMeasurer
from ncore.network.run import NetworkRun
from ncore.spec import parse_spec

CONVNET = {"kind": "convnet", "channels": [4, 8], "head_layers": 1}
MLP = {"kind": "mlp", "widths": [9, 12]}


def started(model, precision="float64", decays="all", **data) -> NetworkRun:
    data = {"name": "synthetic", "samples_per_class": 61, "image_size": 8, **data}
    optimizer = {"epochs": 2, "learning_rate": 0.02, "weight_decay": 0.01, "decays": decays}
    body = {"model": model, "data": data, "optimizer": optimizer, "measure": {"points": 2}, "precision": precision}
    return NetworkRun(parse_spec({**body, "device": "cpu"}), "cpu", None, None)


def measurer(run: NetworkRun, kept_features_bytes: int) -> NetworkMeasurer:
    return NetworkMeasurer(run.spec, run._data, run._targets, kept_features_bytes)


@torch.no_grad()
def measured(run: NetworkRun, kept_features_bytes: int):
    """All series of the run's network, and how many pieces the measurement was cut in."""
    network = run._network.eval()
    work, pieces = measurer(run, kept_features_bytes).measure(network), 0
    while True:
        try:
            next(work)
            pieces += 1
        except StopIteration as end:
            network.train()
            return end.value, pieces


@pytest.mark.parametrize("kept", [0, KEPT_FEATURES_BYTES])
@pytest.mark.parametrize(
    ("model", "data", "decays"),
    [(CONVNET, {}, "all"), (MLP, {"classes": 3, "samples_per_class": [40, 2, 30]}, "weights"),
     ({**MLP, "bias": False}, {"name": "digits", "label_noise": 0.2, "samples_per_class": 20}, "all")],
)  # fmt: skip
def test_the_central_path_sums_to_the_objective_of_the_last_layer(model, data, decays, kept):
    run = started(model, decays=decays, **data)
    values, _ = measured(run, kept)
    suffix, layer = "_given" if "label_noise" in data else "", run.spec.model.levels[-1]
    losses = [values[f"{name}{suffix}", layer] for name in ("lnc1", "lnc23", "lnc_perp")]
    assert min(losses) >= 0
    squares = run._data.classes * values["weight_norm_sq", None]
    squares += values["bias_norm", None] ** 2 if decays == "all" else 0.0
    assert sum(losses) == pytest.approx(values["loss", None] + 0.01 / 2 * squares, rel=1e-12)


def collapsed(run: NetworkRun) -> None:
    """Features far from zero that hardly differ within a class: by 1e-6 of what lies between the means."""
    linear = run._network.stages["hidden2"][0]
    with torch.no_grad():
        linear.weight.mul_(1e-6)
        linear.bias.fill_(1e3)


@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize(
    ("model", "data"),
    [
        (CONVNET, {}),
        (MLP, {"classes": 3, "samples_per_class": [400, 2, 30]}),
        ({**CONVNET, "bias": False}, {"name": "digits", "random_labels": True}),
        ({**CONVNET, "layers": ["block1"]}, {}),
    ],
    ids=["convnet", "mlp", "random labels", "not the last layer"],
)
def test_sums_give_what_kept_features_give(model, data, precision):
    run = started(model, precision, **data)
    run.advance()
    run._train(run.total, float("inf"))
    kept, _ = measured(run, KEPT_FEATURES_BYTES)
    summed, _ = measured(run, 0)
    assert summed == pytest.approx(kept, rel=1e-9, abs=0)
    assert ("nc4" in {metric for metric, _ in summed}) == (model.get("layers") is None)


def test_sums_lose_no_digits_where_features_are_far_away_and_close_together():
    run = started(MLP)
    collapsed(run)
    kept, _ = measured(run, KEPT_FEATURES_BYTES)
    summed, _ = measured(run, 0)
    assert kept["feature_norm_sq", "hidden2"] == pytest.approx(12 * 1e6, rel=1e-3)
    assert summed == pytest.approx(kept, rel=1e-9, abs=0)


def test_measuring_by_sums_is_cut_in_pieces():
    run = started(CONVNET)
    _, kept_pieces = measured(run, KEPT_FEATURES_BYTES)
    _, pieces = measured(run, 0)
    assert (kept_pieces, pieces) == (3 + 3 + 3, 3 + 3 + 3 + 3)  # 610 images: three pieces a pass, and one a layer


def test_what_does_not_fit_is_not_in_the_final_state_and_that_is_reported():
    run = started(CONVNET)
    assert run.left_out is None
    whole = run.final_state()
    run._measurer = measurer(run, 0)
    assert run.left_out is not None
    assert "no features" in run.left_out
    state = run.final_state()
    assert whole.keys() - state.keys() == {"features.block1", "features.block2", "features.head1"}
    assert all(torch.equal(tensor, whole[name]) for name, tensor in state.items())


def test_features_are_kept_up_to_the_limit_and_where_sums_would_take_more():
    def spec(samples: int, **model):
        return parse_spec({"model": model, "data": {"name": "synthetic", "samples_per_class": samples}})

    size, limit = {"kind": "mlp", "widths": [1024]}, KEPT_FEATURES_BYTES
    fits = limit // (10 * 4 * 1024)
    for samples, kept in ((fits, True), (fits + 1, False)):
        assert features_bytes(spec(samples, **size), 10 * samples, 10)[0] // limit == (0 if kept else 1)
        assert keeps_features(spec(samples, **size), 10 * samples, 10) == kept
    assert memory_bytes(spec(fits, **size)) - memory_bytes(spec(fits + 1, **size)) > 0.9 * limit
    wide = spec(4000, kind="mlp", widths=[16_384])
    assert features_bytes(wide, 40_000, 10)[0] > limit
    assert keeps_features(wide, 40_000, 10)
