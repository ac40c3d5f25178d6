"""The short form of `make soak`."""

import pytest
from conftest import open_folder, started_postgresql
from soak import soak


@pytest.mark.nightly
def test_nothing_is_lost_while_everything_is_killed(tmp_path):
    with open_folder() as folder, started_postgresql(folder) as database:
        done = soak(database, tmp_path / "home", experiments=40, kills=14, length=0.4, seed=5)
    assert sum(done.values()) - done["attempts"] == 14
    assert done["attempts"] > 40
