"""Hedge: a second attempt beside one that is slow."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import HedgeStarted, HedgeWon
from resilient_tasks.core.execution import clock, real_time
from resilient_tasks.core.outcome import Failed, Outcome
from resilient_tasks.core.parameters import durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.pipeline import Policy

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, ParallelCall, Proceed
    from resilient_tasks.core.parameters.durations import Duration


@answering("Hedge(0.2, attempts=2)")
@dataclass(frozen=True, eq=False)
class Hedge(Policy):
    """Make a second attempt if the first is slow; the first success wins.

    For services with a slow tail (Dean and Barroso, "The Tail at Scale", 2013). An async loser is cancelled. A sync
    attempt runs in its own thread; a loser is abandoned there and fenced: it has no further effect on the call.

    Args:
        after: seconds to wait for an answer, or a text such as `"200ms"`, or a `timedelta`. At the service's 95th
            percentile, one call in twenty makes two attempts. Time spent waiting for a rate limit or a bulkhead does
            not count.
        attempts: concurrent attempts at most, including the first; each starts `after` seconds after the previous one.

    The work may be done several times, so the operation must be `idempotent=True`. Hedging is not retrying: if an
    attempt fails while no other is running, the call fails.

    Raises:
        PolicyError: the arguments are impossible; at decoration, the operation is not `idempotent=True`.
    """

    slot: ClassVar[str] = "hedge"
    repeats: ClassVar[bool] = True
    needs_idempotent: ClassVar[bool] = True

    after: float
    _: KW_ONLY
    attempts: int = 2

    if TYPE_CHECKING:

        def __init__(self, after: Duration, *, attempts: int = 2) -> None: ...

    def __post_init__(self) -> None:
        durations.settle(self, "after", where="Hedge(after)")
        if type(self.attempts) is not int or self.attempts < 2:
            msg = f"Hedge(attempts=...) counts concurrent attempts, so it is 2 or more, not {self.attempts!r}"
            raise PolicyError(msg)

    @property
    def most_attempts(self) -> int:
        return self.attempts

    def longest(self, inner: Bound) -> Bound:
        return inner.beside(self.attempts, self.after)

    def describe(self) -> str:
        return f"hedge: after {self.after:g} s, up to {self.attempts} concurrent attempts"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if not call.work.idempotent:  # a pipeline without a decorator is not checked earlier
            return Failed(PolicyError(f"{call.operation} is hedged, so it may run twice: set idempotent=True"))
        beside = [call.in_parallel()]
        began, winner = clock.now(), 0
        try:
            winner, outcome = await call.runtime.race(
                self._begin(call, beside, proceed),
                most=self.attempts,
                after=self.after,
                more=lambda number: self._time_left(call, beside, number),
                name=call.operation,
            )
        finally:
            for number, each in enumerate(beside, 1):
                if number != winner:
                    each.fence()
        if winner > 1 and not isinstance(outcome, Failed):
            call.emit(HedgeWon, number=winner, seconds=clock.now() - began)
        return outcome

    def _time_left(self, call: Call, beside: list[ParallelCall], number: int) -> float:
        """Return the seconds until an attempt counts as slow: `after` seconds after it got its permits."""
        turn = beside[number - 1].turn
        left = self.after if turn == math.inf else self.after - (real_time.monotonic() - turn)
        if left <= 0 and number == len(beside):  # the next one starts
            beside.append(call.in_parallel())
        return left

    def _begin(
        self, call: Call, beside: list[ParallelCall], proceed: Proceed
    ) -> Callable[[int], Coroutine[Any, Any, Outcome[Any]]]:
        def begin(number: int) -> Coroutine[Any, Any, Outcome[Any]]:
            if number > 1:
                call.emit(HedgeStarted, number=number, after=self.after)
            each = beside[number - 1]
            each.work.thread = threading.get_ident()
            return proceed(each)

        return begin
