"""`@resilient_flow`: Prefect's `@flow`, with policies around the run, and a report of what happened in it."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, TypeVar, Unpack, cast, overload

from prefect.flows import Flow
from prefect.settings import PREFECT_FLOW_DEFAULT_RETRIES
from prefect.utilities.asyncutils import run_coro_as_sync

from resilient_tasks.core import settings
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.execution import runtime, streams
from resilient_tasks.core.keys.fingerprints import STANDS_FOR
from resilient_tasks.core.parameters import callables
from resilient_tasks.decorators import decorate, misuse
from resilient_tasks.decorators.decorate import Plan
from resilient_tasks.decorators.keywords import PolicyOptions
from resilient_tasks.prefect import flow_alerts, loops, methods, raising, runs, undocumented
from resilient_tasks.prefect.flow_run import PLAN, FlowRun, RunConditions, started_run

if TYPE_CHECKING:
    from collections.abc import Callable

    from prefect.flows import FlowStateHook
    from prefect.results import ResultSerializer, ResultStorage
    from prefect.task_runners import TaskRunner

    from resilient_tasks.explanation.explanation import Explanation

P = ParamSpec("P")
R = TypeVar("R")

_POLICIES = PolicyOptions.__annotations__
_CONDITIONS = tuple(part.name for part in fields(RunConditions))
_PREFECTS = frozenset(inspect.signature(Flow.__init__).parameters) - {"self", "fn"}
_RETRIES = ("retries", "retry_delay_seconds")
_HOOKS = tuple(f"on_{state}_hooks" for state in ("completion", "failure", "cancellation", "crashed", "running"))


class FlowOptions(PolicyOptions, total=False):
    """Keywords of `@resilient_flow`: the policies, two for flows only, and those of Prefect's `@flow`."""

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


class ResilientFlow(Flow[P, R]):
    """A Prefect flow whose function runs inside a pipeline, and whose final state counts what happened in it.

    Prefect treats it like any flow. Called outside of Prefect's engine, its `fn` is the bare function.
    """

    fn: Callable[P, R]

    conditions: RunConditions
    isasync: bool
    plan: Plan

    def __init__(self, fn: Callable[P, R], plan: Plan, conditions: RunConditions, **options: Any) -> None:
        super().__init__(fn=fn, **_checked(plan, conditions, options))
        self._install(plan, conditions)

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore a pickled flow, and connect to Prefect: this process may define no flow itself."""
        runs.connect()
        vars(self).update(state)

    def __get__(self, instance: Any, owner: Any) -> ResilientFlow[P, R]:
        """Return the flow as a method of `instance` or of the class `owner`."""
        return methods.bind(self, instance, owner)

    def _install(self, plan: Plan, conditions: RunConditions) -> None:
        # After Prefect has taken name, version, entrypoint and parameters from the user's own function.
        self.plan, self.conditions = plan, conditions
        body = _body_of(plan, conditions)
        vars(body).update(methods.binding_of(self.fn))
        self.fn = body
        self.isasync = plan.is_async or callables.is_async_generator(
            plan.fn
        )  # Prefect does not detect async callable objects

    def validate_parameters(self, parameters: dict[str, Any]) -> dict[str, Any]:
        """Convert the parameters to the types in the function's annotations, as Prefect's flow does.

        Raises:
            prefect.exceptions.ParameterTypeError: a parameter does not fit its annotation.
        """
        # Prefect resolves names in annotations in the module that defines `fn`; the body is defined in this library.
        own = copy.copy(self)
        own.fn = _bare(self.fn)
        return super(ResilientFlow, own).validate_parameters(parameters)

    def with_options(self, **options: Any) -> ResilientFlow[P, R]:
        """Return a copy of this flow with other options, Prefect's or this library's.

        A policy given here replaces the one of its kind, and None removes it (`retry=None`). `policies=None` removes
        those given by `policies=`.

        Raises:
            PolicyError: the options contradict each other or those that stay.
        """
        policies, theirs, new = _split(options)
        plan = decorate.replaced(self.plan, policies) if policies else replace(self.plan, owner=None)
        conditions = replace(self.conditions, **new)
        if loops.has_loop(self.plan) and not loops.has_loop(plan):
            theirs = {"retries": PREFECT_FLOW_DEFAULT_RETRIES.value(), **theirs}
        plain = super().with_options(**_checked(plan, conditions, theirs))
        other = ResilientFlow.__new__(ResilientFlow)
        other.__dict__.update(plain.__dict__)
        # Before 3.9, Prefect shares these lists: a hook added to the copy would run for the original too.
        for hooks in _HOOKS:
            setattr(other, hooks, list(getattr(plain, hooks)))
        methods.keep_kind(other, self)
        other._install(plan, conditions)  # noqa: SLF001  # same class
        return other

    def explain(self) -> Explanation:
        """Explain what this flow's policies will do, and those of its tasks, with remarks on what is unusual."""
        from resilient_tasks.explanation.explanation import explain  # noqa: PLC0415  # few flows are explained

        return explain(self)


@overload
def resilient_flow(fn: Callable[P, R], /) -> ResilientFlow[P, R]: ...
@overload
def resilient_flow(**options: Unpack[FlowOptions]) -> Callable[[Callable[P, R]], ResilientFlow[P, R]]: ...
def resilient_flow(fn: Callable[..., Any] | None = None, /, **options: Unpack[FlowOptions]) -> Any:
    """Make a Prefect flow with policies around the whole run, an accurate final state, and a run report.

    Args:
        fn: the function, if the decorator is used without arguments.
        **options: every keyword of Prefect's `@flow`, two that only flows have, and the policies:

            - `retry=3` or `Retry(...)`: another attempt after a transient failure.
            - `deadline=120` or `"2 min"`: a limit for all attempts and waits together.
            - `timeout=20` or `Timeout(20, enforce="process")`: a limit for each attempt.
            - `breaker="flights-api"` or `CircuitBreaker(...)`: no call to a service that is known to be down.
            - `rate_limit=RateLimit("flights-api", calls=10, per=1)`: no more calls than a service allows.
            - `bulkhead=Bulkhead("warehouse", 4)`: no more calls at once.
            - `hedge=0.2` or `Hedge(...)`: a second call if the first is slow to answer.
            - `validate=Orders` or `Validate(...)`: bad data is stopped or split off.
            - `fallback=last_good`, `{TimedOut: f}` or `Fallback(...)`: a substitute for the result.
            - `single_flight=True` or `SingleFlight(...)`: concurrent calls with equal arguments share one attempt.
            - `notify=Slack(channel="#ml-alerts")`, several channels, or `Notify(...)`: where to send alerts.
            - `policies=[...]` or a `Pipeline`: further policies.
            - `policy="flights-api"`: the policies of a table in `pyproject.toml` or `resilient_tasks.toml`.
            - `idempotent=True`: doing the work twice does no harm.
            - `on_unobserved="fail"` (the default), `"warn"` or `"ignore"`, as in Prefect: how a run ends if a submitted
              task failed and the flow did not check its future.
            - `fail_on_degraded=True`: the run fails if any call in it was degraded.

    A deadline given here covers the run: its function and the resilient tasks in it end by then. If anything failed,
    recovered or was degraded, a Markdown artifact with the key `resilience-report` lists it, worst first, and the final
    state's message counts it.

    `notify` given here sends one alert per run, at its end, with a summary of everything that went wrong inside.

    Raises:
        PolicyError: at decoration, if the keywords are contradictory or impossible for this function.
    """
    if fn is None:
        return functools.partial(_make, options=options)
    return _make(fn, options)


# As with `@flow`: it loads any flow that the source defines.
resilient_flow.from_source = Flow.from_source  # type: ignore[attr-defined]


def _make(fn: Callable[..., Any], options: Mapping[str, Any]) -> ResilientFlow[..., Any]:
    runs.connect()
    policies, theirs, new = _split(options)
    if not isinstance(fn, classmethod | staticmethod):
        plan = decorate.make_plan(_bare(fn), policies, "resilient_flow")
        return ResilientFlow(plan.fn, plan, RunConditions(**new), **theirs)
    plan = decorate.make_plan(fn.__func__, policies, "resilient_flow")
    # Prefect needs the classmethod or staticmethod itself.
    return ResilientFlow(type(fn)(plan.fn), plan, RunConditions(**new), **theirs)


def _split(options: Mapping[str, Any]) -> tuple[PolicyOptions, dict[str, Any], dict[str, Any]]:
    """Split the options into policies, Prefect's own, and those of `RunConditions`."""
    misuse.refuse_unknown(options, (*_POLICIES, *_CONDITIONS), _PREFECTS, "resilient_flow")
    policies = {name: value for name, value in options.items() if name in _POLICIES}
    conditions = {name: value for name, value in options.items() if name in _CONDITIONS}
    theirs = {name: value for name, value in options.items() if name in _PREFECTS}
    return cast("PolicyOptions", policies), theirs, conditions


def _checked(plan: Plan, conditions: RunConditions, options: dict[str, Any]) -> dict[str, Any]:
    """Check `plan` and `conditions`, and return Prefect's options with at most one retry loop."""
    if conditions.on_unobserved not in {"fail", "warn", "ignore"}:
        msg = f'on_unobserved is "fail", "warn" or "ignore", not {conditions.on_unobserved!r}'
        raise PolicyError(msg)
    if not isinstance(conditions.fail_on_degraded, bool):
        msg = f"fail_on_degraded is True or False, not {conditions.fail_on_degraded!r}: any degraded call counts"
        raise PolicyError(msg)
    slots = {policy.slot for policy in plan.pipeline.policies}
    if conditions.fail_on_degraded and "fallback" in slots:
        msg = (
            f"{plan.operation} has a fallback= and fail_on_degraded=True: a stand-in for the whole run would always"
            " be refused. Drop one of them, or put the fallback on a task"
        )
        raise PolicyError(msg)
    return loops.with_one_loop(plan, options, _RETRIES)


def _body_of(plan: Plan, conditions: RunConditions) -> Callable[..., Any]:
    """Return the function that replaces the user's own in Prefect's engine."""
    if callables.is_async_generator(plan.fn):
        body = _async_generator(plan, conditions)
    elif callables.is_generator(plan.fn):
        body = _generator(plan, conditions)
    else:
        body = _async_function(plan, conditions) if plan.is_async else _function(plan, conditions)
    setattr(body, PLAN, plan)
    return body


def _bare(fn: Any) -> Any:
    """Return the user's own function if `fn` is the `fn` of a resilient flow; else return `fn`."""
    plan = getattr(fn, PLAN, None)
    return plan.fn if isinstance(plan, Plan) else fn


def _started(plan: Plan, conditions: RunConditions) -> FlowRun | None:
    return started_run(plan, conditions) if settings.current.enabled else None


def _function(plan: Plan, conditions: RunConditions) -> Callable[..., Any]:
    pipeline = flow_alerts.without_notify(plan.pipeline)

    @functools.wraps(plan.fn)
    def body(*args: Any, **kwargs: Any) -> Any:
        run = _started(plan, conditions)
        if run is None:
            return plan.fn(*args, **kwargs)

        @functools.wraps(plan.fn)
        def attempt(*args: Any, **kwargs: Any) -> Any:
            run.begin()
            value = plan.fn(*args, **kwargs)
            # The engine would await it too, but only after the run has completed.
            return run.resolved(run_coro_as_sync(value) if asyncio.iscoroutine(value) else value)

        setattr(attempt, STANDS_FOR, plan.fn)
        with run.recorded():
            work = run.work(replace(plan, fn=attempt), *_bound_arguments(plan.fn, args, kwargs))
            work.runtime = runtime.STRICT  # the engine would take a coroutine for the result
            return run.with_message(runtime.drive(pipeline.run(work)))

    return body


def _async_function(plan: Plan, conditions: RunConditions) -> Callable[..., Any]:
    pipeline = flow_alerts.without_notify(plan.pipeline)

    @functools.wraps(plan.fn)
    async def body(*args: Any, **kwargs: Any) -> Any:
        run = _started(plan, conditions)
        if run is None:
            return await plan.fn(*args, **kwargs)

        @functools.wraps(plan.fn)
        async def attempt(*args: Any, **kwargs: Any) -> Any:
            run.begin()
            value = await plan.fn(*args, **kwargs)
            # Wait in a thread, so that other coroutines continue and a deadline can interrupt.
            return await asyncio.to_thread(run.resolved, value) if run.unobserved else run.resolved(value)

        setattr(attempt, STANDS_FOR, plan.fn)
        with run.recorded():
            work = run.work(replace(plan, fn=attempt), *_bound_arguments(plan.fn, args, kwargs))
            return run.with_message(await pipeline.run(work))

    return body


def _generator(plan: Plan, conditions: RunConditions) -> Callable[..., Any]:
    pipeline = flow_alerts.without_notify(plan.pipeline)

    @functools.wraps(plan.fn)
    def body(*args: Any, **kwargs: Any) -> Any:
        run = _started(plan, conditions)
        if run is None:
            return (yield from plan.fn(*args, **kwargs))

        @functools.wraps(plan.fn)
        def attempt(*args: Any, **kwargs: Any) -> Any:
            return run.resolved((yield from plan.fn(*args, **kwargs)))

        with run.recorded():
            work = run.work(replace(plan, fn=attempt), *_bound_arguments(plan.fn, args, kwargs))
            return run.with_message((yield from raising.items(streams.items(pipeline, work))))

    return body


def _async_generator(plan: Plan, conditions: RunConditions) -> Callable[..., Any]:
    pipeline = flow_alerts.without_notify(plan.pipeline)

    @functools.wraps(plan.fn)
    async def body(*args: Any, **kwargs: Any) -> Any:
        run = _started(plan, conditions)
        if run is None:
            async for item in plan.fn(*args, **kwargs):
                yield item
            return

        @functools.wraps(plan.fn)
        async def attempt(*args: Any, **kwargs: Any) -> Any:
            async for item in plan.fn(*args, **kwargs):
                yield item
            await asyncio.to_thread(run.resolved, None)

        with run.recorded():
            work = run.work(replace(plan, fn=attempt), *_bound_arguments(plan.fn, args, kwargs))
            async for item in raising.async_items(streams.async_items(pipeline, work)):
                yield item

    return body


def _bound_arguments(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments as Prefect binds them: a wrapped function may have another signature inside."""
    return undocumented.split_call(fn, args, kwargs) if hasattr(fn, "__wrapped__") else (args, kwargs)
