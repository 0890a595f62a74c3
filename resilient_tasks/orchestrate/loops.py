"""One retry loop at most: two multiply, and nobody sees by how much."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.decorate import Plan


def with_one_loop(plan: Plan, options: dict[str, Any], prefects: Iterable[str]) -> dict[str, Any]:
    """Return Prefect's `options`, without a retry loop where `plan` has one.

    Args:
        plan: the policies around the function.
        options: what is to be handed on to Prefect.
        prefects: those of Prefect's keywords that have to do with its own retries.

    Raises:
        PolicyError: both are asked to retry.
    """
    if not any(policy.slot == "retry" for policy in plan.pipeline.policies):
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
