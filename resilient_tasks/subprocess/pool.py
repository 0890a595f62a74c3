"""The child processes of this process: forked when they are needed, kept warm when they are not."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Callable, Hashable
from typing import cast

import psutil

from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.execution.clock import SLICE
from resilient_tasks.subprocess import environment, process_tree, serialization
from resilient_tasks.subprocess.channel import Channel, EndedError, LateError, Message
from resilient_tasks.subprocess.forkserver import PID, PRELOADED

#: The number of idle children kept for the next call; any number may be at work.
KEPT = os.cpu_count() or 1

_START = "import sys; sys.path[:] = {path!r};from resilient_tasks.subprocess.forkserver import main; main({descriptor})"


class Server:
    """A fork server. For one thread at a time; do not use it again after an exception.

    It is ended when nothing refers to it any more, neither a pool nor a child, and when this process exits.

    Attributes:
        preloaded: keys of the functions it has loaded.
        children: those that are not closed yet.
        modules: the number of modules it has imported.
        sound: whether it can still be forked: no import has left a thread running.
    """

    def __init__(self) -> None:
        ours, theirs = socket.socketpair()
        with theirs:
            code = _START.format(path=[*map(str, sys.path)], descriptor=theirs.fileno())
            self._process = subprocess.Popen(  # noqa: S603  # this very interpreter, with the code above
                [sys.executable, "-c", code],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                start_new_session=True,
            )
        self._channel = Channel(ours)
        self.preloaded: set[Hashable] = set()
        self.children: set[Child] = set()
        self.modules: int = 0
        self.sound: bool = True
        self.close: weakref.finalize[..., Server] = weakref.finalize(self, _end, self._process, self._channel)
        _inherited_by_forks.add(self)

    def preload(self, function: bytes, until: float) -> None:
        """Import what `function` needs."""
        content = serialization.dumps((environment.present().portable(), function))
        self._channel.send(Message.PRELOAD, content, until)
        self.sound, self.modules = PRELOADED.unpack(cast("bytes", self._channel.receive(until)[1]))

    def fork(self, until: float) -> Child:
        """Return a new child."""
        self._channel.send(Message.FORK, until=until)
        pid, descriptors = self._channel.receive_descriptors(PID.size, 2, until)
        child = Child(self, *PID.unpack(pid), *descriptors)
        self.children.add(child)
        return child

    def forget(self) -> None:
        """Let go of it, in a process that was forked from its parent."""
        self.close.detach()
        self._channel.close()
        self._process.returncode = 0  # it is not this process's to wait for


def _end(process: subprocess.Popen[bytes], channel: Channel) -> None:
    channel.close()
    with contextlib.suppress(psutil.NoSuchProcess):
        process_tree.kill_tree(psutil.Process(process.pid))
    process.wait()


class Child:
    """A child process, for one call at a time.

    Attributes:
        server: where it was forked; None once it is closed.
        channel: the messages to and from it.
        modules: the number of modules it was forked with.
        known: keys of the functions it has loaded.
        loaded: the function that is ready to be called, as bytes.
    """

    def __init__(self, server: Server, pid: int, sock: int, ended: int) -> None:
        self.server: Server | None = server
        self.channel: Channel = Channel(socket.socket(fileno=sock))
        self.modules: int = server.modules
        self.known: set[Hashable] = set()
        self.loaded = b""
        self._ended = ended
        self._signs = select.poll()
        self._signs.register(sock, select.POLLIN)
        self._signs.register(ended, select.POLLIN)
        self._around: environment.Environment | None = None
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
        except psutil.NoSuchProcess:
            self._process = None
        _inherited_by_forks.add(self)

    def alive(self) -> bool:
        """Return whether it waits for a call. An idle child that sends something is about to end."""
        return not self._signs.poll(0)

    def fits(self, server: Server | None) -> bool:
        """Return whether it is like a child that `server` would fork now."""
        return server is not None and self.server is server and self.modules == server.modules

    def update(self, until: float) -> None:
        """Send it the environment of this process, if that has changed."""
        now = environment.present()
        if now is not self._around:
            self.channel.send(Message.ENVIRONMENT, serialization.dumps(now.portable()), until)
            self._around = now

    def exit_code(self) -> int | None:
        """Return its exit code (below 0: a signal), or None if that is unknown."""
        poller = select.poll()
        poller.register(self._ended, select.POLLIN)
        code = os.read(self._ended, PID.size) if poller.poll(process_tree.WITHIN * 1000) else b""
        return int(PID.unpack(code)[0]) if code else None

    def kill(self) -> bool:
        """Kill it with everything that it has started, and return whether all of that has ended."""
        ended = self._process is None or process_tree.kill_tree(self._process)
        self.close()
        return ended

    def close(self) -> None:
        """Let go of it. It ends, if it has not ended yet."""
        if self.server is not None:
            self.server.children.discard(self)
            self.server = None
            self.channel.close()
            os.close(self._ended)

    forget = close


class Pool:
    """Hands out children, and takes them back. No lock is held while a child works."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._idle: list[Child] = []
        self._serving = threading.Lock()
        self._server: Server | None = None
        self._unsound: set[Hashable] = set()

    def take(self, key: Hashable, function: bytes, until: float) -> Child:
        """Return a child for `function`, forked with its modules imported.

        Args:
            key: names the function.
            function: the function itself, as bytes.
            until: when to give up, on `time.monotonic`.

        Raises:
            EndedError: no child can be had: the fork server ended again and again.
            LateError: `until` has passed.
        """
        child = self._idle_child(lambda child: key in child.known)
        if child is None and (server := self._server) is not None and key in server.preloaded:
            child = self._idle_child(lambda child: child.fits(server))
        if child is None:
            try:
                child = self._new_child(key, function, until)
            except EndedError:  # the fork server was killed: start another
                child = self._new_child(key, function, until)
        return child

    def give_back(self, child: Child) -> None:
        """Keep a child that waits for its next call."""
        with self._lock:
            kept = len(self._idle) < KEPT and child.fits(self._server)
            if kept:
                self._idle.append(child)
        if not kept:
            child.close()

    def close(self) -> None:
        """End all children, and what they have started."""
        server, self._server = self._server, None
        self._close_stale()
        if server is not None:
            server.close()

    def _idle_child(self, fits: Callable[[Child], bool]) -> Child | None:
        """Return the child that worked last of those that fit, if there is one."""
        while True:
            with self._lock:
                child = next(filter(fits, reversed(self._idle)), None)
                if child is None:
                    return None
                self._idle.remove(child)
            if child.alive():
                return child
            child.close()

    def _close_stale(self) -> None:
        with self._lock:
            stale = [child for child in self._idle if not child.fits(self._server)]
            self._idle = [child for child in self._idle if child not in stale]
        for child in stale:
            child.close()

    def _new_child(self, key: Hashable, function: bytes, until: float) -> Child:
        while not self._serving.acquire(timeout=SLICE):
            if time.monotonic() >= until:
                raise LateError
        try:
            server = self._prepared(key, function, until)
            self._close_stale()
            return self._idle_child(lambda child: child.fits(server)) or server.fork(until)
        except BaseException:  # the server is out of step: it ends when none of its children is at work
            failed, self._server = self._server, None
            self._close_stale()
            if failed is not None and not failed.children:
                failed.close()  # not by its last reference: the error's traceback has one
            raise
        finally:
            self._serving.release()

    def _prepared(self, key: Hashable, function: bytes, until: float) -> Server:
        """Return a server that can be forked for the function."""
        server = self._server = self._server or Server()
        if key not in server.preloaded and key not in self._unsound:
            server.preload(function, until)
            if not server.sound:  # the next server does not load this: its children load it themselves
                self._unsound.add(key)
                server = self._server = Server()
        server.preloaded.add(key)
        return server


_inherited_by_forks: weakref.WeakSet[Server | Child] = weakref.WeakSet()

pool: Pool = Pool()


def _after_fork() -> None:
    global pool  # noqa: PLW0603  # one a process
    for inherited in [*_inherited_by_forks]:  # before the pool lets go of a server, which would end it
        inherited.forget()
    _inherited_by_forks.clear()
    pool = Pool()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
