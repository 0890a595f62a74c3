"""Shadow mode, `enforce=False`: a policy measures and reports, and refuses and delays nothing."""

import threading

import pytest

from resilient_tasks import (
    AdaptiveRateLimit,
    Bulkhead,
    CircuitBreaker,
    CircuitOpen,
    PolicyError,
    RateLimit,
    explain,
    resilient,
)
from resilient_tasks.policies.breaker.machine import Circuit

DOWN = ConnectionError("refused")


class ThrottledError(Exception):
    """A 429."""

    status = 429


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


@pytest.fixture
def service(drive):
    """`service(breaker=...)` returns a function that raises or returns its argument."""

    def decorated(**options):
        def fetch(answer="[]"):
            decorated.calls += 1
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return drive(fetch, **options)

    decorated.calls = 0
    return decorated


def names(events):
    return [event.name for event in events]


def shadowed(events):
    return [event.sentence() for event in events if getattr(event, "shadow", True) and event.name[:4] != "call"]


def test_a_circuit_opens_and_closes_and_every_call_is_made(service, clock, resilient_events):
    fetch = service(breaker=CircuitBreaker("api", failures=2, open_for=30, enforce=False))
    answers = [DOWN, DOWN, "a", DOWN, "b"]
    assert [fetch.outcome(answer).error is DOWN for answer in answers if answer is DOWN] == [True] * 3
    assert fetch("c") == "c"
    clock.advance(30)
    assert fetch("probe") == "probe"
    assert service.calls == 5
    assert shadowed(resilient_events) == [
        "circuit api opened for 30 s: 2 failures in a row (shadow: it refuses nothing)",
        "circuit api is open: would have refused this call (shadow: it refuses nothing)",
        "circuit api is open: would have refused this call (shadow: it refuses nothing)",
        "circuit api is half open, probing: open for 30 s (shadow: it refuses nothing)",
        "circuit api closed after 30.0 s: 1 probe succeeded (shadow: it refuses nothing)",
    ]


def test_calls_that_would_have_been_refused_do_not_count(service, clock):
    fetch = service(breaker=CircuitBreaker("api", failures=1, open_for=30, enforce=False))
    fetch.outcome(DOWN)
    for _ in range(5):
        fetch()
    assert CircuitBreaker("api").status().retry_in == 30
    assert CircuitBreaker("api").status().shadow


def test_a_circuit_that_is_isolated_by_hand_refuses_nothing(service, resilient_events):
    breaker = CircuitBreaker("api", enforce=False)
    breaker.isolate()
    assert service(breaker=breaker)("a") == "a"
    assert names(resilient_events) == ["breaker.opened", "breaker.would_refuse"]


def test_a_breaker_that_enforces_shares_the_circuit_of_one_that_does_not(service):
    shadow = service(breaker=CircuitBreaker("api", failures=1, enforce=False))
    real = service(breaker=CircuitBreaker("api", failures=1))
    shadow.outcome(DOWN)
    assert isinstance(real.outcome().error, CircuitOpen)
    assert shadow() == "[]"


def test_a_circuit_says_which_mode_its_last_change_had(service, clock):
    service(breaker=CircuitBreaker("api", failures=1, enforce=False)).outcome(DOWN)
    assert CircuitBreaker("api").status().shadow
    clock.advance(30)
    service(breaker=CircuitBreaker("api", failures=1))()
    assert not CircuitBreaker("api").status().shadow


def test_an_open_circuit_stops_no_call_before_the_queues(service):
    policies = {"breaker": CircuitBreaker("api", failures=1, enforce=False), "bulkhead": Bulkhead("b", 1)}
    fetch = service(**policies)
    fetch.outcome(DOWN)
    assert fetch("a") == "a"
    assert "open circuit" not in explain(resilient(**policies)(lambda: 1))


def test_a_rate_limit_delays_and_refuses_nothing(service, clock, resilient_events):
    fetch = service(rate_limit=RateLimit("api", calls=2, per=10, wait=15, enforce=False))
    assert [fetch(n) for n in range(5)] == [0, 1, 2, 3, 4]
    assert clock.waits == []
    assert [(event.refused, event.delay, event.shadow) for event in resilient_events] == 3 * [(False, 10.0, True)]
    assert resilient_events[0].sentence() == (
        "rate limit api: would have delayed this call, by 10.0 s of waiting (shadow: it refuses nothing)"
    )


@pytest.mark.parametrize("how", [{}, {"burst": 2}], ids=["window", "bucket"])
def test_calls_beyond_a_rate_limit_take_nothing_from_it(service, clock, resilient_events, how):
    fetch = service(rate_limit=RateLimit("api", calls=2, per=10, enforce=False, **how))
    for _ in range(50):
        fetch()
    assert len(resilient_events) == 48
    clock.advance(10)
    fetch()
    assert len(resilient_events) == 48


def test_a_rate_limit_says_which_calls_it_would_refuse(service, resilient_events):
    fetch = service(rate_limit=RateLimit("api", calls=1, per=10, wait=False, enforce=False))
    fetch(), fetch()
    assert [event.refused for event in resilient_events] == [True]


def test_an_adaptive_limit_learns_and_delays_nothing(service, clock, resilient_events):
    limit = AdaptiveRateLimit("api", start=2, per=1, least=1, enforce=False)
    fetch = service(rate_limit=limit)
    fetch.outcome(ThrottledError())
    assert limit.status().rate == pytest.approx(1.4)
    fetch(), fetch()
    assert clock.waits == []
    assert names(resilient_events)[-1] == "rate.limited"
    limited = resilient_events.named("rate.limited")
    assert {(event.refused, event.shadow) for event in limited} == {(False, True)}
    assert limited[0].sentence().startswith("rate limit api: would have delayed this call, by 0.")
    adapted = next(event for event in resilient_events if event.name == "rate.adapted")
    assert adapted.shadow
    assert adapted.sentence().endswith("(shadow: it refuses nothing)")
    assert limit.status().waiting == 0


@pytest.mark.parametrize(("start", "refused"), [(1000, False), (500, True)])
def test_an_adaptive_limit_that_may_not_wait_would_have_refused_a_call(service, resilient_events, start, refused):
    """A call that has to wait for a thousandth of a second is not refused, because clocks round."""
    fetch = service(rate_limit=AdaptiveRateLimit("api", start=start, wait=False, enforce=False))
    fetch(), fetch()
    assert [(event.refused, event.shadow) for event in resilient_events] == [(refused, True)]


@pytest.mark.parametrize("queue", [0, 2])
def test_a_bulkhead_lets_every_call_through(service, resilient_events, queue):
    held = Bulkhead("b", 1)
    inside = service(bulkhead=Bulkhead("b", 1, queue=queue, enforce=False))
    assert resilient(bulkhead=held)(lambda: inside("a"))() == "a"
    assert [(event.name, event.shadow, event.limit) for event in resilient_events] == [("bulkhead.rejected", True, 1)]
    assert inside("b") == "b"
    assert len(resilient_events) == 1  # the slot was free


def test_a_bulkhead_in_shadow_gives_its_slots_back(service):
    fetch = service(bulkhead=Bulkhead("b", 1, enforce=False))
    fetch.outcome(DOWN)
    assert resilient(bulkhead=Bulkhead("b", 1))(lambda: "real")() == "real"


def test_threads_beyond_a_bulkhead_run_at_once(resilient_events):
    meeting = threading.Barrier(4, timeout=60)
    work = resilient(bulkhead=Bulkhead("b", 1, enforce=False))(meeting.wait)
    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert names(resilient_events).count("bulkhead.rejected") == 3


@pytest.mark.parametrize(
    "policy",
    [
        lambda enforce: CircuitBreaker("a", enforce=enforce),
        lambda enforce: RateLimit("a", 1, 1, enforce=enforce),
        lambda enforce: AdaptiveRateLimit("a", enforce=enforce),
        lambda enforce: Bulkhead("a", 1, enforce=enforce),
    ],
    ids=["breaker", "rate", "adaptive", "bulkhead"],
)
class TestAll:
    @pytest.mark.parametrize("word", ["process", None, 0, "false"])
    def test_enforce_is_true_or_false(self, policy, word):
        with pytest.raises(PolicyError, match=r"enforce=\.\.\.\) is True, or False to measure only"):
            policy(word)

    def test_it_is_described(self, policy):
        assert "shadow" in policy(False).describe()
        assert "shadow" not in policy(True).describe()


def test_a_keyed_breaker_has_a_mode_too(drive, resilient_events):
    def get(host):
        raise DOWN

    fetch = drive(get, breaker=CircuitBreaker(lambda host: host, failures=1, enforce=False))
    for _ in range(3):
        assert fetch.outcome("a").error is DOWN
    assert names(resilient_events).count("breaker.would_refuse") == 2


def test_a_circuit_of_a_newer_version_is_read_by_the_fields_that_are_known():
    circuit = Circuit().opened(5.0, 30.0, "x")
    newer = circuit.encode().replace(b'{"', b'{"invented":1,"', 1)
    assert Circuit.decode(newer).encode() == circuit.encode()


def test_a_circuit_that_enforces_is_written_as_older_versions_read_it():
    assert b"shadow" not in Circuit().encode()


def test_metrics_count_what_would_have_been_refused_apart_from_what_was():
    from resilient_tasks.core.events import BreakerWouldRefuse, BulkheadRejected, RateLimitReached
    from resilient_tasks.observe.measures import Measures

    def names_of(event):
        return [each.name for each in Measures().of(event)]

    full = {"operation": "f", "bulkhead": "b", "limit": 1, "queued": 0, "reason": "there is no queue"}
    late = {"operation": "f", "limit": "api", "refused": False, "delay": 3.0}
    for event in (
        BreakerWouldRefuse(operation="f", breaker="api", state="open"),
        RateLimitReached(**late, shadow=True),
        BulkheadRejected(**full, shadow=True),
    ):
        assert names_of(event) == ["events_total", "shadow_refusals_total"]
    assert "shadow_refusals_total" not in names_of(RateLimitReached(**late)) + names_of(BulkheadRejected(**full))
