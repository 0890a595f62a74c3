"""Waits end although a test has frozen time."""

import asyncio
import subprocess
import sys
import threading
import time
from unittest import mock

import pytest

from resilient_tasks import DeadlineExceeded, Failed, Hedge, RateLimit, Retry, TimedOut
from resilient_tasks.core.execution import clock, real_time
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.sqlite import SQLiteStore
from resilient_tasks.state.states import use_store


def by_mocks():
    names = ("time", "monotonic", "perf_counter")
    patches = [mock.patch(f"time.{name}", return_value=5.0) for name in names]
    return [*patches, mock.patch("time.sleep")]


def by_freezegun():
    return [pytest.importorskip("freezegun").freeze_time("2020-01-01")]


def by_freezegun_with_real_loops():
    return [pytest.importorskip("freezegun").freeze_time("2020-01-01", real_asyncio=True)]


def by_time_machine():
    return [pytest.importorskip("time_machine").travel("2020-01-01", tick=False)]


@pytest.fixture(
    params=[by_mocks, by_freezegun, by_freezegun_with_real_loops, by_time_machine], ids=lambda way: way.__name__
)
def frozen(request):
    """Run something in frozen time, in another thread: the test fails if it does not end."""
    freezers = request.param()

    def do(work):
        results = []

        def in_frozen_time():
            try:
                results.append(work())
            except BaseException as error:
                results.append(error)

        worker = threading.Thread(target=in_frozen_time, daemon=True)
        for freezer in freezers:
            freezer.__enter__()
        try:
            worker.start()
            worker.join(15)
        finally:
            for freezer in reversed(freezers):
                freezer.__exit__(None, None, None)
        assert results, "it did not end"
        if isinstance(results[0], BaseException):
            raise results[0]
        return results[0]

    return do


@pytest.fixture(autouse=True)
def own_store():
    with use_store(MemoryStore()):
        yield


def test_a_retry_waits_and_ends(frozen, drive, flaky):
    call = drive(flaky(ConnectionError(), ConnectionError()), retry=Retry(attempts=3, wait=0.02))
    assert frozen(call.outcome).value == "done"


def test_a_deadline_ends_the_attempts(frozen, drive):
    def down():
        raise ConnectionError

    call = drive(down, retry=Retry(attempts=1000, wait=0.02), deadline=0.1)
    assert isinstance(frozen(call.outcome), Failed)


def test_a_deadline_and_a_timeout_end_work_that_waits(frozen, drive):
    slow = drive.sleeper(0.5) if drive.is_async else lambda: threading.Event().wait(0.5)
    assert isinstance(frozen(drive(slow, deadline=0.05).outcome).error, DeadlineExceeded)
    assert isinstance(frozen(drive(slow, timeout=0.05).outcome).error, TimedOut)


def test_a_rate_limit_lets_the_next_call_through(frozen, drive):
    call = drive(lambda: "done", rate_limit=RateLimit("api", calls=1, per=0.03))
    assert frozen(lambda: [call() for _ in range(3)]) == 3 * ["done"]


def test_a_rate_limit_in_a_file_lets_the_next_call_through(frozen, drive, tmp_path):
    with use_store(SQLiteStore(f"sqlite:///{tmp_path}/state.db")):
        call = drive(lambda: "done", rate_limit=RateLimit("api", calls=1, per=0.03))
        assert frozen(lambda: [call() for _ in range(3)]) == 3 * ["done"]


def test_a_hedge_begins_its_second_call(frozen, drive):
    calls = []

    def sync():
        calls.append(1)
        if len(calls) == 1:
            threading.Event().wait(1)
        return len(calls)

    async def coroutine():
        calls.append(1)
        if len(calls) == 1:
            await asyncio.Event().wait()
        return len(calls)

    call = drive(coroutine if drive.is_async else sync, hedge=Hedge(after=0.02), idempotent=True)
    assert frozen(call) == 2


def test_the_clock_of_policies_is_the_machines(frozen):
    began = time.monotonic()
    now, wall = frozen(lambda: (clock.now(), real_time.time()))
    assert began <= now <= time.monotonic()
    assert wall > 0


def test_a_timer_of_a_loop_that_was_closed_in_the_meantime_is_forgotten():
    async def main():
        with mock.patch("time.monotonic", return_value=5.0):
            real_time.call_later(asyncio.get_running_loop(), 0.02, list)

    asyncio.run(main())
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            thread.join(5)
    assert not any(isinstance(thread, threading.Timer) for thread in threading.enumerate())


def test_the_clock_is_real_even_if_the_package_is_first_imported_in_frozen_time():
    script = (
        "from unittest import mock\n"
        "with mock.patch('time.monotonic', return_value=5.0), mock.patch('time.time', return_value=5.0):\n"
        "    from resilient_tasks import Retry, resilient\n"
        "    from resilient_tasks.core.execution import clock\n"
        "    assert clock.now() != 5 != clock.wall()\n"
        "    from resilient_tasks.core.events import TimeoutExceeded\n"
        "assert clock.now() < clock.now() + 1\n"
        "event = TimeoutExceeded(operation='f', policy='timeout', limit=1.0, stopped=True, abandoned=False)\n"
        "assert event.time > 1e9\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=60)  # the same interpreter
