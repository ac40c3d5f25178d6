"""The door: closed forms met by training, checkpoints, given starts, divergence, schedules, very many samples."""

import math
import time

import pytest
import torch

from ncore.presets import PRESETS
from ncore.run import DeviceError
from ncore.schedule import measuring_steps
from ncore.spec import UfmSpec, parse_spec, with_changes
from ncore.theory import predict
from ncore.train import Diverged, begin, outcome, train


def settings() -> list[dict]:
    """At least 40 settings over K, d, n, λ, bias, M, loss with a closed form, small enough to converge."""
    rows = []
    for i, (classes, d, n) in enumerate([(2, 3, 4), (3, 3, 10), (4, 20, 50), (5, 9, 3), (7, 7, 6)]):
        for bias in (None, 0.0, 0.02):
            rows.append({"classes": classes, "widths": [d], "n": n, "bias": bias, "c": (0.1, 0.3, 0.5, 0.7)[i % 4]})
    for classes, d, n, c in ((3, 2, 5, 0.2), (6, 4, 4, 0.4), (4, 3, 8, 0.25), (4, 6, 10, 1.3)):
        rows.append({"classes": classes, "widths": [d], "n": n, "bias": None, "c": c})
    rows.append({"classes": 4, "widths": [3], "n": 8, "bias": 0.0, "c": 0.25})
    for sizes in ([3, 9, 5], [20, 2, 6, 11], [40, 1, 30]):
        rows.append({"classes": len(sizes), "widths": [8], "n": sizes, "bias": None, "c": 0.3})
    for i, widths in enumerate([[4, 4], [6, 5], [5, 5, 5], [12, 8], [4, 9, 5]]):
        for bias in (None, 0.0, 0.3):
            rows.append({"classes": 3 + i % 2, "widths": widths, "n": 5, "bias": bias, "c": 0.1 + 0.05 * (i % 3)})
    for i, (classes, d, n) in enumerate([(2, 4, 5), (3, 3, 8), (4, 10, 6), (5, 5, 3)]):
        for bias in (None, 0.0):
            rows.append(
                {"classes": classes, "widths": [d], "n": n, "bias": bias, "c": 0.2 + 0.15 * i, "loss": "cross_entropy"}
            )
    return rows


def spec_of(classes, widths, n, bias, c, loss="mse") -> UfmSpec:
    """λ's chosen so that the threshold quantity (c, or γ for M ≥ 2) is about `c`; factors of unequal λ."""
    levels = len(widths)
    mean_n = n if isinstance(n, int) else sum(n) / len(n)
    product = c ** (levels + 1) / classes ** (levels + 1) / mean_n
    unequal = [2.0 ** (j % 2) for j in range(levels)]
    base = (product / math.prod(unequal)) ** (1 / (levels + 1))
    spec = parse_spec(
        {
            "model": {
                "kind": "ufm",
                "classes": classes,
                "samples_per_class": n,
                "widths": widths,
                "bias": bias is not None,
                "init_scale": 0.4 if levels > 1 else 1.0,
            },
            "loss": loss,
            "regularization": {"weights": [base * u for u in unequal], "features": base, "bias": bias or 0.0},
            "optimizer": {"learning_rate": 0.1 if levels > 1 else 0.25, "momentum": 0.9, "steps": 12_000},
            "measure": {"points": 2},
            "seeds": list(range(12 if levels > 1 else 2)),
        }
    )
    assert isinstance(spec, UfmSpec)
    return spec


def test_there_are_at_least_forty_settings():
    assert len(settings()) >= 40


@pytest.mark.parametrize("setting", settings(), ids=lambda s: "-".join(str(v) for v in s.values()))
def test_training_meets_the_closed_form(setting):
    spec = spec_of(**setting)
    predicted = predict(spec).objective
    assert predicted is not None
    finals = [m.values["objective", None] for m in train(spec) if m.step == spec.optimizer.steps]
    assert min(finals) == pytest.approx(predicted, rel=1e-6)  # for M ≥ 2 some seeds end in a rank-deficient minimum
    assert min(finals) >= predicted * (1 - 1e-9)


def short(name: str = "fig1", **changes) -> UfmSpec:
    spec = parse_spec(
        with_changes(PRESETS[name].spec, {"seeds": [0], "optimizer.steps": 300, "measure.points": 20, **changes})
    )
    assert isinstance(spec, UfmSpec)
    return spec


CASES = [
    short(),
    short(seeds=[4, 5]),
    short(**{"optimizer.momentum": 0.5, "model.bias": True}),
    short("fig3", precision="float32"),
    short("fig4", seeds=[1, 2]),
    short("fig2", loss="cross_entropy", **{"optimizer.momentum": 0.3}),
    short(**{"model.classes": 10, "model.widths": [300], "model.samples_per_class": 60, "optimizer.steps": 130}),
]


@pytest.mark.parametrize("spec", CASES, ids=lambda s: f"{s.name}-{s.loss}-{len(s.seeds)}")
def test_a_run_goes_on_from_a_checkpoint_bit_for_bit(spec):
    whole = list(train(spec))
    run = begin(spec)
    seen = []
    while run.step < spec.optimizer.steps // 2:
        seen += run.advance(0.0)
    again = begin(spec, checkpoint=run.checkpoint())
    assert (again.step, again.total) == (run.step, run.total)
    while not again.done:
        seen += again.advance()
    assert [(m.seed, m.step) for m in seen] == [(m.seed, m.step) for m in whole]
    for one, other in zip(seen, whole, strict=True):
        assert {k: str(v) for k, v in one.values.items()} == {k: str(v) for k, v in other.values.items()}


def test_every_seed_is_measured_at_every_scheduled_step_and_both_ends():
    spec = short(seeds=[3, 1])
    due = measuring_steps(300, 20, "log")
    assert [(m.step, m.seed) for m in train(spec)] == [(step, seed) for step in due for seed in (3, 1)]


def test_a_seed_gives_the_same_numbers_alone_and_in_company():
    alone = list(train(short(seeds=[7])))[-1]
    among = [m for m in train(short(seeds=[6, 7, 8])) if m.seed == 7][-1]
    for series, value in alone.values.items():
        assert among.values[series] == pytest.approx(value, rel=1e-9, abs=1e-12, nan_ok=True), series


def minimiser(spec: UfmSpec) -> dict[str, object]:
    """fig1's orthogonal frame (theory.md): H̄ = W = √(1−c) I, as λ_W = nλ_H does not hold: scaled by their ratio."""
    k, n, d = spec.model.classes, 50, spec.model.widths[0]
    lam_w, lam_h = spec.weight_decays[0], spec.regularization.features
    c = k * math.sqrt(n * lam_w * lam_h)
    frame = torch.eye(d, k, dtype=torch.float64) * math.sqrt((1 - c) * math.sqrt(lam_w / (n * lam_h)))
    return {"H": frame.repeat_interleave(n, dim=1), "W": [math.sqrt(n * lam_h / lam_w) * frame.T], "b": torch.zeros(k)}


def test_a_run_started_at_the_predicted_minimiser_stays_there():
    spec = short()
    *_, final = train(spec, start=minimiser(spec))
    assert final.values["objective", None] == pytest.approx(predict(spec).objective, rel=1e-14)
    assert final.values["grad_norm", None] < 1e-15
    assert final.values["nc2_of", "h1"] < 1e-14
    assert final.values["nc3", "h1"] < 1e-14


def test_a_perturbed_minimiser_comes_back_with_the_predicted_rate():
    """lessons.md: near the minimiser f − f* of a within-class perturbation falls by (1 − ηλ)² a step."""
    spec = short(**{"measure.spacing": "linear"})
    start = minimiser(spec)
    noise = torch.randn(20, 4, 50, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-3
    noise[:4] = 0  # across the frame: W never sees it
    noise -= noise.mean(dim=2, keepdim=True)
    start["H"] = start["H"] + noise.flatten(1)
    spreads = [m.values["nc1_trace", "h1"] for m in train(spec, start=start)]
    assert spreads[-1] / spreads[0] == pytest.approx((1 - 0.1 * 0.005) ** 600, rel=1e-9)


def test_one_start_for_each_seed():
    spec = short(seeds=[0, 1])
    given = minimiser(spec)
    both = {
        "H": torch.stack([given["H"], torch.zeros(20, 200)]),
        "W": [torch.stack([given["W"][0], torch.zeros(4, 20)])],
    }
    *_, first, second = train(spec, start=both)
    assert first.values["objective", None] == pytest.approx(predict(spec).objective, rel=1e-14)
    assert second.values["objective", None] == pytest.approx(0.5, rel=1e-14)
    assert math.isnan(second.values["nc1", "h1"])
    assert math.isnan(second.values["nc4", "h1"])


def test_a_diverging_run_stops_early_with_step_and_advice():
    spec = short("fig3", **{"model.init_scale": 1.0, "optimizer.steps": 60_000})
    began = time.perf_counter()
    with pytest.raises(Diverged, match=r"lower optimizer\.learning_rate") as caught:
        list(train(spec))
    assert 0 < caught.value.step <= 500
    assert time.perf_counter() - began < 5


def test_a_diverged_seed_leaves_the_others_alone():
    spec = short(seeds=[0, 1])
    given = minimiser(spec)
    start = {"H": torch.stack([given["H"], given["H"] * 1e9])}
    start["W"] = [torch.stack([given["W"][0], given["W"][0] * 1e9])]
    *_, good, lost = train(spec, start=start)
    assert good.values["objective", None] == pytest.approx(predict(spec).objective, rel=1e-12)
    assert not math.isfinite(lost.values["objective", None])


def test_the_outcome_names_verdict_and_engine():
    spec = short(**{"optimizer.steps": 20_000, "measure.points": 2})
    run = begin(spec)
    final = []
    while not run.done:
        final = run.advance() or final
    result = outcome(spec, run, final)
    assert result["engine"] == "sample_free"
    assert [v["reached"] for v in result["verdict"]] == ["orthogonal_frame"]
    assert result["final"][0]["step"] == 20_000


def test_a_million_samples_a_class_cost_what_fifty_do():
    """Wall time with measurements; twice leaves room for noise, the full form would take 20,000 times as long."""
    seconds = {}
    for n in (50, 10**6, 50, 10**6):
        spec = short(**{"model.samples_per_class": n, "optimizer.steps": 10_000})
        run = begin(spec)
        began = time.perf_counter()
        while not run.done:
            final = run.advance()[-1]
        seconds[n] = min(seconds.get(n, 99.0), time.perf_counter() - began)
        assert math.isfinite(final.values["objective", None])
    assert seconds[10**6] < 2 * seconds[50]


def test_a_gpu_that_is_not_here_is_refused():
    with pytest.raises(DeviceError, match="cuda:99"):
        begin(short(device="cuda:99"))
