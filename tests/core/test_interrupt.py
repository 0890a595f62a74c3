"""Limits end work in each of the three ways. These tests need real time."""

import asyncio
import contextlib
import contextvars
import itertools
import signal
import threading
import time

import pytest

from resilient_tasks import DeadlineExceeded, Failed, Ok, Retry, TimedOut, Timeout, resilient
from resilient_tasks.core.execution import abandoned, interrupt, threads

pytestmark = [pytest.mark.filterwarnings("ignore:.*is sync and has a timeout"), pytest.mark.usefixtures("each_call")]


def elsewhere(function, *args):
    """Call in a worker thread, where no signal can interrupt."""
    results = []

    def work():
        try:
            results.append(Ok(function(*args)))
        except BaseException as error:
            results.append(error)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return results[0].value if isinstance(results[0], Ok) else results[0]


def hold_the_interpreter_lock():
    """Compute for about a second, even on a fast machine, in one C call that never releases the GIL."""
    sum(itertools.repeat(1, 300_000_000))


@pytest.fixture
def took():
    """Seconds since the test began."""
    began = time.monotonic()
    return lambda: time.monotonic() - began


@pytest.fixture
def alarm():
    """Let a test use SIGALRM, and restore it."""
    before = signal.getsignal(signal.SIGALRM)
    yield lambda handler: signal.signal(signal.SIGALRM, handler)
    signal.setitimer(signal.ITIMER_REAL, 0)
    signal.signal(signal.SIGALRM, before)


class TestInTheMainThread:
    def test_sleeping_work_is_interrupted_on_time(self, took, resilient_events):
        @resilient(timeout=0.1)
        def slow():
            time.sleep(5)

        with pytest.raises(TimedOut) as info:
            slow()
        assert took() < 3
        assert (info.value.stopped, info.value.abandoned, info.value.seconds) == (True, False, 0.1)
        (event,) = resilient_events.named("timeout.exceeded")
        assert (event.policy, event.limit, event.stopped, event.abandoned) == ("timeout", 0.1, True, False)

    def test_work_that_computes_is_interrupted_too(self, took):
        @resilient(timeout=0.1)
        def spin():
            while True:
                pass

        assert isinstance(spin.outcome().error, TimedOut)
        assert took() < 3

    def test_the_works_own_cleanup_runs(self):
        cleaned = []

        @resilient(timeout=0.05)
        def slow():
            try:
                time.sleep(5)
            finally:
                cleaned.append(True)

        assert isinstance(slow.outcome(), Failed)
        assert cleaned == [True]

    def test_work_in_time_keeps_its_result_and_leaves_no_timer(self):
        assert resilient(timeout=5)(lambda: "done")() == "done"
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)

    def test_a_body_that_swallows_the_interrupt_is_reported_as_not_stopped(self, resilient_events):
        @resilient(timeout=0.05)
        def stubborn():
            try:
                time.sleep(5)
            except BaseException:
                return "late"

        error = stubborn.outcome().error
        assert isinstance(error, TimedOut)
        assert not error.stopped
        assert str(error).endswith("it was not stopped: it swallowed the interrupt")
        (event,) = resilient_events.named("timeout.exceeded")
        assert (event.stopped, event.reason) == (False, interrupt.SWALLOWED)

    def test_a_call_into_c_that_holds_the_interpreter_lock_is_reported_as_not_stopped(self, took):
        error = resilient(timeout=0.05)(hold_the_interpreter_lock).outcome().error
        assert took() > 0.05 + interrupt.LATE
        assert str(error).endswith(f"it was not stopped: {interrupt.HELD}")

    def test_an_error_of_the_work_itself_is_kept(self):
        @resilient(timeout=5)
        def fail():
            raise KeyError("mine")

        with pytest.raises(KeyError, match="mine"):
            fail()

    def test_the_inner_limit_ends_the_inner_call_only(self):
        @resilient(timeout=0.05)
        def inner():
            time.sleep(5)

        @resilient(timeout=5)
        def outer():
            return inner.outcome()

        assert isinstance(outer().error, TimedOut)
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)

    def test_the_outer_limit_ends_both(self, took, resilient_events):
        @resilient(timeout=5)
        def inner():
            time.sleep(5)

        @resilient(timeout=0.1)
        def outer():
            inner()

        assert isinstance(outer.outcome().error, TimedOut)
        assert took() < 3
        assert [event.operation.rpartition(".")[2] for event in resilient_events.named("timeout.exceeded")] == ["outer"]

    def test_the_outer_limit_ends_both_also_if_its_timer_runs_out_as_the_inner_call_begins(self, took, monkeypatch):
        @resilient(timeout=2)
        def inner():
            time.sleep(5)

        @resilient(timeout=0.1)
        def outer():
            monkeypatch.setattr(signal, "getitimer", lambda _: (0.0, 0.0))
            inner()

        assert isinstance(outer.outcome().error, TimedOut)
        assert took() < 1.5

    def test_the_inner_limit_still_holds_where_its_work_swallows_the_outer_interrupt(self, took):
        @resilient(timeout=0.3)
        def inner():
            with contextlib.suppress(BaseException):
                time.sleep(5)
            time.sleep(5)

        @resilient(timeout=0.1)
        def outer():
            inner()

        assert not outer.outcome().error.stopped
        assert took() < 3

    def test_the_outer_limit_still_holds_after_an_inner_one(self, took):
        @resilient(timeout=0.05)
        def inner():
            time.sleep(5)

        @resilient(timeout=0.15)
        def outer():
            inner.outcome()
            time.sleep(5)

        assert isinstance(outer.outcome().error, TimedOut)
        assert took() < 3

    def test_an_existing_handler_and_timer_are_restored(self, alarm):
        def handler(*_):
            pass

        alarm(handler)
        signal.setitimer(signal.ITIMER_REAL, 30, 7)
        assert resilient(timeout=5)(lambda: "done")() == "done"
        assert signal.getsignal(signal.SIGALRM) is handler
        left, interval = signal.getitimer(signal.ITIMER_REAL)
        assert 29 < left <= 30
        assert interval == 7

    def test_a_foreign_timer_rings_on_time_inside_the_work(self, alarm, took):
        rang = []
        alarm(lambda *_: rang.append(took()))
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        resilient(timeout=5)(time.sleep)(0.15)
        assert len(rang) == 1
        assert 0.04 <= rang[0] < 0.14
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)

    def test_a_foreign_timer_that_repeats_goes_on_repeating(self, alarm, took):
        rang = []
        alarm(lambda *_: rang.append(took()))
        signal.setitimer(signal.ITIMER_REAL, 0.03, 0.03)
        resilient(timeout=5)(time.sleep)(0.2)
        inside = len(rang)
        time.sleep(0.1)
        assert inside >= 3
        assert len(rang) > inside

    def test_a_foreign_handler_that_resets_its_timer_is_respected(self, alarm, took):
        rang = []

        def again(*_):
            rang.append(took())
            signal.setitimer(signal.ITIMER_REAL, 0.03)

        alarm(again)
        signal.setitimer(signal.ITIMER_REAL, 0.03)
        resilient(timeout=5)(time.sleep)(0.2)
        assert len(rang) >= 3

    def test_a_foreign_handler_that_raises_ends_the_work_with_its_error(self, alarm):
        class ForeignError(Exception):
            pass

        def stop(*_):
            raise ForeignError

        alarm(stop)
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        error = resilient(timeout=5)(time.sleep).outcome(1).error
        assert isinstance(error, ForeignError)

    def test_our_limit_comes_before_a_later_foreign_timer(self, alarm, took):
        rang = []
        alarm(lambda *_: rang.append(took()))
        signal.setitimer(signal.ITIMER_REAL, 0.2)
        assert isinstance(resilient(timeout=0.05)(time.sleep).outcome(5).error, TimedOut)
        assert rang == []
        time.sleep(0.25)
        assert len(rang) == 1

    def test_a_foreign_timer_without_a_handler_does_not_disturb_the_work(self, alarm):
        alarm(signal.SIG_IGN)
        signal.setitimer(signal.ITIMER_REAL, 0.02)
        assert isinstance(resilient(timeout=0.1)(time.sleep).outcome(5).error, TimedOut)
        assert signal.getsignal(signal.SIGALRM) is signal.SIG_IGN

    def test_a_ring_that_comes_after_the_work_has_ended_does_nothing(self):
        assert resilient(timeout=5)(lambda: "done")() == "done"
        signal.raise_signal(interrupt._SIGNAL)
        assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


class TestInAWorkerThread:
    @pytest.fixture
    def gate(self):
        """Blocks abandoned work; opened at the end, so that no thread outlives its test."""
        gate = threading.Event()
        yield gate
        gate.set()
        self.join()

    @staticmethod
    def join():
        """Let the abandoned threads end; those that are kept for the next work do not."""
        names = {about.thread for about in abandoned.abandoned()}
        for thread in threading.enumerate():
            if thread.name in names:
                thread.join(5)

    def test_the_call_returns_on_time_and_reports_that_the_work_still_runs(self, gate, took, resilient_events):
        @resilient(timeout=0.1)
        def stuck():
            gate.wait(5)

        error = elsewhere(stuck)
        assert took() < 3
        assert isinstance(error, TimedOut)
        assert (error.stopped, error.abandoned) == (False, True)
        (event,) = resilient_events.named("timeout.exceeded")
        assert (event.stopped, event.abandoned) == (False, True)
        (about,) = abandoned.abandoned()
        assert about.operation.endswith("stuck")
        assert about.thread == event.thread == event.as_dict()["thread.name"]
        assert about.thread in {thread.name for thread in threading.enumerate()}
        assert f"still running in abandoned thread {about.thread}" in str(error)
        assert event.sentence().endswith(f"not stopped, still running in the thread {about.thread}")
        assert about.since == pytest.approx(time.time(), abs=2)

    def test_work_that_computes_is_interrupted_in_its_thread(self, gate, took, resilient_events):
        cleaned = []

        @resilient(timeout=0.1)
        def spin():
            try:
                while not gate.is_set():
                    pass
            finally:
                cleaned.append(True)

        error = elsewhere(spin)
        assert took() < 3
        assert (error.stopped, error.abandoned) == (True, False)
        assert cleaned == [True]
        self.join()
        assert abandoned.abandoned() == ()

    def test_interrupted_work_is_retried_though_it_is_not_idempotent(self):
        calls = []

        @resilient(timeout=0.5, retry=Retry(attempts=2, wait=0))
        def spin_once():
            calls.append(1)
            while len(calls) < 2:
                pass
            return "done"

        assert elsewhere(spin_once) == "done"

    def test_work_that_swallows_the_interrupt_and_goes_on_is_abandoned(self, gate):
        def spin():
            while not gate.is_set():
                pass

        @resilient(timeout=0.1)
        def stubborn():
            while not gate.is_set():
                with contextlib.suppress(BaseException):
                    spin()

        error = elsewhere(stubborn)
        assert (error.stopped, error.abandoned) == (False, True)

    def test_work_that_waits_is_not_interrupted_behind_our_back_when_its_wait_is_over(self, gate):
        went_on = threading.Event()

        @resilient(timeout=0.1)
        def stuck():
            gate.wait(5)
            for _ in range(1000):
                pass
            went_on.set()

        assert elsewhere(stuck).abandoned
        gate.set()
        assert went_on.wait(5)  # as the error said: still running

    def test_an_outer_call_reports_that_the_inner_work_still_runs(self, gate, resilient_events):
        @resilient(timeout=5)
        def inner():
            gate.wait(5)

        @resilient(timeout=0.1)
        def outer():
            inner()

        error = elsewhere(outer)
        assert (error.stopped, error.abandoned) == (False, True)
        assert any(about.thread in str(error) for about in abandoned.abandoned())

    def test_work_that_ended_is_no_longer_counted_as_abandoned(self, gate):
        of_other_tests = set(threading.enumerate())
        elsewhere(resilient(timeout=0.05)(gate.wait))
        ours = set(threading.enumerate()) - of_other_tests
        (thread,) = [thread for thread in ours if thread.name.startswith("resilient:")]
        assert len(abandoned.abandoned()) == 1
        gate.set()
        thread.join(5)
        assert abandoned.abandoned() == ()

    def test_no_event_comes_from_abandoned_work(self, gate, resilient_events):
        ended = threading.Event()

        @resilient(retry=Retry(attempts=3, wait=0), fallback=lambda: ended.set() or "unused")
        def inner():
            gate.wait(5)
            raise ConnectionError

        @resilient(timeout=0.05)
        def outer():
            try:
                inner()
            finally:
                ended.set()

        assert isinstance(elsewhere(outer), TimedOut)
        before = resilient_events.names
        gate.set()
        assert ended.wait(5)
        assert resilient_events.names == before == ["timeout.exceeded", "call.failed"]

    def test_an_attempt_that_abandoned_work_was_waiting_for_is_not_made(self, resilient_events):
        calls = []

        @resilient(retry=Retry(attempts=3, wait=0.15))
        def inner():
            calls.append(1)
            raise ConnectionError

        @resilient(timeout=0.05)
        def outer():
            inner()

        assert isinstance(elsewhere(outer), TimedOut)
        self.join()
        assert calls == [1]
        assert resilient_events.named("retry.started") == []

    def test_no_resilient_call_begins_in_abandoned_work(self, gate, resilient_events):
        calls, errors = [], []
        inner = resilient(retry=3, fallback=lambda: calls.append("fallback"))(lambda: calls.append("inner"))

        @resilient(timeout=0.05)
        def outer():
            gate.wait(5)
            try:
                inner()
            except TimedOut as error:
                errors.append(error)

        assert isinstance(elsewhere(outer), TimedOut)
        before = resilient_events.names
        gate.set()
        self.join()
        assert calls == []
        assert "its caller stopped waiting" in str(errors[0])
        assert resilient_events.names == before

    def test_an_abandoned_attempt_is_not_followed_by_another(self, gate, resilient_clock, resilient_events):
        calls = []

        @resilient(timeout=0.05, retry=Retry(attempts=3, wait=1))
        def stuck():
            calls.append(1)
            gate.wait(5)

        error = elsewhere(stuck)
        assert calls == [1]
        assert any("idempotent=True" in note for note in error.__notes__)
        assert resilient_events.names == ["timeout.exceeded", "retry.exhausted", "call.failed"]

    def test_an_idempotent_operation_is_retried_beside_the_abandoned_attempt(self, gate, resilient_clock):
        calls = []

        @resilient(timeout=0.5, retry=Retry(attempts=2, wait=1), idempotent=True)
        def stuck_once():
            calls.append(1)
            return "done" if len(calls) > 1 else gate.wait(5)

        assert elsewhere(stuck_once) == "done"

    def test_the_work_sees_the_callers_context(self):
        from contextvars import ContextVar

        name = ContextVar("name", default="unset")

        @resilient(timeout=5)
        def who():
            return name.get()

        def call():
            name.set("the caller")
            return who()

        assert elsewhere(call) == "the caller"

    @pytest.mark.parametrize("error", [KeyError, KeyboardInterrupt])
    def test_what_the_work_raises_is_raised_in_the_callers_thread(self, error):
        @resilient(timeout=5)
        def fail():
            raise error

        assert isinstance(elsewhere(fail), error)

    def test_each_abandoned_thread_has_its_own_name(self, gate, resilient_events):
        stuck = resilient(timeout=0.05)(gate.wait)
        elsewhere(stuck)
        elsewhere(stuck)
        first, second = (event.thread for event in resilient_events.named("timeout.exceeded"))
        assert first != second
        assert {first, second} == {about.thread for about in abandoned.abandoned()}

    def test_a_call_into_c_that_holds_the_interpreter_lock_is_reported_as_not_stopped(self):
        error = elsewhere(resilient(timeout=0.05)(hold_the_interpreter_lock))
        assert not error.stopped
        assert interrupt.HELD in str(error)

    def test_a_deadline_abandons_as_a_timeout_does(self, gate):
        error = elsewhere(resilient(deadline=0.05)(gate.wait))
        assert isinstance(error, DeadlineExceeded)
        assert error.abandoned

    def test_a_caller_that_is_interrupted_fences_its_work(self, gate, monkeypatch, resilient_events):
        ended = threading.Event()

        @resilient(fallback=lambda: "unused")
        def inner():
            gate.wait(5)
            raise ConnectionError

        @resilient(timeout=5)
        def outer():
            try:
                inner()
            finally:
                ended.set()

        def interrupted(*_):
            raise KeyboardInterrupt

        monkeypatch.setattr(threads, "_wait", interrupted)
        assert isinstance(elsewhere(outer), KeyboardInterrupt)
        gate.set()
        assert ended.wait(5)
        assert resilient_events == []

    def test_work_that_ends_just_as_it_is_abandoned_is_taken_off_the_list(self, monkeypatch):
        def too_late(done, until):
            done.wait(5)
            return False

        monkeypatch.setattr(threads, "_wait", too_late)
        assert isinstance(elsewhere(resilient(timeout=5)(lambda: "done")), TimedOut)
        assert abandoned.abandoned() == ()


class TestInAnEventLoop:
    def test_waiting_work_is_cancelled(self, took, resilient_events):
        cancelled = []

        @resilient(timeout=0.05)
        async def slow():
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                cancelled.append(True)
                raise

        error = asyncio.run(slow.outcome()).error
        assert isinstance(error, TimedOut)
        assert error.stopped
        assert cancelled == [True]
        assert took() < 3

    def test_work_that_swallows_the_cancellation_is_reported_as_not_stopped(self):
        @resilient(timeout=0.05)
        async def stubborn():
            try:
                await asyncio.sleep(5)
            except asyncio.CancelledError:
                return "late"

        error = asyncio.run(stubborn.outcome()).error
        assert isinstance(error, TimedOut)
        assert str(error).endswith(f"it was not stopped: {interrupt.SWALLOWED}")

    def test_work_that_blocks_the_loop_is_reported_as_not_stopped(self):
        @resilient(timeout=0.05)
        async def blocks():
            time.sleep(0.1)  # noqa: ASYNC251  # this test is about blocking
            return "late"

        error = asyncio.run(blocks.outcome()).error
        assert isinstance(error, TimedOut)
        assert str(error).endswith(f"it was not stopped: {interrupt.BLOCKED}")

    def test_work_that_blocks_the_loop_far_past_its_limit_and_then_waits_is_reported_as_not_stopped(self):
        @resilient(timeout=0.05)
        async def blocks():
            time.sleep(0.1 + interrupt.LATE)  # noqa: ASYNC251  # this test is about blocking
            await asyncio.sleep(5)

        error = asyncio.run(blocks.outcome()).error
        assert str(error).endswith(f"it was not stopped: {interrupt.BLOCKED}")

    def test_a_slow_cleanup_is_reported_and_does_not_count_as_blocking(self):
        @resilient(timeout=0.05)
        async def slow():
            try:
                await asyncio.sleep(5)
            finally:
                await asyncio.sleep(0.1 + interrupt.LATE)

        error = asyncio.run(slow.outcome()).error
        assert not error.stopped
        assert str(error).endswith(" s after its limit")

    def test_a_timeout_error_of_the_work_is_not_mistaken_for_ours(self):
        @resilient(timeout=5)
        async def fail():
            raise TimeoutError("mine")

        error = asyncio.run(fail.outcome()).error
        assert type(error) is TimeoutError

    def test_cancelling_the_caller_cancels_the_work_and_no_policy_catches_it(self, resilient_events):
        @resilient(timeout=5, retry=3, fallback=lambda: "unused")
        async def slow():
            await asyncio.sleep(5)

        async def main():
            task = asyncio.ensure_future(slow())
            await asyncio.sleep(0)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

        asyncio.run(main())
        assert resilient_events == []


def test_a_cancellation_from_outside_at_the_time_of_two_limits_is_one():
    @resilient(timeout=0.01)
    async def inner():
        await asyncio.sleep(20)

    @resilient(timeout=0.02)
    async def outer():
        await inner()

    async def main():
        for _ in range(3):
            task = asyncio.create_task(outer())
            await asyncio.sleep(0)
            asyncio.get_running_loop().call_later(0.03, task.cancel)
            time.sleep(0.1)  # noqa: ASYNC251  # all three are due
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelling() == 1

    asyncio.run(main())


def test_without_timer_signals_a_thread_is_abandoned(monkeypatch):
    monkeypatch.delattr(signal, "setitimer")
    assert not interrupt.signals_work_here()


def test_the_longest_wait_for_a_thread_is_cut_into_slices():
    done = threading.Event()
    assert not threads._wait(done, time.monotonic() + 0.15)
    done.set()
    assert threads._wait(done, time.monotonic() + 0.15)


def test_a_late_result_is_kept_under_a_cooperative_timeout_only(drive, resilient_clock):
    def late():
        resilient_clock.advance(3)
        return "late"

    assert drive(late, timeout=Timeout(2, enforce="cooperative"))() == "late"
    assert isinstance(drive(late, timeout=Timeout(2)).outcome().error, TimedOut)


def test_a_call_in_another_thread_is_cut_by_the_deadline_that_it_inherits():
    release = threading.Event()
    inner = resilient(retry=Retry(attempts=2, wait=0))(lambda: release.wait(20))
    found = []

    @resilient(deadline=0.2)
    def outer():
        context = contextvars.copy_context()
        worker = threading.Thread(target=lambda: found.append(context.run(inner.outcome)))
        worker.start()
        worker.join(10)

    began = time.monotonic()
    outer.outcome()
    until = time.monotonic() + 5
    while not found and time.monotonic() < until:
        threading.Event().wait(0.01)
    took = time.monotonic() - began
    release.set()
    assert isinstance(found[0].error, DeadlineExceeded)
    assert took < 2
