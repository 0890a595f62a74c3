"""Prefect's own retries beside the library's policies.

Two retry loops would multiply without any sign of it: they are refused. A policy that stands outside of `retry=`
acts on the end of all attempts, so it has to know whether Prefect makes another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.decorate import Plan
from resilient_tasks.orchestrate import undocumented


def with_one_loop(plan: Plan, options: dict[str, Any], prefects: Iterable[str]) -> dict[str, Any]:
    """Return Prefect's `options`, without a retry loop where `plan` has one.

    Args:
        plan: the policies around the function.
        options: what is to be handed on to Prefect.
        prefects: those of Prefect's keywords that have to do with its own retries.

    Raises:
        PolicyError: both are asked to retry.
    """
    if not has_loop(plan):
        return options
    for name in prefects:
        if options.get(name):
            msg = (
                f"{plan.operation} has both retry= and Prefect's {name}=: two retry loops multiply."
                f" Keep retry=Retry(attempts=..., wait=...) and drop {name}="
            )
            raise PolicyError(msg)
    # Also against Prefect's settings PREFECT_TASK_DEFAULT_RETRIES and PREFECT_FLOW_DEFAULT_RETRIES.
    return {**options, "retries": 0}


def has_loop(plan: Plan) -> bool:
    """Tell whether `plan` has a retry loop of its own."""
    return any(policy.slot == "retry" for policy in plan.pipeline.policies)


def check_condition(plan: Plan, condition: Callable[..., Any] | None) -> None:
    """Refuse a condition of Prefect's retries where a policy has to know beforehand whether another attempt follows.

    Raises:
        PolicyError: there is one beside `fallback=` or `notify=`.
    """
    found = {policy.slot for policy in plan.pipeline.policies} & {"fallback", "notify"}
    if condition is not None and found:
        msg = (
            f"{plan.operation} has {' and '.join(f'{name}=' for name in sorted(found))} beside Prefect's"
            " retry_condition_fn=: whether an attempt was the last is not known before Prefect asks that function."
            " Replace retries= and retry_condition_fn= by retry=Retry(attempts=..., on=...)"
        )
        raise PolicyError(msg)


def is_tried_again() -> bool | None:
    """Tell whether Prefect makes another attempt at the running task, if this one fails.

    None where a `retry_condition_fn` decides that.
    """
    found = undocumented.engine_run()
    if found is None:
        return False
    task, run = found
    if run.run_count > task.retries:
        return False
    return True if task.retry_condition_fn is None else None
