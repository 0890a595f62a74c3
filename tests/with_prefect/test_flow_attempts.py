"""A flow under Prefect's own `retries=`: the traces of its attempts, and the result of the run."""

import asyncio
import inspect

import pytest
from prefect.states import Completed
from prefect.states import Failed as FailedState

from resilient_tasks import Retry, resilient_flow, resilient_task

pytestmark = pytest.mark.usefixtures("resilient_prefect", "resilient_clock")


@pytest.fixture(params=["sync", "async"])
def attempts(request):
    """`attempts(body, **options)` makes a flow that calls `body` with the number of the attempt."""

    def make(body, *, decorator=resilient_flow, retries=1, **options):
        count = iter(range(1, 10))

        @decorator(retries=retries, **options)
        def run():
            return body(next(count))

        @decorator(retries=retries, **options)
        async def run_later():
            return body(next(count))

        return run if request.param == "sync" else run_later

    return make


def ended(called):
    """Return the result of a sync or an async flow, or the error that it raises."""
    try:
        result = called()
        return asyncio.run(result) if inspect.isawaitable(result) else result
    except Exception as error:
        return error


def flaky(times=1, **policies):
    left = [ConnectionError("refused")] * times

    @resilient_task(**policies)
    def fetch():
        if left:
            raise left.pop()
        return "fetched"

    return fetch


def after_a_failure(then):
    def body(number):
        if number == 1:
            raise ValueError("attempt 1")
        return then()

    return body


def given(fetch):
    """Return the result of a task made for this run, or continue without it."""
    try:
        return fetch()
    except ConnectionError:
        return "went on"


@pytest.mark.parametrize(
    ("then", "result", "name", "message"),
    [
        (lambda: given(flaky(retry=Retry(attempts=2, wait=0))), "fetched", "Completed", "1 call recovered"),
        (lambda: given(flaky(fallback=lambda: "stood in")), "stood in", "Degraded", "1 call degraded"),
        (lambda: given(flaky(deadline=9)), "went on", "Degraded", "1 call failed"),
        (lambda: Completed(data="own", name="Fine", message="mine"), "own", "Fine", "mine"),
        (lambda: None, None, "Completed", None),
    ],
    ids=["recovered", "degraded", "failed", "state", "nothing"],
)
def test_a_later_attempt_returns_its_result_and_raises_no_earlier_error(attempts, then, result, name, message):
    hooked = []
    retried = attempts(after_a_failure(then), on_completion=[lambda _flow, _run, state: hooked.append(state)])
    assert ended(retried) == result
    (state,) = hooked
    assert (state.type.name, state.name, state.message) == ("COMPLETED", name, message)


def test_with_return_state_the_state_is_that_of_the_last_attempt(attempts):
    retried = attempts(after_a_failure(flaky(fallback=lambda: "stood in")))
    state = ended(lambda: retried(return_state=True))
    assert (state.name, state.message, ended(state.result)) == ("Degraded", "1 call degraded", "stood in")


def test_a_retried_subflow_returns_its_result_to_its_parent(attempts):
    inner = attempts(after_a_failure(flaky(fallback=lambda: "stood in")))

    @resilient_flow(retries=1)
    async def outer():
        result = inner()
        return await result if inspect.isawaitable(result) else result

    assert ended(outer) == "stood in"


def test_if_each_attempt_fails_the_last_error_is_raised(attempts):
    def body(number):
        raise ValueError(f"attempt {number}")

    assert str(ended(attempts(body, retries=2))) == "attempt 3"


def test_an_attempt_stopped_by_prefects_timeout_leaves_no_error(attempts):
    async def body(number):
        if number == 1:
            await asyncio.sleep(9)
        return flaky(fallback=lambda: "stood in")()

    count = iter((1, 2))

    @resilient_flow(retries=1, timeout_seconds=1)
    async def slow():
        return await body(next(count))

    assert ended(slow) == "stood in"


def test_a_returned_failed_state_is_retried(attempts):
    """Prefect 3.8 leaves such a run waiting for a retry that it never makes."""

    def body(number):
        return FailedState(message="not yet") if number == 1 else flaky(fallback=lambda: "stood in")()

    state = ended(lambda: attempts(body)(return_state=True))
    assert (state.name, state.message) == ("Degraded", "1 call degraded")
