"""Events about shared state: circuits, limits, and the store that holds them."""

from __future__ import annotations

import logging
from typing import ClassVar

from resilient_tasks.core.events.event import Event, named
from resilient_tasks.core.wording import about, calls_in, number_of

#: At the end of sentences about a policy with `enforce=False`.
SHADOW = " (shadow: it refuses nothing)"


class BreakerOpened(Event):
    """The circuit `breaker` rejects calls for the next `open_for` seconds; None: until it is closed by hand.

    `shadow`: its breaker has `enforce=False`, so it rejects none.
    """

    name: ClassVar[str] = "breaker.opened"
    breaker: str
    reason: str
    open_for: float | None = named("breaker.open_for_s")
    shadow: bool = False

    def sentence(self) -> str:
        until = f"for {self.open_for:g} s" if self.open_for is not None else "until it is closed"
        return f"circuit {self.breaker} opened {until}: {self.reason}{SHADOW if self.shadow else ''}"


class BreakerHalfOpened(Event):
    """The circuit `breaker` lets a few calls through as probes."""

    name: ClassVar[str] = "breaker.half_opened"
    level: ClassVar[int] = logging.INFO
    breaker: str
    reason: str
    shadow: bool = False

    def sentence(self) -> str:
        return f"circuit {self.breaker} is half open, probing: {self.reason}{SHADOW if self.shadow else ''}"


class BreakerClosed(Event):
    """The circuit `breaker` lets calls through again, after `seconds`."""

    name: ClassVar[str] = "breaker.closed"
    level: ClassVar[int] = logging.INFO
    breaker: str
    reason: str
    seconds: float = named("breaker.was_open_s")
    shadow: bool = False

    def sentence(self) -> str:
        shadow = SHADOW if self.shadow else ""
        return f"circuit {self.breaker} closed after {self.seconds:.1f} s: {self.reason}{shadow}"


class BreakerWouldRefuse(Event):
    """The circuit `breaker` is open, half open or isolated (`state`), and its breaker has `enforce=False`.

    So this call was made. A breaker that enforces would have refused it.
    """

    name: ClassVar[str] = "breaker.would_refuse"
    level: ClassVar[int] = logging.INFO
    breaker: str
    state: str

    def sentence(self) -> str:
        return f"circuit {self.breaker} is {self.state.replace('_', ' ')}: would have refused this call{SHADOW}"


class RateLimitReached(Event):
    """The rate limit `limit` made this call wait for `delay` seconds, or `refused` it, because that was too long.

    `shadow`: it has `enforce=False`, so it would have done that, and the call was made at once.
    """

    name: ClassVar[str] = "rate.limited"
    level: ClassVar[int] = logging.INFO
    limit: str
    refused: bool
    delay: float = named("rate.delay_s")
    shadow: bool = False

    def sentence(self) -> str:
        if self.shadow:
            what = "refused" if self.refused else "delayed"
            return f"rate limit {self.limit}: would have {what} this call, by {self.delay:.1f} s of waiting{SHADOW}"
        if self.refused:
            return f"rate limit {self.limit}: refused, {self.delay:.1f} s of waiting would be too long"
        return f"rate limit {self.limit}: waits {self.delay:.1f} s"


class RateAdapted(Event):
    """The service refused a call, so the adaptive rate limit `limit` lowers its rate and pauses for `pause` seconds.

    `rate_before` and `rate` are calls in `per` seconds; they are equal if the rate was already at its minimum.
    `shadow`: the limit has `enforce=False`, so it delays no call.
    """

    name: ClassVar[str] = "rate.adapted"
    level: ClassVar[int] = logging.INFO
    limit: str
    rate_before: float = named("rate.before")
    rate: float = named("rate.now")
    per: float = named("rate.per_s")
    pause: float = named("rate.pause_s")
    reason: str
    shadow: bool = False

    def sentence(self) -> str:
        now = calls_in(self.rate, self.per)
        lowered = f"lowered from {about(self.rate_before)} to {now}"
        what = lowered if self.rate < self.rate_before else f"stays at its least, {now}"
        pause = f"; no call begins for {self.pause:.1f} s" if self.pause > 0 else ""
        return f"rate limit {self.limit} {what}: {self.reason}{pause}{SHADOW if self.shadow else ''}"


class BulkheadRejected(Event):
    """All `limit` slots of the bulkhead `bulkhead` were taken, and this call got none, for `reason`.

    `shadow`: it has `enforce=False`, so the call was made without a slot.
    """

    name: ClassVar[str] = "bulkhead.rejected"
    bulkhead: str
    limit: int
    queued: int
    reason: str
    shadow: bool = False

    def sentence(self) -> str:
        under_way, shadow = number_of(self.limit, "call"), SHADOW if self.shadow else ""
        return f"bulkhead {self.bulkhead} is full: {under_way} running, {self.queued} waiting; {self.reason}{shadow}"


class StoreLost(Event):
    """The store of shared state does not respond: until it does, each process uses its own memory.

    Also emitted for the store of incidents, with `waits`: records wait until it responds.
    """

    name: ClassVar[str] = "store.lost"
    store: str
    message: str = named("exception.message")
    waits: bool = False

    def sentence(self) -> str:
        meanwhile = "new records wait" if self.waits else "this process uses its own memory"
        return f"{self.store} does not answer ({self.message}): {meanwhile} until it does"


class StoreRegained(Event):
    """The store of shared state responds again, after `seconds`."""

    name: ClassVar[str] = "store.regained"
    level: ClassVar[int] = logging.INFO
    store: str
    seconds: float = named("store.was_gone_s")

    def sentence(self) -> str:
        return f"{self.store} answers again after {self.seconds:.1f} s: state is shared as before"


class FlightJoined(Event):
    """This call waited for `leader`, the same call made earlier, and shares its outcome.

    `outcome` is `"ok"`, `"degraded"` or `"failed"`; or `"deadline"` if its own deadline ended the wait.
    """

    name: ClassVar[str] = "flight.joined"
    level: ClassVar[int] = logging.DEBUG
    leader: str
    outcome: str
    waited: float = named("flight.waited_s")

    def sentence(self) -> str:
        if self.outcome == "deadline":
            return f"waited {self.waited:.1f} s for {self.leader}, until its own deadline came"
        what = {"ok": "result", "degraded": "stand-in", "failed": "failure"}.get(self.outcome, self.outcome)
        return f"shared the {what} of {self.leader}, after {self.waited:.1f} s of waiting"


class FlightAlone(Event):
    """Calls of this function cannot be shared, for `reason`. Emitted once."""

    name: ClassVar[str] = "flight.alone"
    reason: str

    def sentence(self) -> str:
        return f"single flight: this call was not shared: {self.reason}"


class ApiAway(Event):
    """The orchestrator's server did not respond for `seconds`; `late` states of task runs were delayed, `lost` lost.

    `back`: it responded again before the run ended.
    """

    name: ClassVar[str] = "api.away"
    api: str
    back: bool
    late: int
    lost: int
    seconds: float = named("api.was_away_s")

    def sentence(self) -> str:
        away = f"was away for {self.seconds:.1f} s" if self.back else f"has been away for {self.seconds:.1f} s"
        lost = f", {number_of(self.lost, 'state')} lost" if self.lost else ""
        return f"the Prefect API at {self.api} {away}: {number_of(self.late, 'state')} published late{lost}"
