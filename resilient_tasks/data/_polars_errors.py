# ruff: noqa: PLC0415 - polars and pandera load on first use
"""What pandera's schema errors say of a polars frame: which column, which rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.core.wording import number_of
from resilient_tasks.data._backend import WHOLE_FRAME, label, raised, sentence
from resilient_tasks.data._polars_coercion import word

if TYPE_CHECKING:
    import polars as pl

    from resilient_tasks.data._backend import Mask, Positions


def judged(
    schema: Any, part: pl.DataFrame, *, any_rows: bool
) -> tuple[pl.DataFrame | None, list[tuple[str, str, Positions]], list[str]]:
    """Let pandera validate a frame.

    Args:
        schema: A schema, or a model with a `validate` of its own.
        part: The frame.
        any_rows: False where every row is known to be bad, so that `part` has none.

    Returns:
        What pandera returns, or None; each rule that it says some rows fail, with their positions in `part`; what is
        wrong with the frame as a whole.
    """
    import polars as pl
    from pandera.errors import SchemaDefinitionError, SchemaError, SchemaErrors, SchemaInitError

    try:
        good = schema.validate(part, lazy=True)
    except SchemaErrors as errors:
        return None, *_read(errors.schema_errors, part, any_rows=any_rows)
    except SchemaError as error:  # raised by a `validate` of the user's own
        return None, *_read([error], part, any_rows=any_rows)
    except (SchemaDefinitionError, SchemaInitError):
        raise  # the schema is at fault, not the data
    except (Exception, pl.exceptions.PanicException) as error:
        return None, [], _missing(schema, part) or [raised(WHOLE_FRAME, "the schema", error)]
    if good.height != part.height:
        return None, [], [f"validate returned {good.height:,} of {number_of(part.height, 'row')}"]
    return good, [], []


def _missing(schema: Any, part: pl.DataFrame) -> list[str]:
    """Columns that are not there: coercing one makes polars raise before pandera looks."""
    absent = [
        name
        for name, column in getattr(schema, "columns", {}).items()
        if column.required and not column.regex and name not in part.columns
    ]
    return [f"column '{name}' is missing" for name in absent if not schema.add_missing_columns]


def _read(
    errors: list[Any], part: pl.DataFrame, *, any_rows: bool
) -> tuple[list[tuple[str, str, Positions]], list[str]]:
    located = [(error, located_rows(error, part)) for error in errors]
    # A column that did not coerce fails further checks for that reason alone: first without those rows.
    coercion = [pair for pair in located if pair[1] is not None and code_of(pair[0]) == "DATATYPE_COERCION"]
    rows, frame = [], []
    for error, at in coercion or located:
        if at is not None:
            rows.append((column_of(error), judged_label(error), at))
        elif text := sentence(error, column_of(error), any_rows=any_rows):
            frame.append(text)
    return rows, frame


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
