"""The state machine of incidents: similar failures of one operation, and the messages that report them.

The first failure is reported at once. Further failures within the cool-down are counted and reported in one digest at
its end. After enough consecutive successes the recovery is reported. All incidents of an operation are one state, so
counting a failure and enqueuing its message are one atomic step, and so is leasing a delivery.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from resilient_tasks.alerts.delivery import Delivery, Occasion, clamped, enqueued, fields_of, next_per_channel

#: The most names of flows to keep.
_FLOWS = 10
#: The most open incidents of one operation; further kinds of failure share one more incident.
_MOST = 40
_OTHERS = "others"
#: Seconds for which the last serial of each process is remembered: no process repeats a report for longer.
_REPEATED_FOR = 600.0
#: Seconds after which an incident without news is dropped, with its dead deliveries.
RETENTION = 30 * 86400.0


class Failure(NamedTuple):
    """Similar failures of calls, as a process reports them.

    Attributes:
        fingerprint: the same for similar failures.
        channels: names of the channels to alert.
        fallback: name of the channel to alert if one of these refuses; may be empty.
        cooldown: seconds within which further failures are only counted.
        recover_after: consecutive successes that end the incident.
        flows: where the failures happened.
        facts: returns the facts for messages, as JSON; called only for a new incident.
        latest: returns the facts about the last failure for a digest, as JSON.
        number: how many failures.
    """

    fingerprint: str
    channels: tuple[str, ...]
    fallback: str
    cooldown: float
    recover_after: int
    flows: tuple[str, ...]
    facts: Callable[[], dict[str, Any]]
    latest: Callable[[], dict[str, Any]]
    number: int = 1


class Source(NamedTuple):
    """A process and the serial number of one of its reports: a repeated report is recognised by it."""

    process: str
    serial: int


class DeliveryId(NamedTuple):
    """Identifies a delivery: its incident, its channel, and the number of its message."""

    incident: str
    channel: str
    number: int


@dataclass(slots=True)
class Incident:
    """Similar failures of one operation.

    Attributes:
        fingerprint: the same for similar failures.
        began: time of the first failure.
        last: time of the last failure.
        facts: facts about the first failure.
        latest: facts about the last failure.
        channels: the channels that are alerted.
        fallback: the channel that is alerted if one of these refuses.
        cooldown: seconds of each window.
        recover_after: consecutive successes that end it.
        window: time until which further failures are only counted.
        pause: seconds from when that was set until then.
        total: failures so far.
        unreported: failures that no message reports.
        flows: where they happened.
        successes: consecutive ones since the last failure.
        ended: when it ended; None while it is open.
        reported: what was reported last: nothing yet, `"failing"` or `"recovered"`.
        messages: number of messages written.
        deliveries: those that wait, in order.
        threads: by channel, how to find the first message again.
    """

    fingerprint: str
    began: float
    last: float
    facts: dict[str, Any]
    latest: dict[str, Any]
    channels: list[str]
    fallback: str
    cooldown: float
    recover_after: int
    window: float
    pause: float = 0.0
    total: int = 0
    unreported: int = 0
    flows: list[str] = field(default_factory=list)
    successes: int = 0
    ended: float | None = None
    reported: str = ""
    messages: int = 0
    deliveries: list[Delivery] = field(default_factory=list)
    threads: dict[str, dict[str, str]] = field(default_factory=dict)

    @classmethod
    def begun_by(cls, failure: Failure, now: float) -> Incident:
        """Return the incident that a failure begins, before the failure is counted."""
        rules = failure.fallback, failure.cooldown, failure.recover_after
        return cls(failure.fingerprint, now, now, failure.facts(), {}, list(failure.channels), *rules, window=now)

    @property
    def closed(self) -> bool:
        """Whether it has ended."""
        return self.ended is not None

    @property
    def is_finished(self) -> bool:
        """Whether it has ended and everything about it was delivered."""
        return self.closed and not self.unreported and not self.deliveries

    @property
    def id(self) -> str:
        """Identifies this incident, also among later ones with the same fingerprint."""
        return f"{self.fingerprint}-{int(self.began * 1000):x}"

    def key(self, delivery: Delivery) -> str:
        """Return the key of a message: the same on every attempt and in every channel."""
        return f"{self.id}-{delivery.number}"

    def record_failure(self, failure: Failure, at: float) -> None:
        """Count failures, the last of which happened at this time."""
        self.total += failure.number
        self.last = max(self.last, at)
        if self.ended is None or at >= self.ended:
            self.successes, self.ended = 0, None
        if not (self.closed and self._added_to_recovery(failure.number)):
            self.unreported += failure.number
        self.cooldown, self.recover_after, self.fallback = failure.cooldown, failure.recover_after, failure.fallback
        self.latest = failure.latest()
        self.channels += [channel for channel in failure.channels if channel not in self.channels]
        self.flows = list(dict.fromkeys([*self.flows, *filter(None, failure.flows)]))[:_FLOWS]

    def record_successes(self, number: int, now: float) -> None:
        """Count successes; the last one needed ends the incident."""
        self.successes += number
        if self.successes < self.recover_after:
            return
        self.ended = now
        if self.reported == "failing":
            self._write("recovered", now)
        elif not self.reported:
            self.unreported = 0  # it was silenced throughout, so its end is no news

    def write_due_message(self, now: float, *, silenced: bool) -> None:
        """Write a message about unreported failures once the window is over."""
        if self.unreported and now >= self.window and not silenced:
            self._write(("recovered" if self.closed else "digest") if self.reported else "first", now)
            self.window, self.pause = now + self.cooldown, self.cooldown

    def add_fallback(self, channel: str) -> None:
        """Send what waits for `channel`, and all later messages, to the fallback as well."""
        if not self.fallback or self.fallback in self.channels:
            return
        self.channels.append(self.fallback)
        self.deliveries += [each.copy_for(self.fallback) for each in self.deliveries if each.channel == channel]

    def clamp_times(self, now: float) -> None:
        """Correct times that only a fast clock can have set."""
        self.window = clamped(self.window, now, self.pause)
        self.last = min(self.last, now)
        self.ended = None if self.ended is None else min(self.ended, now)
        for delivery in self.deliveries:
            delivery.created = min(delivery.created, now)

    def replace_channels(self, successor: Callable[[str, Collection[str]], str]) -> None:
        """Alert the successors of channels that were replaced, and send them what waits."""
        names = {*self.channels, self.fallback}
        self.channels = list(dict.fromkeys(successor(name, names) for name in self.channels))
        self.fallback = successor(self.fallback, names)
        present = {(delivery.channel, delivery.number) for delivery in self.deliveries}
        for delivery in list(self.deliveries):
            name = successor(delivery.channel, names)
            if name == delivery.channel:
                continue
            self.threads.pop(delivery.channel, None)
            if (name, delivery.number) in present:
                self.deliveries.remove(delivery)
            else:
                delivery.redirect(name)
                present.add((name, delivery.number))

    def _added_to_recovery(self, number: int) -> bool:
        """Add failures from before the end, reported after it, to a recovery message that was not tried yet."""
        messages = [delivery for delivery in self.deliveries if delivery.occasion == "recovered"]
        if not messages or any(delivery.tries for delivery in messages):
            return False
        for delivery in messages:
            delivery.count += number
            delivery.total += number
        return True

    def _write(self, occasion: Occasion, now: float) -> None:
        count = self.total if occasion == "recovered" else self.unreported
        relapse = occasion == "digest" and self.reported == "recovered"
        self.messages += 1
        self.unreported = 0
        self.reported = "recovered" if occasion == "recovered" else "failing"
        for channel in self.channels:
            delivery = Delivery(channel, self.messages, occasion, now, count, self.total, max(0.0, now - self.began))
            delivery.flows, delivery.latest, delivery.relapse = list(self.flows), self.latest, relapse
            self.deliveries = enqueued(self.deliveries, delivery)

    def as_json(self) -> dict[str, Any]:
        """Return the incident as JSON."""
        return {**fields_of(self), "deliveries": [fields_of(delivery) for delivery in self.deliveries]}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Incident:
        """Return the incident that `as_json` gave."""
        return cls(**{**entry, "deliveries": [Delivery(**delivery) for delivery in entry["deliveries"]]})


@dataclass(slots=True)
class Incidents:
    """The incidents of one operation.

    Attributes:
        all: the incidents, oldest first.
        seen: by process, the serial of its last report, and when it came.
    """

    all: list[Incident] = field(default_factory=list)
    seen: dict[str, tuple[int, float]] = field(default_factory=dict)

    @classmethod
    def decode(cls, state: bytes | None) -> Incidents:
        """Return the incidents that `encode` gave; none if the bytes are anything else."""
        try:
            entries, seen = json.loads(state or b"[[], {}]")
            known = {process: (serial, at) for process, (serial, at) in seen.items()}
            return cls([Incident.from_json(entry) for entry in entries], known)
        except (ValueError, TypeError, LookupError, AttributeError):
            return cls()

    def encode(self) -> bytes:
        """Return the incidents as JSON."""
        return json.dumps([[incident.as_json() for incident in self.all], self.seen], separators=(",", ":")).encode()

    def record_failure(
        self,
        failure: Failure,
        now: float,
        *,
        at: float | None = None,
        silenced: bool = False,
        source: Source | None = None,
    ) -> Incident | None:
        """Count failures, the last of which happened `at` this time (default: now), and return their incident.

        A report that the same `source` repeats, because the answer to it was lost, is not counted again.
        """
        self._clamp_times(now)
        self._tidy(now)
        incident = self._ongoing(failure.fingerprint, now)
        if source is not None:
            serial, _ = self.seen.get(source.process, (0, now))
            if source.serial <= serial:
                return incident
            self.seen = {process: last for process, last in self.seen.items() if now - last[1] < _REPEATED_FOR}
            self.seen[source.process] = source.serial, now
        if incident is None and sum(not one.closed for one in self.all) >= _MOST:
            failure = failure._replace(fingerprint=_OTHERS)
            incident = self._ongoing(_OTHERS, now)
        if incident is None:
            incident = Incident.begun_by(failure, now)
            self.all.append(incident)
        failed_at = now if at is None else at
        incident.write_due_message(failed_at, silenced=silenced)  # earlier failures are reported apart from these
        incident.record_failure(failure, failed_at)
        incident.write_due_message(now, silenced=silenced)
        return incident

    def record_successes(self, number: int, at: float, now: float) -> bool:
        """Count `number` successes, the first of which began `at` this time. Return whether an incident was open.

        A call that began before the last failure is no sign of recovery.
        """
        self._clamp_times(now)
        open_ones = [incident for incident in self.all if not incident.closed]
        for incident in open_ones:
            if incident.last <= at:
                incident.record_successes(number, now)
        self._tidy(now)
        return bool(open_ones)

    def replace_channels(self, successor: Callable[[str, Collection[str]], str]) -> None:
        """Send what waits for a replaced channel to its successor.

        `successor` gets a channel's name and the names of all channels of the incident; it returns the successor's
        name, or the name itself.
        """
        for incident in self.all:
            incident.replace_channels(successor)

    def write_due_messages(self, now: float, silenced: Callable[[Incident], bool]) -> None:
        """Write the digests that are due, and drop what is finished."""
        self._clamp_times(now)
        for incident in self.all:
            incident.write_due_message(now, silenced=silenced(incident))
        self._tidy(now)

    def lease(self, channel: str, now: float, until: float) -> tuple[Incident, Delivery] | None:
        """Lease the oldest ready delivery to a channel."""
        ready = [(incident, delivery) for incident, delivery, at in self._next({channel: 0.0}, now) if at <= now]
        if not ready:
            return None
        incident, delivery = min(ready, key=lambda each: each[1].created)
        delivery.leased, delivery.lease = until, until - now
        delivery.tries += 1
        return incident, delivery

    def ready_channels(self, channels: Mapping[str, float], now: float) -> tuple[str, ...]:
        """Return which of these channels, each free from a time on, have a ready delivery; the oldest one first."""
        ready = [delivery for _, delivery, at in self._next(channels, now) if at <= now]
        return tuple(dict.fromkeys(each.channel for each in sorted(ready, key=lambda each: each.created)))

    def mark_delivered(self, which: DeliveryId, thread: dict[str, str]) -> bool:
        """Remove a delivery that its channel accepted. Return whether it was there."""
        found = self._found(which)
        for incident, delivery in found:
            incident.deliveries = [other for other in incident.deliveries if other is not delivery]
            if thread:
                incident.threads[which.channel] = thread
        return bool(found)

    def mark_refused(
        self, which: DeliveryId, problem: str, due: float, *, now: float, dead: bool, use_fallback: bool
    ) -> None:
        """Enqueue a delivery again after a failed attempt.

        Args:
            which: the delivery.
            problem: the error.
            due: when to try again.
            now: the present.
            dead: do not try again.
            use_fallback: alert the incident's fallback as well, of this and of all that follows.
        """
        for incident, delivery in self._found(which):
            delivery.leased, delivery.due, delivery.problem, delivery.dead = 0.0, due, problem, dead
            delivery.pause = max(0.0, due - now)
            if use_fallback:
                incident.add_fallback(delivery.channel)

    def purge(self, chosen: Callable[[Incident, Delivery], bool]) -> int:
        """Delete deliveries, and return how many."""
        purged = 0
        for incident in self.all:
            kept = [delivery for delivery in incident.deliveries if not chosen(incident, delivery)]
            purged += len(incident.deliveries) - len(kept)
            incident.deliveries = kept
        return purged

    def revive(self) -> None:
        """Make every delivery due now, dead ones included."""
        for incident in self.all:
            for delivery in incident.deliveries:
                delivery.due, delivery.dead = 0.0, False

    def next_delivery(self, channels: Mapping[str, float], now: float) -> float | None:
        """Return when the next delivery to one of these channels may be sent; None if there is none."""
        return min((ready for _, _, ready in self._next(channels, now)), default=None)

    def has_lease(self, now: float) -> bool:
        """Return whether a process is sending one of the deliveries."""
        return any(clamped(each.leased, now, each.lease) > now for incident in self.all for each in incident.deliveries)

    @property
    def next_digest(self) -> float | None:
        """When the next digest is due; None if there is none."""
        return min((incident.window for incident in self.all if incident.unreported), default=None)

    def _next(self, channels: Mapping[str, float], now: float) -> Iterator[tuple[Incident, Delivery, float]]:
        for incident in self.all:
            for delivery in next_per_channel(incident.deliveries):
                if delivery.channel in channels:
                    yield incident, delivery, max(delivery.ready_at(now), channels[delivery.channel])

    def _found(self, which: DeliveryId) -> list[tuple[Incident, Delivery]]:
        return [
            (incident, delivery)
            for incident in self.all
            for delivery in incident.deliveries
            if (incident.id, delivery.channel, delivery.number) == which
        ]

    def _ongoing(self, fingerprint: str, now: float) -> Incident | None:
        """Return the incident that a failure belongs to.

        Failures within the cool-down of one that has ended belong to it: a flapping operation is one incident.
        """
        for incident in self.all:
            if incident.fingerprint == fingerprint and not (incident.closed and now >= incident.window):
                return incident
        return None

    def _clamp_times(self, now: float) -> None:
        self.seen = {process: (serial, min(at, now)) for process, (serial, at) in self.seen.items()}
        for incident in self.all:
            incident.clamp_times(now)

    def _tidy(self, now: float) -> None:
        self.all = [
            incident
            for incident in self.all
            if not (incident.is_finished and now >= incident.window)
            and not (now - incident.last > RETENTION and all(delivery.dead for delivery in incident.deliveries))
        ]
