# ruff: noqa: PLC0415 - pydantic loads on first use
"""Records of JSON and a pydantic model: the model judges one record at a time, and its verdict is the one that counts.

One at a time is faster than a list at once as soon as one record is bad: a list is refused as a whole, and what is left
would be validated again.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.data._backend import WHOLE_FRAME, Finding, raised
from resilient_tasks.data.split import Report, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic import BaseModel

_MAPPINGS = (dict, Mapping)  # the ABC is slow to ask
_JSON = (*_MAPPINGS, list, str, int, float, NoneType)
_SCALARS = frozenset({str, int, float, bool, NoneType})
_WORDS = {"missing": "is missing", "extra_forbidden": "is not in the model"}
_LEADS = ("Input ", "Value error, ", "Assertion failed, ")
_WITH_DETAILS = ("_parsing", "too_short", "too_long")


def split_records(records: Any, model: type[BaseModel]) -> Split[Any]:
    """Split a list of records into those that a pydantic model accepts and those that it does not.

    A record that was read as a dict stays a dict: what `Model.model_validate(record)` holds, nested models as dicts
    too. Values are converted and defaults filled in; an extra field is kept or left out as the model says. A field is
    under the key it was read from, alias or name; a default under the alias, where there is one, and what was read
    by an `AliasPath` under the field's name. Serializers play no part. A record that was read as an object (with
    `from_attributes`, or a model's instance) is a model's instance in `good`.

    A reason's column is the path of the field, as in `address.city` or `items[].price`, and `*` where the model judges
    the record as a whole; its value is the field's as read.

    Args:
        records: A list. Another value of JSON is an error of the frame, and so is anything a validator raises that
            is no `ValueError` or `AssertionError`.
        model: The model of one record.

    Raises:
        TypeError: If the data is no value of JSON.
    """
    from pydantic import TypeAdapter, ValidationError

    if not isinstance(records, list):
        return _refused(records, 0, _not_a_list(records))
    validate = TypeAdapter(model).validate_python
    good, bad, found = [], [], _Reasons()
    for position, record in enumerate(records):
        try:
            held = validate(_copied(record))
        except ValidationError as error:
            bad.append(record)
            found.add(position, record, error.errors(include_url=False, include_context=False))
        except Exception as error:
            return _refused(records, len(records), f"record {position}: {raised(WHOLE_FRAME, 'the model', error)}")
        else:
            good.append(_plain(held, record))
    return Split(good, bad, Report(len(records), len(bad), (), found.findings()))


def _refused(data: Any, rows: int, why: str) -> Split[Any]:
    return Split(data, [], Report(rows, frame_errors=(why,)))


def _not_a_list(data: Any) -> str:
    if isinstance(data, _JSON):
        return f"the data is a {type(data).__name__}, not a list of records"
    raise TypeError(
        f"A pydantic model is for a list of records and the data is a {type(data).__module__}."
        f"{type(data).__qualname__}; make a list of it, or write a pandera schema for it."
    )


class _Reasons:
    """The rows that fail each rule, in the order in which the rules were first broken."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], dict[int, Any]] = {}

    def add(self, position: int, record: Any, errors: Iterable[Any]) -> None:
        for error in errors:
            column, value = _place(record, error)
            self._values.setdefault((column, _words(error)), {}).setdefault(position, value)

    def findings(self) -> tuple[Finding, ...]:
        return tuple(
            Finding(*rule, np.fromiter(values, np.intp), _reader(list(values.values())))
            for rule, values in self._values.items()
        )


def _reader(values: list[Any]) -> Callable[[], list[Any]]:
    return values.copy


def _place(record: Any, error: Any) -> tuple[str, Any]:
    """The path of what an error is about, and its value as read."""
    path, value = "", record
    missing = error["type"] == "missing"
    for part in error["loc"]:
        fields = value if isinstance(value, Mapping) else getattr(value, "__dict__", {})
        if part in fields:
            path, value = f"{path}.{part}", fields[part]
        elif isinstance(value, list | tuple) and isinstance(part, int):
            path, value = f"{path}[]", value[part]
        elif missing:
            path = f"{path}.{part}"
        # Else it is no place in the record: the name of a union's member.
    return path.removeprefix(".") or WHOLE_FRAME, value if path and not missing else None


def _words(error: Any) -> str:
    kind, text = str(error["type"]), str(error["msg"])
    for lead in _LEADS:
        text = text.removeprefix(lead)
    if kind.endswith(_WITH_DETAILS):  # of the one value; reasons are counted by rule
        text = text.partition(", ")[0]
    return _WORDS.get(kind, text or kind)


def _copied(value: Any) -> Any:
    """A record whose containers are its own: a validator may rewrite what it is given, and bad rows stay as read."""
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if type(value) is list else value


def _plain(value: Any, read: Any) -> Any:
    """What a model made of `read`, with dicts for models wherever JSON was read."""
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is list or kind is tuple:
        return kind(map(_plain, value, _parts(read, len(value))))
    if kind is dict:
        return dict(zip(value, map(_plain, value.values(), _parts(read, len(value))), strict=True))
    if hasattr(kind, "__pydantic_root_model__") and isinstance(read, _JSON):
        return _plain(value.root, read) if kind.__pydantic_root_model__ else _fields(value, read)
    return value


def _parts(read: Any, size: int) -> Iterable[Any]:
    """The items of what was read, for a container of `size` items; a validator may have made it of something else."""
    items = read.values() if isinstance(read, _MAPPINGS) else read
    same = isinstance(read, (*_MAPPINGS, list, tuple)) and len(read) == size
    return items if same else [None] * size


def _fields(held: BaseModel, read: Any) -> dict[str, Any]:
    record = read if isinstance(read, _MAPPINGS) else {}
    values, named = held.__dict__, {}
    for name, aliases in _keys(type(held)).items():
        if name not in values:  # an instance that a validator built without it
            continue
        key = aliases[0]
        if len(aliases) > 1:
            key = next((alias for alias in aliases if alias in record), key)
        value = values[name]
        named[key] = value if type(value) in _SCALARS else _plain(value, record.get(key))
    for key, value in (held.__pydantic_extra__ or {}).items():
        named[key] = _plain(value, record.get(key))
    return named


@lru_cache
def _keys(model: type[BaseModel]) -> Mapping[str, tuple[str, ...]]:
    """The keys under which each field may be read, in the order in which the model looks for them."""
    from pydantic import AliasChoices

    config = model.model_config
    by_alias = config.get("validate_by_alias") is not False
    by_name = config.get("validate_by_name") or config.get("populate_by_name")
    keys = {}
    for name, field in model.model_fields.items():
        alias = field.validation_alias
        choices = alias.choices if isinstance(alias, AliasChoices) else [alias]
        aliases = [choice for choice in choices if by_alias and isinstance(choice, str)]
        keys[name] = (*aliases, name) if by_name or not aliases else tuple(aliases)
    return keys
