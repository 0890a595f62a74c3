"""The section "A remote server" of the page on operations: the server is away for a while in the midst of runs."""

import pytest
from far_away import FarAway, frozen, stopped, three_places


@pytest.fixture(scope="module")
def far_away(tmp_path_factory):
    """A server, a worker and flows in places of their own."""
    with three_places() as (places, _):
        yield FarAway(tmp_path_factory.mktemp("far"), places, rounds=1, seconds=1)


def test_runs_end_right_although_the_server_is_stopped_or_stands_still_in_the_midst_of_them(far_away):
    with far_away.running(limit=1):
        ended = far_away.outage("stopped", stopped, seconds=6, through_worker=1, called=1)
        ended += far_away.outage("frozen", frozen, seconds=15, through_worker=0, called=1)
    assert [(each.through, each.state, each.wrong) for each in ended] == [
        ("worker", "Degraded", []),
        ("called", "Degraded", []),
        ("called", "Degraded", []),
    ]
    for each in ended:
        assert "was away for" in each.noticed
        assert "published late" in each.noticed
        assert "lost" not in each.noticed
