"""How the benchmark of every part judges what it has measured."""

from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent / "benchmarks"


@pytest.fixture(scope="module")
def judging():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from bench import table

        yield table


def row(judging, figures, *goals, **more):
    return judging.Row("a retry", "sync", figures, list(goals), **more)


def test_the_fastest_peer_is_neither_ours_nor_by_hand_nor_one_that_does_less(judging):
    figures = {"ours": 1.0, "hand-written": 1.0, "bare function": 0.1, "control again": 1.0, "grit": 3.0, "less": 2.0}
    assert row(judging, figures, also_ran=["less"]).fastest == "grit"


def test_a_goal_is_missed_only_by_more_than_two_equal_contestants_differ(judging):
    goal = judging.Goal(judging.FASTEST, 1.0)
    quiet = row(judging, {"ours": 1.04, "grit": 1.0, "hand-written": 1.0, "control again": 1.0}, goal)
    noisy = row(judging, {"ours": 1.04, "grit": 1.0, "hand-written": 1.0, "control again": 1.05}, goal)
    assert [each.met for each in judging.verdicts([quiet, noisy])] == [False, True]


def test_a_figure_that_is_to_be_large_is_missed_from_below(judging):
    goal = judging.Goal(judging.ITSELF, 100.0, at_least=True)
    few, many = row(judging, {"ours": 50.0}, goal), row(judging, {"ours": 100.0}, goal)
    found = list(judging.verdicts([few, many]))
    assert [(each.met, each.by) for each in found] == [(False, 2.0), (True, 1.0)]


def test_what_is_missed_is_named_with_its_ratio_and_its_goal(judging):
    (verdict,) = judging.verdicts([row(judging, {"ours": 3.0, "grit": 1.5}, judging.Goal(judging.FASTEST, 1.0))])
    assert verdict.says == "a retry, sync: 2.00 x fastest peer (grit) (goal: at most 1)"


def test_a_goal_beside_a_contestant_that_did_not_run_is_not_judged(judging):
    assert list(judging.verdicts([row(judging, {"ours": 3.0}, judging.Goal("pebble", 1.0))])) == []


def test_a_row_comes_back_from_its_json(judging):
    one = row(judging, {"ours": 3.0}, judging.Goal(judging.ITSELF, 2.0), also_ran=["less"], remark="on the wall")
    assert judging.Row.from_json(one.as_json()) == one


def test_every_library_of_the_table_is_pinned_and_has_a_line_about_what_it_leaves_out():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(BENCHMARKS))
        from bench.notes import LEFT_OUT
        from bench.peers import LIBRARIES
    pinned = (BENCHMARKS / "bench" / "requirements.txt").read_text(encoding="utf-8").split()
    assert [line.partition("==")[0] for line in pinned] == sorted(LEFT_OUT)
    assert set(LEFT_OUT) == {*LIBRARIES, "pebble", "loky"}
