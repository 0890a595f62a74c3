"""A call whose retry events no sink wants makes its attempts without the pipeline, and is otherwise the same."""

import asyncio
import gc
import sys
import weakref
from contextlib import contextmanager

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from resilient_tasks import Fallback, Kind, ResultRejected, Retry, TimedOut, current_call, register_kind, resilient
from resilient_tasks.core import call as calls
from resilient_tasks.core import failures
from resilient_tasks.core.events import CallFailed, RetryExhausted, RetryRecovered, RetryScheduled, bus
from resilient_tasks.core.execution import clock as clocks
from resilient_tasks.core.host import Host, use_host
from resilient_tasks.core.pipeline import Pipeline
from resilient_tasks.observe import logs
from resilient_tasks.testing.clock import VirtualClock

WAYS = pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])


class OwnError(Exception):
    """A user's own."""


def answered(status, **headers):
    request = httpx.Request("GET", "http://127.0.0.1/")
    response = httpx.Response(status, headers=headers, request=request)
    return httpx.HTTPStatusError(f"status {status}", request=request, response=response)


def chained():
    error = ConnectionError("reset")
    error.__cause__ = ValueError("no host")
    return error


#: What an attempt may do; each error is made anew. None: it returns a value.
ANSWERS = {
    "a value": lambda: None,
    "a text": lambda: ConnectionError("reset by the other side"),
    "a number": lambda: ConnectionRefusedError(111, "refused"),
    "nothing": TimeoutError,
    "a certificate": lambda: ConnectionError("certificate verify failed"),
    "a bug": lambda: ValueError("no such column"),
    "a user's own": lambda: OwnError("own"),
    "503": lambda: answered(503),
    "429 and a wait": lambda: answered(429, **{"Retry-After": "7"}),
    "404": lambda: answered(404),
    "a limit": lambda: TimedOut("over 20 s"),
    "an abandoned attempt": lambda: TimedOut("over 20 s", abandoned=True),
    "a rejected result": lambda: ResultRejected("no rows", result=None),
    "a cause": chained,
    "a group": lambda: ExceptionGroup("both", [ConnectionError("reset"), TimeoutError()]),
}
SCRIPTS = st.lists(st.sampled_from(sorted(ANSWERS)), max_size=5)
RETRIES = st.builds(
    Retry,
    on=st.sampled_from(
        [None, Kind.TRANSIENT, (Kind.MALFORMED, Kind.TIMEOUT), ConnectionError, (OwnError, Kind.THROTTLED)]
    ),
    attempts=st.integers(1, 5),
    wait=st.sampled_from([0, 2, [1, 3], lambda call: call.attempt]),
)


@pytest.fixture(autouse=True)
def _nothing_is_left_of_others(monkeypatch):
    """Have neither calls nor kinds that others left behind send these through the pipeline."""
    monkeypatch.setattr(calls, "limited", set())
    monkeypatch.setattr(failures, "_registered", [])  # the examples register some when they are imported


@contextmanager
def hearing(*events):
    """Have sinks hear of these events alone, and yield a list of them."""
    logs.install()  # which happens once a process
    found, before = [], bus.sinks
    bus.sinks = ()
    unsubscribe = bus.subscribe(found.append, lambda event: event in events)
    try:
        yield found
    finally:
        unsubscribe()
        bus.sinks = before


@pytest.fixture
def unheard():
    with hearing() as found:
        yield found


def called(function, is_async, **policies):
    """Return `function` inside of policies, sync or async, after a first call."""
    script = function.script
    function.script = []
    if is_async:

        async def coroutine_function(*args, **kwargs):
            return function(*args, **kwargs)

        decorated = resilient(**policies)(coroutine_function)

        def call(*args, **kwargs):
            return asyncio.run(decorated(*args, **kwargs))

    else:
        call = decorated = resilient(**policies)(function)
    call()
    function.script, function.seen = list(script), []
    call.outcome = decorated.outcome
    return call


#: Which call and when; and how long attempts took, which is known only where the pipeline made them.
_VARIES = {"call", "time", "failure.of", "duration_s"}


class Scripted:
    """A function that follows a script, then succeeds, and keeps what it saw of its call.

    Attributes:
        script: names of `ANSWERS`.
        seen: of each attempt, what it saw.
        during: is called with the number of the attempt.
    """

    def __init__(self, *script):
        self.__name__ = self.__qualname__ = "fetch"
        self.script, self.seen, self.during = list(script), [], lambda _: None

    def __call__(self, *args, **kwargs):
        call = current_call()
        self.seen.append((call.operation, call.attempt, call.work.id, args, kwargs))
        self.during(len(self.seen))
        error = ANSWERS[self.script.pop(0)]() if self.script else None
        if error is not None:
            raise error
        return len(self.seen)


def course(script, retry, *, is_async, heard):
    """Return everything that can be seen of a call, whose further events `heard` are heard, too."""
    clock, function = VirtualClock(), Scripted(*script)
    with clocks.use_clock(clock), hearing(*ENDS, *heard) as told:
        call = called(function, is_async, retry=retry)
        try:
            ended = call("07", year=2013)
        except Exception as error:
            ended = (type(error), str(error), tuple(getattr(error, "__notes__", ())))
    ids = {name for _, _, name, _, _ in function.seen}
    seen = [(operation, attempt, args, kwargs) for operation, attempt, _, args, kwargs in function.seen]
    said = [{name: value for name, value in event.as_dict().items() if name not in _VARIES} for event in told]
    assert len(ids) == 1
    assert all(event.call in ids for event in told)
    return ended, seen, clock.waits, said


#: Of these, the pipeline tells in any case. Where a sink hears of the last one, the pipeline makes each attempt.
ENDS, WAITS, RECOVERED = (CallFailed, RetryExhausted), RetryScheduled, RetryRecovered


@WAYS
@settings(deadline=None)
@given(script=SCRIPTS, retry=RETRIES)
def test_a_call_has_the_same_outcome_whichever_events_a_sink_receives(is_async, script, retry):
    *alone, said = course(script, retry, is_async=is_async, heard=())
    *waiting, waits = course(script, retry, is_async=is_async, heard=(WAITS,))
    *entered, everything = course(script, retry, is_async=is_async, heard=(WAITS, RECOVERED))
    assert alone == waiting == entered
    everything = [event for event in everything if event["event.name"] != RECOVERED.name]
    assert waits == everything
    assert said == [event for event in everything if event["event.name"] != WAITS.name]


@WAYS
def test_a_failure_that_passes_does_not_enter_the_pipeline(is_async, unheard, monkeypatch):
    call = called(Scripted("a text", "503"), is_async, retry=Retry(attempts=3, wait=0))
    monkeypatch.setattr(Pipeline, "run", None)
    assert call() == 3


@WAYS
def test_a_scheduled_attempt_is_reported_without_the_pipeline(is_async, monkeypatch):
    with hearing(RetryScheduled) as found:
        call = called(function := Scripted("a text", "503"), is_async, retry=Retry(attempts=3, wait=0))
        monkeypatch.setattr(Pipeline, "run", None)
        assert call() == 3
    assert [event.attempt for event in found] == [1, 2]
    assert {event.call for event in found} == {name for _, _, name, _, _ in function.seen}


@WAYS
def test_a_sink_added_between_two_attempts_receives_all_failures(is_async, unheard):
    function, found = Scripted(*["a text"] * 3), []
    call = called(function, is_async, retry=Retry(attempts=3, wait=0))
    function.during = lambda number: bus.subscribe(found.append) if number == 2 else None
    with pytest.raises(ConnectionError):
        call()
    assert [event.name for event in found] == ["retry.scheduled", "retry.started", "retry.exhausted", "call.failed"]
    assert found[2].failures == {"ConnectionError": 3}


@WAYS
def test_a_cancelled_run_begins_no_further_attempt(is_async, unheard):
    class CancelledError(BaseException):
        """Ends a run."""

    class Cancelled(Host):
        def watch(self):
            return check

    def check():
        if function.seen:
            raise CancelledError

    function = Scripted("a text")
    call = called(function, is_async, retry=Retry(attempts=3, wait=0))
    with use_host(Cancelled()), pytest.raises(CancelledError):
        call()
    assert len(function.seen) == 1


@WAYS
def test_policies_that_are_switched_off_during_an_attempt_make_no_further_one(is_async, unheard, own_settings):
    function = Scripted("a text", "a text")
    call = called(function, is_async, retry=Retry(attempts=3, wait=0))
    function.during = lambda number: own_settings(enabled=number < 2)
    with pytest.raises(ConnectionError):
        call()
    assert len(function.seen) == 2


@WAYS
def test_the_pipeline_goes_on_after_a_hundred_attempts(is_async):
    function = Scripted(*["a text"] * 150)
    with hearing(RetryExhausted) as found:
        call = called(function, is_async, retry=Retry(attempts=150, wait=0))
        with pytest.raises(ConnectionError):
            call()
    assert [attempt for _, attempt, *_ in function.seen] == list(range(1, 151))
    assert found[0].failures == {"ConnectionError": 150}


@WAYS
def test_a_registered_predicate_is_called_once_for_each_failure(is_async, unheard, monkeypatch):
    monkeypatch.setattr(failures, "_registered", [])
    asked = []
    register_kind(asked.append, Kind.TRANSIENT)
    call = called(Scripted("a text", "a text"), is_async, retry=Retry(attempts=3, wait=0))
    call()
    assert len(asked) == 2


@WAYS
def test_a_deadline_around_the_call_counts(is_async, unheard, resilient_clock):
    function = Scripted()

    def fetch():
        return call()

    fetch.script = []
    call = called(function, False, retry=Retry(attempts=3, wait=60))
    outer = called(fetch, is_async, deadline=30)
    function.script = ["a text"]
    with pytest.raises(ConnectionError, match="reset") as caught:
        outer()
    assert any("past the deadline" in note for note in caught.value.__notes__)
    assert not resilient_clock.waits


@WAYS
def test_a_fallback_stands_in_after_the_last_attempt(is_async, unheard):
    call = called(Scripted(*["a text"] * 3), is_async, retry=Retry(attempts=3, wait=0), fallback=Fallback(value=0))
    assert call() == 0


@WAYS
@pytest.mark.parametrize("heard", [(), (RetryScheduled,)], ids=["unheard", "heard"])
def test_objects_of_a_failed_attempt_are_freed_before_the_wait(is_async, heard):
    class Held:
        """Large."""

    alive, seen = weakref.WeakSet(), []

    class Watching(VirtualClock):
        def sleep(self, seconds):
            seen.append(len(alive))
            super().sleep(seconds)

    def fetch():
        held = Held()
        alive.add(held)
        if fetch.script:
            raise fetch.script.pop()

    fetch.script = []
    call = called(fetch, is_async, retry=Retry(attempts=2, wait=1))
    alive.clear()
    fetch.script = [ConnectionError("reset")]
    gc.disable()
    try:
        with clocks.use_clock(Watching()), hearing(*heard) as told:
            call()
    finally:
        gc.enable()
    assert seen == [0]
    assert len(told) == len(heard)


def test_a_sync_function_may_return_an_awaitable_in_a_later_attempt(unheard):
    async def later():
        if not failed:
            failed.append(1)
            raise ConnectionError("while it was awaited")
        return current_call().attempt

    failed, script = [], [ConnectionError("at once")]

    def fetch():
        if script:
            raise script.pop()
        return later()

    fetch.script = []
    failed.append(0)
    script.clear()
    call = resilient(retry=Retry(attempts=4, wait=0))(fetch)

    async def main():
        await call()
        failed.clear()
        script.append(ConnectionError("at once"))
        return await call()

    assert asyncio.run(main()) == 3


def test_a_debugger_goes_on_tracing_a_function_that_asks_for_its_call(unheard):
    function = Scripted("a text")
    call = called(function, is_async=False, retry=Retry(attempts=2, wait=0))
    lines = []

    def trace(frame, _event, _argument):
        lines.append(frame.f_code.co_name)
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        call()
    finally:
        sys.settrace(before)
    assert [attempt for _, attempt, *_ in function.seen] == [1, 2]
    assert lines.count("resilient_call") > 5
