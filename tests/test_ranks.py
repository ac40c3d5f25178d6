"""Several processes that train one network: the numbers of one process, and what happens when one is killed."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from conftest import wait_for
from test_network_run import finish, reloaded

from ncore.network.estimate import network_shares
from ncore.network.run import NetworkRun
from ncore.run import DeviceError
from ncore.spec import SpecError, parse_spec, with_changes
from ncore.train import begin

BODY = {
    "model": {"kind": "convnet", "channels": [4, 8], "head_layers": 1},
    # 23 images in batches of 7: of the last batch's 2 images one of three processes has none
    "data": {"name": "synthetic", "classes": 3, "samples_per_class": [7, 8, 8], "image_size": 8, "augment": True},
    "loss": "cross_entropy",
    "optimizer": {
        "learning_rate": 0.02,
        "epochs": 2,
        "batch_size": 7,
        "feature_decay": {"layer": "head1", "value": 1e-4},
        "clip_norm": 1.0,
    },
    "precision": "float64",
    "device": "cpu",
}


def spec_of(**changes):
    return parse_spec(with_changes(BODY, {key.replace("__", "."): v for key, v in changes.items()}))


def values_of(found):
    return [
        (m.seed, m.step, *(m.values[name, None] for name in ("objective", "test_loss", "weight_norm_sq")))
        for m in found
    ]


def test_several_processes_give_the_numbers_of_one_though_one_is_killed():
    expected = values_of(finish(begin(spec_of())))
    run, found, killed, pids = begin(spec_of(devices=2)), [], False, set()
    assert isinstance(run, NetworkRun)
    while not run.done:
        found += run.advance(seconds=0)
        pids |= set(run._others.pids if run._others else ())
        if run.step == 4 and not killed:
            os.kill(run._others.pids[0], signal.SIGKILL)
            killed = True
    assert killed
    assert len(pids) == 2
    for one, other in zip(values_of(found), expected, strict=True):
        assert one == pytest.approx(other, rel=1e-9)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.nightly
def test_a_run_of_several_processes_goes_on_elsewhere_with_its_numbers():
    spec, found = spec_of(devices=3, seeds=[1, 2]), []
    expected, run = values_of(finish(begin(spec))), begin(spec)
    while not run.done:
        found += run.advance(seconds=0)
        if run.step == 3:
            run = begin(spec, checkpoint=reloaded(run.checkpoint()))
    for one, other in zip(values_of(found), expected, strict=True):
        assert one == pytest.approx(other, rel=1e-12)


@pytest.mark.nightly
def test_processes_end_with_the_one_that_started_them():
    body = spec_of().model_dump_json()
    code = f"""
import json, os, signal
from ncore.train import begin
run = begin({{**json.loads('''{body}'''), "devices": 2}})
while run._others is None:
    run.advance(seconds=0)
print(*run._others.pids, flush=True)
os.kill(os.getpid(), signal.SIGKILL)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=200, check=False)
    (pid,) = map(int, done.stdout.split())  # its output is open as long as any process has it, so all have ended
    wait_for("what has ended to be cleared away", lambda: not Path(f"/proc/{pid}").exists())


WRONG = [({"device": "cuda:1"}, "must be 1 while device is cuda:1"), ({"optimizer__batch_size": 2}, "must be at most")]


@pytest.mark.parametrize(("changes", "words"), WRONG)
def test_what_does_not_fit_is_refused_by_field(changes, words):
    with pytest.raises(SpecError, match=words) as refused:
        spec_of(devices=3, **changes)
    assert [error["field"] for error in refused.value.errors] == ["devices"]


def test_more_gpus_than_there_are_is_refused():
    if torch.cuda.device_count() > 7:
        pytest.skip("there are as many here")
    if not torch.cuda.is_available():
        with pytest.raises(DeviceError, match="device: 'cuda' was asked for"):
            begin(spec_of(devices=8, device="cuda", optimizer__batch_size=16))
    else:
        with pytest.raises(DeviceError, match=r"^devices: 8 were asked for"):
            begin(spec_of(devices=8, device="cuda", optimizer__batch_size=16))


def test_memory_counts_each_process():
    one, eight = (network_shares(spec_of(devices=devices, optimizer__batch_size=16)) for devices in (1, 8))
    assert [eight[name] / one[name] for name in ("images", "weights")] == [8, 8]
