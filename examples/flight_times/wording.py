"""Readable names: "January planes", and "not in 5 to 1000" for pandera's `in_range(5, 1000)`."""

from __future__ import annotations

import ast
import re
from calendar import month_name
from collections.abc import Iterable
from typing import Any

_RULE = re.compile(r"(?P<column>.+?: )?(?P<check>\w+)\((?P<arguments>.*)\)", re.DOTALL)
# What is wrong with a value that fails the check. "{0}" is the check's first argument.
_WRONG = {
    "equal_to": "not {0}",
    "not_equal_to": "is {0}",
    "greater_than": "not above {0}",
    "greater_than_or_equal_to": "below {0}",
    "less_than": "not below {0}",
    "less_than_or_equal_to": "above {0}",
    "in_range": "not in {0} to {1}",
    "isin": "not one of {0}",
    "notin": "one of {0}",
    "str_matches": "not like {0}",
    "str_contains": "nowhere like {0}",
    "str_startswith": "does not start with {0}",
    "str_endswith": "does not end with {0}",
    "str_length": "length not in {0} to {1}",
}


def in_month(month: int, what: str, origin: str | None = None) -> str:
    """Return the name of a month's request, "January page 3" or "January JFK page 3", which is its task run's name."""
    return " ".join(filter(None, (month_name[month], origin, what)))


def counted(number: int, noun: str) -> str:
    """Return a number and what it counts: "1 row", "2,500 rows"."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def in_words(reason: str) -> str:
    """Return why a row was refused: "air_time: in_range(5, 1000)" becomes "air_time: not in 5 to 1000".

    A reason that names no check of pandera's own, such as "dest: is null", stays as it is.
    """
    found = _RULE.fullmatch(reason)
    if found is None or found["check"] not in _WRONG:
        return reason
    try:
        arguments = ast.literal_eval(f"({found['arguments']},)")
    except (ValueError, SyntaxError):
        return reason  # an argument that is no literal, such as a timestamp
    if None in arguments:
        return reason  # a range with one end open
    return (found["column"] or "") + _WRONG[found["check"]].format(*map(_plain, arguments))


def _plain(argument: Any) -> str:
    if isinstance(argument, Iterable) and not isinstance(argument, str):
        return ", ".join(map(str, argument))
    return str(argument)
