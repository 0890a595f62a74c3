"""A function as bytes, made again only where something has changed that they are made of."""

from __future__ import annotations

import inspect
import sys
import weakref
from collections.abc import Callable
from operator import is_
from types import BuiltinFunctionType, CodeType, EllipsisType, FunctionType, ModuleType, NoneType
from typing import Any, NamedTuple

import cloudpickle
from cloudpickle import cloudpickle as details

from resilient_tasks.subprocess import serialization
from resilient_tasks.subprocess.function_ref import importable, reference_to

#: What cannot change.
_ATOMS = frozenset((int, float, complex, bool, str, bytes, NoneType, EllipsisType, CodeType))

_ABSENT = object()


class _Made(NamedTuple):
    """The bytes of a function, and what they were made of: none of that refers back to the function."""

    parts: tuple[object, ...]
    names: tuple[str, ...]
    modules: int
    data: bytes


_made: weakref.WeakKeyDictionary[FunctionType, _Made] = weakref.WeakKeyDictionary()


def dump(fn: Callable[..., Any], operation: str) -> bytes:
    """Return a function as bytes.

    Raises:
        TypeError: something that it holds on to cannot be pickled.
    """
    if not isinstance(fn, FunctionType) or cloudpickle.list_registry_pickle_by_value():
        return _dumped(fn, operation)  # the user may ask for modules by value: then no name is enough
    before = _made.get(fn)
    if before is not None and before.parts[0] is fn.__code__:
        names = before.names
    else:
        names = (*details._extract_code_globals(fn.__code__),)  # noqa: SLF001  # as it is pickled
    parts = (fn.__code__, *(reference_to(fn) or _values(fn, names)))
    # Submodules that a function finds in a package go with it, and there may be more of them by now.
    modules = len(sys.modules)
    if before is not None and modules == before.modules and _are_same(parts, before.parts):
        return before.data
    data = _dumped(fn, operation)
    if all(map(_stays, parts)):
        _made[fn] = _Made(parts, names, modules, data)
    return data


def _are_same(parts: tuple[object, ...], before: tuple[object, ...]) -> bool:
    return len(parts) == len(before) and all(map(is_, parts, before))


def _values(fn: FunctionType, names: tuple[str, ...]) -> list[object]:
    """Return what a function that goes by value is made of."""
    kwdefaults, globals_ = fn.__kwdefaults__ or {}, fn.__globals__
    values = [
        fn.__module__,
        fn.__name__,
        fn.__qualname__,
        fn.__doc__,
        fn.__defaults__,
        *kwdefaults,
        *kwdefaults.values(),
    ]
    values += (*fn.__dict__, *fn.__dict__.values(), *fn.__annotations__.values())
    values += (globals_.get(name, _ABSENT) for name in names)
    for cell in fn.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # it is not set yet
            values.append(_ABSENT)
    return values


def _stays(part: object) -> bool:
    """Tell whether a value that is the same object makes the same bytes."""
    kind = type(part)
    if kind in _ATOMS or part is _ABSENT:
        return True
    if kind is tuple:
        return all(map(_stays, part))  # type: ignore[call-overload]  # it is a tuple
    if isinstance(part, ModuleType):
        return sys.modules.get(part.__name__) is part
    if isinstance(part, BuiltinFunctionType):
        return isinstance(part.__self__, ModuleType)
    if isinstance(part, FunctionType):
        return reference_to(part) is not None
    return isinstance(part, type) and importable(part.__module__) and _is_found(part)


def _is_found(cls: type) -> bool:
    found: object = sys.modules[cls.__module__]
    for name in cls.__qualname__.split("."):
        found = getattr(found, name, None)
    return found is cls


def _dumped(fn: Callable[..., Any], operation: str) -> bytes:
    try:
        return serialization.dumps(fn)
    except Exception as error:
        used = inspect.getclosurevars(fn) if isinstance(fn, FunctionType) else None
        names = {**used.nonlocals, **used.globals} if used else {}
        msg = (
            f"{operation} cannot be sent to a process of its own: {serialization.culprit(names, 'it uses', error)}."
            " Make that inside the function, or define the function in a module that can be imported"
        )
        raise TypeError(msg) from error
