"""Which request meets which fault: a queue that tests fill, and a schedule for whole rehearsals."""

from __future__ import annotations

import fnmatch
import threading
from collections.abc import Callable
from typing import TypeAlias

from resilient_tasks.testing._wire import Request
from resilient_tasks.testing.faults import (
    Corrupt,
    Fault,
    Hang,
    Refused,
    Reset,
    Slow,
    Status,
    Truncate,
    break_csv,
    break_json,
)

Schedule: TypeAlias = Callable[[Request], Fault | None]


class FaultPlan:
    """The part of a fake server that a test talks to: `server.down(2)` and its sisters.

    Every verb takes a `path`, so that only requests to it count: exact, or a shell pattern such as `/api/*`.
    """

    def __init__(self, schedule: Schedule | None = None) -> None:
        """Plans nothing but what the schedule says, which is asked once for every request, one at a time."""
        self._schedule = schedule
        # Each entry is asked until it gives a fault, and is then done.
        self._queue: list[tuple[str | None, Schedule]] = []
        # Reentrant, so that a schedule may itself queue faults.
        self._plan_lock = threading.RLock()

    def fail(self, *faults: Fault, path: str | None = None) -> None:
        """Lets the next requests meet these faults, one each, in order.

        Args:
            *faults: What happens to them.
            path: Only requests to this path count, exact or as a shell pattern. None: all requests.
        """
        self.fail_by(*(_always(fault) for fault in faults), path=path)

    def fail_by(self, *choices: Schedule, path: str | None = None) -> None:
        """Queues functions of the request, for a fault whose wording depends on it.

        Args:
            *choices: Each is asked about one request after another until it gives a fault, and never again.
            path: As in `fail`.
        """
        with self._plan_lock:
            self._queue.extend((path, choose) for choose in choices)

    def down(self, times: int = 1, *, path: str | None = None) -> None:
        """Answers 503 (service unavailable), without `Retry-After`."""
        self.fail(*[Status(503, body=b"service unavailable")] * times, path=path)

    def rate_limited(self, times: int = 1, retry_after: float | str | None = 1, *, path: str | None = None) -> None:
        """Answers 429 with `Retry-After` in seconds, as an HTTP date, or (None) without it."""
        self.fail(*[Status(429, retry_after, b"rate limited")] * times, path=path)

    def slow(self, seconds: float, times: int = 1, *, path: str | None = None) -> None:
        """Answers as usual after so many seconds."""
        self.fail(*[Slow(seconds)] * times, path=path)

    def reset(self, times: int = 1, after_bytes: int = 1, *, path: str | None = None) -> None:
        """Resets the connection after so many bytes of the body."""
        self.fail(*[Reset(after_bytes)] * times, path=path)

    def truncated(self, times: int = 1, keep: float = 0.5, *, path: str | None = None) -> None:
        """Sends this fraction of the body under a length that fits it."""
        self.fail(*[Truncate(keep)] * times, path=path)

    def hangs(self, seconds: float, times: int = 1, *, path: str | None = None) -> None:
        """Answers nothing for so many seconds, then closes the connection."""
        self.fail(*[Hang(seconds)] * times, path=path)

    def malformed_json(self, times: int = 1, *, path: str | None = None) -> None:
        """Breaks the body so that no JSON parser takes it."""
        self.fail(*[Corrupt(break_json, "malformed_json")] * times, path=path)

    def malformed_csv(self, times: int = 1, *, path: str | None = None) -> None:
        """Adds a last row that CSV parsers reject."""
        self.fail(*[Corrupt(break_csv, "malformed_csv")] * times, path=path)

    def refused(self, times: int = 1, *, path: str | None = None) -> None:
        """Redirects to a port that refuses connections; `Refused` says which clients follow."""
        self.fail(*[Refused()] * times, path=path)

    def _fault_for(self, request: Request) -> Fault | None:
        with self._plan_lock:
            # Asked first and always: a schedule that counts requests must see every one.
            scheduled = self._schedule(request) if self._schedule is not None else None
            for index, (path, choose) in enumerate(self._queue):
                here = path is None or fnmatch.fnmatchcase(request.path, path)
                if here and (queued := choose(request)) is not None:
                    del self._queue[index]
                    return queued
            return scheduled


def _always(fault: Fault) -> Schedule:
    return lambda _: fault
