"""The state machine of all incidents of an operation, kept as one state.

Counting a failure and putting the message that is due with it into the outbox are one step of it, and so is taking a
letter out to send it.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

from resilient_tasks.machines.incident import Failure, Incident, begun
from resilient_tasks.machines.letters import Letter, heads
from resilient_tasks.machines.pace import bounded

#: Incidents of one operation that are kept apart; more are one.
_MOST = 40
_OTHERS = "others"
#: Seconds for which it is remembered what a process has told: it does not ask again for longer than that.
_HEARD = 600.0
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
            return cls([Incident.from_json(entry) for entry in entries], known)
        except (ValueError, TypeError, LookupError, AttributeError):
            return cls()

    def encode(self) -> bytes:
        """Return the incidents as JSON."""
        return json.dumps([[incident.as_json() for incident in self.all], self.heard], separators=(",", ":")).encode()

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
        self._bound(now)
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
            incident = begun(failure, now)
            self.all.append(incident)
        failed_at = now if at is None else at
        incident.looks_at_the_clock(failed_at, silenced=silenced)  # what was counted before is told apart from this
        incident.fails(failure, failed_at)
        incident.looks_at_the_clock(now, silenced=silenced)
        return incident

    def succeeded(self, number: int, at: float, now: float) -> bool:
        """Count `number` successes, the first of which began `at` that time. Return whether any incident was open.

        One that began before the last failure does not show that all is well again.
        """
        self._bound(now)
        open_ones = [incident for incident in self.all if not incident.closed]
        for incident in open_ones:
            if incident.last <= at:
                incident.goes_well(number, now)
        self._tidy(now)
        return bool(open_ones)

    def follow(self, heir: Callable[[str, Collection[str]], str]) -> None:
        """Send what waits for a channel to the one in its place: `heir` gives the name of that, or its own.

        It is asked for a name, and given those of all channels that hear of the same incident.
        """
        for incident in self.all:
            incident.follows(heir)

    def look_at_the_clock(self, now: float, silenced: Callable[[Incident], bool]) -> None:
        """Write the digests that are due, and forget what is over."""
        self._bound(now)
        for incident in self.all:
            incident.looks_at_the_clock(now, silenced=silenced(incident))
        self._tidy(now)

    def lease(self, channels: Mapping[str, float], now: float, until: float) -> tuple[Incident, Letter] | None:
        """Take out a letter to one of these channels, each free from the given time on, for nobody else to send it."""
        due = [
            (letter.made, incident, letter) for incident, letter, ready in self._heads(channels, now) if ready <= now
        ]
        if not due:
            return None
        _, incident, letter = min(due, key=lambda each: each[0])  # the first of a new incident is not to starve
        letter.leased, letter.lease = until, until - now
        letter.tries += 1
        return incident, letter

    def give_back(self, place: Place) -> None:
        """Put a letter back that was not tried after all."""
        for _, letter in self._found(place):
            letter.leased = letter.lease = 0.0
            letter.tries -= 1

    def delivered(self, place: Place, thread: dict[str, str]) -> bool:
        """Take a letter out for good. Return whether it was there."""
        found = self._found(place)
        for incident, letter in found:
            incident.letters = [other for other in incident.letters if other is not letter]
            if thread:
                incident.threads[place.channel] = thread  # of the first message, or of the one in its place
        return bool(found)

    def refused(self, place: Place, problem: str, due: float, *, now: float, dead: bool, hand_on: bool) -> None:
        """Put a letter back that could not be sent.

        Args:
            place: where it is.
            problem: what came of it.
            due: when it is to be tried again.
            now: the present.
            dead: it is not to be tried again.
            hand_on: the fallback of the incident is to be told too, of this and of all that follows.
        """
        for incident, letter in self._found(place):
            letter.leased, letter.due, letter.problem, letter.dead = 0.0, due, problem, dead
            letter.pause = max(0.0, due - now)
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

    def next_letter(self, channels: Mapping[str, float], now: float) -> float | None:
        """Return when the next letter to one of these channels may be sent; None: there is none."""
        return min((ready for _, _, ready in self._heads(channels, now)), default=None)

    def in_hand(self, now: float) -> bool:
        """Tell whether somebody is sending a letter."""
        return any(
            bounded(letter.leased, now, letter.lease) > now for incident in self.all for letter in incident.letters
        )

    @property
    def next_window(self) -> float | None:
        """When the next digest is due; None: none is."""
        return min((incident.window for incident in self.all if incident.untold), default=None)

    def _heads(self, channels: Mapping[str, float], now: float) -> Iterator[tuple[Incident, Letter, float]]:
        for incident in self.all:
            for letter in heads(incident.letters):
                if letter.channel in channels:
                    yield incident, letter, max(letter.free(now), channels[letter.channel])

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

    def _bound(self, now: float) -> None:
        """Have a clock that was fast for a moment keep nothing from being told."""
        self.heard = {process: (serial, min(at, now)) for process, (serial, at) in self.heard.items()}
        for incident in self.all:
            incident.bound(now)

    def _tidy(self, now: float) -> None:
        self.all = [
            incident
            for incident in self.all
            if not (incident.is_over and now >= incident.window)
            and not (now - incident.last > FORGOTTEN and all(letter.dead for letter in incident.letters))
        ]
