"""RateLimit: no more calls than a service allows, across all callers."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Self

from resilient_tasks.core import settings
from resilient_tasks.core.call import Permit
from resilient_tasks.core.errors import PolicyError, RateLimited
from resilient_tasks.core.events import RateLimitReached
from resilient_tasks.core.keys import keys
from resilient_tasks.core.outcome import Failed, Outcome
from resilient_tasks.core.parameters import checks, durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.core.wording import number_of
from resilient_tasks.policies.rate_limit.machine import Numbers, Rate, Times
from resilient_tasks.policies.rate_limit.shared_rate import RateDoor, SharedRate, door_for
from resilient_tasks.state import changing
from resilient_tasks.state.changes import Changes
from resilient_tasks.state.states import shared, states

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, Plan, Proceed
    from resilient_tasks.core.parameters.durations import Duration

#: The most calls in a sliding window, which remembers the time of each: more would take too long to read and write.
MOST_REMEMBERED = 1000
#: The prefix of rate limits in the store.
_PREFIX = "rate/"
#: The numbers that can be changed while workers run.
NUMBERS = ("calls", "per", "burst")


def _check_remembered(calls: float) -> None:
    if calls > MOST_REMEMBERED:
        msg = (
            f"RateLimit remembers the time of each of {calls:,} calls, and {MOST_REMEMBERED:,} are the most:"
            " give burst=..., a token bucket, or the same rate in a shorter time"
        )
        raise PolicyError(msg)


def _agreed(changes: Changes) -> Changes:
    """Return the changes, if they agree with each other."""
    if "burst" not in changes.numbers:
        _check_remembered(changes.numbers.get("calls", 1))
    return changes


@answering('RateLimit("flights-api", calls=10, per=1)')
@dataclass(frozen=True, eq=False)
class RateLimit(keys.Keyed, Policy):
    """Make at most `calls` calls in any `per` seconds, across all limits of one name.

    A call that comes too early reserves the next time that the limit allows, and waits for it, so calls keep their
    order.

    Args:
        name: of the protected service, such as `"flights-api"`. Or a key function, such as `lambda url: host_of(url)`:
            it gets the call's arguments that it names, and returns the name for this call. Each name has its own limit.
        calls: the number of calls in `per`, by default in a sliding window: exact, for up to 1,000 calls.
        per: seconds, a text such as `"1 min"`, or a `timedelta`.
        burst: use a token bucket instead: up to this many calls at once after a pause, and `calls` in `per` seconds on
            average.
        wait: the longest wait of a call, in seconds or written as `per` is; True for as long as its deadline allows,
            False to refuse at once.
        enforce: False measures only (shadow mode): no call waits or is refused. Calls beyond the limit emit
            `rate.limited` with `shadow`, and are not counted by it.

    Each attempt of a retry counts. A refused call fails with `RateLimited`, which is not retried by default.

    Raises:
        PolicyError: the arguments are contradictory or impossible.
    """

    slot: ClassVar[str] = "rate limit"
    spends: ClassVar[bool] = True

    name: keys.Name
    calls: int
    per: float
    burst: int | None = field(default=None, kw_only=True)
    wait: float | bool = field(default=True, kw_only=True)
    enforce: bool = field(default=True, kw_only=True)
    _key: str = field(init=False, repr=False)
    _rate: Rate = field(init=False, repr=False)

    if TYPE_CHECKING:

        def __init__(
            self,
            name: keys.Name,
            calls: int,
            per: Duration,
            *,
            burst: int | None = None,
            wait: Duration | bool = True,
            enforce: bool = True,
        ) -> None: ...

    def __post_init__(self) -> None:
        self.settle_name()
        checks.positive_number(self.calls, "RateLimit(calls)")
        durations.settle(self, "per", where="RateLimit(per)")
        if self.burst is not None:
            checks.positive_number(self.burst, "RateLimit(burst=...)")
        else:
            _check_remembered(self.calls)
        if not isinstance(self.wait, bool):
            durations.settle(self, "wait")
        checks.enforced(self.enforce, "RateLimit(enforce=...)")
        object.__setattr__(self, "_key", "" if self.is_keyed else f"{_PREFIX}{self.name}")
        object.__setattr__(self, "_rate", Numbers(self.calls, self.per, self.burst).rate)

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        self.check_key(fn)

    def longest(self, inner: Bound) -> Bound:
        return inner.after(self._patience, f"the rate limit {self.title}")

    def describe(self) -> str:
        burst = "" if self.burst is None else f", up to {self.burst} at once"
        shadow = "" if self.enforce else "; shadow: delays and refuses nothing"
        return f"rate limit: {self.title}, {number_of(self.calls, 'call')} in {self.per:g} s{burst}{shadow}"

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if self.is_keyed:
            return await keys.around(self, call, proceed)
        if call.work.take_permit(self._key) is not None:
            return await proceed(call)  # `at_once` has permitted this attempt, which has been counted
        patience = min(self._patience, call.remaining())
        limit: SharedRate = states().view(self._key, SharedRate)
        if not self.enforce:
            # Calls that do not wait reserve no time in the future: it would recede without end.
            reservation = limit.reserve(self._rate, 0.0)
            if not reservation.granted:
                refused = reservation.wait > patience
                call.emit(RateLimitReached, limit=self.title, refused=refused, delay=reservation.wait, shadow=True)
            return await proceed(call)
        reservation = limit.reserve(self._rate, patience)
        if not reservation.granted:
            call.emit(RateLimitReached, limit=self.title, refused=True, delay=reservation.wait)
            return Failed(self._refused(call, limit, reservation.wait, patience))
        if reservation.wait > 0:
            call.emit(RateLimitReached, limit=self.title, refused=False, delay=reservation.wait)
            await call.wait_for_turn(reservation.wait)
        return await proceed(call)

    @property
    def heeds_arguments(self) -> bool:
        return self.is_keyed

    @property
    def door(self) -> RateDoor | None:
        """Open while the limit is in this process's memory, and calls need not wait."""
        return None if self.is_keyed else door_for(self, self._rate)

    def at_once(
        self, plan: Plan, args: tuple[Any, ...], kwargs: Mapping[str, Any], door: RateDoor | None = None
    ) -> Permit | None:
        if shared.opened_for is (current := settings.current):
            limit: SharedRate | None = shared.views.get(self._key or self.place_at_once(_PREFIX, plan, args, kwargs))
            if limit is not None:
                return limit.try_acquire(self._rate, door, current)
        return None

    def set_numbers(self, *, key: keys.Answer | None = None, by: str | None = None, **numbers: Duration) -> None:
        """Change numbers of the limit while workers run, in place of those that any code gives.

        They are kept in the store, with those that were set earlier, and outlive restarts. Every process uses them from
        its next call on.

        Args:
            key: of the limit, if the policy's name is a key function.
            by: who changes them, for `changes`; default: this user and machine.
            **numbers: `calls`, `per` or `burst`.

        Raises:
            PolicyError: a number is unknown or out of range.
            ConnectionError: the store does not answer.
        """
        changing.check(numbers, NUMBERS, "a rate limit")
        # With a bucket, any number of calls is right: `_agreed` knows whether there is one.
        checked = RateLimit("numbers", **{"calls": 1, "per": 1, "burst": 1, **numbers})  # type: ignore[arg-type]  # it checks them
        new = {name: getattr(checked, name) for name in numbers}
        who = changing.name_of(by)
        self._renumber(key, lambda before: _agreed(changing.merged(before, new, who)))
        changing.settle(states(), new, self.changes(key=key))

    def reset_numbers(self, *, key: keys.Answer | None = None) -> None:
        """Use the numbers of the code again.

        Raises:
            ConnectionError: the store does not answer.
        """
        self._renumber(key, lambda _: None)
        changing.settle(states(), None, self.changes(key=key))

    def changes(self, *, key: keys.Answer | None = None) -> Changes | None:
        """Return the changed numbers, and who changed them when; None if the code's numbers are in force."""
        return Times.decode(states().get(self._store_key(key))).changes

    @staticmethod
    def names() -> list[str]:
        """Return the names of all limits in the store that were used lately, or have changed numbers."""
        return sorted(key.removeprefix(_PREFIX) for key in states().keys(_PREFIX))

    def _renumber(self, key: keys.Answer | None, change: Callable[[Changes | None], Changes | None]) -> None:
        limit: SharedRate = states().view(self._store_key(key), SharedRate)
        limit.renumber(change)

    def _store_key(self, key: keys.Answer | None) -> str:
        needs_key = 'this policy has a limit for each key: give one, as in limit.changes(key="api.example.com")'
        return self.place_by_hand(_PREFIX, key, needs_key)

    @property
    def _patience(self) -> float:
        if isinstance(self.wait, bool):
            return math.inf if self.wait else 0.0
        return self.wait

    def _named(self, name: str) -> Self:
        return keys.changed(self, name=name, _key=_PREFIX + name)

    def _refused(self, call: Call, shared: SharedRate, wait: float, patience: float) -> RateLimited:
        numbers = self._rate.numbers.changed(shared.changes)
        limit = f"{number_of(int(numbers.calls), 'call')} in {numbers.per:g} s"
        return RateLimited(
            f"rate limit {self.title} ({limit}): {call.operation} was not called; it would have had to wait"
            f" {wait:.1f} s, and may wait {patience:.1f} s",
            retry_in=wait,
        )
