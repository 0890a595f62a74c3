"""The process that children are forked from: single-threaded, and with the functions' modules loaded.

To fork a process with several threads is unsafe, and every program with Prefect has several. This one is a fresh
interpreter, so it also needs no `if __name__ == "__main__"` guard in the user's program. It loads the functions that
it is told of, so that every later child finds their modules there. When its parent is gone, it kills all children with
all that they have started.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
import warnings

import psutil

from resilient_tasks.core.clock import SLICE
from resilient_tasks.subprocess import child, environment, process_tree, serialization, threads
from resilient_tasks.subprocess.channel import Channel, EndedError, Incoming, Message

PID = struct.Struct("!i")
PRELOADED = struct.Struct("!?I")

#: A module that takes longer to import than anybody waits (seconds) ends the server.
_STUCK = 120


class ForkServer:
    """Forks children for the process at the other end of `sock`, and says how they end."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._channel = Channel(sock, every=None)
        self._children: dict[int, int] = {}
        self._bell, ring = socket.socketpair()
        self._bell.setblocking(False)
        ring.setblocking(False)
        self._ring = ring
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(ring.fileno(), warn_on_full_buffer=False)
        process_tree.adopt_orphans()

    def serve(self) -> None:
        """Answer until the other end is gone; then kill what is left."""
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        poller.register(self._bell, select.POLLIN)
        with contextlib.suppress(EndedError):
            while True:
                ready = {descriptor for descriptor, _ in poller.poll()}
                if self._bell.fileno() in ready:
                    self._reap()
                if self._sock.fileno() in ready:
                    self._answer()
        for pid in self._children:
            with contextlib.suppress(psutil.Error):
                process_tree.kill_tree(psutil.Process(pid))

    def _answer(self) -> None:
        message, data = self._channel.receive()
        if message is Message.PRELOAD:
            self._preload(data)
        else:
            self._fork()

    def _preload(self, data: bytes | Incoming) -> None:
        around, function = serialization.loads(data)
        environment.put(around)
        signal.alarm(_STUCK)  # meanwhile nothing else is heard, not even that the parent is gone
        show, warnings.showwarning = warnings.showwarning, lambda *_, **__: None  # the parent has shown them
        with contextlib.suppress(Exception, SystemExit):  # the child meets the same, and can tell of it
            serialization.loads(function)
        warnings.showwarning = show
        signal.alarm(0)
        self._channel.send(Message.PRELOADED, PRELOADED.pack(threads.can_fork(), len(sys.modules)))

    def _fork(self) -> None:
        theirs, its_own = socket.socketpair()
        ended, end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Later Pythons warn of any thread; those that C libraries keep take care of forks themselves.
            warnings.simplefilter("ignore", DeprecationWarning)
            pid = os.fork()
        if pid == 0:
            signal.set_wakeup_fd(-1)
            for descriptor in (end, ended, *self._children.values()):
                os.close(descriptor)
            for sock in (theirs, self._bell, self._ring, self._sock):
                sock.close()
            child.run(its_own)
        self._children[pid] = end
        its_own.close()
        socket.send_fds(self._sock, [PID.pack(pid)], [theirs.fileno(), ended])
        theirs.close()
        os.close(ended)

    def _reap(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._bell.recv(1024)
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                end = self._children.pop(pid, None)
                if end is None:
                    continue  # an orphan of a child that is gone
                with contextlib.suppress(OSError):
                    os.write(end, PID.pack(os.waitstatus_to_exitcode(status)))
                os.close(end)
                self._kill_orphans()

    def _kill_orphans(self) -> None:
        """End what a dead child has left running."""
        for process in psutil.Process().children():
            if process.pid not in self._children:
                process_tree.kill_tree(process, within=SLICE)


def main(descriptor: int) -> None:
    """Be the fork server of the process at the other end of an inherited socket."""
    ForkServer(socket.socket(fileno=descriptor)).serve()
    os._exit(0)
