"""Tell whether pandera's own methods judge a schema. A class or an object with its own methods is called instead."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

_HARMLESS = frozenset(
    [
        "__abstractmethods__",
        "__annotations__",
        "__classcell__",
        "__dict__",
        "__doc__",
        "__firstlineno__",
        "__init__",
        "__module__",
        "__orig_bases__",
        "__parameters__",
        "__qualname__",
        "__repr__",
        "__slots__",
        "__static_attributes__",
        "__str__",
        "__weakref__",
        "_abc_impl",
    ]
)
"""What a subclass may define and be judged as before: its rules are read from the object that its `__init__` made."""


def overrides(part: Any) -> bool:
    """Return whether a schema, column, index or check overrides a method of pandera's class.

    A method may be replaced in a subclass, on the object, or in a backend that was registered for the class.

    Args:
        part: An object of pandera or of a subclass.
    """
    kind: Any = type(part)
    return _of_class(kind) or not _methods(kind).isdisjoint(vars(part))


@lru_cache
def _methods(kind: type) -> frozenset[str]:
    return frozenset(name for name in dir(kind) if callable(getattr(kind, name, None)))


@lru_cache
def _of_class(kind: type) -> bool:
    for ancestor in kind.__mro__:
        if _is_panderas(ancestor):
            return False
        for name in vars(ancestor):
            if name not in _HARMLESS and any(hasattr(base, name) for base in kind.__mro__ if _is_panderas(base)):
                return True
    return False


def foreign_backend(part: Any, data: Any) -> bool:
    """Whether validation of some data is left to a backend that is not pandera's, or that is missing.

    Args:
        part: A schema or a component of one.
        data: What it would validate.
    """
    try:
        return not _is_panderas(type(part.get_backend(data)))
    except Exception:  # a subclass for which no backend was registered: pandera words that
        return True


def _is_panderas(kind: type) -> bool:
    return kind.__module__.partition(".")[0] == "pandera"
