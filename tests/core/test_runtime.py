"""Driving a pipeline sync and async."""

import asyncio

import pytest

from resilient_tasks import Ok, Pipeline, Policy
from resilient_tasks.core.execution import runtime
from resilient_tasks.core.outcome import Failed


class Suspends(Policy):
    """A policy that awaits something that a sync pipeline cannot wait for."""

    async def around(self, call, proceed):
        await asyncio.sleep(0)
        return await proceed(call)


def test_a_policy_that_suspends_in_a_sync_pipeline_fails_loudly(drive):
    call = drive(lambda: "done", policies=[Suspends()])
    if drive.is_async:
        assert call() == "done"
    else:
        with pytest.raises(RuntimeError, match=r"suspended in a sync pipeline.*async def"):
            call()


def test_a_policy_that_suspends_fails_the_same_way_without_a_decorator():
    with pytest.raises(RuntimeError, match="suspended"):
        Pipeline(Suspends()).call(lambda: "done")


def test_a_coroutine_that_suspends_is_closed():
    closed = []

    async def suspends():
        try:
            await asyncio.sleep(0)
        finally:
            closed.append(True)

    with pytest.raises(RuntimeError):
        runtime.drive(suspends())
    assert closed == [True]


def test_a_result_and_an_error_are_outcomes():
    def fail():
        raise KeyError

    for how in (runtime.SYNC, runtime.ASYNC):
        run = asyncio.run if how is runtime.ASYNC else runtime.drive
        assert run(how.invoke(max, (1, 2), {})).value == 2
        assert isinstance(run(how.invoke(fail, (), {})).error, KeyError)


def test_an_async_runtime_awaits_what_is_awaitable():
    async def double(n):
        return 2 * n

    assert asyncio.run(runtime.ASYNC.invoke(double, (2,), {})).value == 4


@pytest.mark.parametrize("signal", [KeyboardInterrupt, SystemExit, asyncio.CancelledError])
def test_a_base_exception_passes_every_policy(drive, signal, resilient_events):
    def stop():
        raise signal

    call = drive(stop, retry=3, fallback=lambda: "stand-in", deadline=5)
    with pytest.raises(signal):
        call()
    assert resilient_events == []


@pytest.mark.parametrize("how", [runtime.SYNC, runtime.ASYNC], ids=["sync", "async"])
def test_a_wait_of_zero_reads_no_clock(how, resilient_clock):
    run = asyncio.run if how is runtime.ASYNC else runtime.drive
    run(how.sleep(0))
    run(how.sleep(-1))
    assert resilient_clock.waits == []
    run(how.sleep(2))
    assert resilient_clock.waits == [2]


def test_cooperative_limits_let_the_work_end_by_itself():
    async def proceed(call):
        return Ok(call)

    for how in (runtime.SYNC, runtime.ASYNC):
        run = asyncio.run if how is runtime.ASYNC else runtime.drive
        assert run(how.limit("the call", proceed, 0.001, "cooperative")).value == "the call"


def test_failed_holds_the_error_of_the_function_itself(drive):
    error = ValueError("mine")

    def fail():
        raise error

    outcome = drive(fail).outcome()
    assert isinstance(outcome, Failed)
    assert outcome.error is error
