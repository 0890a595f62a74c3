"""The process from which children are forked: single-threaded, with the functions' modules imported.

Forking a process with several threads is unsafe, and every program with Prefect has several. This one is a fresh
interpreter, so the user's program needs no `if __name__ == "__main__"` either. It imports what each new function needs,
for all later children. When its parent is gone, it kills all children with everything they have started.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import struct
import sys
import threading
import warnings
from pathlib import Path

import psutil

from resilient_tasks.core.execution.clock import SLICE
from resilient_tasks.subprocess import child, process_tree, serialization
from resilient_tasks.subprocess.channel import Channel, EndedError, Incoming, Message

PID = struct.Struct("!i")
PRELOADED = struct.Struct("!?I")

#: A module that takes longer to import (seconds) ends the server.
_STUCK = 120

#: Names that Linux knows of threads which start when a library is imported, and which its children can do without.
_HARMLESS = ("jemalloc_bg_thd", "polars-ooc")


def main(descriptor: int) -> None:
    """Run the fork server of the process at the other end of an inherited socket."""
    _ForkServer(socket.socket(fileno=descriptor)).serve()
    os._exit(0)


class _ForkServer:
    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self._channel = Channel(sock, every=None)
        self._children: dict[int, int] = {}  # pids, and the pipes through which their parent gets the exit code
        self._bell, self._ring = socket.socketpair()
        self._ring.setblocking(False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._ring.fileno(), warn_on_full_buffer=False)
        process_tree.adopt_orphans()

    def serve(self) -> None:
        """Answer until the other end is closed; then kill what is left."""
        poller = select.poll()
        poller.register(self._sock, select.POLLIN)
        poller.register(self._bell, select.POLLIN)
        with contextlib.suppress(EndedError):
            while True:
                ready = {descriptor for descriptor, _ in poller.poll()}
                if self._bell.fileno() in ready:
                    self._bell.recv(1024)
                    self._reap()
                if self._sock.fileno() in ready:
                    message, content = self._channel.receive()
                    self._preload(content) if message is Message.PRELOAD else self._fork()
        for pid in self._children:
            with contextlib.suppress(psutil.Error):
                process_tree.kill_tree(psutil.Process(pid))

    def _preload(self, content: bytes | Incoming) -> None:
        around, function = serialization.loads(content)
        around.apply()
        signal.alarm(_STUCK)  # an import blocks everything else, even the end of the parent
        show, warnings.showwarning = warnings.showwarning, lambda *_, **__: None  # the parent has shown them
        with contextlib.suppress(Exception, SystemExit):  # the child meets the same error, and reports it
            serialization.loads(function)
        warnings.showwarning = show
        signal.alarm(0)
        self._channel.send(Message.PRELOADED, PRELOADED.pack(_can_fork(), len(sys.modules)))

    def _fork(self) -> None:
        theirs, its_own = socket.socketpair()
        ended, end = os.pipe()
        sys.stdout.flush()
        sys.stderr.flush()
        with warnings.catch_warnings():
            # Later Pythons warn of any thread; those that C libraries keep handle forks themselves.
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
        with contextlib.suppress(OSError):  # the parent is gone: the next message says so
            socket.send_fds(self._sock, [PID.pack(pid)], [theirs.fileno(), ended])
        theirs.close()
        os.close(ended)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while (found := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = found
                end = self._children.pop(pid, None)
                if end is None:
                    continue  # an adopted orphan
                with contextlib.suppress(OSError):
                    os.write(end, PID.pack(os.waitstatus_to_exitcode(status)))
                os.close(end)
                for process in psutil.Process().children():  # what the child has left running
                    if process.pid not in self._children:
                        process_tree.kill_tree(process, within=SLICE)


def _can_fork() -> bool:
    """Return whether no thread runs here but this one, and those that cope with a fork.

    What another thread holds at a fork is never released in the child. A library that was only imported is no danger;
    one that was used may be: after a first query polars has a pool of threads, for which a forked child waits forever.
    """
    if threading.active_count() > 1:
        return False
    if sys.platform != "linux":
        return True
    main_thread = _name(Path(f"/proc/self/task/{os.getpid()}"))
    names = [name for name in map(_name, Path("/proc/self/task").iterdir()) if not name.startswith(_HARMLESS)]
    return names.count(main_thread) == len(names) <= 1 + _openblas_threads()


def _name(task: Path) -> str:
    return (task / "comm").read_text().strip()


def _openblas_threads() -> int:
    """Return how many nameless threads numpy's and scipy's linear algebra may keep: they stop for a fork."""
    mapped = Path("/proc/self/maps").read_text(encoding="utf-8", errors="replace").splitlines()
    libraries = {line.split()[-1] for line in mapped if "openblas" in line}
    return len(libraries) * ((os.cpu_count() or 1) - 1)
