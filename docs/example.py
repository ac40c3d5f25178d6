# %% [markdown]
# # ncore from a notebook
# Cells as editors and Jupytext understand them; `tests/test_docs.py` runs this file against a real service.
# Start one by `ncore up`; `NCORE_URL` names another than http://127.0.0.1:8000.

# %%
from pathlib import Path

from ncore.client import Client

client = Client()

# %% [markdown]
# What does the theory say before anything is run?
# The plain model without bias: c = K√(nλ_Wλ_H) < 1, an orthogonal frame.

# %%
prediction = client.theory("fig1")
print(prediction["regime"], prediction["objective"])

# %% [markdown]
# Run it, three seeds at once. `wait` shows a progress bar (`progress=False`: none).

# %%
experiment = client.submit("fig1", {"name": "from a notebook", "tags": ["example"], "optimizer.steps": 20_000}).wait()
for verdict in experiment.result["verdict"]:
    print(verdict["seed"], verdict["reached"], verdict["gap"])

# %% [markdown]
# The series as a frame: of pandas where it is installed, of polars, or as a list of dicts ("records").

# %%
points = experiment.metrics("records", metric=["objective", "nc1", "nc2_of"], max_points=40)
for row in points[-3:]:
    print(row)

# %% [markdown]
# Measured beside predicted.

# %%
for row in experiment.theory()["comparison"][:3]:
    print(f"{row['quantity']:16} {row['measured']:.10f} {row['predicted']:.10f} {row['gap']:+.1e}")

# %% [markdown]
# The figure for the paper, and one panel for the slides.

# %%
experiment.plot("fig1.pdf")
experiment.plot("nc1.svg", panel="nc1", theme="dark")

# %% [markdown]
# Follow a longer run live, and stop when it is good enough.

# %%
longer = client.submit("fig2", {"optimizer.steps": 10_000_000, "seeds": [0], "tags": ["example"]})
for kind, data in longer.events():
    if kind != "measurement":
        continue
    values = {(one["metric"], one["layer"]): one["value"] for one in data["metrics"]}
    if values["nc2_etf", "h1"] is not None and values["nc2_etf", "h1"] < 1e-6:
        print(f"a simplex ETF to 1e-6 at step {data['step']}")
        longer.cancel()
        break

# %% [markdown]
# A sweep: how the objective depends on λ_H. All are queued at once; each is waited for.

# %%
shared = {"optimizer.steps": 5_000, "seeds": [0], "tags": ["example"]}
sweep = [client.submit("fig1", {**shared, "regularization.features": decay}) for decay in (0.002, 0.005, 0.01)]
for one in sweep:
    final = one.wait(progress=False).theory()["comparison"][0]
    print(one.data["spec"]["regularization"]["features"], final["measured"], final["predicted"])

# %% [markdown]
# Everything in one file, to be run again elsewhere: `ncore run spec.json`.

# %%
print(experiment.bundle(Path("from-a-notebook.zip")))
