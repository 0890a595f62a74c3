"""The loop of a child process: it calls the functions it is sent, until its parent is gone."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import socket
import sys
import threading
from collections.abc import Callable
from typing import Any, NoReturn

from resilient_tasks.core import call as calls
from resilient_tasks.core.call import Call, Work
from resilient_tasks.core.execution import clock, runtime
from resilient_tasks.core.observing import Carrier
from resilient_tasks.core.parameters import callables
from resilient_tasks.subprocess import environment, log_forwarding, process_tree, serialization
from resilient_tasks.subprocess.channel import Channel, EndedError, Incoming, Message, Piece

_NO_CONTEXT = contextlib.nullcontext()


def described(call: Call) -> tuple[Any, ...]:
    """Return what the child needs to know of a call, with times in seconds from now."""
    work, now = call.work, clock.now()
    until = (call.deadline - now, call.limited_until - now)
    carrier = None if calls.observer is None else calls.observer.carrier()
    return work.operation, work.id, work.idempotent, call.attempt, now - call.started, *until, carrier


def _call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], description: tuple[Any, ...]) -> Call:
    operation, call_id, idempotent, attempt, elapsed, deadline, limited_until, _ = description
    work = Work(operation, fn, args, kwargs, runtime.SYNC, idempotent, id=call_id)
    now = clock.now()
    return Call(work, None, attempt, now - elapsed, now + deadline, now + limited_until)


def run(sock: socket.socket) -> NoReturn:
    """Serve the calls that come over `sock`, in a process just forked, and end with the process at its other end."""
    os.setsid()
    process_tree.die_with_parent()
    process_tree.adopt_orphans()
    for number in (signal.SIGCHLD, signal.SIGTERM):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if "numpy.random" in sys.modules:  # the standard library reseeds itself after a fork
        sys.modules["numpy.random"].seed(random.SystemRandom().getrandbits(32))
    with contextlib.suppress(EndedError):
        _Child(Channel(sock, every=None)).serve()
    os._exit(0)


class _Child:
    def __init__(self, channel: Channel) -> None:
        self._channel = channel
        self._sending = threading.Lock()
        self._fn: Callable[..., Any] | None = None
        self._calling = False
        self._around: environment.Environment | None = None
        self._carrier: Carrier | None = None
        self._prepare: Callable[[], None] | None = None
        log_forwarding.divert(self._forward)

    def serve(self) -> None:
        while True:
            message, content = self._channel.receive()
            if message is Message.ENVIRONMENT:
                received = serialization.loads(content)
                received.apply()
                self._around, self._prepare = environment.present(), received.carrier and received.carrier.prepare
            elif message is Message.LOAD:
                self._send(*self._loaded(content))
            else:
                self._send(*self._called(content))
                if self._carrier is not None:
                    self._carrier.finish()
                if self._around is not None and environment.present() is not self._around:
                    self._around.apply()  # the next function finds what its caller has
                    self._around = environment.present()

    def _loaded(self, content: bytes | Incoming) -> tuple[Message, bytes]:
        try:
            if self._prepare is not None:
                self._prepare()
            self._fn = serialization.received(content)
        except BaseException as error:
            return Message.NOT_LOADED, serialization.dump_error(error, "its module")
        return Message.LOADED, b""

    def _called(self, content: bytes | Incoming) -> tuple[Message, bytes | list[Piece]]:
        assert self._fn is not None  # noqa: S101  # the parent loads before it calls
        operation = "the function"
        try:
            args, kwargs, description = serialization.received(content)
            operation, self._carrier = description[0], description[-1]
            with calls.InProgress(_call(self._fn, args, kwargs, description)), self._carrier or _NO_CONTEXT:
                self._calling = True
                try:
                    result = self._fn(*args, **kwargs)
                finally:
                    self._calling = False
            if callables.comes_later(result):
                sentence = f"{operation} is async, and can be cancelled where it is: drop enforce='process'"
                return Message.RAISED, serialization.dump_error(callables.refused(result, sentence), operation)
            return Message.RETURNED, serialization.dump_result(result, operation)
        except BaseException as error:
            if error.__traceback__ is not None:
                BaseException.with_traceback(error, error.__traceback__.tb_next)  # from the function's own frame on
            return Message.RAISED, serialization.dump_error(error, operation)
        finally:
            _flush()

    def _forward(self, message: Message, content: bytes) -> None:
        if self._calling:  # after the call the parent does not listen
            self._send(message, content)

    def _send(self, message: Message, content: bytes | list[Piece] = b"") -> None:
        with self._sending:
            self._channel.send(message, content)


def _flush() -> None:
    for stream in (sys.stdout, sys.stderr):
        try:  # noqa: SIM105  # this is the hot path
            stream.flush()
        except Exception:  # noqa: S110  # closed, or None
            pass
