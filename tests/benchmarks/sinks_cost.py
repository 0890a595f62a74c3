"""What the sinks cost: the demo's flow with all sinks on, beside the same flow with none.

    python tests/benchmarks/sinks_cost.py --rounds 3

It is the demo of `make demo`: twelve months through an API that fails a quarter of its pages, validated, trained on and
compared with the champion. The same seed gives each run the same faults. CPU time is that of the flow's process, with
all its threads, from the flow's start to its end. Each run is a process of its own, and the two ways take turns,
because a machine's speed changes. What was imported is left out of garbage collections: one takes 0.4 s, and it is
chance which of the runs meets it.

The sinks: the log, Prometheus metrics, event files, and OpenTelemetry with spans kept in memory. Prefect's states of
retries are part of both: without them, a run's history is another one.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

sys.path[:0] = [str(Path(__file__).parents[2] / "examples" / "flight_times"), str(Path(__file__).parent)]

from setting import machine, say, table  # noqa: E402  # needs that path

from resilient_tasks.core.events.bus import Bus  # noqa: E402  # as above

GOAL = 0.03
RESULT = "measured: "


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
def all_sinks() -> Iterator[None]:
    """Switch all sinks on; the demo itself writes event files."""
    from prometheus_client import CollectorRegistry

    from resilient_tasks.core.events import bus
    from resilient_tasks.observe import journal, logs, otel, prometheus

    with ExitStack() as stack:
        logs.install()
        journal.install()
        stack.callback(prometheus.install(CollectorRegistry()))
        stack.callback(otel.install(_spans_in_memory()))
        for one in bus.sinks:
            stack.callback(setattr, one, "sink", one.sink)
        bus.emit = Watched()  # type: ignore[method-assign]
        stack.callback(vars(bus).pop, "emit")
        yield


@contextmanager
def no_sinks() -> Iterator[list[str]]:
    """Switch all sinks off, but those that a flow adds for itself."""
    from resilient_tasks.core.events import bus

    before, bus.sinks = bus.sinks, ()
    try:
        yield []
    finally:
        bus.sinks = before


def _spans_in_memory() -> Any:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

    provider = TracerProvider()
    provider.add_span_processor(BatchSpanProcessor(InMemorySpanExporter()))
    return provider


def once(way: str, seed: int) -> Run:
    """Run the demo's flow in this process."""
    import run as demo

    found: list[Run] = []

    def flow(given: argparse.Namespace, *_: object) -> int:
        from flow import flight_times

        from resilient_tasks.core.events import bus

        with all_sinks() if way == "all" else no_sinks():
            gc.collect()
            gc.freeze()
            began = time.process_time()
            flight_times(given.seed, given.origins, return_state=True)
            cpu, watched = time.process_time() - began, vars(bus).get("emit")
        within = (watched.seconds, watched.events, watched.by_sink) if watched else (0.0, 0, {})
        found.append(Run(cpu, *within))
        return 0

    demo._resilient = flow  # type: ignore[assignment]
    with tempfile.TemporaryDirectory() as folder:
        sys.argv = ["run.py", "--seed", str(seed), "--out", folder]
        if demo.main():
            raise SystemExit("the demo failed")
    return found[0]


def measured(way: str, seed: int) -> Run:
    """Run it in a process of its own."""
    command = [sys.executable, __file__, "--seed", str(seed), "--once", way]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    [line] = [line for line in done.stdout.splitlines() if line.startswith(RESULT)]
    return Run(*json.loads(line.removeprefix(RESULT)))


def main() -> int:
    """Print the CPU time of each round and the share of the sinks."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--once", choices=("all", "none"), help=argparse.SUPPRESS)
    parser.add_argument("--markdown", action="store_true", help="print a Markdown table")
    given = parser.parse_args()
    if given.once:
        print(RESULT + json.dumps(once(given.once, given.seed)))
        return 0
    runs: dict[str, list[Run]] = {"all": [], "none": []}
    for number in range(given.rounds):
        for way in ("all", "none") if number % 2 else ("none", "all"):
            runs[way].append(measured(way, given.seed))
        say(f"round {number + 1}: {runs['all'][-1].cpu:.2f} s with, {runs['none'][-1].cpu:.2f} s without")
    on, off = runs["all"], runs["none"]
    print(f"{machine()}\n")
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
