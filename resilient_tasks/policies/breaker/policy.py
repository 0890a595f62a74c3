"""CircuitBreaker: no call reaches a service that is known to be down."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Self

from resilient_tasks.core import settings
from resilient_tasks.core.call import Call, Permit, running
from resilient_tasks.core.classification.kinds import RETRIED_BY_DEFAULT
from resilient_tasks.core.classification.matching import On, matcher
from resilient_tasks.core.errors import CircuitOpen, PolicyError, PredicateError
from resilient_tasks.core.execution import clock
from resilient_tasks.core.failures import status_of
from resilient_tasks.core.keys import keys
from resilient_tasks.core.outcome import Failed, Ok, Outcome
from resilient_tasks.core.parameters import checks, durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.durations import Duration, Seconds, SecondsOrNone
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.policies.breaker.circuit import BY_HAND, CircuitDoor, CountingDoor, SharedCircuit, tell_all
from resilient_tasks.policies.breaker.machine import Circuit, Pass, Position, Refusal, Rules, Seen
from resilient_tasks.state.states import shared, states

if TYPE_CHECKING:
    from resilient_tasks.core.call import Plan, Proceed

#: Where circuits are in the store.
_PREFIX = "breaker/"


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    """A circuit as it stands in the store.

    Attributes:
        name: the breaker's.
        position: `closed`, `open`, `half_open` or `isolated`.
        reason: why it took its position; empty if it never took another.
        retry_in: seconds until a call may be let through; 0 if at once, None if unknown.
        calls: calls in its window, as far as they were told to the store.
        failures: those that failed; where only failures in a row count, so many of these.
        slow: those that took too long.
        probes: probes under way.
    """

    name: str
    position: Position
    reason: str
    retry_in: float | None
    calls: int
    failures: int
    slow: int
    probes: int


@answering('CircuitBreaker("flights-api", failures=5)', "failures", "open_for")
@dataclass(frozen=True, eq=False)
class CircuitBreaker(keys.Keyed, Policy):
    """Let no call through to a service that is known to be down, and find out with few calls when it is back.

    Everyone who names the same breaker shares its state: in this process, or, with `configure(store=...)`, on all
    machines.

    Args:
        name: of what is protected, such as `"flights-api"`; not of the function that calls it. Or a key function, such
            as `lambda url: host_of(url)`: it is given those of the call's arguments that it names, and returns the name
            for this call. Each name has a circuit of its own.
        failures: so many in a row open the circuit, and the rate is not looked at.
        failure_rate: this share of the window's calls, from 0 to 1, opens it.
        window: seconds that a rate is taken of (to within a twentieth).
        min_calls: no rate is taken of fewer calls.
        open_for: seconds until it is tried again. Doubles each time that a probe fails.
        probes: calls that are let through then. It closes when all of them succeed, and opens again when one fails.
        slow: seconds from which on a call counts as slow.
        slow_rate: this share of slow calls in the window opens it; needs `slow`.
        last: a rate is taken of so many last calls, and not of the last `window` seconds.
        open_at_most: seconds that `open_for` doubles up to.
        on: which errors count as failures: kinds, exception types, predicates. Default: TRANSIENT, THROTTLED, TIMEOUT.

    Where seconds are taken, so is a text such as `"30s"` or `"5 min"`, or a `timedelta`.

    A result, or an error with an HTTP status that is none of these (a 404), shows that the service answers. Any other
    error says nothing about it, and is neither success nor failure; so are this library's own rejections and a
    cancelled call.

    Raises:
        PolicyError: the arguments are contradictory or impossible.
    """

    slot: ClassVar[str] = "breaker"

    name: keys.Name
    _: KW_ONLY
    failures: int | None = None
    failure_rate: float = 0.5
    window: Seconds = field(default=durations.default(60))
    min_calls: int = 10
    open_for: Seconds = field(default=durations.default(30))
    probes: int = 1
    slow: SecondsOrNone = field(default=durations.default(None))
    slow_rate: float = 0.5
    last: int | None = None
    open_at_most: Seconds = field(default=durations.default(120))
    on: On | None = None
    _key: str = field(init=False, repr=False)
    _rules: Rules = field(init=False, repr=False)
    _fails: Callable[[Exception], bool] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self.settle_name()
        for what in ("failures", "last"):
            if getattr(self, what) is not None:
                checks.positive_number(getattr(self, what), f"CircuitBreaker({what}=...)")
        for what in ("min_calls", "probes"):
            checks.positive_number(getattr(self, what), f"CircuitBreaker({what}=...)")
        for what in ("failure_rate", "slow_rate"):
            checks.fraction(getattr(self, what), f"CircuitBreaker({what}=...)")
        durations.settle(self, "window", "open_for", "open_at_most", "slow")
        if self.last is not None and self.last < self.min_calls and (self.failures is None or self.slow is not None):
            msg = f"CircuitBreaker(last={self.last}) never holds min_calls={self.min_calls} calls: lower min_calls"
            raise PolicyError(msg)
        rules = Rules(
            failures=self.failures,
            failure_rate=self.failure_rate,
            slow_rate=None if self.slow is None else self.slow_rate,
            min_calls=self.min_calls,
            window=self.window,
            last=self.last,
            open_for=self.open_for,
            open_at_most=self.open_at_most,
            probes=self.probes,
        )
        object.__setattr__(self, "_key", "" if self.is_keyed else f"{_PREFIX}{self.name}")
        object.__setattr__(self, "_rules", rules)
        on = RETRIED_BY_DEFAULT if self.on is None else self.on
        object.__setattr__(self, "_fails", matcher(on, "CircuitBreaker(on=...)"))

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        self.check_key(fn)

    def describe(self) -> str:
        when = f"{self.failures} failures in a row" if self.failures else f"{self.failure_rate:.0%} of calls failing"
        return f"breaker: {self.title}, opens for {self.open_for:g} s at {when}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if self.is_keyed:
            return await keys.around(self, call, proceed)
        circuit = self._circuit()
        # An attempt that was made already, see `at_once`, had its leave then: the circuit may have moved on since.
        had = call.work.take_permit(self._key)
        leave = had.data if had else circuit.admit(self._rules, call)
        if isinstance(leave, Refusal):
            return Failed(self._refused(call, leave))
        began = clock.now() if leave.began is None else leave.began
        seen = Seen(None)  # should the call be cancelled
        try:
            outcome = await proceed(call)
            if not call.fenced:
                # A predicate that fails says nothing of the service, and is the caller's to hear of.
                seen = Seen(self._good(outcome), self.slow is not None and clock.now() - began >= self.slow)
        except PredicateError as error:
            return Failed(error)
        else:
            return outcome
        finally:
            circuit.record(self._rules, call, leave, seen)

    @property
    def heeds_arguments(self) -> bool:
        return self.is_keyed

    @property
    def door(self) -> CircuitDoor | None:
        """Where calls pass while the circuit is closed, in this process's memory, and counts no failures in a row."""
        if self.is_keyed or self.slow is not None or (self._rules.counts and self.last is not None):
            return None
        return CountingDoor(self) if self._rules.counts else CircuitDoor(self)

    def at_once(
        self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any], door: CircuitDoor | None = None
    ) -> Permit | None:
        if shared.opened_for is (chosen := settings.current):
            circuit: SharedCircuit | None = shared.views.get(
                self._key or self.place_at_once(_PREFIX, plan, args, kwargs)
            )
            if circuit is not None:
                leave = circuit.at_once(self._rules, door, chosen)
                return leave if leave is None or self.slow is None else self._timed(leave, circuit, plan, args, kwargs)
        return None

    def ahead(self) -> Policy:
        """Return the policy that notices an open circuit before a call queues up for it, and takes no probe."""
        return _Ahead(self)

    def status(self, *, key: keys.Answer | None = None) -> CircuitStatus:
        """Return how the circuit stands, asking the store.

        Args:
            key: which circuit, of a breaker whose name is a key function.
        """
        at, kept = self._at(key), states()
        now = kept.now()
        circuit = Circuit.decode(kept.get(at)).until(now)
        calls, failures, slow = circuit.window.totals(now)
        return CircuitStatus(
            name=at.removeprefix(_PREFIX),
            position=circuit.position,
            reason=circuit.reason,
            retry_in=circuit.retry_in(now),
            calls=calls,
            failures=failures if calls else circuit.run,
            slow=slow,
            probes=len(circuit.probes),
        )

    def open(self, seconds: Duration | None = None, *, key: keys.Answer | None = None) -> None:
        """Open the circuit by hand, for so many seconds (default: `open_for`); then it is tried again."""
        longer = self.open_for if seconds is None else durations.seconds(seconds, "open(seconds)")
        self._change(key, lambda circuit, now: circuit.opened(now, longer, BY_HAND))

    def isolate(self, *, key: keys.Answer | None = None) -> None:
        """Open the circuit by hand until `close()`: it is not tried again by itself."""
        self._change(key, lambda circuit, now: circuit.isolated(now, BY_HAND))

    def close(self, *, key: keys.Answer | None = None) -> None:
        """Close the circuit by hand."""
        self._change(key, lambda circuit, now: circuit.closed(now, BY_HAND))

    @staticmethod
    def names() -> list[str]:
        """Return the names of all breakers whose state is in the store."""
        return sorted(key.removeprefix(_PREFIX) for key in states().keys(_PREFIX))

    def _at(self, key: keys.Answer | None) -> str:
        """Return where a circuit is in the store."""
        if key is not None:
            return f"{_PREFIX}{self.for_key(key).name}"
        if self.is_keyed:
            msg = 'this breaker has a circuit for each key: say which, as in breaker.status(key="api.example.com")'
            raise PolicyError(msg)
        return self._key

    def _change(self, key: keys.Answer | None, step: Callable[[Circuit, float], Circuit]) -> None:
        circuit: SharedCircuit = states().view(self._at(key), SharedCircuit)
        circuit.exchange(lambda found, now: (step(found, now), None), tell_all)

    def _named(self, name: str) -> Self:
        return keys.changed(self, name=name, _key=_PREFIX + name)

    def _circuit(self) -> SharedCircuit:
        return states().view(self._key, SharedCircuit)

    def _timed(
        self, leave: Permit, circuit: SharedCircuit, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Permit:
        """Return leave for a call that begins now, and whose seconds count."""
        given: Pass = leave.data._replace(began=clock.present())
        return Permit(leave.key, given, succeeded=partial(self._ended_well, leave, given, circuit, plan, args, kwargs))

    def _ended_well(  # noqa: PLR0917  # all that there is to know of a call
        self,
        leave: Permit,
        given: Pass,
        circuit: SharedCircuit,
        plan: Plan,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """Take in a success of a call that was made at once, and the seconds that it took."""
        if clock.present() - given.began < self.slow:  # type: ignore[operator]  # both are there
            leave.succeeded()
        else:
            call = Call(plan.work(args, kwargs), running.get(), 1, given.began or 0.0)
            circuit.record(self._rules, call, given, Seen(good=True, slow=True))

    def _good(self, outcome: Outcome[Any]) -> bool | None:
        if not isinstance(outcome, Failed):
            return True if isinstance(outcome, Ok) else None
        if self._fails(outcome.error):
            return False
        return True if status_of(outcome.error) is not None else None

    def _refused(self, call: Call, refusal: Refusal) -> CircuitOpen:
        return CircuitOpen(
            f"circuit {self.title} is {_IS[refusal.position]}: {call.operation} was not called{_after(refusal)}",
            name=self.title,
            retry_in=refusal.retry_in,
        )


_IS = {
    "open": "open",
    "isolated": "isolated, until it is closed by hand",
    "half_open": "half open, and its probes are under way",
}


def _after(refusal: Refusal) -> str:
    return "" if refusal.position != "open" else f"; a call may be let through in {refusal.retry_in:.1f} s"


#: For a call that found its circuit closed.
_KNOWN_TO_BE_CLOSED = Permit("open circuit")


@dataclass(frozen=True, eq=False)
class _Ahead(Policy):
    """Comes before the queues: no call waits, and no token is spent, while the circuit is known to be open."""

    slot: ClassVar[str] = "open circuit"

    breaker: CircuitBreaker

    def parts(self) -> tuple[Policy, ...]:
        return ()  # whoever arranges a pipeline anew makes it anew, for the breaker that stands there then

    @property
    def heeds_arguments(self) -> bool:
        return self.breaker.is_keyed

    def at_once(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Permit | None:
        return None if self.breaker.at_once(plan, args, kwargs) is None else _KNOWN_TO_BE_CLOSED

    def describe(self) -> str:
        return f"open circuit: {self.breaker.title}, noticed before a call queues up"

    def for_call(self, call: Call) -> _Ahead:
        """Return the same for the circuit of this call."""
        return _Ahead(self.breaker.for_call(call))

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if call.work.take_permit(self.slot) is not None:
            return await proceed(call)  # that attempt was made already: see `at_once`
        if self.breaker.is_keyed:
            return await keys.around(self, call, proceed)
        breaker = self.breaker
        refusal = breaker._circuit().refusal(breaker._rules)  # noqa: SLF001  # the two are one policy
        return await proceed(call) if refusal is None else Failed(breaker._refused(call, refusal))  # noqa: SLF001
