"""Stores that processes share, for tests: a real Redis on loopback, and settings that are put back."""

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

#: Seconds, as a bound for the store, where each answer counts: a question that it does not answer in time is answered
#: by the process alone, and then nothing is exact. A busy machine takes less.
PATIENT = 20

#: Where other processes find what they are to do.
HERE = str(Path(__file__).parent)


class RedisServer:
    """Debian's redis-server on a free port of loopback. It keeps nothing on disk, so a restarted one is empty.

    Attributes:
        url: how a store is told of it.
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
                return self.say("PING")
            except OSError:
                if time.monotonic() > until or self._process.poll() is not None:
                    raise
            time.sleep(0.01)

    def empty(self):
        """Forget everything."""
        self.say("FLUSHALL")

    def kill(self):
        """End it at once, by SIGKILL."""
        self._process.kill()
        self._process.wait()

    def stop_answering(self):
        """Suspend it: its connections stay open, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def answer_again(self):
        """Let it go on."""
        self._process.send_signal(signal.SIGCONT)

    def end(self):
        """End it, whatever state it is in."""
        if self._process is not None and self._process.poll() is None:
            self.kill()

    def say(self, command):
        """Have it do something that it answers with a word."""
        with socket.create_connection(("127.0.0.1", self._port), timeout=5) as connection:
            connection.sendall(command.encode() + b"\r\n")
            answer = connection.recv(100)
        assert answer.startswith(b"+"), answer


def a_redis_server():
    """Give a `RedisServer` that was started, and end it."""
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
    """Return a port of loopback on which nothing listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


@contextmanager
def a_deaf_port():
    """Give a port of loopback that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        yield deaf.getsockname()[1]


def until_it_answers(within=10):
    """Return the states of this process, once their store answers: until then it goes by its own memory."""
    answering = states()
    until = time.monotonic() + within
    while not answering.is_available:
        assert time.monotonic() < until, f"{answering.name} does not answer"
        time.sleep(0.001)
    return answering


@contextmanager
def sharing():
    """Give `share`, see the fixture, and put everything back."""

    def share(url, bound=0.05):
        before.setenv("RESILIENT_TASKS_STORE_TIMEOUT", str(bound))
        settings.configure(store=url, store_timeout=bound)
        return until_it_answers()

    with pytest.MonkeyPatch.context() as before:
        before.setattr(settings, "current", settings.Settings())
        before.setenv("RESILIENT_TASKS_STORE", "memory:")  # so that what `configure` puts there is taken back
        yield share
    shared.close()
