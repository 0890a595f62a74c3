# ruff: noqa: PLC0415 - pandas and pyarrow load on first use
"""The quarantine: bad rows kept as they were read, with their reasons, until a person puts them back.

One Parquet file a batch, at `<folder>/<operation>/<YYYY-MM-DD>/<batch>.parquet`. A file appears whole or not at
all, and the same batch replaces its file, so that a retry never counts a row twice. What replays release lies beside
them, in `.ledger`; a batch's own file is never edited.
"""

from __future__ import annotations

import datetime as dt
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from resilient_tasks.core import durations
from resilient_tasks.core.arguments import answering
from resilient_tasks.core.cleaned import Cleaner
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.quarantine.batch_file import COLUMNS, REASONS, Part, QuarantineError, encoded, explained
from resilient_tasks.quarantine.ledger import Key, Ledger
from resilient_tasks.quarantine.replay import Batch, Replay
from resilient_tasks.redaction.redact import redact
from resilient_tasks.storage import parquet
from resilient_tasks.storage.arrow import restored, together
from resilient_tasks.storage.blocks import StorageBlock, is_block, is_name
from resilient_tasks.storage.files import Files, LocalFiles, files_at, safe
from resilient_tasks.storage.values import loads
from resilient_tasks.validation.schemas import fingerprint

if TYPE_CHECKING:
    import builtins

    import pandas as pd

    from resilient_tasks.validation.split import Split


@dataclass(frozen=True)
class QuarantinedBatch:
    """One file in the quarantine.

    Attributes:
        path: The file: a path in a local folder, else a URL.
        operation: The operation whose data it was.
        batch: The batch's id.
        rows: Bad rows in it.
        when: When it was written, UTC.
        waiting: How many of the rows no replay has released.
    """

    path: Any
    operation: str
    batch: str
    rows: int
    when: dt.datetime
    waiting: int


Wanted = str | os.PathLike[str] | QuarantinedBatch


def found(files: Files, wanted: Wanted) -> str:
    """The name of a batch's file.

    Args:
        files: The quarantine's.
        wanted: A batch's id, its file, or an item of a list.

    Raises:
        QuarantineError: If there is no such batch, or several operations have one.
    """
    text = os.fspath(wanted.path if isinstance(wanted, QuarantinedBatch) else wanted)
    folder = os.fspath(files.place("x"))[:-1]
    if text.endswith(".parquet"):
        inside = text.removeprefix(folder)
        return Path(text).absolute().as_posix() if inside == text else Path(inside).as_posix()
    with explained(f"Cannot list the quarantine {folder}", files.advice):
        names = named(files, "", text)
    if len(names) == 1:
        return names[0]
    if names:
        paths = ", ".join(str(files.place(name)) for name in names)
        raise QuarantineError(f"Several operations have a batch {text}; give the path of one: {paths}")
    listed = "`resilient-tasks quarantine list` shows its batches"
    raise QuarantineError(f"There is no batch {text} in the quarantine {folder}: {listed}, as does list().")


def waiting(files: Files, wanted: Wanted) -> Batch:
    """A batch with those of its rows that no replay has released."""
    name = found(files, wanted)
    with explained(f"Cannot read {files.place(name)}", files.advice):
        part, ledger = opened(files, name)
        keys = keys_of(part)
        verdicts = ledger.verdicts()
    released = {key for key in keys if verdicts.get(key) == ""}
    open_rows = [at for at, key in enumerate(keys) if key not in released]
    return Batch(
        part.take(open_rows), tuple(keys[at] for at in open_rows), frozenset(key.row for key in released), ledger
    )


def keys_of(part: Part) -> list[Key]:
    """The key of each row."""
    return list(map(Key, part.rows, part.digests()))


def named(files: Files, folder: str, batch: str) -> list[str]:
    """Where a batch was written, on whatever day."""
    return [name for name in files.names(folder) if name.endswith(f"/{safe(batch)}.parquet")]


def opened(files: Files, name: str) -> tuple[Part, Ledger]:
    """One file, and its ledger."""
    with files.open(name) as file:
        part = Part.read(file, files.place(name))
    return part, Ledger.beside(files, safe(part.facts["operation"]), safe(part.facts["batch"]))


def listed(files: Files, name: str, replayed: set[str]) -> QuarantinedBatch:
    """One file as an item of a list. `replayed` are the folders of all ledgers."""
    with files.open(name) as file:
        facts, rows = parquet.read_facts(file, files.place(name))
    ledger = Ledger.beside(files, safe(facts["operation"]), safe(facts["batch"]))
    waiting = rows
    if ledger.folder in replayed:
        released = {key for key, reasons in ledger.verdicts().items() if not reasons}
        numbers = {key.row for key in released}
        part, _ = opened(files, name)
        maybe = part.take([at for at, row in enumerate(part.rows) if row in numbers])
        waiting -= sum(key in released for key in keys_of(maybe))
    when = dt.datetime.fromisoformat(facts["quarantined_at"])
    return QuarantinedBatch(files.place(name), facts["operation"], facts["batch"], rows, when, waiting)


__all__ = ["Quarantine", "QuarantineError", "QuarantinedBatch", "StorageBlock"]

_LEFT_OVER = 3600.0  # seconds; no write takes that long


@answering('Quarantine("quarantine")', "options")
@dataclass(frozen=True)
class Quarantine:
    """A folder for bad rows. Holds only its address, so it can be pickled to any worker that sees the folder.

    Attributes:
        url: A local folder's path, its `file://` URL, or any URL that fsspec knows; a folder is made on the first
            write, a bucket has to exist. Or one of Prefect's storage blocks: a `LocalFileSystem`, a `RemoteFileSystem`,
            an `S3Bucket`, or the name `block:TYPE/NAME` of one that the server keeps, as in
            `block:remote-file-system/ml`, which is loaded when it is used. `block:TYPE/NAME/FOLDER` is a folder in it.
        options: What fsspec's file system takes for that URL: credentials, an endpoint.

    Raises:
        PolicyError: If it is no address, no name of a block, or a block that stores no files; or the library for the
            URL is not installed.
        ValueError: If no file system is known for the URL, or a `file://` URL names another host.
    """

    url: str | os.PathLike[str] | StorageBlock
    _: KW_ONLY
    options: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        """Refuse at once what no write could reach."""
        if not is_block(self.url) and (not isinstance(self.url, str | os.PathLike) or not os.fspath(self.url)):
            given = type(self.url).__name__ if isinstance(self.url, type) or callable(self.url) else repr(self.url)
            raise PolicyError(f"Quarantine(url) is a folder's path, a URL or a storage block, not {given}")
        if not isinstance(self.options, Mapping):
            given = type(self.options).__name__  # and not what may be a secret
            raise PolicyError(f"Quarantine(options=...) is a mapping of fsspec's options, not of type {given}")
        if not self._is_name:  # the server is not asked while a module is imported
            _ = self._files

    def __repr__(self) -> str:
        return f"Quarantine(url={redact(os.fspath(self.folder))!r})"  # which may hold credentials

    @property
    def folder(self) -> Any:
        """The address: a path where it is a local folder, the name of a block, else a URL."""
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
        with explained(f"Cannot use the quarantine {self.url}"):
            return files_at(self.url, self.options)

    def exists(self) -> bool:
        """Whether the folder is there: it is made on the first write.

        Raises:
            QuarantineError: If it cannot be asked.
        """
        files = self._files
        with explained(f"Cannot reach the quarantine {self.folder}", files.advice):
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
        """Keep the bad rows of a split.

        Call it before the good rows are used. The same operation and batch replace what an earlier attempt wrote,
        also by nothing where the rows are good now; a frame error replaces nothing.

        Args:
            split: What `split()` returned.
            operation: Whose data it is; the folder's name.
            batch: An id that a retry of the same work repeats; the file's name.
            schema: The schema, for its fingerprint; a fingerprint as text is taken as it is.
            context: Further ids (of the run, the task, the source), each a column of text.

        Returns:
            The file. Where nothing is bad, the one of an earlier attempt that is gone now, or None if there was none.

        Raises:
            QuarantineError: If the file cannot be written whole; nothing half-written is left to be read.
            ValueError: If a name in `context` is one of the quarantine's own columns.
        """
        ids = {str(name): Cleaner().named(str(name), str(value)) for name, value in (context or {}).items()}
        if taken := sorted(ids.keys() & set(COLUMNS)):
            raise ValueError(f"context may not be named {', '.join(taken)}: the quarantine has columns of that name.")
        files = self._files
        with explained(f"Cannot write batch {batch!r} to the quarantine {self.folder}", files.advice):
            earlier = named(files, safe(operation), batch)
            if not split.report.invalid:
                if split.report.frame_errors or not earlier:
                    return None
                for name in earlier:
                    files.remove(name)
                return files.place(earlier[0])
            now = dt.datetime.now(dt.UTC)
            name = f"{safe(operation)}/{now.date().isoformat()}/{safe(batch)}.parquet"
            name = earlier[0] if earlier else name  # a retry after midnight stays in yesterday's folder
            common = {
                "operation": operation,
                "batch": batch,
                "schema": schema if isinstance(schema, str) else "" if schema is None else fingerprint(schema),
                "quarantined_at": now.isoformat(),
                **ids,
            }
            files.write(name, encoded(split, common))
        return files.place(name)

    def list(self, operation: str | None = None, since: dt.datetime | None = None) -> list[QuarantinedBatch]:
        """The batches in the quarantine, oldest first; none where the folder does not exist.

        Args:
            operation: Only those of this operation.
            since: Only those written then or later; with a time zone.

        Raises:
            QuarantineError: If the folder or a file in it cannot be read.
        """
        files = self._files
        with explained(f"Cannot list the quarantine {self.folder}", files.advice):
            under = "" if operation is None else safe(operation)
            replayed = {ledger.folder for ledger in Ledger.every(files, under)}
            batches = [listed(files, name, replayed) for name in files.names(under) if name.endswith(".parquet")]
        kept = [batch for batch in batches if since is None or batch.when >= since]
        return sorted(kept, key=lambda batch: (batch.when, str(batch.path)))

    def read(self, batch: Wanted) -> pd.DataFrame:
        """The rows of one batch, with their reasons.

        Args:
            batch: A batch's id, its file, or an item of `list()`.

        Returns:
            The stored columns, with `reasons` as a list of `{"column", "check", "value"}` and `values` as a dict of
            the row as it was read; and `released`, whether a replay has put the row back. The reasons of a row that
            failed again are those of its last replay.

        Raises:
            QuarantineError: If there is no such batch, several operations have one, or the file cannot be read.
        """
        import pandas as pd

        files = self._files
        name = found(files, batch)
        with explained(f"Cannot read {files.place(name)}", files.advice):
            part, ledger = opened(files, name)
            rows, verdicts = part.decoded(), ledger.verdicts()
            keys = keys_of(part) if verdicts else []
        columns: dict[str, list[Any]] = {name: [] for name in ("row", "reasons", "values", *part.facts["ids"])}
        columns = {name: [row[name] for row in rows] for name in columns}
        again = [verdicts.get(key) for key in keys] or [None] * len(rows)
        columns["reasons"] = [
            loads(text) if text else first for text, first in zip(again, columns["reasons"], strict=True)
        ]
        # Object columns, item by item: pandas would turn a list of dicts into something else.
        objects = {name: pd.Series(columns[name], dtype=object) for name in ("reasons", "values")}
        return pd.DataFrame({**columns, **objects, "released": [text == "" for text in again]})

    def table(self, batch: Wanted) -> Any:
        """The rows of one batch that wait, as a table to correct.

        Args:
            batch: A batch's id, its file, or an item of `list()`.

        Returns:
            A frame of the library, types and index that were read, with each row's number in its first column,
            `__quarantine_row`; for records of JSON a dict of number and record. A column whose own name begins with
            `__quarantine_` is called `__quarantine__` and its name there.

        Raises:
            QuarantineError: As `read` does.
        """
        return waiting(self._files, batch).table()

    def replay(
        self,
        batch: Wanted,
        schema: Any,
        *,
        rows: Any = None,
        fix: Callable[[Any], Any] | None = None,
        unchanged: bool = False,
    ) -> Replay:
        """Validate quarantined rows again, and release those that pass: each once, however many replays there are.

        Rows that still fail stay in the quarantine, with their new reasons. So do rows that the table leaves out.

        A row is judged as it was judged. Under the schema that refused it, a row without a correction keeps its
        reasons: among other rows it may pass, as one of two duplicates does, or a date in a second format. Under
        another schema all are judged anew. A date in text that can be read in two ways is never released.

        Args:
            batch: A batch's id, its file, or an item of `list()`.
            schema: Today's schema.
            rows: The corrected table, with the column `__quarantine_row`; default: the rows as they were read.
            fix: Is given that table, and returns the one to judge.
            unchanged: Judge rows without a correction anew, and vouch for those that pass.

        Returns:
            What was released, and what still fails.

        Raises:
            QuarantineError: If the batch cannot be read, or what is released cannot be written; then nothing is.
            ValueError: If the table has no row numbers, one twice, or one that the batch does not have.
            TypeError: If `schema` is no schema, or not of the table's library.
        """
        files = self._files
        rows_there = waiting(files, batch)
        doing = f"Cannot release rows of batch {rows_there.batch!r} in the quarantine {self.folder}"
        with explained(doing, files.advice):
            return rows_there.replay(schema, rows, fix, unchanged=unchanged)

    def release(self, operation: str, *, batch: str | None = None) -> Any:
        """Return all rows that replays have released, as one frame. This removes nothing: each run gets them all.

        Args:
            operation: Whose rows.
            batch: Only those of this batch.

        Returns:
            The rows as their schema returned them, in the order of release; None where none is released.

        Raises:
            QuarantineError: If a file cannot be read.
            TypeError: If some are of pandas and others of polars; take them batch by batch.
        """
        files = self._files
        frames = []
        with explained(f"Cannot read what is released in the quarantine {self.folder}", files.advice):
            for ledger in Ledger.every(files, safe(operation)):
                for entry in ledger.entries():
                    part = ledger.read(entry)
                    released = part.take([at for at, text in enumerate(part.table[REASONS].to_pylist()) if not text])
                    if released.rows and batch in {None, part.facts["batch"]}:
                        frame = restored(released.table, part.shape, released.rows)
                        frames.append((part.facts["replayed_at"], frame))
        frames.sort(key=lambda pair: pair[0])
        return together([frame for _, frame in frames]) if frames else None

    def purge(
        self, older_than: dt.timedelta | str, *, waiting: bool = False, dry_run: bool = False
    ) -> builtins.list[QuarantinedBatch]:
        """Remove batches whose rows are all released, with what `release` gives of them; and left-over files.

        Args:
            older_than: Age since the batch was written, and since its last replay: a `timedelta`, or a text such as
                `"30d"`.
            waiting: Remove batches with rows that wait, too. Those rows are gone then.
            dry_run: Remove nothing, only say what would be.

        Returns:
            The batches removed.

        Raises:
            PolicyError: If `older_than` is no age.
            QuarantineError: If the folder cannot be read, or a file not removed.
        """
        if not isinstance(older_than, dt.timedelta | str):  # seconds or days? What is removed does not come back.
            raise PolicyError(f"purge(older_than) is a timedelta or a text such as '30d', not {older_than!r}")
        if isinstance(older_than, str) and older_than.strip().isdecimal():
            days = f"write '{older_than.strip()}d' for days"
            raise PolicyError(f"purge(older_than) is an age with a unit, not {older_than!r}: {days}")
        age = dt.timedelta(seconds=durations.seconds(older_than, "purge(older_than)", zero=True))
        files, before = self._files, dt.datetime.now(dt.UTC) - age
        removed, kept = [], set()
        for batch in self.list():
            with explained(f"Cannot purge {batch.path}", files.advice):
                ledger = Ledger.beside(files, safe(batch.operation), safe(batch.batch))
                if (batch.waiting and not waiting) or max(batch.when, ledger.last or batch.when) > before:
                    kept.add(ledger.folder)
                    continue
                removed.append(batch)
                if not dry_run:  # the rows first: without their ledger they would wait again
                    files.remove(found(files, batch))
        if dry_run:
            return removed
        with explained(f"Cannot purge the quarantine {self.folder}", files.advice):
            for ledger in Ledger.every(files):
                if ledger.folder not in kept and ledger.last and ledger.last <= before:
                    ledger.remove()
            for name in list(files.leftovers(_LEFT_OVER)):
                files.remove(name)
        return removed

    @staticmethod
    def sample(path: str | os.PathLike[str], rows: int) -> Sequence[dict[str, Any]]:
        """The first rows of one file, for a look at it; no more of it is decoded.

        Args:
            path: The file.
            rows: At most so many.

        Returns:
            Each row as in `read()`: `row`, `reasons`, `values`, and the ids.

        Raises:
            QuarantineError: If the file cannot be read.
        """
        folder, _, name = os.fspath(path).rpartition("/")
        files = Quarantine(folder or ".")._files  # noqa: SLF001  # a block may have to be loaded
        with explained(f"Cannot read {path}", files.advice), files.open(name) as file:
            return Part(*parquet.decode_first(file, path, rows)).decoded()

    def rows(self) -> int:
        """Return the number of rows that wait, over all batches.

        Raises:
            QuarantineError: If the folder or a file in it cannot be read.
        """
        return sum(batch.waiting for batch in self.list())
