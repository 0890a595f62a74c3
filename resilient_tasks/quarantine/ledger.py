# ruff: noqa: PLC0415 - pyarrow loads on first use
"""The replays of a batch: one numbered file each, created only where that number is free.

The file is the release and its record in one, so there is no moment between them in which a kill could lose a row or
release it twice. Of two concurrent replays, one finds its number taken, reads that file, and tries the next number.
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from resilient_tasks.quarantine.batch_file import REASONS, ROW, Part, beside
from resilient_tasks.storage import parquet
from resilient_tasks.storage.arrow import PREFIX
from resilient_tasks.storage.files import Files

DIGEST = f"{PREFIX}digest"
_FOLDER = ".ledger"


class Key(NamedTuple):
    """A row, for good: its number, and a digest of what was read, as a retry may have read another row there."""

    row: int
    digest: str


class Judged(NamedTuple):
    """A row as a replay found it, and what is wrong with it as JSON text; nothing, if it is released."""

    key: Key
    reasons: str


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
        return dt.datetime.fromisoformat(self.read(entries[-1]).facts["replayed_at"])

    def read(self, entry: str) -> Part:
        """One entry: the released rows as the schema returned them, and of the others no more than why they wait."""
        with self.files.open(entry) as file:
            return Part.read(file, self.files.place(entry))

    def verdicts(self, entries: Sequence[str] | None = None) -> dict[Key, str]:
        """The last reasons of each row that was replayed; nothing where it is released.

        Args:
            entries: Those to go by, oldest first; default: all.
        """
        last: dict[Key, str] = {}
        for entry in self.entries() if entries is None else entries:
            part = self.read(entry)
            keys = map(Key, part.rows, part.table[DIGEST].to_pylist())
            last.update(zip(keys, part.table[REASONS].to_pylist(), strict=True))
        return last

    def commit(self, judged: Sequence[Judged], released: Any, about: Mapping[str, Any]) -> set[Key]:
        """Record the result of a replay; release each row once.

        Args:
            judged: The rows that it judged.
            released: Those of them that are released, in order, as an Arrow table.
            about: What holds for the entry as a whole.

        Returns:
            The rows that this entry releases: those that no other has.
        """
        import pyarrow as pa

        while True:
            entries = self.entries()
            settled = {key for key, reasons in self.verdicts(entries).items() if not reasons}
            if all(row.key in settled for row in judged):
                return set()
            # The number after those that were read. If another replay took it meanwhile, its entry is read next.
            last = int(entries[-1].rpartition("/")[2].partition(".")[0]) if entries else 0
            name = f"{self.folder}/{last + 1:06}.parquet"
            good = [row for row in judged if not row.reasons]
            ours = [at for at, row in enumerate(good) if row.key not in settled]
            rest = [row for row in judged if row.reasons and row.key not in settled]
            kept = released.take(pa.array(ours, pa.int64()))
            if self.files.create(name, _encoded([*(good[at] for at in ours), *rest], kept, about)):
                return {good[at].key for at in ours}

    def remove(self) -> None:
        """Remove every entry, the last first: what is left of it at a kill is still in order."""
        for entry in reversed(self.entries()):
            self.files.remove(entry)


def _encoded(judged: Sequence[Judged], released: Any, about: Mapping[str, Any]) -> bytes:
    import pyarrow as pa

    own = pa.table({
        ROW: pa.array([row.key.row for row in judged], pa.int64()),
        DIGEST: pa.array([row.key.digest for row in judged], pa.string()),
        REASONS: pa.array([row.reasons for row in judged], pa.string()),
    })  # fmt: skip
    size = released.num_rows
    first = beside(dict(zip(own.column_names, own.slice(0, size).columns, strict=True)), released)
    table = pa.concat_tables([first, own.slice(size)], promote_options="default")
    return parquet.encode(table, {**about, "replayed_at": dt.datetime.now(dt.UTC).isoformat()})
