"""What the sinks cost: months of the demo's flow with all sinks on, beside the same months with none.

    python tests/benchmarks/sinks_cost.py --rounds 5 --months 2

A month is the demo's own: an index, the planes, and a dozen pages of 2,500 flights, through an API in another process
that fails a quarter of the pages, validated, with their bad rows quarantined. (The demo's training is left out: it
would only make the share smaller.) The same seed gives each run the same faults. CPU time is that of the flow's process
with all its threads; the two ways take turns, because a machine's speed changes.

The sinks: the log, Prometheus metrics, and where this version has them, `events.jsonl` and OpenTelemetry with spans
kept in memory. Prefect's states of retries are part of both: without them, a run's history is another one.
"""

from __future__ import annotations

import argparse
import importlib
import os
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[2] / "examples" / "flight_times"), str(Path(__file__).parent)]

from setting import machine, prefect_server, say, table  # noqa: E402  # needs that path

from resilient_tasks.core.events.bus import Bus  # noqa: E402  # as above

GOAL = 0.03


class Run(NamedTuple):
    """One run: CPU seconds in all, those within sinks, the number of events, and the seconds of each sink."""

    cpu: float
    within: float
    events: int
    by_sink: Mapping[str, float]


class Watched:
    """Measures the CPU time that threads spend in the bus and in each sink, without Prefect's states."""

    def __init__(self) -> None:
        from resilient_tasks.core.events import bus

        self._emit = bus.emit
        self._states = Bus().emit
        self.seconds, self.events = 0.0, 0
        self.by_sink: Counter[str] = Counter()
        for one in bus.sinks:
            one.sink = self._timed(one.name, one.sink)

    def __call__(self, event: Any, *more: Any) -> None:
        """Emit an event."""
        began = time.thread_time()
        self._emit(event)
        self.seconds += time.thread_time() - began
        self.events += 1
        self._states(event, *more)

    def _timed(self, name: str, sink: Callable[[Any], None]) -> Callable[[Any], None]:
        def timed(event: Any) -> None:
            began = time.thread_time()
            sink(event)
            self.by_sink[name] += time.thread_time() - began

        return timed


@contextmanager
def all_sinks() -> Iterator[list[str]]:
    """Switch all sinks on, and yield their names."""
    from prometheus_client import CollectorRegistry

    from resilient_tasks.core.events import bus
    from resilient_tasks.observe import logs, prometheus

    logs.install()
    with ExitStack() as stack:
        stack.callback(prometheus.install(CollectorRegistry()))
        names = ["log", "Prometheus"]
        if journal := _module("journal"):
            journal.install()
            names.append("events.jsonl")
        if otel := _module("otel"):
            stack.callback(otel.install(_spans_in_memory()))
            names.append("OpenTelemetry")
        for one in bus.sinks:
            stack.callback(setattr, one, "sink", one.sink)
        bus.emit = Watched()  # type: ignore[method-assign]
        stack.callback(vars(bus).pop, "emit")
        yield names


@contextmanager
def no_sinks() -> Iterator[list[str]]:
    """Switch all sinks off, but those that a flow adds for itself."""
    from resilient_tasks.core.events import bus

    before, bus.sinks = bus.sinks, ()
    try:
        yield []
    finally:
        bus.sinks = before


def _module(name: str) -> Any:
    try:
        return importlib.import_module(f"resilient_tasks.observe.{name}")
    except ModuleNotFoundError:  # this version does not have it
        return None


def _spans_in_memory() -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    return provider


def measured(flow: Callable[[int], int], months: int, seed: int, sinks: Any) -> Run:
    """Run the flow once, against an API that starts anew."""
    from servers import flights_api

    from resilient_tasks.core.events import bus

    with tempfile.TemporaryDirectory() as folder:
        os.environ["FLIGHT_TIMES_OUT"] = os.environ["RESILIENT_TASKS_HOME"] = folder
        with flights_api(Path(folder), seed=seed) as url, sinks():
            os.environ["FLIGHT_TIMES_API"] = url
            before, began = Path.cwd(), time.process_time()
            os.chdir(folder)
            try:
                flow(months)
            finally:
                os.chdir(before)
            cpu, watched = time.process_time() - began, vars(bus).get("emit")
    return Run(cpu, getattr(watched, "seconds", 0.0), getattr(watched, "events", 0), getattr(watched, "by_sink", {}))


def the_flow() -> Callable[[int], int]:
    """Return the demo's flow without its training, by its own tasks."""
    from fetching import fetch_page, fetch_planes, gathered, month_index, planes_of
    from prefect.task_runners import ThreadPoolTaskRunner

    from resilient_tasks import resilient_flow

    @resilient_flow(name="sinks-cost", task_runner=ThreadPoolTaskRunner(max_workers=8))
    def fetch_months(months: int) -> int:
        rows = 0
        for month in range(1, months + 1):
            sizes = month_index.submit(month).result()
            planes: Any = fetch_planes.submit(month)
            pages: Any = fetch_page.map(month, range(1, len(sizes) + 1))
            rows += len(gathered(pages, sizes).flights)
            planes_of(planes)
        return rows

    return fetch_months


def main() -> int:
    """Print the CPU time of each round and the share of the sinks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--months", type=int, default=2, choices=range(1, 13), metavar="1-12")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    given = parser.parse_args()
    with prefect_server():
        from resilient_tasks import configure

        configure(channels=False)
        flow = the_flow()
        names: list[str] = []
        with all_sinks() as found:
            names = list(found)
        measured(flow, 1, given.seed, all_sinks)  # imports, and the first calls of everything
        on, off = [], []
        for number in range(given.rounds):
            for sinks in (all_sinks, no_sinks) if number % 2 else (no_sinks, all_sinks):
                (on if sinks is all_sinks else off).append(measured(flow, given.months, given.seed, sinks))
            say(f"round {number + 1}: {on[-1].cpu:.2f} s with, {off[-1].cpu:.2f} s without")
    print(f"{machine()}; {', '.join(names)}\n")
    rows = [
        (str(number), f"{one.cpu:.2f}", f"{other.cpu:.2f}", f"{one.within * 1000:.0f}", str(one.events))
        for number, (one, other) in enumerate(zip(on, off, strict=True), 1)
    ]
    head = ("round", "CPU s, all sinks", "CPU s, none", "ms within sinks", "events")
    print(table(head, rows, markdown=given.markdown))
    ratio = statistics.median(one.cpu for one in on) / statistics.median(one.cpu for one in off) - 1
    within = statistics.median(one.within / one.cpu for one in on)
    best = min(one.cpu for one in on) / min(one.cpu for one in off) - 1
    print(f"\nmore CPU time with all sinks: {ratio:+.1%} by the medians, {best:+.1%} by the least; goal {GOAL:.0%}")
    for name in on[-1].by_sink:
        each = statistics.median(one.by_sink[name] / max(one.events, 1) for one in on)
        print(f"CPU time of the sink {name}: {each * 1e6:.0f} µs an event")
    print(f"CPU time within the bus and its sinks: {within:.2%} of the run with all sinks")
    return 0


if __name__ == "__main__":
    sys.exit(main())
