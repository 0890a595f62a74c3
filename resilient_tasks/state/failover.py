"""Whether a store answers, what stands in for it while it does not, and the thread that looks for it."""

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

#: A store is asked to keep something under this key, to see whether it is back: one that can only be read is not.
_PROBE = "is-there/"
#: Seconds for which that is kept.
_PROBE_KEPT = 10.0

#: Seconds between attempts to reach a store that is gone: doubling from the first to the last.
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 2.0

#: Seconds for which a store may be gone before it is told, where nothing stands in for it.
_MOMENT = 1.0

#: A store whose place memory has taken, and that is lost again within so many seconds of being back, has to answer for
#: a while before it counts as back: seconds, doubling from the first to the last.
_RELAPSE, _FIRST_TRIAL, _LAST_TRIAL = 1.0, 0.1, 60.0

#: In events about the store itself, in the place of a function's name.
_OPERATION = "state store"


class StoreUnavailable(ConnectionError):
    """The store does not answer, and nothing stands in for it."""


class Failover:
    """Whether a store answers.

    Args:
        store: the store. It is asked by one thread at a time, the one that holds `turn`.
        name: how it is called in events.
        turn: see `store`.
        bound: seconds for which a call waits for it.
        stand_in: False: while it is gone, calls fail with `StoreUnavailable`.

    Attributes:
        memory: stands in for the store while that is gone; None: it is there.
        on_regained: called when a store that was gone is back: it may have heard what it was told last too late, or not
            at all.
    """

    def __init__(self, store: StateStore, name: str, turn: threading.Lock, bound: float, *, stand_in: bool) -> None:
        self.memory: MemoryStore | None = None
        self.on_regained: list[Callable[[], None]] = []
        self._store = store
        self._name = name
        self._turn = turn
        self._bound = bound
        self._stand_in = stand_in
        self._changing = threading.Lock()
        self._closed = threading.Event()
        self._tried, self._grace = threading.Event(), Patience(0.0)
        self._probe = f"{_PROBE}{uuid.uuid4().hex[:8]}"
        self._size = 0
        self._to_look = False
        self._why: Exception | None = None
        self._told = False
        self._lost_at = 0.0
        self._back_at = float("-inf")
        self._trial = 0.0
        self._memory_before: MemoryStore | None = None
        self._owes = self._pays = False

    def lose(self, error: Exception | None, size: int, grace: float) -> None:
        """Go by memory until the store is back. `look_for_it` is to be called next, without the turn.

        Args:
            error: what it did instead of answering; None: it was not asked yet.
            size: bytes that it was to keep. It is back when it keeps as many.
            grace: seconds for which calls wait for the first try to reach it.
        """
        with self._changing:
            if self.memory is not None:
                return
            relapse = time.monotonic() - self._back_at < _RELAPSE + 2 * self._trial
            self._trial = min(_LAST_TRIAL, max(_FIRST_TRIAL, 2 * self._trial)) if relapse else 0.0
            # What this process knew while the store was gone before is better than to know nothing.
            before = self._memory_before if relapse else None
            self._tried, self._grace = threading.Event(), Patience(grace)
            self._to_look = True
            self._why, self._lost_at, self._size = error, time.monotonic(), size
            self.memory = before or MemoryStore(self._store.now)

    def look_for_it(self) -> None:
        """Have a thread look for a store that was lost, if none does so already."""
        with self._changing:
            if not self._to_look:
                return
            self._to_look, tried = False, self._tried
        if self._closed.is_set():
            tried.set()
        elif not _in_a_thread(self._come_back, tried):
            self._come_back(tried, once=True)

    @property
    def is_available(self) -> bool:
        """Whether the store answers. One that was lost just now is tried again at once: that is waited for."""
        return self.memory is None or (
            not self._tried.is_set() and self._grace.wait(self._tried) and self.memory is None
        )

    def instead(self) -> MemoryStore:
        """Return the memory that stands in, and tell of it once.

        Raises:
            StoreUnavailable: nothing is to stand in.
        """
        # What waits for the store is none the worse for a moment.
        a_moment = not self._stand_in and time.monotonic() - self._lost_at < _MOMENT
        if not self._told and not self._closed.is_set() and not a_moment:
            self._told = True
            why = self._why or TimeoutError(f"not reached within {self._bound * 1000:g} ms")
            waits = not self._stand_in
            bus.emit(StoreLost(operation=_OPERATION, store=self._name, message=describe(why), waits=waits))
        if not self._stand_in:
            raise StoreUnavailable(f"{self._name} does not answer")
        return self.memory or MemoryStore(self._store.now)

    def owe(self) -> None:
        """Call `on_regained` once the store is less busy: it was not told something."""
        with self._changing:
            self._owes = True
            if self._pays or not self.on_regained:
                return
            self._pays = True
        if not _in_a_thread(self._pay):
            self._pays = False

    def close(self, within: float) -> None:
        """Let go of the store. A thread that asks it something has so many seconds to end."""
        self._closed.set()
        has_turn = Patience(within).acquire(self._turn)
        try:
            self._store.close()
        finally:
            if has_turn:
                self._turn.release()

    def _come_back(self, tried: threading.Event, *, once: bool = False) -> None:
        began, pause, answers_since = time.monotonic(), 0.0, None
        while not self._closed.wait(pause):
            try:
                self._reach(connect=answers_since is None)
            except Exception as error:
                self._why = self._why or error
                pause, answers_since = min(_LAST_PAUSE, max(_FIRST_PAUSE, 2 * pause)), None
            else:
                now = time.monotonic()
                answers_since, pause = answers_since or now, _FIRST_PAUSE
                if now - answers_since >= self._trial:
                    self._is_back(began)
                    break
            finally:
                tried.set()
            if once:
                break
        tried.set()

    def _reach(self, *, connect: bool) -> None:
        """Connect, and have the store keep something.

        A thread that is waiting for an answer ends first: it has the turn. Other calls go by memory meanwhile.
        """
        while not self._turn.acquire(timeout=_LAST_PAUSE):
            if self._closed.is_set():
                return
        try:
            if self._closed.is_set():
                return
            if connect:
                self._store.connect()
            kept = uuid.uuid4().hex.encode().ljust(self._size)
            with contextlib.suppress(Contended):  # others can write to it: so it is there
                self._store.swap(self._probe, self._store.get(self._probe), kept, ttl=_PROBE_KEPT)
        finally:
            if self._closed.is_set():
                self._store.close()
            self._turn.release()

    def _is_back(self, began: float) -> None:
        with self._changing:
            self._memory_before, self.memory = self.memory, None
            # A connection that had been closed while it was idle is no sign that the store comes and goes.
            if self._told and self._stand_in:
                self._back_at = time.monotonic()
        if self._closed.is_set():
            return
        for tell in list(self.on_regained):
            tell()
        if self._told:
            self._told = False
            bus.emit(StoreRegained(operation=_OPERATION, store=self._name, seconds=time.monotonic() - began))

    def _pay(self) -> None:
        pause = _FIRST_PAUSE
        while not self._closed.wait(pause):
            self._owes = False
            for tell in list(self.on_regained):
                with contextlib.suppress(StoreUnavailable):
                    tell()
            pause = min(_LAST_PAUSE, 2 * pause)
            with self._changing:
                if not self._owes:
                    self._pays = False
                    return


def _in_a_thread(work: Callable[..., None], *given: object) -> bool:
    """Have a thread of its own do it. Return False where none starts any more: the interpreter is shutting down."""
    try:
        threading.Thread(target=work, args=given, name="resilient:store", daemon=True).start()
    except RuntimeError:
        return False
    return True
