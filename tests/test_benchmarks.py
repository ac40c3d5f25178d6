"""Every benchmark at its smallest size: none may break unnoticed between two looks at the figures."""

import pkgutil
import subprocess
import sys

import pytest

import benchmarks


@pytest.mark.nightly
@pytest.mark.timeout(900)  # a minute of CPU time: five modules, a service started twice
def test_every_benchmark_runs_at_its_smallest_size():
    command = [sys.executable, "-m", "benchmarks", "--smallest"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=800)
    assert done.returncode == 0, done.stdout + done.stderr
    names = [module.name for module in pkgutil.iter_modules(benchmarks.__path__) if not module.name.startswith("_")]
    assert len(names) >= 5
    for name in names:
        assert f"│ {name}: " in done.stdout, done.stdout
