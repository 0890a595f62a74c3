"""Attempts are spans below Prefect's own, wherever a task runs."""

import asyncio
import importlib.util
import os
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from opentelemetry import trace
from prefect.settings import PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY, temporary_settings
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner

from resilient_tasks import Pipeline, Timeout, outcome_of, resilient_flow
from resilient_tasks.observe import otel

pytest.importorskip("opentelemetry.sdk")
HERE = str(Path(__file__).parent)
sys.path.insert(0, HERE)  # the processes of a pool import the tasks from this process's path
import spans_in_a_file  # noqa: E402  # needs that path
import traced_tasks  # noqa: E402  # as above
from spans_in_a_file import Spans, drawn, events_of, id_of, status_of, trace_of  # noqa: E402  # as above


def dask():
    from prefect_dask import DaskTaskRunner

    cluster = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=cluster)


needs_dask = pytest.mark.skipif(importlib.util.find_spec("prefect_dask") is None, reason="prefect_dask is missing")


@pytest.fixture(scope="module")
def traced(resilient_prefect, tmp_path_factory):
    """Set OpenTelemetry up in this process and in those that it starts; an application does it once, at its start."""
    folder = tmp_path_factory.mktemp("spans")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(spans_in_a_file.FILE, str(folder / "spans.jsonl"))
        patch.setenv(otel.VARIABLE, "spans_in_a_file:set_up")
        patch.setattr(trace, "_TRACER_PROVIDER", spans_in_a_file.provider())
        patch.setattr(otel, "_followed", os.environ[otel.VARIABLE])  # set up here, until the end of this module
        uninstall = otel.install()
        yield
        uninstall()


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(None, id="direct call"),
        pytest.param(ThreadPoolTaskRunner, id="threads"),
        pytest.param(lambda: ProcessPoolTaskRunner(max_workers=1), id="process pool"),
        pytest.param(dask, id="dask", marks=needs_dask),
    ],
)
def ran(request, traced, tmp_path_factory):
    """One flow run in each place, with the spans of all processes."""
    folder, runner = tmp_path_factory.mktemp("tries"), request.param
    found = SimpleNamespace(elsewhere=runner not in (None, ThreadPoolTaskRunner))
    os.environ[spans_in_a_file.FILE] = str(folder / "spans.jsonl")
    options = {} if runner is None else {"task_runner": runner()}

    @resilient_flow(name="around", flow_run_name="around", **options)
    def around():
        if runner is None:
            found.fresh, found.child = traced_tasks.recovers(str(folder)), traced_tasks.works_in_a_child()
            traced_tasks.degrades()
            traced_tasks.is_too_slow.outcome()
        else:  # one after the other, so that the order of the spans is the same
            found.fresh = traced_tasks.recovers.submit(str(folder)).result()
            found.child = traced_tasks.works_in_a_child.submit().result()
            for task in (traced_tasks.degrades, traced_tasks.is_too_slow):
                outcome_of(task.submit())

    around()
    found.spans = Spans()
    return found


def test_each_attempt_is_a_span_below_that_of_the_task_run_in_the_trace_of_the_flow_run(ran):
    run, attempts = ran.spans.of_run("task", "recovers"), ran.spans.named("recovers attempt")
    assert (ran.fresh, len(attempts)) == ("fresh", 3)
    assert {attempt["parent_id"] for attempt in attempts} == {id_of(run)}
    assert {trace_of(span) for span in (run, *attempts)} == {trace_of(ran.spans.of_run("flow", "around"))}
    assert [attempt["attributes"]["resilient_tasks.attempt"] for attempt in attempts] == [1, 2, 3]
    assert (run["pid"] != os.getpid()) == ran.elsewhere


def test_the_error_of_a_retried_attempt_is_an_event_and_no_error_of_the_task(ran):
    first, second, third = ran.spans.named("recovers attempt")
    assert [events_of(first), events_of(second), events_of(third)] == [["exception"], ["exception"], []]
    assert [status_of(first), status_of(second), status_of(third)] == ["ERROR", "ERROR", "UNSET"]
    run = ran.spans.of_run("task", "recovers")
    assert status_of(run) == "OK"
    assert run["attributes"]["resilient_tasks.outcome"] == "recovered"


def test_the_policies_events_are_on_the_span_of_the_task_run(ran):
    events = events_of(ran.spans.of_run("task", "recovers"))
    ours = [name for name in events if name.startswith("retry.")]
    assert ours == [*["retry.scheduled", "retry.started"] * 2, "retry.recovered"]
    assert "exception" not in events


def test_spans_made_by_the_function_are_below_its_attempt(ran):
    requests = {span["parent_id"] for span in ran.spans.named("GET")}
    assert {id_of(attempt) for attempt in ran.spans.named("recovers attempt")} < requests


def test_spans_made_in_a_child_process_are_below_the_attempt_that_waits_for_it(ran):
    [attempt] = ran.spans.named("works_in_a_child attempt")
    [made_there] = ran.spans.below(attempt)
    assert (made_there["name"], made_there["pid"]) == ("GET", ran.child)
    assert made_there["pid"] != attempt["pid"]
    assert trace_of(made_there) == trace_of(attempt)


def test_a_degraded_task_says_so_on_its_span(ran):
    run = ran.spans.of_run("task", "degrades")
    assert run["attributes"]["resilient_tasks.outcome"] == "degraded"
    assert "fallback.used" in events_of(run)
    assert status_of(run) == "OK"


def test_a_resilient_call_inside_a_task_has_a_span_below_the_attempt(ran):
    [attempt], [call] = ran.spans.named("degrades attempt"), ran.spans.named("helper")
    assert call["parent_id"] == id_of(attempt)
    [inner] = ran.spans.below(call)
    assert inner["name"] == "helper attempt"


def test_no_secret_is_in_any_span(ran):
    assert "hunter2secret" not in str(ran.spans.all)
    assert "***" in str(ran.spans.named("recovers attempt")[0]["events"])


def test_the_span_of_a_task_run_that_timed_out_is_ended_and_above_its_attempt(ran):
    run, [attempt] = ran.spans.of_run("task", "is_too_slow"), ran.spans.named("is_too_slow attempt")
    assert attempt["parent_id"] == id_of(run)
    assert (status_of(run), status_of(attempt)) == ("ERROR", "ERROR")
    assert attempt["attributes"]["resilient_tasks.outcome"] in {"timeout", "abandoned"}
    assert events_of(run)[-1] == "exception"


def test_the_trace_is_the_one_that_the_documentation_shows(ran):
    page = (Path(__file__).parents[2] / "docs" / "opentelemetry.md").read_text(encoding="utf-8")
    assert "\n".join(drawn(ran.spans, ran.spans.of_run("flow", "around"))) in page


def test_coroutines_at_once_have_their_attempts_below_their_own_task_runs(traced, tmp_path):
    os.environ[spans_in_a_file.FILE] = str(tmp_path / "spans.jsonl")

    @resilient_flow(name="around_coroutines")
    async def around():
        return await asyncio.gather(*(traced_tasks.in_a_coroutine(number, []) for number in range(5)))

    asyncio.run(around())
    spans = Spans()
    runs = [span for span in spans.all if span["name"].startswith("in_a_coroutine-")]
    assert len(runs) == 5
    for run in runs:
        attempts = spans.below(run)
        assert [status_of(attempt) for attempt in sorted(attempts, key=lambda span: span["start_time"])] == [
            "ERROR",
            "UNSET",
        ]
        assert [len(spans.below(attempt)) for attempt in attempts] == [1, 1]
        assert len({str(attempt["attributes"]["resilient_tasks.call"]) for attempt in attempts}) == 1


def test_items_of_a_generator_are_made_below_its_attempt(traced, tmp_path):
    os.environ[spans_in_a_file.FILE] = str(tmp_path / "spans.jsonl")

    @resilient_flow(name="around_items")
    def around():
        return list(traced_tasks.items())

    assert around() == [0, 1]
    spans = Spans()
    [attempt] = spans.below(spans.of_run("task", "items"))
    assert [span["name"] for span in spans.below(attempt)] == ["GET", "GET"]


def test_without_prefects_telemetry_a_call_has_a_span_of_its_own(traced, tmp_path):
    os.environ[spans_in_a_file.FILE] = str(tmp_path / "spans.jsonl")

    @resilient_flow(name="around_untraced")
    def around():
        return traced_tasks.recovers(str(tmp_path))

    with temporary_settings({PREFECT_CLOUD_ENABLE_ORCHESTRATION_TELEMETRY: False}):
        around()
    spans = Spans()
    [call] = spans.named("recovers")
    assert [status_of(attempt) for attempt in spans.named("recovers attempt")] == ["ERROR", "ERROR", "UNSET"]
    assert len(spans.below(call)) == 3
    assert status_of(call) == "UNSET"
    assert call["attributes"]["resilient_tasks.outcome"] == "recovered"


def test_a_child_process_is_set_up_before_its_function_is_called(traced):
    made_there = Pipeline(Timeout(60, enforce="process")).call(spans_in_a_file.provider_here)
    assert made_there == ("TracerProvider", os.environ[otel.VARIABLE])
