"""The worst case of one call: the most attempts, and the longest time, of policies around a function."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from resilient_tasks.core import settings
from resilient_tasks.core.bounds import Bound, Step, of_function
from resilient_tasks.core.failures import describe
from resilient_tasks.core.pipeline import Policy
from resilient_tasks.decorators.decorate import plan_of
from resilient_tasks.decorators.keywords import is_stand_in
from resilient_tasks.explanation.wording import described

#: How a number without a limit appears in JSON.
UNLIMITED = "unlimited"


@dataclass(frozen=True)
class WorstCase:
    """The worst case of one call.

    It counts attempts, waits and limits, as the policies state them. It does not count the time that this library
    itself takes: starting a process, reading a store, validating data, writing bad rows.

    Attributes:
        attempts: how often the function is called at most; `math.inf` if unlimited.
        seconds: how long the call takes at most; `math.inf` if that has no limit, or if it is not known.
        why: what has no known limit; empty if `seconds` is finite.
        known_seconds: the part of the time that has a limit, if no service asks for longer waits.
        unasked_seconds: as `seconds`, if no service asks for longer waits (Retry-After).
        steps: the worst case step by step: attempts, waits, and what else takes time.
    """

    attempts: float
    seconds: float
    why: tuple[str, ...]
    known_seconds: float
    unasked_seconds: float
    steps: tuple[Step, ...]

    def as_dict(self) -> dict[str, Any]:
        """Return it as plain data for JSON; numbers without a limit are `"unlimited"`."""
        numbers = {name: getattr(self, name) for name in ("attempts", "seconds", "known_seconds", "unasked_seconds")}
        return {**{name: limited(number) for name, number in numbers.items()}, "why": [*self.why]}


def limited(number: float) -> float | str:
    """Return a number for JSON, which has no infinity."""
    return UNLIMITED if number == math.inf else number


@dataclass(frozen=True)
class OuterLoop:
    """Another retry loop around the pipeline: Prefect's own `retries=`.

    Attributes:
        attempts: of that loop.
        bound: returns the worst case of the loop around a pipeline.
        text: what it is called.
    """

    attempts: int
    waits: Any
    text: str

    def around(self, inner: Bound) -> Bound:
        """Return the worst case of this loop around `inner`."""
        return inner.repeated(self.attempts, self.waits, asks=False)


def worst_case(policies: Iterable[Policy], outer: OuterLoop | None = None, within: float = math.inf) -> WorstCase:
    """Return the worst case of a call through `policies`, the first outermost.

    Args:
        policies: around the function.
        outer: a loop around them.
        within: the seconds of a deadline around all of it.
    """
    given = tuple(policies)
    unasked, asked = (_bound(given, outer, most).within(within) for most in (0.0, settings.current.longest_retry_after))
    total = asked.total
    return WorstCase(
        attempts=asked.attempts,
        seconds=total.seconds,
        why=total.why,
        known_seconds=unasked.total.known,
        unasked_seconds=unasked.total.seconds,
        steps=unasked.steps,
    )


def _bound(policies: tuple[Policy, ...], outer: OuterLoop | None, asked: float) -> Bound:
    bound = of_function(asked)
    for policy in reversed(policies):
        bound = _stated(policy, bound)
    return bound if outer is None else outer.around(bound)


def _stated(policy: Policy, inner: Bound) -> Bound:
    """Return what a policy states about its worst case; unknown if it states nothing that can be relied on."""
    if (seconds := _of_resilient_stand_in(policy, inner.asked)) is not None:
        return inner.then(seconds, "the fallback")
    try:
        made = policy.longest(inner) if _states(policy) else Policy.longest(policy, inner)
    except Exception as error:  # of a user's policy
        return inner.unknown(f"{described(policy)}: longest() raised {describe(error)}", math.inf)
    if isinstance(made, Bound):
        return made
    return inner.unknown(f"{described(policy)}: longest() returned {type(made).__name__}, not a Bound", math.inf)


def _of_resilient_stand_in(policy: Policy, asked: float) -> float | None:
    """Return the most seconds of a fallback that has no timeout, but limits in policies of its own; else None."""
    if not is_stand_in(policy) or getattr(policy, "timeout", None) is not None:
        return None
    functions = [*policy.functions()]
    plan = plan_of(functions[0]) if len(functions) == 1 else None
    total = None if plan is None else _bound(plan.pipeline.policies, None, asked).total
    return None if total is None or total.why else total.known


def _states(policy: Policy) -> bool:
    """Whether a policy's `longest` is about its own `around`: a subclass may change only what it does."""
    for kind in type(policy).__mro__:
        names: Mapping[str, Any] = vars(kind)
        if "longest" in names:
            return True
        if "around" in names:
            return False
    return False
