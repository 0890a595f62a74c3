"""Failover: memory stands in for a lost store, and a thread reconnects to it."""

from __future__ import annotations

import contextlib
import threading
import uuid
from collections.abc import Callable

from resilient_tasks.core.events import StoreLost, StoreRegained, bus
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.execution.patience import Patience
from resilient_tasks.core.failures import describe
from resilient_tasks.core.store import Contended, MemoryStore, StateStore

#: Prefix of a key that is written to see whether the store is back: a store that can only be read is not.
_PROBE = "is-there/"
#: Seconds for which a probe is kept.
_PROBE_KEPT = 10.0

#: Seconds between attempts to reconnect: doubling from the first to the last.
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 2.0

#: Seconds for which a store without a stand-in may be lost before that is reported.
_MOMENT = 1.0

#: If memory stood in for a store, and it is lost again within `_RELAPSE` seconds of its return, it has to answer for a
#: trial period before it counts as back: seconds, doubling from the first to the last.
_RELAPSE, _FIRST_TRIAL, _LAST_TRIAL = 1.0, 0.1, 60.0

#: In events about the store itself, in place of a function's name.
_OPERATION = "state store"


class StoreUnavailable(ConnectionError):
    """The store does not answer, and nothing stands in for it."""


class Failover:
    """Whether a store is available, and the memory in its place while it is not.

    Args:
        store: used by one thread at a time, which holds `lock`.
        name: its name in events.
        lock: see `store`.
        bound: seconds for which a call waits for it.
        stand_in: False: while it is lost, calls fail with `StoreUnavailable`.

    Attributes:
        memory: stands in for a lost store; None if the store is available.
        on_regained: called when a lost store is back: the last updates may have reached it late, or not at all.
    """

    def __init__(self, store: StateStore, name: str, lock: threading.Lock, bound: float, *, stand_in: bool) -> None:
        self.memory: MemoryStore | None = None
        self.on_regained: list[Callable[[], None]] = []
        self._store = store
        self._name = name
        self._lock = lock
        self._bound = bound
        self._stand_in = stand_in
        self._state_lock = threading.Lock()
        self._closed = threading.Event()
        self._tried, self._grace = threading.Event(), Patience(0.0)
        self._probe_key = f"{_PROBE}{uuid.uuid4().hex[:8]}"
        self._size = 0
        self._must_reconnect = False
        self._why: Exception | None = None
        self._reported = False
        self._lost_at = 0.0
        self._back_at = float("-inf")
        self._trial = 0.0
        self._memory_before: MemoryStore | None = None
        self._notice_due = self._notifies = False

    def lose(self, error: Exception | None, size: int, grace: float) -> None:
        """Use memory until the store is back. Call `reconnect` next, without the store's lock.

        Args:
            error: why it is lost; None: it was not used yet.
            size: bytes of the value that it failed to write. It is back once it can keep as many.
            grace: seconds for which calls wait for the first attempt to reconnect.
        """
        with self._state_lock:
            if self.memory is not None:
                return
            relapse = time.monotonic() - self._back_at < _RELAPSE + 2 * self._trial
            self._trial = min(_LAST_TRIAL, max(_FIRST_TRIAL, 2 * self._trial)) if relapse else 0.0
            # The memory of the last outage is better than an empty one.
            before = self._memory_before if relapse else None
            self._tried, self._grace = threading.Event(), Patience(grace)
            self._must_reconnect = True
            self._why, self._lost_at, self._size = error, time.monotonic(), size
            self.memory = before or MemoryStore(self._store.now)

    def reconnect(self) -> None:
        """Reconnect to a lost store in a thread, unless one does so already."""
        with self._state_lock:
            if not self._must_reconnect:
                return
            self._must_reconnect, tried = False, self._tried
        if self._closed.is_set():
            tried.set()
        elif not _in_a_thread(self._reconnect, tried):
            self._reconnect(tried, once=True)

    @property
    def is_available(self) -> bool:
        """Whether the store answers. If it was lost just now, wait for the first attempt to reconnect."""
        return self.memory is None or (
            not self._tried.is_set() and self._grace.wait(self._tried) and self.memory is None
        )

    def instead(self) -> MemoryStore:
        """Return the memory that stands in, and report the loss once.

        Raises:
            StoreUnavailable: without a stand-in.
        """
        # Without a stand-in, calls wait for the store anyway: a short outage is no news.
        a_moment = not self._stand_in and time.monotonic() - self._lost_at < _MOMENT
        if not self._reported and not self._closed.is_set() and not a_moment:
            self._reported = True
            why = self._why or TimeoutError(f"not reached within {self._bound * 1000:g} ms")
            waits = not self._stand_in
            bus.emit(StoreLost(operation=_OPERATION, store=self._name, message=describe(why), waits=waits))
        if not self._stand_in:
            raise StoreUnavailable(f"{self._name} does not answer")
        return self.memory or MemoryStore(self._store.now)

    def notify_when_free(self) -> None:
        """Call `on_regained` once the store is less busy: an update did not reach it."""
        with self._state_lock:
            self._notice_due = True
            if self._notifies or not self.on_regained:
                return
            self._notifies = True
        if not _in_a_thread(self._notify):
            self._notifies = False

    def close(self, within: float) -> None:
        """Close the store. A thread that uses it has `within` seconds to finish."""
        self._closed.set()
        has_lock = Patience(within).acquire(self._lock)
        try:
            self._store.close()
        finally:
            if has_lock:
                self._lock.release()

    def _reconnect(self, tried: threading.Event, *, once: bool = False) -> None:
        began, pause, answers_since = time.monotonic(), 0.0, None
        while not self._closed.wait(pause):
            try:
                self._probe_store(connect=answers_since is None)
            except Exception as error:
                self._why = self._why or error
                pause, answers_since = min(_LAST_PAUSE, max(_FIRST_PAUSE, 2 * pause)), None
            else:
                now = time.monotonic()
                answers_since, pause = answers_since or now, _FIRST_PAUSE
                if now - answers_since >= self._trial:
                    self._mark_regained(began)
                    break
            finally:
                tried.set()
            if once:
                break
        tried.set()

    def _probe_store(self, *, connect: bool) -> None:
        """Connect, and write a probe.

        A thread that waits for an answer finishes first: it holds the lock. Other calls use memory meanwhile.
        """
        while not self._lock.acquire(timeout=_LAST_PAUSE):
            if self._closed.is_set():
                return
        try:
            if self._closed.is_set():
                return
            if connect:
                self._store.connect()
            kept = uuid.uuid4().hex.encode().ljust(self._size)
            with contextlib.suppress(Contended):  # others can write to it, so it is up
                self._store.swap(self._probe_key, self._store.get(self._probe_key), kept, ttl=_PROBE_KEPT)
        finally:
            if self._closed.is_set():
                self._store.close()
            self._lock.release()

    def _mark_regained(self, began: float) -> None:
        with self._state_lock:
            self._memory_before, self.memory = self.memory, None
            # A connection that was closed while idle does not count as an outage.
            if self._reported and self._stand_in:
                self._back_at = time.monotonic()
        if self._closed.is_set():
            return
        for notify in list(self.on_regained):
            notify()
        if self._reported:
            self._reported = False
            bus.emit(StoreRegained(operation=_OPERATION, store=self._name, seconds=time.monotonic() - began))

    def _notify(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed.wait(pause):
            self._notice_due = False
            for notify in list(self.on_regained):
                with contextlib.suppress(StoreUnavailable):
                    notify()
            pause = min(_LAST_PAUSE, 2 * pause)
            with self._state_lock:
                if not self._notice_due:
                    self._notifies = False
                    return


def _in_a_thread(work: Callable[..., None], *given: object) -> bool:
    """Run `work` in a thread. Return False if the interpreter is shutting down and starts none."""
    try:
        threading.Thread(target=work, args=given, name="resilient:store", daemon=True).start()
    except RuntimeError:
        return False
    return True
