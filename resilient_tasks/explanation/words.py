"""A pipeline in words."""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Mapping
from typing import Any

from resilient_tasks.core import settings
from resilient_tasks.core.bounds import Waits
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.classification.matching import matcher
from resilient_tasks.core.stand_ins import DEFAULT
from resilient_tasks.core.wording import joined, number_of
from resilient_tasks.explanation.subjects import Subject
from resilient_tasks.explanation.wording import described, duration
from resilient_tasks.explanation.worst_case import WorstCase
from resilient_tasks.redaction.text import redact

_KINDS = {
    Kind.TRANSIENT: "transient failures",
    Kind.THROTTLED: "refusals of a busy service",
    Kind.TIMEOUT: "timeouts",
    Kind.MALFORMED: "malformed data",
    Kind.PERMANENT: "permanent errors (4xx, bugs)",
    Kind.RESOURCE: "lack of memory or disk",
    Kind.REJECTED: "calls that this library refused",
}
#: The most waits that are listed.
_LISTED = 5


def in_short(worst: WorstCase) -> str:
    """Return the worst case as one line."""
    return f"worst case: {attempts_in(worst)}, {time_in(worst)}"


def attempts_in(worst: WorstCase) -> str:
    """Return the most attempts in words."""
    return "any number of attempts" if worst.attempts == math.inf else number_of(int(worst.attempts), "attempt")


def time_in(worst: WorstCase) -> str:
    """Return the longest time in words."""
    if worst.why:
        others = f"; all else takes {duration(worst.known_seconds)}" if worst.known_seconds else ""
        return f"no limit of time: {joined(worst.why)}{others}"
    if worst.unasked_seconds < worst.seconds:
        asked = f"{duration(worst.seconds)} if a service asks for longer waits (Retry-After)"
        return f"{duration(worst.unasked_seconds)}; {asked}"
    return duration(worst.seconds)


def lines(subject: Subject, worst: WorstCase) -> Iterator[str]:
    """Yield the lines of an explanation, without its remarks."""
    for number, policy in enumerate(subject.policies, 1):
        yield f"{number}. {described(policy)}"
    yield f"{len(subject.policies) + 1}. the function"
    yield f"· {in_short(worst)}"
    for sentence in sentences(subject):
        yield f"· {sentence}"


def sentences(subject: Subject) -> Iterator[str]:
    """Yield what the policies will do."""
    if subject.within < math.inf:
        yield f"it inherits the deadline of its flow, {duration(subject.within)} for the whole run"
    if subject.outer is not None:
        yield f"around all of this: {subject.outer.text}, {number_of(subject.outer.attempts, 'attempt')} of the whole"
    for policy in subject.policies:
        for slot, say in _SAY.items():
            if policy.slot == slot and type(policy).__module__.startswith("resilient_tasks."):
                yield from say(policy)
    yield from _how_limits_end(subject)
    yield from _state(subject)


def _retry(policy: Any) -> Iterator[str]:
    from tenacity import wait_random_exponential  # noqa: PLC0415  # as above

    from resilient_tasks.policies.retry.worst_case import waits_of  # noqa: PLC0415  # only pipelines with a retry need it

    wait = wait_random_exponential(multiplier=0.5, max=60) if policy.wait is None else policy.wait
    number = min((policy.most_attempts or _LISTED + 2) - 1, _LISTED + 1)
    if number:
        asked = settings.current.longest_retry_after
        kept = f"; up to {duration(asked)} if the service asks for it (Retry-After)" if asked else ""
        yield f"waits: {_waits(waits_of(wait), number)}{kept}"
    kinds = frozenset(policy._retries.kinds)  # noqa: SLF001  # `describe` names those that are retried
    if kinds and kinds != frozenset(Kind):
        yield f"not retried: {joined([_KINDS[kind] for kind in Kind if kind not in kinds])}"


def _waits(waits: Waits, number: int) -> str:
    if waits.why:
        return waits.why[0]
    each = [*itertools.islice(waits.each(), number)]
    if len({*each}) == 1:
        each = each[:1]
    texts = [f"{most:g}" if least == most else f"{least:g} to {most:g}" for least, most in each[:_LISTED]]
    return f"{', '.join(texts)}{', ...' if len(each) > _LISTED else ''} s"


def _fallback(policy: Any) -> Iterator[str]:
    use, on = getattr(policy, "use", None), getattr(policy, "on", None)
    if isinstance(use, Mapping):
        yield f"the fallback stands in for {joined([matcher(rule, 'fallback').describe() for rule in use])}"
    elif on is not None:
        yield f"the fallback stands in for {matcher(on, 'fallback').describe()}"
    else:
        others = joined([_KINDS[kind] for kind in Kind if kind not in DEFAULT])
        yield f"the fallback stands in for all failures but {others}"


def _validate(policy: Any) -> Iterator[str]:
    where = policy.quarantine or settings.current.quarantine
    where = getattr(where, "url", where)
    does = {
        "raise": "one bad row refuses the batch",
        "quarantine": f"bad rows are quarantined at {redact(str(where))}",
        "drop": "bad rows are dropped, and counted",
        "warn": "bad rows pass, with a warning",
        "branch": "bad rows are returned beside the good ones",
    }[policy.on_invalid]
    yield does + _refused_above(policy)


def _refused_above(policy: Any) -> str:
    if policy.on_invalid == "raise":
        return ""
    limit = policy.max_invalid
    if limit is None:
        return "; no share of them refuses the batch"
    if isinstance(limit, Mapping):
        each = ", ".join(f"{_share(most)} by {where}" for where, most in limit.items())
        return f"; a batch with more is refused: {each}"
    return f"; a batch with more than {_share(limit)} is refused"


def _share(limit: float) -> str:
    return f"{100 * limit:.4g} % bad rows" if isinstance(limit, float) else number_of(limit, "bad row")


_SAY = {"retry": _retry, "fallback": _fallback, "validate input": _validate, "validate output": _validate}

_AUTO = {
    True: "over a limit, the function is cancelled",
    False: "over a limit, the function is interrupted by a signal in the main thread;"
    " in a worker thread the call returns, and the abandoned thread runs on",
}
_OTHERWISE = {
    "process": "over a limit, the function's process is killed",
    "cooperative": "over its timeout, the function is not interrupted: it checks remaining()",
}
_PLACES = {
    "async": "cancelled at its next await; blocking code delays that",
    "main thread": "interrupted by a signal",
    "worker thread": "Python code is interrupted; a blocking call runs on in an abandoned thread",
    "Windows": "as in a worker thread: there is no such signal",
}


def enforcement(subject: Subject) -> dict[str, str]:
    """Return how a limit ends the function, by the place where it runs; empty without a limit."""
    enforce = _enforce(subject)
    if not enforce:
        return {}
    if enforce in _OTHERWISE:
        return {"anywhere": _OTHERWISE[enforce].partition(", ")[2]}
    return {place: how for place, how in _PLACES.items() if (place == "async") is bool(subject.is_async)}


def _enforce(subject: Subject) -> str:
    limits = subject.of_slot("timeout", "deadline")
    if not limits or subject.is_async is None:
        return ""
    return next((str(policy.enforce) for policy in limits if hasattr(policy, "enforce")), "auto")


def _how_limits_end(subject: Subject) -> Iterator[str]:
    if enforce := _enforce(subject):
        yield _OTHERWISE.get(enforce, _AUTO[bool(subject.is_async)])


def shared_state(subject: Subject) -> list[str]:
    """Return the names of the state that calls share."""
    named = subject.of_slot("breaker", "rate limit", "bulkhead")
    found = [f"{policy.slot} {policy.title}" for policy in named if hasattr(policy, "title")]
    budgets = [budget for retry in subject.of_slot("retry") if (budget := getattr(retry, "budget", None)) is not None]
    found += [f"retry budget of {budget.title}" for budget in budgets]
    return found + ["single flight" for policy in subject.of_slot("single flight") if getattr(policy, "shared", False)]


def _state(subject: Subject) -> Iterator[str]:
    found = shared_state(subject)
    if not found:
        return
    store = settings.current.store
    name = redact(store) if isinstance(store, str) else type(store).__name__
    whose = "all processes that use it"
    if name.startswith("memory:"):
        whose = "this process alone"
    elif name.startswith("sqlite:"):
        whose = "all processes of this machine"
    yield f"shared by {whose} (store {name}): {joined(found)}"
