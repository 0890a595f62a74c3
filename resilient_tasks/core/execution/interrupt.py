"""Ending work in the main thread that takes too long, and the truth about whether it ended.

A limit costs next to nothing while it is kept: it is a link in a chain, and one thread of this module sleeps until the
first of them is due. Only then it sends the main thread a signal, which ends a wait in the operating system too, and
whose handler raises in the work. No timer of the process is used, and no handler is installed anew for each call: a
timer of the user's own and a handler of SIGALRM are left alone.

Async work is cancelled, see `cancelling`. For sync work in any other thread see `threads`.
"""

from __future__ import annotations

import _thread
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar

from resilient_tasks.core.execution import abandoned, real_time, safe_points, starts
from resilient_tasks.core.execution.leftovers import Begun
from resilient_tasks.core.execution.watch import NEVER, Watch

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

    from resilient_tasks.core.call import Call

T = TypeVar("T")

#: An interrupt that comes so much later than its limit (seconds), or takes so long to end the work, is told as such.
LATE = 0.25

HELD = "the interrupt came late: it was in C code, or its process stood still"
TAKEN = "it put another handler in the place of the one that interrupts it"
SWALLOWED = "it swallowed the interrupt"
BLOCKED = "it blocked the event loop, or its process stood still"
RUNS_ON = "what it had begun was not interrupted"
CAME_TO_ITS_END = "what it had begun came to its own end"

NOTHING: Mapping[str, Any] = MappingProxyType({})


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
        name = abandoned.add_leftovers(left, call.operation)
        abandoned.keep_limited(name, call)
        return Overrun(stopped, abandoned=True, thread=name, reason=overrun.reason or RUNS_ON)
    if overrun.stopped and after > LATE:
        return Overrun(stopped=False, reason=f"it ended {after:.1f} s after its limit")
    if overrun.stopped and begun.came_to_its_end():
        return Overrun(stopped=False, reason=CAME_TO_ITS_END)
    return overrun


class Limit:
    """A limit that is being kept.

    Attributes:
        began: when the work did, on `monotonic`.
        rings: when the work is to be interrupted.
        rang: when it was; 0.0 before.
        call: the attempt.
        around: the limit of the main thread inside of which this one is.
        begun: what the attempt had begun when it was interrupted.
        patience: puts the interrupt off where it would leave a lock taken.
        due: of async work, when that is over its time, on `monotonic`: `rings` is on the clock of its event loop.
        task: in which async work is done.
        cancelling: how many requests to cancel that task there were before.
    """

    __slots__ = ("around", "began", "begun", "call", "cancelling", "due", "patience", "rang", "rings", "task")

    began: float
    rings: float
    rang: float
    call: Any
    around: Limit | None
    begun: Begun
    patience: safe_points.Postponement
    due: float
    task: asyncio.Task[Any]
    cancelling: int


class _AlarmError(BaseException):
    """Passes through `except Exception` in the user's code, as a cancellation does. Each belongs to one limit."""

    def __init__(self, limit: Limit) -> None:
        super().__init__()
        self.limit = limit


def signals_work_here() -> bool:
    """Tell whether a signal can interrupt this thread: the main thread of a Unix process."""
    return _thread.get_ident() == main_thread and hasattr(signal, "setitimer")


def by_signal(
    work: Callable[..., T],
    seconds: float,
    call: Call | None = None,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NOTHING,
) -> T | Overrun:
    """Call `work` in the main thread, and interrupt it with a signal after so many seconds.

    Without a call, nothing is asked of what the work has begun.

    Returns:
        what the work returns, or an `Overrun`. What it raises in time is raised.
    """
    # While the limit is kept, the main thread alone writes the chain, and each call puts back what it has found: no
    # exception, wherever it is raised, leaves a limit in it that is over.
    global _innermost  # noqa: PLW0603  # of the main thread
    limit = Limit()
    limit.began = began = _now()
    limit.rings = due = began + seconds
    limit.rang = 0.0
    limit.call = call
    limit.around = around = _innermost
    try:
        try:
            _innermost = limit
            if due < _watch.looks_at or _handler_of(_SIGNAL) is not _ring:
                _look_by(due)
            value = work(*args, **kwargs)
        finally:
            _innermost = around
    except _AlarmError as alarm:
        if alarm.limit is not limit:  # the limit of a call around this one
            raise
        safe_points.release_locks(alarm.__traceback__, sys._getframe(1))  # noqa: SLF001  # the code around
        held = limit.rang > due + LATE
        overrun = Overrun(stopped=not held, reason=HELD if held else "")
    except Exception:
        if not limit.rang and _now() <= due:
            raise
        overrun = _late(limit, _now() - due)
    else:
        ended = _now()
        if not limit.rang and ended <= due:
            return value
        overrun = _late(limit, ended - due)
    if not limit.rang:
        return overrun
    if call is None:
        return overrun
    return judged(call, limit.begun, overrun, after=_now() - limit.rang)


def _late(limit: Limit, after: float) -> Overrun:
    """Say what came of work that came back, or failed, so long after its limit, and was not interrupted."""
    if limit.rang:
        return Overrun(stopped=False, reason=SWALLOWED)
    why = HELD if _handler_of(_SIGNAL) is _ring else TAKEN
    return Overrun(stopped=False, reason=why if after > LATE else "")


#: Its default is to be ignored, debuggers let it pass, nothing but out-of-band data sends it, and it may come without a
#: reason: why the runtime of Go uses it to interrupt its threads.
_SIGNAL: int = getattr(signal, "SIGURG", 0)

_now = real_time.monotonic
#: The identity of the thread that `by_signal` can interrupt; 0, where a signal reaches none.
main_thread: int = (threading.main_thread().ident or 0) if _SIGNAL else 0
#: Without the enumeration that `signal.getsignal` makes of what it returns, which costs ten times as much.
_handler_of: Callable[[int], Any] = getattr(signal, "_signal", signal).getsignal
_innermost: Limit | None = None
_theirs: Any = None
_deaf = False


def _first() -> float:
    """Return when the first of the limits that are kept is to ring."""
    at, limit = NEVER, _innermost
    while limit is not None:
        if not limit.rang and limit.rings < at:
            at = limit.rings
        limit = limit.around
    return at


def _signal_main_thread() -> None:
    if _handler_of(_SIGNAL) is _ring:  # not where it was replaced in the meantime: what then happens is told
        signal.pthread_kill(main_thread, _SIGNAL)


def _look_by(due: float) -> None:
    """Have the watch look at `due` at the latest, and the signal heard.

    Asked by the few limits that are nearer than all before them, and where another handler was put in the meantime.
    """
    global _theirs  # noqa: PLW0603  # of this process
    try:
        _watch.look_by(due)
    except RuntimeError:  # the interpreter is shutting down: no timer of the user's is left to disturb
        signal.signal(signal.SIGALRM, _ring)
        signal.setitimer(signal.ITIMER_REAL, max(1e-6, due - _now()))
    if _handler_of(_SIGNAL) is not _ring:
        _theirs = signal.signal(_SIGNAL, _ring)
    starts.watch()


def _ring(signum: int, frame: FrameType | None) -> None:
    """Interrupt the outermost limit whose time has come. A signal that comes for nothing does nothing."""
    global _deaf, _theirs  # noqa: PLW0603  # of the main thread
    if _deaf:  # it came while the one before is being heard: the code under that cannot be judged from here
        return
    due, limit, now, _deaf = [], _innermost, _now(), True
    try:
        while limit is not None:
            if limit.rings <= now and not limit.rang:
                due.append(limit)
            limit = limit.around
        for limit in reversed(due):
            _interrupt(limit, frame)
    finally:
        _deaf = False
        if signum != _SIGNAL:
            signal.setitimer(signal.ITIMER_REAL, 10 * safe_points.PAUSE if _innermost else 0)
    theirs, _theirs = _theirs, None  # which may call the handler before it: this one
    try:
        if not due and callable(theirs):
            theirs(signum, frame)
    finally:
        _theirs = theirs


def _interrupt(limit: Limit, frame: FrameType | None) -> None:
    """Raise in the code that runs in `frame`, or put that off for a moment where a lock would stay taken."""
    if not hasattr(limit, "patience"):
        limit.patience = safe_points.Postponement()
    if not limit.patience.may_deliver(frame, by_signal.__code__):
        limit.rings = _now() + safe_points.PAUSE
        return
    limit.rang = _now()  # it rings once: code that swallows it is told as not stopped
    try:
        if limit.call is not None:
            limit.begun = Begun(limit.call, limit.began)
            limit.begun.look(_up_to_here(frame))
    finally:
        raise _AlarmError(limit)  # whatever a look at other people's objects met with


def _up_to_here(frame: FrameType | None) -> list[FrameType]:
    """Return the frames of the work from `frame` outwards."""
    frames = []
    while frame is not None and frame.f_code is not by_signal.__code__:
        frames.append(frame)
        frame = frame.f_back
    return frames


def _in_child() -> None:
    """Leave the limits to the process that has forked: what goes on here is not what they were for."""
    global main_thread, _innermost  # of this process
    main_thread, _innermost = threading.get_ident() if _SIGNAL else 0, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)  # before the watch's own
_watch = Watch(_first, _signal_main_thread)
