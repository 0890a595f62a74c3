"""A thread that sleeps until the earliest of some times: for limits, of which most are never reached.

Adding a time costs a comparison, unless it is the earliest. Removing one costs nothing: the thread looks when it wakes.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
from collections.abc import Callable
from types import BuiltinFunctionType

from resilient_tasks.core.execution import real_time

NEVER = float("inf")

#: A time that stays after the watch rang is rung for again after these seconds, with growing intervals: a signal that
#: comes just before a wait begins does not end the wait.
_FIRST_INTERVAL, _MAX_INTERVAL = 0.001, 0.1

#: The longest wait in seconds; a lock's timeout has a maximum.
_MAX_WAIT = 3600.0


class Watch:
    """Rings at the earliest of some times. Tried on CPython 3.11, 3.12 and 3.13.

    Its thread is not one of `threading`, so `threading.enumerate` does not list it. Wherever the interpreter switches
    threads, no time is missed: it sets `looks_at` to NEVER before it looks, so a time added after that look wakes it. A
    lock wakes it, which a signal handler may release at any moment.

    Args:
        first: returns the earliest of the current times, on `monotonic`.
        ring: called, in the thread, at that time.

    Attributes:
        looks_at: the time of the next look, or a later one. For an earlier time, call `look_by`.
    """

    def __init__(self, first: Callable[[], float], ring: Callable[[], None]) -> None:
        self.looks_at: float = NEVER
        self._first, self._ring = first, ring
        self._bell: _thread.LockType | None = None  # of the thread, if it runs
        self._ended, self._id = _thread.allocate_lock(), 0
        self._ended.acquire()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.stop, after_in_parent=self._restart, after_in_child=self._restart_in_child)

    def look_by(self, due: float) -> None:
        """Make it look at `due` at the latest.

        Raises:
            RuntimeError: no thread can be started: the interpreter is shutting down, or a library has replaced threads.
        """
        self.looks_at = due
        if self._bell is not None:
            with contextlib.suppress(RuntimeError):  # already released
                self._bell.release()
            return
        start, bell = _thread.start_new_thread, _thread.allocate_lock()
        bell.acquire()
        self._bell = bell
        try:
            if not isinstance(start, BuiltinFunctionType):
                msg = "no thread of the system can be started"
                raise RuntimeError(msg)  # noqa: TRY004, TRY301  # as if the system had none left
            start(self._run, (bell,))
        except BaseException:
            self._bell, self.looks_at = None, NEVER
            raise

    def stop(self) -> None:
        """End the thread: Python 3.12 warns about a fork while another thread runs."""
        bell, self._bell = self._bell, None
        if bell is None:
            return
        with contextlib.suppress(RuntimeError):
            bell.release()
        self._ended.acquire(timeout=1.0)
        for _ in range(100):  # the system takes a moment longer
            if not os.path.exists(f"/proc/self/task/{self._id}"):  # noqa: PTH110  # a path costs more
                return
            real_time.sleep(0.00005)

    def _restart(self) -> None:
        self.looks_at = NEVER
        if (at := self._first()) < NEVER:
            self.look_by(at)

    def _restart_in_child(self) -> None:
        self._bell = None  # the parent may have restarted it before the fork; the child does not have that thread
        self._restart()

    def _run(self, bell: _thread.LockType) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._id, pause, rung_for = _thread.get_native_id(), _FIRST_INTERVAL, NEVER
        while self._bell is bell:
            self.looks_at = NEVER
            at, now = self._first(), real_time.monotonic()
            if at > now:
                pause = _FIRST_INTERVAL
            else:
                if at > rung_for:  # a new time
                    pause = _FIRST_INTERVAL
                rung_for = at
                self._ring()
                at, pause = now + pause, min(_MAX_INTERVAL, 2 * pause)
            self.looks_at = min(self.looks_at, at)
            bell.acquire(timeout=max(0.0, min(_MAX_WAIT, self.looks_at - now)))
        self._ended.release()
