"""Networks with feature decay: what is trained against the usual loop, the prediction against a bounded optimizer."""

import numpy as np
import pytest
import torch
from scipy.optimize import minimize
from test_network_run import BODY, finish, same
from torch import nn

from ncore.network.data import load
from ncore.network.epoch import Epoch
from ncore.network.models import averaged, build
from ncore.spec import SpecError, parse_spec, with_changes
from ncore.theory import predict
from ncore.theory.networks import as_ufm
from ncore.train import begin

DECAY = {"layer": "head1", "value": 0.003}
MLP = {"kind": "mlp", "widths": [9]}
PLAIN = {"data.augment": False, "precision": "float64", "optimizer.epochs": 1, "optimizer.weight_decay": 0.1}


def spec_of(**changes):
    return parse_spec(with_changes(BODY, {**PLAIN, **{key.replace("__", "."): v for key, v in changes.items()}}))


@pytest.mark.parametrize("decays", ["all", "weights"])
@pytest.mark.parametrize("layer", [None, "block1", "block2", "head1"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_an_epoch_is_that_of_the_usual_loop(layer, decays, clip):
    decay = None if layer is None else {"layer": layer, "value": 0.003}
    spec = spec_of(optimizer__feature_decay=decay, optimizer__decays=decays, optimizer__clip_norm=clip)
    final = finish(begin(spec))[-1].values
    o, data = spec.optimizer, load(spec.data, None, "cpu", torch.float64)
    network = build(spec.model, 10, 1, 8, 0).double()
    names = [*network.stages, *network.head]
    behind = [] if layer is None else ["classifier", *names[names.index(layer) + 1 :]]
    shrunk = [p for name, p in network.named_parameters()
              if (layer is None or set(name.split(".")) & {*behind}) and (decays == "all" or p.ndim > 1)]  # fmt: skip
    seen = {}
    for name, module in [*network.stages.items(), *network.head.items()]:
        module.register_forward_hook(lambda _, __, out, name=name: seen.update({name: averaged(out)}))
    targets, images = torch.eye(10).double()[data.train.labels], data.standardise(data.train.images)
    optimizer = torch.optim.SGD(network.parameters(), o.learning_rate, o.momentum)
    for index in Epoch.draw(0, 0, data, augmented=False).order.split(o.batch_size):
        optimizer.zero_grad()
        loss = nn.functional.mse_loss(network(images[index]), targets[index])
        if layer is not None:
            loss = loss + 0.003 / 2 * len(data.train) * seen[layer].square().sum(1).mean()
        loss.backward()
        before = torch.cat(
            [(p.grad + 0.1 * p.detach() * any(p is q for q in shrunk)).flatten() for p in network.parameters()]
        ).norm()
        if clip is not None:
            nn.utils.clip_grad_norm_(network.parameters(), clip)
        for p in shrunk:
            p.grad += o.weight_decay * p.detach()
        optimizer.step()
    network.eval()
    with torch.no_grad():
        value = nn.functional.mse_loss(network(images), targets)
        value += 0.05 * sum(p.square().sum() for p in shrunk)
        if layer is not None:
            value += 0.003 / 2 * seen[layer].square().sum()
    assert final["objective", None] == pytest.approx(float(value), rel=1e-10)
    assert final["batch_grad_norm", None] == pytest.approx(float(before), rel=1e-10)
    rows = network.classifier.weight.detach().square().sum(1).mean()
    assert final["weight_norm_sq", None] == pytest.approx(float(rows), rel=1e-10)


def test_it_goes_on_bit_for_bit():
    changes = {"optimizer__feature_decay": DECAY, "optimizer__clip_norm": 0.5, "optimizer__decays": "weights"}
    spec, found = spec_of(**changes, optimizer__kind="sgdw"), []
    expected, run = finish(begin(spec)), begin(spec)
    while not run.done:
        found += run.advance(seconds=0)
        run = begin(spec, checkpoint=run.checkpoint()) if run._measuring is None else run
    assert same(found, expected)


CASES = {
    "mse": {"loss": "mse", "model__bias": False},
    "mse, free bias": {"loss": "mse", "optimizer__decays": "weights"},
    "cross-entropy": {"loss": "cross_entropy"},
    "cross-entropy, no bias": {"loss": "cross_entropy", "model__bias": False},
    "label smoothing": {"loss": {"kind": "cross_entropy", "label_smoothing": 0.1}, "optimizer__decays": "weights"},
    "focal": {"loss": {"kind": "focal", "gamma": 1.5}, "model__bias": False},
    "beyond the threshold": {"loss": "cross_entropy", "optimizer__weight_decay": 1.0},
    "mse, uneven": {"loss": "mse", "model__bias": False, "data__samples_per_class": [4, 2, 2]},
    "mse, narrow": {"loss": "mse", "model__bias": False, "model__widths": [2]},
    "free features": {"loss": "mse", "model__head_layers": 1, "model__head_activation": "identity"},
    "free features, cross-entropy": {
        "loss": "cross_entropy", "model__head_layers": 1, "model__head_activation": "identity",
        "data__samples_per_class": [4, 2, 2],
    },
}  # fmt: skip


def small(**changes):
    free = changes.get("model__head_layers")
    body = {
        "model": {"kind": "mlp", "widths": [4]},
        "data": {"name": "digits", "classes": [0, 1, 2], "samples_per_class": 3, "image_size": 8},
        "optimizer": {"weight_decay": 0.02, "feature_decay": {"layer": "head1" if free else "hidden1", "value": 0.004}},
    }
    return parse_spec(with_changes(body, {key.replace("__", "."): value for key, value in changes.items()}))


def least(spec, signed):
    """The lowest of the network's objective over its features and classifier, as free as the UFM has them."""
    sizes, d, k = spec.data.train_sizes(3), spec.model.widths[0], 3
    n, o = sum(sizes), spec.optimizer
    labels = torch.repeat_interleave(torch.arange(k), torch.tensor(sizes))
    targets = spec.criterion.targets(torch.eye(k).double()[labels], 1)

    def value(flat):
        x = torch.tensor(flat, requires_grad=True)
        h, w, b = x[: n * d].view(n, d), x[n * d : n * d + k * d].view(k, d), x[n * d + k * d :]
        logits = h @ w.mT + (b if spec.model.bias else 0.0)
        f = spec.criterion.of_network(logits, targets).mean() + o.feature_decay.value / 2 * h.square().sum()
        f = f + o.weight_decay / 2 * (w.square().sum() + (b.square().sum() if o.decays == "all" else 0.0))
        f.backward()
        return float(f.detach()), x.grad.numpy()

    bounds = [(None if signed else 0.0, None)] * (n * d) + [(None, None)] * (k * d + k)
    found = []
    for seed in range(3):
        start = np.abs(np.random.default_rng(seed).standard_normal(n * d + k * d + k))
        options = {"maxiter": 4000, "maxfun": 10**5, "ftol": 1e-15, "gtol": 1e-9}
        found.append(minimize(value, start, jac=True, method="L-BFGS-B", bounds=bounds, options=options))
    best = min(found, key=lambda one: one.fun)
    h, w = best.x[: n * d].reshape(n, d), best.x[n * d : n * d + k * d].reshape(k, d)
    means = np.stack([h[labels.numpy() == j].mean(0) for j in range(k)])
    return best.fun, float((means**2).sum(1).mean()), float((w**2).sum(1).mean())


@pytest.mark.parametrize("case", CASES)
def test_predictions_are_the_least_that_a_bounded_optimizer_finds(case):
    spec = small(**CASES[case])
    known, layer = predict(spec), spec.optimizer.feature_decay.layer
    objective, features, weights = least(spec, signed=spec.model.head_layers > 0)
    assert known.objective == pytest.approx(objective, rel=1e-6)
    if known.feature_norm_sq is not None:
        assert np.mean(known.feature_norm_sq[layer]) == pytest.approx(features, rel=1e-3, abs=1e-6)
        assert np.mean(known.weight_norm_sq) == pytest.approx(weights, rel=1e-3, abs=1e-6)
    else:
        assert case == "mse, narrow"


WRONG = {
    "optimizer.feature_decay.layer": {"optimizer__feature_decay": {"layer": "block3", "value": 1}},
    "optimizer.feature_decay.value": {"optimizer__feature_decay": {"layer": "block1", "value": -1}},
    "optimizer.feature_decay": {
        "model__normalized": True, "model__bias": False, "loss": "cross_entropy", "optimizer__feature_decay": DECAY,
    },
    "optimizer.decays": {"optimizer__decays": "biases"},
    "optimizer.clip_norm": {"optimizer__clip_norm": 0},
    "loss": {"model__normalized": True, "model__bias": False},
    "model.bias": {"model__normalized": True},
    "model.temperature": {"model__temperature": 2},
    "model.classifier_norm": {"model__classifier_norm": 2},
}  # fmt: skip


@pytest.mark.parametrize("field", WRONG)
def test_what_does_not_fit_is_refused_by_field(field):
    with pytest.raises(SpecError) as refused:
        spec_of(**WRONG[field])
    assert [error["field"] for error in refused.value.errors] == [field]


UNKNOWN = {
    "compare it with": {"optimizer__feature_decay": None},
    "shrinks weights apart": {"optimizer__kind": "adamw"},
    "Stages of the network lie between": {"model__widths": [4, 4]},
    "have biases": {"model__head_layers": 1},
    "give data.samples_per_class": {"data__samples_per_class": None},
    "a fixed classifier": {"model__fixed_etf": True},
    "several layers behind": {"model__head_layers": 1, "model__bias": False, "loss": "cross_entropy"},
    "classes of several sizes": {"data__samples_per_class": [5, 4, 3], "loss": "cross_entropy"},
    "fewer of them than classes": {"model__widths": [2], "loss": "cross_entropy"},
    "a bias that decays": {"loss": "mse"},
}


@pytest.mark.parametrize("words", UNKNOWN)
def test_what_is_not_known_says_why(words):
    known = predict(small(**{"optimizer__feature_decay": {"layer": "hidden1", "value": 0.01}, **UNKNOWN[words]}))
    assert (known.regime, known.objective) == ("not_known", None)
    assert words in known.notes[-1]


def test_deep_heads_are_deep_ufms_and_noise_is_a_ufms_noise():
    decay = {"layer": "hidden1", "value": 0.004}
    changes = {"model__head_layers": 2, "model__bias": False, "optimizer__feature_decay": decay}
    deep = small(**changes, loss="mse", data__label_noise=0.3)
    ufm = as_ufm(deep)
    assert (ufm.model.widths, ufm.model.activation, ufm.model.label_noise) == ((4, 4, 4), "relu", 0.3)
    assert ufm.weight_decays == pytest.approx([0.03] * 3)
    known = predict(deep)
    assert known.objective == pytest.approx(2 / 3 * predict(ufm).objective)
    assert {*known.levels["nc1_given"]} == {"hidden1", "head1", "head2"}
