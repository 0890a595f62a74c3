"""Spans of calls and attempts outside of Prefect; tests/with_prefect/test_opentelemetry.py has the rest."""

import asyncio
import os
import subprocess
import sys
import threading

import pytest

pytest.importorskip("opentelemetry.sdk")

from hypothesis import given
from hypothesis import strategies as st
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.trace import StatusCode

from resilient_tasks import CircuitBreaker, Hedge, Pipeline, PolicyError, ResultRejected, Retry, Timeout, resilient
from resilient_tasks.core import call as calls
from resilient_tasks.core.events import StoreLost, bus
from resilient_tasks.observe import otel
from resilient_tasks.observe.otel import harmless

pytestmark = pytest.mark.filterwarnings("ignore:.*is sync and has a timeout")


def failing(*errors, then="fresh"):
    """Make a function that raises these errors, one a call, and then returns."""
    left = list(errors)

    def fetch():
        if left:
            raise left.pop(0)
        return then

    return fetch


def outcome_of(span):
    return span.attributes["resilient_tasks.outcome"]


def events_of(span):
    return [event.name for event in span.events]


def is_below(span, other):
    return span.parent is not None and span.parent.span_id == other.context.span_id


class TestACall:
    def test_it_is_a_span_with_each_attempt_below(self, drive, traced, resilient_clock):
        assert drive(failing(ConnectionError("1"), ConnectionError("2")), retry=Retry(attempts=3, wait=5))() == "fresh"
        call, *attempts = traced.spans
        assert (call.name, call.parent, len(attempts)) == ("fetch", None, 3)
        assert all(is_below(attempt, call) and attempt.name == "fetch attempt" for attempt in attempts)
        assert [attempt.attributes["resilient_tasks.attempt"] for attempt in attempts] == [1, 2, 3]
        assert {span.attributes["resilient_tasks.call"] for span in traced.spans} == {
            event.attributes["call"] for event in call.events
        }

    def test_one_that_recovered_is_no_error_and_its_failed_attempts_are(self, drive, traced, resilient_clock):
        drive(failing(ConnectionError("refused")), retry=2)()
        _, first, second = traced.spans
        assert [outcome_of(span) for span in traced.spans] == ["recovered", "failed", "ok"]
        statuses = [span.status.status_code for span in traced.spans]
        assert statuses == [StatusCode.UNSET, StatusCode.ERROR, StatusCode.UNSET]
        assert (events_of(first), events_of(second)) == (["exception"], [])
        assert first.attributes["error.type"] == "ConnectionError"
        assert first.status.description == "ConnectionError: refused"

    def test_one_that_failed_is_an_error(self, drive, traced):
        drive(failing(KeyError("x")), retry=2).outcome()
        call = traced.spans[0]
        assert (call.status.status_code, outcome_of(call)) == (StatusCode.ERROR, "failed")
        assert call.attributes["error.type"] == "KeyError"
        assert "call.failed" in events_of(call)

    def test_one_that_was_degraded_says_so_and_is_no_error(self, drive, traced):
        assert drive(failing(ConnectionError("refused")), fallback=lambda: "old")() == "old"
        call = traced.spans[0]
        assert (outcome_of(call), call.status.status_code) == ("degraded", StatusCode.UNSET)
        assert events_of(call) == ["fallback.used"]

    def test_it_is_below_the_span_around_it(self, drive, traced):
        def around():
            with traced.tracer.start_as_current_span("a request"):
                return inner()

        inner = resilient(retry=2)(lambda: 1)
        drive(around, retry=2)()
        outer, attempt, request, call, innermost = traced.spans
        assert all(
            is_below(*pair) for pair in ((attempt, outer), (request, attempt), (call, request), (innermost, call))
        )

    def test_the_current_span_is_the_same_after_it_as_before(self, traced):
        with traced.tracer.start_as_current_span("around") as around:
            resilient(retry=2)(lambda: 1)()
            resilient(retry=2)(failing(KeyError("x"))).outcome()
            assert trace.get_current_span() is around

    def test_a_task_that_it_started_keeps_the_attempt_as_its_current_span(self, traced):
        async def later():
            await asyncio.sleep(0)
            with traced.tracer.start_as_current_span("later"):
                pass

        @resilient(timeout=60)
        async def starts():
            return asyncio.create_task(later())

        async def main():
            await (await starts())
            assert not trace.get_current_span().is_recording()

        asyncio.run(main())
        assert is_below(traced.named("later")[0], traced.named(f"{starts.__qualname__.rpartition('.')[2]} attempt")[0])

    def test_an_http_status_is_an_attribute_of_the_attempt(self, drive, traced, resilient_clock):
        import httpx

        request = httpx.Request("GET", "http://api/flights")
        error = httpx.HTTPStatusError("sick", request=request, response=httpx.Response(503, request=request))
        drive(failing(error), retry=2)()
        attempt, scheduled = traced.spans[1], traced.spans[0].events[0]
        assert attempt.attributes["http.response.status_code"] == 503
        assert scheduled.attributes["http.response.status_code"] == 503
        assert attempt.events[0].attributes["exception.type"] == "httpx.HTTPStatusError"

    def test_an_event_has_the_attributes_of_a_log_line(self, drive, traced, resilient_clock, resilient_events):
        drive(failing(ConnectionError("refused")), retry=Retry(attempts=2, wait=5))()
        [scheduled] = [event for event in traced.spans[0].events if event.name == "retry.scheduled"]
        about = resilient_events.named("retry.scheduled")[0].as_dict()
        assert dict(scheduled.attributes) == {
            name: value for name, value in about.items() if name not in {"event.name", "time"}
        }
        assert scheduled.timestamp == int(about["time"] * 1e9)

    def test_neither_secrets_nor_arguments_nor_locals_are_in_a_span(self, drive, traced, resilient_clock):
        def fetch(token):
            url = f"https://bob:{token}@api/flights"
            raise ConnectionError(f"no answer from {url}") from ValueError("password=hunter2secret")

        drive(fetch, retry=Retry(attempts=2, wait=1)).outcome("sk-live-4eC39HqLyjWDarjtT1zdp7dc")
        written = "".join(span.to_json() for span in traced.spans)
        assert "hunter2secret" not in written
        assert "sk-live" not in written
        assert "https://bob:***@api/flights" in written
        assert "raise ConnectionError" in written

    def test_an_error_that_cannot_be_shown_is_an_event_all_the_same(self, drive, traced):
        class BrokenError(Exception):
            def __str__(self):
                raise RuntimeError("broken")

        drive(failing(BrokenError()), retry=2).outcome()
        assert "BrokenError" in traced.spans[1].events[0].attributes["exception.type"]


class TestAnAttempt:
    def test_one_whose_result_was_rejected_has_failed(self, drive, traced, resilient_clock):
        drive(lambda: None, retry=Retry(attempts=2, wait=1, on_result=lambda value: value is None)).outcome()
        _, *attempts = traced.spans
        assert [outcome_of(span) for span in traced.spans] == ["failed"] * 3
        assert {attempt.attributes["error.type"] for attempt in attempts} == {ResultRejected.__name__}

    def test_one_that_a_limit_stopped_says_so(self, drive, traced):
        drive(drive.sleeper(30), timeout=0.05).outcome()
        call, attempt = traced.spans
        assert (outcome_of(attempt), attempt.attributes["resilient_tasks.stopped"]) == ("timeout", True)
        assert attempt.attributes["error.type"] == "TimedOut"
        assert events_of(call) == ["timeout.exceeded", "call.failed"]
        assert attempt.end_time <= call.end_time

    def test_one_that_was_abandoned_ends_when_it_is_given_up_and_names_its_thread(self, traced):
        go_on, ended = threading.Event(), threading.Event()

        @resilient(timeout=0.05)
        def stuck():
            go_on.wait(60)
            ended.set()

        worker = threading.Thread(target=stuck.outcome)
        worker.start()
        worker.join()
        _, attempt = traced.spans
        assert not ended.is_set()
        assert outcome_of(attempt) == "abandoned"
        assert attempt.attributes["thread.name"].startswith("resilient:")
        assert attempt.attributes["resilient_tasks.stopped"] is False
        go_on.set()
        assert ended.wait(60)
        assert len(traced.spans) == 2

    def test_hedged_ones_overlap(self, traced):
        second_began = threading.Event()

        @resilient(hedge=Hedge(0.3), idempotent=True)
        def hedged():
            if second_began.is_set():
                return "second"
            second_began.set()
            slow.wait(60)
            return "first"

        slow = threading.Event()
        assert hedged() == "second"
        slow.set()
        call, first, second = traced.spans
        assert is_below(first, call)
        assert is_below(second, call)
        assert first.start_time < second.start_time < first.end_time
        assert (outcome_of(first), outcome_of(second), outcome_of(call)) == ("abandoned", "ok", "ok")
        assert first.attributes["resilient_tasks.hedged"]
        assert first.status.status_code is StatusCode.UNSET

    def test_a_call_that_an_open_circuit_rejected_made_none(self, drive, traced, resilient_clock):
        call = drive(failing(*[ConnectionError("1")] * 9), breaker=CircuitBreaker("api", failures=1))
        call.outcome()
        call.outcome()
        first, attempt, opened = traced.spans
        assert is_below(attempt, first)
        assert opened.attributes["resilient_tasks.attempts"] == 0
        assert opened.attributes["error.type"] == "CircuitOpen"

    def test_one_that_is_cancelled_is_no_error(self, traced):
        @resilient(retry=3)
        async def waits():
            await asyncio.sleep(60)

        async def main():
            task = asyncio.create_task(waits())
            await asyncio.sleep(0)
            task.cancel()
            await asyncio.wait([task])

        asyncio.run(main())
        assert [outcome_of(span) for span in traced.spans] == ["cancelled", "cancelled"]
        assert {span.status.status_code for span in traced.spans} == {StatusCode.UNSET}

    def test_one_in_a_child_process_passes_its_context_on(self, traced):
        pipeline = Pipeline(Timeout(60, enforce="process"))
        there = pipeline.call(current_trace)
        [attempt] = traced.named("current_trace attempt")
        assert there == (attempt.context.trace_id, attempt.context.span_id, os.getpid())


def current_trace():
    """Return the current span's ids, and the process that waits for this one."""
    here = trace.get_current_span().get_span_context()
    import psutil

    return here.trace_id, here.span_id, psutil.Process(os.getppid()).ppid()


class TestGenerators:
    def test_items_are_made_inside_the_attempt_and_used_outside(self, traced):
        @resilient(deadline=60)
        def items():
            for number in range(2):
                with traced.tracer.start_as_current_span("made"):
                    pass
                yield number

        for _ in items():
            with traced.tracer.start_as_current_span("used"):
                pass
        [attempt] = traced.named(f"{items.__resilient__.operation} attempt")
        assert all(is_below(span, attempt) for span in traced.named("made"))
        assert all(span.parent is None for span in traced.named("used"))
        assert (outcome_of(attempt), len(traced.named("made"))) == ("ok", 2)

    def test_async_items_too(self, traced):
        @resilient(deadline=60)
        async def items():
            for number in range(2):
                with traced.tracer.start_as_current_span("made"):
                    await asyncio.sleep(0)
                yield number

        async def main():
            async for _ in items():
                with traced.tracer.start_as_current_span("used"):
                    pass

        asyncio.run(main())
        [attempt] = traced.named(f"{items.__resilient__.operation} attempt")
        assert all(is_below(span, attempt) for span in traced.named("made"))
        assert all(span.parent is None for span in traced.named("used"))

    def test_one_that_its_consumer_closes_has_ended_well(self, traced):
        @resilient(deadline=60)
        def items():
            yield from range(5)

        source = items()
        next(source)
        source.close()
        assert [outcome_of(span) for span in traced.spans] == ["ok", "ok"]

    def test_one_that_fails_is_a_failed_attempt(self, traced):
        @resilient(deadline=60)
        def items():
            yield 1
            raise KeyError("x")

        with pytest.raises(KeyError):
            list(items())
        assert [outcome_of(span) for span in traced.spans] == ["failed", "failed"]


def test_the_attempt_of_a_plain_function_lasts_until_its_awaitable_was_awaited(traced):
    async def really():
        await asyncio.sleep(0)
        with traced.tracer.start_as_current_span("inside"):
            return 7

    @resilient(retry=2)
    def plain():
        return really()

    async def main():
        with traced.tracer.start_as_current_span("before") as before:
            awaitable = plain()
            assert trace.get_current_span() is before
        with traced.tracer.start_as_current_span("meanwhile") as meanwhile:
            assert await awaitable == 7
            assert trace.get_current_span() is meanwhile

    asyncio.run(main())
    before, call, attempt, _, inside = traced.spans
    assert is_below(call, before)
    assert is_below(inside, attempt)
    assert is_below(attempt, call)
    assert attempt.end_time > inside.end_time


def test_a_span_processor_that_raises_does_not_reach_the_call(drive, caplog, monkeypatch):
    monkeypatch.setattr(harmless, "_silent_until", 0.0)

    class Broken:
        def on_start(self, span, parent_context=None):
            raise RuntimeError("no collector")

        on_end = _on_ending = shutdown = on_start

    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(Broken())
    uninstall = otel.install(provider)
    try:
        assert drive(failing(ConnectionError("x")), retry=Retry(attempts=2, wait=0))() == "fresh"
    finally:
        uninstall()
    assert caplog.text.count("OpenTelemetry failed") == 1


def test_a_propagator_that_raises_does_not_reach_a_child_process(traced, monkeypatch):
    monkeypatch.setattr("opentelemetry.propagate.inject", lambda _: 1 / 0)
    assert Pipeline(Timeout(60, enforce="process")).call(current_trace)[:2] == (0, 0)


def test_a_call_whose_awaitable_is_never_awaited_leaves_nothing_open(traced):
    class Awaitable:
        def __await__(self):
            yield

    @resilient(retry=2)
    def plain():
        return Awaitable()

    plain().close()
    assert [outcome_of(span) for span in traced.spans] == ["cancelled", "cancelled"]
    assert not trace.get_current_span().is_recording()


def test_an_event_of_no_call_is_on_the_current_span(traced):
    with traced.tracer.start_as_current_span("around"):
        bus.emit(StoreLost(operation="state store", call="", attempt=1, store="redis", message="refused"))
    assert events_of(traced.spans[0]) == ["store.lost"]


@given(
    st.recursive(
        st.lists(st.booleans(), max_size=3), lambda inner: st.lists(st.booleans() | inner, max_size=3), max_leaves=12
    )
)
def test_spans_form_the_tree_of_the_calls_and_each_is_ended_once(script):
    """A call's script says which attempts fail, and, nested, which calls an attempt makes first."""
    started, ended = [], []
    provider = TracerProvider()

    class Watching:
        def on_start(self, span, parent_context=None):
            started.append(span.context.span_id)

        def on_end(self, span):
            ended.append(span)

        def shutdown(self, *_):
            pass

        def force_flush(self, timeout_millis=0):
            return True

        _on_ending = shutdown

    provider.add_span_processor(Watching())
    invoked = [0]

    def run(left):
        left = list(left)

        @resilient(retry=Retry(attempts=len(left) + 1, wait=0))
        def call():
            invoked[0] += 1
            step = left.pop(0) if left else False
            if isinstance(step, list):
                run(step)
                step = bool(step)
            if step:
                raise ConnectionError("again")

        call()

    uninstall = otel.install(provider)
    try:
        run(script)
    finally:
        uninstall()
    attempts = [span for span in ended if span.name.endswith(" attempt")]
    own = {span.context.span_id: span for span in ended}
    assert sorted(started) == sorted(own) == sorted(span.context.span_id for span in ended)
    assert len(attempts) == invoked[0]
    assert sum(span.parent is None for span in ended) == 1
    assert all(own[attempt.parent.span_id].name == attempt.name.removesuffix(" attempt") for attempt in attempts)
    assert not trace.get_current_span().is_recording()


def test_two_hundred_tasks_at_once_do_not_mix(traced):
    @resilient(retry=Retry(attempts=2, wait=0))
    async def fetch(number, tries):
        with traced.tracer.start_as_current_span(f"inside {number}"):
            await asyncio.sleep(0)
        tries.append(number)
        if len(tries) == 1 and number % 2:
            raise ConnectionError("again")

    async def one(number):
        with traced.tracer.start_as_current_span(f"task {number}"):
            await fetch(number, [])

    async def main():
        await asyncio.gather(*map(one, range(200)))

    asyncio.run(main())
    by_id = {span.context.span_id: span for span in traced.spans}
    for number in range(200):
        [task], inside = traced.named(f"task {number}"), traced.named(f"inside {number}")
        assert len(inside) == 1 + number % 2
        for span in inside:
            call = by_id[by_id[span.parent.span_id].parent.span_id]
            assert is_below(call, task)


class TestInstalling:
    def test_without_it_a_call_that_succeeds_enters_no_pipeline(self, monkeypatch):
        fetch = resilient(retry=3)(lambda: 1)
        fetch()
        monkeypatch.setattr(Pipeline, "run", None)
        before = set(calls.limited)  # abandoned coroutines of other tests may be in it
        assert fetch() == 1
        assert (calls.observer, calls.limited - before) == (None, set())

    def test_it_also_covers_functions_that_were_decorated_and_called_before(self, drive):
        fetch = drive(lambda: trace.get_current_span().is_recording(), retry=3)
        assert fetch() is False
        uninstall = otel.install(TracerProvider())
        assert fetch() is True
        uninstall()
        assert fetch() is False

    def test_installing_it_again_changes_nothing(self, traced):
        assert otel.install() == otel.install()
        resilient(retry=2)(lambda: 1)()
        assert len(traced.spans) == 2

    def test_another_provider_is_refused(self, traced):
        with pytest.raises(PolicyError, match="another provider"):
            otel.install(TracerProvider())

    def test_nothing_is_recorded_once_it_is_uninstalled(self, drive, traced):
        otel.install()()
        drive(failing(ConnectionError("x")), retry=Retry(attempts=2, wait=0))()
        assert traced.spans == []
        assert traced.metrics() == {}

    def test_a_missing_library_is_named_with_the_extra(self, monkeypatch):
        for name in [name for name in sys.modules if name.startswith("resilient_tasks.observe.otel.")]:
            monkeypatch.delitem(sys.modules, name)
        monkeypatch.setitem(sys.modules, "opentelemetry.metrics", None)
        monkeypatch.setitem(sys.modules, "opentelemetry", None)
        with pytest.raises(ModuleNotFoundError, match=r"pip install 'resilient-tasks\[otel\]'"):
            otel.install()


class TestTheVariable:
    @pytest.fixture(autouse=True)
    def once(self, monkeypatch):
        monkeypatch.setattr(otel, "_followed", "")
        yield
        if otel._installed is not None:
            otel._installed.uninstall()

    def test_it_installs_at_the_first_decorator(self, monkeypatch):
        monkeypatch.setenv(otel.VARIABLE, "1")
        resilient(retry=2)(lambda: 1)
        assert calls.observer is not None

    def test_it_calls_the_function_that_it_names_once(self, monkeypatch):
        called = []
        monkeypatch.setattr(otel, "set_up", lambda: called.append(calls.observer), raising=False)
        monkeypatch.setenv(otel.VARIABLE, "resilient_tasks.observe.otel:set_up")
        resilient(retry=2)(lambda: 1)
        resilient(retry=2)(lambda: 1)
        assert called == [None]
        assert calls.observer is not None

    @pytest.mark.parametrize("off", ["", "0", "false", "Off"])
    def test_it_can_say_no(self, monkeypatch, off):
        monkeypatch.setenv(otel.VARIABLE, off)
        resilient(retry=2)(lambda: 1)
        assert calls.observer is None

    @pytest.mark.parametrize(
        ("value", "why"),
        [
            ("yes please", "is 1, 0, or a function to call first, such as my_package.telemetry:set_up"),
            ("no_such_module:set_up", "cannot be found: No module named 'no_such_module'"),
            ("resilient_tasks:nothing_of_that_name", "cannot be found"),
            ("resilient_tasks:__version__", "is no function"),
        ],
    )
    def test_a_value_that_means_nothing_is_refused_where_a_function_is_decorated(self, monkeypatch, value, why):
        monkeypatch.setenv(otel.VARIABLE, value)
        with pytest.raises(PolicyError, match=why):
            resilient(retry=2)(lambda: 1)

    def test_no_warning_says_that_it_sets_nothing(self):
        command = [sys.executable, "-W", "error", "-c", "import resilient_tasks.core.settings"]
        subprocess.run(command, env={**os.environ, otel.VARIABLE: "1"}, check=True)
