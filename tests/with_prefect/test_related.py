"""An event is sent with its run alone if the server does not return its related resources."""

import asyncio
from contextvars import copy_context
from types import SimpleNamespace
from uuid import uuid4

import httpx
import pytest
from prefect import flow
from prefect.client.schemas.objects import Flow
from prefect.context import FlowRunContext
from prefect.events import Event, related
from prefect.events.worker import EventsWorker

from resilient_tasks.prefect import outages


class Orchestration:
    """A Prefect client that answers requests for a flow."""

    def __init__(self, answer):
        self.answer, self.requests = answer, 0

    async def read_flow(self, flow_id):
        self.requests += 1
        return await self.answer(flow_id)


async def refused(_):
    raise httpx.ConnectError("refused")


async def answered_500(_):
    request = httpx.Request("GET", "http://127.0.0.1:9/api")
    raise httpx.HTTPStatusError("500", request=request, response=httpx.Response(500, request=request))


async def silent(_):
    await asyncio.Event().wait()


async def answered(flow_id):
    return Flow(id=flow_id, name="monthly")


@pytest.fixture
def context(monkeypatch, resilient_prefect):
    """The context of a flow run, in which events are sent."""
    outages.install()
    monkeypatch.setattr(related, "RESOURCE_CACHE", {})
    monkeypatch.setattr(outages, "_ANSWER", 0.05)

    @flow
    def around():
        return copy_context(), str(FlowRunContext.get().flow_run.id)

    return around()


def sent(context, orchestration, *, is_away=False, times=2):
    """Send events, and return the kinds of related resources of each."""
    events, got = [], []

    async def emit(event):
        got.append(event)

    worker = EventsWorker(SimpleNamespace, ())
    worker._client = SimpleNamespace(emit=emit, is_away=is_away)
    worker._orchestration_client = orchestration

    async def scenario():
        for _ in range(times):
            event = Event(
                event="prefect.task-run.Running", resource={"prefect.resource.id": f"prefect.task-run.{uuid4()}"}
            )
            worker._context_cache[event.id] = context[0]
            events.append(event)
            await worker._handle(event)

    asyncio.run(scenario())
    assert got == events
    assert worker._orchestration_client is orchestration
    return [{one.role: one.id for one in event.related if one.role in {"flow", "flow-run"}} for event in got]


@pytest.mark.parametrize("answer", [refused, answered_500, silent])
def test_a_state_is_sent_with_its_run_if_the_server_does_not_answer(context, answer):
    orchestration = Orchestration(answer)
    assert sent(context, orchestration) == [{"flow-run": f"prefect.flow-run.{context[1]}"}] * 2
    assert orchestration.requests == 1  # not again for each event
    assert related.RESOURCE_CACHE == {}


def test_a_server_known_to_be_away_gets_no_request(context):
    orchestration = Orchestration(refused)
    assert sent(context, orchestration, is_away=True) == [{"flow-run": f"prefect.flow-run.{context[1]}"}] * 2
    assert orchestration.requests == 0


def test_a_server_that_answers_gets_one_request_and_events_have_all_related_resources(context):
    orchestration = Orchestration(answered)
    assert [set(one) for one in sent(context, orchestration)] == [{"flow", "flow-run"}] * 2
    assert orchestration.requests == 1


def test_installing_twice_has_no_further_effect():
    outages.install()
    in_place = EventsWorker.attach_related_resources_from_context

    outages.install()

    assert EventsWorker.attach_related_resources_from_context is in_place
