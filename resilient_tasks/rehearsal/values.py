"""Data as text by path, so that two runs can be compared and the difference named."""

from __future__ import annotations

import dataclasses
import hashlib
import re
from collections.abc import Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

_DEEPEST, _WIDEST, _SHOWN = 12, 200, 60
_ADDRESS = re.compile(r" at 0x[0-9a-f]+")
_PLAIN = (str, bytes, int, float, complex, bool, type(None))


def flattened(value: Any, path: str = "result") -> dict[str, str]:
    """Return every part of a value as text, by its path; long ones as their digest.

    Frames and arrays are compared by value and type, other objects by their attributes.
    """
    return dict(_parts(value, path, 0))


def digest(value: Any) -> str:
    """Return a short digest of a value."""
    return hashlib.sha256(repr(sorted(flattened(value).items())).encode()).hexdigest()[:12]


def _parts(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    if isinstance(value, _PLAIN) or depth > _DEEPEST:
        yield path, _text(value)
    elif (columns := _columns(value)) is not None:
        yield f"{path}.rows", str(len(value))
        for name, kind, items in columns:
            yield f"{path}[{name!r}]", f"{kind}, {_text(items)}"
    elif hasattr(value, "dtype") and hasattr(value, "tolist"):
        yield path, f"{value.dtype}, {_text(value.tolist())}"
    elif isinstance(value, Mapping):
        yield f"{path}.keys", _text([*map(str, value)])
        for key, item in value.items():
            yield from _parts(item, f"{path}[{key!r}]", depth + 1)
    elif isinstance(value, AbstractSet):
        yield path, _text(sorted(map(_text, value)))
    elif isinstance(value, Sequence):
        yield from _sequence(value, path, depth)
    else:
        yield from _object(value, path, depth)


def _sequence(value: Sequence[Any], path: str, depth: int) -> Iterator[tuple[str, str]]:
    yield f"{path}.length", str(len(value))
    if len(value) > _WIDEST:
        yield path, _text([digest(item) for item in value])
        return
    for number, item in enumerate(value):
        yield from _parts(item, f"{path}[{number}]", depth + 1)


def _object(value: Any, path: str, depth: int) -> Iterator[tuple[str, str]]:
    yield f"{path}.type", type(value).__name__
    if dataclasses.is_dataclass(value):
        inside = {field.name: getattr(value, field.name, None) for field in dataclasses.fields(value)}
    elif isinstance(value, BaseException):
        inside = {"message": str(value)}
    else:
        inside = {**getattr(value, "__dict__", {})}
    if not inside:
        yield path, _text(value)
    for name, item in inside.items():
        yield from _parts(item, f"{path}.{name}", depth + 1)


def _columns(value: Any) -> list[tuple[Any, str, list[Any]]] | None:
    """Return the columns of a frame: name, type, values; None for anything else. Knows pandas and polars by duck."""
    if type(value).__name__ != "DataFrame" or not hasattr(value, "columns"):
        return None
    return [(name, str(value[name].dtype), _items(value[name])) for name in value.columns]


def _items(series: Any) -> list[Any]:
    items: list[Any] = series.to_list()
    return items


def _text(value: Any) -> str:
    text = _ADDRESS.sub("", repr(value))
    if len(text) <= _SHOWN:
        return text
    return f"{text[: _SHOWN // 2]}... #{hashlib.sha256(text.encode()).hexdigest()[:8]}"
