# ruff: noqa: PLC0415 - pandas and pyarrow load on first use
"""The quarantine: bad rows stored as read, with their reasons, until they are corrected and released.

One Parquet file per batch, at `<folder>/<operation>/<YYYY-MM-DD>/<batch>.parquet`. Writes are atomic, and the same
batch replaces its file, so a retry never counts a row twice. Released rows are stored separately, in `.ledger`; a
batch's file is never edited.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters import durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.quarantine.batch_file import (
    COLUMNS,
    REASONS,
    Part,
    QuarantineError,
    encode_batch,
    errors_explained,
)
from resilient_tasks.quarantine.ledger import Ledger, RowKey
from resilient_tasks.quarantine.replay import Replay, WaitingRows
from resilient_tasks.redaction.text import redact
from resilient_tasks.redaction.values import Cleaner
from resilient_tasks.storage import parquet
from resilient_tasks.storage.arrow import concat, from_arrow
from resilient_tasks.storage.blocks import StorageBlock, is_block, is_name
from resilient_tasks.storage.files import Files, LocalFiles, files_at, safe_name
from resilient_tasks.storage.values import loads
from resilient_tasks.validation.schemas import fingerprint

if TYPE_CHECKING:
    import builtins

    import pandas as pd

    from resilient_tasks.validation.report import Split

__all__ = ["Quarantine", "QuarantineError", "QuarantinedBatch", "StorageBlock"]
_LEFT_OVER = 3600.0  # seconds; no write takes that long


@dataclass(frozen=True)
class QuarantinedBatch:
    """A batch in the quarantine.

    Attributes:
        path: The file: a path in a local folder, otherwise a URL.
        operation: The operation that the data belongs to.
        batch: The batch's id.
        rows: The number of bad rows.
        when: When it was written, UTC.
        waiting: The number of rows that are not released.
    """

    path: Any
    operation: str
    batch: str
    rows: int
    when: dt.datetime
    waiting: int


BatchRef = str | os.PathLike[str] | QuarantinedBatch


@answering('Quarantine("quarantine")', "options")
@dataclass(frozen=True)
class Quarantine:
    """A folder for bad rows. It holds only the address, so it can be pickled to any worker with access to the folder.

    Attributes:
        url: A local folder's path or `file://` URL, or any URL that fsspec knows. A folder is created by the first
            write; a bucket must exist. Or one of Prefect's storage blocks: a `LocalFileSystem`, a `RemoteFileSystem`,
            an `S3Bucket`, or the name `block:TYPE/NAME` of one on the server, such as `block:remote-file-system/ml`,
            which is loaded when used. `block:TYPE/NAME/FOLDER` is a folder in it.
        options: Options of fsspec's file system: credentials, an endpoint.

    Raises:
        PolicyError: If it is not an address, not the name of a block, or a block that stores no files; or if the
            library for the URL is not installed.
        ValueError: If no file system is known for the URL, or a `file://` URL names another host.
    """

    url: str | os.PathLike[str] | StorageBlock
    _: KW_ONLY
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse unusable addresses at once."""
        if not is_block(self.url) and (not isinstance(self.url, str | os.PathLike) or not os.fspath(self.url)):
            given = type(self.url).__name__ if isinstance(self.url, type) or callable(self.url) else repr(self.url)
            raise PolicyError(f"Quarantine(url) is a folder's path, a URL or a storage block, not {given}")
        if not isinstance(self.options, Mapping):
            given = type(self.options).__name__  # the options may hold secrets
            raise PolicyError(f"Quarantine(options=...) is a mapping of fsspec's options, not of type {given}")
        if not self._is_name:  # no request to the server while a module is imported
            _ = self._files

    def __repr__(self) -> str:
        return f"Quarantine(url={redact(os.fspath(self.folder))!r})"  # which may hold credentials

    @property
    def folder(self) -> Any:
        """The address: a local folder's path, the name of a block, or a URL."""
        if self._is_name:
            return self.url
        files = self._files
        return files.root if isinstance(files, LocalFiles) else os.fspath(files.place(""))[:-1]

    @property
    def _is_name(self) -> bool:
        return isinstance(self.url, str) and is_name(self.url)

    @property
    def _files(self) -> Files:
        if not self._is_name:
            return files_at(self.url, self.options)
        with errors_explained(f"Cannot use the quarantine {self.url}"):
            return files_at(self.url, self.options)

    def exists(self) -> bool:
        """Return whether the folder exists; the first write creates it.

        Raises:
            QuarantineError: If the address cannot be reached.
        """
        files = self._files
        with errors_explained(f"Cannot reach the quarantine {self.folder}", files.advice):
            return files.exist()

    def write(
        self,
        split: Split[Any],
        *,
        operation: str,
        batch: str,
        schema: Any = None,
        context: Mapping[str, str] | None = None,
    ) -> Any:
        """Store the bad rows of a split.

        Call it before the good rows are used. A batch replaces an earlier one of the same operation and id; if no row
        is bad any more, it removes that one. Frame errors replace nothing.

        Args:
            split: The result of `split()`.
            operation: The operation that the data belongs to; the folder's name.
            batch: An id that is the same in a retry; the file's name.
            schema: The schema, or its fingerprint as text.
            context: Further ids (of the run, the task, the source), each stored as a column of text.

        Returns:
            The file. If no row is bad, the removed file of an earlier attempt, or None.

        Raises:
            QuarantineError: If the file cannot be written; no partial file remains.
            ValueError: If a name in `context` is one of the quarantine's own columns.
        """
        ids = {str(name): Cleaner().named(str(name), str(value)) for name, value in (context or {}).items()}
        if taken := sorted(ids.keys() & set(COLUMNS)):
            raise ValueError(f"context may not be named {', '.join(taken)}: the quarantine has such columns.")
        files = self._files
        with errors_explained(f"Cannot write batch {batch!r} to the quarantine {self.folder}", files.advice):
            earlier = batch_files(files, safe_name(operation), batch)
            if not split.report.invalid:
                if split.report.frame_errors or not earlier:
                    return None
                for name in earlier:
                    files.remove(name)
                return files.place(earlier[0])
            now = dt.datetime.now(dt.UTC)
            name = f"{safe_name(operation)}/{now.date().isoformat()}/{safe_name(batch)}.parquet"
            name = earlier[0] if earlier else name  # a retry after midnight stays in yesterday's folder
            common = {
                "operation": operation,
                "batch": batch,
                "schema": schema if isinstance(schema, str) else "" if schema is None else fingerprint(schema),
                "quarantined_at": now.isoformat(),
                **ids,
            }
            files.write(name, encode_batch(split, common))
        return files.place(name)

    def list(self, operation: str | None = None, since: dt.datetime | None = None) -> list[QuarantinedBatch]:
        """Return the batches in the quarantine, oldest first; none if the folder does not exist.

        Args:
            operation: Only batches of this operation.
            since: Only batches written at this time or later; with a time zone.

        Raises:
            QuarantineError: If the folder or a file in it cannot be read.
        """
        files = self._files
        with errors_explained(f"Cannot list the quarantine {self.folder}", files.advice):
            under = "" if operation is None else safe_name(operation)
            replayed = {ledger.folder for ledger in Ledger.every(files, under)}
            batches = [
                describe_batch(files, name, replayed) for name in files.names(under) if name.endswith(".parquet")
            ]
        kept = [batch for batch in batches if since is None or batch.when >= since]
        return sorted(kept, key=lambda batch: (batch.when, str(batch.path)))

    def read(self, batch: BatchRef) -> pd.DataFrame:
        """Return the rows of one batch, with their reasons.

        Args:
            batch: A batch's id, its file, or an item of `list()`.

        Returns:
            The stored columns, with `reasons` as a list of `{"column", "check", "value"}`, `values` as a dict of the
            row as read, and `released`, whether a replay has released the row. A row that failed again has the reasons
            of its last replay.

        Raises:
            QuarantineError: If there is no such batch, several operations have one, or the file cannot be read.
        """
        import pandas as pd

        files = self._files
        name = find_batch(files, batch)
        with errors_explained(f"Cannot read {files.place(name)}", files.advice):
            part, ledger = open_batch(files, name)
            rows, latest = part.decoded(), ledger.latest_reasons()
            keys = keys_of(part) if latest else []
        columns: dict[str, list[Any]] = {name: [] for name in ("row", "reasons", "values", *part.facts["ids"])}
        columns = {name: [row[name] for row in rows] for name in columns}
        again = [latest.get(key) for key in keys] or [None] * len(rows)
        columns["reasons"] = [
            loads(text) if text else first for text, first in zip(again, columns["reasons"], strict=True)
        ]
        # Object columns, item by item: pandas would convert a list of dicts.
        objects = {name: pd.Series(columns[name], dtype=object) for name in ("reasons", "values")}
        return pd.DataFrame({**columns, **objects, "released": [text == "" for text in again]})

    def table(self, batch: BatchRef) -> Any:
        """Return the waiting rows of one batch, as a table to correct.

        Args:
            batch: A batch's id, its file, or an item of `list()`.

        Returns:
            A frame in the library, types and index as read, with each row's number in its first column,
            `__quarantine_row`; for JSON records a dict by number. A column of yours whose name begins with
            `__quarantine_` has `__quarantine__` before its name there.

        Raises:
            QuarantineError: As `read` does.
        """
        return waiting_rows(self._files, batch).table()

    def replay(
        self,
        batch: BatchRef,
        schema: Any,
        *,
        rows: Any = None,
        fix: Callable[[Any], Any] | None = None,
        unchanged: bool = False,
    ) -> Replay:
        """Validate quarantined rows again, and release those that pass, each only once across all replays.

        Rows that still fail stay in the quarantine with their new reasons, and so do rows that the table leaves out.

        Under the schema that refused it, an uncorrected row keeps its reasons: without the other rows it might pass, as
        one of two duplicates does, or a date in a second format. Under another schema all rows are validated. A text
        that can be read as two dates is never released.

        Args:
            batch: A batch's id, its file, or an item of `list()`.
            schema: Today's schema.
            rows: The corrected table, with the column `__quarantine_row`; default: the rows as they were read.
            fix: A function of that table that returns the table to validate.
            unchanged: Validate uncorrected rows too, and release those that pass.

        Returns:
            The released rows, and the reasons of the others.

        Raises:
            QuarantineError: If the batch cannot be read, or the released rows cannot be written; then none is released.
            ValueError: If row numbers are missing, duplicated, or unknown in the batch.
            TypeError: If `schema` is not a schema, or is for another library than the table.
        """
        files = self._files
        rows_there = waiting_rows(files, batch)
        doing = f"Cannot release rows of batch {rows_there.batch!r} in the quarantine {self.folder}"
        with errors_explained(doing, files.advice):
            return rows_there.replay(schema, rows, fix, unchanged=unchanged)

    def release(self, operation: str, *, batch: str | None = None) -> Any:
        """Return all released rows as one frame. Nothing is removed: each call returns them all.

        Args:
            operation: The operation that the rows belong to.
            batch: Only rows of this batch.

        Returns:
            The rows as their schema returned them, in the order of release; None if none is released.

        Raises:
            QuarantineError: If a file cannot be read.
            TypeError: If the rows are of different libraries; take them batch by batch.
        """
        files = self._files
        frames = []
        with errors_explained(f"Cannot read what is released in the quarantine {self.folder}", files.advice):
            for ledger in Ledger.every(files, safe_name(operation)):
                for entry in ledger.entries():
                    part = ledger.read(entry)
                    released = part.take([at for at, text in enumerate(part.table[REASONS].to_pylist()) if not text])
                    if released.rows and batch in {None, part.facts["batch"]}:
                        frame = from_arrow(released.table, part.shape, released.rows)
                        frames.append((part.facts["replayed_at"], frame))
        frames.sort(key=lambda pair: pair[0])
        return concat([frame for _, frame in frames]) if frames else None

    def purge(
        self, older_than: dt.timedelta | str, *, waiting: bool = False, dry_run: bool = False
    ) -> builtins.list[QuarantinedBatch]:
        """Remove batches whose rows are all released, their released rows, and leftover temporary files.

        Args:
            older_than: Minimum age since the batch was written and since its last replay: a `timedelta`, or a text like
                `"30d"`.
            waiting: Also remove batches with waiting rows. These rows are lost.
            dry_run: Remove nothing; only return what would be removed.

        Returns:
            The removed batches.

        Raises:
            PolicyError: If `older_than` is not an age.
            QuarantineError: If the folder cannot be read, or a file cannot be removed.
        """
        if not isinstance(older_than, dt.timedelta | str):  # seconds or days? Removal is final
            raise PolicyError(f"purge(older_than) is a timedelta or a text such as '30d', not {older_than!r}")
        if isinstance(older_than, str) and older_than.strip().isdecimal():
            days = f"write '{older_than.strip()}d' for days"
            raise PolicyError(f"purge(older_than) is an age with a unit, not {older_than!r}: {days}")
        age = dt.timedelta(seconds=durations.seconds(older_than, "purge(older_than)", zero=True))
        files, before = self._files, dt.datetime.now(dt.UTC) - age
        removed, kept = [], set()
        for batch in self.list():
            with errors_explained(f"Cannot purge {batch.path}", files.advice):
                ledger = Ledger.of_batch(files, safe_name(batch.operation), safe_name(batch.batch))
                if (batch.waiting and not waiting) or max(batch.when, ledger.last or batch.when) > before:
                    kept.add(ledger.folder)
                    continue
                removed.append(batch)
                if not dry_run:  # the rows first: without their ledger they would be waiting again
                    files.remove(find_batch(files, batch))
        if dry_run:
            return removed
        with errors_explained(f"Cannot purge the quarantine {self.folder}", files.advice):
            for ledger in Ledger.every(files):
                if ledger.folder not in kept and ledger.last and ledger.last <= before:
                    ledger.remove()
            for name in list(files.leftovers(_LEFT_OVER)):
                files.remove(name)
        return removed

    @staticmethod
    def sample(path: str | os.PathLike[str], rows: int) -> Sequence[dict[str, Any]]:
        """Return the first rows of one file; only these are decoded.

        Args:
            path: The file.
            rows: The maximum number of rows.

        Returns:
            Each row as in `read()`: `row`, `reasons`, `values`, and the ids.

        Raises:
            QuarantineError: If the file cannot be read.
        """
        folder, _, name = os.fspath(path).rpartition("/")
        files = Quarantine(folder or ".")._files  # noqa: SLF001  # a block may have to be loaded
        with errors_explained(f"Cannot read {path}", files.advice), files.open(name) as file:
            return Part(*parquet.decode_first(file, path, rows)).decoded()

    def rows(self) -> int:
        """Return the number of waiting rows in all batches.

        Raises:
            QuarantineError: If the folder or a file in it cannot be read.
        """
        return sum(batch.waiting for batch in self.list())


def find_batch(files: Files, wanted: BatchRef) -> str:
    """Return the name of a batch's file.

    Args:
        files: The quarantine's files.
        wanted: A batch's id, its file, or an item of `list()`.

    Raises:
        QuarantineError: If there is no such batch, or several operations have one.
    """
    text = os.fspath(wanted.path if isinstance(wanted, QuarantinedBatch) else wanted)
    folder = os.fspath(files.place("x"))[:-1]
    if text.endswith(".parquet"):
        inside = text.removeprefix(folder)
        return Path(text).absolute().as_posix() if inside == text else Path(inside).as_posix()
    with errors_explained(f"Cannot list the quarantine {folder}", files.advice):
        names = batch_files(files, "", text)
    if len(names) == 1:
        return names[0]
    if names:
        paths = ", ".join(str(files.place(name)) for name in names)
        raise QuarantineError(f"Several operations have a batch {text}; give the path of one: {paths}")
    listed = "`resilient-tasks quarantine list` shows its batches"
    raise QuarantineError(f"There is no batch {text} in the quarantine {folder}: {listed}, as does list().")


def waiting_rows(files: Files, wanted: BatchRef) -> WaitingRows:
    """Return a batch with its waiting rows."""
    name = find_batch(files, wanted)
    with errors_explained(f"Cannot read {files.place(name)}", files.advice):
        part, ledger = open_batch(files, name)
        keys = keys_of(part)
        latest = ledger.latest_reasons()
    released = {key for key in keys if latest.get(key) == ""}
    open_rows = [at for at, key in enumerate(keys) if key not in released]
    return WaitingRows(
        part.take(open_rows), tuple(keys[at] for at in open_rows), frozenset(key.row for key in released), ledger
    )


def keys_of(part: Part) -> list[RowKey]:
    """Return the key of each row."""
    return list(map(RowKey, part.rows, part.digests()))


def batch_files(files: Files, folder: str, batch: str) -> list[str]:
    """Return the files of a batch, on any day."""
    return [name for name in files.names(folder) if name.endswith(f"/{safe_name(batch)}.parquet")]


def open_batch(files: Files, name: str) -> tuple[Part, Ledger]:
    """Return the rows and the ledger of a batch file."""
    with files.open(name) as file:
        part = Part.read(file, files.place(name))
    return part, Ledger.of_batch(files, safe_name(part.facts["operation"]), safe_name(part.facts["batch"]))


def describe_batch(files: Files, name: str, replayed: set[str]) -> QuarantinedBatch:
    """Return a batch file as an item of `list()`; `replayed` holds the folders of all ledgers."""
    with files.open(name) as file:
        facts, rows = parquet.read_facts(file, files.place(name))
    ledger = Ledger.of_batch(files, safe_name(facts["operation"]), safe_name(facts["batch"]))
    waiting = rows
    if ledger.folder in replayed:
        released = {key for key, reasons in ledger.latest_reasons().items() if not reasons}
        numbers = {key.row for key in released}
        part, _ = open_batch(files, name)
        maybe = part.take([at for at, row in enumerate(part.rows) if row in numbers])
        waiting -= sum(key in released for key in keys_of(maybe))
    when = dt.datetime.fromisoformat(facts["quarantined_at"])
    return QuarantinedBatch(files.place(name), facts["operation"], facts["batch"], rows, when, waiting)
