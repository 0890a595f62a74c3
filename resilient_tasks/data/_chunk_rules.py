# ruff: noqa: PLC0415 - pandas, polars and pandera load on first use
"""Which rules of a schema a chunk of rows can be judged by, without the rows of the other chunks."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from resilient_tasks.data._backend import WHOLE_FRAME, label
from resilient_tasks.data.schemas import has_parsers

if TYPE_CHECKING:
    import pyarrow as pa

_WAY_OUT = (
    "Leave the rule out here and check it on the whole data, or split the whole frame with split() where it fits."
)


def check_by_chunks(schema: Any, kind: str | None, source: pa.Schema) -> None:
    """Refuse a schema that has a rule over more than one row.

    Args:
        schema: A `DataFrameSchema`.
        kind: Its library.
        source: The types of the data as stored.

    Raises:
        ValueError: Naming each such rule, and the way out.
    """
    if kind not in {"pandas", "polars"}:
        raise ValueError("Parquet data is split by a pandera schema, for pandas or polars.")
    rules = [*_flags(schema), *_checks(schema, kind), *_coercions(schema, kind, source)]
    if rules:
        raise ValueError(f"No chunk can judge by itself: {'; '.join(rules)}. {_WAY_OUT}")


def _flags(schema: Any) -> Iterator[str]:
    index = getattr(schema, "index", None)
    if index is not None:
        yield "an index: chunks have none"
    if schema.unique:
        yield f"unique={schema.unique}"
    if has_parsers(schema):
        yield "a parser, which may look at other rows"
    for name, column in schema.columns.items():
        if column.unique:
            yield f"column '{name}': unique"
        if hasattr(column.default, "meta"):
            yield f"column '{name}': a default that is computed"


def _checks(schema: Any, kind: str) -> Iterator[str]:
    from resilient_tasks.data._polars_checks import is_rowwise as polars_rowwise

    is_rowwise = polars_rowwise if kind == "polars" else _pandas_rowwise
    parts = [*((name, column.checks) for name, column in schema.columns.items()), (WHOLE_FRAME, schema.checks)]
    for name, checks in parts:
        for number, check in enumerate(checks):
            if not is_rowwise(check):
                where = "" if name == WHOLE_FRAME else f"column '{name}': "
                yield f"{where}{label(check, number)}, which may look at other rows"


def _pandas_rowwise(check: Any) -> bool:
    """Whether a check is pandera's own or one of single values, and not over groups."""
    from pandera.backends.pandas import builtin_checks
    from pandera.pandas import Check

    if type(check) is not Check or check.groupby is not None:
        return False
    functions = getattr(check._check_fn, "_function_registry", {}).values()  # noqa: SLF001
    name = getattr(check._check_fn, "__name__", "")  # noqa: SLF001
    return check.element_wise or (name != "unique_values_eq" and getattr(builtin_checks, name, None) in functions)


def _coercions(schema: Any, kind: str, source: pa.Schema) -> Iterator[str]:
    """Reading text as dates takes its format from the first rows; other plain casts go value by value."""
    import pyarrow as pa

    for name, column in schema.columns.items():
        if column.dtype is None or not (column.coerce or schema.coerce) or name not in source.names:
            continue
        stored = source.field(name).type
        text = pa.types.is_string(stored) or pa.types.is_large_string(stored) or pa.types.is_string_view(stored)
        if text and _is_temporal(column.dtype, kind):
            yield f"column '{name}': text coerced to {column.dtype}"


def _is_temporal(dtype: Any, kind: str) -> bool:
    if kind == "pandas":
        from resilient_tasks.data._pandas_coercion import is_date

        return is_date(dtype)
    return hasattr(dtype.type, "is_temporal") and bool(dtype.type.is_temporal())
