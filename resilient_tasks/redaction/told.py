"""Values known to be secrets by their names, which are also redacted where a message quotes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

from resilient_tasks.redaction.patterns import compiled
from resilient_tasks.redaction.registered import MARK
from resilient_tasks.redaction.secret_values import is_nothing

#: A word is shorter than the first; longer values than the second are not searched (characters).
_A_WORD, _LONGEST = 10, 16_000
_SHORTEST = 4


class Told:
    """Values that are known to be secrets. Words and short values are found only between quotes."""

    def __init__(self) -> None:
        self._values: dict[str, bool] = {}  # the value, and whether it is also found without quotes
        self._pattern: re.Pattern[str] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def add(self, values: Iterable[Any]) -> None:
        """Add values."""
        for value in values:
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            if not isinstance(text, str) or not _SHORTEST <= len(text) <= _LONGEST or MARK in text or is_nothing(text):
                continue
            self._values[text] = len(text) >= 6 and not (text.isalpha() and len(text) < _A_WORD)
            self._pattern = None

    def join(self, other: Told) -> None:
        """Add the values of `other`."""
        self.add(other._values)  # of the same class

    def learn(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add the parts of texts that the mark replaces in their redacted forms."""
        for old, new in pairs:
            if new.count(MARK) == 1 and old.count(MARK) == 0:
                before, _, after = new.partition(MARK)
                self.add([old[len(before) : len(old) - len(after)]])

    def compare(self, old: Any, new: Any) -> None:
        """Add the texts in `old` that the mark replaces in `new`."""
        if new is old:
            return
        if isinstance(old, str | bytes):
            self.add([old] if new in {MARK, MARK.encode()} else [])
        elif isinstance(old, Mapping):
            for key, value in old.items():
                self.compare(value, new.get(key, value) if isinstance(new, Mapping) else value)
        elif isinstance(old, list | tuple):
            for old_item, new_item in zip(old, new, strict=False):
                self.compare(old_item, new_item)

    def blot(self, text: str) -> str:
        """Redact the values in a text, where they appear as a whole."""
        if not self._values:
            return text
        if self._pattern is None:
            bare = _either({form for value, is_found in self._values.items() if is_found for form in _forms(value)})
            quoted = _either({form for value in self._values for form in _forms(value)})
            self._pattern = compiled(
                rf"(?:(?<![A-Za-z0-9])|(?<=[\s\"']-[A-Za-z]))(?:{bare})(?![A-Za-z0-9])|(?<=[\"'`])(?:{quoted})(?=\\?[\"'`])"
            )
        return self._pattern.sub(MARK, text)


def _forms(value: str) -> tuple[str, str]:
    return value, repr(value)[1:-1]


def _either(forms: Iterable[str]) -> str:
    return "|".join(map(re.escape, sorted(forms, key=len, reverse=True))) or "(?!)"
