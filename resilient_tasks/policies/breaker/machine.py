"""The state machine of a circuit breaker.

    closed ──(too many failures)──▶ open ──(time is over, at the next call)──▶ half open ──(all probes good)──▶ closed
                                     ▲                                            │
                                     └────────(a probe failed: open for longer)───┘

Each change of position begins a new turn. What was let through in an earlier turn has no say in a later one: a call
that began before the circuit opened neither closes it nor opens it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

from resilient_tasks.state.window import CountWindow, TimeWindow, Totals, Window, window_from
from resilient_tasks.state.written import dumped, loaded

Position: TypeAlias = Literal["closed", "open", "half_open", "isolated"]


@dataclass(frozen=True, slots=True)
class Rules:
    """When a circuit changes its position.

    Attributes:
        failures: so many in a row open it; None: the rate decides.
        failure_rate: this share of failed calls in the window opens it.
        slow_rate: this share of slow calls in the window opens it; None: slowness is not looked at.
        min_calls: of fewer calls in the window no rate is taken.
        window: seconds, or `last` calls, that rates are taken of.
        last: as `window`.
        open_for: seconds that it stays open the first time; doubled each time that a probe fails,
        open_at_most: up to so many seconds.
        probes: calls let through while it is half open; all have to succeed.
    """

    failures: int | None
    failure_rate: float
    slow_rate: float | None
    min_calls: int
    window: float
    last: int | None
    open_for: float
    open_at_most: float
    probes: int

    @property
    def empty_window(self) -> Window:
        """Return the window of a circuit that has just closed."""
        return TimeWindow(self.window) if self.last is None else CountWindow(self.last)

    def fit(self, window: Window) -> bool:
        """Tell whether it is the window that rates are taken of: others may have put one there by other rules."""
        if window.fits is self:
            return True
        if self.last is None:
            fits = isinstance(window, TimeWindow) and window.seconds == self.window
        else:
            fits = isinstance(window, CountWindow) and window.size == self.last
        window.fits = self if fits else None
        return fits

    @property
    def counts(self) -> bool:
        """Whether a window is needed at all: successes need not be told where only failures in a row count."""
        return self.failures is None or self.slow_rate is not None


class Pass(NamedTuple):
    """Leave for one call to be made: in which turn of the circuit, and, in a half open one, as which probe.

    It `began` at that time, where it was not made by a pipeline and its seconds count.
    """

    turn: int
    probe: str = ""
    began: float | None = None


class Refusal(NamedTuple):
    """No leave. `retry_in` seconds are to pass until there may be one, if that is known."""

    position: Position
    retry_in: float | None


class Seen(NamedTuple):
    """What came of a call that was let through. `good` is None if it says nothing about the service."""

    good: bool | None
    slow: bool = False


class Successes(NamedTuple):
    """Calls that succeeded in time in a closed circuit, the last of them `at` this time, and were not told yet."""

    calls: int = 0
    at: float = 0.0


_NONE = Successes()


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of a circuit. A new one is closed.

    Attributes:
        position: what it does with calls.
        turn: counts the changes of position.
        since: time of the last change.
        closed_until: time up to which it was last closed.
        open_for: seconds that it stays open.
        run: failures in a row, while it is closed.
        window: what is counted while it is closed.
        probes: probes under way, and the time at which each of them counts as lost.
        passed: probes that have succeeded.
        reason: why it took its position.
    """

    position: Position = "closed"
    turn: int = 0
    since: float = 0.0
    closed_until: float = 0.0
    open_for: float = 0.0
    run: int = 0
    window: Window = field(default_factory=lambda: TimeWindow(60))
    probes: Mapping[str, float] = field(default_factory=dict)
    passed: int = 0
    reason: str = ""

    @classmethod
    def decode(cls, state: bytes | None) -> Circuit:
        """Return the circuit that `encode` gave; a new one if there is none, or something else stands there."""
        if state is None:
            return cls()
        try:
            found: dict[str, Any] = loaded(state)
            return cls(**{**found, "window": window_from(found["window"])})
        except (ValueError, TypeError, LookupError):
            return cls()

    def encode(self) -> bytes:
        """Return the circuit as JSON, so that a person can read it in the store."""
        found = {name: getattr(self, name) for name in self.__slots__}
        found.update(window=self.window.as_json(), probes=dict(self.probes))
        return dumped(found)

    def until(self, now: float) -> Circuit:
        """Return the circuit with no time in it that lies too far ahead: a clock was fast for a moment."""
        longest = now + self.open_for
        window = self.window.until(now)
        late_probe = any(ends > longest for ends in self.probes.values())
        if max(self.since, self.closed_until) <= now and not late_probe and window is self.window:
            return self
        return replace(
            self,
            since=min(self.since, now),
            closed_until=min(self.closed_until, now),
            probes={name: min(ends, longest) for name, ends in self.probes.items()},
            window=window,
        )

    def retry_in(self, now: float) -> float | None:
        """Return the seconds until a call may be let through, or None where that is not for time to tell."""
        if self.position == "closed":
            return 0.0
        return max(0.0, self.since + self.open_for - now) if self.position == "open" else None

    def acts_for(self, now: float) -> float:
        """Return the seconds for which it keeps calls away by itself: 0 where the next one is let through."""
        match self.position:
            case "isolated":
                return math.inf
            case "half_open":
                return max([0.0, *(ends - now for ends in self.probes.values())])
            case _:
                return self.retry_in(now) or 0.0

    def matters_for(self, now: float) -> float:
        """Return the seconds for which a process whose memory is short keeps it: 0 where it is closed.

        An open one that no call tried for ten times as long as it was open has little left to protect.
        """
        if self.position == "closed":
            return 0.0
        return max(self.acts_for(now), self.since + 11 * self.open_for - now)

    @property
    def fades_in(self) -> float:
        """Seconds after which it is as good as a new one if no call comes; infinite where it never is."""
        if self.position == "closed" and not self.run and isinstance(self.window, TimeWindow):
            return self.window.seconds
        return math.inf

    # What calls do.

    def admit(self, rules: Rules, now: float, probe: str) -> tuple[Circuit, Pass | Refusal]:
        """Ask leave for a call; `probe` is its name, should it become one."""
        if self.position == "closed":
            return self, Pass(self.turn)
        if self.position == "isolated":
            return self, Refusal("isolated", None)
        if self.position == "open":
            left = self.retry_in(now)
            if left:
                return self, Refusal("open", left)
            half_open = self._turned("half_open", now, f"open for {self.open_for:g} s")
            return half_open.admit(rules, now, probe)
        under_way = {name: ends for name, ends in self.probes.items() if ends > now}
        if len(under_way) + self.passed >= rules.probes:
            return self, Refusal("half_open", None)
        # A probe whose worker died is given up when the circuit would have been tried again anyway.
        under_way[probe] = now + self.open_for
        return replace(self, probes=under_way), Pass(self.turn, probe)

    def record(self, rules: Rules, now: float, leave: Pass, seen: Seen, before: Successes = _NONE) -> Circuit:
        """Take in what came of a call, and of those `before` it that were not told yet."""
        if leave.turn != self.turn:
            return self
        if self.position == "half_open":
            return self._of_probe(rules, now, leave.probe, seen)
        return self._counted(rules, now, seen, before) if self.position == "closed" else self

    # What people do.

    def opened(self, now: float, seconds: float, reason: str) -> Circuit:
        """Open it for so many seconds."""
        return replace(self._turned("open", now, reason), open_for=seconds)

    def isolated(self, now: float, reason: str) -> Circuit:
        """Open it until it is closed by hand."""
        return self._turned("isolated", now, reason)

    def closed(self, now: float, reason: str) -> Circuit:
        """Close it."""
        return replace(self._turned("closed", now, reason), open_for=0.0)

    # How it comes about.

    def _turned(self, position: Position, now: float, reason: str) -> Circuit:
        return replace(
            self,
            position=position,
            turn=self.turn + 1,
            since=now,
            closed_until=now if self.position == "closed" else self.closed_until,
            run=0,
            window=self.window.emptied(),
            probes={},
            passed=0,
            reason=reason,
        )

    def _of_probe(self, rules: Rules, now: float, probe: str, seen: Seen) -> Circuit:
        if probe not in self.probes:  # given up, or from before
            return self
        others = {name: ends for name, ends in self.probes.items() if name != probe}
        if seen.good is None:
            return replace(self, probes=others)
        if not seen.good or (seen.slow and rules.slow_rate is not None):
            longer = min(2 * self.open_for, max(rules.open_at_most, rules.open_for))
            return self.opened(now, longer, "a probe failed" if not seen.good else "a probe was slow")
        if self.passed + 1 >= rules.probes:
            return self.closed(now, f"{rules.probes} probe{'s' if rules.probes > 1 else ''} succeeded")
        return replace(self, probes=others, passed=self.passed + 1)

    def _counted(self, rules: Rules, now: float, seen: Seen, before: Successes) -> Circuit:
        run = self.run if seen.good is None else 0 if seen.good else self.run + 1
        window = self.window
        if rules.counts:
            window = window if rules.fit(window) else rules.empty_window
            if before.calls:
                window.add(before.at, Totals(before.calls))
            if seen.good is not None:
                window.add(now, Totals(1, int(not seen.good), int(seen.slow)))
        counted = replace(self, run=run, window=window)
        # A success never opens it, not even where it is the one that makes enough calls for a rate.
        reason = _why_open(counted, rules, now) if seen.good is False or seen.slow else ""
        return counted.opened(now, rules.open_for, reason) if reason else counted


def _why_open(circuit: Circuit, rules: Rules, now: float) -> str:
    if rules.failures is not None and circuit.run >= rules.failures:
        return f"{circuit.run} failures in a row" if circuit.run > 1 else "a failure"
    calls, bad, slow = circuit.window.totals(now)
    if not rules.counts or calls < rules.min_calls:
        return ""
    if rules.failures is None and bad >= rules.failure_rate * calls and bad:
        return f"{bad} of {calls} call{_s(calls)} failed"
    if rules.slow_rate is not None and slow >= rules.slow_rate * calls and slow:
        return f"{slow} of {calls} call{_s(calls)} {'was' if slow == 1 else 'were'} slow"
    return ""


def _s(number: int) -> str:
    return "" if number == 1 else "s"
