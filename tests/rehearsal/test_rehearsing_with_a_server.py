"""A rehearsal on a temporary Prefect server: the same verdicts as in memory."""

from prefect import flow, task
from prefect.states import Completed

from resilient_tasks import Fallback, Retry, resilient_task
from resilient_tasks.rehearsal.faults import tokens_of
from resilient_tasks.rehearsal.rehearsal import rehearse


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


def test_a_flow_is_judged_with_a_server_as_in_memory():
    with_a_server = judged("server")
    assert with_a_server == judged("memory")
    assert len({each.verdict for _, each in with_a_server}) > 2
