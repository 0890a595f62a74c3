"""Messages between two processes over a socket: a kind, a length, and so many bytes.

What is large is read straight into the memory where it stays, and sent straight from where it lies: so a large array
crosses a socket faster than shared memory, which has to be made and given back for each call, and nothing of it can be
left behind when a process is killed.
"""

from __future__ import annotations

import array
import contextlib
import ctypes
import mmap
import pickle
import select
import socket
import struct
import sys
from collections.abc import Sequence
from enum import IntEnum
from typing import TypeAlias, cast

from resilient_tasks.core import real_time as time
from resilient_tasks.core.call import NEVER
from resilient_tasks.core.clock import SLICE

_HEADER = struct.Struct("!BQ")

#: Up to so many bytes are sent in one piece and received into a buffer: one system call for a small message.
_SMALL = 1 << 16
#: So many bytes may be under way: the fewer turns the two ends take on a busy machine, the better.
_IN_FLIGHT = 1 << 20
#: From so many bytes on, memory is asked for in large pages (numpy does the same).
_LARGE = 1 << 22

Piece: TypeAlias = bytes | memoryview


class Message(IntEnum):
    """What a message says."""

    # To the fork server, and its answers.
    PRELOAD = 1
    PRELOADED = 2
    FORK = 3
    # To a child ...
    SURROUNDINGS = 10
    LOAD = 11
    CALL = 12
    # ... and from it.
    LOADED = 20
    NOT_LOADED = 21
    LOGGED = 22
    HAPPENED = 23
    RETURNED = 24
    RAISED = 25


_MESSAGES = {int(message): message for message in Message}


class EndedError(Exception):
    """The process at the other end is gone."""


class UnheardError(EndedError):
    """The process at the other end was gone before it had read all that was sent.

    Linux says so to whoever reads; other systems only where sending fails.
    """


class LateError(Exception):
    """The moment has come until which was to be waited."""


class Channel:
    """One end of a connected stream socket, for one reader and one writer at a time.

    Every wait is cut into slices, so that an exception that another thread sets in this one arrives soon; where a
    moment is given at which the wait ends (`until`, on `time.monotonic`), it ends in a `LateError`. After that, or
    after any other exception, the two ends may be out of step: such a channel is of no more use.

    Args:
        sock: the socket; the channel owns it.
        every: the length of a slice in seconds; None waits in one piece.
    """

    def __init__(self, sock: socket.socket, every: float | None = SLICE) -> None:
        sock.setblocking(every is None)
        with contextlib.suppress(OSError):  # some systems refuse what others cut down to what they allow
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _IN_FLIGHT)
        self._sock = sock
        self._every = every
        self._readable, self._writable = select.poll(), select.poll()
        self._readable.register(sock, select.POLLIN)
        self._writable.register(sock, select.POLLOUT)
        self._buffer = memoryview(bytearray(_SMALL))
        self._begin = self._end = 0  # what the buffer holds

    def fileno(self) -> int:
        """Return the socket's file descriptor."""
        return self._sock.fileno()

    def close(self) -> None:
        """Close this end."""
        self._sock.close()

    def send(self, kind: Message, data: bytes | Sequence[Piece] = b"", until: float = NEVER) -> None:
        """Send one message, in one piece or in several.

        Raises:
            UnheardError: the other end is gone.
            LateError: `until` has come.
        """
        pieces = (data,) if isinstance(data, bytes) else data
        size = sum(map(len, pieces))
        header = _HEADER.pack(kind, size)
        for piece in (b"".join((header, *pieces)),) if size < _SMALL else (header, *pieces):
            self._write(memoryview(piece), until)

    def receive(self, until: float = NEVER) -> tuple[Message, bytes | Incoming]:
        """Return the next message. One that is large has to be read before the next can be received.

        Raises:
            EndedError: the other end is gone.
            LateError: `until` has come.
        """
        if self._begin == self._end:
            if self._every is not None:
                self._wait(self._readable, until)  # most answers are still to come
            self._fill(until)
        kind, size = _HEADER.unpack(self._take(_HEADER.size, until))
        return _MESSAGES[kind], self._take(size, until) if size <= _SMALL else Incoming(self, size, until)

    def receive_short(self, until: float = NEVER) -> bytes:
        """Return the content of the next message, where that is never large. Raises what `receive` raises."""
        return cast("bytes", self.receive(until)[1])

    def send_descriptors(self, data: bytes, *descriptors: int) -> None:
        """Send a few bytes with open file descriptors to another process on this machine."""
        socket.send_fds(self._sock, [data], list(descriptors))

    def receive_descriptors(self, size: int, count: int, until: float = NEVER) -> tuple[bytes, list[int]]:
        """Return the `size` bytes that the other end sends with `count` file descriptors, closed on exec.

        Raises:
            EndedError: the other end is gone.
            LateError: `until` has come.
        """
        room = socket.CMSG_SPACE(count * array.array("i").itemsize)
        self._wait(self._readable, until)
        try:
            data, told, _, _ = self._sock.recvmsg(size, room, getattr(socket, "MSG_CMSG_CLOEXEC", 0))
        except OSError as error:
            raise EndedError from error
        descriptors = array.array("i")
        for _, _, packed in told:
            descriptors.frombytes(packed)
        if not data or len(descriptors) < count:
            raise EndedError
        return data, list(descriptors)

    def read_into(self, target: memoryview, until: float) -> None:
        """Fill `target` with what comes next.

        Raises:
            EndedError: the other end is gone.
            LateError: `until` has come.
        """
        while target:
            if self._begin == self._end and len(target) < _SMALL:
                self._fill(until)
            count = min(self._end - self._begin, len(target))
            if count:
                target[:count] = self._buffer[self._begin : self._begin + count]
                self._begin += count
            else:
                count = self._receive_into(target, until)
            target = target[count:]

    def _take(self, size: int, until: float) -> bytes:
        end = self._begin + size
        if end <= self._end:
            taken = self._buffer[self._begin : end].tobytes()
            self._begin = end
            return taken
        data = bytearray(size)
        self.read_into(memoryview(data), until)
        return bytes(data)

    def _fill(self, until: float) -> None:
        self._begin, self._end = 0, self._receive_into(self._buffer, until)

    def _receive_into(self, target: memoryview, until: float) -> int:
        while True:
            try:
                count = self._sock.recv_into(target)
            except BlockingIOError:
                self._wait(self._readable, until)
                continue
            except ConnectionResetError as error:
                raise UnheardError from error
            except OSError as error:
                raise EndedError from error
            if not count:
                raise EndedError
            return count

    def _write(self, left: memoryview, until: float) -> None:
        while left:
            try:
                left = left[self._sock.send(left) :]
            except BlockingIOError:
                self._wait(self._writable, until)
            except OSError as error:
                raise UnheardError from error

    def _wait(self, poller: select.poll, until: float) -> None:
        every = SLICE if self._every is None else self._every
        left = until - time.monotonic()
        while not poller.poll(max(0.0, min(left, every)) * 1000):  # what is there already is not late
            left = until - time.monotonic()
            if left <= 0:
                raise LateError


class Incoming:
    """A large message that is still to be read, as a file for `pickle`. Its parts are read to where they stay.

    Attributes:
        left: so many bytes are still to be read.
    """

    def __init__(self, channel: Channel, size: int, until: float) -> None:
        self._channel = channel
        self.left = size
        self._until = until

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
        self._channel.read_into(target[:count], self._until)
        self.left -= count
        return count

    def readline(self) -> bytes:
        """Raise: `pickle` asks for lines in its first protocols only."""
        raise pickle.UnpicklingError

    def skip(self) -> None:
        """Read what is left, and forget it."""
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
