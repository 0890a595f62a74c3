"""The virtual clock and the recorded events, as tests use them."""

import asyncio
import contextlib
import threading

import pytest

from resilient_tasks.core.events import NotifySent, bus
from resilient_tasks.core.execution.clock import SystemClock, now, use_clock
from resilient_tasks.testing import RecordedEvents, VirtualClock


def test_a_wait_ends_at_once_and_is_recorded():
    clock = VirtualClock(start=100)
    clock.sleep(3600)
    clock.sleep(0.5)
    assert clock.now() == 3700.5
    assert clock.waits == [3600, 0.5]


def test_time_that_work_takes_is_no_wait():
    clock = VirtualClock()
    clock.advance(5)
    assert (clock.now(), clock.waits) == (5, [])


def test_a_coroutine_that_waits_lets_the_others_have_a_turn():
    clock, turns = VirtualClock(), []

    async def wait(name):
        turns.append(f"{name} begins")
        await clock.asleep(1)
        turns.append(f"{name} ends")

    async def both():
        await asyncio.gather(wait("a"), wait("b"))

    asyncio.run(both())
    assert turns == ["a begins", "b begins", "a ends", "b ends"]
    assert clock.waits == [1, 1]


@pytest.mark.parametrize("seconds", [-1, float("nan"), float("inf")])
def test_the_clock_never_runs_backwards(seconds):
    clock = VirtualClock()
    with pytest.raises(ValueError, match="forward"):
        clock.advance(seconds)
    with pytest.raises(ValueError, match="forward"):
        clock.sleep(seconds)
    assert (clock.now(), clock.waits) == (0, [])


def test_no_wait_of_any_thread_is_lost():
    clock = VirtualClock()
    threads = [threading.Thread(target=lambda: [clock.sleep(1) for _ in range(500)]) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now() == len(clock.waits) == 4000


def test_a_clock_is_in_use_for_the_length_of_its_block():
    with use_clock(VirtualClock(start=5)):
        assert now() == 5
        with contextlib.suppress(KeyError), use_clock(VirtualClock(start=9)):
            assert now() == 9
            raise KeyError
        assert now() == 5


def test_the_systems_clock_really_waits():
    clock = SystemClock()
    began = clock.now()
    clock.sleep(0.12)
    asyncio.run(clock.asleep(0.03))
    assert 0.15 <= clock.now() - began < 2


def test_events_are_recorded_inside_the_block_and_found_by_name_and_operation():
    with RecordedEvents.listening() as events:
        bus.emit(NotifySent(operation="load", channel="slack"))
        bus.emit(NotifySent(operation="train", channel="slack"))
    bus.emit(NotifySent(operation="late", channel="slack"))
    assert events.names == ["notify.sent", "notify.sent"]
    assert [event.operation for event in events.named("notify.sent")] == ["load", "train"]
    assert events.named("call.failed") == []
    assert events.of("train").named("notify.sent") == [events[1]]
