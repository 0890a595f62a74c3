"""The worker that leads a shared attempt, and its outcome."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable

from resilient_tasks.policies.single_flight.machine import Flight
from resilient_tasks.state.states import States

#: Seconds after which a dead leader is replaced. A living one renews its lease in time.
LEASE = 30.0
#: Seconds for which an outcome is kept for the waiting workers, which look every 0.1 s.
KEPT = 30.0
#: Seconds for which the state "no attempt" is kept.
_EMPTY = 60.0


class Lead:
    """One attempt `me` for the calls under `key`, shared by this worker and the others.

    Args:
        shared: the states that the workers share.
        key: names the operation and its arguments.
        me: unique name of this worker's attempt.
    """

    def __init__(self, shared: States, key: str, me: str) -> None:
        self._states = shared
        self._key = key
        self.me = me
        self._ending = threading.Lock()
        self._is_over = False

    def board(self) -> str:
        """Return the current attempt: this one, if there was none."""
        return self._changed(lambda flight, now: flight.boarded(self.me, now + LEASE)).leader

    def renew(self) -> bool:
        """Confirm that this attempt continues, and return whether it still leads."""
        with self._ending:  # after its end it would block the next calls
            if self._is_over:
                return False
            return self._changed(lambda flight, now: flight.renewed(self.me, now + LEASE)).leader == self.me

    def under_way(self) -> str:
        """Return the current attempt; empty if there is none. Change nothing."""
        return Flight.decode(self._states.get(self._key), self._states.now(), LEASE).leader

    def leave(self, make: Callable[[], bytes] | None = None) -> None:
        """End this attempt, and store the bytes from `make` for the waiting workers; None: they continue without."""
        with self._ending:
            self._is_over = True
        if make is not None and not self._ended_unawaited():
            parcel = make()
            place = _outcome(self.me)
            self._states.update(place, lambda *_: (parcel, None), ttl=KEPT)
            self._states.forget(
                place, Flight.decode, lambda _: math.inf
            )  # it is large, and this process asks for it no more
        self._changed(lambda flight, _: flight.without(self.me))

    def outcome_of(self, attempt: str) -> bytes | None:
        """Return the stored outcome of another attempt; None if there is none."""
        return self._states.get(_outcome(attempt))

    def _ended_unawaited(self) -> bool:
        """End this attempt if no other worker waits, and return whether it ended so."""

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
    """One thread that renews the leases of all attempts that this process leads."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start empty, as a forked child does: its parent's attempts are not its own."""
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
        """Stop renewing `lead`."""
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


renewal: Renewal = Renewal()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renewal.forget)


def _outcome(attempt: str) -> str:
    return f"flight-outcome/{attempt}"
