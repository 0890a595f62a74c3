"""A rehearsal on a temporary Prefect server: the same verdicts as in memory."""

import pytest
from prefect import flow, task
from prefect.states import Completed
from prefect.task_runners import ProcessPoolTaskRunner

from resilient_tasks import Fallback, Retry, resilient_task
from resilient_tasks.prefect.rehearsed import runs_elsewhere
from resilient_tasks.rehearsal import matrix
from resilient_tasks.rehearsal.faults import tokens_of
from resilient_tasks.rehearsal.rehearsal import CannotRehearseError, rehearse
from resilient_tasks.rehearsal.results import Rehearsal


@resilient_task(retry=Retry(attempts=2), fallback=Fallback(value=[]))
def fetch():
    return [1, 2]


@task
def counted(numbers):
    return len(numbers)


@flow
def count():
    number = counted(fetch())
    return Completed(name="Completed" if number else "Degraded", data=number)


def judged(prefect):
    found = rehearse(count, runs=6, faults=["api", "malformed"], prefect=prefect)
    return [(tokens_of(result.faults), result.judged) for result in found.results]


def test_the_report_says_which_tasks_get_no_faults():
    found = Rehearsal("monthly", 7, ("fetch",), not_injected="tasks that its DaskTaskRunner runs in other processes")
    said = "not injected: faults into tasks that its DaskTaskRunner runs in other processes"
    assert said in matrix.sentences(found, str)
    assert not any("not injected" in line for line in matrix.sentences(Rehearsal("monthly", 7, ("fetch",)), str))
    assert runs_elsewhere(count) == ""
    assert runs_elsewhere(count.with_options(task_runner=ProcessPoolTaskRunner())) == "ProcessPoolTaskRunner"


def test_a_flow_all_of_whose_tasks_run_in_other_processes_is_refused_with_what_to_do():
    @flow(task_runner=ProcessPoolTaskRunner(max_workers=1))
    def nothing_here():
        return 1

    with pytest.raises(CannotRehearseError, match="only by its ProcessPoolTaskRunner: rehearse it with a ThreadPool"):
        rehearse(nothing_here, prefect="server")


def test_a_flow_is_judged_with_a_server_as_in_memory():
    with_a_server = judged("server")
    assert with_a_server == judged("memory")
    assert len({each.verdict for _, each in with_a_server}) > 2
