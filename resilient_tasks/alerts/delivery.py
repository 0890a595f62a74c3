"""The state machine of deliveries: messages of an incident that wait for a channel, and how soon it may be sent one."""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal

Occasion = Literal["first", "digest", "recovered"]

#: Seconds between two messages to a channel: Slack's limit, and more than a person reads.
GAP = 1.0
#: Seconds before an unreachable channel is tried again: doubling from the first to the last.
_FIRST_PAUSE, _LAST_PAUSE = 1.0, 300.0
#: The longest `Retry-After` (seconds) that is heeded.
LONGEST_RETRY_AFTER = 900.0
#: Seconds by which the clocks of two machines may differ.
_TOLERANCE = 1.0


@dataclass(slots=True)
class Delivery:
    """A message to send to one channel.

    Attributes:
        channel: name of the channel.
        number: of the message in its incident; deliveries of one message to several channels share it.
        occasion: why it is sent.
        created: when the message was written.
        count: the failures that it reports.
        total: all failures of the incident by then.
        seconds: how long the incident had lasted by then.
        flows: where they happened.
        latest: facts about the last of them.
        relapse: the incident had been reported as over before.
        tries: number of attempts.
        due: time before which it is not tried again.
        pause: seconds from the last attempt until then.
        leased: time until which a process tries to send it; after that, the process is taken to be dead.
        lease: seconds from the beginning of that attempt until then.
        problem: error of the last attempt.
        dead: undeliverable; will not be retried.
    """

    channel: str
    number: int
    occasion: Occasion
    created: float
    count: int
    total: int
    seconds: float
    flows: list[str] = field(default_factory=list)
    latest: dict[str, Any] = field(default_factory=dict)
    relapse: bool = False
    tries: int = 0
    due: float = 0.0
    pause: float = 0.0
    leased: float = 0.0
    lease: float = 0.0
    problem: str = ""
    dead: bool = False

    def copy_for(self, channel: str) -> Delivery:
        """Return an untried delivery of the same message to another channel."""
        fresh = {"channel": channel, "tries": 0, "due": 0.0, "leased": 0.0, "problem": "", "dead": False}
        return Delivery(**{**fields_of(self), **fresh})

    def redirect(self, channel: str) -> None:
        """Send it to another channel from now on, as if it had not been tried."""
        self.channel, self.tries, self.due, self.problem, self.dead = channel, 0, 0.0, "", False

    def ready_at(self, now: float) -> float:
        """Return the earliest time to send it; a time that a fast clock set too far ahead counts as now."""
        return max(clamped(self.due, now, self.pause), clamped(self.leased, now, self.lease))

    def supersedes(self, other: Delivery) -> bool:
        """Return whether this delivery makes an earlier digest superfluous.

        A delivery that was tried may have arrived although no answer did, so it stays as it was.
        """
        return (
            self.channel == other.channel
            and other.occasion == "digest"
            and not other.tries
            and self.number > other.number
        )


def fields_of(thing: Any) -> dict[str, Any]:
    """Return the attributes of a dataclass with slots, by name and without copying them."""
    return {name: getattr(thing, name) for name in thing.__slots__}


def enqueued(queue: list[Delivery], delivery: Delivery) -> list[Delivery]:
    """Return the queue with one more delivery at its end; it takes over the counts of digests that it supersedes."""
    kept = []
    for other in queue:
        if delivery.supersedes(other):
            if delivery.occasion == "digest":
                delivery.count += other.count
                delivery.relapse = delivery.relapse or other.relapse
        else:
            kept.append(other)
    return [*kept, delivery]


def next_per_channel(queue: list[Delivery]) -> list[Delivery]:
    """Return the first live delivery of each channel: a reply must not overtake the message that it replies to."""
    first: dict[str, Delivery] = {}
    for delivery in queue:
        if not delivery.dead:
            first.setdefault(delivery.channel, delivery)
    return list(first.values())


@dataclass(frozen=True, slots=True)
class ChannelBackoff:
    """When a channel may be sent the next message, by any process.

    Attributes:
        next: time before which nothing is sent.
        failures: consecutive failed attempts.
        problem: error of the last of these.
        pause: seconds from when `next` was set until then; a correct clock never sees more of them left.
    """

    next: float = 0.0
    failures: int = 0
    problem: str = ""
    pause: float = LONGEST_RETRY_AFTER

    @classmethod
    def decode(cls, state: bytes | None) -> ChannelBackoff:
        """Return the state that `encode` gave; a fresh one if the bytes are anything else."""
        try:
            return cls(*json.loads(state or b"[]"))
        except (ValueError, TypeError):
            return cls()

    def encode(self) -> bytes:
        """Return the state as JSON."""
        return json.dumps([self.next, self.failures, self.problem, self.pause]).encode()

    def reserved(self, now: float) -> ChannelBackoff:
        """Return the state after reserving the channel for one message now."""
        free = max(now, self.clamped(now).next) + GAP
        return ChannelBackoff(free, self.failures, self.problem, free - now)

    def succeeded(self) -> ChannelBackoff:
        """Return the state after the channel accepted a message."""
        return ChannelBackoff(self.next, pause=self.pause) if self.failures else self

    def failed(self, now: float, retry_after: float | None, problem: str) -> ChannelBackoff:
        """Return the state after a failed attempt; `retry_after` is the channel's own wish, in seconds."""
        pause = min(_FIRST_PAUSE * 2.0 ** min(self.failures, 20), _LAST_PAUSE)
        if retry_after is not None:
            pause = min(max(retry_after, GAP), LONGEST_RETRY_AFTER)
        free = max(self.clamped(now).next, now + pause)
        return ChannelBackoff(free, self.failures + 1, problem, free - now)

    def clamped(self, now: float) -> ChannelBackoff:
        """Return the state as a correct clock sees it; see `clamped`."""
        return replace(self, next=clamped(self.next, now, self.pause))


def clamped(at: float, now: float, pause: float) -> float:
    """Return a time that was set `pause` seconds before it, or now if only a fast clock can have set it."""
    return at if at <= now + pause + _TOLERANCE else now
