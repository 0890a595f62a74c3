"""What is unusual about a pipeline: each remark appears where it should, and nowhere else."""

import sqlite3
import warnings

import httpx
import pytest
import tenacity

from resilient_tasks import (
    Bulkhead,
    CircuitBreaker,
    Deadline,
    Fallback,
    Hedge,
    Kind,
    Pipeline,
    Policy,
    RateLimit,
    Retry,
    RetryBudget,
    SingleFlight,
    Timeout,
    configure,
    explain,
    resilient,
)


def fetch(url="x"):
    return url


def stand_in(url="x"):
    return url


def never(state):
    return False


#: State that calls share, by the policy that keeps it.
KEPT = {
    "breaker": {"breaker": "api"},
    "bulkhead": {"bulkhead": Bulkhead("api", 2)},
    "rate limit": {"rate_limit": RateLimit("api", 2, 1)},
    "budget": {"retry": Retry(budget=RetryBudget("api"))},
    "single flight": {"single_flight": SingleFlight(shared=True)},
}


def codes(fn=fetch, *, workers=None, **options):
    """Return the codes of the remarks on a function with these policies."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [remark.code for remark in explain(resilient(**options)(fn), workers=workers).remarks]


UNUSUAL = {
    "deadline-shorter-than-attempt": {"deadline": 10, "timeout": 20},
    "no-time-for-another-attempt": {"deadline": 10, "timeout": 9, "retry": Retry(wait=2)},
    "wait-longer-than-deadline": {"deadline": 10, "retry": Retry(wait=10)},
    "queue-longer-than-deadline": {"deadline": 10, "rate_limit": RateLimit("api", 5, 1, wait=30)},
    "hedge-never-starts": {"timeout": 2, "hedge": 2},
    "slow-beyond-timeout": {"timeout": 2, "breaker": CircuitBreaker("api", slow=3)},
    "retries-without-end": {"retry": Retry(attempts=None, stop=never)},
    "fallback-hides-bug": {"fallback": Fallback(stand_in, on=(Kind.TRANSIENT, TypeError))},
    "retry-repeats-bug": {"retry": Retry(on=Exception)},
    "timeout-cannot-stop": {"timeout": 2, "retry": 3, "idempotent": False},
    "fallback-cannot-take-call": {"fallback": lambda: 1},
}
USUAL = [
    {"deadline": 60, "timeout": 20, "retry": 3},
    {"deadline": 10, "retry": Retry(attempts=9, wait=4)},
    {"deadline": 10, "retry": Retry(attempts=2, wait=[1, 30])},
    {"deadline": 10, "retry": Retry(attempts=9)},
    {"deadline": 10, "timeout": 9, "retry": Retry(on=ConnectionError, wait=2)},
    {"deadline": 10, "rate_limit": RateLimit("api", 5, 1)},
    {"timeout": 2, "hedge": 1},
    {"timeout": 2, "breaker": CircuitBreaker("api", slow=1)},
    {"retry": Retry(attempts=None, stop=never), "deadline": 60},
    {"retry": Retry(attempts=None, stop=tenacity.stop_after_attempt(4))},
    {"fallback": Fallback(stand_in, on=(Kind.TRANSIENT, ConnectionError, ValueError))},
    {"fallback": {Kind.TIMEOUT: stand_in, OSError: stand_in}, "retry": Retry(on=(Kind.MALFORMED, OSError))},
    {"fallback": stand_in, "breaker": "api", "bulkhead": Bulkhead("api", 3, queue=2)},
    {"hedge": Hedge(1), "retry": 3, "single_flight": True},
]


@pytest.mark.parametrize(("code", "options"), UNUSUAL.items(), ids=UNUSUAL)
def test_what_is_unusual_is_remarked_on_with_what_to_write_instead(code, options):
    options = {"idempotent": True, **options}
    assert code in codes(**options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        remark = next(each for each in explain(resilient(**options)(fetch)).remarks if each.code == code)
    assert remark.name == "fetch"
    assert remark.instead
    assert f"! {code}: {remark.sentence}. {remark.instead}" in explain(resilient(**options)(fetch))


@pytest.mark.parametrize("options", USUAL, ids=" ".join)
def test_what_is_usual_is_not_remarked_on(options):
    assert codes(idempotent=True, **options) == []


def test_a_later_wait_that_does_not_fit_the_deadline_is_remarked_on():
    explanation = explain(resilient(deadline=10, retry=Retry(attempts=4, wait=[1, 2, 30]))(fetch))
    assert (
        "wait 3 of 30 s does not fit the deadline of 10 s: attempt 4 is never made" in explanation.remarks[0].sentence
    )


def test_policies_of_other_authors_are_not_judged():
    class Patient(Policy):
        slot = "deadline"
        seconds = 1

    assert codes(policies=[Patient()], timeout=20) == []


class TestThingsThatMustNotHappenTwice:
    def insert(self, connection):
        connection.execute("INSERT INTO orders VALUES (1)")

    def merge(self, connection):
        connection.execute("INSERT INTO orders VALUES (1) ON CONFLICT DO NOTHING")

    def select(self, connection):
        connection.execute("SELECT 1")

    def send(self, session):
        return session.post("https://example.org/orders", json={})

    def safely(self, session):
        return session.post("https://example.org/orders", headers={"Idempotency-Key": "7"})

    def of_a_module(self, url):
        return httpx.post(url, json={})

    def through_a_helper(self, url):
        return _order(url)

    def delete(self, client):
        client.delete("https://example.org/orders/1")

    def discard(self, cache):
        cache.delete("orders")

    def read(self, blog):
        return blog.post

    async def later(self, client):
        await client.request("POST", "https://example.org/orders")

    @pytest.mark.parametrize("fn", [insert, send, of_a_module, through_a_helper, delete, later])
    def test_a_retry_of_them_is_remarked_on(self, fn):
        assert codes(fn, retry=3) == ["retry-of-a-post"]

    @pytest.mark.parametrize("fn", [merge, select, safely, discard, read])
    def test_others_are_not_mistaken_for_them(self, fn):
        assert codes(fn, retry=3) == []

    @pytest.mark.parametrize("options", [{"timeout": 3}, {"retry": 3, "idempotent": True}])
    def test_without_a_retry_or_if_idempotent_they_are_fine(self, options):
        assert codes(TestThingsThatMustNotHappenTwice.send, **options) == []


def _order(url):
    return httpx.put(url)


@resilient(retry=4)
def nested():
    return sqlite3.connect(":memory:")


class TestLoops:
    def test_a_retry_of_a_function_that_is_retried_inside_multiplies(self):
        def outer():
            return nested()

        explanation = explain(resilient(retry=3)(outer))
        assert [remark.code for remark in explanation.remarks] == ["nested-retries"]
        assert "3 × 4 attempts are up to 12" in explanation

    def test_a_retry_beside_another_function_does_not(self):
        def outer():
            return nested()

        assert codes(outer, timeout=5) == []

    def test_two_retries_in_one_pipeline_multiply(self):
        pipeline = Pipeline(Retry(attempts=2), Deadline(9), Retry(attempts=5), Timeout(1))
        found = {remark.code for remark in explain(pipeline).remarks}
        assert found == {"nested-retries", "retry-outside-deadline"}


class TestStateOfOneProcess:
    @pytest.mark.parametrize("options", KEPT.values(), ids=KEPT)
    def test_it_is_remarked_on_if_several_processes_run_it(self, options, own_settings):
        assert codes(workers=4, **options) == ["state-per-process"]
        assert codes(workers=1, **options) == codes(**options) == []

    def test_a_shared_store_is_fine(self, own_settings, tmp_path, monkeypatch):
        monkeypatch.setenv("RESILIENT_TASKS_STORE", "")
        configure(store=f"sqlite:///{tmp_path / 'state.db'}")
        assert codes(workers=4, breaker="api") == []
