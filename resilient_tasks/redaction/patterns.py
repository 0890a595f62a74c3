"""Regular expressions that are compiled on first use, and the mark that replaces what they find.

Compiling all two hundred patterns at import would double the import time.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, cast

#: Replaces a secret.
MARK = "***"
_METHODS = ("search", "match", "fullmatch", "finditer", "findall", "sub", "split")


class _Later:
    """A lazily compiled pattern of text. Once compiled, its methods are attributes, at no extra cost."""

    def __init__(self, pattern: str, flags: int) -> None:
        self.pattern = pattern
        self.flags = flags if flags & re.ASCII else flags | re.UNICODE

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_"):
            raise AttributeError(name)
        made = re.compile(self.pattern, self.flags)
        vars(self).update({method: getattr(made, method) for method in _METHODS})
        return getattr(made, name)


def compiled(pattern: str, flags: int = 0) -> re.Pattern[str]:
    """Return a lazy `re.compile(pattern, flags)`. A mistake in the pattern raises on first use."""
    return cast("re.Pattern[str]", _Later(pattern, flags))


def mark_like(value: str | bytes) -> str | bytes:
    """Return the mark as text or as bytes, like `value`."""
    return MARK if isinstance(value, str) else MARK.encode()


def redact_spans(text: str, spans: Iterable[tuple[int, int]]) -> str:
    """Return `text` with each span replaced by the mark; overlapping spans by one mark."""
    in_order = sorted(spans)
    if not in_order:
        return text
    parts: list[str] = []
    done = 0
    for start, end in in_order:
        if start >= done:
            parts += (text[done:start], MARK)
        done = max(done, end)
    return "".join((*parts, text[done:]))


_OPENING = compiled(r"(?:b?\\{0,3}[\"'])?")


def redact_inside_quotes(match: re.Match[str]) -> str:
    """Return the matched text with its group `secret` redacted, but not the quotes around it."""
    secret, whole = match["secret"], match[0]
    opening = _OPENING.match(secret)[0]  # type: ignore[index]  # it also matches the empty text
    closes = opening != "" and secret.endswith(opening[-1]) and len(secret) > len(opening)
    start, end = (at - match.start() for at in match.span("secret"))
    return f"{whole[:start]}{opening}{MARK}{opening.lstrip('b') if closes else ''}{whole[end:]}"
