# ruff: noqa: PLC0415 - pandas and pyarrow load on first use
"""A cell as text for people, in CSV or JSON, and the value that its column reads from it."""

from __future__ import annotations

import base64
import binascii
import datetime as dt
import json
import math
import re
from collections.abc import Callable
from decimal import Decimal, InvalidOperation
from typing import Any

import numpy as np

from resilient_tasks.storage.arrow import is_text, loads_or_none
from resilient_tasks.storage.values import decode, encode

# What spreadsheets take for a formula, in half and full width, marked already or not.
_LIVE = re.compile("'*[=+\\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
_MARK = "'"
_INT = re.compile(r"[-+]?\d+")
_MOMENT = re.compile(r"\d{4}-\d\d-\d\d([ T]\d\d:\d\d(:\d\d(\.\d{1,9})?)?)?( ?(Z|[-+]\d\d:?\d\d))?")
_TIME = re.compile(r"(\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9}))?)?")
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}


def plain(column: Any, *, json: bool) -> list[Any]:
    """Return a stored column's values in JSON types; text if there is none.

    Args:
        column: The column as stored.
        json: Whether its values are JSON text.
    """
    import pyarrow as pa
    import pyarrow.compute as pc

    kind, types = column.type, pa.types
    if json:
        return [_plain(loads_or_none(text)) for text in column.to_pylist()]
    if types.is_floating(kind):
        short = np.float32 if kind.bit_width < 64 else float
        return [None if value is None else _number(float(str(short(value)))) for value in column.to_pylist()]
    if types.is_duration(kind):
        return [value if value is None else _words(value, kind.unit) for value in column.cast("int64").to_pylist()]
    if types.is_temporal(kind) or types.is_decimal(kind):
        texts: list[Any] = pc.cast(column, pa.string()).to_pylist()
        return texts
    if _is_binary(kind):
        return [None if value is None else base64.b64encode(value).decode() for value in column.to_pylist()]
    return [encode(value) if types.is_nested(kind) else value for value in column.to_pylist()]


def to_csv(value: Any) -> str:
    """Return the text of a cell; one that a spreadsheet would take for a formula is marked with a leading `'`.

    Args:
        value: A value from `plain`.
    """
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return str(value)
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return f"{_MARK}{text}" if _LIVE.match(text) else text


def from_csv(text: str) -> str | None:
    """Return the content of a cell; None for an empty one."""
    marked = text.startswith(_MARK) and _LIVE.match(text)
    return (text[1:] if marked else text) or None


def typed(given: Any, kind: Any, *, nullable: bool) -> Any:
    """Return the value that a column of an Arrow type reads from a cell, only if it is exact.

    Args:
        given: Text, or another value of JSON or Parquet.
        kind: The type.
        nullable: Whether the column can be empty.

    Raises:
        ValueError: If the type does not accept it.
    """
    import pyarrow as pa

    if given is None:
        if not nullable:
            raise ValueError("empty")
        return None
    try:
        return _made(given, kind)
    except (pa.ArrowException, ValueError, TypeError, OverflowError, InvalidOperation, binascii.Error) as error:
        raise ValueError(str(error)) from error


def _made(given: Any, kind: Any) -> Any:
    import pyarrow as pa

    if given is None:
        return None
    if pa.types.is_nested(kind):
        value = _nested(given) if isinstance(given, str) else decode(given)
        return None if value is None else _inside(value, kind)
    if isinstance(given, str):
        value = _reader(kind)(given)
        made = pa.array([value], kind)[0]
        exact = not pa.types.is_floating(kind) or math.isinf(made.as_py()) == ("inf" in given.lower())
    else:
        value = _same_kind(given, kind)
        made = pa.array([value], kind)[0].as_py()
        exact = made == value or (pa.types.is_floating(kind) and math.isinf(made) == math.isinf(value))
    if not exact:
        raise ValueError(f"{given!r} is another value as {kind}")
    return value


def _inside(value: Any, kind: Any) -> Any:
    """Return a list, map or struct as its type reads it, item by item."""
    import pyarrow as pa

    types = pa.types
    if types.is_struct(kind):
        fields = [kind.field(at) for at in range(kind.num_fields)]
        if not isinstance(value, dict) or value.keys() != {field.name for field in fields}:
            raise ValueError(f"an object of {', '.join(field.name for field in fields)}")
        return {field.name: _made(value[field.name], field.type) for field in fields}
    if types.is_map(kind):
        pairs = list(value.items() if isinstance(value, dict) else value)
        return [(_made(key, kind.key_type), _made(item, kind.item_type)) for key, item in pairs]
    if isinstance(value, str | dict) or not hasattr(value, "__len__"):
        raise ValueError("a list")
    made = [_made(item, kind.value_type) for item in value]
    if len(made) != getattr(kind, "list_size", len(made)):
        raise ValueError(f"a list of {kind.list_size}")
    return made


def like(before: Any, given: Any) -> Any:
    """Return a cell's content for an object column: in the type of the old value, if possible."""
    if given is None or not isinstance(given, str):
        return decode(given)
    if isinstance(before, bool):
        return {"true": True, "false": False}.get(given.lower(), given)
    known = next((read for kind, read in _LIKE.items() if isinstance(before, kind)), None)
    try:
        return given if known is None else known(given)
    except (ValueError, TypeError, InvalidOperation):
        return given


def _plain(value: Any) -> Any:
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, str):
        return str(value)
    if (
        value is None
        or type(value).__name__ in {"NAType", "NaTType"}
        or (isinstance(value, float) and math.isnan(value))
    ):
        return None
    return _number(value) if type(value) is float else value if type(value) in {bool, int} else _worded(value)


def _worded(value: Any) -> Any:
    """Return values with a common spelling as text; others as tagged JSON."""
    return (
        str(value) if isinstance(value, tuple(_LIKE)) and not isinstance(value, dict | list | tuple) else encode(value)
    )


def _words(value: int, unit: Any) -> str:
    import pandas as pd

    try:
        return str(pd.Timedelta(np.timedelta64(value, unit)))
    except (ValueError, OverflowError):
        return f"{value} {unit}"


def _number(value: float) -> Any:
    return value if math.isfinite(value) else str(value)


def _same_kind(given: Any, kind: Any) -> Any:
    """Return a value other than text as its type reads it."""
    import pyarrow as pa

    types = pa.types
    if isinstance(given, bool) != types.is_boolean(kind):
        raise ValueError("true or false")
    if types.is_integer(kind) and isinstance(given, float) and given.is_integer():
        return int(given)
    if types.is_decimal(kind) and isinstance(given, float):
        return Decimal(repr(given))
    if is_text(kind):
        return json.dumps(given)
    if isinstance(given, int | float) and types.is_temporal(kind):
        raise ValueError("a number is not a time")
    return decode(given) if isinstance(given, list | dict) else given


def _reader(kind: Any) -> Callable[[str], Any]:  # noqa: PLR0911 - one return for each kind
    import pyarrow as pa

    types = pa.types
    if types.is_boolean(kind):
        return _bool
    if types.is_integer(kind):
        return _int
    if types.is_floating(kind):
        return _float
    if types.is_decimal(kind):
        return _decimal
    if types.is_date(kind):
        return dt.date.fromisoformat
    if types.is_time(kind):
        return lambda text: _time(text, kind.unit)
    if types.is_timestamp(kind):
        return lambda text: _moment(text, kind)
    if types.is_duration(kind):
        return lambda text: _duration(text, kind.unit)
    if _is_binary(kind):
        return lambda text: base64.b64decode(text, validate=True)
    return str


def _bool(text: str) -> bool:
    value = {"true": True, "false": False}.get(text.strip().lower())
    return _no(text) if value is None else value


def _no(text: str) -> Any:
    raise ValueError(text)


def _int(text: str) -> int:
    return int(text) if _INT.fullmatch(text.strip()) else _no(text)


def _float(text: str) -> float:
    return _no(text) if "_" in text else float(text)


def _decimal(text: str) -> Decimal:
    return _no(text) if "_" in text else Decimal(text)


def _nested(text: str) -> Any:
    return decode(json.loads(text))


def _time(text: str, unit: str) -> int:
    found = _TIME.fullmatch(text.strip()) or _no(text)
    hours, minutes, seconds = (int(part or 0) for part in found.groups()[:3])
    dt.time(hours, minutes, seconds)
    whole = ((hours * 60 + minutes) * 60 + seconds) * _UNITS["ns"] + int((found[4] or "0").ljust(9, "0"))
    number, rest = divmod(whole, _UNITS["ns"] // _UNITS[unit])
    return number if not rest else _no(text)


def _moment(text: str, kind: Any) -> int:
    import pandas as pd

    if not _MOMENT.fullmatch(text.strip()):
        raise ValueError(text)
    moment = pd.Timestamp(text.strip())
    if kind.tz and moment.tz is None:
        moment = moment.tz_localize(kind.tz)
    elif moment.tz is not None and not kind.tz:
        raise ValueError(text)
    return _exactly(moment.tz_convert("UTC").tz_localize(None).asm8 if moment.tz else moment.asm8, kind.unit)


def _duration(text: str, unit: str) -> int:
    import pandas as pd

    if _INT.fullmatch(text.strip()):
        raise ValueError(text)  # without a unit
    return _exactly(pd.Timedelta(text).asm8, unit)


def _exactly(value: Any, unit: str) -> int:
    """Convert a numpy moment or duration to a type's unit exactly; numpy itself would overflow silently."""
    if np.isnat(value):
        raise ValueError(str(value))
    number, rest = divmod(int(value.astype("int64")) * _UNITS[unit], _UNITS[np.datetime_data(value.dtype)[0]])
    return _no(str(value)) if rest else number


def _is_binary(kind: Any) -> bool:
    import pyarrow as pa

    types = pa.types
    return bool(types.is_binary(kind) or types.is_large_binary(kind) or types.is_fixed_size_binary(kind))


# For object columns, by the type of the old value; a datetime is a date, too.
_LIKE: dict[type, Callable[[str], Any]] = {
    int: _int,
    float: _float,
    complex: complex,
    Decimal: _decimal,
    dt.datetime: dt.datetime.fromisoformat,
    dt.date: dt.date.fromisoformat,
    dt.time: dt.time.fromisoformat,
    dt.timedelta: lambda text: dt.timedelta(microseconds=_duration(text, "us")),
    dict: _nested,
    list: _nested,
    tuple: _nested,
}
