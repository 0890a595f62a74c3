"""The slots that this process holds of each bulkhead."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import uuid
from collections.abc import Callable, Collection
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from resilient_tasks import safely
from resilient_tasks.core.call import Call, Permit, held, running
from resilient_tasks.core.errors import TimedOut
from resilient_tasks.core.execution import abandoned, leftovers
from resilient_tasks.core.first_attempts import Door, Text
from resilient_tasks.core.store import TAKES_TURNS, Cell
from resilient_tasks.policies.bulkhead.kept_slot import KeptSlot, idle_slots
from resilient_tasks.policies.bulkhead.machine import Answer, Holder, Slots
from resilient_tasks.state.changes import Changes
from resilient_tasks.state.states import States

if TYPE_CHECKING:
    from resilient_tasks.core.settings import Settings

#: Seconds after which the slots of a dead process are free again. A living process renews its slots in time.
LEASE = 30.0
#: Seconds after which the place in the queue of a dead caller is free again.
PLACE = 5.0
#: Seconds for which the state of an empty bulkhead is kept.
_EMPTY = 60.0


class SlotsDoor(Door):
    """Open while a bulkhead is in this process's memory, has a free slot, and its queue is empty."""

    __slots__ = ("cell", "limit", "mine")

    cell: Cell
    limit: int
    mine: Holder
    text: ClassVar[Text] = Text(
        "a bulkhead",
        "(slots := door.cell.live) is not None and slots.only is (mine := door.mine) and mine.number < door.limit",
        take="mine.number += 1",
        succeeded="if permit is door.permit: door.mine.number -= 1\nelse: permit.succeeded()",
    )


class HeldSlots:
    """The slots of one bulkhead that this process holds.

    Attributes:
        waiting: callers in the queue, of all processes, as last read from the store.
        changes: numbers in place of those of the code, as last read from the store.
        permit: of a call that is made at once; it releases its slot.
    """

    was_used: bool

    def __init__(self, shared: States, key: str) -> None:
        self.waiting: int = 0
        self.changes: Changes | None = None
        self.was_used = self._was_free = False
        self.permit: Permit = Permit(key, succeeded=self.release, ended=self.release_after)
        self._states = shared
        self._key = key
        self._name = uuid.uuid4().hex
        self._tickets = itertools.count(1)
        self._memory = shared.memory
        shared.on_regained.append(self.write)
        # In memory, the state has this very object as its holder: there is no more to write.
        self._mine = Holder(0, math.inf)
        self._lock: threading.Lock | threading.RLock = threading.Lock()  # held only while counting
        self._cell = Cell(None, 0.0)
        self._lease, self._place = LEASE, PLACE
        self._kept = KeptSlot(shared, self._name, self._lease)
        if self._memory is not None:
            # The state dies with the process: it needs no lease.
            self._lease = self._place = math.inf
            self._lock = self._memory.lock

    @property
    def is_needed(self) -> bool:
        """Whether slots are held here."""
        return self._mine.number > 0 or self._kept.is_needed

    def let_go(self) -> None:
        """See `View`."""
        with contextlib.suppress(ValueError):
            self._states.on_regained.remove(self.write)
        self._states.forget(self._key, self._decode, lambda slots: 0.0 if slots.is_empty else math.inf)

    def try_acquire(self, limit: int, door: SlotsDoor | None = None, current: Settings | None = None) -> Permit | None:
        """Take one slot of `limit`, or return None if it has to be requested, and may have to be waited for.

        Args:
            limit: the number of slots.
            door: the door to open, for the `current` settings.
            current: the settings in force since before these slots were looked up.
        """
        self.was_used = True
        if self._memory is None:
            if self._kept.state == "idle":
                if self._kept.reuse(self._key, limit, self._renew):
                    return self.permit
                self._was_free = self._was_free and not self._kept.others_wait
            if not self._was_free:  # it is probably full: one request is enough
                return None
            return self.permit if self.request("", limit, 0, keep=True) == "taken" else None
        if (found := self._cell.live) is not None and found.changes is not None:
            limit = found.limit_of(limit)
        if door is not None:
            door.cell, door.limit, door.mine, door.permit = self._cell, limit, self._mine, self.permit
            door.opened_for = current
        # Without a call or a loop: no other thread runs before the slot is counted, see `Cell`.
        slots, mine = self._cell.live, self._mine
        if slots is None or slots.only is not mine or mine.number >= limit:
            return None
        mine.number += 1
        return self.permit

    def new_ticket(self) -> str:
        """Return a ticket that no other caller has."""
        return f"{self._name}-{next(self._tickets):x}"

    def request(self, ticket: str, limit: int, places: int, *, keep: bool = False) -> Answer:
        """Request one slot of `limit`, or one of `places` in the queue.

        Args:
            ticket: of the caller.
            limit: the number of slots.
            places: the length of the queue.
            keep: whether the process may keep the slot for its next call, see `KeptSlot`.
        """
        may_keep = keep and TAKES_TURNS and self._memory is None
        kept = self._kept if may_keep and self._kept.claim() else None
        answer: Answer = "full"
        try:
            answer, slots = self._request(ticket, limit, places, kept, ())
            if answer != "taken" and slots.kept:
                claims, missing = self._states.claims(), slots.missing(ticket, limit)
                with idle_slots(claims, slots, missing, self._kept.name) as idle:
                    if idle:
                        answer, slots = self._request(ticket, limit, places, kept, idle)
        except BaseException:  # interrupted: the caller cannot release a slot that it does not know of
            if answer == "taken":
                self.release()
            raise
        finally:
            if kept is not None and answer != "taken":
                kept.drop()
        return answer

    def _request(
        self, ticket: str, limit: int, places: int, kept: KeptSlot | None, idle: Collection[str]
    ) -> tuple[Answer, Slots]:
        taken = False

        def step(slots: Slots, now: float) -> tuple[Slots | None, tuple[Answer, Slots]]:
            nonlocal taken
            # A store that hung may have applied an old request late: first write what this process holds.
            self._update(slots, now)
            if kept is not None:
                kept.remove(slots)
            answer = slots.request(ticket, limit, places, now, self._place, idle=idle)
            if answer == "taken" and kept is not None:
                kept.hold(slots, now)
            elif answer == "taken":
                self._update(slots, now, 1)
                taken = self._memory is not None
            return slots.to_store(), (answer, slots)

        def count(result: tuple[Answer, Slots]) -> None:  # before another thread writes the number of slots held
            nonlocal taken
            answer, slots = result
            if answer == "taken" and kept is not None:
                kept.start(limit, others_wait=bool(slots.queue))
                return
            self.was_used = True
            if self._memory is not None:
                self._cell = self._memory.cell(self._key, self._decode)
            elif answer == "taken":
                with self._lock:
                    self._mine.number += 1
                    taken = True

        try:
            answer, slots = self._states.step(self._key, self._decode, step, ttl=self._ttl, take_in=count)
            self.changes = slots.changes
            self.waiting, self._was_free = len(slots.queue), answer == "taken"
            self._kept.others_wait = self.waiting > 0  # or other threads of this process
            self._start_renewing()
        except BaseException:  # as in `request`, which drops the kept slot
            self._undo(taken=taken, kept=kept)
            raise
        return answer, slots

    def _undo(self, *, taken: bool, kept: KeptSlot | None) -> None:
        """Release the slot of an interrupted call."""
        if taken:
            self.release()
        elif kept is None:
            self.write()  # the store may count a slot that is not counted here

    def release(self) -> None:
        """Release a slot. After an interrupt it is still held."""
        if self._memory is not None and TAKES_TURNS:
            self._mine.number -= 1  # one step, as in `try_acquire`
            return
        if self._kept.release():  # all slots are alike
            return
        with self._lock:
            self._mine.number -= 1
        if self._memory is None:
            try:
                self.write()
            except BaseException:
                with self._lock:
                    self._mine.number += 1
                raise

    def write(self) -> None:
        """Write to the store how many slots this process holds."""
        self._change(self._update)

    def leave_queue(self, ticket: str) -> None:
        """Give up a place in the queue, even if that is interrupted: in memory a place does not expire."""

        def remove(slots: Slots, now: float) -> None:
            slots.expire(now, self._lease, self._place).remove(ticket)

        try:
            self._change(remove)
        except BaseException:
            self._change(remove)
            raise

    def release_after(self, error: BaseException | None, call: Call | None = None) -> None:
        """Release the slot of a call that failed with `error`; if it left work running, once that has ended."""
        running_on = ""
        try:
            if error is None or isinstance(error, Exception):
                if safely.is_a(error, TimedOut) and error.abandoned:
                    running_on = error.thread
            else:  # cancelled, or interrupted by a limit around this call
                running_on = _left_by(call)
        finally:  # finding that work takes milliseconds, in which a second interrupt may come
            if running_on:
                abandoned.when_ended(running_on, self.release)
            else:
                self.release()

    def _change(self, change: Callable[[Slots, float], None]) -> None:
        def step(slots: Slots, now: float) -> tuple[Slots | None, tuple[Answer | None, Slots]]:
            change(slots, now)
            return slots.to_store(), (None, slots)

        self._states.step(self._key, self._decode, step, ttl=self._ttl)

    def renumber(self, change: Callable[[Changes | None], Changes | None]) -> None:
        """Replace the changes in the state."""

        def set_them(slots: Slots, now: float) -> None:
            slots.expire(now, self._lease, self._place).changes = change(slots.changes)

        self._change(set_them)
        self._kept.look_again()

    def _update(self, slots: Slots, now: float, more: int = 0) -> None:
        """Set the slots of this process, and add `more`."""
        slots.expire(now, self._lease, self._place)
        if self._memory is None:
            slots.hold(self._name, Holder(self._mine.number + more, now + self._lease))
            self._kept.update(slots, now)
        else:
            slots.hold(self._name, self._mine)
            self._mine.number += more

    def _decode(self, encoded: bytes | None, now: float) -> Slots:
        return Slots.decode(encoded, now, self._lease, self._place)

    def _ttl(self, result: tuple[Answer | None, Slots]) -> float | None:
        """Return the seconds for which the state is kept; None, until `let_go`, in memory, or with changed numbers."""
        return (
            None
            if self._memory is not None or result[1].changes is not None
            else max(self._lease, self._place) + _EMPTY
        )

    def _start_renewing(self) -> None:
        if self._memory is None and self.is_needed:
            self._renew()

    def _renew(self) -> None:
        _renewals(self._states).add(self)


def _left_by(call: Call | None) -> str:
    """Register the work that a call left running as abandoned, and return its names."""
    call, mark = call or running.get(), None if call else held.get()
    if mark and mark[0] and mark[1] is call:  # the mark is the inner one of the two
        return abandoned.add_leftovers(leftovers.known_leftovers(mark), mark[0])
    return "" if call is None else abandoned.add_leftovers(leftovers.known_leftovers(call), call.operation)


class _Renewals:
    """One thread that renews the slots of all bulkheads that this process holds."""

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
        pause = threading.Event()  # never set
        while True:
            pause.wait(LEASE / 3)
            with self._lock:
                self._held = {held for held in self._held if held.is_needed}
                if not self._held:
                    self._runs = False
                    return
                held = list(self._held)
            for each in held:
                each.write()


#: By the states that the process uses. A forked child opens its own.
_of_states: WeakKeyDictionary[States, _Renewals] = WeakKeyDictionary()


def _renewals(states: States) -> _Renewals:
    found = _of_states.get(states)
    return _of_states.setdefault(states, _Renewals()) if found is None else found
