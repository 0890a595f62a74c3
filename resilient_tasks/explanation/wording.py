"""Durations and policies in words."""

from __future__ import annotations

import math

from resilient_tasks.core.failures import describe
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.redaction.text import redact

_UNITS = (("d", 86_400), ("h", 3600), ("min", 60), ("s", 1))


def duration(seconds: float) -> str:
    """Return seconds in their two greatest units: `0.25 s`, `107.5 s`, `12 min 30 s`, `2 h`."""
    if seconds == math.inf:
        return "no limit"
    if seconds < 120:
        return f"{float(f'{seconds:.4g}'):g} s"
    left = round(seconds)
    for at, (unit, size) in enumerate(_UNITS[:-1]):
        if left >= size:
            smaller, its_size = _UNITS[at + 1]
            more = left % size // its_size
            return f"{left // size} {unit}{f' {more} {smaller}' if more else ''}"
    return f"{left} s"


def described(policy: Policy) -> str:
    """Return the description of a policy, without secrets; also if it raises."""
    try:
        return redact(str(policy.describe()))
    except Exception as error:  # of a user's policy
        return f"{type(policy).__name__}, whose describe() raised {describe(error)}"
