"""`ncore measure --model`: checkpoints of a model of one's own over a data set of ours."""

import orjson
import pytest
import torch
from conftest import ncore
from torch.utils.data import DataLoader, TensorDataset

from ncore import Probe
from ncore.kinds.data_sets import Data
from ncore.network.data import load

MODULE = """
from torch import nn

def net():
    return nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 10))

def number():
    return 3
"""


@pytest.fixture
def mine(tmp_path, monkeypatch):
    (tmp_path / "my_nets_of_a_test.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    return lambda *more: ncore(
        "measure", "--model", "my_nets_of_a_test:net", "--data", "digits", "--image-size", "8", *more
    )


def test_checkpoints_are_measured_in_the_order_of_their_steps(mine, tmp_path):
    from torch import nn

    torch.manual_seed(0)
    net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(16, 10))
    (tmp_path / "ckpt").mkdir()
    expected = {}
    data = load(Data(name="digits", image_size=8), None, "cpu")
    batches = DataLoader(TensorDataset(data.standardise(data.train.images), data.train.labels), batch_size=500)
    for step in (9, 10):
        nn.init.normal_(net[0].weight)
        weights = {f"module.{name}": value for name, value in net.state_dict().items()}
        torch.save(weights if step == 9 else {"epoch": 3, "state_dict": weights}, f"ckpt/net-{step}.pt")
        expected[step] = Probe(net, ["1", "3"])(batches)
    done = mine("--checkpoints", "ckpt/*.pt", "--layers", "1", "3", "--json")
    assert done.returncode == 0, done.stderr
    rows = orjson.loads(done.stdout)["rows"]
    assert [row["step"] for row in rows] == [9, 10]
    for row in rows:
        found = {(one["metric"], one["layer"]): one["value"] for one in row["metrics"]}
        for key in (("nc1", "1"), ("nc3", "3"), ("accuracy", None)):
            assert found[key] == pytest.approx(expected[row["step"]][key], rel=1e-5), key


def test_what_is_wrong_is_refused_by_the_argument(mine, tmp_path):
    torch.save({"other.weight": torch.zeros(3)}, "1.pt")
    torch.save([1, 2], "2.pt")
    (tmp_path / "3.pt").write_bytes(b"no checkpoint")
    assert "1.pt: does not fit the model: " in mine("--checkpoints", "1.pt").stderr
    assert "2.pt: must hold a state dict" in mine("--checkpoints", "2.pt").stderr
    assert "3.pt: is no checkpoint of tensors alone" in mine("--checkpoints", "3.pt").stderr
    assert "--checkpoints: no file is 'x/*.pt'" in mine("--checkpoints", "x/*.pt").stderr
    for more, message in {
        ("--model", "no_such_module:net"): "--model: 'no_such_module:net' is not found",
        ("--model", "my_nets_of_a_test"): "--model: must be package.module:function",
        ("--model", "my_nets_of_a_test:number"): "must give a torch module; it gave a int",
        ("--data", "pictures"): "--data: must be mnist",
        ("--layers", "nothing"): "layers: the model has no module 'nothing'",
    }.items():
        done = mine("--checkpoints", "1.pt", *more)
        assert done.returncode == 2
        assert message in done.stderr
    assert "needs --checkpoints" in mine().stderr
