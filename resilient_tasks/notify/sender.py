"""The one thread that talks to channels, so that no task waits for them.

A task counts its failure in the store, where the message that is due with it then waits; this thread finds it there. It
also finds what other processes could not send, and at its end a process sends on the calling thread what it still can.
"""

from __future__ import annotations

import atexit
import contextlib
import itertools
import logging
import os
import sys
import threading
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field

from resilient_tasks.core import clock, durations, settings
from resilient_tasks.core import real_time as time
from resilient_tasks.core.durations import Duration
from resilient_tasks.core.events import run_ids
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.machines.incident import Failure
from resilient_tasks.machines.incidents import Teller
from resilient_tasks.notify import gate
from resilient_tasks.notify.outbox import Outbox, Told, kept
from resilient_tasks.notify.pending import MOMENT, Count, Pending, key_of
from resilient_tasks.notify.rounds import Rounds, Window
from resilient_tasks.shared.states import States, StoreAway

LOGGER = logging.getLogger("resilient_tasks")

#: Seconds for which failed calls wait for the store to be opened, and each for its turn.
_BOUND = 0.05
#: Seconds for which a failure waits for a store that is gone; then this process tells of it by itself.
_PATIENCE = 5.0
#: The same at exit, where somebody waits for the process to end.
_PATIENCE_AT_EXIT = 1.0
#: Seconds between two tries to reach a store that is gone, and the longest sleep of the thread.
_AGAIN, _LONGEST_SLEEP = 0.5, 60.0
#: Seconds for which an operation that had no open incident is taken to have none.
_STALENESS = 1.0
#: Seconds that a success waits: by then all processes have told of what failed before it.
_AFTER_FAILURES = 2 * MOMENT
#: Seconds after which a flush looks whether others have sent what it waits for.
_LOOK = 0.1


@dataclass(slots=True)
class _Successes:
    """Successes of an operation: `number` in all; the store was told of `told`, and the others wait `since` then.

    Of those that wait, the first began at `began`. What began before `failed`, the last failure, does not count.
    """

    counter: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    number: int = 0
    told: int = 0
    began: float = float("inf")
    failed: float = float("-inf")
    since: float = 0.0
    quiet_until: float = 0.0


class Sender:
    """What a process has to tell, and the thread that does it."""

    def __init__(self) -> None:
        self._process = uuid.uuid4().hex[:12]
        self._serials = itertools.count(1)
        self._turn = threading.Lock()  # one round at a time
        self._telling = threading.Lock()  # serials reach the store in their order
        self._starting = threading.Lock()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._begun = 0.0
        self._ending = False
        self._goes_alone_from = 0.0
        self._early = Pending()
        self._successes: dict[str, _Successes] = {}
        self._rounds: Rounds | None = None
        self._by_itself: Rounds | None = None

    def begin(self) -> None:
        """Open the store before anything fails. Cheap to call again."""
        if self._thread is None and not gate.is_off():
            self._wake()

    def failed(self, operation: str, failure: Failure) -> Told:
        """Count a failure, and have people told.

        More of what was told within the cool-down costs no round trip: it is told to the store in a moment.
        """
        told = self._failed(operation, failure)
        if told.untold and not (told.window or told.silence):  # the store was not asked: nothing is known
            return told
        run = run_ids()
        run_id = run.get("flow_run_id") or run.get("task_run_id") or ""
        # The run in which a message was written needs no word that the incident is known.
        is_news = self._rounds is not None and self._rounds.is_news(run_id, operation, failure.fingerprint)
        return told._replace(is_news=is_news and told.untold > 0)

    def _failed(self, operation: str, failure: Failure) -> Told:
        seen = self._of(operation)
        seen.quiet_until, seen.failed = 0.0, clock.now()
        rounds = self._opened()
        if rounds is None:
            return self._keep_for_later(operation, failure)
        key = key_of(operation, failure)
        window, now = rounds.windows.get(key), clock.now()
        if window is None or not window.takes(now):
            told = self._tell(rounds, operation, failure)
            if told is not None:
                if told.window:
                    rounds.keep_window(key, Window(now + told.window, failure.cooldown, told.untold, now))
                return told
        if rounds.pending.add(operation, failure):
            self._wake()
        return Told(1) if window is None else Told(window.untold, window=max(0.0, window.until - now))

    def succeeded(self, operation: str, began: float) -> None:
        """Take note of a success: an incident whose last failure came before the call `began` may be over."""
        seen = self._of(operation)
        if began < seen.failed or time.monotonic() < seen.quiet_until or gate.is_off():
            return
        if seen.number == seen.told:
            seen.since = time.monotonic()
            if self._rounds is not None:
                self._rounds.may_be_over(operation)
            self._wake()
        seen.began = min(seen.began, began)
        seen.number = next(seen.counter)

    def _of(self, operation: str) -> _Successes:
        return self._successes.get(operation) or self._successes.setdefault(operation, _Successes())

    def flush(self, within: float, *, at_exit: bool = False) -> bool:
        """Deliver on this thread what waits, for at most `within` seconds. Return whether nothing is left.

        At exit, nobody waits for a channel that could not be reached: its letters are kept for the next run.
        """
        if gate.is_off():
            return True
        if at_exit:
            self.stop()
        until = time.monotonic() + within
        looked = time.monotonic()
        self._goes_alone_from = looked + _PATIENCE_AT_EXIT
        while True:
            if not self._turn.acquire(timeout=max(0.0, until - time.monotonic())):
                return False
            try:
                wait = self._step(until, flushing=True, at_exit=at_exit)
                others = not at_exit and any(rounds.others_send for rounds in self._all())
                if others and time.monotonic() - looked > _LOOK:
                    looked = time.monotonic()
                    for rounds in self._all():
                        rounds.look_again()
            finally:
                self._turn.release()
            if wait is None:
                return True
            left = until - time.monotonic()
            if left <= 0 or (wait > left and not others):
                return False
            time.sleep(min(wait, 0.05))

    def stop(self) -> None:
        """Have the thread end. What waits is kept."""
        self._ending = True
        self._woken.set()

    def wait_for_its_round(self, seconds: float) -> None:
        """Wait until the round that goes on is over, for so long at the most: after `stop` there is no other."""
        if self._turn.acquire(timeout=seconds):
            self._turn.release()

    def _run(self) -> None:
        while not self._ending:
            self._woken.clear()
            if gate.is_off():
                self._woken.wait(_LONGEST_SLEEP)
                continue
            try:
                with self._turn:
                    if self._ending:
                        return
                    waits = [self._step(float("inf")), *(wait for each in self._all() for wait in each.waits())]
                    waits.append(_AFTER_FAILURES if self._successes_to_tell(at_once=True) else None)
            except Exception:  # nobody would ever hear of anything again, if this thread ended
                LOGGER.exception("what is to be told to people could not be looked through: it is kept")
                waits = []
            sleep = min((wait for wait in waits if wait is not None), default=_LONGEST_SLEEP)
            self._woken.wait(min(max(sleep, 0.001), _LONGEST_SLEEP))

    def _step(self, until: float, *, flushing: bool = False, at_exit: bool = False) -> float | None:
        """Deliver what is due, and return the seconds until something else is; None: nothing is left."""
        waits: list[float | None] = []
        shared = self._rounds_in(kept.states())
        try:
            successes = self._successes_to_tell(at_once=flushing)
            self._tell_of_what_waited(shared, at_once=flushing or bool(successes) or shared.owes_a_digest)
            self._tell_of_successes(shared, successes)
            leave_out = shared.failing if at_exit and shared.outbox.states.is_shared else ()
            shared.go(until, leave_out)
            waits.append(shared.next_letter(leave_out))
        except StoreAway:
            goes_alone = at_exit and time.monotonic() >= self._goes_alone_from
            self._tell_of_it_here(shared, 0.0 if goes_alone else _PATIENCE)
            waits.append(None if goes_alone else _AGAIN)
        if self._by_itself is not None:
            self._by_itself.go(until)
            waits.append(self._by_itself.next_letter())
        return min((wait for wait in waits if wait is not None), default=None)

    def _tell(self, rounds: Rounds, operation: str, failure: Failure) -> Told | None:
        """Tell the store of a failure now; None: it was not told, for it has others to answer first."""
        if not self._telling.acquire(timeout=_BOUND):
            return None
        try:
            if rounds.pending.in_doubt:
                return None
            return self._tell_store(rounds, Count(operation, failure, clock.now()))
        except StoreAway:  # it may have heard: it is told again
            self._wake()
            return Told(1)
        finally:
            self._telling.release()

    def _keep_for_later(self, operation: str, failure: Failure) -> Told:
        with self._starting:
            self._early.add(operation, failure)
        self._wake()
        return Told(1)

    def _tell_of_what_waited(self, rounds: Rounds, *, at_once: bool) -> None:
        with self._starting:
            early, self._early = self._early, Pending()
        for count in early.due(at_once=True):
            rounds.pending.add(count.operation, count.failure)
        with self._telling:
            for count in rounds.pending.in_their_order():
                self._tell_store(rounds, count)
            for count in rounds.pending.due(at_once=at_once):
                self._tell_store(rounds, count)

    def _tell_store(self, rounds: Rounds, count: Count) -> Told:
        first, now = not count.serial, clock.now()
        count.serial = count.serial or next(self._serials)
        teller = Teller(self._process, count.serial)
        try:
            told = rounds.outbox.failed(count.operation, count.failure, age=max(0.0, now - count.at), teller=teller)
        except StoreAway:
            if first:
                rounds.pending.doubt(count)
            raise
        if not told.untold or not rounds.expects_a_digest_of(count.operation):
            rounds.touched[count.operation] = None
            self._wake()
        return told

    def _tell_of_it_here(self, shared: Rounds, patience: float) -> None:
        """Tell by this process alone what has waited so many seconds for a store that is gone."""
        for count in shared.pending.older_than(patience):
            if self._by_itself is None:
                self._by_itself = Rounds(Outbox(States(MemoryStore(), "memory", bound=1.0)))
            self._by_itself.outbox.failed(count.operation, count.failure)
            self._by_itself.touched[count.operation] = None

    def _successes_to_tell(self, *, at_once: bool) -> list[str]:
        """Return the operations whose successes the store is to be told of: what failed before them is told first."""
        until = float("inf") if at_once else time.monotonic() - _AFTER_FAILURES
        return [
            operation
            for operation, seen in list(self._successes.items())
            if seen.number != seen.told and seen.since <= until
        ]

    def _tell_of_successes(self, rounds: Rounds, operations: list[str]) -> None:
        for operation in operations:
            seen = self._successes[operation]
            number, began = seen.number, seen.began
            if rounds.is_open(operation):
                seen.began = float("inf")  # of those that come meanwhile
                try:
                    rounds.outbox.succeeded(operation, number - seen.told, clock.now() - began)
                except StoreAway:
                    seen.began = began
                    raise
                rounds.touched[operation] = None
            else:
                seen.began, seen.quiet_until = float("inf"), time.monotonic() + _STALENESS
            seen.told = number

    def _opened(self) -> Rounds | None:
        """Return the rounds in the store once it is open; None: it is not yet, and calls have waited for it enough."""
        while (states := kept.ready()) is None:
            self._wake()
            if time.monotonic() > self._begun + _BOUND:
                return None
            time.sleep(0.001)
        return self._rounds_in(states)

    def _rounds_in(self, states: States) -> Rounds:
        rounds = self._rounds
        if rounds is not None and rounds.outbox.states is states:
            return rounds
        with self._starting:
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
                    self._begun = time.monotonic()
                    self._thread = threading.Thread(target=self._run, name="resilient:notify", daemon=True)
                    _flush_at_the_end_of_a_worker()
                    self._thread.start()


_sender = Sender()


def sender() -> Sender:
    """Return the sender of this process."""
    return _sender


@contextlib.contextmanager
def another_sender() -> Iterator[None]:
    """Have a sender of its own tell what happens inside of the block: what is left of that is never told outside."""
    global _sender  # noqa: PLW0603  # one sender a process
    before, process = _sender, os.getpid()
    _sender = inside = Sender()
    try:
        yield
    finally:
        inside.stop()
        inside.wait_for_its_round(_PATIENCE_AT_EXIT)
        _sender = before if os.getpid() == process else Sender()


def flush(within: Duration | None = None) -> bool:
    """Deliver what waits, on the calling thread, and return whether nothing is left.

    Args:
        within: seconds that this may take, also as `"5s"` or a `timedelta`; default: the deadline of one message.
    """
    if within is None:
        return _sender.flush(settings.current.notify_deadline)
    return _sender.flush(durations.seconds(within, "flush(within)", zero=True))


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
