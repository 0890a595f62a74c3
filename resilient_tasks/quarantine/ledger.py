# ruff: noqa: PLC0415 - pyarrow loads on first use
"""The ledger of a batch: one numbered file for each replay, created only if its number is free.

An entry is both the release and its record, so a kill can neither lose a row nor release it twice. Of two concurrent
replays, one finds its number taken, reads that entry, and tries the next number.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from resilient_tasks.quarantine.batch_file import REASONS, ROW, Part, join_columns
from resilient_tasks.storage import parquet
from resilient_tasks.storage.arrow import PREFIX
from resilient_tasks.storage.files import Files

DIGEST = f"{PREFIX}digest"
_FOLDER = ".ledger"


class RowKey(NamedTuple):
    """Identifies a row: its number, and a digest of its values, because a retry may have read another row there."""

    row: int
    digest: str


class ReplayedRow(NamedTuple):
    """A replayed row and its reasons as JSON text; empty if it is released."""

    key: RowKey
    reasons: str


@dataclass(frozen=True)
class Ledger:
    """The replays of one batch.

    Attributes:
        files: The quarantine's files.
        folder: The folder of its entries.
    """

    files: Files
    folder: str

    @classmethod
    def of_batch(cls, files: Files, operation: str, batch: str) -> Ledger:
        """Return the ledger of a batch; the names must be safe for file systems."""
        return cls(files, f"{_FOLDER}/{operation}/{batch}")

    @classmethod
    def every(cls, files: Files, operation: str = "") -> list[Ledger]:
        """Return the ledgers that have entries, in order."""
        names = files.names(f"{_FOLDER}/{operation}".rstrip("/"))
        return [cls(files, folder) for folder in dict.fromkeys(name.rpartition("/")[0] for name in names)]

    def entries(self) -> list[str]:
        """Return the names of the entries, oldest first."""
        return sorted(self.files.names(self.folder))

    @property
    def last(self) -> dt.datetime | None:
        """The time of the last entry, UTC."""
        entries = self.entries()
        if not entries:
            return None
        return dt.datetime.fromisoformat(self.read(entries[-1]).facts["replayed_at"])

    def read(self, entry: str) -> Part:
        """Return an entry: released rows as the schema returned them, and the reasons of the others."""
        with self.files.open(entry) as file:
            return Part.read(file, self.files.place(entry))

    def latest_reasons(self, entries: Sequence[str] | None = None) -> dict[RowKey, str]:
        """Return the latest reasons of each replayed row; empty if it is released.

        Args:
            entries: The entries to read, oldest first; default: all.
        """
        last: dict[RowKey, str] = {}
        for entry in self.entries() if entries is None else entries:
            part = self.read(entry)
            keys = map(RowKey, part.rows, part.table[DIGEST].to_pylist())
            last.update(zip(keys, part.table[REASONS].to_pylist(), strict=True))
        return last

    def commit(self, replayed: Sequence[ReplayedRow], released: Any, about: Mapping[str, Any]) -> set[RowKey]:
        """Record the result of a replay; release each row once.

        Args:
            replayed: The replayed rows.
            released: The released ones among them, in order, as an Arrow table.
            about: Facts about the whole entry.

        Returns:
            The rows that this entry releases and no earlier one.
        """
        import pyarrow as pa

        while True:
            entries = self.entries()
            settled = {key for key, reasons in self.latest_reasons(entries).items() if not reasons}
            if all(row.key in settled for row in replayed):
                return set()
            # The next free number. If a concurrent replay takes it, its entry is read next.
            last = int(entries[-1].rpartition("/")[2].partition(".")[0]) if entries else 0
            name = f"{self.folder}/{last + 1:06}.parquet"
            good = [row for row in replayed if not row.reasons]
            ours = [at for at, row in enumerate(good) if row.key not in settled]
            rest = [row for row in replayed if row.reasons and row.key not in settled]
            kept = released.take(pa.array(ours, pa.int64()))
            if self.files.create(name, _encoded([*(good[at] for at in ours), *rest], kept, about)):
                return {good[at].key for at in ours}

    def remove(self) -> None:
        """Remove the entries, last first: after a kill the rest is still consistent."""
        for entry in reversed(self.entries()):
            self.files.remove(entry)


def _encoded(replayed: Sequence[ReplayedRow], released: Any, about: Mapping[str, Any]) -> bytes:
    import pyarrow as pa

    own = pa.table({
        ROW: pa.array([row.key.row for row in replayed], pa.int64()),
        DIGEST: pa.array([row.key.digest for row in replayed], pa.string()),
        REASONS: pa.array([row.reasons for row in replayed], pa.string()),
    })  # fmt: skip
    size = released.num_rows
    first = join_columns(dict(zip(own.column_names, own.slice(0, size).columns, strict=True)), released)
    table = pa.concat_tables([first, own.slice(size)], promote_options="default")
    return parquet.encode(table, {**about, "replayed_at": dt.datetime.now(dt.UTC).isoformat()})
