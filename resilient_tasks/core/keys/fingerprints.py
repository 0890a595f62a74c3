"""Fingerprints of calls: equal if the arguments have the same types and the same contents.

They do not rely on `==`: 1 equals True there, and for two data frames it has no truth value. An object that Python
compares by identity (a client, an open file, the `self` of most methods) is equal only to itself.
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
#: Marks of dataclasses, pydantic models and attrs classes, which are compared by their fields.
_RECORDS = ("__dataclass_fields__", "__pydantic_fields_set__", "__attrs_attrs__")
#: A record that also derives from one of these holds more than its fields.
_BUILT_IN = (int, float, complex, str, bytes, bytearray, tuple, list, dict, set, frozenset)


#: The attribute in which a function that is created for each call refers to the lasting one.
STANDS_FOR = "__resilient_stands_for__"


class NoFingerprint(Exception):
    """A value cannot be compared with others; the message says why."""


class Fingerprint(NamedTuple):
    """Equal for equal values.

    Attributes:
        parts: equal for equal values, and hashable.
        portable: whether it is valid in other processes: no part of it is an object's identity.
    """

    parts: Hashable
    portable: bool

    def digest(self, *more: str) -> str:
        """Return a short digest, the same for the same parts in every process."""
        return hashlib.sha256(repr((more, self.parts)).encode("utf-8", "surrogatepass")).hexdigest()[:40]


class _Same:
    """Wraps an object that is equal only to itself. It keeps the object alive, so that its address is not reused."""

    __slots__ = ("_thing",)

    def __init__(self, thing: object) -> None:
        self._thing = thing

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Same) and self._thing is other._thing

    def __hash__(self) -> int:
        return id(self._thing)


def of_value(value: object) -> Fingerprint:
    """Return the fingerprint of a value.

    Raises:
        NoFingerprint: it has none.
    """
    taken = _Taker()
    try:
        return Fingerprint(taken(value), taken.portable)
    except RecursionError:
        raise NoFingerprint(f"{a(_name(type(value)))} that holds itself") from None


def of_call(fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Fingerprint:
    """Return the fingerprint of a call's arguments, defaults included.

    Raises:
        NoFingerprint: one of them has none.
        TypeError: they do not fit the function.
    """
    given = bound_to(fn, args, kwargs)
    if given is None:
        return of_value((args, dict(kwargs)))
    taken, parts = _Taker(), []
    for name, value in given.arguments.items():
        try:
            parts.append((name, taken(value)))
        except RecursionError:
            raise NoFingerprint(f"{name!r}, {a(_name(type(value)))} that holds itself") from None
        except NoFingerprint as why:
            raise NoFingerprint(f"{name!r}, {why}") from None
    return Fingerprint(tuple(parts), taken.portable)


def lasting(fn: Callable[..., Any]) -> Callable[..., Any]:
    """Return the function that identifies calls of one operation."""
    found: Callable[..., Any] = getattr(fn, STANDS_FOR, fn)
    return found


def of_function(fn: Callable[..., Any]) -> Fingerprint:
    """Return the fingerprint of a function: two scripts may each have a `fetch`, and a module many lambdas.

    It is portable if the function depends only on its code and on portable values. Its globals are not examined.

    Raises:
        NoFingerprint: a value in its closure has none.
    """
    if not isinstance(fn, FunctionType):
        return Fingerprint(_Same(fn), portable=False)
    taken = _Taker()
    held = tuple(taken.held(cell) for cell in fn.__closure__ or ())
    return Fingerprint((module_of(fn), fn.__qualname__, _of_code(fn.__code__), held), taken.portable)


class _Taker:
    """Takes fingerprints of values, and tracks whether they are portable."""

    def __init__(self) -> None:
        self.portable = True

    def __call__(self, value: Any) -> Hashable:  # noqa: PLR0911  # one line per type
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
        """Return the fingerprint of a value in a function's closure."""
        try:
            value = cell.cell_contents
        except ValueError:
            return "empty"
        if isinstance(value, FunctionType) and not _is_found(value):
            inner = of_function(value)
            self.portable = self.portable and inner.portable
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
            raise NoFingerprint(f"{a(_name(cls))} that has no hash and cannot be pickled ({why})") from None
        self.portable = False
        return ("equal", cls, value)

    def _name_of(self, thing: Any) -> Hashable:
        if isinstance(thing, ModuleType):
            return ("module", thing.__name__)
        if _is_found(thing):
            return ("name", module_of(thing), thing.__qualname__)
        return self._same(thing)

    def _same(self, thing: object) -> Hashable:
        self.portable = False
        return _Same(thing)


class _Hashing:
    """A file object that hashes what is written to it."""

    def __init__(self) -> None:
        self._hash = hashlib.blake2b(digest_size=32)
        self.write = self._hash.update

    def hexdigest(self) -> str:
        return self._hash.hexdigest()


def _pickled(value: Any) -> str:
    """Return a hash of a value's pickled form, without holding it in memory."""
    file = _Hashing()
    pickler = pickle.Pickler(file, protocol=5)  # pickle only needs the file's `write`
    # Otherwise two equal texts pickle differently than the same text twice.
    pickler.fast = True
    pickler.dump(value)
    return file.hexdigest()


def _of_code(code: CodeType) -> Hashable:
    constants = tuple(
        _of_code(each) if isinstance(each, CodeType) else (type(each).__name__, repr(each)) for each in code.co_consts
    )
    return (code.co_code, code.co_names, code.co_varnames, constants)


def _is_found(thing: Any) -> bool:
    """Return whether a class or function can be imported by its name."""
    found: Any = sys.modules.get(thing.__module__ or "")
    for name in thing.__qualname__.split("."):
        found = inspect.getattr_static(found, name, None)
        if isinstance(found, staticmethod | classmethod):
            found = found.__func__
    return found is thing


def _name(cls: type) -> str:
    return f"{cls.__module__}.{cls.__qualname__}".removeprefix("builtins.")
