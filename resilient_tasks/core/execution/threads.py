"""Run work in a helper thread that can be abandoned, so that a call in a worker thread ends in time.

At the limit, an exception is raised in the helper thread, which interrupts Python code. It does not reach code that
waits in C, for a socket, a lock or a sleep, which nothing in Python can stop: the call returns all the same, and the
thread is abandoned, fenced and listed.
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

from resilient_tasks.core.execution import real_time, safe_points, thread_starts
from resilient_tasks.core.execution.abandoned import add_thread, keep_limited, thread_ended
from resilient_tasks.core.execution.clock import SLICE
from resilient_tasks.core.execution.interrupt import HELD, LATE, NOTHING, Overrun, with_leftovers
from resilient_tasks.core.execution.leftovers import Leftovers
from resilient_tasks.core.execution.watch import NEVER, Watch

if TYPE_CHECKING:
    from types import CodeType, FrameType

    from resilient_tasks.core.call import Call

T = TypeVar("T")

#: Python code gets an exception raised in its thread well within these seconds.
_GRACE = 0.02
#: Seconds for which an idle thread waits for the next call, and its name meanwhile.
_IDLE_SECONDS, _IDLE_NAME = 10.0, "resilient-tasks:idle"


class _AbandonError(BaseException):
    """Raised in a helper thread at its limit. `running` names a thread that this thread waited for and abandoned."""

    running = ""


def by_thread(
    work: Callable[..., T],
    seconds: float,
    call: Call,
    args: tuple[Any, ...] = (),
    kwargs: Mapping[str, Any] = NOTHING,
) -> T | Overrun:
    """Call `work` in a helper thread; at the limit interrupt it there, or abandon it, fenced.

    The thread sees a copy of this thread's context variables, and has its own thread-locals. It serves this thread's
    next call too, unless it is abandoned.

    Returns:
        the result of the work, or an `Overrun`. An error raised in time propagates.
    """
    began = real_time.monotonic()
    until = began + seconds
    helper = _take_helper()
    try:
        helper.begin(work, args, kwargs, call)
        finished = _wait(helper, until)
    except _AbandonError as error:  # this is itself a helper: name the abandoned thread to the one waiting, at once
        call.fence()
        error.running = helper.abandon()
        keep_limited(error.running, call)
        raise
    except BaseException:
        helper.wait_until_started()
        call.fence()
        helper.stop()
        keep_limited(helper.running, call)
        raise
    ended, stopped = real_time.monotonic(), False
    if finished and ended <= until:
        return cast("T", helper.result(ended))
    held, leftovers = ended > until + LATE, Leftovers(call, began)
    leftovers.exclude(helper)
    if finished:
        with contextlib.suppress(Exception):
            helper.result(ended)
    else:
        helper.wait_until_started()
        call.fence()
        leftovers.look(safe_points.outwards(helper.frame()))
        stopped = helper.stop()
        keep_limited(helper.running, call)
        if helper.running:
            return Overrun(stopped=False, abandoned=True, thread=helper.running, reason=HELD if held else "")
    late = held or (not finished and not stopped and real_time.monotonic() > until + LATE)  # it ended only now
    return with_leftovers(call, leftovers, Overrun(stopped and not held, reason=HELD if late else ""), after=0.0)


class _HelperThread(threading.Thread):
    """A thread for work with a limit. It serves one other thread until it is abandoned.

    Attributes:
        done: there is no work, or it is over.
        at_work: the work is running, and an exception raised in the thread ends it.
        over: a lock, released when the work is over: it wakes the caller faster than an event does.
        ending: a lock, held while an interrupt is raised, and while the work ends.
        running: name of the thread that still runs, after `stop`.
        resilient_tasks_call: the call of the work, for `thread_starts`.
        idle_until: when the thread ends if no work comes, on `monotonic`; NEVER while it works.
        missed: it was found without work but no longer in the list of idle threads: it has just been taken.
    """

    _numbers = itertools.count(1)

    def __init__(self, idle: list[_HelperThread]) -> None:
        super().__init__(name=_IDLE_NAME, daemon=True)
        self.done, self.at_work, self._is_abandoned = True, False, False
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
        """Start `work` in this thread."""
        call.set_thread(self.ident or 0)
        self.resilient_tasks_call, self._number = call, next(self._numbers)
        self._work = (contextvars.copy_context().run, work, args, kwargs)
        self.done, self.idle_until, self.missed = False, NEVER, False
        self._go.release()

    @property
    def name(self) -> str:
        """Name of the current work; built on demand."""
        call = self.resilient_tasks_call
        return _IDLE_NAME if call is None else f"resilient:{call.operation}-{self._number}"

    @name.setter
    def name(self, name: str) -> None:
        """Ignore the assignment: the work names the thread."""

    def wait_until_started(self) -> None:
        """Wait, for a short time at most, until the work is running or over; on a busy machine it may not be yet."""
        for _ in range(safe_points.LOOKS):
            if self.at_work or self.done:
                return
            real_time.sleep(safe_points.PAUSE)

    def wait(self, seconds: float) -> bool:
        """Wait for at most `seconds` until the work is over, and return whether it is."""
        return self.over.acquire(timeout=seconds)

    def is_set(self) -> bool:
        """Return whether the work is over."""
        return self.done

    def result(self, ended: float) -> Any:
        """Return the result of the work, or raise its error, and make the thread idle."""
        value, error = self._value, self._error
        self._value = self._error = self.resilient_tasks_call = None
        self.idle_until = until = ended + _IDLE_SECONDS
        self._idle.append(self)
        if until < _watch.looks_at:
            with contextlib.suppress(RuntimeError):  # the interpreter is shutting down
                _watch.look_by(until)
        if error is None:
            return value
        try:
            raise error
        finally:
            del error  # its traceback holds this frame: a reference here would close a cycle

    def frame(self) -> FrameType | None:
        """Return the innermost frame of the work."""
        return sys._current_frames().get(self.ident or 0)  # noqa: SLF001  # the only way to see it

    def stop(self) -> bool:
        """Interrupt the work and return whether that ended it; if not, abandon the thread."""
        if not self.done:
            _interrupt(self, _HelperThread._do.__code__)
        if self.abandon():
            return False
        error, self._error = self._error, None
        self.running = error.running if isinstance(error, _AbandonError) else ""
        return isinstance(error, _AbandonError) and not self.running

    def abandon(self) -> str:
        """Let the thread end with its work. List it as abandoned and return its name; an empty string if it is done."""
        self._is_abandoned = True
        with contextlib.suppress(RuntimeError):  # it is about to start
            self._go.release()
        call = self.resilient_tasks_call
        self.running = add_thread(self, call.operation if call else "", is_over=self.is_set)
        return self.running

    def run(self) -> None:
        while self._go.acquire() and self._work is not None:  # a wait with a timeout would cost a tenth of a call
            self._do(*self._work)
            if self._is_abandoned:
                break
        _helpers.discard(self)
        thread_ended()

    def end_if_idle(self, now: float) -> None:
        """End the thread if it has been idle for long."""
        if self.idle_until > now:
            return
        try:
            self._idle.remove(self)
        except ValueError:
            self.idle_until = now + _IDLE_SECONDS
            if not self.missed:
                self.missed = True
                return
        self.idle_until = NEVER
        with contextlib.suppress(RuntimeError):  # it got work after all
            self._go.release()

    def _do(self, run: Any, work: Any, args: Any, kwargs: Any) -> None:
        self._work = None
        try:
            try:
                self.at_work = True
                self._value = run(work, *args, **kwargs)
            except BaseException as error:
                self._error = error
                if isinstance(error, _AbandonError):
                    safe_points.release_locks(error.__traceback__)
            del run, work, args, kwargs  # the caller goes on before this frame has ended
            with self.ending:  # no interrupt from here on
                self.at_work, self.done = False, True
                self.over.release()
        except _AbandonError:  # the work had ended already
            self.at_work, self.done = False, True
            if self.over.locked():
                self.over.release()


class _Local(threading.local):
    """The idle helper threads of this thread: usually one."""

    def __init__(self) -> None:
        self.idle: list[_HelperThread] = []


_local = _Local()


def _take_helper() -> _HelperThread:
    """Return a helper thread for this one. Once taken out of the list, it does not end for being idle."""
    try:
        return _local.idle.pop()
    except IndexError:
        thread_starts.watch()
        helper = _HelperThread(_local.idle)
        helper.start()
        _helpers.add(helper)
        return helper


#: All that have not ended. An idle one waits without a timeout; `_watch` ends it.
_helpers: set[_HelperThread] = set()


def _first_to_end() -> float:
    return min((helper.idle_until for helper in [*_helpers]), default=NEVER)


def _end_idle() -> None:
    now = real_time.monotonic()
    for helper in [*_helpers]:
        helper.end_if_idle(now)


def _in_child() -> None:
    """Forget the threads that a forked child lacks; if the forking thread is a helper, it ends with its work."""
    _local.idle.clear()
    _helpers.clear()
    thread = threading.current_thread()
    if isinstance(thread, _HelperThread):
        thread.abandon()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_in_child)  # before the watch's own
_watch = Watch(_first_to_end, _end_idle)


class _SettledError(BaseException):
    """Raised and caught in the same thread."""


_python = getattr(ctypes, "pythonapi", None)  # CPython only
_NOTHING, _ABANDON, _SETTLED = ctypes.py_object(), ctypes.py_object(_AbandonError), ctypes.py_object(_SettledError)
_interrupts = 0
_counting = threading.Lock()


def _interrupt(helper: _HelperThread, end: CodeType) -> None:
    """Raise `_AbandonError` in a helper thread, as soon as that does not leave a lock held there."""
    if _python is None:
        return
    seen, same = None, 0
    for _ in range(safe_points.LOOKS):
        if helper.wait(safe_points.PAUSE):
            return
        # Reading these lets the thread run, so read its frame after them.
        used, starves = safe_points.time_on_processor(helper), safe_points.wants_to_run(helper)
        frame = helper.frame()
        if frame is None:
            return
        same = same + 1 if seen == (frame, frame.f_lasti) and not starves else 0
        seen = (frame, frame.f_lasti)
        if same >= safe_points.WAITS:  # it waits in C
            return
        if safe_points.is_safe(frame, end) and safe_points.goes_on_safely(frame):
            effect = _raise_in(helper, frame)
            if effect == "ended":
                return
            if effect == "did not end" and safe_points.time_on_processor(helper) != used:
                return  # it has run since, so it was raised, and swallowed
            same += safe_points.WAITS // 2


def _raise_in(helper: _HelperThread, frame: FrameType) -> str:
    """Raise in a helper thread as soon as it runs Python code; withdraw the exception if it does not soon.

    CPython 3.11 sets a flag while a thread has a pending exception, and clears it when one is raised, but not when one
    is withdrawn. While the flag is set, a traced function (by a debugger or coverage) never begins. So no Python
    function is called between the first `raise_in` here and the last, which makes CPython clear the flag.

    Nothing is raised if the thread has moved on from `frame`, to a place that was not checked.

    Returns:
        "ended", "did not end" or "went on", in which case nothing was raised.
    """
    global _interrupts  # noqa: PLW0603  # of this process
    assert _python is not None  # noqa: S101  # checked before
    raise_in, nothing, abandon, settled = _python.PyThreadState_SetAsyncExc, _NOTHING, _ABANDON, _SETTLED
    ident, frames, at = helper.ident or 0, sys._current_frames, frame.f_lasti  # noqa: SLF001  # the only way to see them
    theirs, ours = ctypes.c_ulong(ident), ctypes.c_ulong(threading.get_ident())
    needs_clearing, went_on = sys.version_info < (3, 12), False
    with _counting:
        _interrupts += 1
    ending, over = helper.ending, helper.over
    with ending:
        if not helper.at_work:
            went_on = not helper.done
        else:
            raise_in(theirs, abandon)
            if frames().get(ident) is not frame or frame.f_lasti != at:
                raise_in(theirs, nothing)
                went_on = True
    ended = not went_on and over.acquire(timeout=_GRACE)
    if not ended and not went_on:
        with ending:
            # It waits in C, and the exception would come at an unknown time.
            raise_in(theirs, nothing)
    with _counting:
        _interrupts -= 1
        last = not _interrupts
    if last and needs_clearing:
        try:
            raise_in(ours, settled)
            for _ in range(100):
                pass
        except _SettledError:
            pass
    return "went on" if went_on else "ended" if ended else "did not end"


def _wait(done: _HelperThread | threading.Event, until: float) -> bool:
    while not done.wait(max(0.0, min(SLICE, until - real_time.monotonic()))):
        if real_time.monotonic() >= until:
            return done.is_set()
    return True
