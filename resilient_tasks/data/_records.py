# ruff: noqa: PLC0415 - pydantic loads on first use
"""Split records of JSON by a pydantic model. The model judges one record at a time, and only its verdict counts.

Where no function of the user's takes part, pydantic is given all records at once, and then those that it refused once
more, for the reasons.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.data._backend import WHOLE_FRAME, Finding, raised
from resilient_tasks.data._records_at_once import FAILED, together
from resilient_tasks.data._records_plain import JSON, MAPPINGS, plain
from resilient_tasks.data.split import Report, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from pydantic import BaseModel

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
    if not isinstance(records, list):
        return _refused(records, 0, _not_a_list(records))
    return _at_once(records, model) or _one_by_one(records, model)


def _at_once(records: list[Any], model: type[BaseModel]) -> Split[Any] | None:
    """Split in two calls of pydantic; None where they cannot tell what single calls would."""
    fast = together(model)
    if fast is None:
        return None
    try:
        held = fast.made_of(records)
        refused = [position for position, each in enumerate(held) if each is FAILED]
        bad = [records[position] for position in refused]
        errors = fast.errors(bad)
    except Exception:  # of a record that is an object, say: asked one by one, pydantic tells which
        return None
    if len({error["loc"][0] for error in errors}) != len(refused):
        return None
    found = _Reasons()
    found.of_many(refused, bad, errors)
    good = [fast.plain(each, record) for each, record in zip(held, records, strict=True) if each is not FAILED]
    return Split(good, bad, Report(len(records), len(bad), (), found.findings()))


def _one_by_one(records: list[Any], model: type[BaseModel]) -> Split[Any]:
    from pydantic import TypeAdapter, ValidationError

    validate = TypeAdapter(model).validate_python
    good, bad, found = [], [], _Reasons()
    for position, record in enumerate(records):
        try:
            held = validate(_copied(record))
        except ValidationError as refusal:
            bad.append(record)
            for error in refusal.errors(include_url=False, include_context=False):
                found.add(position, record, error["loc"], error)
        except Exception as error:
            return _refused(records, len(records), f"record {position}: {raised(WHOLE_FRAME, 'the model', error)}")
        else:
            good.append(plain(held, record))
    return Split(good, bad, Report(len(records), len(bad), (), found.findings()))


def _refused(data: Any, rows: int, why: str) -> Split[Any]:
    return Split(data, [], Report(rows, frame_errors=(why,)))


def _not_a_list(data: Any) -> str:
    if isinstance(data, JSON):
        return f"the data is a {type(data).__name__}, not a list of records"
    raise TypeError(
        f"A pydantic model is for a list of records and the data is a {type(data).__module__}."
        f"{type(data).__qualname__}; make a list of it, or write a pandera schema for it."
    )


class _Reasons:
    """The rows that fail each rule, in the order in which the rules were first broken."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], dict[int, Any]] = {}

        self._texts: dict[tuple[str, str], str] = {}

    def add(self, position: int, record: Any, place: Sequence[str | int], error: Any) -> None:
        """Note an error that is about a place in a record."""
        said = error["type"], error["msg"]
        text = self._texts.get(said)
        if text is None:
            text = self._texts[said] = _words(*said)
        column, value = _place(record, place, missing=said[0] == "missing")
        self._values.setdefault((column, text), {}).setdefault(position, value)

    def of_many(self, positions: list[int], records: list[Any], errors: list[Any]) -> None:
        """Note errors of several records: each is about a place behind the number of its record among these."""
        known: dict[tuple[Any, str, str], dict[int, Any]] = {}
        for error in errors:
            place, kind = error["loc"], error["type"]
            record = records[place[0]]
            if len(place) != 2 or type(record) is not dict or place[1] not in record or kind == "missing":
                self.add(positions[place[0]], record, place[1:], error)
                continue
            # A field of a record, as nearly all are: its rule is the same in every record.
            rule = place[1], kind, error["msg"]
            values = known.get(rule)
            if values is None:
                values = known[rule] = self._values.setdefault((str(place[1]) or WHOLE_FRAME, _words(*rule[1:])), {})
            values.setdefault(positions[place[0]], record[place[1]])

    def findings(self) -> tuple[Finding, ...]:
        return tuple(
            Finding(*rule, np.fromiter(values, np.intp), _reader(list(values.values())))
            for rule, values in self._values.items()
        )


def _reader(values: list[Any]) -> Callable[[], list[Any]]:
    return values.copy


def _place(record: Any, place: Sequence[str | int], *, missing: bool) -> tuple[str, Any]:
    """The path of what an error is about, and its value as read."""
    path, value = "", record
    for part in place:
        fields = value if isinstance(value, MAPPINGS) else getattr(value, "__dict__", {})
        if part in fields:
            path, value = f"{path}.{part}", fields[part]
        elif isinstance(value, list | tuple) and isinstance(part, int):
            path, value = f"{path}[]", value[part]
        elif missing:
            path = f"{path}.{part}"
        # Else it is no place in the record: the name of a union's member.
    return path.removeprefix(".") or WHOLE_FRAME, value if path and not missing else None


def _words(kind: str, text: str) -> str:
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
