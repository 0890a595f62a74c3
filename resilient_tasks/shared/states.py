"""The states that policies share: within a stated time, and with this process's own memory while the store is gone."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, TypeAlias, TypeVar, cast

from resilient_tasks.core import real_time as time
from resilient_tasks.core import settings
from resilient_tasks.core.events import StoreLost, StoreRegained, bus
from resilient_tasks.core.failures import describe
from resilient_tasks.core.store import MemoryStore, StateStore, opened_by

T = TypeVar("T")
V = TypeVar("V")

#: Given a state (None: there is none) and the time on the store's clock, gives the next state and a result. It may be
#: asked more than once for one change, so it does nothing else.
Change: TypeAlias = Callable[[bytes | None, float], tuple[bytes | None, T]]

#: Asked for to see whether a store is back.
_PROBE = "is-there"

#: Seconds between attempts to reach a store that is gone: doubling from the first to the last.
_FIRST_PAUSE, _LAST_PAUSE = 0.05, 2.0

#: Seconds for which a store may be gone before it is told, where nothing stands in for it.
_MOMENT = 1.0


class Ask(Protocol):
    """Puts a question to the store, or to what stands in for it."""

    def __call__(self, question: Callable[[StateStore], T], /) -> T: ...


class StoreAway(ConnectionError):
    """The store does not answer, and nothing stands in for it."""


class States:
    """The states that policies share, in a store that may be slow or gone.

    A question that the store does not answer within `bound` seconds is answered by this process's own memory, and so
    are all that follow, until it is back: a thread of its own looks for it meanwhile. So a store takes no work down
    with it, and costs a call no more than that, once. It is told once, as soon as memory has answered anything
    (`store.lost`, `store.regained`). A store that answers, but too slowly for all threads that ask it, is given up for
    the moment too, after `patience` seconds.

    Args:
        store: where the states are.
        name: how the store is called in events.
        bound: seconds.
        patience: seconds that a call may wait for its turn, or for others to leave a state alone; default: ten times
            `bound`.
        stand_in: False: a question that the store does not answer raises `StoreAway` instead.
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
        self.views: dict[str, Any] = {}
        #: Called when a store that was gone is back: it may have heard what it was told last too late, or not at all.
        self.when_back: list[Callable[[], None]] = []
        self._store = store
        self._bound = bound
        self._patience = 10 * bound if patience is None else patience
        self._stand_in = stand_in
        self._last: dict[str, bytes | None] = {}
        self._turn = threading.Lock()
        self._losing = threading.Lock()
        self._closed = threading.Event()
        self._instead: MemoryStore | None = None
        self._why: Exception | None = None
        self._told = False
        self._lost_at = 0.0
        if self.is_shared:
            self._lose(None).wait(bound)

    @property
    def is_shared(self) -> bool:
        """Whether other processes may see these states."""
        return type(self._store) is not MemoryStore

    @property
    def is_there(self) -> bool:
        """Whether the store answers, as far as is known."""
        return self._instead is None

    def now(self) -> float:
        """Return the present on the clock that the states go by."""
        return self._store.now()

    def get(self, key: str) -> bytes | None:
        """Return the state under `key`, or None where there is none."""
        return self._in_turn(lambda ask: ask(lambda store: store.get(key)))

    def keys(self, prefix: str) -> list[str]:
        """Return the keys that begin with `prefix`."""
        return self._in_turn(lambda ask: ask(lambda store: store.keys(prefix)))

    def update(self, key: str, change: Change[T], *, ttl: float | None = None) -> T:
        """Replace the state under `key` by what `change` makes of it, and return its result.

        Between what `change` was given and what it returned nobody else has changed the state. A `change` that returns
        the state as it was, or None, writes nothing.
        """
        return self._in_turn(lambda ask: self._updated(ask, key, change, ttl))

    def view(self, key: str, make: Callable[[States, str], V]) -> V:
        """Return what this process knows of the state under `key`; made by `make(states, key)` when first asked for."""
        return cast("V", self.views.get(key) or self.views.setdefault(key, make(self, key)))

    def close(self) -> None:
        """Let go of the store."""
        self._closed.set()
        self._store.close()

    def _updated(self, ask: Ask, key: str, change: Change[T], ttl: float | None) -> T:
        until = time.monotonic() + self._patience
        # What was put last is likely to stand there still, and then the store is asked once instead of twice.
        guessed = key in self._last
        old = self._last[key] if guessed else ask(lambda store: store.get(key))
        while True:
            new, result = change(old, self._store.now())
            if new is None or new == old:
                if not guessed:
                    return result
                done, old = False, ask(lambda store: store.get(key))
            else:
                done, old = ask(functools.partial(_swap, key, old, new, ttl))
            if done:
                self._last[key] = old
                return result
            was_a_guess, guessed = guessed, False
            # A guess that was wrong is nobody's contention, however long this process was kept from running meanwhile.
            if time.monotonic() > until and not was_a_guess:
                ask = self._give_up(f"others kept changing {key}")
                old = ask(lambda store: store.get(key))

    def _in_turn(self, work: Callable[[Ask], T]) -> T:
        """Do one thing at a time: threads that outbid each other inside the store would keep it busy in vain."""
        if not self._turn.acquire(timeout=self._patience):
            return work(self._give_up("calls waited for their turn"))
        try:
            return work(self._ask)
        finally:
            self._turn.release()

    def _give_up(self, why: str) -> Ask:
        """Give the store up for the moment, and return what answers in its place."""
        self._lose(TimeoutError(f"{why} for {self._patience:g} s"))
        memory = self._alone()

        def ask(question: Callable[[StateStore], T], /) -> T:
            return question(memory)

        return ask

    def _ask(self, question: Callable[[StateStore], T]) -> T:
        until = time.monotonic() + self._bound
        for _ in range(2):  # a server closes connections that were idle: then it is back at once, and asked again
            if self._instead is not None:
                break
            try:
                return question(self._store)
            except Exception as error:
                self._lose(error).wait(max(0.0, until - time.monotonic()))
        return question(self._alone())

    def _alone(self) -> MemoryStore:
        """Return the memory that stands in, and tell of it once."""
        # What waits for the store is none the worse for a moment.
        a_moment = not self._stand_in and time.monotonic() - self._lost_at < _MOMENT
        if not self._told and not self._closed.is_set() and not a_moment:
            self._told = True
            why = self._why or TimeoutError(f"not reached within {self._bound * 1000:g} ms")
            told = StoreLost(operation=_OPERATION, store=self.name, message=describe(why), waits=not self._stand_in)
            bus.emit(told)
        if not self._stand_in:
            raise StoreAway(f"{self.name} does not answer")
        return self._instead or MemoryStore(self._store.now)

    def _lose(self, error: Exception | None) -> threading.Event:
        """Go by memory until the store is back. The event says that it was tried to reach it once."""
        tried = threading.Event()
        with self._losing:
            if self._instead is not None:
                tried.set()  # by another thread
                return tried
            self._instead, self._why, self._lost_at = MemoryStore(self._store.now), error, time.monotonic()
            self._last.clear()
        threading.Thread(target=self._come_back, args=(tried,), name="resilient:store", daemon=True).start()
        return tried

    def _come_back(self, tried: threading.Event) -> None:
        began, pause = time.monotonic(), 0.0
        while not self._closed.wait(pause):
            try:
                self._store.connect()
                self._store.get(_PROBE)
            except Exception as error:
                self._why = self._why or error
                pause = min(_LAST_PAUSE, max(_FIRST_PAUSE, 2 * pause))
            else:
                self._instead = None
                break
            finally:
                tried.set()
        for tell in [] if self._closed.is_set() else self.when_back:
            tell()
        if self._told and not self._closed.is_set():
            self._told = False
            bus.emit(StoreRegained(operation=_OPERATION, store=self.name, seconds=time.monotonic() - began))


def _swap(key: str, old: bytes | None, new: bytes, ttl: float | None, store: StateStore) -> tuple[bool, bytes | None]:
    return store.swap(key, old, new, ttl=ttl)


#: In events about the store itself, in the place of a function's name.
_OPERATION = "state store"


class Chosen:
    """The states that a setting names: opened when first asked for, and again when the setting names another store.

    Args:
        where: reads from the settings which store it is.
        how: arguments of `States`, besides its bound.
    """

    def __init__(self, where: Callable[[settings.Settings], StateStore | str], **how: Any) -> None:
        self._where = where
        self._how = how
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child does: what the parent knows and is connected to is not the child's."""
        self._states: States | None = None
        self._opened_for: settings.Settings | None = None
        self._forced = False
        self._opening = threading.Lock()

    def close(self) -> None:
        """Let go of the store, and begin anew."""
        if self._states is not None:
            self._states.close()
        self.forget()

    def states(self) -> States:
        """Return the states.

        Raises:
            PolicyError: the setting names no store.
        """
        if self._states is not None and (self._opened_for is settings.current or self._forced):
            return self._states
        return self._open(settings.current)

    def ready(self) -> States | None:
        """Return the states if they are open. To open them takes longer than some can wait: it imports a library."""
        opened_for, chosen = self._opened_for, settings.current
        is_it = self._forced or opened_for is chosen or (opened_for and self._named(opened_for) == self._named(chosen))
        return self._states if is_it else None

    @contextmanager
    def use(self, store: StateStore) -> Iterator[States]:
        """Keep the states in `store` inside the block, whatever the settings say."""
        opened = States(store, type(store).__name__, bound=settings.current.store_timeout, **self._how)
        with self._opening:
            before = self._states, self._forced
            self._states, self._forced = opened, True
        try:
            yield opened
        finally:
            opened.close()
            with self._opening:
                self._states, self._forced = before

    def _open(self, chosen: settings.Settings) -> States:
        with self._opening:
            if self._forced and self._states is not None:
                return self._states
            before = self._opened_for
            if self._states is None or before is None or self._named(before) != self._named(chosen):
                store, name = opened_by(self._where(chosen), chosen.store_timeout)
                opened = States(store, name, bound=chosen.store_timeout, **self._how)
                if self._states is not None:
                    self._states.close()
                self._states = opened
            self._opened_for = chosen
            return self._states

    def _named(self, chosen: settings.Settings) -> tuple[object, float]:
        return self._where(chosen), chosen.store_timeout


#: What policies share: one store a process.
shared = Chosen(lambda chosen: cast("StateStore | str", chosen.store))
states = shared.states
use_store = shared.use

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shared.forget)


def count(key: str, *, ttl: float | None = None) -> int:
    """Add one to the number under `key`, and return it: 1 the first time, and again `ttl` seconds after that."""

    def add_one(state: bytes | None, now: float) -> tuple[bytes, int]:
        number, ends = _parsed(state) if state is not None else (0, _END)
        if now >= ends or state is None:
            # The time runs from the first: a failure every minute must not hide behind itself for ever.
            number, ends = 0, _END if ttl is None else now + ttl
        return f"{number + 1} {ends!r}".encode(), number + 1

    return states().update(key, add_one, ttl=ttl)


_END = float("inf")


def _parsed(state: bytes) -> tuple[int, float]:
    number, _, ends = state.decode().partition(" ")
    return int(number), float(ends)
