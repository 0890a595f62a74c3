"""Regular expressions that are compiled on first use: compiling all two hundred would double the import time."""

from __future__ import annotations

import re
from typing import Any, cast

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
