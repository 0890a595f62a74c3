"""Policies whose name is a key function: keys are independent, and share state with plain names."""

import asyncio
import functools

import cloudpickle
import pytest

from resilient_tasks import (
    Bulkhead,
    BulkheadFull,
    CircuitBreaker,
    CircuitOpen,
    Degraded,
    Failed,
    Ok,
    Pipeline,
    PolicyError,
    PredicateError,
    RateLimit,
    RateLimited,
    Retry,
    RetryBudget,
    explain,
    host_of,
    resilient,
)
from resilient_tasks.core.call import Permit
from resilient_tasks.state.states import states


@pytest.fixture(autouse=True)
def clock(resilient_clock):
    return resilient_clock


def error_of(fn, *args, **kwargs):
    outcome = fn.outcome(*args, **kwargs)
    return outcome.error if isinstance(outcome, Failed) else None


def by_host(policy=CircuitBreaker, *args, **kwargs):
    return policy(lambda url: host_of(url), *args, **kwargs)  # noqa: PLW0108  # as users type it


class Services:
    """Services, some of them down, and the calls that reached each."""

    def __init__(self, *down):
        self.down, self.calls = set(down), []

    def fetch(self, url, timeout=3):
        self.calls.append(host_of(url))
        if host_of(url) in self.down:
            raise ConnectionError("refused")
        return url


class TestACircuitForEachKey:
    def test_a_host_that_is_down_does_not_affect_the_others(self, drive, clock, resilient_events):
        services = Services("down")
        fetch = drive(services.fetch, breaker=by_host(failures=2))
        for _ in range(4):
            assert fetch("http://up/x") == "http://up/x"
            error_of(fetch, "http://down/x")
        assert services.calls.count("down") == 2
        assert isinstance(error_of(fetch, url="http://down/y"), CircuitOpen)
        opened = resilient_events.named("breaker.opened")
        assert [event.breaker for event in opened] == ["down"]

        services.down.clear()
        clock.advance(30)
        assert fetch("http://down/x") == "http://down/x"
        assert CircuitBreaker("down").status().state == "closed"

    def test_a_plain_name_and_an_equal_key_share_a_circuit(self, drive):
        services = Services("api.example.com")
        fetch = drive(services.fetch, breaker=by_host(failures=2))
        plain = drive(services.fetch, breaker=CircuitBreaker("api.example.com", failures=2))
        error_of(fetch, "https://api.example.com/x")
        error_of(plain, "https://api.example.com/x")
        error = error_of(fetch, "https://API.example.com/y")
        assert isinstance(error, CircuitOpen)
        assert error.name == "api.example.com"
        assert str(error).startswith("circuit api.example.com is open: ")
        assert isinstance(error_of(plain, "https://elsewhere/x"), CircuitOpen)

    def test_an_open_circuit_takes_no_token_and_no_place_of_its_key(self, drive, clock):
        services = Services("down")
        fetch = drive(
            services.fetch,
            breaker=by_host(failures=1),
            rate_limit=by_host(RateLimit, calls=1, per=10),
            bulkhead=by_host(Bulkhead, 1),
        )
        error_of(fetch, "http://down/x")
        for _ in range(3):
            assert isinstance(error_of(fetch, "http://down/x"), CircuitOpen)
        assert fetch("http://up/x") == "http://up/x"
        assert clock.waits == []

    def test_its_circuits_are_read_and_changed_by_hand_with_a_key(self, clock):
        breaker = by_host(failures=2)
        breaker.open(60, key="a")
        breaker.isolate(key="b")
        assert (breaker.status(key="a").name, breaker.status(key="a").retry_in) == ("a", 60.0)
        assert breaker.for_key("b").status().state == "isolated"
        assert breaker.status(key="c").state == "closed"
        assert CircuitBreaker.names() == ["a", "b"]
        breaker.close(key="a")
        breaker.for_key("b").close()
        assert {CircuitBreaker(name).status().state for name in ("a", "b")} == {"closed"}

    @pytest.mark.parametrize(
        "ask", [CircuitBreaker.status, CircuitBreaker.open, CircuitBreaker.isolate, CircuitBreaker.close]
    )
    def test_a_missing_key_and_a_needless_one_are_refused(self, ask):
        with pytest.raises(PolicyError, match=r'give one, as in breaker.status\(key="api.example.com"\)'):
            ask(by_host())
        with pytest.raises(PolicyError, match="has no keys: leave the key out"):
            ask(CircuitBreaker("api"), key="a")

    def test_a_function_is_short_for_a_breaker_with_that_key(self, drive):
        services = Services("down")
        fetch = drive(services.fetch, breaker=host_of)
        for _ in range(12):
            error_of(fetch, "http://down/x")
        assert services.calls == ["down"] * 10
        assert fetch("http://up/x")

    def test_a_cancelled_probe_is_returned(self, clock):
        async def hangs(url):
            await asyncio.Event().wait()

        breaker = by_host(failures=1)
        fetch = resilient(breaker=breaker)(hangs)

        async def cancelled():
            breaker.open(1, key="a")
            clock.advance(1)
            task = asyncio.ensure_future(fetch("http://a/x"))
            await asyncio.sleep(0)
            await asyncio.sleep(0)
            assert breaker.status(key="a").probes == 1
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

        asyncio.run(cancelled())
        assert breaker.status(key="a").probes == 0


class TestALimitForEachKey:
    def test_each_key_has_its_own_rate(self, drive, clock):
        fetch = drive(lambda url: clock.now(), rate_limit=by_host(RateLimit, calls=1, per=10))
        assert [fetch("http://a/1"), fetch("http://b/1"), fetch("http://a/2"), fetch("http://b/2")] == [0, 0, 10, 10]

    def test_the_error_of_a_refused_call_names_its_key(self, drive, resilient_events):
        fetch = drive(lambda url: url, rate_limit=by_host(RateLimit, calls=1, per=10, wait=False))
        fetch("http://a/1")
        error = error_of(fetch, "http://a/2")
        assert isinstance(error, RateLimited)
        assert str(error).startswith("rate limit a (1 call in 10 s): ")
        assert resilient_events.named("rate.limited")[0].limit == "a"

    def test_each_attempt_of_a_retry_counts_for_its_key(self, drive, clock):
        services = Services("down")
        fetch = drive(services.fetch, retry=Retry(attempts=3, wait=0), rate_limit=by_host(RateLimit, calls=1, per=10))
        error_of(fetch, "http://down/x")
        assert clock.waits == [10, 10]
        assert fetch("http://up/x")
        assert clock.now() == 20


class TestSlotsForEachKey:
    def test_a_full_key_leaves_the_others_their_slots(self, drive, resilient_events):
        limit = by_host(Bulkhead, 1)

        def fetch(url, inside=()):
            return [error_of(one, *given) for one, *given in inside]

        inner = resilient(bulkhead=limit)(fetch)
        outer = drive(fetch, bulkhead=limit)
        same, other = outer("http://a/1", inside=[(inner, "http://a/2"), (inner, "http://b/1")])
        assert isinstance(same, BulkheadFull)
        assert str(same) == "bulkhead a is full (1 call at once, 0 waiting): fetch was not called; there is no queue"
        assert other is None
        assert resilient_events.named("bulkhead.rejected")[0].bulkhead == "a"
        assert outer("http://a/3") == []  # it was released


class TestABudgetForEachKey:
    def test_each_key_has_its_own_retries(self, drive):
        services = Services("a", "b")
        budget = by_host(RetryBudget, share=0, floor=2)
        fetch = drive(services.fetch, retry=Retry(attempts=4, wait=0, budget=budget))
        notes = error_of(fetch, "http://a/x").__notes__
        assert "the retry budget of a is used up" in notes[-1]
        error_of(fetch, "http://b/x")
        assert services.calls == ["a"] * 3 + ["b"] * 3
        error_of(fetch, "http://a/x")
        assert services.calls[6:] == ["a"]

    def test_calls_of_a_key_count_for_its_budget(self, drive):
        services = Services()
        budget = by_host(RetryBudget, share=0.5, floor=0, per=60)
        fetch = drive(services.fetch, retry=Retry(attempts=2, wait=0, budget=budget))
        for _ in range(4):
            fetch("http://a/x")
        services.down = {"a", "b"}
        error_of(fetch, "http://a/x")
        error_of(fetch, "http://b/x")
        assert services.calls == ["a"] * 6 + ["b"]


#: By policy, the keywords that put it around a function.
KEYED = {
    "breaker": lambda key: {"breaker": CircuitBreaker(key, failures=1)},
    "rate limit": lambda key: {"rate_limit": RateLimit(key, calls=100, per=1)},
    "bulkhead": lambda key: {"bulkhead": Bulkhead(key, 10)},
    "budget": lambda key: {"retry": Retry(attempts=2, wait=0, budget=RetryBudget(key))},
}


@pytest.fixture(params=KEYED.values(), ids=KEYED)
def keyed(request):
    return request.param


class TestEveryKeyedPolicy:
    def test_an_error_of_a_key_function_fails_the_call(self, drive, keyed):
        services = Services()
        fetch = drive(services.fetch, **keyed(lambda url: url[99]))
        error = error_of(fetch, "http://a/x")
        assert isinstance(error, PredicateError)
        assert isinstance(error.__cause__, IndexError)
        assert " (in a call of " in str(error)
        assert services.calls == []

    def test_a_fallback_stands_in_for_a_call_without_a_key(self, drive, keyed):
        fetch = drive(Services().fetch, fallback=lambda url, timeout=3: "last good", **keyed(host_of))
        assert isinstance(fetch.outcome("no url"), Degraded)

    def test_wrong_arguments_are_a_type_error_as_without_a_policy(self, drive, keyed):
        fetch = drive(Services().fetch, **keyed(host_of))
        with pytest.raises(TypeError, match="'url'"):
            fetch()
        with pytest.raises(TypeError, match="'adress'"):
            fetch("http://a/x", adress=1)

    def test_a_key_function_with_unknown_arguments_is_refused_at_decoration(self, drive, keyed):
        with pytest.raises(PolicyError, match=r"names host, which .*fetch\(url, timeout\) does not have"):
            drive(Services().fetch, **keyed(lambda host: host))

    def test_it_is_explained(self, drive, keyed):
        assert "each key of host_of" in explain(drive(Services().fetch, **keyed(host_of)).decorated)

    def test_it_decorates_methods_and_gets_their_object(self, keyed):
        class Client:
            def __init__(self, tenant):
                self.tenant = tenant

            @resilient(**keyed(lambda self: self.tenant))
            def fetch(self, url):
                return url

        assert Client("acme").fetch("x") == "x"

    def test_a_pipeline_without_a_decorator_has_keys_too(self, keyed):
        (policy,) = keyed(host_of).values()
        assert Pipeline(policy).call(Services().fetch, "http://a/x") == "http://a/x"
        with pytest.raises(PredicateError, match="needs url, which this call of lambda at"):
            Pipeline(policy).call(lambda **options: 1, host="a")

    def test_a_keyed_policy_rejects_no_call_before_it_has_the_arguments(self, drive, clock):
        assert CircuitBreaker(host_of).at_once(None, (), {}) is None
        assert Retry(budget=RetryBudget(host_of)).at_once(None, (), {}) is None
        plain = CircuitBreaker("plain", failures=2)
        drive(lambda: 1, breaker=plain)()
        assert isinstance(plain.at_once(None, (), {}), Permit)
        assert isinstance(Retry(budget=RetryBudget("plain")).at_once(None, (), {}), Permit)

    def test_it_is_pickled_with_its_lambda(self, keyed):
        here = resilient(**keyed(lambda url: host_of(url.lower())))(functools.partial(Services().fetch))
        assert cloudpickle.loads(cloudpickle.dumps(here))("http://a/x") == "http://a/x"

    def test_its_key_function_gets_defaults_too(self, drive, keyed):
        seen = []

        def key(url, timeout):
            seen.append(timeout)
            return host_of(url)

        drive(Services().fetch, **keyed(key))("http://a/x")
        assert set(seen) == {3}

    def test_no_event_or_error_contains_a_secret_of_a_key(self, drive, keyed, resilient_events):
        secret = "http://user:hunter22secret@a/x?token=A1b2C3d4E5f6"

        def fetch(url):
            raise ConnectionError("refused")

        call = drive(fetch, **keyed(lambda url: url))
        shown = [str(error_of(call, secret)) for _ in range(2)]
        shown += [event.sentence() + repr(event) for event in resilient_events]
        shown += states().keys("")
        assert not [text for text in shown if "hunter22secret" in text or "A1b2C3d4" in text]


def test_each_policy_of_a_call_has_its_own_key(drive):
    fetch = drive(
        lambda url, tenant: url,
        breaker=host_of,
        rate_limit=RateLimit(lambda tenant: tenant, calls=5, per=1),
        bulkhead=Bulkhead(lambda tenant, url: f"{tenant} at {host_of(url)}", 2),
        retry=Retry(attempts=2, budget=RetryBudget(lambda: "all")),
    )
    assert isinstance(fetch.outcome("http://a/x", tenant="acme"), Ok)
    assert {key for key in states().keys("") if "probe" not in key} == {
        "breaker/a",
        "rate/acme",
        "bulkhead/acme at a",
        "budget/all",
    }
