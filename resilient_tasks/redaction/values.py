"""Redact secrets in values: in texts by their content, in mappings also by their keys.

Many libraries' errors keep a secret and its name in two attributes or entries, as in `{"name": "DB_PASSWORD",
"value": ...}`, or a statement and its parameters: there, the one decides about the other.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import enum
import functools
import itertools
import pathlib
import re
import types
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from typing import Any
from uuid import UUID

from resilient_tasks.redaction import commands, secret_names, sql_parameters
from resilient_tasks.redaction.known_secrets import KnownSecrets
from resilient_tasks.redaction.patterns import MARK, compiled, mark_like
from resilient_tasks.redaction.secret_names import Confidence, words
from resilient_tasks.redaction.secret_values import is_nothing, is_sentence, may_be_secret
from resilient_tasks.redaction.text import is_secret_pair, left_out, redact
from resilient_tasks.safely import of_class

#: The greatest depth, and the number of parts, that are searched.
_DEPTH = 12
_PARTS = 4000
#: The characters of all texts in one value that are searched. A text beyond that is left out, unless it is short.
_ROOM, _SHORT = 100_000, 60
#: The bytes of a long value that are searched: more than `redact` keeps.
_BYTES = 16_000
#: A shorter text may be quoted as a whole (characters).
_QUOTABLE = 200

_PLAIN = (type(None), bool, int, float, complex, dt.date, dt.time, dt.timedelta, enum.Enum, UUID)
NOT_DATA = (type, types.FunctionType, types.BuiltinFunctionType, types.MethodType, types.ModuleType, types.CodeType)


class _Sort:
    """How a value is taken apart. Not an enum: looking up a member of one takes as long as all the rest."""

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
#: Subclasses of these may need other arguments.
_EXACTLY: dict[type, int] = {
    **dict.fromkeys((dict, types.MappingProxyType), _Sort.MAPPING),
    **dict.fromkeys((list, set, frozenset, deque), _Sort.ITEMS),
}


def clean(value: Any) -> Any:
    """Return `value` without its secrets; the same object if there are none.

    Text, bytes, paths, mappings, lists, tuples and sets are taken apart. Any other object with a secret in its `repr`
    or `str` is replaced by its redacted text.
    """
    return Cleaner()(value)


class Cleaner:
    """Takes values apart and rebuilds them without their secrets."""

    def __init__(self) -> None:
        self._reset_limits()
        self._within: set[int] = set()
        self.known: KnownSecrets = KnownSecrets()

    def __call__(self, value: Any, depth: int = 0) -> Any:
        """Return `value` without its secrets; the same object if there are none."""
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

    def _reset_limits(self) -> None:
        self._left, self._room = _PARTS, _ROOM

    def _text(self, value: str) -> Any:
        self._room -= min(len(value), _BYTES)
        if self._room < 0 and len(value) > _SHORT:
            return f"[{left_out(len(value))}]"
        if type(value) is not str:
            return _as_text(value)
        clean = redact(value)
        if clean is not value and len(value) < _QUOTABLE:
            self.known.add_redacted([(value, clean)])
        return self.known.redact(clean)

    def _bytes(self, value: bytes | bytearray) -> bytes | bytearray:
        if len(value) > 2 * _BYTES:
            head, tail = (self.known.redact(redact(_decoded(part))) for part in (value[:_BYTES], value[-_BYTES:]))
            return type(value)(f"{head} … {tail}".encode("utf-8", "surrogateescape"))
        text = _decoded(value)
        redacted = self.known.redact(redact(text))
        return value if redacted == text else type(value)(redacted.encode("utf-8", "surrogateescape"))

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
        instead = redact_siblings(value)
        self.known.add_replaced(dict(value), instead)
        made = {self(key, depth): self.named(key, instead.get(key, part), depth) for key, part in value.items()}
        return value if _same(made.values(), value.values()) and _same(made, value) else made

    def _tuple(self, value: tuple[Any, ...], depth: int) -> Any:
        items = self.after_statement(value)
        parts = self._parts_of(items, depth)
        if len(parts) in {2, 3}:  # a header in some libraries: the name, perhaps twice, and the value
            parts[-1] = self.named(items[0], items[-1], depth)
        if _same(parts, value):
            return value
        make: Any = getattr(type(value), "_make", tuple)  # a named tuple's
        return make(parts)

    def after_statement(self, values: tuple[Any, ...]) -> tuple[Any, ...]:
        """Return `values` without the secrets in the parameters after an SQL statement."""
        made = list(values)
        for at, (statement, parameters) in enumerate(itertools.pairwise(values), 1):
            if isinstance(parameters, Mapping | list | tuple) and isinstance(statement, str) and _SQL.match(statement):
                made[at] = sql_parameters.redact_parameters(statement, parameters)
        if _same(made, values):
            return values
        self.known.add_replaced(values, made)
        return tuple(made)

    def _parts_of(self, value: Any, depth: int) -> list[Any]:
        items = value
        if isinstance(value, list | tuple) and len(value) > 1 and all(isinstance(part, str) for part in value):
            made = _redact_command(value)
            if made is not None:
                self.known.add_redacted(zip(value, made, strict=True))
                items = made
        return [self(part, depth) for part in items]

    def named(self, name: object, value: Any, depth: int = 0) -> Any:
        """Return `value`, whose name is `name`, without its secrets; only the mark if it is a secret itself."""
        if isinstance(name, bytes):
            name = name.decode("latin-1")
        if isinstance(name, str) and isinstance(value, str | bytes):
            text = value[:_BYTES] if isinstance(value, str) else value[:_BYTES].decode("utf-8", "replace")
            if is_secret_pair(name, text):
                self.known.add([value])
                return mark_like(value)
        is_secret = isinstance(name, str) and secret_names.confidence(name) > 0
        if is_secret and type(value) in {list, tuple} and all(isinstance(part, str) for part in value):
            parts = [self.named(name, part, depth) for part in value]
            return value if _same(parts, value) else type(value)(parts)
        return self(value, depth)

    def other(self, value: Any, depth: int) -> Any:  # noqa: ARG002  # for subclasses
        """Return the replacement of an object that is no plain data."""
        try:
            shown, text = repr(value), str(value)
        except Exception:
            return value
        return value if redact(shown) == shown and redact(text) == text else redact(text)


class Searcher(Cleaner):
    """Also searches the attributes of objects, without running their code: `found` is whether there is a secret."""

    def __init__(self) -> None:
        super().__init__()
        self.found: bool = False

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
        for name, part in attributes_of(value):
            self.named(name, part, depth)
        return value


@of_class
def _members_of(cls: type) -> list[tuple[str, Any]]:
    """Return the descriptors of the slots of a class, by name."""
    found = ((name, member) for base in cls.__mro__ for name, member in tuple(vars(base).items()))
    return [(name, member) for name, member in found if isinstance(member, types.MemberDescriptorType)]


def attributes_of(value: Any) -> Iterable[tuple[object, Any]]:
    """Yield the attributes and items of an object, by name, without running its code."""
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


#: Keys of names, and keys of their values; in lowercase, without `_` and `-`.
_NAMES = words(
    "name key field fieldname loc path relativepath absolutepath param paramname paramhint parameter parametername "
    "parameterkey variable variablename column columnname header headername option argument argumentname property "
    "propertyname attribute attributename setting label env envvar"
)
_VALUES = words(
    "value input inputvalue instance content stringvalue parametervalue secretstring given got actual provided "
    "invalidvalue badvalue currentvalue rawvalue rejectedvalue default"
)
#: Attributes of parsers' errors that name an argument or a field.
_ABOUT = words(
    "param paramname paramhint parameter parametername argument argumentname option optionname field fieldname"
)
_QUOTED = compiled(r"(?<![\w])([\"'])((?:\\.|(?!\1)[^\\\r\n]){4,200})\1(?!\w)")
_SQL = compiled(r"\s{0,20}(?:select|insert|update|delete|merge|replace|with|call|exec|execute)\b", re.IGNORECASE)
_LONGEST_NAME = 100
_STATEMENTS = ("statement", "sql", "query", "sql_query", "operation")
_PARAMETERS = (
    "params",
    "parameters",
    "args",
    "binds",
    "bind_params",
    "bindparams",
    "query_params",
    "compiled_parameters",
)


def redact_siblings(held: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return replacements for the values in `held` that other entries identify as secrets."""
    made = _described(held)
    for key in _PARAMETERS:
        values = held.get(key)
        if isinstance(values, Mapping | list | tuple) and values:
            found = [held[name] for name in _STATEMENTS if isinstance(held.get(name), str)]
            if found:
                made[key] = sql_parameters.redact_parameters(found[0], values)
    return {key: value for key, value in made.items() if value is not held[key]}


def quoted_by(held: Mapping[str, Any], texts: Iterable[str]) -> set[str]:
    """Return what `texts` quote, if an attribute in `held` names a secret and no attribute has its value."""
    short = {key: key.lower().replace("_", "") for key in held}
    confidence = _highest(held[key] for key, word in short.items() if word in _ABOUT)
    if confidence <= Confidence.IF_RANDOM or any(word in _VALUES for word in short.values()):
        return set()
    found = {quoted[2] for text in texts for quoted in _QUOTED.finditer(text[:2000])}
    return {text for text in found if not secret_names.confidence(text) and not is_sentence(text)}


def _described(held: Mapping[Any, Any]) -> dict[Any, Any]:
    if not 2 <= len(held) <= 100:  # a name and a value, but not a table
        return {}
    short = {key: key.lower().replace("_", "").replace("-", "") for key in held if isinstance(key, str)}
    values = [key for key, word in short.items() if word in _VALUES]
    if not values:
        return {}
    confidence = _highest(held[key] for key, word in short.items() if word in _NAMES)
    return {key: _value(held[key], confidence) for key in values} if confidence else {}


def _highest(names: Iterable[Any]) -> Confidence:
    return max((secret_names.confidence(_name(name)) for name in names), default=Confidence.NONE)


def _name(held: Any) -> str:
    """Return a name; of a path to a field, the last part that is text."""
    if isinstance(held, list | tuple | deque):
        held = next((part for part in reversed(held) if isinstance(part, str)), "")
    return held[:200] if isinstance(held, str) else ""


def _value(value: Any, confidence: Confidence) -> Any:
    text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
    if type(value) is int and confidence is Confidence.SURE:
        return MARK
    if not isinstance(text, str) or is_nothing(text) or text.startswith(MARK) or is_sentence(text):
        return value
    return mark_like(value) if may_be_secret(text, confidence) else value


def _redact_command(items: Sequence[str]) -> list[str] | None:
    """Return the items of a possible command line with the secrets redacted; None if there are none."""
    made = commands.redact_list(items) or list(items)
    for number, item in enumerate(made):
        name, sign, value = item.partition("=")
        if sign and len(name) <= _LONGEST_NAME and " " not in name and "&" not in value:
            made[number] = f"{name}={_value(value, secret_names.confidence(name))}"
    for number, item in enumerate(made[:-1]):
        if item.startswith("-") and "=" not in item and " " not in item:
            made[number + 1] = _value(made[number + 1], secret_names.confidence(item))
    return None if made == list(items) else made
