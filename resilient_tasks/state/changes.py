"""Numbers of a policy that were changed while workers run: a part of the state that its calls read anyway."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple


class Changes(NamedTuple):
    """Numbers in place of those that the code gives.

    Attributes:
        numbers: the numbers by the name of the policy's argument.
        by: who changed them last.
        at: when, in unix seconds.
    """

    numbers: Mapping[str, float]
    by: str
    at: float

    def as_json(self) -> dict[str, Any]:
        """Return the changes as values for JSON."""
        return {"numbers": dict(self.numbers), "by": self.by, "at": self.at}

    def in_words(self) -> str:
        """Return the numbers, as `open_for=60, failures=5`."""
        return ", ".join(f"{name}={value:g}" for name, value in self.numbers.items())


def changes_from(found: Any) -> Changes | None:
    """Return the changes that `as_json` returned; None if there are none.

    Raises:
        ValueError, TypeError, LookupError: these are no changes.
    """
    if not found:
        return None
    numbers: dict[str, float] = {
        str(name): value if isinstance(value, int) else float(value) for name, value in found["numbers"].items()
    }
    return Changes(numbers, str(found["by"]), float(found["at"])) if numbers else None
