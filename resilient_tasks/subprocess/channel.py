"""Messages between two processes over a socket: a kind, a length, and the content.

Large content is read straight into the memory where it stays, and sent straight from where it lies. A large array
crosses a socket faster that way than in shared memory, which has to be allocated and freed for each call, and nothing
is left behind when a process is killed.
"""

from __future__ import annotations

import contextlib
import ctypes
import io
import mmap
import os
import pickle
import socket
import struct
import sys
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, TypeAlias

from resilient_tasks.core.call import NEVER
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.execution.clock import SLICE

_HEADER = struct.Struct("!BQ")

#: Up to this many bytes, a message is sent in one system call and received into a buffer.
_SMALL = 1 << 16
#: Bytes in flight: the larger, the fewer context switches.
_IN_FLIGHT = 1 << 20
#: From this many bytes on, memory is requested in large pages (numpy does the same).
_LARGE = 1 << 22

Piece: TypeAlias = bytes | memoryview


class Message(IntEnum):
    """The kind of a message."""

    # To the fork server, and its answer.
    PRELOAD = 1
    PRELOADED = 2
    FORK = 3
    # To a child ...
    ENVIRONMENT = 10
    LOAD = 11
    CALL = 12
    # ... and from it.
    LOADED = 20
    NOT_LOADED = 21
    LOG_RECORD = 22
    EVENT = 23
    RETURNED = 24
    RAISED = 25


class EndedError(Exception):
    """The other process has ended."""


class UnheardError(EndedError):
    """The other process ended before it had read everything that was sent.

    Linux reports this when reading; other systems only when sending.
    """


class LateError(Exception):
    """The time limit has passed."""


class Channel(io.RawIOBase):
    """One end of a connected stream socket, for one reader and one writer at a time.

    Waits are cut into slices, so that an exception set from another thread arrives soon. After a `LateError`, or any
    other exception, the two ends may be out of step: do not use the channel again.

    Args:
        sock: the socket; the channel owns it.
        every: the length of a slice in seconds; None waits in one piece, without limit.
    """

    def __init__(self, sock: socket.socket, every: float | None = SLICE) -> None:
        with contextlib.suppress(OSError):  # some systems refuse what others reduce to their maximum
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _IN_FLIGHT)
        sock.settimeout(every)
        self._sock = sock
        self._every = every
        self._until = NEVER
        self._short = False  # the socket's timeout is less than a slice
        self._buffer = io.BufferedReader(self, _SMALL)

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close this end."""
        self._sock.close()

    def send(self, kind: Message, content: bytes | Sequence[Piece] = b"", until: float = NEVER) -> None:
        """Send one message, whose content may be in pieces.

        Raises:
            UnheardError: the other end is closed.
            LateError: `until` has passed, on `time.monotonic`.
        """
        self._until = until
        pieces = (content,) if isinstance(content, bytes) else content
        size = sum(map(len, pieces))
        header = _HEADER.pack(kind, size)
        for piece in (b"".join((header, *pieces)),) if size < _SMALL else (header, *pieces):
            left = memoryview(piece)
            while left:
                left = left[self._retried(self._sock.send, left) :]

    def receive(self, until: float = NEVER) -> tuple[Message, bytes | Incoming]:
        """Return the next message. Read large content before receiving the next one.

        Raises:
            EndedError: the other end is closed.
            LateError: `until` has passed, on `time.monotonic`.
        """
        self._until = until
        kind, size = _HEADER.unpack(self.read_exactly(_HEADER.size))
        return Message(kind), self.read_exactly(size) if size <= _SMALL else Incoming(self, size)

    def receive_descriptors(self, size: int, count: int, until: float = NEVER) -> tuple[bytes, list[int]]:
        """Return `size` bytes that come with `count` file descriptors (`socket.send_fds`). Raises as `receive`."""
        self._until = until
        data, descriptors, *_ = self._retried(lambda sock: socket.recv_fds(sock, size, count), self._sock)
        for descriptor in descriptors:
            os.set_inheritable(descriptor, False)  # CPython 3.11 to 3.13 ignore the flags of recv_fds
        if not data or len(descriptors) < count:
            raise EndedError
        return data, descriptors

    def read_exactly(self, size: int) -> bytes:
        """Return the next `size` bytes. Raises as `receive`."""
        data = self._buffer.read(size)
        if len(data) < size:
            raise EndedError
        return data

    def fill(self, target: memoryview) -> None:
        """Read the next bytes into `target`. Raises as `receive`."""
        if self._buffer.readinto(target) < len(target):
            raise EndedError

    def readable(self) -> bool:
        """For `io.BufferedReader`."""
        return True

    def readinto(self, target: Any) -> int:
        """For `io.BufferedReader`: read what is there, and wait for the first byte."""
        return int(self._retried(self._sock.recv_into, target))

    def _retried(self, operation: Callable[[Any], Any], data: Any) -> Any:
        while True:
            if self._every is not None:
                left = self._until - time.monotonic()
                if left < self._every or self._short:
                    self._short = left < self._every
                    self._sock.settimeout(max(0.0, min(left, self._every)))  # what is there already is not late
            try:
                return operation(data)
            except (BlockingIOError, TimeoutError):
                if time.monotonic() >= self._until:
                    raise LateError from None
            except OSError as error:
                raise UnheardError from error


class Incoming:
    """Large content that is still to be read, as a file for `pickle`.

    Attributes:
        left: the number of bytes still to be read.
    """

    def __init__(self, channel: Channel, size: int) -> None:
        self._channel = channel
        self.left: int = size

    def read(self, size: int) -> bytearray:
        """Return the next `size` bytes, or what is left."""
        data = bytearray(min(size, self.left))
        self.readinto(memoryview(data))
        return data

    def readinto(self, target: memoryview) -> int:
        """Fill `target` with the next bytes, and return how many those are."""
        count = min(len(target), self.left)
        if count >= _LARGE:
            _in_large_pages(target)
        self._channel.fill(target[:count])
        self.left -= count
        return count

    def readline(self) -> bytes:
        """Raise: `pickle` reads lines in its oldest protocols only."""
        raise pickle.UnpicklingError

    def skip(self) -> None:
        """Read and discard what is left."""
        while self.left:
            self.read(_SMALL)


def _in_large_pages(target: memoryview) -> None:
    """Ask for large pages where `target` lies: to fill 100 MB of fresh memory takes 6 ms instead of 36.

    No more than a hint about memory that is there (tried with CPython 3.11 to 3.13 on Linux 6.18), and may be refused.
    A young virtual machine pays for each page that was never in use, large pages more than small ones: the first calls
    are slower there.
    """
    if sys.platform == "linux":
        begin = ctypes.addressof(ctypes.c_char.from_buffer(target))
        first, last = -(-begin // mmap.PAGESIZE), (begin + len(target)) // mmap.PAGESIZE
        address, size = (ctypes.c_size_t(pages * mmap.PAGESIZE) for pages in (first, last - first))
        ctypes.CDLL(None).madvise(address, size, mmap.MADV_HUGEPAGE)
