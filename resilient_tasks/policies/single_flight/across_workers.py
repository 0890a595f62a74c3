"""The worker that leads a shared attempt, and its outcome."""

from __future__ import annotations

import contextlib
import math
import os
import threading
from collections.abc import Callable

from resilient_tasks.policies.single_flight.machine import SharedFlight
from resilient_tasks.state.states import States

#: Seconds after which a dead leader is replaced. A living one renews its lease in time.
LEASE = 30.0
#: Seconds for which an outcome is kept for the waiting workers, which look every 0.1 s.
KEPT = 30.0
#: Seconds for which the state "no attempt" is kept.
_EMPTY = 60.0


class SharedAttempt:
    """This worker's attempt `me` among those of all workers under `key`.

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

    def join(self) -> str:
        """Return the current attempt: this one, if there was none."""
        return self._changed(lambda flight, now: flight.joined(self.me, now + LEASE)).leader

    def renew(self) -> bool:
        """Confirm that this attempt continues, and return whether it still leads."""
        with self._ending:  # after its end it would block the next calls
            if self._is_over:
                return False
            return self._changed(lambda flight, now: flight.renewed(self.me, now + LEASE)).leader == self.me

    def current(self) -> str:
        """Return the current attempt; empty if there is none. Change nothing."""
        return SharedFlight.decode(self._states.get(self._key), self._states.now(), LEASE).leader

    def leave(self, make: Callable[[], bytes] | None = None) -> None:
        """End this attempt, and store the bytes from `make` for the waiting workers; None: they continue without."""
        with self._ending:
            self._is_over = True
        if make is not None and not self._ended_unawaited():
            data = make()
            place = _outcome_key(self.me)
            self._states.update(place, lambda *_: (data, None), ttl=KEPT)
            # It is large, and this process does not need it.
            self._states.forget(place, SharedFlight.decode, lambda _: math.inf)
        self._changed(lambda flight, _: flight.without(self.me))

    def outcome_of(self, attempt: str) -> bytes | None:
        """Return the stored outcome of another attempt; None if there is none."""
        return self._states.get(_outcome_key(attempt))

    def _ended_unawaited(self) -> bool:
        """End this attempt if no other worker waits, and return whether it ended so."""

        def change(state: bytes | None, now: float) -> tuple[bytes | None, bool]:
            flight = SharedFlight.decode(state, now, LEASE)
            if flight.leader != self.me or flight.awaited:
                return state, False
            return SharedFlight().encode(), True

        return self._states.update(self._key, change, ttl=LEASE + _EMPTY)

    def _changed(self, step: Callable[[SharedFlight, float], SharedFlight]) -> SharedFlight:
        def change(state: bytes | None, now: float) -> tuple[bytes | None, SharedFlight]:
            flight = step(SharedFlight.decode(state, now, LEASE), now)
            return flight.encode(), flight

        return self._states.update(self._key, change, ttl=LEASE + _EMPTY)


class LeaseRenewal:
    """One thread that renews the leases of all attempts that this process leads."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Start empty, as a forked child does: its parent's attempts are not its own."""
        self._changing = threading.Lock()
        self._attempts: dict[SharedAttempt, Callable[[], bool]] = {}
        self._runs = False

    def begin(self, attempt: SharedAttempt, goes_on: Callable[[], bool]) -> None:
        """Renew `attempt` while it `goes_on`."""
        with self._changing:
            self._attempts[attempt] = goes_on
            if self._runs:
                return
            self._runs = True
        with contextlib.suppress(RuntimeError):  # at shutdown no thread starts
            threading.Thread(target=self._renew, name="resilient:single-flight", daemon=True).start()

    def end(self, attempt: SharedAttempt) -> None:
        """Stop renewing `attempt`."""
        with self._changing:
            self._attempts.pop(attempt, None)

    def _renew(self) -> None:
        pause = threading.Event()  # nothing sets it
        while True:
            pause.wait(LEASE / 3)
            with self._changing:
                if not self._attempts:
                    self._runs = False
                    return
                attempts = list(self._attempts.items())
            for attempt, goes_on in attempts:
                if goes_on():
                    attempt.renew()
                else:
                    self.end(attempt)
                    attempt.leave()


renewal: LeaseRenewal = LeaseRenewal()

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=renewal.forget)


def _outcome_key(attempt: str) -> str:
    return f"flight-outcome/{attempt}"
