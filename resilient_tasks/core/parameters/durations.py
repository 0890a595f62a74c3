"""Durations: seconds, a `timedelta`, or a text with a unit, such as `"20s"` or `"1.5 min"`."""

from __future__ import annotations

import math
import re
from datetime import timedelta
from decimal import Decimal
from numbers import Real
from typing import TYPE_CHECKING, Any, TypeAlias

from resilient_tasks import safely
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters import callables
from resilient_tasks.redaction.patterns import compiled

#: The type of duration arguments; they are kept as seconds.
Duration: TypeAlias = float | str | timedelta

if TYPE_CHECKING:
    # For type checkers, the type of a policy's field: it accepts any duration and returns seconds. Only for fields with
    # a default; a class whose duration has none declares its `__init__` for type checkers instead.

    class Seconds:
        def __get__(self, owner: object, kind: Any = None) -> float: ...
        def __set__(self, owner: object, value: Duration) -> None: ...

    class SecondsOrNone:
        def __get__(self, owner: object, kind: Any = None) -> float | None: ...
        def __set__(self, owner: object, value: Duration | None) -> None: ...

else:
    Seconds, SecondsOrNone = Duration, Duration | None

_UNITS = {
    **dict.fromkeys(("ns", "nanosecond", "nanoseconds"), 1e-9),
    **dict.fromkeys(("us", "µs", "μs", "microsecond", "microseconds"), 1e-6),
    **dict.fromkeys(("ms", "msec", "msecs", "milli", "millis", "millisecond", "milliseconds"), 1e-3),
    **dict.fromkeys(("s", "sec", "secs", "second", "seconds"), 1.0),
    **dict.fromkeys(("m", "min", "mins", "minute", "minutes"), 60.0),
    **dict.fromkeys(("h", "hr", "hrs", "hour", "hours"), 3600.0),
    **dict.fromkeys(("d", "day", "days"), 86400.0),
    **dict.fromkeys(("w", "week", "weeks"), 604800.0),
}
_PART = r"([0-9]+(?:\.[0-9]*)?|\.[0-9]+)\s*([a-zµμ]+)"
_WHOLE = compiled(rf"{_PART}(?:\s*{_PART})*")
_BARE = compiled(r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+")
_LONGEST = 60
_EXAMPLES = 'write 20, "20s", "1.5 min", "2h" or timedelta(seconds=20)'


def default(value: float | None) -> Any:
    """Return the default of a `Seconds` field, in a form that type checkers accept."""
    return value


def settle(policy: object, *names: str, where: str = "", zero: bool = False) -> None:
    """Convert durations in a frozen dataclass's fields into seconds. None stays if it is the default.

    Args:
        policy: the policy, in its `__post_init__`.
        names: the fields' names.
        where: how the user wrote the argument, for the message; default: `Policy(name=...)`.
        zero: whether 0 is allowed.

    Raises:
        PolicyError: one of them is not a duration.
    """
    for name in names:
        value = getattr(policy, name)
        if value is None and getattr(type(policy), name, ...) is None:
            continue
        place = where or f"{type(policy).__name__}({name}=...)"
        object.__setattr__(policy, name, seconds(value, place, zero=zero))


def seconds(value: object, where: str, *, zero: bool = False, bare: float | None = None) -> float:
    """Return `value` in seconds.

    Args:
        value: a number of seconds, a `timedelta`, or a text with a unit, such as `"20s"` or `"1 h 30 min"`.
        where: how the user wrote the argument, for the message.
        zero: whether 0 is allowed.
        bare: the unit, in seconds, of a text without one, for sources of text only; None refuses such a text.

    Raises:
        PolicyError: it is not a duration, negative, infinite or, without `zero`, 0.
    """
    found = _parsed(value, bare) if isinstance(value, str) else _number(value)
    if found is not None and math.isfinite(found) and (found > 0 or (zero and found == 0)):
        return found
    least = "from 0 up" if zero else "above 0"
    msg = f"{where} is a number of seconds {least}, {instead(value, bare)}"
    raise PolicyError(msg)


def seconds_from(value: Any) -> float:
    """Return in seconds a duration that a user's function returned, which may be negative.

    Raises:
        PolicyError: it is an awaitable.
        TypeError: it is not a duration.
    """
    if callables.comes_later(value):
        raise callables.refused(value, "it has to return seconds at once")
    found = _parsed(value, None) if isinstance(value, str) else _number(value)
    if found is None or not math.isfinite(found):
        msg = f"it returned {safely.shown(value)}, which is not a duration"
        raise TypeError(msg)
    return found


def instead(value: object, bare: float | None = None) -> str:
    """Return the end of a message: the wrong value, and what to write instead."""
    text = repr(value)
    text = text if len(text) <= _LONGEST else f"{text[:_LONGEST]}…"
    return f"not {text}{_advice(value, bare)}"


def _number(value: object) -> float | None:
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, bool):
        return None
    if (
        type(value).__name__ == "timedelta64"
    ):  # numpy's, which registers it as a whole number; numpy is not imported here
        return float(value / type(value)(1, "s"))  # type: ignore[operator,call-arg]  # known by its name alone
    if isinstance(value, Real | Decimal):  # numpy's numbers are Real
        try:
            return float(value)
        except (OverflowError, ValueError):
            return math.inf
    return None


def _parsed(text: str, bare: float | None) -> float | None:
    plain = text.strip().lower()
    if bare is not None and _BARE.fullmatch(plain):
        return float(plain) * bare
    if not _WHOLE.fullmatch(plain):
        return None
    parts = re.findall(_PART, plain)
    if any(unit not in _UNITS for _, unit in parts):
        return None
    return math.fsum(float(number) * _UNITS[unit] for number, unit in parts)


def _advice(value: object, bare: float | None) -> str:
    if isinstance(value, str):
        plain = value.strip()
        if bare is None and _BARE.fullmatch(plain) and float(plain):
            return f': write {plain} or "{plain}s"'
        unit = next((unit for _, unit in re.findall(_PART, plain.lower()) if unit not in _UNITS), None)
        if unit is not None and _WHOLE.fullmatch(plain.lower()):
            return f": the units are ms, s, min, h, d and w, and {unit!r} is none of them"
        return f": {_EXAMPLES}"
    return f": {_EXAMPLES}" if _number(value) is None else ""
