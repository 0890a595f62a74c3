"""Wrong data: a result changed as a broken feed would change it, so that its schema refuses it if it has one."""

from __future__ import annotations

import copy
import dataclasses
import sys
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Final

from resilient_tasks.core.outcome import Failed
from resilient_tasks.core.pipeline import Pipeline

#: No change of this kind is possible, or the schema allows all of them.
NONE: Final = object()
_HUGE = -1_000_000_007
#: The operation of the check of a changed result, whose events concern nobody.
CHECK = "rehearsal.check"


def mutated(value: Any, kind: str, validate: Any = None) -> Any:
    """Return a changed copy of `value`; `NONE` if there is no such change.

    Args:
        value: a frame of pandas or polars, a dict, a list, a dataclass or a plain value.
        kind: `null`, `type`, `range`, `column`, `duplicate`, `truncated` or `empty`.
        validate: the policy that checks it; the change is one that the policy refuses or splits off.
    """
    for changed in _candidates(value, kind):
        if validate is None or is_refused(changed, validate):
            return changed
    return NONE


def is_refused(value: Any, validate: Any) -> bool:
    """Whether a policy of validation finds anything wrong with a result."""
    strict = dataclasses.replace(
        validate,
        input=None,
        on_invalid="raise",
        on_schema_error="raise",
        max_invalid=None,
        quarantine=None,
        batch=None,
        drift=None,
    )

    def check() -> Any:
        return value

    check.__qualname__ = check.__name__ = CHECK
    return isinstance(Pipeline(strict).outcome(check), Failed)


def _candidates(value: Any, kind: str) -> Iterator[Any]:
    if type(value).__name__ == "DataFrame" and hasattr(value, "columns"):
        library = type(value).__module__.partition(".")[0]
        yield from _of_frame(value, kind, _Polars(value) if library == "polars" else _Pandas(value))
    elif isinstance(value, Mapping):
        yield from _of_mapping(dict(value), kind)
    elif isinstance(value, list | tuple):
        for changed in _of_list([*value], kind):
            yield changed if isinstance(value, list) else _as_tuple(value, changed)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        yield from _of_dataclass(value, kind)
    elif hasattr(value, "model_copy"):
        for name, inner in dict(value).items():
            yield from (value.model_copy(update={name: changed}) for changed in _candidates(inner, kind))
    else:
        yield from _of_plain(value, kind)


def _of_plain(value: Any, kind: str) -> Iterator[Any]:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if value is None:
        return
    if kind == "null":
        yield None
    elif kind == "range" and is_number:
        yield type(value)(_HUGE)
        yield type(value)(-_HUGE)
    elif kind == "type" and isinstance(value, bool | int | float):
        yield f"{value} ?"
    elif kind == "type" and isinstance(value, str):
        yield len(value) + _HUGE
    elif kind == "truncated" and isinstance(value, str | bytes) and len(value) > 1:
        yield value[: len(value) // 2]
    elif kind == "empty" and isinstance(value, str | bytes) and value:
        yield type(value)()


def _of_mapping(value: dict[Any, Any], kind: str) -> Iterator[Any]:
    if kind == "empty" and value:
        yield {}
    elif kind == "column":
        for key in value:
            yield {other: item for other, item in value.items() if other != key}
    else:
        for key, item in value.items():
            for changed in _candidates(item, kind):
                yield {**value, key: changed}


def _of_list(value: list[Any], kind: str) -> Iterator[list[Any]]:
    if kind == "empty" and value:
        yield []
    elif kind == "truncated" and len(value) > 1:
        yield value[: len(value) // 2]
    elif kind == "duplicate" and value:
        yield [copy.copy(value[0]), *value]
    for number, item in enumerate(value[:3]):  # a change is refused in any of them, or in none
        for changed in _candidates(item, kind):
            yield [*value[:number], changed, *value[number + 1 :]]


def _as_tuple(value: tuple[Any, ...], changed: list[Any]) -> Any:
    if hasattr(value, "_fields"):
        return type(value)(*changed) if len(changed) == len(value) else tuple(changed)
    return tuple(changed)


def _of_dataclass(value: Any, kind: str) -> Iterator[Any]:
    for field in dataclasses.fields(value):
        for changed in _candidates(getattr(value, field.name), kind):
            copied = copy.copy(value)
            object.__setattr__(copied, field.name, changed)
            yield copied


def _of_frame(frame: Any, kind: str, of: _Pandas | _Polars) -> Iterator[Any]:
    rows = len(frame)
    changes: dict[str, Callable[[Any], Iterator[Any]]] = {
        "null": of.with_null,
        "type": of.as_text,
        "range": of.out_of_range,
        "column": of.without,
    }
    if kind in changes:
        for column in frame.columns:
            yield from changes[kind](column)
    elif kind == "duplicate" and rows:
        yield of.rows([0, *range(rows)])
    elif kind == "truncated" and rows > 1:
        yield of.rows([*range(rows // 2)])
    elif kind == "empty" and rows:
        yield of.rows([])


class _Pandas:
    """Changed copies of a pandas frame."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame

    def rows(self, numbers: list[int]) -> Any:
        return self._frame.iloc[numbers]

    def with_null(self, column: Any) -> Iterator[Any]:
        yield from self._with(column, _begun_with(None))

    def as_text(self, column: Any) -> Iterator[Any]:
        yield from self._with(column, lambda series: series.astype(str) + " ?")

    def out_of_range(self, column: Any) -> Iterator[Any]:
        if getattr(self._frame[column].dtype, "kind", "") in "iuf":
            for value in (_HUGE, -_HUGE):
                yield from self._with(column, _begun_with(value))

    def without(self, column: Any) -> Iterator[Any]:
        yield self._frame.drop(columns=[column])

    def _with(self, column: Any, change: Callable[[Any], Any]) -> Iterator[Any]:
        if len(self._frame):
            yield self._frame.assign(**{column: change}) if isinstance(column, str) else self._set(column, change)

    def _set(self, column: Any, change: Callable[[Any], Any]) -> Any:
        copied = self._frame.copy()
        copied[column] = change(copied[column])
        return copied


def _begun_with(value: Any) -> Callable[[Any], Any]:
    """Return what puts a value in place of the first of a pandas series, which may change its dtype."""
    return lambda series: type(series)([value, *series.to_list()[1:]], index=series.index, name=series.name)


class _Polars:
    """Changed copies of a polars frame."""

    def __init__(self, frame: Any) -> None:
        self._frame = frame
        self._polars = sys.modules["polars"]

    def rows(self, numbers: list[int]) -> Any:
        return self._frame[numbers]

    def with_null(self, column: Any) -> Iterator[Any]:
        yield from self._with(column, None)

    def as_text(self, column: Any) -> Iterator[Any]:
        text = self._polars.col(column).cast(self._polars.String, strict=False)
        yield self._frame.with_columns((text + " ?").alias(column))

    def out_of_range(self, column: Any) -> Iterator[Any]:
        if self._frame[column].dtype.is_numeric():
            for value in (_HUGE, -_HUGE):
                yield from self._with(column, value)

    def without(self, column: Any) -> Iterator[Any]:
        yield self._frame.drop(column)

    def _with(self, column: Any, value: Any) -> Iterator[Any]:
        if len(self._frame):
            items = [value, *self._frame[column].to_list()[1:]]
            yield self._frame.with_columns(self._polars.Series(column, items, strict=False))
