# ruff: noqa: PLC0415 - pyarrow loads on first use
"""Parquet files in folders: which they are, the columns in the folder names, and the schema that all files share."""

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

_NOTHING = "__HIVE_DEFAULT_PARTITION__"  # null in Hive, Spark, Arrow and polars


@dataclass(frozen=True)
class Found:
    """The files, and the columns in their folder names (`year=2013`).

    Attributes:
        files: The files, sorted by name.
        keys: The values of each file by column name; all files have the same names.
        types: The type of each column.
    """

    files: tuple[Path, ...]
    keys: Mapping[Path, Mapping[str, str | None]] = field(default_factory=dict)
    types: Mapping[str, pa.DataType] = field(default_factory=dict)

    def with_keys(self, stored: pa.Schema) -> pa.Schema:
        """Add the folder columns to those of the files; a column in the files takes precedence."""
        import pyarrow as pa

        for name, kind in self.types.items():
            stored = stored if name in stored.names else stored.append(pa.field(name, kind))
        return stored

    def completed(self, table: pa.Table, file: Path, types: pa.Schema) -> pa.Table:
        """Add the folder columns of a file to its table, and cast it."""
        import pyarrow as pa

        for name, value in self.keys.get(file, {}).items():
            if name not in table.column_names:
                values = pa.repeat(pa.scalar(value, pa.string()), table.num_rows)
                table = table.append_column(name, values.cast(self.types[name]))
        return table.select(types.names).cast(types)

    def has_nulls(self, name: str) -> bool:
        """Return whether a folder has a null for this column."""
        return any(name in named and named[name] is None for named in self.keys.values())


def found_at(source: str | os.PathLike[str]) -> Found:
    """Find Parquet files: a single one, those in a folder and its subfolders, or those that match a pattern.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If the folders of two files name different columns.
    """
    path, root = Path(source), None
    if path.is_dir():
        found, root = list(_below(path)), path
    elif path.exists():
        found = [path]
    else:
        matches = glob.glob(os.fspath(source), recursive=True)  # noqa: PTH207 - Path.glob takes no absolute pattern
        found = [file for match in map(Path, matches) for file in (_below(match) if match.is_dir() else [match])]
        root = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), path.parts))
    if not found:
        raise FileNotFoundError(f"There is no Parquet file at {os.fspath(source)}.")
    files = tuple(sorted(set(found)))
    return Found(files) if root is None else _with_keys(files, root)


def _below(folder: Path) -> Iterator[Path]:
    """Yield the files of a folder, without the files that writers leave beside the data."""
    for file in folder.rglob("*.parquet"):
        within = file.relative_to(folder).parts
        if file.is_file() and not any(part.startswith((".", "_")) and "=" not in part for part in within):
            yield file


def _with_keys(files: tuple[Path, ...], root: Path) -> Found:
    import pyarrow as pa

    keys = {file: dict(_keys(file.relative_to(root).parts[:-1])) for file in files}
    first, named = next(iter(keys.items()))
    for file, other in keys.items():
        if other.keys() != named.keys():
            names = [", ".join(f"'{name}'" for name in each) or "nothing" for each in (other, named)]
            raise ValueError(f"{file}: its folders name {names[0]}, and those of {first} name {names[1]}")
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


def common_schema(schemas: Mapping[Path, pa.Schema]) -> pa.Schema:
    """Return the types that hold the values of all files, in the column order of the first file.

    Columns are matched by name. A type may be wider in one file than in another (int32 and int64, milliseconds and
    microseconds), or null.

    Raises:
        ValueError: If a file lacks a column, or has an additional one, or one of another kind. It names both files.
    """
    for file, schema in schemas.items():
        if twice := [name for name in schema.names if schema.names.count(name) > 1]:
            raise ValueError(f"{file}: two columns are named '{twice[0]}'; rename one")
    (first, common), *others = schemas.items()
    came_from = dict.fromkeys(common.names, first)
    for file, schema in others:
        for name in (*common.names, *schema.names):
            if name not in schema.names:
                raise ValueError(f"{file}: column '{name}' is missing, and {first} has it")
            if name not in common.names:
                raise ValueError(f"{file}: column '{name}' is not in {first}; write these rows elsewhere or drop it")
            before, here = common.field(name), schema.field(name)
            kind = _common(before.type, here.type)
            if kind is None:
                before_that = f"{before.type} in {came_from[name]}"
                raise ValueError(f"{file}: column '{name}' is {here.type}, and {before_that}; convert one of the two")
            if kind != before.type:
                came_from[name] = file
                common = common.set(common.get_field_index(name), here.with_type(kind))
    for at, column in enumerate(common):
        common = common.set(at, column.with_nullable(True))
    return common


def _common(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    import pyarrow as pa
    from pyarrow import types

    if one == other or types.is_null(one) or types.is_null(other):
        return other if types.is_null(one) else one
    if types.is_dictionary(one) or types.is_dictionary(other):
        return _dictionary(one, other)
    for same in (_is_text, _is_bytes):
        if same(one) and same(other):
            return pa.large_string() if same is _is_text else pa.large_binary()
    return _nested(one, other) if types.is_nested(one) and types.is_nested(other) else _wider(one, other)


def _nested(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    import pyarrow as pa
    from pyarrow import types

    if _is_list(one) and _is_list(other):
        inner = _common(one.value_type, other.value_type)
        made = pa.list_ if types.is_list(one) and types.is_list(other) else pa.large_list
        return None if inner is None else made(one.value_field.with_type(inner))
    if types.is_struct(one) and types.is_struct(other) and one.names == other.names:
        kinds = [_common(mine.type, its.type) for mine, its in zip(one.fields, other.fields, strict=True)]
        if None not in kinds:
            return pa.struct([field.with_type(kind) for field, kind in zip(one.fields, kinds, strict=True)])
    return None


def _dictionary(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    import pyarrow as pa
    from pyarrow import types

    values = [kind.value_type if types.is_dictionary(kind) else kind for kind in (one, other)]
    common = _common(*values)
    if common is None:
        return None
    if types.is_dictionary(one) and types.is_dictionary(other):
        return pa.dictionary(pa.int32(), common, ordered=one.ordered and other.ordered)
    return common


def _wider(one: pa.DataType, other: pa.DataType) -> pa.DataType | None:
    """Return a type of the same family that holds the values of both; None if there is none."""
    import pyarrow as pa
    from pyarrow import types

    families = (
        types.is_integer, types.is_floating, types.is_decimal, types.is_timestamp, types.is_duration, types.is_time,
        types.is_date,
    )  # fmt: skip
    if not any(family(one) and family(other) for family in families):
        return None
    fields = [pa.schema([("value", kind)]) for kind in (one, other)]
    try:
        kind: pa.DataType = pa.unify_schemas(fields, promote_options="permissive").field(0).type
    except pa.ArrowException:
        return None
    return kind


def _is_text(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind))


def _is_bytes(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_binary_view(kind))


def _is_list(kind: pa.DataType) -> bool:
    from pyarrow import types

    return bool(types.is_list(kind) or types.is_large_list(kind))
