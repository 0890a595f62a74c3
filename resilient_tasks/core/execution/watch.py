"""A thread that sleeps until the first of some times has come: for limits, of which most never do.

To keep one more time costs a comparison, unless it is nearer than all before. That it is kept no more is not told at
all: the thread asks when it wakes.
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

#: What was rung for, and is kept all the same, is rung for again after so many seconds, and then less and less often:
#: a signal that comes right before a wait begins does not end that.
_SOON, _SELDOM = 0.001, 0.1

#: The longest wait (seconds). A lock does not take any number.
_LONG = 3600.0


class Watch:
    """Rings when the first of some times has come. Tried on CPython 3.11, 3.12 and 3.13.

    Its thread is not one of `threading`, so no list of threads shows it. Wherever the interpreter switches between it
    and the others, no time is lost: it says that it will never look before it looks, so what is kept after that look
    wakes it. It is woken by a lock, which is all that a handler of signals may use at any moment.

    Args:
        first: gives the first of the times that are kept now, on `monotonic`.
        ring: is called, in the thread, when that has come.

    Attributes:
        looks_at: when it looks next, or later than it does. What is nearer has to be told by `look_by`.
    """

    def __init__(self, first: Callable[[], float], ring: Callable[[], None]) -> None:
        self.looks_at: float = NEVER
        self._first, self._ring = first, ring
        self._bell: _thread.LockType | None = None  # of the thread, where there is one
        self._ended, self._id = _thread.allocate_lock(), 0
        self._ended.acquire()
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(before=self.stop, after_in_parent=self._go_on, after_in_child=self._go_on_alone)

    def look_by(self, due: float) -> None:
        """Have it look at `due` at the latest.

        Raises:
            RuntimeError: no thread can be started any more: the interpreter is shutting down, or a library has put
                something else in the place of threads.
        """
        self.looks_at = due
        if self._bell is not None:
            with contextlib.suppress(RuntimeError):  # it has been rung already
                self._bell.release()
            return
        start, bell = _thread.start_new_thread, _thread.allocate_lock()
        bell.acquire()
        self._bell = bell
        try:
            if not isinstance(start, BuiltinFunctionType):
                msg = "no thread of the system can be started"
                raise RuntimeError(msg)  # noqa: TRY004, TRY301  # as where the system has none left
            start(self._run, (bell,))
        except BaseException:
            self._bell, self.looks_at = None, NEVER
            raise

    def stop(self) -> None:
        """End the thread. A process is not to be copied while one runs, which Python 3.12 warns of."""
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

    def _go_on(self) -> None:
        self.looks_at = NEVER
        if (at := self._first()) < NEVER:
            self.look_by(at)

    def _go_on_alone(self) -> None:
        self._bell = None  # another thread may have started it anew meanwhile: it is not in this process
        self._go_on()

    def _run(self, bell: _thread.LockType) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        self._id, pause, rung_for = _thread.get_native_id(), _SOON, NEVER
        while self._bell is bell:
            self.looks_at = NEVER
            at, now = self._first(), real_time.monotonic()
            if at > now:
                pause = _SOON
            else:
                if at > rung_for:  # it was put off
                    pause = _SOON
                rung_for = at
                self._ring()
                at, pause = now + pause, min(_SELDOM, 2 * pause)
            self.looks_at = min(self.looks_at, at)
            bell.acquire(timeout=max(0.0, min(_LONG, self.looks_at - now)))
        self._ended.release()
