"""A plain model of a resilient call: what the documentation promises, without any code of the library.

One call at a time, on a time of its own. The model predicts the result, the number of attempts, every wait and every
event of a call whose attempts end as a script says.
"""

from dataclasses import dataclass, field

#: How an attempt can end. `left` is a nested call that abandoned its work, which may still run.
ENDINGS = ("ok", "refused", "503", "429", "slow", "gone", "bug", "invalid", "left", "interrupt")
#: The seconds that such an attempt takes.
SECONDS = dict.fromkeys(ENDINGS, 1.0) | {"slow": 16.0}
#: The type of its error.
ERRORS = {
    "refused": "ConnectionError",
    "503": "Unavailable",
    "429": "Throttled",
    "gone": "Gone",
    "bug": "KeyError",
    "left": "TimedOut",
    "interrupt": "Interrupt",
}
RETRIED = {"ConnectionError", "Unavailable", "Throttled", "TimedOut", "DeadlineExceeded"}
#: Errors with an HTTP status, of a service that is up.
ANSWERED = {"Gone"}
#: A fallback replaces neither these nor an interrupt.
OWN_BUGS = {"Gone", "KeyError"}
#: The wait for which the service asks.
RETRY_AFTER = {"Throttled": 8.0}
STAND_IN = "stand-in"
CHANGED = {
    "closed": "breaker.closed",
    "open": "breaker.opened",
    "isolated": "breaker.opened",
    "half_open": "breaker.half_opened",
}
FOREVER = float("inf")


@dataclass
class Circuit:
    """A circuit that opens after failures in a row."""

    failures: int
    open_for: float
    probes: int = 1
    at_most: float = 120.0
    state: str = "closed"
    in_a_row: int = 0
    passed: int = 0
    until: float = 0.0
    length: float = 0.0
    generation: int = 0

    def refuses(self, now):
        return self.state == "isolated" or (self.state == "open" and now < self.until)

    def enter(self, now, events):
        """Admit a call, or return False."""
        if self.refuses(now):
            return False
        if self.state == "open":
            self.change("half_open", events)
        return True

    def leave(self, now, success, events):
        """Count the result of an admitted call; None says nothing about the service."""
        if success is None:
            return
        if self.state == "half_open":
            if not success:
                self.open(now, min(2 * self.length, max(self.at_most, self.open_for)), events)
            elif self.passed + 1 >= self.probes:
                self.change("closed", events)
            else:
                self.passed += 1
        else:
            self.in_a_row = 0 if success else self.in_a_row + 1
            if self.in_a_row >= self.failures:
                self.open(now, self.open_for, events)

    def open(self, now, seconds, events):
        self.until, self.length = now + seconds, seconds
        self.change("open", events)

    def change(self, state, events):
        self.state, self.in_a_row, self.passed = state, 0, 0
        self.generation += 1
        events.append(CHANGED[state])


@dataclass
class Window:
    """A rate limit: `calls` in any `per` seconds, each at the earliest time that is free."""

    calls: int
    per: float
    wait: float = FOREVER
    times: list[float] = field(default_factory=list)

    def reserve(self, now, patience):
        """Return the wait, and whether it is reserved."""
        earliest = self.times[-self.calls] + self.per if len(self.times) >= self.calls else now
        at = max(now, earliest, *self.times[-1:])
        if at - now > patience:
            return at - now, False
        self.times = [*self.times, at][-self.calls :]  # it remembers no more
        return at - now, True


@dataclass
class Budget:
    """Retries may be a share of the calls, and some more."""

    share: float
    floor: int
    calls: int = 0
    retries: int = 0

    def take(self):
        if self.retries + 1 > self.floor + self.share * self.calls:
            return False
        self.retries += 1
        return True


@dataclass
class Slots:
    """A bulkhead; `taken` by others than the modelled call."""

    limit: int
    taken: int = 0


@dataclass
class LastGood:
    """The last result, and when its call began."""

    max_age: float
    kept: float | None = None


@dataclass
class Made:
    """What a call made.

    Attributes:
        result: `ok`, `stand-in`, or the name of the error's type.
        ended: when.
        began: when each attempt began.
        waits: in seconds.
        events: their names.
        abandoned: its last attempt may still run.
    """

    result: str = ""
    ended: float = 0.0
    began: list[float] = field(default_factory=list)
    waits: list[float] = field(default_factory=list)
    events: list[str] = field(default_factory=list)
    abandoned: bool = field(default=False, compare=False)


@dataclass
class Policies:
    """The policies of a function, in plain numbers; None and False are none."""

    attempts: int | None = None
    wait: float = 0.0
    timeout: float | None = None
    deadline: float | None = None
    fallback: bool = False
    last_good: LastGood | None = None
    validate: bool = False
    idempotent: bool = False
    shadow: bool = False
    circuit: Circuit | None = None
    rate: Window | None = None
    slots: Slots | None = None
    budget: Budget | None = None

    def call(self, now, next_ending):
        """Return what a call makes that begins now; `next_ending(made)` says how its next attempt ends."""
        made = Made(ended=now)
        if self.budget is not None:
            self.budget.calls += 1
        until = FOREVER if self.deadline is None else now + self.deadline
        number = 0
        while True:
            number += 1
            result = self._attempt(made, until, next_ending)
            if result in ("ok", "Interrupt"):
                break
            again = self._again(made, result, number, until)
            if again is None:
                break
            made.events.append("retry.scheduled")
            if again:
                made.waits.append(again)
                made.ended += again
            made.events.append("retry.started")
        made.result = self._told(made, result, number, now)
        return made

    def _told(self, made, result, number, began):
        if result == "Interrupt":
            return result
        if result == "ok":
            if number > 1:
                made.events.append("retry.recovered")
            if self.last_good is not None:
                self.last_good.kept = began
            return result
        good = self.last_good
        is_kept = good is not None and good.kept is not None and made.ended - good.kept <= good.max_age
        if result not in OWN_BUGS and (self.fallback or is_kept):
            made.events.append("fallback.used")
            return STAND_IN
        made.events.append("call.failed")
        return result

    def _again(self, made, result, number, until):
        """Return the seconds until the next attempt, or None."""
        if self.attempts is None:
            return None
        wait = max(self.wait, RETRY_AFTER.get(result, 0.0))
        if (
            result not in RETRIED
            or (made.abandoned and not self.idempotent)
            or number >= self.attempts
            or made.ended + wait >= until
            or (self.budget is not None and not self.budget.take())
        ):
            if result in RETRIED or number > 1:
                made.events.append("retry.exhausted")
            return None
        return wait

    def _attempt(self, made, until, next_ending):
        made.abandoned = False
        refusal = self._refusal(made, until)
        if refusal or self.circuit is None:
            return refusal or self._judged(made, self._invoke(made, until, next_ending))
        if not self.circuit.enter(made.ended, made.events):
            if not self.shadow:
                return "CircuitOpen"
            made.events.append("breaker.would_refuse")
            return self._judged(made, self._invoke(made, until, next_ending))
        generation = self.circuit.generation
        result = self._invoke(made, until, next_ending)
        if generation != self.circuit.generation:  # by hand, meanwhile
            return self._judged(made, result)
        answered = True if result in ("ok", "invalid", *ANSWERED) else None
        self.circuit.leave(made.ended, False if result in RETRIED else answered, made.events)
        return self._judged(made, result)

    def _refusal(self, made, until):
        """Return what refuses the attempt before it reaches the circuit, or an empty text."""
        circuit, rate, slots = self.circuit, self.rate, self.slots
        if (rate or slots) and circuit is not None and not self.shadow and circuit.refuses(made.ended):
            return "CircuitOpen"
        if rate is not None and not self._has_turn(made, until):
            return "RateLimited"
        if slots is not None and slots.taken >= slots.limit:
            made.events.append("bulkhead.rejected")
            return "" if self.shadow else "BulkheadFull"
        return ""

    def _judged(self, made, result):
        if result != "invalid":
            return result
        if self.validate:
            made.events.append("rows.invalid")
            return "InvalidData"
        return "ok"

    def _has_turn(self, made, until):
        rate = self.rate
        patience = min(rate.wait, until - made.ended)
        wait, is_reserved = rate.reserve(made.ended, 0.0 if self.shadow else patience)
        if wait:
            made.events.append("rate.limited")
        if wait and is_reserved:
            made.waits.append(wait)
            made.ended += wait
        return is_reserved or self.shadow

    def _invoke(self, made, until, next_ending):
        own = FOREVER if self.timeout is None else made.ended + self.timeout
        limit, error = min(until, own), "DeadlineExceeded" if until < own else "TimedOut"
        if made.ended >= limit:
            made.events.append("timeout.exceeded")
            return error
        made.began.append(made.ended)
        ending = next_ending(made)
        made.ended += SECONDS[ending]
        if ending == "interrupt":
            return "Interrupt"
        if made.ended > limit:
            made.events.append("timeout.exceeded")
            return error
        made.abandoned = ending == "left"
        return ERRORS.get(ending, "ok" if ending == "slow" else ending)
