"""Validate with on_invalid="branch": the caller gets the good rows and the bad ones, and decides."""

from typing import Any

import pandas as pd
import polars as pl
import pytest

from resilient_tasks import (
    Fallback,
    InvalidData,
    Ok,
    Pipeline,
    PolicyError,
    Quarantine,
    Retry,
    Split,
    Validate,
    resilient,
)
from resilient_tasks.validation.split import split


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


def test_the_caller_gets_good_and_bad_rows_and_the_report(drive, library, resilient_events):
    call = drive(library.frame, validate=Validate(output=library.schema, on_invalid="branch"))
    parts = call(1, 0, 3)
    assert isinstance(parts, Split)
    assert (library.numbers(parts.good), library.numbers(parts.bad)) == ([1, 3], [0])
    assert parts.report.invalid == 1
    (event,) = resilient_events
    assert (event.name, event.action, event.invalid) == ("rows.invalid", "split off", 1)


def test_it_is_a_split_even_if_every_row_is_good(drive, library, resilient_events):
    parts = drive(library.frame, validate=Validate(output=library.schema, on_invalid="branch"))(1, 2)
    assert (library.numbers(parts.good), len(parts.bad)) == ([1, 2], 0)
    assert resilient_events == []


def test_an_outcome_can_be_matched(drive, library):
    call = drive(library.frame, validate=Validate(output=library.schema, on_invalid="branch"))
    match call.outcome(1, 0):
        case Ok(Split(good=good, bad=bad)):
            assert (library.numbers(good), library.numbers(bad)) == ([1], [0])
        case other:
            pytest.fail(f"got {other}")


def test_a_split_that_the_function_made_itself_is_not_split_again(drive, library, resilient_events):
    made = []

    def fetch():
        made.append(split(library.frame(1, 0), library.schema))
        return made[-1]

    parts = drive(fetch, validate=Validate(output=library.schema, on_invalid="branch"))()
    assert parts is made[0]
    assert resilient_events[0].invalid == 1


@pytest.mark.parametrize("of_its_own", [True, False], ids=["split", "frame"])
def test_above_a_threshold_the_batch_is_refused(drive, library, of_its_own):
    policy = Validate(output=library.schema, on_invalid="branch", max_invalid=0.4)
    made = (lambda *numbers: split(library.frame(*numbers), library.schema)) if of_its_own else library.frame
    call = drive(made, validate=policy)
    assert len(call(1, 2, 0).bad) == 1
    with pytest.raises(InvalidData, match=r"more than max_invalid=0.4 allows"):
        call(1, 0)


def test_bad_rows_are_also_kept_if_a_quarantine_is_named(drive, library, quarantine, resilient_events, own_settings):
    own_settings(quarantine=str(quarantine.folder / "not here"))
    call = drive(library.frame, validate=Validate(output=library.schema, on_invalid="branch", quarantine=quarantine))
    assert len(call(1, 0).bad) == 1
    assert quarantine.rows() == 1
    assert resilient_events.names == ["rows.quarantined"]
    drive(library.frame, validate=Validate(output=library.schema, on_invalid="branch"))(0)
    assert Quarantine(quarantine.folder / "not here").list() == []


def test_a_frame_that_is_wrong_as_a_whole_is_refused(drive, library):
    call = drive(lambda: library.make({"n": [0]}), validate=Validate(output=library.schema, on_invalid="branch"))
    with pytest.raises(InvalidData, match="result as a whole"):
        call()


def test_or_passed_on_as_good_and_unchecked(drive, library, resilient_events):
    policy = Validate(output=library.schema, on_invalid="branch", on_schema_error="warn")
    parts = drive(lambda: library.make({"n": [0]}), validate=policy)()
    assert (library.numbers(parts.good), len(parts.bad)) == ([0], 0)
    assert parts.report.frame_errors
    assert resilient_events[0].action == "frame let pass unchecked"


def test_a_later_attempt_may_satisfy_the_schema(drive, library):
    frames = iter([library.frame(0, 0), library.frame(1, 0)])
    policy = Validate(output=library.schema, on_invalid="branch", max_invalid=0.5)
    call = drive(lambda: next(frames), validate=policy, retry=Retry(on=InvalidData, wait=0))
    assert library.numbers(call().good) == [1]


class TestWhatIsRefusedAtDecoration:
    def test_branching_on_an_argument(self, library):
        with pytest.raises(PolicyError, match="is for a result: a function takes a frame, not a Split"):
            Validate(input=library.schema, output=library.schema, on_invalid="branch")

    def test_an_argument_has_a_validate_of_its_own(self, library):
        branch = Validate(output=library.schema, on_invalid="branch")

        @resilient(validate=branch, policies=[Validate(input=library.schema, on_invalid="drop")])
        def doubled(frame):
            return library.frame(*(number * 2 - 4 for number in library.numbers(frame)))

        parts = doubled(library.frame(0, 1, 3))
        assert (library.numbers(parts.good), library.numbers(parts.bad)) == ([2], [-2])

    @pytest.mark.parametrize("as_pipeline", [False, True])
    def test_a_fallback_beside_it(self, drive, library, as_pipeline):
        policies = [Validate(output=library.schema, on_invalid="branch"), Fallback(value=None)]
        with pytest.raises(PolicyError, match=r"returns a Split of .*, and a fallback returns other data"):
            drive(library.frame, policies=Pipeline(*policies) if as_pipeline else policies)

    def test_a_fallback_in_a_decorator_underneath(self, library):
        with pytest.raises(PolicyError, match="drop one of them"):
            resilient(validate=Validate(output=library.schema, on_invalid="branch"))(
                resilient(fallback=Fallback(value=None))(library.frame)
            )

    @pytest.mark.parametrize("annotation", [pd.DataFrame, None, Any, "pd.DataFrame", "NobodyKnows", "NoSplit[int]"])
    def test_a_function_annotated_with_another_result(self, drive, library, annotation):
        def fetch():
            return library.frame(1)

        fetch.__annotations__["return"] = annotation
        with pytest.raises(PolicyError, match=r"fetch is annotated to return .*Split: annotate it -> Split"):
            drive(fetch, validate=Validate(output=library.schema, on_invalid="branch"))

    @pytest.mark.parametrize(
        "annotation", [Split, Split[pd.DataFrame], "Split[pl.DataFrame]", "data.Split[hidden.Frame]", "Parts"]
    )
    def test_but_not_one_annotated_with_a_split(self, drive, library, annotation):
        def fetch():
            return library.frame(1)

        fetch.__annotations__["return"] = annotation
        assert drive(fetch, validate=Validate(output=library.schema, on_invalid="branch"))().report.rows == 1


#: Named in an annotation above.
Parts = Split[pl.DataFrame]
