"""Rows become series, whole or thinned, whatever each row has measured."""

import math

from conftest import both_databases
from hypothesis import given
from hypothesis import strategies as st

from api.database.measurements import _as_series
from ncore.client import Client
from ncore.series import thinned

NAMES = ["objective", "nc1 h1", "nc1 h2", "test_loss"]
values = st.none() | st.floats(allow_nan=False, allow_infinity=False, width=32)
measured = st.dictionaries(st.sampled_from(NAMES), values)
tables = st.dictionaries(st.tuples(st.integers(0, 40), st.integers(0, 2)), measured, max_size=30)


@given(tables, st.sets(st.sampled_from(["objective", "nc1"])), st.sets(st.sampled_from(["", "h1"])))
def test_rows_become_the_series_that_going_through_every_number_gives(table, metrics, layers):
    rows = [(seed, step, found) for (step, seed), found in sorted(table.items())]
    slow = {}
    for seed, step, found in rows:
        for name, value in found.items():
            metric, _, layer = name.partition(" ")
            if (not metrics or metric in metrics) and (not layers or layer in layers):
                slow.setdefault((metric, layer or None, seed), []).append((step, value))
    fast = {
        (one["metric"], one["layer"], one["seed"]): list(zip(one["steps"], one["values"], strict=True))
        for one in _as_series(rows, sorted(metrics), sorted(layers))
    }
    assert fast == slow


@given(st.lists(values, min_size=1, max_size=200), st.integers(2, 60))
def test_a_thinned_series_keeps_ends_and_extremes_and_is_always_the_same(numbers, points):
    whole = {"metric": "nc1", "layer": "h1", "seed": 0, "steps": list(range(0, 3 * len(numbers), 3)), "values": numbers}
    thin = thinned(whole, points)
    assert thin == thinned(whole, points)
    assert len(thin["steps"]) <= max(points, 2)
    assert thin["steps"] == sorted(set(thin["steps"]))
    assert all(numbers[step // 3] == value for step, value in zip(thin["steps"], thin["values"], strict=True))
    assert (thin["steps"][0], thin["steps"][-1]) == (whole["steps"][0], whole["steps"][-1])
    known = [value for value in numbers if value is not None]
    if points > 3 and known:
        kept = [value for value in thin["values"] if value is not None]
        assert (min(kept), max(kept)) == (min(known), max(known))


@both_databases
def test_a_picture_reads_the_same_steps_of_all_seeds_and_both_ends(client: Client):
    few = {"optimizer.steps": 1000, "measure.points": 501, "measure.spacing": "linear", "seeds": [0, 1]}
    made = client.submit("fig1", few).wait(progress=False, timeout_seconds=60)
    picture = client.request("GET", f"/experiments/{made.id}/plot.json", params={"panel": "objective"}).json()
    rows = picture["datasets"]["table1"]
    assert {row["seeds"] for row in rows} == {2}
    assert 100 <= len(rows) <= 120
    whole = {
        one["seed"]: dict(zip(one["steps"], one["values"], strict=True)) for one in made.series(metric="objective")
    }
    assert (rows[0]["step"], rows[-1]["step"]) == (0, 1000)
    for row in rows:
        low, high = sorted(whole[seed][int(row["step"])] for seed in (0, 1))
        assert math.isclose(row["low"], low)
        assert math.isclose(row["high"], high)
