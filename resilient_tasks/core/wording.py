"""Parts of messages: counts, names of functions, and errors by type and HTTP status."""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping, Sequence
from typing import Any

_UNITS = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))


def number_of(count: int, noun: str, plural: str = "") -> str:
    """Return `1 row`, `2 rows`, `12,000 rows`; give the plural of a noun if it is irregular."""
    return f"{count:,} {noun if count == 1 else plural or f'{noun}s'}"


def about(number: float) -> str:
    """Return a number to three digits, whole from 100 on: `0.333`, `12.5`, `1,234`."""
    return f"{number:.3g}" if number < 99.95 else f"{number:,.0f}"


def calls_in(calls: float, per: float) -> str:
    """Return a rate in words: `12.5 calls in 1 s`."""
    number = about(calls)
    return f"{number} {'call' if number == '1' else 'calls'} in {per:g} s"


def was(count: int) -> str:
    """Return the verb for a count of things: `was` for one, else `were`."""
    return "was" if count == 1 else "were"


def age(seconds: float) -> str:
    """Return an age in its two greatest units: `45 s`, `23 h`, `3 d 4 h`."""
    left = max(0, int(seconds))
    for at, (unit, size) in enumerate(_UNITS[:-1]):
        if left >= size:
            smaller, its_size = _UNITS[at + 1]
            more = left % size // its_size
            return f"{left // size} {unit}{f' {more} {smaller}' if more else ''}"
    return f"{left} s"


def moment(time: float) -> str:
    """Return unix seconds as `2026-11-26 14:03 UTC`."""
    from datetime import UTC, datetime  # noqa: PLC0415  # few messages give a date

    return f"{datetime.fromtimestamp(time, UTC):%Y-%m-%d %H:%M} UTC"


def joined(words: Sequence[str]) -> str:
    """Return `one`, `one and two`, `one, two and three`."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def named_few(names: Sequence[str], most: int) -> str:
    """Join the first `most` names and the number of the others."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(errors: Mapping[str, int], separator: str = ", ") -> str:
    """Join counts into the form `ConnectError ×2, TimedOut`."""
    return separator.join(f"{name} ×{count}" if count > 1 else name for name, count in errors.items())


def label(error_type: str, http_status: int | None, *remarks: str) -> str:
    """Return an error's type with its status and any remarks: `HTTPStatusError (HTTP 404, permanent)`, `KeyError`."""
    if http_status is None and not remarks:
        return error_type
    status = "" if http_status is None else f"HTTP {http_status}"
    details = ", ".join(filter(None, (status, *remarks)))
    return f"{error_type} ({details})" if details else error_type


def in_brief(error_type: str, http_status: int | None) -> str:
    """Return `HTTP 503`, or the error's type without a status: the form in which failures are counted."""
    return error_type if http_status is None else f"HTTP {http_status}"


def a(noun: str) -> str:
    """Put the article before a noun: `a list`, `an int`."""
    an = noun[:1].lower() in {*"aeio"}  # a UUID, a URL, a user
    return f"{'an' if an else 'a'} {noun}"


def name_of(fn: Any) -> str:
    """Return the readable name of a callable, without `<locals>`.

    A function is `fetch`, a method `Client.fetch`, an object with `__call__` its class, a partial its function, and a
    lambda, which has no name, `lambda at flows:12`.
    """
    while isinstance(fn, functools.partial | functools.partialmethod):
        fn = fn.func
    name = getattr(fn, "__qualname__", None) or getattr(fn, "__name__", None)
    if not isinstance(name, str):
        name = type(fn).__qualname__
    name = str.__str__(name).rpartition("<locals>.")[2]
    code = getattr(fn, "__code__", None)
    if name.rpartition(".")[2] == "<lambda>" and code is not None:
        # By module, not by file: a lambda from another process has lost its file.
        module = str(fn.__module__ or "line").rpartition(".")[2]
        return f"lambda at {module}:{code.co_firstlineno}"
    return sys.intern(name)  # a factory's functions share their name


def short_name_of(fn: Any) -> str:
    """Return the name of a callable as `name_of` does, without the class of a method."""
    return name_of(fn).rpartition(".")[2]
