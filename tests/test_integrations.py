"""Callbacks in the real trainers; rows from other programs' files, and series into other trackers."""

import csv
import math
import sys

import pytest
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from ncore import Probe
from ncore.integrations.reading import key_of_tag, read_rows
from ncore.integrations.writing import TRACKERS, to_tensorboard
from ncore.series import csv_parts

torch.manual_seed(0)
IMAGES, LABELS = torch.randn(24, 1, 8, 8), torch.arange(24) % 3
SERIES = [
    {"metric": "nc1", "layer": "h1", "seed": 0, "steps": [0, 5], "values": [1.5, 0.25]},
    {"metric": "nc1", "layer": "h1", "seed": 3, "steps": [0, 5], "values": [2.5, None]},
    {"metric": "objective", "layer": None, "seed": 0, "steps": [0, 5], "values": [4.0, 3.0]},
]
ROWS = [
    (0, 0, {("nc1", "h1"): 1.5, ("objective", None): 4.0}),
    (0, 5, {("nc1", "h1"): 0.25, ("objective", None): 3.0}),
    (3, 0, {("nc1", "h1"): 2.5}),
]
EXPERIMENT = {
    "id": "abc",
    "name": "mine",
    "tags": ["t"],
    "spec": {"model": {"kind": "ufm", "widths": [3]}, "loss": "mse"},
}


class Kept:
    """What `ncore.start` gives, as far as callbacks use it."""

    def __init__(self):
        self.rows = []

    def log(self, step, values):
        self.rows.append((step, values))


@pytest.mark.filterwarnings("ignore")  # of the trainer: few workers, small batches
def test_lightning_measures_at_the_end_of_epochs():
    lightning = pytest.importorskip("lightning.pytorch")
    from ncore.integrations.lightning import NeuralCollapse

    class Net(lightning.LightningModule):
        def __init__(self):
            super().__init__()
            self.body = nn.Sequential(nn.Flatten(), nn.Linear(64, 6), nn.ReLU())
            self.head = nn.Linear(6, 3)

        def forward(self, x):
            return self.head(self.body(x))

        def training_step(self, batch, _):
            return nn.functional.cross_entropy(self(batch[0]), batch[1])

        def configure_optimizers(self):
            return torch.optim.SGD(self.parameters(), 0.1)

    kept, net = Kept(), Net()
    callback = NeuralCollapse(kept, layers="body", every_epochs=2)
    trainer = lightning.Trainer(
        max_epochs=4, accelerator="cpu", callbacks=[callback], logger=False, enable_checkpointing=False,
        enable_progress_bar=False, enable_model_summary=False,
    )  # fmt: skip
    loader = DataLoader(TensorDataset(IMAGES, LABELS), batch_size=8)
    trainer.fit(net, loader)
    assert [step for step, _ in kept.rows] == [6, 12]
    assert callback.rows == kept.rows
    assert kept.rows[-1][1] == pytest.approx(Probe(net, "body")(loader), nan_ok=True)
    assert ("nc3", "body") in kept.rows[-1][1]


@pytest.mark.filterwarnings("ignore")
def test_hugging_faces_trainer_measures_at_the_end_of_epochs(tmp_path):
    transformers = pytest.importorskip("transformers")
    from ncore.integrations.transformers import NeuralCollapse

    config = transformers.ViTConfig(
        hidden_size=12, num_hidden_layers=2, num_attention_heads=2, intermediate_size=16, image_size=8, patch_size=4,
        num_channels=1, num_labels=3,
    )  # fmt: skip
    net = transformers.ViTForImageClassification(config)
    data = [{"pixel_values": x, "labels": int(y)} for x, y in zip(IMAGES, LABELS, strict=True)]
    kept = Kept()
    callback = NeuralCollapse(kept, layers=["vit.layernorm"], pool="cls")
    asked = transformers.TrainingArguments(
        str(tmp_path), num_train_epochs=2, per_device_train_batch_size=8, report_to="none", save_strategy="no",
        use_cpu=True, disable_tqdm=True,
    )  # fmt: skip
    transformers.Trainer(net, asked, train_dataset=data, callbacks=[callback]).train()
    assert [step for step, _ in kept.rows] == [3, 6]
    batches = [{"pixel_values": IMAGES, "labels": LABELS}]
    expected = Probe(net, ["vit.layernorm"], pool="cls")(batches)
    assert kept.rows[-1][1]["nc1", "vit.layernorm"] == pytest.approx(expected["nc1", "vit.layernorm"], rel=1e-4)
    assert ("nc3", "vit.layernorm") in kept.rows[-1][1]


def test_csv_is_read_long_and_wide(tmp_path):
    (tmp_path / "long.csv").write_bytes(b"".join(csv_parts(SERIES)))
    rows = read_rows(tmp_path / "long.csv")
    assert rows[:3] == ROWS
    assert math.isnan(rows[3][2]["nc1", "h1"])  # undefined
    with (tmp_path / "wide.csv").open("w", newline="") as file:
        lines = csv.writer(file)
        lines.writerows([["epoch", "nc1/h1", "val loss", "nc1"], [0, 1.5, 2, ""], [1, 0.5, "nan", 3]])
    found = read_rows(tmp_path / "wide.csv")
    assert found[0] == (0, 0, {("nc1", "h1"): 1.5, ("val_loss", None): 2.0})
    assert found[1][2]["nc1", None] == 3
    for text, message in {
        "a,b\n1,2\n": "needs a column step, global_step, .*; it has a, b",
        "step,a\n1.5,2\n": "line 2: step must be a whole number from 0; got '1.5'",
        "step,a\n1,x\n": "line 2: a must be a number; got 'x'",
        "step,a\n": "holds no measurement",
    }.items():
        (tmp_path / "odd.csv").write_text(text)
        with pytest.raises(ValueError, match=rf"^odd\.csv: {message}"):
            read_rows(tmp_path / "odd.csv")
    with pytest.raises(ValueError, match=r"must be a \.csv file"):
        read_rows(tmp_path / "notes.txt")


def test_names_of_other_programs():
    assert key_of_tag("nc1/layer4.0") == ("nc1", "layer4.0")
    assert key_of_tag("nc1 layer4") == ("nc1", "layer4")
    assert key_of_tag("loss/train") == ("loss/train", None)
    assert key_of_tag("train loss [%]") == ("train_loss____", None)


def test_tensorboards_files_are_written_and_read(tmp_path):
    pytest.importorskip("tensorboard")
    assert str(tmp_path / "board") in to_tensorboard(EXPERIMENT, SERIES, tmp_path / "board")
    assert read_rows(tmp_path / "board") == ROWS
    [file] = (tmp_path / "board" / "seed_3").iterdir()
    assert read_rows(file) == [(0, 0, {("nc1", "h1"): 2.5})]
    from torch.utils.tensorboard import SummaryWriter

    with SummaryWriter(tmp_path / "theirs") as writer:
        writer.add_scalar("train/loss", 0.5, 7)
        writer.add_text("note", "no number")
    assert read_rows(tmp_path / "theirs") == [(0, 7, {("train/loss", None): 0.5})]


def test_mlflow_gets_a_run_for_each_seed(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    mlflow.set_tracking_uri(f"file:{tmp_path}/runs")
    told = TRACKERS["mlflow"](EXPERIMENT, SERIES, tmp_path)
    client = mlflow.tracking.MlflowClient()
    first = client.get_run(told.split()[-2].rstrip(","))
    assert first.data.params["model.widths"] == "[3]"
    assert [(one.step, one.value) for one in client.get_metric_history(first.info.run_id, "nc1/h1")] == [
        (0, 1.5),
        (5, 0.25),
    ]


@pytest.mark.nightly  # its library starts a process of its own
def test_wandb_gets_a_run_for_each_seed_offline(tmp_path, monkeypatch):
    pytest.importorskip("wandb")
    monkeypatch.setenv("WANDB_MODE", "offline")
    assert "runs" in TRACKERS["wandb"](EXPERIMENT, SERIES, tmp_path)
    assert len(list(tmp_path.rglob("*.wandb"))) == 2


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_library_that_is_missing_is_named_with_its_extra(tracker, monkeypatch, tmp_path):
    for name in [one for one in sys.modules if one.split(".")[0] == tracker] or [tracker]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(ImportError, match=rf"pip install 'ncore\[{tracker}\]'"):
        TRACKERS[tracker](EXPERIMENT, SERIES, tmp_path)
