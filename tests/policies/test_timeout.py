"""Timeout as a policy; how the work is ended is in tests/core/test_interrupt.py."""

import asyncio
import gc

import pytest

from resilient_tasks import DeadlineExceeded, Failed, Ok, Pipeline, PolicyError, Retry, TimedOut, Timeout, resilient

pytestmark = [pytest.mark.filterwarnings("ignore:.*is sync and has a timeout"), pytest.mark.usefixtures("each_call")]


def test_an_attempt_that_is_too_slow_is_ended_on_time(drive):
    with pytest.raises(TimedOut) as info:
        drive(drive.sleeper(5), timeout=0.05)()
    assert str(info.value) == "slow exceeded its timeout of 0.05 s"
    assert (info.value.seconds, info.value.stopped) == (0.05, True)


def test_an_attempt_in_time_keeps_its_result(drive):
    assert drive(drive.sleeper(0, "done"), timeout=5, deadline=5)() == "done"


def test_each_attempt_has_the_whole_timeout(drive, resilient_events):
    call = drive(drive.sleeper(5), timeout=0.05, retry=Retry(attempts=2, wait=0))
    assert isinstance(call.outcome(), Failed)
    assert [event.attempt for event in resilient_events.named("timeout.exceeded")] == [1, 2]


def test_a_timeout_nearer_than_the_deadline_is_the_one_that_counts(drive):
    assert type(drive(drive.sleeper(5), deadline=5, timeout=0.05).outcome().error) is TimedOut


def test_a_late_result_has_failed_even_if_nothing_could_stop_the_work(drive, resilient_clock, resilient_events):
    def slow():
        resilient_clock.advance(3)
        return "late"

    error = drive(slow, deadline=2).outcome().error
    assert isinstance(error, DeadlineExceeded)
    assert not error.stopped
    assert [event.stopped for event in resilient_events.named("timeout.exceeded")] == [False]


class TestCooperative:
    LIMIT = Timeout(2, enforce="cooperative")

    def test_a_late_result_is_kept_and_reported(self, drive, resilient_clock, resilient_events):
        def slow():
            resilient_clock.advance(3)
            return "late"

        assert isinstance(drive(slow, timeout=self.LIMIT).outcome(), Ok)
        (event,) = resilient_events
        assert (event.name, event.limit, event.stopped, event.abandoned) == ("timeout.exceeded", 2, False, False)

    def test_a_result_in_time_is_no_event(self, drive, resilient_clock, resilient_events):
        assert drive(lambda: "done", timeout=self.LIMIT)() == "done"
        assert resilient_events == []

    def test_it_runs_on_the_callers_thread(self):
        import threading

        assert Pipeline(self.LIMIT).call(threading.current_thread) is threading.current_thread()


class TestProcess:
    """What happens in the process, and to it, is in tests/subprocess."""

    LIMIT = Timeout(20, enforce="process")

    def test_a_plain_function_runs_in_a_separate_process(self):
        import os

        assert Pipeline(self.LIMIT).call(os.getpid) != os.getpid()

    def test_a_function_that_is_too_slow_is_stopped(self, resilient_events):
        import time

        limit = Timeout(0.2, enforce="process")
        error = resilient(timeout=limit)(time.sleep).outcome(60).error
        assert (str(error), error.stopped) == ("sleep exceeded its timeout of 0.2 s", True)
        event = resilient_events.named("timeout.exceeded")[0]
        assert (event.policy, event.limit, event.stopped, event.abandoned) == ("timeout", 0.2, True, False)

    def test_a_nearer_deadline_stops_it_too(self):
        import time

        error = resilient(timeout=self.LIMIT, deadline=0.2)(time.sleep).outcome(60).error
        assert isinstance(error, DeadlineExceeded)
        assert error.stopped

    def test_async_functions_are_refused_at_decoration(self):
        async def fetch(): ...

        with pytest.raises(PolicyError, match="fetch is async, and can be cancelled where it is: drop enforce="):
            resilient(timeout=self.LIMIT)(fetch)

    def test_generators_are_refused_at_decoration(self):
        def pages():
            yield

        with pytest.raises(PolicyError, match="pages is a generator function"):
            resilient(timeout=self.LIMIT)(pages)

    def test_a_system_that_cannot_fork_is_refused_at_decoration(self, monkeypatch):
        monkeypatch.delattr("os.fork")
        with pytest.raises(PolicyError, match="use enforce='auto' here"):
            resilient(timeout=self.LIMIT)(len)

    def test_a_retry_of_it_causes_no_warning_about_idempotence(self, recwarn):
        resilient(timeout=self.LIMIT, retry=3)(len)
        assert not recwarn.list


@pytest.mark.parametrize("enforce", ["hard", None, "thread"])
def test_an_invalid_enforce(enforce):
    with pytest.raises(PolicyError, match=r"Timeout\(enforce=...\) is one of auto, process, cooperative, not"):
        Timeout(1, enforce=enforce)


@pytest.mark.parametrize("seconds", [0, -1, "2", None, True, float("nan"), float("inf")])
def test_a_limit_is_a_number_of_seconds_above_zero(seconds):
    with pytest.raises(PolicyError, match=rf"{'Timeout'}\(seconds\) is a number of seconds above 0, not"):
        Timeout(seconds)


@pytest.mark.filterwarnings("error")
def test_an_async_limit_outside_of_any_asyncio_task_is_refused():
    @resilient(timeout=5)
    async def fetch():
        return "done"

    async def main():
        ended = asyncio.get_running_loop().create_future()

        def drive():
            try:
                fetch().send(None)
            except RuntimeError as error:
                ended.set_result(error)

        asyncio.get_running_loop().call_soon(drive)
        return await ended

    error = asyncio.run(main())
    gc.collect()  # a coroutine that was never awaited warns now
    assert isinstance(error, RuntimeError)
    assert "needs an asyncio task to cancel, and runs in none" in str(error)


def test_a_call_fails_if_no_child_process_can_be_prepared_for_it(monkeypatch):
    problem = RuntimeError("cannot be pickled")

    def prepare(*_):
        raise problem

    monkeypatch.setattr("resilient_tasks.subprocess.runtime.ProcessRuntime.prepare", prepare)
    assert Pipeline(Timeout(5, enforce="process")).outcome(int, "7").error is problem
