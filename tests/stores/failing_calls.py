"""Calls to a service that is down, wherever they are made: other processes import this file.

Each call that reaches the service is a line in a file, so that the count is true in whatever process it is made.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from resilient_tasks import CircuitBreaker, configure, resilient

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
    until = time.monotonic() + 60
    while len(list(Path(folder).glob("here-*"))) < size:
        if time.monotonic() > until:
            msg = f"fewer than {size} processes came"
            raise TimeoutError(msg)
        time.sleep(0.01)
