"""Retries under Prefect's own loops and fan-outs: the product is reported, and all share the flow run's budget."""

import pytest
from prefect import flow, task

from resilient_tasks import Retry, RetryBudget, resilient, resilient_flow, resilient_task
from resilient_tasks.core import loops
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import use_store

pytestmark = pytest.mark.usefixtures("resilient_prefect")


@pytest.fixture(autouse=True)
def fresh_state(monkeypatch):
    monkeypatch.setattr(loops, "_reported", set())
    with use_store(MemoryStore()):
        yield


def sentences(events):
    return [event.sentence().removesuffix("; keep one of these loops") for event in events.named("retry.multiplied")]


def test_a_flow_that_retries_too_multiplies_the_attempts_of_its_tasks(resilient_events):
    @resilient_task(retry=3)
    def page():
        return "page"

    @flow(name="train", retries=2)
    def train():
        return page(), page.submit().result()

    assert train() == ("page", "page")
    assert sentences(resilient_events) == [
        "retries multiply: flow train (3 attempts) × page (3 attempts) = up to 9 attempts"
    ]


def test_so_does_a_resilient_flow_and_a_plain_task(resilient_events):
    @resilient(retry=4)
    def row():
        return "row"

    @task(name="page", retries=1)
    def page():
        return row()

    @resilient_flow(name="train", retry=5)
    def train():
        return page()

    assert train() == "row"
    (sentence,) = sentences(resilient_events)
    assert sentence.startswith("retries multiply: ")
    assert sentence.endswith(" = up to 40 attempts")
    assert {"task page (2 attempts)", "train (5 attempts)", "row (4 attempts)"} <= set(
        resilient_events.named("retry.multiplied")[0].loops
    )


def test_a_single_loop_is_not_reported(resilient_events):
    @resilient_task(retry=3)
    def page():
        return "page"

    @resilient_flow
    def train():
        return page()

    assert train() == "page"
    assert sentences(resilient_events) == []


def test_a_fan_out_uses_the_budget_of_its_flow_run():
    tries = []

    @resilient_task(retry=Retry(attempts=3, wait=0, budget=RetryBudget(share=0, floor=4)))
    def page(number):
        tries.append(number)
        raise ConnectionError("refused")

    @flow
    def train():
        return page.map(range(10))

    train(return_state=True)
    assert len(tries) == 10 + 4
    train(return_state=True)  # another run, another budget
    assert len(tries) == 2 * (10 + 4)
