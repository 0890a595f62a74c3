"""A failing task logs its error once at ERROR, with its traceback; its flow's line about it is at INFO."""

import logging
import time

import pytest
from prefect import flow, get_run_logger, task

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


@resilient_task
def bare():
    raise ConnectionError("refused")


@resilient_task(retry=2, timeout_seconds=0.05)
def too_slow():
    time.sleep(0.5)


@resilient_task(retries=1)
def retried_by_prefect():
    raise ConnectionError("refused")


_SAME = ConnectionError("the same object")


@resilient_task(retry=Retry(attempts=1))
def always_the_same():
    raise _SAME


@task
def calls_plain():
    plain()


def _errors(caplog, run):
    """Return what `run()`, which fails, logs at ERROR on the loggers that reach the console."""
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
@pytest.mark.parametrize("call", [fetch, lambda: fetch.submit().result()], ids=["called", "submitted"])
def test_a_failing_task_and_the_flow_that_fails_with_it_are_one_record(caplog, make, call):
    found = _errors(caplog, _flow_of(call, make))
    assert found == [("task_runs", "Task run failed with exception: ConnectionError('refused')")]


def test_a_flow_that_fails_with_its_own_error_has_its_own_record(caplog):
    def another():
        try:
            fetch()
        except ConnectionError as error:
            raise TimeoutError("the flow's own") from error

    assert [name for name, _ in _errors(caplog, _flow_of(another))] == ["task_runs", "flow_runs"]


def test_one_error_object_of_two_flow_runs_is_a_record_in_each(caplog):
    assert [len(_errors(caplog, _flow_of(always_the_same))) for _ in range(2)] == [1, 1]


def test_an_async_task_too(caplog):
    import asyncio

    @flow
    async def daily():
        await fetch_async()

    assert [name for name, _ in _errors(caplog, lambda: asyncio.run(daily()))] == ["task_runs"]


@pytest.mark.parametrize("inner", [late, bare, too_slow, retried_by_prefect], ids=lambda inner: inner.name)
def test_so_do_a_timed_out_task_and_a_failure_that_no_policy_handled(caplog, inner):
    assert [name for name, _ in _errors(caplog, _flow_of(inner))] == ["task_runs"]


def test_a_task_without_a_flow_too(caplog):
    assert [name for name, _ in _errors(caplog, fetch)] == ["task_runs"]


def test_a_plain_function_that_fails_in_a_flow_adds_none_to_prefects_own(caplog):
    assert [name for name, _ in _errors(caplog, _flow_of(plain))] == ["flow_runs"]


def test_a_plain_prefect_task_is_logged_unchanged(caplog):
    found = _errors(caplog, _flow_of(calls_plain))
    assert [name for name, _ in found] == ["task_runs", "task_runs", "flow_runs"]
    assert not [message for _, message in found if message.startswith("plain:")]


def test_the_users_own_lines_are_unchanged(caplog):
    lines = [
        "Encountered exception during execution: mine",
        "Flow run failed due to timeout",
        "Finished in state of shock",
    ]

    @flow
    def around():
        try:
            fetch()
        except ConnectionError:
            for line in lines:
                get_run_logger().error(line)
            raise

    assert [line for _, line in _errors(caplog, around)][1:] == lines
