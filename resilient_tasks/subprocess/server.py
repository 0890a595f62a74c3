"""The fork server and its children, as their parent sees them."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import subprocess
import sys
from collections.abc import Hashable
from typing import cast

import psutil

from resilient_tasks.subprocess import environment, process_tree, serialization
from resilient_tasks.subprocess.channel import Channel, Message
from resilient_tasks.subprocess.forkserver import PID, PRELOADED

_START = (
    "import sys; sys.path[:] = {path!r};"
    "from resilient_tasks.subprocess.forkserver import main; main({descriptor})"
)


class Server:
    """A fork server. Of use to one thread at a time; after an exception from it, of no more use.

    Attributes:
        preloaded: the functions that it was told of.
        modules: how many modules it has loaded.
        sound: it can be forked: nothing that it loaded has left a thread running.
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
        self.modules = 0
        self.sound = True

    def preload(self, key: Hashable, function: bytes, until: float) -> None:
        """Have it load what `function` needs."""
        around = environment.changes(None, environment.present())
        self._channel.send(Message.PRELOAD, serialization.dumps((around, function)), until)
        self.sound, self.modules = PRELOADED.unpack(cast("bytes", self._channel.receive(until)[1]))
        self.preloaded.add(key)

    def fork(self, until: float) -> Child:
        """Return a new child."""
        self._channel.send(Message.FORK, until=until)
        pid, descriptors = self._channel.receive_descriptors(PID.size, 2, until)
        return Child(self, *PID.unpack(pid), *descriptors)

    def close(self) -> None:
        """End it with all its children, and what those have started."""
        self._channel.close()
        with contextlib.suppress(psutil.NoSuchProcess):
            process_tree.kill_tree(psutil.Process(self._process.pid))
        self._process.wait()

    def forget(self) -> None:
        """In a process that was forked from its parent: let go of it."""
        self._channel.close()
        self._process.returncode = 0  # it is not this process's to wait for


class Child:
    """A child process, for one call at a time.

    Attributes:
        server: where it was forked.
        channel: the messages to and from it.
        modules: how many modules it was born with.
        known: the functions that it has loaded.
        loaded: the one that it has at hand, in bytes.
    """

    def __init__(self, server: Server, pid: int, sock: int, ended: int) -> None:
        self.server = server
        self.channel = Channel(socket.socket(fileno=sock))
        self.modules = server.modules
        self.known: set[Hashable] = set()
        self.loaded = b""
        self._ended = ended
        self._signs = select.poll()
        self._signs.register(sock, select.POLLIN)
        self._signs.register(ended, select.POLLIN)
        self._around: environment.Surroundings | None = None
        try:
            self._process: psutil.Process | None = psutil.Process(pid)
        except psutil.NoSuchProcess:
            self._process = None

    def alive(self) -> bool:
        """Whether it waits for a call. One that says something of its own accord is at its end."""
        return not self._signs.poll(0)

    def surround(self, until: float) -> None:
        """Give it the environment of this process, as far as they have changed."""
        now = environment.present()
        if now is not self._around:
            changes = environment.changes(self._around, now)
            self.channel.send(Message.ENVIRONMENT, serialization.dumps(changes), until)
            self._around = now

    def exit_code(self, within: float = process_tree.WITHIN) -> int | None:
        """Return how it ended (below 0: by that signal), or None if nobody can tell."""
        poller = select.poll()
        poller.register(self._ended, select.POLLIN)
        if not poller.poll(within * 1000):
            return None
        told = os.read(self._ended, PID.size)
        return int(PID.unpack(told)[0]) if told else None

    def kill(self) -> bool:
        """Kill it with all that it has started, and tell whether all of it has ended."""
        ended = self._process is None or process_tree.kill_tree(self._process)
        self.close()
        return ended

    def close(self) -> None:
        """Let go of it. It ends, if it has not ended yet."""
        if self._ended >= 0:
            self.channel.close()
            os.close(self._ended)
            self._ended = -1
