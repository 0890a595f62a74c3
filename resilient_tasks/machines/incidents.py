"""The state machine of incidents: failures of one operation that are alike, and what people are told of them.

The first failure is told at once. More of the same within the cool-down is counted, and told in one digest when that is
over. After so many successes in a row it is told that all is well again. What is to be told stands in the state as
letters, so counting a failure and putting the message into the outbox are one step.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from resilient_tasks.machines.letters import Letter, Occasion, heads, posted

#: Incidents of one operation that are kept apart; more are one.
_MOST = 40
_OTHERS = "others"
#: Seconds for which it is remembered what a process has told: it does not ask again for longer than that.
_HEARD = 600.0
#: Names of flows that are kept.
_FLOWS = 10
#: Seconds after which an incident that nothing was heard of is forgotten, and a letter is given up.
FORGOTTEN = 30 * 86400.0


class Place(NamedTuple):
    """Where a letter is: in which incident, to whom, and which of the messages."""

    incident: str
    channel: str
    number: int


class Teller(NamedTuple):
    """Who tells, and which of the things that it tells this is: so that what is told twice counts once."""

    process: str
    serial: int


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
            self.window = now + self.cooldown

    def calls_in_its_fallback(self, channel: str) -> None:
        """Have the fallback hear of what waits for `channel`, and of all that follows."""
        if not self.fallback or self.fallback in self.channels:
            return
        self.channels.append(self.fallback)
        fresh = {"channel": self.fallback, "tries": 0, "due": 0.0, "leased": 0.0, "problem": "", "dead": False}
        self.letters += [Letter(**{**_fields(one), **fresh}) for one in self.letters if one.channel == channel]

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
            letter = Letter(channel, self.messages, occasion, now, count, self.total, now - self.began)
            letter.flows, letter.latest, letter.relapse = list(self.flows), self.latest, relapse
            self.letters = posted(self.letters, letter)


@dataclass(slots=True)
class Incidents:
    """The incidents of one operation.

    Attributes:
        all: the incidents, oldest first.
        heard: by process, the serial of what it told last, and when.
    """

    all: list[Incident] = field(default_factory=list)
    heard: dict[str, tuple[int, float]] = field(default_factory=dict)

    @classmethod
    def decode(cls, state: bytes | None) -> Incidents:
        """Return the incidents that `encode` gave; none if something else is there."""
        try:
            entries, heard = json.loads(state or b"[[], {}]")
            known = {process: (serial, at) for process, (serial, at) in heard.items()}
            return cls([_incident(entry) for entry in entries], known)
        except (ValueError, TypeError, LookupError, AttributeError):
            return cls()

    def encode(self) -> bytes:
        """Return the incidents as JSON."""
        return json.dumps([[_entry(incident) for incident in self.all], self.heard], separators=(",", ":")).encode()

    def failed(
        self,
        failure: Failure,
        now: float,
        *,
        at: float | None = None,
        silenced: bool = False,
        teller: Teller | None = None,
    ) -> Incident | None:
        """Count failures, the last of which was `at` that time (default: now), and return their incident.

        What the same `teller` told with this serial or a later one is not counted again: the answer may have been lost.
        """
        self._tidy(now)
        incident = self._alive(failure.fingerprint, now)
        if teller is not None:
            serial, _ = self.heard.get(teller.process, (0, now))
            if teller.serial <= serial:
                return incident
            self.heard = {process: told for process, told in self.heard.items() if now - told[1] < _HEARD}
            self.heard[teller.process] = teller.serial, now
        if incident is None and sum(not one.closed for one in self.all) >= _MOST:
            failure = failure._replace(fingerprint=_OTHERS)
            incident = self._alive(_OTHERS, now)
        if incident is None:
            incident = _begun(failure, now)
            self.all.append(incident)
        failed_at = now if at is None else at
        incident.looks_at_the_clock(failed_at, silenced=silenced)  # what was counted before is told apart from this
        incident.fails(failure, failed_at)
        incident.looks_at_the_clock(now, silenced=silenced)
        return incident

    def succeeded(self, number: int, at: float, now: float) -> bool:
        """Count `number` successes, the last of them at that time. Return whether any incident was open."""
        open_ones = [incident for incident in self.all if not incident.closed]
        for incident in open_ones:
            if incident.last <= at:
                incident.goes_well(number, now)
        self._tidy(now)
        return bool(open_ones)

    def look_at_the_clock(self, now: float, silenced: Callable[[Incident], bool]) -> None:
        """Write the digests that are due, and forget what is over."""
        for incident in self.all:
            incident.looks_at_the_clock(now, silenced=silenced(incident))
        self._tidy(now)

    def lease(self, channels: Mapping[str, float], now: float, until: float) -> tuple[Incident, Letter] | None:
        """Take out a letter to one of these channels, each free from the given time on, for nobody else to send it."""
        due = [(letter.made, incident, letter) for incident, letter, ready in self._heads(channels) if ready <= now]
        if not due:
            return None
        _, incident, letter = min(due, key=lambda each: each[0])  # the first of a new incident is not to starve
        letter.leased = until
        letter.tries += 1
        return incident, letter

    def give_back(self, place: Place) -> None:
        """Put a letter back that was not tried after all."""
        for _, letter in self._found(place):
            letter.leased = 0.0
            letter.tries -= 1

    def delivered(self, place: Place, thread: dict[str, str]) -> bool:
        """Take a letter out for good. Return whether it was there."""
        found = self._found(place)
        for incident, letter in found:
            incident.letters = [other for other in incident.letters if other is not letter]
            if thread:
                incident.threads[place.channel] = thread  # of the first message, or of the one in its place
        return bool(found)

    def refused(self, place: Place, problem: str, due: float, *, dead: bool, hand_on: bool) -> None:
        """Put a letter back that could not be sent.

        Args:
            place: where it is.
            problem: what came of it.
            due: when it is to be tried again.
            dead: it is not to be tried again.
            hand_on: the fallback of the incident is to be told too, of this and of all that follows.
        """
        for incident, letter in self._found(place):
            letter.leased, letter.due, letter.problem, letter.dead = 0.0, due, problem, dead
            if hand_on:
                incident.calls_in_its_fallback(letter.channel)

    def purge(self, of: Callable[[Incident, Letter], bool]) -> int:
        """Throw letters away, and return how many."""
        thrown = 0
        for incident in self.all:
            kept = [letter for letter in incident.letters if not of(incident, letter)]
            thrown += len(incident.letters) - len(kept)
            incident.letters = kept
        return thrown

    def revive(self) -> None:
        """Have every letter tried again at once, those included that were given up."""
        for incident in self.all:
            for letter in incident.letters:
                letter.due, letter.dead = 0.0, False

    def next_letter(self, channels: Mapping[str, float]) -> float | None:
        """Return when the next letter to one of these channels may be sent; None: there is none."""
        return min((ready for _, _, ready in self._heads(channels)), default=None)

    def in_hand(self, now: float) -> bool:
        """Tell whether somebody is sending a letter."""
        return any(letter.leased > now for incident in self.all for letter in incident.letters)

    @property
    def next_window(self) -> float | None:
        """When the next digest is due; None: none is."""
        return min((incident.window for incident in self.all if incident.untold), default=None)

    def _heads(self, channels: Mapping[str, float]) -> Iterator[tuple[Incident, Letter, float]]:
        for incident in self.all:
            for letter in heads(incident.letters):
                if letter.channel in channels:
                    yield incident, letter, max(letter.due, letter.leased, channels[letter.channel])

    def _found(self, place: Place) -> list[tuple[Incident, Letter]]:
        return [
            (incident, letter)
            for incident in self.all
            for letter in incident.letters
            if (incident.id, letter.channel, letter.number) == place
        ]

    def _alive(self, fingerprint: str, now: float) -> Incident | None:
        """Return the incident that a failure of this kind is part of.

        One that is over takes in what fails within its cool-down: an operation that comes and goes is one incident.
        """
        for incident in self.all:
            if incident.fingerprint == fingerprint and not (incident.closed and now >= incident.window):
                return incident
        return None

    def _tidy(self, now: float) -> None:
        self.all = [
            incident
            for incident in self.all
            if not (incident.is_over and now >= incident.window)
            and not (now - incident.last > FORGOTTEN and all(letter.dead for letter in incident.letters))
        ]


def _begun(failure: Failure, now: float) -> Incident:
    channels = list(failure.channels)
    rules = failure.fallback, failure.cooldown, failure.recover_after
    return Incident(failure.fingerprint, now, now, failure.facts(), {}, channels, *rules, window=now)


def _fields(thing: Incident | Letter) -> dict[str, Any]:
    return {name: getattr(thing, name) for name in thing.__slots__}


def _entry(incident: Incident) -> dict[str, Any]:
    return {**_fields(incident), "letters": [_fields(letter) for letter in incident.letters]}


def _incident(entry: dict[str, Any]) -> Incident:
    return Incident(**{**entry, "letters": [Letter(**letter) for letter in entry["letters"]]})
