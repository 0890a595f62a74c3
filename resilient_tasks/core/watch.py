"""A thread that sleeps until the first of some times has come: for limits of which most never come.

To say that one more time is to be kept costs a comparison, unless it is nearer than all before it. That it is kept no
more is not said at all: the thread asks when it wakes.
"""

from __future__ import annotations

import _thread
import contextlib
import os
import signal
from collections.abc import Callable
from types import BuiltinFunctionType

from resilient_tasks.core import real_time

NEVER = float("inf")

#: What was rung for, and is not over yet, is rung for again: after 1 ms, and then less and less often (seconds). A
#: signal that comes right before a wait begins does not end that.
_SOON, _SELDOM = 0.001, 0.1

#: The longest wait (seconds). A lock does not take any number.
_LONG = 3600.0


class Watch:
    """Rings when the first of some times has come. Tried on CPython 3.11, 3.12 and 3.13.

    Its thread is not one of `threading`, and calls nothing that asks for the present thread: no list of threads shows
    it. Where a thread may be switched to another between two instructions of it, the order of its reads and writes
    loses no time: see `_run`. Of what one thread writes, the other sees all, in that order: the interpreter lock.

    Args:
        first: gives the first of the times that are kept now, on `monotonic`.
        ring: is called, in the thread, when that has come.

    Attributes:
        looks_at: when it looks next, or sooner. What is nearer has to be told by `look_by`.
    """

    def __init__(self, first: Callable[[], float], ring: Callable[[], None]) -> None:
        self.looks_at = NEVER
        self._first = first
        self._ring = ring
        self._thread: _Thread | None = None

    def look_by(self, due: float) -> None:
        """Have it look at `due` at the latest.

        Raises:
            RuntimeError: no thread can be started any more: the interpreter is shutting down, or a library has put
                something else in the place of threads.
        """
        self.looks_at = due
        if self._thread is not None:
            self._thread.wake()
            return
        start, thread = _thread.start_new_thread, _Thread()
        try:
            if not isinstance(start, BuiltinFunctionType):
                msg = "no thread of the system can be started"
                raise RuntimeError(msg)  # noqa: TRY004, TRY301  # as where the system has none left
            start(self._run, (thread,))
        except RuntimeError:
            self.looks_at = NEVER
            raise
        self._thread = thread

    def before_fork(self) -> None:
        """End the thread: a process is not to be copied while one runs, which Python 3.12 warns of."""
        if self._thread is not None:
            self._thread.stop()

    def after_fork(self) -> None:
        """Go on, in either process."""
        self.looks_at, self._thread = NEVER, None
        if (at := self._first()) < NEVER:
            self.look_by(at)

    def _run(self, thread: _Thread) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        thread.id, pause = _thread.get_native_id(), _SOON
        while not thread.stopping:
            # First say "never", then look: what begins after the look finds that, and wakes this thread again.
            self.looks_at = NEVER
            at, now = self._first(), real_time.monotonic()
            if at > now:
                pause = _SOON
            else:
                self._ring()
                at, pause = now + pause, min(_SELDOM, 2 * pause)
            self.looks_at = min(self.looks_at, at)
            thread.wait(min(_LONG, self.looks_at - now))
        thread.ended.release()


class _Thread:
    """One thread of a watch. It is woken by a lock: all that a handler of signals may use at any moment."""

    def __init__(self) -> None:
        self.stopping = False
        self.id = 0
        self.ended, self._bell = _thread.allocate_lock(), _thread.allocate_lock()
        self.ended.acquire()
        self._bell.acquire()

    def wait(self, seconds: float) -> None:
        self._bell.acquire(timeout=max(0.0, seconds))

    def wake(self) -> None:
        with contextlib.suppress(RuntimeError):  # it has been woken already
            self._bell.release()

    def stop(self) -> None:
        """End it, and wait for that."""
        self.stopping = True
        self.wake()
        self.ended.acquire(timeout=1.0)
        for _ in range(100):  # the system takes a moment longer
            if not os.path.exists(f"/proc/self/task/{self.id}"):  # noqa: PTH110  # a path costs more
                return
            real_time.sleep(0.00005)
