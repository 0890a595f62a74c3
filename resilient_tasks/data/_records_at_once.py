# ruff: noqa: PLC0415 - pydantic loads on first use
"""Which pydantic models may judge all records at once: those in which no function of the user's takes part.

Such a function could keep a state, rewrite what it is given, or raise anything. It has to see each record once, by
itself.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from resilient_tasks.data._records_plain import SCALARS, keys_of, plain

if TYPE_CHECKING:
    from collections.abc import Callable

    from pydantic import BaseModel, TypeAdapter
    from pydantic_core import SchemaValidator

    Plain = Callable[[Any, Any], Any]

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
