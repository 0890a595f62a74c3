"""Interrupt work in the main thread at its limit, and report accurately whether that ended it.

An active limit costs next to nothing: it is a link in a chain, and one thread of this module sleeps until the earliest
is due. It then sends the main thread a signal, which also ends a wait in the operating system, and whose handler raises
in the work. It uses no timer of the process and installs no handler for each call: the user's own timers and handler of
SIGALRM stay untouched.

For async work see `cancelling`, for sync work in any other thread `threads`.
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

from resilient_tasks.core.execution import abandoned, real_time, safe_points, thread_starts
from resilient_tasks.core.execution.leftovers import Leftovers
from resilient_tasks.core.execution.watch import NEVER, Watch

if TYPE_CHECKING:
    import asyncio
    from types import FrameType

    from resilient_tasks.core.call import Call

T = TypeVar("T")

#: An interrupt counts as late if it comes this long (seconds) after its limit, or takes this long to end the work.
LATE = 0.25

HELD = "the interrupt came late: it was in C code, or its process was paused"
TAKEN = "it replaced the signal handler that interrupts it"
SWALLOWED = "it swallowed the interrupt"
BLOCKED = "it blocked the event loop, or its process was paused"
RUNS_ON = "what it had started was not interrupted"
RAN_TO_ITS_END = "what it had started ran to its end"

NOTHING: Mapping[str, Any] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Overrun:
    """Work that reached its limit.

    Attributes:
        stopped: whether the limit ended it; None if unknown.
        abandoned: it, or something that it started, may still run.
        thread: name of the thread, task or process in which that runs.
        reason: why the work was not interrupted in time, if known.
    """

    stopped: bool | None
    abandoned: bool = False
    thread: str = ""
    reason: str = ""


def with_leftovers(call: Call, leftovers: Leftovers, overrun: Overrun, *, after: float) -> Overrun:
    """Return the final `Overrun` of an attempt whose own code has ended.

    Args:
        call: the attempt; fenced if any leftover still runs.
        leftovers: of the attempt.
        overrun: the result if no leftover matters.
        after: seconds from the interrupt to the end.
    """
    if left := leftovers.running():
        call.fence()
        stopped = False if any(each.known for each in left) else None
        name = abandoned.add_leftovers(left, call.operation)
        abandoned.keep_limited(name, call)
        return Overrun(stopped, abandoned=True, thread=name, reason=overrun.reason or RUNS_ON)
    if overrun.stopped and after > LATE:
        return Overrun(stopped=False, reason=f"it ended {after:.1f} s after its limit")
    if overrun.stopped and leftovers.ran_to_their_end():
        return Overrun(stopped=False, reason=RAN_TO_ITS_END)
    return overrun


class Limit:
    """An active limit.

    Attributes:
        began: when the work began, on `monotonic`.
        rings: when to interrupt the work.
        rang: when it was interrupted; 0.0 before.
        call: the attempt.
        around: the enclosing limit of the main thread.
        leftovers: of the attempt, since it was interrupted.
        postponement: delays the interrupt while it would leave a lock held.
        due: the end of the limit of async work, on `monotonic`; `rings` is on the clock of its event loop.
        task: of async work.
        cancelling: the task's count of requests to cancel it, before the work.
    """

    __slots__ = ("around", "began", "call", "cancelling", "due", "leftovers", "postponement", "rang", "rings", "task")

    began: float
    rings: float
    rang: float
    call: Any
    around: Limit | None
    leftovers: Leftovers
    postponement: safe_points.Postponement
    due: float
    task: asyncio.Task[Any]
    cancelling: int


class _AlarmError(BaseException):
    """Raised in the work at `limit`. Like a cancellation, `except Exception` in the user's code does not catch it."""

    def __init__(self, limit: Limit) -> None:
        super().__init__()
        self.limit = limit


def signals_work_here() -> bool:
    """Return whether a signal can interrupt this thread: the main thread of a Unix process."""
    return _thread.get_ident() == main_thread and hasattr(signal, "setitimer")


def by_signal(
    work: Callable[..., T],
    seconds: float,
    call: Call | None = None,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NOTHING,
) -> T | Overrun:
    """Call `work` in the main thread, and interrupt it with a signal at the limit.

    Without a `call`, leftovers of the work are not looked for.

    Returns:
        the result of the work, or an `Overrun`. An error raised in time propagates.
    """
    # Only the main thread writes the chain, and each call restores what it found: no exception, wherever it is raised,
    # leaves a limit in the chain that is over.
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
    return with_leftovers(call, limit.leftovers, overrun, after=_now() - limit.rang)


def _late(limit: Limit, after: float) -> Overrun:
    """Return the `Overrun` of work that ended this long after its limit, and not by the interrupt."""
    if limit.rang:
        return Overrun(stopped=False, reason=SWALLOWED)
    why = HELD if _handler_of(_SIGNAL) is _ring else TAKEN
    return Overrun(stopped=False, reason=why if after > LATE else "")


#: Ignored by default, passed by debuggers, sent by nothing but out-of-band data, and harmless if spurious: for the same
#: reasons the runtime of Go uses it to preempt its threads.
_SIGNAL: int = getattr(signal, "SIGURG", 0)

_now = real_time.monotonic
#: Ident of the thread that `by_signal` can interrupt; 0 where there are no such signals.
main_thread: int = (threading.main_thread().ident or 0) if _SIGNAL else 0
#: Without the conversion to an enum in `signal.getsignal`, which takes ten times as long.
_handler_of: Callable[[int], Any] = getattr(signal, "_signal", signal).getsignal
_innermost: Limit | None = None
_users_handler: Any = None
_handling = False


def _first() -> float:
    """Return when the earliest active limit rings."""
    at, limit = NEVER, _innermost
    while limit is not None:
        if not limit.rang and limit.rings < at:
            at = limit.rings
        limit = limit.around
    return at


def _signal_main_thread() -> None:
    if _handler_of(_SIGNAL) is _ring:  # if it was replaced, `_late` reports that
        signal.pthread_kill(main_thread, _SIGNAL)


def _look_by(due: float) -> None:
    """Wake the watch at `due` at the latest, and install the handler.

    Only needed for a limit earlier than all others, and if the handler was replaced.
    """
    global _users_handler  # noqa: PLW0603  # of this process
    try:
        _watch.look_by(due)
    except RuntimeError:  # the interpreter is shutting down: no timer of the user's remains
        signal.signal(signal.SIGALRM, _ring)
        signal.setitimer(signal.ITIMER_REAL, max(1e-6, due - _now()))
    if _handler_of(_SIGNAL) is not _ring:
        _users_handler = signal.signal(_SIGNAL, _ring)
    thread_starts.watch()


def _ring(signum: int, frame: FrameType | None) -> None:
    """Interrupt the outermost limit that is due. A spurious signal does nothing."""
    global _handling, _users_handler  # noqa: PLW0603  # of the main thread
    if _handling:  # another signal is being handled: whether the code under that is safe cannot be seen here
        return
    due, limit, now, _handling = [], _innermost, _now(), True
    try:
        while limit is not None:
            if limit.rings <= now and not limit.rang:
                due.append(limit)
            limit = limit.around
        for limit in reversed(due):
            _interrupt(limit, frame)
    finally:
        _handling = False
        if signum != _SIGNAL:
            signal.setitimer(signal.ITIMER_REAL, 10 * safe_points.PAUSE if _innermost else 0)
    users, _users_handler = _users_handler, None  # it may call the handler that it replaced: this one
    try:
        if not due and callable(users):
            users(signum, frame)
    finally:
        _users_handler = users


def _interrupt(limit: Limit, frame: FrameType | None) -> None:
    """Raise in the code that runs in `frame`, or postpone that for a moment if a lock would stay held."""
    if not hasattr(limit, "postponement"):
        limit.postponement = safe_points.Postponement()
    if not limit.postponement.may_deliver(frame, by_signal.__code__):
        limit.rings = _now() + safe_points.PAUSE
        return
    limit.rang = _now()  # only once: code that swallows it is reported as not stopped
    try:
        if limit.call is not None:
            limit.leftovers = Leftovers(limit.call, limit.began)
            limit.leftovers.look(safe_points.outwards(frame, by_signal.__code__))
    finally:
        raise _AlarmError(limit)  # even if looking at foreign objects raised


def _in_child() -> None:
    """Drop the limits in a forked child: they are for the work of the parent."""
    global main_thread, _innermost  # of this process
    main_thread, _innermost = threading.get_ident() if _SIGNAL else 0, None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)  # before the watch's own
_watch = Watch(_first, _signal_main_thread)
