"""Encode any value as JSON and decode it, so that quarantined values are read as they were.

JSON's own types stay plain; other values become `{"$": type, "value": text}`. A value of an unknown type is stored as
text, marked with the type's name: encoding never fails.
"""

from __future__ import annotations

import base64
import datetime as dt
import json
import math
from collections.abc import Callable
from decimal import Decimal
from json.encoder import encode_basestring
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

_write = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode
_TAG = "$"
_DEPTH = 20
_DOUBLE = 8


def encode(value: Any, depth: int = 0) -> Any:
    """Return a value that `json.dumps` can write.

    Args:
        value: Anything.
        depth: The nesting depth of `value`; from 20 on it is stored as text.
    """
    if value is None or isinstance(value, bool) or type(value) in {str, int}:
        return _clean(value) if isinstance(value, str) else value
    if type(value) is float:
        return value if math.isfinite(value) else _tagged("float", str(value))
    try:
        return _container(value, depth + 1) if depth < _DEPTH else _unknown(value)
    except Exception:
        return _unknown(value)


class AsText(str):
    """The text of a value whose type JSON cannot hold; not the value itself."""

    __slots__ = ()


def decode(value: Any) -> Any:
    """Return the value that `encode` was given; an `AsText` for a type it did not know.

    Args:
        value: What `json.loads` returned.

    Raises:
        ValueError: If an object with the key `$` was not written by `encode`.
    """
    if isinstance(value, list):
        return [decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    if _TAG not in value:
        return {key: decode(item) for key, item in value.items()}
    try:
        return _DECODERS.get(value[_TAG], str)(value["value"])
    except Exception as error:  # edited by hand
        raise ValueError(f"{value!r} encodes no value") from error


def dumps(value: Any) -> str:
    """Encode to JSON text.

    Args:
        value: Anything.
    """
    return _write(encode(value))


def texts(values: list[Any]) -> list[str]:
    """Encode each value of a column as `dumps` does; a column of one plain type at once.

    Args:
        values: The column.
    """
    plain: Callable[[Any], str]
    match set(map(type, values)) - {type(None)}:
        case kinds if kinds == {int}:
            plain = int.__repr__
        case kinds if kinds == {float}:
            plain = _float
        case kinds if kinds == {str} and "".join(filter(None, values)).isascii():
            plain = encode_basestring
        case _:
            plain = dumps
    return ["null" if value is None else plain(value) for value in values]


def _float(value: float) -> str:
    return float.__repr__(value) if math.isfinite(value) else dumps(value)


def loads(text: str) -> Any:
    """Decode JSON text.

    Args:
        text: What `dumps` returned.
    """
    return decode(json.loads(text))


def _tagged(kind: str, value: Any) -> dict[str, Any]:
    return {_TAG: kind, "value": value}


def _clean(text: str) -> Any:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate, from `errors="surrogateescape"`
        return _tagged("surrogates", text.encode("utf-8", "surrogatepass").hex())
    return text


def _unknown(value: Any) -> dict[str, Any]:
    try:
        text = str(value)
    except Exception:
        text = f"<{type(value).__qualname__} without a text>"
    return {**_tagged("text", text.encode("utf-8", "replace").decode()), "type": type(value).__qualname__}


def _container(value: Any, depth: int) -> Any:
    if isinstance(value, dict):
        if all(type(key) is str for key in value) and _TAG not in value:
            return {key: encode(item, depth) for key, item in value.items()}
        return _tagged("dict", [[encode(key, depth), encode(item, depth)] for key, item in value.items()])
    if type(value) is list:
        return [encode(item, depth) for item in value]
    if isinstance(value, tuple):
        return _tagged("tuple", [encode(item, depth) for item in value])
    if hasattr(value, "__pydantic_fields_set__"):
        return encode(dict(value), depth)
    return _scalar(value, depth)


def _scalar(value: Any, depth: int) -> Any:
    kind = type(value)
    package = kind.__module__.partition(".")[0]
    if package == "numpy":
        return _numpy(value, depth)
    known = _KINDS.get(f"{package}.{kind.__name__}")
    return _unknown(value) if known is None else _tagged(known[0], known[1](value))


def _numpy(value: Any, depth: int) -> Any:
    kind = value.dtype
    if kind.kind in "mM":
        return _tagged("numpy", [kind.str, value.astype("int64").tolist()])
    if kind.kind == "O" and value.ndim == 1:
        return _tagged("numpy", [kind.str, [encode(item, depth) for item in value]])
    if kind.kind not in "biufU" or (kind.kind == "f" and kind.itemsize > _DOUBLE):
        return _unknown(value)
    return _tagged("numpy", [kind.str, encode(value.tolist(), depth)])


def _from_numpy(value: list[Any]) -> Any:
    import numpy as np  # noqa: PLC0415 - loads on first use

    kind = np.dtype(value[0])
    if kind.kind == "O":
        items = np.empty(len(value[1]), dtype=object)
        items[:] = [decode(item) for item in value[1]]
        return items
    return np.array(decode(value[1]), "int64" if kind.kind in "mM" else kind).astype(kind)[()]


def _timestamp(value: list[str]) -> Any:
    stamp, zone = _pandas("Timestamp")(value[0]), value[1]
    try:
        return stamp.tz_convert(zone) if zone else stamp
    except Exception:  # an unnamed zone: its offset is in the text
        return stamp


def _from_moment(value: list[Any]) -> dt.datetime:
    moment = dt.datetime.fromisoformat(value[0])
    return (moment.astimezone(ZoneInfo(value[1])) if value[1] else moment).replace(fold=value[2])


def _pandas(name: str) -> Any:
    import pandas as pd  # noqa: PLC0415 - loads on first use

    return getattr(pd, name)


def _base64(value: Any) -> str:
    return base64.b64encode(bytes(value)).decode()


def _parts(value: Any) -> Any:
    return [encode(item) for item in value]


# Keyed by type name, so that pandas need not be loaded: tag, value to JSON, JSON to value.
_KINDS: dict[str, tuple[str, Any, Any]] = {
    "builtins.bytes": ("bytes", _base64, base64.b64decode),
    "builtins.bytearray": ("bytearray", _base64, lambda value: bytearray(base64.b64decode(value))),
    "builtins.memoryview": ("bytes", _base64, base64.b64decode),
    "builtins.set": ("set", _parts, lambda value: {decode(item) for item in value}),
    "builtins.frozenset": ("frozenset", _parts, lambda value: frozenset(decode(item) for item in value)),
    "builtins.complex": ("complex", str, complex),
    "uuid.UUID": ("uuid", str, UUID),
    "datetime.datetime": ("datetime", lambda v: [v.isoformat(), getattr(v.tzinfo, "key", None), v.fold], _from_moment),
    "datetime.date": ("date", dt.date.isoformat, dt.date.fromisoformat),
    "datetime.time": (
        "time",
        lambda value: [value.isoformat(), value.fold],
        lambda value: dt.time.fromisoformat(value[0]).replace(fold=value[1]),
    ),
    "datetime.timedelta": (
        "timedelta",
        lambda value: [value.days, value.seconds, value.microseconds],
        lambda value: dt.timedelta(*value),
    ),
    "decimal.Decimal": ("decimal", str, Decimal),
    "pandas.Timestamp": ("timestamp", lambda v: [v.isoformat(), v.tz and str(v.tz)], _timestamp),
    "pandas.Timedelta": ("pandas.timedelta", lambda v: v.isoformat(), lambda v: _pandas("Timedelta")(v)),  # noqa: PLW0108
    "pandas.Period": ("period", lambda v: [v.ordinal, v.freqstr], lambda v: _pandas("Period")(ordinal=v[0], freq=v[1])),
    "pandas.Interval": (
        "interval",
        lambda v: [encode(v.left), encode(v.right), v.closed],
        lambda v: _pandas("Interval")(decode(v[0]), decode(v[1]), v[2]),
    ),
    "pandas.NaTType": ("NaT", str, lambda _: _pandas("NaT")),
    "pandas.NAType": ("NA", str, lambda _: _pandas("NA")),
}
_DECODERS: dict[str, Any] = {
    **{tag: back for tag, _, back in _KINDS.values()},
    "float": float,
    "numpy": _from_numpy,
    "text": AsText,
    "surrogates": lambda value: bytes.fromhex(value).decode("utf-8", "surrogatepass"),
    "dict": lambda value: {decode(key): decode(item) for key, item in value},
    "tuple": lambda value: tuple(decode(item) for item in value),
}
