"""Build a pipeline in the canonical order from a decorator's keywords."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache, lru_cache
from importlib import import_module
from types import FunctionType
from typing import TYPE_CHECKING, Any, TypedDict, TypeGuard, cast

from resilient_tasks.core.call import NEVER
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.pipeline import Pipeline, Policy, checked, in_order
from resilient_tasks.decorators import misuse

if TYPE_CHECKING:
    from resilient_tasks.alerts.channels.block import NotificationBlock
    from resilient_tasks.alerts.message import Channel
    from resilient_tasks.alerts.policy import Notify, Route
    from resilient_tasks.core.keys.keys import Name
    from resilient_tasks.core.parameters.durations import Duration
    from resilient_tasks.core.stand_ins import StandIn
    from resilient_tasks.decorators.named import Named
    from resilient_tasks.policies.adaptive_rate_limit.policy import AdaptiveRateLimit
    from resilient_tasks.policies.breaker.policy import CircuitBreaker
    from resilient_tasks.policies.bulkhead.policy import Bulkhead
    from resilient_tasks.policies.deadline import Deadline
    from resilient_tasks.policies.hedge import Hedge
    from resilient_tasks.policies.rate_limit.policy import RateLimit
    from resilient_tasks.policies.retry.policy import Retry
    from resilient_tasks.policies.single_flight.policy import SingleFlight
    from resilient_tasks.policies.timeout import Timeout


class PolicyOptions(TypedDict, total=False):
    """The keywords that every decorator of this library takes.

    Attributes:
        retry: a `Retry`, or the number of attempts.
        deadline: a `Deadline`, or its seconds for all attempts and waits, also as `"2 min"` or a `timedelta`.
        timeout: a `Timeout`, or its seconds for each attempt, also as `"20s"` or a `timedelta`.
        breaker: a `CircuitBreaker`, or its name, or a key function that returns the name for each call.
        rate_limit: a `RateLimit`, or an `AdaptiveRateLimit`.
        bulkhead: a `Bulkhead`.
        hedge: a `Hedge`, or the seconds after which a second call starts beside one that is slow to answer.
        validate: a `Validate`, or a schema for the result; a tuple of schemas for a result of several frames.
        fallback: a `Fallback`, a function of the call's arguments, or a mapping from errors to such functions; or a
            `LastGood`.
        single_flight: True, or a `SingleFlight`: concurrent calls with equal arguments share one result.
        notify: one channel or several to alert when a call fails or is degraded, each optionally in a `Route`; or a
            `Notify`. A Prefect `NotificationBlock` is a channel, too.
        policies: further policies, put into the canonical order; a `Pipeline` keeps its own order and excludes
            other policies.
        policy: the name of a policy in `pyproject.toml` or `resilient_tasks.toml`: its table gives the keywords that
            are not given here.
        idempotent: doing the work twice does no harm, so an attempt may start while an earlier one still runs.
    """

    retry: Retry | int | None
    deadline: Deadline | Duration | None
    timeout: Timeout | Duration | None
    breaker: CircuitBreaker | Name | None
    rate_limit: RateLimit | AdaptiveRateLimit | None
    bulkhead: Bulkhead | None
    hedge: Hedge | Duration | None
    validate: Any
    fallback: StandIn | Callable[..., Any] | Mapping[Any, Callable[..., Any]] | None
    single_flight: SingleFlight | bool | None
    notify: Notify | Channel | NotificationBlock | Route | Iterable[Channel | NotificationBlock | Route] | None
    policies: Pipeline | Iterable[Policy] | None
    policy: str | None
    idempotent: bool


#: The keywords of every decorator.
KEYWORDS = PolicyOptions.__annotations__.keys()

#: The policy of each keyword, imported on first use: a program pays only for the policies that it uses.
_TAKES = {
    "retry": "policies.retry.policy:Retry",
    "deadline": "policies.deadline:Deadline",
    "timeout": "policies.timeout:Timeout",
    "breaker": "policies.breaker.policy:CircuitBreaker",
    "rate_limit": "policies.rate_limit.policy:RateLimit",
    "bulkhead": "policies.bulkhead.policy:Bulkhead",
    "hedge": "policies.hedge:Hedge",
    "validate": "policies.validate:Validate",
    "fallback": "policies.fallback:Fallback",
    "single_flight": "policies.single_flight.policy:SingleFlight",
    "notify": "alerts.policy:Notify",
}
#: The class of other policies that a keyword takes.
_ALSO = {"fallback": "core.stand_ins:StandIn", "rate_limit": "policies.adaptive_rate_limit.policy:AdaptiveRateLimit"}
#: The argument that a keyword's short form stands for; otherwise the first one.
_SHORT = {"retry": "attempts", "validate": "output"}
#: Types that are always a valid short form: `misuse` need not check them.
_PLAIN: Mapping[str, tuple[type, ...]] = {
    "retry": (int,),
    **dict.fromkeys(("deadline", "timeout", "hedge"), (int, float, str)),
    "breaker": (str,),
}


@cache
def policy_of(keyword: str) -> type[Policy]:
    """Return the policy class of a keyword."""
    policy: type[Policy] = _loaded(_TAKES[keyword])
    return policy


@cache
def _loaded(place: str) -> Any:
    room, _, name = place.partition(":")
    return getattr(import_module(f"resilient_tasks.{room}"), name)


def build(options: PolicyOptions) -> Pipeline:
    """Build the pipeline of a decorator's keywords.

    Raises:
        PolicyError: the keywords are contradictory.
    """
    more = options.get("policies") or ()
    given = [
        value if isinstance(value, Policy) and _is_taken(keyword, value) else _from_short(keyword, value)
        for keyword in _TAKES
        if (value := options.get(keyword)) is not None
    ]
    if isinstance(more, Pipeline):
        if given:
            msg = (
                f"policies=Pipeline(...) keeps its own order, so it takes no other keywords: move {given[0]!r} into it"
            )
            raise PolicyError(msg)
        _no_stand_in_for_a_split(more.policies)
        return more
    if more:
        misuse.refuse_policies(more)
    return arranged((*given, *more))


def _is_taken(keyword: str, given: Policy) -> bool:
    mro = type(given).__mro__  # a mock would pass isinstance(), too
    return policy_of(keyword) in mro or (keyword in _ALSO and _loaded(_ALSO[keyword]) in mro)


def _from_short(keyword: str, given: Any) -> Policy:
    if type(given) in _PLAIN.get(keyword, ()):
        return _of_plain(keyword, given)
    if keyword != "fallback" or type(given) is not FunctionType:
        misuse.refuse_value(keyword, given, policy_of)
    return _made(keyword, given)


@lru_cache(maxsize=256, typed=True)
def _of_plain(keyword: str, given: float | str) -> Policy:
    """Return the policy that a plain value is short for. Policies are immutable, so equal values share one."""
    return _made(keyword, given)


def _made(keyword: str, given: Any) -> Policy:
    policy: Callable[..., Policy] = policy_of(keyword)
    if keyword == "single_flight":
        return policy()
    return policy(**{_SHORT[keyword]: given}) if keyword in _SHORT else policy(given)


def expanded(options: PolicyOptions) -> tuple[PolicyOptions, Named | None]:
    """Return `options` with the keywords of a named policy in place of `policy=`, and that policy, if there is one.

    A keyword beside `policy=` replaces that of the policy.

    Raises:
        PolicyError: there is no such policy, or it is wrong.
    """
    if "policy" not in options:
        return options, None
    beside = {keyword: value for keyword, value in options.items() if keyword != "policy"}
    if options["policy"] is None:
        return cast("PolicyOptions", beside), None
    from resilient_tasks.decorators import named  # noqa: PLC0415  # a program without such a policy reads no file

    found = named.keywords_of(options["policy"])
    slots = {slot for keyword in found.options.keys() - beside.keys() for slot in slots_of(keyword)}
    return cast("PolicyOptions", {**found.options, **beside}), found._replace(slots=frozenset(slots))


def without_keywords(named: Named | None) -> Named | None:
    """Return a named policy without its keywords, for a plan: the pipeline has them."""
    return None if named is None else named._replace(options={})


def settled(options: PolicyOptions) -> PolicyOptions:
    """Return `options` with `policies=` as a tuple if it was an iterator, and `single_flight=False` as None."""
    if options.get("single_flight") is False:
        options = {**options, "single_flight": None}
    more = options.get("policies")
    return {**options, "policies": tuple(more)} if isinstance(more, Iterator) else options


def slots_of(keyword: str) -> frozenset[str]:
    """Return the slots that the policy of `keyword` takes; none for a keyword without a policy."""
    if keyword not in _TAKES:
        return frozenset()
    return frozenset({policy_of(keyword).slot, *(("validate input",) if keyword == "validate" else ())})


_NO_SLOTS: frozenset[str] = frozenset()


def slots_given(options: PolicyOptions) -> frozenset[str]:
    """Return the slots of the policies in `policies=`."""
    more = options.get("policies")
    if not more:
        return _NO_SLOTS
    policies = more.policies if isinstance(more, Pipeline) else tuple(more)
    return frozenset(part.slot for policy in policies for part in policy.parts())


def arranged(policies: tuple[Policy, ...]) -> Pipeline:
    """Put policies into the canonical order, one per slot, with the fallback's value checked by the output's schema.

    Raises:
        PolicyError: two policies take the same slot, or cannot be combined.
    """
    parts = [part for policy in checked(policies) for part in policy.parts()]
    seen: dict[str, Any] = {}
    for policy in parts:
        if policy.slot not in {"custom", "chaos"} and policy.slot in seen:
            msg = f"{policy.slot} is given twice, {seen[policy.slot]!r} and {policy!r}: drop one of them"
            if policy.slot == "fallback":
                msg += "; as a fallback without a last good result, write LastGood(otherwise=...)"
            raise PolicyError(msg)
        seen[policy.slot] = policy
    if len(parts) > 1:
        parts = [*in_order(_adapted(parts, seen))]
    return Pipeline(*parts)


def _adapted(parts: list[Policy], seen: Mapping[str, Any]) -> list[Policy]:
    """Return `parts`, adapted to each other; `seen` has them by slot."""
    flight, deadline, breaker = (_ours(keyword, seen) for keyword in ("single_flight", "deadline", "breaker"))
    if flight is not None:
        parts[parts.index(flight)] = flight.within(deadline.seconds if deadline is not None else NEVER)
    if breaker is not None and breaker.enforce and ("rate limit" in seen or "bulkhead" in seen):
        parts.append(breaker.ahead())
    if "fallback" in seen and "validate output" in seen and is_stand_in(fallback := seen["fallback"]):
        _no_stand_in_for_a_split(parts)
        schema, validate = seen["validate output"], _loaded(_TAKES["validate"])
        through = schema.of_stand_in() if isinstance(schema, validate) else schema
        parts[parts.index(fallback)] = fallback.checked_by(through)
    return parts


def _ours(keyword: str, seen: Mapping[str, Any]) -> Any:
    """Return the policy in a keyword's slot if it is of the keyword's own class, and not a custom policy."""
    policy = seen.get(keyword.replace("_", " "))
    return policy if policy is not None and isinstance(policy, policy_of(keyword)) else None


def is_stand_in(policy: Policy) -> TypeGuard[StandIn]:
    """Return whether a policy is a fallback that replaces the result."""
    return policy.slot == "fallback" and isinstance(policy, _loaded(_ALSO["fallback"]))


def _no_stand_in_for_a_split(policies: Iterable[Policy]) -> None:
    given = tuple(policies)
    branches = any(policy.slot == "validate output" and getattr(policy, "branches", False) for policy in given)
    if branches and any(map(is_stand_in, given)):
        msg = (
            "Validate(on_invalid='branch') returns a Split of the rows that were read, and a fallback returns other"
            " data: drop one of them, or match Failed(error=InvalidData()) instead of the fallback"
        )
        raise PolicyError(msg)
