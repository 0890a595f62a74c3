"""Single flight: concurrent calls with equal arguments share one attempt and its outcome."""

from __future__ import annotations

import copy
import uuid
from collections.abc import Callable
from dataclasses import KW_ONLY, dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from resilient_tasks import safely
from resilient_tasks.core.call import NEVER
from resilient_tasks.core.errors import PolicyError, PredicateError
from resilient_tasks.core.events import FallbackUsed, FlightAlone, FlightJoined
from resilient_tasks.core.execution import bells, clock, runtime
from resilient_tasks.core.failures import about
from resilient_tasks.core.keys import fingerprints, key_functions
from resilient_tasks.core.keys.fingerprints import Fingerprint, NoFingerprint
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome
from resilient_tasks.core.parameters import checks
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.core.wording import short_name_of
from resilient_tasks.policies.single_flight import outcome_codec
from resilient_tasks.policies.single_flight.across_workers import SharedAttempt, renewal
from resilient_tasks.policies.single_flight.in_process import Audience, Flight, Role, flights, is_news
from resilient_tasks.policies.single_flight.outcome_codec import CannotBeSent, SentOutcome, Serializer
from resilient_tasks.redaction.error_copies import copied
from resilient_tasks.state.states import States, states

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, Proceed

#: Seconds between two polls of a waiting worker, doubling from the first to the last.
_FIRST_POLL, _LAST_POLL = 0.005, 0.1

_KEY = "SingleFlight(key=...)"
_LARGEST = 1_000_000


@answering("SingleFlight(shared=True)")
@dataclass(frozen=True, eq=False)
class SingleFlight(Policy):
    """Let concurrent calls with equal arguments share one attempt.

    The first call leads: it makes the attempt, with its other policies. Calls that come before the attempt ends wait,
    and get the same result, the same stand-in or a copy of its error. Nothing is kept afterwards: the next call makes a
    new attempt. If the leader is cancelled or interrupted, a waiting call leads in its place. The deadline of a waiting
    call still applies, and ends only its own waiting.

    Args:
        key: a function of the call's arguments that it names; calls with equal return values share an attempt. Default:
            calls whose arguments all have equal types and contents, defaults included.
        copy: give each call, including the leader, a deep copy of the result. Otherwise all get the same object.
        shared: share with all workers that use the same store, too. While it is unavailable, each makes its own call.
        serializer: encodes a result for other workers: `"json"`, for plain data only; `"pickle"`, only if all writers
            to the store are trusted, as it lets them run code in each worker; or an object with `dumps` and `loads`.
        largest: bytes of the largest result to store. For a larger one, other workers make their own call.

    Raises:
        PolicyError: the arguments are contradictory or impossible; at decoration, the function yields items.
    """

    slot: ClassVar[str] = "single flight"

    key: Callable[..., Any] | None = None
    _: KW_ONLY
    copy: bool = False
    shared: bool = False
    serializer: Literal["json", "pickle"] | Serializer = "json"
    largest: int = _LARGEST
    _within: float = field(default=NEVER, repr=False)

    def __post_init__(self) -> None:
        if self.key is not None:
            instead = "SingleFlight(shared=True)" if isinstance(self.key, bool) else "lambda url: url"
            key_functions.check(self.key, _KEY, instead=instead)
        for name in ("copy", "shared"):
            if not isinstance(getattr(self, name), bool):
                raise PolicyError(f"SingleFlight({name}=...) is True or False, not {getattr(self, name)!r}")
        checks.positive_number(self.largest, "SingleFlight(largest=...)")
        self._check_serializer()

    def _check_serializer(self) -> None:
        how = self.serializer
        if isinstance(how, str):
            checks.one_of(how, ("json", "pickle"), "SingleFlight(serializer=...)")
        elif isinstance(how, type) or not all(callable(getattr(how, name, None)) for name in ("dumps", "loads")):
            msg = f'SingleFlight(serializer=...) is "json", "pickle" or an object with dumps and loads, not {how!r}'
            raise PolicyError(msg)
        for name, other in (("serializer", how != "json"), ("largest", self.largest != _LARGEST)):
            if other and not self.shared:
                raise PolicyError(f"SingleFlight({name}=...) is for other workers: write shared=True, too")

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        if self.key is not None:
            key_functions.check_fits(self.key, fn, _KEY)

    def longest(self, inner: Bound) -> Bound:
        return inner.after(NEVER, "an equal call of another caller").within(self._within)

    def describe(self) -> str:
        by = "equal arguments" if self.key is None else f"equal {short_name_of(self.key)}"
        return f"single flight: calls with {by} share one attempt{', across workers' if self.shared else ''}"

    def within(self, seconds: float) -> SingleFlight:
        """Return this policy for calls with a total of `seconds`, waiting included."""
        return replace(self, _within=seconds)

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if call.fenced:
            return await proceed(call)
        until = min(call.deadline, clock.now() + self._within)
        try:
            equal = self._fingerprint(call)
        except PredicateError as problem:
            return Failed(problem)
        except TypeError:  # calling the function gives the best error about its arguments
            return await proceed(call)
        except Exception as why:  # a user's object may raise, too
            _emit_alone(call, f"its arguments cannot be compared with those of another call: {safely.text(why)}")
            return await proceed(call)
        if call.runtime is runtime.SYNC:
            # A waiting call must not depend on whether another caller ever awaits its coroutine.
            call.work.runtime = runtime.STRICT
        return await self._join(call, equal, until, proceed)

    async def _join(self, call: Call, equal: Fingerprint, until: float, proceed: Proceed) -> Outcome[Any]:
        make = bells.LoopBell if call.runtime is runtime.ASYNC else bells.ThreadBell
        began, mine = clock.now(), _with_deadline(call, until)
        while True:
            flight, role = flights.join((fingerprints.lasting(call.work.fn), equal.parts), call, make)
            try:
                if role is Role.WAITS:
                    role = await _wait(flight, call, until)
                if role is Role.LEADS:
                    return await self._lead(flight, (call, mine), equal, proceed)
                if role is Role.ALONE:
                    return await proceed(mine)
                outcome = flight.landed
                if outcome is None:
                    _emit_joined(call, flight.name, began, "deadline")
                    return await proceed(_expired(call))
                if flight.audience is Audience.ALL or (flight.audience is Audience.RETRIED and call.work.again):
                    return self._received(call, flight, began, outcome)
            finally:
                flights.leave(flight, call)

    def _fingerprint(self, call: Call) -> Fingerprint:
        if self.key is not None:
            return fingerprints.of_value(key_functions.key_of(self.key, call, _KEY))
        work = call.work
        return fingerprints.of_call(work.fn, work.args, work.kwargs)

    async def _lead(
        self, flight: Flight, calls: tuple[Call, Call], equal: Fingerprint, proceed: Proceed
    ) -> Outcome[Any]:
        """Make the attempt: `calls` are the leading call, and the same with the time that it has left."""
        call, made = calls
        call.work.sinks = (*call.work.sinks, flight.events)
        try:
            outcome = await (self._across_workers(flight, made, equal, proceed) if self.shared else proceed(made))
        except Exception as error:  # of a policy further in
            outcome = Failed(error)
        if flights.is_awaited(flight, call):
            outcome, theirs = self._copies(call, outcome)
            flights.land(flight, call, theirs, _audience(flight, made, outcome))
        return outcome

    def _copies(self, call: Call, outcome: Outcome[Any]) -> tuple[Outcome[Any], Outcome[Any]]:
        """Return the outcome for the leader, and the one that the others get copies of."""
        if isinstance(outcome, Failed):
            return outcome, Failed(copied(outcome.error))
        if not self.copy:
            return outcome, outcome
        try:
            value = copy.deepcopy(outcome.value)
        except Exception as problem:
            what = type(outcome.value).__qualname__
            msg = (
                f"SingleFlight(copy=True) cannot copy the {what} that {call.operation} returned: {safely.text(problem)}"
            )
            return outcome, Failed(PolicyError(msg))
        mine = Ok(value, outcome.attempts) if isinstance(outcome, Ok) else Degraded(value, outcome.because)
        return mine, outcome

    def _received(self, call: Call, flight: Flight, began: float, outcome: Outcome[Any]) -> Outcome[Any]:
        """Return the outcome of another call's attempt as this call's own."""
        _emit_joined(call, flight.name, began, _OUTCOMES[type(outcome)])
        if isinstance(outcome, Failed):
            return _failed_like(outcome, flight.name)
        value = copy.deepcopy(outcome.value) if self.copy else outcome.value
        if isinstance(outcome, Ok):
            return Ok(value, outcome.attempts)
        _emit_degraded(call, flight.events.stand_in, outcome)
        return Degraded(value, copied(outcome.because))

    async def _across_workers(self, flight: Flight, call: Call, equal: Fingerprint, proceed: Proceed) -> Outcome[Any]:
        """Share the attempt with other workers: make it, or wait for theirs."""
        try:
            what = fingerprints.of_function(fingerprints.lasting(call.work.fn))
        except NoFingerprint as why:
            what = Fingerprint(str(why), portable=False)
        if not (what.portable and equal.portable):
            which = "among its arguments" if what.portable else "held by its function"
            _emit_alone(call, f"objects {which} are compared by identity, which other workers cannot do")
            return await proceed(call)
        shared = states()
        mine = SharedAttempt(shared, f"flight/{call.operation}/{equal.digest(what.digest())}", uuid.uuid4().hex)
        if not (shared.is_shared and shared.is_available):
            return await proceed(call)
        outcome = await self._follow(call, mine, shared, proceed)
        return await self._lead_others(flight, call, mine, proceed) if outcome is None else outcome

    async def _follow(self, call: Call, mine: SharedAttempt, shared: States, proceed: Proceed) -> Outcome[Any] | None:
        """Wait while another worker makes an attempt, and return its outcome; None: this worker leads now."""
        began, poll_in, attempt = clock.now(), _FIRST_POLL, mine.join()
        while attempt != mine.me:
            left = call.deadline - clock.now()
            if left <= 0:
                _emit_joined(call, "another worker", began, "deadline")
                return await proceed(_expired(call))
            if not shared.is_available:
                return await proceed(call)
            await call.runtime.sleep(min(poll_in, left))
            poll_in = min(_LAST_POLL, 2 * poll_in)
            if mine.current() == attempt:
                continue
            data = mine.outcome_of(attempt)
            if data is not None:
                try:
                    return self._decoded(call, began, data)
                except CannotBeSent as why:
                    _emit_alone(call, str(why))
                    return await proceed(call)
            attempt = mine.join()
        return None

    async def _lead_others(self, flight: Flight, call: Call, mine: SharedAttempt, proceed: Proceed) -> Outcome[Any]:
        make: Callable[[], bytes] | None = None
        renewal.begin(mine, lambda: not call.fenced)
        try:
            outcome = await proceed(call)
            if _audience(flight, call, outcome) is Audience.ALL:
                make = partial(
                    outcome_codec.encode, outcome, flight.name, flight.events.stand_in, self.serializer, self.largest
                )
            return outcome
        finally:
            renewal.end(mine)
            mine.leave(make)

    def _decoded(self, call: Call, began: float, data: bytes) -> Outcome[Any]:
        sent: SentOutcome = outcome_codec.decode(data, self.serializer)
        _emit_joined(call, sent.leader, began, _OUTCOMES[type(sent.outcome)])
        if isinstance(sent.outcome, Failed):
            safely.note(sent.outcome.error, _note(sent.leader))
        elif isinstance(sent.outcome, Degraded):
            _emit_degraded(call, sent.stand_in, sent.outcome)
        return sent.outcome


_OUTCOMES: dict[type, Literal["ok", "degraded", "failed"]] = {Ok: "ok", Degraded: "degraded", Failed: "failed"}


async def _wait(flight: Flight, call: Call, until: float) -> Role:
    """Wait until the flight has landed, this call leads it, or its own time is up."""
    bell = flight.waiting[call]
    while (role := flights.role_of(flight, call)) is Role.WAITS:
        left = until - clock.now()
        if left <= 0:
            break
        if call.fenced:
            return Role.ALONE
        leader = flight.leader
        # No outer call can fence a call without one: so it waits for the bell alone.
        rings = left == NEVER and call.parent is None and leader is not None and leader.parent is None
        await bell.wait(None if rings else min(left, clock.SLICE))
    return role


def _audience(flight: Flight, call: Call, outcome: Outcome[Any]) -> Audience:
    if isinstance(outcome, Ok):
        return Audience.ALL
    around = _deadline_around(call)
    if around != NEVER and around <= call.deadline and (flight.events.cut or clock.now() >= around):
        return Audience.NONE
    return Audience.RETRIED if call.work.again else Audience.ALL


def _deadline_around(call: Call) -> float:
    """Return the deadline that the call inherited from outer calls."""
    while call.parent is not None and call.parent.work is call.work:
        call = call.parent
    return call.deadline


def _with_deadline(call: Call, until: float) -> Call:
    """Return the call with its own deadline, as the time it has waited counts."""
    return call if until >= call.deadline else call.within(until)


def _expired(call: Call) -> Call:
    """Return the call with its deadline expired: nothing is attempted, but fallbacks and events work as usual."""
    return call.without_limits().within(clock.now())


def _emit_joined(call: Call, leader: str, began: float, outcome: str) -> None:
    call.emit(FlightJoined, leader=leader, waited=clock.now() - began, outcome=outcome)


def _emit_degraded(call: Call, stand_in: dict[str, Any], outcome: Degraded[Any]) -> None:
    call.emit(FallbackUsed, seconds=call.lasted(), **stand_in, **about(outcome.because))


def _emit_alone(call: Call, reason: str) -> None:
    if is_news(call.operation, reason):
        call.emit(FlightAlone, reason=reason)


def _note(leader: str) -> str:
    return f"shared the failure of {leader}, which was running (single flight)"


def _failed_like(outcome: Failed, leader: str) -> Failed:
    """Return a copy of the failure for a waiting call."""
    error = copied(outcome.error)
    safely.note(error, _note(leader))
    try:
        # From here on its traceback grows by frames of this call: the leader's may still be running.
        raise BaseException.with_traceback(error, outcome.traceback)  # noqa: TRY301  # caught here
    except Exception as mine:
        return Failed(mine)
    finally:
        del error, outcome
