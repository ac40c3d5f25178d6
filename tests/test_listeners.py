"""Two hundred listeners of one experiment, on one API process."""

import asyncio
import sqlite3
import time
from datetime import UTC, datetime

import httpx
import orjson

LISTENERS = 200
SLOW_START = {"optimizer.steps": 400_000, "measure.points": 60, "measure.spacing": "linear", "seeds": [0]}


async def listen(http, path, heard):
    """Number and time of arrival of each measurement, until the end."""
    async with http.stream("GET", path) as response:
        kind = ""
        async for line in response.aiter_lines():
            name, _, value = line.partition(": ")
            if name == "event":
                kind = value
            elif name == "data" and kind == "measurement":
                heard.append((orjson.loads(value)["seq"], time.time()))
            elif name == "data" and kind == "end":
                heard.append((orjson.loads(value)["status"], time.time()))


async def look_in(http, waits, ended):
    while not ended.is_set():
        began = time.perf_counter()
        assert (await http.get("/healthz")).status_code == 200
        waits.append(time.perf_counter() - began)
        await asyncio.sleep(0.1)


async def listen_all(url, path):
    limits = httpx.Limits(max_connections=None)
    heard = [[] for _ in range(LISTENERS)]
    waits, ended = [], asyncio.Event()
    async with (
        httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as http,
        httpx.AsyncClient(base_url=url) as other,
    ):
        looking = asyncio.create_task(look_in(other, waits, ended))
        await asyncio.gather(*(listen(http, path, one) for one in heard))
        ended.set()
        await looking
    return heard, sorted(waits)


def test_two_hundred_listeners_get_every_measurement_within_a_second_and_the_api_stays_quick(service, client):
    made = client.submit("fig1", SLOW_START)
    heard, waits = asyncio.run(listen_all(service.url, f"/experiments/{made.id}/events"))
    with sqlite3.connect(service.settings.home / "ncore.db") as connection:
        query = "SELECT seq, at FROM measurements WHERE experiment_id = ?"
        stored = dict(connection.execute(query, (made.id,)))
    for one in heard:
        assert [seq for seq, _ in one[:-1]] == list(range(1, len(stored) + 1))
        assert one[-1][0] == "succeeded"
    at = {seq: datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp() for seq, moment in stored.items()}
    last_half = range(len(at) // 2, len(at))  # by then all were listening
    lags = sorted(arrived - at[seq] for one in heard for seq, arrived in one[:-1] if seq in last_half)
    assert len(lags) >= LISTENERS * 20
    assert lags[len(lags) // 2] < 1
    assert lags[len(lags) * 9 // 10] < 3  # of a machine on which other tests compute
    assert waits[len(waits) // 2] < 0.25
