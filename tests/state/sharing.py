"""Shared stores for tests: a real Redis on loopback, and settings that are restored."""

from __future__ import annotations

import shutil
import signal
import socket
import subprocess
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from resilient_tasks.core import settings
from resilient_tasks.state.states import shared, states

#: A bound for the store, in seconds, for tests of exact numbers: if the store does not answer in time, the process
#: counts alone. Even a busy machine answers sooner.
PATIENT = 20

#: The folder from which other processes import their functions.
HERE = str(Path(__file__).parent)


class RedisServer:
    """Debian's redis-server on a free port of loopback. It keeps nothing on disk, so a restarted one is empty.

    Attributes:
        url: for the setting `store`.
    """

    def __init__(self, program):
        self._program = program
        self._process = None
        self._port = free_port()
        self.url = f"redis://127.0.0.1:{self._port}/0"

    def start(self, within=20):
        """Start it, on the same port each time, and wait until it answers."""
        where = ["--bind", "127.0.0.1", "--port", str(self._port)]
        nothing_kept = ["--save", "", "--appendonly", "no"]
        self._process = subprocess.Popen([self._program, *where, *nothing_kept], stdout=subprocess.DEVNULL)
        until = time.monotonic() + within
        while True:
            try:
                return self.send("PING")
            except OSError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise
            time.sleep(0.01)

    def empty(self):
        """Delete all data."""
        self.send("FLUSHALL")

    def kill(self):
        """Kill it by SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop_answering(self):
        """Suspend it: connections stay open, without answers."""
        self._process.send_signal(signal.SIGSTOP)

    def answer_again(self):
        """Resume it."""
        self._process.send_signal(signal.SIGCONT)

    def end(self):
        """Kill it if it runs."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def send(self, command):
        """Send a command that has a one-line answer."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
            connection.sendall(command.encode() + b"\r\n")
            answer = connection.recv(100)
        assert answer.startswith(b"+"), answer


def a_redis_server():
    """Yield a started `RedisServer`, and kill it."""
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed")
    server = RedisServer(program)
    try:
        server.start()
        yield server
    finally:
        server.end()


def free_port():
    """Return a free port on loopback."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def a_deaf_port():
    """Yield a port on loopback that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        yield deaf.getsockname()[1]


def until_it_answers(within=10):
    """Return the states of this process once their store is available: until then memory stands in."""
    answering = states()
    until = time.monotonic() + within
    while not answering.is_available:
        assert time.monotonic() < until, f"{answering.name} does not answer"
        time.sleep(0.001)
    return answering


@contextmanager
def sharing():
    """Yield `share`, see the fixture, and restore everything."""

    def share(url, bound=0.05):
        before.setenv("RESILIENT_TASKS_STORE_TIMEOUT", str(bound))
        settings.configure(store=url, store_timeout=bound)
        return until_it_answers()

    with pytest.MonkeyPatch.context() as before:
        before.setattr(settings, "current", settings.Settings())
        before.setenv("RESILIENT_TASKS_STORE", "memory:")  # so that the value of `configure` is restored
        yield share
    shared.close()
