"""The verdict on a run, by comparing it with the run without faults."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from resilient_tasks.rehearsal.faults import plan_of
from resilient_tasks.rehearsal.judge import Ran, Verdict, judge, unstable

FAULTS = plan_of("fetch:1:before:503")
CLEAN = Ran((), values={"result": "3", "files/out.txt": "10 bytes"}, effects={"POST host:80/charge": 1})
SAME = dataclasses.replace(CLEAN, faults=FAULTS, struck=frozenset({"fetch:1:before:503"}))
OTHER = dataclasses.replace(SAME, values={**CLEAN.values, "result": "4"})
TWICE = dataclasses.replace(SAME, effects={"POST host:80/charge": 2})


def changed(run, **changes):
    return dataclasses.replace(run, **changes)


@pytest.mark.parametrize(
    ("run", "verdict"),
    [
        (SAME, Verdict.RECOVERED),
        (OTHER, Verdict.SILENT),
        (changed(OTHER, marks={"fetch: fallback.used": 1}), Verdict.DEGRADED),
        (changed(SAME, marks={"fetch: fallback.used": 1}), Verdict.RECOVERED),
        (changed(OTHER, ending="raised", error="ValueError: no"), Verdict.LOUD),
        (changed(OTHER, ending="died"), Verdict.LOUD),
        (changed(OTHER, ending="hung"), Verdict.HUNG),
        (changed(SAME, struck=frozenset()), Verdict.UNTOUCHED),
        (TWICE, Verdict.TWICE),
        (changed(TWICE, ending="raised"), Verdict.TWICE),
        (changed(SAME, values={"result": "3"}), Verdict.SILENT),
        (changed(SAME, values={**CLEAN.values, "files/more.txt": "1 bytes"}), Verdict.SILENT),
    ],
)
def test_a_run_gets_its_verdict(run, verdict):
    assert judge(CLEAN, run).verdict is verdict


def test_the_reason_names_the_part_that_differs_and_both_values():
    assert judge(CLEAN, OTHER).why == "result is 4, 3 without faults"


@pytest.mark.parametrize(
    ("marks", "verdict"),
    [
        ({"load: rows.quarantined": 3}, Verdict.SILENT),
        ({"load: rows.quarantined": 4}, Verdict.DEGRADED),
        ({"load: rows.quarantined": 3, "fetch: fallback.used": 1}, Verdict.DEGRADED),
        ({}, Verdict.SILENT),
    ],
)
def test_a_mark_that_the_run_without_faults_has_too_explains_no_difference(marks, verdict):
    clean = changed(CLEAN, marks={"load: rows.quarantined": 3})
    assert judge(clean, changed(OTHER, marks=marks)).verdict is verdict


def test_what_differs_between_two_runs_without_faults_is_never_called_silent():
    ignored = unstable(CLEAN, changed(CLEAN, values={**CLEAN.values, "result": "5"}))
    assert ignored == {"result"}
    assert judge(CLEAN, OTHER, ignored).verdict is Verdict.RECOVERED


def test_parts_below_an_ignored_path_are_not_compared():
    run = changed(SAME, values={**CLEAN.values, "result['at'].year": "2026"})
    assert judge(CLEAN, run, frozenset({"result['at']"})).verdict is Verdict.RECOVERED
    assert judge(CLEAN, run, frozenset({"result['a']"})).verdict is Verdict.SILENT


def test_a_pattern_ignores_the_paths_that_it_matches():
    assert unstable(CLEAN, CLEAN, ["files/*"]) == {"files/out.txt"}


def test_a_line_that_wrong_data_repeats_is_other_data_and_no_second_action():
    clean = changed(CLEAN, effects={"files/out.txt has the line 'a'": 1})
    wrong = plan_of("fetch:1:data:duplicate")
    run = changed(
        OTHER, faults=wrong, struck=frozenset({wrong[0].token}), effects={"files/out.txt has the line 'a'": 2}
    )
    assert judge(clean, run).verdict is Verdict.SILENT
    again = changed(run, faults=FAULTS, struck=SAME.struck)
    assert judge(clean, again).verdict is Verdict.TWICE


@given(st.dictionaries(st.text("ab.[", max_size=3), st.text("xy", max_size=1), max_size=4))
def test_a_run_with_the_data_of_the_clean_one_has_recovered(values):
    clean = changed(CLEAN, values=values)
    assert judge(clean, changed(SAME, values=dict(reversed(values.items())))).verdict is Verdict.RECOVERED


@given(
    st.dictionaries(st.sampled_from(["result", "files/a", "files/b"]), st.sampled_from("xy"), min_size=1),
    st.dictionaries(st.sampled_from(["result", "files/a", "files/b"]), st.sampled_from("xy"), min_size=1),
)
def test_without_marks_a_run_that_completes_with_other_data_is_silent(values, others):
    verdict = judge(changed(CLEAN, values=values), changed(SAME, values=others)).verdict
    assert verdict is (Verdict.RECOVERED if values == others else Verdict.SILENT)


@pytest.mark.parametrize(("folder", "end"), [("files/parts/", ".parquet"), ("result[", "]")])
def test_a_name_that_is_new_in_each_run_is_never_called_silent(folder, end):
    first, second, third = (
        changed(CLEAN, values={**CLEAN.values, f"{folder}{name}{end}": "1 bytes"}) for name in ("a1", "b2", "c3")
    )
    ignored = unstable(first, second)
    run = changed(SAME, values=third.values)
    assert judge(first, run, ignored).verdict is Verdict.RECOVERED
    without_a_known_file = {path: value for path, value in third.values.items() if path != "files/out.txt"}
    assert judge(first, changed(run, values=without_a_known_file), ignored).verdict is Verdict.SILENT


@pytest.mark.parametrize(
    "path",
    [
        "files/models/{}/artifacts/model.bin",
        "files/models/{}/model.bin",
        "files/runs.db[{}]",
        "result['models'][{}].error",
    ],
)
def test_what_is_below_a_name_that_is_new_in_each_run_is_never_called_silent(path):
    first, second, third = (
        changed(CLEAN, values={**CLEAN.values, path.format(name): "1", path.partition("{")[0] + "known": "1"})
        for name in ("a1", "b2", "c3")
    )
    ignored = unstable(first, second)
    assert judge(first, changed(SAME, values=third.values), ignored).verdict is Verdict.RECOVERED
    assert path.partition("{")[0] + "*" in ignored


def test_a_file_that_only_one_run_has_does_not_hide_those_beside_its_folder():
    first = changed(CLEAN, values={**CLEAN.values, "files/models/a/one.txt": "1", "files/models/a/both.txt": "1"})
    second = changed(CLEAN, values={**CLEAN.values, "files/models/a/both.txt": "1"})
    ignored = unstable(first, second)
    assert ignored == {"files/models/a/one.txt", "files/models/a/*"}
