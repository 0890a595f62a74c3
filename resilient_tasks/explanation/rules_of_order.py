"""Rules about the order of policies, and about loops inside of loops."""

from __future__ import annotations

import itertools
import math

from resilient_tasks.core.pipeline import ORDER
from resilient_tasks.explanation.subjects import Context, Remarks, Subject

_PLACES = {slot: place for place, slot in enumerate(ORDER)}

_COSTS = {
    ("timeout", "retry"): (
        "one timeout for all attempts and waits",
        "Write Deadline for a limit of the whole call, and put Timeout inside the retry",
    ),
    ("retry", "deadline"): (
        "every attempt gets the whole deadline again",
        "Put Deadline first, or write Timeout for a limit of each attempt",
    ),
    ("retry", "fallback"): (
        "the fallback answers first, so nothing is ever retried",
        "Put Fallback first",
    ),
    ("deadline", "fallback"): (
        "no time may be left for the fallback",
        "Put Fallback first, and give it a timeout of its own",
    ),
    ("breaker", "retry"): (
        "it counts calls, not attempts, and cannot stop a retry storm",
        "Put CircuitBreaker inside the retry",
    ),
}


def order(subject: Subject, _: Context) -> Remarks:
    """Remark on a policy outside of one that it usually is inside of."""
    for outer, inner in itertools.pairwise(subject.policies):
        if _PLACES[outer.slot] <= _PLACES[inner.slot]:
            continue
        known = _COSTS.get((outer.slot, inner.slot))
        if known is not None:
            yield (f"{outer.slot}-outside-{inner.slot}", *known)
        else:
            sentence = f"{outer.slot} is outside {inner.slot}; the usual order is the reverse"
            yield (
                "unusual-order",
                sentence,
                f"Put the {inner.slot} first, or give both to a decorator, which sorts them",
            )


def loops(subject: Subject, context: Context) -> Remarks:
    """Remark on retries inside of retries, whose attempts multiply."""
    mine = _attempts(subject)
    inside = subject.of_slot("retry")
    if len(inside) > 1:
        numbers = [policy.most_attempts or math.inf for policy in inside]
        product = _product(*numbers)
        yield "nested-retries", f"{len(inside)} retries around one function multiply: {product}", "Keep one of them"
    if mine == 1:
        return
    for callee in context.calls.subjects:
        theirs = _attempts(callee)
        if theirs > 1 and callee.name != subject.name:
            sentence = (
                f"{subject.name} is retried, and calls {callee.name}, which is retried too: {_product(mine, theirs)}"
            )
            yield "nested-retries", sentence, f"Keep the retry of {callee.name}, and drop the one around it"


def _attempts(subject: Subject) -> float:
    retries = math.prod(policy.most_attempts or math.inf for policy in subject.of_slot("retry"))
    return retries * (1 if subject.outer is None else subject.outer.attempts)


def _product(*attempts: float) -> str:
    numbers = " × ".join("unlimited" if each == math.inf else f"{each:g}" for each in attempts)
    total = math.prod(attempts)
    return f"{numbers} attempts" + ("" if total == math.inf else f" are up to {total:g}")


CODES = ("unusual-order", "nested-retries", *(f"{outer}-outside-{inner}" for outer, inner in _COSTS))
RULES = (order, loops)
