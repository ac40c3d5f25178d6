"""`ncore prune`, `workers` and `logs`, as those who keep a service use them."""

import sqlite3
from datetime import UTC, datetime, timedelta

import httpx
from conftest import ncore, wait_for

from api.routes.logs import MAX_LINES
from ncore.client import Client

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
    for words, told in ((["--days", "-1"], "from 0 to"), (["--days", "soon"], "'soon'"), ([], "--days")):
        done = ncore("prune", *words, env={"NCORE_URL": service.url})
        assert done.returncode == 2
        assert told in done.stderr


def test_workers_and_logs_are_shown(service):
    at = {"NCORE_URL": service.url}
    with Client(service.url) as client:
        made = client.submit("fig1", QUICK).wait(progress=False)
    shown = ncore("workers", env=at).stdout
    assert made.data["worker"] in shown
    assert "GiB" in shown
    events = [line.split()[1] for line in ncore("logs", made.id, env=at).stdout.splitlines()]
    assert events == ["submitted", "started", "succeeded"]
    assert ncore("logs", "nothing", env=at).returncode == 2
