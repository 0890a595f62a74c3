# ruff: noqa: PLC0415 - pandas, polars and pandera load on first use
"""Find the rules of a schema that cannot be evaluated chunk by chunk."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from resilient_tasks.validation.backend import label
from resilient_tasks.validation.schemas import has_parsers

if TYPE_CHECKING:
    import pyarrow as pa

_WAY_OUT = (
    "Leave the rule out here and check it on the whole data, or split the whole frame with split() where it fits."
)


def check_rowwise(schema: Any, kind: str | None, source: pa.Schema, *, has_index: bool) -> None:
    """Refuse a schema with rules over more than one row.

    Args:
        schema: A `DataFrameSchema`.
        kind: Its library.
        source: The types of the data as stored.
        has_index: Whether the data has a pandas index.

    Raises:
        ValueError: If there are such rules; they are named, with a way out.
    """
    if kind not in {"pandas", "polars"}:
        raise ValueError("Parquet data is split by a pandera schema, for pandas or polars.")
    rules = [*_flags(schema, has_index=has_index), *_checks(schema, kind), *_coercions(schema, kind, source)]
    if rules:
        raise ValueError(f"These rules need rows of other chunks: {'; '.join(rules)}. {_WAY_OUT}")


def _flags(schema: Any, *, has_index: bool) -> Iterator[str]:
    if _levels(schema) and not has_index:
        yield "an index: the files have none"
    for name, level in _levels(schema):
        if level.unique:
            yield f"{name}: unique={level.unique}"
    if schema.unique:
        yield f"unique={schema.unique}"
    if has_parsers(schema):
        yield "a parser, which may look at other rows"
    for name, column in schema.columns.items():
        if column.unique:
            yield f"column '{name}': unique"
        if hasattr(column.default, "meta"):
            yield f"column '{name}': a default that is computed"


def _levels(schema: Any) -> list[tuple[str, Any]]:
    """Return the schema's index and index levels, with names for messages."""
    index = getattr(schema, "index", None)
    if index is None:
        return []
    levels = getattr(index, "indexes", ())
    named = [(f"index '{level.name}'" if level.name else f"index level {at}", level) for at, level in enumerate(levels)]
    return [(f"index '{index.name}'" if index.name else "the index", index), *named]


def _checks(schema: Any, kind: str) -> Iterator[str]:
    from resilient_tasks.validation.polars_rules import is_rowwise as polars_rowwise

    is_rowwise = polars_rowwise if kind == "polars" else _pandas_rowwise
    parts = [(f"column '{name}': ", column.checks) for name, column in schema.columns.items()]
    parts += [(f"{name}: ", level.checks or ()) for name, level in _levels(schema)]
    for where, checks in [*parts, ("", schema.checks)]:
        for number, check in enumerate(checks):
            if not is_rowwise(check):
                yield f"{where}{label(check, number)}, which may look at other rows"


def _pandas_rowwise(check: Any) -> bool:
    """Return whether a check is row-wise: pandera's own, or of single values, and not of groups."""
    from pandera.backends.pandas import builtin_checks
    from pandera.pandas import Check

    if type(check) is not Check or check.groupby is not None:
        return False
    if check.element_wise or not hasattr(check._check_fn, "_function_registry"):  # noqa: SLF001
        return bool(check.element_wise)
    # Looked up by name: a check in a schema holds a copy, with the functions registered when it was made.
    name = check._check_fn.__name__  # noqa: SLF001
    functions = check.get_builtin_check_fn(name)._function_registry.values()  # noqa: SLF001
    return name != "unique_values_eq" and getattr(builtin_checks, name, None) in functions


def _coercions(schema: Any, kind: str, source: pa.Schema) -> Iterator[str]:
    """Yield the columns of text that become dates: pandas guesses the format from the first rows."""
    import pyarrow as pa

    for name in source.names:
        dtype, stored = coerced_dtype(schema, name), source.field(name).type
        stored = stored.value_type if pa.types.is_dictionary(stored) else stored
        text = pa.types.is_string(stored) or pa.types.is_large_string(stored) or pa.types.is_string_view(stored)
        if text and dtype is not None and _is_temporal(dtype, kind):
            yield f"column '{name}': text coerced to {dtype}"


def coerced_dtype(schema: Any, name: str) -> Any:
    """Return the type to which a schema coerces a column; None if it does not."""
    declared = [column for title, column in schema.columns.items() if _matches(title, column, name)]
    coerced = [column.dtype for column in declared if column.coerce or schema.coerce]
    if schema.dtype is not None:
        return schema.dtype if schema.coerce or coerced else None
    return next((dtype for dtype in coerced if dtype is not None), None)


def declares(schema: Any, name: str) -> bool:
    """Return whether a schema declares a type or a default for a column."""
    declared = [column for title, column in schema.columns.items() if _matches(title, column, name)]
    return schema.dtype is not None or any(part.dtype is not None or part.default is not None for part in declared)


def _matches(title: Any, column: Any, name: str) -> bool:
    return bool(re.match(title, name)) if column.regex else title == name


def _is_temporal(dtype: Any, kind: str) -> bool:
    if kind == "pandas":
        from resilient_tasks.validation.pandas_engine import is_date

        return is_date(dtype)
    return hasattr(dtype.type, "is_temporal") and bool(dtype.type.is_temporal())
