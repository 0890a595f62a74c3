"""SIGTERM to a process whose resilient task waits for its next attempt: no policy handles it."""

import multiprocessing
import sys
import time
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowFilter, FlowFilterName

sys.path.insert(0, str(Path(__file__).parent))
import flows_that_run_elsewhere as elsewhere
import reading_back

#: The decorator of the task, and how it waits.
WAYS = ["prefects called", "ours called", "ours submitted", "ours awaited", "ours async submitted"]


def flow_run(name):
    with get_client(sync_client=True) as client:
        (found,) = client.read_flow_runs(flow_filter=FlowFilter(name=FlowFilterName(any_=[name]))) or [None]
        return found


def is_waiting(name):
    found = flow_run(name)
    runs = reading_back.task_runs(found.id, ended=False) if found else {}
    return any(run.state_name == "AwaitingRetry" for run, _ in runs.values())


@pytest.fixture(scope="module")
def terminated(resilient_prefect, tmp_path_factory):
    """Flows that were terminated, each in its own process, while their task waited for minutes."""
    forked = multiprocessing.get_context("forkserver")
    forked.set_forkserver_preload([elsewhere.__name__])  # importing takes longest
    processes, found = {}, {}
    try:
        for way in WAYS:
            folder = tmp_path_factory.mktemp("tries")
            what = (resilient_prefect, *way.split(" ", 1), str(folder))
            processes[way] = folder, forked.Process(target=elsewhere.wait_to_be_terminated, args=what)
            processes[way][1].start()
        for way, (folder, process) in processes.items():
            reading_back.eventually(lambda way=way: is_waiting(way))
            signalled = time.monotonic()
            process.terminate()
            process.join(30)
            found[way] = SimpleNamespace(folder=folder, code=process.exitcode, seconds=time.monotonic() - signalled)
    finally:
        for _, process in processes.values():
            process.kill()
    return found


@pytest.mark.parametrize("way", WAYS)
def test_the_process_ends_soon_and_makes_no_further_attempt(terminated, way):
    ended = terminated[way]
    assert ended.seconds < 5
    assert ended.code not in {0, None}
    assert len((ended.folder / "refused").read_text().splitlines()) == 1


@pytest.mark.parametrize("way", WAYS)
def test_the_runs_are_crashed_as_those_of_prefects_own_tasks_are(terminated, way):
    run = flow_run(way)
    ((_, states),) = reading_back.task_runs(run.id).values()
    assert run.state_name == "Crashed"
    assert [state.name for state in states] == ["Pending", "Running", "AwaitingRetry", "Crashed"]
