"""The outbox: incidents as they stand in their store, the letters that wait in them, and the pace of each channel.

One record holds all incidents of an operation, and is changed by one atomic step at a time. So of many processes that
fail at once exactly one writes the first message, and a process that dies right afterwards has lost nothing.
"""

from __future__ import annotations

import fnmatch
import functools
import json
import os
from collections.abc import Callable, Iterable, Mapping
from typing import NamedTuple, TypeVar

from resilient_tasks.core import clock, home
from resilient_tasks.core import real_time as time
from resilient_tasks.core.settings import Settings
from resilient_tasks.core.store import StateStore
from resilient_tasks.machines.incident import Failure, Incident
from resilient_tasks.machines.incidents import FORGOTTEN, Incidents, Place, Teller
from resilient_tasks.machines.letters import Letter
from resilient_tasks.machines.pace import Pace, bounded
from resilient_tasks.notify import registry
from resilient_tasks.shared.states import Chosen, States

T = TypeVar("T")

_INCIDENTS, _PACE, _SILENCES = "incidents/", "pace/", "silences"

#: Seconds for which a process may go by the silences that it read last.
_STALENESS = 1.0
#: Seconds for which a record that holds nothing any more is kept.
_EMPTY = 60.0


class Told(NamedTuple):
    """What became of a failure.

    Attributes:
        untold: failures of its incident that no message tells of yet; 0: a message was written.
        silence: why nobody is to hear of it; empty: nothing hinders that.
        window: seconds for which more of the same is counted only.
        is_news: this run has not heard yet that the incident is known.
    """

    untold: int
    silence: str = ""
    window: float = 0.0
    is_news: bool = False


class Leased(NamedTuple):
    """A letter that this process is to send now."""

    operation: str
    incident: Incident
    letter: Letter


class Agenda(NamedTuple):
    """What is to be done for an operation, and when; None: nothing.

    Attributes:
        letter: when a letter may be sent, in unix seconds.
        window: when a digest is to be written, on the store's clock.
        open: whether any of its incidents is open.
        in_hand: whether somebody is sending one of its letters.
    """

    letter: float | None
    window: float | None
    open: bool
    in_hand: bool = False


class Silence(NamedTuple):
    """Failures of operations, or of one incident, that nobody is to hear of until then."""

    pattern: str
    until: float
    reason: str
    seconds: float = float("inf")

    def covers(self, operation: str, incident: str) -> bool:
        """Tell whether an incident of this operation is meant."""
        return fnmatch.fnmatchcase(operation, self.pattern) or self.pattern == incident


class Outbox:
    """Incidents and letters in one store.

    Every method raises what the store raises where that does not answer.
    """

    def __init__(self, states: States) -> None:
        self.states = states
        self._silences: tuple[float, list[Silence]] = (float("-inf"), [])

    def real(self) -> float:
        """Return unix seconds as all who share the store agree on them; a virtual clock does not move them."""
        return time.time() + self.states.now() - clock.wall()

    def failed(self, operation: str, failure: Failure, *, age: float = 0.0, teller: Teller | None = None) -> Told:
        """Count failures, the last of them so many seconds ago, and write the message that is due with them.

        What the same `teller` told before is not counted again.
        """
        silence = self.silence(operation, failure.fingerprint)

        def change(found: Incidents, now: float) -> Told:
            found.follow(functools.partial(registry.heir, operation))
            incident = found.failed(failure, now, at=now - age, silenced=silence is not None, teller=teller)
            why = "" if silence is None else silence.reason or silence.pattern
            return Told(0) if incident is None else Told(incident.untold, why, max(0.0, incident.window - now))

        return self._change(operation, change)

    def succeeded(self, operation: str, number: int, age: float) -> None:
        """Count successes, the first of which began so many seconds ago."""
        self._change(operation, lambda found, now: found.succeeded(number, now - age, now))

    def look(self, operation: str, channels: Mapping[str, float]) -> Agenda:
        """Write the digests that are due, and say what to do for these channels, each free from that time on."""
        silences, real = self._known_silences(), self.real()

        def change(found: Incidents, now: float) -> Agenda:
            found.follow(functools.partial(registry.heir, operation))
            found.look_at_the_clock(
                now, lambda incident: _found(silences, operation, incident.fingerprint, now) is not None
            )
            is_open = any(not incident.closed for incident in found.all)
            return Agenda(found.next_letter(channels, real), found.next_window, is_open, found.in_hand(real))

        return self._change(operation, change)

    def lease(self, operation: str, channels: Mapping[str, float], seconds: float) -> Leased | None:
        """Take one letter to one of these channels, for nobody else to send it for so long."""
        now = self.real()
        found = self._change(operation, lambda found, _: found.lease(channels, now, now + seconds))
        return None if found is None else Leased(operation, *found)

    def give_back(self, leased: Leased) -> None:
        """Put a letter back that was not tried after all."""
        self._change(leased.operation, lambda found, _: found.give_back(_place(leased)))

    def delivered(self, leased: Leased, thread: dict[str, str]) -> None:
        """Take a letter out for good: its channel has accepted it."""
        self._change(leased.operation, lambda found, _: found.delivered(_place(leased), thread))
        self._pace(leased.letter.channel, Pace.reached)

    def refused(self, leased: Leased, problem: str, due: float, *, dead: bool, hand_on: bool) -> None:
        """Put a letter back that could not be sent, see `Incidents.refused`."""
        now = self.real()
        self._change(
            leased.operation,
            lambda found, _: found.refused(_place(leased), problem, due, now=now, dead=dead, hand_on=hand_on),
        )

    def pace(self, channel: str) -> Pace:
        """Return how a channel stands."""
        return Pace.decode(self.states.get(_PACE + channel)).bounded(self.real())

    def take_turn(self, channel: str) -> float:
        """Reserve the channel for one message now, or return the seconds until it may be asked for again."""
        now = self.real()

        def change(state: bytes | None, _: float) -> tuple[bytes | None, float]:
            pace = Pace.decode(state).bounded(now)
            return (pace.reserved(now).encode(), 0.0) if pace.next <= now else (state, pace.next - now)

        return self.states.update(_PACE + channel, change, ttl=FORGOTTEN)

    def missed(self, channel: str, asked: float | None, problem: str) -> Pace:
        """Leave a channel alone for a while; return how it stands."""
        now = self.real()
        return self._pace(channel, lambda pace: pace.missed(now, asked, problem))

    def operations(self) -> list[str]:
        """Return the names of all operations that have incidents."""
        return [key.removeprefix(_INCIDENTS) for key in self.states.keys(_INCIDENTS)]

    def incidents(self, operation: str) -> Incidents:
        """Return the incidents of an operation."""
        return Incidents.decode(self.states.get(_INCIDENTS + operation))

    def purge(self, operation: str, of: Callable[[Incident, Letter], bool]) -> int:
        """Throw letters away, and return how many."""
        return self._change(operation, lambda found, _: found.purge(of))

    def revive(self, operation: str) -> None:
        """Have every letter tried again at once."""
        self._change(operation, lambda found, _: found.revive())

    def clear(self, channel: str) -> None:
        """Forget that a channel could not be reached."""
        self._pace(channel, lambda _: Pace())

    def silence(self, operation: str, incident: str) -> Silence | None:
        """Return what silences an incident, if anything does."""
        return _found(self._known_silences(), operation, incident, self.states.now())

    def _known_silences(self) -> list[Silence]:
        read, known = self._silences
        if time.monotonic() - read > _STALENESS:
            known = self.silences()
            self._silences = time.monotonic(), known
        return known

    def silences(self) -> list[Silence]:
        """Return the silences that are in force."""
        now = self.states.now()
        return _in_force(self.states.get(_SILENCES), now)

    def add_silence(self, pattern: str, seconds: float, reason: str = "") -> Silence:
        """Let nobody hear of what fails there for so long. It is counted all the same, and told of afterwards."""

        def change(state: bytes | None, now: float) -> tuple[bytes, Silence]:
            added = Silence(pattern, now + seconds, reason, seconds)
            kept = [one for one in _in_force(state, now) if one.pattern != pattern]
            return json.dumps([*kept, added]).encode(), added

        self._silences = (float("-inf"), [])
        return self.states.update(_SILENCES, change)

    def end_silence(self, pattern: str) -> bool:
        """Let people hear again of what fails there. Return whether there was such a silence."""

        def change(state: bytes | None, now: float) -> tuple[bytes | None, bool]:
            known = _in_force(state, now)
            kept = [one for one in known if one.pattern != pattern]
            return (json.dumps(kept).encode() if known else None), len(kept) < len(known)

        self._silences = (float("-inf"), [])
        return self.states.update(_SILENCES, change)

    def _change(self, operation: str, change: Callable[[Incidents, float], T]) -> T:
        def changed(state: bytes | None, now: float) -> tuple[bytes | None, T]:
            found = Incidents.decode(state)
            result = change(found, now)
            return (found.encode() if found.all or state else None), result

        return self.states.update(_INCIDENTS + operation, changed, ttl=2 * FORGOTTEN)

    def _pace(self, channel: str, change: Callable[[Pace], Pace]) -> Pace:
        def changed(state: bytes | None, _: float) -> tuple[bytes | None, Pace]:
            pace = change(Pace.decode(state))
            return pace.encode(), pace

        return self.states.update(_PACE + channel, changed, ttl=FORGOTTEN)


def _place(leased: Leased) -> Place:
    return Place(leased.incident.id, leased.letter.channel, leased.letter.number)


def _found(silences: Iterable[Silence], operation: str, incident: str, now: float) -> Silence | None:
    return next((one for one in silences if one.until > now and one.covers(operation, incident)), None)


def _in_force(state: bytes | None, now: float) -> list[Silence]:
    return [one for one in _silences(state) if bounded(one.until, now, one.seconds) > now]


def _silences(state: bytes | None) -> list[Silence]:
    try:
        return [Silence(*entry) for entry in json.loads(state or b"[]")]
    except (ValueError, TypeError):
        return []


def _where(chosen: Settings) -> StateStore | str:
    """Say where incidents are kept: what people have not heard yet outlives the process that knows it."""
    if chosen.incidents:
        return chosen.incidents  # type: ignore[no-any-return]
    if chosen.store != "memory:":
        return chosen.store  # type: ignore[no-any-return]
    return f"sqlite:///{home.folder() / 'incidents.db'}"


#: One store a process. A task waits for it no longer than its bound: what it cannot be told in that time waits here.
kept = Chosen(_where, stand_in=False, patience=0.05)
use_incidents = kept.use

if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=kept.forget)
