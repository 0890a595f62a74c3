"""What a running function can read from its call: the attempt, the remaining time."""

import math

import pytest

from resilient_tasks import Pipeline, Policy, Retry, Timeout, current_call, remaining, resilient
from resilient_tasks.core.execution import runtime

COOPERATIVE = Timeout(4, enforce="cooperative")


def test_nothing_limits_a_function_outside_of_any_call():
    assert current_call() is None
    assert remaining() == math.inf


def test_the_current_call_has_the_operation_and_the_attempt(drive, resilient_clock):
    seen = []

    def fetch():
        call = current_call()
        seen.append((call.operation, call.attempt))
        if len(seen) < 3:
            raise ConnectionError

    drive(fetch, retry=Retry(attempts=3, wait=0), deadline=60)()
    assert seen == [("fetch", 1), ("fetch", 2), ("fetch", 3)]
    assert current_call() is None


def test_nothing_limits_a_call_without_limits(drive):
    assert drive(remaining)() == math.inf


def test_a_deadline_is_shared_by_attempts_and_waits(drive, resilient_clock):
    left = []

    def fetch():
        left.append(remaining())
        resilient_clock.advance(2)
        if len(left) < 3:
            raise ConnectionError

    drive(fetch, retry=Retry(attempts=3, wait=3), deadline=60)()
    assert left == [60, 55, 50]


def test_the_remaining_time_is_the_earlier_of_timeout_and_deadline(drive, resilient_clock):
    left = []

    def fetch():
        left.append(remaining())
        resilient_clock.advance(3.5)
        if len(left) < 2:
            raise ConnectionError

    drive(fetch, retry=Retry(attempts=2, wait=0), timeout=COOPERATIVE, deadline=6)()
    assert left == [4, 2.5]


def test_the_remaining_time_is_never_negative(resilient_clock):
    @resilient(timeout=COOPERATIVE)
    def fetch():
        resilient_clock.advance(9)
        return remaining()

    assert fetch() == 0


@pytest.mark.parametrize(
    "inner", [{}, {"retry": 3}, {"deadline": 600}, {"timeout": Timeout(600, "cooperative")}], ids=str
)
def test_a_nested_call_inherits_the_limits_of_the_outer_call(drive, inner, resilient_clock):
    decorated = drive(remaining, **inner).decorated

    def outer():
        resilient_clock.advance(1)
        return decorated()

    async def aouter():
        resilient_clock.advance(1)
        return await decorated()

    fn = aouter if drive.is_async else outer
    assert drive(fn, deadline=10)() == 9
    assert drive(fn, timeout=COOPERATIVE)() == 3


def test_a_nested_call_may_have_less_time_but_not_more(resilient_clock):
    short, long = resilient(deadline=2)(remaining), resilient(deadline=99)(remaining)

    @resilient(deadline=10)
    def outer():
        return short(), long(), remaining()

    assert outer() == (2, 10, 10)


def test_nested_calls_do_not_set_the_limit_again(monkeypatch, resilient_clock):
    from resilient_tasks.core.execution import interrupt

    limited = []
    by_signal = interrupt.by_signal
    monkeypatch.setattr(interrupt, "by_signal", lambda *about: limited.append(about[1]) or by_signal(*about))

    @resilient(deadline=10)
    def outer():
        return resilient(retry=2)(remaining)()

    assert outer() == 10
    assert limited == [10]


def test_each_call_has_its_own_id_which_its_attempts_share(drive, resilient_clock, resilient_events):
    def fail():
        raise ConnectionError

    call = drive(fail, retry=Retry(attempts=2, wait=0))
    call.outcome()
    call.outcome()
    ids = [event.call for event in resilient_events]
    assert len(set(ids)) == 2
    assert ids[:4] == [ids[0]] * 4


class Spy(Policy):
    """Records the call, and fences it if `fence`."""

    def __init__(self, *, fence=False):
        self.fence = fence
        self.seen = []

    async def around(self, call, proceed):
        self.seen.append(call)
        if self.fence:
            call.fence()
        return await proceed(call)


def test_a_fenced_call_and_its_descendants_emit_and_begin_nothing(drive, resilient_clock, resilient_events):
    calls = []

    def fail():
        calls.append(1)
        raise ConnectionError

    spy = Spy(fence=True)
    drive(fail, policies=Pipeline(spy, Retry(attempts=3, wait=1))).outcome()
    assert spy.seen[0].fenced
    assert resilient_events == []
    assert (calls, resilient_clock.waits) == ([], [])


def test_a_changed_copy_leaves_the_call_as_it_is():
    spy = Spy()
    Pipeline(spy).call(max, 1, 2)
    call = spy.seen[0]
    other = call.changed(args=(3, 4), kwargs={}).attempted(2).within(5).within(limited_until=6)
    assert (other.work.args, other.attempt, other.deadline, other.limited_until) == ((3, 4), 2, 5, 6)
    assert (call.work.args, call.attempt, call.deadline, call.limited_until) == ((1, 2), 1, math.inf, math.inf)
    assert other.work.id == call.work.id
    elsewhere = other.changed(runtime=runtime.ASYNC)
    assert (elsewhere.runtime, other.runtime, call.runtime) == (runtime.ASYNC, runtime.SYNC, runtime.SYNC)
    assert (elsewhere.attempt, elsewhere.deadline, elsewhere.limited_until) == (2, 5, 6)
    assert elsewhere.work.id == call.work.id
    free = other.without_limits()
    assert (free.deadline, free.limited_until, free.attempt) == (math.inf, math.inf, 2)
