"""CircuitBreaker: what opens and closes a circuit, which calls it admits, and the events that it emits."""

import asyncio
import threading

import cloudpickle
import pytest

from resilient_tasks import (
    Bulkhead,
    Chaos,
    CircuitBreaker,
    CircuitOpen,
    Failed,
    Kind,
    Ok,
    Pipeline,
    PolicyError,
    RateLimit,
    Retry,
    explain,
    register_kind,
    resilient,
)
from resilient_tasks.state.listed import LISTED
from resilient_tasks.state.states import states


class NotFoundError(Exception):
    """An error with a status, like those of HTTP clients."""

    status = 404


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


@pytest.fixture
def service(drive):
    """`service(CircuitBreaker(...), more=...)` decorates a function that returns or raises `service.answers`."""

    class Service:
        def __init__(self):
            self.answers, self.calls = [], 0

        def __call__(self, breaker, **options):
            def fetch():
                self.calls += 1
                answer = self.answers.pop(0) if self.answers else "[]"
                if isinstance(answer, BaseException):
                    raise answer
                return answer

            self.fetch = drive(fetch, breaker=breaker, **options)
            return self

        def meets(self, *answers):
            """Call once for each answer, and return the results, or the types of the errors."""
            found = []
            for answer in answers:
                self.answers = [answer]
                outcome = self.fetch.outcome()
                found.append(type(outcome.error) if isinstance(outcome, Failed) else outcome.value)
            return found

    return Service()


DOWN = ConnectionError("refused")


def test_consecutive_failures_open_it(service):
    service(CircuitBreaker("api", failures=3))
    assert service.meets(DOWN, DOWN, "[]", DOWN, DOWN, DOWN) == [
        *[ConnectionError] * 2,
        "[]",
        *[ConnectionError] * 3,
    ]
    assert service.meets("not called") == [CircuitOpen]
    assert service.calls == 6


def test_the_error_names_the_circuit_and_when_to_retry(service, clock):
    service(CircuitBreaker("api", failures=1, open_for=30))
    service.meets(DOWN)
    clock.advance(10)
    outcome = service.fetch.outcome()
    assert str(outcome.error) == "circuit api is open: fetch was not called; a call may be let through in 20.0 s"
    assert (outcome.error.name, outcome.error.retry_in) == ("api", 20)
    again = cloudpickle.loads(cloudpickle.dumps(outcome.error))
    assert (str(again), again.name, again.retry_in) == (str(outcome.error), "api", 20)


def test_a_share_of_failures_in_the_window_opens_it_once_there_are_enough_calls(service):
    service(CircuitBreaker("api", failure_rate=0.5, min_calls=4))
    assert service.meets(DOWN, DOWN, "[]") == [ConnectionError, ConnectionError, "[]"]
    assert service.meets(DOWN, "") == [ConnectionError, CircuitOpen]


def test_successes_among_failures_are_counted(service, clock):
    clock.advance(10_000)  # long after the clock's zero: each call counts at its own time
    service(CircuitBreaker("api", failure_rate=0.5, min_calls=4))
    for _ in range(10):
        assert service.fetch() == "[]"
    assert CircuitOpen not in service.meets(*[DOWN] * 9)
    assert service.meets(DOWN, "") == [ConnectionError, CircuitOpen]


def test_a_success_does_not_open_it_even_if_it_completes_the_minimum_of_calls(service):
    service(CircuitBreaker("api", failure_rate=0.5, min_calls=3))
    assert service.meets(DOWN, DOWN, "[]", "[]") == [ConnectionError, ConnectionError, "[]", "[]"]
    assert service.meets(DOWN, "") == [ConnectionError, CircuitOpen]


def test_calls_older_than_the_window_do_not_count(service, clock):
    service(CircuitBreaker("api", failure_rate=0.5, min_calls=4, window=60))
    service.meets(DOWN, DOWN, DOWN)
    clock.advance(60)
    assert CircuitOpen not in service.meets(DOWN, "[]", "[]", "[]", "[]")


def test_old_pending_successes_do_not_count_as_new_ones(service, clock):
    service(CircuitBreaker("api", failure_rate=0.5, min_calls=4, window=60))
    service.meets(*["[]"] * 100)  # within the staleness of the store: nothing is written
    clock.advance(3600)
    assert service.meets(*[DOWN] * 4, "") == [*[ConnectionError] * 4, CircuitOpen]


def test_a_rate_can_be_measured_over_the_last_calls(service, clock):
    service(CircuitBreaker("api", failure_rate=0.6, last=5, min_calls=5))
    assert CircuitOpen not in service.meets(DOWN, DOWN, "[]", "[]", "[]", DOWN)
    clock.advance(1e6)  # their age does not matter
    assert service.meets(DOWN, DOWN, "") == [ConnectionError, ConnectionError, CircuitOpen]


def test_slow_calls_open_it_even_if_they_succeed(drive, clock):
    fetch = drive(lambda: clock.advance(4), breaker=CircuitBreaker("api", slow=3, slow_rate=0.5, min_calls=2))
    fetch(), fetch()
    with pytest.raises(CircuitOpen):
        fetch()
    assert CircuitBreaker("api").status().reason == "2 of 2 calls were slow"


@pytest.mark.parametrize("way", ["__call__", "outcome"])
@pytest.mark.parametrize(("seconds", "slow"), [(2.9, 0), (3.0, 1)])
def test_a_call_is_slow_from_this_many_seconds_on(clock, way, seconds, slow):
    breaker = CircuitBreaker("api", slow=3, min_calls=9)
    fetch = getattr(resilient(breaker=breaker)(clock.advance), way)
    for number in range(1, 4):
        fetch(seconds)
        status = breaker.status()
        assert (status.slow, status.calls) == (slow * number, number)


def test_slow_calls_count_beside_consecutive_failures(drive, clock):
    breaker = CircuitBreaker("api", failures=10, slow=3, slow_rate=1.0, min_calls=2)
    fetch = drive(lambda: clock.advance(4), breaker=breaker)
    fetch(), fetch()
    assert breaker.status().state == "open"


def test_a_probe_that_is_slow_opens_it_again(drive, clock):
    breaker = CircuitBreaker("api", failures=1, slow=3)
    fetch = drive(clock.advance, breaker=breaker)
    breaker.open(30)
    clock.advance(30)
    fetch(4)
    assert (breaker.status().state, breaker.status().reason) == ("open", "a probe was slow")
    clock.advance(60)
    fetch(2)
    assert breaker.status().state == "closed"


def test_a_probe_that_passed_counts_among_those_let_through(clock):
    breaker = CircuitBreaker("api", probes=2)

    @resilient(breaker=breaker)
    def fetch(*, then=lambda: None):
        return then()

    breaker.open(30)
    clock.advance(30)
    fetch()
    assert isinstance(fetch(then=fetch.outcome).error, CircuitOpen)  # while the second probe runs
    assert breaker.status().state == "closed"


def test_a_probe_may_take_its_time_if_slow_calls_do_not_count(drive, clock):
    breaker = CircuitBreaker("api", failures=1)
    breaker.open(30)
    clock.advance(30)
    drive(clock.advance, breaker=breaker)(400)
    assert breaker.status().state == "closed"


@pytest.mark.parametrize(
    ("error", "counts"),
    [
        (TimeoutError(), True),
        (NotFoundError(), False),
        (KeyError("ours"), None),
        (MemoryError(), None),
        (CircuitOpen("another"), None),
        (ValueError("does not parse"), None),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else str(value),
)
def test_what_counts_as_a_failure_follows_the_kinds(service, error, counts):
    service(CircuitBreaker("api", failures=2))
    service.meets(DOWN, error)
    # None: the run of failures neither ends nor grows.
    expected = {True: ("open", 0), False: ("closed", 0), None: ("closed", 1)}[counts]
    status = CircuitBreaker("api").status()
    assert (status.state, status.failures) == expected


def test_the_errors_that_count_as_failures_can_be_chosen(service, monkeypatch):
    from resilient_tasks.core import failures

    monkeypatch.setattr(failures, "_registered", [])
    service(CircuitBreaker("api", failures=1, on=KeyError))
    assert service.meets(DOWN, KeyError(), "") == [ConnectionError, KeyError, CircuitOpen]
    register_kind(LookupError, Kind.TRANSIENT)
    service(CircuitBreaker("another", failures=1))
    assert service.meets(LookupError(), "") == [LookupError, CircuitOpen]


def test_after_its_time_one_probe_is_admitted_and_closes_it(service, clock, resilient_events):
    service(CircuitBreaker("api", failures=1, open_for=30))
    service.meets(DOWN, "")
    clock.advance(30)
    assert service.meets("[]", "[]") == ["[]", "[]"]
    assert [event for event in resilient_events.names if event.startswith("breaker.")] == [
        "breaker.opened",
        "breaker.half_opened",
        "breaker.closed",
    ]
    opened, half_opened, closed = (event for event in resilient_events if event.name.startswith("breaker."))
    assert opened.sentence() == "circuit api opened for 30 s: a failure"
    assert half_opened.sentence() == "circuit api is half open, probing: open for 30 s"
    assert closed.sentence() == "circuit api closed after 30.0 s: 1 probe succeeded"


def test_the_time_doubles_with_each_probe_that_fails_up_to_a_limit(service, clock):
    breaker = CircuitBreaker("api", failures=1, open_for=30, open_at_most=100)
    service(breaker)
    service.meets(DOWN)
    waits = []
    for _ in range(4):
        waits.append(breaker.status().retry_in)
        clock.advance(waits[-1])
        assert service.meets(DOWN) == [ConnectionError]
    assert waits == [30, 60, 100, 100]
    clock.advance(100)
    service.meets("[]", DOWN)
    assert breaker.status().retry_in == 30  # it was closed in between


def test_every_probe_has_to_succeed(service, clock):
    service(CircuitBreaker("api", failures=1, open_for=30, probes=3))
    service.meets(DOWN)
    clock.advance(30)
    assert service.meets("[]", "[]") == ["[]", "[]"]
    assert CircuitBreaker("api").status().state == "half_open"
    assert service.meets(DOWN, "") == [ConnectionError, CircuitOpen]
    clock.advance(60)
    service.meets("[]", "[]", "[]")
    assert CircuitBreaker("api").status().state == "closed"


def test_no_more_calls_than_the_probes_are_admitted_at_once(clock):
    begun, go_on = 0, asyncio.Event()

    @resilient(breaker=CircuitBreaker("api", failures=1, open_for=30, probes=2))
    async def fetch(answer):
        nonlocal begun
        if isinstance(answer, Exception):
            raise answer
        begun += 1
        await go_on.wait()
        return answer

    async def scenario():
        await fetch.outcome(DOWN)
        clock.advance(30)
        probes = [asyncio.create_task(fetch.outcome("[]")) for _ in range(2)]
        await asyncio.sleep(0)
        others = [await fetch.outcome("[]") for _ in range(20)]
        assert begun == 2
        assert "half open, and its probes are under way" in str(others[0].error)
        assert all(isinstance(other.error, CircuitOpen) for other in others)
        go_on.set()
        assert [type(await probe) for probe in probes] == [Ok, Ok]
        assert isinstance(await fetch.outcome("[]"), Ok)

    asyncio.run(scenario())


def test_a_cancelled_probe_is_returned(clock):
    @resilient(breaker=CircuitBreaker("api", failures=1, open_for=30))
    async def fetch(answer):
        if isinstance(answer, Exception):
            raise answer
        await answer()

    async def scenario():
        await fetch.outcome(DOWN)
        clock.advance(30)
        probe = asyncio.create_task(fetch(asyncio.Event().wait))
        await asyncio.sleep(0)
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        assert CircuitBreaker("api").status().probes == 0
        assert isinstance(await fetch.outcome(lambda: asyncio.sleep(0)), Ok)

    asyncio.run(scenario())


def test_a_probe_that_says_nothing_about_the_service_is_returned(service, clock):
    service(CircuitBreaker("api", failures=1, open_for=30))
    service.meets(DOWN)
    clock.advance(30)
    assert service.meets(KeyError("ours"), "[]") == [KeyError, "[]"]
    assert CircuitBreaker("api").status().state == "closed"


def test_a_probe_without_a_result_counts_as_lost(clock):
    waiting = []

    @resilient(breaker=CircuitBreaker("api", failures=1, open_for=30))
    async def fetch(answer):
        if answer is None:
            await waiting[-1].wait()
            return "late"
        raise answer

    async def scenario():
        waiting.append(asyncio.Event())
        await fetch.outcome(DOWN)
        clock.advance(30)
        lost = asyncio.create_task(fetch.outcome(None))
        await asyncio.sleep(0)
        clock.advance(30)
        assert isinstance((await fetch.outcome(DOWN)).error, ConnectionError)  # another probe
        waiting[-1].set()
        assert (await lost).value == "late"
        assert CircuitBreaker("api").status().state == "open"  # results of earlier generations are ignored

    asyncio.run(scenario())


def test_a_call_that_began_before_it_opened_is_ignored(clock):
    @resilient(breaker=CircuitBreaker("api", failures=1, open_for=30))
    async def fetch(answer):
        if isinstance(answer, Exception):
            raise answer
        await answer.wait()

    async def scenario():
        slow = asyncio.Event()
        early = asyncio.create_task(fetch.outcome(slow))
        await asyncio.sleep(0)
        await fetch.outcome(DOWN)
        slow.set()
        await early
        assert CircuitBreaker("api").status().state == "open"

    asyncio.run(scenario())


def test_a_failure_that_began_before_it_opened_does_not_open_it_again(drive):
    """As above, for a call that was made at once because the circuit was closed."""
    breaker = CircuitBreaker("api", failures=1)

    def fetch(meanwhile=lambda: "[]"):
        return meanwhile()

    def late():
        breaker.open()
        breaker.close()
        raise ConnectionError

    call = drive(fetch, breaker=breaker)
    assert call() == "[]"
    with pytest.raises(ConnectionError):
        call(late)
    assert breaker.status().state == "closed"
    assert call() == "[]"


def test_two_circuits_around_one_function_are_independent(drive):
    outer, inner = CircuitBreaker("region", failures=1), CircuitBreaker("host", failures=2)
    outer.open()
    outer.close()  # so that their generations differ
    answers = ["[]", DOWN]

    def fetch():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    call = drive(fetch, policies=Pipeline(outer, inner))
    call()
    assert isinstance(call.outcome(), Failed)
    assert (outer.status().state, inner.status().state, inner.status().failures) == ("open", "closed", 1)


def test_a_success_that_began_before_it_opened_does_not_count_after_it_closed(clock):
    breaker = CircuitBreaker("api", failure_rate=0.5, min_calls=4)

    @resilient(breaker=breaker)
    async def fetch(answer):
        await answer.wait()

    async def scenario():
        done, answer = asyncio.Event(), asyncio.Event()
        done.set()
        await fetch.outcome(done)  # is written at once; successes that follow soon are pending
        early = asyncio.create_task(fetch.outcome(answer))
        await asyncio.sleep(0)
        breaker.open(5)
        breaker.close()
        answer.set()
        await early
        clock.advance(1)  # pending successes are written with the next call
        await fetch.outcome(answer)
        assert breaker.status().calls == 1

    asyncio.run(scenario())


def test_attempts_are_counted_and_an_open_circuit_is_not_retried(service, resilient_events):
    service(CircuitBreaker("api", failures=3), retry=Retry(attempts=10, wait=1))
    assert service.meets(DOWN, "[]") == ["[]", "[]"]
    service.answers = [DOWN] * 10
    outcome = service.fetch.outcome()
    assert isinstance(outcome.error, CircuitOpen)
    assert len(service.answers) == 7
    assert "not a failure to retry" in outcome.error.__notes__[0]


def test_a_retry_that_names_the_open_circuit_waits_for_the_probe(service, clock):
    service(CircuitBreaker("api", failures=1, open_for=30), retry=Retry(on=[Kind.TRANSIENT, CircuitOpen], wait=1))
    assert service.meets(DOWN) == ["[]"]
    assert clock.waits == [1, 29]


def test_an_open_circuit_is_noticed_before_a_token_is_spent_or_a_slot_is_requested(service):
    breaker = CircuitBreaker("api", failures=1)
    service(breaker, rate_limit=RateLimit("api", calls=3, per=60, wait=False), bulkhead=Bulkhead("api", limit=1))
    assert service.meets(DOWN, *[""] * 10) == [ConnectionError, *[CircuitOpen] * 10]
    breaker.close()
    assert service.meets("[]", "[]") == ["[]", "[]"]
    assert explain(service.fetch.decorated).splitlines()[0] == ("1. open circuit: api, noticed before a call queues up")


def test_noticing_it_starts_no_probe(service, clock):
    service(CircuitBreaker("api", failures=1, open_for=30), rate_limit=RateLimit("api", calls=100, per=60))
    service.meets(DOWN)
    clock.advance(30)
    assert service.meets("[]", "[]") == ["[]", "[]"]


def test_it_is_not_noticed_twice_if_decorators_are_stacked():
    breaker, limit = CircuitBreaker("api"), RateLimit("api", 10, 1)
    stacked = resilient(retry=3)(resilient(rate_limit=limit, breaker=breaker)(print))
    assert explain(stacked).count("open circuit") == 1
    assert "open circuit" not in explain(resilient(breaker=breaker)(print))


def test_it_is_opened_closed_and_isolated_by_hand(service, clock, resilient_events):
    breaker = CircuitBreaker("api", failures=1, open_for=30)
    service(breaker)
    assert service.meets("[]") == ["[]"]
    breaker.open(5)
    assert service.meets("") == [CircuitOpen]
    clock.advance(5)
    assert service.meets("[]") == ["[]"]
    breaker.isolate()
    clock.advance(1e6)
    assert service.meets("") == [CircuitOpen]
    assert service.fetch.outcome().error.retry_in is None
    breaker.close()
    assert service.meets("[]") == ["[]"]
    by_hand = [event for event in resilient_events if event.operation == "by hand"]
    assert [event.sentence() for event in by_hand] == [
        "circuit api opened for 5 s: by hand",
        "circuit api opened until it is closed: by hand",
        "circuit api closed after 1000000.0 s: by hand",
    ]


def test_its_status_has_its_state_and_counts(service, clock):
    breaker = CircuitBreaker("api", failure_rate=0.5, min_calls=4)
    service(breaker)
    service.meets("[]", "[]", DOWN)
    status = breaker.status()
    assert (status.name, status.state, status.calls, status.failures) == ("api", "closed", 3, 1)
    assert status.retry_in == 0
    service.meets(DOWN)
    status = breaker.status()
    assert (status.state, status.reason, status.retry_in) == ("open", "2 of 4 calls failed", 30)
    assert CircuitBreaker.names() == ["api"]


def test_all_circuits_are_listed_with_their_present_state(service):
    CircuitBreaker("open").open()
    CircuitBreaker("isolated").isolate()
    service(CircuitBreaker("closed")).meets(DOWN)
    assert LISTED["breaker"]() == [("closed", "closed"), ("isolated", "isolated"), ("open", "open")]


def test_breakers_of_one_name_share_a_circuit_and_those_of_two_names_do_not(service):
    service(CircuitBreaker("api", failures=1))
    service.meets(DOWN)
    service(CircuitBreaker("api", failures=5))
    assert service.meets("") == [CircuitOpen]
    service(CircuitBreaker("another", failures=1))
    assert service.meets("[]") == ["[]"]


def test_a_closed_circuit_is_read_no_more_often_than_its_staleness_requires(service, clock, monkeypatch):
    requests = []
    shared = states()
    update = shared.update
    monkeypatch.setattr(shared, "update", lambda *given, **more: requests.append(clock.now()) or update(*given, **more))
    service(CircuitBreaker("api"))
    for _ in range(100):
        service.meets("[]")
        clock.advance(0.01)
    assert len(requests) <= 1 + 1 / 0.2
    assert CircuitBreaker("api").status().calls >= 80


def test_the_success_of_a_process_that_makes_one_call_is_written(drive):
    breaker = CircuitBreaker("api", failure_rate=0.5, min_calls=10)
    answers = [DOWN if number % 10 == 0 else "[]" for number in range(1, 151)]

    def fetch():
        answer = answers.pop()
        if isinstance(answer, Exception):
            raise answer

    for _ in range(150):
        states().views.clear()  # a process's cache ends with it
        assert not isinstance(drive(fetch, breaker=breaker).outcome(), Failed) or breaker.status().state == "closed"
    assert breaker.status().calls == 150


def test_while_a_probe_runs_the_time_to_retry_is_unknown(clock):
    @resilient(breaker=CircuitBreaker("api", failures=1, open_for=30))
    async def fetch(answer):
        if isinstance(answer, Exception):
            raise answer
        await answer.wait()

    async def scenario():
        await fetch.outcome(DOWN)
        clock.advance(30)
        probe = asyncio.create_task(fetch(asyncio.Event()))
        await asyncio.sleep(0)
        assert (await fetch.outcome(DOWN)).error.retry_in is None
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)

    asyncio.run(scenario())


def test_no_lock_is_held_during_a_call(clock):
    together = threading.Barrier(8, timeout=10)
    fetch = resilient(breaker=CircuitBreaker("api"), rate_limit=RateLimit("api", 8, 60))(together.wait)
    threads = [threading.Thread(target=fetch) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert CircuitBreaker("api").status().state == "closed"
    assert not together.broken


def test_it_crosses_to_another_process_as_a_value():
    breaker = cloudpickle.loads(cloudpickle.dumps(CircuitBreaker("api", failures=3, on=[KeyError])))
    assert (breaker.name, breaker.failures) == ("api", 3)
    assert isinstance(Pipeline(breaker).outcome(int, "7"), Ok)


def test_an_unreadable_state_is_replaced(service):
    states().update("breaker/api", lambda *_: (b"garbage", None))
    service(CircuitBreaker("api", failures=1))
    assert service.meets(DOWN, "") == [ConnectionError, CircuitOpen]


def test_faults_of_chaos_count_as_failures(drive):
    fetch = drive(lambda: "[]", breaker=CircuitBreaker("api", failures=2), policies=[Chaos(fault=ConnectionError)])
    assert [type(fetch.outcome().error) for _ in range(3)] == [ConnectionError, ConnectionError, CircuitOpen]


def test_a_string_is_short_for_a_breaker_with_defaults():
    assert "breaker: flights-api, opens for 30 s at 50% of calls failing" in explain(
        resilient(breaker="flights-api")(print)
    )


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        ({"name": ""}, "name of shared state"),
        ({"name": None}, "name of shared state"),
        ({"failures": 0}, r"failures=\.\.\.\) is a whole number of 1 or more"),
        ({"failures": 2.5}, "whole number"),
        ({"probes": 0}, "probes"),
        ({"min_calls": True}, "min_calls"),
        ({"failure_rate": 50}, "is a fraction"),
        ({"slow_rate": -1}, "is a fraction"),
        ({"window": 0}, "window"),
        ({"open_for": float("inf")}, "open_for"),
        ({"open_at_most": -1}, "open_at_most"),
        ({"slow": "3 ess"}, "slow"),
        ({"last": 5}, "never holds min_calls=10"),
        ({"on": KeyboardInterrupt}, "not an Exception"),
    ],
)
def test_impossible_arguments_are_refused(given, complaint):
    with pytest.raises(PolicyError, match=complaint):
        CircuitBreaker(**{"name": "api", **given})


def test_opening_it_for_no_time_is_refused():
    with pytest.raises(PolicyError, match="seconds above 0"):
        CircuitBreaker("api").open(0)
