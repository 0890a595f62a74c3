"""Shared state as one process sees it: bounded waits, compare-and-swap with retries, and memory during outages."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Generic, TypeAlias, TypeVar, cast

from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.execution.patience import STEP, Patience
from resilient_tasks.core.store import Claims, Contended, Decode, L, LiveStep, MemoryStore, StateStore, TimeToLive
from resilient_tasks.state.failover import Failover, StoreUnavailable
from resilient_tasks.state.views import View, Views

T = TypeVar("T")
V = TypeVar("V", bound=View)

#: From a state (None: there is none) and the time on the store's clock, returns the next state and a result. It may be
#: called several times for one change, so it has no side effects.
Change: TypeAlias = Callable[[bytes | None, float], tuple[bytes | None, T]]

#: Keys of which the last value written is remembered, as a first guess for the next swap.
_REMEMBERED = 1024

#: Swaps that a call tries at least, under contention, before it gives up: a slow machine may use up the time alone.
_TRIES = 5

#: Seconds after a wait in vain during which calls wait for `bound` only.
_HURRY = 1.0


class _NoAnswer(Exception):  # it never leaves this file
    """The store did not answer."""

    def __init__(self, error: Exception, size: int = 0) -> None:
        super().__init__()
        self.error = error
        self.size = size


def _ignore(_result: object) -> None:
    """Do nothing with a result."""


class States:
    """States that policies share, in a store that may be slow or unavailable.

    If the store does not answer within `bound` seconds, this process's own memory answers instead, and does so until
    the store is back: see `Failover`. An outage therefore costs one call at most `bound`, and no call its work. It is
    reported once, as soon as memory has answered a call (`store.lost`, `store.regained`).

    A store that answers, but is busy with other threads and processes, is kept. A call waits up to `patience` seconds
    for it, counted while its process runs. Then that one call uses what this process knows, and its change is written
    once the store is less busy.

    Args:
        store: holds the states.
        name: the store's name in events.
        bound: seconds.
        patience: seconds that a call may wait for other threads, and for others to stop changing the state; default:
            ten times `bound`.
        stand_in: False: raise `StoreUnavailable` instead of using memory.
    """

    def __init__(
        self,
        store: StateStore,
        name: str,
        *,
        bound: float = 0.05,
        patience: float | None = None,
        stand_in: bool = True,
    ) -> None:
        self.name = name
        #: Per-process caches of shared states, by key.
        self.views: Views = Views()
        self._store = store
        #: The store, if it is this process's memory, which always answers.
        self.memory: MemoryStore | None = store if type(store) is MemoryStore else None
        # Looked up on the type: a wrapper that changes `swap` alone must not pass on the inner store's other methods.
        self._update: Callable[..., None] | None = getattr(type(store), "update", None)
        self._version: Callable[..., int] | None = getattr(type(store), "version", None)
        self._claims: Callable[..., Claims | None] | None = getattr(type(store), "claims", None)
        self._bound = bound
        self._patience = 10 * bound if patience is None else patience
        self._stand_in = stand_in
        self._hurry_until = 0.0
        self._last: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self._memory_lock = threading.RLock()
        self._failover = Failover(store, name, self._lock, bound, stand_in=stand_in)
        #: Called when a lost store is back: the last updates may have reached it late, or not at all.
        self.on_regained: list[Callable[[], None]] = self._failover.on_regained
        if self.is_shared:
            # A slow machine opens a file slowly, which is no fault of the file.
            self._failover.lose(None, 0, self._patience if self._update else bound)
            self._failover.reconnect()
            _ = self._failover.is_available  # waits a moment for a store that is fast

    @property
    def is_shared(self) -> bool:
        """Whether other processes may see these states."""
        return self.memory is None

    @property
    def is_available(self) -> bool:
        """Whether the store answers, as far as is known."""
        return self._failover.memory is None

    def now(self) -> float:
        """Return the time on the store's clock."""
        return self._store.now()

    def version(self) -> int | None:
        """Return a number that changes when another process writes to the store; None as in `look`."""
        return None if self._version is None else self._ask_if_free(self._version)

    def look(self, key: str) -> bytes | None:
        """Return the state under `key`; None if there is none, the store is unavailable, or another thread uses it."""
        return self._ask_if_free(type(self._store).get, key)

    def _ask_if_free(self, question: Callable[..., T], *given: Any) -> T | None:
        if self._failover.memory is not None or not self._lock.acquire(blocking=False):
            return None
        try:
            return question(self._store, *given)
        except Exception:  # the next call that needs an answer will handle it
            return None
        finally:
            self._lock.release()

    def claims(self) -> Claims | None:
        """Return the claims of the processes that use the store; None if it has none."""
        if self._claims is None or self._failover.memory is not None:
            return None
        try:
            return self._claims(self._store)
        except OSError:
            return None

    def get(self, key: str) -> bytes | None:
        """Return the state under `key`, or None."""
        return self._run(lambda _: self._ask(self._store.get, key), lambda memory: memory.get(key), key)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`."""
        return self._run(lambda _: self._ask(self._store.keys, prefix), lambda memory: memory.keys(prefix))

    def update(self, key: str, change: Change[T], *, ttl: TimeToLive[T] = None) -> T:
        """Replace the bytes under `key` by what `change` makes of them, and return its result.

        This is atomic: a state that changed in the meantime is passed to `change` again. If `change` returns the state
        unchanged, or None, nothing is written.

        Args:
            key: name of the state.
            change: see `Change`.
            ttl: see `TimeToLive`.
        """
        return self._changed(key, change, ttl, _ignore)

    def step(
        self,
        key: str,
        decode: Decode[L],
        step: LiveStep[L, T],
        *,
        ttl: TimeToLive[T] = None,
        take_in: Callable[[T], None] = _ignore,
    ) -> T:
        """Change the state under `key`, as an object, by one step, and return its result.

        This process's memory keeps the object. For any other store, each step decodes and encodes it, and may run
        several times for one change: so a step changes nothing but its state.

        Args:
            key: name of the state.
            decode: see `Decode`.
            step: see `LiveStep`.
            ttl: see `TimeToLive`.
            take_in: called with the result before another thread of this process uses the store.
        """
        if self.memory is not None:
            return self.memory.step(key, decode, step, ttl, take_in)

        def change(state: bytes | None, now: float) -> tuple[bytes | None, T]:
            after, result = step(decode(state, now), now)
            return (None if after is None else after.encode()), result

        return self._changed(key, change, ttl, take_in)

    def _changed(self, key: str, change: Change[T], ttl: TimeToLive[T], take_in: Callable[[T], None]) -> T:
        step = _Step(change, ttl, self._store.now)
        if self.memory is not None:
            return _changed_in(self.memory, key, step)
        work = self._swapped if self._update is None else self._locked
        return self._run(
            lambda patience: work(key, step, patience), lambda memory: _changed_in(memory, key, step), key, take_in
        )

    def view(self, key: str, make: Callable[[States, str], V]) -> V:
        """Return this process's cache of the state under `key`; made by `make(states, key)` on first use."""
        return cast("V", self.views.get(key) or self.views.made(key, lambda: make(self, key)))

    def forget(self, key: str, decode: Decode[L], after: Callable[[L], float]) -> None:
        """Delete a state from this process's memory in `after(state)` seconds; a shared store keeps it."""
        memory, now = self.memory or self._failover.memory, self.now()
        if memory is not None:
            memory.forget(key, lambda state: after(decode(state, now) if type(state) is bytes else state))
        self._last.pop(key, None)

    def close(self) -> None:
        """Close the store."""
        self._failover.close(self._patience)

    # How the store, or a memory in its place, runs a question.

    def _run(
        self,
        on_store: Callable[[Patience], T],
        on_memory: Callable[[MemoryStore], T],
        key: str = "",
        take_in: Callable[[T], None] = _ignore,
    ) -> T:
        hurry = time.monotonic() < self._hurry_until
        patience = Patience(min(self._bound, self._patience) if hurry else self._patience, max(STEP, self._bound))
        for _ in range(2):  # a server closes idle connections: then the first retry reaches it
            if not self._failover.is_available:
                break
            try:
                return self._run_on_store(on_store, take_in, patience)
            except Contended as busy:
                return self._run_without_store(on_memory, key, take_in, busy)
            except _NoAnswer:
                self._failover.reconnect()
        return self._run_on_memory(on_memory, take_in, self._failover.instead())

    def _run_on_store(self, on_store: Callable[[Patience], T], take_in: Callable[[T], None], patience: Patience) -> T:
        """Run one question at a time: threads that compete inside the store would only keep it busy."""
        ours = self._lock.acquire(blocking=False)
        if not ours and not patience.acquire(self._lock, unless=lambda: self._failover.memory is not None):
            self._check_available()
            msg = "other threads used it all the time"
            raise Contended(msg)
        began = time.monotonic()
        try:
            self._check_available()
            result = on_store(patience)
            take_in(result)
        except _NoAnswer as failure:
            self._last.clear()
            took = time.monotonic() - began
            # A store answers or fails within its bound. If it took longer, this process was stopped meanwhile.
            grace = self._bound if took > 2 * self._bound else max(0.0, self._bound - took)
            # Before the lock is free: the next thread would wait for the store as well.
            self._failover.lose(failure.error, failure.size, grace)
            raise
        else:
            return result
        finally:
            self._lock.release()

    def _check_available(self) -> None:
        if self._failover.memory is not None:
            raise _NoAnswer(ConnectionError("another thread has lost it meanwhile"))

    def _run_without_store(
        self, on_memory: Callable[[MemoryStore], T], key: str, take_in: Callable[[T], None], busy: Contended
    ) -> T:
        """Answer one question from what this process knows: the store is up, but busy."""
        self._hurry_until = time.monotonic() + _HURRY
        if not self._stand_in:
            msg = f"{self.name} is busy: {busy}"
            raise StoreUnavailable(msg)
        self._failover.notify_when_free()
        memory = MemoryStore(self._store.now)
        known = self._last.get(key)
        if known is not None:
            memory.swap(key, None, known)
        return self._run_on_memory(on_memory, take_in, memory)

    def _run_on_memory(
        self, on_memory: Callable[[MemoryStore], T], take_in: Callable[[T], None], memory: MemoryStore
    ) -> T:
        with self._memory_lock:
            result = on_memory(memory)
            take_in(result)
        return result

    def _ask(self, question: Callable[..., T], *given: Any) -> T:
        try:
            return question(*given)
        except Contended:
            raise
        except Exception as error:
            raise _NoAnswer(error) from None

    def _locked(self, key: str, step: _Step[T], patience: Patience) -> T:
        """Change a state while the store locks others out."""
        assert self._update is not None  # noqa: S101  # else `_swapped` is called
        try:
            self._update(self._store, key, step.take, within=max(0.0, patience.left))
        except Contended:
            raise
        except Exception as error:
            if error is step.error:
                raise
            raise _NoAnswer(error, step.unconfirmed()) from None
        self._remember(key, step.after)
        return step.result

    def _swapped(self, key: str, step: _Step[T], patience: Patience) -> T:
        """Change a state by compare-and-swap, repeated while others change it."""
        known = self._last.get(key)
        guessed = known is not None
        old = known if guessed else self._ask(self._store.get, key)
        tries = 0
        while True:
            new, ttl = step.take(old)
            if new is None:
                if not guessed:
                    return step.result
                done, old = False, self._ask(self._store.get, key)
            else:
                try:
                    done, old = self._store.swap(key, old, new, ttl=ttl)
                except Exception as error:
                    raise _NoAnswer(error, step.unconfirmed()) from None
            if done:
                self._remember(key, step.after)
                return step.result
            # A wrong guess is no contention.
            tries, guessed = tries + (not guessed), False
            if patience.is_over and tries >= _TRIES:
                msg = f"others kept changing {key}"
                raise Contended(msg)

    def _remember(self, key: str, state: bytes | None) -> None:
        if state is None:
            return
        self._last.pop(key, None)
        self._last[key] = state
        if len(self._last) > _REMEMBERED:
            del self._last[next(iter(self._last))]


class _Step(Generic[T]):
    """A change of a state, and the outcome of its last try.

    Attributes:
        after: the state after it.
        error: raised by the change itself.
        result: of the change.
    """

    __slots__ = ("_change", "_now", "_ttl", "_unconfirmed", "after", "error", "result")

    result: T

    def __init__(self, change: Change[T], ttl: TimeToLive[T], now: Callable[[], float]) -> None:
        self._change = change
        self._ttl = ttl
        self._now = now
        self._unconfirmed: bytes | None = None
        self.after: bytes | None = None
        self.error: Exception | None = None

    def take(self, old: bytes | None) -> tuple[bytes | None, float | None]:
        """See `Step` in `core.store`."""
        if old is not None and old == self._unconfirmed:
            return None, None  # the store has kept it and the answer was lost: the change is not repeated
        try:
            new, self.result = self._change(old, self._now())
            ttl = self._ttl(self.result) if callable(self._ttl) else self._ttl
        except Exception as error:
            self.error = error
            raise
        self.after = old if new is None else new
        return (None if new == old else new), ttl

    def unconfirmed(self) -> int:
        """Record that the store may have kept the state, and return its size in bytes."""
        self._unconfirmed = self.after
        return 0 if self.after is None else len(self.after)


def _changed_in(memory: MemoryStore, key: str, step: _Step[T]) -> T:
    while True:
        old = memory.get(key)
        new, ttl = step.take(old)
        if new is None or memory.swap(key, old, new, ttl=ttl)[0]:
            return step.result
