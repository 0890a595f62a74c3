"""What to do about a file that SQLite cannot read: it is renamed, for a person to look at, and a new one is begun."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.execution.patience import Patience

LOGGER = logging.getLogger("resilient_tasks")

#: Seconds to wait for another process that sets the same file aside.
_PATIENCE = 1.0

_BROKEN = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_corruption(error: BaseException) -> bool:
    """Tell whether an error says that a file is no database, or a damaged one. A locked file is neither."""
    if not isinstance(error, sqlite3.Error) or "syntax error" in str(error):
        return False  # a table that only a newer SQLite understands makes a file unreadable too, but it is sound
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _BROKEN


def move_aside(path: Path, error: BaseException) -> bool:
    """Rename a broken file, its journal with it, and say so in the log. Return whether it was this call that did it.

    Processes do this one at a time, and each looks at the file anew: what another one has begun is left alone.
    """
    with _one_at_a_time(path.parent):
        if not _is_broken(path):
            return False
        aside = _free_name(path)
        for ending in ("-wal", "-shm", ""):  # the journal first: a new file must not find it
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{ending}").rename(f"{aside}{ending}")
    LOGGER.warning("%s is no database that can be read (%s): it is now %s, and a new one is begun", path, error, aside)
    return True


def _is_broken(path: Path) -> bool:
    connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=rw", uri=True, timeout=0, isolation_level=None)
    try:
        found: object = connection.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.Error as error:
        return is_corruption(error)
    finally:
        connection.close()
    return found != ("ok",)


def _free_name(path: Path) -> Path:
    now = datetime.now(UTC).strftime("%Y%m%dT%H%M%SZ")
    names = (path.with_name(f"{path.name}.broken-{now}{ending}") for ending in ("", *(f"-{n}" for n in range(2, 1000))))
    return next(name for name in names if not name.exists())


@contextlib.contextmanager
def _one_at_a_time(folder: Path) -> Iterator[None]:
    """Keep other processes out, by a lock on the folder: it leaves no file behind. Windows has no such locks."""
    if sys.platform == "win32":
        yield
        return
    import fcntl  # noqa: PLC0415  # not on Windows

    patience = Patience(_PATIENCE)
    opened = os.open(folder, os.O_RDONLY)
    try:
        while True:
            try:
                fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if patience.is_over:
                    raise
                time.sleep(0.005)
        yield
    finally:
        os.close(opened)
