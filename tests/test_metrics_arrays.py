"""Every argument in every container: measured as the numbers that it holds, or refused by name."""

import array
import datetime
import fractions
import warnings

import numpy as np
import polars
import pyarrow
import pytest
import scipy.sparse
import torch
from test_metrics import same, sample

from ncore.metrics import Accumulator, measure

FEATURES, LABELS, WEIGHT, BIAS = sample(0.3, 0.1)
EXPECTED = measure(FEATURES, LABELS, WEIGHT, BIAS)
ARGUMENTS = {"features": FEATURES, "labels": LABELS, "weight": WEIGHT, "bias": BIAS}


class Table:
    """As pandas: labelled by an index that is not the position."""

    def __init__(self, values):
        self.values = values

    def __getitem__(self, key):
        raise KeyError(key)

    def __len__(self):
        return len(self.values)

    def to_numpy(self):
        return self.values


class Interface:
    """Only the protocol of arrays."""

    def __init__(self, values):
        self.values = values

    def __array__(self, dtype=None, copy=None):
        return self.values


def read_only(values):
    values = values.copy()
    values.flags.writeable = False
    return values


def unaligned(values):
    records = np.zeros(values.shape, dtype=[("pad", "i1"), ("value", values.dtype)])
    records["value"] = values
    return records["value"]


CONTAINERS = {
    "list": lambda v: v.tolist(),
    "tuple": lambda v: tuple(v.tolist()),
    "list of arrays": list,
    "list of tensors": lambda v: [torch.tensor(row, requires_grad=v.dtype.kind == "f") for row in v],
    "fortran": np.asfortranarray,
    "strided": lambda v: np.repeat(v, 2, axis=0)[::2],
    "backwards": lambda v: v[::-1].copy()[::-1],
    "read-only": read_only,
    "foreign bytes": lambda v: v.astype(v.dtype.newbyteorder(">")),
    "unaligned": unaligned,
    "unmasked": np.ma.masked_array,
    "memory": lambda v: memoryview(np.ascontiguousarray(v)),
    "tensor": torch.tensor,
    "parameter": lambda v: torch.nn.Parameter(torch.tensor(v), requires_grad=v.dtype.kind == "f"),
    "sparse tensor": lambda v: torch.tensor(v).to_sparse(),
    "transposed": lambda v: torch.tensor(v.T).mT if v.ndim == 2 else torch.tensor(v),
    "negated": lambda v: (
        torch.complex(torch.zeros(v.shape).double(), -torch.tensor(v).double()).conj().imag
        if v.dtype.kind == "f"
        else torch.tensor(v)
    ),
    "table": Table,
    "interface": Interface,
    "polars": lambda v: polars.DataFrame(v) if v.ndim == 2 else polars.Series(v),
    "pyarrow": lambda v: pyarrow.array(v) if v.ndim == 1 else v,
    "sparse matrix": lambda v: scipy.sparse.csr_array(v) if v.ndim == 2 else v,
}


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("name", ARGUMENTS)
def test_a_container_is_measured_as_the_numbers_it_holds(name, container):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", "Sparse")
        given = ARGUMENTS | {name: CONTAINERS[container](ARGUMENTS[name])}
        same(EXPECTED, measure(**given), 1e-14)
        accumulator = Accumulator(4)
        accumulator.update(given["features"], given["labels"])
        result = accumulator.result(given["weight"])
    same({key: value for key, value in EXPECTED.items() if key != "nc4"}, result, 1e-12)


@pytest.mark.parametrize("kind", ["i1", "i2", "u1", "u2", "u4", "u8", ">i4"])
def test_labels_of_any_integer_type(kind):
    same(EXPECTED, measure(FEATURES, LABELS.astype(kind), WEIGHT, BIAS), 1e-14)
    if kind[0] == "u":
        same(EXPECTED, measure(FEATURES, torch.tensor(LABELS.astype(kind)), WEIGHT, BIAS), 1e-14)


@pytest.mark.parametrize("kind", [torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2])
def test_narrow_floats_are_the_numbers_they_round_to(kind):
    rounded, weight, bias = (torch.tensor(value).to(kind) for value in (FEATURES, WEIGHT, BIAS))
    same(
        measure(rounded.double(), LABELS, weight.double(), bias.double()), measure(rounded, LABELS, weight, bias), 1e-12
    )


REFUSED = {
    "nothing at all": lambda v: object(),
    "text": lambda v: "cats",
    "bytes": lambda v: b"cats",
    "texts": lambda v: v.astype(str),
    "dictionary": lambda v: {"a": v},
    "set": lambda v: {1.0, 2.0},
    "generator": lambda v: (row for row in v),
    "ragged": lambda v: [[1.0, 2.0], [3.0]],
    "ragged tensors": lambda v: [torch.zeros(2), torch.zeros(3)],
    "fractions": lambda v: [fractions.Fraction(1, 3)] * len(v),
    "dates": lambda v: [datetime.datetime(2026, 1, 1)] * len(v),
    "moments": lambda v: v.astype("datetime64[s]"),
    "records": lambda v: np.zeros(len(v), dtype=[("a", "f8")]),
    "objects": lambda v: v.astype(object),
    "complex": lambda v: v.astype(complex),
    "complex tensor": lambda v: torch.tensor(v).to(torch.complex64),
    "booleans": lambda v: v > 0,
    "masked": lambda v: np.ma.masked_array(v, mask=v == v.flat[0]),
    "a number": lambda v: 3.0,
    "no dimension": lambda v: np.float64(3),
    "too many dimensions": lambda v: v[None],
    "empty": lambda v: v[:0],
    "empty list": lambda v: [],
    "meta": lambda v: torch.tensor(v).to("meta"),
    "lazy": lambda v: polars.LazyFrame(v.reshape(len(v), -1)),
    "nulls": lambda v: pyarrow.array([None, *v.reshape(-1).tolist()]),
    "missing values": lambda v: polars.Series(["a", None]),
}


@pytest.mark.parametrize("case", REFUSED)
@pytest.mark.parametrize("name", [*ARGUMENTS, "ood"])
def test_what_is_no_array_of_numbers_is_refused_by_name(name, case):
    given = ARGUMENTS | {name: REFUSED[case](ARGUMENTS.get(name, FEATURES))}
    with pytest.raises(ValueError, match=f"^{name} (is|has|must)") as raised:
        measure(**given)
    assert len(str(raised.value)) < 400


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (LABELS.astype(float), "labels has type torch.float64, must be an integer type"),
        (np.full(36, 2**64 - 1, dtype=np.uint64), r"labels has values up to 18446744073709551615, must be below 2\^63"),
        ([2**70] * 36, "labels is a list of type object"),
        (array.array("d", LABELS), "labels has type torch.float64"),
    ],
)
def test_labels_that_are_no_whole_numbers_are_refused(labels, message):
    with pytest.raises(ValueError, match=message):
        measure(FEATURES, labels)


@pytest.mark.parametrize("classes", [0, -1, 2.5, "4", None, True, [4], np.float64(4)])
def test_a_number_of_classes_that_is_none_is_refused(classes):
    with pytest.raises(ValueError, match=r"classes is .* must be a whole number ≥ 1"):
        Accumulator(classes)


def test_lists_keep_the_digits_of_float64():
    """A float32 in between would leave half of them."""
    close = (FEATURES * 1e-9 + 1).tolist()
    assert measure(close, LABELS.tolist()) == measure(np.array(close), LABELS)
    accumulator = Accumulator(np.int64(4))
    accumulator.update(close, LABELS.tolist())
    assert accumulator.result()["nc1"] == pytest.approx(measure(close, LABELS)["nc1"], rel=1e-12)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((np.zeros(5), np.zeros(5, int)), r"features has shape \(5,\), must be \(N, d\)"),
        ((np.zeros((4, 2), int), np.zeros(4, int)), "features has type torch.int64, must be a float type"),
        ((np.zeros((4, 2)), np.zeros(5, int)), r"labels has shape \(5,\), must be \(N,\) = \(4,\)"),
        ((np.zeros((4, 2)), np.zeros(4)), "labels has type torch.float64, must be an integer type"),
        ((np.zeros((4, 2)), np.array([0, 1, 2, -1])), "labels has values in -1 … 2, must be ≥ 0"),
        ((np.zeros((4, 2)), np.array([0, 1, 2, 3]), np.zeros((3, 2))), "must be in 0 … 2"),
        (
            (np.zeros((4, 2)), np.zeros(4, int), np.zeros((3, 5))),
            r"weight has shape \(3, 5\), must be \(K, d\)",
        ),
        ((np.zeros((4, 2)), np.zeros(4, int), np.zeros((3, 2)), np.zeros(2)), r"bias has shape \(2,\)"),
        ((np.zeros((4, 2)), np.zeros(4, int), None, np.zeros(2)), "bias is given without weight"),
    ],
)
def test_a_bad_argument_is_named_with_what_is_allowed(arguments, message):
    with pytest.raises(ValueError, match=message):
        measure(*arguments)


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ((None, [0]), "features"),
        (([[1.0, 2.0], [3.0]], [0, 1]), "features"),
        ((np.ones((2, 2), complex), [0, 1]), "features"),
        ((np.ones((2, 2)), "ab"), "labels"),
        ((np.ones((2, 2)), [0, 1], "ab"), "weight"),
        ((np.ones((2, 2)), [0, 1], np.ones((2, 2), complex)), "weight"),
        ((np.ones((2, 2)), [0, 1], np.ones((2, 2)), np.ones(2, complex)), "bias"),
    ],
)
def test_what_is_no_array_of_numbers_is_named(arguments, name):
    with pytest.raises(ValueError, match=f"^{name} "):
        measure(*arguments)


def test_a_bad_argument_of_the_accumulator_is_named():
    with pytest.raises(ValueError, match="classes is 0"):
        Accumulator(0)
    accumulator = Accumulator(3)
    with pytest.raises(ValueError, match="no features"):
        accumulator.result()
    with pytest.raises(ValueError, match="labels has values in 0 … 3"):
        accumulator.update(np.ones((4, 2)), np.arange(4))
    accumulator.update(np.ones((3, 2)), np.arange(3))
    with pytest.raises(ValueError, match="features has d = 5"):
        accumulator.update(np.ones((3, 5)), np.arange(3))
    with pytest.raises(ValueError, match="weight has shape"):
        accumulator.result(np.ones((3, 5)))
