"""Claims on numbers by the processes of one machine. The kernel releases them when a process ends."""

from __future__ import annotations

import os
import struct
import threading
import weakref

try:
    import fcntl

    _SET = fcntl.F_OFD_SETLK
    _CLAIM, _RELEASE = fcntl.F_WRLCK, fcntl.F_UNLCK
except (ImportError, AttributeError):  # not Linux
    _SET = _CLAIM = _RELEASE = -1

#: Whether the system has claims: open file description locks. Classic POSIX locks belong to the whole process, so two
#: stores of one process would not see each other's.
POSSIBLE = _SET >= 0


class Claims:
    """Claims, each a lock on one byte of a file that stays empty.

    Args:
        path: the file; created if missing.
        mode: the permissions of a new file.

    Attributes:
        inode: the file's number. A process that opened the file before it was deleted has another one.

    Raises:
        OSError: the file cannot be opened.
    """

    def __init__(self, path: str, mode: int) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, mode)
        found = os.fstat(self._file)
        if found.st_uid == os.geteuid() and found.st_mode & 0o777 != mode:  # because of the umask
            os.fchmod(self._file, mode)
        self.inode: int = found.st_ino
        self._path = path
        self._mine: set[int] = set()
        self._lock = threading.Lock()
        _all.add(self)

    @property
    def is_current(self) -> bool:
        """Whether a process that opens the file now sees these claims."""
        try:
            return self._file >= 0 and os.stat(self._path).st_ino == self.inode  # noqa: PTH116  # a hot path
        except FileNotFoundError:
            return False

    def take(self, number: int) -> bool:
        """Claim a number below 2 ** 62. Return False if another process or thread holds it."""
        taken = False
        try:
            with self._lock:
                if number in self._mine or self._file < 0:
                    return False
                taken = True
                self._mine.add(number)
                self._set(_CLAIM, number)
        except BaseException as error:  # if interrupted, the caller does not know that it holds the number
            if taken:
                self.release(number)
            if isinstance(error, OSError):
                return False
            raise
        return True

    def release(self, number: int) -> None:
        """Release a number if it is claimed here. An interrupted release may leave it claimed."""
        with self._lock:
            if number in self._mine and self._file >= 0:
                self._set(_RELEASE, number)
                self._mine.discard(number)

    def close(self) -> None:
        """Release all claims."""
        file, self._file = self._file, -1
        if file >= 0:
            os.close(file)

    __del__ = close

    def _set(self, what: int, number: int) -> None:
        # `struct flock` of <fcntl.h>: type, whence, start, length, and the process, which must be 0.
        fcntl.fcntl(self._file, _SET, struct.pack("hhqqi", what, os.SEEK_SET, number, 1, 0))


_all: weakref.WeakSet[Claims] = weakref.WeakSet()


def _close_all() -> None:
    for claims in list(_all):
        claims.close()


if hasattr(os, "register_at_fork"):
    # The child's copy would keep the parent's claims after the parent has ended.
    os.register_at_fork(after_in_child=_close_all)
