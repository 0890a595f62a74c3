"""Bulkhead: a limit of concurrent calls, a queue in order of arrival, and a slot that is held until the work ends."""

import asyncio
import itertools
import sys
import threading
from contextlib import nullcontext

import cloudpickle
import pytest

from resilient_tasks import Bulkhead, BulkheadFull, Failed, Ok, Pipeline, PolicyError, TimedOut, explain, resilient
from resilient_tasks.core.execution.abandoned import abandoned
from resilient_tasks.core.execution.clock import use_clock
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.policies.bulkhead import slots as slots_file
from resilient_tasks.policies.bulkhead.machine import Slots
from resilient_tasks.policies.bulkhead.slots import HeldSlots
from resilient_tasks.state.states import states, use_store
from resilient_tasks.testing import VirtualClock


@pytest.fixture(autouse=True)
def store():
    with use_store(MemoryStore()) as states:
        yield states


def taken():
    """Return whether the one slot is taken."""
    outcome = Pipeline(Bulkhead("warehouse", 1)).outcome(int)
    return isinstance(outcome, Failed)


class Rooms:
    """Async calls that run until they are let out."""

    def __init__(self, bulkhead, **options):
        self.doors, self.inside = {}, []

        @resilient(bulkhead=bulkhead, **options)
        async def enter(name):
            self.inside.append(name)
            await self.doors.setdefault(name, asyncio.Event()).wait()
            self.inside.remove(name)
            return name

        self.enter = enter

    def begin(self, *names):
        return [asyncio.create_task(self.enter.outcome(name)) for name in names]

    def let_out(self, name):
        self.doors.setdefault(name, asyncio.Event()).set()


async def until(condition):
    """Let other coroutines run until a condition is true."""
    for _ in range(2000):
        if condition():
            return
        await asyncio.sleep(0.001)
    pytest.fail("the condition did not become true")


def test_no_more_calls_than_the_limit_run_and_the_others_are_refused(resilient_events):
    async def scenario():
        rooms = Rooms(Bulkhead("warehouse", limit=2))
        calls = rooms.begin(*"abcd")
        await until(lambda: calls[2].done() and calls[3].done())
        assert rooms.inside == ["a", "b"]
        error = (await calls[2]).error
        assert isinstance(error, BulkheadFull)
        assert str(error) == (
            "bulkhead warehouse is full (2 calls at once, 0 waiting): Rooms.__init__.<locals>.enter was not called;"
            " there is no queue"
        ).replace("Rooms.__init__.<locals>.", "")
        for name in "ab":
            rooms.let_out(name)
        assert [(await call).value for call in calls[:2]] == ["a", "b"]
        assert not taken()

    asyncio.run(scenario())
    assert resilient_events.named("bulkhead.rejected")[0].sentence() == (
        "bulkhead warehouse is full: 2 calls running, 0 waiting; there is no queue"
    )


def test_the_queue_is_served_in_the_order_of_arrival():
    async def scenario():
        rooms = Rooms(Bulkhead("warehouse", limit=1, queue=2))
        calls = []
        for name in "abcd":
            calls += rooms.begin(name)
            await asyncio.sleep(0)
        assert "the queue is full" in str((await calls[3]).error)
        order = []
        for name in "abc":
            await until(lambda: rooms.inside)
            order += rooms.inside
            rooms.let_out(name)
            await calls["abc".index(name)]
        assert order == ["a", "b", "c"]

    asyncio.run(scenario())


def test_a_call_that_waits_past_its_deadline_gives_up_its_place():
    async def scenario():
        rooms = Rooms(Bulkhead("warehouse", limit=1, queue=1), deadline=0.05)
        patient = Rooms(Bulkhead("warehouse", limit=1, queue=1))
        (first,) = patient.begin("first")
        await until(lambda: patient.inside)
        (late,) = rooms.begin("late")
        outcome = await late
        assert isinstance(outcome.error, BulkheadFull)
        assert "the deadline came first" in str(outcome.error)
        (next_one,) = patient.begin("next")  # the place is free
        patient.let_out("first")
        patient.let_out("next")
        assert [(await first).value, (await next_one).value] == ["first", "next"]

    asyncio.run(scenario())


def test_a_cancelled_call_gives_up_its_slot_or_its_place_in_the_queue():
    async def scenario():
        rooms = Rooms(Bulkhead("warehouse", limit=1, queue=1))
        inside, waiting = [*rooms.begin("inside"), *rooms.begin("waiting")]
        await until(lambda: rooms.inside)
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        (another,) = rooms.begin("another")
        await asyncio.sleep(0.01)
        assert not another.done()
        inside.cancel()
        rooms.let_out("another")
        assert (await another).value == "another"
        assert not taken()

    asyncio.run(scenario())


def test_a_failed_call_releases_its_slot(drive):
    def fail():
        raise ConnectionError

    call = drive(fail, bulkhead=Bulkhead("warehouse", 1))
    assert [type(call.outcome().error) for _ in range(3)] == [ConnectionError] * 3


def test_threads_wait_for_each_other(drive):
    at_once, most, lock = 0, 0, threading.Lock()
    gate = threading.Barrier(2, timeout=10)

    def work():
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        gate.wait()  # so that two really run
        with lock:
            at_once -= 1

    call = drive(work, bulkhead=Bulkhead("warehouse", 2, queue=10))
    threads = [threading.Thread(target=call) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert most == 2


def test_an_abandoned_attempt_holds_its_slot_until_it_ends():
    go_on = threading.Event()
    work = resilient(bulkhead=Bulkhead("warehouse", 1), timeout=0.05)(lambda: go_on.wait(20))
    outcomes = []
    thread = threading.Thread(target=lambda: outcomes.append(work.outcome()))
    thread.start()
    thread.join(10)
    assert isinstance(outcomes[0].error, TimedOut)
    assert outcomes[0].error.abandoned
    assert outcomes[0].error.thread in {each.thread for each in abandoned()}
    assert taken()
    go_on.set()
    for _ in range(1000):
        if not taken():
            return
        threading.Event().wait(0.01)
    pytest.fail("the slot was never released")


@pytest.mark.parametrize("state", [b"garbage", b"[]", b"{}", b"null", b'{"held":[],"queue":{}}'])
def test_an_unreadable_state_is_replaced(state):
    states().update("bulkhead/warehouse", lambda *_: (state, None))
    assert isinstance(Pipeline(Bulkhead("warehouse", 1)).outcome(int, "7"), Ok)


def test_it_crosses_to_another_process_as_a_value_and_is_explained():
    bulkhead = cloudpickle.loads(cloudpickle.dumps(Bulkhead("warehouse", 4, queue=20)))
    assert isinstance(Pipeline(bulkhead).outcome(int, "7"), Ok)
    assert "bulkhead: warehouse, 4 calls at once, 20 more may wait" in explain(resilient(bulkhead=bulkhead)(print))
    assert bulkhead.describe() != Bulkhead("warehouse", 4).describe()


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"name": ""}, "name of shared state"),
        ({"limit": 0}, "whole number of 1 or more"),
        ({"queue": -1}, "number of calls that may wait"),
        ({"queue": True}, "number of calls that may wait"),
    ],
)
def test_impossible_arguments_are_refused(given, complaint):
    with pytest.raises(PolicyError, match=complaint):
        Bulkhead(**{"name": "warehouse", "limit": 1, **given})


def test_a_keyword_that_is_no_bulkhead_is_refused():
    with pytest.raises(PolicyError, match=r"bulkhead= takes a Bulkhead\(\.\.\.\), not 5"):
        resilient(bulkhead=5)(print)


@pytest.mark.filterwarnings("ignore:coroutine 'Pipeline.run' was never awaited")  # interrupted before it was
def test_a_waiting_call_gives_up_its_place_wherever_it_is_interrupted():
    name, at, passed = "interrupted", 0, 0

    def interrupt(frame, event, _):
        nonlocal passed
        ours = "resilient_tasks" in frame.f_code.co_filename and frame.f_code is not HeldSlots.leave_queue.__code__
        if ours and event in {"call", "c_return"}:
            passed += 1
            if passed == at:
                sys.setprofile(None)
                raise KeyboardInterrupt

    waits = resilient(bulkhead=Bulkhead(name, 1, queue=1), deadline=1)(lambda: "done")

    @resilient(bulkhead=Bulkhead(name, 1))
    def holds():
        nonlocal passed
        passed = 0
        sys.setprofile(interrupt)
        try:
            waits()
        except KeyboardInterrupt:
            return True
        except BulkheadFull:
            return passed >= at
        finally:
            sys.setprofile(None)

    with use_clock(VirtualClock()):
        holds()
        more = True
        while more:
            at += 1
            more = holds()
            assert Slots.decode(states().get(f"bulkhead/{name}"), 0).queue == {}
        assert at > 100


def test_a_waiting_call_looks_often_at_first_and_at_least_ten_times_a_second_later(resilient_clock):
    held = Bulkhead("house", 1, queue=1)

    @resilient(bulkhead=held, deadline=9)
    def waits():
        pytest.fail("there is no slot")

    def around():
        return waits.outcome()

    assert isinstance(resilient(bulkhead=held)(around)().error, BulkheadFull)
    assert resilient_clock.waits[:2] == [0.005, 0.00625]
    assert all(before <= after for before, after in itertools.pairwise(resilient_clock.waits[:-1]))
    assert max(resilient_clock.waits) == 0.1
    assert len(resilient_clock.waits) > 90


class Shared(MemoryStore):
    """Stands for a store that processes share."""


@pytest.mark.parametrize(("store", "renewed"), [(MemoryStore, 0), (Shared, 1)], ids=["memory", "shared"])
def test_a_slot_is_needed_while_it_is_held_and_renewed_in_a_shared_store(monkeypatch, store, renewed):
    renewals = []
    monkeypatch.setattr(slots_file._Renewals, "add", lambda _, held: renewals.append(held))
    with use_store(store()) as states:

        @resilient(bulkhead=Bulkhead("house", 2))
        def inside():
            return states.views["bulkhead/house"].is_needed, len(renewals)

        assert inside() == (True, renewed)
        assert states.views["bulkhead/house"].is_needed is False
        assert inside() == (True, 2 * renewed)


def test_numbers_that_were_set_before_the_first_call_hold_for_it():
    house = Bulkhead("house", 3)
    house.set_numbers(limit=1)
    nested = resilient(bulkhead=house)(lambda: nested.outcome().error)
    assert isinstance(nested(), BulkheadFull)


@pytest.mark.parametrize("way", ["__call__", "outcome"])
def test_a_lower_limit_that_was_set_while_workers_run_holds_for_calls_that_are_made_at_once(way):
    house = Bulkhead("house", 3)

    @resilient(bulkhead=house)
    def nested(depth):
        return getattr(nested, way)(depth - 1) if depth else "inside"

    assert nested(0) == "inside"
    house.set_numbers(limit=1)
    assert nested(0) == "inside"
    with pytest.raises(BulkheadFull) if way == "__call__" else nullcontext():
        assert isinstance(nested(1).error, BulkheadFull)
