"""The form of the corpus of `make kinds`, without its clients: each case says what it wants and why."""

import ast
import re
import sys
from collections import Counter
from pathlib import Path

import pytest

from resilient_tasks import Kind

FOLDER = Path(__file__).parent / "benchmarks" / "kinds"
FILES = sorted(FOLDER.glob("*.py"))


@pytest.fixture(scope="module")
def kinds():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER.parent))
        import kinds

        return kinds


@pytest.fixture(scope="module")
def table(kinds):
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER.parent))
        import kinds_table

        return kinds_table


def test_the_corpus_is_broad(kinds):
    assert len(kinds.CASES) >= 240
    assert len({case.library for case in kinds.CASES}) >= 50


def test_each_case_has_a_name_of_its_own(kinds):
    counts = Counter(case.name for case in kinds.CASES)
    assert [name for name, count in counts.items() if count > 1] == []


def test_each_case_says_what_happens_and_why_it_is_of_its_kind(kinds):
    assert [case.name for case in kinds.CASES if not (case.what.strip() and case.reason.strip() and case.error)] == []


def test_no_case_accepts_a_kind_that_is_retried_beside_one_that_is_not(kinds):
    for case in kinds.CASES:
        assert case.wanted, case.name
        assert case.wanted <= set(Kind), case.name
        assert case.wanted <= kinds.RETRIED or not case.wanted & kinds.RETRIED, case.name


def test_errors_to_retry_and_errors_not_to_retry_are_in_balance(kinds):
    share = sum(case.retried for case in kinds.CASES) / len(kinds.CASES)
    assert 0.45 <= share <= 0.65


def test_about_a_third_is_held_out_by_whole_libraries(kinds):
    held_out = {case.library for case in kinds.CASES if case.held_out}
    assert held_out.isdisjoint(case.library for case in kinds.CASES if not case.held_out)
    assert 0.25 <= len(held_out) / len({case.library for case in kinds.CASES}) <= 0.42


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_of_cases_imports_no_client_before_a_case_runs(path):
    for node in ast.parse(path.read_text(encoding="utf-8")).body:
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module]
        else:
            continue
        for name in names:
            assert name.partition(".")[0] in {*sys.stdlib_module_names, "resilient_tasks"}, f"{path.name}: {name}"


def test_each_client_is_pinned_by_name_and_version():
    lines = (FOLDER / "requirements.txt").read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if not re.fullmatch(r"[\w.-]+(\[\w+\])?==[\w.+!-]+", line)] == []


def test_an_error_of_another_class_says_nothing_of_the_classifier(kinds):
    other = _case(kinds, "TimeoutError", Kind.TIMEOUT, fail=lambda: {}["tailnum"])
    silent = _case(kinds, "TimeoutError", Kind.TIMEOUT, fail=lambda: None)
    for case in (other, silent):
        with pytest.raises(kinds.NotRaised):
            kinds.error_of(case)


def test_one_permanent_error_that_would_be_retried_fails_the_command(kinds, table):
    right = [_judged(kinds, table, Kind.PERMANENT, Kind.PERMANENT)] * 999
    assert table.good_enough(right)
    assert not table.good_enough([*right, _judged(kinds, table, Kind.PERMANENT, Kind.TRANSIENT)])
    assert table.good_enough([*right, _judged(kinds, table, Kind.TRANSIENT, Kind.PERMANENT)])
    assert not table.good_enough([*right, *[_judged(kinds, table, Kind.TRANSIENT, Kind.PERMANENT)] * 30])
    assert not table.good_enough([])


def test_a_command_that_could_raise_only_half_of_the_errors_fails(kinds, table):
    right = [_judged(kinds, table, Kind.PERMANENT, Kind.PERMANENT)] * 99
    assert table.good_enough([*right, _judged(kinds, table, Kind.PERMANENT, None)])
    assert not table.good_enough([*right, *[_judged(kinds, table, Kind.PERMANENT, None)] * 99])


def test_what_could_not_be_raised_is_counted_apart(kinds, table):
    found = [_judged(kinds, table, Kind.PERMANENT, Kind.PERMANENT), _judged(kinds, table, Kind.TRANSIENT, None)]
    said = table.totals("All", found)
    assert "1 of 1 errors of 1 libraries right (100.0 %)" in said
    assert "1 could not be raised" in said


def _case(kinds, error, wanted, fail=None):
    return kinds.Case("library", error, "what", frozenset({wanted}), "reason", fail)


def _judged(kinds, table, wanted, got):
    return table.Judged(_case(kinds, "Error", wanted), got)
