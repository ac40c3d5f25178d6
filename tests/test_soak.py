"""The short form of `make soak`."""

import pytest
from soak import soak


@pytest.mark.slow
def test_nothing_is_lost_while_everything_is_killed(tmp_path, tmp_path_factory):
    from conftest import started_postgresql

    with started_postgresql(tmp_path_factory) as database:
        done = soak(database, tmp_path, experiments=40, kills=14, length=0.4, seed=5)
    assert sum(done.values()) - done["attempts"] == 14
    assert done["attempts"] > 40
