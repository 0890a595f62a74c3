"""LastGood: what is kept, what stands in, how old it may be; trouble with keeping never fails a call."""

import asyncio
import errno
import functools
import json
import os
import pickle
import threading
from datetime import timedelta
from pathlib import Path

import cloudpickle
import pandas as pd
import pandera.pandas as pa
import polars as pl
import pytest

from resilient_tasks import (
    Degraded,
    Failed,
    Fallback,
    InvalidData,
    Kind,
    LastGood,
    Ok,
    Pipeline,
    Policy,
    PolicyError,
    Retry,
    RunReport,
    Split,
    TimedOut,
    Timeout,
    Validate,
    configure,
    explain,
    resilient,
)
from resilient_tasks.core.execution import clock as clocks
from resilient_tasks.policies import last_good
from resilient_tasks.testing import VirtualClock


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "last_good"


class Service:
    """A function with scripted answers: values are returned, errors raised, and the last one stays."""

    def __init__(self, *answers):
        self.answers = list(answers)

    def fetch(self):
        def fetch(month="07", *, top=5):
            answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return fetch


def down():
    return ConnectionError("down")


def files(folder):
    return sorted(path for path in Path(folder).rglob("*") if path.is_file())


class TestStandingIn:
    def test_the_last_accepted_result_stands_in_with_its_age(self, drive, folder, clock, resilient_events):
        call = drive(Service({"n": 1}, {"n": 2}, down()).fetch(), fallback=LastGood("2d", folder=folder))
        assert call() == {"n": 1}
        clock.advance("1h")
        assert call() == {"n": 2}
        clock.advance("23h")
        match call.outcome():
            case Degraded({"n": 2}, because=ConnectionError() as error):
                assert error.__notes__ == ["the last good result of 1970-01-01 01:00 UTC, 23 h old, stands in"]
                assert error.__traceback__ is None
            case other:
                pytest.fail(f"unexpected {other!r}")
        event = resilient_events.named("fallback.used")[0]
        assert (event.fallback, event.kind, event.error_type) == ("last good result", "transient", "ConnectionError")
        assert event.age == 23 * 3600
        assert event.sentence() == (
            "degraded: last good result of 1970-01-01 01:00 UTC, 23 h old, stands in after ConnectionError"
        )
        assert event.as_dict()["fallback.age_s"] == event.age

    def test_arguments_are_distinguished_and_defaults_count(self, drive, folder):
        service = Service("july", "august", down())
        call = drive(service.fetch(), fallback=LastGood(folder=folder))
        call("07")
        call("08")
        assert call(month="07", top=5) == "july"
        assert call("08") == "august"
        assert isinstance(call.outcome("09"), Failed)
        assert isinstance(call.outcome("07", top=6), Failed)

    def test_it_comes_after_all_attempts(self, drive, folder):
        service = Service("good", down(), down(), down())
        call = drive(service.fetch(), retry=Retry(attempts=3, wait=1), fallback=LastGood(folder=folder))
        call()
        assert call() == "good"
        assert len(service.answers) == 1

    def test_it_survives_a_restart(self, drive, folder):
        drive(Service("good").fetch(), fallback=LastGood(folder=folder))()
        assert drive(Service(down()).fetch(), fallback=LastGood(folder=folder))() == "good"

    def test_a_result_of_none_is_a_result(self, drive, folder):
        call = drive(Service(None, down()).fetch(), fallback=LastGood(folder=folder))
        call()
        assert isinstance(call.outcome(), Degraded)

    def test_two_functions_of_one_module_do_not_share_results(self, drive, folder):
        def other(month="07", *, top=5):
            raise ConnectionError

        drive(Service("good").fetch(), fallback=LastGood(folder=folder))()
        assert isinstance(drive(other, fallback=LastGood(folder=folder)).outcome(), Failed)

    def test_two_functions_with_one_name_do(self, drive, folder):
        def other(month="07", *, top=5):
            raise ConnectionError

        drive(Service("good").fetch(), fallback=LastGood(folder=folder, name="months"))()
        assert drive(other, fallback=LastGood(folder=folder, name="months"))() == "good"

    def test_a_function_may_change_its_arguments(self, drive, folder):
        def fetch(months):
            months.append("seen")
            if len(months) > 2:
                raise ConnectionError
            return len(months)

        call = drive(fetch, fallback=LastGood(folder=folder))
        assert call(["07"]) == 2
        assert isinstance(call.outcome(["07", "seen"]), Failed)
        assert isinstance(drive(Service(down()).fetch(), fallback=LastGood(folder=folder)).outcome(["07"]), Failed)


class TestWhichFailures:
    @pytest.mark.parametrize(
        ("on", "error", "degraded"),
        [
            (None, ConnectionError(), True),
            (None, KeyError(), False),
            (KeyError, KeyError(), True),
            (KeyError, ConnectionError(), False),
            (lambda error: "soft" in str(error), ValueError("soft"), True),
        ],
    )
    def test_bugs_get_no_stand_in_unless_requested(self, drive, folder, on, error, degraded):
        call = drive(Service("good", error).fetch(), fallback=LastGood(folder=folder, on=on))
        call()
        assert isinstance(call.outcome(), Degraded) is degraded

    def test_failures_given_one_by_one_serve_every_call(self, drive, folder):
        call = drive(Service("good", down()).fetch(), fallback=LastGood(folder=folder, on=(kind for kind in Kind)))
        call()
        assert [call(), call()] == ["good"] * 2

    def test_a_broken_predicate_is_reported(self, drive, folder):
        call = drive(Service(down()).fetch(), fallback=LastGood(folder=folder, on=lambda error: error.status > 3))
        assert isinstance(call.outcome().error, PolicyError)


class TestAge:
    @pytest.mark.parametrize("max_age", [172_800, "2d", timedelta(days=2)])
    def test_a_result_as_old_as_max_age_still_stands_in_and_an_older_one_does_not(self, drive, folder, clock, max_age):
        call = drive(Service("good", down(), down()).fetch(), fallback=LastGood(max_age, folder=folder))
        call()
        clock.advance("2d")
        assert isinstance(call.outcome(), Degraded)
        clock.advance("1d")
        with pytest.raises(ConnectionError) as info:
            call()
        assert info.value.__notes__[-1] == "the last good result is 3 d old, max_age is 2 d"

    def test_without_a_result_the_error_says_so(self, drive, folder):
        with pytest.raises(ConnectionError) as info:
            drive(Service(down()).fetch(), fallback=LastGood("2d", folder=folder))()
        assert info.value.__notes__ == ["no last good result of fetch(month, top) with these arguments"]

    def test_without_a_limit_any_age_is_accepted(self, drive, folder, clock):
        call = drive(Service("good", down()).fetch(), fallback=LastGood(folder=folder))
        call()
        clock.advance("4000d")
        assert call() == "good"

    def test_the_age_of_a_result_is_that_of_its_call(self, drive, folder, clock, resilient_events):
        def slow(first=[True]):  # noqa: B006  # it is to remember
            if not first.pop():
                raise ConnectionError
            first.append(False)
            clock.advance("1h")
            return "good"

        call = drive(slow, fallback=LastGood(folder=folder, key=lambda first=None: 0))
        call()
        assert call() == "good"
        assert resilient_events[-1].age == 3600

    def test_the_age_of_a_result_from_the_future_is_unknown(self, drive, folder, clock):
        call = drive(Service("good", down()).fetch(), fallback=LastGood("2d", folder=folder))
        clock.advance("9d")
        call()
        with clocks.use_clock(VirtualClock()):  # a clock that was put back
            outcome = call.outcome()
        assert isinstance(outcome, Failed)
        assert "1970-01-10 00:00 UTC, which is in the future: its age is unknown" in outcome.error.__notes__[0]

    def test_a_result_from_the_future_is_replaced_by_one_of_today(self, drive, folder, clock):
        call = drive(Service("wrong clock", "today", down()).fetch(), fallback=LastGood("2d", folder=folder))
        clock.advance("9d")
        call()
        with clocks.use_clock(VirtualClock()):
            call()
            assert call() == "today"
        assert len(files(folder)) == 1

    def test_a_clock_that_is_a_little_ahead_does_no_harm(self, drive, folder, clock, resilient_events):
        call = drive(Service("good", down()).fetch(), fallback=LastGood("2d", folder=folder))
        clock.advance(30)
        call()
        with clocks.use_clock(VirtualClock()):
            assert call() == "good"
        assert resilient_events[-1].age == 0.0

    def test_the_age_does_not_go_by_the_time_of_the_file(self, drive, folder, clock):
        call = drive(Service("good", down()).fetch(), fallback=LastGood("2d", folder=folder))
        call()
        for path in files(folder):
            os.utime(path, (0, 0))
        assert call() == "good"


class TestOtherwise:
    @pytest.mark.parametrize(
        "otherwise",
        [lambda month="07", *, top=5: "else", Fallback(value="else"), Fallback({OSError: lambda *_, **__: "else"})],
    )
    def test_otherwise_stands_in_if_there_is_no_result(self, drive, folder, otherwise):
        call = drive(Service(down(), "good", down()).fetch(), fallback=LastGood(folder=folder, otherwise=otherwise))
        assert call() == "else"
        assert call() == "good"
        assert call() == "good"

    def test_it_receives_the_error(self, drive, folder):
        policy = LastGood(folder=folder, otherwise=lambda month, *, top, error: f"{month}: {error}")
        assert drive(Service(down()).fetch(), fallback=policy)("06", top=1) == "06: down"

    def test_its_result_is_not_kept(self, drive, folder):
        drive(Service(down()).fetch(), fallback=LastGood(folder=folder, otherwise=Fallback(value=0)))()
        assert files(folder) == []

    def test_one_that_fails_adds_a_note_after_the_one_about_the_missing_result(self, drive, folder):
        def broken(month="07", *, top=5):
            raise KeyError("month")

        error = drive(Service(down()).fetch(), fallback=LastGood(folder=folder, otherwise=broken)).outcome().error
        assert error.__notes__ == [
            "no last good result of fetch(month, top) with these arguments",
            "the fallback broken failed too: KeyError: 'month'",
        ]

    def test_one_that_cannot_take_the_arguments_is_refused(self, folder):
        with pytest.raises(PolicyError, match="cannot take the arguments of fetch"):
            resilient(fallback=LastGood(folder=folder, otherwise=lambda a, b, c: 0))(Service().fetch())

    def test_an_async_one_is_refused_for_a_sync_function(self, folder):
        async def later(month="07", *, top=5):
            pass

        with pytest.raises(PolicyError, match="is sync and its fallback later is async"):
            resilient(fallback=LastGood(folder=folder, otherwise=later))(Service().fetch())


FLIGHTS = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})


class TestWhatIsKept:
    @pytest.mark.parametrize(
        "frame",
        [
            pd.DataFrame({"n": [1, 2], "who": ["x", None]}),
            pd.DataFrame({"n": pd.Categorical(["a", "b"])}, index=pd.Index([5, 7], name="id")),
            pd.DataFrame({("a", 1): [1.5]}, index=pd.MultiIndex.from_tuples([(1, "x")])),
            pd.DataFrame(),
            pd.DataFrame([[1, 2]], index=pd.RangeIndex(5, 7, 2, name="id")),
            pd.DataFrame({"n": [1, 2]}, index=pd.date_range("2026-01-01", periods=2, freq="h", tz="UTC")),
            pl.DataFrame({"n": [1, None], "who": [["x"], []]}),
            pl.DataFrame(schema={"n": pl.Categorical}),
        ],
        ids=str,
    )
    def test_frames_come_back_as_they_were_from_parquet(self, drive, folder, frame):
        call = drive(Service(frame, down()).fetch(), fallback=LastGood(folder=folder))
        call()
        back = call()
        if isinstance(frame, pd.DataFrame):
            pd.testing.assert_frame_equal(back, frame)
            assert type(back.index) is type(frame.index)
            assert type(back.columns) is type(frame.columns)
        else:
            assert back.equals(frame)
            assert back.schema == frame.schema
        (path,) = files(folder)
        assert path.suffix == ".parquet"

    @pytest.mark.parametrize(
        "frame",
        [
            pd.DataFrame({"cell": [(1, 2), {3}, timedelta(1)]}),
            pd.DataFrame({Kind.TIMEOUT: [1]}),
            pd.DataFrame({"n": [1]}, index=pd.Index([Kind.TIMEOUT])),
        ],
        ids=["cells", "labels", "index"],
    )
    def test_a_frame_that_parquet_would_keep_only_as_text_is_pickled(self, drive, folder, frame):
        call = drive(Service(frame, down()).fetch(), fallback=LastGood(folder=folder))
        call()
        pd.testing.assert_frame_equal(call(), frame)
        assert files(folder)[0].suffix == ".pickle"

    @pytest.mark.parametrize("value", [{"a": [1, None, True, 1.5, "x"]}, [], "\ud800", 0, None])
    def test_values_that_json_returns_unchanged_are_json(self, drive, folder, value):
        call = drive(Service(value, down()).fetch(), fallback=LastGood(folder=folder))
        call()
        assert call() == value
        assert json.loads(files(folder)[0].read_bytes()) == value

    @pytest.mark.parametrize("value", [(1, 2), {1: 2}, {"a": (1,)}, {1, 2}, 1 + 2j, b"x", pd.Series([1]), float("inf")])
    def test_anything_else_is_pickled_and_keeps_its_type(self, drive, folder, value):
        call = drive(Service(value, down()).fetch(), fallback=LastGood(folder=folder))
        call()
        back = call()
        assert type(back) is type(value)
        assert str(back) == str(value)
        assert files(folder)[0].suffix == ".pickle"

    @pytest.mark.parametrize("serializer", [pickle, json])
    def test_a_custom_serializer_writes_everything(self, drive, folder, serializer):
        call = drive(Service({"n": 1}, down()).fetch(), fallback=LastGood(folder=folder, serializer=serializer))
        call()
        assert call() == {"n": 1}
        (path,) = files(folder)
        assert path.suffix == ".data"
        assert serializer.loads(path.read_bytes()) == {"n": 1}

    def test_a_newer_result_replaces_the_older(self, drive, folder, clock):
        call = drive(Service("one", "two", down()).fetch(), fallback=LastGood(folder=folder))
        call()
        clock.advance(1)
        call()
        assert call() == "two"
        assert len(files(folder)) == 1

    def test_results_are_kept_for_a_limited_number_of_arguments_and_the_oldest_are_deleted(self, drive, folder, clock):
        def echo(month, fails=[]):  # noqa: B006  # it is to remember
            if fails:
                raise ConnectionError
            return month

        fails = []
        call = drive(lambda month: echo(month, fails), fallback=LastGood(folder=folder, keep=2, name="echo"))
        for month in ("05", "06", "07"):
            call(month)
            clock.advance(1)
        fails.append(True)
        assert [isinstance(call.outcome(month), Degraded) for month in ("05", "06", "07")] == [False, True, True]
        assert len(files(folder)) == 2

    def test_only_the_rows_that_validation_passed_are_kept(self, drive, folder, tmp_path):
        frame = pd.DataFrame({"n": [1, -1, 2]})
        checked = Validate(output=FLIGHTS, on_invalid="quarantine", quarantine=tmp_path / "q")
        call = drive(Service(frame, down()).fetch(), validate=checked, fallback=LastGood(folder=folder))
        call()
        assert list(call()["n"]) == [1, 2]

    def test_a_result_that_validation_refused_is_not_kept(self, drive, folder):
        good, bad = pd.DataFrame({"n": [1]}), pd.DataFrame({"n": [-1]})
        call = drive(Service(good, bad, down()).fetch(), validate=FLIGHTS, fallback=LastGood(folder=folder))
        call()
        assert isinstance(call.outcome().because, InvalidData)
        assert list(call()["n"]) == [1]

    def test_a_result_that_breaks_the_current_schema_does_not_stand_in(self, drive, folder):
        frame = pd.DataFrame({"n": [1]})
        drive(Service(frame).fetch(), validate=FLIGHTS, fallback=LastGood(folder=folder))()
        stricter = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(5))})
        for otherwise, degraded in ((None, False), (Fallback(value=pd.DataFrame({"n": [6]})), True)):
            policy = LastGood(folder=folder, otherwise=otherwise)
            outcome = drive(Service(down()).fetch(), validate=stricter, fallback=policy).outcome()
            assert isinstance(outcome, Degraded) is degraded
            error = outcome.because if degraded else outcome.error
            assert "the fallback last good result failed too: InvalidData" in error.__notes__[0]


class TestDegradedResults:
    def test_a_stand_in_is_not_kept(self, drive, folder, clock, resilient_events):
        call = drive(Service("good", down()).fetch(), fallback=LastGood(folder=folder))
        call()
        clock.advance(10)
        call()
        clock.advance(10)
        call()
        assert resilient_events[-1].age == 20

    def test_a_result_computed_from_a_stand_in_is_not_kept(self, drive, folder):
        inner = resilient(fallback=Fallback(value="stale"))(Service(down(), "fresh", down()).fetch())
        answers = []

        def outer():
            answers.append(inner())
            if len(answers) > 2:
                raise ConnectionError
            return answers[-1]

        call = drive(outer, fallback=LastGood(folder=folder))
        assert call() == "stale"
        assert files(folder) == []
        assert call() == "fresh"
        assert call() == "fresh"

    def test_nor_is_one_from_two_calls_down_beside_a_hedge(self, drive, folder):
        stale = LastGood(folder=folder / "inner", otherwise=Fallback(value="stale"))
        middle = resilient(retry=2)(resilient(fallback=stale)(Service(down()).fetch()))

        def outer():
            return middle()

        policy = LastGood(folder=folder / "outer")
        assert drive(outer, hedge=60, idempotent=True, retry=2, fallback=policy)() == "stale"
        assert files(folder) == []

    def test_nor_is_one_from_another_process(self, folder):
        call = resilient(timeout=Timeout(60, enforce="process"), fallback=LastGood(folder=folder))(made_of_a_stand_in)
        assert call() == "stale"
        assert files(folder) == []

    def test_an_attempt_without_a_stand_in_is_kept_even_after_one_that_had_one(self, drive, folder):
        inner = resilient(fallback=Fallback(value="stale"))(Service(down(), "fresh").fetch())

        def outer():
            if (answer := inner()) == "stale":
                raise TimeoutError
            return answer

        drive(outer, retry=Retry(attempts=2, wait=0), fallback=LastGood(folder=folder))()
        assert len(files(folder)) == 1

    def test_a_split_has_no_stand_in(self, folder):
        def fetch() -> Split[pd.DataFrame]: ...

        with pytest.raises(PolicyError, match="a fallback returns other data"):
            resilient(validate=Validate(output=FLIGHTS, on_invalid="branch"), fallback=LastGood(folder=folder))(fetch)


class TestTrouble:
    def test_a_folder_that_cannot_be_written_fails_no_call_and_is_reported_once(
        self, drive, tmp_path, resilient_events
    ):
        (tmp_path / "file").write_text("no folder")
        call = drive(Service("good").fetch(), fallback=LastGood(folder=tmp_path / "file"))
        assert [call() for _ in range(20)] == ["good"] * 20
        (event,) = resilient_events
        assert (event.name, event.action) == ("fallback.unavailable", "kept")
        assert event.sentence().startswith("the last good result was not kept: ")

    def test_after_an_hour_it_is_reported_again(self, drive, tmp_path, clock, resilient_events):
        (tmp_path / "file").write_text("no folder")
        call = drive(Service("good").fetch(), fallback=LastGood(folder=tmp_path / "file"))
        call()
        clock.advance("1h")
        call()
        assert resilient_events.names == ["fallback.unavailable"] * 2

    @pytest.mark.parametrize(
        ("value", "says"),
        [
            (threading.Lock(), "a lock cannot be written: TypeError"),
            (pl.LazyFrame({"n": [1]}), "a LazyFrame is a plan, and holds no data: collect() it"),
        ],
    )
    def test_a_result_that_cannot_be_written_is_reported(self, drive, folder, resilient_events, value, says):
        call = drive(Service(value).fetch(), fallback=LastGood(folder=folder))
        assert call() is value
        assert says in resilient_events[0].reason

    def test_an_argument_without_a_key_is_reported_with_what_to_write(self, drive, folder, resilient_events):
        call = drive(Service("good", down()).fetch(), fallback=LastGood(folder=folder))
        assert call(object()) == "good"
        assert resilient_events[0].reason == (
            "month: an object has no stable key: write LastGood(key=lambda month, top: ...),"
            " with a value that identifies the call"
        )
        assert "month: an object has no stable key" in call.outcome(object()).error.__notes__[0]

    def test_a_key_that_raises_fails_no_call(self, drive, folder, resilient_events):
        call = drive(Service("good").fetch(), fallback=LastGood(folder=folder, key=lambda month, top=5: month.year))
        assert call("07") == "good"
        assert "AttributeError" in resilient_events[0].reason

    @pytest.mark.parametrize(
        "damage", [lambda content: content[:-1], lambda content: b"", lambda content: content[::-1]]
    )
    @pytest.mark.parametrize("value", [{"n": 12}, (1, 2), pd.DataFrame({"n": [1]})], ids=["json", "pickle", "parquet"])
    def test_a_damaged_file_is_no_result_and_the_error_says_so(self, drive, folder, resilient_events, value, damage):
        call = drive(Service(value, down()).fetch(), fallback=LastGood(folder=folder))
        call()
        (path,) = files(folder)
        path.write_bytes(damage(path.read_bytes()))
        outcome = call.outcome()
        assert outcome.error.__notes__ == ["the last good result cannot be read: its file is damaged"]
        assert resilient_events.named("fallback.unavailable")[0].action == "read"

    def test_a_full_disk_fails_no_call_and_leaves_the_last_result(self, drive, folder, resilient_events, monkeypatch):
        def full(_):
            raise OSError(errno.ENOSPC, "No space left on device")

        call = drive(Service("good", "better", down()).fetch(), fallback=LastGood(folder=folder))
        call()
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", full)
            assert call() == "better"
        assert "No space left on device" in resilient_events[0].reason
        assert call() == "good"
        assert len(files(folder)) == 1

    def test_files_of_others_in_the_folder_are_left_alone(self, drive, folder):
        call = drive(Service("good", "better", down()).fetch(), fallback=LastGood(folder=folder))
        call()
        note = files(folder)[0].parent / "README.txt"
        note.write_text("mine")
        call()
        assert call() == "better"
        assert note.read_text() == "mine"

    def test_a_result_that_a_serializer_wrote_needs_it_to_be_read(self, drive, folder):
        drive(Service(1).fetch(), fallback=LastGood(folder=folder, serializer=json))()
        error = drive(Service(down()).fetch(), fallback=LastGood(folder=folder)).outcome().error
        assert "it needs a serializer (data), and none is configured" in error.__notes__[0]

    def test_the_report_names_both(self, drive, folder, tmp_path, resilient_events, clock):
        call = drive(Service("good", down()).fetch(), fallback=LastGood(folder=folder))
        call()
        clock.advance("23h")
        call()
        (tmp_path / "file").write_text("no folder")
        drive(Service("good").fetch(), fallback=LastGood(folder=tmp_path / "file"))()
        text = RunReport(resilient_events).text()
        assert "last good results that stood in: 1 (fetch: 23 h old)" in text
        assert "last good results that were not kept or could not be read: 1 (fetch: " in text


class TestSeveralAtOnce:
    def test_a_slow_call_does_not_replace_newer_data_by_older(self, folder):
        began, go_on = threading.Event(), threading.Event()

        @resilient(fallback=LastGood(folder=folder, key=lambda wait, fail=False: 0))
        def fetch(wait, fail=False):  # noqa: FBT002
            if fail:
                raise ConnectionError
            if wait:
                began.set()
                go_on.wait(60)
            return "old" if wait else "new"

        slow = threading.Thread(target=fetch, args=(True,))
        slow.start()
        began.wait(60)
        fetch(False)
        go_on.set()
        slow.join(60)
        assert fetch(False, fail=True) == "new"
        assert len(files(folder)) == 1

    def test_many_writers_at_once_leave_one_whole_result(self, folder):
        fails = []

        @resilient(fallback=LastGood(folder=folder, key=lambda number: 0))
        def fetch(number):
            if fails:
                raise ConnectionError
            return [number] * 2000

        threads = [threading.Thread(target=fetch, args=(number,)) for number in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        fails.append(True)
        result = fetch(0)
        assert len(set(result)) == 1
        assert len(result) == 2000

    def test_the_leftovers_of_a_killed_writer_are_never_read_and_are_removed(self, folder):
        call = resilient(fallback=LastGood(folder=folder))(Service("good", down()).fetch())
        under = folder / f"{__name__}.fetch"
        under.mkdir(parents=True)
        for name, age in ((".old.tmp", 7200), (".new.tmp", 0)):
            (under / name).write_bytes(b"half")
            os.utime(under / name, ((under / name).stat().st_mtime - age,) * 2)
        call()
        assert call() == "good"
        assert [path.name for path in files(folder) if path.name.startswith(".")] == [".new.tmp"]

    def test_an_event_loop_continues_while_a_result_is_written(self, folder, monkeypatch):
        from resilient_tasks.storage import results

        ran_in = []
        monkeypatch.setattr(results, "encoded", functools.partial(_noting, ran_in, results.encoded))

        @resilient(fallback=LastGood(folder=folder))
        async def fetch():
            return 1

        assert asyncio.run(fetch()) == 1
        assert ran_in == [False]


def _noting(ran_in, real, *args):
    ran_in.append(threading.current_thread() is threading.main_thread())
    return real(*args)


class TestKeys:
    def test_a_custom_key_distinguishes_calls(self, drive, folder):
        policy = LastGood(folder=folder, key=lambda month, top=5: month)
        call = drive(Service("good", down()).fetch(), fallback=policy)
        call("07", top=1)
        assert call("07", top=2) == "good"
        assert isinstance(call.outcome("08", top=1), Failed)

    def test_one_that_cannot_take_the_arguments_is_refused(self, folder):
        with pytest.raises(
            PolicyError, match=r"names week, which .*named_fetch\(month.* does not have.*write lambda month: "
        ):
            resilient(fallback=LastGood(folder=folder, key=lambda week: 0))(named_fetch)

    def test_a_method_needs_one(self, folder):
        with pytest.raises(PolicyError, match=r"is a method.*write LastGood\(key=lambda self, month: \(month,\)\)"):

            class Client:
                @resilient(fallback=LastGood(folder=folder))
                def fetch(self, month): ...

    def test_the_hint_for_a_method_without_arguments_is_valid_python(self, folder):
        with pytest.raises(PolicyError, match=r"write LastGood\(key=lambda self: \.\.\.\), with a value"):

            class Client:
                @resilient(fallback=LastGood(folder=folder))
                def fetch(self): ...

    def test_with_one_a_method_has_results(self, folder):
        class Client:
            up = True

            @resilient(fallback=LastGood(folder=folder, key=lambda self, month: month))
            def fetch(self, month):
                if not self.up:
                    raise ConnectionError
                return month

        client = Client()
        client.fetch("07")
        client.up = False
        assert client.fetch("07") == "07"


def named_fetch(month):
    pass


@resilient(fallback=Fallback(value="stale"))
def refused():
    raise ConnectionError


def made_of_a_stand_in():
    return refused()


class TestWhereResultsAre:
    def test_by_default_at_home_for_the_owner_alone(self, tmp_path, monkeypatch):
        monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path / "home"))
        monkeypatch.setattr(last_good, "_instead_of_home", "")  # outside of a test
        resilient(fallback=LastGood())(named_fetch)("07")
        (path,) = files(tmp_path / "home")
        assert path.parent == tmp_path / "home" / "last_good" / f"{__name__}.named_fetch"
        assert (tmp_path / "home" / "last_good").stat().st_mode & 0o77 == 0

    def test_in_a_test_in_a_folder_that_ends_with_it(self, tmp_path, monkeypatch):
        monkeypatch.setenv("RESILIENT_TASKS_HOME", str(tmp_path / "home"))
        call = resilient(fallback=LastGood())(Service("good", down()).fetch())
        with clocks.use_clock(VirtualClock()):
            assert [call(), call()] == ["good"] * 2
        assert not (tmp_path / "home").exists()
        assert str(Path(last_good._instead_of_home)).endswith("last_good")

    def test_by_setting_in_a_folder(self, tmp_path, own_settings):
        configure(last_good=tmp_path / "kept")
        resilient(fallback=LastGood())(named_fetch)("07")
        assert len(files(tmp_path / "kept")) == 1

    def test_at_any_url_of_fsspec(self, drive):
        call = drive(Service((1, 2), (3,), down()).fetch(), fallback=LastGood(folder="memory://last/good"))
        call()
        call()
        assert call() == (3,)

    def test_the_url_is_never_shown_with_its_secrets(self):
        assert "hunter2" not in repr(LastGood(folder="memory://user:hunter2@host/x"))


class TestPickled:
    def test_a_decorated_function_works_in_another_process(self, folder):
        fetch = resilient(fallback=LastGood("2d", folder=folder, otherwise=Fallback(value=0)))(Service("good").fetch())
        assert cloudpickle.loads(cloudpickle.dumps(fetch))() == "good"
        assert len(files(folder)) == 1

    def test_the_policy_keeps_its_arguments(self, folder):
        policy = pickle.loads(pickle.dumps(LastGood("2d", folder=folder, keep=7, serializer=None)))
        assert (policy.max_age, policy.folder, policy.keep) == (172_800, folder, 7)


class TestWhatIsRefused:
    @pytest.mark.parametrize(
        ("options", "says"),
        [
            ({"max_age": 0}, r"LastGood\(max_age=...\) is a number of seconds above 0"),
            ({"max_age": "2"}, "write 2 or"),
            ({"folder": 5}, r"LastGood\(folder=...\) is a folder's path, a URL or a storage block, not 5"),
            ({"folder": ""}, r"is a folder's path, a URL or a storage block"),
            ({"folder": "nowhere://x"}, r"LastGood\(folder=...\): No file system is known"),
            ({"options": 3}, r"LastGood\(options=...\) is a mapping"),
            ({"serializer": "json"}, "is an object with dumps and loads, such as prefect.serializers.JSONSerializer"),
            ({"serializer": dict}, "is an object with dumps and loads"),
            ({"key": "month"}, r"LastGood\(key=...\) is a function of the call's arguments, not 'month': write lambda"),
            ({"keep": 0}, r"LastGood\(keep=...\) is a number of results from 1 up, not 0"),
            ({"keep": True}, r"LastGood\(keep=...\)"),
            ({"name": ""}, r"LastGood\(name=...\) is a name"),
            ({"on": 503}, r"LastGood\(on=...\) takes kinds"),
            ({"otherwise": 0}, r"a value is otherwise=Fallback\(value=...\)"),
            ({"otherwise": {TimedOut: len}}, r"a mapping otherwise=Fallback\(\{...\}\)"),
            ({"ttl": 5}, "did you mean max_age="),
        ],
    )
    def test_impossible_arguments(self, options, says):
        with pytest.raises(PolicyError, match=says):
            LastGood(**options)

    def test_an_async_key(self):
        async def key(month):
            pass

        with pytest.raises(PolicyError, match="make it a plain `def`"):
            LastGood(key=key)

    def test_generator_functions(self):
        def items():
            yield 1

        async def later():
            yield 1

        for fn in (items, later):
            with pytest.raises(PolicyError, match="is a generator function: fallback would cover only its creation"):
                resilient(fallback=LastGood())(fn)

    def test_as_a_branch_of_a_mapping(self):
        with pytest.raises(PolicyError, match=r"is a function, not a policy: write fallback=LastGood\(..., on=...\)"):
            resilient(fallback={TimedOut: LastGood()})(named_fetch)

    def test_in_a_list(self):
        with pytest.raises(PolicyError, match=r"write LastGood\(..., otherwise=f\)"):
            resilient(fallback=[LastGood(), named_fetch])(named_fetch)

    def test_beside_another_fallback(self):
        with pytest.raises(PolicyError, match=r"fallback is given twice.*LastGood\(otherwise=...\)"):
            resilient(fallback=Fallback(value=1), policies=[LastGood()])(named_fetch)

    def test_the_class_and_a_wrong_keyword(self):
        with pytest.raises(PolicyError, match=r"that is the class"):
            resilient(fallback=LastGood)(named_fetch)
        with pytest.raises(PolicyError, match=r"write fallback=LastGood"):
            resilient(retry=LastGood())(named_fetch)


def test_it_is_explained(folder):
    policy = LastGood("2d", folder=folder, otherwise=Fallback(value=0))
    assert "fallback: last good result, at most 2 d old; else fallback: value 0" in explain(Pipeline(policy))
    assert "last good result; else named_fetch" in explain(Pipeline(LastGood(otherwise=named_fetch)))


def test_a_success_is_explained_as_one(drive, folder, resilient_events):
    assert isinstance(drive(Service("good").fetch(), fallback=LastGood(folder=folder)).outcome(), Ok)
    assert resilient_events == []


def test_a_fenced_call_keeps_nothing(folder):
    class Fence(Policy):
        async def around(self, call, proceed):
            outcome = await proceed(call)
            call.parent.fence() if call.parent else call.fence()
            return outcome

    assert isinstance(Pipeline(LastGood(folder=folder), Fence()).outcome(lambda: 1), Ok)
    assert files(folder) == []
