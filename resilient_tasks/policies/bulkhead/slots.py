"""The slots of a bulkhead that calls share."""

from __future__ import annotations

import contextlib
import itertools
import math
import threading
import uuid
from collections.abc import Collection
from typing import TYPE_CHECKING, ClassVar
from weakref import WeakKeyDictionary

from resilient_tasks import safely
from resilient_tasks.core.call import Call, Permit, held, running
from resilient_tasks.core.errors import TimedOut
from resilient_tasks.core.execution import abandoned, leftovers
from resilient_tasks.core.first_attempts import Door, Text
from resilient_tasks.core.store import TAKES_TURNS, Cell
from resilient_tasks.policies.bulkhead.kept import KeptSlot, idle_slots
from resilient_tasks.policies.bulkhead.machine import Answer, Holder, Slots
from resilient_tasks.state.states import States

if TYPE_CHECKING:
    from resilient_tasks.core.settings import Settings

#: Seconds after which the slots of a process that died are free again. A living one renews its lease in time.
LEASE = 30.0
#: Seconds after which the place in the queue of a caller that died is free again.
PLACE = 5.0
#: Seconds for which a state is kept that says that nobody holds or waits for anything.
_EMPTY = 60.0


class SlotsDoor(Door):
    """Open while a bulkhead is in this process's memory, and no one waits for its slots."""

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
        waiting: callers in the queue, of all processes, when the store was asked last.
        leave_given: for a call that is made at once; it gives its slot back.
    """

    was_used: bool

    def __init__(self, shared: States, key: str) -> None:
        self.waiting: int = 0
        self.was_used = self._was_free = False
        self.leave_given: Permit = Permit(key, succeeded=self.leave, ended=self.ended)
        self._states = shared
        self._key = key
        self._me = uuid.uuid4().hex
        self._tickets = itertools.count(1)
        self._memory = shared.memory
        shared.on_regained.append(self.tell)
        # In a memory, the holder that stands there: what is held is held there, and need not be told.
        self._mine = Holder(0, math.inf)
        self._lock: threading.Lock | threading.RLock = threading.Lock()  # held for no longer than it takes to count
        self._cell = Cell(None, 0.0)
        self._lease, self._place = LEASE, PLACE
        self._kept = KeptSlot(shared, self._me, self._lease)
        if self._memory is not None:
            # Where the state dies with the process, nobody else has to be told when that was.
            self._lease = self._place = math.inf
            self._lock = self._memory.lock

    @property
    def is_needed(self) -> bool:
        """Whether slots are held here."""
        return self._mine.number > 0 or self._kept.is_needed

    def let_go(self) -> None:
        """See `View`."""
        with contextlib.suppress(ValueError):
            self._states.on_regained.remove(self.tell)
        self._states.forget(self._key, self._decoded, lambda slots: 0.0 if slots.is_empty else math.inf)

    def acquire(self, limit: int, door: SlotsDoor | None = None, chosen: Settings | None = None) -> Permit | None:
        """Take one slot of `limit`, or return None where `ask` may have to wait for one.

        Args:
            limit: how many may be taken.
            door: to be opened, for the settings that are `chosen`.
            chosen: in force since before these slots were found.
        """
        self.was_used = True
        if self._memory is None:
            if self._kept.state == "idle":
                if self._kept.use_again(self._key, limit, self._renew):
                    return self.leave_given
                self._was_free = self._was_free and not self._kept.others_wait
            if not self._was_free:  # what is likely to be full is asked once
                return None
            return self.leave_given if self.ask("", limit, 0, keep=True) == "taken" else None
        if door is not None:
            door.cell, door.limit, door.mine, door.permit = self._cell, limit, self._mine, self.leave_given
            door.opened_for = chosen
        # Without a call or a loop: no other thread has its turn before the slot is counted, see `Cell`.
        slots, mine = self._cell.live, self._mine
        if slots is None or slots.only is not mine or mine.number >= limit:
            return None
        mine.number += 1
        return self.leave_given

    def new_ticket(self) -> str:
        """Return a ticket that no other caller has."""
        return f"{self._me}-{next(self._tickets):x}"

    def ask(self, ticket: str, limit: int, places: int, *, keep: bool = False) -> Answer:
        """Ask for one slot of `limit`, or for one of so many `places` in the queue.

        Args:
            ticket: of the caller.
            limit: slots in all.
            places: in the queue.
            keep: the process may keep the slot for its next call, see `KeptSlot`.
        """
        may_keep = keep and TAKES_TURNS and self._memory is None
        kept = self._kept if may_keep and self._kept.claim() else None
        answer: Answer = "full"
        try:
            answer, slots = self._asked(ticket, limit, places, kept, ())
            if answer != "taken" and slots.kept:
                claims, lacking = self._states.claims(), slots.lacks(ticket, limit)
                with idle_slots(claims, slots, lacking, self._kept.name) as idle:
                    if idle:
                        answer, slots = self._asked(ticket, limit, places, kept, idle)
        except BaseException:  # interrupted: the caller cannot give back what it does not know of
            if answer == "taken":
                self.leave()
            raise
        finally:
            if kept is not None and answer != "taken":
                kept.drop()
        return answer

    def _asked(
        self, ticket: str, limit: int, places: int, kept: KeptSlot | None, idle: Collection[str]
    ) -> tuple[Answer, Slots]:
        taken = False

        def step(slots: Slots, now: float) -> tuple[Slots | None, tuple[Answer, Slots]]:
            nonlocal taken
            # A store that hung may have taken in, much later, what was asked then: no more is held than is held here.
            self._tell(slots, now)
            if kept is not None:
                kept.takes_back(slots)
            answer = slots.ask(ticket, limit, places, now, self._place, idle=idle)
            if answer == "taken" and kept is not None:
                kept.holds(slots, now)
            elif answer == "taken":
                self._tell(slots, now, 1)
                taken = self._memory is not None
            return slots.to_keep(), (answer, slots)

        def count(result: tuple[Answer, Slots]) -> None:  # before another thread asks: each tells what is held in all
            nonlocal taken
            answer, slots = result
            if answer == "taken" and kept is not None:
                kept.began(limit, others_wait=bool(slots.queue))
                return
            self.was_used = True
            if self._memory is not None:
                self._cell = self._memory.cell(self._key, self._decoded)
            elif answer == "taken":
                with self._lock:
                    self._mine.number += 1
                    taken = True

        try:
            answer, slots = self._states.step(self._key, self._decoded, step, ttl=self._kept_for, take_in=count)
            self.waiting, self._was_free = len(slots.queue), answer == "taken"
            self._kept.others_wait = self.waiting > 0  # or other threads of this process
            self._keep_renewing()
        except BaseException:  # as in `ask`, which gives back what was to be kept
            self._undo(taken=taken, kept=kept)
            raise
        return answer, slots

    def _undo(self, *, taken: bool, kept: KeptSlot | None) -> None:
        """Have no slot be held for a call that was interrupted."""
        if taken:
            self.leave()
        elif kept is None:
            self.tell()  # the store may count what is not counted here

    def leave(self) -> None:
        """Give a slot back. If it is interrupted, the slot is still held."""
        if self._memory is not None and TAKES_TURNS:
            self._mine.number -= 1  # counted in one go, as in `acquire`
            return
        if self._kept.leave():  # one slot is as good as another
            return
        with self._lock:
            self._mine.number -= 1
        if self._memory is None:
            try:
                self.tell()
            except BaseException:
                with self._lock:
                    self._mine.number += 1
                raise

    def tell(self) -> None:
        """Tell how many slots are held here."""

        def step(slots: Slots, now: float) -> tuple[Slots | None, tuple[Answer, Slots]]:
            self._tell(slots, now)
            return slots.to_keep(), ("full", slots)

        self._states.step(self._key, self._decoded, step, ttl=self._kept_for)

    def forget(self, ticket: str) -> None:
        """Give a place in the queue back, also if that is interrupted: in a memory it has no end of its own."""

        def step(slots: Slots, now: float) -> tuple[Slots | None, tuple[Answer, Slots]]:
            slots.by(now, self._lease, self._place).without(ticket)
            return slots.to_keep(), ("full", slots)

        try:
            self._states.step(self._key, self._decoded, step, ttl=self._kept_for)
        except BaseException:
            self._states.step(self._key, self._decoded, step, ttl=self._kept_for)
            raise

    def ended(self, error: BaseException | None, call: Call | None = None) -> None:
        """Give a slot back: once what a call has left behind has ended, where it has failed so."""
        running_on = ""
        try:
            if error is None or isinstance(error, Exception):
                if safely.is_a(error, TimedOut) and error.abandoned:
                    running_on = error.thread
            else:  # it was cancelled, or is cut by a limit around this
                running_on = _left_by(call)
        finally:  # to look for them takes milliseconds, in which a second interrupt may come
            if running_on:
                abandoned.when_ended(running_on, self.leave)
            else:
                self.leave()

    def _tell(self, slots: Slots, now: float, more: int = 0) -> None:
        """Have this process hold what it does, and so many slots more."""
        slots.by(now, self._lease, self._place)
        if self._memory is None:
            slots.held_by(self._me, Holder(self._mine.number + more, now + self._lease))
            self._kept.tell(slots, now)
        else:
            slots.held_by(self._me, self._mine)
            self._mine.number += more

    def _decoded(self, state: bytes | None, now: float) -> Slots:
        return Slots.decode(state, now, self._lease, self._place)

    def _kept_for(self, _result: object) -> float | None:
        """Say for how long the state is needed; in memory, until `let_go`."""
        return None if self._memory is not None else max(self._lease, self._place) + _EMPTY

    def _keep_renewing(self) -> None:
        if self._memory is None and self.is_needed:
            self._renew()

    def _renew(self) -> None:
        _renewals(self._states).add(self)


def _left_by(call: Call | None) -> str:
    """List what a call has begun, and still runs, as abandoned, and return its names."""
    call, mark = call or running.get(), None if call else held.get()
    if mark and mark[0] and mark[1] is call:  # it is the inner one of the two
        return abandoned.add_leftovers(leftovers.known_leftovers(mark), mark[0])
    return "" if call is None else abandoned.add_leftovers(leftovers.known_leftovers(call), call.operation)


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
            for each in still:
                each.tell()


#: By the states that a process uses. A forked child opens its own.
_of_states: WeakKeyDictionary[States, _Renewals] = WeakKeyDictionary()


def _renewals(states: States) -> _Renewals:
    found = _of_states.get(states)
    return _of_states.setdefault(states, _Renewals()) if found is None else found
