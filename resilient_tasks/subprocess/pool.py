"""The children of this process: forked when they are needed, kept warm when they are not."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Hashable, Iterator
from contextlib import contextmanager

from resilient_tasks.core import real_time as time
from resilient_tasks.core.clock import SLICE
from resilient_tasks.subprocess.channel import EndedError, LateError
from resilient_tasks.subprocess.server import Child, Server

#: So many children are kept for the next call; there may be any number at work.
KEPT = os.cpu_count() or 1


class Pool:
    """Hands out children, and takes them back. No lock is held while a child works."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._at_work: set[Child] = set()
        self._server: Server | None = None
        self._retired: set[Server] = set()
        self._serving = threading.Lock()
        self._unsound: set[Hashable] = set()

    def take(self, key: Hashable, function: bytes, until: float) -> Child:
        """Return a child for `function`, born with its modules loaded.

        Args:
            key: names the function.
            function: the function itself, in bytes.
            until: when to give up, on `time.monotonic`.

        Raises:
            EndedError: no child could be had: the fork server ended again and again.
            LateError: `until` has come.
        """
        child = self._warm(key)
        if child is None:
            try:
                child = self._taken(key, function, until)
            except EndedError:  # somebody has killed the fork server: another one starts
                child = self._taken(key, function, until)
            with self._lock:
                self._at_work.add(child)
        return child

    def _warm(self, key: Hashable) -> Child | None:
        """Return the child that has loaded the function and was at work last, if there is one."""
        while True:
            with self._lock:
                place = len(self._idle) - 1
                while place >= 0 and key not in self._idle[place].known:
                    place -= 1
                if place < 0:
                    return None
                child = self._idle.pop(place)
                self._at_work.add(child)
            if child.alive():
                return child
            child.close()
            self.drop(child)

    def give_back(self, child: Child) -> None:
        """Keep a child that waits for its next call."""
        with self._lock:
            self._at_work.discard(child)
            kept = len(self._idle) < KEPT and child.server is self._server
            if kept:
                self._idle.append(child)
        if not kept:
            child.close()
        self._tidy()

    def drop(self, child: Child) -> None:
        """Count a child no more: it is dead or closed."""
        with self._lock:
            self._at_work.discard(child)
        self._tidy()

    def close(self) -> None:
        """End all children, and what they have started."""
        servers = self._servers()
        self._server, self._idle, self._retired = None, [], set()
        for server in servers:
            server.close()

    def forget(self) -> None:
        """In a process that was forked from the one whose pool this is: let go of everything."""
        for server in self._servers():
            server.forget()
        for child in (*self._idle, *self._at_work):
            child.close()

    def _servers(self) -> set[Server]:
        return self._retired if self._server is None else {self._server, *self._retired}

    def _taken(self, key: Hashable, function: bytes, until: float) -> Child:
        server = self._server
        if server is None or key not in server.preloaded | self._unsound:
            server = self._prepared(key, function, until)
        with self._lock:
            idle = self._idle
            fit = [child for child in idle if child.modules == server.modules]
            child = next((child for child in reversed(fit) if child.alive()), None)
            self._idle = [other for other in fit if other is not child]
        for other in idle:
            if other not in fit:
                other.close()
        if child is None:
            with self._turn(until), self._sound(server):
                child = server.fork(until)
        return child

    def _prepared(self, key: Hashable, function: bytes, until: float) -> Server:
        with self._turn(until):
            server = self._server = self._server or Server()
            with self._sound(server):
                if key not in server.preloaded | self._unsound:
                    server.preload(key, function, until)
            if not server.sound:
                # To fork it is not safe any more. The next one does not load this: its children do, for themselves.
                self._unsound.add(key)
                self._retire(server)
                server = self._server = Server()
            return server

    @contextmanager
    def _turn(self, until: float) -> Iterator[None]:
        """Have the server for oneself."""
        while not self._serving.acquire(timeout=SLICE):
            if time.monotonic() >= until:
                raise LateError
        try:
            yield
        finally:
            self._serving.release()

    @contextmanager
    def _sound(self, server: Server) -> Iterator[None]:
        """Retire a server that an exception leaves out of step."""
        try:
            yield
        except BaseException:
            self._retire(server)
            raise

    def _retire(self, server: Server) -> None:
        """Fork no more children from this server. It is ended as soon as none of its children is at work."""
        with self._lock:
            self._retired.add(server)
            if self._server is server:
                self._server = None
        self._tidy()

    def _tidy(self) -> None:
        if not self._retired:
            return
        with self._lock:
            needed = {child.server for child in self._at_work}
            spent = self._retired - needed
            self._retired &= needed
            gone = [child for child in self._idle if child.server in spent]
            self._idle = [child for child in self._idle if child not in gone]
        for child in gone:
            child.close()
        for server in spent:
            server.close()


pool = Pool()


def _anew() -> None:
    global pool  # one a process, and this process is new
    inherited, pool = pool, Pool()
    inherited.forget()


def _close() -> None:
    pool.close()


atexit.register(_close)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_anew)
