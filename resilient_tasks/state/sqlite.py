"""States in an SQLite file: shared by all processes of a machine, and kept after the last one has ended."""

from __future__ import annotations

import contextlib
import os
import random
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar
from urllib.parse import unquote

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.execution import clock
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.execution.patience import Patience
from resilient_tasks.core.home import keep_private
from resilient_tasks.core.store import Contended, Step
from resilient_tasks.state import claims, corruption
from resilient_tasks.state.connection import SharedConnection

T = TypeVar("T")

_TABLE = "CREATE TABLE IF NOT EXISTS states (key TEXT PRIMARY KEY, value BLOB NOT NULL, expires REAL) WITHOUT ROWID"
_GET = "SELECT value FROM states WHERE key = ? AND (expires IS NULL OR expires > ?)"
_REPLACE = "UPDATE states SET value = ?, expires = ? WHERE key = ? AND value = ? AND (expires IS NULL OR expires > ?)"
_PUT = "INSERT OR REPLACE INTO states VALUES (?, ?, ?)"
_KEYS = "SELECT key FROM states WHERE substr(key, 1, ?) = ? AND (expires IS NULL OR expires > ?)"
_NEXT = "SELECT key FROM states WHERE key > ? ORDER BY key LIMIT 1 OFFSET ?"
_PURGE = "DELETE FROM states WHERE key > ? AND key <= ? AND expires <= ?"
_PURGE_TO_THE_END = "DELETE FROM states WHERE key > ? AND expires <= ?"

#: Longest random wait, in seconds, between two requests for the write lock. It shrinks while a process waits, so that
#: one that has just had the lock does not overtake one that waits.
_LONGEST_WAIT, _SHORTEST_WAIT = 0.0005, 0.00005

#: A locked file is unavailable once nothing was written to it for this many times the bound.
_STANDSTILL = 4

#: Seconds for which each step of opening the file waits for other processes.
_OPENING = 1.0

#: Optimistic updates, by compare-and-swap, before `update` takes the write lock, which always succeeds.
_GUESSES = 3

#: This share of all writes checks that many other values, and deletes the expired ones: four checks a write on average,
#: and none takes long, however large the table is.
_PURGING, _CHECKED = 1 / 500, 2000


class SQLiteStore:
    """A table in a file in WAL mode: reads never wait, and one process writes at a time.

    A file that is no database, or a damaged one, is renamed to `<name>.broken-<time>`, and a new one is created.

    Args:
        url: `sqlite:///relative/path` or `sqlite:////absolute/path`. Not on a network file system, where SQLite's
            locks do not work.
        bound: seconds within which a request is answered or fails. Other writers may delay it for longer: see
            `update`.

    Raises:
        PolicyError: the URL names no file.
    """

    def __init__(self, url: str, *, bound: float = 0.05) -> None:
        path = unquote(url.removeprefix("sqlite://").removeprefix("/"))
        if not path:
            msg = f"{url} names no file: sqlite:///relative/path or sqlite:////absolute/path"
            raise PolicyError(msg)
        self._path, self._file = Path(path), path
        self._bound = bound
        self._connection: SharedConnection[sqlite3.Connection] | None = None
        self._inode, self._times_opened = (0, 0), 0
        self._suspect = False
        self._purged_to: str | None = None
        self._claims: claims.Claims | None = None

    def connect(self) -> None:
        """Open the file. Create it, and its folder, if missing.

        An earlier connection that a thread still uses is closed by that thread.
        """
        keep_private(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            opened = self._opened()
        except sqlite3.DatabaseError as error:
            if not corruption.is_corruption(error):
                raise
            corruption.move_aside(self._path, error)
            keep_private(self._path)  # the new file, too
            opened = self._opened()
        found = self._path.stat()
        before, self._connection = self._connection, SharedConnection(opened)
        self._times_opened += 1
        self._inode, self._suspect = (found.st_dev, found.st_ino), False
        if before is not None:
            before.retire()

    def now(self) -> float:
        """Return unix seconds: the file may outlive a reboot, and with it a monotonic clock."""
        return clock.wall()

    def get(self, key: str) -> bytes | None:
        """See `StateStore`."""
        return self._ask(lambda connection: self._until_free(lambda: self._found(connection, key)))

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        """See `StateStore`."""

        def swapped(connection: sqlite3.Connection) -> tuple[bool, bytes | None]:
            # As long as `update` waits for one writer, which may have to wait for a core on a busy machine.
            with self._writing(connection, _STANDSTILL * self._bound):
                found = self._found(connection, key)
                if found == old:
                    self._put(connection, key, new, ttl)
            return (True, new) if found == old else (False, found)

        return self._ask(swapped)

    def update(self, key: str, step: Step, *, within: float) -> None:
        """Atomically replace the value under `key` by what `step` makes of it.

        Args:
            key: name of the state.
            step: from the value, returns the next one (None: unchanged) and its time to live. May be called again.
            within: seconds for which this waits for other writers.

        Raises:
            Contended: other writers took longer.
        """

        def updated(connection: sqlite3.Connection) -> None:
            # This locks others out for one statement, and not while Python makes the next value: a process that waits
            # for a core at that moment would block all the others.
            for _ in range(_GUESSES):
                found = self._until_free(lambda: self._found(connection, key))
                new, ttl = step(found)
                if new is None:
                    return
                if found is None or random.random() < _PURGING:
                    break
                now = self.now()
                values = (new, None if ttl is None else now + ttl, key, found, now)
                if self._when_free(connection, _REPLACE, values, within).rowcount:
                    return
            with self._writing(connection, within):
                new, ttl = step(self._found(connection, key))
                if new is not None:
                    self._put(connection, key, new, ttl)

        self._ask(updated)

    def claims(self) -> claims.Claims | None:
        """Return the claims of the processes that use this file; None if the system has none.

        Raises:
            OSError: the lock file beside it cannot be opened.
        """
        if claims.POSSIBLE and (self._claims is None or not self._claims.is_current):
            self._claims = claims.Claims(f"{self._file}-slots", self._path.stat().st_mode & 0o777)
        return self._claims

    def version(self) -> int:
        """Return a number that changes when another connection has written to the file, and with each `connect`."""
        return self._ask(lambda connection: _written(connection) + (self._times_opened << 32))

    def keys(self, prefix: str) -> list[str]:
        """See `StateStore`."""
        given = (len(prefix), prefix, self.now())
        rows = self._ask(lambda connection: self._until_free(lambda: connection.execute(_KEYS, given).fetchall()))
        return [key for (key,) in rows]

    def close(self) -> None:
        """Close the file; if a thread uses it, when that is done."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.retire()
        self._claims = None  # running calls keep theirs

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        connection = self._connection
        if connection is None:
            msg = f"{self._path} is not open"
            raise ConnectionError(msg)
        found = os.stat(self._file)  # noqa: PTH116  # a hot path; what is written to a deleted or renamed file is lost
        if (found.st_dev, found.st_ino) != self._inode:
            msg = f"{self._path} was replaced by another file"
            raise ConnectionError(msg)
        try:
            return connection.use(question, self._bound)
        except sqlite3.DatabaseError as error:
            self._suspect = self._suspect or corruption.is_corruption(error)
            raise

    def _opened(self) -> sqlite3.Connection:
        # SQLite's own busy handler waits up to 100 ms at a time: too coarse for the bound.
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._until_free(lambda: connection.execute("PRAGMA journal_mode=WAL"), within=_OPENING)
            connection.execute("PRAGMA synchronous=NORMAL")
            self._until_free(lambda: connection.execute(_TABLE), within=_OPENING)
            if self._suspect and connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                error = sqlite3.DatabaseError("database disk image is malformed")
                error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise error  # noqa: TRY301  # as SQLite raises it when it reads the damage
        except BaseException:
            connection.close()
            raise
        return connection

    def _found(self, connection: sqlite3.Connection, key: str) -> bytes | None:
        row = connection.execute(_GET, (key, self.now())).fetchone()
        return row[0] if row else None

    def _put(self, connection: sqlite3.Connection, key: str, new: bytes, ttl: float | None) -> None:
        connection.execute(_PUT, (key, new, None if ttl is None else self.now() + ttl))
        if random.random() < _PURGING:  # at random, as a process may make only a few calls
            self._purge(connection, key)

    def _purge(self, connection: sqlite3.Connection, key: str) -> None:
        """Go on where this process stopped; first at `key`, so that processes begin at different places."""
        begin = key if self._purged_to is None else self._purged_to
        self._purged_to = self._purge_after(connection, begin)
        if not self._purged_to:
            self._purged_to = self._purge_after(connection, "")

    def _purge_after(self, connection: sqlite3.Connection, begin: str) -> str:
        """Delete expired values among the next ones after a key, and return the last key checked; empty at the end."""
        last = connection.execute(_NEXT, (begin, _CHECKED - 1)).fetchone()
        if last is None:
            connection.execute(_PURGE_TO_THE_END, (begin, self.now()))
            return ""
        connection.execute(_PURGE, (begin, *last, self.now()))
        return str(last[0])

    @contextlib.contextmanager
    def _writing(self, connection: sqlite3.Connection, within: float) -> Iterator[None]:
        try:
            self._when_free(connection, "BEGIN IMMEDIATE", (), within)
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # a full disk may refuse this too
                    connection.execute("ROLLBACK")
            raise

    def _when_free(
        self, connection: sqlite3.Connection, statement: str, values: tuple[object, ...], within: float
    ) -> sqlite3.Cursor:
        """Execute a statement that needs the write lock.

        Wait up to `within` seconds for it while others write, and less if nothing is written.

        Raises:
            Contended: others kept writing.
            sqlite3.OperationalError: the file stays locked, and nothing is written.
        """
        try:
            return connection.execute(statement, values)
        except sqlite3.OperationalError as error:
            busy = _if_busy(error)
        patience, longest = Patience(within), _LONGEST_WAIT
        written, still = -1, self._standstill(within)
        while True:
            time.sleep(random.uniform(0, longest))
            longest = max(_SHORTEST_WAIT, 0.9 * longest)
            try:
                return connection.execute(statement, values)
            except sqlite3.OperationalError as error:
                busy = _if_busy(error)
            if written < 0:
                written = _written(connection)
            if still.is_over:
                before, written = written, _written(connection)
                if before == written:
                    raise busy
                still = self._standstill(within)
            if patience.is_over:
                msg = f"others kept writing to {self._path} for {within:g} s"
                raise Contended(msg) from busy

    def _standstill(self, within: float) -> Patience:
        return Patience(min(within, _STANDSTILL * self._bound))

    def _until_free(self, work: Callable[[], T], within: float | None = None) -> T:
        patience = Patience(self._bound if within is None else within)
        while True:
            try:
                return work()
            except sqlite3.OperationalError as error:
                if not _is_busy(error) or patience.is_over:
                    raise
            time.sleep(random.uniform(0, _LONGEST_WAIT))


def _if_busy(error: sqlite3.OperationalError) -> sqlite3.OperationalError:
    """Return the error if another process has the write lock, else raise it."""
    if not _is_busy(error):
        raise error
    return error


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _written(connection: sqlite3.Connection) -> int:
    """Return a number that changes when another connection has written to the file."""
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return int(version)
