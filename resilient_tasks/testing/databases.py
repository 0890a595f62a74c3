"""A SQLite file that others have locked. For a database behind a port, see `resilient_tasks.testing.proxy`."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager


@contextmanager
def locked_sqlite(path: str | os.PathLike[str]) -> Iterator[None]:
    """Hold the lock of a SQLite file for the length of a with block, as another process in a long transaction does.

    Every other connection meets `sqlite3.OperationalError: database is locked` once its own timeout is over: readers
    too, except in WAL mode.

    Args:
        path: The file; it is created if it does not exist.
    """
    with closing(sqlite3.connect(path, isolation_level=None, check_same_thread=False)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        try:
            yield
        finally:
            connection.execute("ROLLBACK")
