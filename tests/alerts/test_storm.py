"""A small storm: several processes fail at once, one message is sent, and the counts add up."""

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


def test_each_kind_has_one_first_message_and_one_recovery(over):
    assert (over.firsts, over.recoveries, len(over.reports)) == (3, 3, 3)


def test_every_failure_is_reported(over):
    assert over.total == over.failures == 400
    assert {report.error: report.totals for report in over.reports.values()} == {
        error: [number] for error, number in over.kinds.items()
    }


def test_there_is_at_most_one_digest_per_kind_and_window_and_no_duplicate(over):
    assert list(over.problems()) == []
    assert over.events["notify.sent"] == over.firsts + over.digests + over.recoveries


def test_counts_that_do_not_add_up_are_noticed(storming, over):
    import copy

    wrong = copy.deepcopy(over)
    next(iter(wrong.reports.values())).totals[0] -= 1
    assert list(wrong.problems())
    wrong = copy.deepcopy(over)
    next(iter(wrong.reports.values())).firsts += 1
    assert list(wrong.problems())
