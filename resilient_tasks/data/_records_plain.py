# ruff: noqa: PLC0415 - pydantic loads on first use
"""What a pydantic model holds as values of JSON: a dict for a model, wherever a dict was read."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from types import NoneType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from pydantic import BaseModel

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
