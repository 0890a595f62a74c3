"""tenacity's strategies, recognised by class name, so that tenacity is not imported."""

from __future__ import annotations

import sys
from typing import Any

from resilient_tasks import safely
from resilient_tasks.core.errors import PolicyError

_IN_WORDS = {"retry": "what to retry", "wait": "how long to wait", "stop": "when to stop"}
_PLACES = {"retry": "Retry(on=...)", "wait": "Retry(wait=...)", "stop": "Retry(stop=...)"}
#: What a condition applies to; those not listed apply to both.
_JUDGES = {
    "retry_if_exception": "failures",
    "retry_if_exception_cause_type": "failures",
    "retry_if_result": "results",
    "retry_if_not_result": "results",
}


def kind_of(thing: object) -> str:
    """Return `"retry"`, `"wait"` or `"stop"` for a strategy of tenacity; otherwise an empty text."""
    return _kind(type(thing))


def _kind(cls: type) -> str:
    for base in cls.__mro__:
        name = base.__name__.removesuffix("_base")
        if name in _IN_WORDS and name != base.__name__ and base.__module__.partition(".")[0] == "tenacity":
            return name
    return ""


def check_place(thing: object, wanted: str, where: str) -> None:
    """Refuse a strategy given as the wrong argument, or as a class.

    Raises:
        PolicyError: the message says where it belongs.
    """
    if isinstance(thing, type) and _kind(thing):
        msg = f"{where} is given the class {thing.__name__}: give it its arguments, {thing.__name__}(...)"
        raise PolicyError(msg)
    kind = kind_of(thing)
    if kind and kind != wanted:
        name = type(thing).__name__
        msg = f"{where} is given tenacity's {name}, which decides {_IN_WORDS[kind]}: give it as {_PLACES[kind]}"
        raise PolicyError(msg)


def check_judges(rule: object, what: str, where: str) -> None:
    """Refuse a condition on results where failures are judged, or the reverse, also as a part of a combined one.

    Raises:
        PolicyError: the message says where it belongs.
    """
    other = {"failures": "results", "results": "failures"}[what]
    if other in _judged_by(rule):
        name = type(rule).__name__
        place = "on=..." if other == "failures" else "on_result=..."
        msg = f"{where} judges {what}, but tenacity's {name} judges {other}: give that part as Retry({place})"
        raise PolicyError(msg)


def _judged_by(rule: Any) -> set[str]:
    parts = getattr(rule, "retries", None)  # of `retry_any` and `retry_all`, which `|` and `&` make
    if kind_of(rule) and isinstance(parts, tuple | list):
        return {what for part in parts for what in _judged_by(part)}
    return {_JUDGES[base.__name__] for base in type(rule).__mro__ if kind_of(rule) and base.__name__ in _JUDGES}


def state_of(error: BaseException) -> Any:
    """Return the argument of tenacity's conditions, for an error without further context."""
    state = sys.modules["tenacity"].RetryCallState(None, None, (), {})  # loaded, as the condition is tenacity's
    state.set_exception((type(error), error, safely.own(error, "__traceback__")))
    return state
