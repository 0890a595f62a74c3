"""Work in a thread of its own, which can be left behind: so that a call in a worker thread ends in time.

What runs Python code there is interrupted by an exception that is raised in its thread. What waits inside of C, for a
socket, a lock or a sleep, hears of no exception, and nothing in Python can stop it: the call returns all the same, and
the thread is left behind, fenced off and counted.
"""

from __future__ import annotations

import contextvars
import ctypes
import itertools
import sys
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from resilient_tasks.core import real_time, safe_points
from resilient_tasks.core.abandoned import forget, leave
from resilient_tasks.core.clock import SLICE
from resilient_tasks.core.interrupt import HELD, LATE, Overrun, judged
from resilient_tasks.core.leftovers import Begun

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from resilient_tasks.core.call import Call
    from resilient_tasks.core.outcome import Outcome

#: What runs Python code meets an exception well within so many seconds.
_GRACE = 0.02


class _LeftError(BaseException):
    """Raised in a thread that nothing waits for. `running` names another one that this one was itself waiting for."""

    running = ""


def by_leaving_a_thread(work: Callable[[], Outcome[Any]], seconds: float, call: Call) -> Outcome[Any] | Overrun:
    """Do the work in a thread of its own; at the limit interrupt it there, or leave it behind, fenced.

    The thread sees this thread's context variables; what it writes to them is lost, and thread-locals start anew.
    """
    begun = Begun(call)
    aside = _Aside(work, call.operation)
    begun.apart_from(aside.thread)
    until = real_time.monotonic() + seconds
    aside.thread.start()
    try:
        finished = _wait(aside.done, until)
    except _LeftError as error:  # what waits for this thread does not wait long: it is to hear what runs on
        call.fence()
        error.running = aside.leave()
        raise
    except BaseException:
        call.fence()
        aside.stop()
        raise
    held = real_time.monotonic() > until + LATE
    reason = HELD if held else ""
    if not finished:
        call.fence()
        begun.look(aside.frames())
        stopped = aside.stop()
        if aside.running:
            return Overrun(stopped=False, abandoned=True, thread=aside.running, reason=reason)
        if not stopped and real_time.monotonic() > until + LATE:  # it came to its own end only now
            reason = HELD
        return judged(call, begun, Overrun(stopped and not held, reason=reason), after=0.0)
    if aside.raised:
        raise aside.raised.pop()
    return judged(call, begun, Overrun(stopped=False, reason=reason), after=0.0) if held else aside.results.pop()


class _Aside:
    """Work in a thread of its own.

    Attributes:
        results: what came of it, once it is done.
        raised: or else what it raised, to be raised again in the caller's thread.
        running: name of the thread that runs on, after `stop`.
    """

    _numbers = itertools.count(1)

    def __init__(self, work: Callable[[], Outcome[Any]], name: str) -> None:
        self.results: list[Outcome[Any]] = []
        self.raised: list[BaseException] = []
        self.running = ""
        self.done = threading.Event()
        self.thread = threading.Thread(target=self._run, name=f"resilient:{name}-{next(self._numbers)}", daemon=True)
        self._work = work
        self._name = name
        self._context = contextvars.copy_context()
        self._ending = threading.Lock()
        self._over = threading.Lock()  # released when the work is over
        self._over.acquire()

    def frames(self) -> list[FrameType]:
        """Return the frames of the work, the innermost first."""
        frames, frame = [], sys._current_frames().get(self.thread.ident or 0)  # noqa: SLF001  # the one way to see them
        while frame is not None:
            frames.append(frame)
            frame = frame.f_back
        return frames

    def stop(self) -> bool:
        """Interrupt the work, and tell whether that ended it. If it runs on instead, leave it behind."""
        _interrupt(self.thread, self._ending, self._over, _Aside._run.__code__)
        if self.leave():
            return False
        interrupted = [error for error in self.raised if isinstance(error, _LeftError)]
        self.running = interrupted[0].running if interrupted else ""
        return bool(interrupted) and not self.running

    def leave(self) -> str:
        """List the thread as abandoned, and return its name; nothing, if its work is done."""
        self.running = leave(self.thread, self._name, is_over=self.done.is_set)
        return self.running

    def _run(self) -> None:
        try:
            try:
                self.results.append(self._context.run(self._work))
            except BaseException as error:
                self.raised.append(error)
                if isinstance(error, _LeftError):
                    safe_points.release_locks(error.__traceback__)
            with self._ending:  # from here on nothing interrupts
                self.done.set()
                self._over.release()
        except _LeftError:  # it had done its work
            self.done.set()
            if self._over.locked():
                self._over.release()
        forget()


class _SettledError(BaseException):
    """Raised and caught by one thread."""


_python = getattr(ctypes, "pythonapi", None)  # CPython only
_NOTHING, _LEFT, _SETTLED = ctypes.py_object(), ctypes.py_object(_LeftError), ctypes.py_object(_SettledError)
_interrupts = 0
_counting = threading.Lock()


def _interrupt(thread: threading.Thread, ending: threading.Lock, over: threading.Lock, end: CodeType) -> None:
    """Have the interpreter raise in another thread, as soon as that does not leave a lock taken there."""
    if _python is None:
        return
    seen, same, pause = None, 0, 0.0
    for _ in range(safe_points.LOOKS):
        if over.acquire(timeout=pause):
            return
        # Reading these lets the thread run: what is looked at after them is where it stands.
        so_far, starves = safe_points.time_on_processor(thread), safe_points.wants_to_run(thread)
        frame = sys._current_frames().get(thread.ident or 0)  # noqa: SLF001  # the one way to see it
        if frame is None:
            return
        same = same + 1 if seen == (frame, frame.f_lasti) and not starves else 0
        seen = (frame, frame.f_lasti)
        if same >= safe_points.WAITS:  # it waits in C
            return
        if safe_points.is_safe(frame, end) and safe_points.goes_on_safely(frame):
            came_of_it = _raised_in(thread, frame, ending, over)
            if came_of_it == "ended":
                return
            if came_of_it == "did not end" and safe_points.time_on_processor(thread) != so_far:
                return  # it has run since, so it was raised, and swallowed
            same += safe_points.WAITS // 2
        pause = safe_points.PAUSE


def _raised_in(thread: threading.Thread, frame: FrameType, ending: threading.Lock, over: threading.Lock) -> str:
    """Raise in another thread, once that runs Python code. If it does not soon, take it back.

    CPython 3.11 notes that some thread has an exception to raise, and forgets that when one is raised, but not when one
    is taken back. While it is noted, a function whose call is traced, by a debugger or a measure of coverage, never
    begins. So nothing written in Python is called between the first `raise_in` here and the last, and that one makes it
    forget.

    It is not raised where the thread has gone on from `frame` in the meantime, to where nothing has looked.

    Returns:
        "ended", "did not end" or "went on", in which case nothing was raised.
    """
    global _interrupts  # noqa: PLW0603  # of this process
    assert _python is not None  # noqa: S101  # asked before
    raise_in, nothing, left, settled = _python.PyThreadState_SetAsyncExc, _NOTHING, _LEFT, _SETTLED
    ident, frames, at = thread.ident or 0, sys._current_frames, frame.f_lasti  # noqa: SLF001  # the one way to see them
    theirs, ours = ctypes.c_ulong(ident), ctypes.c_ulong(threading.get_ident())
    forgetful, went_on = sys.version_info < (3, 12), False
    with _counting:
        _interrupts += 1
    with ending:
        if over.locked():
            raise_in(theirs, left)
            if frames().get(ident) is not frame or frame.f_lasti != at:
                raise_in(theirs, nothing)
                went_on = True
    ended = not went_on and over.acquire(timeout=_GRACE)
    if not ended and not went_on:
        with ending:
            # It waits inside of C. Nothing tells when the exception would come to be raised.
            raise_in(theirs, nothing)
    with _counting:
        _interrupts -= 1
        last = not _interrupts
    if last and forgetful:
        try:
            raise_in(ours, settled)
            for _ in range(100):
                pass
        except _SettledError:
            pass
    return "went on" if went_on else "ended" if ended else "did not end"


def _wait(done: threading.Event, until: float) -> bool:
    while not done.wait(max(0.0, min(SLICE, until - real_time.monotonic()))):
        if real_time.monotonic() >= until:
            return done.is_set()
    return True
