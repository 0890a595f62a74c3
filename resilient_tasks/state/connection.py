"""Connections that threads share: one uses it at a time, and the last one that does closes it."""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from typing import Any, Generic, Protocol, TypeVar

from resilient_tasks.core.execution.patience import Patience


class Closable(Protocol):
    """A connection."""

    def close(self) -> object:
        """Close it. No thread may be using it, or use it afterwards."""


C = TypeVar("C", bound=Closable)
T = TypeVar("T")

#: Seconds for which a fork waits for the thread that uses a connection.
_BEFORE_A_FORK = 1.0


class SharedConnection(Generic[C]):
    """A connection, lent to one thread at a time.

    To close a connection under a thread that uses it ends the whole process, in SQLite. So `give_up` closes it only if
    no thread has it, and otherwise leaves that to the thread that has it.
    """

    def __init__(self, connection: C) -> None:
        self._connection = connection
        self._in_use = threading.Lock()
        self._given_up = self._closed = self._is_parents = False
        _all.add(self)

    def use(self, work: Callable[[C], T], within: float) -> T:
        """Return what `work` makes of the connection.

        Raises:
            TimeoutError: other threads had it for `within` seconds.
            ConnectionError: it was given up.
        """
        if not self._in_use.acquire(blocking=False) and not Patience(within).acquire(self._in_use):
            msg = f"other threads had the connection for {within:g} s"
            raise TimeoutError(msg)
        try:
            if self._given_up:
                msg = "the connection was given up"
                raise ConnectionError(msg)
            return work(self._connection)
        finally:
            self._in_use.release()
            if self._given_up:
                self._close_if_unused()

    def give_up(self) -> None:
        """Have nobody use it any more, and have it closed: now, or by the thread that uses it."""
        self._given_up = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_parents or not self._in_use.acquire(blocking=False):
            return
        try:
            if not self._closed:
                self._closed = True
                self._connection.close()
        finally:
            self._in_use.release()

    # A fork copies a connection, and the lock of a thread that is not there any more. So no thread uses it meanwhile,
    # and the child closes its copy: SQLite would take the parent's file locks for the child's own.

    def hold_for_a_fork(self) -> bool:
        """Keep threads from using it until `after_a_fork`."""
        return Patience(_BEFORE_A_FORK).acquire(self._in_use)

    def after_a_fork(self, *, held: bool, in_child: bool) -> None:
        """Let threads use it again, in the parent; close the copy, in the child."""
        if held:
            self._in_use.release()
            if in_child:
                self.give_up()
        elif in_child:  # a thread of the parent's was in the middle of something: the copy is never touched again
            self._is_parents = self._given_up = True
            _left_behind.append(self._connection)


_all: weakref.WeakSet[SharedConnection[Any]] = weakref.WeakSet()
_left_behind: list[object] = []
_forking = threading.local()


def _before() -> None:
    _forking.held = [(lent, lent.hold_for_a_fork()) for lent in list(_all)]


def _after(*, in_child: bool) -> None:
    for lent, held in _forking.held:
        lent.after_a_fork(held=held, in_child=in_child)
    _forking.held = []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(in_child=False),
        after_in_child=lambda: _after(in_child=True),
    )
