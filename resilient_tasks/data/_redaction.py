"""Secrets in the values that reports show: a column's failed values, with what its name says of them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from resilient_tasks.core.cleaned import Cleaner
from resilient_tasks.redaction.redact import is_nothing, is_secret_pair, is_short, redact_whole
from resilient_tasks.redaction.registered import MARK

_AT_A_TIME = 5_000
_NUMBERS = frozenset({int, float, bool, type(None)})


def without_secrets(column: str, values: list[Any]) -> list[Any]:
    """Return `values` of a column without the secrets in them: the same list where there is none."""
    kinds = set(map(type, values))
    if kinds <= {type(None)}:
        return values
    if is_secret_pair(column, "A1b2C3d4E5f6"):
        return [value if value is None or is_nothing(str(value)) else MARK for value in values]
    if kinds <= _NUMBERS:
        return values
    parts = [_cleaned(values[at : at + _AT_A_TIME]) for at in range(0, len(values), _AT_A_TIME)]
    made = [value for part in parts for value in part]
    return values if all(new is old for new, old in zip(made, values, strict=True)) else made


def secrets_in(options: Mapping[str, Any]) -> set[str]:
    """Return the texts that options of a file system keep secret: by their names, or by their type."""
    return {text for text in _secrets(options) if len(text) >= _SHORTEST}


def without(text: str, secrets: Iterable[str]) -> str:
    """Return `text` with these secrets blotted out."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, MARK)
    return text


#: Shorter texts are part of many words.
_SHORTEST = 6


def _secrets(options: Mapping[str, Any]) -> Iterator[str]:
    for name, value in options.items():
        reveal = getattr(value, "get_secret_value", None)
        if isinstance(value, Mapping):
            yield from _secrets(value)
        elif callable(reveal):
            yield str(reveal())
        elif isinstance(value, str) and is_secret_pair(str(name), value):
            yield value


def _cleaned(values: list[Any]) -> list[Any]:
    if all(isinstance(value, str) for value in values):
        together = "\n".join(values)  # one look at all of them costs a tenth of a look at each
        if redact_whole(together) == together and all(map(is_short, values)):
            return values
    return [Cleaner()(value) for value in values]
