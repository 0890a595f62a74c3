"""Prefect does not run a task that is called with a failed future; the task returns None and logs a warning."""

import asyncio
import logging

import pytest
from prefect import allow_failure, flow, task

from resilient_tasks import Retry, resilient_task

pytestmark = pytest.mark.usefixtures("resilient_prefect")
ran = []


@task
def fails():
    raise ConnectionError("refused")


@task
def works():
    return None


@resilient_task(retry=Retry(attempts=2, wait=0))
def train(frame, *_, **__):
    ran.append(frame)


@resilient_task(retry=Retry(attempts=2, wait=0))
async def train_async(frame):
    ran.append(frame)


@pytest.fixture
def warned(caplog):
    ran.clear()
    logger = logging.getLogger("prefect.flow_runs")
    logger.addHandler(caplog.handler)

    def lines():
        seen = {id(record): record for record in caplog.records if record.name == logger.name}.values()
        return [record.getMessage() for record in seen if "was not run" in record.getMessage()]

    yield lines
    logger.removeHandler(caplog.handler)


@pytest.mark.parametrize(
    "given",
    [
        lambda future: ((future,), {}),
        lambda future: (([1, future],), {}),
        lambda future: ((1,), {"more": {"a": future}}),
    ],
    ids=["argument", "in a list", "in a dict of a keyword"],
)
def test_it_logs_a_warning(warned, given):
    @flow
    def daily():
        args, kwargs = given(fails.submit())
        assert train(*args, **kwargs) is None

    assert daily(return_state=True).is_completed()
    assert not ran
    (line,) = warned()
    assert line.startswith("train was not run and returned None: an argument had failed (")
    assert "(ConnectionError: refused)" in line
    assert ".result()" in line


def test_the_warning_has_the_http_status(warned):
    @task
    def asks():
        error = RuntimeError("no")
        error.status_code = 503
        raise error

    @flow
    def daily():
        train(asks.submit())

    daily(return_state=True)
    (line,) = warned()
    assert "RuntimeError (HTTP 503): no" in line


def test_an_async_task_too(warned):
    @flow
    async def daily():
        assert await train_async(fails.submit()) is None

    assert asyncio.run(daily(return_state=True)).is_completed()
    assert len(warned()) == 1


def test_a_task_that_ran_logs_no_warning(warned):
    @flow
    def daily():
        train(works.submit())
        train(allow_failure(fails.submit()))

    assert daily(return_state=True).is_completed()
    assert len(ran) == 2
    assert not warned()
