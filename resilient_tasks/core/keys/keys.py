"""The name of shared state: a text, or a key function, which returns the name for each call from its arguments.

The result of a key function is the name itself: a policy with the same name as a text shares the state. A secret in it
is redacted and a digest of the whole text appended, so that two secrets still make two names.
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

#: A key function receives the call's arguments that it has parameters for.
Answer: TypeAlias = str | int | Enum
Key: TypeAlias = Callable[..., Answer]
Name: TypeAlias = str | Key

T = TypeVar("T")

#: The greatest length of a name that a key function returns.
LONGEST = 500


def changed(value: T, **fields: object) -> T:
    """Return a copy of a frozen value with changed fields, without repeating its checks."""
    copy = object.__new__(type(value))
    copy.__dict__.update(value.__dict__, **fields)
    return copy


def _check(name: object, where: str) -> None:
    if callable(name):
        key_functions.check(name, where, what="a text, or a function of the call's arguments that returns one")
    else:
        checks.name(name, where)


class Keyed:
    """A policy with state under a name: one state, or one for each name that a key function returns.

    A policy derives from this class before `Policy`, calls `settle_name` in `__post_init__` and `check_key` in `check`,
    and begins `around` with `if self.is_keyed: return await around(self, call, proceed)`; then its name is a text.
    """

    name: Any

    @property
    def is_keyed(self) -> bool:
        """Whether the name is a key function."""
        return callable(self.name)

    @property
    def title(self) -> str:
        """The name, or a description with its key function."""
        return f"each key of {wording.short_name_of(self.name)}" if self.is_keyed else self.name

    def settle_name(self) -> None:
        """Raise `PolicyError` unless the name is a usable text or a key function."""
        _check(self.name, self._where)
        if isinstance(self.name, str):  # a member of an Enum would be formatted differently in different places
            object.__setattr__(self, "name", str.__str__(self.name))

    def check_key(self, fn: Callable[..., Any]) -> None:
        """Raise `PolicyError`, at decoration, if the key function does not fit the parameters of `fn`."""
        if self.is_keyed:
            key_functions.check_fits(self.name, fn, self._where)

    def for_key(self, key: Answer) -> Self:
        """Return this policy for one key, with a text as its name.

        Raises:
            PolicyError: the name is not a key function, or `key` cannot be a name.
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
        answer = key_functions.key_of(self.name, call, self._where)
        try:
            return self._named(_name_of(answer, self.name))
        except ValueError as problem:
            raise key_functions.refused(self.name, call, self._where, f"returned {problem}") from None

    def place_at_once(self, prefix: str, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> str:
        """Return the store key of a call's state; empty if only `for_call` can find it, or explain what is wrong."""
        try:
            answer = key_functions.quick_key_of(self.name, plan.fn, args, kwargs)
            return prefix + _name_of(answer, self.name)
        except Exception:
            return ""

    def place_by_hand(self, prefix: str, key: Answer | None, without_one: str) -> str:
        """Return the store key of the state that a person reads or changes.

        Args:
            prefix: of such states in the store.
            key: of the state; None: the policy's only one.
            without_one: the message if the name is a key function and there is no key.

        Raises:
            PolicyError: a key is missing, or is needless, or cannot be a name.
        """
        if key is not None:
            return f"{prefix}{self.for_key(key).name}"
        if self.is_keyed:
            raise PolicyError(without_one)
        return f"{prefix}{self.name}"

    def _named(self, name: str) -> Self:
        """Return a copy with this name."""
        return changed(self, name=name)

    @property
    def _where(self) -> str:
        return f"{type(self).__name__}(name)"


class _KeyedPolicy(Protocol):
    def for_call(self, call: Call) -> Any: ...


async def around(policy: _KeyedPolicy, call: Call, proceed: Proceed) -> Outcome[Any]:
    """Apply the policy with the key of this call. A call without a key fails."""
    try:
        named = policy.for_call(call)
    except TypeError as error:  # the caller's own mistake, or a `PredicateError`
        return Failed(error)
    outcome: Outcome[Any] = await named.around(call, proceed)
    return outcome


def _name_of(answer: object, key: Key) -> str:
    """Return the name for a key function's result, redacted.

    Raises:
        ValueError: it cannot be a name; the message describes it, as the object of a sentence.
    """
    value: Any = answer.value if safely.is_a(answer, Enum) else answer
    number = safely.number(value)
    if safely.is_a(value, str):
        text = str.__str__(value)  # ignores the `__str__` of a subclass
    elif number is not None:
        text = str(number)
    else:
        what = "None" if value is None else wording.a(type(value).__name__)
        msg = f"{what}: a name is a text, a whole number or a member of an Enum of these. Write str(...)"
        raise ValueError(msg)
    if not text.strip():
        msg = "an empty text: write the name of shared state"
        raise ValueError(msg)
    if len(text) > LONGEST:
        msg = (
            f"{len(text):,} characters, more than {LONGEST}: use only what identifies the shared state, such as a host"
        )
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
