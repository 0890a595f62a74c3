# ruff: noqa: PLC0415 - pandas and pyarrow load on first use
"""The quarantine: bad rows kept as they were read, with their reasons, until a person decides.

One Parquet file a batch, at `<folder>/<operation>/<YYYY-MM-DD>/<batch>.parquet`. A file appears whole or not at
all, and the same batch replaces its file, so that a retry never counts a row twice.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import os
import re
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from resilient_tasks.data._values import dumps, loads
from resilient_tasks.data.schemas import fingerprint

if TYPE_CHECKING:
    import pandas as pd

    from resilient_tasks.data.split import Report, Split

_COLUMNS = ("row", "reasons", "values", "operation", "batch", "schema", "quarantined_at")
_UNSAFE = re.compile(r"[^A-Za-z0-9._=-]+")
_NAME_LENGTH = 100


class QuarantineError(OSError):
    """The quarantine could not be written or read. The sentence names the path and the cause."""


@dataclass(frozen=True)
class QuarantinedBatch:
    """One file in the quarantine.

    Attributes:
        path: The file.
        operation: The operation whose data it was.
        batch: The batch's id.
        rows: Bad rows in it.
        when: When it was written, UTC.
    """

    path: Path
    operation: str
    batch: str
    rows: int
    when: dt.datetime


@dataclass(frozen=True)
class Quarantine:
    """A folder for bad rows. Holds only its address, so it can be pickled to any worker that sees the folder.

    Attributes:
        url: A local folder's path, or its `file://` URL. It is made on the first write.

    Raises:
        ValueError: If the URL is of another scheme or names another host.
    """

    url: str | os.PathLike[str]

    def __post_init__(self) -> None:
        """Refuse at once what no write could reach."""
        _folder(self.url)

    @property
    def folder(self) -> Path:
        """The folder as a path."""
        return _folder(self.url)

    def write(
        self,
        split: Split[Any],
        *,
        operation: str,
        batch: str,
        schema: Any = None,
        context: Mapping[str, str] | None = None,
    ) -> Path | None:
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
        ids = {str(name): str(value) for name, value in (context or {}).items()}
        if taken := sorted(ids.keys() & set(_COLUMNS)):
            raise ValueError(f"context may not be named {', '.join(taken)}: the quarantine has columns of that name.")
        with _explained(f"Cannot write batch {batch!r} to the quarantine {self.folder}"):
            earlier = _files_of(self.folder, operation, batch)
            if not split.report.invalid:
                if split.report.frame_errors:
                    return None
                for path in earlier:
                    path.unlink(missing_ok=True)
                return earlier[0] if earlier else None
            now = dt.datetime.now(dt.UTC)
            path = self.folder / _safe(operation) / now.date().isoformat() / f"{_safe(batch)}.parquet"
            path = earlier[0] if earlier else path  # a retry after midnight stays in yesterday's folder
            common = {
                "operation": operation,
                "batch": batch,
                "schema": schema if isinstance(schema, str) else "" if schema is None else fingerprint(schema),
                "quarantined_at": now.isoformat(),
                **ids,
            }
            _write_whole(_table(split.bad, split.report, common), path)
        return path

    def list(self) -> list[QuarantinedBatch]:
        """Every batch in the quarantine, oldest first; none where the folder does not exist.

        Raises:
            QuarantineError: If the folder or a file in it cannot be read.
        """
        with _explained(f"Cannot list the quarantine {self.folder}"):
            batches = [_batch(path) for path in _parquet_files(self.folder)]
        return sorted(batches, key=lambda batch: (batch.when, batch.path))

    def read(self, path_or_batch: str | os.PathLike[str] | QuarantinedBatch) -> pd.DataFrame:
        """The rows of one batch, with their reasons.

        Args:
            path_or_batch: A file's path, a batch's id, or an item of `list()`.

        Returns:
            The stored columns, with `reasons` as a list of `{"column", "check", "value"}` and `values` as a dict of
            the row as it was read. `pandas.DataFrame(list(frame["values"]))` is the table to correct and replay.

        Raises:
            QuarantineError: If there is no such batch, several operations have one, or the file cannot be read.
        """
        import pyarrow.parquet as pq

        path = self._find(path_or_batch)
        with _explained(f"Cannot read {path}"), path.open("rb") as file:
            frame: pd.DataFrame = pq.read_table(file).to_pandas()
        for column in ("reasons", "values"):
            # An object column, item by item: pandas would turn a list of dicts into something else.
            frame[column] = _objects([loads(text) for text in frame[column]])
        return frame

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
        import pyarrow.parquet as pq

        with _explained(f"Cannot read {path}"), Path(path).open("rb") as file:
            batches = pq.ParquetFile(file).iter_batches(batch_size=rows)
            kept = next(batches).to_pylist()
        return [{**row, "reasons": loads(row["reasons"]), "values": loads(row["values"])} for row in kept]

    def rows(self) -> int:
        """Bad rows in the quarantine, over all batches.

        Raises:
            QuarantineError: If the folder or a file in it cannot be read.
        """
        return sum(batch.rows for batch in self.list())

    def _find(self, wanted: str | os.PathLike[str] | QuarantinedBatch) -> Path:
        if isinstance(wanted, QuarantinedBatch):
            return wanted.path
        if Path(wanted).suffix == ".parquet":
            return Path(wanted)
        found = [batch.path for batch in self.list() if batch.batch == str(wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(map(str, found))
            raise QuarantineError(f"Several operations have a batch {wanted!s}; give the path of one: {names}")
        raise QuarantineError(
            f"There is no batch {wanted!s} in the quarantine {self.folder}; list() names those it has."
        )


def _files_of(folder: Path, operation: str, batch: str) -> list[Path]:
    """Where this batch was written before, on whatever day."""
    name = f"{_safe(batch)}.parquet"
    return sorted(path for path in _parquet_files(folder / _safe(operation)) if path.name == name)


def _folder(url: str | os.PathLike[str]) -> Path:
    text = os.fspath(url)
    parts = urlsplit(text)
    if "://" not in text and parts.scheme != "file":
        return Path(text)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path:
        return Path(unquote(parts.path))
    raise ValueError(
        f"A quarantine is a local folder, given as a path or as file:///path; {text!r} is neither. "
        f"For a bucket, mount it as a folder, or upload the folder's files once they are written."
    )


def _safe(name: str) -> str:
    """A file name that is legal everywhere, and differs where the names differ."""
    text = str(name)
    safe = _UNSAFE.sub("-", text)[:_NAME_LENGTH].lstrip(".-").rstrip(".")
    if text and safe == text and text == text.lower():
        return text
    # The digest also keeps "Jan" and "jan" apart where the file system does not.
    return f"{safe}-{hashlib.sha256(text.encode('utf-8', 'surrogatepass')).hexdigest()[:8]}".lstrip("-")


def _table(bad: Any, report: Report, common: Mapping[str, str]) -> Any:
    """Text and whole numbers only: a scan over many files meets no column of mixed type."""
    import pyarrow as pa

    failed = report.rows_failed
    reasons = [dumps([reason._asdict() for reason in row]) for _, row in failed]
    columns = {
        "row": pa.array([position for position, _ in failed], pa.int64()),
        "reasons": pa.array(reasons, pa.string()),
        "values": pa.array([dumps(row) for row in _rows(bad)], pa.string()),
        **{name: pa.array([value] * len(failed), pa.string()) for name, value in common.items()},
    }
    return pa.table(columns).replace_schema_metadata({name: common[name] for name in common if name in _COLUMNS})


def _rows(bad: Any) -> Iterator[Any]:
    """Each row as a dict: the columns, and the index where it has a name of its own. Records as they are."""
    if isinstance(bad, list):
        return iter(bad)
    columns = []
    if hasattr(bad, "iloc"):
        levels = [(name, bad.index.get_level_values(at)) for at, name in enumerate(bad.index.names)]
        columns += [(name, level.tolist()) for name, level in levels if name is not None]
        columns += [(name, bad.iloc[:, at].tolist()) for at, name in enumerate(bad.columns)]
    else:
        columns += [(name, bad[name].to_list()) for name in bad.columns]
    names: list[str] = []
    for name, _ in columns:
        text, number = str(name), 1
        while text in names:  # two columns of one name are both evidence
            text, number = f"{name}.{number}", number + 1
        names.append(text)
    return (dict(zip(names, row, strict=True)) for row in zip(*(values for _, values in columns), strict=True))


def _objects(values: list[Any]) -> Any:
    import pandas as pd

    return pd.Series(values, dtype=object)


def _write_whole(table: Any, path: Path) -> None:
    """Write beside the target, flush to the disk, rename: a reader sees the old file or the new one."""
    import pyarrow.parquet as pq

    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.parent / f".{uuid.uuid4().hex}.tmp"
    try:
        with temporary.open("xb") as file:
            pq.write_table(table, file)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        with suppress(OSError):  # after a failure; the failure is what the caller should hear of
            temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    if os.name == "nt":  # Windows opens no folders, and its rename needs none of this
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _parquet_files(folder: Path) -> Iterator[Path]:
    """Files under a folder; Path.glob would pass over folders that it may not read."""
    if not folder.exists():
        return
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.is_dir():
            yield from _parquet_files(Path(entry.path))
        elif entry.name.endswith(".parquet") and not entry.name.startswith("."):
            yield Path(entry.path)


def _batch(path: Path) -> QuarantinedBatch:
    import pyarrow.parquet as pq

    with path.open("rb") as file:
        footer = pq.read_metadata(file)
    facts = {key.decode(): value.decode() for key, value in (footer.metadata or {}).items() if key != b"ARROW:schema"}
    try:
        when = dt.datetime.fromisoformat(facts["quarantined_at"])
        return QuarantinedBatch(path, facts["operation"], facts["batch"], footer.num_rows, when)
    except KeyError as error:
        raise QuarantineError(f"{path} was not written by a quarantine: it does not say its {error}") from None


@contextmanager
def _explained(doing: str) -> Iterator[None]:
    """Turn what the disk or the Parquet reader says into one error with a sentence."""
    import pyarrow as pa

    try:
        yield
    except QuarantineError:
        raise
    except (OSError, pa.ArrowException) as error:
        cause = getattr(error, "strerror", None) or str(error) or type(error).__name__
        explained = QuarantineError(f"{doing}: {cause}. Check that the disk has room and the path is accessible.")
        explained.errno = getattr(error, "errno", None)
        raise explained from error
