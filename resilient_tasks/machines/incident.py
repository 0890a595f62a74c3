"""One incident: failures that are alike, and what people have been told of them.

The first failure is told at once. More of the same within the cool-down is counted, and told in one digest when that is
over. After so many successes in a row it is told that all is well again. What is to be told stands in the incident as
letters.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from resilient_tasks.machines.letters import Letter, Occasion, fields_of, posted
from resilient_tasks.machines.pace import bounded

#: Names of flows that are kept.
_FLOWS = 10


class Failure(NamedTuple):
    """What failed calls tell.

    Attributes:
        fingerprint: the same for failures that are alike.
        channels: names of the channels that hear of it.
        fallback: name of the channel that hears of it where one of these refuses; empty: none.
        cooldown: seconds for which more of the same is counted only.
        recover_after: successes in a row after which it is over.
        flows: where they happened.
        facts: gives what the message is made of, as JSON; asked only for an incident that begins.
        latest: gives what a digest says of the last of them, as JSON.
        number: how many they are.
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


@dataclass(slots=True)
class Incident:
    """Failures that are alike.

    Attributes:
        fingerprint: what makes them alike.
        began: when the first of them happened.
        last: when the last of them happened.
        facts: what is known of the first.
        latest: what is known of the last.
        channels: who is told.
        fallback: who is told instead, where one of these refuses.
        cooldown: seconds of each window.
        recover_after: successes in a row after which it is over.
        window: until when more of the same is counted only.
        pause: seconds from when that was set until then.
        total: failures so far.
        untold: failures that no letter tells of.
        flows: where they happened.
        successes: in a row, since the last failure.
        ended: when it was over; None: it is not.
        told: what people believe: nothing yet, `"failing"` or `"well"`.
        messages: how many have been written.
        letters: those that wait, in their order.
        threads: by channel, what it takes to find the first message again.
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
    untold: int = 0
    flows: list[str] = field(default_factory=list)
    successes: int = 0
    ended: float | None = None
    told: str = ""
    messages: int = 0
    letters: list[Letter] = field(default_factory=list)
    threads: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def closed(self) -> bool:
        """Whether it is over."""
        return self.ended is not None

    @property
    def id(self) -> str:
        """Name of this incident, also after others like it."""
        return f"{self.fingerprint}-{int(self.began * 1000):x}"

    def key(self, letter: Letter) -> str:
        """Return what tells a message from all others, whoever sends it and however often."""
        return f"{self.id}-{letter.number}"

    def fails(self, failure: Failure, at: float) -> None:
        """Count more, the last of which failed at that time."""
        self.total += failure.number
        self.last = max(self.last, at)
        if self.ended is None or at >= self.ended:
            self.successes, self.ended = 0, None
        if not (self.closed and self._adds_to_the_last_word(failure.number)):
            self.untold += failure.number
        self.cooldown, self.recover_after, self.fallback = failure.cooldown, failure.recover_after, failure.fallback
        self.latest = failure.latest()
        self.channels += [channel for channel in failure.channels if channel not in self.channels]
        self.flows = list(dict.fromkeys([*self.flows, *filter(None, failure.flows)]))[:_FLOWS]

    def goes_well(self, number: int, now: float) -> None:
        """Count so many successes; the last one that is needed closes the incident."""
        self.successes += number
        if self.successes < self.recover_after:
            return
        self.ended = now
        if self.told == "failing":
            self._tell("recovered", now)
        elif not self.told:
            self.untold = 0  # it was silenced, and nobody has to hear that it is over

    def looks_at_the_clock(self, now: float, *, silenced: bool) -> None:
        """Tell of what was counted, once its window is over."""
        if self.untold and now >= self.window and not silenced:
            self._tell(("recovered" if self.closed else "digest") if self.told else "first", now)
            self.window, self.pause = now + self.cooldown, self.cooldown

    def calls_in_its_fallback(self, channel: str) -> None:
        """Have the fallback hear of what waits for `channel`, and of all that follows."""
        if not self.fallback or self.fallback in self.channels:
            return
        self.channels.append(self.fallback)
        self.letters += [letter.to(self.fallback) for letter in self.letters if letter.channel == channel]

    def bound(self, now: float) -> None:
        """Have no time lie further ahead than a clock that is right can have put it."""
        self.window = bounded(self.window, now, self.pause)
        self.last = min(self.last, now)
        self.ended = None if self.ended is None else min(self.ended, now)
        for letter in self.letters:
            letter.made = min(letter.made, now)

    def follows(self, heir: Callable[[str, Collection[str]], str]) -> None:
        """Tell the channels that have taken the place of others, and send them what waits."""
        all_of_them = {*self.channels, self.fallback}
        self.channels = list(dict.fromkeys(heir(name, all_of_them) for name in self.channels))
        self.fallback = heir(self.fallback, all_of_them)
        there = {(letter.channel, letter.number) for letter in self.letters}
        for letter in list(self.letters):
            name = heir(letter.channel, all_of_them)
            if name == letter.channel:
                continue
            self.threads.pop(letter.channel, None)
            if (name, letter.number) in there:
                self.letters.remove(letter)
            else:
                letter.follow(name)
                there.add((name, letter.number))

    def _adds_to_the_last_word(self, number: int) -> bool:
        """Count failures from before the end, heard of after it, into the word that it is over, if that waits still."""
        words = [letter for letter in self.letters if letter.occasion == "recovered"]
        if not words or any(letter.tries for letter in words):
            return False
        for letter in words:
            letter.count += number
            letter.total += number
        return True

    @property
    def is_over(self) -> bool:
        """Whether it is closed, and nothing is left to be told of it."""
        return self.closed and not self.untold and not self.letters

    def _tell(self, occasion: Occasion, now: float) -> None:
        count = self.total if occasion == "recovered" else self.untold
        relapse = occasion == "digest" and self.told == "well"
        self.messages += 1
        self.untold = 0
        self.told = "well" if occasion == "recovered" else "failing"
        for channel in self.channels:
            letter = Letter(channel, self.messages, occasion, now, count, self.total, max(0.0, now - self.began))
            letter.flows, letter.latest, letter.relapse = list(self.flows), self.latest, relapse
            self.letters = posted(self.letters, letter)

    def as_json(self) -> dict[str, Any]:
        """Return the incident as JSON can hold it."""
        return {**fields_of(self), "letters": [fields_of(letter) for letter in self.letters]}

    @classmethod
    def from_json(cls, entry: dict[str, Any]) -> Incident:
        """Return the incident that `as_json` gave."""
        return cls(**{**entry, "letters": [Letter(**letter) for letter in entry["letters"]]})


def begun(failure: Failure, now: float) -> Incident:
    """Return the incident that begins with a failure, before that is counted."""
    channels = list(failure.channels)
    rules = failure.fallback, failure.cooldown, failure.recover_after
    return Incident(failure.fingerprint, now, now, failure.facts(), {}, channels, *rules, window=now)
