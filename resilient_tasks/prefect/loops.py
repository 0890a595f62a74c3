"""Prefect's own retries beside the library's policies.

Two retry loops would multiply silently, so they are refused. A policy outside of `retry=` acts after the last attempt,
so it has to know whether Prefect makes another one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.decorators.decorate import Plan
from resilient_tasks.prefect import undocumented


def with_one_loop(plan: Plan, options: dict[str, Any], prefects: Iterable[str]) -> dict[str, Any]:
    """Return Prefect's `options`, with its retries switched off if `plan` has a retry loop.

    Args:
        plan: the policies around the function.
        options: the options for Prefect.
        prefects: Prefect's keywords for its own retries.

    Raises:
        PolicyError: both have retries.
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
    # Overrides Prefect's settings PREFECT_TASK_DEFAULT_RETRIES and PREFECT_FLOW_DEFAULT_RETRIES as well.
    return {**options, "retries": 0}


def has_loop(plan: Plan) -> bool:
    """Return whether `plan` has a retry loop."""
    return any(policy.slot == "retry" for policy in plan.pipeline.policies)


def check_condition(plan: Plan, condition: Callable[..., Any] | None) -> None:
    """Refuse Prefect's `retry_condition_fn` beside a policy that must know whether another attempt follows.

    Raises:
        PolicyError: it is given beside `fallback=` or `notify=`.
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
    """Return whether Prefect retries the running task if this attempt fails.

    None if a `retry_condition_fn` decides that.
    """
    found = undocumented.engine_run()
    if found is None:
        return False
    task, run = found
    if run.run_count > task.retries:
        return False
    return True if task.retry_condition_fn is None else None
