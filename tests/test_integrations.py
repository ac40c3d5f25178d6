"""Callbacks in the real trainers; rows from other programs' files, and series into other trackers."""

import csv
import math
import sys

import pytest
import torch
from conftest import ncore, points
from torch import nn
from torch.utils.data import DataLoader, TensorDataset
from wire import Wire

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
        "step,a\n1.5,2\n": "line 2: step must be a whole number from 0 to 2147483647; got '1.5'",
        "step,a\n1,x\n": "line 2: a must be a number; got 'x'",
        "step,a\n": "holds no measurement",
        "step,a\n1,\n": "holds no measurement",
        "step,a\n-1,2\n": "line 2: step must be a whole number from 0 to 2147483647; got '-1'",
        f"step,a\n{2**31},2\n": "line 2: step must be a whole number",
        "seed,step,a\n1e400,1,2\n": "line 2: seed must be a whole number",
        "step,a\n1,2\n1,3\n": "line 3: a is 2 for seed 0, step 1 further up, and 3 here",
        "step,a\n1,2,3\n": "line 2: must have 2 cells",
        "step,a\n1\n": "line 2: must have 2 cells",
        "Step,step,a\n1,1,1\n": "has several columns 'step'",
        "step\n1\n": "needs a column of a metric",
        "step,metric,value\n1,two words,3\n": "line 2: metric: must be a text without blanks",
        f"step,metric,value\n1,{'x' * 65},3\n": "line 2: metric: must have at most 64 characters",
        "step,metric,layer,value\n1,nc1,a\x01,3\n": "line 2: layer: must be plain text",
        "step,\udcff\n1,2\n": "is no text in UTF-8",
    }.items():
        (tmp_path / "odd.csv").write_bytes(text.encode(errors="surrogateescape"))
        with pytest.raises(ValueError, match=rf"^odd\.csv: {message}"):
            read_rows(tmp_path / "odd.csv")
    for text in ("step,a b,a_b\n1,2,3\n", f"step,{'x' * 70}y,{'x' * 70}z\n1,2,3\n"):
        (tmp_path / "odd.csv").write_text(text)
        with pytest.raises(ValueError, match="would both be"):
            read_rows(tmp_path / "odd.csv")
    with pytest.raises(ValueError, match=r"must be a \.csv file"):
        read_rows(tmp_path / "notes.txt")


def test_every_name_that_can_be_stored_comes_back_from_a_csv(tmp_path):
    names = [("=a", None), ("-b", "+c"), ("'d", "@e"), ('"f,', "g, h"), ("nc1", "layer 4")]
    series = [{"metric": m, "layer": layer, "seed": 2**60 + 1, "steps": [3], "values": [0.1]} for m, layer in names]
    (tmp_path / "names.csv").write_bytes(b"".join(csv_parts(series)))
    assert read_rows(tmp_path / "names.csv") == [(2**60 + 1, 3, dict.fromkeys(names, 0.1))]


def test_csv_of_other_loggers(tmp_path):
    (tmp_path / "run-train-tag-loss_a.csv").write_text("Wall time,Step,Value\n1.7e9,0,0.5\n1.7e9,10,0.25\n")
    assert read_rows(tmp_path / "run-train-tag-loss_a.csv", seed=3)[1] == (3, 10, {("loss_a", None): 0.25})
    (tmp_path / "metrics.csv").write_text("epoch,step,train_loss,val_loss\n0,9,0.5,\n0,9,,0.75\n\n")  # of Lightning
    assert read_rows(tmp_path / "metrics.csv") == [(0, 9, {("train_loss", None): 0.5, ("val_loss", None): 0.75})]


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
    for folder, value in (("a", 0.25), ("b", 0.5)):  # the same step again, in the same folder: the run was begun again
        for loss in (9.0, value):
            with SummaryWriter(tmp_path / "two" / folder, filename_suffix=f".{loss < 9}") as writer:
                writer.add_scalar("loss", loss, 1)
    assert read_rows(tmp_path / "two" / "a") == [(0, 1, {("loss", None): 0.25})]
    with pytest.raises(ValueError, match=r"b: a has loss = 0\.25 for seed 0, step 1, and this one 0.5"):
        read_rows(tmp_path / "two")


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


def test_files_become_one_experiment_and_the_same_again_no_other(service, client, tmp_path):
    long, wide = tmp_path / "mine.csv", tmp_path / "wide.csv"
    long.write_bytes(b"".join(csv_parts(SERIES)))
    wide.write_text("epoch,my loss\n0,1\n5,\n9,nan\n")
    call = ["--url", service.url, "import", long, wide, "--tag", "theirs", "--classes", 3, "--seed", 0, "--seed", 8]
    first = ncore(*call)
    assert first.returncode == 0, first.stderr
    assert "6 rows of 3 seeds, 6 new; it is succeeded" in " ".join(first.stdout.split())
    [made] = client.experiments(q="mine", tag="theirs")
    assert made.data["spec"]["model"]["classes"] == 3
    expected = {
        (one["metric"], one["layer"], one["seed"], step): value
        for one in SERIES
        for step, value in zip(one["steps"], one["values"], strict=True)
    }
    expected |= {("my_loss", None, 8, 0): 1.0, ("my_loss", None, 8, 9): None}
    assert points(client, made.id) == expected
    assert (made.status, made.data["source"]) == ("succeeded", "external")
    assert "all were there before" in " ".join(ncore(*call).stdout.split())
    assert ncore(*call, "-q").stdout.strip() == made.id
    assert points(client, made.id) == expected
    other = ncore(*call, "--again", "-q").stdout.strip()
    assert other != made.id
    assert points(client, other) == expected
    made.delete()
    assert ncore(*call, "-q").stdout.strip() not in (made.id, other)  # what was deleted is made anew


def test_an_import_that_was_broken_off_is_completed_by_the_next(service, client, tmp_path, interrupt):
    file = tmp_path / "broken off.csv"
    file.write_text("step,loss\n" + "".join(f"{step},{step / 7}\n" for step in range(10_000)))
    wire, sent = Wire(service.url), []

    def on_request(data):
        sent.extend(data.splitlines()[:1] if b"/measurements HTTP" in data else [])
        if len(sent) > 1:
            interrupt()
            raise ConnectionError

    wire.on_request = on_request
    assert ncore("--url", wire.url, "import", file).returncode == 130
    wire.close()
    [made] = client.experiments(q="broken off")
    assert made.status == "running"
    assert 0 < len(points(client, made.id)) < 10_000
    assert ncore("--url", service.url, "import", file, "-q").stdout.strip() == made.id
    assert points(client, made.id) == {("loss", None, 0, step): step / 7 for step in range(10_000)}
    assert made.refresh().status == "succeeded"


@pytest.mark.parametrize(
    ("columns", "rows", "more", "message"),
    [
        (257, 1, [], "metrics: must be at most 256"),
        (1, 1025, [], "seeds: must be at most 1024"),
        (1, 1, ["--classes", "1"], "model.classes"),
        (1, 1, ["--tag", ""], "tags.0"),
        (1, 1, ["--name", "x" * 201], "name: must"),
        (1, 1, ["--seed", "-1"], "--seed: must be a whole number"),
        (1, 1, ["--seed", "1", "--seed", "2"], "--seed: must be given once"),
    ],
)
def test_what_cannot_be_imported_is_named_before_anything_is_sent(tmp_path, columns, rows, more, message):
    with (tmp_path / "odd.csv").open("w") as file:
        table = csv.writer(file)
        table.writerow(["seed", "step", *(f"m{i}" for i in range(columns))])
        table.writerows([seed, 1, *[0.5] * columns] for seed in range(rows))
    done = ncore("--url", "http://127.0.0.1:9", "import", tmp_path / "odd.csv", *more)
    assert done.returncode == 2
    assert message in " ".join(done.stderr.split())


def test_files_that_say_different_things_are_not_mixed(tmp_path):
    for name, loss in (("a", 1), ("b", 2)):
        (tmp_path / f"{name}.csv").write_text(f"step,loss\n3,{loss}\n")
    done = ncore("--url", "http://127.0.0.1:9", "import", "a.csv", "b.csv", cwd=tmp_path)
    assert (done.returncode, "b.csv: a.csv has loss = 1 for seed 0, step 3" in done.stderr) == (2, True), done
    assert ncore("import", tmp_path / "nowhere.csv").returncode == 2
    away = ncore("--url", "http://127.0.0.1:9", "import", tmp_path / "a.csv")
    assert (away.returncode, "127.0.0.1:9" in away.stderr) == (1, True), away


@pytest.mark.parametrize("tracker", TRACKERS)
def test_a_library_that_is_missing_is_named_with_its_extra(tracker, monkeypatch, tmp_path):
    for name in [one for one in sys.modules if one.split(".")[0] == tracker] or [tracker]:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setitem(sys.modules, tracker, None)
    with pytest.raises(ImportError, match=rf"pip install 'ncore\[{tracker}\]'"):
        TRACKERS[tracker](EXPERIMENT, SERIES, tmp_path)
