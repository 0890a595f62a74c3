"""When the arguments of two calls are equal: each is of the same type and has the same content.

Python's `==` is not asked: 1 equals True there, and two data frames have no answer. What Python itself compares by
identity (a client, an open file, the `self` of most methods) is equal to nothing but the very same object.
"""

from __future__ import annotations

import enum
import hashlib
import inspect
import pickle
import sys
from collections.abc import Callable, Hashable, Mapping
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType
from typing import Any, NamedTuple

from resilient_tasks.core.parameters.signatures import bound_to, module_of
from resilient_tasks.core.wording import a

_PLAIN = frozenset({type(None), bool, int, str, bytes})
_NAMED = (type, FunctionType, BuiltinFunctionType, ModuleType)
#: By what a dataclass, a pydantic model and a class of attrs are known. They equal another by their fields.
_RECORDS = ("__dataclass_fields__", "__pydantic_fields_set__", "__attrs_attrs__")
#: A record that is one of these as well has more than its fields.
_BUILT_IN = (int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset)


#: In this attribute a function that is made anew for each call names the one that it stands for.
STANDS_FOR = "__resilient_stands_for__"


class NoLikeness(Exception):
    """It cannot be decided whether this value equals another; the message says why."""


class Likeness(NamedTuple):
    """What two equal values have in common.

    Attributes:
        parts: equal for equal values, and hashable.
        crosses: it means the same in another process, because no part of it is an object's identity.
    """

    parts: Hashable
    crosses: bool

    def digest(self, *more: str) -> str:
        """Return a short text that is the same for the same parts, in every process."""
        return hashlib.sha256(repr((more, self.parts)).encode("utf-8", "surrogatepass")).hexdigest()[:40]


class _Same:
    """Stands for an object that is equal only to itself. It holds the object, so that no other gets its address."""

    __slots__ = ("_thing",)

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._thing is other._thing

    def __hash__(self) -> int:
        return id(self._thing)


def of_value(value: object) -> Likeness:
    """Return the likeness of a value.

    Raises:
        NoLikeness: it has none.
    """
    taken = _Taker()
    try:
        return Likeness(taken(value), taken.crosses)
    except RecursionError:
        raise NoLikeness(f"{a(_name(type(value)))} that holds itself") from None


def of_call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Likeness:
    """Return the likeness of the arguments of a call, with the defaults of those not given.

    Raises:
        NoLikeness: one of them has none.
        TypeError: they do not fit.
    """
    given = bound_to(fn, args, kwargs)
    if given is None:
        return of_value((args, dict(kwargs)))
    taken, parts = _Taker(), []
    for name, value in given.arguments.items():
        try:
            parts.append((name, taken(value)))
        except RecursionError:
            raise NoLikeness(f"{name!r}, {a(_name(type(value)))} that holds itself") from None
        except NoLikeness as why:
            raise NoLikeness(f"{name!r}, {why}") from None
    return Likeness(tuple(parts), taken.crosses)


def lasting(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that identifies calls of one operation."""
    found: Callable[..., Any] = getattr(fn, STANDS_FOR, fn)
    return found


def of_function(fn: Callable[..., Any]) -> Likeness:
    """Return the likeness of what a function does: two scripts may each have a `fetch`, and a module many lambdas.

    It `crosses`, if it depends on nothing but its code and values that cross themselves. What its globals hold is not
    looked at.

    Raises:
        NoLikeness: what it depends on has none.
    """
    if not isinstance(fn, FunctionType):
        return Likeness(_Same(fn), crosses=False)
    taken = _Taker()
    held = tuple(taken.held(cell) for cell in fn.__closure__ or ())
    return Likeness((module_of(fn), fn.__qualname__, _of_code(fn.__code__), held), taken.crosses)


class _Taker:
    """Takes the likeness of values, and notes whether all of it crosses."""

    def __init__(self) -> None:
        self.crosses = True

    def __call__(self, value: Any) -> Hashable:  # noqa: PLR0911  # one line a kind
        cls = type(value)
        if cls in _PLAIN:
            return (cls.__name__, value)
        if cls is float:
            return ("float", repr(value))  # NaN equals no number
        if cls is tuple or cls is list:
            return (cls.__name__, *map(self, value))
        if cls is dict:
            return ("dict", *sorted(((self(key), self(item)) for key, item in value.items()), key=repr))
        if cls is set or cls is frozenset:
            return (cls.__name__, *sorted(map(self, value), key=repr))
        if issubclass(cls, enum.Enum):
            return ("enum", self._name_of(cls), self(value.value))
        if issubclass(cls, _NAMED):
            return self._name_of(value)
        if vars(object)["__eq__"] is cls.__eq__:
            return self._same(value)
        return self._content(value)

    def held(self, cell: Any) -> Hashable:
        """Return the likeness of what a function holds of the functions around it."""
        try:
            value = cell.cell_contents
        except ValueError:
            return "empty"
        if isinstance(value, FunctionType) and not _is_found(value):
            inner = of_function(value)
            self.crosses = self.crosses and inner.crosses
            return inner.parts
        return self(value)

    def _content(self, value: Any) -> Hashable:
        cls = type(value)
        try:
            if any(hasattr(cls, mark) for mark in _RECORDS) and not issubclass(cls, _BUILT_IN):
                return ("object", self._name_of(cls), self(value.__getstate__()))
            return ("pickle", self._name_of(cls), _pickled(value))
        except RecursionError:
            raise
        except Exception as problem:
            why = problem
        try:
            hash(value)
        except Exception:
            raise NoLikeness(f"{a(_name(cls))} that has no hash and cannot be pickled ({why})") from None
        self.crosses = False
        return ("equal", cls, value)

    def _name_of(self, thing: Any) -> Hashable:
        if isinstance(thing, ModuleType):
            return ("module", thing.__name__)
        if _is_found(thing):
            return ("name", module_of(thing), thing.__qualname__)
        return self._same(thing)

    def _same(self, thing: object) -> Hashable:
        self.crosses = False
        return _Same(thing)


class _Hashing:
    """A file that keeps only the hash of the data written to it."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32)
        self.write = self._hash.update

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _pickled(value: Any) -> str:
    """Return a hash of a value's pickled form, without holding it in memory."""
    file = _Hashing()
    pickler = pickle.Pickler(file, protocol=5)  # of a file, pickle asks for `write` only
    # Otherwise two equal texts are pickled differently from one text twice.
    pickler.fast = True
    pickler.dump(value)
    return file.hexdigest()


def _of_code(code: CodeType) -> Hashable:
    constants = tuple(
        _of_code(each) if isinstance(each, CodeType) else (type(each).__name__, repr(each)) for each in code.co_consts
    )
    return (code.co_code, code.co_names, code.co_varnames, constants)


def _is_found(thing: Any) -> bool:
    """Return whether a class or function is found under its name in every process that has its module."""
    found: Any = sys.modules.get(thing.__module__ or "")
    for name in thing.__qualname__.split("."):
        found = inspect.getattr_static(found, name, None)
        if isinstance(found, staticmethod | classmethod):
            found = found.__func__
    return found is thing


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")
