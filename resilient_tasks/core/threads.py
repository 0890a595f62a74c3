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
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from resilient_tasks.core.clock import SLICE
from resilient_tasks.core.interrupt import HELD, LATE, Overrun

if TYPE_CHECKING:
    from resilient_tasks.core.outcome import Outcome

#: What runs Python code meets an exception well within so many seconds.
_GRACE = 0.02


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


def leave(thread: threading.Thread, operation: str, *, is_over: Callable[[], bool]) -> str:
    """List a thread that nobody waits for as abandoned, and return its name; nothing, if its work is over."""
    _abandoned[thread] = Abandoned(operation, thread.name, time.time())
    if is_over():  # perhaps just now
        _abandoned.pop(thread, None)
        return ""
    return thread.name


def forget() -> None:
    """Say that this thread has done its work: it is abandoned no more, and whoever waited for that hears of it."""
    _abandoned.pop(threading.current_thread(), None)
    with _ending:
        heard = _to_hear.pop(threading.current_thread().name, ())
    for tell in heard:
        tell()


def once_ended(name: str, tell: Callable[[], None]) -> None:
    """Call `tell` when the abandoned thread of that name has done its work; at once, if it has."""
    with _ending:
        if any(about.thread == name for about in abandoned()):
            _to_hear.setdefault(name, []).append(tell)
            return
    tell()


#: By name of an abandoned thread, what to call when it has done its work.
_to_hear: dict[str, list[Callable[[], None]]] = {}
_ending = threading.Lock()


class _LeftError(BaseException):
    """Raised in a thread that nobody waits for. `running` names another one that this one was itself waiting for."""

    running = ""


def by_leaving_a_thread(
    work: Callable[[], Outcome[Any]], seconds: float, *, name: str, fence: Callable[[], None]
) -> Outcome[Any] | Overrun:
    """Do the work in a thread of its own; at the limit interrupt it there, or leave it behind, fenced.

    The thread sees this thread's context variables; what it writes to them is lost, and thread-locals start anew.
    """
    aside = _Aside(work, name)
    until = time.monotonic() + seconds
    aside.thread.start()
    try:
        finished = _wait(aside.done, until)
    except _LeftError as error:  # whoever waits for this thread does not wait long: it is to hear what runs on
        fence()
        error.running = aside.leave()
        raise
    except BaseException:
        fence()
        aside.stop()
        raise
    held = time.monotonic() > until + LATE
    reason = HELD if held else ""
    if not finished:
        fence()
        stopped = aside.stop()
        return Overrun(stopped and not held, abandoned=bool(aside.running), thread=aside.running, reason=reason)
    if aside.raised:
        raise aside.raised.pop()
    return Overrun(stopped=False, reason=reason) if held else aside.results.pop()


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

    def stop(self) -> bool:
        """Interrupt the work, and tell whether that ended it. If it runs on instead, leave it behind."""
        _interrupt(self.thread, self._ending, self._over)
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
            with self._ending:  # from here on nobody interrupts
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


def _interrupt(thread: threading.Thread, ending: threading.Lock, over: threading.Lock) -> None:
    """Have the interpreter raise in another thread, once that runs Python code. If it does not soon, take it back.

    CPython 3.11 notes that some thread has an exception to raise, and forgets that when one is raised, but not when one
    is taken back. While it is noted, a function whose call is traced, by a debugger or a measure of coverage, never
    begins. So nothing written in Python is called between the first `raise_in` here and the last, and that one makes it
    forget.
    """
    global _interrupts  # noqa: PLW0603  # of this process
    if _python is None:
        return
    raise_in, nothing, left, settled = _python.PyThreadState_SetAsyncExc, _NOTHING, _LEFT, _SETTLED
    theirs, ours = ctypes.c_ulong(thread.ident or 0), ctypes.c_ulong(threading.get_ident())
    forgetful = sys.version_info < (3, 12)
    with _counting:
        _interrupts += 1
    with ending:
        if over.locked():
            raise_in(theirs, left)
    if not over.acquire(timeout=_GRACE):
        with ending:
            # It waits inside of C. Nobody could say when the exception would come to be raised.
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


def _wait(done: threading.Event, until: float) -> bool:
    while not done.wait(max(0.0, min(SLICE, until - time.monotonic()))):
        if time.monotonic() >= until:
            return done.is_set()
    return True
