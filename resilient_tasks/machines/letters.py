"""Letters: the messages of an incident that wait to be sent, and how each of them stands."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal

from resilient_tasks.machines.pace import bounded

Occasion = Literal["first", "digest", "recovered"]


@dataclass(slots=True)
class Letter:
    """A message that one channel is to be sent.

    Attributes:
        channel: name of the channel.
        number: of the message in its incident: a letter to another channel that says the same has the same.
        occasion: why it is sent.
        made: when it was written.
        count: the failures that it tells of.
        total: all failures of the incident by then.
        seconds: how long the incident had lasted by then.
        flows: where they happened.
        latest: what is known of the last of them.
        relapse: people had been told that it was over.
        tries: how often it was tried to send it.
        due: it is not to be tried before this time.
        pause: seconds from the last try until then.
        leased: a process tries to send it until this time; after it, that process has died.
        lease: seconds from the beginning of that try until then.
        problem: what came of the last try.
        dead: it will not be tried again: nobody knows how to get rid of it.
    """

    channel: str
    number: int
    occasion: Occasion
    made: float
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

    def to(self, channel: str) -> Letter:
        """Return the same message as a letter to another channel, that nobody has tried to send."""
        fresh = {"channel": channel, "tries": 0, "due": 0.0, "leased": 0.0, "problem": "", "dead": False}
        return Letter(**{**fields_of(self), **fresh})

    def free(self, now: float) -> float:
        """Return from when on it may be sent; what a fast clock put too far ahead counts as now."""
        return max(bounded(self.due, now, self.pause), bounded(self.leased, now, self.lease))

    def follow(self, channel: str) -> None:
        """Go to another channel from now on, which has not refused it."""
        self.channel, self.tries, self.due, self.problem, self.dead = channel, 0, 0.0, "", False

    def takes_the_place_of(self, other: Letter) -> bool:
        """Tell whether nobody needs `other` once this letter is there.

        One that was tried may have arrived although nobody knows: it stays what it was.
        """
        return (
            self.channel == other.channel
            and other.occasion == "digest"
            and not other.tries
            and self.number > other.number
        )


def fields_of(thing: Any) -> dict[str, Any]:
    """Return the attributes of a dataclass with slots, as they are."""
    return {name: getattr(thing, name) for name in thing.__slots__}


def posted(letters: list[Letter], letter: Letter) -> list[Letter]:
    """Return the letters with one more, behind those that have to come first."""
    kept = []
    for other in letters:
        if letter.takes_the_place_of(other):
            if letter.occasion == "digest":
                letter.count += other.count
                letter.relapse = letter.relapse or other.relapse
        else:
            kept.append(other)
    return [*kept, letter]


def heads(letters: list[Letter]) -> list[Letter]:
    """Return the letters that are next in turn, one a channel: an answer cannot go out before what it answers."""
    first: dict[str, Letter] = {}
    for letter in letters:
        if not letter.dead:
            first.setdefault(letter.channel, letter)
    return list(first.values())
