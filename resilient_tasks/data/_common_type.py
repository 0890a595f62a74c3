"""Two columns in one type: what is compared is their values, and not how these are stored."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from resilient_tasks.data._columns import ColumnProfile, Described

if TYPE_CHECKING:
    from collections.abc import Callable

    from resilient_tasks.data._columns import Numbers

    Rounding: TypeAlias = Callable[[Numbers], Numbers]

# As pandas, polars and Arrow name the types that cannot hold every float64.
_COARSE: dict[str, Any] = {
    "float16": np.float16, "halffloat": np.float16, "float32": np.float32, "float": np.float32,
}  # fmt: skip
_UNITS = (1_000_000, 1_000)  # microseconds in a second, and in a millisecond


def in_common_type(then: ColumnProfile, now: Described) -> tuple[ColumnProfile, Described]:
    """Return a column and its baseline in one type, if there is one; else their kinds still differ.

    Numbers of which one side is stored as float32 are rounded to float32, and times of which one side is stored in
    seconds or milliseconds are cut to these. A column without any value takes the other's type.
    """
    if now.nulls == now.rows:
        now = replace(now, kind=then.kind)
    elif then.nulls == then.rows:
        then = replace(then, kind=now.kind)
    if (then.kind, now.kind) == ("number", "boolean"):
        counts = [now.categories.get(name, 0) for name in ("False", "True")]
        now = replace(now, kind="number", values=np.repeat([0.0, 1.0], counts), categories={})
    elif (then.kind, now.kind) == ("boolean", "number"):
        now = _as_booleans(now)
    rounding = _rounding(then, now)
    return (then, now) if rounding is None else (_rounded(then, rounding), replace(now, values=rounding(now.values)))


def _as_booleans(now: Described) -> Described:
    values, counts = np.unique(now.values, return_counts=True)
    names = [{0.0: "False", 1.0: "True"}.get(value, str(value)) for value in values.tolist()]
    by_name = dict(zip(names, counts.tolist(), strict=True))
    return replace(now, kind="boolean", values=np.empty(0), categories=by_name)


def _rounding(then: ColumnProfile, now: Described) -> Rounding | None:
    """How to round both sides; None where they are compared as they are."""
    before = np.array([*then.edges, *then.sample])
    if (then.kind, now.kind) == ("number", "number"):
        coarse = {_coarse(then.dtype, before), _coarse(now.dtype, now.values)}
        if None in coarse and len(coarse) == 1:
            exact = {values.dtype.kind for values in (before, now.values) if len(values)}
            return None if len(exact) < 2 else lambda values: _cast(values, np.float64)
        kind = np.float16 if np.float16 in coarse else np.float32
        return lambda values: _cast(values, kind)
    if (then.kind, now.kind) == ("time", "time"):
        for unit in _UNITS:
            if any(_is_in_units(values, unit) for values in (before, now.values)):
                return lambda values: np.floor_divide(_microseconds(values), unit) * (unit / 1e6)
    return None


def _coarse(dtype: str, values: Numbers) -> Any:
    """The type of fewer digits that a column is stored in, or was: values keep the digits that they lost in a file."""
    named = _COARSE.get(dtype.lower().removesuffix("[pyarrow]"))
    if named is None and len(values) and (values != np.floor(values)).any():
        named = np.float32 if np.array_equal(_cast(values, np.float32), values) else None
    return named


def _cast(values: Numbers, kind: Any) -> Numbers:
    with np.errstate(over="ignore"):
        return values.astype(kind).astype(np.float64)


def _microseconds(values: Numbers) -> Numbers:
    return np.round(values * 1e6)


def _is_in_units(values: Numbers, unit: int) -> bool:
    return bool(len(values)) and not np.any(_microseconds(values) % unit)


def _rounded(then: ColumnProfile, rounding: Rounding) -> ColumnProfile:
    """A baseline's distribution after rounding, by its sample: equal values share a bin that did not before."""
    before = np.array([*then.edges, *then.sample])
    if np.array_equal(rounding(before), before) and before.dtype.kind == "f":
        return then
    sample, edges = rounding(np.array(then.sample)), np.unique(rounding(np.array(then.edges)))
    known = then.rows - then.nulls
    counts = Described(then.kind, then.dtype, len(sample), sample, {}).histogram(tuple(edges.tolist()), ())
    whole = tuple(round(count * known / len(sample)) for count in counts)
    return replace(then, edges=tuple(edges.tolist()), sample=tuple(sample.tolist()), counts=whole)
