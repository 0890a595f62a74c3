"""Keys of a call's arguments: equal for equal arguments, on every machine and after every restart.

`hash()` differs between processes, pickles of equal objects differ, and the `repr` of most objects is their address. So
a key is computed from a value's type and its parts. A value without known parts is refused.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import functools
import inspect
import ipaddress
import os
import re
import struct
import types
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from decimal import Decimal
from fractions import Fraction
from hashlib import blake2b
from pathlib import PurePath
from typing import Any, TypeAlias
from uuid import UUID
from zoneinfo import ZoneInfo

from resilient_tasks.core import wording
from resilient_tasks.core.errors import ResilienceError
from resilient_tasks.core.parameters.signatures import bound_to, module_of

_LENGTH = 16
_DEPTH = 100

#: Returns the parts of a value of another library, or None for one that it does not know.
Known: TypeAlias = Callable[[Any], Iterable[Any] | None]


class UnstableKeyError(ResilienceError):
    """An argument cannot be identified in another process."""


def key_of(value: Any, known: Known = lambda _: None) -> str:
    """Return the key of `value`: 32 characters.

    Args:
        value: anything made of plain values, dates, collections, dataclasses, models and importable functions.
        known: returns the parts of values of other libraries, such as frames.

    Raises:
        UnstableKeyError: a part of it has no stable key; the message names its type.
    """
    return _Digest(known).of(value).hex()


class _Digest:
    """Digests values, inner ones first. Remembers the enclosing values, because a list may contain itself."""

    def __init__(self, known: Known) -> None:
        self._known = known
        self._inside: list[int] = []

    def of(self, value: Any) -> bytes:
        if id(value) in self._inside or len(self._inside) > _DEPTH:
            raise UnstableKeyError(f"{_a(value)} contains itself, or is nested too deeply")
        self._inside.append(id(value))
        try:
            return self._of(value)
        finally:
            self._inside.pop()

    def _of(self, value: Any) -> bytes:
        plain = _plain(value)
        if plain is not None:
            return _hashed(plain)
        if isinstance(value, Mapping):
            pairs = sorted(self.of(key) + self.of(one) for key, one in value.items())
            return _hashed(b"mapping", *pairs)
        if isinstance(value, AbstractSet):
            return _hashed(b"set", *sorted(map(self.of, value)))
        parts = self._known(value)
        if parts is None:
            parts = _parts(value)
        if parts is None:
            raise UnstableKeyError(f"{_a(value)} has no stable key")
        return _hashed(b"parts", _type(value), *map(self.of, parts))


def _hashed(*parts: bytes) -> bytes:
    digest = blake2b(digest_size=_LENGTH)
    for part in parts:
        digest.update(struct.pack(">Q", len(part)))  # ("ab", "c") is not ("a", "bc")
        digest.update(part)
    return digest.digest()


def _plain(value: Any) -> bytes | None:  # noqa: PLR0911  # one line per type
    """Return the bytes of a value without parts; None for a value with parts."""
    if value is None or value is Ellipsis or value is NotImplemented or isinstance(value, bool):
        return repr(value).encode()
    if isinstance(value, enum.Enum):
        return b"enum:" + _type(value) + value.name.encode() if value.name else None
    if isinstance(value, str):
        return b"str:" + str.__str__(value).encode("utf-8", "surrogatepass")
    if isinstance(value, int):
        return b"int:" + int.__repr__(value).encode()
    if isinstance(value, float):
        return b"float:" + float.__repr__(value).encode()
    if isinstance(value, bytes | bytearray):
        return b"bytes:" + bytes(value)
    if isinstance(value, dt.date | dt.time):
        kind = "datetime" if isinstance(value, dt.datetime) else type(value).__name__
        return f"{kind}:{value.isoformat()}:{getattr(value, 'fold', 0)}".encode()
    if isinstance(value, _SHOWN):
        return f"{type(value).__name__}:{value!r}".encode("utf-8", "surrogatepass")
    if isinstance(value, PurePath):
        return b"path:" + os.fsencode(value)
    return None


#: Types whose `repr` describes a value completely.
_SHOWN = (
    *(complex, range, dt.timedelta, dt.timezone, ZoneInfo, Decimal, Fraction, UUID, re.Pattern),
    *(ipaddress.IPv4Address, ipaddress.IPv6Address, ipaddress.IPv4Network, ipaddress.IPv6Network),
)


def _parts(value: Any) -> Iterable[Any] | None:  # noqa: PLR0911  # as above
    """Return the parts that define a value, besides its type; None if they are unknown."""
    if isinstance(value, tuple | list | deque):
        return value
    if isinstance(value, slice):
        return (value.start, value.stop, value.step)
    if isinstance(value, type | types.FunctionType | types.BuiltinFunctionType):
        return _of_named(value)
    if isinstance(value, functools.partial):
        return (value.func, value.args, value.keywords)
    if isinstance(value, types.MethodType):
        return (value.__func__, value.__self__)
    if isinstance(value, types.SimpleNamespace):
        return (vars(value),)
    if dataclasses.is_dataclass(value):
        return [(part.name, getattr(value, part.name)) for part in dataclasses.fields(value) if part.compare]
    names = getattr(type(value), "model_fields", None)  # pydantic's
    if isinstance(names, Mapping):
        return [*((name, getattr(value, name)) for name in names), getattr(value, "model_extra", None)]
    attributes = getattr(type(value), "__attrs_attrs__", None)
    if attributes is not None:
        return [(each.name, getattr(value, each.name)) for each in attributes if each.eq]
    return None


def _of_named(thing: Any) -> Iterable[Any] | None:
    """Return the name by which a function or class can be imported; None if it has none."""
    name = getattr(thing, "__qualname__", "")
    owner = getattr(thing, "__self__", None)
    if "<" in name or not name or not (owner is None or isinstance(owner, types.ModuleType)):
        return None
    return (module_of(thing), name)


def _type(value: Any) -> bytes:
    return type(value).__qualname__.encode()  # without its module, which differs if a program is imported


def _a(value: Any) -> str:
    return wording.a(type(value).__qualname__)


def key_of_call(
    fn: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], known: Known = lambda _: None
) -> str:
    """Return the key of the arguments of a call of `fn`, defaults included.

    Raises:
        UnstableKeyError: an argument has no stable key; the message names it. An argument that is its default needs
            none.
        TypeError: the arguments do not fit `fn`.
    """
    digests = [
        (name, _key_of_argument(name, value, default, known)) for name, value, default in _bound(fn, args, kwargs)
    ]
    return key_of(digests)


_NONE = inspect.Parameter.empty


def _bound(fn: Any, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(fn, functools.partial):  # its signature hides what it binds by position
        return _bound(fn.func, (*fn.args, *args), {**fn.keywords, **kwargs})
    bound = bound_to(fn, args, kwargs)
    if bound is None:
        return iter([("*", tuple(args), _NONE), ("**", dict(kwargs), _NONE)])
    own = [("self", fn.__self__, _NONE)] if isinstance(fn, types.MethodType) else []
    named = [(name, value, bound.signature.parameters[name].default) for name, value in bound.arguments.items()]
    return iter([*own, *named])


def _key_of_argument(name: str, value: Any, default: Any, known: Known) -> str:
    try:
        return key_of(value, known)
    except UnstableKeyError as error:
        if value is default:
            return "its default"
        raise UnstableKeyError(f"{name}: {error}") from None
