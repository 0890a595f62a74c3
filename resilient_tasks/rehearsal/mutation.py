"""Wrong data: a result changed as a broken feed would change it, so that its schema refuses it if it has one."""

from __future__ import annotations

import copy
import dataclasses
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from resilient_tasks.core.outcome import Failed
from resilient_tasks.core.pipeline import Pipeline

#: No change of this kind is possible, or the schema allows all of them.
NONE: Final = object()
_HUGE = -1_000_000_007
#: The operation of the check of a changed result, whose events are not those of the flow.
CHECK = "rehearsal.check"


def mutated(value: Any, kind: str, validate: Any = None) -> Any:
    """Return a changed copy of `value`; `NONE` if there is no such change.

    Args:
        value: a frame of pandas or polars, a dict, a list, a dataclass or a plain value.
        kind: `null`, `type`, `range`, `column`, `duplicate`, `truncated` or `empty`.
        validate: the policy that checks it; the change is one that the policy refuses or splits off. What it refuses
            of `value` itself does not count.
    """
    before = refused(value, validate) if validate is not None else None
    for changed in _candidates(value, kind):
        if before is None or refused(changed, validate) - before:
            return changed
    return NONE


def refused(value: Any, validate: Any) -> Counter[tuple[str, ...]]:
    """Return what a policy of validation finds wrong with a result: the rows for each rule."""
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
    outcome = Pipeline(strict).outcome(check)
    if not isinstance(outcome, Failed):
        return Counter()
    error = outcome.error
    reports = getattr(error, "reports", None) or {"": getattr(error, "report", None)}
    found = Counter[tuple[str, ...]]()
    for name, report in reports.items():
        if report is not None:
            found.update({(name, *rule): rows for rule, rows in report.reasons.items()})
            found.update((name, problem) for problem in report.frame_errors)
    return found or Counter({(str(error),): 1})


def _candidates(value: Any, kind: str) -> Iterator[Any]:
    if type(value).__name__ == "DataFrame" and hasattr(value, "columns"):
        library = type(value).__module__.partition(".")[0]
        yield from _of_frame(value, kind, _Polars if library == "polars" else _Pandas)
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
        for key in reversed(value):  # the first is often a key that is not used
            yield {other: item for other, item in value.items() if other != key}
    else:
        changes = {key: [*_candidates(item, kind)] for key, item in value.items()}
        if sum(map(bool, changes.values())) > 1:
            yield {key: changes[key][0] if changes[key] else item for key, item in value.items()}
        for key, each in changes.items():
            yield from ({**value, key: changed} for changed in each)


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


def _of_frame(frame: Any, kind: str, of: type[_Pandas | _Polars]) -> Iterator[Any]:
    rows = len(frame)
    if kind == "duplicate" and rows:
        yield of.rows(frame, [0, *range(rows)])
    elif kind == "truncated" and rows > 1:
        yield of.rows(frame, [*range(rows // 2)])
    elif kind == "empty" and rows:
        yield of.rows(frame, [])
    elif kind == "column":
        for column in reversed([*frame.columns]):  # the first is often a key that is not used
            yield frame.drop(columns=[column]) if of is _Pandas else frame.drop(column)
    elif rows:
        yield from _in_columns(frame, kind, of)


def _in_columns(frame: Any, kind: str, of: type[_Pandas | _Polars]) -> Iterator[Any]:
    """Yield the frame with a change in all columns at once, then in each."""
    changes = [
        (column, items)
        for column in frame.columns
        for items in _of_column(frame[column].to_list(), kind, is_number=of.is_number(frame[column]))
    ]
    once = dict(reversed(changes))
    if len(once) > 1:
        changed = frame
        for column, items in once.items():
            changed = of.with_column(changed, column, items)
        yield changed
    for column, items in changes:
        yield of.with_column(frame, column, items)


def _of_column(items: list[Any], kind: str, *, is_number: bool) -> Iterator[list[Any]]:
    if kind == "null":
        yield [None, *items[1:]]
    elif kind == "type":
        yield [f"{item} ?" for item in items]
    elif kind == "range" and is_number:
        yield [_HUGE, *items[1:]]
        yield [-_HUGE, *items[1:]]


class _Pandas:
    """Changes of pandas frames."""

    @staticmethod
    def rows(frame: Any, numbers: list[int]) -> Any:
        return frame.iloc[numbers]

    @staticmethod
    def is_number(series: Any) -> bool:
        return getattr(series.dtype, "kind", "") in "iuf"

    @staticmethod
    def with_column(frame: Any, column: Any, items: list[Any]) -> Any:
        copied = frame.copy()
        copied[column] = type(frame[column])(items, index=frame.index)  # which may change its dtype
        return copied


class _Polars:
    """Changes of polars frames."""

    @staticmethod
    def rows(frame: Any, numbers: list[int]) -> Any:
        return frame[numbers]

    @staticmethod
    def is_number(series: Any) -> bool:
        return bool(series.dtype.is_numeric())

    @staticmethod
    def with_column(frame: Any, column: Any, items: list[Any]) -> Any:
        return frame.with_columns(type(frame[column])(column, items, strict=False))
