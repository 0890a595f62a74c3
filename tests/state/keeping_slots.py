"""Processes that call under a bulkhead, and count the calls that exceed its limit.

    python tests/state/keeping_slots.py URL

Makes one call, which prints "inside" and does not end.
"""

from __future__ import annotations

import sys
import time
from typing import NamedTuple

from resilient_tasks import Bulkhead, configure, resilient
from resilient_tasks.state.claims import Claims

LIMIT = 3


class Load(NamedTuple):
    """The calls that a process made, and how many of them exceeded the limit."""

    calls: int
    too_many: int


def be_inside(seconds: float, path: str) -> Load:
    """Make calls as fast as possible. Each claims a number below the limit while it runs."""
    claims, calls, too_many = Claims(path, 0o600), 0, 0

    @resilient(bulkhead=Bulkhead("kept", LIMIT, queue=100))
    def inside() -> None:
        nonlocal too_many
        number = next((number for number in range(LIMIT) if claims.take(number)), None)
        if number is None:
            too_many += 1
        else:
            claims.release(number)

    until = time.monotonic() + seconds
    while time.monotonic() < until:
        inside()
        calls += 1
    return Load(calls, too_many)


def main() -> None:
    configure(store=sys.argv[1], store_timeout=10)

    @resilient(bulkhead=Bulkhead("one at a time", 1))
    def stay() -> None:
        sys.stdout.write("inside\n")
        sys.stdout.flush()
        time.sleep(600)

    stay()


if __name__ == "__main__":
    main()
