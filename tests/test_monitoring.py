"""What Prometheus scrapes."""

from datetime import datetime

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families


def scraped(url: str) -> dict:
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["Content-Type"].startswith("text/plain; version=")
    families = text_string_to_metric_families(answer.text)
    return {(s.name, *sorted(s.labels.values())): s.value for family in families for s in family.samples}


def test_the_counts_are_those_of_the_rows_and_of_the_requests(service, client):
    client.submit("fig1", {"optimizer.steps": 50, "measure.points": 5, "seeds": [0, 1]}).wait(progress=False)
    before = scraped(service.url)
    made = client.submit("fig1", {"optimizer.steps": 50, "measure.points": 5, "seeds": [0, 1]}).wait(progress=False)
    for _ in range(3):
        client.request("GET", f"/experiments/{made.id}")
    after = scraped(service.url)
    grown = {key: after[key] - before[key] for key in after if key in before}
    assert grown["ncore_experiments", "succeeded"] == 1
    assert grown["ncore_measurements",] == 10
    assert grown["ncore_experiment_seconds_count", "succeeded"] == 1
    shown = client.request("GET", f"/experiments/{made.id}").json()
    seconds = [datetime.fromisoformat(shown[name]) for name in ("started_at", "finished_at")]
    expected = (seconds[1] - seconds[0]).total_seconds()
    assert grown["ncore_experiment_seconds_sum", "succeeded"] == pytest.approx(expected, abs=1e-3)
    assert grown["ncore_http_request_seconds_count", "/experiments", "201", "POST"] == 1
    assert grown["ncore_http_request_seconds_count", "/experiments/{experiment_id}", "200", "GET"] >= 3
    assert (after["ncore_database_up",], after["ncore_broker_up",]) == (1, 1)
    assert not any(made.id in label for key in after for label in key)
