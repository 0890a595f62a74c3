"""Events are counted in Prometheus metrics: each event, with bounded labels, in every process."""

import ast
import contextlib
import dataclasses
import math
import os
import subprocess
import sys
import typing
from collections.abc import Mapping
from pathlib import Path

import cloudpickle
import pytest
from prometheus_client import REGISTRY, CollectorRegistry, generate_latest, write_to_textfile
from prometheus_client.parser import text_string_to_metric_families

from resilient_tasks import CircuitBreaker, PolicyError, Retry, configure, resilient
from resilient_tasks.core import events as e
from resilient_tasks.core.events import EVENTS, Event, bus
from resilient_tasks.observe import logs, measures, prometheus
from resilient_tasks.observe.measures import Measures
from resilient_tasks.observe.metrics import METRICS, PREFIX, STATES

OWN_EVENTS = [event for event in EVENTS.values() if event.__module__.startswith("resilient_tasks.")]
each_event = pytest.mark.parametrize("event", OWN_EVENTS, ids=lambda event: event.name)


@pytest.fixture
def registry():
    """A registry in which the events of the test are counted."""
    registry = CollectorRegistry()
    uninstall = prometheus.install(registry)
    yield registry
    uninstall()


def values(registry):
    """The samples that are not zero, as {"name{label=value,...}": value}, without buckets and times of creation."""
    found = {}
    for family in text_string_to_metric_families(generate_latest(registry).decode()):
        for sample in family.samples:
            if sample.value and not sample.name.endswith(("_bucket", "_created")):
                labels = ",".join(f"{name}={value}" for name, value in sorted(sample.labels.items()))
                found[f"{sample.name.removeprefix(PREFIX)}{{{labels}}}"] = sample.value
    return found


def made(event, text="text", **given):
    """An event with `text` in each text field, followed by the field's name."""

    def value(kind, name):
        parts = [part for part in typing.get_args(kind) if part is not type(None)]
        if typing.get_origin(kind) is Mapping:
            return {f"{text}-{name}": 2}
        if typing.get_origin(kind) is tuple:
            return (f"{text}-{name}",)
        return value(parts[0], name) if parts else {str: f"{text}-{name}", int: 3, float: 1.5, bool: True}[kind]

    hints = typing.get_type_hints(event)
    parts = {part.name: value(hints[part.name], part.name) for part in dataclasses.fields(event)}
    return event(**{**parts, "run": {"flow_run_id": f"{text}-run"}, **given})


#: The fields that become labels. A channel's and a store's name is shown up to its colon: these have none.
SHOWN = {"operation", "error_type", "kind", "fallback", "policy", "action", "breaker", "limit", "bulkhead", "outcome"}
SHOWN |= {"occasion", "channel", "sink"}


class TestEachEvent:
    @each_event
    def test_is_measured_or_there_is_a_reason_why_not(self, event):
        assert (event in measures.MEASURED) != (event in measures.NOT_MEASURED), (
            f"{event.name}: measure it in observe/measures.py, or give the reason in NOT_MEASURED"
        )
        assert all(reason.strip() for reason in measures.NOT_MEASURED.values())

    @each_event
    def test_measures_only_metrics_that_exist_with_their_labels(self, event):
        if event in measures.MEASURED:
            measured = list(Measures().of(made(event)))
            assert len(measured) > 1  # more than its name
            for each in measured:
                assert len(each.labels) == len(METRICS[each.name].labels)

    @each_event
    def test_shows_no_id_message_path_or_reason(self, event):
        shown = " ".join(label for each in Measures().of(made(event, "marked")) for label in each.labels)
        fields = {word.removeprefix("marked-") for word in shown.split() if word.startswith("marked-")}
        assert fields <= SHOWN

    def test_no_metric_is_left_that_no_event_measures(self):
        measured = {each.name for event in measures.MEASURED for each in Measures().of(made(event))}
        enforced = {"shadow": False}
        others = [
            made(e.CallFailed, again=False),
            made(e.RateLimitReached, refused=False, **enforced),
            made(e.BulkheadRejected, **enforced),
        ]
        more = {each.name for event in others for each in Measures().of(event)}
        assert measured | more | {"sink_events_lost_total"} == set(METRICS)

    def test_an_event_that_is_not_measured_is_not_even_created(self, registry):
        sinks = [one for one in bus.sinks if one.name == "prometheus"]
        assert [one.wants(e.RetryStarted) for one in sinks] == [False] * len(sinks)
        assert all(one.wants(e.RetryScheduled) for one in sinks)

    def test_a_custom_event_is_counted_by_its_name(self, registry, monkeypatch):
        monkeypatch.setattr("resilient_tasks.core.events.event.EVENTS", dict(EVENTS))

        class Spent(Event):
            name = "test.spent"

        bus.emit(Spent(operation="ask"))
        assert values(registry)["events_total{event=test.spent}"] == 1


@pytest.mark.parametrize("metric", METRICS.values(), ids=lambda metric: metric.name)
def test_a_metric_is_named_as_prometheus_asks(metric):
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert not metric.name.endswith(("_ms", "_milliseconds", "_minutes", "_count", "_sum", "_bucket"))
    if metric.kind == "histogram":
        assert metric.name.endswith("_seconds")
        assert list(metric.buckets) == sorted(metric.buckets)
    assert metric.help.endswith(".")
    assert not {"run", "call", "message", "path", "reason", "url", "key", "id"} & {*metric.labels}


def test_each_metric_is_in_the_documentation_with_its_labels():
    page = (Path(__file__).parents[2] / "docs" / "prometheus.md").read_text(encoding="utf-8")
    rows = [line.split("|") for line in page.splitlines() if line.startswith("| `")]
    found = {row[1].strip(" `"): row for row in rows if row[1].strip(" `") in {PREFIX + name for name in METRICS}}
    assert found.keys() == {PREFIX + name for name in METRICS}
    for name, metric in METRICS.items():
        _, _, kind, labels, meaning, *_ = found[PREFIX + name]
        assert kind.strip() == metric.kind
        assert tuple(labels.replace("`", "").replace(",", " ").split()) == metric.labels
        assert metric.help.rstrip(".") in meaning


class TestWhatIsCounted:
    def test_calls_by_outcome_and_error(self, registry, resilient_clock, flaky):
        def serve(*failures, **options):
            fn = flaky(*failures)
            with contextlib.suppress(ConnectionError):
                resilient(retry=Retry(attempts=2, wait=4), **options)(fn)()

        serve(ConnectionError())
        serve(ConnectionError(), ConnectionError())
        serve(ConnectionError(), ConnectionError(), fallback=lambda *_: 0)
        error = "error_type=ConnectionError"
        found = values(registry)
        assert {name: value for name, value in found.items() if name.startswith("calls_")} == {
            f"calls_failed_total{{{error},kind=transient,operation=flaky,own=true,status=none}}": 1,
            f"calls_degraded_total{{{error},fallback=lambda at test_prometheus:{LINE_OF_LAMBDA},kind=transient,"
            "operation=flaky,status=none}": 1,
            "calls_recovered_total{operation=flaky}": 1,
        }
        assert found[f"retries_total{{by=policy,{error},kind=transient,operation=flaky,status=none}}"] == 3
        assert found["retry_wait_seconds_sum{operation=flaky}"] == 12
        assert found[f"retries_exhausted_total{{{error},kind=transient,operation=flaky,status=none}}"] == 2

    def test_a_status_is_counted_by_its_class(self):
        assert [measures.status_class(status) for status in (None, 404, 429, 503)] == ["none", "4xx", "4xx", "5xx"]

    def test_a_failure_that_the_orchestrator_retries_is_a_retry(self, registry):
        about = {"kind": "transient", "error_type": "E", "message": ""}
        bus.emit(e.CallFailed(operation="f", again=True, **about))
        bus.emit(e.CallFailed(operation="f", again=None, **about))
        found = values(registry)
        assert found["retries_total{by=orchestrator,error_type=E,kind=transient,operation=f,status=none}"] == 1
        assert found["calls_failed_total{error_type=E,kind=transient,operation=f,own=true,status=none}"] == 1

    def test_one_failure_that_passes_through_two_calls_is_the_own_failure_of_the_inner_one(self, registry):
        @resilient(fallback={KeyError: lambda: 0})
        def inner():
            raise OSError("disk")

        @resilient(fallback={KeyError: lambda: 0})
        def outer():
            return inner()

        with pytest.raises(OSError, match="disk"):
            outer()
        found = {name: value for name, value in values(registry).items() if name.startswith("calls_failed")}
        about = "error_type=OSError,kind=permanent"
        assert found == {
            f"calls_failed_total{{{about},operation=inner,own=true,status=none}}": 1,
            f"calls_failed_total{{{about},operation=outer,own=false,status=none}}": 1,
        }

    def test_rows_of_a_file_that_attempts_replace_are_counted_once(self, registry):
        about = {"action": "quarantined", "rows": 90, "reasons": {}, "batch": "b", "schema": ""}
        for invalid in (5, 7, 7, 0, 3):
            bus.emit(e.RowsQuarantined(operation="f", path="a", invalid=invalid, **about))
        bus.emit(e.RowsQuarantined(operation="f", path="b", invalid=1, **about))
        assert values(registry)["rows_quarantined_total{operation=f}"] == 8

    def test_unlimited_nested_retries_are_infinite(self, registry):
        bus.emit(e.RetryMultiplied(operation="f", attempts=0, loops=("a", "b")))
        bus.emit(e.RetryMultiplied(operation="g", attempts=15, loops=("a", "b")))
        found = values(registry)
        assert found["retry_multiplied_attempts{operation=f}"] == math.inf
        assert found["retry_multiplied_attempts{operation=g}"] == 15

    def test_a_store_is_shown_by_its_kind_and_whether_it_answers(self, registry):
        bus.emit(e.StoreLost(operation="s", store="redis://user@10.0.0.7:6379/0", message="refused"))
        bus.emit(e.StoreLost(operation="s", store="sqlite:///home/me/states.db", message="", waits=True))
        bus.emit(e.StoreRegained(operation="s", store="redis://user@10.0.0.7:6379/0", seconds=2.0))
        found = values(registry)
        assert found["store_up{holds=states,store=redis}"] == 1
        assert "store_up{holds=incidents,store=sqlite}" not in found  # zero
        assert found["store_lost_total{holds=incidents,store=sqlite}"] == 1

    def test_alerts_are_counted_by_the_kind_of_channel(self, registry):
        bus.emit(e.NotifySent(operation="f", channel="email:ann@example.com,bob@example.com"))
        bus.emit(e.NotifySuppressed(operation="f", channel="slack:#ml, email:ann@example.com", suppressed=9))
        about = {"error_type": "HTTPError", "message": "", "http_status": 500}
        bus.emit(e.NotifyFailed(operation="f", channel="slack:#ml", retry_in=4.0, **about))
        assert "example.com" not in generate_latest(registry).decode()
        found = values(registry)
        assert found["alerts_sent_total{channel=email,occasion=first}"] == 1
        assert found["alerts_suppressed_total{channel=slack}"] == 1
        assert found["alerts_failed_total{channel=slack,error_type=HTTPError,given_up=false,status=5xx}"] == 1

    def test_a_sink_that_loses_events_shows_how_many(self, registry):
        calls = []

        def broken(event):
            calls.append(event)
            raise OSError("no space left on device")

        unsubscribe = bus.subscribe(broken, name="journal")
        for _ in range(8):
            bus.emit(e.NotifySent(operation="f", channel="slack"))
        unsubscribe()
        found = values(registry)
        assert len(calls) == 5
        assert found["sink_suspended{sink=journal}"] == 1
        assert found["sink_suspensions_total{sink=journal}"] == 1
        assert found["sink_events_lost_total{sink=journal}"] == 5 + 3 + 1  # the last one is about its suspension

    def test_sinks_of_one_name_are_counted_together_and_each_loss_once(self, registry, monkeypatch):
        monkeypatch.setattr(logs.LOGGER, "disabled", True)
        sent = e.NotifySent(operation="f", channel="slack")

        def broken(event):
            raise OSError

        bus.subscribe(broken, name="earlier")()
        leave = [bus.subscribe(broken, lambda event: event is e.NotifySent, name="twins") for _ in range(2)]
        for _ in range(3):
            bus.emit(sent)
        leave.pop()()
        bus.emit(sent)
        leave.pop()()
        bus.emit(sent)
        assert values(registry)["sink_events_lost_total{sink=twins}"] == 2 + 2 + 2 + 1


LINE_OF_LAMBDA = next(
    number
    for number, line in enumerate(Path(__file__).read_text(encoding="utf-8").splitlines(), 1)
    if "fallback=lambda *_: 0" in line
)


class TestCircuits:
    def test_their_states_are_read_from_the_store_when_they_are_scraped(self, registry, resilient_clock, own_store):
        breaker = CircuitBreaker("api")
        breaker.open(30)
        CircuitBreaker("warehouse").isolate()
        found = values(registry)
        assert found["breaker_circuits{breaker=api,state=open}"] == 1
        assert found["breaker_circuits{breaker=warehouse,state=isolated}"] == 1
        breaker.close()  # in another process, say
        assert values(registry)["breaker_circuits{breaker=api,state=closed}"] == 1

    def test_a_store_that_does_not_answer_leaves_the_other_metrics(self, registry, monkeypatch):
        def fails():
            raise OSError("gone")

        monkeypatch.setitem(prometheus.LISTED, "breaker", fails)
        bus.emit(e.NotifySent(operation="f", channel="slack"))
        assert values(registry)["alerts_sent_total{channel=slack,occasion=first}"] == 1

    def test_of_many_keys_those_beyond_the_bound_are_counted_together(self, registry, monkeypatch):
        circuits = [(f"host-{number}", "open") for number in range(measures.MOST_VALUES + 30)]
        monkeypatch.setitem(prometheus.LISTED, "breaker", lambda: circuits)
        found = values(registry)
        assert found[f"breaker_circuits{{breaker={measures.OTHER},state=open}}"] == 30
        assert len(found) == measures.MOST_VALUES + 1

    def test_several_processes_measure_them_by_events(self):
        shared = Measures(counts_circuits=True)

        def after(event):
            return {each.labels[1]: each.value for each in shared.of(event) if each.name == "breaker_circuits"}

        opened = e.BreakerOpened(operation="f", breaker="api", reason="", open_for=30.0)
        assert after(opened) == {**dict.fromkeys(STATES, 0), "open": 1}
        assert after(dataclasses.replace(opened, open_for=None))["isolated"] == 1
        assert after(e.BreakerHalfOpened(operation="f", breaker="api", reason=""))["half_open"] == 1
        assert after(e.BreakerClosed(operation="f", breaker="api", reason="", seconds=3.0))["closed"] == 1


class TestBounds:
    def test_a_label_has_two_hundred_values_and_then_other(self, registry):
        for number in range(500):
            bus.emit(e.RetryRecovered(operation=f"f-{number}", attempts=3, errors={}))
        found = {name: value for name, value in values(registry).items() if name.startswith("calls_recovered")}
        assert len(found) == measures.MOST_VALUES + 1
        assert found["calls_recovered_total{operation=other}"] == 500 - measures.MOST_VALUES

    def test_a_long_value_is_cut(self):
        bounded = measures.Bounded()
        assert len(bounded("x" * 10_000)) == measures.LONGEST

    def test_the_whole_of_it_is_bounded_whatever_happens(self, registry):
        for number in range(1000):
            bus.emit(made(OWN_EVENTS[number % len(OWN_EVENTS)], f"text-{number}", run={}))  # no file for each run
        lines = generate_latest(registry).decode().splitlines()
        assert len(lines) < 60_000

    def test_a_value_with_quotes_and_newlines_is_escaped(self, registry):
        bus.emit(e.RetryRecovered(operation='a"b\nc\\d', attempts=3, errors={}))
        assert any("calls_recovered_total" in name for name in values(registry))


class TestInstalling:
    def test_again_changes_nothing(self, registry):
        before = bus.sinks
        uninstall = prometheus.install(registry)
        assert bus.sinks == before
        bus.emit(e.RetryRecovered(operation="f", attempts=3, errors={}))
        assert values(registry)["calls_recovered_total{operation=f}"] == 1
        uninstall()
        uninstall()
        assert values(registry) == {}

    def test_the_default_registry_is_set_for_the_processes_that_are_started(self, own_settings, monkeypatch):
        monkeypatch.setenv("RESILIENT_TASKS_PROMETHEUS", "false")
        uninstall = prometheus.install()
        assert os.environ["RESILIENT_TASKS_PROMETHEUS"] == "true"
        bus.emit(e.RetryRecovered(operation="f", attempts=3, errors={}))
        assert prometheus.registry() is REGISTRY
        assert values(REGISTRY)["calls_recovered_total{operation=f}"] == 1
        uninstall()
        assert "resilient_tasks" not in generate_latest(REGISTRY).decode()

    def test_a_registry_that_has_one_of_its_names_is_left_as_it_was(self):
        from prometheus_client import Counter

        registry = CollectorRegistry()
        Counter("resilient_tasks_retries_total", "mine", registry=registry)
        with pytest.raises(ValueError, match="Duplicated"):
            prometheus.install(registry)
        assert [family.name for family in registry.collect()] == ["resilient_tasks_retries"]

    def test_without_the_library_the_error_names_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "prometheus_client", None)
        with pytest.raises(PolicyError, match=r"resilient-tasks\[prometheus\]"):
            prometheus.install()

    def test_a_shared_folder_that_does_not_exist_is_named(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))
        with pytest.raises(PolicyError, match=r"names no folder: create .*gone"):
            prometheus.install()
        with pytest.raises(PolicyError, match="names no folder"):
            prometheus.registry()

    def test_a_shared_folder_that_is_named_too_late_is_refused(self, monkeypatch, tmp_path):
        monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
        with pytest.raises(PolicyError, match="was imported before"):
            prometheus.install()

    @pytest.mark.parametrize("wrong", ["yes", 1])
    def test_the_setting_is_true_or_false(self, wrong, own_settings):
        with pytest.raises(PolicyError, match=r"configure\(prometheus=...\) is True or False"):
            configure(prometheus=wrong)


def test_a_run_that_ends_writes_its_metrics_to_a_file_for_node_exporter(registry, tmp_path):
    bus.emit(e.RetryRecovered(operation="f", attempts=3, errors={}))
    write_to_textfile(str(tmp_path / "flow.prom"), registry)
    assert 'resilient_tasks_calls_recovered_total{operation="f"} 1.0' in (tmp_path / "flow.prom").read_text()


SEVERAL = """
import concurrent.futures, multiprocessing, os, sys
from prometheus_client import generate_latest
from resilient_tasks import CircuitBreaker, Retry, Timeout, resilient
from resilient_tasks.observe import prometheus
from resilient_tasks.testing import VirtualClock, use_clock

@resilient(retry=Retry(attempts=3, wait=1), fallback=lambda: 0)
def fetch():
    raise ConnectionError("refused")

@resilient(retry=Retry(attempts=2, wait=0), timeout=Timeout(60, enforce="process"), fallback=lambda: 0)
def in_child():
    raise ConnectionError("refused in a child that ends")

def work(_=None):
    with use_clock(VirtualClock()):
        return fetch()

if __name__ == "__main__":
    work()
    in_child()
    CircuitBreaker("api").open(60)
    for method in ("fork", "spawn"):
        context = multiprocessing.get_context(method)
        with concurrent.futures.ProcessPoolExecutor(2, mp_context=context) as pool:
            list(pool.map(work, range(4)))
    pid = os.fork()
    if not pid:
        work()
        os._exit(0)
    os.waitpid(pid, 0)
    print(generate_latest(prometheus.registry()).decode())
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_real_processes_add_up(tmp_path):
    """One here, four in a forked pool, four in a spawned one, one forked by hand: ten calls of three attempts each."""
    (tmp_path / "metrics").mkdir()
    script = tmp_path / "several.py"
    script.write_text(SEVERAL)
    environment = {
        **os.environ,
        "PROMETHEUS_MULTIPROC_DIR": str(tmp_path / "metrics"),
        "RESILIENT_TASKS_PROMETHEUS": "true",
        "RESILIENT_TASKS_HOME": str(tmp_path),
        "PYTHONWARNINGS": "ignore",
    }
    done = subprocess.run(
        [sys.executable, str(script)], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    found = {}
    for family in text_string_to_metric_families(done.stdout):
        for sample in family.samples:
            key = sample.name.removeprefix(PREFIX), sample.labels.get("operation") or sample.labels.get("state")
            found[key] = found.get(key, 0) + sample.value
    assert found["retries_total", "fetch"] == 20
    assert found["calls_degraded_total", "fetch"] == 10
    assert found["retry_wait_seconds_count", "fetch"] == 20
    assert found["retry_wait_seconds_sum", "fetch"] == 20
    assert (found["retries_total", "in_child"], found["calls_degraded_total", "in_child"]) == (1, 1)
    assert (found["breaker_circuits", "open"], found["breaker_circuits", "closed"]) == (1, 0)


UNPICKLED = """
import pickle, sys
function = pickle.load(sys.stdin.buffer)
from resilient_tasks.core.events import bus
print([one.name for one in bus.sinks], sys.argv[1] == "called" and function())
"""


@pytest.mark.parametrize("decorator", ["resilient", "resilient_task"])
def test_a_worker_that_decorates_nothing_logs_and_counts_what_it_unpickles(decorator, monkeypatch):
    import resilient_tasks

    def fetch():
        return 7

    monkeypatch.setattr(sys.modules[__name__], "__name__", "__main__")  # so it is pickled by its value
    fetch.__module__ = "__main__"
    pickled = cloudpickle.dumps(getattr(resilient_tasks, decorator)(retry=3)(fetch))
    done = subprocess.run(
        [sys.executable, "-c", UNPICKLED, "called" if decorator == "resilient" else ""],
        env={**os.environ, "RESILIENT_TASKS_PROMETHEUS": "true"},
        input=pickled,
        capture_output=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr.decode()
    assert done.stdout.decode().startswith("['log', 'prometheus'")  # a task's process has one more


def test_a_process_counts_nothing_and_loads_no_metrics_library_unless_it_is_set():
    program = (
        "import sys\n"
        "from resilient_tasks import resilient\n"
        "resilient(retry=3)(len)\n"
        "print(['prometheus_client' in sys.modules, 'resilient_tasks.observe.measures' in sys.modules])"
    )
    answers = [
        subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "RESILIENT_TASKS_PROMETHEUS": setting},
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        ).stdout
        for setting in ("false", "true")
    ]
    assert list(map(ast.literal_eval, answers)) == [[False, False], [True, True]]


def test_a_task_goes_on_without_metrics_if_they_cannot_be_counted(own_settings, monkeypatch, tmp_path):
    monkeypatch.setenv("RESILIENT_TASKS_PROMETHEUS", "false")
    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path / "gone"))
    configure(prometheus=True)
    with pytest.warns(UserWarning, match="no metrics: PROMETHEUS_MULTIPROC_DIR names no folder"):
        assert resilient(retry=3)(lambda: 7)() == 7
