"""Hedge: a second call beside one that is slow to answer."""

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

    from resilient_tasks.core.call import Call, ParallelCall, Proceed
    from resilient_tasks.core.parameters.durations import Duration


@answering("Hedge(0.2, attempts=2)")
@dataclass(frozen=True, eq=False)
class Hedge(Policy):
    """Make the same call once more where the first is slow to answer; the first good answer wins.

    For services with a slow tail (Dean and Barroso, "The Tail at Scale", 2013). What loses is cancelled, if it is
    async; a sync call runs in a thread of its own, and one that loses is left behind there, fenced: nothing more comes
    of it.

    Args:
        after: seconds to wait for an answer, or a text such as `"200ms"`, or a `timedelta`. Near the
            service's 95th percentile, one call in twenty is made twice. What a call waits for its turn, at a rate limit
            or a bulkhead, does not count.
        attempts: calls side by side, the first included; each next one `after` seconds after the one before.

    The work may be done several times, so the operation has to be `idempotent=True`. Hedging is no retry: a call that
    fails while no other is under way has failed.

    Raises:
        PolicyError: the arguments are impossible; at decoration, where the operation is not `idempotent=True`.
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
            msg = f"Hedge(attempts=...) counts the calls side by side, so it is 2 or more, not {self.attempts!r}"
            raise PolicyError(msg)

    @property
    def most_attempts(self) -> int:
        return self.attempts

    def describe(self) -> str:
        return f"hedge: after {self.after:g} s, up to {self.attempts} calls side by side"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if not call.work.idempotent:  # a pipeline without a decorator, which nobody could check
            return Failed(PolicyError(f"{call.operation} is hedged, so it may be done twice: set idempotent=True"))
        beside = [call.in_parallel()]
        began, winner = clock.now(), 0
        try:
            winner, outcome = await call.runtime.race(
                self._begin(call, beside, proceed),
                most=self.attempts,
                after=self.after,
                more=lambda number: self._more(call, beside, number),
                name=call.operation,
            )
        finally:
            for number, each in enumerate(beside, 1):
                if number != winner:
                    each.fence()
        if winner > 1 and not isinstance(outcome, Failed):
            call.emit(HedgeWon, number=winner, seconds=clock.now() - began)
        return outcome

    def _more(self, call: Call, beside: list[ParallelCall], number: int) -> float:
        """Return the seconds that a call is given from now on: it is slow `after` seconds after it had its turn."""
        turn = beside[number - 1].turn
        more = self.after if turn == math.inf else self.after - (real_time.monotonic() - turn)
        if more <= 0 and number == len(beside):  # the next one begins
            beside.append(call.in_parallel())
        return more

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
