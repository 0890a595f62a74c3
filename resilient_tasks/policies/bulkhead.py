"""Bulkhead: no more calls at once than a service, or this machine, can take."""

from __future__ import annotations

import math
import threading
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from resilient_tasks.core import checks
from resilient_tasks.core.errors import BulkheadFull, PolicyError, TimedOut
from resilient_tasks.core.events import BulkheadRejected
from resilient_tasks.core.outcome import Failed, Outcome
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.core.store import States, states
from resilient_tasks.core.threads import once_ended
from resilient_tasks.machines.slots import Answer, Slots

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Proceed

#: Seconds after which the slots of a process that died are free again. A living one renews its lease in time.
LEASE = 30.0
#: Seconds after which the place in the queue of a caller that died is free again.
PLACE = 5.0
#: A caller in the queue looks again after so many seconds, doubling from the first to the last.
_FIRST_LOOK, _LAST_LOOK = 0.005, 0.1


@dataclass(frozen=True, eq=False)
class Bulkhead(Policy):
    """Let at most `limit` calls be under way at once, together with everyone who names the same bulkhead.

    Args:
        name: of what is protected, such as `"warehouse"`.
        limit: calls at once.
        queue: calls that may wait for one of those to end, in the order in which they came. The others, and those whose
            deadline comes while they wait, fail with `BulkheadFull`, which is not retried by default.

    An attempt that was abandoned (see `Timeout`) keeps its slot until it really ends. The slots of a process that died
    are free again after half a minute.

    Raises:
        PolicyError: the arguments are impossible.
    """

    slot: ClassVar[str] = "bulkhead"

    name: str
    limit: int
    queue: int = 0

    def __post_init__(self) -> None:
        checks.name(self.name, "Bulkhead(name)")
        checks.positive_number(self.limit, "Bulkhead(limit)")
        if type(self.queue) is not int or self.queue < 0:
            msg = f"Bulkhead(queue) is the number of calls that may wait, 0 or more, not {self.queue!r}"
            raise PolicyError(msg)

    def describe(self) -> str:
        queue = f", {self.queue} more may wait" if self.queue else ""
        return f"bulkhead: {self.name}, {self.limit} calls at once{queue}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        slots = self._slots()
        reason = await self._enter(call, slots)
        if reason:
            return self._full(call, slots, reason)
        running_on = ""
        try:
            outcome = await proceed(call)
            if isinstance(outcome, Failed) and isinstance(outcome.error, TimedOut) and outcome.error.abandoned:
                running_on = outcome.error.thread
            return outcome
        finally:
            if running_on:
                once_ended(running_on, slots.leave)
            else:
                slots.leave()

    async def _enter(self, call: Call, slots: _HeldHere) -> str:
        """Take a slot, or say why not."""
        ticket = uuid.uuid4().hex
        look_again_in = _FIRST_LOOK
        answer = slots.ask(ticket, self)
        try:
            while answer == "queued":
                left = call.remaining()
                if left <= 0:
                    return "the deadline came first"
                await call.runtime.sleep(min(look_again_in, left))
                look_again_in = min(_LAST_LOOK, 2 * look_again_in)
                answer = slots.ask(ticket, self)
        finally:
            if answer == "queued":
                slots.forget(ticket)
        if answer == "taken":
            return ""
        return "the queue is full" if self.queue else "there is no queue"

    def _full(self, call: Call, slots: _HeldHere, reason: str) -> Failed:
        queued = slots.waiting
        call.emit(BulkheadRejected, bulkhead=self.name, limit=self.limit, queued=queued, reason=reason)
        full = f"bulkhead {self.name} is full ({self.limit} calls at once, {queued} waiting)"
        return Failed(BulkheadFull(f"{full}: {call.operation} was not called; {reason}"))

    def _slots(self) -> _HeldHere:
        return states().view(f"bulkhead/{self.name}", _HeldHere)


class _HeldHere:
    """The slots of one bulkhead that this process holds.

    Attributes:
        waiting: callers in the queue, of all processes, when the store was asked last.
    """

    def __init__(self, shared: States, key: str) -> None:
        self.waiting = 0
        self._states = shared
        self._key = key
        self._me = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._held = 0
        self._renewed = False
        # Where the state dies with the process, nobody else has to be told when that was.
        self._lease, self._place = (LEASE, PLACE) if shared.is_shared else (math.inf, math.inf)

    def ask(self, ticket: str, bulkhead: Bulkhead) -> Answer:
        """Ask for a slot, or for a place in the queue."""

        def change(state: bytes | None, now: float) -> tuple[bytes | None, tuple[Answer, int]]:
            before = Slots.decode(state, now)
            slots, answer = before.ask(ticket, bulkhead.limit, bulkhead.queue, now, self._place)
            if answer == "taken":
                slots = slots.holding(self._me, self._held + 1, now + self._lease)
            return (state if slots is before else slots.encode()), (answer, len(slots.queue))

        with self._lock:
            answer, self.waiting = self._states.update(self._key, change)
            self._held += answer == "taken"
            self._keep_renewing()
        return answer

    def leave(self) -> None:
        """Give a slot back."""
        with self._lock:
            self._held -= 1
            self._tell()

    def forget(self, ticket: str) -> None:
        """Give a place in the queue back."""
        self._states.update(self._key, lambda state, now: (Slots.decode(state, now).without(ticket).encode(), None))

    def _tell(self) -> None:
        held = self._held
        self._states.update(
            self._key,
            lambda state, now: (Slots.decode(state, now).holding(self._me, held, now + self._lease).encode(), None),
        )

    def _keep_renewing(self) -> None:
        if self._states.is_shared and self._held and not self._renewed:
            self._renewed = True
            threading.Thread(target=self._renew, name="resilient:bulkhead", daemon=True).start()

    def _renew(self) -> None:
        pause = threading.Event()  # nobody sets it
        while True:
            pause.wait(LEASE / 3)
            with self._lock:
                if not self._held:
                    self._renewed = False
                    return
                self._tell()
