"""The name of what calls share: a text, or a key function, which gives the name for each call from its arguments.

What a key function gives is the name itself: a policy that has this name as a text shares the state. A secret in it is
redacted, and a digest of the whole text stands behind, so that two secrets still make two names.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from enum import Enum
from typing import TYPE_CHECKING, Any, Protocol, Self, TypeAlias, TypeVar

from resilient_tasks import redaction, safely
from resilient_tasks.core import wording
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.keys import key_functions
from resilient_tasks.core.outcome import Failed, Outcome
from resilient_tasks.core.parameters import checks
from resilient_tasks.core.parameters.signatures import signature_of

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Plan, Proceed

#: A key function: it is given those of the call's arguments that it names.
Answer: TypeAlias = str | int | Enum
Key: TypeAlias = Callable[..., Answer]
Name: TypeAlias = str | Key

T = TypeVar("T")

#: Characters of a name that a key function gives.
LONGEST = 500


def changed(value: T, **fields: object) -> T:
    """Return a copy of a frozen value with other fields, without repeating its checks."""
    copy = object.__new__(type(value))
    copy.__dict__.update(value.__dict__, **fields)
    return copy


def _check(name: object, where: str) -> None:
    if callable(name):
        key_functions.check(name, where, what="a text, or a function of the call's arguments that returns one")
    else:
        checks.name(name, where)


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
        return f"each key of {wording.short_name_of(self.name)}" if self.is_keyed else self.name

    def settle_name(self) -> None:
        """Raise `PolicyError` unless the name is a text that can name something, or a key function."""
        _check(self.name, self._where)
        if isinstance(self.name, str):  # a member of an Enum is written differently from place to place
            object.__setattr__(self, "name", str.__str__(self.name))

    def check_key(self, fn: Callable[..., Any]) -> None:
        """Raise `PolicyError` if the key function cannot be asked about calls of `fn`. Asked at decoration."""
        if self.is_keyed:
            key_functions.check_fits(self.name, fn, self._where)

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
        if not self.is_keyed:
            return self
        answer = key_functions.ask(self.name, call, self._where)
        try:
            return self._named(_name_of(answer, self.name))
        except ValueError as problem:
            raise key_functions.refused(self.name, call, self._where, f"gave {problem}") from None

    def place_at_once(self, prefix: str, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return where the state of a call's key is; empty, where `for_call` has to find out, or say what is wrong."""
        try:
            answer = key_functions.answer_at_once(self.name, plan.fn, args, kwargs)
            return prefix + _name_of(answer, self.name)
        except Exception:
            return ""

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


# What a key function gives.


def _name_of(answer: object, key: Key) -> str:
    """Return the name that an answer stands for, without secrets.

    Raises:
        ValueError: it cannot be a name; the error says how it is, as the object of a sentence.
    """
    value: Any = answer.value if safely.is_a(answer, Enum) else answer
    number = safely.number(value)
    if safely.is_a(value, str):
        text = str.__str__(value)  # ignores a subclass's own `__str__`
    elif number is not None:
        text = str(number)
    else:
        what = "None" if value is None else wording.a(type(value).__name__)
        msg = f"{what}: a name is a text, a whole number or a member of an Enum of these. Write str(...)"
        raise ValueError(msg)
    if not text.strip():
        msg = "an empty text: a name has to name what is shared"
        raise ValueError(msg)
    if len(text) > LONGEST:
        msg = f"{len(text):,} characters, and {LONGEST} are the most: take the part that names what is shared, a host"
        raise ValueError(msg)
    if not checks.can_be_kept(text):
        msg = "a text with half a surrogate pair, which no store can keep"
        raise ValueError(msg)
    return _without_secrets(text, _parameters(key))


def _without_secrets(text: str, names: Iterable[str]) -> str:
    secret = any(redaction.text.is_secret_pair(name, text) for name in names)
    shown = "***" if secret else redaction.text.redact(text)
    if shown == text:
        return text
    import hashlib  # noqa: PLC0415  # for a key that holds a secret

    return f"{shown} ({hashlib.blake2b(text.encode(), digest_size=6).hexdigest()})"


def _parameters(key: Key) -> Mapping[str, object]:
    signature = signature_of(key)
    return {} if signature is None else signature.parameters
