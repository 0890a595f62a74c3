"""One process of a storm: a function that fails in three ways, with alerts and without, at times that are given to it.

    python tests/benchmarks/storm_worker.py <API of the fake Slack> <its token> < orders > answers

An order is a line of JSON, and so is an answer. `{"do": "fail", ...}` gives the µs of each call; after
`{"do": "succeed", ...}` all is well again; `{"do": "end"}` gives the events that were seen. Where incidents are kept,
and for how long more of the same is counted only, is in the environment (`RESILIENT_TASKS_*`).
"""

import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from typing import Any

from resilient_tasks import Notify, Slack, resilient
from resilient_tasks.alerts.sender import sender
from resilient_tasks.core.events import Event, bus

PATIENCE = 60  # seconds to store the failures that could not be stored at once


def connect() -> None:
    raise ConnectionError("the service refused the connection")


def read() -> None:
    raise TimeoutError("the service did not answer within 30 s")


def parse() -> None:
    raise ValueError("the service sent half an answer")


WAYS = (connect, read, parse)


def fetch(way: Callable[[], None] | None) -> str:
    if way is not None:
        way()
    return "done"


def control(way: Callable[[], None] | None) -> str:
    if way is not None:
        way()
    return "done"


class Storm:
    """The calls of this process, and their events."""

    def __init__(self, api_url: str, token: str) -> None:
        slack = Slack(token=token, channel="#ml-alerts", api_url=api_url)
        self.alerted = resilient(notify=Notify(slack))(fetch)
        self.plain = resilient()(control)
        self.seen: Counter[str] = Counter()
        bus.subscribe(self._see)

    def fail(self, calls: int, begin: float, every: float) -> dict[str, Any]:
        """Fail a number of times, first at `begin`, each time with its control before or after it in turns."""
        self._failing(self.plain, WAYS[0])  # loads what the first log line needs; sends nothing
        wall: list[tuple[float, float]] = []
        cpu: list[tuple[float, float]] = []
        for number in range(calls):
            way = WAYS[number % len(WAYS)]
            time.sleep(max(0.0, begin + number * every - time.monotonic()))
            if number % 2:
                alerted, plain = self._failing(self.alerted, way), self._failing(self.plain, way)
            else:
                plain, alerted = self._failing(self.plain, way), self._failing(self.alerted, way)
            wall.append((plain[0], alerted[0]))
            cpu.append((plain[1], alerted[1]))
        behind = max(0.0, time.monotonic() - begin - calls * every)
        pending, until = sender()._dispatcher.buffer, time.monotonic() + PATIENCE
        late = len(pending._unacknowledged)
        while (pending.has_unacknowledged or pending.wait is not None) and time.monotonic() < until:
            time.sleep(0.01)
        return {"wall": wall, "cpu": cpu, "late": late, "behind": behind}

    def succeed(self, calls: int, every: float) -> dict[str, Any]:
        """Succeed a number of times."""
        for _ in range(calls):
            self.alerted(None)
            time.sleep(every)
        return {}

    def end(self) -> dict[str, int]:
        """Return the number of events by name."""
        return dict(self.seen)

    def _failing(self, call: Callable[..., object], way: Callable[[], None]) -> tuple[float, float]:
        """Return the µs that the call took, and those for which its thread had the processor."""
        cpu, wall = time.thread_time_ns(), time.perf_counter_ns()
        try:
            call(way)
        except (ConnectionError, TimeoutError, ValueError):
            wall = time.perf_counter_ns() - wall
            return wall / 1000, (time.thread_time_ns() - cpu) / 1000
        raise AssertionError("it was to fail")

    def _see(self, event: Event) -> None:
        self.seen[event.name] += 1


def main() -> None:
    storm = Storm(*sys.argv[1:])
    print(json.dumps("ready"), flush=True)
    for line in sys.stdin:
        order = json.loads(line)
        print(json.dumps(getattr(storm, order.pop("do"))(**order)), flush=True)


if __name__ == "__main__":
    main()
