"""Calls that workers share; other processes import this file.

Each call that is made writes a line to a file, and stays inside until another file exists.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from resilient_tasks import Degraded, Failed, Ok, SingleFlight, resilient
from resilient_tasks.core.events import bus
from resilient_tasks.policies.single_flight import across_workers

PATIENCE = 60


class Owned:
    """A result that is no plain data."""

    def __init__(self, value):
        self.value = value


class OddError(Exception):
    """An error whose class only this module has."""

    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code


RESULTS = {
    "rows": lambda: {"rows": [1, 2.5, None, "é"]},
    "large": lambda: "x" * 5000,
    "tuple": lambda: (1, 2),
    "owned": lambda: Owned([1]),
}
ERRORS = {
    "builtin": lambda: ConnectionError("refused"),
    "odd": lambda: OddError(code=7),
    "secret": lambda: ValueError("password=hunter2hunter2"),
}


def work(folder, what):
    folder = Path(folder)
    with (folder / "made").open("a") as lines:
        lines.write(f"{os.getpid()}\n")
    until = time.monotonic() + PATIENCE
    while not (folder / "go").exists():
        if time.monotonic() > until:
            raise TimeoutError
        time.sleep(0.005)
    if what in ERRORS:
        error = ERRORS[what]()
        raise error
    return RESULTS[what]()


by_json = resilient(single_flight=SingleFlight(shared=True, largest=4000))(work)
by_pickle = resilient(single_flight=SingleFlight(shared=True, serializer="pickle"))(work)
with_fallback = resilient(single_flight=SingleFlight(shared=True), fallback=lambda folder, what: "old")(work)
FUNCTIONS = {"json": by_json, "pickle": by_pickle, "fallback": with_fallback}


def short_lease(seconds):
    """Replace dead leaders after this many seconds."""
    across_workers.LEASE = seconds


def call_and_report(how, folder, what):
    """Make a call, and return its outcome as plain data, with the names of the flight's events."""
    events = []
    with bus.listening(events.append):
        outcome = FUNCTIONS[how].outcome(str(folder), what)
    names = [event.name for event in events if event.name.startswith("flight.")]
    if isinstance(outcome, Failed):
        error = outcome.error
        return "failed", type(error).__name__, str(error), list(getattr(error, "__notes__", [])), names
    value = outcome.value
    word = "ok" if isinstance(outcome, Ok) else "degraded"
    because = type(outcome.because).__name__ if isinstance(outcome, Degraded) else ""
    return word, value.value if isinstance(value, Owned) else value, because, names
