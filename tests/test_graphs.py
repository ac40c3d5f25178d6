"""Steps that are captured and replayed: the numbers of plain ones, on the CPU.

A tape of torch's operations stands for a CUDA graph: as that it holds the tensors of one execution and the numbers that
Python had then, and a replay runs nothing else.
"""

import logging

import pytest
import torch
from test_network_run import spec_of
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from ncore.graphs import SETTING, CudaCapture, Repeated, capture_for
from ncore.network.run import NetworkRun
from ncore.presets import PRESETS
from ncore.spec import parse_spec, with_changes
from ncore.ufm.run import CHUNK, UfmRun


def tensors_of(value):
    return [leaf for leaf in tree_leaves(value) if isinstance(leaf, torch.Tensor)]


class Tape(TorchDispatchMode):
    """Captures work by doing it and taking back what it changed of `state()`, the tensors that outlive it."""

    def __init__(self, state):
        super().__init__()
        self.state, self.played, self.tapes = state, 0, []

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        result = function(*args, **(kwargs or {}))
        self.tapes[-1].append((function, args, kwargs or {}, tensors_of(result)))
        return result

    def plainly(self, work):
        work()

    def captured(self, work):
        before = [tensor.detach().clone() for tensor in self.state()]
        self.tapes.append([])
        with self:
            work()
        with torch.no_grad():
            for tensor, kept in zip(self.state(), before, strict=True):
                tensor.copy_(kept)
        tape = self.tapes[-1]
        return lambda: self.replay(tape)

    @torch.no_grad()
    def replay(self, tape):
        self.played += 1
        for function, args, kwargs, results in tape:
            for kept, new in zip(results, tensors_of(function(*args, **kwargs)), strict=True):
                if kept.data_ptr() != new.data_ptr():
                    kept.copy_(new)


STEPS = 5 * CHUNK + 9
UFMS = {
    "linear, without samples": ("fig1", {"seeds": [0, 1]}),
    "relu": ("fig4", {}),
    "deep": ("fig2", {"model.bias": True}),
    "cross-entropy, one layer, momentum": ("fig1", {"loss": "cross_entropy", "optimizer.momentum": 0.5}),
    "focal, label noise": ("fig1", {"loss": {"kind": "focal", "gamma": 2}, "model.label_noise": 0.1}),
    "normalized": (
        "fig1",
        {"loss": "cross_entropy", "model.normalized": True, "regularization": {"weights": 0, "features": 0}},
    ),
}


@pytest.mark.parametrize("name", UFMS)
def test_chunks_of_a_ufms_steps_are_replayed_with_the_numbers_of_plain_ones(name):
    preset, changes = UFMS[name]
    small = {"optimizer.steps": STEPS, "measure": {"points": 4, "spacing": "linear"}, "device": "cpu"}
    body = with_changes(PRESETS[preset].spec, {**small, **changes})
    specs = [parse_spec(with_changes(body, {"optimizer.learning_rate": rate})) for rate in (0.05, 0.1)]
    replicas = [(spec, seed) for spec in specs for seed in spec.seeds]
    runs = [UfmRun(replicas, "cpu", arithmetic="torch") for _ in range(2)]
    tape = Tape(lambda: [*runs[1]._batch.trained().values(), *runs[1]._velocities.values()])
    runs[1].repeat_by(tape)
    found = []
    for run in runs:
        found.append([])
        while not run.done:
            found[-1] += run.advance()
    assert tape.played == 2
    assert found[0] == found[1]
    for one, other in zip(*(run.checkpoint().values() for run in runs), strict=True):
        assert torch.equal(one, other)


NETWORKS = {
    "convnet": {"optimizer__clip_norm": 0.5},
    "resnet": {
        "model": {"kind": "resnet", "stem": "imagenet"},
        "data": {"name": "synthetic", "classes": 3, "samples_per_class": 9, "image_size": 32, "augment": True},
        "measure": {"points": 2},
    },
    "mlp": {"model": {"kind": "mlp", "widths": [9]}, "loss": "mse", "optimizer__kind": "adamw"},
    "feature decay": {"optimizer__feature_decay": {"layer": "head1", "value": 1e-3}, "optimizer__nesterov": True},
}


def network(name, capture=None):
    run = NetworkRun(spec_of(**{"optimizer__batch_size": 12, "seeds": [0, 1], **NETWORKS[name]}), "cpu", None, None)
    if capture is not None:
        run._capture = capture
        run.begin_seed(0)
    return run


@pytest.mark.parametrize("name", [pytest.param(n, marks=[pytest.mark.nightly] * (n == "resnet")) for n in NETWORKS])
def test_passes_over_whole_batches_are_replayed_with_the_numbers_of_plain_ones(name):
    """Of each epoch the last batch is smaller, and taken plainly between replays."""
    plain = network(name)
    tape = Tape(lambda: list(replayed._network.buffers()))
    replayed = network(name, tape)
    found = []
    for run in (plain, replayed):
        found.append([])
        while not run.done:
            found[-1] += run.advance()
    assert len(plain._data.train) % 12 > 1
    assert len(tape.tapes) == 2  # one for each seed
    assert tape.played == 2 * (len(plain._data.train) // 12 * plain.spec.optimizer.epochs - 3)
    assert found[0] == found[1]
    for one, other in zip(*(run.checkpoint().values() for run in (plain, replayed)), strict=True):
        assert torch.equal(one, other)


@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the capture does not fail")
def test_what_cannot_be_captured_goes_on_plainly_and_is_logged_once(caplog):
    """By torch itself, which has no GPU here."""
    repeated, done = Repeated(CudaCapture(torch.device("cuda:0")), warm_ups=0), []
    with caplog.at_level(logging.WARNING):
        for i in range(3):
            repeated(lambda i=i: done.append(i))
    assert done == [0, 1, 2]
    (line,) = caplog.messages
    assert line.startswith("no CUDA graph could be captured, so that steps go on one by one: ")


def test_graphs_are_for_gpus_and_can_be_turned_off(monkeypatch):
    cpu, gpu = torch.device("cpu"), torch.device("cuda:0")
    assert isinstance(capture_for(gpu), CudaCapture)
    assert capture_for(cpu) is None
    monkeypatch.setenv(SETTING, "none")
    assert capture_for(gpu) is None
