"""A task that fails prints its error once at ERROR, with its traceback; its flow has a line of its own, Prefect's."""

import logging

import pytest
from prefect import flow, task

from resilient_tasks import Retry, resilient, resilient_flow, resilient_task

pytestmark = pytest.mark.usefixtures("resilient_prefect")


@resilient(retry=Retry(attempts=2, wait=0))
def plain():
    raise ConnectionError("refused")


@resilient_task(retry=Retry(attempts=2, wait=0))
def fetch():
    raise ConnectionError("refused")


@resilient_task(retry=Retry(attempts=2, wait=0))
async def fetch_async():
    raise ConnectionError("refused")


@resilient_task(retry=Retry(attempts=1))
def late():
    raise TimeoutError("no answer")


@task
def calls_plain():
    plain()


def _errors(caplog, run):
    """What was logged at ERROR while `run()` failed, on the loggers that reach the console."""
    caplog.clear()
    loggers = [logging.getLogger(name) for name in ("prefect", "prefect.task_runs", "prefect.flow_runs")]
    for logger in loggers:
        logger.addHandler(caplog.handler)
    try:
        with pytest.raises((ConnectionError, TimeoutError)):
            run()
    finally:
        for logger in loggers:
            logger.removeHandler(caplog.handler)
    seen = {id(record): record for record in caplog.records if record.levelno >= logging.ERROR}
    return [(record.name.removeprefix("prefect."), record.getMessage()) for record in seen.values()]


def _flow_of(inner, make=flow):
    @make
    def daily():
        inner()

    return daily


@pytest.mark.parametrize("make", [flow, resilient_flow], ids=["flow", "resilient_flow"])
def test_a_failing_task_is_one_record_and_its_flow_one_of_prefects_own(caplog, make):
    assert _errors(caplog, _flow_of(fetch, make)) == [
        ("task_runs", "Task run failed with exception: ConnectionError('refused')"),
        ("flow_runs", "Encountered exception during execution: ConnectionError('refused')"),
    ]


def test_an_async_task_too(caplog):
    import asyncio

    @flow
    async def daily():
        await fetch_async()

    found = _errors(caplog, lambda: asyncio.run(daily()))  # of an async flow Prefect has two lines
    assert [name for name, _ in found if name != "flow_runs"] == ["task_runs"]


def test_a_task_that_times_out_too(caplog):
    assert [name for name, _ in _errors(caplog, _flow_of(late))] == ["task_runs", "flow_runs"]


def test_a_task_without_a_flow_too(caplog):
    assert [name for name, _ in _errors(caplog, fetch)] == ["task_runs"]


def test_a_plain_function_that_fails_in_a_flow_adds_none_to_prefects_own(caplog):
    assert [name for name, _ in _errors(caplog, _flow_of(plain))] == ["flow_runs"]


def test_a_task_of_prefects_own_is_logged_as_ever(caplog):
    found = _errors(caplog, _flow_of(calls_plain))
    assert [name for name, _ in found] == ["task_runs", "task_runs", "flow_runs"]
    assert not [message for _, message in found if message.startswith("plain:")]
