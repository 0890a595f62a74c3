"""AdaptiveRateLimit: as many calls as a service accepts, learned from its responses."""

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
from resilient_tasks.policies.adaptive_rate_limit.shared_limit import SharedLimit, read
from resilient_tasks.state.states import shared, states

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, Plan, Proceed

#: The prefix of adaptive limits in the store.
_PREFIX = "adaptive/"
#: The longest wait in seconds without a poll of the queue. Of a longer wait, half is over when a call polls.
_MAX_UNPOLLED = 0.25
#: Seconds by which a wait may exceed the longest wait of a call, because clocks round.
_SLACK = 0.001
#: Seconds by which a wait has to grow for another event.
_GROWTH = 1.0


@dataclass(frozen=True, slots=True)
class RateStatus:
    """The status of an adaptive rate limit in the store.

    Attributes:
        name: the limit's name.
        rate: the calls that may begin in `per`.
        per: seconds.
        pause: seconds for which no call begins, as the service asked for; 0 without a pause.
        waiting: calls in the queue.
    """

    name: str
    rate: float
    per: float
    pause: float
    waiting: int


@answering('AdaptiveRateLimit("flights-api", start=10, per=1)')
@dataclass(frozen=True, eq=False)
class AdaptiveRateLimit(keys.Keyed, Policy):
    """Learn how many calls a service accepts, and make no more, across all limits of one name.

    The limit begins at `start` calls in `per` seconds. While it is used and calls are accepted, it grows by `increase`
    each `per`; a call that the service refuses multiplies it by `decrease`, once for all calls of a round. If the
    service asks to wait (Retry-After), no caller begins a call before that. This is the rule by which TCP finds its
    rate (Chiu and Jain, 1989).

    Calls begin one by one, evenly spaced, in the order in which they came.

    Args:
        name: of the protected service, such as `"flights-api"`. Or a key function, such as `lambda url: host_of(url)`:
            it gets the call's arguments that it names, and returns the name for this call. Each name has its own limit.
        start: the first limit, in calls in `per`.
        per: seconds, a text such as `"1 min"`, or a `timedelta`.
        least: the lowest limit, in calls in `per`. Default: a twentieth of `start`.
        most: the highest limit, in calls in `per`. Default: ten times `start`.
        increase: one step of growth, in calls in `per`. Default: a tenth of `start`.
        decrease: the factor by which a refused call multiplies the limit, between 0 and 1.
        on: which errors show that the service refuses calls: kinds, exception types, predicates. Default: THROTTLED,
            which is a 429, or a 503 with Retry-After.
        wait: the longest wait of a call, in seconds or written as `per` is; True for as long as its deadline allows,
            False to refuse at once.
        enforce: False measures only (shadow mode): the limit adapts, and no call waits or is refused. Calls beyond it
            emit `rate.limited` with `shadow`.

    Each attempt of a retry counts. A call refused by the limit fails with `RateLimited`, which is not retried by
    default.

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
    enforce: bool = True
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
            enforce: bool = True,
        ) -> None: ...

    def __post_init__(self) -> None:
        self.settle_name()
        for what in ("start", "least", "most", "increase"):
            checks.calls(getattr(self, what), f"AdaptiveRateLimit({what}=...)", optional=what != "start")
        durations.settle(self, "per")
        if not isinstance(self.wait, bool):
            durations.settle(self, "wait")
        checks.enforced(self.enforce, "AdaptiveRateLimit(enforce=...)")
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

    def longest(self, inner: Bound) -> Bound:
        return inner.after(self._patience + _SLACK if self._patience else 0.0, f"the rate limit {self.title}")

    def describe(self) -> str:
        rules = self._rules
        between = f"{about(rules.least * self.per)} and {calls_in(rules.most * self.per, self.per)}"
        shadow = "" if self.enforce else "; shadow: delays and refuses nothing"
        return f"rate limit: {self.title}, adapts between {between}, from {about(self.start)}{shadow}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if self.is_keyed:
            return await keys.around(self, call, proceed)
        limit: SharedLimit = states().view(self._key, SharedLimit)
        permit = call.work.take_permit(self._key)
        if permit is not None:  # `at_once` has permitted this attempt, which is over
            generation: int = permit.data
        else:
            place = await self._wait(call, limit) if self.enforce else self._look(call, limit)
            if not place.granted and self.enforce:
                return Failed(self._refused(call, place.wait))
            generation = place.generation
        outcome = await proceed(call)
        if call.fenced:
            return outcome
        try:
            self._record(call, limit, generation, outcome)
        except PredicateError as error:
            return Failed(error)
        return outcome

    def at_once(self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> Permit | None:
        if shared.opened_for is settings.current:
            limit: SharedLimit | None = shared.views.get(self._key or self.place_at_once(_PREFIX, plan, args, kwargs))
            if limit is not None:
                return limit.try_acquire(self._rules)
        return None

    def status(self, *, key: keys.Answer | None = None) -> RateStatus:
        """Return the status of the limit, read from the store.

        Args:
            key: of the limit, if the policy's name is a key function.

        Raises:
            PolicyError: the name is a key function and `key` is missing, or the other way round.
        """
        if key is not None:
            return self.for_key(key).status()
        if self.is_keyed:
            msg = 'this policy has a limit for each key: give one, as in limit.status(key="api.example.com")'
            raise PolicyError(msg)
        limit, now = read(states(), self._key, self._rules)
        return RateStatus(
            name=self.title,
            rate=limit.rate * self.per,
            per=self.per,
            pause=max(0.0, limit.paused - now),
            waiting=limit.waiting(now),
        )

    async def _wait(self, call: Call, limit: SharedLimit) -> Place:
        """Wait until a call may begin, and return its place; not `granted` if the wait is too long."""
        until = clock.now() + self._patience
        emitted, place = -math.inf, limit.place(self._rules, self._patience_of(call, until))
        try:
            while place.granted and place.wait > 0:
                begins = clock.now() + place.wait
                if begins > emitted + _GROWTH:
                    emitted = begins
                    call.emit(RateLimitReached, limit=self.title, refused=False, delay=place.wait)
                await call.wait_for_turn(place.wait if place.wait <= _MAX_UNPOLLED else place.wait / 2)
                place = limit.place(self._rules, self._patience_of(call, until), place.number)
        finally:
            if place.granted and place.wait > 0:  # the call was cancelled
                limit.leave(self._rules, place.number)
        if not place.granted:
            call.emit(RateLimitReached, limit=self.title, refused=True, delay=place.wait)
        return place

    def _look(self, call: Call, limit: SharedLimit) -> Place:
        """Take the present for a call if the limit allows that; otherwise emit what it would have done."""
        place = limit.place(self._rules, 0.0)
        if not place.granted:
            refused = place.wait > self._patience_of(call, clock.now() + self._patience)
            call.emit(RateLimitReached, limit=self.title, refused=refused, delay=place.wait, shadow=True)
        return place

    @property
    def _patience(self) -> float:
        if isinstance(self.wait, bool):
            return math.inf if self.wait else 0.0
        return self.wait

    @staticmethod
    def _patience_of(call: Call, until: float) -> float:
        return max(0.0, min(until - clock.now(), call.remaining())) + _SLACK

    def _record(self, call: Call, limit: SharedLimit, generation: int, outcome: Outcome[Any]) -> None:
        """Record whether the service accepted or refused a call."""
        if not isinstance(outcome, Failed):
            if isinstance(outcome, Ok):
                limit.accept(self._rules, generation)
            return
        error = outcome.error
        if self._refuses(error):
            asked = retry_after(error)
            cut = limit.refuse(self._rules, generation, asked or 0.0)
            if cut is not None:
                call.emit(
                    RateAdapted,
                    limit=self.title,
                    rate_before=cut.before * self.per,
                    rate=cut.after * self.per,
                    per=self.per,
                    pause=cut.pause,
                    reason=in_words(error) if asked is None else f"{in_words(error)}, asks to wait {asked:.1f} s",
                    shadow=not self.enforce,
                )
        elif status_of(error) is not None and classify(error) not in RETRIED_BY_DEFAULT:
            limit.accept(self._rules, generation)  # the service did answer

    def _refused(self, call: Call, wait: float) -> RateLimited:
        return RateLimited(
            f"rate limit {self.title}: {call.operation} was not called; it would have had to wait {wait:.1f} s, and may"
            f" wait {min(self._patience, call.remaining()):.1f} s",
            retry_in=wait,
        )

    def _named(self, name: str) -> Self:
        return keys.changed(self, name=name, _key=_PREFIX + name)
