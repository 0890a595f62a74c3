"""Rules that warn, `raise_warning=True`: they count in events, reports and the artifact; their rows are passed on."""

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pandera.polars as pap
import polars as pl
import pytest

from resilient_tasks import InvalidData, Retry, RunReport, Split, Validate
from resilient_tasks.observe.quality import DataQuality
from resilient_tasks.validation.backend import Finding
from resilient_tasks.validation.report import Report
from tests.policies.conftest import Library


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


@pytest.fixture
def late():
    """`late(frame, bad)` makes a split as a schema with a rule that warns would: the last two rows are late."""

    def made(frame, bad=0):
        told = Finding("delay", "le(60)", np.arange(len(frame) - 2, len(frame)), [90, 99].copy)
        failed = Finding("n", "greater_than(0)", np.arange(bad), ([0] * bad).copy)
        report = Report(len(frame), bad, (), (failed,) if bad else (), (told,))
        return Split(frame[bad:], frame[:bad], report)

    return made


@pytest.fixture(params=["pandas", "polars"])
def warning(request):
    """A library whose schema has a rule that refuses, `n > 0`, and one that warns, `n < 10`."""
    module, make = (pa, pd.DataFrame) if request.param == "pandas" else (pap, pl.DataFrame)
    rules = [module.Check.gt(0), module.Check.lt(10, raise_warning=True)]
    return Library(make, module.DataFrameSchema({"n": module.Column(int, rules), "who": module.Column(str)}))


@pytest.mark.parametrize("on_invalid", ["raise", "quarantine", "drop", "warn"])
def test_their_rows_are_passed_on_and_counted(drive, warning, quarantine, resilient_events, on_invalid):
    policy = Validate(output=warning.schema, on_invalid=on_invalid, quarantine=quarantine)
    frame = drive(warning.frame, validate=policy)(1, 20, 30)
    assert warning.numbers(frame) == [1, 20, 30]
    (event,) = resilient_events
    assert (event.name, event.rows, event.reasons) == ("rows.warned", 3, {"n: less_than(10)": 2})
    assert quarantine.list() == []


def test_bad_rows_are_warned_about(drive, warning, resilient_events):
    frame = drive(warning.frame, validate=Validate(output=warning.schema, on_invalid="drop"))(0, 1, 20)
    assert warning.numbers(frame) == [1, 20]
    assert resilient_events.names == ["rows.invalid", "rows.warned"]
    assert resilient_events[0].invalid == 1


def test_they_do_not_count_towards_a_limit(drive, warning):
    policy = Validate(output=warning.schema, on_invalid="drop", max_invalid={"*": 0, "less_than(10)": 0})
    assert warning.numbers(drive(warning.frame, validate=policy)(20, 30)) == [20, 30]


def test_the_split_has_them_in_its_report(drive, warning):
    parts = drive(warning.frame, validate=Validate(output=warning.schema, on_invalid="branch"))(1, 20)
    assert parts.report.warned == {("n", "less_than(10)"): 1}
    assert (warning.numbers(parts.good), len(parts.bad)) == ([1, 20], 0)


def test_a_refused_batch_passes_nothing_on(drive, library, late, resilient_events):
    attempts = iter([late(library.frame(0, 0, 1), bad=2), late(library.frame(1, 2, 3))])
    policy = Validate(output=library.schema, on_invalid="branch", max_invalid=1)
    drive(lambda: next(attempts), validate=policy, retry=Retry(on=InvalidData, wait=0))()
    told = [event for event in resilient_events if event.name == "rows.warned"]
    assert [(event.rows, event.attempt) for event in told] == [(3, 2)]


def test_each_of_several_frames_has_its_own(drive, library, late, resilient_events):
    policy = Validate(output={"train": library.schema, "test": library.schema}, on_invalid="branch")
    drive(lambda: {"train": library.frame(1), "test": late(library.frame(1, 2, 3))}, validate=policy)()
    (event,) = resilient_events
    assert event.sentence() == "test: rules that warn, 3 rows checked: delay: le(60) ×2"


def test_report_and_artifact_name_them(drive, library, late, resilient_events):
    def fetch():
        return late(library.frame(1, 2, 3))

    drive(fetch, validate=Validate(output=library.schema, on_invalid="branch"))()
    said = "rules that warn: "
    (remark,) = RunReport(resilient_events).remarks
    assert remark.startswith(said)
    assert remark.endswith("fetch delay: le(60) ×2")
    quality = DataQuality(resilient_events)
    assert quality.is_worth_a_look
    assert quality.headline() == remark
    text = quality.markdown()
    assert text.startswith("## Rules that warn: these rows went on")
    assert "| `delay: le(60)` | 2 | 3 |" in text


def test_beside_quarantined_rows_the_artifact_has_both(drive, library, late, quarantine, resilient_events):
    policy = Validate(output=library.schema, on_invalid="branch", quarantine=quarantine)
    drive(lambda: late(library.frame(0, 1, 2), bad=1), validate=policy)()
    quality = DataQuality(resilient_events)
    assert quality.headline().startswith("1 of 3 rows quarantined (n: greater_than(0)) in ")
    assert "; rules that warn: " in quality.headline()
    assert "`n: greater_than(0)`" in quality.markdown().partition("## Rules that warn")[0]


def test_a_rule_with_one_result_for_all_rows_counts_none(drive, library, resilient_events):
    frame = library.frame(1)
    parts = Split(frame, frame[:0], Report(1, warnings=(Finding("*", "enough", np.arange(0)),)))
    drive(lambda: parts, validate=Validate(output=library.schema, on_invalid="branch"))()
    assert resilient_events[0].sentence() == "rules that warn, 1 row checked: *: enough"
    assert "| `*: enough` | the frame | 1 |" in DataQuality(resilient_events).markdown()
