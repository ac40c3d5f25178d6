"""Several processes that train one network: the numbers of one process, and what happens when one is killed."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
import torch
from conftest import kill_tree, points, settings_for, wait_for
from test_network_run import finish, reloaded

from api.service import running
from ncore.client import Client
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


@pytest.mark.nightly
def test_several_processes_give_the_numbers_of_one_though_one_is_killed():
    expected = values_of(finish(begin(spec_of())))
    run, found, killed, pids = begin(spec_of(devices=2)), [], False, set()
    assert isinstance(run, NetworkRun)
    while not run.done:
        found += run.advance(seconds=0)
        pids |= set(run._others.pids if run._others else ())
        if run.step == 4 and not killed:
            assert [path.name for path in Path(run._others._folder.name).iterdir()] == ["store"]
            os.kill(run._others.pids[0], signal.SIGKILL)
            killed = True
    assert killed
    assert len(pids) == 2
    for one, other in zip(values_of(found), expected, strict=True):
        assert one == pytest.approx(other, rel=1e-9)
    assert not any(Path(f"/proc/{pid}").exists() for pid in pids)


@pytest.mark.nightly
@pytest.mark.timeout(900)  # torch is imported eight times, which takes minutes where others compute
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
@pytest.mark.timeout(900)
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
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=800, check=False)
    (pid,) = map(int, done.stdout.split())  # its output is open as long as any process has it, so all have ended
    wait_for("what has ended to be cleared away", lambda: not Path(f"/proc/{pid}").exists())


def processes_of(home):
    """Processes with this home: their commands, by number."""
    found = {}
    for process in psutil.process_iter():
        with suppress(psutil.Error):
            if process.environ().get("NCORE_HOME") == str(home) and process.status() != psutil.STATUS_ZOMBIE:
                found[process.pid] = process.cmdline()
    return found


@pytest.mark.nightly
@pytest.mark.timeout(900)
def test_a_job_of_several_processes_outlives_its_whole_worker(request, tmp_path):
    """Worker, child and ranks are killed at once; another worker goes on from the checkpoint, and none is left over."""
    settings = settings_for("sqlite", tmp_path, request, workers=2, checkpoint_seconds=0.0)
    body = with_changes(BODY, {"devices": 2, "optimizer.epochs": 75, "measure": {"every_epochs": 15}})
    with running(settings) as service, Client(service.url) as client:
        expected, made = client.submit(body), client.submit(body)
        told = set()

        def has_a_checkpoint():  # each step that is told is saved before the next one is
            told.add(made.refresh().data["progress"]["step"])
            return len(told - {0}) > 1

        wait_for("a checkpoint", has_a_checkpoint, 300)
        first, saved = made.data["worker"], min(told - {0})
        child = psutil.Process(int(first.rpartition(":")[2]))
        ranks = child.children()
        assert [one.cmdline()[1:3] for one in ranks] == [["-m", "ncore.network.follower"]]
        kill_tree(child.ppid())
        steps = []

        def is_over():
            if made.refresh().data["attempt"] == 2 and made.status == "running":
                steps.append(made.data["progress"]["step"])
            return made.status not in ("queued", "running")

        wait_for("the end", is_over, 300)
        assert made.status == "succeeded", made.data["error"]
        assert made.data["worker"] != first
        assert min(steps) >= saved
        one, other = points(client, made.id), points(client, expected.wait(progress=False).id)
        assert one.keys() == other.keys()
        assert [one[key] for key in other] == pytest.approx(list(other.values()), rel=1e-9)
        assert not any("ncore.network.follower" in command for command in processes_of(tmp_path).values())
        assert not any(process.is_running() for process in (child, *ranks))
    assert processes_of(tmp_path) == {}


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
