"""Features in files: every form gives what arrays in memory give; what is hostile or broken is refused by name."""

import io
import struct
import zipfile

import numpy as np
import orjson
import pyarrow as pa
import pytest
import torch
from conftest import ncore
from pyarrow import csv, parquet
from safetensors.torch import save_file
from torch import nn

from ncore import Probe, measure
from ncore.saved import UnreadableError, read, read_bytes, steps_of

DRAW = np.random.default_rng(0)
X, Y = DRAW.normal(size=(60, 5)), np.arange(60) % 3
W, B = DRAW.normal(size=(3, 5)), DRAW.normal(size=3)
EXPECTED = measure(X, Y, W, B)
LIMIT = 2**20


def table(x=X, **more):
    return pa.table({**{f"f{i}": x[:, i] for i in range(x.shape[1])}, "id": np.arange(len(x)), **more})


def packed(**arrays):
    file = io.BytesIO()
    np.savez(file, **arrays)
    return file.getvalue()


def save(path, form):
    whole = {"features": X, "labels": Y, "weight": W, "bias": B}
    tensors = {name: torch.tensor(value) for name, value in whole.items()}
    if form == "npz":
        np.savez_compressed(path, H=X, y=Y[:, None], W=W, b=B)
    elif form == "pt":
        torch.save({"features": {"deep": tensors["features"]}, "targets": tensors["labels"].float(),
                    "model": {"fc.weight": tensors["weight"], "fc.bias": tensors["bias"]}}, path)  # fmt: skip
    elif form == "pth":
        torch.save(tuple(tensors.values()), path)
    elif form == "safetensors":
        names = {"features.deep": X, "labels": Y, "network.classifier.weight": W, "network.classifier.bias": B}
        save_file({name: torch.tensor(value) for name, value in names.items()}, path)
    elif form == "csv":
        csv.write_csv(table(label=Y), path)
    elif form == "parquet":
        parquet.write_table(pa.table({"embedding": list(X), "label": Y}), path)
    else:
        np.save(path, X)


def test_layers_of_safetensors_are_in_the_order_of_their_names(tmp_path):
    """The library gives them in another order in each process, and a file keeps none."""
    order = [f"layer{i}" for i in (1, 2, 10)] + [f"wide{i}" for i in range(20)]
    save_file(
        {f"features.{name}": torch.tensor(X) for name in reversed(order)} | {"y": torch.tensor(Y)},
        tmp_path / "x.safetensors",
    )
    assert list(read(tmp_path / "x.safetensors").layers) == order
    assert list(read_bytes((tmp_path / "x.safetensors").read_bytes(), limit_bytes=1 << 30).layers) == order


@pytest.mark.parametrize("form", ["npz", "pt", "pth", "safetensors", "csv", "parquet", "npy"])
def test_every_form_gives_what_the_arrays_give(tmp_path, form):
    save(tmp_path / f"saved.{form}", form)
    beside = {}
    for name, array in {"weight": W, "bias": B, "labels": Y}.items():
        np.save(tmp_path / f"{name}.npy", array)
        if form == "npy" or (form in ("csv", "parquet") and name != "labels"):
            beside[name] = tmp_path / f"{name}.npy"
    found = read(tmp_path / f"saved.{form}", **beside).measure()
    layer = "deep" if form in ("pt", "safetensors") else None
    assert found == {(metric, layer): pytest.approx(value, rel=1e-9, abs=1e-12) for metric, value in EXPECTED.items()}


def test_what_plain_torch_saved_gives_what_the_probe_gave(tmp_path):
    torch.manual_seed(0)
    net = nn.Sequential(nn.Linear(6, 8), nn.ReLU(), nn.Linear(8, 5), nn.ReLU(), nn.Linear(5, 3)).double()
    x, y = torch.randn(300, 6, dtype=torch.float64), torch.arange(300) % 3
    probed = Probe(net, ["1", "3"])([(x[i::3], y[i::3]) for i in range(3)])
    with torch.no_grad():
        first = net[:2](x)
        held = {"features": {"1": first, "3": net[2:4](first)}, "labels": y}
    torch.save(held | {"weight": net[4].weight.detach(), "bias": net[4].bias.detach()}, tmp_path / "all.pt")
    found = read(tmp_path / "all.pt").measure()
    for key, value in probed.items():
        if key[1] is not None:
            assert found[key] == pytest.approx(value, rel=1e-12, abs=1e-12, nan_ok=True), key
    assert ("nc3", "3") in probed


def test_the_command_prints_a_table_a_folder_by_its_steps_and_json(tmp_path):
    for step in (2, 10, 1):
        np.savez(tmp_path / f"epoch_{step}.npz", features=X / step, bias=B, weight=W)
    np.save(tmp_path / "labels.npy", Y)
    (tmp_path / "notes.txt").write_text("none of them")
    assert [step for step, _ in steps_of(tmp_path)[0]] == [1, 2, 10]
    done = ncore("measure", tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[0].split() == ["metric", "layer", *["step", "1", "step", "2", "step", "10"]]
    rows = orjson.loads(ncore("measure", tmp_path, "--json").stdout)["rows"]
    assert [row["step"] for row in rows] == [1, 2, 10]
    one = orjson.loads(ncore("measure", tmp_path / "epoch_1.npz", "--labels", tmp_path / "labels.npy", "--json").stdout)
    assert (one["samples"], one["classes"]) == (60, 3)
    assert {m["metric"]: m["value"] for m in one["metrics"]} == pytest.approx(EXPECTED)
    np.savez(tmp_path / "odd.npz", hidden=X, mine=Y)
    named = ncore("measure", tmp_path / "odd.npz", "--key", "features=hidden", "--key", "labels=mine")
    assert named.returncode == 0, named.stderr
    (tmp_path / "again_10.npz").write_bytes((tmp_path / "epoch_10.npz").read_bytes())
    assert "epoch_10.npz: has step 10, as again_10.npz has" in ncore("measure", tmp_path).stderr


class Bomb:
    def __reduce__(self):
        return print, ("this must never be run",)


def bomb_of_zeros(shape, size):
    """So many zeros in a thousandth of the bytes, behind a header that declares an array of this shape."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        with archive.open("features.npy", "w") as entry:
            np.lib.format.write_array_header_1_0(entry, {"descr": "<f8", "fortran_order": False, "shape": shape})
            for _ in range(size // 2**20):
                entry.write(bytes(2**20))
        archive.writestr("labels.npy", b"")
    return file.getvalue()


def test_hostile_and_broken_files_are_refused_by_name(tmp_path):
    objects = packed(features=X, labels=np.array([Bomb()] * 60, dtype=object))
    truncated = packed(features=X, labels=Y)
    broken = bytearray(truncated)
    broken[200:210] = b"0123456789"  # within the numbers: its checksum does not fit
    cases = {
        "objects.npz": (objects, "labels: is an array of objects"),
        "zeros.npz": (bomb_of_zeros((2**14, 2**6), 2**23), "features: declares 8 MiB, the limit is 1 MiB"),
        "liar.npz": (bomb_of_zeros((2**40, 2**4), 2**19), "features: declares shape"),
        "short.npz": (truncated[: len(truncated) // 2], "is no .npz archive, or was cut off"),
        "broken.npz": (bytes(broken), "features: cannot be read, or was cut off"),
        "text.npz": (b"hello", "is no .npz archive"),
        "empty.pt": (b"", "is empty"),
        "text.pt": (b"hello", "was cut off|never read"),
        "text.safetensors": (b"hello, this is none", "is no safetensors file"),
        "text.parquet": (b"hello", "is no Parquet file"),
        "text.npy": (b"hello", "features: "),
        "odd.npz": (packed(a=X, b=Y), "features: is not there .*it has 'a', 'b'"),
        "both.npz": (packed(h=X, X=X, y=Y), "features: could be 'h', 'X'; choose one"),
        "flat.npz": (packed(features=X[0], labels=Y), r"features: must be \(N, d\).* shape \(5,\)"),
        "lengths.npz": (packed(features=X, labels=Y[:7]), r"labels has shape \(7,\), must be \(N,\) = \(60,\)"),
        "range.npz": (packed(features=X, labels=Y, weight=W[:2]), r"labels has values in 0 … 2, must be in 0 … 1"),
        "floats.npz": (packed(features=X, labels=Y + 0.5), "labels has type .*float64, must be an integer type"),
        "narrow.npz": (packed(features=X, labels=Y, weight=W[:, :3]), r"weight has shape \(3, 3\)"),
        "file.txt": (b"hello", r"must end in \.npz, "),
    }
    for name, (content, message) in cases.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(UnreadableError, match=message) as refused:
            read(tmp_path / name, limit_bytes=LIMIT).measure()
        assert str(refused.value).startswith(f"{name}: "), name
    done = ncore("measure", tmp_path / "objects.npz")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "never be run" not in done.stdout
    assert ncore("measure", tmp_path / "missing.npz").returncode == 2


def test_torch_files_run_no_code_and_take_no_more_memory_than_they_have(tmp_path):
    torch.save({"features": torch.tensor(X), "labels": Bomb()}, tmp_path / "code.pt")
    with pytest.raises(UnreadableError, match=r"code.pt: holds more than tensors \(a pickle with code\)"):
        read(tmp_path / "code.pt")
    torch.save({"features": torch.zeros(1).expand(10**9, 50), "labels": torch.tensor(Y)}, tmp_path / "wide.pt")
    with pytest.raises(UnreadableError, match=r"wide.pt: features: declares 186\.\d GiB"):
        read(tmp_path / "wide.pt", limit_bytes=2**30)
    torch.save({"features": torch.tensor(X), "labels": torch.tensor(Y)}, tmp_path / "cut.pt")
    content = (tmp_path / "cut.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(content[: len(content) // 2])
    with pytest.raises(UnreadableError, match=r"cut\.pt: is no file of torch.save, or was cut off"):
        read(tmp_path / "cut.pt")
    with (
        zipfile.ZipFile(io.BytesIO(content)) as old,
        zipfile.ZipFile(tmp_path / "packed.pt", "w", zipfile.ZIP_DEFLATED) as new,
    ):
        for one in old.infolist():
            new.writestr(one.filename, old.read(one))
    with pytest.raises(UnreadableError, match=r"packed\.pt: holds .* compressed"):
        read(tmp_path / "packed.pt")
    later = bytearray((tmp_path / "packed.pt").read_bytes())
    at = later.find(b"PK\x01\x02")
    later[at + 6] = 99  # the version that reading takes: zipfile stops at it, torch does not look
    (tmp_path / "later.pt").write_bytes(later)
    assert len(torch.load(tmp_path / "later.pt", weights_only=True)) == 2
    with pytest.raises(UnreadableError, match=r"later\.pt: is no file of torch.save, or was cut off: zip file version"):
        read(tmp_path / "later.pt")


def test_tables_with_what_is_no_number_are_refused_by_column(tmp_path):
    file = tmp_path / "table.csv"
    for text, message in {
        "a,b,label\n1,2,0\n3,x,1\n": "column 'b': must be numbers; it is of type string",
        "a,b,label\n1,2,0\n3,,1\n": "column 'b': has 1 empty cells",
        "a,b,label\n1,2,cat\n3,4,dog\n": "column 'label': must be numbers",
        "a,a,label\n1,2,0\n": "has several columns 'a'",
        "a,b\n1,2\n": "labels: is not there",
        "a,b,label\n1,2\n": "is no CSV table",
    }.items():
        file.write_text(text)
        with pytest.raises(UnreadableError, match=f"^table.csv: {message}"):
            read(file)
    same = pa.table({"features": pa.array([[0.0] * 64] * 20_000), "label": np.zeros(20_000, int)})
    parquet.write_table(same, tmp_path / "same.parquet")
    assert (tmp_path / "same.parquet").stat().st_size < LIMIT
    with pytest.raises(UnreadableError, match=r"same.parquet: the table: declares 9\.\d+ MiB, the limit is 1 MiB"):
        read(tmp_path / "same.parquet", limit_bytes=LIMIT)
    ragged = pa.table({"features": [[1.0, 2.0], [3.0]], "label": [0, 1]})
    parquet.write_table(ragged, tmp_path / "ragged.parquet")
    with pytest.raises(UnreadableError, match=r"column 'features': must hold lists of one length; it has \[1, 2\]"):
        read(tmp_path / "ragged.parquet")


def test_bytes_are_distinguished_by_their_beginning():
    assert read_bytes(packed(features=X, labels=Y), limit_bytes=LIMIT).measure()["nc1", None] == EXPECTED["nc1"]
    for body in (b"", b"hello", b"\x80\x04.", struct.pack("<Q", 2**60) + b"{", b"PK\x03\x04"):
        with pytest.raises(UnreadableError, match=r"^body: "):
            read_bytes(body, limit_bytes=LIMIT)
