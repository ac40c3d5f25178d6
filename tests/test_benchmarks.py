"""Every benchmark at its smallest size: none may break unnoticed between two looks at the figures; their record."""

import pkgutil
import subprocess
import sys

import pytest
import torch

import benchmarks
from benchmarks import Growth, Row, _misses, _page, _record, shortfall
from benchmarks.__main__ import main

FASTER = Row.of_turns("step", [2.0, 1.0, 4.0], [10.0, 10.0, 10.0], "µs", ">= 4", "numpy")
"""Medians 2 and 10: a ratio of 5, its quartiles 2.5 and 10."""
SMALLER = Row.of_goal("memory", [550.0], 500.0, "MB")
TURNS = [[9.0, 7.0, 8.0], [20.0, 20.0, 25.0], [200.0, 260.0, 200.0]]
LINEAR = Growth.of_turns("reading", "points", (1.0, 10.0, 100.0), TURNS, "ms", 1.1)
"""Least 7, 20, 200; exponents of the turns 1, 1.11 and 0.90."""
STEEP = LINEAR._replace(values=(1.0, 10.0, 200.0), spread=(1.25, 1.35))


@pytest.fixture(autouse=True)
def usual_machine(monkeypatch):
    """As fast as the one that goals in seconds are of, without a process that is timed."""
    monkeypatch.setattr(benchmarks, "cpu_seconds_of", lambda *command: benchmarks.YARDSTICK)


def record_of(*results):
    return _record.of_module(results, 1.0)


def test_a_ratio_says_how_far_it_is_from_its_goal():
    assert FASTER.ratio == 5
    assert FASTER.spread == (2.5, 10.0)
    assert FASTER.kept
    assert SMALLER.ratio == 1.1
    assert not SMALLER.kept
    assert FASTER._replace(target=">= 6").kept  # within the spread, whose better end is 10
    assert not FASTER._replace(target=">= 11").kept
    assert shortfall(">= 4", 2.0) == 2
    assert shortfall("<= 4", 2.0) == 0.5
    assert LINEAR.values == (7.0, 20.0, 200.0)
    assert LINEAR.slope == pytest.approx(1)
    assert LINEAR.spread == pytest.approx((0.903, 1.114), abs=1e-3)
    assert LINEAR._replace(values=(1.0, 10.0, 150.0)).kept  # within the spread, whose better end is 0.9
    assert not STEEP.kept


@pytest.mark.parametrize(("takes", "goal"), [(1, 2.0), (3, 6.0), (0.5, 2.0)])
def test_a_goal_in_seconds_is_longer_on_a_slower_machine_and_never_shorter(monkeypatch, takes, goal):
    monkeypatch.setattr(benchmarks, "cpu_seconds_of", lambda *command: takes * benchmarks.YARDSTICK)
    row = Row.of_seconds("start", [5.0], 2.0, "s")
    assert (row.reference, row.kept) == (goal, goal >= 5)


def test_a_miss_needs_a_reason_and_covers_no_more_than_was_measured(monkeypatch):
    kept, missed = record_of(FASTER, SMALLER)["rows"]
    assert _record.unexplained("x", kept) is None
    assert "nothing explains it" in _record.unexplained("x", missed)
    monkeypatch.setitem(_misses.MISSES, "x: memory", _misses.Miss(1.1, "torch"))
    assert _record.unexplained("x", missed) is None
    (worse,) = record_of(SMALLER._replace(ours=700.0))["rows"]
    assert "by more than is explained" in _record.unexplained("x", worse)
    (steep,) = record_of(STEEP)["growth"]
    assert "nothing explains it" in _record.unexplained("x", steep)
    monkeypatch.setitem(_misses.MISSES, "x: reading", _misses.Miss(1.3, "sorted"))
    assert _record.unexplained("x", steep) is None


@pytest.mark.parametrize(
    ("now", "is_worse"),
    [
        (FASTER, False),
        (FASTER._replace(ours=5.0, spread=(1.8, 2.2)), False),  # 2.2 is within 15 % of what was the worst quartile
        (FASTER._replace(ours=10.0, spread=(0.9, 1.1)), True),
        (FASTER._replace(ours=10.0, spread=(0.9, 1.1), against="vmap"), False),
        (SMALLER._replace(spread=(1.2, 1.3)), False),
        (SMALLER._replace(ours=700.0, spread=(1.4, 1.4)), True),
        (LINEAR._replace(values=(1.0, 10.0, 120.0)), False),
        (LINEAR._replace(values=(1.0, 10.0, 200.0)), True),
    ],
)
def test_what_became_worse_beyond_the_spread_is_found(now, is_worse):
    before = record_of(FASTER, SMALLER, LINEAR)
    assert bool(_record.regressions("x", record_of(now), before)) is is_worse


def test_the_page_names_every_row_and_every_miss():
    page = _page.page({"ufm": record_of(FASTER, SMALLER, LINEAR, FASTER._replace(name="late", target=">= 6"))})
    for part in (
        "| late | 2 µs | numpy: 10 µs | 5 | 2.5 … 10 | ≥ 6 | within the spread |",
        "| step | 2 µs | numpy: 10 µs | 5 | 2.5 … 10 | ≥ 4 | kept |",
        "- ufm: memory: not explained.",
        "| 1.00 | 0.90 … 1.11 | ≤ 1.1 | kept |",
    ):
        assert part in page


def test_unknown_names_and_options_are_named(capsys):
    assert main(["--wirte"]) == main(["ufn"]) == 2
    assert "unknown option --wirte; there are --write" in capsys.readouterr().out


@pytest.mark.nightly
@pytest.mark.skipif(torch.cuda.is_available(), reason="with a GPU the benchmark itself runs")
def test_without_a_gpu_a_line_says_so(capsys):
    assert main(["gpu"]) == 0
    assert capsys.readouterr().out.split("\n", 1)[1].strip() == "gpu: all of it: not run: torch sees no GPU here"


@pytest.mark.nightly
@pytest.mark.timeout(900)  # minutes of CPU time: every module, services among them
def test_every_benchmark_runs_at_its_smallest_size():
    command = [sys.executable, "-m", "benchmarks", "--smallest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
    assert len(names) >= 5
    for name in names:
        assert f"│ {name}: " in done.stdout, done.stdout
