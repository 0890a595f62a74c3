"""Calls to a service that is down. Other processes import this file.

Each call that reaches the service writes a line to a file, so that calls of all processes are counted.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from resilient_tasks import CircuitBreaker, configure, resilient

CALLS = 16

#: Opens at the third failure, and stays open for longer than any test runs.
BREAKER = CircuitBreaker("down", failures=3, open_for=600)


def service(folder):
    """Write a line, and fail."""
    with (Path(folder) / "reached").open("a") as lines:
        lines.write(f"{os.getpid()}\n")
    raise ConnectionError("down")


def describe(folder, error):
    """Return the process in which the call ended, and the type of its error."""
    return os.getpid(), type(error).__name__


@resilient(breaker=BREAKER, fallback=describe)
def call(folder):
    """Call the service from a plain function."""
    return service(folder)


def meet(folder, size, url=None):
    """Return once `size` processes have started and run this.

    They keep their state at `url` from then on; without one, where the environment says.
    """
    if url is not None:
        configure(store=url)
    (Path(folder) / f"here-{os.getpid()}").touch()
    eventually(lambda: len(list(Path(folder).glob("here-*"))) >= size)


def be_busy(folder, name):
    """Occupy a process until a file releases it."""
    (Path(folder) / f"{name} is busy").touch()
    eventually((Path(folder) / f"{name} may go").exists)


def eventually(true, within=90):
    """Wait until a condition is true."""
    until = time.monotonic() + within
    while not true():
        if time.monotonic() > until:
            msg = f"the condition did not become true in {within} s"
            raise TimeoutError(msg)
        time.sleep(0.01)


def in_two_processes(submit, folder, url=None):
    """Make the calls one at a time, the first two in one process, and the others in another.

    `submit(name, ...)` runs a function of this file in either of them, and returns a future.
    """
    for meeting in [submit("meet", folder, 2, url) for _ in range(2)]:
        meeting.result()
    one = submit("be_busy", folder, "one")
    eventually((folder / "one is busy").exists)
    answers = [submit("call", folder).result() for _ in range(2)]
    other = submit("be_busy", folder, "other")
    eventually((folder / "other is busy").exists)
    (folder / "one may go").touch()
    one.result()
    answers += [submit("call", folder).result() for _ in range(CALLS - 2)]
    (folder / "other may go").touch()
    other.result()
    return answers
