"""What an error wraps: the errors that it was raised from, or that it keeps in an attribute or among its arguments.

Only what an error holds already is looked at: no property is asked, so nothing is read, computed or waited for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from resilient_tasks.core import safely
from resilient_tasks.core.failure_names import of_a_library

#: A bug of the code that raises them, whatever they were raised from.
BUGS = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    NameError,
    NotImplementedError,
    SyntaxError,
    TypeError,
    ValueError,
)
#: So many errors of one failure are looked at.
_MOST = 16
_MOST_ITEMS = 8


def is_from_a_library(error: BaseException) -> bool:
    """Tell whether the class of an error, or one that it derives from, belongs to an installed library."""
    return any(of_a_library(module_of(base)) for base in type(error).__mro__)


def module_of(cls: type) -> str:
    """Return the name of a class's module, or nothing where it has none."""
    try:
        module = type.__dict__["__module__"].__get__(cls)
    except AttributeError:
        return ""
    return module if type(module) is str else ""


def bears_nothing(error: BaseException) -> bool:
    """Tell whether an error is one of Python's own, with no attributes: then no client put an answer into it."""
    try:
        return type(error).__module__ == "builtins" and not safely.own(error, "__dict__")
    except Exception:  # a `__dict__` of its own making
        return False


def is_a_bug(error: BaseException) -> bool:
    """Tell whether Python or the user's own code found a bug: a `ValueError`, a `KeyError` and their like."""
    return safely.is_a(error, BUGS) and not of_a_library(module_of(type(error)))


def directly_in(error: BaseException) -> list[Exception]:
    """Return the errors that `error` wraps, its cause first; none of a bug, nor of an error that stands for itself."""
    if is_a_bug(error):
        return []
    found: list[Exception] = []
    values = (safely.own(error, "__cause__"), *safely.own(error, "args"), *_kept(error))
    for inner in itertools.chain(_errors_in(values), _quoted(error)):
        if inner is not error and all(inner is not other for other in found):
            found.append(inner)
    return found[:_MOST_ITEMS]


def layers(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and all that it wraps, outermost first, each once."""
    seen: list[BaseException] = []
    waiting: list[BaseException] = [error]
    while waiting and len(seen) < _MOST:
        one = waiting.pop(0)
        if all(one is not other for other in seen):
            seen.append(one)
            yield one
            waiting.extend(directly_in(one))


def _kept(error: BaseException) -> list[Any]:
    try:
        return list(itertools.islice(safely.own(error, "__dict__").values(), 32))
    except Exception:  # a `__dict__` of its own making
        return []


def _errors_in(values: Iterable[Any]) -> Iterator[Exception]:
    for value in values:
        if safely.is_a(value, Exception):
            yield value
        elif safely.is_a(value, Future):  # tenacity's `last_attempt`
            failed = value.exception() if value.done() and not value.cancelled() else None
            if safely.is_a(failed, Exception):
                yield failed
        elif type(value) in (list, tuple, dict):
            items = value.values() if type(value) is dict else value
            yield from (item for item in itertools.islice(items, _MOST_ITEMS) if safely.is_a(item, Exception))


def _quoted(error: BaseException) -> Iterator[Exception]:
    """Yield what a library's error was raised in the handling of, if its text repeats the text of that."""
    context = safely.own(error, "__context__")
    if not safely.is_a(context, Exception) or safely.own(error, "__suppress_context__"):
        return
    if of_a_library(module_of(type(error))):
        said = safely.text(context)
        if len(said) > 3 and said in safely.text(error):
            yield context
