"""The kinds of failure."""

from __future__ import annotations

from collections.abc import Collection
from enum import Enum


class Kind(Enum):
    """The kind of a failure, which decides what can be done about it."""

    TRANSIENT = "transient"
    """Likely to pass: connection refused or reset, DNS, 500, 502, 503, 504, a deadlock."""
    THROTTLED = "throttled"
    """The service asks for fewer calls: 429, or 503 with Retry-After."""
    TIMEOUT = "timeout"
    """No answer in time."""
    MALFORMED = "malformed"
    """Data that does not parse, is cut short, or does not satisfy its schema."""
    PERMANENT = "permanent"
    """Will fail again: a refused request (4xx), a bug. The kind of every unknown error."""
    RESOURCE = "resource"
    """This machine is out of memory, disk or file handles; or the process that did the work has died."""
    REJECTED = "rejected"
    """Not tried at all: circuit open, bulkhead full, rate limit."""


#: The kinds that are retried unless `Retry(on=...)` says otherwise.
RETRIED_BY_DEFAULT = frozenset({Kind.TRANSIENT, Kind.THROTTLED, Kind.TIMEOUT})

_GRAVEST_FIRST = (
    Kind.PERMANENT,
    Kind.RESOURCE,
    Kind.MALFORMED,
    Kind.REJECTED,
    Kind.TIMEOUT,
    Kind.THROTTLED,
    Kind.TRANSIENT,
)


def gravest(kinds: Collection[Kind]) -> Kind | None:
    """Return the kind that decides if several errors make one failure; None if there are no kinds."""
    return next((kind for kind in _GRAVEST_FIRST if kind in kinds), None)
