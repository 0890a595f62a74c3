"""The state machine of a circuit breaker.

    closed ──(too many failures)──▶ open ──(time is over, at the next call)──▶ half open ──(all probes good)──▶ closed
                                     ▲                                            │
                                     └────────(a probe fails: open for longer)────┘

Each change of state begins a new generation. The results of calls from earlier generations are ignored: a call that
began before the circuit opened neither closes it nor opens it again.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Literal, NamedTuple, TypeAlias

from resilient_tasks.state.changes import Changes, changes_from
from resilient_tasks.state.compact_json import dumps, loads
from resilient_tasks.state.window import CountWindow, TimeWindow, Totals, Window, window_from

CircuitState: TypeAlias = Literal["closed", "open", "half_open", "isolated"]


@dataclass(frozen=True, slots=True)
class Rules:
    """When a circuit changes its state.

    Attributes:
        failures: consecutive failures that open it; None: the failure rate decides.
        failure_rate: the share of failed calls in the window that opens it.
        slow_rate: the share of slow calls in the window that opens it; None: slow calls do not count.
        min_calls: the least number of calls in the window for a rate.
        window: the length of the window in seconds, unless `last` is set.
        last: the length of the window in calls; None: `window` is used.
        open_for: seconds that it stays open the first time; doubles each time that a probe fails.
        open_at_most: the most seconds that it stays open.
        probes: calls let through while it is half open; it closes when all succeed.
        shadow: no call is refused: the circuit only shows which ones would be.
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
    shadow: bool = False

    @property
    def empty_window(self) -> Window:
        """Return the window of a circuit that has just closed."""
        return TimeWindow(self.window) if self.last is None else CountWindow(self.last)

    def match(self, window: Window) -> bool:
        """Return whether a window has the kind and length of these rules: another policy may have stored its own."""
        if window.matched is self:
            return True
        if self.last is None:
            matches = isinstance(window, TimeWindow) and window.seconds == self.window
        else:
            matches = isinstance(window, CountWindow) and window.size == self.last
        window.matched = self if matches else None
        return matches

    def changed(self, changes: Changes) -> Rules:
        """Return these rules with the numbers that were changed while workers run."""
        # A newer version of this library may have set others.
        numbers: dict[str, Any] = {name: value for name, value in changes.numbers.items() if name in _NUMBERS}
        if self.slow_rate is None:  # slow calls are not counted
            numbers.pop("slow_rate", None)
        rules = replace(self, **numbers)
        # A window that never holds enough calls would never open the circuit.
        return rules if rules.last is None else replace(rules, min_calls=min(rules.min_calls, rules.last))

    @property
    def use_window(self) -> bool:
        """Whether the window is used: successes need not be recorded if only consecutive failures count."""
        return self.failures is None or self.slow_rate is not None


#: The rules that can be changed while workers run.
_NUMBERS = frozenset(Rules.__slots__) - {"shadow"}


class Admission(NamedTuple):
    """Admits one call, in this generation of the circuit; in a half-open circuit as the named probe.

    `began` is when the call began, if it is made outside the pipeline and its duration counts.
    """

    generation: int
    probe: str = ""
    began: float | None = None


class Refusal(NamedTuple):
    """Refuses a call. `retry_in` is the seconds until a call may be admitted, or None if unknown."""

    state: CircuitState
    retry_in: float | None


class CallResult(NamedTuple):
    """The result of an admitted call. `success` is None if it says nothing about the service."""

    success: bool | None
    slow: bool = False


NO_RESULT = CallResult(None)


class Successes(NamedTuple):
    """Unreported successes in a closed circuit: their number, and the time of the last one."""

    calls: int = 0
    at: float = 0.0


NO_SUCCESSES = Successes()


@dataclass(frozen=True, slots=True)
class Circuit:
    """The state of a circuit. A new one is closed.

    Attributes:
        state: whether it admits calls.
        generation: number of changes of state.
        since: time of the last change.
        closed_until: time at which it last stopped being closed.
        open_for: seconds that it stays open.
        consecutive_failures: consecutive failures while it is closed.
        window: counts of calls while it is closed.
        probes: running probes, and the time at which each one counts as lost.
        passed: number of probes that have succeeded.
        reason: why it changed to this state.
        shadow: whether the last policy that changed it refuses no calls.
        changes: numbers in place of those of the rules; None: there are none.
    """

    state: CircuitState = "closed"
    generation: int = 0
    since: float = 0.0
    closed_until: float = 0.0
    open_for: float = 0.0
    consecutive_failures: int = 0
    window: Window = field(default_factory=lambda: TimeWindow(60))
    probes: Mapping[str, float] = field(default_factory=dict)
    passed: int = 0
    reason: str = ""
    shadow: bool = False
    changes: Changes | None = None

    @classmethod
    def decode(cls, encoded: bytes | None) -> Circuit:
        """Return the circuit that `encode` returned; a new one for None or unreadable bytes."""
        if encoded is None:
            return cls()
        try:
            found: dict[str, Any] = loads(encoded)
            known = {name: found[name] for name in cls.__slots__ if name in found}
            known |= {"window": window_from(found["window"]), "changes": changes_from(found.get("changes"))}
            return cls(**known)
        except (ValueError, TypeError, LookupError):
            return cls()

    def encode(self) -> bytes:
        """Return the circuit as JSON, which people can read in the store."""
        found = {name: getattr(self, name) for name in self.__slots__}
        found.update(window=self.window.as_json(), probes=dict(self.probes))
        found["changes"] = None if self.changes is None else self.changes.as_json()
        for name in ("shadow", "changes"):  # older versions of this library do not know them
            if not found[name]:
                del found[name]
        return dumps(found)

    def corrected(self, now: float) -> Circuit:
        """Return the circuit with no time too far in the future: a clock may have run fast for a moment."""
        longest = now + self.open_for
        window = self.window.corrected(now)
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

    def in_force(self, rules: Rules) -> Rules:
        """Return the rules with the numbers of this circuit, if they were changed."""
        return rules if self.changes is None else rules.changed(self.changes)

    def used_by(self, rules: Rules) -> Circuit:
        """Return the circuit, marked by whether these rules refuse calls."""
        return self if self.shadow is rules.shadow else replace(self, shadow=rules.shadow)

    def retry_in(self, now: float) -> float | None:
        """Return the seconds until a call may be admitted, or None if that does not depend on time."""
        if self.state == "closed":
            return 0.0
        return max(0.0, self.since + self.open_for - now) if self.state == "open" else None

    def refuses_for(self, now: float) -> float:
        """Return the seconds for which it refuses calls; 0 if it admits the next one."""
        match self.state:
            case "isolated":
                return math.inf
            case "half_open":
                return max([0.0, *(ends - now for ends in self.probes.values())])
            case _:
                return self.retry_in(now) or 0.0

    def needed_for(self, now: float) -> float:
        """Return the seconds for which a process keeps it even if memory is short; 0 if it is closed.

        An open circuit that no call has tried for ten times its `open_for` protects little.
        """
        if self.changes is not None:
            return math.inf
        if self.state == "closed":
            return 0.0
        return max(self.refuses_for(now), self.since + 11 * self.open_for - now)

    @property
    def resets_in(self) -> float:
        """Seconds without a call after which it equals a new circuit; infinite if never."""
        if self.state == "closed" and not self.consecutive_failures and isinstance(self.window, TimeWindow):
            return self.window.seconds
        return math.inf

    # What calls do.

    def admit(self, rules: Rules, now: float, probe: str) -> tuple[Circuit, Admission | Refusal]:
        """Admit or refuse a call; `probe` is its name if it becomes a probe."""
        if self.state == "closed":
            return self, Admission(self.generation)
        if self.state == "isolated":
            return self, Refusal("isolated", None)
        if self.state == "open":
            left = self.retry_in(now)
            if left:
                return self, Refusal("open", left)
            half_open = self._changed("half_open", now, f"open for {self.open_for:g} s")
            return half_open.admit(rules, now, probe)
        running = {name: ends for name, ends in self.probes.items() if ends > now}
        # One that succeeds has to follow, even if as many passed before as these rules want: only that closes it.
        if running and len(running) + self.passed >= self.in_force(rules).probes:
            return self, Refusal("half_open", None)
        # A probe whose worker died counts as lost after `open_for`.
        running[probe] = now + self.open_for
        return replace(self, probes=running), Admission(self.generation, probe)

    def record(
        self, rules: Rules, now: float, admission: Admission, result: CallResult, pending: Successes = NO_SUCCESSES
    ) -> Circuit:
        """Record the result of a call, after the `pending` successes."""
        if admission.generation != self.generation:
            return self
        rules = self.in_force(rules)
        if self.state == "half_open":
            return self._record_probe(rules, now, admission.probe, result)
        return self._record_call(rules, now, result, pending) if self.state == "closed" else self

    # What people do.

    def opened(self, now: float, seconds: float, reason: str) -> Circuit:
        """Return it open for this many seconds."""
        return replace(self._changed("open", now, reason), open_for=seconds)

    def isolated(self, now: float, reason: str) -> Circuit:
        """Return it open until it is closed by hand."""
        return self._changed("isolated", now, reason)

    def renumbered(self, changes: Changes | None) -> Circuit:
        """Return it with these numbers in place of those of the rules; None: with those of the rules again."""
        return replace(self, changes=changes)

    def closed(self, now: float, reason: str) -> Circuit:
        """Return it closed."""
        return replace(self._changed("closed", now, reason), open_for=0.0)

    def _changed(self, state: CircuitState, now: float, reason: str) -> Circuit:
        return replace(
            self,
            state=state,
            generation=self.generation + 1,
            since=now,
            closed_until=now if self.state == "closed" else self.closed_until,
            consecutive_failures=0,
            window=self.window.emptied(),
            probes={},
            passed=0,
            reason=reason,
        )

    def _record_probe(self, rules: Rules, now: float, probe: str, result: CallResult) -> Circuit:
        if probe not in self.probes:  # it was lost
            return self
        others = {name: ends for name, ends in self.probes.items() if name != probe}
        if result.success is None:
            return replace(self, probes=others)
        if not result.success or (result.slow and rules.slow_rate is not None):
            longer = min(2 * self.open_for, max(rules.open_at_most, rules.open_for))
            return self.opened(now, longer, "a probe was slow" if result.success else "a probe failed")
        if self.passed + 1 >= rules.probes:
            return self.closed(now, f"{rules.probes} probe{'s' if rules.probes > 1 else ''} succeeded")
        return replace(self, probes=others, passed=self.passed + 1)

    def _record_call(self, rules: Rules, now: float, result: CallResult, pending: Successes) -> Circuit:
        success = result.success
        failures = self.consecutive_failures
        if success is not None:
            failures = 0 if success else failures + 1
        window = self.window
        if rules.use_window:
            window = window if rules.match(window) else rules.empty_window
            if pending.calls:
                window.add(pending.at, Totals(pending.calls))
            if success is not None:
                window.add(now, Totals(1, int(not success), int(result.slow)))
        circuit = replace(self, consecutive_failures=failures, window=window)
        # A quick success never opens it, even if it completes `min_calls`.
        reason = _why_open(circuit, rules, now) if success is False or result.slow else ""
        return circuit.opened(now, rules.open_for, reason) if reason else circuit


def _why_open(circuit: Circuit, rules: Rules, now: float) -> str:
    """Return why a circuit has to open, or an empty text."""
    failures = circuit.consecutive_failures
    if rules.failures is not None and failures >= rules.failures:
        return f"{failures} failures in a row" if failures > 1 else "a failure"
    calls, failed, slow = circuit.window.totals(now)
    of_calls = f"of {calls} {'call' if calls == 1 else 'calls'}"
    if not rules.use_window or calls < rules.min_calls:
        return ""
    if rules.failures is None and failed >= rules.failure_rate * calls and failed:
        return f"{failed} {of_calls} failed"
    if rules.slow_rate is not None and slow >= rules.slow_rate * calls and slow:
        return f"{slow} {of_calls} {'was' if slow == 1 else 'were'} slow"
    return ""
