"""Resilient tasks that a task worker runs in the background: `delay`, `apply_async`, `serve`."""

import sys
import threading
from pathlib import Path
from types import SimpleNamespace

import pytest
from prefect.client.orchestration import get_client
from prefect.exceptions import FailedRun
from prefect.futures import wait

from resilient_tasks import Degraded, Failed, Ok, outcome_of

sys.path.insert(0, str(Path(__file__).parent))  # a task is identified by its module's name
import flows_that_run_elsewhere as elsewhere  # needs that path
import reading_back  # as above

SERVE = "import flows_that_run_elsewhere as elsewhere; from prefect.task_worker import serve; serve(*elsewhere.EVERY)"


@pytest.fixture(scope="module")
def ran(resilient_prefect, tmp_path_factory):
    """The outcomes of tasks that were delayed here, before a worker started, and ran in its process."""
    folder = tmp_path_factory.mktemp("tries")
    futures = {task.name: task.delay(str(folder)) for task in elsewhere.EVERY}
    futures["applied"] = elsewhere.recovers.apply_async((str(tmp_path_factory.mktemp("applied")),), {"rows": 7})
    called_back = {name: threading.Event() for name in futures}
    for name, future in futures.items():
        future.add_done_callback(lambda _, name=name: called_back[name].set())
    found = SimpleNamespace(futures=futures, called_back=called_back, folder=folder)
    # Prefect's worker may hang at its first log line: a thread that starts the service for logs holds a lock until the
    # worker's event loop has done it, and the loop waits for that lock when it announces a state.
    with reading_back.started(folder, "-c", SERVE, PREFECT_LOGGING_TO_API_ENABLED="false"):
        found.done, found.not_done = wait(list(futures.values()), timeout=90)
    assert not found.not_done
    return found


def test_every_future_ends_whatever_the_name_of_the_final_state(ran):
    assert {name for name, event in ran.called_back.items() if not event.wait(10)} == set()
    assert ran.futures["degrades"].state.name == "Degraded"
    assert ran.futures["too_slow"].state.name == "TimedOut"


def test_results_stand_ins_and_errors_arrive_as_outcomes(ran):
    match {name: outcome_of(future) for name, future in ran.futures.items()}:
        case {
            "recovers": Ok(1, attempts=3),
            "applied": Ok(7, attempts=3),
            "recovers_async": Ok("fresh", attempts=3),
            "degrades": Degraded("yesterday's, after refused"),
            "too_slow": Failed(error=FailedRun()),  # Prefect does not persist the error of a timeout
            "too_late": Failed(error=ConnectionError()),
            "broken": Failed(error=KeyError()),
        }:
            pass
        case other:
            pytest.fail(f"not as expected: {other}")


def test_the_result_of_a_stand_in_can_be_read(ran):
    assert ran.futures["degrades"].result() == "yesterday's, after refused"


def test_the_history_shows_each_attempt_and_its_reason(ran):
    task_run_id = ran.futures["recovers"].task_run_id
    states = reading_back.names_and_messages(reading_back.states(task_run_id))
    assert states[-6:] == reading_back.RECOVERED
    with get_client(sync_client=True) as client:
        assert client.read_task_run(task_run_id).run_count == 3
