"""docs/migrating.md: what stands after is made and run, and behaves as the page says what stood before does."""

import contextlib
import logging
import re
import time
import warnings
from pathlib import Path
from typing import NamedTuple

import pandera.pandas as pa
import prefect
import prefect.tasks
import pytest
import tenacity

import resilient_tasks
from resilient_tasks.testing import away_from_people

PAGE = Path(resilient_tasks.__file__).parents[1] / "docs" / "migrating.md"


class Row(NamedTuple):
    before: str
    after: str
    changes: str


def _rows():
    cells = [
        re.split(r" \| ", line[2:-2])
        for line in PAGE.read_text(encoding="utf-8").splitlines()
        if line[:3] == "| `" or line[:3] == "| a"
    ]
    return [Row(*row) for row in cells]


ROWS = _rows()
DECORATORS = re.compile(r"`(@.*)`")
WITH_LIBRARY = [row for row in ROWS if re.match(r"`@(tenacity|stamina|backoff)\.", row.before)]


def _is_busy(error):
    return isinstance(error, ConnectionError)


def _around(cell, fn):
    """Put the decorator of a cell around a function."""
    known = {**vars(tenacity), **{name: getattr(resilient_tasks, name) for name in resilient_tasks.__all__}}
    known |= {"task": prefect.task, "flow": prefect.flow, "exponential_backoff": prefect.tasks.exponential_backoff}
    known |= {"tenacity": tenacity, "is_busy": _is_busy, "last_good": lambda: None, "send_to_slack": lambda *_: None}
    known |= {
        "Orders": pa.DataFrameSchema({"amount": pa.Column(float, pa.Check.gt(0))}),
        "logger": logging.getLogger("x"),
    }
    for library in ("stamina", "backoff"):
        if f"@{library}." in cell:
            known[library] = pytest.importorskip(library)
    return eval(DECORATORS.fullmatch(cell)[1].removeprefix("@"), known)(fn)  # what the page shows


class _Asked:
    """A function that always fails, or that has no result, and how often it was asked."""

    __name__ = __qualname__ = "fetch"

    def __init__(self, cell):
        self.answers = "lambda result" in cell
        self.times = 0

    def __call__(self):
        self.times += 1
        if self.times > 100:
            raise SystemExit  # a loop without end: no Exception, so that nothing repeats it
        if not self.answers:
            raise ConnectionError("refused")


def _called(cell, waits):
    """Call what the cell decorates; return how often it was asked, the waits, and how it ended."""
    asked = _Asked(cell)

    def fetch():
        return asked()

    del waits[:]
    try:
        ended = repr(_around(cell, fetch)())
    except SystemExit:
        ended = "never"
    except Exception as error:
        ended = type(error).__name__
    return asked.times, list(waits), ended


@pytest.fixture
def waits(resilient_clock, monkeypatch):
    """The waits of either: this library's on its virtual clock, the others' by time.sleep."""
    monkeypatch.setattr(time, "sleep", resilient_clock.waits.append)
    with away_from_people():
        yield resilient_clock.waits


def test_the_page_has_a_table_for_each_that_people_come_from():
    assert len(ROWS) > 30
    assert {row.before.partition(".")[0] for row in WITH_LIBRARY} == {"`@tenacity", "`@stamina", "`@backoff"}


@pytest.mark.parametrize(
    "row", [row for row in ROWS if DECORATORS.fullmatch(row.after)], ids=lambda row: row.after[:90]
)
def test_what_stands_after_can_be_written_without_a_warning(row):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        _around(row.after, lambda: None)


@pytest.mark.parametrize(
    "row", [row for row in ROWS if re.match(r"`@(task|flow)", row.before)], ids=lambda row: row.before[:90]
)
def test_prefects_own_decorator_makes_as_many_attempts(row):
    before, after = (_around(cell, lambda: None) for cell in (row.before, row.after))
    policy = re.search(r"retry=(?:Retry\(attempts=)?(\d+)", row.after)
    assert (before.retries or 0) + 1 == (int(policy[1]) if policy else 1)
    assert not after.retries


@pytest.mark.parametrize(
    "row",
    [row for row in WITH_LIBRARY if "without end" not in row.changes and "stop_after_delay" not in row.before],
    ids=lambda row: row.before[:90],
)
def test_both_make_as_many_attempts_with_the_same_waits(row, waits):
    times, before, _ = _called(row.before, waits)
    times_after, after, _ = _called(row.after, waits)
    assert times == times_after
    if "jitter" not in row.changes and _has_no_jitter(row.before):
        assert [round(wait, 6) for wait in before if wait] == [wait for wait in after if wait]


def _has_no_jitter(before):
    return "tenacity" in before or "jitter=None" in before or "wait_jitter=0" in before


@pytest.mark.parametrize(
    ("beginning", "before", "after"),
    [
        ("`@tenacity.retry`", "never", "ConnectionError"),
        ("`@tenacity.retry(stop=stop_after_attempt(5))`", "RetryError", "ConnectionError"),
        ("`@tenacity.retry(stop=stop_after_attempt(5), wait=", "ConnectionError", "ConnectionError"),
        ("`@tenacity.retry(stop=stop_after_attempt(3), retry=retry_if_result", "RetryError", "ResultRejected"),
        ("`@backoff.on_predicate(", "None", "ResultRejected"),
        ("`@backoff.on_exception(backoff.expo, OSError, max_tries=3, raise_on_giveup", "None", "None"),
        ("`@stamina.retry(on=OSError, attempts=5)", "ConnectionError", "ConnectionError"),
    ],
)  # fmt: skip
def test_the_last_failure_ends_as_the_page_says(beginning, before, after, waits):
    (row,) = [row for row in ROWS if row.before.startswith(beginning)]
    assert _called(row.before, waits)[2] == before
    assert _called(row.after, waits)[2] == after


def test_staminas_defaults_are_those_that_the_page_names():
    retry = pytest.importorskip("stamina").retry
    assert (retry.__kwdefaults__["attempts"], retry.__kwdefaults__["timeout"]) == (10, 45.0)


def test_the_others_retry_a_bug_and_this_library_does_not(waits):
    asked = []

    def fetch():
        asked.append(1)
        raise KeyError("tailnum")

    for cell in ("`@tenacity.retry(stop=stop_after_attempt(5))`", "`@resilient(retry=Retry(attempts=5, wait=0))`"):
        with contextlib.suppress(Exception):
            _around(cell, fetch)()
    assert len(asked) == 5 + 1
