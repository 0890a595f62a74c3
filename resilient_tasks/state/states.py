"""The store that this process uses, and the states in it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, cast

from resilient_tasks.core import settings
from resilient_tasks.core.store import StateStore, opened_by
from resilient_tasks.state.client import States
from resilient_tasks.state.failover import StoreUnavailable
from resilient_tasks.state.views import Views

__all__ = ["ConfiguredStates", "States", "StoreUnavailable", "count", "shared", "states", "use_store"]


class ConfiguredStates:
    """The states in the store that a setting names: opened on first use, and again when the setting changes.

    Args:
        where: returns the store, or its URL, from the settings.
        how: arguments of `States`, besides its bound.

    Attributes:
        opened_for: the settings that the states were opened for. While those are in force, `views` is valid.
        views: per-process caches of the states.
    """

    opened_for: settings.Settings | None
    views: Views
    _states: States | None

    def __init__(self, where: Callable[[settings.Settings], StateStore | str], **how: Any) -> None:
        self._where = where
        self._how = how
        self._states = None
        self.forget()

    def forget(self) -> None:
        """Reset, as a forked child does: caches and connections are the parent's."""
        self._forced = False
        self._opening = threading.Lock()
        self._put(None, None)

    def close(self) -> None:
        """Close the store, and reset."""
        if self._states is not None:
            self._states.close()
        self.forget()

    def states(self) -> States:
        """Return the states.

        Raises:
            PolicyError: the setting names no valid store.
        """
        if self._states is not None and self.opened_for is settings.current:
            return self._states
        return self._open(settings.current)

    def ready(self) -> States | None:
        """Return the states if they are open. Opening may import a library, which some callers cannot wait for."""
        opened_for, chosen = self.opened_for, settings.current
        is_current = (
            self._forced or opened_for is chosen or (opened_for and self._named(opened_for) == self._named(chosen))
        )
        return self._states if is_current else None

    def _put(self, states: States | None, opened_for: settings.Settings | None) -> None:
        self.opened_for = None  # a thread may read both meanwhile
        if self._states is not None and self._states is not states:
            settings.renew()  # closes the fast paths to the old states
        self._states, self.views = states, Views() if states is None else states.views
        self.opened_for = opened_for

    @contextmanager
    def use(self, store: StateStore) -> Iterator[States]:
        """Use `store` inside the block, regardless of the settings."""
        opened = States(store, type(store).__name__, bound=settings.current.store_timeout, **self._how)
        with self._opening:
            before, was_forced = self._states, self._forced
            before_for = self.opened_for
            self._forced = True
            self._put(opened, settings.current)
        try:
            yield opened
        finally:
            opened.close()
            with self._opening:
                self._forced = was_forced
                self._put(before, before_for)

    def _open(self, chosen: settings.Settings) -> States:
        with self._opening:
            before, states = self.opened_for, self._states
            is_other = before is None or self._named(before) != self._named(chosen)
            if states is None or (is_other and not self._forced):
                store, name = opened_by(self._where(chosen), chosen.store_timeout)
                opened = States(store, name, bound=chosen.store_timeout, **self._how)
                if states is not None:
                    states.close()
                states = opened
            self._put(states, chosen)
            return states

    def _named(self, chosen: settings.Settings) -> tuple[object, float]:
        return self._where(chosen), chosen.store_timeout


#: The states that policies share: one store per process.
shared: ConfiguredStates = ConfiguredStates(lambda chosen: cast("StateStore | str", chosen.store))
states: Callable[[], States] = shared.states
use_store: Callable[[StateStore], AbstractContextManager[States]] = shared.use

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=shared.forget)


def count(key: str, *, ttl: float | None = None) -> int:
    """Add 1 to the counter under `key` and return it. It starts again at 1 `ttl` seconds after its first increment."""

    def add_one(state: bytes | None, now: float) -> tuple[bytes, int]:
        number, ends = _parsed(state) if state is not None else (0, _END)
        ends = ends if ttl is None else min(ends, now + ttl)  # in case a clock was fast for a moment
        if now >= ends or state is None:
            # Time counts from the first increment: otherwise frequent events would keep a counter alive for ever.
            number, ends = 0, _END if ttl is None else now + ttl
        return f"{number + 1} {ends!r}".encode(), number + 1

    return states().update(key, add_one, ttl=ttl)


_END = float("inf")


def _parsed(state: bytes) -> tuple[int, float]:
    number, _, ends = state.decode().partition(" ")
    return int(number), float(ends)
