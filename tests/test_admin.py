"""`ncore delete`, `prune`, `workers` and `logs`, as those who keep a service use them."""

import sqlite3
from datetime import UTC, datetime, timedelta

import httpx
import orjson
import pytest
from conftest import ncore, wait_for
from wire import Wire

from api.routes.logs import MAX_LINES
from ncore.client import ApiError, Client

QUICK = {"optimizer.steps": 50, "measure.points": 5}


def aged(service, experiment, days: float) -> None:
    moment = datetime.now(UTC) - timedelta(days=days)
    with sqlite3.connect(service.settings.home / "ncore.db") as connection:
        text = moment.strftime("%Y-%m-%d %H:%M:%S.%f")
        connection.execute("UPDATE experiments SET finished_at = ? WHERE id = ?", (text, experiment.id))


def test_prune_deletes_what_ended_long_ago_with_its_files_and_nothing_else(service):
    at = {"NCORE_URL": service.url}
    with Client(service.url) as client:
        old, tagged, new = (
            client.submit("fig1", {**QUICK, "tags": ["prune", tag]}).wait(progress=False) for tag in ("a", "b", "a")
        )
        waiting = client.submit("fig1", {"optimizer.steps": 10**8, "measure.points": 5, "tags": ["prune"]})
        aged(service, old, 40)
        aged(service, tagged, 40)
        files = service.settings.home / "experiments" / old.id
        assert files.exists()
        listed = ncore("prune", "--days", "30", "--dry-run", env=at)
        assert (old.id in listed.stdout, tagged.id in listed.stdout, new.id in listed.stdout) == (True, True, False)
        assert "2 experiments would be deleted" in listed.stdout
        assert len(list(client.experiments(tag="prune"))) == 4
        assert "1 experiments deleted" in ncore("prune", "--days", "30", "--tag", "a", env=at).stdout
        assert {one.id for one in client.experiments(tag="prune")} == {tagged.id, new.id, waiting.id}
        assert not files.exists()
        assert "0 experiments deleted" in ncore("prune", "--days", "30", "--status", "failed", env=at).stdout
        waiting.cancel()


def test_prune_takes_what_fell_silent_long_ago_only_when_asked(service):
    at = {"NCORE_URL": service.url}
    body = {"model": {"kind": "external", "classes": 3, "layers": []}}
    ids = [httpx.post(f"{service.url}/experiments", json=body).json()["id"] for _ in range(2)]
    with sqlite3.connect(service.settings.home / "ncore.db") as connection:
        connection.execute(f"UPDATE experiments SET lease_until = '2020-01-01 00:00:00' WHERE id IN {tuple(ids)}")
    with Client(service.url) as client:
        old, new = map(client.experiment, ids)
        wait_for("their loss", lambda: [old.refresh().status, new.refresh().status] == ["lost", "lost"])
        with sqlite3.connect(service.settings.home / "ncore.db") as connection:
            connection.execute("UPDATE log_lines SET at = '2020-01-01 00:00:00' WHERE experiment_id = ?", (old.id,))
            line = "INSERT INTO log_lines (experiment_id, at, level, event, attempt) VALUES (?, ?, 'info', ?, 1)"
            before = [(new.id, "2020-01-01 00:00:00", "heard again")] * MAX_LINES  # one answer does not hold all
            connection.executemany(line, [*before, (new.id, f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}", "lost")])
        assert old.id not in ncore("prune", "--days", "30", env=at).stdout
        assert "1 experiments deleted" in ncore("prune", "--days", "30", "--status", "lost", env=at).stdout
        lost = {one.id for one in client.experiments(status="lost")}
        assert (old.id in lost, new.id in lost) == (False, True)
        new.delete()


def test_prune_names_what_it_does_not_understand(service):
    for words, message in ((["--days", "-1"], "from 0 to"), (["--days", "soon"], "'soon'"), ([], "--days")):
        done = ncore("prune", *words, env={"NCORE_URL": service.url})
        assert done.returncode == 2
        assert message in done.stderr


@pytest.mark.parametrize("meanwhile", ["runs again", "is deleted"])
def test_prune_leaves_what_runs_again_or_is_gone_since_it_was_listed(service, client, meanwhile):
    made = client.submit("fig1", {"optimizer.steps": 10**8, "measure.points": 5, "tags": [meanwhile]})
    wait_for("the start", lambda: made.refresh().status == "running", 60)
    made.cancel().refresh()
    wait_for("the end", lambda: made.refresh().status == "cancelled")
    aged(service, made, 40)

    asked: list[str] = []

    def change(request: bytes) -> None:
        if not request.startswith(b"DELETE"):
            return
        asked.append(request.split()[1].decode())
        if meanwhile == "is deleted":
            made.delete()
        else:
            made.retry()
            wait_for("the start", lambda: made.refresh().status == "running")

    wire = Wire(service.url)
    wire.on_request = change
    done = ncore("prune", "--days", "30", "--tag", meanwhile, env={"NCORE_URL": wire.url})
    wire.close()
    if meanwhile == "runs again":
        refused = ncore("delete", made.id, env={"NCORE_URL": service.url})
        made.cancel()  # first, so that no other test waits for it
        assert (refused.returncode, refused.stderr) == (2, f"experiment {made.id} is running; cancel it first\n")
    assert (done.returncode, done.stdout) == (0, "0 experiments deleted\n"), done
    assert asked == [f"/experiments/{made.id}?status=cancelled"]  # else one that is queued again were deleted


def test_experiments_and_sweeps_are_deleted_by_id_all_or_none(service, client):
    at = {"NCORE_URL": service.url}
    first, second = (client.submit("fig1", QUICK).wait(progress=False) for _ in range(2))
    swept = client.sweep("fig1", {"seeds": [[0], [1]]}, QUICK).wait(progress=False)
    for words, message in (
        ((first.id, "nothing-of-this-id"), "there is no experiment 'nothing-of-this-id'"),
        (("--sweep", swept.id, "zz"), "ID: 'zz' is the beginning of no id of a sweep"),
        (("--sweep", first.id), f"there is no sweep '{first.id}'"),
    ):
        refused = ncore("delete", *words, env=at)
        assert (refused.returncode, refused.stdout) == (2, "")
        assert message in refused.stderr
    assert ncore("delete", first.id, "--quiet", env=at).stdout == f"{first.id}\n"
    deleted = f"{second.id}: deleted with its measurements and files\n"
    assert ncore("delete", second.id, env=at).stdout == deleted
    members = [item["experiment"] for item in swept.data["items"]]
    ids = [item["id"] for item in client.sweeps(200)]
    short = next(swept.id[:n] for n in range(1, 13) if sum(one.startswith(swept.id[:n]) for one in ids) == 1)
    assert ncore("delete", "--sweep", short, "--quiet", env=at).stdout == f"{swept.id}\n"
    for gone in (first.id, second.id, *members):
        with pytest.raises(ApiError, match="there is no experiment"):
            client.experiment(gone)
    assert swept.id not in [item["id"] for item in client.sweeps(200)]


def test_workers_and_logs_are_shown(service):
    at = {"NCORE_URL": service.url}
    with Client(service.url) as client:
        made = client.submit("fig1", QUICK).wait(progress=False)
    columns = "id, kind, device, memory_bytes, used_bytes, version, started_at, seen_at"
    lost = ("away:1", "gpu", "H100", 2**36, 2**35, "0", "2026-01-01 00:00:00", f"{datetime.now(UTC):%Y-%m-%d} 00:00:00")
    with sqlite3.connect(service.settings.home / "ncore.db") as connection:
        connection.execute(f"INSERT INTO workers ({columns}) VALUES {lost}")
    shown = ncore("workers", env=at).stdout
    assert made.data["worker"] in shown
    assert "lost, last at 20" in shown
    assert "32.0 of 64.0 GiB" in shown
    assert [item["alive"] for item in orjson.loads(ncore("workers", "--json", env=at).stdout)][:2] == [False, True]
    with sqlite3.connect(service.settings.home / "ncore.db") as connection:
        connection.execute("DELETE FROM workers WHERE id = 'away:1'")
    events = [line.split()[1] for line in ncore("logs", made.id, env=at).stdout.splitlines()]
    assert events == ["submitted", "started", "succeeded"]
    assert ncore("logs", made.id, "--quiet", env=at).stdout.split() == events
    assert [line["event"] for line in orjson.loads(ncore("logs", made.id, "--json", env=at).stdout)] == events
    assert ncore("logs", "nothing", env=at).returncode == 2
