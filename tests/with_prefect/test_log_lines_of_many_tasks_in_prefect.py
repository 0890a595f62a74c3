"""Of 200 task runs in a thread pool, each line in Prefect's log belongs to its own task run and bears its attempt."""

import asyncio
import logging
import re
import time
from collections import Counter

import pytest
from prefect import get_run_logger
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import LogFilter, LogFilterFlowRunId
from prefect.task_runners import ThreadPoolTaskRunner

from resilient_tasks import Retry, get_logger, resilient, resilient_flow, resilient_task

TASKS = 200
#: Each fifth task fails once.
FAILING = 5


@resilient(retry=Retry(attempts=3, wait=0))
def parse(number):
    get_logger().info(f"task {number} parsed")


@resilient_task(retry=Retry(attempts=3, wait=0), task_run_name="fetch-{number}")
def fetch(number):
    attempts = TRIED[number] = TRIED[number] + 1
    get_run_logger().info(f"task {number} by Prefect's logger [{attempts}]")
    get_logger().info(f"task {number} by ours", tried=attempts)
    if number % FAILING == 0 and attempts == 1:
        raise ConnectionError(f"refused to task {number}")
    parse(number)
    return number


TRIED = Counter()


@resilient_flow(task_runner=ThreadPoolTaskRunner(max_workers=TASKS))
def many():
    return [future.result() for future in fetch.map(range(TASKS))]


class Kept(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


async def read(flow_run_id):
    """The lines and task runs of a flow run, as Prefect's server has them."""
    async with get_client() as client:
        lines, wanted = [], LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id]))
        while page := await client.read_logs(wanted, limit=200, offset=len(lines)):
            lines += page
        return lines


@pytest.fixture(scope="module")
def run(resilient_prefect):
    """The run's id, the names of its task runs by id, the lines on the server, and the records in this process."""
    kept, logger = Kept(), logging.getLogger("prefect.task_runs")
    logger.addHandler(kept)
    try:
        state = many(return_state=True)
    finally:
        logger.removeHandler(kept)
    assert sorted(state.result()) == list(range(TASKS))
    flow_run_id, until = state.state_details.flow_run_id, time.monotonic() + 60
    while len(lines := asyncio.run(read(flow_run_id))) < len(kept.records):  # it gets them in batches
        assert time.monotonic() < until
        time.sleep(0.5)
    records = [record for record in kept.records if record.flow_run_id == str(flow_run_id)]
    names = {record.task_run_id: record.task_run_name for record in records}
    return flow_run_id, names, lines, records


def number_in(text):
    found = re.search(r"task (\d+)", text)
    return found and int(found[1])


def test_each_line_on_the_server_belongs_to_its_own_task_run(run):
    flow_run_id, names, lines, _ = run
    of_tasks = [line for line in lines if line.task_run_id is not None]
    assert {line.flow_run_id for line in lines} == {flow_run_id}
    by_users = [line for line in of_tasks if number_in(line.message) is not None]
    assert {number_in(line.message) for line in by_users} == set(range(TASKS))
    assert [
        line.message for line in by_users if names[str(line.task_run_id)] != f"fetch-{number_in(line.message)}"
    ] == []
    failed = [names[str(line.task_run_id)] for line in of_tasks if "attempt 1 of 3: ConnectionError" in line.message]
    assert sorted(failed) == sorted(f"fetch-{number}" for number in range(0, TASKS, FAILING))


def test_each_line_of_ours_says_its_attempt(run):
    _, _, lines, _ = run
    ours = [line.message for line in lines if "by ours" in line.message]
    assert len(ours) == TASKS + TASKS // FAILING
    assert [text for text in ours if not re.search(r"attempt=(\d) tried=\1$", text)] == []


def test_each_record_has_the_ids_the_operation_and_the_attempt(run):
    flow_run_id, names, _, records = run
    by_users = [record for record in records if number_in(record.getMessage()) is not None]
    for record in by_users:
        text = record.getMessage()
        assert record.flow_run_id == str(flow_run_id)
        assert names[record.task_run_id] == f"fetch-{number_in(text)}"
        assert record.operation == ("parse" if "parsed" in text else "fetch")
        if tried := re.search(r"\[(\d)\]$|tried=(\d)$", text):
            assert record.attempt == int(tried[1] or tried[2])
    assert len(by_users) >= 3 * TASKS
