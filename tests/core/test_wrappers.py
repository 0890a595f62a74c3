"""The wrapper of a decorated function: a first attempt creates only its frame, which identifies the call."""

import _thread
import asyncio
import contextlib
import contextvars
import gc
import pickle
import signal
import sys
import threading
import time
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import pytest

from resilient_tasks import (
    AdaptiveRateLimit,
    Bulkhead,
    Failed,
    Fallback,
    Pipeline,
    Policy,
    RateLimit,
    Retry,
    TimedOut,
    Timeout,
    current_call,
    remaining,
    resilient,
)
from resilient_tasks.core import call as calls
from resilient_tasks.core import loops
from resilient_tasks.core.events import RetryMultiplied, RetryRecovered, RetryScheduled, RetryStarted, bus

ONCE_MORE = Retry(attempts=2, wait=0)


@pytest.fixture(autouse=True)
def _nothing_is_limited():
    """Hide limited calls that other tests have abandoned."""
    calls.limited.clear()


def warm(fn, *args):
    """Return `fn` after its first call, which enters the pipeline to report nested loops."""
    fn(*args)
    return fn


def until(happened):
    """Wait until something has happened."""
    for _ in range(2000):
        if happened():
            return
        time.sleep(0.01)
    pytest.fail("it did not happen")


def test_a_first_attempt_sets_no_context(drive):
    seen = drive(calls.running.get, retry=ONCE_MORE)
    seen()
    assert seen() is None


@pytest.mark.parametrize("parameters", ["", "a", "a, b=2", "a, *, b=2", "*args, **kwargs", "a, /", "self, work=1"])
def test_the_call_of_a_first_attempt_has_its_arguments_for_any_parameters(parameters):
    space = {"current_call": current_call}
    exec(f"def fetch({parameters}):\n    return current_call().work", space)
    fetch = resilient(retry=ONCE_MORE)(space["fetch"])
    args = (1,) if parameters.startswith(("a", "self", "*")) else ()
    fetch(*args)
    work = fetch(*args)
    assert work.args[: len(args)] == args
    assert work.operation == "fetch"


def test_arguments_can_be_passed_by_name_and_omitted():
    fetch = warm(resilient(retry=ONCE_MORE)(lambda a, b=2, *, c=3: (a, b, c)), 0)
    assert fetch(1) == fetch(a=1) == fetch(b=2, a=1) == fetch(1, c=3) == (1, 2, 3)
    with pytest.raises(TypeError, match="missing 1 required positional argument: 'a'"):
        fetch(c=1)
    with pytest.raises(TypeError, match="takes from 1 to 2 positional arguments but 3"):
        fetch(1, 2, 3)


def test_a_later_attempt_gets_the_same_arguments(drive):
    seen = []

    def fetch(a, b=2, *, c=3, d=4):
        seen.append((a, b, c, d))
        if len(seen) % 2:
            raise ConnectionError

    fetching = drive(fetch, retry=ONCE_MORE)
    fetching(1, d=5)
    fetching(1, d=5)
    assert seen == [(1, 2, 3, 5)] * 4


def test_a_fallback_gets_keyword_arguments_as_the_call_passed_them():
    def fail(url, page):
        raise ConnectionError

    fetch = resilient(fallback=lambda page, url: (url, page))(fail)
    assert [fetch(url="u", page=1) for _ in range(3)] == [("u", 1)] * 3


def test_an_attempt_always_gets_the_same_current_call(drive):
    twice = drive(lambda: (current_call(), current_call()), retry=ONCE_MORE)
    twice()
    first, second = twice()
    assert first is second


def test_the_current_call_is_the_one_nested_in_a_first_attempt(drive):
    def named():
        return current_call().operation

    inner = drive(named, retry=ONCE_MORE).decorated

    def inside():
        return current_call().operation, inner(), current_call().operation

    async def ainside():
        return current_call().operation, await inner(), current_call().operation

    around = drive(ainside if drive.is_async else inside, retry=ONCE_MORE)
    around()
    name = "ainside" if drive.is_async else "inside"
    assert around() == (name, "named", name)


def test_the_current_call_is_freed_with_its_frame(no_gc):
    class Big:
        pass

    fetch = warm(resilient(retry=ONCE_MORE)(lambda big: current_call().work.id), Big())
    big = Big()
    gone = weakref.ref(big)
    fetch(big)
    del big
    assert gone() is None


@pytest.fixture
def no_gc():
    gc.disable()
    yield
    gc.enable()


def test_a_debugger_goes_on_tracing_the_frame():
    lines = []

    def trace(frame, event, arg):
        if frame.f_code.co_name == "resilient_call":
            lines.append(event)
        return trace

    fetch = warm(resilient(retry=ONCE_MORE)(lambda: current_call().attempt))
    before = sys.gettrace()
    sys.settrace(trace)
    try:
        assert fetch() == 1
    finally:
        sys.settrace(before)
    assert lines[0] == "call"
    assert lines[-1] == "return"


def test_nested_calls_inherit_the_limit_of_a_first_attempt(drive, resilient_clock):
    inner = drive(remaining, retry=ONCE_MORE).decorated

    def inside():
        resilient_clock.advance(1)
        return inner()

    async def ainside():
        resilient_clock.advance(1)
        return await inner()

    around = drive(ainside if drive.is_async else inside, deadline=10)
    assert [around(), around(), around()] == [9, 9, 9]
    assert not calls.limited


def test_later_attempts_share_the_rest_of_the_deadline(drive, resilient_clock):
    left = []

    def fetch():
        left.append(remaining())
        resilient_clock.advance(2)
        if len(left) % 3:
            raise ConnectionError

    fetching = drive(fetch, retry=Retry(attempts=3, wait=3), deadline=60)
    fetching()
    fetching()
    assert left == [60, 55, 50] * 2


def test_time_before_the_pipeline_is_entered_counts_on_a_clock_that_starts_at_zero(drive, resilient_clock):
    left = []

    def fetch():
        if warmed:
            left.append(remaining())
            resilient_clock.advance(2)
            if len(left) < 2:
                raise ConnectionError

    warmed, fetching = False, drive(fetch, retry=Retry(attempts=2, wait=3), deadline=60)
    fetching()
    warmed = True
    fetching()
    assert left == [60, 55]


@pytest.mark.parametrize("limit", [{"timeout": 0.05}, {"deadline": 0.05}])
def test_nested_calls_in_an_abandoned_thread_are_fenced(limit):
    calls_inside, errors, gate = [], [], threading.Event()
    inner = warm(resilient(retry=ONCE_MORE)(calls_inside.append), "warm")
    threads = []

    @resilient(**limit)
    def outer(slow):
        if slow:
            threads.append(threading.current_thread())
            gate.wait(20)
            try:
                inner("too late")
            except TimedOut as error:
                errors.append(error)

    warm(outer, False)
    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(outer, True).exception()
    assert (error.stopped, error.abandoned) == (False, True)
    gate.set()
    threads[0].join(20)
    assert calls_inside == ["warm"]
    assert "its caller stopped waiting" in str(errors[0])
    assert not calls.limited


@pytest.mark.parametrize("times", [1, 2])
def test_no_call_begins_in_an_abandoned_task(times):
    begun, tasks = [], []

    async def insert(what):
        begun.append(what)

    inner = resilient(retry=ONCE_MORE)(insert)

    @resilient(timeout=0.05)
    async def outer(slow):
        async def later():
            await gate.wait()
            await inner("too late")

        if slow:
            tasks.append(asyncio.create_task(later()))
            await asyncio.shield(tasks[0])

    async def main():
        nonlocal gate
        gate = asyncio.Event()
        await inner("warm")
        for _ in range(1, times):
            await outer(False)
        with pytest.raises(TimedOut):
            await outer(True)
        gate.set()
        await asyncio.wait(tasks)

    gate = None
    asyncio.run(main())
    assert begun == ["warm"]
    assert isinstance(tasks[0].exception(), TimedOut)
    until(lambda: not calls.limited)


def test_an_attempt_stopped_in_a_worker_thread_is_freed():
    @resilient(timeout=0.2)
    def spin(slow):
        until = time.monotonic() + 1
        while slow and time.monotonic() < until:
            pass

    warm(spin, False)
    with ThreadPoolExecutor(1) as pool:
        error = pool.submit(spin, True).exception()
    assert isinstance(error, TimedOut)
    until(lambda: not calls.limited)


def test_a_call_nested_in_a_limit_runs_in_the_same_thread():
    inner = warm(resilient(retry=ONCE_MORE)(threading.get_ident))
    outer = warm(resilient(timeout=60)(lambda: (threading.get_ident(), inner())))
    with ThreadPoolExecutor(1) as pool:
        around, inside = pool.submit(outer).result()
    assert around == inside


@pytest.mark.parametrize("where", ["main thread", "worker thread", "async"])
def test_an_error_after_the_limit_is_reported_as_a_timeout(where):
    def late():
        try:
            time.sleep(0.2)
        except BaseException:
            raise KeyError from None
        raise KeyError

    async def alate():
        try:
            await asyncio.sleep(0.2)
        except asyncio.CancelledError:
            raise KeyError from None

    def spin():
        until = time.monotonic() + 20
        try:
            while time.monotonic() < until:
                pass
        except BaseException:
            raise KeyError from None

    limited = resilient(timeout=0.02)({"async": alate, "worker thread": spin}.get(where, late))
    errors = []
    for _ in range(3):
        with ThreadPoolExecutor(1) as pool:
            if where == "worker thread":
                errors.append(pool.submit(limited).exception())
                continue
            with pytest.raises(TimedOut) as raised:
                asyncio.run(limited()) if where == "async" else limited()
            errors.append(raised.value)
    assert [type(error) for error in errors] == [TimedOut] * 3


def test_an_error_after_the_limit_on_a_virtual_clock_is_reported_as_a_timeout(drive, resilient_clock):
    def fail():
        resilient_clock.advance(3)
        raise KeyError

    limited = drive(fail, timeout=2)
    assert [type(limited.outcome().error) for _ in range(3)] == [TimedOut] * 3
    for _ in range(3):
        with pytest.raises(TimedOut):
            limited()


def test_a_slot_is_given_back_however_the_attempt_ends(drive):
    bulkhead = Bulkhead("one", 1)
    ends = iter([None, None, ValueError(), KeyboardInterrupt(), None])

    def fetch():
        end = next(ends)
        if end is not None:
            raise end
        return "done"

    fetching = drive(fetch, bulkhead=bulkhead)
    assert fetching() == fetching() == "done"
    with pytest.raises(ValueError, match=""):
        fetching()
    with pytest.raises(KeyboardInterrupt):
        fetching()
    assert fetching() == "done"


def test_a_slot_is_given_back_by_a_plain_function_that_returned_an_awaitable():
    async def later(number):
        return number

    fetch = resilient(bulkhead=Bulkhead("later", 1), timeout=5)(lambda number, later=later: later(number))

    async def scenario():
        return [await fetch(number) for number in range(4)]

    assert asyncio.run(scenario()) == [0, 1, 2, 3]


def test_a_wrapper_pickled_by_value_finds_its_current_call():
    @resilient(retry=ONCE_MORE, fallback=Fallback(value=0))
    def fetch(url):
        return url, current_call().operation

    there = pickle.loads(cloudpickle.dumps(fetch))
    assert there("u") == there("u") == ("u", "fetch")


def test_threads_share_a_function(drive):
    fetch = resilient(retry=ONCE_MORE, bulkhead=Bulkhead("threads", 64))(lambda number: (number, remaining()))
    found = []
    threads = [threading.Thread(target=lambda n=n: found.append(fetch(n)[0])) for n in range(32)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(found) == list(range(32))


def test_a_timeout_around_a_retry_covers_all_attempts(drive, resilient_clock):
    tried = []

    def fetch():
        tried.append(1)
        resilient_clock.advance(3)
        raise ConnectionError

    fetching = drive(fetch, policies=Pipeline(Timeout(5), Retry(attempts=9, wait=0)))
    for _ in range(2):
        tried.clear()
        with pytest.raises(TimedOut):
            fetching()
        assert len(tried) == 9


def test_a_function_may_have_the_name_of_a_wrapper():
    def resilient_call():
        return current_call()

    assert resilient_call() is None
    fetch = warm(resilient(retry=ONCE_MORE)(resilient_call))
    assert fetch().operation.endswith("resilient_call")


@pytest.mark.parametrize("policies", [{"bulkhead": Bulkhead("thrown away", 9)}, {"timeout": 50}, {"retry": ONCE_MORE}])
def test_a_discarded_coroutine_can_be_closed_in_another_context(policies):
    class Pause:
        def __await__(self):
            yield

    async def fetch(pauses):
        if pauses:
            await Pause()

    fetching = resilient(**{"timeout": None, **policies})(fetch)

    def later():
        async def rest():
            await Pause()

        return rest()

    async def scenario():
        for call in (lambda: fetching(pauses=True), resilient(**policies)(later)):
            await fetching(pauses=False)
            await fetching(pauses=False)
            thrown_away = call().__await__()
            contextvars.copy_context().run(next, thrown_away)
            thrown_away.close()

    asyncio.run(scenario())
    assert not calls.limited


def test_a_slot_around_a_retry_is_held_during_all_attempts(drive):
    bulkhead = Bulkhead("all attempts", 1)
    other = resilient(bulkhead=bulkhead)(lambda: "entered")
    found = []

    def fetch():
        found.append(type(other.outcome()).__name__)
        if len(found) < 3:
            raise ConnectionError

    fetching = drive(fetch, policies=Pipeline(bulkhead, Retry(attempts=3, wait=0)))
    for _ in range(3):
        found.clear()
        fetching()
        assert found[:3] == ["Failed"] * 3
        found[:] = [None] * 2


@pytest.mark.parametrize("limit", [RateLimit("later", 9, 60, wait=False), AdaptiveRateLimit("adapts", 9, per=60)])
def test_a_plain_function_that_returns_an_awaitable_pays_once(limit, resilient_clock):
    begun = []

    async def later():
        begun.append(1)

    def plain():
        return later()

    fetch = resilient(policies=[limit])(plain)

    async def scenario():
        for _ in range(9):
            await fetch()
            resilient_clock.advance(60 / 9)

    asyncio.run(scenario())
    assert len(begun) == 9
    assert not resilient_clock.waits


@pytest.mark.parametrize("limits", [{}, {"timeout": 50}, {"deadline": 50}])
def test_each_nested_retry_is_reported_once(limits, resilient_events, monkeypatch):
    monkeypatch.setattr(loops, "_reported", set())

    def of_two(fn):
        return resilient(retry=ONCE_MORE, idempotent=True, **limits)(fn)

    @of_two
    def inner(failing):
        if failing:
            raise ConnectionError

    @of_two
    def middle(failing):
        inner(failing)

    @resilient(bulkhead=Bulkhead("once", 9))
    def once(failing):
        middle(failing)

    @of_two
    def outer(failing):
        once(failing)

    for failing in (False, True, True):
        for fetch in (outer, middle):
            with contextlib.suppress(ConnectionError):
                fetch(failing)
    reported = [event for event in resilient_events if isinstance(event, RetryMultiplied)]
    assert {(len(event.loops), event.attempts) for event in reported} == {(2, 4), (3, 8)}


def test_a_nested_retry_is_reported_even_if_the_inner_one_recovers(drive, monkeypatch):
    monkeypatch.setattr(loops, "_reported", set())
    reported, attempts = [], [0]

    @resilient(retry=ONCE_MORE)
    def inner():
        attempts[0] += 1
        if attempts[0] % 2:
            raise ConnectionError

    inner()  # alone at first
    outer = drive(lambda: inner(), retry=Retry(attempts=3, wait=0))  # noqa: PLW0108  # it has its own name
    unsubscribe = bus.subscribe(reported.append, lambda event: event is RetryMultiplied)
    try:
        outer()
        outer()
    finally:
        unsubscribe()
    (event,) = reported
    assert event.attempts == 6
    assert event.loops[1] == "inner (2 attempts)"


@pytest.mark.parametrize("policies", [{}, {"breaker": "lines"}, {"timeout": 50}])
def test_a_traceback_shows_the_lines_that_were_run(policies):
    @resilient(retry=ONCE_MORE, fallback={KeyError: lambda number: 0}, **policies)
    def fetch(number):
        raise ValueError(number)

    shown = []
    for others in ({}, {"breaker": "other lines"}, {"bulkhead": Bulkhead("other lines", 9), "timeout": 50}):
        resilient(fallback={KeyError: lambda number: 0}, **others)(lambda number: number)
        with pytest.raises(ValueError, match="7") as info:
            fetch(7)
        shown = [frame.line for frame in traceback.extract_tb(info.tb) if frame.name == "resilient_call"]
    assert shown[0] == "return runtime.drive(plan.pipeline.run(work)).unwrap()"
    assert shown[1].startswith("value = ")


def test_a_permit_is_given_back_if_another_policy_fails():
    class Breaks(Policy):
        spends = True

        def at_once(self, plan, args, kwargs):
            raise KeyboardInterrupt

        async def around(self, call, proceed):
            return await proceed(call)

    bulkhead = Bulkhead("given back", 1)
    fetch = resilient(bulkhead=bulkhead)(lambda: "done")
    breaks = resilient(bulkhead=bulkhead, policies=[Breaks()])(lambda: "done")
    assert fetch() == breaks() == "done"
    with pytest.raises(KeyboardInterrupt):
        breaks()
    assert fetch() == "done"


class Interrupted(BaseException):
    """Interrupt as a signal handler does, which may raise between any two steps of Python code."""


@pytest.mark.parametrize(
    "policies",
    [
        {"bulkhead": Bulkhead("interrupted", 1)},
        {"bulkhead": Bulkhead("with a rate", 1), "rate_limit": RateLimit("interrupted", 10**6, 1, burst=10**6)},
        {"bulkhead": Bulkhead("with a breaker", 1), "breaker": "interrupted"},
        {"bulkhead": Bulkhead("with a limit", 1), "timeout": 50},
    ],
)
def test_a_slot_is_given_back_wherever_the_call_is_interrupted(policies):
    fetch = warm(resilient(**policies)(lambda: "done"))
    fetch()
    entered = 0

    def count(frame, event, _):
        nonlocal entered
        if event == "call" and "resilient_tasks" in frame.f_code.co_filename:
            entered += 1
            if entered == at:
                raise Interrupted

    def interrupted():
        nonlocal entered
        entered = 0
        sys.setprofile(count)
        try:
            fetch()
        except Interrupted:
            return True
        finally:
            sys.setprofile(None)
        return False

    at = 1
    while interrupted():  # at the start of our first function, of the second, and so on
        assert fetch() == "done"
        at += 1
    assert at > 1
    within = resilient(bulkhead=policies["bulkhead"])(lambda: "entered")
    assert isinstance(resilient(**policies)(lambda: within.outcome())(), Failed), "given back once only"  # noqa: PLW0108


def test_no_call_stays_in_the_context_if_a_signal_comes_as_it_is_set(drive, monkeypatch):
    fetch = warm(drive(lambda: "done", timeout=50))
    running, signals = calls.running, [Interrupted]

    class Running:
        get, reset = running.get, running.reset

        def set(self, call):
            token = running.set(call)
            if signals:
                raise signals.pop()
            return token

    async def left():
        with contextlib.suppress(Interrupted):
            await fetch.decorated()
        return running.get()

    monkeypatch.setattr(calls, "running", Running())
    if drive.is_async:
        assert asyncio.run(left()) is None
    else:
        with pytest.raises(Interrupted):
            fetch()
        assert running.get() is None
    assert not signals
    assert not calls.limited


HELD = [
    {"bulkhead": Bulkhead("cut as it ends", 1)},
    {"bulkhead": Bulkhead("cut as it ends, with a breaker", 1), "breaker": "cut as it ends"},
    {"bulkhead": Bulkhead("cut as it ends, with a limit", 1), "timeout": 50},
]


@pytest.mark.parametrize("error", [ConnectionError, KeyboardInterrupt, None])
@pytest.mark.parametrize("policies", HELD)
def test_a_slot_is_given_back_if_the_thread_is_interrupted_as_its_work_ends(drive, policies, error, request):
    """An outer limit interrupts a thread that waits in C at the moment the wait fails or ends."""
    failing = False

    def interrupt(signum, frame):
        raise Interrupted

    def fetch():
        if failing:
            [*map(_thread.interrupt_main, (signal.SIGUSR1,))]  # a call in Python would raise it right here
            if error is not None:
                raise error
        return "done"

    async def in_one_task():
        answer = await fetch.decorated()
        pause()
        return answer

    def pause():
        """Raise the interrupt in the caller, not in the code of the event loop."""

    before = signal.signal(signal.SIGUSR1, interrupt)
    request.addfinalizer(lambda: signal.signal(signal.SIGUSR1, before))
    fetch = warm(drive(fetch, **policies))
    fetch()
    gc.collect()
    failing = True
    with pytest.raises(Interrupted):
        asyncio.run(in_one_task()) if drive.is_async else fetch()
    assert calls.running.get() is None
    assert not calls.limited
    failing = False
    assert fetch() == "done"


def test_a_task_finds_the_call_that_started_it_even_in_a_loop_inside_a_first_attempt():
    found = []

    async def ask():
        found.append(current_call().operation)

    @resilient(deadline=50)
    async def fetch():
        await asyncio.create_task(ask())
        await ask()

    async def scenario():
        await fetch()
        await ask()

    @resilient(retry=ONCE_MORE)
    def job():
        found.clear()
        asyncio.run(scenario())

    for _ in range(2):
        job()
        assert [name.rpartition(".")[2] for name in found] == ["fetch", "fetch", "job"]


@pytest.mark.usefixtures("resilient_clock")
def test_a_hedged_call_leaves_no_limited_call_behind(drive):
    hedged = drive(lambda: "answer", hedge=60, idempotent=True)
    assert [hedged(), hedged()] == ["answer"] * 2
    assert not calls.limited


def test_a_wrapper_that_is_pickled_by_value_leaves_the_sinks_of_its_process_behind(resilient_events):
    there = []

    def fetch():
        there.append(None)
        if len(there) % 2:
            raise ConnectionError("refused")

    waits = threading.Lock()  # as in a user's sink, which cannot be pickled
    unsubscribe = bus.subscribe(lambda event: waits.locked())
    try:
        copy = pickle.loads(cloudpickle.dumps(resilient(retry=ONCE_MORE)(fetch)))
        for _ in range(2):
            copy()
    finally:
        unsubscribe()
    assert [type(event) for event in resilient_events] == 2 * [RetryScheduled, RetryStarted, RetryRecovered]


def test_a_sink_that_reads_the_current_call_keeps_no_error_during_the_wait(drive, no_gc, resilient_clock):
    errors, kept = [], []

    class Refused(ConnectionError):
        def __init__(self):
            errors.append(weakref.ref(self))

    def fetch():
        kept.extend(error() is not None for error in errors)
        raise Refused

    fetch = drive(fetch, retry=Retry(attempts=3, wait=1))
    unsubscribe = bus.subscribe(lambda event: current_call(), lambda event: event is RetryScheduled)
    try:
        for _ in range(2):
            with pytest.raises(Refused):
                fetch()
            errors.clear()
    finally:
        unsubscribe()
    assert kept == 6 * [False]


def test_the_time_that_a_sink_takes_is_part_of_the_wait(drive, resilient_clock):
    began = []

    def fetch():
        began.append(resilient_clock.now())
        raise ConnectionError("refused")

    fetch = drive(fetch, retry=Retry(attempts=3, wait=2))
    unsubscribe = bus.subscribe(lambda event: resilient_clock.advance(1.5), lambda event: event is RetryScheduled)
    try:
        for _ in range(2):
            with pytest.raises(ConnectionError):
                fetch()
    finally:
        unsubscribe()
    assert began == [0, 2, 4, 4, 6, 8]


def test_a_retry_of_a_users_own_class_decides_itself(drive):
    class Never(Retry):
        async def around(self, call, proceed):
            return await proceed(call)

    attempts = []

    def fetch():
        attempts.append(None)
        raise ConnectionError("refused")

    fetch = drive(fetch, retry=Never(attempts=3, wait=0))
    for _ in range(2):
        with pytest.raises(ConnectionError):
            fetch()
    assert len(attempts) == 2
