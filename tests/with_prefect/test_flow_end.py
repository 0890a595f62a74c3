"""The end of a resilient flow's run: its deadline, final message and report."""

import asyncio
import threading
import time

import pytest
from prefect import task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId
from prefect.states import Completed

from resilient_tasks import (
    DeadlineExceeded,
    DegradedRun,
    Retry,
    RunReport,
    remaining,
    resilient,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.core.events import CallFailed, FallbackUsed, RetryRecovered, RowsQuarantined
from resilient_tasks.prefect import messages


def flaky(fails=1):
    """Make a task that fails the given number of times and then succeeds."""
    calls = []

    @resilient_task(retry=Retry(attempts=5, wait=0), name="flaky")
    def fetch():
        calls.append(1)
        if len(calls) <= fails:
            raise ConnectionError("refused")
        return 1

    return fetch


@resilient_task(fallback=lambda: "last month's")
def degraded():
    raise ConnectionError("refused")


def recovered(**more):
    return RetryRecovered(operation="fetch", attempt=3, attempts=5, errors={"ConnectError": 2}, **more)


def used(**more):
    return FallbackUsed(
        operation="fetch", fallback="last_good", kind="transient", error_type="ConnectError", message="", **more
    )


def quarantined(rows, path):
    about = {"rows": 9000, "reasons": {}, "batch": path, "schema": ""}
    return RowsQuarantined(operation="f", action="quarantined", invalid=rows, path=path, **about)


@pytest.mark.parametrize(
    ("events", "words"),
    [
        ([], ""),
        ([recovered()], "1 call recovered"),
        ([recovered()] * 12 + [used()], "12 calls recovered, 1 degraded"),
        ([used()] * 2, "2 calls degraded"),
        ([recovered(), CallFailed(operation="f", kind="", error_type="E", message="")], "1 call recovered, 1 failed"),
        (
            [quarantined(1200, "a"), quarantined(700, "b"), quarantined(0, "b")],
            "1,200 of 9,000 rows quarantined in a",
        ),
    ],
)
def test_the_calls_of_a_run_are_counted_in_a_message(events, words):
    assert messages.counts(RunReport(events)) == words


@pytest.mark.usefixtures("resilient_prefect")
class TestOnAServer:
    def test_the_final_state_counts_recovered_and_degraded_calls(self):
        fetch = flaky()

        @resilient_flow
        def report():
            return [fetch.submit(), degraded(return_state=True)]

        state = report(return_state=True)
        assert (state.name, state.message) == ("Degraded", "1 call recovered, 1 degraded")
        assert [item.name for item in state.result()] == ["Completed", "Degraded"]
        assert len(artifacts(state)) == 1

    def test_a_failure_that_passes_through_several_calls_counts_once(self):
        @resilient(timeout=60)
        def page():
            raise ConnectionError("refused")

        @resilient(timeout=60)
        def month():
            return page()

        @resilient_task(timeout=60)
        def fetch():
            return month()

        @resilient_flow
        def around():
            fetch.outcome()
            month.outcome()
            return 1

        state = around(return_state=True)
        assert (state.name, state.message) == ("Degraded", "2 calls failed")
        (report,) = artifacts(state)
        assert report.description == "2 failed, 0 degraded, 0 recovered"
        assert "| page | 2 | 0 | 0 |" in report.data

    def test_a_failure_inside_a_call_that_recovered_does_not_count(self):
        pages = []

        @resilient(timeout=60)
        def page():
            pages.append(1)
            if len(pages) < 3:
                raise ConnectionError("refused")
            return 1

        @resilient(retry=Retry(attempts=2, wait=0), fallback=lambda: 0)
        def month():
            return page()

        state = resilient_flow(lambda: [month(), month()])(return_state=True)
        assert (state.name, state.message) == ("Degraded", "1 call degraded")

        pages[:] = [1]
        state = resilient_flow(lambda: [month()])(return_state=True)
        assert (state.name, state.message) == ("Completed", "1 call recovered")

    def test_a_run_without_events_keeps_prefects_message(self):
        fetch = flaky(fails=0)
        state = resilient_flow(lambda: [fetch.submit()])(return_state=True)
        assert state.message == "All states completed."

    def test_data_in_a_state_with_a_message_is_unchanged(self):
        data = {"storage_key": "looks like Prefect's own", "none": None}

        @resilient_flow
        async def report():
            flaky()()
            return data

        assert asyncio.run(report()) is data

    def test_a_custom_state_is_unchanged(self):
        state = resilient_flow(lambda: Completed(message="mine", data=flaky()()))(return_state=True)
        assert (state.message, state.result()) == ("mine", 1)

    def test_the_final_state_shows_that_the_flow_recovered_or_fell_back(self):
        calls = []

        def fails_twice():
            calls.append(1)
            if len(calls) < 3:
                raise ConnectionError("refused")

        state = resilient_flow(retry=Retry(attempts=3, wait=0))(fails_twice)(return_state=True)
        assert state.message == "recovered on attempt 3 of 3 (ConnectionError ×2)"

        def last_good():
            return 7

        @resilient_flow(fallback=last_good)
        def fails():
            raise ConnectionError("refused")

        state = fails(return_state=True)
        assert (state.name, state.message) == ("Degraded", "degraded: last_good stands in after ConnectionError")
        assert fails() == 7

    def test_with_fail_on_degraded_a_degraded_run_fails_after_all_work_is_done(self):
        done = []

        @task
        def slow():
            time.sleep(0.2)
            done.append(1)

        @resilient_flow(fail_on_degraded=True)
        def report():
            slow.submit()
            return degraded()

        state = report(return_state=True)
        assert state.is_failed()
        assert "DegradedRun: 1 call was degraded: degraded-" in state.message
        assert done == [1]
        with pytest.raises(DegradedRun, match=r"\(ConnectionError\)"):
            state.result()

    def test_a_run_that_prefect_retries_creates_one_report(self):
        calls = []

        @resilient_flow(retries=2)
        def report():
            calls.append(1)
            flaky()()
            if len(calls) < 3:
                raise ConnectionError("refused")

        (artifact,) = artifacts(report(return_state=True))
        assert len(calls) == 3
        assert "0 failed, 0 degraded, 3 recovered" in artifact.data
        assert "| report | 0 | 0 | 0 | 2 |" in artifact.data

    def test_everything_in_a_run_ends_by_its_deadline(self):
        left, released = [], threading.Event()

        @resilient_task(retry=2)
        def blocks(x=0):
            left.append(remaining())
            released.wait(30)

        def report():
            futures = [blocks.submit(), *blocks.map([1])]
            return [future.result() for future in futures]

        began = time.monotonic()
        state = resilient_flow(deadline=1)(report)(return_state=True)
        took = time.monotonic() - began
        released.set()
        assert took < 10
        assert (state.type.value, state.name) == ("FAILED", "TimedOut")
        assert "DeadlineExceeded" in state.message
        assert len(left) == 2
        assert all(seconds <= 1 for seconds in left)
        with pytest.raises(DeadlineExceeded):
            state.result()

    def test_an_async_flow_ends_by_its_deadline_with_the_sync_tasks_that_it_calls(self):
        released = threading.Event()

        @resilient_task(retry=2)
        def blocks():
            released.wait(30)

        @resilient_flow(deadline=1)
        async def report():
            blocks.submit()
            return blocks()

        began = time.monotonic()
        state = asyncio.run(report(return_state=True))
        took = time.monotonic() - began
        released.set()
        assert (state.name, took < 10) == ("TimedOut", True)

    def test_a_subflow_has_its_own_report_and_final_state(self):
        @resilient_flow
        def inner():
            return flaky()()

        @resilient_flow
        def outer():
            return inner(return_state=True), 5

        state, five = outer()
        assert (state.message, five) == ("1 call recovered", 5)


def artifacts(state):
    async def read():
        wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
        async with get_client() as client:
            found = await client.read_artifacts(artifact_filter=wanted)
            return [artifact for artifact in found if artifact.key]  # Prefect's own, of results, have none

    return asyncio.run(read())
