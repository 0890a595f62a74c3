# ruff: noqa: PLC0415 - polars and pandera load on first use
"""What pandera's schema errors say of a polars frame: which column, which rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.data._backend import WHOLE_FRAME, label
from resilient_tasks.data._polars_coercion import word

if TYPE_CHECKING:
    import polars as pl

    from resilient_tasks.data._backend import Mask, Positions


def located_rows(error: Any, part: pl.DataFrame) -> Positions | None:
    """Which rows of `part` a schema error is about; None where it is about the frame."""
    from pandera.constants import CHECK_OUTPUT_KEY

    output = error.check_output
    if code_of(error) == "CHECK_ERROR" or not hasattr(error.failure_cases, "columns") or output is None:
        return None
    output = output.lazy().collect()[CHECK_OUTPUT_KEY]
    if len(output) != part.height:
        return None
    mask = refused_rows(output)
    if code_of(error) == "DATATYPE_COERCION" and column_of(error) in part.columns:
        mask &= part[column_of(error)].is_not_null().to_numpy()  # pandera counts nulls that were nulls before
    return np.flatnonzero(mask) if mask.any() else None


def column_of(error: Any) -> str:
    """The name of the column an error is about. Pandera puts a coercion's error on the whole schema."""
    cases = error.failure_cases
    if code_of(error) == "DATATYPE_COERCION" and hasattr(cases, "columns") and len(cases.columns) == 1:
        return str(cases.columns[0])
    name = None if hasattr(error.schema, "columns") else error.schema.name
    return WHOLE_FRAME if name is None else str(name)


def code_of(error: Any) -> str:
    """The name of pandera's reason code."""
    return getattr(error.reason_code, "name", "")


def judged_label(error: Any) -> str:
    """What the rule that an error is about is called."""
    if code_of(error) == "DATATYPE_COERCION":
        return word(getattr(error.schema, "columns", {}).get(column_of(error), error.schema).dtype)
    return label(error.check, error.check_index)


def refused_rows(output: pl.Series) -> Mask:
    """The rows that a check's output refuses. Pandera has filled in its nulls already."""
    mask: Mask = (~output.fill_null(value=True)).to_numpy().copy()
    return mask
