"""Single flight: calls with equal arguments that come while one is under way share what comes of that one."""

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
from resilient_tasks.policies.single_flight import parcels
from resilient_tasks.policies.single_flight.flights import Audience, Flight, Seat, flights, is_news
from resilient_tasks.policies.single_flight.leads import Lead, renewal
from resilient_tasks.policies.single_flight.parcels import CannotBeSent, Serializer
from resilient_tasks.redaction.error_copies import copied
from resilient_tasks.state.states import States, states

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Proceed

#: Seconds between two looks of a waiting worker, doubling from the first to the last.
_FIRST_LOOK, _LAST_LOOK = 0.005, 0.1

_KEY = "SingleFlight(key=...)"
_LARGEST = 1_000_000


@answering("SingleFlight(shared=True)")
@dataclass(frozen=True, eq=False)
class SingleFlight(Policy):
    """Have calls with equal arguments share one attempt while it is under way.

    The first call leads: it makes the attempt, with all that its other policies do. The calls that come before it has
    ended wait, and get the same result, the same stand-in or a like error. Nothing is kept after that: the next call
    begins anew. If the leader is cancelled or interrupted, one of those who wait leads in its place. The deadline of a
    call that waits goes on, and ends its waiting without a trace on the leader.

    Args:
        key: a function of those of the call's arguments that it names; calls for which it returns equal values share an
            attempt. Default: calls whose arguments are all of the same type and content do, defaults included.
        copy: give each call that waited a deep copy of the result, and the leader one, too. Otherwise all have the very
            same object.
        shared: share with all workers that use the same store, too. Where it is away, each makes its own call.
        serializer: makes bytes of a result for other workers: `"json"`, for plain data only; `"pickle"`, where all who
            write to the store are trusted, for it lets them run code in each worker; or an object with `dumps` and
            `loads`.
        largest: bytes of the largest result that is put into the store. For a larger one, other workers make their own
            call.

    Raises:
        PolicyError: the arguments are contradictory or impossible; at decoration, for a function that yields items.
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
        except TypeError:  # the function itself says best what is wrong with its arguments
            return await proceed(call)
        except Exception as why:  # of a user's object, too, that is looked at
            _alone(call, f"nothing tells whether its arguments equal those of another: {safely.text(why)}")
            return await proceed(call)
        if call.runtime is runtime.SYNC:
            # Who waits must not depend on whether another caller ever awaits what it was given.
            call.work.runtime = runtime.STRICT
        return await self._fly(call, equal, until, proceed)

    async def _fly(self, call: Call, equal: Fingerprint, until: float, proceed: Proceed) -> Outcome[Any]:
        make = bells.LoopBell if call.runtime is runtime.ASYNC else bells.ThreadBell
        began, mine = clock.now(), _due(call, until)
        while True:
            flight, seat = flights.board((fingerprints.lasting(call.work.fn), equal.parts), call, make)
            try:
                if seat is Seat.WAITS:
                    seat = await _wait(flight, call, until)
                if seat is Seat.LEADS:
                    return await self._lead(flight, (call, mine), equal, proceed)
                if seat is Seat.ALONE:
                    return await proceed(mine)
                outcome = flight.landed
                if outcome is None:
                    _joined(call, flight.name, began, "deadline")
                    return await proceed(_late(call))
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
        """Make the attempt: for the call that leads, as one with the time that it has left."""
        call, made = calls
        call.work.sinks = (*call.work.sinks, flight.heard)
        try:
            outcome = await (self._with_others(flight, made, equal, proceed) if self.shared else proceed(made))
        except Exception as error:  # of a policy further in
            outcome = Failed(error)
        if flights.is_awaited(flight, call):
            outcome, theirs = self._divided(call, outcome)
            flights.land(flight, call, theirs, _audience(flight, made, outcome))
        return outcome

    def _divided(self, call: Call, outcome: Outcome[Any]) -> tuple[Outcome[Any], Outcome[Any]]:
        """Return what the leader gets, and what the others get copies of: what is done to one is not done to all."""
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
        """Return what came of another call's attempt, as this call's own."""
        _joined(call, flight.name, began, _WORDS[type(outcome)])
        if isinstance(outcome, Failed):
            return _failed(outcome, flight.name)
        value = copy.deepcopy(outcome.value) if self.copy else outcome.value
        if isinstance(outcome, Ok):
            return Ok(value, outcome.attempts)
        _tell_degraded(call, flight.heard.stand_in, outcome)
        return Degraded(value, copied(outcome.because))

    async def _with_others(self, flight: Flight, call: Call, equal: Fingerprint, proceed: Proceed) -> Outcome[Any]:
        """Share the attempt with other workers: make it, or wait for that of one of them."""
        try:
            what = fingerprints.of_function(fingerprints.lasting(call.work.fn))
        except NoFingerprint as why:
            what = Fingerprint(str(why), portable=False)
        if not (what.portable and equal.portable):
            which = "among its arguments" if what.portable else "that its function holds"
            _alone(call, f"objects {which} are known by identity, which means nothing to other workers")
            return await proceed(call)
        shared = states()
        lead = Lead(shared, f"flight/{call.operation}/{equal.digest(what.digest())}", uuid.uuid4().hex)
        if not (shared.is_shared and shared.is_available):
            return await proceed(call)
        outcome = await self._follow(call, lead, shared, proceed)
        return await self._lead_others(flight, call, lead, proceed) if outcome is None else outcome

    async def _follow(self, call: Call, lead: Lead, shared: States, proceed: Proceed) -> Outcome[Any] | None:
        """Wait for the attempt of another worker as long as one is under way; None: this one leads now."""
        began, look_again_in, attempt = clock.now(), _FIRST_LOOK, lead.board()
        while attempt != lead.me:
            left = call.deadline - clock.now()
            if left <= 0:
                _joined(call, "another worker", began, "deadline")
                return await proceed(_late(call))
            if not shared.is_available:
                return await proceed(call)
            await call.runtime.sleep(min(look_again_in, left))
            look_again_in = min(_LAST_LOOK, 2 * look_again_in)
            if lead.under_way() == attempt:
                continue
            data = lead.outcome_of(attempt)
            if data is not None:
                try:
                    return self._unpacked(call, began, data)
                except CannotBeSent as why:
                    _alone(call, str(why))
                    return await proceed(call)
            attempt = lead.board()
        return None

    async def _lead_others(self, flight: Flight, call: Call, lead: Lead, proceed: Proceed) -> Outcome[Any]:
        make: Callable[[], bytes] | None = None
        renewal.begin(lead, lambda: not call.fenced)
        try:
            outcome = await proceed(call)
            if _audience(flight, call, outcome) is Audience.ALL:
                make = partial(
                    parcels.packed, outcome, flight.name, flight.heard.stand_in, self.serializer, self.largest
                )
            return outcome
        finally:
            renewal.end(lead)
            lead.leave(make)

    def _unpacked(self, call: Call, began: float, data: bytes) -> Outcome[Any]:
        parcel = parcels.opened(data, self.serializer)
        _joined(call, parcel.leader, began, _WORDS[type(parcel.outcome)])
        if isinstance(parcel.outcome, Failed):
            safely.note(parcel.outcome.error, _note(parcel.leader))
        elif isinstance(parcel.outcome, Degraded):
            _tell_degraded(call, parcel.stand_in, parcel.outcome)
        return parcel.outcome


_WORDS: dict[type, Literal["ok", "degraded", "failed"]] = {Ok: "ok", Degraded: "degraded", Failed: "failed"}


async def _wait(flight: Flight, call: Call, until: float) -> Seat:
    """Wait until the flight has landed, this call leads it, or its own time is over."""
    bell = flight.waiting[call]
    while (seat := flights.look(flight, call)) is Seat.WAITS:
        left = until - clock.now()
        if left <= 0:
            break
        if call.fenced:
            return Seat.ALONE
        leader = flight.leader
        # What has no call around it is cut off by none: only its end is to be waited for.
        rings = left == NEVER and call.parent is None and leader is not None and leader.parent is None
        await bell.wait(None if rings else min(left, clock.SLICE))
    return seat


def _audience(flight: Flight, call: Call, outcome: Outcome[Any]) -> Audience:
    if isinstance(outcome, Ok):
        return Audience.ALL
    around = _deadline_around(call)
    if around != NEVER and around <= call.deadline and (flight.heard.cut or clock.now() >= around):
        return Audience.NONE
    return Audience.RETRIED if call.work.again else Audience.ALL


def _deadline_around(call: Call) -> float:
    """Return the deadline that the call came with, from calls around it."""
    while call.parent is not None and call.parent.work is call.work:
        call = call.parent
    return call.deadline


def _due(call: Call, until: float) -> Call:
    """Return the call with the time that its own deadline leaves it, for what it has waited counts."""
    return call if until >= call.deadline else call.within(until)


def _late(call: Call) -> Call:
    """Return the call as one whose deadline has come: nothing is attempted, and what stands in or tells does so."""
    return call.without_limits().within(clock.now())


def _joined(call: Call, leader: str, began: float, outcome: str) -> None:
    call.emit(FlightJoined, leader=leader, waited=clock.now() - began, outcome=outcome)


def _tell_degraded(call: Call, stand_in: dict[str, Any], outcome: Degraded[Any]) -> None:
    call.emit(FallbackUsed, **stand_in, **about(outcome.because))


def _alone(call: Call, reason: str) -> None:
    if is_news(call.operation, reason):
        call.emit(FlightAlone, reason=reason)


def _note(leader: str) -> str:
    return f"shared the failure of {leader}, which was under way (single flight)"


def _failed(outcome: Failed, leader: str) -> Failed:
    """Return a like failure for one of those who waited."""
    error = copied(outcome.error)
    safely.note(error, _note(leader))
    try:
        # From here on it comes up through frames of this call: those of the leader may still be at work.
        raise BaseException.with_traceback(error, outcome.traceback)  # noqa: TRY301  # it is to be caught here
    except Exception as mine:
        return Failed(mine)
    finally:
        del error, outcome
