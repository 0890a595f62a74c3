# ruff: noqa: PLC0415 - pandas and pandera load on first use
"""A pandera check on pandas data as a mask, and whether its verdict on a row depends on that row alone."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.data._overrides import overrides
from resilient_tasks.data._pandas_errors import refused

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping

    from resilient_tasks.data._backend import Mask

_COMPARISONS = frozenset(
    [
        "equal_to",
        "not_equal_to",
        "greater_than",
        "greater_than_or_equal_to",
        "less_than",
        "less_than_or_equal_to",
        "in_range",
    ]
)
_MEMBERSHIP = frozenset({"isin", "notin"})
_TEXT = frozenset(["str_matches", "str_contains", "str_startswith", "str_endswith", "str_length"])


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a check says of a column or a frame.

    Attributes:
        failing: The rows that fail, by column, None standing for no column in particular; None where the check gave
            one answer for all rows, and it was no.
        settled: Whether the verdict on a row holds whatever other rows there are.
    """

    failing: Mapping[Hashable | None, Mask] | None
    settled: bool


def is_mask(check: Any) -> bool:
    """Whether a check can be one; not verdicts over groups or samples, which are pandera's to give."""
    from pandera.pandas import Check

    return type(check) is Check and check.groupby is None and not overrides(check)


def evaluate(check: Any, data: Any, missing: Mask | None = None) -> Verdict:
    """Ask a check as `Check.__call__` does, short of collecting the failing values, which costs more than asking.

    Args:
        check: A check that `is_mask`.
        data: A series or a frame, as pandera would check it.
        missing: For a series, which values are null; None where there are none.

    Raises:
        Exception: Whatever the check raises.
    """
    if missing is None or not check.ignore_na:
        return _evaluate(check, data)
    if _is_rowwise(check, data) and not check.element_wise and not _of_objects(data):
        # The same verdict without a copy of the column: a comparison with null raises nothing here.
        output = _backend(check, data).apply(data)
        if output.dtype.kind == "b":
            return Verdict({None: ~(output.to_numpy(dtype=bool, na_value=False) | missing)}, settled=True)
    verdict = _evaluate(check, data[~missing])
    return verdict if verdict.failing is None else Verdict(_spread(verdict.failing, ~missing), verdict.settled)


def _spread(failing: Mapping[Hashable | None, Mask], present: Mask) -> dict[Hashable | None, Mask]:
    spread = {}
    for key, mask in failing.items():
        spread[key] = np.zeros(len(present), dtype=bool)
        spread[key][present] = mask
    return spread


def _backend(check: Any, data: Any) -> Any:
    """The check's own backend.

    A built-in function is looked up anew, as `Check.__call__` does: a pickled check's copy may not know every type.
    """
    name = getattr(check._check_fn, "__name__", None)  # noqa: SLF001
    if name is not None and check.is_builtin_check(name):
        check._check_fn = check.get_builtin_check_fn(name)  # noqa: SLF001
    return check.get_backend(data)(check)


def _evaluate(check: Any, data: Any) -> Verdict:
    backend = _backend(check, data)
    said = backend.apply(data)
    output = _nulls_pass(check, data, said)
    plain = _plain(output, data)
    if plain is not None:
        # Of nulls alone the output may be of a type with which pandera breaks down.
        settled = _is_rowwise(check, data) and (output is said or not check.element_wise)
        return Verdict(_failing(check, data, output, plain), settled)
    result = backend.postprocess(data, output)
    output = result.check_output
    if bool(result.check_passed):
        return Verdict({}, settled=False)
    if not hasattr(output, "index") or not output.index.equals(data.index):
        return Verdict(None, settled=False)
    if hasattr(output, "columns"):
        by_column = {key: refused(output.iloc[:, at]) for at, key in enumerate(output.columns)}
        return Verdict(by_column, settled=False)
    return Verdict({None: refused(output)}, settled=False)


def _nulls_pass(check: Any, data: Any, output: Any) -> Any:
    """An output whose nulls are True: pandera lets them pass where all else does, and breaks down where it does not."""
    import pandas as pd

    if not isinstance(output, pd.Series) or output.dtype == bool:
        return output
    truths = output.dtype.kind == "b"
    if not (truths or output.dtype == object) or not output.hasnans:
        return output
    if truths:
        return output.fillna(value=True)
    cell_by_cell = hasattr(data, "columns") and check.ignore_na  # where pandera takes None for False
    return output if cell_by_cell else output.where(output.notna(), other=True)


def _plain(output: Any, data: Any) -> Mask | None:
    """An output of nothing but True and False for just these rows, as an array; None for any other."""
    import pandas as pd

    if not len(data) or not isinstance(output, (pd.Series, pd.DataFrame)) or not output.index.equals(data.index):
        return None
    if isinstance(output, pd.DataFrame):
        same = isinstance(data, pd.DataFrame) and output.columns.equals(data.columns) and data.columns.is_unique
        return output.to_numpy() if same and set(output.dtypes) <= {np.dtype(bool)} else None
    if output.dtype == bool:
        return output.to_numpy()
    return None if output.dtype.kind != "b" or output.hasnans else output.to_numpy(dtype=bool)


def _failing(check: Any, data: Any, output: Any, passing: Mask) -> dict[Hashable | None, Mask]:
    """In a frame a null cell passes, or a row of nothing but nulls, unless the check says otherwise."""
    failing = ~passing
    if passing.ndim == 1:
        if hasattr(data, "columns") and check.ignore_na and failing.any():
            some = np.flatnonzero(failing)
            failing[some] = ~data.take(some).isna().all(axis=1).to_numpy()
        return {None: failing}
    by_column: dict[Hashable | None, Mask] = {}
    for at, key in enumerate(output.columns):
        mask = failing[:, at]
        if mask.any():
            by_column[key] = mask & data.iloc[:, at].notna().to_numpy() if check.ignore_na else mask
    return by_column


def _is_rowwise(check: Any, data: Any) -> bool:
    """Whether pandera's own functions, or the user's on single values, decide each row by itself."""
    if check.element_wise:
        return True
    from pandera.backends.pandas import builtin_checks

    function = getattr(check._check_fn, "_function_registry", {}).get(type(data))  # noqa: SLF001
    name = getattr(function, "__name__", "")
    if function is None or function is not getattr(builtin_checks, name, None):
        return False
    arguments = check._check_kwargs.values()  # noqa: SLF001
    if name in _MEMBERSHIP:
        return not any(hasattr(argument, "__next__") for argument in arguments)  # an iterator is empty the next time
    if name not in _COMPARISONS and not (name in _TEXT and not _of_objects(data)):
        return False  # text methods look at an object column's other values to decide whether it is text
    return all(np.ndim(argument) == 0 or isinstance(argument, re.Pattern) for argument in arguments)


def _of_objects(data: Any) -> bool:
    return hasattr(data, "columns") or (data.dtype.kind == "O" and isinstance(data.dtype, np.dtype))
