"""Ending work that takes too long, and the truth about whether it ended.

Async work is cancelled. Sync work in the main thread is interrupted by a timer signal. For sync work in any other
thread see `threads`.
"""

from __future__ import annotations

import asyncio
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient_tasks.core import abandoned, real_time, safe_points
from resilient_tasks.core.leftovers import Begun

if TYPE_CHECKING:
    from types import FrameType

    from resilient_tasks.core.call import Call
    from resilient_tasks.core.outcome import Outcome


#: An interrupt that comes so much later than its limit (seconds), or takes so long to end the work, is told as such.
LATE = 0.25

HELD = "the interrupt came late: it was in C code, or its process stood still"
SWALLOWED = "it swallowed the interrupt"
BLOCKED = "it blocked the event loop, or its process stood still"
RUNS_ON = "what it had begun was not interrupted"
CAME_TO_ITS_END = "what it had begun came to its own end"


@dataclass(frozen=True, slots=True)
class Overrun:
    """The limit was reached.

    Attributes:
        stopped: the work was interrupted there. None: that cannot be known.
        abandoned: it, or something that it began, may run on.
        thread: name of the thread, task or process in which it does.
        reason: why the work was not interrupted in time, where that is known.
    """

    stopped: bool | None
    abandoned: bool = False
    thread: str = ""
    reason: str = ""


def judged(call: Call, begun: Begun, overrun: Overrun, *, after: float) -> Overrun:
    """Say truly what came of an attempt whose own code has ended.

    Args:
        call: the attempt. It is fenced if something runs on.
        begun: what it has begun.
        overrun: what is to be said where nothing runs on.
        after: seconds from the interrupt to the end.
    """
    if left := begun.running():
        call.fence()
        stopped = False if any(piece.known for piece in left) else None
        name = abandoned.leave_pieces(left, call.operation)
        return Overrun(stopped, abandoned=True, thread=name, reason=overrun.reason or RUNS_ON)
    if overrun.stopped and after > LATE:
        return Overrun(stopped=False, reason=f"it ended {after:.1f} s after its limit")
    if overrun.stopped and begun.came_to_its_end():
        return Overrun(stopped=False, reason=CAME_TO_ITS_END)
    return overrun


async def by_cancelling(work: Awaitable[Outcome[Any]], seconds: float, call: Call) -> Outcome[Any] | Overrun:
    """Cancel the work at the limit. Code that blocks the event loop, or swallows the cancellation, is not stopped."""
    loop, task, now = asyncio.get_running_loop(), asyncio.current_task(), real_time.monotonic
    if task is None:
        msg = f"{call.operation} has a limit, and can be cancelled in a task of asyncio only"
        raise RuntimeError(msg)
    begun, cancelling, due = Begun(call), task.cancelling(), now() + seconds
    begun.apart_from(task)
    cancelled: list[float] = []

    def cancel() -> None:
        cancelled.append(now())
        try:
            begun.look()
        finally:
            task.cancel()

    timer = real_time.call_later(loop, seconds, cancel)
    interrupted = False
    try:
        outcome = await work
    except asyncio.CancelledError:
        if not cancelled or task.uncancel() > cancelling:
            raise
        interrupted = True
    finally:
        timer.cancel()
        if cancelled and not interrupted and task.cancelling() > cancelling:
            task.uncancel()
    ended = now()
    if not cancelled:
        return outcome if ended <= due else Overrun(stopped=False, reason=BLOCKED)
    for _ in range(3):  # tasks that the work has cancelled itself come to their end
        await asyncio.sleep(0)
    late = cancelled[0] - due > LATE
    overrun = Overrun(stopped=not late, reason=BLOCKED if late else "")
    if not interrupted:
        overrun = Overrun(stopped=False, reason=SWALLOWED)
    return judged(call, begun, overrun, after=ended - cancelled[0])


class _AlarmError(BaseException):
    """Passes through `except Exception` in the user's code, as a cancellation does. Each belongs to one timer."""

    def __init__(self, timer: object) -> None:
        super().__init__()
        self.timer = timer


def signals_work_here() -> bool:
    """Tell whether a timer signal can interrupt this thread: the main thread of a Unix process."""
    return hasattr(signal, "setitimer") and threading.current_thread() is threading.main_thread()


def by_signal(work: Callable[[], Outcome[Any]], seconds: float, call: Call | None = None) -> Outcome[Any] | Overrun:
    """Interrupt the work with SIGALRM at the limit. A handler and a timer that were there before keep their turn.

    Without a call, nothing is asked of what the work has begun.
    """
    begun = None if call is None else Begun(call)
    timer = _Timer(seconds, begun)
    try:
        try:
            timer.start()
            outcome = work()
        finally:
            timer.armed = False
    except _AlarmError as alarm:
        if alarm.timer is not timer:  # the limit of a call around this one
            raise
        safe_points.release_locks(alarm.__traceback__, sys._getframe(1))  # noqa: SLF001  # the code around
        held = timer.rang > seconds + LATE
        overrun = Overrun(stopped=not held, reason=HELD if held else "")
    else:
        if not timer.rang:
            return outcome
        overrun = Overrun(stopped=False, reason=SWALLOWED)
    finally:
        timer.hand_back()
    if call is None or begun is None:
        return overrun
    return judged(call, begun, overrun, after=timer.elapsed() - timer.rang)


class _Timer:
    """A turn at the process's one interval timer, inside the turn of whoever has it already.

    That is a timer of ours where limits nest, and anybody's otherwise (a flow's own timeout, a test's).
    """

    def __init__(self, seconds: float, begun: Begun | None = None) -> None:
        self.armed = True
        self.rang = 0.0
        self._due = seconds
        self._begun = begun
        self._patience: safe_points.Postponement | None = None
        self._theirs = signal.getsignal(signal.SIGALRM)
        around = getattr(self._theirs, "__self__", None)
        self._around = around if isinstance(around, _Timer) else None
        self._their_delay, self._their_interval = (0.0, 0.0) if self._around else signal.getitimer(signal.ITIMER_REAL)
        self._started = real_time.monotonic()

    def start(self) -> None:
        signal.signal(signal.SIGALRM, self._ring)
        self._wind()

    def hand_back(self) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, self._theirs)
        if self._around is not None:
            self._around._wind()  # noqa: SLF001  # one of its own kind
        elif self._their_delay:
            left = self._their_delay - self.elapsed()
            signal.setitimer(signal.ITIMER_REAL, max(1e-6, left), self._their_interval)

    def elapsed(self) -> float:
        return real_time.monotonic() - self._started

    def _left(self) -> float:
        """Return the seconds until this timer, or one around it, has something to do."""
        left = self._due - self.elapsed() if self.armed else float("inf")
        if self._around is not None:
            return min(left, self._around._left())  # noqa: SLF001  # one of its own kind
        if self._their_delay and callable(self._theirs):  # without a handler, theirs waits until it is handed back
            left = min(left, self._their_delay - self.elapsed())
        return left

    def _wind(self) -> None:
        left = self._left()
        signal.setitimer(signal.ITIMER_REAL, 0 if left == float("inf") else max(1e-6, left))

    def _ring(self, signum: int, frame: FrameType | None) -> None:
        try:
            if self._around is not None:
                self._around._ring(signum, frame)  # noqa: SLF001  # raises, if its time has come
            elif self._their_delay and self.elapsed() >= self._their_delay and callable(self._theirs):
                self._let_theirs_ring(self._theirs, signum, frame)
            if self.armed and self.elapsed() >= self._due:
                self._interrupt(frame)
        finally:
            self._wind()

    def _interrupt(self, frame: FrameType | None) -> None:
        """Raise in the code that runs in `frame`, or put that off for a moment where a lock would stay taken."""
        if _rings_in(frame):  # on a busy machine the timer runs out before the code has moved: it cannot be judged yet
            self._due = self.elapsed() + 10 * safe_points.PAUSE
            return
        self._patience = self._patience or safe_points.Postponement()
        if not self._patience.may_deliver(frame, by_signal.__code__):
            self._due = self.elapsed() + safe_points.PAUSE
            return
        self.rang = self.elapsed()
        self.armed = False  # it rings once: code that swallows it is told as not stopped
        try:
            if self._begun is not None:
                self._begun.look(_up_to_here(frame))
        finally:
            raise _AlarmError(self)  # whatever a look at other people's objects met with

    def _let_theirs_ring(self, theirs: Callable[..., object], signum: int, frame: FrameType | None) -> None:
        # A timer that repeats is due again; one that does not has had its turn.
        self._their_delay = self.elapsed() + self._their_interval if self._their_interval else 0.0
        theirs(signum, frame)
        anew, interval = signal.getitimer(signal.ITIMER_REAL)
        if anew:  # ours has just run out: their handler set the timer for its next turn
            self._their_delay, self._their_interval = self.elapsed() + anew, interval


def _rings_in(frame: FrameType | None) -> bool:
    """Tell whether `frame` is part of a timer's ring, and not of the work that this has interrupted."""
    while frame is not None and frame.f_code is not by_signal.__code__:
        if frame.f_code is _Timer._ring.__code__:  # noqa: SLF001  # of this file
            return True
        frame = frame.f_back
    return False


def _up_to_here(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of the work from `frame` outwards."""
    frames = []
    while frame is not None and frame.f_code is not by_signal.__code__:
        frames.append(frame)
        frame = frame.f_back
    return frames
