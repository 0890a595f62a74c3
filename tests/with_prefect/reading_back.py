"""Inspect a run in another process from the test."""

import os
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterId, LogFilter, LogFilterFlowRunId
from prefect.settings import get_current_settings

HERE = Path(__file__).parent
#: The module path of other processes: this folder and that of this process.
PATHS = os.pathsep.join(filter(None, (str(HERE), os.environ.get("PYTHONPATH"))))

#: The history of `recovers` on the server.
RECOVERED = [
    ("Running", ""),
    ("AwaitingRetry", "attempt 1 of 3: ConnectionError; waits 0.1 s"),
    ("Retrying", "attempt 2 of 3"),
    ("AwaitingRetry", "attempt 2 of 3: ConnectionError; waits 0.1 s"),
    ("Retrying", "attempt 3 of 3"),
    ("Completed", "recovered on attempt 3 of 3 (ConnectionError ×2)"),
]


def eventually(look, within=90):
    """Poll until the result is true, and return it."""
    until = time.monotonic() + within
    while not (seen := look()):
        assert time.monotonic() < until, f"nothing to be seen within {within} s"
        time.sleep(0.1)
    return seen


def task_runs(flow_run_id, *, ended=True, number=1):
    """Return each task run of the flow run, with its states in order, by its task's name; once all have ended.

    A server that is busy learns of a run late: it waits for a `number` of them.
    """
    wanted = FlowRunFilter(id=FlowRunFilterId(any_=[flow_run_id]))
    with get_client(sync_client=True) as client:

        def look():
            runs = client.read_task_runs(flow_run_filter=wanted)
            ends = [run for run in runs if run.state and run.state.is_final()]
            return runs if len(ends) == len(runs) >= number else None

        runs = eventually(look) if ended else client.read_task_runs(flow_run_filter=wanted)
    return {run.name.rpartition("-")[0]: (run, states(run.id)) for run in runs}


def states(task_run_id):
    """Return the states of a task run in order."""
    with get_client(sync_client=True) as client:
        return sorted(client.read_task_run_states(task_run_id), key=lambda state: state.timestamp)


def names_and_messages(of_states):
    """Return the names and messages of states."""
    return [(state.name, state.message or "") for state in of_states]


def log_lines(flow_run_id):
    """Return the log of a flow run so far."""
    with get_client(sync_client=True) as client:
        lines = client.read_logs(LogFilter(flow_run_id=LogFilterFlowRunId(any_=[flow_run_id])), limit=200)
    return [line.message for line in lines]


@contextmanager
def started(folder, *arguments, **environment):
    """Start Python with these arguments against the tests' server; end it after the block if it still runs."""
    settings = get_current_settings().to_environment_variables(exclude_unset=True)
    everything = {**os.environ, **settings, "PYTHONPATH": PATHS, **environment}
    with (folder / "output").open("w") as output:
        process = subprocess.Popen(
            [sys.executable, *arguments], env=everything, cwd=folder, stdout=output, stderr=subprocess.STDOUT
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
