"""The states that policies share: within a stated time, and with this process's own memory while the store is gone."""

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

#: Given a state (None: there is none) and the time on the store's clock, gives the next state and a result. It may be
#: asked more than once for one change, so it does nothing else.
Change: TypeAlias = Callable[[bytes | None, float], tuple[bytes | None, T]]

#: States of which it is remembered what was put there last: it is likely to stand there still.
_REMEMBERED = 1024

#: Tries to change a state that others keep changing, before a call gives that up: time alone says nothing about them.
_TRIES = 5

#: Seconds for which no call waits for long, after one has waited in vain.
_HURRY = 1.0


class _Unanswered(Exception):  # it never leaves this file
    """The store did not answer a question."""

    def __init__(self, error: Exception, size: int = 0) -> None:
        super().__init__()
        self.error = error
        self.size = size


def _nothing(_result: object) -> None:
    """Take nothing in."""


class States:
    """The states that policies share, in a store that may be slow or gone.

    A question that the store does not answer within `bound` seconds is answered by this process's own memory, and so
    are all that follow, until it is back: see `Failover`. So a store takes no work down with it, and costs a call no
    more than that, once. It is told once, as soon as memory has answered anything (`store.lost`, `store.regained`).

    A store that answers, but is kept busy by other threads and processes, is not given up. A call waits for it up to
    `patience` seconds, of the time in which its process runs. Then it alone goes by what is known here, and what it
    changed is told once the store is less busy.

    Args:
        store: where the states are.
        name: how the store is called in events.
        bound: seconds.
        patience: seconds that a call may wait for its turn, and for others to leave a state alone; default: ten times
            `bound`.
        stand_in: False: a question that the store does not answer raises `StoreUnavailable` instead.
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
        #: What the policies of this process know of shared states, by key.
        self.views: Views = Views()
        self._store = store
        #: The store, where it is the memory of this process: what stands there is asked for without fail.
        self.memory: MemoryStore | None = store if type(store) is MemoryStore else None
        # Of the type: what wraps a store to change `swap` has not changed this.
        self._update: Callable[..., None] | None = getattr(type(store), "update", None)
        self._version: Callable[..., int] | None = getattr(type(store), "version", None)
        self._claims: Callable[..., Claims | None] | None = getattr(type(store), "claims", None)
        self._bound = bound
        self._patience = 10 * bound if patience is None else patience
        self._stand_in = stand_in
        self._hurry_until = 0.0
        self._last: dict[str, bytes] = {}
        self._turn = threading.Lock()
        self._turn_here = threading.RLock()
        self._failover = Failover(store, name, self._turn, bound, stand_in=stand_in)
        #: Called when a store that was gone is back: it may have heard what it was told last too late, or not at all.
        self.on_regained: list[Callable[[], None]] = self._failover.on_regained
        if self.is_shared:
            # To open a file takes as long as this machine is slow: that says nothing about the file.
            self._failover.lose(None, 0, self._patience if self._update else bound)
            self._failover.look_for_it()
            _ = self._failover.is_available  # a store that is fast is there at once

    @property
    def is_shared(self) -> bool:
        """Whether other processes may see these states."""
        return self.memory is None

    @property
    def is_available(self) -> bool:
        """Whether the store answers, as far as is known."""
        return self._failover.memory is None

    def now(self) -> float:
        """Return the present on the clock that the states go by."""
        return self._store.now()

    def version(self) -> int | None:
        """Return a number that changes when another process has written to the store; None as in `at_once`."""
        return None if self._version is None else self.at_once(self._version)

    def at_once(self, question: Callable[..., T], *given: Any) -> T | None:
        """Return what the store itself says. None: it cannot now, or another thread has its turn."""
        if self._failover.memory is not None or not self._turn.acquire(blocking=False):
            return None
        try:
            return question(self._store, *given)
        except Exception:  # what is wrong with it shows as soon as it is asked something that counts
            return None
        finally:
            self._turn.release()

    def look(self, key: str) -> bytes | None:
        """Return the state under `key`; None as in `at_once`, and where there is none."""
        return self.at_once(type(self._store).get, key)

    def claims(self) -> Claims | None:
        """Return the claims of the processes that use the store; None where it has none."""
        if self._claims is None or self._failover.memory is not None:
            return None
        try:
            return self._claims(self._store)
        except OSError:
            return None

    def get(self, key: str) -> bytes | None:
        """Return the state under `key`, or None where there is none."""
        return self._answer(lambda _: self._ask(self._store.get, key), lambda memory: memory.get(key), key)

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`."""
        return self._answer(lambda _: self._ask(self._store.keys, prefix), lambda memory: memory.keys(prefix))

    def update(self, key: str, change: Change[T], *, ttl: TimeToLive[T] = None) -> T:
        """Replace the bytes under `key` by what `change` makes of them, and return its result.

        Between what `change` was given and what it returned nobody else has changed the state. A `change` that returns
        the state as it was, or None, writes nothing.

        Args:
            key: name of the state.
            change: see `Change`.
            ttl: see `TimeToLive`.
        """
        return self._changed(key, change, ttl, _nothing)

    def step(
        self,
        key: str,
        decode: Decode[L],
        step: LiveStep[L, T],
        *,
        ttl: TimeToLive[T] = None,
        take_in: Callable[[T], None] = _nothing,
    ) -> T:
        """Change the state under `key`, as an object, by one step, and return its result.

        The memory of this process keeps the object. For any other store it is decoded and encoded for each step, which
        may be made more than once for one change: so a step changes nothing but its state.

        Args:
            key: name of the state.
            decode: see `Decode`.
            step: see `LiveStep`.
            ttl: see `TimeToLive`.
            take_in: called with the result before another thread of this process asks the store anything.
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
            return _swapped_in(self.memory, key, step)
        work = self._swapped if self._update is None else self._locked
        return self._answer(
            lambda patience: work(key, step, patience), lambda memory: _swapped_in(memory, key, step), key, take_in
        )

    def view(self, key: str, make: Callable[[States, str], V]) -> V:
        """Return what this process knows of the state under `key`; made by `make(states, key)` when first asked for."""
        return cast("V", self.views.get(key) or self.views.made(key, lambda: make(self, key)))

    def forget(self, key: str, decode: Decode[L], after: Callable[[L], float]) -> None:
        """Delete a state from this process's memory `after` so many seconds; in a store that is shared it stays."""
        memory, now = self.memory or self._failover.memory, self.now()
        if memory is not None:
            memory.forget(key, lambda state: after(decode(state, now) if type(state) is bytes else state))
        self._last.pop(key, None)

    def close(self) -> None:
        """Let go of the store."""
        self._failover.close(self._patience)

    # How a question is answered.

    def _answer(
        self,
        there: Callable[[Patience], T],
        here: Callable[[MemoryStore], T],
        key: str = "",
        take_in: Callable[[T], None] = _nothing,
    ) -> T:
        """Have the store answer, or a memory in its place.

        Args:
            there: asks the store.
            here: asks a memory.
            key: of the state that is asked for.
            take_in: see `update`.
        """
        hurry = time.monotonic() < self._hurry_until
        patience = Patience(min(self._bound, self._patience) if hurry else self._patience, max(STEP, self._bound))
        for _ in range(2):  # a server closes connections that were idle: then it is back at once, and asked again
            if not self._failover.is_available:
                break
            try:
                return self._in_turn(there, take_in, patience)
            except Contended as busy:
                return self._go_on_without(here, key, take_in, busy)
            except _Unanswered:
                self._failover.look_for_it()
        return self._here(here, take_in, self._failover.instead())

    def _in_turn(self, there: Callable[[Patience], T], take_in: Callable[[T], None], patience: Patience) -> T:
        """Ask one thing at a time: threads that outbid each other inside the store would keep it busy in vain."""
        ours = self._turn.acquire(blocking=False)
        if not ours and not patience.acquire(self._turn, unless=lambda: self._failover.memory is not None):
            self._see_that_it_is_there()
            msg = "other threads had their turn all the time"
            raise Contended(msg)
        began = time.monotonic()
        try:
            self._see_that_it_is_there()
            result = there(patience)
            take_in(result)
        except _Unanswered as unanswered:
            self._last.clear()
            took = time.monotonic() - began
            # A store answers or fails within its bound: where it took longer, this process was stopped.
            grace = self._bound if took > 2 * self._bound else max(0.0, self._bound - took)
            # Before others have their turn: they would wait for it as well.
            self._failover.lose(unanswered.error, unanswered.size, grace)
            raise
        else:
            return result
        finally:
            self._turn.release()

    def _see_that_it_is_there(self) -> None:
        if self._failover.memory is not None:
            raise _Unanswered(ConnectionError("another thread has lost it meanwhile"))

    def _go_on_without(
        self, here: Callable[[MemoryStore], T], key: str, take_in: Callable[[T], None], busy: Contended
    ) -> T:
        """Answer one question by what is known here: the store is well, but busy with others."""
        self._hurry_until = time.monotonic() + _HURRY
        if not self._stand_in:
            msg = f"{self.name} is busy: {busy}"
            raise StoreUnavailable(msg)
        self._failover.owe()
        memory = MemoryStore(self._store.now)
        known = self._last.get(key)
        if known is not None:
            memory.swap(key, None, known)
        return self._here(here, take_in, memory)

    def _here(self, here: Callable[[MemoryStore], T], take_in: Callable[[T], None], memory: MemoryStore) -> T:
        with self._turn_here:
            result = here(memory)
            take_in(result)
        return result

    def _ask(self, question: Callable[..., T], *given: Any) -> T:
        try:
            return question(*given)
        except Contended:
            raise
        except Exception as error:
            raise _Unanswered(error) from None

    def _locked(self, key: str, step: _Step[T], patience: Patience) -> T:
        """Change a state while the store keeps others out."""
        assert self._update is not None  # noqa: S101  # or `_swapped` is called
        try:
            self._update(self._store, key, step.take, within=max(0.0, patience.left))
        except Contended:
            raise
        except Exception as error:
            if error is step.error:
                raise
            raise _Unanswered(error, step.doubt()) from None
        self._remember(key, step.stands)
        return step.result

    def _swapped(self, key: str, step: _Step[T], patience: Patience) -> T:
        """Change a state as soon as nobody else does so in between."""
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
                    raise _Unanswered(error, step.doubt()) from None
            if done:
                self._remember(key, step.stands)
                return step.result
            # A guess that was wrong is nobody's contention.
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
    """A change of a state, and what came of it the last time that it was tried.

    Attributes:
        stands: the state after it.
        error: what the change itself raised.
        result: of the change.
    """

    __slots__ = ("_change", "_doubt", "_now", "_ttl", "error", "result", "stands")

    result: T

    def __init__(self, change: Change[T], ttl: TimeToLive[T], now: Callable[[], float]) -> None:
        self._change = change
        self._ttl = ttl
        self._now = now
        self._doubt: bytes | None = None
        self.stands: bytes | None = None
        self.error: Exception | None = None

    def take(self, old: bytes | None) -> tuple[bytes | None, float | None]:
        """See `Step` in `core.store`."""
        if old is not None and old == self._doubt:
            return None, None  # the store has kept it, and its answer was lost: it is not done twice
        try:
            new, self.result = self._change(old, self._now())
            ttl = self._ttl(self.result) if callable(self._ttl) else self._ttl
        except Exception as error:
            self.error = error
            raise
        self.stands = old if new is None else new
        return (None if new == old else new), ttl

    def doubt(self) -> int:
        """Take note that the store may have kept the state, and return how large that is."""
        self._doubt = self.stands
        return 0 if self.stands is None else len(self.stands)


def _swapped_in(memory: MemoryStore, key: str, step: _Step[T]) -> T:
    """Change a state in the memory that stands in for the store."""
    while True:
        old = memory.get(key)
        new, ttl = step.take(old)
        if new is None or memory.swap(key, old, new, ttl=ttl)[0]:
            return step.result
