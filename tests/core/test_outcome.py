"""Outcomes own their errors: raising one twice, or keeping one, keeps nothing else alive."""

import asyncio
import copyreg
import gc
import pickle
import traceback
import weakref
from dataclasses import FrozenInstanceError
from types import TracebackType

import pytest

from resilient_tasks import Degraded, Failed, Fallback, Ok, Retry, resilient
from resilient_tasks.core import outcome
from resilient_tasks.core.outcome import without_traceback


class Payload:
    """An argument that a test can watch being freed."""


@pytest.fixture
def no_gc():
    """Disable the garbage collector, so that a cycle keeps its objects alive."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def caught():
    try:
        deep(3)
    except ValueError as error:
        return Failed(error)


def deep(levels):
    if levels:
        deep(levels - 1)
    raise ValueError("bottom")


def frames_of(error):
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def raised_by(outcome):
    with pytest.raises(ValueError, match="bottom") as info:
        outcome.unwrap()
    return info.value


def test_an_ok_has_its_value_and_its_attempt():
    assert Ok(7).unwrap() == 7
    assert Ok(7).attempts == 1


def test_a_degraded_outcome_gives_the_stand_in():
    assert Degraded(7, ValueError()).unwrap() == 7


def test_a_failed_outcome_raises_the_same_error_with_its_frames():
    outcome = caught()
    error = raised_by(outcome)
    assert error is outcome.error
    assert frames_of(error)[-5:] == ["caught", "deep", "deep", "deep", "deep"]


def test_raising_an_outcome_twice_does_not_lengthen_its_traceback():
    outcome = caught()
    first = frames_of(raised_by(outcome))
    second = frames_of(raised_by(outcome))
    assert first == second


def test_outcomes_can_be_matched():
    def name(outcome):
        match outcome:
            case Ok(value):
                return f"ok {value}"
            case Degraded(value, because=error):
                return f"degraded {value} {type(error).__name__}"
            case Failed(error=ValueError()):
                return "value error"
            case Failed():
                return "failed"

    found = [name(outcome) for outcome in (Ok(1), Degraded(2, KeyError()), Failed(ValueError()), Failed(OSError()))]
    assert found == ["ok 1", "degraded 2 KeyError", "value error", "failed"]


def test_without_traceback_removes_frames_from_every_linked_error():
    def tangled():
        try:
            try:
                raise KeyError("context")
            except KeyError:
                try:
                    raise OSError("cause")
                except OSError as cause:
                    raise ValueError("outer") from cause
        except ValueError as error:
            return error

    error = without_traceback(tangled())
    cause = error.__cause__
    assert error.__traceback__ is cause.__traceback__ is cause.__context__.__traceback__ is None


def test_without_traceback_follows_a_cause_and_a_context_that_differ():
    cause, context, error = OSError(), KeyError(), ValueError()
    for part in (cause, context):
        try:
            raise part
        except (OSError, KeyError):
            pass
    error.__cause__, error.__context__ = cause, context
    without_traceback(error)
    assert cause.__traceback__ is context.__traceback__ is None


def test_without_traceback_reaches_the_errors_of_a_group():
    parts = [caught().error, caught().error]
    without_traceback(ExceptionGroup("two", parts))
    assert [part.__traceback__ for part in parts] == [None, None]


def test_without_traceback_handles_errors_that_refer_to_each_other():
    first, second = ValueError("first"), ValueError("second")
    first.__context__, second.__context__ = second, first
    assert without_traceback(first) is first


@pytest.mark.parametrize(
    "options",
    [{}, {"retry": Retry(attempts=2, wait=0)}, {"retry": Retry(attempts=2, wait=0), "timeout": 5, "deadline": 5}],
    ids=["bare", "retry", "limits"],
)
@pytest.mark.filterwarnings("ignore:.*is sync and has a timeout")
def test_a_dropped_error_frees_the_arguments_at_once(drive, options, no_gc, resilient_clock):
    def fail(payload):
        raise ConnectionError

    fail = drive(fail, **options).decorated

    def call():
        payload = Payload()
        watched = weakref.ref(payload)
        try:
            fail(payload)
        except ConnectionError:
            del payload
        return watched()

    async def acall():  # within the loop: asyncio.run makes a cycle itself
        payload = Payload()
        watched = weakref.ref(payload)
        try:
            await fail(payload)
        except ConnectionError:
            del payload
        return watched()

    assert drive.run(acall if drive.is_async else call) is None


def test_a_degraded_outcome_keeps_no_argument_alive(drive, no_gc):
    def fail(payload):
        try:
            raise KeyError(1)
        except KeyError:
            raise ConnectionError from None

    call = drive(fail, fallback=Fallback(value="stand-in"))
    payload = Payload()
    watched = weakref.ref(payload)
    outcome = call.outcome(payload)
    assert isinstance(outcome.because, ConnectionError)
    del payload
    assert watched() is None


def test_a_recovered_call_keeps_nothing_of_the_failed_attempt(no_gc, resilient_clock):
    errors = []

    class Watched(ConnectionError):
        pass

    @resilient(retry=Retry(attempts=2, wait=0))
    def fetch():
        if not errors:
            error = Watched()
            errors.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error
        return errors[0]()

    assert fetch() is None


def test_a_failed_attempt_is_forgotten_before_the_wait(drive, no_gc, resilient_clock, monkeypatch):
    alive = []

    class Watched(ConnectionError):
        pass

    def fetch():
        if not alive:
            error = Watched()
            alive.append(weakref.ref(error))
            try:
                raise error
            finally:
                del error
        return "done"

    seen = []
    sleep = resilient_clock.sleep
    monkeypatch.setattr(resilient_clock, "sleep", lambda seconds: (seen.append(alive[0]()), sleep(seconds)))
    assert drive(fetch, retry=Retry(attempts=2, wait=1))() == "done"
    assert seen == [None]


OUTCOMES = [Ok("[]", 2), Degraded("stale", ConnectionError("refused")), Failed(ConnectionError("refused"))]


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_an_outcome_cannot_be_changed(outcome):
    before = repr(outcome)
    for name in type(outcome).__match_args__:
        with pytest.raises(FrozenInstanceError, match=f"cannot assign to field '{name}'"):
            setattr(outcome, name, None)
        with pytest.raises(FrozenInstanceError, match=f"cannot delete field '{name}'"):
            delattr(outcome, name)
    assert repr(outcome) == before


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda outcome: type(outcome).__name__)
def test_an_outcome_crosses_to_another_process_as_it_is(outcome):
    assert repr(pickle.loads(pickle.dumps(outcome))) == repr(outcome)


def test_an_outcome_shows_its_values():
    shown = ["Ok(value='[]', attempts=2)", "Degraded(value='stale', because=ConnectionError('refused'))"]
    assert [repr(outcome) for outcome in OUTCOMES[:2]] == shown


def test_a_failure_crosses_to_another_process_without_its_traceback(monkeypatch):
    # Dask has tracebacks pickled, in each process that has imported it.
    for kind in [kind for kind in copyreg.dispatch_table if issubclass(kind, (BaseException, TracebackType))]:
        monkeypatch.delitem(copyreg.dispatch_table, kind)
    failed = caught()
    copy = pickle.loads(pickle.dumps(failed))
    assert failed.traceback is not None
    assert (type(copy.error), copy.error.args, copy.traceback) == (ValueError, ("bottom",), None)


def test_the_context_of_the_caller_is_left_while_a_pipeline_is_paused_and_entered_again(monkeypatch):
    seen = []

    def leave():
        seen.append("left")
        return lambda: seen.append("entered")

    monkeypatch.setattr(outcome, "leave_context", leave)

    async def answer():
        seen.append("awaited")
        if seen.count("awaited") == 1:
            raise ConnectionError
        return "done"

    @resilient(retry=Retry(attempts=2, wait=0))
    def fetch():
        return answer()

    assert asyncio.run(awaited(fetch())) == "done"
    assert seen == ["left", "entered", "awaited", "awaited"]


async def awaited(value):
    return await value
