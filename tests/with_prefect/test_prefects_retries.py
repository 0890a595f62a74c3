"""Policies beside Prefect's own `retries=`: fallbacks and alerts act after the last attempt."""

import asyncio
import inspect
import logging

import pytest
from prefect.settings import (
    PREFECT_FLOW_DEFAULT_RETRIES,
    PREFECT_TASK_DEFAULT_RETRIES,
    PREFECT_TASK_DEFAULT_RETRY_DELAY_SECONDS,
    temporary_settings,
)

from resilient_tasks import Degraded, Ok, PolicyError, resilient, resilient_flow, resilient_task
from resilient_tasks.core.events import CallFailed
from resilient_tasks.prefect.flow_alerts import unresolved
from resilient_tasks.testing import flush_messages

needs_prefect = pytest.mark.usefixtures("resilient_prefect")
DECORATORS = pytest.mark.parametrize("decorate", [resilient_task, resilient_flow])


class Recorder:
    name = "recorder"

    def __init__(self):
        self.messages = []

    def send(self, message, *, within):
        self.messages.append(message)


@pytest.fixture
def channel(own_store, own_settings):
    return Recorder()


def sent(channel):
    assert flush_messages()
    return [(message.operation, message.status) for message in channel.messages]


def failing(times, calls):
    def fetch():
        calls.append(1)
        if len(calls) <= times:
            raise ConnectionError(f"refused {len(calls)}")
        return "fetched"

    return fetch


def ended(made):
    """Run a sync or an async task or flow, and return its result or the error it raises."""
    try:
        result = made()
        return asyncio.run(result) if inspect.isawaitable(result) else result
    except Exception as error:
        return error


def stand_in():
    return "stood in"


def by_decorator(decorate, fn):
    return decorate(fallback=stand_in, retries=3)(fn)


def by_with_options(decorate, fn):
    return decorate(fallback=stand_in)(fn).with_options(retries=3)


def by_adding_a_fallback(decorate, fn):
    return decorate(retries=3)(fn).with_options(fallback=stand_in)


def by_removing_retry(decorate, fn):
    return decorate(retry=2, fallback=stand_in)(fn).with_options(retry=None, retries=3)


def by_settings(decorate, fn):
    settings = {
        PREFECT_TASK_DEFAULT_RETRIES: 3,
        PREFECT_FLOW_DEFAULT_RETRIES: 3,
        PREFECT_TASK_DEFAULT_RETRY_DELAY_SECONDS: 0,
    }
    with temporary_settings(settings):
        return decorate(fallback=stand_in)(fn)


@needs_prefect
@DECORATORS
@pytest.mark.parametrize("make", [by_decorator, by_with_options, by_adding_a_fallback, by_removing_retry, by_settings])
def test_a_fallback_stands_in_after_the_last_of_prefects_attempts(decorate, make, own):
    calls = []
    made = make(decorate, own(failing(9, calls)))
    assert made.retries == 3
    assert ended(made) == "stood in"
    assert len(calls) == 4


@needs_prefect
@DECORATORS
def test_a_fallback_does_not_stand_in_for_a_task_that_recovers(decorate):
    calls = []
    assert ended(decorate(fallback=stand_in, retries=3)(failing(3, calls))) == "fetched"
    assert len(calls) == 4


@needs_prefect
def test_an_outcome_counts_prefects_attempts():
    calls = []
    fetch = resilient_task(fallback=stand_in, retries=1)(failing(1, calls))
    match fetch.outcome():
        case Ok(value, attempts):
            assert (value, attempts) == ("fetched", 2)
    calls.clear()
    assert isinstance(resilient_task(fallback=stand_in, retries=1)(failing(2, calls)).outcome(), Degraded)


@needs_prefect
@DECORATORS
def test_only_the_last_attempt_sends_an_alert(decorate, channel, own):
    calls = []
    assert ended(decorate(notify=channel, retries=2)(own(failing(2, calls)))) == "fetched"
    assert sent(channel) == []
    calls.clear()
    assert str(ended(decorate(notify=channel, retries=2)(own(failing(9, calls))))) == "refused 3"
    assert [status for _, status in sent(channel)] == ["failed"]


@needs_prefect
def test_a_flow_does_not_count_a_task_as_failed_that_prefect_retried(channel):
    recovers = resilient_task(retries=2, deadline=60)(failing(2, []))
    nested = resilient(failing(1, []))
    fails = resilient_task(retries=1, deadline=60, name="fails")(failing(9, []))

    @resilient_task(retries=1, deadline=60)
    def around():
        return nested()

    @resilient_flow(notify=channel)
    def well():
        return [recovers(), around()]

    @resilient_flow
    def goes_on():
        try:
            fails()
        except ConnectionError:
            return "went on"

    assert well() == ["fetched", "fetched"]
    assert sent(channel) == []
    assert goes_on(return_state=True).message == "1 call failed"


@pytest.fixture
def levels():
    """The levels of the lines of `call.failed` in the log, by the function."""
    seen = []

    class Handler(logging.Handler):
        def emit(self, record):
            if vars(record).get("event.name") == "call.failed":
                seen.append((vars(record)["operation"], record.levelname))

    logger, handler = logging.getLogger("resilient_tasks"), Handler()
    logger.addHandler(handler)
    yield seen
    logger.removeHandler(handler)


@needs_prefect
@DECORATORS
def test_no_failure_of_a_run_is_an_error_in_the_log_of_the_library(decorate, levels):
    made = decorate(retries=2, deadline=60)(failing(9, []))
    assert str(ended(made)) == "refused 3"
    # Two are retried, and Prefect itself logs the last one at ERROR.
    assert levels == [(made.plan.operation, "WARNING")] * 3


@needs_prefect
def test_with_a_condition_a_failure_that_may_be_retried_counts(levels):
    made = resilient_task(retries=2, deadline=60, retry_condition_fn=lambda *_: False)(failing(9, []))

    @resilient_flow
    def goes_on():
        try:
            made()
        except ConnectionError:
            return "went on"

    assert goes_on(return_state=True).message == "1 call failed"
    assert [level for _, level in levels] == ["WARNING"]


@needs_prefect
def test_without_prefects_retries_a_failure_is_an_error(levels):
    ended(resilient(failing(9, [])))
    assert [level for _, level in levels] == ["ERROR"]


@pytest.mark.parametrize("policies", [{"fallback": stand_in}, {"notify": Recorder()}], ids=["fallback", "notify"])
def test_a_retry_condition_is_refused_beside_policies_that_act_after_the_last_attempt(policies):
    def condition(_task, _run, _state):
        return True

    advice = r"retry=Retry\(attempts=..., on=...\)"
    with pytest.raises(PolicyError, match=advice):
        resilient_task(**policies, retries=2, retry_condition_fn=condition)(lambda: 1)
    with pytest.raises(PolicyError, match=advice):
        resilient_task(**policies)(lambda: 1).with_options(retries=2, retry_condition_fn=condition)
    with pytest.raises(PolicyError, match=advice):
        resilient_task(retries=2, retry_condition_fn=condition)(lambda: 1).with_options(**policies)


def test_without_its_own_retry_prefects_setting_applies_again():
    with temporary_settings({PREFECT_TASK_DEFAULT_RETRIES: 2, PREFECT_FLOW_DEFAULT_RETRIES: 2}):
        for decorate in (resilient_task, resilient_flow):
            made = decorate(retry=3)(lambda: 1)
            assert (made.retries, made.with_options(retry=None).retries) == (0, 2)


def test_failures_inside_a_retried_task_do_not_count():
    def failed(operation, *, again=False):
        run = {"task_run_id": "1"}
        return CallFailed(operation=operation, run=run, kind="", error_type="E", message="", again=again)

    last = failed("task")
    assert unresolved([failed("inside"), failed("task", again=True), last]) == [last]
