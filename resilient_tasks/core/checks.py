"""Checks of what a user gives to a policy, with sentences that say what to give instead."""

from __future__ import annotations

import math
from datetime import timedelta
from typing import Any

from resilient_tasks.core import callables, safely
from resilient_tasks.core.errors import PolicyError


def positive_seconds(value: object, where: str) -> None:
    """Raise `PolicyError` unless `value` is a finite number of seconds above zero."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value) or value <= 0:
        msg = f"{where} is a number of seconds above 0, not {value!r}"
        raise PolicyError(msg)


def fraction(value: object, where: str) -> None:
    """Raise `PolicyError` unless `value` lies between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        msg = f"{where} is a fraction from 0 to 1, such as 0.05 for five in a hundred, not {value!r}"
        raise PolicyError(msg)


def positive_number(value: object, where: str) -> None:
    """Raise `PolicyError` unless `value` is a whole number above zero."""
    if type(value) is not int or value < 1:
        msg = f"{where} is a whole number of 1 or more, not {value!r}"
        raise PolicyError(msg)


def name(value: object, where: str) -> None:
    """Raise `PolicyError` unless `value` can name what several calls share."""
    if not isinstance(value, str) or not value.strip():
        msg = f'{where} names what is shared, such as "flights-api", and is not {value!r}'
        raise PolicyError(msg)


def seconds_from(value: Any) -> float:
    """Return as seconds what a user's function gave for a duration.

    Raises:
        TypeError: it is none.
    """
    if isinstance(value, timedelta):
        value = value.total_seconds()
    if callables.comes_later(value):
        raise callables.refused(value, "it has to return seconds at once")
    if isinstance(value, bool | str | bytes) or value is None or not math.isfinite(seconds := float(value)):
        msg = f"it returned {safely.shown(value)}, which is no number of seconds"
        raise TypeError(msg)
    return seconds
