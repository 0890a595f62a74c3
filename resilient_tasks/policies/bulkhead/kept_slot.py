"""A slot of a bulkhead that a process keeps after a call for its next one, unless another process needs it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.store import Claims
from resilient_tasks.policies.bulkhead.machine import KEPT, Holder, Slots
from resilient_tasks.state.client import States

#: Seconds for which a process may reuse its slot although other callers wait for one.
MAX_REUSE = 0.005
#: The share of its lease for which a slot is reused without a request to the store, so that it is renewed in time.
_FRESH = 1 / 3


class KeptSlot:
    """One slot that has its own name in the store, and is claimed under that name while a call uses it.

    The process may reuse the slot without asking the store for one. Another process that finds all slots taken may
    claim the name, and remove the slot while it has the claim. So no slot is counted twice: a process uses its slot
    only while it has the claim, and after it has seen that the slot is still in the store. If the process dies, the
    kernel releases the claim, and its slot is free at once.

    Attributes:
        state: `idle`: the slot may be reused or removed. `claimed`: a thread has the claim, and is checking. `used`: a
            call is running. `none`: there is no such slot.
        others_wait: whether other callers wait for a slot, as far as is known.
        name: of this holder in the store, with the number of the claims' file: claims in another file are not seen.
    """

    others_wait: bool

    def __init__(self, states: States, holder: str, lease: float) -> None:
        self.state: Literal["none", "idle", "claimed", "used"] = "none"
        self.name: str = ""
        self._holder = holder
        self._states = states
        self._lease = lease
        self._claims: Claims | None = None
        self._limit, self._version, self._fresh_until = 0, -1, 0.0
        self._reuse_until, self.others_wait = 0.0, False

    def claim(self) -> bool:
        """Claim the name for a slot before it is requested; return False if the slot is in use or claims fail."""
        if not self._enter(("none", "idle")):
            return False
        claimed = False
        try:
            claims, version = self._states.claims(), self._states.version()
            if claims is not None and version is not None:
                self._claims, self._version = claims, version
                self._fresh_until = self._states.now() + self._lease * _FRESH
                self.name = f"{self._holder}{_suffix(claims)}"
                claimed = claims.take(_number(self._holder))
        finally:
            if not claimed:
                self.drop()
        return claimed

    def start(self, limit: int, *, others_wait: bool) -> None:
        """Mark the claimed slot as used."""
        self._limit, self.others_wait = limit, others_wait
        self._reuse_until = time.monotonic() + MAX_REUSE
        self.state = "used"

    @property
    def is_needed(self) -> bool:
        """Whether a call uses the slot, or is about to."""
        return self.state in {"claimed", "used"}

    def reuse(self, key: str, limit: int, renew: Callable[[], None]) -> bool:
        """Reuse the slot; return False if the store has to be asked for one.

        Args:
            key: of the bulkhead.
            limit: of the caller; only callers with the same one reuse the slot.
            renew: starts renewing the slot.
        """
        if self._limit != limit or not self._enter(("idle",)):
            return False
        usable = False
        try:
            usable = self._claims is not None and self._claims.take(_number(self._holder)) and self._is_valid(key)
            if usable:
                renew()
        except BaseException:
            self.drop()
            raise
        if not usable:
            self.drop()
            return False
        self.state = "used"  # followed by no call, in which an interrupt might come, before the caller knows
        return True

    def release(self) -> bool:
        """Keep the slot for the next call; return False if it was not in use. After an interrupt it is still in use."""
        if not self._enter(("used",)):
            return False
        try:
            self._release_claim()
        except BaseException:
            self.state = "used"
            raise
        self.state = "idle"
        return True

    def look_again(self) -> None:
        """Read the store before the slot is reused: this process has changed the state itself."""
        self._version = -1

    def drop(self) -> None:
        """Give up a claimed slot; the next write to the store removes it there."""
        try:
            self._release_claim()
        finally:
            self.state = "none"

    def update(self, slots: Slots, now: float) -> None:
        """Renew the slot in the store's state while it is in use; remove it if it was given up."""
        if self.state == "used":
            self.hold(slots, now)
        elif self.state == "none":
            self.remove(slots)

    def remove(self, slots: Slots) -> None:
        """Remove the slot from the store's state, also under its names with earlier files of claims."""
        for name in slots.kept:
            if name.startswith(self._holder):
                del slots.held[name]

    def hold(self, slots: Slots, now: float) -> None:
        """Put the slot into the store's state."""
        slots.hold(self.name, Holder(1, now + self._lease))

    def _enter(self, before: tuple[str, ...]) -> bool:
        """Change from one of the states `before` to `claimed`; return False in any other state."""
        # No call after the check: no other thread runs in between (see `TAKES_TURNS`), and no interrupt comes before
        # the `try` of the caller.
        if self.state not in before:
            return False
        self.state = "claimed"
        return True

    def _is_valid(self, key: str) -> bool:
        """Return whether the slot is still in the store, and this process may still reuse it."""
        version, is_over = self._states.version(), time.monotonic() >= self._reuse_until
        if version is None or self._states.now() >= self._fresh_until or (is_over and self.others_wait):
            return False
        if version == self._version:
            return True
        slots = Slots.decode(self._states.look(key), self._states.now())
        self._version, self.others_wait = version, bool(slots.queue)
        return self.name in slots.held and slots.are_within(self._limit) and not (is_over and self.others_wait)

    def _release_claim(self) -> None:
        if self._claims is not None:
            self._claims.release(_number(self._holder))


@contextmanager
def idle_slots(claims: Claims | None, slots: Slots, missing: int, own: str) -> Iterator[list[str]]:
    """Claim slots that other processes keep and do not use: as many as are missing, or none.

    Args:
        claims: of this process; None if it has none.
        slots: as last read from the store.
        missing: the number of slots needed.
        own: name of the slot that this process keeps itself.
    """
    if claims is None or missing > len(slots.kept):
        yield []
        return
    claimed: list[str] = []
    try:
        for name in slots.kept:
            if name != own and name.endswith(_suffix(claims)) and claims.take(_number(name)):
                claimed.append(name)
                if len(claimed) == missing:
                    break
        yield claimed if len(claimed) == missing else []
    finally:
        for name in claimed:
            claims.release(_number(name))


def _suffix(claims: Claims) -> str:
    return f"@{claims.inode:x}{KEPT}"


def _number(name: str) -> int:
    """Return the number under which a holder's name is claimed: its first digits, which are random."""
    return int(name[:15], 16)
