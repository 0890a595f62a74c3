# ruff: noqa: PLC0415 - pydantic loads on first use
"""Split JSON records by a pydantic model, which validates one record at a time and has the last word.

Unless a function of the user's takes part, pydantic gets all records at once, and then the refused ones again for
the reasons.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any

import numpy as np

from resilient_tasks.validation.backend import WHOLE_FRAME, Finding, raised_text
from resilient_tasks.validation.report import Report, Split

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from pydantic import BaseModel, TypeAdapter
    from pydantic_core import SchemaValidator

    Plain = Callable[[Any, Any], Any]

MAPPINGS = (dict, Mapping)
"""Types with keys; dict first, because testing for the other is slow."""
JSON = (*MAPPINGS, list, str, int, float, NoneType)
"""The types of JSON values, as read."""
SCALARS = frozenset({str, int, float, bool, NoneType})
"""The JSON types that hold no others."""

FAILED = object()
"""Stands for a record that the model refuses."""
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
_WORDS = {"missing": "is missing", "extra_forbidden": "is not in the model"}
_LEADS = ("Input ", "Value error, ", "Assertion failed, ")
_WITH_DETAILS = ("_parsing", "too_short", "too_long")


def split_records(records: Any, model: type[BaseModel]) -> Split[Any]:
    """Split a list of records into those that a pydantic model accepts and the others.

    A record read as a dict stays a dict, nested models included: values are converted, defaults filled in, and extra
    fields kept or dropped, as in `Model.model_validate(record)`. A field keeps the key it was read from, alias or name;
    a default is under the alias, if there is one, and a field read by an `AliasPath` is under its name. Serializers are
    not used. A record read as an object (`from_attributes`, or a model's instance) is a model's instance in `good`.

    A reason's column is the path of the field, such as `address.city` or `items[].price`, or `*` for the record as a
    whole; its value is the field's as read.

    Args:
        records: A list. Another JSON value is a frame error, and so is an exception of a validator that is not a
            `ValueError` or `AssertionError`.
        model: The model of one record.

    Raises:
        TypeError: If the data is not a JSON value.
    """
    if not isinstance(records, list):
        return _refused(records, 0, _not_a_list(records))
    return _at_once(records, model) or _one_by_one(records, model)


def _at_once(records: list[Any], model: type[BaseModel]) -> Split[Any] | None:
    """Split with two calls of pydantic; None where single calls might give another result."""
    fast = batch_validator(model)
    if fast is None:
        return None
    try:
        held = fast.made_of(records)
        refused = [position for position, each in enumerate(held) if each is FAILED]
        bad = [records[position] for position in refused]
        errors = fast.errors(bad)
    except Exception:  # a record that is an object, say: validating one by one finds which
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
            return _refused(records, len(records), f"record {position}: {raised_text(WHOLE_FRAME, 'the model', error)}")
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
    """The rows that break each rule, in the order in which the rules were first broken."""

    def __init__(self) -> None:
        self._values: dict[tuple[str, str], dict[int, Any]] = {}

        self._texts: dict[tuple[str, str], str] = {}

    def add(self, position: int, record: Any, place: Sequence[str | int], error: Any) -> None:
        """Add an error at a location in a record."""
        rule = error["type"], error["msg"]
        text = self._texts.get(rule)
        if text is None:
            text = self._texts[rule] = _reason_text(*rule)
        column, value = _place(record, place, missing=rule[0] == "missing")
        self._values.setdefault((column, text), {}).setdefault(position, value)

    def of_many(self, positions: list[int], records: list[Any], errors: list[Any]) -> None:
        """Add errors of several records; each location begins with the record's position in the list."""
        known: dict[tuple[Any, str, str], dict[int, Any]] = {}
        for error in errors:
            place, kind = error["loc"], error["type"]
            record = records[place[0]]
            if len(place) != 2 or type(record) is not dict or place[1] not in record or kind == "missing":
                self.add(positions[place[0]], record, place[1:], error)
                continue
            # The usual case, a field of a record: its rule is the same in every record.
            rule = place[1], kind, error["msg"]
            values = known.get(rule)
            if values is None:
                values = known[rule] = self._values.setdefault(
                    (str(place[1]) or WHOLE_FRAME, _reason_text(*rule[1:])), {}
                )
            values.setdefault(positions[place[0]], record[place[1]])

    def findings(self) -> tuple[Finding, ...]:
        return tuple(
            Finding(*rule, np.fromiter(values, np.intp), list(values.values()).copy)
            for rule, values in self._values.items()
        )


def _place(record: Any, place: Sequence[str | int], *, missing: bool) -> tuple[str, Any]:
    """Return the path and the value as read for an error's location."""
    path, value = "", record
    for part in place:
        fields = value if isinstance(value, MAPPINGS) else getattr(value, "__dict__", {})
        if part in fields:
            path, value = f"{path}.{part}", fields[part]
        elif isinstance(value, list | tuple) and isinstance(part, int):
            path, value = f"{path}[]", value[part]
        elif missing:
            path = f"{path}.{part}"
        # Otherwise it is no location in the record but the name of a union member.
    return path.removeprefix(".") or WHOLE_FRAME, value if path and not missing else None


def _reason_text(kind: str, text: str) -> str:
    for lead in _LEADS:
        text = text.removeprefix(lead)
    if kind.endswith(_WITH_DETAILS):  # about the single value; reasons are counted by rule
        text = text.partition(", ")[0]
    return _WORDS.get(kind, text or kind)


def _copied(value: Any) -> Any:
    """Copy a record's containers: a validator may rewrite its input, and bad rows stay as read."""
    if type(value) is dict:
        return {key: _copied(item) for key, item in value.items()}
    return [_copied(item) for item in value] if type(value) is list else value


def plain(value: Any, read: Any) -> Any:
    """Return a validated value with dicts in place of models, wherever JSON was read."""
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
    """Return the items as read for a container of `size` items; Nones if a validator replaced the container."""
    items = read.values() if isinstance(read, MAPPINGS) else read
    same = isinstance(read, (*MAPPINGS, list, tuple)) and len(read) == size
    return items if same else [None] * size


def _fields(held: BaseModel, read: Any) -> dict[str, Any]:
    record = read if isinstance(read, MAPPINGS) else {}
    values, named = held.__dict__, {}
    for name, aliases in input_keys(type(held)).items():
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
def input_keys(model: type[BaseModel]) -> Mapping[str, tuple[str, ...]]:
    """Return the keys under which each field may be read, in the model's order of lookup."""
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


@dataclass(frozen=True, slots=True)
class BatchValidator:
    """Validators of many records at once.

    Attributes:
        lenient: Validates a list of records, with `FAILED` for those that the model refuses.
        strict: Raises the errors of a list of records.
        plain: Converts validated records as `plain` does, but without copying containers that were made for one record
            alone.
        fields: Validates a list of dicts like `lenient` without building models; None for models that do more than hold
            fields.
    """

    lenient: TypeAdapter[list[Any]]
    strict: TypeAdapter[list[Any]]
    plain: Plain
    fields: SchemaValidator | None

    def made_of(self, records: list[Any]) -> list[Any]:
        """Return each validated record, or `FAILED`."""
        if self.fields is None or set(map(type, records)) != {dict}:
            return self.lenient.validate_python(records)
        made: list[Any] = self.fields.validate_python(records)
        return made

    def errors(self, bad: list[Any]) -> list[Any]:
        """Return the errors of records; each location begins with the record's position in the list."""
        from pydantic import ValidationError

        try:
            self.strict.validate_python(bad)
        except ValidationError as error:
            return list(error.errors(include_url=False, include_context=False, include_input=False))
        return []


@lru_cache
def batch_validator(model: type[BaseModel]) -> BatchValidator | None:
    """Return a model's validators of many records; None if it must validate one by one."""
    from typing import Annotated

    from pydantic import TypeAdapter

    rules = model.__pydantic_core_schema__
    if not model.__pydantic_complete__ or not _is_plain(rules):
        return None
    lenient = TypeAdapter(list[Annotated[model, _Fallback()]])  # type: ignore[valid-type]
    strict: Any = TypeAdapter(list[model])  # type: ignore[valid-type]
    return BatchValidator(lenient, strict, _plain_of(rules, {}) or plain, _fields_alone(rules))


class _Fallback:
    """Make pydantic continue with `FAILED` where it refuses a value."""

    def __get_pydantic_core_schema__(self, source: Any, handler: Any) -> Any:
        return _with_fallback(handler(source))


def _with_fallback(rules: Any) -> Any:
    from pydantic_core import core_schema

    return core_schema.with_default_schema(rules, default=FAILED, on_error="default", validate_default=False)


def _fields_alone(rules: Any) -> SchemaValidator | None:
    """Return a validator of many dicts that builds no models; None where a model does more than hold fields."""
    from pydantic_core import SchemaValidator, core_schema

    config = rules.get("config", {})
    if rules.get("strict") or config.get("strict") or not _is_dict_of_names(rules):
        return None
    return SchemaValidator(core_schema.list_schema(_with_fallback(rules["schema"])), config)


def _is_dict_of_names(rules: Any) -> bool:
    """Return whether a model only holds fields that are read under their names."""
    if rules["type"] != "model" or rules["schema"]["type"] != "model-fields":
        return False
    model = rules["cls"]
    renamed = any(keys != (name,) for name, keys in input_keys(model).items())
    return not renamed and model.model_config.get("extra") != "allow"


def _is_plain(rules: Any) -> bool:
    if isinstance(rules, Mapping):
        kind = rules.get("type")
        is_rule = isinstance(kind, str)  # otherwise the fields of a model, with any names
        if is_rule and (kind not in _SINGLE | _OF_OTHERS or rules.get("custom_init") or rules.get("post_init")):
            return False
        return all(_is_plain(value) for key, value in rules.items() if not (is_rule and key in _NO_RULES))
    if isinstance(rules, list | tuple):
        return all(map(_is_plain, rules))
    return not callable(rules) or _has_no_state(rules)


def _has_no_state(function: Any) -> bool:
    """Return whether a default factory may be called more often than there are records: `list`, `uuid4`."""
    module = getattr(function, "__module__", None) or ""
    return isinstance(function, type) or module.partition(".")[0] in sys.stdlib_module_names


def _plain_of(rules: Any, named: dict[str, Any]) -> Plain | None:
    """Return a converter of validated values into plain ones; None if they are plain already.

    Args:
        rules: The core schema.
        named: Core schemas by the names used in references. Recursive ones are left to `plain`.
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
            return _reusing_dict({name: _plain_of(field["schema"], named) for name, field in fields.items()})
    return plain


def _unless_scalar(inner: Plain | None) -> Plain | None:
    if inner is None:
        return None
    return lambda value, read: value if type(value) in SCALARS else inner(value, read)


def _reusing_dict(fields: Mapping[str, Plain | None]) -> Plain:
    """Make a dict of a model by reusing its own: it was made for this record alone."""
    deep = tuple((name, inner) for name, inner in fields.items() if inner is not None)

    def taken(held: Any, read: Any) -> Any:
        if type(read) is not dict:
            return plain(held, read)
        values: dict[str, Any] = held[0] if type(held) is tuple else held.__dict__  # a tuple if made by `fields`
        for name, inner in deep:
            values[name] = inner(values[name], read.get(name))
        return values

    return taken
