"""What a sweep will need and what is predicted of it before it is run; what known values are called in its pictures."""

import threading
import time
from collections import Counter
from datetime import timedelta

import pytest
from conftest import wait_for

from api.database import sessions
from api.database.tables import now
from api.predictions import _predicted
from api.routes.sweep_estimate import MOST_EXAMINED, estimate_sweep
from api.routes.sweep_table import measured
from api.submission import row_of
from api.web.bodies import parsed, sound
from ncore.estimate import measurements, memory_bytes
from ncore.pictures.setting import setting_of
from ncore.pictures.sweep import Facet, View
from ncore.pictures.sweep_map import sweep_figure
from ncore.pictures.themes import THEMES, Layout
from ncore.presets import spec_of
from ncore.sweeps.boundary import Theory, crossings
from ncore.sweeps.forecast import spread
from ncore.sweeps.plan import Plan, SweepRequest
from ncore.sweeps.presets import expanded
from ncore.sweeps.quantity import Quantity
from ncore.sweeps.ruler import Ruler
from ncore.sweeps.summary import summary_of
from ncore.theory import BetterKnown, predict

W, H = "regularization.weights", "regularization.features"


def plan(**request) -> Plan:
    return Plan(parsed(SweepRequest, expanded(sound(request))))


def test_combinations_are_numbered_and_examined_from_the_corners_on():
    made = plan(
        base={"preset": "fig1"}, axes={H: [0.1, 0.2, 0.3], "seeds": [0, 1]}, zip={W: [1, 2], "loss": ["mse"] * 2}
    )
    points = list(made.points())
    assert [made.point(i) for i in range(made.total)] == points
    assert spread([3, 2, 2], 100) != sorted(spread([3, 2, 2], 100)) == list(range(12))
    assert set(spread([7, 5], 4)) == {0, 4, 30, 34}
    assert set(spread([7, 5], 12)) == {0, 4, 30, 34, *range(5), *range(0, 35, 5)}
    assert spread([40, 50], 2) == [0, 1999]
    some = spread([32, 32], 400)[66:]  # behind the corners and edges
    for places in (Counter(number // 32 for number in some), Counter(number % 32 for number in some)):
        del places[0]
        assert len(places) == 31
        assert max(places.values()) <= 2 * min(places.values())
    assert spread([1], 5) == [0]


@pytest.mark.parametrize("name", ["phase-plain", "phase-bias"])
def test_a_sweep_is_estimated_as_the_sum_and_the_extremes_of_its_experiments(tables, name):
    made = plan(preset=name)
    specs = [made.spec(point) for point in made.points()]
    known = [predict(spec) for spec in specs]
    for _ in range(20):  # until all are predicted: what is known already is not made again
        found = estimate_sweep({"preset": name})
        if found.forecast.examined == len(specs):
            break
    assert (found.combinations, found.examined, found.budget) == (len(specs), len(specs), None)
    assert found.memory_bytes == max(map(memory_bytes, specs)) < found.memory_limit_bytes
    assert found.total_memory_bytes == sum(map(memory_bytes, specs))
    assert found.measurements == sum(map(measurements, specs))
    assert (found.queues, found.seconds, found.timed) == ({"cpu": len(specs)}, None, 0)
    assert [end.point for end in found.ends] == [made.point(0), made.point(made.total - 1)]
    assert found.ends[1].prediction.objective == known[-1].objective
    forecast = found.forecast
    assert forecast.regimes == Counter(one.regime for one in known)
    for name_of_value, values in forecast.objectives.items():
        own = [one.objective for one in known if one.objective_name == name_of_value and one.objective is not None]
        assert (values.low, values.high, values.count) == (min(own), max(own), len(own))
    assert sum(forecast.global_minimum.values()) == sum(values.count for values in forecast.objectives.values())
    for boundary in forecast.boundaries:
        own = [one for spec in known for one in spec.boundaries if one.name == boundary.name]
        assert (boundary.value.count, boundary.value.high) == (len(own), max(one.value for one in own))
        assert boundary.above == sum(one.value >= one.critical for one in own)
        assert boundary.meaning


def test_the_time_of_a_sweep_is_that_of_the_combinations_whose_shape_has_been_run(tables):
    at, body = now(), {"preset": "fig1", "set": {"optimizer.steps": 2000}}
    with sessions.writing() as session:
        row = row_of(session, spec_of(body), started_at=at, attempt=1, worker="a")
        row.status, row.finished_at = "succeeded", at + timedelta(seconds=6)
    axes = {H: [0.1, 0.2], "optimizer.steps": [1000, 4000], "model.classes": [4, 5]}
    found = estimate_sweep({"base": {"preset": "fig1"}, "axes": axes})
    assert (found.timed, found.combinations) == (4, 8)
    assert found.seconds == pytest.approx(2 * (3 + 12))


def test_a_large_sweep_is_estimated_from_a_part_of_it_and_quickly(tables):
    axes = {
        H: {"from": 0.001, "to": 0.1, "points": 100, "spacing": "log"},
        "seeds": {"from": 0, "to": 99, "points": 100},
    }
    found = estimate_sweep({"base": {"preset": "fig1"}, "axes": axes})
    assert (found.combinations, found.examined, found.queues) == (10_000, MOST_EXAMINED, {"cpu": 10_000})
    assert found.total_memory_bytes == 10_000 * found.memory_bytes
    axes = {path: {**axis, "points": 32} for path, axis in axes.items()}
    spans = []
    for _ in range(3):
        began = time.process_time()
        assert estimate_sweep({"base": {"preset": "fig1"}, "axes": axes}).combinations == 1024
        spans.append(time.process_time() - began)
    assert min(spans) < 0.5


def test_a_prediction_that_takes_long_is_left_out_until_it_is_known(tables, monkeypatch):
    opened = threading.Event()
    monkeypatch.setattr("api.predictions.predict", lambda spec: opened.wait(20) and predict(spec))
    body = {"base": {"preset": "fig1"}, "axes": {H: [0.0301, 0.0302]}}
    _predicted.cache_clear()
    found = estimate_sweep(body)
    assert (found.combinations, found.forecast.examined, found.ends) == (2, 0, [])
    assert found.forecast.regimes == {}
    opened.set()
    wait_for("the predictions", lambda: len(estimate_sweep(body).ends) == 2)


def predictions_of(made: Plan) -> list:
    return [predict(made.spec(point)) for point in made.points()]


def picture_of(made: Plan, metric: str, predictions: list) -> dict:
    """The picture of a sweep whose experiments have ended at what is predicted."""
    quantity, cells = Quantity.parsed(metric), []
    for i, (prediction, point) in enumerate(zip(predictions, made.points(), strict=True)):
        objective = prediction.objective or 0.4
        final = [{"seed": 0, "metrics": [{"metric": "objective", "layer": None, "value": objective},
                                         {"metric": "nc2_of", "layer": "h2", "value": 0.1}]}]  # fmt: skip
        summary = summary_of(prediction, final, [{"reached": "between", "rank": 4, "gap": 0.01}])
        cells += quantity.cells(str(i), point, summary, "succeeded", None, "mean", {})
    rulers = {one.paths[0]: Ruler({one.paths[0]: [row[0] for row in one.values]}) for one in made.dimensions}
    view = View(quantity, *rulers.values(), style=THEMES["light"], layout=Layout())
    return sweep_figure([Facet("", cells)], view)


RELU = {"preset": "fig4", "set": {"model.samples_per_class": 1, W: 0.01, H: 0.01}}
LOWER = BetterKnown(objective=0.01, structure="srg", source="somebody")


def test_pictures_of_a_sweep_call_known_values_as_those_of_single_runs_do():
    """f* where it is proven, the frame's name where that is all that is known, best known where something is lower."""
    made = plan(base=RELU, axes={"model.widths": [[12], [12, 12], [12, 12, 12]]})
    known = predictions_of(made)
    known[2] = known[2].model_copy(update={"global_minimum": False, "better_known": LOWER})
    names = [setting_of(made.spec(point), 10).objective_name for point in made.points()]
    assert names == ["f*", "f of OF", "f of OF"]
    chart = picture_of(made, "objective", known)
    assert chart["title"] == "objective at the end, f* and f of OF dotted, best known dashed"
    rows = next(iter(chart["datasets"].values()))
    assert [row["name"] for row in rows] == names
    assert [row["best"] for row in rows] == [None, None, LOWER.objective]
    assert [row["best_known"] for row in rows] == ["", "", "0.01"]
    assert [row["known"].rpartition(", ")[2] for row in rows] == names
    assert {tuple(part["mark"].get("strokeDash", ())) for part in chart["layer"]} == {(), (2, 3), (7, 4)}
    assert picture_of(made, "gap", known)["title"] == "relative gap to f* or f of OF at the end"
    assert picture_of(made, "nc2_of", known)["title"] == "nc2_of at the end, OF dotted"

    proven = plan(base={"preset": "fig1"}, axes={H: [0.01, 0.02], W: [0.01, 0.02]})
    known = predictions_of(proven)
    assert picture_of(proven, "gap", known)["title"] == "relative gap to f* at the end"
    tips = [channel["title"] for channel in picture_of(proven, "objective", known)["layer"][0]["encoding"]["tooltip"]]
    assert tips[-1] == "f*"


def test_a_boundary_that_is_of_a_frame_or_of_the_best_known_says_so():
    axis = Ruler({W: [0.02 * 1.5**i for i in range(12)]})

    def labels(**changes) -> set[str]:
        body = plan(base={**RELU, "set": {**RELU["set"], **changes}}, axes={"seeds": [0]}).body
        return {label for _, label, _ in crossings(Theory(body, {}), axis)}

    assert labels(**{"model.widths": [12, 12]}) == {"γ = γ_c (OF)"}
    assert labels(**{"model.widths": [12, 12], "model.activation": "identity"}) == {"γ = γ_c"}
    assert labels(**{"model.widths": [12, 12], "model.classes": 2}) == {"γ = γ_c"}


def test_a_metric_that_exists_with_and_without_a_layer_is_chosen_either_way():
    keys = ["rank h1", "rank", "rank h2", "nc1 h1", "objective"]
    summary = {"levels": {key: [i, i, i, i, None] for i, key in enumerate(keys)}, "verdict": [], "rank": None}
    assert measured([summary]) == {"rank": ["", "h1", "h2"], "nc1": ["h1"], "objective": []}
    for layer, expected in ((None, [0, 1, 2]), ("", [1]), ("h2", [2])):
        cells = Quantity("rank").cells("id", {}, summary, "succeeded", layer, "mean", {})
        assert [cell.value for cell in cells] == expected
