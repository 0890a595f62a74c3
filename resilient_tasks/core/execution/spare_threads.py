"""Threads that have done their work and wait for more: to start one costs more than to wake one."""

from __future__ import annotations

import contextvars
import os
import queue
import threading
from collections.abc import Callable

#: Seconds for which a thread waits for more work.
_PATIENCE = 10.0

_idle: list[SpareThread] = []


class SpareThread(threading.Thread):
    """A thread that does one work after another, each in the context of the one who asked for it.

    Attributes:
        left: nothing waits for its work any more, so it takes no other one on.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.left = False
        self._todo: queue.SimpleQueue[tuple[contextvars.Context, Callable[[], None]]] = queue.SimpleQueue()

    def ask(self, name: str, work: Callable[[], None]) -> None:
        """Have it do this work under this name; the work catches its own errors."""
        self.name = name
        self._todo.put((contextvars.copy_context(), work))

    def run(self) -> None:
        while True:
            try:
                context, work = self._todo.get(timeout=_PATIENCE)
            except queue.Empty:
                try:
                    _idle.remove(self)
                except ValueError:  # it was just chosen
                    continue
                return
            context.run(work)
            del context, work
            if self.left:
                return
            _idle.append(self)


def have_done(name: str, work: Callable[[], None]) -> SpareThread:
    """Have a thread do this work, and return the thread. It sees this thread's context variables."""
    try:
        thread = _idle.pop()
    except IndexError:
        thread = SpareThread()
        thread.start()
    thread.ask(name, work)
    return thread


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_idle.clear)
