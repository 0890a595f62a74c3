"""What a run wrote into its folder: the content of files, and the lines and rows that were added to them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

_SQLITE = b"SQLite format 3\x00"
#: Journals of SQLite, which come and go.
_PASSING = ("-wal", "-shm", "-journal", ".pyc")
_LARGEST_TEXT = 1_000_000
_SHOWN = 40


def values_of(folder: Path) -> dict[str, str]:
    """Return the content of each file, by its path; of an SQLite file, of each table."""
    values: dict[str, str] = {}
    for path, name in _files(folder):
        if _is_sqlite(path):
            for table, rows in _tables(path).items():
                values[f"{name}[{table!r}]"] = f"{rows.total()} rows #{_digest(repr(sorted(rows.items())).encode())}"
        else:
            content = path.read_bytes()
            values[name] = f"{len(content)} bytes #{_digest(content)}"
    return values


def effects_of(folder: Path) -> dict[str, int]:
    """Return how often each line of a text and each row of an SQLite table is there."""
    effects: Counter[str] = Counter()
    for path, name in _files(folder):
        if _is_sqlite(path):
            for table, rows in _tables(path).items():
                for row, count in rows.items():
                    effects[f"{name}[{table!r}] has the row {row[:_SHOWN]} #{_digest(row.encode())}"] += count
        elif path.stat().st_size <= _LARGEST_TEXT:
            effects.update(f"{name} has the line {_shown(line)}" for line in _lines(path) if line.strip())
    return dict(effects)


def _files(folder: Path) -> Iterator[tuple[Path, str]]:
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not path.name.endswith(_PASSING) and "__pycache__" not in path.parts:
            yield path, f"files/{path.relative_to(folder).as_posix()}"


def _shown(line: str) -> str:
    return repr(line) if len(line) <= _SHOWN else f"{line[:_SHOWN]!r}... #{_digest(line.encode())}"


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []


def _is_sqlite(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(len(_SQLITE)) == _SQLITE


def _tables(path: Path) -> dict[str, Counter[str]]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as database:
        names = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type = 'table'")]
        return {
            name: Counter(map(repr, database.execute('SELECT * FROM "{}"'.format(name.replace('"', '""')))))  # noqa: S608  # its own tables
            for name in names
        }


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:8]
