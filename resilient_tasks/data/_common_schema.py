# ruff: noqa: PLC0415 - pyarrow loads on first use
"""The columns and types that several Parquet files have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import pyarrow as pa


def common_schema(schemas: Mapping[Path, pa.Schema]) -> pa.Schema:
    """Return the types that hold the values of all files, in the order of the first file's columns.

    Columns go by name. A type may be wider in one file than in another (int32 and int64, milliseconds and
    microseconds), or have no values there.

    Raises:
        ValueError: If a file lacks a column, has one more, or has one of another kind. It names both files.
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
    for at, field in enumerate(common):
        common = common.set(at, field.with_nullable(True))
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
    """Return the wider of two types of one family, which holds the values of both."""
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
