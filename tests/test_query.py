"""The query language: what it says, and the same answers from SQL as by hand, on both databases."""

import itertools
import random
from datetime import UTC, datetime, timedelta

import pytest
from fastapi.testclient import TestClient

from api.app import app
from api.database import facts
from api.database.sessions import writing
from api.database.tables import Experiment, Fact, MeasurementRow, now
from api.submission import row_of
from api.web.pages import cursor_at
from ncore.presets import PRESETS
from ncore.query import MAX_COMPARISONS, MAX_DEPTH, MAX_LENGTH, Comparison, Every, Not, QueryError, Some, parse
from ncore.spec import parse_spec, with_changes

BEGIN = datetime(2026, 1, 1, tzinfo=UTC)
DRAW = random.Random(3)


def test_words_bind_as_everybody_expects():
    tree = parse("not a = 1 and b<2 or (c : x or d in (1, 'two words')) and min(e.h1) >= 1e-3")
    assert isinstance(tree, Some)
    first, second = tree.of
    assert isinstance(first, Every)
    assert isinstance(first.of[0], Not)
    assert isinstance(second.of[0], Some)
    last = second.of[1]
    assert isinstance(last, Comparison)
    assert (last.field.text, last.reduction, last.operator, last.values[0].text) == ("e.h1", "min", ">=", "1e-3")
    assert [value.text for value in second.of[0].of[1].values] == ["1", "two words"]
    assert parse(" ") is None
    assert parse("AND_x = 1").field.text == "AND_x"


@pytest.mark.parametrize(
    ("text", "position", "token", "words"),
    [
        ("a", 2, "", "expected one of ="),
        ("a <", 4, "", "a value"),
        ("a < 1 b = 2", 7, "b", "`and`, `or`"),
        ("(a < 1", 7, "", "`)`"),
        ("a < 1)", 6, ")", "the end"),
        ("a ! 1", 3, "!", "expected one of"),
        ("a << 1", 4, "<", "a value"),
        ("and = 1", 1, "and", "name of a field"),
        ("a in 1", 6, "1", "`(`"),
        ("a in ()", 7, ")", "a value"),
        ('a = "b', 5, '"', "a value"),
        ("min(min(a)) < 1", 8, "(", "`)`"),
        ("not", 4, "", "name of a field"),
        ("(" * 3000, MAX_LENGTH + 1, "(", f"at most {MAX_LENGTH}"),
        ("not " * (MAX_DEPTH + 1) + "a=1", 4 * MAX_DEPTH + 1, "not", f"at most {MAX_DEPTH}"),
        ("a=1 or " * MAX_COMPARISONS + "a=1", 7 * MAX_COMPARISONS + 1, "a", f"at most {MAX_COMPARISONS}"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(text, position, token, words):
    with pytest.raises(QueryError) as caught:
        parse(text)
    assert words in str(caught.value)
    assert caught.value.position == position - 1
    assert caught.value.token[:1] == token[:1]


def add(number: int, name: str, finals: dict, **values: object) -> None:
    """An experiment that has ended with these final values in both of its seeds, the second's doubled."""
    changes = {"seeds": [0, 1], "name": name, "tags": values.pop("tags", []), **values.pop("set", {})}
    spec = parse_spec(with_changes(PRESETS[values.pop("preset", "fig1")].spec, changes))
    verdicts = [{"seed": 0, "reached": reached, "gap": None} for reached in values.pop("reached", ())]
    own = {"created_at": BEGIN + timedelta(hours=number), "status": "succeeded", "last_seq": 2, "attempt": 1}
    with writing() as session:
        row = row_of(session, spec, **{**own, **values})
        session.flush()
        seeds = [finals, {key: 2 * value for key, value in finals.items()}]
        found = facts.of_end(seeds if finals else [], verdicts)
        session.add_all(Fact(experiment_id=row.id, **fact) for fact in found)
        for seed, some in enumerate(seeds if finals else []):
            session.add(MeasurementRow(experiment_id=row.id, seed=seed, step=9, seq=seed + 1, values=some))


@pytest.fixture
def api(tables):
    with TestClient(app, base_url="http://127.0.0.1") as client:
        yield client


@pytest.fixture
def some(api):
    started = {"started_at": BEGIN, "finished_at": BEGIN + timedelta(hours=2)}
    paper = {"tags": ["paper", "two words"], "reached": ["simplex_etf", "between"]}
    add(
        1,
        "one",
        {"nc1 h1": 1e-8, "nc4 h1": 0.0, "loss": 0.5},
        **paper,
        set={"regularization.features": 0.02},
        **started,
    )
    add(2, "Two Ünique", {"nc1 h1": 1e-5, "nc1 h2": 1e-9, "nc4 h2": 0.0}, preset="fig4", reached=["orthogonal_frame"])
    add(
        3,
        "three",
        {},
        status="queued",
        last_seq=0,
        attempt=0,
        set={"regularization.features": 0.01, "model.bias": True},
    )
    add(4, "four 100%", {"nc1 layer4": 1e-3, "accuracy": 0.9}, preset="fig5-mse-small", worker="w1", status="failed")
    add(5, "five", {"nc1 h1": 1e-8}, archived=True, notes="Look *here*", set={"loss": "cross_entropy"})
    return api


def names(api, **asked) -> list[str]:
    answer = api.get("/experiments", params=asked)
    assert answer.status_code == 200, answer.text
    return [item["name"].split()[0] for item in answer.json()["items"]]


FOUND = {
    "nc1.h1 < 1e-6": ["one"],
    "nc1.h1 < 1e-4": ["Two", "one"],
    "nc1 < 1e-8 or nc1.layer4 > 0": ["four", "Two"],  # of the last layer
    "min(nc1.h1) <= 1e-8": ["one"],
    "max(nc1.h1) <= 1e-8": [],
    "not nc1.h1 < 1e-6": ["four", "three", "Two"],
    "final.loss != 0.75": ["four", "three", "Two"],
    "nc1.h1 = null": ["four", "three"],
    "nc1.h1 != null": ["Two", "one"],
    "nc1.h9 < 1": [],
    "nc1.h1 < 1 and regularization.features >= 0.02 and tag:paper and kind:ufm": ["one"],
    "config.regularization.features in (0.01, 0.02)": ["three", "one"],
    "tag:'two words'": ["one"],
    "tag:'two'": [],
    "tag ~ 'TWO w'": ["one"],
    "regularization.features != 0.02 and regularization.features != 0.01 and kind:ufm": ["Two"],
    "regularization.features != 0.02 or regularization.features != 0.01": ["four", "three", "Two", "one"],
    "nc1.h1 < 1e-7 or nc1.h1 > 1e-6 or name = three or kind != ufm": ["four", "three", "Two", "one"],
    "not (nc1.h1 < 1e-7 or nc1.h1 > 1)": ["four", "three", "Two"],
    "tag ~ APER and not (status:failed)": ["one"],
    "tag = null": ["four", "three", "Two"],
    "status in (queued, failed)": ["four", "three"],
    "name ~ ünique": ["Two"],
    "name ~ '100%'": ["four"],
    "name ~ _": [],
    "name = 'one'": ["one"],
    "kind != ufm": ["four"],
    "worker = w1": ["four"],
    "worker = null": ["three", "Two", "one"],
    "worker != w1": ["three", "Two", "one"],
    "verdict:between": ["one"],
    "verdict:etf": [],
    "verdict ~ etf": ["one"],
    "verdict = 'orthogonal frame'": ["Two"],
    "duration > 1h and duration<= 7200s": ["one"],
    "duration >= 121min": [],
    "started > 2025-12-31": ["one"],
    "started = 2026-01-01": ["one"],
    "created > 2026-01-01T02:00:00Z and created_at <= 2026-01-01T06:00+02:00": ["four", "three"],
    "finished = null": ["four", "three", "Two"],
    "model.bias = true": ["three"],
    "model.bias:false": ["four", "Two", "one"],
    "model.widths = [20, 20]": ["Two"],
    "model.widths = 20": ["three", "Two", "one"],
    "loss = mse and loss < 1": ["one"],
    "loss:cross_entropy": [],
    "seeds = 2 and attempt:0": ["three"],
    "priority <= -1 or progress > 0.5": [],
    "attempt > 0.5 and step < 1e300": ["four", "Two", "one"],
    "archived:true": ["five"],
    "archived in (true, false)": ["five", "four", "three", "Two", "one"],
    "archived:true and notes ~ HERE": ["five"],
    "optimizer = sgd": ["four"],
    "model.temperature > 0": [],
}
REFUSED = {
    "nc1.h1 <": "character 9",
    "nc1.layer5 < 1": "did you mean nc1.layer4",
    "regularisation.features < 1": "regularization.features",
    "colour = red": "unknown field",
    "nc1.h1 < abc": "nc1.h1 is a number; got 'abc' at character 10",
    "nc1.h1 ~ 1": "number",
    "nc1.h1 < 1e999": "finite",
    "name < 3": "allowed are = : != in ~",
    "status:done": "must be one of queued",
    "status ~ fail": "allowed are",
    "started > yesterday": "must be a time",
    "started > 2026-13-01": "must be a time",
    "duration > long": "takes seconds",
    "archived:maybe": "true or false",
    "data.name > 3": "is a text",
    "regularization.features = big": "is a number",
    "model.widths = [20,": "a value",
    "min(kind) = 1": "over the seeds",
    "x" * 2001: "at most 2000",
}


def test_a_query_finds_what_one_would_choose_by_hand_or_says_what_is_wrong(some):
    assert {where: names(some, where=where) for where in FOUND} == FOUND
    for where, words in REFUSED.items():
        answer = some.get("/experiments", params={"where": where})
        assert answer.status_code == 422, where
        fault = answer.json()["errors"][0]
        assert fault["field"] == "where"
        assert words in fault["message"], fault
    _columns_of_any_field_and_a_curve(some)


def test_every_order_is_whole_and_without_repeats_page_by_page(api):
    """The order of all pages together is that of Python's own sort, nothing last, the newest first among equals."""
    rows = []
    for number in range(23):
        value = DRAW.choice([None, 1e-3, 1e-3, DRAW.random(), -DRAW.random()])
        finals = {} if value is None else {"nc1 h1": value / 1.5}
        rows.append((number, value))
        add(number, f"n{number:02}", finals, set={"optimizer.learning_rate": 0.1 + number % 3}, status="failed")
    newest = sorted(rows, reverse=True)
    for sort, key in (
        ("nc1.h1", lambda row: row[1]),
        ("-nc1.h1", lambda row: None if row[1] is None else -row[1]),
        ("optimizer.learning_rate", lambda row: row[0] % 3),
        ("-created", lambda row: -row[0]),
        ("created", lambda row: row[0]),
        ("name", lambda row: row[0]),
        ("-duration", lambda row: 0),
    ):
        expected = [f"n{row[0]:02}" for row in sorted(newest, key=lambda row: (key(row) is None, key(row) or 0))]
        pages, cursor = [], None
        while not pages or cursor:
            asked = {"sort": sort, "limit": 5, "columns": "name", **({"cursor": cursor} if cursor else {})}
            answer = api.get("/experiments", params=asked).json()
            pages.append([item["name"] for item in answer["items"]])
            cursor = answer["next_cursor"]
        assert list(itertools.chain(*pages)) == expected, sort
    cursor = api.get("/experiments", params={"sort": "name", "limit": 5}).json()["next_cursor"]
    for other in ({"sort": "-name", "cursor": cursor}, {"cursor": cursor}, {"sort": "tag"}, {"sort": "name name"}):
        assert api.get("/experiments", params=other).status_code == 422, other
    for sort, value in (
        ("name", 1),
        ("name", now()),
        ("nc1.h1", "a"),
        ("nc1.h1", now()),
        ("-duration", "a"),
        ("-created", 1),
    ):
        forged = {"sort": sort, "cursor": cursor_at(sort, value, now(), "x")}
        assert api.get("/experiments", params=forged).status_code == 422, forged


def _columns_of_any_field_and_a_curve(some):
    columns = ["name", "nc1.h1", "max(nc1.h1)", "regularization.features", "model.bias", "duration", "verdict", "curve"]
    items = some.get("/experiments", params={"columns": columns}).json()["items"]
    one = items[-1]
    assert one["values"] == {
        "nc1.h1": pytest.approx(1.5e-8), "max(nc1.h1)": 2e-8, "regularization.features": 0.02, "model.bias": "false",
        "duration": pytest.approx(7200), "verdict": "simplex_etf,between",
    }  # fmt: skip
    assert one["curve"] == {"steps": [9], "values": [1e-8]}
    assert items[1]["curve"] is None
    assert items[1]["values"]["nc1.h1"] is None
    assert one.keys() == {"id", "name", "values", "curve"}
    fault = some.get("/experiments", params={"columns": ["name", "nc7"]}).json()["errors"][0]
    assert fault["field"] == "columns"
    assert "nc1" in fault["message"]
    fields = {item["name"]: item for item in some.get("/fields").json()["items"]}
    assert fields["config.regularization.features"]["differs"]
    assert not fields["config.device"]["differs"]
    assert fields["final.nc1.h1"]["differs"] is None
    assert {"final.nc1.layer4", "status", "verdict"} <= fields.keys()


def test_a_run_has_its_final_values_when_it_ends(service):
    from ncore.client import Client

    with Client(service.url) as client:
        changes = {"optimizer.steps": 300, "measure.points": 5, "seeds": [0, 1, 2], "name": "ends"}
        made = client.submit("fig1", changes).wait(progress=False)
        finals = [one["values"][-1] for one in made.series(metric="nc1", layer="h1")]
        middle = sorted(finals)[1]
        for where in (f"nc1.h1 = {middle!r}", f"max(nc1) = {max(finals)!r}", f"min(nc1.h1)<={min(finals)!r}"):
            assert [one.id for one in client.experiments(where=f"{where} and id:{made.id[:8]}")] == [made.id]
        assert made.data["result"]["verdict"][0]["reached"] == client.request(
            "GET", "/experiments", params={"where": f"id:{made.id}", "columns": "verdict"}
        ).json()["items"][0]["values"]["verdict"].split(",")[0]  # fmt: skip


def test_an_experiment_is_found_again_by_every_row_of_facts(tables):
    """Every leaf of every preset's spec can be asked for, and is then found."""
    with TestClient(app, base_url="http://127.0.0.1") as client:
        for preset in ("fig4", "fig5-mse-small"):
            add(0, preset, {"nc1 h1": 0.25, "grad_norm": 3.0}, preset=preset)
        with writing() as session:
            rows = session.query(Fact, Experiment.name).join(Experiment, Experiment.id == Fact.experiment_id).all()
            asked = [(f"{fact.name} = {_written(fact)}", name) for fact, name in rows]
        for where, name in asked:
            assert name in [
                item["name"] for item in client.get("/experiments", params={"where": where}).json()["items"]
            ]


def _written(fact: Fact) -> str:
    return repr(fact.number) if fact.text is None else fact.text if fact.text[0] == "[" else f'"{fact.text}"'
