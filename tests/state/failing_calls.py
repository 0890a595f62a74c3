"""Calls to a service that is down, wherever they are made: other processes import this file.

Each call that reaches the service is a line in a file, so that the count is true in whatever process it is made.
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
    """Be reached, and fail."""
    with (Path(folder) / "reached").open("a") as lines:
        lines.write(f"{os.getpid()}\n")
    raise ConnectionError("down")


def told(folder, error):
    """Stand in for an answer: in which process the call ended, and with which error."""
    return os.getpid(), type(error).__name__


@resilient(breaker=BREAKER, fallback=told)
def call(folder):
    """Call it, as a plain function."""
    return service(folder)


def meet(folder, size, url=None):
    """Return once so many processes do this at the same time, so that each of them has started.

    Each of them shares its states at `url` from then on, where one is given, and else where the environment says.
    """
    if url is not None:
        configure(store=url)
    (Path(folder) / f"here-{os.getpid()}").touch()
    eventually(lambda: len(list(Path(folder).glob("here-*"))) >= size)


def be_busy(folder, name):
    """Take a process, until a file says that it may go."""
    (Path(folder) / f"{name} is busy").touch()
    eventually((Path(folder) / f"{name} may go").exists)


def eventually(true, within=90):
    """Wait until something is true."""
    until = time.monotonic() + within
    while not true():
        if time.monotonic() > until:
            msg = f"it did not come true in {within} s"
            raise TimeoutError(msg)
        time.sleep(0.01)


def in_two_processes(submit, folder, url=None):
    """Make the calls, one at a time: the first two in one of two processes, and the others in the other one.

    `submit(name, ...)` has a function of this file run in either of them, and returns a future.
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
