"""Registered secrets: values, patterns of values, and the environment variables that hold them."""

from __future__ import annotations

import functools
import os
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias

from resilient_tasks.redaction import spellings
from resilient_tasks.redaction.patterns import MARK

#: A value, or a pattern of values.
Secret: TypeAlias = str | re.Pattern[str]

#: The environment variable that lists the variables whose values are secrets, comma separated.
VARIABLE = "RESILIENT_TASKS_SECRETS"

#: The minimum length: shorter texts would be part of many words.
_SHORTEST = 4
_TOO_SHORT = (
    f"has fewer than {_SHORTEST} characters: so short a text is part of many words, which would all be redacted"
)
#: The most characters of one escaped letter, such as `\u00e4`.
_WIDEST = 6


def checked(given: object) -> tuple[Secret, ...]:
    """Return the secrets in `given` as a tuple.

    Raises:
        ValueError: one of them is neither text nor a pattern of text, or is too short. The message does not quote it.
    """
    if isinstance(given, str | bytes | re.Pattern) or not isinstance(given, Iterable):
        msg = f"configure(secrets=...) takes a list of texts and compiled patterns, not a {_kind(given)}"
        raise ValueError(msg)  # noqa: TRY004  # as every wrong setting
    found: dict[Secret, None] = {}
    for number, secret in enumerate(given, 1):
        if isinstance(secret, re.Pattern) and isinstance(secret.pattern, str):
            if secret.search("") is not None:
                raise ValueError(f"configure(secrets=...): pattern number {number} matches the empty text")
        elif not isinstance(secret, str):
            msg = f"configure(secrets=...): number {number} is a {_kind(secret)}, not a text or a pattern"
            raise ValueError(msg)  # noqa: TRY004  # as above
        elif len(secret) < _SHORTEST:
            raise ValueError(f"configure(secrets=...): number {number} {_TOO_SHORT}")
        found[secret] = None
    return tuple(found)


def from_environment(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the values of the variables that `RESILIENT_TASKS_SECRETS` lists, if they are set.

    Raises:
        ValueError: one of them is too short.
    """
    names = [name.strip() for name in environment.get(VARIABLE, "").split(",")]
    values = {name: environment.get(name, "") for name in names if name}
    for name, value in values.items():
        if value and len(value) < _SHORTEST:
            raise ValueError(f"{VARIABLE} lists {name}, whose value {_TOO_SHORT}")
    return tuple(value for value in values.values() if value)


def added(there: tuple[Secret, ...], given: object) -> tuple[Secret, ...]:
    """Return the secrets in `there` with those in `given` and those in the current environment.

    Raises:
        ValueError: as `checked`.
    """
    return tuple(dict.fromkeys((*there, *from_environment(), *checked(given))))


def longest(secrets: tuple[Secret, ...]) -> int:
    """Return the length of the longest possible spelling of a registered text (characters)."""
    return max((_WIDEST * len(secret) for secret in secrets if isinstance(secret, str)), default=0)


def redact(text: str, secrets: tuple[Secret, ...]) -> str:
    """Redact registered secrets in `text`, in every spelling: see `spellings`."""
    values, patterns = _apart(secrets)
    if values:
        text = spellings.redact(text, values)
    for pattern in patterns:
        text = pattern.sub(MARK, text)
    return text


@functools.lru_cache(maxsize=8)
def _apart(secrets: tuple[Secret, ...]) -> tuple[tuple[str, ...], tuple[re.Pattern[str], ...]]:
    # The longest first: replacing a shorter one first would leave part of it readable.
    values = sorted((secret for secret in secrets if isinstance(secret, str)), key=len, reverse=True)
    return tuple(values), tuple(secret for secret in secrets if isinstance(secret, re.Pattern))


def _kind(value: object) -> str:
    return type(value).__name__
