"""Find the errors that an error wraps: its causes, and the errors in its attributes and arguments.

Only what an error holds already is looked at: no property is asked, so nothing is read, computed or waited for.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator
from concurrent.futures import Future
from typing import Any

from resilient_tasks import safely
from resilient_tasks.core.classification.classes import BEARING, may_bear
from resilient_tasks.core.classification.names import in_site_packages, of_a_library
from resilient_tasks.safely import module_of, of_class

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
#: The number of errors of one failure that are looked at.
_MOST = 16
_MOST_ITEMS = 8


def is_from_a_library(error: BaseException) -> bool:
    """Tell whether the class of an error, or one that it derives from, belongs to an installed library."""
    return is_a_librarys(type(error))


@of_class
def is_a_librarys(cls: type) -> bool:
    """Tell whether a class, or one that it derives from, belongs to an installed library."""
    return any(of_a_library(module_of(base)) for base in cls.__mro__)


@safely.or_none
def _file_of(error: BaseException) -> str | None:
    """Return the file of the code that raised an error; None where that is not known."""
    trace = safely.own(error, "__traceback__")
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return None if trace is None else str(trace.tb_frame.f_code.co_filename)


#: Of Python's own, those that say nothing by their type.
SAY_NOTHING = frozenset((OSError, RuntimeError, Exception))


def is_raised_by_a_library(error: BaseException) -> bool:
    """Tell whether an installed library raised an error of Python's that says nothing by its type.

    So do clients that are compiled, and have only a text to give: `OSError("... connection refused")`.
    """
    if type(error) not in SAY_NOTHING:
        return False
    file = _file_of(error)
    return file is not None and in_site_packages(file)


def bears_nothing(error: BaseException) -> bool:
    """Tell whether an error has no attribute in which a client keeps an answer."""
    try:
        return not may_bear(type(error)) and BEARING.isdisjoint(safely.own(error, "__dict__"))
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
            held = map(_held_by, itertools.islice(items, _MOST_ITEMS))
            yield from (item for item in held if safely.is_a(item, Exception))
        elif safely.is_a(held_there := _held_by(value), Exception):
            yield held_there


def _held_by(item: object) -> object:
    """Return an error, or the one that a library's record of a failure holds, as Twisted's `Failure` does."""
    if safely.is_a(item, Exception) or not type(item).__name__.endswith("Failure"):
        return item
    return safely.attribute(item, "value")


def _quoted(error: BaseException) -> Iterator[Exception]:
    """Yield the `__context__` of a library's error, if the error repeats its text."""
    context = safely.own(error, "__context__")
    if not safely.is_a(context, Exception) or safely.own(error, "__suppress_context__"):
        return
    if of_a_library(module_of(type(error))):
        said = safely.text(context)
        if len(said) > 3 and said in safely.text(error):
            yield context
