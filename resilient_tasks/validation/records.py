# ruff: noqa: PLC0415 - pydantic loads on first use
"""Split records of JSON by a pydantic model. The model judges one record at a time, and only its verdict counts.

Where no function of the user's takes part, pydantic is given all records at once, and then those that it refused once
more, for the reasons.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.validation.backend import WHOLE_FRAME, Finding, raised
from resilient_tasks.validation.split import Report, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from pydantic import BaseModel, TypeAdapter
    from pydantic_core import SchemaValidator

    Plain = Callable[[Any, Any], Any]
    from collections.abc import Callable, Sequence


MAPPINGS = (dict, Mapping)
"""What has keys: dict first, as the other is slow to ask."""
JSON = (*MAPPINGS, list, str, int, float, NoneType)
"""The types of values of JSON, as they are read."""
SCALARS = frozenset({str, int, float, bool, NoneType})
"""Those of them that hold no others."""


def plain(value: Any, read: Any) -> Any:
    """What a model made of `read`, with dicts for models wherever JSON was read."""
    kind = type(value)
    if kind in SCALARS:
        return value
    if kind is list or kind is tuple:
        return kind(map(plain, value, _parts(read, len(value))))
    if kind is dict:
        return dict(zip(value, map(plain, value.values(), _parts(read, len(value))), strict=True))
    if hasattr(kind, "__pydantic_root_model__") and isinstance(read, JSON):
        return plain(value.root, read) if kind.__pydantic_root_model__ else _fields(value, read)
    return value


def _parts(read: Any, size: int) -> Iterable[Any]:
    """The items of what was read, for a container of `size` items; a validator may have made it of something else."""
    items = read.values() if isinstance(read, MAPPINGS) else read
    same = isinstance(read, (*MAPPINGS, list, tuple)) and len(read) == size
    return items if same else [None] * size


def _fields(held: BaseModel, read: Any) -> dict[str, Any]:
    record = read if isinstance(read, MAPPINGS) else {}
    values, named = held.__dict__, {}
    for name, aliases in keys_of(type(held)).items():
        if name not in values:  # an instance that a validator built without it
            continue
        key = aliases[0]
        if len(aliases) > 1:
            key = next((alias for alias in aliases if alias in record), key)
        value = values[name]
        named[key] = value if type(value) in SCALARS else plain(value, record.get(key))
    for key, value in (held.__pydantic_extra__ or {}).items():
        named[key] = plain(value, record.get(key))
    return named


@lru_cache
def keys_of(model: type[BaseModel]) -> Mapping[str, tuple[str, ...]]:
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


FAILED = object()
"""Stands for a record that the model refuses, among those that it made."""

_SINGLE = frozenset({
    "none", "bool", "int", "float", "decimal", "str", "bytes", "date", "time", "datetime", "timedelta", "literal",
    "enum", "uuid", "url", "multi-host-url", "complex",
})  # fmt: skip
_OF_OTHERS = frozenset({
    "list", "tuple", "set", "frozenset", "dict", "nullable", "union", "tagged-union", "default", "definitions",
    "definition-ref", "model", "model-fields", "model-field", "typed-dict", "typed-dict-field", "lax-or-strict",
    "json-or-python", "chain",
})  # fmt: skip
_NO_RULES = frozenset(
    {"serialization", "computed_fields", "metadata", "config", "cls", "default", "expected", "members"}
)


@dataclass(frozen=True, slots=True)
class Together:
    """A model of many records.

    Attributes:
        lenient: Makes a list of records, with `FAILED` for those that the model refuses.
        strict: Raises the errors of a list of records.
        plain: Gives what `plain` gives of what was made of a record. Containers that were made for it alone are not
            copied.
        fields: Makes a list like `lenient`, of dicts alone, and does not make models of their fields; None where those
            are more than a model's fields.
    """

    lenient: TypeAdapter[list[Any]]
    strict: TypeAdapter[list[Any]]
    plain: Plain
    fields: SchemaValidator | None

    def made_of(self, records: list[Any]) -> list[Any]:
        """What is made of each record, or `FAILED`."""
        if self.fields is None or set(map(type, records)) != {dict}:
            return self.lenient.validate_python(records)
        made: list[Any] = self.fields.validate_python(records)
        return made

    def errors(self, bad: list[Any]) -> list[Any]:
        """What is wrong with records, each error behind the place of its record among them."""
        from pydantic import ValidationError

        try:
            self.strict.validate_python(bad)
        except ValidationError as error:
            return list(error.errors(include_url=False, include_context=False, include_input=False))
        return []


@lru_cache
def together(model: type[BaseModel]) -> Together | None:
    """How a model judges all records at once; None where it has to judge them one by one."""
    from typing import Annotated

    from pydantic import TypeAdapter

    rules = model.__pydantic_core_schema__
    if not model.__pydantic_complete__ or not _is_plain(rules):
        return None
    lenient = TypeAdapter(list[Annotated[model, _Lenient()]])  # type: ignore[valid-type]
    strict: Any = TypeAdapter(list[model])  # type: ignore[valid-type]
    return Together(lenient, strict, _plain_of(rules, {}) or plain, _fields_alone(rules))


class _Lenient:
    """Has pydantic go on with `FAILED` where it refuses a value."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return _leniently(handler(source))


def _leniently(rules: Any) -> Any:
    from pydantic_core import core_schema

    return core_schema.with_default_schema(rules, default=FAILED, on_error="default", validate_default=False)


def _fields_alone(rules: Any) -> SchemaValidator | None:
    """A validator of many dicts that stops short of making models of them; None where a model says more."""
    from pydantic_core import SchemaValidator, core_schema

    config = rules.get("config", {})
    if rules.get("strict") or config.get("strict") or not _is_dict_of_names(rules):
        return None
    return SchemaValidator(core_schema.list_schema(_leniently(rules["schema"])), config)


def _is_dict_of_names(rules: Any) -> bool:
    """Whether a model holds nothing but fields that are read under their names."""
    if rules["type"] != "model" or rules["schema"]["type"] != "model-fields":
        return False
    model = rules["cls"]
    renamed = any(keys != (name,) for name, keys in keys_of(model).items())
    return not renamed and model.model_config.get("extra") != "allow"


def _is_plain(rules: Any) -> bool:
    if isinstance(rules, Mapping):
        kind = rules.get("type")
        is_rule = isinstance(kind, str)  # else the fields of a model, of whatever names
        if is_rule and (kind not in _SINGLE | _OF_OTHERS or rules.get("custom_init") or rules.get("post_init")):
            return False
        return all(_is_plain(value) for key, value in rules.items() if not (is_rule and key in _NO_RULES))
    if isinstance(rules, list | tuple):
        return all(map(_is_plain, rules))
    return not callable(rules) or _has_no_state(rules)


def _has_no_state(function: Any) -> bool:
    """Whether a default's factory may be called once more than there are records: `list`, `uuid4`."""
    module = getattr(function, "__module__", None) or ""
    return isinstance(function, type) or module.partition(".")[0] in sys.stdlib_module_names


def _plain_of(rules: Any, named: dict[str, Any]) -> Plain | None:
    """What makes plain values of what was validated by these rules; None where they are plain already.

    Args:
        rules: The core schema.
        named: Core schemas that are referred to, by name. One that refers to itself is left to `plain`.
    """
    match rules:
        case {"type": kind} if kind in _SINGLE:
            return None
        case {"type": "definitions", "schema": inner, "definitions": known}:
            return _plain_of(inner, named | {each["ref"]: each for each in known})
        case {"type": "definition-ref", "schema_ref": name} if name in named:
            return _plain_of(named[name], {other: each for other, each in named.items() if other != name})
        case {"type": "list", "items_schema": items} | {"type": "dict", "values_schema": items}:
            return None if _plain_of(items, named) is None else plain
    return _plain_of_one(rules, named)


def _plain_of_one(rules: Any, named: dict[str, Any]) -> Plain | None:
    match rules:
        case {"type": "nullable", "schema": inner}:
            return _unless_scalar(_plain_of(inner, named))
        case {"type": "default", "schema": inner, "default": default} if type(default) in SCALARS:
            return _unless_scalar(_plain_of(inner, named))
        case {"type": "model", "schema": {"fields": fields}} if _is_dict_of_names(rules):
            return _taking_over({name: _plain_of(field["schema"], named) for name, field in fields.items()})
    return plain


def _unless_scalar(inner: Plain | None) -> Plain | None:
    if inner is None:
        return None
    return lambda value, read: value if type(value) in SCALARS else inner(value, read)


def _taking_over(fields: Mapping[str, Plain | None]) -> Plain:
    """Make a dict of a model by taking its fields over: nobody else has what was made of a dict."""
    deep = tuple((name, inner) for name, inner in fields.items() if inner is not None)

    def taken(held: Any, read: Any) -> Any:
        if type(read) is not dict:
            return plain(held, read)
        values: dict[str, Any] = held[0] if type(held) is tuple else held.__dict__  # a tuple: of fields alone
        for name, inner in deep:
            values[name] = inner(values[name], read.get(name))
        return values

    return taken


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
