"""Rules about limits and waits that do not fit each other."""

from __future__ import annotations

import itertools
import math
from typing import Any

from resilient_tasks.core.bounds import Waits
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.errors import TimedOut
from resilient_tasks.explanation.subjects import Context, Remarks, Subject
from resilient_tasks.explanation.wording import duration


def attempt_in_deadline(subject: Subject, _: Context) -> Remarks:
    """Remark on a deadline that leaves no time for an attempt, or for a second one."""
    for deadline, timeout in _pairs(subject, "deadline", "timeout"):
        limits = f"the deadline of {duration(deadline.seconds)}"
        if timeout.seconds > deadline.seconds:
            yield (
                "deadline-shorter-than-attempt",
                f"{limits} ends before the timeout of {duration(timeout.seconds)}, which is never reached",
                f"Write a timeout= below {deadline.seconds:g}, or a longer deadline=",
            )
            continue
        for retry in subject.of_slot("retry"):
            waits = _waits(retry)
            first = next(waits.each())[0] if waits is not None else 0.0
            if _retries_timeouts(retry) and timeout.seconds + first >= deadline.seconds:
                after = f" after the wait of {duration(first)}" if first else ""
                sentence = (
                    f"after an attempt that takes its timeout of {duration(timeout.seconds)}, {limits} leaves no time"
                    f" for another{after}"
                )
                yield (
                    "no-time-for-another-attempt",
                    sentence,
                    f"Write a timeout= below {max(0.0, deadline.seconds - first) / 2:g}, or a longer deadline=",
                )


def waits_in_deadline(subject: Subject, _: Context) -> Remarks:
    """Remark on waits that are longer than the deadline, so that the attempts after them are never made."""
    for deadline, retry in _pairs(subject, "deadline", "retry"):
        waits = _waits(retry)
        if waits is None:
            continue
        number = int(min(retry.most_attempts or math.inf, len(waits.first) + 2)) - 1
        each = [least for least, _ in itertools.islice(waits.each(), number)]
        longer = next((at for at, least in enumerate(each, 1) if least >= deadline.seconds), None)
        if longer is not None:
            after = "nothing is retried" if longer == 1 else f"attempt {longer + 1} is never made"
            wait = (
                f"wait {longer} of {duration(each[longer - 1])}" if longer > 1 else f"the wait of {duration(each[0])}"
            )
            yield (
                "wait-longer-than-deadline",
                f"{wait} does not fit the deadline of {duration(deadline.seconds)}: {after}",
                "Write a shorter wait=, or a longer deadline=",
            )


def queue_in_deadline(subject: Subject, _: Context) -> Remarks:
    """Remark on a wait for permission that is longer than the deadline."""
    for deadline, limit in _pairs(subject, "deadline", "rate limit"):
        patience = getattr(limit, "wait", None)
        if isinstance(patience, float) and patience > deadline.seconds:
            yield (
                "queue-longer-than-deadline",
                f"the rate limit may wait {duration(patience)}, and the deadline is {duration(deadline.seconds)}",
                "Write wait=True, which waits as long as the deadline allows, or a shorter wait=",
            )


def hedge_in_timeout(subject: Subject, _: Context) -> Remarks:
    """Remark on a hedge that begins only when the attempt is over."""
    for hedge, limit in (*_pairs(subject, "hedge", "timeout"), *_pairs(subject, "hedge", "deadline")):
        if hedge.after >= limit.seconds:
            what = f"the {limit.slot} of {duration(limit.seconds)}"
            yield (
                "hedge-never-starts",
                f"the hedge begins after {duration(hedge.after)}, and {what} has ended the attempt by then",
                f"Write hedge= with the time in which 95 % of the calls are answered, below {limit.seconds:g}",
            )


def slow_in_timeout(subject: Subject, _: Context) -> Remarks:
    """Remark on a breaker that counts slow calls, which a timeout has ended before."""
    for breaker, timeout in _pairs(subject, "breaker", "timeout"):
        slow = getattr(breaker, "slow", None)
        if slow is not None and slow >= timeout.seconds:
            sentence = (
                f"the breaker counts calls as slow from {duration(slow)} on, and the timeout ends them after"
                f" {duration(timeout.seconds)}: no success is ever slow"
            )
            yield "slow-beyond-timeout", sentence, f"Write slow= below {timeout.seconds:g}"


def endless(subject: Subject, context: Context) -> Remarks:
    """Remark on a call that may be repeated without end."""
    if all(policy.most_attempts for policy in subject.of_slot("retry")):
        return
    if context.worst.attempts == math.inf and context.worst.seconds == math.inf:
        yield (
            "retries-without-end",
            "nothing that is known limits the attempts or the time of a call",
            "Write Retry(attempts=...), or a deadline=",
        )


CODES = (
    *("deadline-shorter-than-attempt", "no-time-for-another-attempt", "wait-longer-than-deadline"),
    *("queue-longer-than-deadline", "hedge-never-starts", "slow-beyond-timeout", "retries-without-end"),
)
RULES = (attempt_in_deadline, waits_in_deadline, queue_in_deadline, hedge_in_timeout, slow_in_timeout, endless)


def _pairs(subject: Subject, outer: str, inner: str) -> list[tuple[Any, Any]]:
    """Return the policies of two slots, if the first is outside of the second and both are ours."""
    return [
        (one, other)
        for number, one in enumerate(subject.policies)
        if one.slot == outer and _is_ours(one)
        for other in subject.policies[number + 1 :]
        if other.slot == inner and _is_ours(other)
    ]


def _is_ours(policy: Any) -> bool:
    return type(policy).__module__.startswith("resilient_tasks.")


def _waits(retry: Any) -> Waits | None:
    """Return the waits of a retry; None if it is not known when it ends."""
    from resilient_tasks.policies.retry.worst_case import waits_of  # noqa: PLC0415  # only pipelines with a retry need it

    if not _is_ours(retry) or retry.stop is not None:
        return None
    return waits_of(retry.wait) if retry.wait is not None else Waits()


def _retries_timeouts(retry: Any) -> bool:
    rules = retry._retries  # noqa: SLF001  # the rule is about this policy
    if rules.kinds:
        return Kind.TIMEOUT in rules.kinds
    try:
        return bool(rules(TimedOut("probe")))
    except Exception:  # a predicate of the user's
        return False
