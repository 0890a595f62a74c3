"""Regular expressions that are compiled with their first use: to compile all two hundred takes as long as an import."""

from __future__ import annotations

import re
from typing import Any, cast

_METHODS = ("search", "match", "fullmatch", "finditer", "findall", "sub", "split")


class _Later:
    """Stands for a compiled pattern of text. Once that is there, its methods are found here at no cost."""

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
    """Return what is used as `re.compile(pattern, flags)` is. A mistake in the pattern shows with its first use."""
    return cast("re.Pattern[str]", _Later(pattern, flags))
