"""Hedge: the first answer wins, and the other calls have no further effect."""

import asyncio
import threading
from dataclasses import dataclass

import cloudpickle
import pytest

from resilient_tasks import (
    AdaptiveRateLimit,
    Bulkhead,
    CircuitBreaker,
    Failed,
    Hedge,
    Ok,
    Pipeline,
    Policy,
    PolicyError,
    RateLimit,
    Retry,
    abandoned,
    explain,
    resilient,
)
from resilient_tasks.core.events import ChaosInjected, bus
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import use_store

SOON = 0.1  # seconds: a busy machine takes a moment to begin the first call


@pytest.fixture(autouse=True)
def store():
    with use_store(MemoryStore()) as states:
        yield states


class Service:
    """Answers its calls by number: at once, or when released; an error is raised."""

    def __init__(self, *answers):
        self.answers, self.begun, self.ended, self.cancelled = answers, 0, 0, 0
        self.go_on = threading.Event()
        self.lock = threading.Lock()

    def next(self):
        with self.lock:
            self.begun += 1
            return self.answers[self.begun - 1]

    def give(self, answer):
        self.ended += 1
        if isinstance(answer, Exception):
            raise answer
        return answer

    def sync(self):
        answer = self.next()
        if answer == "slow":
            self.go_on.wait(20)
        return self.give(answer)

    async def later(self):
        answer = self.next()
        try:
            while answer == "slow" and not self.go_on.is_set():  # noqa: ASYNC110  # threads use it, too
                await asyncio.sleep(0.001)
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return self.give(answer)


@dataclass(frozen=True, eq=False)
class Tells(Policy):
    """Tells, inside of the hedge, that a call has ended."""

    async def around(self, call, proceed):
        outcome = await proceed(call)
        call.emit(ChaosInjected, fault="none: it has ended")
        return outcome


@pytest.fixture(params=["sync", "async"])
def hedged(request, drive):
    """`hedged(service, **options)` calls it in one of the two ways, once."""
    if request.param != ("async" if drive.is_async else "sync"):
        pytest.skip("each way once")

    def call(service, **options):
        fn = service.later if drive.is_async else service.sync
        return drive(fn, **{"hedge": Hedge(SOON), "idempotent": True, **options}).outcome()

    return call


def test_a_fast_answer_needs_no_second_call(hedged, resilient_events):
    service = Service("first", "second")
    assert hedged(service).value == "first"
    assert (service.begun, resilient_events) == (1, [])


def test_the_second_call_answers_for_a_slow_first_one(hedged, resilient_events):
    service = Service("slow", "second")
    assert hedged(service).value == "second"
    assert service.begun == 2
    assert resilient_events.names == ["hedge.started", "hedge.won"]
    assert resilient_events[0].sentence() == "no answer for 0.1 s: called once more, as number 2"
    assert resilient_events[1].number == 2
    service.go_on.set()


def test_as_many_calls_as_allowed_are_made_side_by_side(hedged):
    service = Service("slow", "slow", "third")
    assert hedged(service, hedge=Hedge(SOON, attempts=3)).value == "third"
    service.go_on.set()
    none_answers = Service("slow", "slow")
    timer = threading.Timer(0.2, none_answers.go_on.set)
    timer.start()
    assert hedged(none_answers).value == "slow"
    assert none_answers.begun == 2


def test_a_failure_is_no_outcome_while_another_call_is_running(hedged):
    service = Service("slow", ConnectionError("refused"))
    timer = threading.Timer(0.2, service.go_on.set)
    timer.start()
    assert hedged(service).value == "slow"


def test_a_quick_failure_is_a_failure_and_no_reason_to_call_again(hedged, resilient_events):
    service = Service(ConnectionError("refused"), "second")
    assert isinstance(hedged(service), Failed)
    assert service.begun == 1
    assert resilient_events.names == ["call.failed"]


def test_if_all_fail_the_last_failure_is_the_outcome(hedged):
    class Both(Service):
        def give(self, answer):
            raise ConnectionError(answer)

    service = Both("slow", "second")
    timer = threading.Timer(0.2, service.go_on.set)
    timer.start()
    assert str(hedged(service).error) == "slow"


def test_a_loser_is_cancelled_or_abandoned_and_has_no_further_effect(hedged, drive, resilient_events):
    class FailsLate(Service):
        def give(self, answer):
            self.ended += 1
            if answer == "slow":
                raise ConnectionError("refused")
            return answer

    service = FailsLate("slow", "second")
    hedged(service, retry=Retry(attempts=3, wait=0), breaker=CircuitBreaker("api", failures=1), policies=[Tells()])
    seen = list(resilient_events)
    assert resilient_events.names == ["hedge.started", "chaos.injected", "hedge.won"]
    if drive.is_async:
        assert service.cancelled == 1
    else:
        (left,) = [each for each in abandoned() if each.operation.endswith("sync")]
        assert "hedge-1" in left.thread
        service.go_on.set()
        for _ in range(2000):
            if not [each for each in abandoned() if each.thread == left.thread]:
                break
            threading.Event().wait(0.001)
        assert service.ended == 2
    assert resilient_events == seen
    assert CircuitBreaker("api").status().state == "closed"


def test_each_call_takes_a_separate_slot_until_it_ends(hedged, drive):
    service = Service("slow", "second")
    assert hedged(service, bulkhead=Bulkhead("api", 2)).value == "second"
    refused = Pipeline(Bulkhead("api", 1)).outcome(int)
    assert isinstance(refused, Failed) != drive.is_async  # a cancelled coroutine has ended, a thread has not
    service.go_on.set()


WAITING = {
    "rate limit": {"rate_limit": RateLimit("api", calls=1, per=0.25)},
    "token bucket": {"rate_limit": RateLimit("api", calls=4, per=1, burst=1)},
    "adaptive limit": {"rate_limit": AdaptiveRateLimit("api", start=4, per=1)},
    "bulkhead": {"bulkhead": Bulkhead("api", 1, queue=9)},
}


@pytest.mark.parametrize("waits_for", WAITING)
def test_a_call_that_waits_for_its_turn_is_not_slow(hedged, waits_for):
    guards = WAITING[waits_for]
    began, let_go = threading.Event(), threading.Event()

    def first():
        began.set()
        if waits_for == "bulkhead":
            threading.Timer(0.25, let_go.set).start()
            let_go.wait(20)

    holder = threading.Thread(target=resilient(**guards)(first))
    holder.start()
    began.wait(20)

    service, begun_at_hedge = Service(*["answer"] * 9), []
    note = lambda event: event.name == "hedge.started" and begun_at_hedge.append(service.begun)  # noqa: E731
    with bus.listening(note):
        assert hedged(service, hedge=Hedge(5 * SOON), **guards).value == "answer"
    holder.join()
    assert 0 not in begun_at_hedge


@pytest.mark.parametrize("waits_for", WAITING)
def test_after_its_turn_has_come_a_slow_call_is_hedged(hedged, waits_for, resilient_events):
    service = Service("slow", "second")
    assert hedged(service, **(WAITING[waits_for] | {"bulkhead": Bulkhead("api", 2)})).value == "second"
    assert "hedge.won" in resilient_events.names
    service.go_on.set()


def test_retries_are_around_it(hedged):
    service = Service("slow", ConnectionError(), "third")
    timer = threading.Timer(0.3, service.go_on.set)
    service.give = lambda answer: (
        (_ for _ in ()).throw(ConnectionError()) if answer == "slow" else Service.give(service, answer)
    )
    timer.start()
    assert hedged(service, retry=Retry(attempts=2, wait=0)).value == "third"


def test_cancelling_the_call_cancels_all_its_attempts():
    service = Service("slow", "slow")

    async def scenario():
        fetch = resilient(hedge=SOON, idempotent=True)(service.later)
        call = asyncio.create_task(fetch())
        while service.begun < 2:  # noqa: ASYNC110  # no event tells of it
            await asyncio.sleep(0.001)  # its own beginning sets no event
        call.cancel()
        await asyncio.gather(call, return_exceptions=True)
        await asyncio.sleep(0.01)
        assert service.cancelled == 2

    asyncio.run(scenario())


def test_a_base_exception_passes(drive):
    def interrupted():
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drive(interrupted, hedge=Hedge(SOON), idempotent=True)()


def test_a_sync_call_sees_its_callers_context(drive):
    import contextvars

    seen = contextvars.ContextVar("seen", default="nothing")
    seen.set("what the caller set")
    assert drive(seen.get, hedge=Hedge(SOON), idempotent=True)() == "what the caller set"


def test_it_is_refused_if_the_work_must_not_be_done_twice():
    with pytest.raises(PolicyError, match=r"print would run twice at once .* set idempotent=True"):
        resilient(hedge=0.2)(print)
    outcome = Pipeline(Hedge(0.2)).outcome(int, "7")
    assert isinstance(outcome.error, PolicyError)
    resilient(idempotent=True)(print)
    with pytest.raises(PolicyError, match="would run it again from its first item"):

        @resilient(hedge=0.2, idempotent=True)
        def items():
            yield 1


def test_it_crosses_to_another_process_as_a_value_and_is_explained():
    fetch = cloudpickle.loads(cloudpickle.dumps(resilient(hedge=0.2, idempotent=True)(_number)))
    assert isinstance(fetch.outcome("7"), Ok)
    assert "hedge: after 0.2 s, up to 2 concurrent attempts" in explain(fetch)


def _number(text):
    return int(text)


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"after": 0}, "seconds above 0"),
        ({"attempts": 1}, "so it is 2 or more, not 1"),
        ({"attempts": True}, "so it is 2 or more"),
    ],
)
def test_impossible_arguments_are_refused(given, complaint):
    with pytest.raises(PolicyError, match=complaint):
        Hedge(**{"after": 0.1, **given})
