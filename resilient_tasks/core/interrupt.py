"""Ending work that takes too long, and the truth about whether it ended.

Async work is cancelled. Sync work in the main thread is interrupted by a timer signal. For sync work in any other
thread see `threads`.
"""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from types import FrameType

    from resilient_tasks.core.outcome import Outcome


#: An interrupt that comes so much later than its limit (seconds) did not come in time, and is not told as such.
LATE = 0.25

HELD = "it held the interpreter lock, and nothing could interrupt it"
SWALLOWED = "it swallowed the interrupt"
BLOCKED = "it blocked the event loop"


@dataclass(frozen=True, slots=True)
class Overrun:
    """The limit was reached.

    Attributes:
        stopped: the work was interrupted there.
        abandoned: nobody knows when it ends: its thread runs on.
        thread: name of that thread.
        reason: why the work was not interrupted in time, where that is known.
    """

    stopped: bool
    abandoned: bool = False
    thread: str = ""
    reason: str = ""


async def by_cancelling(work: Awaitable[Outcome[Any]], seconds: float) -> Outcome[Any] | Overrun:
    """Cancel the work at the limit. Code that blocks the event loop, or swallows the cancellation, is not stopped."""
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds
    looked = due

    def look() -> None:
        nonlocal looked
        looked = loop.time()

    look_up = loop.call_at(due, look)
    try:
        async with asyncio.timeout_at(due) as scope:
            outcome = await work
    except TimeoutError:
        blocked = looked - due > LATE  # the loop came round to its timers only then
        return Overrun(stopped=not blocked, reason=BLOCKED if blocked else "")
    finally:
        look_up.cancel()
    if scope.expired():
        return Overrun(stopped=False, reason=SWALLOWED)
    return Overrun(stopped=False, reason=BLOCKED) if loop.time() > due else outcome


class _AlarmError(BaseException):
    """Passes through `except Exception` in the user's code, as a cancellation does. Each belongs to one timer."""

    def __init__(self, timer: object) -> None:
        super().__init__()
        self.timer = timer


def signals_work_here() -> bool:
    """Tell whether a timer signal can interrupt this thread: the main thread of a Unix process."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


def by_signal(work: Callable[[], Outcome[Any]], seconds: float) -> Outcome[Any] | Overrun:
    """Interrupt the work with SIGALRM at the limit. A handler and a timer that were there before keep their turn."""
    timer = _Timer(seconds)
    try:
        try:
            timer.start()
            outcome = work()
        finally:
            timer.armed = False
    except _AlarmError as alarm:
        if alarm.timer is not timer:  # the limit of a call around this one
            raise
        held = timer.rang > seconds + LATE
        return Overrun(stopped=not held, reason=HELD if held else "")
    finally:
        timer.hand_back()
    return Overrun(stopped=False, reason=SWALLOWED) if timer.rang else outcome


class _Timer:
    """A turn at the process's one interval timer, inside the turn of whoever has it already.

    That is a timer of ours where limits nest, and anybody's otherwise (a flow's own timeout, a test's).
    """

    def __init__(self, seconds: float) -> None:
        self.armed = True
        self.rang = 0.0
        self._seconds = seconds
        self._theirs = signal.getsignal(signal.SIGALRM)
        around = getattr(self._theirs, "__self__", None)
        self._around = around if isinstance(around, _Timer) else None
        self._their_delay, self._their_interval = (0.0, 0.0) if self._around else signal.getitimer(signal.ITIMER_REAL)
        self._started = time.monotonic()

    def start(self) -> None:
        signal.signal(signal.SIGALRM, self._ring)
        self._wind()

    def hand_back(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._theirs)
        if self._around is not None:
            self._around._wind()  # noqa: SLF001  # one of its own kind
        elif self._their_delay:
            left = self._their_delay - self._elapsed()
            signal.setitimer(signal.ITIMER_REAL, max(1e-6, left), self._their_interval)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _left(self) -> float:
        """Return the seconds until this timer, or one around it, has something to do."""
        left = self._seconds - self._elapsed() if self.armed else float("inf")
        if self._around is not None:
            return min(left, self._around._left())  # noqa: SLF001  # one of its own kind
        if self._their_delay and callable(self._theirs):  # without a handler, theirs waits until it is handed back
            left = min(left, self._their_delay - self._elapsed())
        return left

    def _wind(self) -> None:
        left = self._left()
        signal.setitimer(signal.ITIMER_REAL, 0 if left == float("inf") else max(1e-6, left))

    def _ring(self, signum: int, frame: FrameType | None) -> None:
        try:
            if self._around is not None:
                self._around._ring(signum, frame)  # noqa: SLF001  # raises, if its time has come
            elif self._their_delay and self._elapsed() >= self._their_delay and callable(self._theirs):
                self._let_theirs_ring(self._theirs, signum, frame)
            if self.armed and self._elapsed() >= self._seconds:
                self.rang = self._elapsed()
                self.armed = False  # it rings once: whoever swallows it is told as not stopped
                raise _AlarmError(self)
        finally:
            self._wind()

    def _let_theirs_ring(self, theirs: Callable[..., object], signum: int, frame: FrameType | None) -> None:
        # A timer that repeats is due again; one that does not has had its turn.
        self._their_delay = self._elapsed() + self._their_interval if self._their_interval else 0.0
        theirs(signum, frame)
        anew, interval = signal.getitimer(signal.ITIMER_REAL)
        if anew:  # ours has just run out: their handler set the timer for its next turn
            self._their_delay, self._their_interval = self._elapsed() + anew, interval
