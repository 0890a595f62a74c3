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
from resilient_tasks.core.events import BreakerWouldRefuse
from resilient_tasks.core.execution import clock
from resilient_tasks.core.failures import status_of
from resilient_tasks.core.keys import keys
from resilient_tasks.core.outcome import Failed, Ok, Outcome
from resilient_tasks.core.parameters import checks, durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.durations import Duration, Seconds, SecondsOrNone
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.policies.breaker.circuit import BY_HAND, CircuitDoor, CountingDoor, SharedCircuit, emit_event
from resilient_tasks.policies.breaker.machine import (
    NO_RESULT,
    Admission,
    CallResult,
    Circuit,
    CircuitState,
    Refusal,
    Rules,
)
from resilient_tasks.state import changing
from resilient_tasks.state.listed import LISTED
from resilient_tasks.state.states import shared, states

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Plan, Proceed

#: The prefix of circuits in the store.
_PREFIX = "breaker/"
#: The numbers that can be changed while workers run.
NUMBERS = (
    *("failures", "failure_rate", "window", "min_calls", "open_for", "open_at_most", "probes", "slow_rate", "last"),
)


@dataclass(frozen=True, slots=True)
class CircuitStatus:
    """The status of a circuit in the store.

    Attributes:
        name: the breaker's name.
        state: `closed`, `open`, `half_open` or `isolated`.
        reason: why it changed to this state; empty if it never changed.
        retry_in: seconds until a call may be admitted; 0 if at once, None if unknown.
        calls: calls in its window, as far as they are written to the store.
        failures: failed calls in its window; if only consecutive failures count, the present run of them.
        slow: slow calls in its window.
        probes: running probes.
        shadow: whether its breakers have `enforce=False`, so that it refuses no calls.
        numbers: numbers in place of those of the code, see `set_numbers`.
        changed_by: who changed them last.
        changed_at: when, in unix seconds.
    """

    name: str
    state: CircuitState
    reason: str
    retry_in: float | None
    calls: int
    failures: int
    slow: int
    probes: int
    shadow: bool = False
    numbers: Mapping[str, float] = field(default_factory=dict)
    changed_by: str = ""
    changed_at: float | None = None


@answering('CircuitBreaker("flights-api", failures=5)', "failures", "open_for")
@dataclass(frozen=True, eq=False)
class CircuitBreaker(keys.Keyed, Policy):
    """Reject calls to a service that is known to be down, and probe it with few calls until it is back.

    Breakers of one name share a circuit: in this process, or, with `configure(store=...)`, on all machines.

    Args:
        name: of the protected service, such as `"flights-api"`, not of the function that calls it. Or a key function,
            such as `lambda url: host_of(url)`: it gets the call's arguments that it names, and returns the name for
            this call. Each name has its own circuit.
        failures: this many consecutive failures open the circuit; the failure rate is then ignored.
        failure_rate: this share of failed calls in the window, from 0 to 1, opens it.
        window: seconds over which rates are measured, to within a twentieth.
        min_calls: the least number of calls for a rate.
        open_for: seconds until the first probe. Doubles each time a probe fails.
        probes: calls let through then. The circuit closes when all of them succeed, and opens again when one fails.
        slow: seconds from which a call counts as slow.
        slow_rate: this share of slow calls in the window opens it; needs `slow`.
        last: measure rates over this many last calls instead of the last `window` seconds.
        open_at_most: the maximum of `open_for`, in seconds.
        on: which errors count as failures: kinds, exception types, predicates. Default: TRANSIENT, THROTTLED, TIMEOUT.
        enforce: False measures only (shadow mode): the circuit opens and closes, and no call is refused. Calls that
            would have been refused emit `breaker.would_refuse`.

    Durations are seconds, a text such as `"30s"` or `"5 min"`, or a `timedelta`.

    A result counts as a success, and so does any other error with an HTTP status, such as a 404, because the service
    answered. Any other error is neither success nor failure; nor is this library's own rejection, or a cancelled call.

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
    enforce: bool = True
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
        checks.enforced(self.enforce, "CircuitBreaker(enforce=...)")
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
            shadow=not self.enforce,
        )
        object.__setattr__(self, "_key", "" if self.is_keyed else f"{_PREFIX}{self.name}")
        object.__setattr__(self, "_rules", rules)
        on = RETRIED_BY_DEFAULT if self.on is None else self.on
        object.__setattr__(self, "_fails", matcher(on, "CircuitBreaker(on=...)"))

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        self.check_key(fn)

    def longest(self, inner: Bound) -> Bound:
        return inner

    def describe(self) -> str:
        when = f"{self.failures} failures in a row" if self.failures else f"{self.failure_rate:.0%} of calls failing"
        shadow = "" if self.enforce else "; shadow: refuses nothing"
        return f"breaker: {self.title}, opens for {self.open_for:g} s at {when}{shadow}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if self.is_keyed:
            return await keys.around(self, call, proceed)
        circuit = self._circuit()
        # An attempt that `at_once` permitted is over: it was admitted then, whatever the circuit's state is now.
        permit = call.work.take_permit(self._key)
        admission = permit.data if permit else circuit.admit(self._rules, call)
        if isinstance(admission, Refusal):
            if self.enforce:
                return Failed(self._refused(call, admission))
            call.emit(BreakerWouldRefuse, breaker=self.title, state=admission.state)
            return await proceed(call)
        began = clock.now() if admission.began is None else admission.began
        result = NO_RESULT  # if the call is cancelled
        try:
            outcome = await proceed(call)
            if not call.fenced:
                # A failing predicate says nothing about the service: its error goes to the caller.
                is_slow = self.slow is not None and clock.now() - began >= self.slow
                result = CallResult(self._is_success(outcome), is_slow)
        except PredicateError as error:
            return Failed(error)
        else:
            return outcome
        finally:
            circuit.record(self._rules, call, admission, result)

    @property
    def heeds_arguments(self) -> bool:
        return self.is_keyed

    @property
    def door(self) -> CircuitDoor | None:
        """Open while the circuit is closed in this process's memory, without a run of failures."""
        if self.is_keyed or self.slow is not None or (self._rules.use_window and self.last is not None):
            return None
        return CountingDoor(self) if self._rules.use_window else CircuitDoor(self)

    def at_once(
        self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any], door: CircuitDoor | None = None
    ) -> Permit | None:
        if shared.opened_for is (current := settings.current):
            circuit: SharedCircuit | None = shared.views.get(
                self._key or self.place_at_once(_PREFIX, plan, args, kwargs)
            )
            if circuit is not None:
                permit = circuit.try_acquire(self._rules, door, current)
                if permit is None or self.slow is None:
                    return permit
                return self._timed(permit, circuit, plan, args, kwargs)
        return None

    def ahead(self) -> Policy:
        """Return the policy that rejects calls before they queue while the circuit is open; it starts no probe."""
        return _Ahead(self)

    def status(self, *, key: keys.Answer | None = None) -> CircuitStatus:
        """Return the status of the circuit, read from the store.

        Args:
            key: of the circuit, if the breaker's name is a key function.
        """
        store_key, now = self._store_key(key), states().now()
        circuit = self._found(key).corrected(now)
        calls, failures, slow = circuit.window.totals(now)
        return CircuitStatus(
            name=store_key.removeprefix(_PREFIX),
            state=circuit.state,
            reason=circuit.reason,
            retry_in=circuit.retry_in(now),
            calls=calls,
            failures=failures if calls else circuit.consecutive_failures,
            slow=slow,
            probes=len(circuit.probes),
            shadow=circuit.shadow or not self.enforce,
            numbers={} if circuit.changes is None else circuit.changes.numbers,
            changed_by="" if circuit.changes is None else circuit.changes.by,
            changed_at=None if circuit.changes is None else circuit.changes.at,
        )

    def open(self, seconds: Duration | None = None, *, key: keys.Answer | None = None) -> None:
        """Open the circuit by hand for this many seconds (default: `open_for`), then half-open it as usual."""
        open_for = self.open_for if seconds is None else durations.seconds(seconds, "open(seconds)")
        self._change(key, lambda circuit, now: circuit.opened(now, open_for, BY_HAND))

    def isolate(self, *, key: keys.Answer | None = None) -> None:
        """Open the circuit by hand until `close()`, without probes."""
        self._change(key, lambda circuit, now: circuit.isolated(now, BY_HAND))

    def close(self, *, key: keys.Answer | None = None) -> None:
        """Close the circuit by hand."""
        self._change(key, lambda circuit, now: circuit.closed(now, BY_HAND))

    def set_numbers(self, *, key: keys.Answer | None = None, by: str | None = None, **numbers: Duration) -> None:
        """Change numbers of the circuit while workers run, in place of those that any code gives.

        The numbers are kept in the store, with those that were set earlier, and outlive restarts. Every process uses
        them once it reads the circuit again, within `configure(store_staleness=...)`. `open_for` applies from the next
        time that the circuit opens.

        Args:
            key: of the circuit, if the breaker's name is a key function.
            by: who changes them, for `status`; default: this user and machine.
            **numbers: `failures`, `failure_rate`, `window`, `min_calls`, `open_for`, `open_at_most`, `probes`,
                `slow_rate` or `last`.

        Raises:
            PolicyError: a number is unknown or out of range.
            ConnectionError: the store does not answer.
        """
        changing.check(numbers, NUMBERS, "a breaker")
        checked = CircuitBreaker("numbers", **{"min_calls": 1, **numbers})  # type: ignore[arg-type]  # it checks them
        new = {name: getattr(checked, name) for name in numbers}
        who = changing.name_of(by)
        self._change(key, lambda circuit, _: circuit.renumbered(changing.merged(circuit.changes, new, who)))
        changing.settle(states(), new, self._found(key).changes)

    def reset_numbers(self, *, key: keys.Answer | None = None) -> None:
        """Use the numbers of the code again.

        Raises:
            ConnectionError: the store does not answer.
        """
        self._change(key, lambda circuit, _: circuit.renumbered(None))
        changing.settle(states(), None, self._found(key).changes)

    @staticmethod
    def names() -> list[str]:
        """Return the names of all circuits in the store."""
        return sorted(key.removeprefix(_PREFIX) for key in states().keys(_PREFIX))

    def _store_key(self, key: keys.Answer | None) -> str:
        needs_key = 'this breaker has a circuit for each key: give one, as in breaker.status(key="api.example.com")'
        return self.place_by_hand(_PREFIX, key, needs_key)

    def _found(self, key: keys.Answer | None) -> Circuit:
        """Return the circuit, read from the store."""
        return Circuit.decode(states().get(self._store_key(key)))

    def _change(self, key: keys.Answer | None, step: Callable[[Circuit, float], Circuit]) -> None:
        circuit: SharedCircuit = states().view(self._store_key(key), SharedCircuit)
        circuit.update(lambda found, now: (step(found, now), None), emit_event)

    def _named(self, name: str) -> Self:
        return keys.changed(self, name=name, _key=_PREFIX + name)

    def _circuit(self) -> SharedCircuit:
        return states().view(self._key, SharedCircuit)

    def _timed(
        self, permit: Permit, circuit: SharedCircuit, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]
    ) -> Permit:
        """Return a permit for a call that begins now, and whose duration counts."""
        timed: Admission = permit.data._replace(began=clock.present())
        succeeded = partial(self._record_timed, permit, timed, circuit, plan, args, kwargs)
        return Permit(permit.key, timed, succeeded=succeeded)

    def _record_timed(  # noqa: PLR0917  # a partial's arguments
        self,
        permit: Permit,
        timed: Admission,
        circuit: SharedCircuit,
        plan: Plan,
        args: tuple[Any, ...],
        kwargs: Mapping[str, Any],
    ) -> None:
        """Record a success of a call with such a permit, which may be slow."""
        if clock.present() - timed.began < self.slow:  # type: ignore[operator]  # both are numbers
            permit.succeeded()
        else:
            call = Call(plan.work(args, kwargs), running.get(), 1, timed.began or 0.0)
            circuit.record(self._rules, call, timed, CallResult(success=True, slow=True))

    def _is_success(self, outcome: Outcome[Any]) -> bool | None:
        if not isinstance(outcome, Failed):
            return True if isinstance(outcome, Ok) else None
        if self._fails(outcome.error):
            return False
        return True if status_of(outcome.error) is not None else None

    def _refused(self, call: Call, refusal: Refusal) -> CircuitOpen:
        after = f"; a call may be let through in {refusal.retry_in:.1f} s" if refusal.state == "open" else ""
        return CircuitOpen(
            f"circuit {self.title} is {_REFUSING[refusal.state]}: {call.operation} was not called{after}",
            name=self.title,
            retry_in=refusal.retry_in,
        )


_REFUSING = {
    "open": "open",
    "isolated": "isolated, until it is closed by hand",
    "half_open": "half open, and its probes are under way",
}

#: The permit of a call whose circuit is closed.
_CLOSED = Permit("open circuit")


@dataclass(frozen=True, eq=False)
class _Ahead(Policy):
    """Stands before the queues: while the circuit is open, no call waits and no token is spent."""

    slot: ClassVar[str] = "open circuit"

    breaker: CircuitBreaker

    def parts(self) -> tuple[Policy, ...]:
        return ()  # a rearranged pipeline makes a new one for its breaker

    @property
    def heeds_arguments(self) -> bool:
        return self.breaker.is_keyed

    def at_once(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Permit | None:
        return None if self.breaker.at_once(plan, args, kwargs) is None else _CLOSED

    def longest(self, inner: Bound) -> Bound:
        return inner

    def describe(self) -> str:
        return f"open circuit: {self.breaker.title}, noticed before a call queues up"

    def for_call(self, call: Call) -> _Ahead:
        """Return the same for the circuit of this call."""
        return _Ahead(self.breaker.for_call(call))

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if call.work.take_permit(self.slot) is not None:
            return await proceed(call)  # `at_once` has permitted this attempt, which is over
        if self.breaker.is_keyed:
            return await keys.around(self, call, proceed)
        breaker = self.breaker
        refusal = breaker._circuit().refusal(breaker._rules)  # noqa: SLF001  # the two are one policy
        return await proceed(call) if refusal is None else Failed(breaker._refused(call, refusal))  # noqa: SLF001


#: The most circuits that are listed: one policy may have thousands, one for each key.
_LISTED = 500


def _conditions() -> list[tuple[str, str]]:
    """Return the name and state of each circuit in the store."""
    store = states()
    now = store.now()
    return [
        (key.removeprefix(_PREFIX), Circuit.decode(store.get(key)).corrected(now).state)
        for key in sorted(store.keys(_PREFIX))[:_LISTED]
    ]


LISTED["breaker"] = _conditions
