# ruff: noqa: PLC0415 - pandera loads on first use
"""Whether a frame's columns and index are those that a schema wants: asked of pandera once for frames of a kind."""

from __future__ import annotations

import operator
import weakref
from typing import TYPE_CHECKING, Any, NamedTuple

from resilient_tasks.data._pandas_errors import components, validate

if TYPE_CHECKING:
    import pandas as pd

_REMEMBERED = 16  # kinds of frames, for each schema


class _Answers(NamedTuple):
    """What pandera said of frames, for as long as the schema is there and as it was."""

    schema: weakref.ref[Any]
    rules: list[Any]
    by_frame: dict[tuple[Any, ...], bool]


_answers: dict[int, _Answers] = {}
"""By the schema's id: a schema has no hash, and two that are equal may become different."""


def fits(schema: Any, frame: pd.DataFrame, sample: slice) -> bool:
    """Whether pandera finds nothing wrong with names, order and types.

    The answer is remembered for this schema, unless it is altered, and for frames with the same names, types and kind
    of index. It holds for all of them, because no value is checked but the nulls of the sample.

    Args:
        schema: A schema that is pandera's own in all its parts, without parsers.
        frame: A frame.
        sample: The place of a row that breaks no rule; an empty one where there is no such row.
    """
    rules, key = _rules(schema), _kind(frame, sample)
    known = _answers.get(id(schema))
    if known is None or known.schema() is not schema or not _same(known.rules, rules):
        at = id(schema)
        known = _Answers(weakref.ref(schema, lambda _: _answers.pop(at, None)), rules, {})
        if not _warns_of_missing(schema):
            _answers[at] = known
    answer = known.by_frame.get(key)
    if answer is None:
        answer = _ask(schema, frame.iloc[sample])
        if len(known.by_frame) < _REMEMBERED:
            known.by_frame[key] = answer
    return answer


def _ask(schema: Any, part: pd.DataFrame) -> bool:
    from pandera.config import ValidationDepth, config_context

    with config_context(validation_depth=ValidationDepth.SCHEMA_ONLY):
        return validate(schema, part)[0] is not None


def _rules(schema: Any) -> list[Any]:
    """All that a schema and its parts hold, to be compared by identity: what is replaced is another object."""
    held: list[Any] = [*schema.columns, *vars(schema).values()]
    for part in components(schema)[1:]:
        held += [part, *vars(part).values()]
    return held


def _same(rules: list[Any], others: list[Any]) -> bool:
    return len(rules) == len(others) and all(map(operator.is_, rules, others))


def _kind(frame: pd.DataFrame, sample: slice) -> tuple[Any, ...]:
    names, index = tuple(frame.columns), frame.index
    types = (type(frame), type(frame.columns), type(index), *map(type, names))  # a column may be called 1 or True
    return names, types, tuple(frame.dtypes), tuple(index.names), index.dtype, sample.start == sample.stop


def _warns_of_missing(schema: Any) -> bool:
    """Whether pandera warns of columns that are missing: then it does so each time."""
    parts = (schema, *schema.columns.values())
    return any(getattr(part, name, None) for part in parts for name in ("on_missing", "on_missing_columns"))
