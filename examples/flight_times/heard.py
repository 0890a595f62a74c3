"""The library's events of all processes that run a task: each process writes its own file, and all files are read.

A task on Dask or Ray emits its events in its own process, where the flow does not receive them. Every process that runs
a task of this example imports this module, which writes them to the folder `events` of FLIGHT_TIMES_OUT, as JSON lines.
"""

from __future__ import annotations

import heapq
import json
import os
import socket
import threading
from dataclasses import fields
from pathlib import Path

from resilient_tasks.core.events import EVENTS, Event, bus

_one_at_a_time = threading.Lock()


def folder() -> Path:
    """Return the folder of the events."""
    return Path(os.environ["FLIGHT_TIMES_OUT"], "events")


def of_run(flow_run_id: object, month: str = "") -> list[Event]:
    """Return the events of a flow run, or of one month of it ("January"): those of each process in their order."""
    files = ([_read(line) for line in path.read_text("utf-8").splitlines()] for path in folder().glob("*.jsonl"))
    return [
        event
        for event in heapq.merge(*files, key=lambda event: event.time)
        if event.run.get("flow_run_id") == str(flow_run_id) and event.run.get("task_run", "").startswith(month)
    ]


def _write(event: Event) -> None:
    if "FLIGHT_TIMES_OUT" not in os.environ or not event.run:
        return
    values = {part.name: getattr(event, part.name) for part in fields(event)}
    with _one_at_a_time:
        folder().mkdir(parents=True, exist_ok=True)
        path = folder() / f"{socket.gethostname()}-{os.getpid()}.jsonl"
        with path.open("a", encoding="utf-8") as lines:
            lines.write(json.dumps({"event": event.name, **values}) + "\n")


def _read(line: str) -> Event:
    values = json.loads(line)
    return EVENTS[values.pop("event")](**values)


bus.subscribe(_write)
