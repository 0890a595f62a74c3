"""Rules about what a function does, what stands in for it, and where its state is."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping
from typing import Any

from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.wording import joined
from resilient_tasks.decorators.decorate import abandoned_attempts
from resilient_tasks.decorators.keywords import is_stand_in
from resilient_tasks.explanation.posts import posts_of
from resilient_tasks.explanation.subjects import Context, Remarks, Subject

#: Errors of the code itself; a stand-in or another attempt only hides them.
_BUGS = (TypeError, NameError, AttributeError, AssertionError, NotImplementedError, SyntaxError, ImportError)


def fallback_hides_bug(subject: Subject, _: Context) -> Remarks:
    """Remark on a fallback for errors that another version of the code should fix."""
    for policy in subject.of_slot("fallback"):
        if bugs := _bugs(getattr(policy, "use", None), getattr(policy, "on", None)):
            yield (
                "fallback-hides-bug",
                f"the fallback stands in for {joined(bugs)}: a bug in the code would look like a degraded service",
                "Leave out on=, for all kinds but PERMANENT and RESOURCE, or name the errors of the service",
            )


def retry_repeats_bug(subject: Subject, _: Context) -> Remarks:
    """Remark on a retry of errors that the next attempt meets again."""
    for policy in subject.of_slot("retry"):
        if bugs := _bugs(None, getattr(policy, "on", None)):
            yield (
                "retry-repeats-bug",
                f"{joined(bugs)} is retried: refused requests and bugs fail again in the same way",
                "Leave out on=, whose default is what is likely to pass, or name the errors of the service",
            )


def fallback_cannot_take_call(subject: Subject, _: Context) -> Remarks:
    """Remark on a fallback whose parameters do not fit the function's."""
    if subject.fn is None:
        return
    for policy in subject.policies:
        if is_stand_in(policy) and (why := policy.misfit(subject.fn, "all")):
            sentence, _dot, instead = why.partition(". ")
            yield "fallback-cannot-take-call", sentence, instead or "Give it the parameters of the function"


def repeats_a_post(subject: Subject, context: Context) -> Remarks:
    """Remark on a function that is done again although it creates something each time."""
    repeats = any(policy.repeats for policy in subject.policies) or subject.outer is not None
    if subject.fn is None or subject.idempotent is not False or not repeats or subject.kind == "flow":
        return
    if found := posts_of(context.calls.functions):
        yield (
            "retry-of-a-post",
            f"{subject.name} may run twice, and calls {joined(found)}: what it creates may be there twice",
            "Write idempotent=True if the service knows a repeated request (an idempotency key), or drop the retry",
        )


def timeout_cannot_stop(subject: Subject, _: Context) -> Remarks:
    """Remark on a timeout that cannot end the work of an attempt, which is then not retried."""
    if subject.plan is not None and (why := abandoned_attempts(subject.plan)):
        sentence, _dot, instead = why.partition(". ")
        yield "timeout-cannot-stop", sentence, instead


def state_per_process(subject: Subject, context: Context) -> Remarks:
    """Remark on state in the memory of one process, where several processes run."""
    if not context.workers or not context.is_in_memory:
        return
    names = {
        "breaker": "breaker",
        "bulkhead": "bulkhead",
        "rate limit": "rate limit",
    }
    found = [f"{names[policy.slot]} {_title(policy)}" for policy in subject.of_slot(*names) if hasattr(policy, "title")]
    found += [
        f"retry budget {_title(retry.budget)}" for retry in subject.of_slot("retry") if getattr(retry, "budget", None)
    ]
    found += ["single flight" for policy in subject.of_slot("single flight") if getattr(policy, "shared", False)]
    if found:
        yield (
            "state-per-process",
            f"{context.workers}, and the store is in memory: each process has its own {joined(found)}",
            "Write configure(store='redis://host:6379/0'), or 'sqlite:///state.db' for the processes of one machine",
        )


CODES = (
    *("fallback-hides-bug", "retry-repeats-bug", "fallback-cannot-take-call", "retry-of-a-post", "timeout-cannot-stop"),
    "state-per-process",
)
RULES = (
    fallback_hides_bug,
    retry_repeats_bug,
    fallback_cannot_take_call,
    repeats_a_post,
    timeout_cannot_stop,
    state_per_process,
)


def _title(policy: Any) -> str:
    return str(policy.title)


def _bugs(use: Any, on: Any) -> list[str]:
    """Return the names of the rules that match errors of the code itself."""
    rules = [*use] if isinstance(use, Mapping) else [on]
    return [*dict.fromkeys(name for rule in _flat(rules) for name in _as_bug(rule))]


def _flat(rules: Any) -> Iterator[Any]:
    for rule in rules:
        if isinstance(rule, tuple | list | set | frozenset):
            yield from _flat(rule)
        else:
            yield rule


def _as_bug(rule: Any) -> Iterator[str]:
    if rule is Kind.PERMANENT:
        yield "PERMANENT"
    elif inspect.isclass(rule) and (rule is Exception or issubclass(rule, _BUGS)):
        yield rule.__name__
