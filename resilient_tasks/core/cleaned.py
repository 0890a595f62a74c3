"""Blot secrets out of values: of text by its content, of a mapping's values also by their key."""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import functools
import pathlib
import types
from collections import deque
from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from resilient_tasks.core.classification.classes import of_class
from resilient_tasks.redaction import beside, secret_names
from resilient_tasks.redaction.redact import is_secret_pair, left_out, redact
from resilient_tasks.redaction.registered import MARK
from resilient_tasks.redaction.secret_names import Says
from resilient_tasks.redaction.told import Told

#: The greatest depth, and the number of parts, that are searched.
_DEPTH = 12
_PARTS = 4000
#: The characters of all texts in one value that are searched. A text beyond that is left out, unless it is short.
_ROOM, _SHORT = 100_000, 60
#: Bytes of a long value that are looked at: more than `redact` keeps.
_BYTES = 16_000

#: A text that is hardly more than a secret is shorter (characters).
_A_LINE = 200

_PLAIN = (type(None), bool, int, float, complex, dt.date, dt.time, dt.timedelta, enum.Enum, UUID)
NOT_DATA = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, types.CodeType)


class _Sort:
    """How a value is taken apart. No enumeration: to look up a member of one takes as long as all the rest."""

    PLAIN, TEXT, BYTES, PATH, MAPPING, TUPLE, ITEMS, OTHER = range(8)


@of_class
def _sort_of(cls: type) -> int:
    for bases, sort in _SORTS:
        if issubclass(cls, bases):
            return sort
    return _EXACTLY.get(cls, _Sort.OTHER)


_SORTS = (
    (str, _Sort.TEXT),
    (_PLAIN, _Sort.PLAIN),
    ((bytes, bytearray), _Sort.BYTES),
    (pathlib.PurePath, _Sort.PATH),
    (tuple, _Sort.TUPLE),
)
#: Others that derive from these may be made in another way.
_EXACTLY: dict[type, int] = {
    **dict.fromkeys((dict, types.MappingProxyType), _Sort.MAPPING),
    **dict.fromkeys((list, set, frozenset, deque), _Sort.ITEMS),
}


def clean(value: Any) -> Any:
    """Return `value` without the secrets in it: the same object where there is none.

    Text, bytes, paths, mappings, lists, tuples and sets are taken apart. Of any other object it is the text that
    counts, as a log line would show it: that text, blotted out, stands in its place where a secret is in it.
    """
    return Cleaner()(value)


class Cleaner:
    """Takes values apart and puts them together again without their secrets."""

    def __init__(self) -> None:
        self._begin_anew()
        self._within: set[int] = set()
        self._told = Told()

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """Return `value` without the secrets in it: the same object where there is none."""
        sort = _sort_of(type(value))
        if sort == _Sort.PLAIN:
            return value
        if sort == _Sort.TEXT:
            return self._text(value)
        self._left -= 1
        if self._left < 0 or depth > _DEPTH or id(value) in self._within:
            return value
        self._within.add(id(value))
        try:
            return self._taken_apart(value, sort, depth + 1)
        finally:
            self._within.discard(id(value))

    def _begin_anew(self) -> None:
        """Look at as many parts and characters again."""
        self._left, self._room = _PARTS, _ROOM

    def _text(self, value: str) -> Any:
        self._room -= min(len(value), _BYTES)
        if self._room < 0 and len(value) > _SHORT:
            return f"[{left_out(len(value))}]"
        if type(value) is not str:
            return _as_text(value)
        clean = redact(value)
        if clean is not value and len(value) < _A_LINE:
            self._told.learn([(value, clean)])
        return self._told.blot(clean)

    def _bytes(self, value: bytes | bytearray) -> bytes | bytearray:
        if len(value) > 2 * _BYTES:
            head, tail = (self._told.blot(redact(_decoded(part))) for part in (value[:_BYTES], value[-_BYTES:]))
            return type(value)(f"{head} … {tail}".encode("utf-8", "surrogateescape"))
        text = _decoded(value)
        blotted = self._told.blot(redact(text))
        return value if blotted == text else type(value)(blotted.encode("utf-8", "surrogateescape"))

    def _taken_apart(self, value: Any, sort: int, depth: int) -> Any:
        if sort == _Sort.BYTES:
            return self._bytes(value)
        if sort == _Sort.PATH:
            text = redact(str(value))
            return value if text == str(value) else type(value)(text)
        if sort == _Sort.MAPPING:
            return self._mapping(value, depth)
        if sort == _Sort.TUPLE:
            return self._tuple(value, depth)
        if sort == _Sort.ITEMS:
            parts = self._parts_of(value, depth)
            return value if _same(parts, value) else type(value)(parts)
        return self.other(value, depth)

    def _mapping(self, value: Mapping[Any, Any], depth: int) -> Any:
        instead = beside.without_secrets(value)
        self._told.compare(dict(value), instead)
        made = {self(key, depth): self.named(key, instead.get(key, part), depth) for key, part in value.items()}
        return value if _same(made.values(), value.values()) and _same(made, value) else made

    def _tuple(self, value: tuple[Any, ...], depth: int) -> Any:
        items = self.after_statement(value)
        parts = self._parts_of(items, depth)
        if len(parts) in {2, 3}:  # a header, as some libraries keep it: the name, perhaps twice, and the value
            parts[-1] = self.named(items[0], items[-1], depth)
        if _same(parts, value):
            return value
        make: Any = getattr(type(value), "_make", tuple)  # a named tuple's
        return make(parts)

    def after_statement(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return values in which the parameters behind a statement are without secrets."""
        made = beside.after_statement(values)
        self._told.compare(values, made)
        return made

    def _parts_of(self, value: Any, depth: int) -> list[Any]:
        items = value
        if isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(part, str) for part in value):
            made = beside.of_command(value)
            if made is not None:
                self._told.learn(zip(value, made, strict=True))
                items = made
        return [self(part, depth) for part in items]

    def named(self, name: object, value: Any, depth: int = 0) -> Any:
        """Return `value`, which stands under `name`, without the secrets in it, or blotted out whole."""
        if isinstance(name, bytes):
            name = name.decode("latin-1")
        if isinstance(name, str) and isinstance(value, str | bytes):
            text = value[:_BYTES] if isinstance(value, str) else value[:_BYTES].decode("utf-8", "replace")
            if is_secret_pair(name, text):
                self._told.add([value])
                return MARK if isinstance(value, str) else MARK.encode()
        is_secret = isinstance(name, str) and secret_names.of(name) is not Says.NOTHING
        if is_secret and type(value) in {list, tuple} and all(isinstance(part, str) for part in value):
            parts = [self.named(name, part, depth) for part in value]
            return value if _same(parts, value) else type(value)(parts)
        return self(value, depth)

    def other(self, value: Any, depth: int) -> Any:  # noqa: ARG002  # some look deeper
        """Return what stands for an object that is no plain data."""
        try:
            shown, said = repr(value), str(value)
        except Exception:
            return value
        return value if redact(shown) == shown and redact(said) == said else redact(said)


class Searcher(Cleaner):
    """Also searches objects' attributes: `found` is whether there was a secret. Runs none of their code."""

    def __init__(self) -> None:
        super().__init__()
        self.found: bool = False

    @property
    def told(self) -> Told:
        """Return the values that were found to be secrets."""
        return self._told

    def __call__(self, value: Any, depth: int = 0) -> Any:
        if not self.found and super().__call__(value, depth) is not value:
            self.found = True
        return value

    def named(self, name: object, value: Any, depth: int = 0) -> Any:
        if not self.found and super().named(name, value, depth) is not value:
            self.found = True
        return value

    def other(self, value: Any, depth: int) -> Any:
        if isinstance(value, NOT_DATA):
            return value
        for name, part in held_by(value):
            self.named(name, part, depth)
        return value


@of_class
def _members_of(cls: type) -> list[tuple[str, Any]]:
    """Return what reads the slots of a class's objects, by their names."""
    found = ((name, member) for base in cls.__mro__ for name, member in tuple(vars(base).items()))
    return [(name, member) for name, member in found if isinstance(member, types.MemberDescriptorType)]


def held_by(value: Any) -> Iterable[tuple[object, Any]]:
    with contextlib.suppress(TypeError):
        yield from tuple(vars(value).items())
    for name, member in _members_of(type(value)):
        try:
            yield name, member.__get__(value)
        except AttributeError:
            continue
    if isinstance(value, Mapping):
        yield from tuple(value.items())
    elif isinstance(value, list | set | frozenset | deque):
        yield from ((None, part) for part in tuple(value))
    elif isinstance(value, functools.partial):
        yield from ((None, part) for part in value.args)
        yield from value.keywords.items()


def _as_text(value: str) -> Any:
    text = redact(str(value))  # of a subclass, such as an enum's
    return value if text == str(value) else text


def _decoded(value: bytes | bytearray) -> str:
    return value.decode("utf-8", "surrogateescape")


def _same(parts: Iterable[Any], others: Iterable[Any]) -> bool:
    return all(part is other for part, other in zip(parts, others, strict=False))
