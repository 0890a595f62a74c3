"""Move a corrupt SQLite file aside, for a person to inspect, so that a new one can be created."""

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

#: Seconds to wait for another process that moves the same file.
_PATIENCE = 1.0

_CORRUPT = {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}


def is_corruption(error: BaseException) -> bool:
    """Return whether an error means that the file is no database, or a damaged one. A locked file is neither."""
    if not isinstance(error, sqlite3.Error) or "syntax error" in str(error):
        return False  # a sound file whose tables need a newer SQLite gives the same code
    return getattr(error, "sqlite_errorcode", 0) & 0xFF in _CORRUPT


def move_aside(path: Path, error: BaseException) -> bool:
    """Rename a corrupt file and its journal, and log it. Return whether this call renamed it.

    Processes do this one at a time, and each checks the file again: a new file that another has created is left alone.
    """
    with _locked_folder(path.parent):
        if not _is_corrupt(path):
            return False
        aside = _free_name(path)
        for ending in ("-wal", "-shm", ""):  # the journal first: a new file must not find it
            with contextlib.suppress(FileNotFoundError):
                Path(f"{path}{ending}").rename(f"{aside}{ending}")
    LOGGER.warning("%s is not a readable database (%s): renamed to %s, and a new one is created", path, error, aside)
    return True


def _is_corrupt(path: Path) -> bool:
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
def _locked_folder(folder: Path) -> Iterator[None]:
    """Lock other processes out, by a lock on the folder, which leaves no file behind. Windows has no such locks."""
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
