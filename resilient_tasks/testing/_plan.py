"""The fault for each request: a queue that tests fill, and a schedule for long rehearsals."""

from __future__ import annotations

import fnmatch
import itertools
import threading
from collections.abc import Callable, Iterable, Sequence
from random import Random
from typing import TypeAlias

from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.durations import Duration
from resilient_tasks.testing import _given
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
    """The faults of a fake server, as a test plans them: `server.down(2)` and the like.

    Every method takes a `path`, which limits it to matching requests: exact, or a shell pattern such as `/api/*`.
    """

    def __init__(self, schedule: Schedule | None = None) -> None:
        """Start with an empty queue; `schedule` is called once for every request, one at a time."""
        _given.check_asked(schedule, "schedule")
        self._schedule = schedule
        # Each entry is called until it returns a fault, and is then removed.
        self._queue: list[tuple[str | None, Schedule]] = []
        # Each of these is called with every request to its path.
        self._standing: list[tuple[str | None, Schedule]] = []
        # Reentrant, so that a schedule may itself queue faults.
        self._plan_lock = threading.RLock()

    @answering("server.fail(Status(503))")
    def fail(
        self,
        *faults: Fault,
        path: str | None = None,
        on: int | Iterable[int] | None = None,
        share: float | None = None,
        seed: int = 0,
    ) -> None:
        """Plan faults: for the next requests, for chosen ones, or for a random share.

        Args:
            *faults: The faults. By default the next requests meet one each, in order.
            path: Only requests to this path count, exact or as a shell pattern. None: all requests.
            on: The number of the request, or of several, that meet the faults in order and then from the first one
                again. 1 is the next request.
            share: The probability with which each request meets one of the faults, from 0 to 1.
            seed: Of the random numbers for `share`. The same seed hits the same requests.

        Raises:
            PolicyError: An argument is not a fault, no request can have such a path or number, or both `on` and
                `share` are given.
        """
        _given.check_faults(faults)
        if on is None and share is None:
            self.fail_by(*(_always(fault) for fault in faults), path=path)
            return
        _given.check_path(path, "fail")
        chosen = _given.numbers_and_share(on, share)
        choose = _on_numbers(faults, chosen) if isinstance(chosen, tuple) else _at_random(faults, chosen, seed)
        with self._plan_lock:
            self._standing.append((path, choose))

    @answering("server.fail_by(choose)")
    def fail_by(self, *choices: Schedule, path: str | None = None) -> None:
        """Queue functions of the request, for faults that depend on it.

        Args:
            *choices: Each is called with one request after another until it returns a fault.
            path: As in `fail`.

        Raises:
            PolicyError: An argument is not a function, or no request can have such a path.
        """
        _given.check_choices(choices)
        _given.check_path(path, "fail")
        with self._plan_lock:
            self._queue.extend((path, choose) for choose in choices)

    @answering("server.down(2)")
    def down(self, times: int = 1, *, path: str | None = None) -> None:
        """Answer 503 (service unavailable), without `Retry-After`."""
        self._meet("down", Status(503, body=b"service unavailable"), times, path)

    @answering("server.rate_limited(2, retry_after=1)")
    def rate_limited(self, times: int = 1, retry_after: float | str | None = 1, *, path: str | None = None) -> None:
        """Answer 429 with `Retry-After` in seconds, as an HTTP date, or (None) without it."""
        self._meet("rate_limited", Status(429, retry_after, b"rate limited"), times, path)

    @answering("server.slow(2, times=3)")
    def slow(self, seconds: Duration, times: int = 1, *, path: str | None = None) -> None:
        """Answer as usual after `seconds`."""
        self._meet("slow", Slow(seconds), times, path)

    @answering("server.reset(2)")
    def reset(self, times: int = 1, after_bytes: int = 1, *, path: str | None = None) -> None:
        """Reset the connection after `after_bytes` of the body."""
        self._meet("reset", Reset(after_bytes), times, path)

    @answering("server.truncated(2, keep=0.5)")
    def truncated(self, times: int = 1, keep: float = 0.5, *, path: str | None = None) -> None:
        """Send the fraction `keep` of the body, with a matching length."""
        self._meet("truncated", Truncate(keep), times, path)

    @answering("server.hangs(5, times=2)")
    def hangs(self, seconds: Duration, times: int = 1, *, path: str | None = None) -> None:
        """Answer nothing for `seconds`, then close the connection."""
        self._meet("hangs", Hang(seconds), times, path)

    @answering("server.malformed_json(2)")
    def malformed_json(self, times: int = 1, *, path: str | None = None) -> None:
        """Break the body so that every JSON parser rejects it."""
        self._meet("malformed_json", Corrupt(break_json, "malformed_json"), times, path)

    @answering("server.malformed_csv(2)")
    def malformed_csv(self, times: int = 1, *, path: str | None = None) -> None:
        """Append a row that CSV parsers reject."""
        self._meet("malformed_csv", Corrupt(break_csv, "malformed_csv"), times, path)

    @answering("server.refused(2)")
    def refused(self, times: int = 1, *, path: str | None = None) -> None:
        """Redirect to a port that refuses connections; see `Refused` for the clients that follow."""
        self._meet("refused", Refused(), times, path)

    def _meet(self, method: str, fault: Fault, times: int, path: str | None) -> None:
        """Queue the same fault for the next requests."""
        _given.check_times(times, method)
        self.fail_by(*[_always(fault)] * times, path=path)

    def _fault_for(self, request: Request) -> Fault | None:
        with self._plan_lock:
            # Always called, and first: what counts requests must see every one.
            scheduled = self._schedule(request) if self._schedule is not None else None
            standing = [choose(request) for path, choose in self._standing if _is_at(request, path)]
            for index, (path, choose) in enumerate(self._queue):
                if _is_at(request, path) and (queued := choose(request)) is not None:
                    del self._queue[index]
                    return queued
            return next((fault for fault in standing if fault is not None), scheduled)


def _is_at(request: Request, path: str | None) -> bool:
    return path is None or fnmatch.fnmatchcase(request.path, path)


def _on_numbers(faults: Sequence[Fault], numbers: Sequence[int]) -> Schedule:
    """Return what gives the requests with these numbers a fault each."""
    by_number = dict(zip(sorted(numbers), itertools.cycle(faults), strict=False))
    count = itertools.count(1)
    return lambda _: by_number.get(next(count))


def _at_random(faults: Sequence[Fault], share: float, seed: int) -> Schedule:
    """Return what gives a share of the requests one of the faults."""
    random = Random(seed)
    return lambda _: random.choice(faults) if random.random() < share else None


def _always(fault: Fault) -> Schedule:
    return lambda _: fault
