"""A slot of a bulkhead that a process keeps after a call, for its next one, as long as no other process needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.store import Claims
from resilient_tasks.policies.bulkhead.machine import KEEPS, Holder, Slots
from resilient_tasks.state.client import States

#: Seconds for which a process may use its slot again although others wait for one.
TURN = 0.005
#: Share of its lease for which a slot is used again before the store is asked: a call that begins then is renewed in
#: time.
_FRESH = 1 / 3


class KeptSlot:
    """One slot that stands in the store under a name of its own, which is claimed while a call uses the slot.

    The process may use the slot again without asking the store for one. Another process that finds all slots taken may
    claim the name, and take the slot away while it has the claim. So no slot is counted twice: a process uses its slot
    only while it has the claim, and after it has seen that the slot still stands in the store. If it dies, the kernel
    gives the claim back, and its slot is free at once.

    Attributes:
        state: `idle`: the slot may be used again or be taken away. `claimed`: a thread has the claim, and looks.
            `used`: a call is under way. `none`: there is no such slot.
        others_wait: for a slot, as far as is known.
        name: of this holder in the store. Whoever opened another file for the claims does not know it.
    """

    others_wait: bool

    def __init__(self, states: States, me: str, lease: float) -> None:
        self.state: Literal["none", "idle", "claimed", "used"] = "none"
        self.name: str = ""
        self._me = me
        self._states = states
        self._lease = lease
        self._claims: Claims | None = None
        self._limit, self._version, self._fresh_until = 0, -1, 0.0
        self._turn_ends, self.others_wait = 0.0, False

    def claim(self) -> bool:
        """Claim the name for a slot that is to be asked for. False: the slot is in use, or nothing can be claimed."""
        if not self._turns(("none", "idle")):
            return False
        mine = False
        try:
            claims, version = self._states.claims(), self._states.version()
            if claims is not None and version is not None:
                self._claims, self._version = claims, version
                self._fresh_until = self._states.now() + self._lease * _FRESH
                self.name = f"{self._me}{_ending(claims)}"
                mine = claims.take(_number(self._me))
        finally:
            if not mine:
                self.drop()
        return mine

    def began(self, limit: int, *, others_wait: bool) -> None:
        """Take note that the slot that was claimed is in use."""
        self._limit, self.others_wait = limit, others_wait
        self._turn_ends = time.monotonic() + TURN
        self.state = "used"

    @property
    def is_needed(self) -> bool:
        """Whether a call uses the slot, or is about to."""
        return self.state in {"claimed", "used"}

    def use_again(self, key: str, limit: int, renew: Callable[[], None]) -> bool:
        """Use the slot again, or return False where the store has to be asked for one.

        Args:
            key: of the bulkhead.
            limit: the slot is for callers with the same one.
            renew: has the slot renewed while it is needed.
        """
        if self._limit != limit or not self._turns(("idle",)):
            return False
        mine = False
        try:
            mine = self._claims is not None and self._claims.take(_number(self._me)) and self._still_stands(key)
            if mine:
                renew()
        except BaseException:
            self.drop()
            raise
        if not mine:
            self.drop()
            return False
        self.state = "used"  # and then no call, in which an interrupt might come, before the caller knows
        return True

    def leave(self) -> bool:
        """Keep the slot for the next call. False: it was not in use. If it is interrupted, it still is."""
        if not self._turns(("used",)):
            return False
        try:
            self._release()
        except BaseException:
            self.state = "used"
            raise
        self.state = "idle"
        return True

    def drop(self) -> None:
        """Give up a slot that was claimed: the next thing that the store is told says so."""
        try:
            self._release()
        finally:
            self.state = "none"

    def tell(self, slots: Slots, now: float) -> None:
        """Have the slot stand there while it is in use, and no more once it was given up."""
        if self.state == "used":
            self.holds(slots, now)
        elif self.state == "none":
            self.takes_back(slots)

    def takes_back(self, slots: Slots) -> None:
        """Have no slot stand there, under this name or one from before the file of the claims was another one."""
        for name in slots.kept:
            if name.startswith(self._me):
                del slots.held[name]

    def holds(self, slots: Slots, now: float) -> None:
        """Have the slot stand there."""
        slots.held_by(self.name, Holder(1, now + self._lease))

    def _turns(self, before: tuple[str, ...]) -> bool:
        # No call after the look: no other thread has its turn in between (see `TAKES_TURNS`), and no interrupt comes
        # before the `try` of the caller.
        if self.state not in before:
            return False
        self.state = "claimed"
        return True

    def _still_stands(self, key: str) -> bool:
        """Tell whether no other has taken the slot away, and whether it is still this process's turn."""
        version, over = self._states.version(), time.monotonic() >= self._turn_ends
        if version is None or self._states.now() >= self._fresh_until or (over and self.others_wait):
            return False
        if version == self._version:
            return True
        slots = Slots.decode(self._states.look(key), self._states.now())
        self._version, self.others_wait = version, bool(slots.queue)
        return self.name in slots.held and not (over and self.others_wait)

    def _release(self) -> None:
        if self._claims is not None:
            self._claims.release(_number(self._me))


@contextmanager
def idle_slots(claims: Claims | None, slots: Slots, lacking: int, mine: str) -> Iterator[list[str]]:
    """Claim slots that other processes keep and do not use: as many as are lacking, or none.

    Args:
        claims: of this process; None where it has none.
        slots: as they stood in the store.
        lacking: how many are needed.
        mine: name of the slot that this process keeps itself.
    """
    if claims is None or lacking > len(slots.kept):
        yield []
        return
    found: list[str] = []
    try:
        for name in slots.kept:
            if name != mine and name.endswith(_ending(claims)) and claims.take(_number(name)):
                found.append(name)
                if len(found) == lacking:
                    break
        yield found if len(found) == lacking else []
    finally:
        for name in found:
            claims.release(_number(name))


def _ending(claims: Claims) -> str:
    return f"@{claims.inode:x}{KEEPS}"


def _number(name: str) -> int:
    """Return the number under which a holder's name is claimed: its first digits, which are random."""
    return int(name[:15], 16)
