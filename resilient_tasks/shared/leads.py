"""Which worker makes the attempt that several share, and what came of it."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable

from resilient_tasks.machines.flight import Flight
from resilient_tasks.shared.states import States

#: Seconds after which a leader that died is replaced. A living one renews its lease in time.
LEASE = 30.0
#: Seconds for which what came of an attempt is kept for those who wait for it: they look every 0.1 s.
KEPT = 30.0
#: Seconds for which it is kept that no attempt is under way.
_EMPTY = 60.0


class Lead:
    """One attempt `me` at the calls under `key`, as this worker and the others see it.

    Args:
        shared: where they meet.
        key: names the operation and its arguments.
        me: name of this worker's attempt, which no other bears.
    """

    def __init__(self, shared: States, key: str, me: str) -> None:
        self._states = shared
        self._key = key
        self.me = me
        self._ending = threading.Lock()
        self._is_over = False

    def board(self) -> str:
        """Return the attempt that is under way: this one, where there was none."""
        return self._changed(lambda flight, now: flight.boarded(self.me, now + LEASE)).leader

    def renew(self) -> bool:
        """Say that this attempt is under way, and return whether it is still the one that counts."""
        with self._ending:  # after its end it would stand in the way of those who come next
            if self._is_over:
                return False
            return self._changed(lambda flight, now: flight.renewed(self.me, now + LEASE)).leader == self.me

    def under_way(self) -> str:
        """Return the attempt that is under way; empty if none is. It changes nothing."""
        return Flight.decode(self._states.get(self._key), self._states.now(), LEASE).leader

    def leave(self, make: Callable[[], bytes] | None = None) -> None:
        """End this attempt, and leave what `make` gives for those who wait for it; None: they go on without it."""
        with self._ending:
            self._is_over = True
        if make is not None and not self._ended_unawaited():
            parcel = make()
            place = _outcome(self.me)
            self._states.update(place, lambda *_: (parcel, None), ttl=KEPT)
            self._states.forget(place, lambda _: math.inf)  # it is large, and this process asks for it no more
        self._changed(lambda flight, _: flight.without(self.me))

    def outcome_of(self, attempt: str) -> bytes | None:
        """Return what another attempt has left; None if it left nothing."""
        return self._states.get(_outcome(attempt))

    def _ended_unawaited(self) -> bool:
        """End this attempt if no other worker waits, and return whether that was so."""

        def change(state: bytes | None, now: float) -> tuple[bytes | None, bool]:
            flight = Flight.decode(state, now, LEASE)
            if flight.leader != self.me or flight.awaited:
                return state, False
            return Flight().encode(), True

        return self._states.update(self._key, change, ttl=LEASE + _EMPTY)

    def _changed(self, step: Callable[[Flight, float], Flight]) -> Flight:
        def change(state: bytes | None, now: float) -> tuple[bytes | None, Flight]:
            flight = step(Flight.decode(state, now, LEASE), now)
            return flight.encode(), flight

        return self._states.update(self._key, change, ttl=LEASE + _EMPTY)


class Renewal:
    """Says for each attempt that this process leads that it is under way, from one thread, as long as it is."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Begin anew, as a forked child does: its parent's attempts are not its own."""
        self._changing = threading.Lock()
        self._leads: dict[Lead, Callable[[], bool]] = {}
        self._runs = False

    def begin(self, lead: Lead, goes_on: Callable[[], bool]) -> None:
        """Renew `lead` while it `goes_on`."""
        with self._changing:
            self._leads[lead] = goes_on
            if self._runs:
                return
            self._runs = True
        with contextlib.suppress(RuntimeError):  # at shutdown no thread starts
            threading.Thread(target=self._renew, name="resilient:single-flight", daemon=True).start()

    def end(self, lead: Lead) -> None:
        """Renew `lead` no more."""
        with self._changing:
            self._leads.pop(lead, None)

    def _renew(self) -> None:
        pause = threading.Event()  # nothing sets it
        while True:
            pause.wait(LEASE / 3)
            with self._changing:
                if not self._leads:
                    self._runs = False
                    return
                leads = list(self._leads.items())
            for lead, goes_on in leads:
                if goes_on():
                    lead.renew()
                else:
                    self.end(lead)
                    lead.leave()


renewal = Renewal()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renewal.forget)


def _outcome(attempt: str) -> str:
    return f"flight-outcome/{attempt}"
