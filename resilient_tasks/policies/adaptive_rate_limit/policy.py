"""AdaptiveRateLimit: as many calls as a service accepts, found out by its own answers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from resilient_tasks.core import settings
from resilient_tasks.core.call import Permit
from resilient_tasks.core.classification.kinds import RETRIED_BY_DEFAULT, Kind
from resilient_tasks.core.classification.matching import On, matcher
from resilient_tasks.core.errors import PolicyError, PredicateError, RateLimited
from resilient_tasks.core.events import RateAdapted, RateLimitReached
from resilient_tasks.core.execution import clock
from resilient_tasks.core.failures import classify, in_words, retry_after, status_of
from resilient_tasks.core.keys import keys
from resilient_tasks.core.outcome import Failed, Ok, Outcome
from resilient_tasks.core.parameters import checks, durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.durations import Duration, Seconds
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.core.wording import about, calls_in
from resilient_tasks.policies.adaptive_rate_limit.machine import Place, Rules
from resilient_tasks.policies.adaptive_rate_limit.shared_limit import SharedLimit, found
from resilient_tasks.state.states import shared, states

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Plan, Proceed

#: Where adaptive limits are in the store.
_PREFIX = "adaptive/"
#: Seconds that a call waits without a look at how the queue stands now. Longer waits are looked at when half is over.
_LOOK = 0.25
#: Seconds by which a wait may exceed what a call may wait, for clocks that round.
_SLACK = 0.001
#: A wait that grows by these seconds emits the event again.
_NEWS = 1.0


@dataclass(frozen=True, slots=True)
class RateStatus:
    """An adaptive rate limit as it stands in the store.

    Attributes:
        name: the limit's.
        rate: the calls that may begin in `per`.
        per: seconds.
        pause: seconds for which no call begins, as the service asked for; 0 where there is no pause.
        waiting: calls that wait for their turn.
    """

    name: str
    rate: float
    per: float
    pause: float
    waiting: int


@answering('AdaptiveRateLimit("flights-api", start=10, per=1)')
@dataclass(frozen=True, eq=False)
class AdaptiveRateLimit(keys.Keyed, Policy):
    """Find out how many calls a service accepts, and make no more, together with everyone who names the same limit.

    The limit begins at `start` calls in `per` seconds. While it is used and accepted it grows by `increase` each `per`;
    a call that the service refuses multiplies it by `decrease`, once for all calls that were under way together. Where
    the service asks to wait (Retry-After), no call of any of those who share the limit begins before that. This is the
    rule by which TCP finds its rate (Chiu and Jain, 1989).

    Calls begin one by one, evenly spaced, in the order in which they came.

    Args:
        name: of what is protected, such as `"flights-api"`. Or a key function, such as `lambda url: host_of(url)`: it
            is given those of the call's arguments that it names, and returns the name for this call. Each name has a
            limit of its own.
        start: the first limit, in calls in `per`.
        per: seconds, or a text such as `"1 min"`, or a `timedelta`.
        least: calls in `per` seconds that the limit never falls below. Default: a twentieth of `start`.
        most: calls in `per` seconds that the limit never rises above. Default: ten times `start`.
        increase: calls in `per` seconds that the limit grows by. Default: a tenth of `start`.
        decrease: what a refused call multiplies the limit by, between 0 and 1.
        on: which errors show that the service refuses calls: kinds, exception types, predicates. Default: THROTTLED,
            which is a 429, or a 503 with Retry-After.
        wait: seconds that a call waits at the most, written as `per` is; True for as long as its deadline allows, False
            to refuse at once.

    Each attempt of a retry pays. A call that is refused here fails with `RateLimited`, which is not retried by default.

    Raises:
        PolicyError: the arguments are contradictory or impossible.
    """

    slot: ClassVar[str] = "rate limit"
    spends: ClassVar[bool] = True

    name: keys.Name
    start: float = 10
    per: Seconds = field(default=durations.default(1))
    _: KW_ONLY
    least: float | None = None
    most: float | None = None
    increase: float | None = None
    decrease: float = 0.7
    on: On | None = None
    wait: float | bool = True
    _key: str = field(init=False, repr=False)
    _rules: Rules = field(init=False, repr=False)
    _refuses: Callable[[Exception], bool] = field(init=False, repr=False)

    if TYPE_CHECKING:

        def __init__(
            self,
            name: keys.Name,
            start: float = 10,
            per: Duration = 1,
            *,
            least: float | None = None,
            most: float | None = None,
            increase: float | None = None,
            decrease: float = 0.7,
            on: On | None = None,
            wait: Duration | bool = True,
        ) -> None: ...

    def __post_init__(self) -> None:
        self.settle_name()
        for what in ("start", "least", "most", "increase"):
            checks.calls(getattr(self, what), f"AdaptiveRateLimit({what}=...)", optional=what != "start")
        durations.settle(self, "per")
        if not isinstance(self.wait, bool):
            durations.settle(self, "wait")
        if isinstance(self.decrease, bool) or not isinstance(self.decrease, int | float) or not 0 < self.decrease < 1:
            msg = (
                "AdaptiveRateLimit(decrease=...) is what a refused call multiplies the limit by: a number between 0 and"
                f" 1, such as 0.7, not {self.decrease!r}"
            )
            raise PolicyError(msg)
        least = self.start / 20 if self.least is None else self.least
        most = self.start * 10 if self.most is None else self.most
        if least > most:
            msg = f"AdaptiveRateLimit never falls below least={least:g}, and least={least:g} is above most={most:g}"
            raise PolicyError(f"{msg}: give a smaller least= or a larger most=")
        if not least <= self.start <= most:
            msg = (
                f"AdaptiveRateLimit begins between its least and its most, and start={self.start:g} does not lie"
                f" between {least:g} and {most:g}: change start=, {'least=' if self.start < least else 'most='} or both"
            )
            raise PolicyError(msg)
        increase = self.start / 10 if self.increase is None else self.increase
        per = self.per
        rules = Rules(self.start / per, least / per, most / per, increase / per, self.decrease, per)
        object.__setattr__(self, "_key", "" if self.is_keyed else f"{_PREFIX}{self.name}")
        object.__setattr__(self, "_rules", rules)
        on = Kind.THROTTLED if self.on is None else self.on
        object.__setattr__(self, "_refuses", matcher(on, "AdaptiveRateLimit(on=...)"))

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        self.check_key(fn)

    def describe(self) -> str:
        rules = self._rules
        between = f"{about(rules.least * self.per)} and {calls_in(rules.most * self.per, self.per)}"
        return f"rate limit: {self.title}, adapts between {between}, from {about(self.start)}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if self.is_keyed:
            return await keys.around(self, call, proceed)
        limit: SharedLimit = states().view(self._key, SharedLimit)
        # An attempt that was made already, see `at_once`, had its turn then.
        had = call.work.take_permit(self._key)
        if had is not None:
            turn: int = had.data
        else:
            place = await self._turn(call, limit)
            if not place.granted:
                return Failed(self._refused(call, place.wait))
            turn = place.turn
        outcome = await proceed(call)
        if call.fenced:
            return outcome
        try:
            self._judge(call, limit, turn, outcome)
        except PredicateError as error:
            return Failed(error)
        return outcome

    def at_once(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Permit | None:
        if shared.opened_for is settings.current:
            limit: SharedLimit | None = shared.views.get(self._key or self.place_at_once(_PREFIX, plan, args, kwargs))
            if limit is not None:
                return limit.at_once(self._rules)
        return None

    def status(self, *, key: keys.Answer | None = None) -> RateStatus:
        """Return how the limit stands, asking the store.

        Args:
            key: which limit, where the name is a key function.

        Raises:
            PolicyError: the name is a key function and there is no `key`, or the other way round.
        """
        if key is not None:
            return self.for_key(key).status()
        if self.is_keyed:
            msg = 'this limit is one for each key: say which, as in limit.status(key="api.example.com")'
            raise PolicyError(msg)
        limit, now = found(states(), self._key, self._rules)
        return RateStatus(
            name=self.title,
            rate=limit.rate * self.per,
            per=self.per,
            pause=max(0.0, limit.paused - now),
            waiting=limit.waiting(now),
        )

    async def _turn(self, call: Call, limit: SharedLimit) -> Place:
        """Wait until a call may begin; if it is not `granted`, it may not at all."""
        until = clock.now() + self._patience
        told, place = -math.inf, limit.ask(self._rules, self._patience_of(call, until))
        try:
            while place.granted and place.wait > 0:
                begins = clock.now() + place.wait
                if begins > told + _NEWS:
                    told = begins
                    call.emit(RateLimitReached, limit=self.title, refused=False, delay=place.wait)
                await call.wait_for_turn(place.wait if place.wait <= _LOOK else place.wait / 2)
                place = limit.ask(self._rules, self._patience_of(call, until), place.number)
        finally:
            if place.granted and place.wait > 0:  # the call was cancelled
                limit.leave(self._rules, place.number)
        if not place.granted:
            call.emit(RateLimitReached, limit=self.title, refused=True, delay=place.wait)
        return place

    @property
    def _patience(self) -> float:
        if isinstance(self.wait, bool):
            return math.inf if self.wait else 0.0
        return self.wait

    @staticmethod
    def _patience_of(call: Call, until: float) -> float:
        return max(0.0, min(until - clock.now(), call.remaining())) + _SLACK

    def _judge(self, call: Call, limit: SharedLimit, turn: int, outcome: Outcome[Any]) -> None:
        """Tell what a call says of the limit."""
        if not isinstance(outcome, Failed):
            if isinstance(outcome, Ok):
                limit.accept(self._rules, turn)
            return
        error = outcome.error
        if self._refuses(error):
            asked = retry_after(error)
            cut = limit.refuse(self._rules, turn, asked or 0.0)
            if cut is not None:
                call.emit(
                    RateAdapted,
                    limit=self.title,
                    rate_before=cut.before * self.per,
                    rate=cut.after * self.per,
                    per=self.per,
                    pause=cut.pause,
                    reason=in_words(error) if asked is None else f"{in_words(error)}, asks to wait {asked:.1f} s",
                )
        elif status_of(error) is not None and classify(error) not in RETRIED_BY_DEFAULT:
            limit.accept(self._rules, turn)  # the service did answer

    def _refused(self, call: Call, wait: float) -> RateLimited:
        return RateLimited(
            f"rate limit {self.title}: {call.operation} was not called; it would have had to wait {wait:.1f} s, and may"
            f" wait {min(self._patience, call.remaining()):.1f} s",
            retry_in=wait,
        )

    def _named(self, name: str) -> Self:
        return keys.changed(self, name=name, _key=_PREFIX + name)
