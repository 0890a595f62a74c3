"""Three ways to end work that takes too long, and the truth about whether it ended.

Async work is cancelled. Sync work in the main thread is interrupted by a timer signal. Sync work in any other thread
cannot be stopped by Python: the call returns on time, and the thread is left behind, fenced off and counted.
"""

from __future__ import annotations

import asyncio
import contextvars
import signal
import threading
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient_tasks.core.clock import SLICE

if TYPE_CHECKING:
    from types import FrameType

    from resilient_tasks.core.outcome import Outcome


@dataclass(frozen=True, slots=True)
class Overrun:
    """The limit was reached.

    Attributes:
        stopped: the work was interrupted there.
        abandoned: nobody knows when it ends: its thread runs on.
    """

    stopped: bool
    abandoned: bool = False


@dataclass(frozen=True, slots=True)
class Abandoned:
    """An attempt that runs on in a thread after its time was up. `since` is in unix seconds."""

    operation: str
    thread: str
    since: float


_abandoned: dict[threading.Thread, Abandoned] = {}


def abandoned() -> tuple[Abandoned, ...]:
    """Return the attempts of this process that were left behind and still run."""
    return tuple(about for thread, about in list(_abandoned.items()) if thread.is_alive())


async def by_cancelling(work: Awaitable[Outcome[Any]], seconds: float) -> Outcome[Any] | Overrun:
    """Cancel the work at the limit. Code that blocks the event loop, or swallows the cancellation, is not stopped."""
    try:
        async with asyncio.timeout(seconds) as scope:
            outcome = await work
    except TimeoutError:
        return Overrun(stopped=True)
    return Overrun(stopped=False) if scope.expired() else outcome


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
        return Overrun(stopped=True)
    finally:
        timer.hand_back()
    return outcome


class _Timer:
    """The process's one interval timer, borrowed from whoever had it before."""

    def __init__(self, seconds: float) -> None:
        self.armed = True
        self._started = time.monotonic()
        self._seconds = seconds
        self._theirs = signal.getsignal(signal.SIGALRM)
        self._their_delay, self._their_interval = signal.getitimer(signal.ITIMER_REAL)

    def start(self) -> None:
        signal.signal(signal.SIGALRM, self._ring)
        self._wind()

    def hand_back(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._theirs)
        if self._their_delay:
            left = self._their_delay - self._elapsed()
            signal.setitimer(signal.ITIMER_REAL, max(1e-6, left), self._their_interval)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started

    def _wind(self) -> None:
        due = self._seconds
        if self._their_delay and callable(self._theirs):  # without a handler, theirs waits until it is handed back
            due = min(due, self._their_delay)
        signal.setitimer(signal.ITIMER_REAL, max(1e-6, due - self._elapsed()))

    def _ring(self, signum: int, frame: FrameType | None) -> None:
        elapsed = self._elapsed()
        if self._their_delay and elapsed >= self._their_delay and callable(self._theirs):
            # A timer that repeats is due again; one that does not has had its turn.
            self._their_delay = elapsed + self._their_interval if self._their_interval else 0.0
            self._theirs(signum, frame)
            anew, interval = signal.getitimer(signal.ITIMER_REAL)
            if anew:  # ours has just run out: their handler set the timer for its next turn
                self._their_delay, self._their_interval = self._elapsed() + anew, interval
        if self.armed and elapsed >= self._seconds:
            raise _AlarmError(self)
        if self.armed:
            self._wind()


def by_leaving_a_thread(
    work: Callable[[], Outcome[Any]], seconds: float, *, name: str, fence: Callable[[], None]
) -> Outcome[Any] | Overrun:
    """Do the work in a thread of its own, and leave that thread behind at the limit, fenced.

    The thread sees this thread's context variables; what it writes to them is lost, and thread-locals start anew.
    """
    results: list[Outcome[Any]] = []
    raised: list[BaseException] = []
    done = threading.Event()

    def run() -> None:
        try:
            results.append(context.run(work))
        except BaseException as error:  # raised again in the caller's thread
            raised.append(error)
        finally:
            done.set()
            _abandoned.pop(threading.current_thread(), None)

    context = contextvars.copy_context()
    thread = threading.Thread(target=run, name=f"resilient:{name}", daemon=True)
    thread.start()
    try:
        finished = _wait(done, seconds)
    except BaseException:
        fence()
        raise
    if not finished:
        fence()
        _abandoned[thread] = Abandoned(name, thread.name, time.time())
        if done.is_set():  # it ended just now, before it was on the list
            _abandoned.pop(thread, None)
        return Overrun(stopped=False, abandoned=True)
    if raised:
        raise raised.pop()
    return results.pop()


def _wait(done: threading.Event, seconds: float) -> bool:
    until = time.monotonic() + seconds
    while not done.wait(max(0.0, min(SLICE, until - time.monotonic()))):
        if time.monotonic() >= until:
            return done.is_set()
    return True
