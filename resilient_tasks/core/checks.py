"""Checks of what a user gives to a policy, with sentences that say what to give instead."""

from __future__ import annotations

from collections.abc import Collection

from resilient_tasks.core.errors import PolicyError


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


def one_of(value: object, words: Collection[str], where: str) -> None:
    """Raise `PolicyError` unless `value` is one of `words`."""
    if value not in words:
        meant = f"; did you mean {value.lower()!r}?" if isinstance(value, str) and value.lower() in words else ""
        msg = f"{where} is one of {', '.join(words)}, not {value!r}{meant}"
        raise PolicyError(msg)
