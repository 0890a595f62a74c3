"""Bulkhead: limit concurrent calls to what a service, or this machine, can take."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from resilient_tasks.core import settings
from resilient_tasks.core.call import NEVER, Permit
from resilient_tasks.core.errors import BulkheadFull, PolicyError
from resilient_tasks.core.events import BulkheadRejected
from resilient_tasks.core.keys import keys
from resilient_tasks.core.outcome import Failed, Outcome
from resilient_tasks.core.parameters import checks
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.core.wording import number_of
from resilient_tasks.policies.bulkhead.machine import Slots
from resilient_tasks.policies.bulkhead.slots import HeldSlots, SlotsDoor
from resilient_tasks.state import changing
from resilient_tasks.state.changes import Changes
from resilient_tasks.state.states import shared, states

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, Plan, Proceed
    from resilient_tasks.policies.bulkhead.machine import Answer

#: The prefix of bulkheads in the store.
_PREFIX = "bulkhead/"
#: The numbers that can be changed while workers run.
NUMBERS = ("limit", "queue")
#: Seconds after which a waiting call polls, first and at most, and the factor by which they grow: with a quarter more
#: each time, it spends at most a quarter of its wait beside a free slot.
_FIRST_POLL, _MAX_POLL, _GROWTH = 0.005, 0.1, 1.25


@answering('Bulkhead("warehouse", 4)')
@dataclass(frozen=True, eq=False)
class Bulkhead(keys.Keyed, Policy):
    """Let at most `limit` calls run concurrently, across all bulkheads of one name.

    Args:
        name: of the protected service, such as `"warehouse"`. Or a key function, such as `lambda url: host_of(url)`: it
            gets the call's arguments that it names, and returns the name for this call. Each name has its own slots and
            queue.
        limit: concurrent calls.
        queue: calls that may wait for a slot, in order of arrival. Further calls, and those whose deadline comes while
            they wait, fail with `BulkheadFull`, which is not retried by default.
        enforce: False measures only (shadow mode): no call waits or is refused. Calls that find no free slot emit
            `bulkhead.rejected` with `shadow`, and are not counted.

    An abandoned attempt (see `Timeout`) keeps its slot until it really ends. The slots of a dead process are free again
    after half a minute.

    Raises:
        PolicyError: the arguments are impossible.
    """

    slot: ClassVar[str] = "bulkhead"
    holds: ClassVar[bool] = True

    name: keys.Name
    limit: int
    _: KW_ONLY
    queue: int = 0
    enforce: bool = True
    _key: str = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.settle_name()
        checks.positive_number(self.limit, "Bulkhead(limit)")
        if type(self.queue) is not int or self.queue < 0:
            msg = f"Bulkhead(queue) is the number of calls that may wait, 0 or more, not {self.queue!r}"
            raise PolicyError(msg)
        checks.enforced(self.enforce, "Bulkhead(enforce=...)")
        object.__setattr__(self, "_key", "" if self.is_keyed else f"{_PREFIX}{self.name}")

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        self.check_key(fn)

    def longest(self, inner: Bound) -> Bound:
        return inner.after(NEVER, f"a slot of the bulkhead {self.title}") if self.queue else inner

    def describe(self) -> str:
        queue = f", {self.queue} more may wait" if self.queue else ""
        shadow = "" if self.enforce else "; shadow: refuses nothing"
        return f"bulkhead: {self.title}, {number_of(self.limit, 'call')} at once{queue}{shadow}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if self.is_keyed:
            return await keys.around(self, call, proceed)
        if call.work.take_permit(self._key) is not None:
            return await proceed(call)  # `at_once` has permitted this attempt, which has released its slot
        slots: HeldSlots = states().view(self._key, HeldSlots)
        if not self.enforce and slots.request("", self.limit, 0, keep=True) != "taken":
            self._emit_full(call, slots, "this call would wait" if self.queue else "there is no queue")
            return await proceed(call)
        if self.enforce and (reason := await self._enter(call, slots)):
            return self._full(call, slots, reason)
        try:
            outcome = await proceed(call)
            if not isinstance(outcome, Failed):
                slots.release()
                return outcome
        except BaseException as error:
            slots.release_after(error, call)
            raise
        slots.release_after(outcome.error)
        return outcome

    @property
    def heeds_arguments(self) -> bool:
        return self.is_keyed

    @property
    def door(self) -> SlotsDoor | None:
        """Open while the bulkhead is in this process's memory, has a free slot, and its queue is empty."""
        return None if self.is_keyed else SlotsDoor(self)

    def at_once(
        self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any], door: SlotsDoor | None = None
    ) -> Permit | None:
        if shared.opened_for is (current := settings.current):
            slots: HeldSlots | None = shared.views.get(self._key or self.place_at_once(_PREFIX, plan, args, kwargs))
            if slots is not None:
                return slots.try_acquire(self.limit, door, current)
        return None

    async def _enter(self, call: Call, slots: HeldSlots) -> str:
        """Take a slot, and wait for it if need be; return an empty text, or why there is none."""
        ticket = slots.new_ticket()
        poll_in = _FIRST_POLL
        answer: Answer = "queued"  # the request may be interrupted after it has put the ticket into the queue
        try:
            answer = slots.request(ticket, self.limit, self.queue, keep=True)
            while answer == "queued":
                left = call.remaining()
                if left <= 0:
                    return "the deadline came first"
                await call.wait_for_turn(min(poll_in, left))
                poll_in = min(_MAX_POLL, _GROWTH * poll_in)
                answer = slots.request(ticket, self.limit, self.queue, keep=True)
        finally:
            if answer == "queued":
                slots.leave_queue(ticket)
        if answer == "taken":
            return ""
        return "the queue is full" if self.queue else "there is no queue"

    def _full(self, call: Call, slots: HeldSlots, reason: str) -> Failed:
        queued = slots.waiting
        self._emit_full(call, slots, reason)
        full = f"bulkhead {self.title} is full ({number_of(self._limit_in(slots), 'call')} at once, {queued} waiting)"
        return Failed(BulkheadFull(f"{full}: {call.operation} was not called; {reason}"))

    def _emit_full(self, call: Call, slots: HeldSlots, reason: str) -> None:
        limit = self._limit_in(slots)
        details = {"bulkhead": self.title, "limit": limit, "queued": slots.waiting, "reason": reason}
        call.emit(BulkheadRejected, **details, shadow=not self.enforce)

    def _limit_in(self, slots: HeldSlots) -> int:
        return self.limit if slots.changes is None else int(slots.changes.numbers.get("limit", self.limit))

    def set_numbers(self, *, key: keys.Answer | None = None, by: str | None = None, **numbers: int) -> None:
        """Change numbers of the bulkhead while workers run, in place of those that any code gives.

        They are kept in the store, with those that were set earlier, and outlive restarts. Every process uses them from
        the next time that it asks the store. With a lower limit, calls that are running keep their slots.

        Args:
            key: of the bulkhead, if the policy's name is a key function.
            by: who changes them, for `changes`; default: this user and machine.
            **numbers: `limit` or `queue`.

        Raises:
            PolicyError: a number is unknown or out of range.
            ConnectionError: the store does not answer.
        """
        changing.check(numbers, NUMBERS, "a bulkhead")
        checked = Bulkhead("numbers", **{"limit": 1, **numbers})  # type: ignore[arg-type]  # it checks them
        new = {name: getattr(checked, name) for name in numbers}
        who = changing.name_of(by)
        self._renumber(key, lambda before: changing.merged(before, new, who))
        changing.settle(states(), new, self.changes(key=key))

    def reset_numbers(self, *, key: keys.Answer | None = None) -> None:
        """Use the numbers of the code again.

        Raises:
            ConnectionError: the store does not answer.
        """
        self._renumber(key, lambda _: None)
        changing.settle(states(), None, self.changes(key=key))

    def changes(self, *, key: keys.Answer | None = None) -> Changes | None:
        """Return the changed numbers, and who changed them when; None if the code's numbers are in force."""
        return Slots.decode(states().get(self._store_key(key)), states().now()).changes

    @staticmethod
    def names() -> list[str]:
        """Return the names of all bulkheads in the store that were used lately, or have changed numbers."""
        return sorted(key.removeprefix(_PREFIX) for key in states().keys(_PREFIX))

    def _renumber(self, key: keys.Answer | None, change: Callable[[Changes | None], Changes | None]) -> None:
        slots: HeldSlots = states().view(self._store_key(key), HeldSlots)
        slots.renumber(change)

    def _store_key(self, key: keys.Answer | None) -> str:
        needs_key = 'this policy has slots for each key: give one, as in bulkhead.changes(key="api.example.com")'
        return self.place_by_hand(_PREFIX, key, needs_key)

    def _named(self, name: str) -> Self:
        return keys.changed(self, name=name, _key=_PREFIX + name)
