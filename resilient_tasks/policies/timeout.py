"""Timeout: a limit for one attempt."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from resilient_tasks.core.call import Enforce
from resilient_tasks.core.checks import positive_seconds
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.limits import cut
from resilient_tasks.core.pipeline import Policy

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Proceed
    from resilient_tasks.core.outcome import Outcome


@dataclass(frozen=True, eq=False)
class Timeout(Policy):
    """End an attempt after `seconds`, and say whether the work really stopped.

    An async function is cancelled. A sync function in the main thread is interrupted by a timer signal. In any other
    thread Python can stop nothing: the call returns on time, and the attempt is abandoned (`stopped=False`).

    Args:
        seconds: the limit for each attempt.
        enforce: `"auto"` picks one of the ways above. `"cooperative"` interrupts nothing: the function stays on its
            thread and asks `remaining()`; overrunning is reported, and a late result is kept.

    Raises:
        PolicyError: `seconds` is not a positive number, or `enforce` is not one of its words.
    """

    slot: ClassVar[str] = "timeout"

    seconds: float
    enforce: Enforce = "auto"

    def __post_init__(self) -> None:
        positive_seconds(self.seconds, "Timeout(seconds)")
        if self.enforce not in get_args(Enforce):
            msg = f"Timeout(enforce=...) is one of {', '.join(get_args(Enforce))}, not {self.enforce!r}"
            raise PolicyError(msg)

    def describe(self) -> str:
        return f"timeout: {self.seconds:g} s an attempt, enforce={self.enforce!r}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        return await cut(call, proceed, policy="timeout", seconds=self.seconds, enforce=self.enforce)
