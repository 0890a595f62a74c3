# ruff: noqa: PLC0415 - polars and pandera load on first use
"""What can be read off the parts of a polars schema, and where only pandera can tell."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from resilient_tasks.data._overrides import foreign_backend, overrides
from resilient_tasks.data.schemas import has_parsers


def is_readable(schema: Any, names: Sequence[str]) -> bool:
    """Whether the parts of the schema can be read one by one; else pandera judges the rows alone.

    Args:
        schema: A `DataFrameSchema`.
        names: The frame's columns.
    """
    columns = schema.columns.values()
    adds = schema.add_missing_columns and not set(schema.columns) <= set(names)
    defaults = [column for column in columns if column.default is not None]
    computed = any(hasattr(column.default, "meta") for column in defaults)  # an expression
    unclear = any(column.regex or column.dtype is None for column in defaults)
    unknown = answers_itself(schema) or has_parsers(schema)
    return not (unknown or adds or computed or unclear or any(map(is_pattern, names))) and (
        schema.dtype is None or hasattr(schema.dtype.type, "is_numeric")
    )


def is_plain(schema: Any) -> bool:
    """Whether nothing in the schema looks at values beyond the rules that are masks here."""
    from pandera.engines import polars_engine
    from pandera.polars import Column, DataFrameSchema

    columns = schema.columns.values()
    kinds = [column.dtype for column in columns if column.dtype is not None]
    checks = [*schema.checks, *(check for column in columns for check in column.checks)]
    return (
        type(schema) is DataFrameSchema
        and schema.dtype is None
        and all(type(column) is Column and not column.regex for column in columns)
        and all(type(kind).__module__ == polars_engine.__name__ and not kind.auto_coerce for kind in kinds)
        and not any(check.raise_warning for check in checks)  # a warning is pandera's to give
    )


def answers_itself(schema: Any) -> bool:
    """Whether the schema, or a column of it, has methods or a backend of its own: only these tell what it accepts."""
    import polars as pl

    parts, frame = [schema, *schema.columns.values()], pl.LazyFrame()
    by_class = {type(part): part for part in parts}  # backends are registered for classes
    return any(map(overrides, parts)) or any(foreign_backend(part, frame) for part in by_class.values())


def is_pattern(name: str) -> bool:
    """Whether polars takes a column's name for a pattern."""
    return name == "*" or (name.startswith("^") and name.endswith("$"))
