"""Doors: for state in memory the wrapper itself admits calls, with the same results as the policy."""

import asyncio
import contextlib
import os
import pickle
import threading

import cloudpickle
import pytest

from resilient_tasks import (
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    CircuitOpen,
    Failed,
    Ok,
    RateLimit,
    RateLimited,
    Retry,
    RetryBudget,
    configure,
    resilient,
)
from resilient_tasks.core import call as calls
from resilient_tasks.core import settings
from resilient_tasks.core.execution.clock import SystemClock, use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.policies.breaker.machine import Circuit
from resilient_tasks.state.states import states, use_store
from resilient_tasks.testing import VirtualClock


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    monkeypatch.setattr(settings, "current", settings.Settings())
    calls.limited.clear()
    clock = VirtualClock(start=1000)
    with use_clock(clock), use_store(MemoryStore()):
        yield clock


def warm(fn):
    """Return `fn` once its door is open: the first call enters the pipeline, and the second one opens the door."""
    for _ in range(3):
        fn()
    return fn


ALL = {
    "bulkhead": {"bulkhead": Bulkhead("x", 3)},
    "window": {"rate_limit": RateLimit("x", 100, 1)},
    "bucket": {"rate_limit": RateLimit("x", 100, 1, burst=100)},
    "in a row": {"breaker": CircuitBreaker("x", failures=2)},
    "rate": {"breaker": CircuitBreaker("x")},
    "last": {"breaker": CircuitBreaker("x", last=20)},
    "slow": {"breaker": CircuitBreaker("x", slow=5)},
    "slow in a row": {"breaker": CircuitBreaker("x", failures=2, slow=5)},
    "several": {
        "bulkhead": Bulkhead("x", 3),
        "rate_limit": RateLimit("x", 100, 1),
        "breaker": CircuitBreaker("x", failures=2),
    },
}


@pytest.mark.parametrize("policies", [*ALL.values(), {"retry": Retry(budget=RetryBudget("x"))}], ids=[*ALL, "budget"])
@pytest.mark.parametrize("own_time", [False, True], ids=["by the clock", "by its own time"])
def test_an_admitted_call_enters_no_pipeline(drive, clock, policies, own_time):
    with use_store(MemoryStore(clock.now)) if own_time else contextlib.nullcontext():
        enters_no_pipeline(drive, policies)


def enters_no_pipeline(drive, policies):
    seen = warm(drive(calls.running.get, **policies))
    assert seen() is None


@pytest.mark.parametrize("name", ["bulkhead", "window", "bucket", "in a row", "rate"])
def test_an_open_door_asks_no_policy(drive, name, monkeypatch):
    (policy,) = ALL[name].values()
    asked, at_once = [], type(policy).at_once
    monkeypatch.setattr(type(policy), "at_once", lambda *given: asked.append(1) or at_once(*given))
    fetch = warm(drive(lambda: "done", **ALL[name]))
    assert asked
    asked.clear()
    for _ in range(10):
        fetch()
    assert asked == []


@pytest.mark.parametrize("policies", ALL.values(), ids=ALL)
def test_a_failure_is_recorded_once_and_releases_what_was_taken(drive, policies, flaky):
    fetch = warm(drive(flaky(), retry=Retry(attempts=2, wait=0), **policies))
    fails = drive(flaky(*[ConnectionError("down")] * 9), retry=Retry(attempts=9, wait=0), **policies)
    assert fetch() == "done"
    with pytest.raises((ConnectionError, CircuitOpen)):
        warm(fails)
    if "breaker" not in policies:
        assert fetch() == "done"
        return
    status = policies["breaker"].status()
    assert status.state == "open" or status.failures in (2, 9)


def test_functions_with_different_limits_see_the_same_slots(drive):
    inside = []

    def work(more):
        inside.append(1)
        try:
            return more[0](more[1:]) if more else len(inside)
        finally:
            inside.pop()

    few, many = (resilient(bulkhead=Bulkhead("x", limit))(work) for limit in (1, 3))
    for fn in (few, many) * 3:
        assert fn(()) == 1
    assert few((many, many)) == 3
    assert many((many, many)) == 3
    with pytest.raises(BulkheadFull):
        many((few,))
    assert many((many,)) == 2


@pytest.mark.parametrize("changed", [False, True], ids=["of the code", "changed"])
def test_breakers_of_one_name_count_their_successes_by_their_own_rules(drive, changed):
    by_rate = CircuitBreaker("x", window=600)
    if changed:
        by_rate.set_numbers(open_for=5)
    in_a_row, rate = drive(lambda: None, breaker=CircuitBreaker("x", failures=3)), drive(lambda: None, breaker=by_rate)
    for _ in range(5):
        rate()
        in_a_row()
    assert by_rate.status().calls == 5


def test_a_success_after_a_failure_counts_by_its_own_rules(drive):
    """The permit last issued to the other function records successes by other rules."""
    by_rate, down = CircuitBreaker("x", window=600), [True]

    def work():
        if down:
            raise ConnectionError(down.pop())

    warm(drive(lambda: None, breaker=CircuitBreaker("x", failures=3)))
    rate = drive(work, breaker=by_rate)
    with pytest.raises(ConnectionError):
        rate()
    rate()
    status = by_rate.status()
    assert (status.calls, status.failures) == (2, 1)


@pytest.mark.parametrize("window", [{"window": 20}, {"last": 50}], ids=["seconds", "calls"])
def test_successes_count_at_their_own_time(drive, clock, window):
    breaker = CircuitBreaker("x", **window)
    fetch = warm(drive(lambda: None, breaker=breaker))
    for _ in range(5):
        fetch()
        clock.advance(0.9)
    assert breaker.status().calls == 8
    clock.advance(17)
    assert breaker.status().calls == (2 if "window" in window else 8)  # of 20 s, to within one bucket


def test_a_success_ends_a_run_of_failures_that_began_meanwhile():
    breaker = CircuitBreaker("x", failures=2)

    def fails():
        raise ConnectionError("down")

    failing = resilient(breaker=breaker)(fails)
    fetch = warm(resilient(breaker=breaker)(lambda fail=False: failing.outcome() and None if fail else None))
    fetch(fail=True)
    assert breaker.status().failures == 0
    fetch(fail=True)
    assert breaker.status().state == "closed"


def test_a_circuit_that_opened_meanwhile_admits_no_call(drive, clock):
    breaker = CircuitBreaker("x", failures=2)
    fetch = warm(drive(lambda: "done", breaker=breaker))
    breaker.open(10)
    with pytest.raises(CircuitOpen):
        fetch()
    clock.advance(11)
    assert warm(fetch)() == "done"
    breaker.isolate()
    with pytest.raises(CircuitOpen):
        fetch()


@pytest.mark.parametrize("rules", [{"failures": 2}, {}, {"slow": 5}], ids=["in a row", "rate", "slow"])
def test_a_circuit_that_was_written_to_the_memory_from_outside_is_read(drive, clock, rules):
    breaker = CircuitBreaker("x", **rules)
    fetch = warm(drive(lambda: "done", breaker=breaker))
    for state in (Circuit().opened(clock.now(), 10.0, "by hand"), Circuit()):
        states().update("breaker/x", lambda *_, state=state: (state.encode(), None))
        if state.state == "open":
            with pytest.raises(CircuitOpen):
                fetch()
        else:
            assert fetch() == "done"


@pytest.mark.parametrize(
    "policies", [ALL["in a row"], ALL["rate"], ALL["several"]], ids=["in a row", "rate", "several"]
)
def test_failures_open_it_again_after_it_has_closed(drive, clock, policies):
    breaker, down = policies["breaker"], []

    def work():
        if down:
            raise ConnectionError("down")

    fetch = warm(drive(work, **policies))
    for _ in range(3):
        breaker.open(10)
        clock.advance(11)
        warm(fetch)
        down.append(1)
        for _ in range(20):
            with pytest.raises((ConnectionError, CircuitOpen)):
                fetch()
        down.clear()
        assert breaker.status().state == "open"


@pytest.mark.parametrize(
    "policies", [ALL["in a row"], ALL["several"], ALL["slow"]], ids=["in a row", "several", "slow"]
)
def test_it_has_another_state_in_another_store(drive, policies):
    fetch = warm(drive(lambda: "done", **policies))
    with use_store(MemoryStore()):
        warm(fetch)
        policies["breaker"].isolate()
        with pytest.raises(CircuitOpen):
            fetch()
    assert fetch() == "done"


def test_a_slot_that_is_taken_in_another_store_is_free_here():
    bulkhead = Bulkhead("x", 1)
    taken = []

    @resilient(bulkhead=bulkhead)
    def within():
        return "done"

    @resilient(bulkhead=bulkhead)
    def around():
        with use_store(MemoryStore()):
            taken.append(warm(within)())
        return within.outcome()

    warm(within)
    assert isinstance(around(), Failed)
    assert taken == ["done"]
    assert within() == "done"


def test_an_open_circuit_admits_calls_while_policies_are_disabled(drive):
    breaker = CircuitBreaker("x", failures=2)
    fetch = warm(drive(lambda: "done", breaker=breaker))
    breaker.isolate()
    configure(enabled=False)
    assert fetch() == "done"
    configure(enabled=True)
    with pytest.raises(CircuitOpen):
        fetch()


@pytest.mark.parametrize("burst", [{}, {"burst": 3}], ids=["window", "bucket"])
def test_no_more_calls_are_admitted_than_the_rate_allows(drive, clock, burst):
    fetch = drive(lambda: "done", rate_limit=RateLimit("x", 3, 3, wait=False, **burst))
    passed = []
    for _ in range(60):
        with contextlib.suppress(RateLimited):
            fetch()
            passed.append(clock.now())
        clock.advance(0.25)
    for first, fourth in zip(passed, passed[3:], strict=False):
        assert fourth - first >= (3 if not burst else 1)
    assert len(passed) >= 14


@pytest.mark.parametrize("policies", ALL.values(), ids=ALL)
def test_a_wrapper_is_pickled_by_value_with_its_door_closed(policies):
    copy = pickle.loads(cloudpickle.dumps(warm(resilient(**policies)(lambda: "done"))))
    with use_store(MemoryStore()):
        assert warm(copy)() == "done"
    assert copy() == "done"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks here")
def test_a_forked_child_holds_none_of_its_parents_slots():
    within = warm(resilient(bulkhead=Bulkhead("x", 1))(lambda: "done"))

    @resilient(bulkhead=Bulkhead("x", 1))
    def around():
        if (child := os.fork()) == 0:
            os._exit(0 if [within() for _ in range(3)] == ["done"] * 3 else 1)
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), within.outcome()

    warm(within)
    code, outcome = around()
    assert code == 0
    assert isinstance(outcome, Failed)


def test_the_event_of_a_slow_success_names_its_function(drive, clock, resilient_events):
    breaker = CircuitBreaker("x", slow=5, min_calls=4, window=600)
    seconds = [0]

    def work():
        clock.advance(seconds[0])

    fetch = warm(drive(work, breaker=breaker))
    seconds[0] = 6
    for _ in range(3):
        fetch()
    (opened,) = [event for event in resilient_events if event.name == "breaker.opened"]
    assert opened.operation.endswith("work")
    assert opened.reason == "3 of 6 calls were slow"
    assert breaker.status().state == "open"


def test_a_failed_attempt_can_be_slow_too(drive, clock):
    breaker = CircuitBreaker("x", slow=5, min_calls=4, window=600, failure_rate=1)
    down = []

    def work():
        if down:
            clock.advance(6)
            raise ConnectionError("down")

    fetch = warm(drive(work, breaker=breaker))
    down.append(1)
    with pytest.raises(ConnectionError):
        fetch()
    assert breaker.status().slow == 1


# Work of an async call that a cancellation does not end.


class Threads:
    """Work in threads that waits for the test."""

    def __init__(self):
        self.gate, self.begun = threading.Event(), 0

    def work(self):
        self.begun += 1
        self.gate.wait(20)

    async def begins(self, number=1):
        """Wait until this many have begun."""
        for _ in range(4000):
            if self.begun >= number:
                return
            await asyncio.sleep(0.005)
        pytest.fail("it did not begin")


@pytest.fixture
def threads():
    threads = Threads()
    yield threads
    threads.gate.set()


async def cancelled(coroutine, once):
    task = asyncio.create_task(coroutine)
    await once
    task.cancel()
    await asyncio.wait([task])


def is_free(bulkhead):
    return isinstance(resilient(bulkhead=bulkhead)(lambda: "done").outcome(), Ok)


def test_work_of_an_earlier_call_of_the_same_task_holds_no_slot(threads):
    bulkhead = Bulkhead("x", 1)
    left = []

    @resilient(bulkhead=bulkhead)
    async def fetch(wait):
        if wait:
            await asyncio.sleep(60)
        left.append(asyncio.create_task(asyncio.to_thread(threads.work)))
        await threads.begins()

    async def scenario():
        await fetch(wait=False)
        await cancelled(fetch(wait=True), asyncio.sleep(0.01))
        assert is_free(bulkhead)
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(fetch(wait=True), 0.01)
        assert is_free(bulkhead)
        threads.gate.set()
        await left[0]

    with use_clock(SystemClock()):
        asyncio.run(scenario())


def test_work_of_an_inner_call_holds_the_slot_of_the_outer_one(threads):
    outer, inner = Bulkhead("x", 1), Bulkhead("y", 1)

    @resilient(bulkhead=inner)
    async def begin():
        asyncio.get_running_loop().call_soon(lambda: None)
        return asyncio.create_task(asyncio.to_thread(threads.work))

    @resilient(bulkhead=outer)
    async def fetch():
        for number in range(1, 3):
            task = await begin()
            await threads.begins(number)
        await task

    async def scenario():
        await cancelled(fetch(), threads.begins(2))
        assert is_free(inner)
        assert not is_free(outer)
        threads.gate.set()
        for _ in range(2000):
            if is_free(outer):
                return
            await asyncio.sleep(0.005)
        pytest.fail("the slot was not released")

    with use_clock(SystemClock()):
        asyncio.run(scenario())


def test_marks_do_not_accumulate():
    async def nothing():
        return None

    fetch = resilient(bulkhead=Bulkhead("x", 3))(nothing)

    async def around():
        for _ in range(5):
            await fetch()
        return [*calls.held.get()]

    async def scenario():
        for _ in range(3):
            await fetch()
        outside = calls.held.get()
        assert outside == [None, None, None]
        held = resilient(bulkhead=Bulkhead("y", 3))(around)
        for _ in range(3):
            operation, _, outer = await held()
        assert operation.endswith("around")
        assert outer is None

    asyncio.run(scenario())
    assert states().views
