"""Find the errors that an error wraps: its causes, and the errors in its attributes and arguments.

Only stored attributes are read, never properties, so nothing is computed, fetched or waited for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from resilient_tasks import safely
from resilient_tasks.core.classification.classes import DETAIL_NAMES, may_have_details
from resilient_tasks.core.classification.names import in_site_packages, of_a_library
from resilient_tasks.safely import module_of, of_class

#: Bugs in the code that raises them, whatever their cause.
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
#: The number of errors of one failure that are examined.
_MOST = 16
_MOST_ITEMS = 8


def is_from_a_library(error: BaseException) -> bool:
    """Return whether the class of an error, or one of its bases, belongs to an installed library."""
    return is_library_class(type(error))


@of_class
def is_library_class(cls: type) -> bool:
    """Return whether a class, or one of its bases, belongs to an installed library."""
    return any(of_a_library(module_of(base)) for base in cls.__mro__)


@safely.or_none
def _file_of(error: BaseException) -> str | None:
    """Return the file of the code that raised an error; None if unknown."""
    trace = safely.own(error, "__traceback__")
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return None if trace is None else str(trace.tb_frame.f_code.co_filename)


#: Python's own classes whose type carries no information.
GENERIC = frozenset((OSError, RuntimeError, Exception))


def is_raised_by_a_library(error: BaseException) -> bool:
    """Return whether an installed library raised a generic error of Python's.

    Compiled clients do so, with the details only in the text: `OSError("... connection refused")`.
    """
    if type(error) not in GENERIC:
        return False
    file = _file_of(error)
    return file is not None and in_site_packages(file)


def has_no_details(error: BaseException) -> bool:
    """Return whether an error has none of the attributes in which clients keep details."""
    try:
        return not may_have_details(type(error)) and DETAIL_NAMES.isdisjoint(safely.own(error, "__dict__"))
    except Exception:  # a custom `__dict__`
        return False


def is_a_bug(error: BaseException) -> bool:
    """Return whether an error of Python's or the user's own code is a bug, such as a `ValueError` or a `KeyError`."""
    return safely.is_a(error, BUGS) and not of_a_library(module_of(type(error)))


def directly_in(error: BaseException) -> list[Exception]:
    """Return the errors that `error` wraps, its cause first; none if `error` is a bug."""
    if is_a_bug(error):
        return []
    found: list[Exception] = []
    values = (safely.own(error, "__cause__"), *safely.own(error, "args"), *_kept(error))
    for inner in itertools.chain(_errors_in(values), _quoted(error)):
        if inner is not error and all(inner is not other for other in found):
            found.append(inner)
    return found[:_MOST_ITEMS]


def layers(error: BaseException) -> Iterator[BaseException]:
    """Yield `error` and all errors that it wraps, outermost first, each once."""
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
    except Exception:  # a custom `__dict__`
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
            held = map(_held_by, itertools.islice(items, _MOST_ITEMS))
            yield from (item for item in held if safely.is_a(item, Exception))
        elif safely.is_a(held_there := _held_by(value), Exception):
            yield held_there


def _held_by(item: object) -> object:
    """Return an error, or the error inside a library's record of a failure, such as Twisted's `Failure`."""
    if safely.is_a(item, Exception) or not type(item).__name__.endswith("Failure"):
        return item
    return safely.attribute(item, "value")


def _quoted(error: BaseException) -> Iterator[Exception]:
    """Yield the `__context__` of a library's error, if the error repeats its text."""
    context = safely.own(error, "__context__")
    if not safely.is_a(context, Exception) or safely.own(error, "__suppress_context__"):
        return
    if of_a_library(module_of(type(error))):
        text = safely.text(context)
        if len(text) > 3 and text in safely.text(error):
            yield context
