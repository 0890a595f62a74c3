"""From a decorator's keywords to a pipeline in the canonical order."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypedDict

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.pipeline import Pipeline, Policy, in_order
from resilient_tasks.notify.message import Channel
from resilient_tasks.notify.policy import Notify
from resilient_tasks.policies.deadline import Deadline
from resilient_tasks.policies.fallback import Fallback
from resilient_tasks.policies.retry import Retry
from resilient_tasks.policies.timeout import Timeout
from resilient_tasks.policies.validate import Validate


class PolicyOptions(TypedDict, total=False):
    """The keywords that every decorator of this library takes.

    Attributes:
        retry: a `Retry`, or the number of attempts.
        deadline: a `Deadline`, or its seconds for all attempts and waits.
        timeout: a `Timeout`, or its seconds for each attempt.
        validate: a `Validate`, or a schema for the result.
        fallback: a `Fallback`, a function of the call's arguments, or a mapping from errors to such functions.
        notify: one channel or several that hear of a call that failed or was degraded.
        policies: further policies, put into the canonical order; a `Pipeline` keeps its own order and stands alone.
        idempotent: doing the work twice does no harm, so an attempt may start while an abandoned one still runs.
    """

    retry: Retry | int | None
    deadline: Deadline | float | None
    timeout: Timeout | float | None
    validate: Any
    fallback: Fallback | Callable[..., Any] | Mapping[Any, Callable[..., Any]] | None
    notify: Channel | Iterable[Channel] | None
    policies: Pipeline | Iterable[Policy]
    idempotent: bool


def build(options: PolicyOptions) -> Pipeline:
    """Build the pipeline that a decorator's keywords stand for.

    Raises:
        PolicyError: the keywords are contradictory.
    """
    more = options.get("policies", ())
    given = [*_from_keywords(options)]
    if isinstance(more, Pipeline):
        if given:
            msg = f"policies=Pipeline(...) keeps its own order, so it stands alone: move {given[0]!r} into it"
            raise PolicyError(msg)
        _no_stand_in_for_a_split(more.policies)
        return more
    if isinstance(more, Policy):
        msg = f"policies=[Retry(...)] takes several policies, or a Pipeline: put {more!r} into a list"
        raise PolicyError(msg)
    return arranged((*given, *more))


def _from_keywords(options: PolicyOptions) -> Iterable[Policy]:
    retry, deadline, timeout = options.get("retry"), options.get("deadline"), options.get("timeout")
    validate, fallback, notify = options.get("validate"), options.get("fallback"), options.get("notify")
    if retry is not None:
        yield retry if isinstance(retry, Retry) else Retry(attempts=retry)
    if deadline is not None:
        yield deadline if isinstance(deadline, Deadline) else Deadline(deadline)
    if timeout is not None:
        yield timeout if isinstance(timeout, Timeout) else Timeout(timeout)
    if validate is not None:
        yield validate if isinstance(validate, Validate) else Validate(output=validate)
    if fallback is not None:
        yield fallback if isinstance(fallback, Fallback) else Fallback(fallback)
    if notify is not None:
        yield notify if isinstance(notify, Notify) else Notify(notify)


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
            raise PolicyError(msg)
        seen[policy.slot] = policy
    _no_stand_in_for_a_split(parts)
    schema, fallback = seen.get("validate output"), seen.get("fallback")
    if schema is not None and isinstance(fallback, Fallback):
        checked = schema.of_stand_in() if isinstance(schema, Validate) else schema
        parts[parts.index(fallback)] = fallback.checked_by(checked)
    return Pipeline(*in_order(parts))


def _no_stand_in_for_a_split(policies: Iterable[Policy]) -> None:
    given = tuple(policies)
    branches = any(isinstance(policy, Validate) and policy.branches for policy in given)
    if branches and any(isinstance(policy, Fallback) for policy in given):
        msg = (
            "Validate(on_invalid='branch') gives the caller a Split of what was read, and a fallback something that"
            " was not: drop one of them, or match Failed(error=InvalidData()) where the fallback would stand in"
        )
        raise PolicyError(msg)
