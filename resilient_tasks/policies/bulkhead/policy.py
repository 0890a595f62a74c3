"""Bulkhead: no more calls at once than a service, or this machine, can take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from resilient_tasks.core import settings
from resilient_tasks.core.call import Permit
from resilient_tasks.core.errors import BulkheadFull, PolicyError
from resilient_tasks.core.events import BulkheadRejected
from resilient_tasks.core.keys import keys
from resilient_tasks.core.outcome import Failed, Outcome
from resilient_tasks.core.parameters import checks
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.core.wording import number_of
from resilient_tasks.policies.bulkhead.slots import HeldSlots, SlotsDoor
from resilient_tasks.state.states import shared, states

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Plan, Proceed
    from resilient_tasks.policies.bulkhead.machine import Answer

#: Where bulkheads are in the store.
_PREFIX = "bulkhead/"
#: A caller in the queue looks again after so many seconds, growing from the first to the last: by a quarter, so that it
#: waits no longer than a quarter of its time for nothing.
_FIRST_LOOK, _LAST_LOOK, _GROWS = 0.005, 0.1, 1.25


@answering('Bulkhead("warehouse", 4)')
@dataclass(frozen=True, eq=False)
class Bulkhead(keys.Keyed, Policy):
    """Let at most `limit` calls be under way at once, together with everyone who names the same bulkhead.

    Args:
        name: of what is protected, such as `"warehouse"`. Or a key function, such as `lambda url: host_of(url)`: it is
            given those of the call's arguments that it names, and returns the name for this call. Each name has slots
            and a queue of its own.
        limit: calls at once.
        queue: calls that may wait for one of those to end, in the order in which they came. The others, and those whose
            deadline comes while they wait, fail with `BulkheadFull`, which is not retried by default.

    An attempt that was abandoned (see `Timeout`) keeps its slot until it really ends. The slots of a process that died
    are free again after half a minute.

    Raises:
        PolicyError: the arguments are impossible.
    """

    slot: ClassVar[str] = "bulkhead"
    holds: ClassVar[bool] = True

    name: keys.Name
    limit: int
    _: KW_ONLY
    queue: int = 0
    _key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.settle_name()
        checks.positive_number(self.limit, "Bulkhead(limit)")
        if type(self.queue) is not int or self.queue < 0:
            msg = f"Bulkhead(queue) is the number of calls that may wait, 0 or more, not {self.queue!r}"
            raise PolicyError(msg)
        object.__setattr__(self, "_key", "" if self.is_keyed else f"{_PREFIX}{self.name}")

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        self.check_key(fn)

    def describe(self) -> str:
        queue = f", {self.queue} more may wait" if self.queue else ""
        return f"bulkhead: {self.title}, {number_of(self.limit, 'call')} at once{queue}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if self.is_keyed:
            return await keys.around(self, call, proceed)
        if call.work.take_permit(self._key) is not None:
            return await proceed(call)  # that attempt was made already, and has given its slot back: see `at_once`
        slots = self._slots()
        reason = await self._enter(call, slots)
        if reason:
            return self._full(call, slots, reason)
        try:
            outcome = await proceed(call)
            if not isinstance(outcome, Failed):
                slots.leave()
                return outcome
        except BaseException as error:
            slots.ended(error, call)
            raise
        slots.ended(outcome.error)
        return outcome

    @property
    def heeds_arguments(self) -> bool:
        return self.is_keyed

    @property
    def door(self) -> SlotsDoor | None:
        """Where slots are taken while the bulkhead is in this process's memory, and nobody waits."""
        return None if self.is_keyed else SlotsDoor(self)

    def at_once(
        self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any], door: SlotsDoor | None = None
    ) -> Permit | None:
        if shared.opened_for is (chosen := settings.current):
            slots: HeldSlots | None = shared.views.get(self._key or self.place_at_once(_PREFIX, plan, args, kwargs))
            if slots is not None:
                return slots.acquire(self.limit, door, chosen)
        return None

    async def _enter(self, call: Call, slots: HeldSlots) -> str:
        """Take a slot, or say why not."""
        ticket = slots.new_ticket()
        look_again_in = _FIRST_LOOK
        answer: Answer = "queued"  # as far as is known: the question may be interrupted once it was answered
        try:
            answer = slots.ask(ticket, self.limit, self.queue, keep=True)
            while answer == "queued":
                left = call.remaining()
                if left <= 0:
                    return "the deadline came first"
                await call.wait_for_turn(min(look_again_in, left))
                look_again_in = min(_LAST_LOOK, _GROWS * look_again_in)
                answer = slots.ask(ticket, self.limit, self.queue, keep=True)
        finally:
            if answer == "queued":
                slots.forget(ticket)
        if answer == "taken":
            return ""
        return "the queue is full" if self.queue else "there is no queue"

    def _full(self, call: Call, slots: HeldSlots, reason: str) -> Failed:
        queued = slots.waiting
        call.emit(BulkheadRejected, bulkhead=self.title, limit=self.limit, queued=queued, reason=reason)
        full = f"bulkhead {self.title} is full ({number_of(self.limit, 'call')} at once, {queued} waiting)"
        return Failed(BulkheadFull(f"{full}: {call.operation} was not called; {reason}"))

    def _slots(self) -> HeldSlots:
        return states().view(self._key, HeldSlots)

    def _named(self, name: str) -> Self:
        return keys.changed(self, name=name, _key=_PREFIX + name)
