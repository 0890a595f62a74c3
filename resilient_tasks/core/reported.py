"""The mark on an error that says which call told of it: a failure that comes up through several calls is one."""

from __future__ import annotations

from resilient_tasks import safely

#: The attribute with the operation of the call around the one that told, and the id of that one.
_TOLD = "__resilient_reported__"


def by(error: BaseException, call: str, around: str) -> None:
    """Note that the call with this id told of `error`, inside a call of the operation `around`; empty: in none."""
    safely.mark(error, _TOLD, (around, call))


def inside(operation: str, error: BaseException) -> str | None:
    """Return the id of the call inside one of `operation` that told of `error`; None where none did."""
    around, call = safely.marked(error, _TOLD) or ("", None)
    return call if around == operation else None
