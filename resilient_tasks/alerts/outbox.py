"""The outbox: incidents with their deliveries, channel backoffs and silences, in the store.

One record holds all incidents of an operation, and is changed by one atomic step at a time. So of many processes that
fail at once exactly one writes the first message, and a process that dies right afterwards loses nothing.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from typing import NamedTuple, TypeVar

from resilient_tasks.alerts import registry
from resilient_tasks.alerts.delivery import ChannelBackoff, Delivery, clamped
from resilient_tasks.alerts.incident import RETENTION, DeliveryId, Failure, Incident, Incidents, Source
from resilient_tasks.core import home, settings
from resilient_tasks.core.execution import clock
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.settings import Settings
from resilient_tasks.core.store import StateStore
from resilient_tasks.state.states import ConfiguredStates, States

T = TypeVar("T")

_INCIDENTS, _BACKOFF, _SILENCES = "incidents/", "backoff/", "silences"

#: Seconds for which a process uses the silences that it read last.
_STALENESS = 1.0


class Recorded(NamedTuple):
    """The result of recording a failure.

    Attributes:
        unreported: failures of its incident that no message reports yet; 0: a message was written.
        silence: why the incident is silenced; empty if it is not.
        window: seconds for which further failures are only counted.
        is_known: the incident is older than this run, and this run has not logged that yet.
    """

    unreported: int
    silence: str = ""
    window: float = 0.0
    is_known: bool = False


class LeasedDelivery(NamedTuple):
    """A delivery that this process is to send now."""

    operation: str
    incident: Incident
    delivery: Delivery


class Agenda(NamedTuple):
    """What is due for an operation, and when; None: nothing.

    Attributes:
        delivery: when a delivery may be sent, in unix seconds.
        digest: when a digest is to be written, on the store's clock.
        is_open: whether any of its incidents is open.
        is_leased: whether a process is sending one of its deliveries.
        channels: those with a delivery that can be sent now, the oldest one first.
    """

    delivery: float | None
    digest: float | None
    is_open: bool
    is_leased: bool = False
    channels: tuple[str, ...] = ()


class Silence(NamedTuple):
    """Sends no alerts about operations, or about one incident, until a time."""

    pattern: str
    until: float
    reason: str
    seconds: float = float("inf")

    def covers(self, operation: str, incident: str) -> bool:
        """Return whether it applies to an incident of this operation."""
        return fnmatch.fnmatchcase(operation, self.pattern) or self.pattern == incident


class Outbox:
    """Incidents and deliveries in one store.

    Every method raises what the store raises if that does not answer.
    """

    def __init__(self, states: States) -> None:
        self.states = states
        self._silences: tuple[float, list[Silence]] = (float("-inf"), [])

    def real_now(self) -> float:
        """Return unix seconds by the clock of the store; a virtual clock does not move them."""
        return time.time() + self.states.now() - clock.wall()

    def record_failure(
        self, operation: str, failure: Failure, *, age: float = 0.0, source: Source | None = None
    ) -> Recorded:
        """Count failures, the last of them `age` seconds ago, and write the message that is due with them.

        A report that the same `source` repeats is not counted again.
        """
        silence = self.silence(operation, failure.fingerprint)

        def change(found: Incidents, now: float) -> Recorded:
            found.replace_channels(functools.partial(registry.successor, operation))
            silenced = silence is not None
            incident = found.record_failure(failure, now, at=now - age, silenced=silenced, source=source)
            why = "" if silence is None else silence.reason or silence.pattern
            if incident is None:
                return Recorded(0)
            return Recorded(incident.unreported, why, max(0.0, incident.window - now))

        return self._change(operation, change)

    def record_successes(self, operation: str, number: int, age: float) -> None:
        """Count successes, the first of which began `age` seconds ago."""
        self._change(operation, lambda found, now: found.record_successes(number, now - age, now))

    def refresh(self, operation: str, channels: Mapping[str, float]) -> Agenda:
        """Write the digests that are due, and return what is due for these channels, each free from a time on."""
        silences, real = self._recent_silences(), self.real_now()

        def change(found: Incidents, now: float) -> Agenda:
            found.replace_channels(functools.partial(registry.successor, operation))
            found.write_due_messages(
                now, lambda incident: _covering(silences, operation, incident.fingerprint, now) is not None
            )
            is_open, ready = any(not incident.closed for incident in found.all), found.ready_channels(channels, real)
            return Agenda(found.next_delivery(channels, real), found.next_digest, is_open, found.has_lease(real), ready)

        return self._change(operation, change)

    def lease(self, operation: str, channel: str, seconds: float) -> LeasedDelivery | None:
        """Lease a delivery to a channel: for that time no other process sends it. None: there is none any more."""
        now = self.real_now()
        found = self._change(operation, lambda found, _: found.lease(channel, now, now + seconds))
        return None if found is None else LeasedDelivery(operation, *found)

    def mark_delivered(self, leased: LeasedDelivery, thread: dict[str, str]) -> None:
        """Remove a delivery that its channel accepted."""
        self._change(leased.operation, lambda found, _: found.mark_delivered(_id(leased), thread))
        self._change_backoff(leased.delivery.channel, ChannelBackoff.succeeded)

    def mark_refused(self, leased: LeasedDelivery, problem: str, due: float, *, dead: bool, use_fallback: bool) -> None:
        """Enqueue a delivery again after a failed attempt, see `Incidents.mark_refused`."""
        now = self.real_now()
        self._change(
            leased.operation,
            lambda found, _: found.mark_refused(
                _id(leased), problem, due, now=now, dead=dead, use_fallback=use_fallback
            ),
        )

    def backoff(self, channel: str) -> ChannelBackoff:
        """Return the backoff of a channel."""
        return ChannelBackoff.decode(self.states.get(_BACKOFF + channel)).clamped(self.real_now())

    def reserve(self, channel: str) -> float:
        """Reserve the channel for one message now, or return the seconds until the next attempt to reserve it."""
        now = self.real_now()

        def change(state: bytes | None, _: float) -> tuple[bytes | None, float]:
            backoff = ChannelBackoff.decode(state).clamped(now)
            if backoff.next > now:
                return state, backoff.next - now
            return backoff.reserved(now).encode(), 0.0

        return self.states.update(_BACKOFF + channel, change, ttl=RETENTION)

    def back_off(self, channel: str, retry_after: float | None, problem: str) -> ChannelBackoff:
        """Record a failed attempt to reach a channel, and return its backoff."""
        now = self.real_now()
        return self._change_backoff(channel, lambda backoff: backoff.failed(now, retry_after, problem))

    def reset_backoff(self, channel: str) -> None:
        """Forget that a channel could not be reached."""
        self._change_backoff(channel, lambda _: ChannelBackoff())

    def operations(self) -> list[str]:
        """Return the names of all operations with incidents."""
        return [key.removeprefix(_INCIDENTS) for key in self.states.keys(_INCIDENTS)]

    def incidents(self, operation: str) -> Incidents:
        """Return the incidents of an operation."""
        return Incidents.decode(self.states.get(_INCIDENTS + operation))

    def purge(self, operation: str, chosen: Callable[[Incident, Delivery], bool]) -> int:
        """Delete deliveries, and return how many."""
        return self._change(operation, lambda found, _: found.purge(chosen))

    def revive(self, operation: str) -> None:
        """Make every delivery due now, dead ones included."""
        self._change(operation, lambda found, _: found.revive())

    def silence(self, operation: str, incident: str) -> Silence | None:
        """Return the silence that covers an incident, if any."""
        return _covering(self._recent_silences(), operation, incident, self.states.now())

    def silences(self) -> list[Silence]:
        """Return the silences that are active."""
        return _active(self.states.get(_SILENCES), self.states.now())

    def add_silence(self, pattern: str, seconds: float, reason: str = "") -> Silence:
        """Send no alerts for a while; failures are still counted, and reported afterwards."""

        def change(state: bytes | None, now: float) -> tuple[bytes, Silence]:
            added = Silence(pattern, now + seconds, reason, seconds)
            kept = [one for one in _active(state, now) if one.pattern != pattern]
            return json.dumps([*kept, added]).encode(), added

        self._silences = (float("-inf"), [])
        return self.states.update(_SILENCES, change)

    def end_silence(self, pattern: str) -> bool:
        """End a silence. Return whether there was one."""

        def change(state: bytes | None, now: float) -> tuple[bytes | None, bool]:
            known = _active(state, now)
            kept = [one for one in known if one.pattern != pattern]
            return (json.dumps(kept).encode() if known else None), len(kept) < len(known)

        self._silences = (float("-inf"), [])
        return self.states.update(_SILENCES, change)

    def _recent_silences(self) -> list[Silence]:
        read, known = self._silences
        if time.monotonic() - read > _STALENESS:
            known = self.silences()
            self._silences = time.monotonic(), known
        return known

    def _change(self, operation: str, change: Callable[[Incidents, float], T]) -> T:
        def changed(state: bytes | None, now: float) -> tuple[bytes | None, T]:
            found = Incidents.decode(state)
            result = change(found, now)
            return (found.encode() if found.all or state else None), result

        return self.states.update(_INCIDENTS + operation, changed, ttl=2 * RETENTION)

    def _change_backoff(self, channel: str, change: Callable[[ChannelBackoff], ChannelBackoff]) -> ChannelBackoff:
        def changed(state: bytes | None, _: float) -> tuple[bytes | None, ChannelBackoff]:
            backoff = change(ChannelBackoff.decode(state))
            return backoff.encode(), backoff

        return self.states.update(_BACKOFF + channel, changed, ttl=RETENTION)


def _id(leased: LeasedDelivery) -> DeliveryId:
    return DeliveryId(leased.incident.id, leased.delivery.channel, leased.delivery.number)


def _covering(silences: Iterable[Silence], operation: str, incident: str, now: float) -> Silence | None:
    return next((one for one in silences if one.until > now and one.covers(operation, incident)), None)


def _active(state: bytes | None, now: float) -> list[Silence]:
    try:
        silences = [Silence(*entry) for entry in json.loads(state or b"[]")]
    except (ValueError, TypeError):
        return []
    return [one for one in silences if clamped(one.until, now, one.seconds) > now]


def _where(chosen: Settings) -> StateStore | str:
    """Return where incidents are kept: by default in a file, as unsent alerts must outlive their process."""
    if chosen.incidents:
        return chosen.incidents  # type: ignore[no-any-return]
    if chosen.store != "memory:":
        return chosen.store  # type: ignore[no-any-return]
    return f"sqlite:///{home.folder() / 'incidents.db'}"


def incident_url() -> StateStore | str:
    """Return where this process keeps incidents: a URL, or a store."""
    return _where(settings.current)


#: The store of incidents, one a process. A task waits for it no longer than its bound; `FailureBuffer` keeps the rest.
incident_store: ConfiguredStates = ConfiguredStates(_where, stand_in=False, patience=0.05)
use_incidents: Callable[[StateStore], AbstractContextManager[States]] = incident_store.use

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=incident_store.forget)
