"""Secrets that the user names: their values, patterns of them, and the variables of the environment that hold them."""

from __future__ import annotations

import base64
import json
import os
import re
from collections.abc import Iterable, Mapping
from typing import TypeAlias
from urllib.parse import quote, quote_plus

from resilient_tasks.core.errors import PolicyError

#: A value, or a pattern of values.
Secret: TypeAlias = str | re.Pattern[str]

#: Names of variables of the environment whose values are secrets, comma separated.
VARIABLE = "RESILIENT_TASKS_SECRETS"

MARK = "***"

#: Shorter ones would stand in half of all words.
_SHORTEST = 4


def checked(given: object) -> tuple[Secret, ...]:
    """Return the secrets in `given`, as settings hold them.

    Raises:
        PolicyError: one of them is neither text nor a pattern of text, or too short. Its text is not in the message.
    """
    if isinstance(given, str | bytes | re.Pattern) or not isinstance(given, Iterable):
        raise PolicyError(f"configure(secrets=...) takes a list of texts and compiled patterns, not a {_kind(given)}")
    found: dict[Secret, None] = {}
    for number, secret in enumerate(given, 1):
        if isinstance(secret, re.Pattern) and isinstance(secret.pattern, str):
            if secret.search("") is not None:
                raise PolicyError(f"configure(secrets=...): pattern number {number} matches the empty text")
        elif not isinstance(secret, str):
            raise PolicyError(f"configure(secrets=...): number {number} is a {_kind(secret)}, not a text or a pattern")
        elif len(secret) < _SHORTEST:
            raise PolicyError(f"configure(secrets=...): number {number} {_TOO_SHORT}")
        found[secret] = None
    return tuple(found)


_TOO_SHORT = (
    f"has fewer than {_SHORTEST} characters: so short a text stands in many words, and each would be blotted out"
)


def from_environment(environment: Mapping[str, str] = os.environ) -> tuple[str, ...]:
    """Return the values of the variables that `RESILIENT_TASKS_SECRETS` names, as far as they are set.

    Raises:
        PolicyError: one of them is too short.
    """
    names = [name.strip() for name in environment.get(VARIABLE, "").split(",")]
    values = {name: environment.get(name, "") for name in names if name}
    for name, value in values.items():
        if value and len(value) < _SHORTEST:
            raise PolicyError(f"{VARIABLE} names {name}, which {_TOO_SHORT}")
    return tuple(value for value in values.values() if value)


def added(there: tuple[Secret, ...], given: object) -> tuple[Secret, ...]:
    """Return the secrets that are there, with those in `given` and those of the environment as it is now.

    Raises:
        PolicyError: as `checked` does.
    """
    return tuple(dict.fromkeys((*there, *from_environment(), *checked(given))))


def longest(secrets: tuple[Secret, ...]) -> int:
    """Return how many characters the longest registered text has, as it may be written."""
    return max(map(len, _compiled_for(secrets)[0]), default=0) if secrets else 0


def blot(text: str, secrets: tuple[Secret, ...]) -> str:
    """Blot registered secrets out of `text`, also where they are written for a URL, in base64 or in JSON."""
    forms, patterns = _compiled_for(secrets)
    for form in forms:
        if form in text:
            text = text.replace(form, MARK)
    for pattern in patterns:
        text = pattern.sub(MARK, text)
    return text


def _compiled_for(secrets: tuple[Secret, ...]) -> tuple[tuple[str, ...], tuple[re.Pattern[str], ...]]:
    global _compiled  # noqa: PLW0603  # made anew where settings have changed
    if _compiled[0] is not secrets:
        _compiled = (secrets, *_made(secrets))
    return _compiled[1:]


def _made(secrets: tuple[Secret, ...]) -> tuple[tuple[str, ...], tuple[re.Pattern[str], ...]]:
    forms = {form for secret in secrets if isinstance(secret, str) for form in _forms(secret)}
    # The longest first: what a shorter one would leave of it would be read.
    return tuple(sorted(forms, key=len, reverse=True)), tuple(s for s in secrets if isinstance(s, re.Pattern))


def _forms(secret: str) -> set[str]:
    data = secret.encode("utf-8", "surrogatepass")
    encoded = {base64.b64encode(data).decode(), base64.urlsafe_b64encode(data).decode()}
    return {
        secret,
        quote(data, safe=""),
        quote(data),
        quote_plus(data),
        json.dumps(secret)[1:-1],
        repr(secret)[1:-1],
        *(form.rstrip("=") for form in encoded),
    }


_compiled: tuple[tuple[Secret, ...], tuple[str, ...], tuple[re.Pattern[str], ...]] = ((), (), ())


def _kind(value: object) -> str:
    return type(value).__name__
