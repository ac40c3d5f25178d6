"""Networks through the service: every optimizer and schedule, decays, parts of the data, several processes."""

import httpx
import pytest

OPTIMIZERS = [
    {"kind": "sgd", "nesterov": True, "schedule": {"kind": "cosine", "warmup_epochs": 1}, "clip_norm": 1.0},
    {"kind": "sgdw", "schedule": {"kind": "linear"}, "decays": "weights"},
    {"kind": "adam", "schedule": {"kind": "constant"}, "feature_decay": {"layer": "hidden2", "value": 1e-4}},
    {"kind": "adamw", "schedule": {"kind": "milestones", "milestones": [1]}},
]
BODY = {
    "model": {"kind": "mlp", "widths": [16, 12], "bias": False},
    "data": {
        "name": "digits",
        "classes": [0, 1, 2],
        "samples_per_class": 8,
        "image_size": 8,
        "ood": {"name": "digits", "classes": [7, 8]},
    },
    "loss": "mse",
    "measure": {"every_epochs": 1, "test": True},
}


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=[one["kind"] for one in OPTIMIZERS])
def test_a_network_is_trained_measured_and_drawn(client, service, optimizer):
    body = {**BODY, "optimizer": {"epochs": 2, "batch_size": 12, **optimizer}}
    done = client.submit(body).wait(progress=False, timeout_seconds=120)
    assert done.status == "succeeded"
    found = done.series(metric="nc1", layer="hidden2@test")
    assert [(one["layer"], one["steps"]) for one in found] == [("hidden2@test", [0, 2, 4])]
    values = {(one["metric"], one["layer"]) for one in done.result["final"][0]["metrics"]}
    assert {("nc5", "hidden1"), ("ood_auroc", "hidden2"), ("nc4", "hidden2@test"), ("nc0", None)} <= values
    known = done.theory()
    objective = known["prediction"]["objective"]
    assert (objective is None) == ("feature_decay" not in optimizer)
    verdict = done.result["verdict"][0]
    assert (verdict["gap"] is None) == ("feature_decay" not in optimizer)
    if objective is not None:
        quantities = {(row["quantity"], row["layer"]) for row in known["comparison"]}
        assert {("objective", None), ("feature_norm_sq", "hidden2"), ("weight_norm_sq", None)} <= quantities
        assert verdict["gap"] > 0
    picture = f"{service.url}/experiments/{done.id}/plot.json"
    drawn = httpx.get(picture, params={"panel": "nc1", "layer": "hidden2@test"}, trust_env=False)
    assert "hidden2" in drawn.text
    refused = httpx.get(picture, params={"layer": "hidden3@test"}, trust_env=False)
    assert refused.status_code == 422
    assert "hidden2@test" in refused.json()["errors"][0]["message"]


@pytest.mark.nightly
def test_several_processes_train_one_experiment(client):
    body = {**BODY, "optimizer": {"epochs": 2, "batch_size": 12}, "precision": "float64", "device": "cpu"}
    one, two = (client.submit({**body, "devices": n}).wait(progress=False, timeout_seconds=300) for n in (1, 2))
    finals = [{(m["metric"], m["layer"]): m["value"] for m in r.result["final"][0]["metrics"]} for r in (one, two)]
    assert finals[1]["objective", None] == pytest.approx(finals[0]["objective", None], rel=1e-10)
