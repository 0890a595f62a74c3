"""What a child process does: it calls the functions that it is given, until its parent is gone."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, NamedTuple, NoReturn

from resilient_tasks.core import call as calls
from resilient_tasks.core import callables, clock, runtime
from resilient_tasks.core.call import Call, Work
from resilient_tasks.subprocess import environment, log_forwarding, process_tree, serialization
from resilient_tasks.subprocess.channel import Channel, EndedError, Incoming, Message, Piece


class About(NamedTuple):
    """What the child knows of the call: the names are those of `Call` and `Work`, times are seconds from now."""

    operation: str
    id: str
    idempotent: bool
    attempt: int
    elapsed: float
    deadline: float
    limited_until: float


def run(sock: socket.socket) -> NoReturn:
    """Serve calls that come over `sock`, and end with the process at its other end. In a process just forked."""
    os.setsid()
    process_tree.die_with_parent()
    process_tree.adopt_orphans()
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with contextlib.suppress(EndedError):
        _Child(Channel(sock, every=None)).serve()
    os._exit(0)


class _Child:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        self._fn: Callable[..., Any] | None = None
        self._calling = False
        self._around: environment.Surroundings | None = None
        log_forwarding.divert(self._tell_of_call)

    def serve(self) -> None:
        _reseed()
        while True:
            message, data = self._channel.receive()
            if message is Message.ENVIRONMENT:
                environment.put(serialization.loads(data))
                self._around = environment.present()
            elif message is Message.LOAD:
                self._send(*self._loaded(data))
            else:
                self._send(*self._called(data))
                self._tidy()

    def _loaded(self, data: bytes | Incoming) -> tuple[Message, bytes]:
        try:
            self._fn = serialization.received(data)
        except BaseException as error:
            return Message.NOT_LOADED, serialization.dump_error(error, "its module")
        return Message.LOADED, b""

    def _called(self, data: bytes | Incoming) -> tuple[Message, bytes | list[Piece]]:
        assert self._fn is not None  # noqa: S101  # the parent loads before it calls
        operation = "the function"
        try:
            args, kwargs, about = serialization.received(data)
            operation = about[0]
            with calls.InProgress(_call(self._fn, args, kwargs, About(*about))):
                self._calling = True
                try:
                    result = self._fn(*args, **kwargs)
                finally:
                    self._calling = False
            return _told(result, operation)
        except BaseException as error:
            if error.__traceback__ is not None:
                BaseException.with_traceback(error, error.__traceback__.tb_next)  # from the function's own frame on
            return Message.RAISED, serialization.dump_error(error, operation)
        finally:
            _flush()

    def _tell_of_call(self, message: Message, data: bytes) -> None:
        if self._calling:  # afterwards nobody listens
            self._send(message, data)

    def _tidy(self) -> None:
        """Undo what the function has changed around itself: the next one finds what its caller has."""
        now = environment.present()
        if self._around is not None and now is not self._around:
            environment.put(environment.changes(now, self._around))
            self._around = environment.present()

    def _send(self, message: Message, data: bytes | list[Piece] = b"") -> None:
        with self._sending:
            self._channel.send(message, data)


def _told(result: object, operation: str) -> tuple[Message, bytes | list[Piece]]:
    if callables.comes_later(result):
        sentence = f"{operation} is async, and can be cancelled where it is: drop enforce='process'"
        return Message.RAISED, serialization.dump_error(callables.refused(result, sentence), operation)
    return Message.RETURNED, serialization.dump_result(result, operation)


def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], about: About) -> Call:
    work = Work(about.operation, fn, args, kwargs, runtime.SYNC, about.idempotent, id=about.id)
    now = clock.now()
    return Call(work, None, about.attempt, now - about.elapsed, now + about.deadline, now + about.limited_until)


def _reseed() -> None:
    """Draw other random numbers than the sisters: the standard library sees to its own, numpy does not."""
    if "numpy.random" in sys.modules:
        sys.modules["numpy.random"].seed(random.SystemRandom().getrandbits(32))


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105  # this is the hot path
            stream.flush()
        except Exception:  # noqa: S110  # closed, or none at all
            pass
