"""Messages between two processes over a socket: a kind, a length, and so many bytes."""

from __future__ import annotations

import array
import contextlib
import select
import socket
import struct
from enum import IntEnum

from resilient_tasks.core import real_time as time
from resilient_tasks.core.call import NEVER
from resilient_tasks.core.clock import SLICE

_HEADER = struct.Struct("!BQ")


class Message(IntEnum):
    """What a message says."""

    # To the fork server, and its answers.
    PRELOAD = 1
    PRELOADED = 2
    FORK = 3
    FORKED = 4
    # To a child ...
    SURROUNDINGS = 10
    LOAD = 11
    CALL = 12
    # ... and from it.
    LOADED = 20
    NOT_LOADED = 21
    BEGUN = 22
    LOGGED = 23
    HAPPENED = 24
    RETURNED = 25
    RAISED = 26


class EndedError(Exception):
    """The process at the other end is gone."""


class LateError(Exception):
    """The moment has come until which was to be waited."""


class Channel:
    """One end of a connected stream socket.

    Every wait is cut into slices, so that an exception that another thread sets in this one arrives soon; where a
    moment is given at which the wait ends (`until`, on `time.monotonic`), it ends in a `LateError`. After that, or
    after any other exception, the two ends may be out of step: such a channel is of no more use.

    Args:
        sock: the socket; the channel owns it.
        every: the length of a slice in seconds; None waits in one piece.
    """

    def __init__(self, sock: socket.socket, every: float | None = SLICE) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._every = every

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close this end."""
        self._sock.close()

    def send(self, kind: Message, data: bytes = b"", until: float = NEVER) -> None:
        """Send one message.

        Raises:
            EndedError: nobody is at the other end.
            LateError: `until` has come.
        """
        header = _HEADER.pack(kind, len(data))
        # One write for what is small, no copy of what is large.
        for part in (header + data,) if len(data) < 1 << 16 else (header, data):
            self._write(memoryview(part), until)

    def receive(self, until: float = NEVER) -> tuple[Message, bytearray]:
        """Return the next message.

        Raises:
            EndedError: nobody is at the other end.
            LateError: `until` has come.
        """
        kind, size = _HEADER.unpack(self._read(_HEADER.size, until))
        return Message(kind), self._read(size, until)

    def send_descriptors(self, *descriptors: int) -> None:
        """Send open file descriptors to another process on this machine."""
        socket.send_fds(self._sock, [b"\0"], list(descriptors))

    def receive_descriptors(self, count: int, until: float = NEVER) -> list[int]:
        """Return the `count` file descriptors that the other end sends, closed on exec.

        Raises:
            EndedError: nobody is at the other end.
            LateError: `until` has come.
        """
        room = socket.CMSG_SPACE(count * array.array("i").itemsize)
        while True:
            with contextlib.suppress(BlockingIOError):
                data, _, _, _ = answer = self._sock.recvmsg(1, room)
                break
            self._wait(select.POLLIN, until)
        descriptors = array.array("i")
        for _, _, packed in answer[1]:
            descriptors.frombytes(packed)
        if not data or len(descriptors) < count:
            raise EndedError
        return list(descriptors)

    def _write(self, left: memoryview, until: float) -> None:
        while left:
            try:
                left = left[self._sock.send(left) :]
            except BlockingIOError:
                self._wait(select.POLLOUT, until)
            except OSError as error:
                raise EndedError from error

    def _read(self, size: int, until: float) -> bytearray:
        data = bytearray(size)
        left = memoryview(data)
        while left:
            try:
                count = self._sock.recv_into(left)
            except BlockingIOError:
                self._wait(select.POLLIN, until)
                continue
            except OSError as error:
                raise EndedError from error
            if not count:
                raise EndedError
            left = left[count:]
        return data

    def _wait(self, event: int, until: float) -> None:
        poller = select.poll()
        poller.register(self._sock, event)
        ready = False
        while not ready:
            left = until - time.monotonic()
            if left <= 0:
                raise LateError
            ready = bool(poller.poll(None if self._every is None else min(left, self._every) * 1000))
