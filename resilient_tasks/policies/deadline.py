"""Deadline: a time limit for a whole call, with all its attempts and waits."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from resilient_tasks.core.execution import (
    clock,
    limits,  # noqa: F401  # loaded early: otherwise the import would count against the first call's deadline
)
from resilient_tasks.core.parameters import durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.pipeline import Policy

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, Proceed
    from resilient_tasks.core.outcome import Outcome
    from resilient_tasks.core.parameters.durations import Duration


@answering("Deadline(120)")
@dataclass(frozen=True, eq=False)
class Deadline(Policy):
    """Limit a call to `seconds`, with all its attempts and waits.

    An attempt that is running at the deadline is interrupted, as by a timeout, and fails with `DeadlineExceeded`. A
    wait that would end later is not started: the call fails at once with its last error. Nested resilient calls inherit
    the deadline.

    Args:
        seconds: the limit, from the start of the call: a number of seconds, a text such as `"2 min"`, or a `timedelta`.

    Raises:
        PolicyError: `seconds` is not a duration above 0.
    """

    slot: ClassVar[str] = "deadline"

    seconds: float

    if TYPE_CHECKING:

        def __init__(self, seconds: Duration) -> None: ...

    def __post_init__(self) -> None:
        durations.settle(self, "seconds", where="Deadline(seconds)")

    def describe(self) -> str:
        return f"deadline: {self.seconds:g} s for all attempts and waits"

    def longest(self, inner: Bound) -> Bound:
        return inner.within(self.seconds)

    @property
    def first_limit(self) -> float:
        """Seconds for a first attempt without the pipeline."""
        return self.seconds

    def limit_of_stream(self, fn: Callable[..., Any]) -> float:  # noqa: ARG002  # the same for all functions
        return self.seconds

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        # The first attempt was already limited: the time that is left is for the others.
        began = clock.now() if call.work.prior_outcome is None else call.started
        return await proceed(call.within(began + self.seconds))
