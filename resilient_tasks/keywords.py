"""From a decorator's keywords to a pipeline in the canonical order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypedDict

from resilient_tasks import misuse
from resilient_tasks.core.call import NEVER
from resilient_tasks.core.durations import Duration
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.keys import Name
from resilient_tasks.core.pipeline import Pipeline, Policy, in_order
from resilient_tasks.core.stand_ins import StandIn
from resilient_tasks.notify.block import NotificationBlock
from resilient_tasks.notify.message import Channel
from resilient_tasks.notify.policy import Notify
from resilient_tasks.notify.routes import Route
from resilient_tasks.policies.adaptive_rate_limit import AdaptiveRateLimit
from resilient_tasks.policies.breaker import CircuitBreaker
from resilient_tasks.policies.bulkhead import Bulkhead
from resilient_tasks.policies.deadline import Deadline
from resilient_tasks.policies.fallback import Fallback
from resilient_tasks.policies.hedge import Hedge
from resilient_tasks.policies.rate_limit import RateLimit
from resilient_tasks.policies.retry import Retry
from resilient_tasks.policies.single_flight import SingleFlight
from resilient_tasks.policies.timeout import Timeout
from resilient_tasks.policies.validate import Validate


class PolicyOptions(TypedDict, total=False):
    """The keywords that every decorator of this library takes.

    Attributes:
        retry: a `Retry`, or the number of attempts.
        deadline: a `Deadline`, or its seconds for all attempts and waits, also as `"2 min"` or a `timedelta`.
        timeout: a `Timeout`, or its seconds for each attempt, also as `"20s"` or a `timedelta`.
        breaker: a `CircuitBreaker`, or its name, or a key function that gives the name for each call.
        rate_limit: a `RateLimit`, or an `AdaptiveRateLimit`.
        bulkhead: a `Bulkhead`.
        hedge: a `Hedge`, or the seconds after which a call is made once more beside one that is slow to answer.
        validate: a `Validate`, or a schema for the result; a tuple of schemas for a result of several frames.
        fallback: a `Fallback`, a function of the call's arguments, or a mapping from errors to such functions; or a
            `LastGood`.
        single_flight: True, or a `SingleFlight`: calls with equal arguments that come while one is under way share what
            comes of it.
        notify: one channel or several that hear of a call that failed or was degraded, each perhaps in a `Route`; or a
            `Notify`. A Prefect `NotificationBlock` is a channel, too.
        policies: further policies, put into the canonical order; a `Pipeline` keeps its own order and stands alone.
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
    idempotent: bool


def build(options: PolicyOptions) -> Pipeline:
    """Build the pipeline that a decorator's keywords stand for.

    Raises:
        PolicyError: the keywords are contradictory.
    """
    more = options.get("policies") or ()
    given = [*_from_keywords(options)]
    if isinstance(more, Pipeline):
        if given:
            msg = f"policies=Pipeline(...) keeps its own order, so it stands alone: move {given[0]!r} into it"
            raise PolicyError(msg)
        _no_stand_in_for_a_split(more.policies)
        return more
    misuse.refuse_policies(more)
    return arranged((*given, *more))


#: By keyword, the policy that it takes, and what anything else is short for.
_TAKES: dict[str, tuple[type[Policy], Callable[[Any], Policy] | None]] = {
    "retry": (Retry, lambda attempts: Retry(attempts=attempts)),
    "deadline": (Deadline, Deadline),
    "timeout": (Timeout, Timeout),
    "breaker": (CircuitBreaker, CircuitBreaker),
    "rate_limit": (RateLimit, None),
    "bulkhead": (Bulkhead, None),
    "hedge": (Hedge, Hedge),
    "validate": (Validate, lambda schema: Validate(output=schema)),
    "fallback": (Fallback, Fallback),
    "single_flight": (SingleFlight, lambda _: SingleFlight()),
    "notify": (Notify, Notify),
}

#: By keyword, the class of other policies that it takes.
_ALSO: dict[str, type] = {"fallback": StandIn, "rate_limit": AdaptiveRateLimit}

_POLICIES = {keyword: policy for keyword, (policy, _) in _TAKES.items()}


def settled(options: PolicyOptions) -> PolicyOptions:
    """Return `options` with `policies=` as something that can be read more than once, and None for False."""
    if options.get("single_flight") is False:
        options = {**options, "single_flight": None}
    more = options.get("policies")
    return {**options, "policies": tuple(more)} if isinstance(more, Iterator) else options


def slots_of(keyword: str) -> frozenset[str]:
    """Return the places in a pipeline that the policy of `keyword` takes; none, if it stands for no one policy."""
    if keyword not in _TAKES:
        return frozenset()
    policy, _ = _TAKES[keyword]
    return frozenset({policy.slot, *(("validate input",) if policy is Validate else ())})


def slots_given(options: PolicyOptions) -> frozenset[str]:
    """Return the places that `policies=` takes."""
    more = options.get("policies") or ()
    policies = more.policies if isinstance(more, Pipeline) else tuple(more)
    return frozenset(part.slot for policy in policies for part in policy.parts())


def _from_keywords(options: PolicyOptions) -> Iterable[Policy]:
    for keyword, (policy, from_short) in _TAKES.items():
        given: Any = options.get(keyword)
        if given is None:
            continue
        if policy in type(given).__mro__ or _ALSO.get(keyword) in type(given).__mro__:
            yield given
        else:
            misuse.refuse_value(keyword, given, _POLICIES)
            if from_short is not None:
                yield from_short(given)


def arranged(policies: tuple[Policy, ...]) -> Pipeline:
    """Put policies into the canonical order, each in its one place, the fallback's value under the output's schema.

    Raises:
        PolicyError: there are two for one place, or two that do not go together.
    """
    parts = [part for policy in Pipeline(*policies).policies for part in policy.parts()]
    seen: dict[str, Policy] = {}
    for policy in parts:
        if policy.slot not in {"custom", "chaos"} and policy.slot in seen:
            msg = f"{policy.slot} is given twice, {seen[policy.slot]!r} and {policy!r}: one of them is too many"
            if policy.slot == "fallback":
                msg += "; where there is no last good result, LastGood(otherwise=...) stands in"
            raise PolicyError(msg)
        seen[policy.slot] = policy
    _no_stand_in_for_a_split(parts)
    flight, deadline = seen.get("single flight"), seen.get("deadline")
    if isinstance(flight, SingleFlight):
        parts[parts.index(flight)] = flight.within(deadline.seconds if isinstance(deadline, Deadline) else NEVER)
    breaker = seen.get("breaker")
    if isinstance(breaker, CircuitBreaker) and seen.keys() & {"rate limit", "bulkhead"}:
        parts.append(breaker.ahead())
    schema, fallback = seen.get("validate output"), seen.get("fallback")
    if schema is not None and isinstance(fallback, StandIn):
        checked = schema.of_stand_in() if isinstance(schema, Validate) else schema
        parts[parts.index(fallback)] = fallback.checked_by(checked)
    return Pipeline(*in_order(parts))


def _no_stand_in_for_a_split(policies: Iterable[Policy]) -> None:
    given = tuple(policies)
    branches = any(isinstance(policy, Validate) and policy.branches for policy in given)
    if branches and any(isinstance(policy, StandIn) for policy in given):
        msg = (
            "Validate(on_invalid='branch') gives the caller a Split of what was read, and a fallback something that"
            " was not: drop one of them, or match Failed(error=InvalidData()) where the fallback would stand in"
        )
        raise PolicyError(msg)
