"""Checks of policies' arguments, with messages that say what to write instead."""

from __future__ import annotations

from collections.abc import Collection

from resilient_tasks.core.errors import PolicyError


def fraction(value: object, where: str) -> None:
    """Raise `PolicyError` unless `value` lies between 0 and 1."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= 1:
        msg = f"{where} is a fraction from 0 to 1, such as 0.05 for five in a hundred, not {value!r}"
        msg += _as_fraction(value)
        raise PolicyError(msg)


def positive_number(value: object, where: str) -> None:
    """Raise `PolicyError` unless `value` is a whole number above zero."""
    if type(value) is not int or value < 1:
        msg = f"{where} is a whole number of 1 or more, not {value!r}{as_whole(value)}"
        raise PolicyError(msg)


def as_whole(value: object) -> str:
    """Return `: write 3`, the end of a message, if a text or a float holds a whole number; otherwise an empty text."""
    if isinstance(value, str) and value.strip().isdecimal() and int(value):
        return f": write {int(value)}"
    return f": write {int(value)}" if isinstance(value, float) and value.is_integer() and value >= 1 else ""


def _as_fraction(value: object) -> str:
    number = value.strip().removesuffix("%") if isinstance(value, str) else value
    try:
        found = float(number)  # type: ignore[arg-type]  # what is not a number raises
    except (TypeError, ValueError):
        return ""
    percent = isinstance(value, str) and value.strip().endswith("%")
    found = found / 100 if percent or found > 1 else found
    return f": write {found:g}" if 0 <= found <= 1 and not isinstance(value, bool) else ""


def name(value: object, where: str) -> None:
    """Raise `PolicyError` unless `value` can be the name of shared state."""
    if not isinstance(value, str) or not value.strip() or not can_be_kept(value):
        msg = (
            f'{where} is the name of shared state, such as "flights-api", or a function of the call\'s arguments'
            f" that returns one, not {value!r}"
        )
        raise PolicyError(msg)


def can_be_kept(text: str) -> bool:
    """Return whether a store can use this name: it rejects lone surrogates."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def enforced(value: object, where: str) -> None:
    """Raise `PolicyError` unless `value` is True or False."""
    if not isinstance(value, bool):
        msg = f"{where} is True, or False to measure only and refuse nothing, not {value!r}"
        raise PolicyError(msg)


def one_of(value: object, words: Collection[str], where: str) -> None:
    """Raise `PolicyError` unless `value` is one of `words`."""
    if value not in words:
        meant = f"; did you mean {value.lower()!r}?" if isinstance(value, str) and value.lower() in words else ""
        msg = f"{where} is one of {', '.join(words)}, not {value!r}{meant}"
        raise PolicyError(msg)


def share_or_number(value: object, where: str) -> None:
    """Raise `PolicyError` unless `value` is a fraction as a float, or a number of rows."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not (0 <= value <= 1 or (isinstance(value, int) and value > 0)):  # type: ignore[operator]
        msg = "a fraction from 0.0 to 1.0, such as 0.05 for five in a hundred, or a whole number of rows: 1 is one row,"
        raise PolicyError(f"{where} is {msg} 1.0 is all. It is not {value!r}")


def calls(value: object, where: str, *, optional: bool = False) -> None:
    """Raise `PolicyError` unless `value` is a number of calls above zero, which need not be whole; or None."""
    if value is None and optional:
        return
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not 0 < value < float("inf"):  # type: ignore[operator]  # it is a number
        msg = f"{where} is a number of calls above 0, such as 10 or 0.5, not {value!r}"
        raise PolicyError(msg)
