"""The slots of a bulkhead that calls share."""

from __future__ import annotations

import math
import threading
import uuid

from resilient_tasks.machines.slots import Answer, Slots
from resilient_tasks.shared.states import States

#: Seconds after which the slots of a process that died are free again. A living one renews its lease in time.
LEASE = 30.0
#: Seconds after which the place in the queue of a caller that died is free again.
PLACE = 5.0


class HeldSlots:
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
        shared.when_back.append(self.tell)
        # Where the state dies with the process, nobody else has to be told when that was.
        self._lease, self._place = (LEASE, PLACE) if shared.is_shared else (math.inf, math.inf)

    def ask(self, ticket: str, limit: int, places: int) -> Answer:
        """Ask for one slot of `limit`, or for one of so many `places` in the queue."""

        def change(state: bytes | None, now: float) -> tuple[bytes | None, tuple[Answer, int]]:
            found = Slots.decode(state, now)
            # A store that hung may have taken in, much later, what was asked then: no more is held than is held here.
            before = found if found.number_of(self._me) == self._held else self._holding(found, self._held, now)
            slots, answer = before.ask(ticket, limit, places, now, self._place)
            if answer == "taken":
                slots = self._holding(slots, self._held + 1, now)
            return (state if slots is found else slots.encode()), (answer, len(slots.queue))

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

    def tell(self) -> None:
        """Tell how many slots are held here."""
        with self._lock:
            self._tell()

    def forget(self, ticket: str) -> None:
        """Give a place in the queue back."""
        self._states.update(self._key, lambda state, now: (Slots.decode(state, now).without(ticket).encode(), None))

    def _tell(self) -> None:
        def change(state: bytes | None, now: float) -> tuple[bytes, None]:
            return self._holding(Slots.decode(state, now), self._held, now).encode(), None

        self._states.update(self._key, change)

    def _holding(self, slots: Slots, number: int, now: float) -> Slots:
        return slots.holding(self._me, number, now + self._lease)

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
