"""Errors raised to Prefect: the error itself, or, if it holds a secret, a redacted copy without a cause."""

import asyncio
import traceback

import pytest
from prefect.states import Completed
from prefect.states import Failed as FailedState

from resilient_tasks import Degraded, Failed, Fallback, Retry, outcome_of, resilient_flow, resilient_task
from resilient_tasks.prefect import raising
from resilient_tasks.prefect.states import StateWithMessage
from resilient_tasks.redaction.exceptions import original_of

PAIR = "password=hunter2"


def caught(text):
    try:
        raise ConnectionError(text)
    except ConnectionError as error:
        return error


def test_an_error_without_a_secret_is_raised_itself_with_its_traceback():
    error = caught("refused")
    with pytest.raises(ConnectionError) as raised:
        raising.fail(Failed(error))
    assert raised.value is error
    assert "caught" in [frame.name for frame in traceback.extract_tb(error.__traceback__)]


def test_an_error_with_a_secret_is_raised_as_a_copy_without_a_cause():
    error = caught(PAIR)
    with pytest.raises(ConnectionError, match=r"password=\*\*\*") as raised:
        raising.fail(Failed(error))
    assert raised.value is not error
    assert original_of(raised.value) is error
    assert (raised.value.__cause__, raised.value.__context__) == (None, None)
    assert "caught" in [frame.name for frame in traceback.extract_tb(raised.value.__traceback__)]
    assert str(error) == PAIR


@pytest.mark.parametrize("text", ["refused", PAIR])
def test_a_stream_yields_its_items_and_raises_like_any_function(text):
    def items():
        yield 1
        raise ConnectionError(text)

    async def async_items():
        yield 1
        raise ConnectionError(text)

    async def consumed(source, seen):
        async for item in source:
            seen.append(item)

    for stream, consume in (
        (raising.items(items()), lambda source, seen: seen.extend(source)),
        (raising.async_items(async_items()), lambda source, seen: asyncio.run(consumed(source, seen))),
    ):
        seen = []
        with pytest.raises(ConnectionError) as raised:
            consume(stream, seen)
        assert seen == [1]
        assert "hunter2" not in str(raised.value)
        assert raised.value.__context__ is None


def test_an_abandoned_stream_closes_its_source_and_a_finished_one_returns_its_value():
    closed = []

    def items():
        try:
            yield 1
        finally:
            closed.append("sync")
        return 7

    async def async_items():
        try:
            yield 1
            yield 2
        finally:
            closed.append("async")

    def value():
        return (yield from raising.items(items()))

    stream = value()
    assert next(stream) == 1
    with pytest.raises(StopIteration) as ended:
        next(stream)
    assert ended.value.value == 7

    async def left():
        stream = raising.async_items(async_items())
        assert await anext(stream) == 1
        await stream.aclose()

    asyncio.run(left())
    assert closed == ["sync", "async"]


def test_a_returned_state_is_published_without_secrets():
    plain = FailedState(message="no data")
    assert raising.without_secrets(plain) is plain
    redacted = raising.without_secrets(FailedState(message=PAIR, data=ConnectionError(PAIR)))
    assert (redacted.message, str(redacted.data), type(redacted.data)) == (
        "password=***",
        "password=***",
        ConnectionError,
    )


def test_the_error_behind_a_stand_in_is_pickled_without_secrets():
    import cloudpickle

    state = StateWithMessage(type=Completed().type, name="Degraded", message="degraded").because_of(caught(PAIR))
    assert str(state.because) == PAIR
    assert str(cloudpickle.loads(cloudpickle.dumps(state)).because) == "password=***"


class TestOnAServer:
    @pytest.fixture(autouse=True)
    def server(self, resilient_prefect):
        pass

    def test_callers_get_the_copy_and_outcomes_the_original(self, own):
        @resilient_task(retry=Retry(attempts=2, wait=0))
        @own
        def fails():
            raise ConnectionError(PAIR)

        def run(value):
            return asyncio.run(value) if asyncio.iscoroutine(value) else value

        with pytest.raises(ConnectionError) as raised:
            run(fails())
        assert str(raised.value) == "password=***"
        assert raised.value.__notes__ == ["fails: gave up after attempt 2 (ConnectionError ×2): no attempts left"]
        match run(fails.outcome()):
            case Failed(error=error):
                assert str(error) == PAIR
            case other:
                pytest.fail(f"{other}")

    def test_a_submitted_tasks_outcome_has_the_original_and_its_state_the_copy(self):
        @resilient_task(retry=Retry(attempts=1))
        def fails():
            raise ConnectionError(PAIR)

        @resilient_task(fallback=Fallback(value=1))
        def degrades():
            raise ConnectionError(PAIR)

        @resilient_flow
        def both():
            first, second = fails.submit(), degrades.submit()
            return outcome_of(first), outcome_of(second), first.state.message

        failed, degraded, message = both()
        assert str(failed.error) == PAIR
        assert isinstance(degraded, Degraded)
        assert str(degraded.because) == PAIR
        assert "password=***" in message
        assert "hunter2" not in message

    def test_a_flow_retries_a_tasks_error_although_it_gets_a_copy(self):
        tries = []

        @resilient_task(deadline=60)
        def fails():
            raise ConnectionError(PAIR)

        @resilient_flow(retry=Retry(attempts=2, wait=0))
        def calls():
            tries.append(1)
            fails()

        with pytest.raises(ConnectionError, match=r"password=\*\*\*"):
            calls()
        assert len(tries) == 2
