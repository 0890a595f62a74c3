"""Prefect tasks in child processes."""

import logging
import os
import threading

from prefect import flow
from prefect.context import TaskRunContext

from resilient_tasks import Timeout, resilient_task


def test_a_task_in_a_worker_thread_is_killed_and_its_log_records_belong_to_its_run(resilient_prefect, pids, gone):
    runs = []

    class Handler(logging.Handler):
        def emit(self, record):
            runs.append((TaskRunContext.get().task_run.name, record.getMessage(), threading.current_thread()))

    @resilient_task(timeout=Timeout(0.5, enforce="process"), task_run_name="the-run")
    def endless(path):
        logging.getLogger("shop").warning("works")
        path.write_text(str(os.getpid()))
        while True:
            pass

    @flow
    def shop():
        future = endless.submit(pids.path)
        future.wait()
        return gone(*pids(), within=0), future.state

    logging.getLogger("shop").addHandler(handler := Handler())
    try:
        dead, state = shop()
    finally:
        logging.getLogger("shop").removeHandler(handler)
    assert dead
    assert (state.type, state.name) == ("FAILED", "TimedOut")
    ((run, text, thread),) = runs
    assert (run, text) == ("the-run", "works")
    assert thread is not threading.main_thread()
