"""The contents of a report."""

import pickle

import hypothesis
import numpy as np
import pandas as pd
import pandera.pandas as pa
import pandera.polars as ppl
import polars as pl
import pytest
from hypothesis import strategies as st

from resilient_tasks.validation.backend import WHOLE_FRAME, Finding
from resilient_tasks.validation.report import Report
from resilient_tasks.validation.split import split

RULES = [(column, f"rule {number}") for column in ("a", "b", WHOLE_FRAME) for number in range(30)]


def text_of(rule):
    column, check = rule
    return check if column == WHOLE_FRAME else f"{column} {check}"


def test_each_bad_row_has_its_reasons_as_one_text():
    Trips = pa.DataFrameSchema({"hour": pa.Column(int, pa.Check.ge(0)), "tail": pa.Column(str)})
    frame = pd.DataFrame({"hour": [1, -1, -2, 3], "tail": ["a", None, "b", None]}, index=[7, 7, 7, 7])
    assert split(frame, Trips).report.texts == [
        "hour greater_than_or_equal_to(0); tail is null",
        "hour greater_than_or_equal_to(0)",
        "tail is null",
    ]


@pytest.mark.parametrize(("library", "of"), [(pd, pa), (pl, ppl)], ids=["pandas", "polars"])
def test_there_is_no_text_where_every_row_is_good(library, of):
    assert split(library.DataFrame({"a": [1]}), of.DataFrameSchema({"a": of.Column(int)})).report.texts == []


@hypothesis.settings(deadline=None)
@hypothesis.given(st.lists(st.tuples(st.sampled_from(RULES), st.sets(st.integers(0, 9), min_size=1)), max_size=120))
def test_texts_name_the_broken_rules_however_many_there_are(found):
    findings = tuple(Finding(*rule, np.array(sorted(rows))) for rule, rows in found)
    report = Report(10, findings=findings)
    expected = [{text_of((why.column, why.check)) for why in reasons} for _, reasons in report.rows_failed]
    assert [set(text.split("; ")) for text in report.texts] == expected
    assert all(len(set(text.split("; "))) == len(text.split("; ")) for text in report.texts)


def test_warnings_are_counted_apart_from_bad_rows():
    late = Finding("delay", "le(60)", np.array([0, 2]), [70, 90].copy)
    late_too = Finding("delay", "le(60)", np.array([2, 3]), [90, 99].copy)
    enough = Finding(WHOLE_FRAME, "enough", np.arange(0))
    report = Report(4, warnings=(enough, late, late_too))
    assert report.warned == {("delay", "le(60)"): 3, (WHOLE_FRAME, "enough"): 0}
    assert (report.reasons, report.rows_failed, report.texts) == ({}, (), [])
    assert report.summary() == "0 of 4 rows invalid; warned: delay le(60) ×3, enough"


def test_warnings_are_pickled_and_redacted_like_findings():
    warning = Finding("password", "short", np.array([1]), ["hunter22"].copy)
    report = pickle.loads(pickle.dumps(Report(4, warnings=(warning,))))
    (back,) = report.warnings
    assert list(back.values) == ["hunter22"]
    assert "hunter22" not in str(report.__redacted__().warnings[0].values)
