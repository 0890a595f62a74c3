# ruff: noqa: PLC0415 - pyarrow loads on first use
"""What became of a batch's rows: one numbered file a replay, created only where that number is free.

The file is the release and its record in one, so there is no moment between them in which a kill could lose a row or
release it twice. Of two replays at once, one finds its number taken, reads what the other released, and tries the next.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from resilient_tasks.data._files import Files

_FOLDER = ".ledger"


class Key(NamedTuple):
    """A row, for good: its number, and a digest of what was read, as a retry may have read another row there."""

    row: int
    digest: str


class Judged(NamedTuple):
    """A row as a replay found it: the values given, and what is wrong with them; nothing, if it is released."""

    key: Key
    values: str
    reasons: str


def key_of(row: int, values: str) -> Key:
    """The key of a row.

    Args:
        row: Its number in the frame as read.
        values: Its values as read, as JSON text.
    """
    return Key(row, hashlib.blake2b(values.encode(), digest_size=8).hexdigest())


@dataclass(frozen=True)
class Ledger:
    """The replays of one batch.

    Attributes:
        files: The quarantine's files.
        folder: Where its entries lie.
    """

    files: Files
    folder: str

    @classmethod
    def beside(cls, files: Files, operation: str, batch: str) -> Ledger:
        """The ledger of a batch, by names that are safe for a file system."""
        return cls(files, f"{_FOLDER}/{operation}/{batch}")

    @classmethod
    def every(cls, files: Files, operation: str = "") -> list[Ledger]:
        """Those that have an entry, in order."""
        names = files.names(f"{_FOLDER}/{operation}".rstrip("/"))
        return [cls(files, folder) for folder in dict.fromkeys(name.rpartition("/")[0] for name in names)]

    def entries(self) -> list[str]:
        """The names of its entries, oldest first."""
        return sorted(self.files.names(self.folder))

    @property
    def last(self) -> dt.datetime | None:
        """When the last entry was made, UTC."""
        entries = self.entries()
        if not entries:
            return None
        return dt.datetime.fromisoformat(self.read(entries[-1]).schema.metadata[b"replayed_at"].decode())

    def read(self, entry: str) -> Any:
        """One entry as an Arrow table: row, digest, reasons, values, with the frame's library and shape as metadata."""
        import pyarrow.parquet as pq

        with self.files.open(entry) as file:
            return pq.read_table(file, use_threads=False)  # as for the batches themselves

    def verdicts(self, entries: Sequence[str] | None = None) -> dict[Key, str]:
        """The last reasons of each row that was replayed; nothing where it is released.

        Args:
            entries: Those to go by, oldest first; default: all.
        """
        last: dict[Key, str] = {}
        for entry in self.entries() if entries is None else entries:
            table = self.read(entry)
            keys = map(Key, table["row"].to_pylist(), table["digest"].to_pylist())
            last.update(zip(keys, table["reasons"].to_pylist(), strict=True))
        return last

    def commit(self, judged: Sequence[Judged], about: Mapping[str, str]) -> set[Key]:
        """Write down what a replay found, each released row once.

        Args:
            judged: The rows that it judged.
            about: What holds for the entry as a whole.

        Returns:
            The rows that this entry releases: those that no other has.
        """
        while True:
            entries = self.entries()
            settled = {key for key, reasons in self.verdicts(entries).items() if not reasons}
            fresh = [row for row in judged if row.key not in settled]
            if not fresh:
                return set()
            # The number after those that were read: whoever wrote another meanwhile has it, and is read next.
            last = int(entries[-1].rpartition("/")[2].partition(".")[0]) if entries else 0
            name = f"{self.folder}/{last + 1:06}.parquet"
            if self.files.create(name, _encoded(fresh, about)):
                return {row.key for row in fresh if not row.reasons}

    def remove(self) -> None:
        """Remove every entry, the last first: what is left of it at a kill is still in order."""
        for entry in reversed(self.entries()):
            self.files.remove(entry)


def _encoded(judged: Iterable[Judged], about: Mapping[str, str]) -> bytes:
    import pyarrow as pa

    rows = list(judged)
    columns = {
        "row": pa.array([row.key.row for row in rows], pa.int64()),
        "digest": pa.array([row.key.digest for row in rows], pa.string()),
        "reasons": pa.array([row.reasons for row in rows], pa.string()),
        "values": pa.array([row.values for row in rows], pa.string()),
    }
    now = dt.datetime.now(dt.UTC).isoformat()
    return parquet(pa.table(columns).replace_schema_metadata({**about, "replayed_at": now}))


def parquet(table: Any) -> bytes:
    """An Arrow table as the content of a Parquet file."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    buffer = pa.BufferOutputStream()
    pq.write_table(table, buffer)
    content: bytes = buffer.getvalue().to_pybytes()
    return content
