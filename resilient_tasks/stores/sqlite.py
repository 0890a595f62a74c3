"""States in an SQLite file: shared by all processes of a machine, and still there after the last one has ended."""

from __future__ import annotations

import random
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from resilient_tasks.core import clock
from resilient_tasks.core import real_time as time
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.home import keep_private

T = TypeVar("T")

_TABLE = "CREATE TABLE IF NOT EXISTS states (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL) WITHOUT ROWID"
_GET = "SELECT value FROM states WHERE key = ? AND (expires IS NULL OR expires > ?)"
_PUT = "INSERT OR REPLACE INTO states VALUES (?, ?, ?)"
_KEYS = "SELECT key FROM states WHERE substr(key, 1, ?) = ? AND (expires IS NULL OR expires > ?)"
_TIDY = "DELETE FROM states WHERE expires <= ?"

#: Seconds for which a process waits at the most, at random, before it asks for the write lock again.
_LONGEST_WAIT = 0.001

#: Seconds for which each step of opening the file waits for others to be ready with it.
_OPENING = 1.0


class SQLiteStore:
    """A table in a file in WAL mode: reading waits for nobody, and one process writes at a time.

    Args:
        url: `sqlite:///relative/path` or `sqlite:////absolute/path`. Not for a network file system: its locks do not
            hold there.
        bound: seconds within which a question is answered or fails.

    Raises:
        PolicyError: the URL names no file.
    """

    def __init__(self, url: str, *, bound: float = 0.05) -> None:
        path = unquote(url.removeprefix("sqlite://").removeprefix("/"))
        if not path:
            msg = f"{url} names no file: sqlite:///relative/path or sqlite:////absolute/path"
            raise PolicyError(msg)
        self._path = Path(path)
        self._bound = bound
        self._connection: sqlite3.Connection | None = None

    def connect(self) -> None:
        """Open the file, and make it, with its folder, where there is none."""
        self.close()
        keep_private(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        # SQLite's own waiting doubles its steps up to 100 ms: too coarse for the bound.
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        self._until_free(lambda: connection.execute("PRAGMA journal_mode=WAL"), within=_OPENING)
        connection.execute("PRAGMA synchronous=NORMAL")
        self._until_free(lambda: connection.execute(_TABLE), within=_OPENING)
        self._until_free(lambda: connection.execute(_TIDY, (self.now(),)), within=_OPENING)
        self._connection = connection

    def now(self) -> float:
        """Return unix seconds: the file may outlive the machine's running time."""
        return clock.wall()

    def get(self, key: str) -> bytes | None:
        """See `StateStore`."""
        return self._until_free(lambda: self._found(key))

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        """See `StateStore`."""
        connection = self._open
        self._until_free(lambda: connection.execute("BEGIN IMMEDIATE"))
        try:
            found = self._found(key)
            if found == old:
                connection.execute(_PUT, (key, new, None if ttl is None else self.now() + ttl))
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                connection.execute("ROLLBACK")
            raise
        return (True, new) if found == old else (False, found)

    def keys(self, prefix: str) -> list[str]:
        """See `StateStore`."""
        given = (len(prefix), prefix, self.now())
        return [key for (key,) in self._until_free(lambda: self._open.execute(_KEYS, given).fetchall())]

    def close(self) -> None:
        """Close the file."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    @property
    def _open(self) -> sqlite3.Connection:
        if self._connection is None:
            msg = f"{self._path} is not open"
            raise ConnectionError(msg)
        return self._connection

    def _found(self, key: str) -> bytes | None:
        row = self._open.execute(_GET, (key, self.now())).fetchone()
        return row[0] if row else None

    def _until_free(self, work: Callable[[], T], within: float | None = None) -> T:
        until = time.monotonic() + (self._bound if within is None else within)
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if error.sqlite_errorcode & 0xFF not in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
                    raise
                if time.monotonic() > until:
                    raise
            time.sleep(random.uniform(0, _LONGEST_WAIT))
