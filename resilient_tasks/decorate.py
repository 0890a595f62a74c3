"""From keywords to a pipeline, and from a function to a resilient one. Prefect is not needed here."""

from __future__ import annotations

import functools
import inspect
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, ParamSpec, Protocol, TypedDict, TypeVar, Unpack, overload

from resilient_tasks.core import call as calls
from resilient_tasks.core import runtime, settings
from resilient_tasks.core.call import Call, Work
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.events import Sink
from resilient_tasks.core.outcome import Failed, Ok, Outcome
from resilient_tasks.core.pipeline import Pipeline, Policy, explain_pipeline, in_order, operation_of
from resilient_tasks.notify.message import Channel
from resilient_tasks.notify.policy import Notify
from resilient_tasks.observe import logs
from resilient_tasks.policies.deadline import Deadline
from resilient_tasks.policies.fallback import Fallback
from resilient_tasks.policies.retry import Retry
from resilient_tasks.policies.timeout import Timeout
from resilient_tasks.policies.validate import Validate

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class PolicyOptions(TypedDict, total=False):
    """The keywords that every decorator of this library takes.

    Attributes:
        retry: a `Retry`, or the number of attempts.
        deadline: a `Deadline`, or its seconds for all attempts and waits.
        timeout: a `Timeout`, or its seconds for each attempt.
        validate: a `Validate`, or a schema for the result.
        fallback: a `Fallback`, a function of the call's arguments, or a mapping from errors to such functions.
        notify: one channel or several that hear of a call that failed or was degraded.
        policies: further policies, put into the canonical order; a `Pipeline` keeps its own order and stands alone.
        idempotent: doing the work twice does no harm, so an attempt may start while an abandoned one still runs.
    """

    retry: Retry | int | None
    deadline: Deadline | float | None
    timeout: Timeout | float | None
    validate: Any
    fallback: Fallback | Callable[..., Any] | Mapping[Any, Callable[..., Any]] | None
    notify: Channel | Iterable[Channel] | None
    policies: Pipeline | Iterable[Policy]
    idempotent: bool


class Resilient(Protocol[P, R_co]):
    """A function inside a pipeline. It is called as before; `outcome` returns what came of it instead of raising."""

    __name__: str

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R_co: ...

    @overload
    def outcome(  # type: ignore[overload-overlap]  # a coroutine function's own outcome is awaited
        self: Resilient[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, Outcome[T]]: ...
    @overload
    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> Outcome[R_co]: ...
    def outcome(self, *args: P.args, **kwargs: P.kwargs) -> Any: ...


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """What a decorator made of its keywords: the policies in order around `fn`.

    Attributes:
        fn: the user's own function.
        pipeline: the policies around it.
        idempotent: as given to the decorator.
        operation: the function's name, by which state and events are found.
        is_async: whether the function is `async def`.
        owner: the callable that this plan belongs to. `functools.wraps` copies attributes, so a foreign wrapper bears
            the plan of what it wraps; only the owner itself may be merged with.
    """

    fn: Callable[..., Any]
    pipeline: Pipeline
    idempotent: bool
    operation: str
    is_async: bool
    owner: list[object] = field(default_factory=list)

    def owned_by(self, wrapper: Callable[..., Any]) -> Callable[..., Any]:
        """Give this plan to the callable that carries it out, and return that."""
        wrapper.__resilient__ = self  # type: ignore[attr-defined]
        self.owner.append(wrapper)
        return wrapper

    def work(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], sinks: tuple[Sink, ...] = ()) -> Work:
        """Return one invocation of the function."""
        how = runtime.ASYNC if self.is_async else runtime.SYNC
        return Work(self.operation, self.fn, args, kwargs, how, self.idempotent, sinks)


@overload
def resilient(fn: Callable[P, R], /) -> Resilient[P, R]: ...
@overload
def resilient(**options: Unpack[PolicyOptions]) -> Callable[[Callable[P, R]], Resilient[P, R]]: ...
def resilient(fn: Callable[..., Any] | None = None, /, **options: Unpack[PolicyOptions]) -> Any:
    """Put policies around a plain function, sync or async. `resilient_task` is the same for a Prefect task.

    The policies stand in the canonical order, whatever the order of the keywords (`explain(function)` prints it).
    Decorators of this kind that are stacked merge into one pipeline.

    Raises:
        PolicyError: at decoration, if the keywords are contradictory or impossible for this function.
    """
    if fn is None:
        return functools.partial(_decorate, options=options)
    return _decorate(fn, options)


def _decorate(fn: Callable[..., Any], options: PolicyOptions) -> Any:
    logs.install()
    plan = make_plan(fn, options)
    return plan.owned_by(_async_wrapper(plan) if plan.is_async else _sync_wrapper(plan))


def make_plan(fn: Callable[..., Any], options: PolicyOptions) -> Plan:
    """Build the pipeline for `fn` from a decorator's keywords, those of a decorator underneath included.

    Raises:
        PolicyError: the keywords are contradictory or impossible for this function.
    """
    for name in options:
        if name not in PolicyOptions.__annotations__:
            msg = f"unknown keyword {name!r}: the policies' keywords are {', '.join(PolicyOptions.__annotations__)}"
            raise PolicyError(msg)
    if not callable(fn):
        msg = f"a decorator of resilient_tasks takes a function, not {fn!r}: options are given by keyword"
        raise PolicyError(msg)
    inner = plan_of(fn)
    idempotent = bool(options.get("idempotent", False))
    pipeline = build(options)
    if inner is not None:
        fn, idempotent = inner.fn, idempotent or inner.idempotent
        pipeline = _arranged((*pipeline.policies, *inner.pipeline.policies))
    for policy in pipeline.policies:
        policy.check(fn)
    plan = Plan(fn, pipeline, idempotent, operation_of(fn), inspect.iscoroutinefunction(fn))
    _warn_of_abandoned_attempts(plan)
    return plan


def replaced(plan: Plan, options: PolicyOptions) -> Plan:
    """Return `plan` with the policies that `options` stand for in the place of their like.

    Raises:
        PolicyError: the options are contradictory.
    """
    new = build(options).policies
    slots = {policy.slot for policy in new}
    kept = [policy for policy in plan.pipeline.policies if policy.slot not in slots]
    pipeline = _arranged((*kept, *new))
    for policy in pipeline.policies:
        policy.check(plan.fn)
    idempotent = bool(options.get("idempotent", plan.idempotent))
    return replace(plan, pipeline=pipeline, idempotent=idempotent, owner=[])


def plan_of(fn: object) -> Plan | None:
    """Return the plan of a decorated function, or None for anything else."""
    plan = getattr(fn, "__resilient__", None)
    return plan if isinstance(plan, Plan) and any(owner is fn for owner in plan.owner) else None


def explain(what: object) -> str:
    """Say what a pipeline, or the pipeline of a decorated function, will do, and what is unusual about its order.

    Raises:
        TypeError: `what` is neither.
    """
    if isinstance(what, Pipeline):
        return explain_pipeline(what)
    plan = plan_of(what) or plan_of(getattr(what, "fn", None))
    if plan is None:
        msg = f"explain takes a Pipeline or a function that a decorator of resilient_tasks made, not {what!r}"
        raise TypeError(msg)
    return explain_pipeline(plan.pipeline)


def build(options: PolicyOptions) -> Pipeline:
    """Build the pipeline that a decorator's keywords stand for.

    Raises:
        PolicyError: the keywords are contradictory.
    """
    more = options.get("policies", ())
    given = [*_from_keywords(options)]
    if isinstance(more, Pipeline):
        if given:
            msg = f"policies=Pipeline(...) keeps its own order, so it stands alone: move {given[0]!r} into it"
            raise PolicyError(msg)
        return more
    if isinstance(more, Policy):
        msg = f"policies=[Retry(...)] takes several policies, or a Pipeline: put {more!r} into a list"
        raise PolicyError(msg)
    return _arranged((*given, *more))


def _from_keywords(options: PolicyOptions) -> Iterable[Policy]:
    retry, deadline, timeout = options.get("retry"), options.get("deadline"), options.get("timeout")
    validate, fallback, notify = options.get("validate"), options.get("fallback"), options.get("notify")
    if retry is not None:
        yield retry if isinstance(retry, Retry) else Retry(attempts=retry)
    if deadline is not None:
        yield deadline if isinstance(deadline, Deadline) else Deadline(deadline)
    if timeout is not None:
        yield timeout if isinstance(timeout, Timeout) else Timeout(timeout)
    if validate is not None:
        yield validate if isinstance(validate, Validate) else Validate(output=validate)
    if fallback is not None:
        yield fallback if isinstance(fallback, Fallback) else Fallback(fallback)
    if notify is not None:
        yield notify if isinstance(notify, Notify) else Notify(notify)


def _arranged(policies: tuple[Policy, ...]) -> Pipeline:
    """Put policies into the canonical order, each in its one place, the fallback's value under the output's schema."""
    parts = [part for policy in Pipeline(*policies).policies for part in policy.parts()]
    seen: dict[str, Policy] = {}
    for policy in parts:
        if policy.slot not in {"custom", "chaos"} and policy.slot in seen:
            msg = f"{policy.slot} is given twice, {seen[policy.slot]!r} and {policy!r}: one of them is too many"
            raise PolicyError(msg)
        seen[policy.slot] = policy
    schema, fallback = seen.get("validate output"), seen.get("fallback")
    if schema is not None and isinstance(fallback, Fallback):
        checked = schema.of_stand_in() if isinstance(schema, Validate) else schema
        parts[parts.index(fallback)] = fallback.checked_by(checked)
    return Pipeline(*in_order(parts))


def _warn_of_abandoned_attempts(plan: Plan) -> None:
    limits = [policy for policy in plan.pipeline.policies if isinstance(policy, Timeout) and policy.enforce == "auto"]
    if limits and plan.pipeline.repeats and not plan.is_async and not plan.idempotent:
        warnings.warn(
            f"{operation_of(plan.fn)} is sync and has a timeout and a retry: in a worker thread Python cannot stop an"
            " attempt that is too slow, and it will not be retried while it may still run. Say idempotent=True if doing"
            " the work twice does no harm, or make the function async, which can be stopped",
            UserWarning,
            stacklevel=_frames_of_ours(),
        )


def _frames_of_ours() -> int:
    """Count the frames up to the user's code, for a warning to point there."""
    frame, level = sys._getframe(), 0  # noqa: SLF001  # inspect.stack() would read every source file
    ours = __name__.partition(".")[0] + "."
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(ours):
        frame, level = frame.f_back, level + 1
    return level


def _sync_wrapper(plan: Plan) -> Callable[..., Any]:
    fn, run, drive = plan.fn, plan.pipeline.run, runtime.drive
    first = Call(plan.work((), {}))
    reacts_only = plan.pipeline.reacts_only

    @functools.wraps(fn)
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not settings.current.enabled:
            return fn(*args, **kwargs)
        if not reacts_only or calls.running.get() is not None:
            return drive(run(plan.work(args, kwargs))).unwrap()
        # No policy acts before the call, so it is made first, and the pipeline entered only if it fails.
        token = calls.running.set(first)  # by its module's name: a context variable in a closure cannot be pickled
        try:
            return fn(*args, **kwargs)
        except Exception as error:
            work = plan.work(args, kwargs)
            work.given = Failed(error)
        finally:
            calls.running.reset(token)
        return drive(run(work)).unwrap()

    def outcome(*args: Any, **kwargs: Any) -> Outcome[Any]:
        if not settings.current.enabled:
            return Ok(fn(*args, **kwargs))
        return drive(run(plan.work(args, kwargs)))

    wrapper.outcome = outcome  # type: ignore[attr-defined]
    return wrapper


def _async_wrapper(plan: Plan) -> Callable[..., Any]:
    fn, run = plan.fn, plan.pipeline.run

    @functools.wraps(fn)
    async def wrapper(*args: Any, **kwargs: Any) -> Any:
        if not settings.current.enabled:
            return await fn(*args, **kwargs)
        return (await run(plan.work(args, kwargs))).unwrap()

    async def outcome(*args: Any, **kwargs: Any) -> Outcome[Any]:
        if not settings.current.enabled:
            return Ok(await fn(*args, **kwargs))
        return await run(plan.work(args, kwargs))

    wrapper.outcome = outcome  # type: ignore[attr-defined]
    return wrapper
