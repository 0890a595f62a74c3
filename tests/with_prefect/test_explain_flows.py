"""`explain` of tasks and flows: Prefect's own retries, and which tasks of a flow are found."""

import asyncio

import pytest
from prefect import flow, task

from resilient_tasks import Retry, Timeout, explain, resilient, resilient_flow, resilient_task


@resilient_task(retry=3, timeout=2, idempotent=True)
def fetch(month):
    return month


@resilient_task(retries=2, retry_delay_seconds=[1, 5], timeout=2)
def natively(month):
    return month


@resilient_task(timeout=4)
def in_a_dict(month):
    return month


@resilient_task(timeout=5)
def of_a_helper(month):
    return month


@resilient_task(timeout=6)
def of_a_deeper_helper(month):
    return month


@resilient(timeout=7)
def plain(month):
    return month


@task
def prefects_own(month):
    return month


class Client:
    @resilient_task(timeout=8)
    def read(self):
        return 1


TASKS = {"one": in_a_dict}
client = Client()


def helper(month):
    further(month)
    return of_a_helper(month)


def further(month):
    return of_a_deeper_helper(month)


@resilient_flow
def inner():
    return plain(1)


@resilient_flow
def report(load):
    months = [fetch.submit(month) for month in range(3)]
    fetch(1)
    natively.with_options(timeout=9)(2)
    TASKS["one"](3)
    helper(4)
    client.read()
    inner()
    prefects_own(5)
    load(6)
    return getattr(client, "read")(), months  # noqa: B009  # the test is about it


def test_the_tasks_of_a_flow_are_found_in_its_code_its_helpers_and_what_it_names():
    found = explain(report)
    assert [part.name for part in found.parts] == [
        *("fetch", "natively", "in_a_dict", "Client.read", "inner", "of_a_helper", "of_a_deeper_helper"),
    ]
    assert [part.name for part in found.parts[-3].parts] == ["plain"]
    assert "\ntask fetch\n  1. retry: 3 attempts" in found


def test_what_cannot_be_followed_is_named():
    assert set(explain(report).not_found) == {
        "load, which is a parameter",
        "what getattr(...) returns",
        "the options that natively is given inside the flow (with_options)",
    }


def test_a_flow_of_prefect_is_explained_with_its_resilient_tasks():
    @flow
    def ordinary():
        return fetch(1)

    assert [part.name for part in explain(ordinary).parts] == ["fetch"]


def test_prefects_own_retries_are_around_the_pipeline():
    case = natively.explain().worst_case
    assert (case.attempts, case.unasked_seconds) == (3, 3 * 2 + 1 + 5)
    assert "around all of this: Prefect's retries=2, 3 attempts of the whole" in natively.explain()


def test_the_retry_of_a_flow_multiplies_with_those_of_its_tasks():
    @resilient_flow(retry=2)
    def twice():
        return fetch(1)

    remark = explain(twice).remarks[0]
    assert (remark.code, remark.name) == ("nested-retries", "twice")
    assert "2 × 3 attempts are up to 6" in remark.sentence
    assert explain(report).remarks == ()


def test_tasks_inherit_the_deadline_of_their_flow():
    @resilient_flow(deadline=5)
    def hurried():
        return fetch(1), plain(2)

    patient, other = explain(hurried).parts
    assert (patient.worst_case.unasked_seconds, other.worst_case.seconds) == (5, 5)
    assert "it inherits the deadline of its flow, 5 s for the whole run" in patient
    assert explain(fetch).worst_case.unasked_seconds == 3 * 2 + 1.5


def test_a_flow_whose_tasks_run_in_several_processes_needs_a_shared_store():
    from prefect.task_runners import ProcessPoolTaskRunner

    guarded = resilient_task(breaker="api")(lambda: 1)

    def load():
        return guarded()

    assert resilient_flow(load).explain().remarks == ()
    spread = resilient_flow(task_runner=ProcessPoolTaskRunner())(load).explain()
    assert [remark.code for remark in spread.remarks] == ["state-per-process"]


def test_a_task_and_a_flow_explain_themselves():
    assert fetch.explain() == explain(fetch)
    assert report.explain() == explain(report)
    assert client.read.explain().worst_case.seconds == 8
    with pytest.raises(TypeError, match="explain takes"):
        explain(prefects_own)


@pytest.mark.parametrize("is_async", [False, True])
def test_prefect_makes_no_more_attempts_than_predicted(resilient_prefect, is_async):
    made = []

    def fail():
        made.append(1)
        raise ConnectionError("refused")

    async def afail():
        fail()

    policies = {"policies": [Retry(attempts=2, wait=0), Timeout(5)], "idempotent": True}
    tried = resilient_task(**policies)(afail if is_async else fail)

    @flow
    def run():
        return tried.outcome() if not is_async else None

    @flow
    async def arun():
        return await tried.outcome()

    asyncio.run(arun()) if is_async else run()
    assert len(made) == explain(tried).worst_case.attempts == 2
