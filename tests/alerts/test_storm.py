"""A small storm: several processes fail at once, and people hear of it once, with counts that add up."""

from pathlib import Path

import pytest

from resilient_tasks.testing import FakeSlack


@pytest.fixture(scope="module")
def storming():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(Path(__file__).parents[1] / "benchmarks"))
        import storming

        return storming


@pytest.fixture(scope="module")
def over(storming, tmp_path_factory):
    """Four processes that fail 400 times in 3 s, and share a file."""
    file = tmp_path_factory.mktemp("storm") / "incidents.db"
    with FakeSlack(channels=["#ml-alerts"]) as slack:
        return storming.storm(slack, f"sqlite:///{file}", failures=400, seconds=3, processes=4, cooldown=1.5)


def test_each_kind_is_told_once_when_it_begins_and_once_when_it_is_over(over):
    assert (over.firsts, over.recoveries, len(over.told)) == (3, 3, 3)


def test_every_failure_is_told_of(over):
    assert over.total == over.failures == 400
    assert {told.error: told.totals for told in over.told.values()} == {
        error: [number] for error, number in over.kinds.items()
    }


def test_there_is_at_most_one_digest_a_kind_in_a_window_and_nothing_is_told_twice(over):
    assert list(over.problems()) == []
    assert over.events["notify.sent"] == over.firsts + over.digests + over.recoveries


def test_an_account_that_does_not_add_up_is_noticed(storming, over):
    import copy

    wrong = copy.deepcopy(over)
    next(iter(wrong.told.values())).totals[0] -= 1
    assert list(wrong.problems())
    wrong = copy.deepcopy(over)
    next(iter(wrong.told.values())).firsts += 1
    assert list(wrong.problems())
