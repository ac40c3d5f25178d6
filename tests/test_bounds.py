"""Every list of a spec × its bound, every text × every class of odd character: all that the schema has."""

import pytest
from test_robustness import ODD

from ncore.presets import PRESETS
from ncore.spec import NetworkSpec, SpecError, UfmSpec, parse_spec

FIG1 = PRESETS["fig1"].spec
SGD = {"kind": "sgd", "learning_rate": 0.1, "epochs": 1}
DIGITS = {"name": "digits"}
BASES = [
    FIG1,
    *(
        {"model": model, "data": data, "optimizer": optimizer}
        for model, data, optimizer in (
            ({"kind": "mlp"}, DIGITS, SGD),
            ({"kind": "convnet"}, {"name": "folder", "path": "a"}, {**SGD, "kind": "adam"}),
            ({"kind": "resnet"}, DIGITS, {**SGD, "schedule": {"kind": "milestones"}}),
        )
    ),
]
FILLERS = (1, 0.5, "a", [1.0, 0.0])


def bounded(kind):
    """{path: ("array" or "string", its bound)} of a spec's lists and texts; ".0" stands for the items of a list."""
    document = kind.model_json_schema()
    found: dict[str, tuple[str, int]] = {}
    todo = [(document, "")]
    while todo:
        schema, path = todo.pop()
        if "$ref" in schema:
            schema = document["$defs"][schema["$ref"].rpartition("/")[2]]
        for bound in {"maxItems", "maxLength"} & schema.keys():
            found[path] = schema["type"], schema[bound]
        todo += [(one, path) for many in ("anyOf", "oneOf") for one in schema.get(many, ())]
        todo += [(inner, f"{path}.{name}".strip(".")) for name, inner in schema.get("properties", {}).items()]
        if "items" in schema:
            todo.append((schema["items"], f"{path}.0"))
    return found


BOUNDED = bounded(UfmSpec) | bounded(NetworkSpec)


def with_value(base, path, value):
    """The spec with this value there; where the path goes on in a list, with a list of two of it."""
    first, _, rest = path.partition(".")
    if first == "0":
        return [with_value({}, rest, value) if rest else value] * 2
    inner = base.get(first) if isinstance(base, dict) else None
    return {**(base or {}), first: with_value(inner or {}, rest, value) if rest else value}


def faults_of(path, values):
    """What is said of this field in any of the specs."""
    for base in BASES:
        for value in values:
            with pytest.raises(SpecError) as refused:
                parse_spec(with_value(base, path, value))
            yield from (fault["message"] for fault in refused.value.errors if fault["field"] == path)


def test_the_schema_is_read_to_its_ends():
    assert {"tags", "seeds", "model.targets.0", "optimizer.schedule.milestones", "data.classes.0"} <= BOUNDED.keys()


@pytest.mark.parametrize("path", [path for path, (kind, _) in BOUNDED.items() if kind == "array"])
def test_a_list_of_one_more_than_its_bound_is_refused_by_name(path):
    most = BOUNDED[path][1]
    told = list(faults_of(path, [[filler] * (most + 1) for filler in FILLERS]))
    assert any("at most" in message and str(most) in message for message in told), told
    assert max(map(len, told)) <= 400


@pytest.mark.parametrize("path", [path for path, (kind, _) in BOUNDED.items() if kind == "string"])
def test_an_odd_character_and_a_text_too_long_are_refused_by_name(path):
    for odd in ODD:
        assert list(faults_of(path, [f"a{odd}b"])), repr(odd)
    assert list(faults_of(path, ["a" * (BOUNDED[path][1] + 1)]))
