"""What may be changed of an experiment, and what is refused; archived ones are out of sight and not gone."""

import pytest
from fastapi.testclient import TestClient

from api.app import app
from api.database import claims
from api.database.sessions import reading, writing
from api.database.tables import Experiment, LogLine
from api.settings import get_settings
from api.submission import row_of
from ncore.presets import PRESETS
from ncore.spec import MAX_TAGS, parse_spec

SPEC = parse_spec(PRESETS["fig1"].spec)


@pytest.fixture
def api(tables, monkeypatch):
    monkeypatch.setenv("NCORE_TOKENS", "writes")
    monkeypatch.setenv("NCORE_READ_TOKENS", "reads")
    get_settings.cache_clear()
    with TestClient(app, base_url="http://127.0.0.1", headers={"Authorization": "Bearer writes"}) as client:
        yield client


def made(**values: object) -> str:
    with writing() as session:
        return row_of(session, SPEC, **values).id


def test_annotations_are_changed_cleared_and_seen_by_all(api):
    own, other = made(), made()
    path = f"/experiments/{own}"
    before = api.get(path)
    change = {"name": "neu", "tags": ["a", "b c"], "notes": "# Été\r\n\n- *one*\t2", "priority": -7}
    after = api.patch(path, json=change)
    assert after.status_code == 200
    assert after.json() == {
        **before.json(), **change, "notes": "# Été\n\n- *one*\t2", "updated_at": after.json()["updated_at"],
    }  # fmt: skip
    assert before.json()["updated_at"] is None
    assert after.json()["spec"]["name"] == "figure 1"  # as submitted
    assert api.get(path, headers={"If-None-Match": before.headers["ETag"]}).json() == after.json()
    tag = api.get(path).headers["ETag"]
    assert api.patch(path, json=change).json() == after.json()  # again: nothing changes, and nobody is told
    assert api.get(path, headers={"If-None-Match": tag}).status_code == 304
    with reading() as session:
        lines = [line.detail for line in session.query(LogLine).filter_by(experiment_id=own, event="edited")]
    assert lines == ["name, tags, notes, priority"]
    for asked in ({"q": "NEU"}, {"tag": "b c"}, {"where": "name = neu and priority:-7 and notes ~ été"}):
        assert [item["id"] for item in api.get("/experiments", params=asked).json()["items"]] == [own]
    with writing() as session:
        assert [row.id for row in claims.claim(session, "w", "cpu")] == [other]  # the one of the higher priority
    cleared = api.patch(path, json=dict.fromkeys(change)).json()
    assert [cleared[name] for name in change] == ["", [], "", 0]
    assert api.patch(path, json={}).json() == cleared


def test_archived_experiments_are_hidden_from_lists_alone(api):
    own, other = made(), made()
    assert api.patch(f"/experiments/{own}", json={"archived": True}).json()["archived"]
    for asked, found in (({}, [other]), ({"archived": "true"}, [other, own]), ({"where": "archived:true"}, [own])):
        assert [item["id"] for item in api.get("/experiments", params=asked).json()["items"]] == found
    assert api.get(f"/experiments/{own}").json()["status"] == "queued"
    with writing() as session:
        assert own in [row.id for row in claims.claim(session, "w", "cpu")]  # it is out of sight, and still runs
    assert not api.patch(f"/experiments/{own}", json={"archived": None}).json()["archived"]


REFUSED = [
    ({"name": "x" * 201}, "name", "at most 200"),
    ({"name": "a\nb"}, "name", "U+000A"),
    ({"name": 3}, "name", "text"),
    ({"tags": "paper"}, "tags", "list"),
    ({"tags": [""]}, "tags.0", "empty"),
    ({"tags": ["a\x1b"]}, "tags.0", "U+001B"),
    ({"tags": ["x"] * (MAX_TAGS + 1)}, "tags", f"at most {MAX_TAGS}"),
    ({"notes": "x" * 20_001}, "notes", "at most 20000"),
    ({"notes": "a\x00"}, "notes", "U+0000"),
    ({"notes": ["a"]}, "notes", "text"),
    ({"priority": 101}, "priority", "less than or equal to 100"),
    ({"priority": 1.5}, "priority", "whole number"),
    ({"priority": True}, "priority", "whole number"),
    ({"archived": "yes"}, "archived", "true or false"),
    ({"spec": {}}, "spec", "unknown field"),
    ({"status": "failed"}, "status", "unknown field"),
    ([1], "body", "object"),
]


def test_a_bad_annotation_is_refused_by_field_and_changes_nothing(api):
    path = f"/experiments/{made()}"
    for body, field, words in REFUSED:
        sent = {"name": "new", **body} if isinstance(body, dict) else body
        answer = api.patch(path, json=sent)
        assert answer.status_code == 422
        faults = {fault["field"]: fault["message"] for fault in answer.json()["errors"]}
        assert words in faults[field], faults
    assert api.get(path).json()["updated_at"] is None


def test_only_one_who_may_change_may_annotate(api):
    own = made()
    for token, status in (("reads", 403), ("wrong", 401), ("writes", 200)):
        headers = {"Authorization": f"Bearer {token}"}
        assert api.patch(f"/experiments/{own}", json={"name": "n"}, headers=headers).status_code == status
    assert api.patch("/experiments/none", json={"name": "n"}).status_code == 404
    with reading() as session:
        assert session.get(Experiment, own).name == "n"
