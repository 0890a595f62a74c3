"""`@resilient_flow(notify=...)`: one message per run, with a summary of everything that went wrong inside."""

import asyncio
import signal
import subprocess
import sys
import textwrap
import time
from contextlib import suppress
from pathlib import Path

import pytest
from prefect import task
from prefect.exceptions import TerminationSignal
from prefect.states import Failed as FailedState

from resilient_tasks import Retry, Slack, resilient, resilient_flow, resilient_task
from resilient_tasks.core.events import (
    CallFailed,
    DataDrifted,
    FallbackUsed,
    RetryRecovered,
    RowsInvalid,
    RowsQuarantined,
    RowsWarned,
)
from resilient_tasks.prefect import flow_alerts, undocumented
from resilient_tasks.testing import Slow, flush_messages

sys.path.insert(0, str(Path(__file__).parent))
import reading_back


class Recorder:
    """A channel that records its messages."""

    def __init__(self, name="recorder"):
        self.name = name
        self.messages = []

    def send(self, message, *, within):
        self.messages.append(message)


@pytest.fixture
def channel(own_store, own_settings):
    return Recorder()


def sent(channel):
    """Return the channel's messages, once they are delivered."""
    assert flush_messages()
    return channel.messages


def failed(operation="fetch", error_type="ConnectError", **more):
    return CallFailed(operation=operation, kind="transient", error_type=error_type, message="", **more)


def degraded(operation="fetch", error_type="TimedOut", fallback="last_good", **more):
    return FallbackUsed(
        operation=operation, fallback=fallback, kind="timeout", error_type=error_type, message="", **more
    )


def recovered(**more):
    return RetryRecovered(operation="fetch", attempt=3, attempts=5, errors={"ConnectError": 2}, **more)


def invalid(rows, action="dropped", call="1", part=None):
    return RowsInvalid(operation="fetch", action=action, rows=100, invalid=rows, reasons={}, call=call, part=part)


def warned(rows, part=None):
    return RowsWarned(operation="fetch", rows=100, reasons={"delay: le(60)": rows}, call="1", part=part)


def quarantined(rows, path="a"):
    about = {"rows": 100, "reasons": {}, "batch": path, "schema": ""}
    return RowsQuarantined(operation="fetch", action="quarantined", invalid=rows, path=path, **about)


@pytest.mark.parametrize(
    ("events", "lines"),
    [
        ([], ()),
        ([failed()], ("fetch: failed (ConnectError)",)),
        (
            [failed(), failed(error_type="TimedOut"), failed(), failed("store")],
            ("fetch: failed 3 times (ConnectError ×2, TimedOut)", "store: failed (ConnectError)"),
        ),
        ([degraded()], ("fetch: degraded, last_good stands in after TimedOut",)),
        ([degraded(), degraded()], ("fetch: degraded 2 times, last_good stands in after TimedOut ×2",)),
        ([quarantined(1)], ("1 of 100 rows quarantined in a",)),
        ([quarantined(3), quarantined(1200)], ("1,200 of 100 rows quarantined in a",)),
        ([invalid(9), invalid(7), invalid(5, call="2")], ("12 invalid rows dropped",)),
        ([invalid(9, part="train"), invalid(7, part="test"), invalid(6, part="test")], ("15 invalid rows dropped",)),
        ([warned(9), warned(7)], ("rules that warn: fetch delay: le(60) ×7",)),
        (
            [warned(9, part="train"), warned(7, part="test")],
            ("rules that warn: fetch train: delay: le(60) ×9, fetch test: delay: le(60) ×7",),
        ),
        ([invalid(9, action="refused"), failed(error_type="InvalidData")], ("fetch: failed (InvalidData)",)),
        (
            [DataDrifted(operation="look", action="warn", rows=9, columns={"delay": "..."}, message="m")],
            ("data drifted: look",),
        ),
        ([recovered(), recovered()], ("2 calls recovered (ConnectError ×4)",)),
        (
            [recovered(), quarantined(5), degraded(), failed()],
            (
                "fetch: failed (ConnectError)",
                "fetch: degraded, last_good stands in after TimedOut",
                "5 of 100 rows quarantined in a",
                "1 call recovered (ConnectError ×2)",
            ),
        ),
    ],
)
def test_the_events_of_a_run_are_summarized(events, lines):
    assert flow_alerts.summarized(events) == lines


def test_operations_with_most_failures_are_named_and_the_rest_counted():
    events = [event for number in range(20) for event in [failed(f"fetch-{number}")] * (20 - number)]
    lines = flow_alerts.summarized([*events, quarantined(5), recovered()])
    assert lines[0] == "fetch-0: failed 20 times (ConnectError ×20)"
    assert lines[-3:] == ("and 13 more", "5 of 100 rows quarantined in a", "1 call recovered (ConnectError ×2)")
    assert len(lines) == 10


def test_a_failure_inside_a_task_run_that_recovered_is_no_failure():
    run, other = {"task_run_id": "1"}, {"task_run_id": "2"}
    helper, caught = failed("get", run=run), failed("get", run=other)
    healed, after = recovered(run=run), failed("fetch", run=run)
    assert flow_alerts.unresolved([helper, caught, healed]) == [caught, healed]
    assert flow_alerts.unresolved([helper, degraded(run=run), after])[1:] == [after]


@pytest.mark.parametrize(
    ("error", "intent", "crash"),
    [
        (SystemExit(2), None, True),
        (asyncio.CancelledError(), None, True),
        (TerminationSignal(signal.SIGTERM), None, True),
        (TerminationSignal(signal.SIGTERM), "cancel", False),
        (asyncio.CancelledError(), "cancel", False),
        (KeyboardInterrupt(), None, False),
        (ConnectionError(), None, False),
        (None, None, False),
    ],
)
def test_an_end_without_a_request_is_a_crash(monkeypatch, error, intent, crash):
    monkeypatch.setattr(undocumented, "_intent", lambda: intent)
    assert flow_alerts.is_crash(error) is crash


@resilient_task(deadline=60)
def refused():
    raise ConnectionError("refused by the host")


def yesterdays_weather():
    return "sunny"


@resilient_task(fallback=yesterdays_weather)
def weather():
    raise ConnectionError("refused by the host")


def flaky(**options):
    """Make a task that fails at its first call."""
    calls = []

    @resilient_task(name="flaky", **options)
    def fetch():
        calls.append(1)
        if len(calls) == 1:
            raise ConnectionError("once")
        return 1

    return fetch


@pytest.mark.usefixtures("resilient_prefect")
class TestOnAServer:
    def test_a_failed_run_is_one_message_with_its_incidents(self, channel):
        recovers = flaky(retry=Retry(attempts=2, wait=0))

        @resilient_flow(notify=channel)
        def monthly():
            recovers()
            weather()
            [refused.outcome() for _ in range(3)]
            raise ValueError("no month is complete")

        assert monthly(return_state=True).is_failed()
        (message,) = sent(channel)
        assert (message.operation, message.status) == (monthly.plan.operation, "failed")
        assert (message.error_type, message.error) == ("ValueError", "no month is complete")
        assert message.notes == (
            "refused: failed 3 times (ConnectionError ×3)",
            "weather: degraded, yesterdays_weather stands in after ConnectionError",
            "1 call recovered (ConnectionError)",
        )
        assert "flow run failed" in message.consequence
        assert "/runs/flow-run/" in message.run["url"]
        assert "task_run_id" not in message.run

    @pytest.mark.parametrize("task_", [refused.outcome, weather], ids=["failed", "degraded"])
    def test_a_run_that_completes_although_a_call_failed_or_was_degraded_is_degraded(self, channel, task_):
        @resilient_flow(notify=channel)
        async def nightly():
            task_()
            return "done"

        assert asyncio.run(nightly()) == "done"
        (message,) = sent(channel)
        assert (message.status, message.error_type) == ("degraded", "DegradedRun")
        assert message.error == ("1 call degraded" if task_ is weather else "1 call failed")
        assert len(message.notes) == 1
        assert "completed" in message.consequence

    def test_a_run_that_must_not_be_degraded_is_reported_as_failed(self, channel):
        @resilient_flow(notify=channel, fail_on_degraded=True)
        def strict():
            weather()

        assert strict(return_state=True).is_failed()
        (message,) = sent(channel)
        assert (message.status, message.error_type) == ("failed", "DegradedRun")

    def test_a_run_that_used_its_own_fallback_is_degraded_with_its_own_error(self, channel):
        @resilient_flow(notify=channel, fallback=lambda: "last month's")
        def whole():
            refused.outcome()
            raise ConnectionError("all months are missing")

        assert whole() == "last month's"
        (message,) = sent(channel)
        assert (message.status, message.error_type, message.error) == (
            "degraded",
            "ConnectionError",
            "all months are missing",
        )
        assert "refused: failed (ConnectionError)" in message.notes
        assert "whole run" in message.consequence

    def test_a_run_that_succeeded_by_retries_sends_no_alert(self, channel):
        recovers = flaky(retry=Retry(attempts=2, wait=0))

        @resilient(retry=Retry(attempts=2, wait=0))
        def get(answers):
            return _pop(answers)

        @resilient_task(retry=Retry(attempts=2, wait=0))
        def nested(answers):
            return resilient(_pop)(answers)

        @resilient_flow(notify=channel)
        def well():
            return [
                recovers(),
                get([ConnectionError(), 2]),
                nested([ConnectionError(), 3]),
            ]

        assert well() == [1, 2, 3]
        assert sent(channel) == []

    @pytest.mark.parametrize(
        "options", [{"retries": 2}, {"retry": Retry(attempts=3, wait=0)}], ids=["prefects", "ours"]
    )
    def test_a_retried_run_sends_one_alert_at_its_end(self, channel, options):
        @resilient_flow(notify=channel, **options)
        def tried():
            refused()

        assert tried(return_state=True).is_failed()
        (message,) = sent(channel)
        assert message.error_type == "ConnectionError"
        assert "refused: failed 3 times (ConnectionError ×3)" in message.notes
        assert not any("tried: failed" in note for note in message.notes)

    @pytest.mark.parametrize(
        "options", [{"retries": 1}, {"retry": Retry(attempts=2, wait=0)}], ids=["prefects", "ours"]
    )
    def test_a_run_that_recovers_sends_no_alert(self, channel, options):
        fetch = flaky()

        @resilient_flow(notify=channel, **options)
        def recovers():
            return fetch()

        assert recovers() == 1
        assert sent(channel) == []

    def test_a_successful_run_ends_the_incident(self, channel):
        answers = [ConnectionError("refused"), ConnectionError("refused"), "fine"]

        @resilient_flow(notify=channel)
        def recovers():
            return _pop(answers)

        for _ in range(3):
            recovers(return_state=True)
            assert flush_messages()
        assert [(message.occasion, message.total) for message in channel.messages] == [("first", 1), ("recovered", 2)]

    def test_a_run_that_returns_a_failed_state_failed(self, channel):
        @resilient_flow(notify=channel)
        def returns():
            return FailedState(message="half of it is missing")

        assert returns(return_state=True).is_failed()
        (message,) = sent(channel)
        assert (message.status, message.error) == ("failed", "half of it is missing")

    @pytest.mark.parametrize(("on_unobserved", "status"), [("fail", "failed"), ("warn", "degraded")])
    def test_an_unobserved_failure_is_reported(self, channel, on_unobserved, status):
        @task
        def store():
            raise ConnectionError("refused")

        @resilient_flow(notify=channel, on_unobserved=on_unobserved)
        def unobservant():
            store.submit()
            return 1

        unobservant(return_state=True)
        (message,) = sent(channel)
        assert message.status == status
        assert "1 task run failed unobserved: store-" in message.error

    @pytest.mark.parametrize("decorator", [task, resilient_task], ids=["prefects", "ours"])
    def test_a_submitted_task_without_policies_is_summarized_once_it_is_observed(self, channel, decorator):
        @decorator
        def store():
            raise ConnectionError("refused")

        @resilient_flow(notify=channel)
        def around():
            return [future.result(raise_on_failure=False) for future in [store.submit(), refused.submit()]] and 1

        state = around(return_state=True)
        assert (state.name, state.message) == ("Degraded", "1 call failed")
        (message,) = sent(channel)
        assert message.error == "2 calls failed"
        assert len(message.notes) == 2
        assert message.notes[1].endswith("store: failed (ConnectionError)")

    def test_tasks_with_notify_send_their_own_and_others_are_only_summarized(self, channel):
        own = Recorder("the task's own")
        loud = refused.with_options(name="loud", notify=own)

        @resilient_flow(notify=channel)
        def around():
            loud.outcome()
            refused.outcome()

        around()
        assert [message.operation for message in sent(own)] == ["refused"]
        (message,) = sent(channel)
        assert (message.operation, message.status) == (around.plan.operation, "degraded")
        assert message.notes == ("refused: failed 2 times (ConnectionError ×2)",)

    def test_a_subflow_without_notify_is_summarized(self, channel):
        @resilient_flow
        def inner():
            weather.submit().result()
            return 1

        @resilient_flow
        async def between():
            return inner()

        @resilient_flow(notify=channel)
        async def outer():
            return await between()

        assert asyncio.run(outer()) == 1
        (message,) = sent(channel)
        assert message.operation == outer.plan.operation
        assert message.notes == ("weather: degraded, yesterdays_weather stands in after ConnectionError",)

    def test_a_subflow_that_sent_its_own_alert_is_not_summarized(self, channel):
        own = Recorder("the inner flow's own")

        @resilient_flow(notify=own)
        def inner():
            return weather()

        @resilient_flow(notify=channel)
        def outer():
            return inner()

        assert outer() == "sunny"
        assert [message.status for message in sent(own)] == ["degraded"]
        assert sent(channel) == []

    def test_generator_flows_send_alerts_like_any_flow(self, channel):
        @resilient_flow(notify=channel)
        def items():
            yield 1
            raise ConnectionError("after the first")

        with pytest.raises(ConnectionError):
            list(items())
        (message,) = sent(channel)
        assert (message.status, message.error) == ("failed", "after the first")

    def test_failures_of_an_earlier_attempt_of_a_generator_do_not_count(self, channel):
        answers = [ConnectionError("once"), 1]

        @resilient_flow(notify=channel, retries=1)
        def items():
            yield resilient(_pop)(answers)

        with suppress(ConnectionError):  # Prefect raises the error of the first attempt although the second succeeded
            list(items())
        assert answers == []
        assert sent(channel) == []

    def test_a_run_that_calls_sys_exit_has_crashed(self, channel):
        @resilient_flow(notify=channel)
        def leaves():
            refused.outcome()
            sys.exit(3)

        with pytest.raises(SystemExit):
            leaves()
        (message,) = sent(channel)
        assert (message.status, message.error_type) == ("failed", "CrashedRun")
        assert "crashed" in message.consequence
        assert message.notes == ("refused: failed (ConnectionError)",)

    def test_an_interrupted_run_sends_no_alert(self, channel):
        @resilient_flow(notify=channel)
        def interrupted():
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            interrupted()
        assert sent(channel) == []

    @pytest.mark.parametrize("retries", [0, 1])
    def test_a_run_that_is_cancelled_by_the_code_around_it_has_crashed(self, channel, retries):
        begun = asyncio.Event()

        @resilient_flow(notify=channel, retries=retries)
        async def waits():
            begun.set()
            await asyncio.sleep(600)

        async def impatient():
            running = asyncio.ensure_future(waits())
            await asyncio.wait_for(begun.wait(), 120)
            running.cancel()
            await running

        with pytest.raises(asyncio.CancelledError):
            asyncio.run(impatient())
        (message,) = sent(channel)
        assert (message.status, message.error_type) == ("failed", "CrashedRun")
        assert "cancelled from outside" in message.error

    @pytest.mark.parametrize("is_async", [False, True], ids=["sync", "async"])
    def test_a_run_stopped_by_prefects_timeout_has_failed_not_crashed(self, channel, is_async):
        async def waits():
            await asyncio.sleep(60)

        def sleeps():
            time.sleep(60)

        slow = resilient_flow(notify=channel, timeout_seconds=1)(waits if is_async else sleeps)
        state = asyncio.run(slow(return_state=True)) if is_async else slow(return_state=True)
        assert state.name == "TimedOut"
        (message,) = sent(channel)
        assert message.status == "failed"
        assert message.kind == "timeout"
        assert "crashed" not in message.consequence

    def test_what_slack_shows_of_a_failed_run(self, channel, resilient_slack):
        @resilient_flow(notify=[Slack(webhook=resilient_slack.webhook_url), channel], name="monthly-model")
        def monthly_model():
            weather()
            raise ValueError("no month is complete")

        assert monthly_model(return_state=True).is_failed()
        assert len(sent(channel)) == 1
        (text,) = resilient_slack.texts()
        for part in ("ValueError", "no month is complete", "yesterdays_weather stands in", "/runs/flow-run/"):
            assert part in text

    def test_a_terminated_run_sends_its_alert_before_its_process_ends(self, resilient_slack, tmp_path):
        incidents = f"sqlite:///{tmp_path}/incidents.db"
        resilient_slack.fail(Slow(2))  # longer than the process would otherwise live
        script = tmp_path / "waits.py"
        script.write_text(
            textwrap.dedent("""
                import sys, time
                from pathlib import Path
                from resilient_tasks import Slack, resilient_flow

                @resilient_flow(notify=Slack(webhook=sys.argv[1]))
                def waits():
                    Path("begun").touch()
                    time.sleep(60)

                if __name__ == "__main__":
                    waits()
            """)
        )
        here = {"RESILIENT_TASKS_INCIDENTS": incidents}
        with reading_back.started(tmp_path, str(script), resilient_slack.webhook_url, **here) as process:
            reading_back.eventually((tmp_path / "begun").exists)
            process.terminate()
            assert process.wait(30) != 0
        (text,) = resilient_slack.texts()
        assert "a termination signal ended the flow run's process" in text
        assert "crashed" in text
        status = "import sys; from resilient_tasks.cli import main; sys.exit(main(sys.argv[1:]))"
        command = [sys.executable, "-c", status, "outbox", "status", "--incidents", incidents]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.stdout, done.returncode) == ("nothing waits\n", 0)


def _pop(answers):
    answer = answers.pop(0)
    if isinstance(answer, Exception):
        raise answer
    return answer


@pytest.mark.parametrize(("seconds", "timed_out"), [(10.2, True), (9.4, True), (8.5, False)])
def test_a_cancellation_about_the_limit_is_its_timeout(seconds, timed_out):
    assert (flow_alerts.overran(asyncio.CancelledError(), 10, seconds) is not None) is timed_out
