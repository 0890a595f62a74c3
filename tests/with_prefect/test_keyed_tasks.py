"""Tasks whose policies have a key function: how Prefect shows a key, and that a key follows the task's options."""

import pytest

from resilient_tasks import (
    CircuitBreaker,
    CircuitOpen,
    Failed,
    Ok,
    PolicyError,
    PredicateError,
    RateLimit,
    host_of,
    outcome_of,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import states, use_store

pytestmark = pytest.mark.usefixtures("resilient_prefect")
SECRET = "hunter22secret"


@pytest.fixture(autouse=True)
def fresh_store():
    with use_store(MemoryStore()):
        yield


def fetch(url, timeout=3):
    if "down" in url:
        raise ConnectionError("refused")
    return url


def run(work):
    """Run `work` as a flow, and return its final state and result."""
    found = []

    @resilient_flow(fail_on_degraded=False)
    def flow():
        found.append(work())

    flow()
    return found[0]


def test_each_key_of_a_mapped_task_has_its_own_circuit():
    task = resilient_task(breaker=CircuitBreaker(host_of, failures=1))(fetch)

    def work():
        first = task.submit("http://down/1")
        first.wait()
        return outcome_of(first), [outcome_of(one) for one in task.map(["http://down/2", "http://up/1", "http://up/2"])]

    first, (refused, *well) = run(work)
    assert isinstance(first.error, ConnectionError)
    assert isinstance(refused.error, CircuitOpen)
    assert refused.error.name == "down"
    assert [type(one) for one in well] == [Ok, Ok]
    assert CircuitBreaker.names() == ["down"]


def test_other_options_use_another_key():
    task = resilient_task(breaker=CircuitBreaker(host_of, failures=1))(fetch)
    other = task.with_options(breaker=CircuitBreaker(lambda url: url.rpartition("/")[2], failures=1))
    assert run(lambda: isinstance(other.outcome("http://down/page"), Failed))
    assert CircuitBreaker.names() == ["page"]
    with pytest.raises(PolicyError, match="names host, which fetch"):
        task.with_options(rate_limit=RateLimit(lambda host: host, calls=1, per=1))


def test_the_key_function_of_a_method_gets_its_object():
    class Client:
        tenant = "acme"

        @resilient_task(rate_limit=RateLimit(lambda self, url: f"{self.tenant} {host_of(url)}", calls=5, per=1))
        def fetch(self, url):
            return url

    assert run(lambda: Client().fetch("http://up/1")) == "http://up/1"
    assert states().keys("rate/") == ["rate/acme up"]


@pytest.mark.parametrize("key", [lambda url: url, lambda url: 1 / 0 if url else "", lambda url: [url]])
def test_no_state_shows_a_secret_of_a_key(key):
    task = resilient_task(breaker=CircuitBreaker(key, failures=1))(fetch)

    def work():
        return [task(f"http://user:{SECRET}@down/1?token=A1b2C3d4E5f6", return_state=True).message for _ in range(2)]

    messages = run(work)
    assert all(messages)
    assert SECRET not in str(messages)
    assert "A1b2C3d4" not in str(messages)


def test_a_failing_key_function_fails_the_task_with_its_place():
    task = resilient_task(breaker=CircuitBreaker(lambda url: {}[url]))(fetch)
    state = run(lambda: task("http://up/1", return_state=True))
    assert state.is_failed()
    assert "key function" in state.message
    assert "test_keyed_tasks.py" in state.message
    assert isinstance(run(lambda: task.outcome("http://up/1")).error, PredicateError)
