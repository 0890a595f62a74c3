# ruff: noqa: PLC0415 - pandera loads on first use
"""Ask pandera for its verdict on a pandas frame, and find the rows of its errors."""

from __future__ import annotations

import copy
import warnings
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.core.wording import number_of
from resilient_tasks.data._backend import WHOLE_FRAME, failed, label, raised, refusal
from resilient_tasks.data._pandas_coercion import is_date, is_number

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    import pandas as pd

    from resilient_tasks.data._backend import Finding, Mask, Positions


def validate(schema: Any, part: pd.DataFrame) -> tuple[pd.DataFrame | None, list[Any] | str]:
    """What pandera returns for a frame; or None and its errors, or a sentence where it broke down."""
    from pandera.errors import SchemaDefinitionError, SchemaError, SchemaErrors, SchemaInitError

    try:
        good = schema.validate(part, lazy=True)
    except SchemaErrors as errors:
        return None, errors.schema_errors
    except SchemaError as error:  # of a schema with a method of its own
        return None, [error]
    except (SchemaDefinitionError, SchemaInitError):
        raise  # the schema is at fault, not the data
    except Exception as error:
        return None, raised(WHOLE_FRAME, "the schema", error)
    if len(good) != len(part):
        return None, (
            f"the schema returned {len(good):,} of {number_of(len(part), 'row')}; a parser or a method of its own that "
            f"drops rows hides them: make a check of it"
        )
    return good, []


def warn(findings: list[Finding]) -> None:
    """Warn as pandera does, of what it was not asked about."""
    from pandera.errors import SchemaWarning

    for finding in findings:
        rows = f": {number_of(len(finding.positions), 'row')}" if len(finding.positions) else ""
        warnings.warn(f"{failed(finding.column, finding.check)}{rows}", SchemaWarning, stacklevel=2)


def loud(schema: Any, heard: AbstractSet[tuple[int, int]]) -> Any:
    """A schema whose rules that only warn raise errors.

    Args:
        schema: A schema.
        heard: The ids of the checks that need not, each behind the id of what it belongs to.

    Returns:
        A copy; None where no rule is left that only warns.
    """
    given = components(schema)
    quiet = [
        (at, number)
        for at, part in enumerate(given)
        for number, check in enumerate(part.checks or ())
        if check.raise_warning and (id(part), id(check)) not in heard
    ]
    if not quiet:
        return None
    schema = copy.deepcopy(schema)
    copied = components(schema)
    for at, number in quiet:
        copied[at].checks[number].raise_warning = False
    return schema


def components(schema: Any) -> list[Any]:
    """A schema and its parts: columns, index, levels of the index."""
    index = schema.index
    return [schema, *schema.columns.values(), *([] if index is None else [index, *getattr(index, "indexes", ())])]


def located(error: Any, part: pd.DataFrame) -> Positions | None:
    """Which rows of `part` a schema error is about; None where it is about the frame."""
    output, cases = error.check_output, error.failure_cases
    if code(error) in {"WRONG_DATATYPE", "CHECK_ERROR"} or not hasattr(cases, "columns"):
        return None
    if hasattr(output, "index") and len(output) == len(part):
        return np.flatnonzero(refused(output.all(axis=1) if hasattr(output, "columns") else output))
    labels = output.index[refused(output)] if hasattr(output, "dtype") else cases.get("index")
    if labels is None or not part.index.is_unique or part.index.nlevels > 1:
        return None
    at = part.index.get_indexer(labels.unique())
    return np.sort(at) if len(at) and (at >= 0).all() else None


def refused(output: pd.Series) -> Mask:
    """The rows that a check's output refuses; a null passes, as it does in pandera's own `all()`."""
    return ~np.asarray(output.astype(object).where(output.notna(), True), dtype=bool)


def code(error: Any) -> str:
    """The name of a schema error's reason."""
    return getattr(error.reason_code, "name", "")


def column(error: Any) -> Any:
    """The column a schema error is about, or `WHOLE_FRAME`."""
    name = error.column_name if error.column_name is not None else error.schema.name
    return WHOLE_FRAME if name is None else name


def title(error: Any) -> str:
    """The rule a schema error says was broken."""
    if code(error) == "DATATYPE_COERCION":
        dtype = error.schema.dtype
        return refusal(dtype, numeric=is_number(dtype), temporal=is_date(dtype))
    return label(error.check, error.check_index)
