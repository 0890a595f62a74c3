"""The keywords of `@resilient_task` and `@resilient_flow`, ours and Prefect's, for editors and type checkers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

from resilient_tasks.decorators.keywords import PolicyOptions

if TYPE_CHECKING:
    import datetime as dt
    from collections.abc import Callable, Iterable

    from prefect.assets import Asset
    from prefect.cache_policies import CachePolicy
    from prefect.context import TaskRunContext
    from prefect.flows import FlowStateHook
    from prefect.results import ResultSerializer, ResultStorage
    from prefect.task_runners import TaskRunner
    from prefect.tasks import RetryConditionCallable, StateHookCallable
    from prefect.transactions import Transaction
    from prefect.utilities.annotations import NotSet


class TaskOptions(PolicyOptions, total=False):
    """Keywords of `@resilient_task`: the policies, and those of Prefect's `@task` (3.8 and 3.9)."""

    name: str | None
    description: str | None
    tags: Iterable[str] | None
    version: str | None
    cache_policy: CachePolicy | type[NotSet] | None
    cache_key_fn: Callable[[TaskRunContext, dict[str, Any]], str | None] | None
    cache_expiration: dt.timedelta | None
    task_run_name: Callable[..., str] | str | None
    retries: int | None
    retry_delay_seconds: float | list[float] | Callable[[int], list[float]] | None
    retry_jitter_factor: float | None
    retry_condition_fn: RetryConditionCallable | None
    persist_result: bool | None
    result_storage: ResultStorage | None
    result_storage_key: str | None
    result_serializer: ResultSerializer | None
    cache_result_in_memory: bool
    timeout_seconds: float | None
    log_prints: bool | None
    refresh_cache: bool | None
    on_completion: list[StateHookCallable] | None
    on_failure: list[StateHookCallable] | None
    on_running: list[StateHookCallable] | None
    on_rollback: list[Callable[[Transaction], None]] | None
    on_commit: list[Callable[[Transaction], None]] | None
    viz_return_value: Any
    asset_deps: list[str | Asset] | None


class FlowOptions(PolicyOptions, total=False):
    """Keywords of `@resilient_flow`: the policies, two of its own, and those of Prefect's `@flow`."""

    on_unobserved: Literal["fail", "warn", "ignore"]
    fail_on_degraded: bool
    name: str | None
    version: str | None
    flow_run_name: Callable[[], str] | str | None
    retries: int | None
    retry_delay_seconds: float | None
    task_runner: type[TaskRunner[Any]] | TaskRunner[Any] | None
    description: str | None
    timeout_seconds: float | None
    validate_parameters: bool
    persist_result: bool | None
    result_storage: ResultStorage | str | None
    result_serializer: ResultSerializer | None
    cache_result_in_memory: bool
    log_prints: bool | None
    on_completion: list[FlowStateHook[..., Any]] | None
    on_failure: list[FlowStateHook[..., Any]] | None
    on_cancellation: list[FlowStateHook[..., Any]] | None
    on_crashed: list[FlowStateHook[..., Any]] | None
    on_running: list[FlowStateHook[..., Any]] | None
