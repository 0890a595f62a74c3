"""Numbers of a circuit, a rate limit and a bulkhead that are changed while workers run."""

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from resilient_tasks import (
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    CircuitOpen,
    PolicyError,
    RateLimit,
    RateLimited,
    resilient,
)
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.policies.breaker.machine import Admission, CallResult, Circuit, Refusal
from resilient_tasks.policies.bulkhead.machine import Holder, Slots
from resilient_tasks.policies.rate_limit.machine import Numbers, Times
from resilient_tasks.state.changes import Changes
from resilient_tasks.state.states import use_store

DOWN = ConnectionError("refused")
HOW = settings(max_examples=60, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


@pytest.fixture
def service(drive):
    """`service(breaker=...)` returns a function that raises or returns its argument."""

    def decorated(**options):
        def fetch(answer="[]"):
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return drive(fetch, **options)

    return decorated


def errors(fetch, *answers):
    """Return the type of each call's error, or None."""
    return [type(getattr(fetch.outcome(answer), "error", None)) for answer in answers]


NONE = type(None)


# A circuit.


def test_failures_that_were_set_open_the_circuit(service):
    fetch = service(breaker=CircuitBreaker("api", failures=5))
    assert errors(fetch, DOWN, DOWN) == [ConnectionError] * 2
    CircuitBreaker("api").set_numbers(failures=3)
    assert errors(fetch, DOWN, "a") == [ConnectionError, CircuitOpen]


def test_a_closed_circuit_that_many_calls_have_used_takes_new_numbers_at_once(service):
    fetch = service(breaker=CircuitBreaker("api"))
    for _ in range(30):
        fetch()  # outside the pipeline from the second call on
    CircuitBreaker("api").set_numbers(failures=1)
    assert errors(fetch, "a", DOWN, "b") == [NONE, ConnectionError, CircuitOpen]


@pytest.mark.parametrize("code", [{"failures": 3}, {"min_calls": 4}, {"last": 10, "min_calls": 4}])
def test_successes_count_as_they_do_with_the_codes_numbers(service, code):
    fetch = service(breaker=CircuitBreaker("api", **code))
    CircuitBreaker("api").set_numbers(open_for=60)
    for _ in range(50):
        assert errors(fetch, "a", DOWN) == [NONE, ConnectionError] or code != {"failures": 3}
    opened = CircuitBreaker("api").status().state == "open"
    assert opened is (code != {"failures": 3})


def test_another_window_begins_anew_and_counts(service):
    fetch = service(breaker=CircuitBreaker("api", min_calls=4))
    fetch(), fetch(), fetch()
    CircuitBreaker("api").set_numbers(window=600, min_calls=6, failure_rate=0.9)
    assert errors(fetch, *[DOWN] * 5) == [ConnectionError] * 5
    assert errors(fetch, DOWN, "a") == [ConnectionError, CircuitOpen]


def test_a_window_of_fewer_calls_than_the_rate_needed_opens_once_it_is_full(service):
    fetch = service(breaker=CircuitBreaker("api"))  # a rate needs ten calls
    CircuitBreaker("api").set_numbers(last=4)
    assert errors(fetch, *[DOWN] * 4, "a") == [*[ConnectionError] * 4, CircuitOpen]


def test_the_time_that_it_stays_open_is_that_which_was_set(service, clock):
    fetch = service(breaker=CircuitBreaker("api", failures=1, open_for=30))
    CircuitBreaker("api").set_numbers(open_for="10 min", open_at_most="15 min")
    errors(fetch, DOWN)
    clock.advance(599)
    assert errors(fetch, "a") == [CircuitOpen]
    clock.advance(1)
    assert errors(fetch, DOWN) == [ConnectionError]
    assert CircuitBreaker("api").status().retry_in == 900


def test_probes_that_were_set_are_let_through(service, clock):
    fetch = service(breaker=CircuitBreaker("api", failures=1))
    errors(fetch, DOWN)
    CircuitBreaker("api").set_numbers(probes=2)
    clock.advance(30)
    assert errors(fetch, "a") == [NONE]
    assert CircuitBreaker("api").status().state == "half_open"
    assert errors(fetch, "b") == [NONE]
    assert CircuitBreaker("api").status().state == "closed"


def test_fewer_probes_than_have_passed_leave_one_more(service, clock):
    fetch = service(breaker=CircuitBreaker("api", failures=1, probes=3))
    errors(fetch, DOWN)
    clock.advance(30)
    assert errors(fetch, "a", "b") == [NONE] * 2
    CircuitBreaker("api").set_numbers(probes=1)
    assert errors(fetch, "c") == [NONE]
    assert CircuitBreaker("api").status().state == "closed"


def test_a_breaker_that_wants_fewer_probes_than_another_let_through_makes_one(service, clock):
    cautious = service(breaker=CircuitBreaker("api", failures=1, probes=3))
    other = service(breaker=CircuitBreaker("api", failures=1))
    errors(cautious, DOWN)
    clock.advance(30)
    assert errors(cautious, "a") == [NONE]
    assert errors(other, "b") == [NONE]
    assert CircuitBreaker("api").status().state == "closed"


def test_reset_returns_to_the_codes_numbers(service):
    fetch = service(breaker=CircuitBreaker("api", failures=3))
    breaker = CircuitBreaker("api")
    breaker.set_numbers(failures=1)
    breaker.reset_numbers()
    assert errors(fetch, DOWN, DOWN, DOWN, "a") == [*[ConnectionError] * 3, CircuitOpen]
    assert breaker.status().numbers == {}


def test_the_status_says_what_was_set_by_whom_and_when(clock):
    breaker = CircuitBreaker("api")
    breaker.set_numbers(failures=5, by="anna")
    clock.advance(60)
    breaker.set_numbers(open_for="1 min", by="ben")
    found = breaker.status()
    assert (found.numbers, found.changed_by) == ({"failures": 5, "open_for": 60.0}, "ben")
    assert found.changed_at == pytest.approx(clock.wall())
    breaker.set_numbers(failures=4)
    assert "@" in breaker.status().changed_by


def test_changes_by_hand_and_of_state_keep_the_numbers(service, clock):
    breaker = CircuitBreaker("api")
    breaker.set_numbers(failures=1)
    breaker.isolate(), breaker.close(), breaker.open(5), breaker.close()
    fetch = service(breaker=CircuitBreaker("api", failures=9))
    assert errors(fetch, DOWN, "a") == [ConnectionError, CircuitOpen]
    clock.advance(1000)
    assert errors(fetch, "probe") == [NONE]
    assert breaker.status().numbers == {"failures": 1}


def test_a_circuit_of_a_key_has_numbers_of_its_own(drive):
    by_host = CircuitBreaker(lambda host: host, failures=9)

    def get(host):
        raise DOWN

    fetch = drive(get, breaker=by_host)
    by_host.set_numbers(key="a", failures=1)
    assert [errors(fetch, host, host) for host in "ab"] == [[ConnectionError, CircuitOpen], [ConnectionError] * 2]
    with pytest.raises(PolicyError, match="a circuit for each key"):
        by_host.set_numbers(failures=1)


# A rate limit.


def test_a_rate_that_was_set_holds_from_the_next_call_on(service, clock):
    fetch = service(rate_limit=RateLimit("api", calls=10, per=60, wait=False))
    assert errors(fetch, "a", "b") == [NONE] * 2
    RateLimit("api", 1, 1).set_numbers(calls=3)
    assert errors(fetch, "c", "d") == [NONE, RateLimited]
    assert "rate limit api (3 calls in 60 s)" in str(fetch.outcome().error)
    RateLimit("api", 1, 1).set_numbers(per="2 min")
    clock.advance(61)
    assert errors(fetch, "e") == [RateLimited]
    RateLimit("api", 1, 1).reset_numbers()
    assert errors(fetch, *"fghijkl") == [NONE] * 7


def test_a_window_becomes_a_bucket_and_the_reverse(service):
    window = service(rate_limit=RateLimit("w", calls=10, per=10, wait=False))
    RateLimit("w", 1, 1).set_numbers(burst=1)
    assert errors(window, "a", "b") == [NONE, RateLimited]
    bucket = service(rate_limit=RateLimit("b", calls=1, per=10, burst=5, wait=False))
    RateLimit("b", 1, 1).set_numbers(burst=2, calls=5)
    assert errors(bucket, "a", "b", "c") == [NONE, NONE, RateLimited]


# A bulkhead.


def inside(name, limit, then, **how):
    """Call `then` while a slot is taken."""
    return resilient(bulkhead=Bulkhead(name, limit, **how))(then)()


def test_a_limit_that_was_set_holds_for_the_next_call(service):
    fetch = service(bulkhead=Bulkhead("b", 4))
    assert inside("b", 4, lambda: errors(fetch, "a")) == [NONE]
    Bulkhead("b", 1).set_numbers(limit=1)
    assert inside("b", 4, lambda: errors(fetch, "a")) == [BulkheadFull]
    assert "(1 call at once" in str(inside("b", 4, fetch.outcome).error)
    Bulkhead("b", 1).reset_numbers()
    assert inside("b", 4, lambda: errors(fetch, "a")) == [NONE]


def test_a_larger_limit_lets_more_in(service):
    fetch = service(bulkhead=Bulkhead("b", 1))
    Bulkhead("b", 1).set_numbers(limit=2, by="anna")
    assert inside("b", 1, lambda: errors(fetch, "a")) == [NONE]
    assert Bulkhead("b", 1).changes().by == "anna"
    assert Bulkhead.names() == ["b"]


def test_numbers_of_an_unused_state_are_kept(clock):
    Bulkhead("b", 1).set_numbers(limit=2)
    RateLimit("r", 1, 1).set_numbers(calls=2)
    CircuitBreaker("c").set_numbers(failures=2)
    clock.advance(400 * 86_400)
    assert Bulkhead("b", 1).changes().numbers == {"limit": 2}
    assert RateLimit("r", 1, 1).changes().numbers == {"calls": 2}
    assert CircuitBreaker("c").status().numbers == {"failures": 2}


class Away(MemoryStore):
    """A store that stops answering."""

    gone = False

    def get(self, key):
        if self.gone:
            raise OSError("away")
        return super().get(key)

    def swap(self, key, old, new, *, ttl=None):
        if self.gone:
            raise OSError("away")
        return super().swap(key, old, new, ttl=ttl)

    def connect(self):
        if self.gone:
            raise OSError("away")


@pytest.mark.parametrize(
    ("policy", "numbers"),
    [(CircuitBreaker("a"), {"failures": 2}), (RateLimit("a", 1, 1), {"calls": 2}), (Bulkhead("a", 1), {"limit": 2})],
    ids=["breaker", "rate", "bulkhead"],
)
def test_numbers_that_a_store_did_not_take_are_an_error(policy, numbers):
    with use_store(Away()) as states:
        policy.set_numbers(**numbers)
        states._store.gone = True
        with pytest.raises(ConnectionError, match="the numbers may be as before"):
            policy.set_numbers(**numbers)
        with pytest.raises(ConnectionError, match="the numbers may be as before"):
            policy.reset_numbers()


def test_a_store_that_takes_numbers_and_does_not_say_so_is_not_said_to_have_refused_them():
    class Silent(MemoryStore):
        silent = False

        def swap(self, *args, **kwargs):
            done = super().swap(*args, **kwargs)
            if self.silent:
                raise TimeoutError("no answer")
            return done

    with use_store(Silent()) as states:
        Bulkhead("a", 1).set_numbers(limit=2)
        states._store.silent = True
        with pytest.raises(ConnectionError, match=r"may be as before\. Look at them"):
            Bulkhead("a", 1).set_numbers(limit=3)


# What is refused.


@pytest.mark.parametrize(
    ("policy", "numbers", "part"),
    [
        (CircuitBreaker("a"), {"failures": 0}, r"CircuitBreaker\(failures=...\) is a whole number of 1 or more"),
        (CircuitBreaker("a"), {"failures": "many"}, "is a whole number"),
        (CircuitBreaker("a"), {"open_for": "soon"}, "is a number of seconds"),
        (CircuitBreaker("a"), {"failure_rate": 2}, "is a fraction"),
        (CircuitBreaker("a"), {"failure": 2}, "has no number 'failure': did you mean failures"),
        (CircuitBreaker("a"), {"enforce": False}, "a breaker has no number 'enforce'"),
        (CircuitBreaker("a"), {}, "a breaker needs a number: failures="),
        (CircuitBreaker("a"), {"failures": None}, r"is a number, not None: reset_numbers\(\)"),
        (CircuitBreaker("a"), {"failures": 2, "by": 5}, r'by=...\) is a name, such as "anna", not 5'),
        (RateLimit("a", 1, 1), {"burst": None}, r"is a number, not None: reset_numbers\(\)"),
        (RateLimit("a", 1, 1), {"calls": 2, "by": True}, "is a name"),
        (Bulkhead("a", 1), {"limit": 2, "by": b"anna"}, "is a name"),
        (RateLimit("a", 1, 1), {"calls": 2000}, "1,000 are the most"),
        (RateLimit("a", 1, 1), {"calls": 1.5}, "whole number"),
        (RateLimit("a", 1, 1), {"limit": 3}, "a rate limit has no number 'limit'"),
        (Bulkhead("a", 1), {"limit": -1}, r"Bulkhead\(limit\) is a whole number"),
        (Bulkhead("a", 1), {"queue": -1}, "0 or more"),
        (Bulkhead("a", 1), {"calls": 1}, "a bulkhead has no number 'calls'"),
    ],
)
def test_a_number_that_cannot_be_is_refused_and_nothing_changes(policy, numbers, part):
    with pytest.raises(PolicyError, match=part):
        policy.set_numbers(**numbers)
    assert policy.names() == []


def test_many_calls_need_a_bucket_whichever_was_set_first():
    limit = RateLimit("a", 1, 1)
    limit.set_numbers(burst=5)
    limit.set_numbers(calls=2000)
    assert limit.changes().numbers == {"burst": 5, "calls": 2000}


# A state with changed numbers behaves as one whose code has these numbers.


def changed(numbers):
    return Changes(numbers, "anna", 1.0)


class Circuits(RuleBasedStateMachine):
    """One circuit with the code's rules and changed numbers, and one whose code has those numbers."""

    CODE = CircuitBreaker("c", failure_rate=0.5, min_calls=3, window=20, open_for=5)._rules

    def __init__(self):
        super().__init__()
        self.now, self.probes = 100.0, 0
        self.circuit, self.plain, self.rules = Circuit(), Circuit(), self.CODE
        self.admissions = []

    @rule(
        numbers=st.dictionaries(
            st.sampled_from(["failures", "probes", "last", "min_calls", "open_for"]), st.integers(1, 4), min_size=1
        )
    )
    def set_numbers(self, numbers):
        self.circuit = self.circuit.renumbered(changed(numbers))
        self.rules = self.CODE.changed(changed(numbers))

    @rule()
    def reset(self):
        self.circuit, self.rules = self.circuit.renumbered(None), self.CODE

    @rule()
    def call(self):
        self.probes += 1
        self.circuit, answer = self.circuit.admit(self.CODE, self.now, f"p{self.probes}")
        self.plain, expected = self.plain.admit(self.rules, self.now, f"p{self.probes}")
        assert answer == expected
        if not isinstance(answer, Refusal):
            self.admissions.append(answer)

    @rule(success=st.sampled_from([True, False, False, None]), which=st.integers(0, 3))
    def end(self, success, which):
        admission = self.admissions.pop(which % len(self.admissions)) if self.admissions else Admission(0)
        result = CallResult(success)
        self.circuit = self.circuit.record(self.CODE, self.now, admission, result)
        self.plain = self.plain.record(self.rules, self.now, admission, result)

    @rule(by_hand=st.sampled_from(["closed", "isolated"]))
    def by_hand(self, by_hand):
        self.circuit = getattr(self.circuit, by_hand)(self.now, "by hand")
        self.plain = getattr(self.plain, by_hand)(self.now, "by hand")

    @rule(seconds=st.integers(1, 9))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def cross_the_store(self):
        self.circuit, self.plain = Circuit.decode(self.circuit.encode()), Circuit.decode(self.plain.encode())

    @invariant()
    def they_are_equal(self):
        assert self.circuit.renumbered(None).encode() == self.plain.encode()
        assert self.circuit.in_force(self.CODE) == self.rules


class Rates(RuleBasedStateMachine):
    """The same for rate limits, as a window and as a bucket."""

    CODE = Numbers(3, 10.0)

    def __init__(self):
        super().__init__()
        self.now, self.times, self.plain, self.numbers = 100.0, Times(), Times(), self.CODE

    @rule(
        numbers=st.fixed_dictionaries(
            {}, optional={"calls": st.integers(1, 5), "per": st.integers(1, 9), "burst": st.integers(1, 4)}
        ).filter(bool)
    )
    def set_numbers(self, numbers):
        self.times = self.times.renumbered(changed(numbers))
        self.numbers = self.CODE.changed(changed(numbers))

    @rule()
    def reset(self):
        self.times, self.numbers = self.times.renumbered(None), self.CODE

    @rule(patience=st.sampled_from([0.0, 3.0, 1000.0]))
    def call(self, patience):
        by_code = self.CODE.changed(self.times.changes).rate
        after, answer = by_code.reserve(self.times, self.now, patience)
        same, expected = self.numbers.rate.reserve(self.plain, self.now, patience)
        self.times, self.plain = after or self.times, same or self.plain
        assert answer == expected

    @rule(seconds=st.integers(1, 9))
    def wait(self, seconds):
        self.now += seconds

    @rule()
    def cross_the_store(self):
        self.times, self.plain = Times.decode(self.times.encode()), Times.decode(self.plain.encode())

    @invariant()
    def they_are_equal(self):
        assert self.times.in_order() == self.plain.in_order()
        assert self.CODE.changed(self.times.changes) == self.numbers


class Bulkheads(RuleBasedStateMachine):
    """The same for bulkheads."""

    LIMIT, QUEUE = 2, 1

    def __init__(self):
        super().__init__()
        self.now, self.slots, self.plain = 100.0, Slots(), Slots()
        self.limit, self.queue, self.tickets = self.LIMIT, self.QUEUE, 0

    @rule(numbers=st.fixed_dictionaries({"limit": st.integers(1, 4)}, optional={"queue": st.integers(0, 3)}))
    def set_numbers(self, numbers):
        self.slots.changes = changed(numbers)
        self.limit, self.queue = numbers["limit"], numbers.get("queue", self.QUEUE)

    @rule()
    def reset(self):
        self.slots.changes, self.limit, self.queue = None, self.LIMIT, self.QUEUE

    @rule()
    def request(self):
        self.tickets += 1
        answers = [
            self.slots.request(f"t{self.tickets}", self.LIMIT, self.QUEUE, self.now, 5.0),
            self.plain.request(f"t{self.tickets}", self.limit, self.queue, self.now, 5.0),
        ]
        assert answers[0] == answers[1]
        if answers[0] == "taken":
            for slots in (self.slots, self.plain):
                slots.hold(f"h{self.tickets}", Holder(1, self.now + 9))
        assert self.slots.missing("", self.LIMIT) == self.plain.missing("", self.limit)
        assert self.slots.are_within(self.LIMIT) == self.plain.are_within(self.limit)

    @rule(seconds=st.integers(1, 9))
    def wait(self, seconds):
        self.now += seconds
        self.slots.expire(self.now, 30.0, 5.0), self.plain.expire(self.now, 30.0, 5.0)

    @rule()
    def cross_the_store(self):
        self.slots = Slots.decode(self.slots.encode(), self.now)
        self.plain = Slots.decode(self.plain.encode(), self.now)

    @invariant()
    def they_are_equal(self):
        assert (self.slots.held, self.slots.queue) == (self.plain.held, self.plain.queue)


for machine in (Circuits, Rates, Bulkheads):
    machine.TestCase.settings = HOW
TestCircuits, TestRates, TestBulkheads = Circuits.TestCase, Rates.TestCase, Bulkheads.TestCase


def test_numbers_that_only_a_newer_version_knows_change_nothing():
    newer = changed({"invented": 3})
    rules = CircuitBreaker("c", failures=2)._rules
    assert rules.changed(newer) == rules
    assert Numbers(3, 10.0).changed(newer) == Numbers(3, 10.0)
    slots = Slots()
    slots.changes = newer
    assert (slots.limit_of(2), slots.places_of(1)) == (2, 1)


@pytest.mark.parametrize(
    "broken",
    [
        *(b"\x05\x00\x00\x00", b"12345678\x08\x00\x00\x00", b"abcd\xff\xff\xff\xff"),
        b"12345678    null\x1c\x00\x00\x00",  # the changes are longer than everything
    ],
)
def test_times_with_broken_changes_are_none(broken):
    assert Times.decode(broken).in_order() == []


def test_changes_that_are_all_of_a_state_are_read():
    encoded = Times(1.0, [1.0], changed({"calls": 3})).encode()
    assert Times.decode(encoded[16:]).changes == changed({"calls": 3})


class Counting:
    """A store that counts its requests. It is not this process's own memory, so it counts as shared."""

    def __init__(self):
        self._inner, self.requests = MemoryStore(), 0

    def connect(self):
        pass

    def now(self):
        return self._inner.now()

    def get(self, key):
        self.requests += 1
        return self._inner.get(key)

    def swap(self, key, old, new, *, ttl=None):
        self.requests += 1
        return self._inner.swap(key, old, new, ttl=ttl)

    def keys(self, prefix):
        return self._inner.keys(prefix)

    def close(self):
        pass


@pytest.mark.parametrize(
    ("keyword", "policy", "numbers"),
    [
        ("breaker", CircuitBreaker("x", failures=3), {"open_for": 60}),
        ("breaker", CircuitBreaker("x"), {"window": 600}),
        ("rate_limit", RateLimit("x", 1000, 1), {"calls": 900}),
        ("bulkhead", Bulkhead("x", 4), {"limit": 5}),
    ],
    ids=["consecutive", "window", "rate", "bulkhead"],
)
def test_changed_numbers_cost_no_further_request(service, keyword, policy, numbers):
    def requests_of(*, changed):
        store = Counting()
        with use_store(store):
            fetch = service(**{keyword: policy})
            fetch()
            if changed:
                policy.set_numbers(**numbers)
                fetch()
            before = store.requests
            for _ in range(100):
                fetch()
            return store.requests - before

    assert requests_of(changed=True) == requests_of(changed=False)
