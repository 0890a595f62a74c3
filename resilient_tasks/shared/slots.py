"""The slots of a bulkhead that calls share."""

from __future__ import annotations

import contextlib
import math
import threading
import uuid
from weakref import WeakKeyDictionary

from resilient_tasks.machines.slots import Answer, Slots
from resilient_tasks.shared.states import States

#: Seconds after which the slots of a process that died are free again. A living one renews its lease in time.
LEASE = 30.0
#: Seconds after which the place in the queue of a caller that died is free again.
PLACE = 5.0
#: Seconds for which a state is kept that says that nobody holds or waits for anything.
_EMPTY = 60.0


class HeldSlots:
    """The slots of one bulkhead that this process holds.

    Attributes:
        waiting: callers in the queue, of all processes, when the store was asked last.
    """

    def __init__(self, shared: States, key: str) -> None:
        self.waiting = 0
        self.was_used = False
        self._states = shared
        self._key = key
        self._me = uuid.uuid4().hex
        self._counting = threading.Lock()  # held for no longer than it takes to count
        self._held = 0
        shared.when_back.append(self.tell)
        # Where the state dies with the process, nobody else has to be told when that was.
        self._lease, self._place = (LEASE, PLACE) if shared.is_shared else (math.inf, math.inf)

    @property
    def is_needed(self) -> bool:
        """Whether slots are held here."""
        return self._held > 0

    def let_go(self) -> None:
        """See `View`."""
        with contextlib.suppress(ValueError):
            self._states.when_back.remove(self.tell)
        self._states.forget(self._key, lambda state: 0.0 if Slots.decode(state, -math.inf) == Slots() else math.inf)

    def ask(self, ticket: str, limit: int, places: int) -> Answer:
        """Ask for one slot of `limit`, or for one of so many `places` in the queue."""

        def change(state: bytes | None, now: float) -> tuple[bytes | None, tuple[Answer, Slots]]:
            found = self._decoded(state, now)
            # A store that hung may have taken in, much later, what was asked then: no more is held than is held here.
            before = found if found.number_of(self._me) == self._held else self._holding(found, self._held, now)
            slots, answer = before.ask(ticket, limit, places, now, self._place)
            if answer == "taken":
                slots = self._holding(slots, self._held + 1, now)
            return slots.encoded_over(state), (answer, slots)

        answer, slots = self._states.update(self._key, change, ttl=self._kept, take_in=self._count)
        self.waiting = len(slots.queue)
        self._keep_renewing()
        return answer

    def leave(self) -> None:
        """Give a slot back."""
        with self._counting:
            self._held -= 1
        self.tell()

    def tell(self) -> None:
        """Tell how many slots are held here."""

        def change(state: bytes | None, now: float) -> tuple[bytes | None, tuple[Answer, Slots]]:
            slots = self._holding(self._decoded(state, now), self._held, now)
            return slots.encoded_over(state), ("full", slots)

        self._states.update(self._key, change, ttl=self._kept)

    def forget(self, ticket: str) -> None:
        """Give a place in the queue back."""

        def change(state: bytes | None, now: float) -> tuple[bytes | None, tuple[Answer, Slots]]:
            slots = self._decoded(state, now).without(ticket)
            return slots.encoded_over(state), ("full", slots)

        self._states.update(self._key, change, ttl=self._kept)

    def _count(self, result: tuple[Answer, Slots]) -> None:
        """Take in an answer before another thread asks: each tells the store how many are held in all."""
        self.was_used = True
        if result[0] == "taken":
            with self._counting:
                self._held += 1

    def _decoded(self, state: bytes | None, now: float) -> Slots:
        return Slots.decode(state, now, self._lease, self._place)

    def _kept(self, result: tuple[Answer, Slots]) -> float | None:
        """Say for how long the state is needed: as long as anybody holds a slot or waits for one."""
        if not self._states.is_shared:
            return None if result[1].held or result[1].queue else _EMPTY
        return max(self._lease, self._place) + _EMPTY

    def _holding(self, slots: Slots, number: int, now: float) -> Slots:
        return slots.holding(self._me, number, now + self._lease)

    def _keep_renewing(self) -> None:
        if self._states.is_shared and self._held:
            _renewals(self._states).add(self)


class _Renewals:
    """A thread that says in time which slots a process still holds: one for all of its bulkheads, which may be many."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._held: set[HeldSlots] = set()
        self._runs = False

    def add(self, held: HeldSlots) -> None:
        with self._lock:
            self._held.add(held)
            if self._runs:
                return
            self._runs = True
        try:
            threading.Thread(target=self._run, name="resilient:bulkhead", daemon=True).start()
        except RuntimeError:  # at shutdown no thread starts
            self._runs = False

    def _run(self) -> None:
        pause = threading.Event()  # which is never set
        while True:
            pause.wait(LEASE / 3)
            with self._lock:
                self._held = {held for held in self._held if held.is_needed}
                if not self._held:
                    self._runs = False
                    return
                still = list(self._held)
            for held in still:
                held.tell()


#: By the states that a process uses. A forked child opens its own.
_of_states: WeakKeyDictionary[States, _Renewals] = WeakKeyDictionary()


def _renewals(states: States) -> _Renewals:
    found = _of_states.get(states)
    return _of_states.setdefault(states, _Renewals()) if found is None else found
