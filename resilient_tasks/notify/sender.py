"""The one thread that talks to channels, so that no task waits for them.

A task counts its failure in the store, where the message that is due with it then waits; this thread finds it there. It
also finds what other processes could not send, and at its end a process sends on the calling thread what it still can.
"""

from __future__ import annotations

import atexit
import contextlib
import contextvars
import logging
import os
import sys
import threading
import time
from collections import deque
from dataclasses import dataclass

from resilient_tasks.core import clock, settings
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.machines.incidents import Failure
from resilient_tasks.notify.outbox import Outbox, Told, kept
from resilient_tasks.notify.rounds import Rounds
from resilient_tasks.shared.states import States, StoreAway

LOGGER = logging.getLogger("resilient_tasks")

#: Seconds for which a failure waits for a store that is gone; then this process tells of it by itself.
_PATIENCE = 5.0
#: Seconds between two tries to reach a store that is gone, and the longest sleep of the thread.
_AGAIN, _LONGEST_SLEEP = 0.5, 60.0
#: Seconds for which an operation that had no open incident is taken to have none.
_STALENESS = 1.0
#: Failures that may wait for a store that is gone. More than this many tell nobody anything new.
_ROOM = 10_000


@dataclass(slots=True)
class _Waiting:
    """A failure that the store could not be told of in time."""

    operation: str
    failure: Failure
    since: float


@dataclass(slots=True)
class _Successes:
    """Successes of an operation that the store has not been told of."""

    number: int = 0
    at: float = 0.0
    quiet_until: float = 0.0


class Sender:
    """What a process has to tell, and the thread that does it."""

    def __init__(self) -> None:
        self._turn = threading.Lock()
        self._woken = threading.Event()
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._ending = False
        self._waiting: deque[_Waiting] = deque(maxlen=_ROOM)
        self._successes: dict[str, _Successes] = {}
        self._rounds: Rounds | None = None
        self._by_itself: Rounds | None = None

    def failed(self, operation: str, failure: Failure) -> Told | None:
        """Count a failure, and have people told. None: the store did not answer in time, and is told later."""
        seen = self._successes.get(operation)
        if seen is not None:
            seen.quiet_until = 0.0
        rounds = self._shared()
        rounds.contexts[operation] = contextvars.copy_context()
        try:
            told = rounds.outbox.failed(operation, failure)
        except StoreAway:
            self._waiting.append(_Waiting(operation, failure, time.monotonic()))
            self._wake()
            return None
        if not told.untold or not rounds.expects_a_digest_of(operation):
            rounds.touched.add(operation)
            self._wake()
        return told

    def succeeded(self, operation: str) -> None:
        """Take note of a success: an incident of this operation may be over."""
        seen = self._successes.get(operation) or self._successes.setdefault(operation, _Successes())
        if time.monotonic() < seen.quiet_until:
            return
        seen.number += 1
        seen.at = clock.now()
        self._wake()

    def flush(self, within: float, *, at_exit: bool = False) -> bool:
        """Deliver on this thread what waits, for at most `within` seconds. Return whether nothing is left.

        At exit, nobody waits for a channel that could not be reached: its letters are kept for the next run.
        """
        if at_exit:
            self.stop()
        until = time.monotonic() + within
        while True:
            if not self._turn.acquire(timeout=max(0.0, until - time.monotonic())):
                return False
            try:
                wait = self._step(until, at_exit=at_exit)
            finally:
                self._turn.release()
            if wait is None:
                return True
            if wait > until - time.monotonic():
                return False
            time.sleep(min(wait, 0.05))

    def stop(self) -> None:
        """Have the thread end. What waits is kept."""
        self._ending = True
        self._woken.set()

    def _run(self) -> None:
        while not self._ending:
            self._woken.clear()
            try:
                with self._turn:
                    wait = self._step(float("inf"))
                    windows = [window for rounds in self._all() if (window := rounds.next_window()) is not None]
            except Exception:  # nobody would ever hear of anything again, if this thread ended
                LOGGER.exception("what is to be told to people could not be looked through: it is kept")
                wait, windows = _LONGEST_SLEEP, []
            sleep = min([_LONGEST_SLEEP, *windows, *_given(wait)])
            self._woken.wait(max(sleep, 0.001))

    def _step(self, until: float, *, at_exit: bool = False) -> float | None:
        """Deliver what is due, and return the seconds until something else is; None: nothing is left."""
        waits: list[float] = []
        shared = self._shared()
        try:
            self._tell_of_what_waited(shared)
            self._tell_of_successes(shared)
            leave_out = shared.failing if at_exit and shared.outbox.states.is_shared else ()
            shared.go(until, leave_out)
            waits += _given(shared.next_letter(leave_out))
        except StoreAway:
            self._tell_of_it_here()
            waits.append(_AGAIN)
        if self._by_itself is not None:
            self._by_itself.go(until)
            waits += _given(self._by_itself.next_letter())
        return min(waits, default=None)

    def _tell_of_what_waited(self, rounds: Rounds) -> None:
        while self._waiting:
            first = self._waiting[0]
            rounds.outbox.failed(first.operation, first.failure)
            rounds.touched.add(first.operation)
            self._waiting.popleft()

    def _tell_of_it_here(self) -> None:
        """Tell by this process alone what has waited long enough for a store that is gone."""
        while self._waiting and time.monotonic() - self._waiting[0].since > _PATIENCE:
            if self._by_itself is None:
                memory = States(MemoryStore(), "memory", bound=1.0)
                self._by_itself = Rounds(Outbox(memory))
            first = self._waiting.popleft()
            self._by_itself.outbox.failed(first.operation, first.failure)
            self._by_itself.touched.add(first.operation)

    def _tell_of_successes(self, rounds: Rounds) -> None:
        for operation, seen in list(self._successes.items()):
            if not seen.number:
                continue
            number, at = seen.number, seen.at
            if rounds.is_open(operation):
                rounds.outbox.succeeded(operation, number, clock.now() - at)
                rounds.touched.add(operation)
            else:
                seen.quiet_until = time.monotonic() + _STALENESS
            seen.number -= number

    def _shared(self) -> Rounds:
        states = kept.states()
        if self._rounds is None or self._rounds.outbox.states is not states:
            self._rounds = Rounds(Outbox(states))
        return self._rounds

    def _all(self) -> list[Rounds]:
        return [rounds for rounds in (self._rounds, self._by_itself) if rounds is not None]

    def _wake(self) -> None:
        self._woken.set()
        if self._thread is None and not self._ending:
            with self._starting, contextlib.suppress(RuntimeError):  # at shutdown no thread starts: `flush` does it
                if self._thread is None:
                    self._thread = threading.Thread(target=self._run, name="resilient:notify", daemon=True)
                    _flush_at_the_end_of_a_worker()
                    self._thread.start()


def _given(seconds: float | None) -> list[float]:
    return [] if seconds is None else [seconds]


_sender = Sender()


def sender() -> Sender:
    """Return the sender of this process."""
    return _sender


def flush(within: float | None = None) -> bool:
    """Deliver what waits, on the calling thread, and return whether nothing is left.

    Args:
        within: seconds that this may take; default: the deadline of one message.
    """
    return _sender.flush(settings.current.notify_deadline if within is None else within)


def _flush_at_exit() -> None:
    if _sender._thread is not None:  # noqa: SLF001  # a process that had nothing to tell has nothing to wait for
        _sender.flush(settings.current.notify_deadline, at_exit=True)


def _flush_at_the_end_of_a_worker() -> None:
    """A process that `multiprocessing` forked ends without `atexit`."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _flush_at_exit, exitpriority=0)


def _begin_anew() -> None:
    """In a forked child: it has told nothing yet, and the parent's thread is not there."""
    global _sender  # noqa: PLW0603  # one sender a process
    _sender = Sender()


atexit.register(_flush_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_begin_anew)
