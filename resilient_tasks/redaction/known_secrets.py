"""Values identified as secrets by their names, which are also redacted where a message quotes them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from resilient_tasks.redaction.patterns import MARK, compiled
from resilient_tasks.redaction.secret_values import is_nothing

#: Letters up to the first length may be a word; longer values than the second are not searched (characters).
_A_WORD, _LONGEST = 10, 16_000
_SHORTEST, _SHORTEST_UNQUOTED = 4, 6


class KnownSecrets:
    """Known secrets. Words and short values are found only between quotes."""

    def __init__(self) -> None:
        self._values: dict[str, bool] = {}  # the value, and whether it is also found without quotes
        self._pattern: re.Pattern[str] | None = None

    def __len__(self) -> int:
        return len(self._values)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def add(self, values: Iterable[Any]) -> None:
        """Add values; what is no text, or too short or too long, is ignored."""
        for value in values:
            text = value.decode("utf-8", "replace") if isinstance(value, bytes) else value
            if not isinstance(text, str) or not _SHORTEST <= len(text) <= _LONGEST or MARK in text or is_nothing(text):
                continue
            self._values[text] = len(text) >= _SHORTEST_UNQUOTED and not (text.isalpha() and len(text) < _A_WORD)
            self._pattern = None

    def add_redacted(self, pairs: Iterable[tuple[str, str]]) -> None:
        """Add the part of each text that the mark replaces in its redacted form."""
        for old, new in pairs:
            if new.count(MARK) == 1 and old.count(MARK) == 0:
                before, _, after = new.partition(MARK)
                self.add([old[len(before) : len(old) - len(after)]])

    def add_replaced(self, old: Any, new: Any) -> None:
        """Add the texts in `old` that the mark replaces as a whole in `new`."""
        if new is old:
            return
        if isinstance(old, str | bytes):
            self.add([old] if new in {MARK, MARK.encode()} else [])
        elif isinstance(old, Mapping):
            for key, value in old.items():
                self.add_replaced(value, new.get(key, value) if isinstance(new, Mapping) else value)
        elif isinstance(old, list | tuple):
            for old_item, new_item in zip(old, new, strict=False):
                self.add_replaced(old_item, new_item)

    def redact(self, text: str) -> str:
        """Redact the values in a text, where they appear as a whole."""
        if not self._values:
            return text
        if self._pattern is None:
            bare = _any_form_of(value for value, is_bare in self._values.items() if is_bare)
            quoted = _any_form_of(self._values)
            self._pattern = compiled(
                rf"(?:(?<![A-Za-z0-9])|(?<=[\s\"']-[A-Za-z]))(?:{bare})(?![A-Za-z0-9])|(?<=[\"'`])(?:{quoted})(?=\\?[\"'`])"
            )
        return self._pattern.sub(MARK, text)


def _any_form_of(values: Iterable[str]) -> str:
    forms = {form for value in values for form in (value, repr(value)[1:-1])}
    return "|".join(map(re.escape, sorted(forms, key=len, reverse=True))) or "(?!)"
