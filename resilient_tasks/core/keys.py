"""The name of what calls share: a text, or a key function, which gives the name for each call from its arguments.

What a key function gives is the name itself: a policy that has this name as a text shares the state. A secret in it is
blotted out, and a digest of the whole text stands behind, so that two secrets still make two names.
"""

from __future__ import annotations

import hashlib
import inspect
from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, TypeVar

from resilient_tasks.core import callables, checks, safely
from resilient_tasks.core.errors import PolicyError, PredicateError
from resilient_tasks.core.matching import how_it_failed
from resilient_tasks.core.outcome import Failed, Outcome
from resilient_tasks.core.redact import is_secret_pair, redact
from resilient_tasks.core.signatures import kept_signature, signature_of, written
from resilient_tasks.core.wording import joined, name_of, short_name_of

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Proceed

#: A key function: it is given those of the call's arguments that it names.
Answer: TypeAlias = str | int | Enum
Key: TypeAlias = Callable[..., Answer]
Name: TypeAlias = str | Key

T = TypeVar("T")

#: Characters of a name that a key function gives.
LONGEST = 500

_BY_PLACE, _EITHER = inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD
_MORE, _MORE_BY_NAME = inspect.Parameter.VAR_POSITIONAL, inspect.Parameter.VAR_KEYWORD
_NONE = inspect.Parameter.empty


def changed(value: T, **fields: object) -> T:
    """Return a copy of a frozen value with other fields. What was checked when it was made is not checked again."""
    copy = object.__new__(type(value))
    copy.__dict__.update(value.__dict__, **fields)
    return copy


def _check(name: object, where: str) -> None:
    if isinstance(name, type):
        msg = f"{where} is a text or a function of the call's arguments that returns one, not the class {name.__name__}"
        raise PolicyError(msg)
    if not callable(name):
        checks.name(name, where)
    elif callables.is_async(name) or callables.is_generator(name) or callables.is_async_generator(name):
        msg = (
            f"{where} asks {short_name_of(name)} before each call, and needs its answer at once: make it a plain `def`"
        )
        raise PolicyError(msg)


class Keyed:
    """What has a state under its name: one, or one for each name that a key function gives.

    A policy derives from this class before `Policy`, calls `settle_name` when it is made and `check_key` in `check`,
    and begins `around` with `if self.is_keyed: return await around(self, call, proceed)`: from there on its name is a
    text.
    """

    name: Any

    @property
    def is_keyed(self) -> bool:
        """Whether the name is a key function."""
        return callable(self.name)

    @property
    def title(self) -> str:
        """The name, or which key function gives it."""
        return f"each key of {short_name_of(self.name)}" if self.is_keyed else self.name

    def settle_name(self) -> None:
        """Raise `PolicyError` unless the name is a text that can name something, or a key function."""
        _check(self.name, self._where)
        if isinstance(self.name, str):  # a member of an Enum is written differently from place to place
            object.__setattr__(self, "name", str.__str__(self.name))

    def check_key(self, fn: Callable[..., Any]) -> None:
        """Raise `PolicyError` if the key function cannot be asked about calls of `fn`. Asked at decoration."""
        if self.is_keyed and (why := _why_unfit(self.name, fn)):
            raise PolicyError(f"{self._where}: {why}")

    def for_key(self, key: Answer) -> Self:
        """Return this policy as it is for one key: with the name that the key function gave, or `key` would give.

        Raises:
            PolicyError: the name is no key function, or `key` cannot be a name.
        """
        if not self.is_keyed:
            msg = f"{self._where} is {self.name!r}, so it has no keys: leave the key out"
            raise PolicyError(msg)
        try:
            return self._named(_name_of(key, self.name))
        except ValueError as problem:
            raise PolicyError(f"{self._where}: the key is {problem}") from None

    def for_call(self, call: Call) -> Self:
        """Return this policy as it is for a call.

        Raises:
            PredicateError: the key function failed, or gave what cannot be a name.
            TypeError: the call's arguments do not fit its function.
        """
        return self._named(_asked(self.name, call, self._where)) if self.is_keyed else self

    def _named(self, name: str) -> Self:
        """Return a copy with this name."""
        return changed(self, name=name)

    @property
    def _where(self) -> str:
        return f"{type(self).__name__}(name)"


class _KeyedPolicy(Protocol):
    def for_call(self, call: Call) -> Any: ...


async def around(policy: _KeyedPolicy, call: Call, proceed: Proceed) -> Outcome[Any]:
    """Do as the policy does for the key of this call. A call without a key is not made."""
    try:
        named = policy.for_call(call)
    except TypeError as error:  # the caller's own mistake, or a `PredicateError`
        return Failed(error)
    outcome: Outcome[Any] = await named.around(call, proceed)
    return outcome


# What a key function is asked with.


def _asked(key: Key, call: Call, where: str) -> str:
    """Return the name that a key function gives for a call."""
    asked = f"{where}: the key function {short_name_of(key)}"
    args, kwargs = _arguments(key, call, asked)
    try:
        answer: object = key(*args, **kwargs)
        if callables.comes_later(answer):
            raise callables.refused(answer, "a key function has to answer at once")  # noqa: TRY301  # told as any other
    except Exception as problem:
        msg = f"{asked} {how_it_failed(problem)}, when it was asked about a call of {call.operation}"
        raise PredicateError(msg, about_error=False) from problem
    try:
        return _name_of(answer, key)
    except ValueError as problem:
        msg = f"{asked} gave {problem}, when it was asked about a call of {call.operation}"
        raise PredicateError(msg, about_error=False) from None


def _arguments(key: Key, call: Call, asked: str) -> tuple[list[Any], dict[str, Any]]:
    """Return what the key function is called with: those of the call's arguments that it takes, and their defaults."""
    work = call.work
    ours, theirs = _kept(work.fn), _kept(key)
    if ours is None:  # a function written in C: nothing says how its arguments are called
        return list(work.args), dict(work.kwargs)
    try:
        bound = ours.bind(*work.args, **work.kwargs)
    except TypeError as error:
        msg = f"{call.operation}(): {error}"
        raise TypeError(msg) from None
    bound.apply_defaults()
    if theirs is None:  # as `operator.itemgetter`, which has no signature before Python 3.13
        return list(bound.args[:1]), {}
    args, kwargs, missing = _matched(theirs, bound)
    if missing:
        msg = f"{asked} names {joined(missing)}, which this call of {call.operation} was not given"
        raise PredicateError(msg, about_error=False)
    return args, kwargs


def _matched(theirs: inspect.Signature, bound: inspect.BoundArguments) -> tuple[list[Any], dict[str, Any], list[str]]:
    """Match a call's arguments with the parameters of a key function: by place, by name, and what is missing."""
    parameters = list(theirs.parameters.values())
    by_place = any(one.kind is _MORE for one in parameters)
    values, more = _by_name(bound)
    args: list[Any] = []
    kwargs: dict[str, Any] = {}
    missing: list[str] = []
    for place, one in enumerate(parameters):
        value = one.default
        if one.kind is _MORE:
            args.extend(bound.args[place:])
            continue
        if one.kind is _MORE_BY_NAME:
            rest = bound.kwargs if by_place else values
            kwargs.update({name: rest[name] for name in rest if name not in theirs.parameters})
            continue
        in_order = one.kind is _BY_PLACE or (by_place and one.kind is _EITHER)
        if in_order:
            value = bound.args[place] if place < len(bound.args) else value
        elif one.name in values:
            value = values[one.name]
        elif more and one.kind is _EITHER:
            value = more.pop(0)
        if value is _NONE:
            missing.append(one.name)
        elif in_order:
            args.append(value)
        else:
            kwargs[one.name] = value
    return args, kwargs, missing


def _by_name(bound: inspect.BoundArguments) -> tuple[dict[str, Any], list[Any]]:
    """Return a call's arguments by name, and those that came by place and have no name of their own."""
    values, more = dict(bound.arguments), []
    for one in bound.signature.parameters.values():
        if one.kind is _MORE:
            more = list(values[one.name])
        elif one.kind is _MORE_BY_NAME:
            values = {**values[one.name], **values}
    return values, more


def _why_unfit(key: Key, fn: Callable[..., Any]) -> str:
    """Say why a key function cannot be asked about calls of `fn`; empty, if it can."""
    ours, theirs = signature_of(fn), signature_of(key)
    if ours is None or theirs is None:
        return ""
    names = list(ours.parameters)
    kinds = [one.kind for one in ours.parameters.values()]
    places = len(kinds) if _MORE in kinds else sum(kind in {_BY_PLACE, _EITHER} for kind in kinds)
    asked = list(theirs.parameters.values())
    by_place = any(one.kind is _MORE for one in asked)
    unknown = []
    for place, one in enumerate(asked):
        in_order = one.kind is _BY_PLACE or (by_place and one.kind is _EITHER)
        found = (place < places or _MORE in kinds) if in_order else one.name in names or _MORE_BY_NAME in kinds
        found = found or one.kind in {_MORE, _MORE_BY_NAME} or one.default is not _NONE
        if not found and not (_MORE in kinds and one.kind is _EITHER):
            unknown.append(one.name)
    if not unknown:
        return ""
    return (
        f"the key function {short_name_of(key)} names {joined(unknown)}, which {name_of(fn)}"
        f"({written(ours.parameters.values())}) does not have. It is given those of the call's arguments that it names:"
        f" {_instead(key, asked, names)}"
    )


def _instead(key: Key, asked: list[inspect.Parameter], names: list[str]) -> str:
    likely = [name for name in names if name not in {"self", "cls"}]
    if not likely:
        return "write a function without parameters"
    name = short_name_of(key)
    if name.isidentifier() and len(asked) == 1:
        return f"write lambda {likely[0]}: {name}({likely[0]})"
    return f"write lambda {likely[0]}: ..., or take **kwargs"


def _kept(fn: Callable[..., Any]) -> inspect.Signature | None:
    try:
        return kept_signature(fn)
    except Exception:  # as in `signature_of`
        return None


# What it gives.


def _name_of(answer: object, key: Key) -> str:
    """Return the name that an answer stands for, without secrets.

    Raises:
        ValueError: it cannot be a name; the error says how it is, as the object of a sentence.
    """
    value: Any = answer.value if safely.is_a(answer, Enum) else answer
    number = safely.number(value)
    if safely.is_a(value, str):
        text = str.__str__(value)  # what a subclass makes of itself is its own affair
    elif number is not None:
        text = str(number)
    else:
        what = "None" if value is None else f"a {type(value).__name__}"
        msg = f"{what}: a name is a text, a whole number or a member of an Enum of these. Write str(...)"
        raise ValueError(msg)
    if not text.strip():
        msg = "an empty text: a name says what is shared"
        raise ValueError(msg)
    if len(text) > LONGEST:
        msg = f"{len(text):,} characters, and {LONGEST} are the most: take the part that says what is shared, as a host"
        raise ValueError(msg)
    if not checks.can_be_kept(text):
        msg = "a text with half a surrogate pair, which no store can keep"
        raise ValueError(msg)
    return _without_secrets(text, _parameters(key))


def _without_secrets(text: str, names: Iterable[str]) -> str:
    secret = any(is_secret_pair(name, text) for name in names)
    shown = "***" if secret else redact(text)
    return text if shown == text else f"{shown} ({hashlib.blake2b(text.encode(), digest_size=6).hexdigest()})"


def _parameters(key: Key) -> Mapping[str, object]:
    signature = _kept(key)
    return {} if signature is None else signature.parameters
