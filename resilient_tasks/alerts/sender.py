"""The thread that sends alerts, so that no task waits for a channel.

A failing task records its failure in the store, and with it the message that is due; this thread sends it. It also
sends what other processes left behind. At its end, a process sends on the calling thread what it still can.
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

from resilient_tasks.alerts import gate
from resilient_tasks.alerts.buffer import MOMENT, Count, FailureBuffer, key_of
from resilient_tasks.alerts.dispatcher import Dispatcher, Window
from resilient_tasks.alerts.incident import Failure, Source
from resilient_tasks.alerts.outbox import Outbox, Recorded, incident_store
from resilient_tasks.core import settings
from resilient_tasks.core.events import run_ids
from resilient_tasks.core.execution import clock
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.parameters import durations
from resilient_tasks.core.parameters.durations import Duration
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.state.states import States, StoreUnavailable

LOGGER = logging.getLogger("resilient_tasks")

#: Seconds for which failed calls wait for the store to open, and each for the lock.
_BOUND = 0.05
#: Seconds for which a failure waits for a store that is away; then this process sends the alert by itself.
_PATIENCE = 5.0
#: The same at exit.
_PATIENCE_AT_EXIT = 1.0
#: Seconds between two attempts to reach a store that is away, and the longest sleep of the thread.
_AGAIN, _LONGEST_SLEEP = 0.5, 60.0
#: Seconds for which an operation without an open incident is taken to have none.
_STALENESS = 1.0
#: Seconds after which successes are recorded: by then all processes have recorded the failures before them.
_AFTER_FAILURES = 2 * MOMENT
#: Seconds between two looks, while flushing, whether other processes have sent their deliveries.
_LOOK = 0.1


@dataclass(slots=True)
class _Successes:
    """Successes of an operation: `number` seen, `recorded` of them stored; the rest pending since `since`.

    The first pending call began at `began`. Calls that began before `failed`, the last failure, do not count.
    """

    counter: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    number: int = 0
    recorded: int = 0
    began: float = float("inf")
    failed: float = float("-inf")
    since: float = 0.0
    quiet_until: float = 0.0


class Sender:
    """Records what happens in this process, and sends alerts from a thread."""

    def __init__(self) -> None:
        self._process = uuid.uuid4().hex[:12]
        self._serials = itertools.count(1)
        self._turn = threading.Lock()  # one round at a time
        self._recording = threading.Lock()  # serials reach the store in their order
        self._starting = threading.Lock()
        self._woken = threading.Event()
        self._thread: threading.Thread | None = None
        self._begun = 0.0
        self._ending = False
        self._local_from = 0.0
        self._early = FailureBuffer()
        self._successes: dict[str, _Successes] = {}
        self._dispatcher: Dispatcher | None = None
        self._local: Dispatcher | None = None  # for what could not be recorded in the store

    def begin(self) -> None:
        """Open the store before anything fails. Cheap to call again."""
        if self._thread is None and not gate.is_off():
            self._wake()

    def record_failure(self, operation: str, failure: Failure) -> Recorded:
        """Record a failure, so that an alert is sent.

        Further failures within the cool-down cost no round trip: they are recorded together in a moment.
        """
        recorded = self._record_failure(operation, failure)
        if recorded.unreported and not (recorded.window or recorded.silence):  # the store has not answered
            return recorded
        run = run_ids()
        run_id = run.get("flow_run_id") or run.get("task_run_id") or ""
        # Called in any case: a run that wrote a message does not log later that the incident is known.
        is_new = self._dispatcher is not None and self._dispatcher.is_new_to(run_id, operation, failure.fingerprint)
        return recorded._replace(is_known=is_new and recorded.unreported > 0)

    def _record_failure(self, operation: str, failure: Failure) -> Recorded:
        successes = self._successes_of(operation)
        successes.quiet_until, successes.failed = 0.0, clock.now()
        dispatcher = self._opened()
        if dispatcher is None:
            return self._keep_for_later(operation, failure)
        key = key_of(operation, failure)
        window, now = dispatcher.windows.get(key), clock.now()
        if window is None or not window.counts(now):
            recorded = self._record_now(dispatcher, operation, failure)
            if recorded is not None:
                if recorded.window:
                    known = Window(now + recorded.window, failure.cooldown, recorded.unreported, now)
                    dispatcher.remember(key, known)
                return recorded
        if dispatcher.buffer.add(operation, failure):
            self._wake()
        return Recorded(1) if window is None else Recorded(window.unreported, window=max(0.0, window.until - now))

    def record_success(self, operation: str, began: float) -> None:
        """Record that a call which `began` at this time succeeded: an incident that failed last before may be over."""
        successes = self._successes_of(operation)
        if began < successes.failed or time.monotonic() < successes.quiet_until or gate.is_off():
            return
        if successes.number == successes.recorded:
            successes.since = time.monotonic()
            if self._dispatcher is not None:
                self._dispatcher.note_success(operation)
            self._wake()
        successes.began = min(successes.began, began)
        successes.number = next(successes.counter)

    def _successes_of(self, operation: str) -> _Successes:
        return self._successes.get(operation) or self._successes.setdefault(operation, _Successes())

    def flush(self, within: float, *, at_exit: bool = False) -> bool:
        """Send on this thread what waits, for at most `within` seconds. Return whether nothing is left.

        At exit, deliveries to channels whose last attempt failed are left to the next process.
        """
        if gate.is_off():
            return True
        if at_exit:
            self.stop()
        until = time.monotonic() + within
        looked = time.monotonic()
        self._local_from = looked + _PATIENCE_AT_EXIT
        while True:
            if not self._turn.acquire(timeout=max(0.0, until - time.monotonic())):
                return False
            try:
                wait = self._step(until, flushing=True, at_exit=at_exit)
                others = not at_exit and any(dispatcher.others_send for dispatcher in self._dispatchers())
                if others and time.monotonic() - looked > _LOOK:
                    looked = time.monotonic()
                    for dispatcher in self._dispatchers():
                        dispatcher.recheck()
            finally:
                self._turn.release()
            if wait is None:
                return True
            left = until - time.monotonic()
            if left <= 0 or (wait > left and not others):
                return False
            time.sleep(min(wait, 0.05))

    def stop(self) -> None:
        """End the thread. What waits is kept."""
        self._ending = True
        self._woken.set()

    def join(self, seconds: float) -> None:
        """Wait for the current round to end, at most this long; after `stop` it is the last one."""
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
                    waits = [self._step(float("inf")), *(wait for each in self._dispatchers() for wait in each.waits())]
                    waits.append(_AFTER_FAILURES if self._pending_successes(at_once=True) else None)
            except Exception:  # without this thread no alert would be sent any more
                LOGGER.exception("could not send alerts: they are kept, and tried again")
                waits = []
            sleep = min((wait for wait in waits if wait is not None), default=_LONGEST_SLEEP)
            self._woken.wait(min(max(sleep, 0.001), _LONGEST_SLEEP))

    def _step(self, until: float, *, flushing: bool = False, at_exit: bool = False) -> float | None:
        """Send what is due, and return the seconds until something else is; None if nothing is left."""
        waits: list[float | None] = []
        shared = self._dispatcher_of(incident_store.states())
        try:
            successes = self._pending_successes(at_once=flushing)
            self._record_buffered(shared, at_once=flushing or bool(successes) or shared.digest_is_due)
            self._record_successes(shared, successes)
            if at_exit and shared.outbox.states.is_shared:
                shared.skips_failing = True
                shared.recheck()
            shared.run(until)
            waits.append(shared.next_delivery())
        except StoreUnavailable:
            is_local = at_exit and time.monotonic() >= self._local_from
            self._record_locally(shared, 0.0 if is_local else _PATIENCE)
            waits.append(None if is_local else _AGAIN)
        if self._local is not None:
            self._local.run(until)
            waits.append(self._local.next_delivery())
        return min((wait for wait in waits if wait is not None), default=None)

    def _record_now(self, dispatcher: Dispatcher, operation: str, failure: Failure) -> Recorded | None:
        """Record a failure at once; return None if others are to be recorded first."""
        if not self._recording.acquire(timeout=_BOUND):
            return None
        try:
            if dispatcher.buffer.has_unacknowledged:
                return None
            return self._record(dispatcher, Count(operation, failure, clock.now()))
        except StoreUnavailable:  # it may have been recorded: it is repeated under its serial
            self._wake()
            return Recorded(1)
        finally:
            self._recording.release()

    def _keep_for_later(self, operation: str, failure: Failure) -> Recorded:
        with self._starting:
            self._early.add(operation, failure)
        self._wake()
        return Recorded(1)

    def _record_buffered(self, dispatcher: Dispatcher, *, at_once: bool) -> None:
        with self._starting:
            early, self._early = self._early, FailureBuffer()
        for count in early.due(at_once=True):
            dispatcher.buffer.add(count.operation, count.failure)
        with self._recording:
            for count in dispatcher.buffer.unacknowledged():
                self._record(dispatcher, count)
            for count in dispatcher.buffer.due(at_once=at_once):
                self._record(dispatcher, count)

    def _record(self, dispatcher: Dispatcher, count: Count) -> Recorded:
        first, now = not count.serial, clock.now()
        count.serial = count.serial or next(self._serials)
        source = Source(self._process, count.serial)
        age = max(0.0, now - count.at)
        try:
            recorded = dispatcher.outbox.record_failure(count.operation, count.failure, age=age, source=source)
        except StoreUnavailable:
            if first:
                dispatcher.buffer.retry(count)
            raise
        if not recorded.unreported or not dispatcher.expects_digest(count.operation):
            dispatcher.touch(count.operation)
            self._wake()
        return recorded

    def _record_locally(self, shared: Dispatcher, patience: float) -> None:
        """Record in this process's memory what has waited this many seconds for the store."""
        for count in shared.buffer.pop_older_than(patience):
            if self._local is None:
                self._local = Dispatcher(Outbox(States(MemoryStore(), "memory", bound=1.0)))
            self._local.outbox.record_failure(count.operation, count.failure)
            self._local.touch(count.operation)

    def _pending_successes(self, *, at_once: bool) -> list[str]:
        """Return the operations whose successes are to be recorded, after all failures before them."""
        until = float("inf") if at_once else time.monotonic() - _AFTER_FAILURES
        return [
            operation
            for operation, successes in list(self._successes.items())
            if successes.number != successes.recorded and successes.since <= until
        ]

    def _record_successes(self, dispatcher: Dispatcher, operations: list[str]) -> None:
        for operation in operations:
            successes = self._successes[operation]
            number, began = successes.number, successes.began
            if dispatcher.is_open(operation):
                successes.began = float("inf")  # of those that come meanwhile
                try:
                    new = number - successes.recorded
                    dispatcher.outbox.record_successes(operation, new, clock.now() - began)
                except StoreUnavailable:
                    successes.began = began
                    raise
                dispatcher.touch(operation)
            else:
                successes.began, successes.quiet_until = float("inf"), time.monotonic() + _STALENESS
            successes.recorded = number

    def _opened(self) -> Dispatcher | None:
        """Return the dispatcher of the store once that is open; None if calls have waited for it for long enough."""
        while (states := incident_store.ready()) is None:
            self._wake()
            if time.monotonic() > self._begun + _BOUND:
                return None
            time.sleep(0.001)
        return self._dispatcher_of(states)

    def _dispatcher_of(self, states: States) -> Dispatcher:
        dispatcher = self._dispatcher
        if dispatcher is not None and dispatcher.outbox.states is states:
            return dispatcher
        with self._starting:
            if self._dispatcher is None or self._dispatcher.outbox.states is not states:
                self._dispatcher = Dispatcher(Outbox(states))
            return self._dispatcher

    def _dispatchers(self) -> list[Dispatcher]:
        return [dispatcher for dispatcher in (self._dispatcher, self._local) if dispatcher is not None]

    def _wake(self) -> None:
        self._woken.set()
        if self._thread is None and not self._ending:
            with self._starting, contextlib.suppress(RuntimeError):  # at shutdown no thread starts: `flush` sends
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
def isolated_sender() -> Iterator[None]:
    """Use a separate sender inside the block. What it has not sent by the end is dropped."""
    global _sender  # noqa: PLW0603  # one sender a process
    before, process = _sender, os.getpid()
    _sender = inside = Sender()
    try:
        yield
    finally:
        inside.stop()
        inside.join(_PATIENCE_AT_EXIT)
        _sender = before if os.getpid() == process else Sender()


def flush(within: Duration | None = None) -> bool:
    """Send what waits, on the calling thread, and return whether nothing is left.

    Args:
        within: seconds that this may take, also as `"5s"` or a `timedelta`; default: the deadline of one message.
    """
    if within is None:
        return _sender.flush(settings.current.notify_deadline)
    return _sender.flush(durations.seconds(within, "flush(within)", zero=True))


def _flush_at_exit() -> None:
    if _sender._thread is not None:  # noqa: SLF001  # without a thread there is nothing to send
        _sender.flush(settings.current.notify_deadline, at_exit=True)


def _flush_at_the_end_of_a_worker() -> None:
    """Flush also at the end of a process that `multiprocessing` forked, which skips `atexit`."""
    util = sys.modules.get("multiprocessing.util")
    if util is not None:
        util.Finalize(None, _flush_at_exit, exitpriority=0)


def _replace_after_fork() -> None:
    """In a forked child, replace the sender: the parent's thread is not there."""
    global _sender  # noqa: PLW0603  # one sender a process
    _sender = Sender()


atexit.register(_flush_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_replace_after_fork)
