"""A file that appears whole or not at all, and what killed runs left of it."""

from __future__ import annotations

import errno
import hashlib
import os
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


@contextmanager
def whole_or_not(target: Path) -> Iterator[Path]:
    """Give a name beside the target to write to; what is there in the end takes the target's name.

    It is on the disk by then. After an error, the target is as it was. What a killed process left of the same target is
    removed: a process that still writes holds a lock on its file.

    Raises:
        IsADirectoryError: If the target is a folder.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.is_dir():
        raise IsADirectoryError(errno.EISDIR, "Is a directory; name a file in it", os.fspath(target))
    beside = f".{hashlib.sha256(os.fsencode(target.name)).hexdigest()[:16]}"
    temporary = target.parent / f"{beside}-{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("xb") as held:
            with suppress(OSError):  # no locks there; what a killed run left stays, then
                _lock(held.fileno())
            for other in target.parent.glob(f"{beside}-*.tmp"):
                if other != temporary:
                    _remove_if_left(other)
            yield temporary
            with temporary.open("rb") as written:
                os.fsync(written.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def _lock(file: int) -> None:
    """Lock a file. Windows has no such locks, and removes no file that is open.

    Raises:
        OSError: If another process has it locked, or the file system has no locks.
    """
    if sys.platform != "win32":
        import fcntl  # noqa: PLC0415  # not on Windows

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _remove_if_left(file: Path) -> None:
    with suppress(OSError), file.open("rb") as left:  # in use, not ours to remove, or gone meanwhile
        _lock(left.fileno())
        file.unlink()
