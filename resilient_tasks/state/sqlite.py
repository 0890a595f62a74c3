"""States in an SQLite file: shared by all processes of a machine, and still there after the last one has ended."""

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
_TIDY = "DELETE FROM states WHERE key > ? AND key <= ? AND expires <= ?"
_TIDY_TO_THE_END = "DELETE FROM states WHERE key > ? AND expires <= ?"

#: Seconds for which a process waits at the most, at random, before it asks for the write lock again. The longer it has
#: waited, the sooner it asks: one that has just had the lock is not to take it from one that waits.
_LONGEST_WAIT, _SHORTEST_WAIT = 0.0005, 0.00005

#: A file is given up where nothing was written to it for so many times the bound, while others had it locked.
_STANDS_STILL = 4

#: Seconds for which each step of opening the file waits for others to be ready with it.
_OPENING = 1.0

#: Times that a new value is put in the place of the one that it was made of, in the hope that this still stands there.
#: Then others are kept out: however many they are, the next time is the last.
_GUESSES = 3

#: With this share of the values that are put, so many others are looked at, and those whose time is over deleted: four
#: for each that is put, and none at the cost of a wait, however many there are.
_TIDIED, _LOOKED_AT = 1 / 500, 2000


class SQLiteStore:
    """A table in a file in WAL mode: reading waits for nobody, and one process writes at a time.

    A file that is no database, or a damaged one, is renamed to `<name>.broken-<time>` and begun anew.

    Args:
        url: `sqlite:///relative/path` or `sqlite:////absolute/path`. Not for a network file system: its locks do not
            hold there.
        bound: seconds within which a question is answered or fails. Others who write, one after the other, may hold it
            up for longer: see `update`.

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
        self._lent: SharedConnection[sqlite3.Connection] | None = None
        self._inode, self._times_opened = (0, 0), 0
        self._suspect = False
        self._tidied_to: str | None = None
        self._claims: claims.Claims | None = None

    def connect(self) -> None:
        """Open the file, and make it, with its folder, where there is none.

        A connection that a thread uses meanwhile is closed by that thread.
        """
        keep_private(self._path)
        self._path.parent.mkdir(parents=True, exist_ok=True)
        try:
            opened = self._opened()
        except sqlite3.DatabaseError as error:
            if not corruption.is_corruption(error):
                raise
            corruption.move_aside(self._path, error)
            keep_private(self._path)  # of the new one, too
            opened = self._opened()
        found = self._path.stat()
        before, self._lent = self._lent, SharedConnection(opened)
        self._times_opened += 1
        self._inode, self._suspect = (found.st_dev, found.st_ino), False
        if before is not None:
            before.give_up()

    def now(self) -> float:
        """Return unix seconds: the file may outlive the machine's running time."""
        return clock.wall()

    def get(self, key: str) -> bytes | None:
        """See `StateStore`."""
        return self._ask(lambda connection: self._until_free(lambda: self._found(connection, key)))

    def swap(self, key: str, old: bytes | None, new: bytes, *, ttl: float | None = None) -> tuple[bool, bytes | None]:
        """See `StateStore`."""

        def swapped(connection: sqlite3.Connection) -> tuple[bool, bytes | None]:
            # As long as `update` waits for one that writes: on a busy machine that one may have to wait for its turn.
            with self._writing(connection, _STANDS_STILL * self._bound):
                found = self._found(connection, key)
                if found == old:
                    self._put(connection, key, new, ttl)
            return (True, new) if found == old else (False, found)

        return self._ask(swapped)

    def update(self, key: str, step: Step, *, within: float) -> None:
        """Replace the value under `key` by what `step` makes of it, and of nothing that another one has changed since.

        Args:
            key: name of the state.
            step: given the value, returns the next one (None: it stays) and its time to live. It may be asked again.
            within: seconds for which this waits for others who write, one after the other.

        Raises:
            Contended: it would have had to wait for longer.
        """

        def updated(connection: sqlite3.Connection) -> None:
            # Others are kept out for one statement, and not while Python makes the next value: a process that has to
            # wait for a core at that moment would keep all the others waiting.
            for _ in range(_GUESSES):
                found = self._until_free(lambda: self._found(connection, key))
                new, ttl = step(found)
                if new is None:
                    return
                if found is None or random.random() < _TIDIED:
                    break
                now = self.now()
                given = (new, None if ttl is None else now + ttl, key, found, now)
                if self._when_free(connection, _REPLACE, given, within).rowcount:
                    return
            with self._writing(connection, within):
                new, ttl = step(self._found(connection, key))
                if new is not None:
                    self._put(connection, key, new, ttl)

        self._ask(updated)

    def claims(self) -> claims.Claims | None:
        """Return the claims of the processes that use this file; None where the system has none.

        Raises:
            OSError: the file beside it cannot be opened.
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
        """Close the file, or leave that to the thread that uses it."""
        lent, self._lent = self._lent, None
        if lent is not None:
            lent.give_up()
        self._claims = None  # a call that is under way has them still

    def _ask(self, question: Callable[[sqlite3.Connection], T]) -> T:
        lent = self._lent
        if lent is None:
            msg = f"{self._path} is not open"
            raise ConnectionError(msg)
        found = os.stat(self._file)  # noqa: PTH116  # for each question; what is written to a file that was deleted, or set aside, nobody reads
        if (found.st_dev, found.st_ino) != self._inode:
            msg = f"another file has taken the place of {self._path}"
            raise ConnectionError(msg)
        try:
            return lent.use(question, self._bound)
        except sqlite3.DatabaseError as error:
            self._suspect = self._suspect or corruption.is_corruption(error)
            raise

    def _opened(self) -> sqlite3.Connection:
        # SQLite's own waiting doubles its steps up to 100 ms: too coarse for the bound.
        connection = sqlite3.connect(self._path, timeout=0, isolation_level=None, check_same_thread=False)
        try:
            self._until_free(lambda: connection.execute("PRAGMA journal_mode=WAL"), within=_OPENING)
            connection.execute("PRAGMA synchronous=NORMAL")
            self._until_free(lambda: connection.execute(_TABLE), within=_OPENING)
            if self._suspect and connection.execute("PRAGMA quick_check(1)").fetchone() != ("ok",):
                error = sqlite3.DatabaseError("database disk image is malformed")
                error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
                raise error  # noqa: TRY301  # as SQLite raises it, where it comes upon the damage
        except BaseException:
            connection.close()
            raise
        return connection

    def _found(self, connection: sqlite3.Connection, key: str) -> bytes | None:
        row = connection.execute(_GET, (key, self.now())).fetchone()
        return row[0] if row else None

    def _put(self, connection: sqlite3.Connection, key: str, new: bytes, ttl: float | None) -> None:
        connection.execute(_PUT, (key, new, None if ttl is None else self.now() + ttl))
        if random.random() < _TIDIED:  # a process may live for a few calls
            self._tidy(connection, key)

    def _tidy(self, connection: sqlite3.Connection, key: str) -> None:
        """Go on where this process stopped, at first beside `key`: not all are to begin at the same place."""
        begin = key if self._tidied_to is None else self._tidied_to
        self._tidied_to = self._tidied(connection, begin)
        if not self._tidied_to:
            self._tidied_to = self._tidied(connection, "")

    def _tidied(self, connection: sqlite3.Connection, begin: str) -> str:
        """Look at the values after this key, and return the last key that was looked at; empty: that was the end."""
        last = connection.execute(_NEXT, (begin, _LOOKED_AT - 1)).fetchone()
        if last is None:
            connection.execute(_TIDY_TO_THE_END, (begin, self.now()))
            return ""
        connection.execute(_TIDY, (begin, *last, self.now()))
        return str(last[0])

    @contextlib.contextmanager
    def _writing(self, connection: sqlite3.Connection, within: float) -> Iterator[None]:
        try:
            self._when_free(connection, "BEGIN IMMEDIATE", (), within)
            yield
            connection.execute("COMMIT")
        except BaseException:
            if connection.in_transaction:
                with contextlib.suppress(sqlite3.Error):  # a disk that is full may refuse this too
                    connection.execute("ROLLBACK")
            raise

    def _when_free(
        self, connection: sqlite3.Connection, statement: str, given: tuple[object, ...], within: float
    ) -> sqlite3.Cursor:
        """Execute a statement that needs the write lock.

        It waits for that up to `within` seconds while others write, and for less where the file stands still.

        Raises:
            Contended: others wrote all the time.
        """
        try:
            return connection.execute(statement, given)
        except sqlite3.OperationalError as error:
            busy = _if_busy(error)
        patience, longest = Patience(within), _LONGEST_WAIT
        written, still = -1, self._standstill(within)
        while True:
            time.sleep(random.uniform(0, longest))
            longest = max(_SHORTEST_WAIT, 0.9 * longest)
            try:
                return connection.execute(statement, given)
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
        return Patience(min(within, _STANDS_STILL * self._bound))

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
    """Return the error if it says that another process has the write lock, else raise it."""
    if not _is_busy(error):
        raise error
    return error


def _is_busy(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}


def _written(connection: sqlite3.Connection) -> int:
    """Return a number that changes when another connection has written to the file."""
    (version,) = connection.execute("PRAGMA data_version").fetchone()
    return int(version)
