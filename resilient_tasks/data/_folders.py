# ruff: noqa: PLC0415 - pyarrow loads on first use
"""Parquet files in folders: which they are, and the columns that the names of the folders stand for."""

from __future__ import annotations

import glob
import itertools
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

if TYPE_CHECKING:
    import pyarrow as pa

_NOTHING = "__HIVE_DEFAULT_PARTITION__"  # as Hive, Spark, Arrow and polars write a null


@dataclass(frozen=True)
class Found:
    """The files, and what the names of their folders say (`year=2013`).

    Attributes:
        files: The files, in the order of their names.
        keys: The values by name of a column, for each file; each file has the same names.
        types: The type of each.
    """

    files: tuple[Path, ...]
    keys: Mapping[Path, Mapping[str, str | None]] = field(default_factory=dict)
    types: Mapping[str, pa.DataType] = field(default_factory=dict)

    def with_keys(self, stored: pa.Schema) -> pa.Schema:
        """Add the columns of the folders to those of the files. A column that is in the files is theirs."""
        import pyarrow as pa

        for name, kind in self.types.items():
            stored = stored if name in stored.names else stored.append(pa.field(name, kind))
        return stored

    def completed(self, table: pa.Table, file: Path, types: pa.Schema) -> pa.Table:
        """Add the columns of a file's folders, and cast to these types."""
        import pyarrow as pa

        for name, value in self.keys.get(file, {}).items():
            if name not in table.column_names:
                values = pa.repeat(pa.scalar(value, pa.string()), table.num_rows)
                table = table.append_column(name, values.cast(self.types[name]))
        return table.select(types.names).cast(types)

    def has_nulls(self, name: str) -> bool:
        """Whether a folder stands for a null of this column."""
        return any(name in named and named[name] is None for named in self.keys.values())


def found_at(source: str | os.PathLike[str]) -> Found:
    """Find Parquet files: one, those of a folder and its subfolders, or those that a pattern matches.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the folders of one file have other names than those of another.
    """
    path, root = Path(source), None
    if path.is_dir():
        found, root = list(_below(path)), path
    elif path.exists():
        found = [path]
    else:
        matches = glob.glob(os.fspath(source), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [file for match in map(Path, matches) for file in (_below(match) if match.is_dir() else [match])]
        root = _before_magic(path)
    if not found:
        raise FileNotFoundError(f"There is no Parquet file at {os.fspath(source)}.")
    files = tuple(sorted(set(found)))
    return Found(files) if root is None else _with_keys(files, root)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder, without what writers leave beside the data."""
    for file in folder.rglob("*.parquet"):
        within = file.relative_to(folder).parts
        if file.is_file() and not any(part.startswith((".", "_")) and "=" not in part for part in within):
            yield file


def _before_magic(path: Path) -> Path:
    return Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))


def _with_keys(files: tuple[Path, ...], root: Path) -> Found:
    import pyarrow as pa

    keys = {file: dict(_keys(file.relative_to(root).parts[:-1])) for file in files}
    first, named = next(iter(keys.items()))
    for file, other in keys.items():
        if other.keys() != named.keys():
            told = [", ".join(f"'{name}'" for name in each) or "nothing" for each in (other, named)]
            raise ValueError(f"{file}: its folders name {told[0]}, and those of {first} name {told[1]}")
    types = {}
    for name in named:
        values = [each[name] for each in keys.values() if each[name] is not None]
        whole = all(re.fullmatch(r"-?[0-9]{1,18}", str(value)) for value in values)
        types[name] = pa.int64() if whole and values else pa.string()
    return Found(files, keys, types)


def _keys(folders: tuple[str, ...]) -> Iterator[tuple[str, str | None]]:
    for folder in folders:
        name, equals, value = folder.partition("=")
        if equals and name:
            yield unquote(name), None if value == _NOTHING else unquote(value)
