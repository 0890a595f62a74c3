"""`@resilient_flow`: policies around a run, its report, and its log."""

import asyncio
import logging
import threading

import pytest
from prefect import get_run_logger, task
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterFlowRunId

from resilient_tasks import (
    Failed,
    PolicyError,
    Retry,
    Slack,
    get_logger,
    remaining,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.core import events
from resilient_tasks.testing import deliver_to, flush_messages


def test_two_retry_loops_are_refused():
    with pytest.raises(PolicyError, match="two retry loops multiply"):
        resilient_flow(retry=2, retries=2)(lambda: None)


def test_an_unknown_keyword_is_named():
    with pytest.raises(PolicyError, match="no keyword 'retrys'"):
        resilient_flow(retrys=2)(lambda: None)


@pytest.mark.usefixtures("resilient_prefect", "resilient_clock")
class TestOnAServer:
    def test_the_run_report_is_an_artifact_of_the_run(self):
        calls = []

        @resilient_task(retry=Retry(attempts=2, wait=1))
        def fetch():
            calls.append(1)
            if len(calls) == 1:
                raise ConnectionError("once")
            return 1

        @resilient_flow
        def around():
            return fetch()

        state = around(return_state=True)
        assert state.result() == 1
        (artifact,) = asyncio.run(artifacts(state))
        assert artifact.key == "resilience-report"
        assert "0 failed, 0 degraded, 1 recovered" in artifact.data
        assert "| fetch | 0 | 0 | 1 | 1 |" in artifact.data

    def test_a_run_without_events_creates_no_artifact(self):
        @resilient_flow
        def around():
            return 1

        assert asyncio.run(artifacts(around(return_state=True))) == []

    def test_a_flow_is_retried_and_falls_back_like_any_function(self):
        calls = []

        @resilient_flow(retry=Retry(attempts=3, wait=1), fallback=lambda: "stand-in")
        def around():
            calls.append(1)
            raise ConnectionError("down")

        assert around() == "stand-in"
        assert len(calls) == 3

    def test_tasks_inherit_the_deadline_of_their_flow(self, resilient_clock):
        @resilient_task(retry=3)
        def fetch():
            return remaining()

        @resilient_flow(deadline=50)
        def around():
            resilient_clock.advance(20)
            return fetch.submit().result()

        assert around() == pytest.approx(30)

    def test_an_alert_names_the_run_and_links_to_it(self, resilient_slack):
        @resilient_task(notify=Slack(webhook=resilient_slack.webhook_url), name="fetch-flights")
        def fetch():
            raise ConnectionError("refused by the host")

        @resilient_flow
        async def around():
            return isinstance(fetch.outcome(), Failed)

        assert asyncio.run(around())
        assert flush_messages()
        (text,) = resilient_slack.texts()
        assert "ConnectionError" in text
        assert "refused by the host" in text
        assert "/runs/task-run/" in text

    def test_the_delivery_of_an_alert_is_in_the_log_of_its_run(self, resilient_slack):
        seen = []

        class Seen(logging.Handler):
            def emit(self, record):
                seen.append((record.getMessage(), str(getattr(record, "task_run_id", None))))

        slack = Slack(webhook=resilient_slack.webhook_url)

        @resilient_task(notify=slack, fallback=lambda: 1)
        def announced():
            seen.append(("ran", events.run_ids()["task_run_id"]))
            raise ConnectionError("refused")

        logging.getLogger("prefect.task_runs").addHandler(handler := Seen())
        try:
            announced()
            assert flush_messages()
        finally:
            logging.getLogger("prefect.task_runs").removeHandler(handler)
        assert (f"announced: alert sent to {slack.name}", dict(seen)["ran"]) in seen

    def test_an_alert_delivered_after_its_run_is_in_the_log_of_that_run(self):
        seen, ended_already = [], threading.Event()

        class Seen(logging.Handler):
            def emit(self, record):
                seen.append((record.getMessage(), getattr(record, "flow_run_id", None), record.name))

        class Late:
            name = "late"

            def send(self, message, *, within):
                assert ended_already.wait(60)

        channel = Late()

        @resilient_task(notify=channel)
        def announced():
            raise ConnectionError("refused")

        @resilient_flow
        def ended():
            announced.outcome()
            return events.run_ids()["flow_run_id"]

        with deliver_to(channel):
            flow_run_id = ended()
            logging.getLogger("prefect.task_runs").addHandler(handler := Seen())
            ended_already.set()
            try:
                assert flush_messages()
            finally:
                logging.getLogger("prefect.task_runs").removeHandler(handler)
        assert ("announced: alert sent to late", flow_run_id, "prefect.task_runs") in seen

    def test_log_lines_reach_the_log_of_their_task_run_with_its_attempt(self, caplog):
        seen = []

        class Seen(logging.Handler):
            def emit(self, record):
                seen.append((record.getMessage(), getattr(record, "task_run_id", None)))

        handler = Seen()
        logging.getLogger("prefect.task_runs").addHandler(handler)
        calls = []

        @resilient_task(retry=Retry(attempts=3, wait=1))
        def fetch():
            calls.append(1)
            get_logger(rows=3).warning("fetched", page=2)
            if len(calls) < 3:
                raise ConnectionError("refused")
            return str(events.run_ids()["task_run_id"])

        try:
            run_id = fetch()
        finally:
            logging.getLogger("prefect.task_runs").removeHandler(handler)
        texts = [text for text, _ in seen]
        assert "fetch: attempt 1 of 3: ConnectionError; waits 1.0 s" in texts
        assert "fetched rows=3 page=2 attempt=2" in texts or "fetched attempt=2 rows=3 page=2" in texts
        assert {str(owner) for text, owner in seen if "fetch" in text} == {run_id}

    def test_outside_of_a_run_there_are_no_ids(self):
        assert events.run_ids() == {}

    def test_a_plain_prefect_task_in_a_resilient_flow_is_left_alone(self):
        @task
        def plain():
            get_run_logger().info("hello")
            return 4

        @resilient_flow
        def around():
            return plain()

        assert around() == 4


async def artifacts(state):
    wanted = ArtifactFilter(flow_run_id=ArtifactFilterFlowRunId(any_=[state.state_details.flow_run_id]))
    async with get_client() as client:
        return await client.read_artifacts(artifact_filter=wanted)
