"""Work in a thread of its own, which can be left behind: so that a call in a worker thread ends in time.

What runs Python code there is interrupted by an exception that is raised in its thread. What waits inside of C, for a
socket, a lock or a sleep, hears of no exception, and nothing in Python can stop it: the call returns all the same, and
the thread is left behind, fenced off and counted.
"""

from __future__ import annotations

import contextlib
import contextvars
import ctypes
import itertools
import os
import sys
import threading
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, TypeVar, cast

from resilient_tasks.core.execution import real_time, safe_points, starts
from resilient_tasks.core.execution.abandoned import add_thread, keep_limited, thread_ended
from resilient_tasks.core.execution.clock import SLICE
from resilient_tasks.core.execution.interrupt import HELD, LATE, NOTHING, Overrun, judged
from resilient_tasks.core.execution.leftovers import Begun
from resilient_tasks.core.execution.stacks import outwards
from resilient_tasks.core.execution.watch import NEVER, Watch

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from resilient_tasks.core.call import Call

T = TypeVar("T")

#: What runs Python code meets an exception well within so many seconds.
_GRACE = 0.02
#: How long a thread waits for the next call (seconds), and its name meanwhile.
_IDLES, _IDLE = 10.0, "resilient-tasks:idle"


class _LeftError(BaseException):
    """Raised in a thread that nothing waits for. `running` names another one that this one was itself waiting for."""

    running = ""


def by_leaving_a_thread(
    work: Callable[..., T],
    seconds: float,
    call: Call,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NOTHING,
) -> T | Overrun:
    """Call `work` in another thread; at the limit interrupt it there, or leave it behind, fenced.

    The thread sees this thread's context variables; what it writes to them is lost. Its thread-locals are its own. It
    serves this thread's next call too, unless it is left behind.

    Returns:
        what the work returns, or an `Overrun`. What it raises in time is raised.
    """
    began = real_time.monotonic()
    until = began + seconds
    aside = _aside()
    try:
        aside.begin(work, args, kwargs, call)
        finished = _wait(aside, until)
    except _LeftError as error:  # what waits for this thread does not wait long: it is to hear what runs on
        call.fence()
        error.running = aside.abandon()
        keep_limited(error.running, call)
        raise
    except BaseException:
        aside.wait_for_beginning()
        call.fence()
        aside.stop()
        keep_limited(aside.running, call)
        raise
    ended, stopped = real_time.monotonic(), False
    if finished and ended <= until:
        return cast("T", aside.result(ended))
    held, begun = ended > until + LATE, Begun(call, began)
    begun.apart_from(aside)
    if finished:
        with contextlib.suppress(Exception):
            aside.result(ended)
    else:
        aside.wait_for_beginning()
        call.fence()
        begun.look(outwards(aside.frame()))
        stopped = aside.stop()
        keep_limited(aside.running, call)
        if aside.running:
            return Overrun(stopped=False, abandoned=True, thread=aside.running, reason=HELD if held else "")
    late = held or (
        not finished and not stopped and real_time.monotonic() > until + LATE
    )  # it came to its end only now
    return judged(call, begun, Overrun(stopped and not held, reason=HELD if late else ""), after=0.0)


class _Aside(threading.Thread):
    """A thread in which work is done that may have to be left behind. Until that happens, it serves one other thread.

    Attributes:
        done: there is no work, or it is over.
        at_work: the work is under way, and what is raised in the thread ends it.
        over: a lock that is released when work is over. It wakes who waits for that sooner than an event does.
        ending: a lock that is held while work may be interrupted, and while it turns out to be over.
        running: name of the thread that runs on, after `stop`.
        resilient_tasks_call: what the work is part of: the note of `starts`.
        idle_until: when the thread ends for want of work, on `monotonic`; NEVER while it works.
        missed: it was found with no work, and not waiting for any: it has just been taken, and work is about to come.
    """

    _numbers = itertools.count(1)

    def __init__(self, idle: list[_Aside]) -> None:
        super().__init__(name=_IDLE, daemon=True)
        self.done, self.at_work, self._left = True, False, False
        self.over, self.ending, self._go = threading.Lock(), threading.Lock(), threading.Lock()
        self.over.acquire()
        self._go.acquire()  # released when there is work
        self._idle = idle
        self.running = ""
        self.idle_until, self.missed = NEVER, False
        self._number = 0
        self.resilient_tasks_call: Call | None = None
        self._work: tuple[Any, ...] | None = None
        self._value: Any = None
        self._error: BaseException | None = None

    def begin(self, work: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any], call: Call) -> None:
        """Have it do some work."""
        call.set_thread(self.ident or 0)
        self.resilient_tasks_call, self._number = call, next(self._numbers)
        self._work = (contextvars.copy_context().run, work, args, kwargs)
        self.done, self.idle_until, self.missed = False, NEVER, False
        self._go.release()

    @property
    def name(self) -> str:
        """Of the work that it does: put together where it is asked for."""
        call = self.resilient_tasks_call
        return _IDLE if call is None else f"resilient:{call.operation}-{self._number}"

    @name.setter
    def name(self, name: str) -> None:
        """Leave it as it is: the work names it."""

    def wait_for_beginning(self) -> None:
        """Wait until the work is under way or over, for a moment at the most: on a busy machine that takes its time."""
        for _ in range(safe_points.LOOKS):
            if self.at_work or self.done:
                return
            real_time.sleep(safe_points.PAUSE)

    def wait(self, seconds: float) -> bool:
        """Wait until the work is over, for so many seconds at the most, and tell whether it is."""
        return self.over.acquire(timeout=seconds)

    def is_set(self) -> bool:
        """Tell whether the work is over."""
        return self.done

    def result(self, ended: float) -> Any:
        """Return what the work has returned, or raise what it has raised, and have the thread wait for more."""
        value, error = self._value, self._error
        self._value = self._error = self.resilient_tasks_call = None
        self.idle_until = until = ended + _IDLES
        self._idle.append(self)
        if until < _watch.looks_at:
            with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
                _watch.look_by(until)
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # or this frame, which its traceback holds, would hold it

    def frame(self) -> FrameType | None:
        """Return the innermost frame of the work."""
        return sys._current_frames().get(self.ident or 0)  # noqa: SLF001  # the one way to see it

    def stop(self) -> bool:
        """Interrupt the work, and tell whether that ended it. If it runs on instead, leave it behind."""
        if not self.done:
            _interrupt(self, _Aside._do.__code__)
        if self.abandon():
            return False
        error, self._error = self._error, None
        self.running = error.running if isinstance(error, _LeftError) else ""
        return isinstance(error, _LeftError) and not self.running

    def abandon(self) -> str:
        """End the thread with its work. List it as abandoned and return its name; nothing, if its work is done."""
        self._left = True
        with contextlib.suppress(RuntimeError):  # it is about to begin
            self._go.release()
        call = self.resilient_tasks_call
        self.running = add_thread(self, call.operation if call else "", is_over=self.is_set)
        return self.running

    def run(self) -> None:
        while self._go.acquire() and self._work is not None:  # to wait for a time costs a tenth of a call
            self._do(*self._work)
            if self._left:
                break
        _asides.discard(self)
        thread_ended()

    def end_if_idle(self, now: float) -> None:
        """End the thread if no work has come for long."""
        if self.idle_until > now:
            return
        try:
            self._idle.remove(self)
        except ValueError:
            self.idle_until = now + _IDLES
            if not self.missed:
                self.missed = True
                return
        self.idle_until = NEVER
        with contextlib.suppress(RuntimeError):  # it has work after all
            self._go.release()

    def _do(self, run: Any, work: Any, args: Any, kwargs: Any) -> None:
        self._work = None
        try:
            try:
                self.at_work = True
                self._value = run(work, *args, **kwargs)
            except BaseException as error:
                self._error = error
                if isinstance(error, _LeftError):
                    safe_points.release_locks(error.__traceback__)
            del run, work, args, kwargs  # the caller goes on before this frame has ended
            with self.ending:  # from here on nothing interrupts
                self.at_work, self.done = False, True
                self.over.release()
        except _LeftError:  # it had done its work
            self.at_work, self.done = False, True
            if self.over.locked():
                self.over.release()


class _Here(threading.local):
    """The threads that wait to work for this one: one, as a rule."""

    def __init__(self) -> None:
        self.idle: list[_Aside] = []


_here = _Here()


def _aside() -> _Aside:
    """Return a thread that works for this one. Taking it out of the list keeps it from ending for want of work."""
    try:
        return _here.idle.pop()
    except IndexError:
        starts.watch()
        aside = _Aside(_here.idle)
        aside.start()
        _asides.add(aside)
        return aside


#: All that have not ended. One that waits for work does so without a limit: `_watch` ends it.
_asides: set[_Aside] = set()


def _first_to_end() -> float:
    return min((aside.idle_until for aside in [*_asides]), default=NEVER)


def _end_idle() -> None:
    now = real_time.monotonic()
    for aside in [*_asides]:
        aside.end_if_idle(now)


def _in_child() -> None:
    """Forget the threads that do not come along into a forked process, and end the one that does with its work."""
    _here.idle.clear()
    _asides.clear()
    thread = threading.current_thread()
    if isinstance(thread, _Aside):
        thread.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)  # before the watch's own
_watch = Watch(_first_to_end, _end_idle)


class _SettledError(BaseException):
    """Raised and caught by one thread."""


_python = getattr(ctypes, "pythonapi", None)  # CPython only
_NOTHING, _LEFT, _SETTLED = ctypes.py_object(), ctypes.py_object(_LeftError), ctypes.py_object(_SettledError)
_interrupts = 0
_counting = threading.Lock()


def _interrupt(aside: _Aside, end: CodeType) -> None:
    """Have the interpreter raise in another thread, as soon as that does not leave a lock taken there."""
    if _python is None:
        return
    seen, same = None, 0
    for _ in range(safe_points.LOOKS):
        if aside.wait(safe_points.PAUSE):
            return
        # Reading these lets the thread run: what is looked at after them is where it stands.
        so_far, starves = safe_points.time_on_processor(aside), safe_points.wants_to_run(aside)
        frame = aside.frame()
        if frame is None:
            return
        same = same + 1 if seen == (frame, frame.f_lasti) and not starves else 0
        seen = (frame, frame.f_lasti)
        if same >= safe_points.WAITS:  # it waits in C
            return
        if safe_points.is_safe(frame, end) and safe_points.goes_on_safely(frame):
            came_of_it = _raised_in(aside, frame)
            if came_of_it == "ended":
                return
            if came_of_it == "did not end" and safe_points.time_on_processor(aside) != so_far:
                return  # it has run since, so it was raised, and swallowed
            same += safe_points.WAITS // 2


def _raised_in(aside: _Aside, frame: FrameType) -> str:
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
    ident, frames, at = aside.ident or 0, sys._current_frames, frame.f_lasti  # noqa: SLF001  # the one way to see them
    theirs, ours = ctypes.c_ulong(ident), ctypes.c_ulong(threading.get_ident())
    forgetful, went_on = sys.version_info < (3, 12), False
    with _counting:
        _interrupts += 1
    ending, over = aside.ending, aside.over
    with ending:
        if not aside.at_work:
            went_on = not aside.done
        else:
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


def _wait(done: _Aside | threading.Event, until: float) -> bool:
    while not done.wait(max(0.0, min(SLICE, until - real_time.monotonic()))):
        if real_time.monotonic() >= until:
            return done.is_set()
    return True
