"""A connection that threads share: one uses it at a time, and the last user closes it."""

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
        """Close the connection. No thread may use it meanwhile or afterwards."""


C = TypeVar("C", bound=Closable)
T = TypeVar("T")

#: Seconds for which a fork waits for the thread that uses a connection.
_BEFORE_A_FORK = 1.0


class SharedConnection(Generic[C]):
    """A connection that one thread uses at a time.

    SQLite ends the whole process if a connection is closed while another thread uses it. So `retire` closes an idle
    connection, and leaves one in use to the thread that uses it.
    """

    def __init__(self, connection: C) -> None:
        self._connection = connection
        self._in_use = threading.Lock()
        self._retired = self._closed = self._is_inherited = False
        _all.add(self)

    def use(self, work: Callable[[C], T], within: float) -> T:
        """Return the result of `work(connection)`.

        Raises:
            TimeoutError: other threads used it for `within` seconds.
            ConnectionError: it was retired.
        """
        if not self._in_use.acquire(blocking=False) and not Patience(within).acquire(self._in_use):
            msg = f"other threads used the connection for {within:g} s"
            raise TimeoutError(msg)
        try:
            if self._retired:
                msg = "the connection was replaced or closed"
                raise ConnectionError(msg)
            return work(self._connection)
        finally:
            self._in_use.release()
            if self._retired:
                self._close_if_unused()

    def retire(self) -> None:
        """Allow no further use, and close it: now, or when the thread that uses it is done."""
        self._retired = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._is_inherited or not self._in_use.acquire(blocking=False):
            return
        try:
            if not self._closed:
                self._closed = True
                self._connection.close()
        finally:
            self._in_use.release()

    # A fork copies the connection, and possibly a lock whose thread does not exist in the child. So no thread uses the
    # connection during a fork. The child closes its copy: SQLite would mistake the parent's file locks for its own.

    def before_fork(self) -> bool:
        """Keep threads from using it until `after_fork`."""
        return Patience(_BEFORE_A_FORK).acquire(self._in_use)

    def after_fork(self, *, held: bool, in_child: bool) -> None:
        """In the parent, let threads use it again; in the child, close the copy."""
        if held:
            self._in_use.release()
            if in_child:
                self.retire()
        elif in_child:  # a thread of the parent was using it: the copy is never touched again
            self._is_inherited = self._retired = True
            _never_closed.append(self._connection)


_all: weakref.WeakSet[SharedConnection[Any]] = weakref.WeakSet()
_never_closed: list[object] = []
_forking = threading.local()


def _before() -> None:
    _forking.held = [(connection, connection.before_fork()) for connection in list(_all)]


def _after(*, in_child: bool) -> None:
    for connection, held in _forking.held:
        connection.after_fork(held=held, in_child=in_child)
    _forking.held = []


if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before,
        after_in_parent=lambda: _after(in_child=False),
        after_in_child=lambda: _after(in_child=True),
    )
