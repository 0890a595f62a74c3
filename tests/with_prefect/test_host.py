"""Prefect is the host of calls from the first task or flow on, created here or unpickled."""

import logging
import subprocess
import sys
import threading

import cloudpickle
import pytest
from prefect import flow
from prefect.settings import PREFECT_API_URL

from resilient_tasks import resilient_flow, resilient_task
from resilient_tasks.core import host
from resilient_tasks.core.host import use_host
from resilient_tasks.observe.logs import LOGGER
from resilient_tasks.prefect.runs import PrefectHost, RunLogHandler

IMPORTED = """
from resilient_tasks.core import host
from resilient_tasks.prefect import flow, runs, task
print(type(host.current).__name__)
task.resilient_task(lambda: 1)
print(type(host.current).__name__)
"""


def test_an_import_alone_makes_prefect_no_host():
    ran = subprocess.run([sys.executable, "-c", IMPORTED], check=True, capture_output=True, text=True)
    assert ran.stdout.split() == ["Host", "PrefectHost"]


def make(decorator):
    def own():
        return 1

    return decorator(own)


@pytest.mark.parametrize("decorator", [resilient_task, resilient_task(retry=2), resilient_flow])
def test_a_created_or_unpickled_task_or_flow_makes_prefect_the_host(decorator):
    with use_host(host.NONE):
        pickled = cloudpickle.dumps(make(decorator))
        assert type(host.current) is PrefectHost
    with use_host(host.NONE):
        cloudpickle.loads(pickled)
        assert type(host.current) is PrefectHost
    with use_host(other := host.Host()):
        cloudpickle.loads(pickled)
        assert host.current is other
    assert len([one for one in LOGGER.handlers if isinstance(one, RunLogHandler)]) == 1


def test_a_thread_outside_of_runs_logs_about_a_run_to_the_server_of_that_run(resilient_prefect_memory):
    """With its own settings, Prefect would start a server for it where these name none, as on a worker of Dask."""
    seen = []

    class Seeing(logging.Handler):
        def emit(self, record):
            seen.append((record.task_run_id, PREFECT_API_URL.value()))

    @resilient_task
    def current():
        return dict(host.current.run())

    @flow
    def logged():
        return current()

    run = logged()
    record = logging.makeLogRecord({"msg": "alert sent", "levelno": logging.INFO, **run})
    log, seeing = logging.getLogger("prefect.task_runs"), Seeing()
    log.addHandler(seeing)
    try:
        thread = threading.Thread(target=RunLogHandler().emit, args=(record,))
        thread.start()
        thread.join()
    finally:
        log.removeHandler(seeing)
    assert seen == [(run["task_run_id"], resilient_prefect_memory.url)]
