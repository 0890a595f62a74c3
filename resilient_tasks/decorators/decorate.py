"""The decorator `resilient`, and the plans behind all decorators. Prefect is not needed here."""

from __future__ import annotations

import functools
import sys
import warnings
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field, fields, replace
from types import CodeType, FunctionType, ModuleType
from typing import TYPE_CHECKING, Any, ParamSpec, Protocol, TypeVar, Unpack, overload

from resilient_tasks import core, redaction, safely
from resilient_tasks.core import wrappers
from resilient_tasks.core.call import Work
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.execution import runtime, streams
from resilient_tasks.core.outcome import Outcome
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.pipeline import Pipeline, operation_of
from resilient_tasks.decorators import misuse
from resilient_tasks.decorators.keywords import (
    KEYWORDS,
    PolicyOptions,
    arranged,
    build,
    expanded,
    is_stand_in,
    settled,
    slots_given,
    slots_of,
    without_keywords,
)
from resilient_tasks.observe import logs, otel

if TYPE_CHECKING:
    from resilient_tasks.core.events import Sink
    from resilient_tasks.decorators.named import Named

P = ParamSpec("P")
R = TypeVar("R")
R_co = TypeVar("R_co", covariant=True)
T = TypeVar("T")


class Resilient(Protocol[P, R_co]):
    """A function inside a pipeline. It is called as before; `outcome` returns an `Outcome` instead of raising."""

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
    """The result of a decorator's keywords: the policies in order around `fn`.

    Attributes:
        fn: the undecorated function.
        pipeline: the policies around it.
        idempotent: as given to the decorator.
        operation: the function's name, which identifies its state and events.
        is_async: whether calling the function returns a coroutine, as far as can be known beforehand.
        more: the slots of the policies in `policies=`.
        attempts: the largest number of attempts of one call; 0 if unlimited.
        named: the policy of `policy=`, without its keywords: those are in the pipeline, so a worker process that gets
            this plan needs no file.
        owner: the callable that this plan belongs to. `functools.wraps` copies attributes, so a foreign wrapper has the
            plan of the function that it wraps; only the owner itself may be merged with.
    """

    fn: Callable[..., Any]
    pipeline: Pipeline
    idempotent: bool
    operation: str
    is_async: bool
    more: frozenset[str] = frozenset()
    attempts: int = field(init=False)
    named: Named | None = None
    owner: object = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "attempts", self.pipeline.most_attempts)

    def __setstate__(self, state: list[Any]) -> None:
        for part, value in zip(fields(self), state, strict=True):
            object.__setattr__(self, part.name, value)
        logs.install()  # in a worker, nothing may have been decorated

    def owned_by(self, wrapper: Callable[..., Any]) -> Callable[..., Any]:
        """Attach this plan to its wrapper, and return the wrapper."""
        wrapper.__resilient__ = self  # type: ignore[attr-defined]
        object.__setattr__(self, "owner", wrapper)
        return wrapper

    def work(self, args: tuple[Any, ...], kwargs: Mapping[str, Any], sinks: tuple[Sink, ...] = ()) -> Work:
        """Return the work of one call of the function."""
        how = runtime.ASYNC if self.is_async else runtime.SYNC
        return Work(self.operation, self.fn, args, kwargs, how, self.idempotent, sinks, self.attempts)


@overload
def resilient(fn: Callable[P, R], /) -> Resilient[P, R]: ...
@overload
def resilient(**options: Unpack[PolicyOptions]) -> Callable[[Callable[P, R]], Resilient[P, R]]: ...
def resilient(fn: Callable[..., Any] | None = None, /, **options: Unpack[PolicyOptions]) -> Any:
    """Put policies around a plain function, sync or async. `resilient_task` is the same for a Prefect task.

    The policies are applied in the canonical order, whatever the order of the keywords (`explain(function)` prints it).
    Stacked decorators of this library merge into one pipeline.

    Args:
        fn: the function, if the decorator is used without brackets.
        **options: the policies:

            - `retry=3` or `Retry(...)`: another attempt after a failure that is likely to be temporary.
            - `deadline=120` or `"2 min"`: a limit for all attempts and waits together.
            - `timeout=20` or `Timeout(20, enforce="process")`: a limit for each attempt.
            - `breaker="flights-api"` or `CircuitBreaker(...)`: no calls to a service that is known to be down.
            - `rate_limit=RateLimit("flights-api", calls=10, per=1)`: no more calls than a service allows.
            - `bulkhead=Bulkhead("warehouse", 4)`: a limit for concurrent calls.
            - `hedge=0.2` or `Hedge(...)`: a second call beside one that is slow to answer.
            - `validate=Orders` or `Validate(...)`: reject bad data, or split it off.
            - `fallback=last_good`, `{TimedOut: f}` or `Fallback(...)`: a replacement for the result.
            - `single_flight=True` or `SingleFlight(...)`: concurrent calls with equal arguments share one attempt.
            - `notify=Slack(channel="#ml-alerts")`, several channels, or `Notify(...)`: the channels to alert.
            - `policies=[...]` or a `Pipeline`: further policies.
            - `policy="flights-api"`: the policies of a table in `pyproject.toml` or `resilient_tasks.toml`.
            - `idempotent=True`: doing the work twice does no harm.

    Raises:
        PolicyError: at decoration, if the keywords are contradictory or impossible for this function.
    """
    if fn is None:
        return functools.partial(_decorate, options=options)
    return _decorate(fn, options)


def _decorate(fn: Callable[..., Any], options: PolicyOptions) -> Any:
    logs.install()
    otel.install_if_wanted()
    plan = make_plan(fn, options)
    if not options and not plan.pipeline.policies:
        msg = (
            f"@resilient without a policy changes nothing about {plan.operation}: write @resilient(retry=3, timeout=20)"
        )
        warnings.warn(msg, UserWarning, stacklevel=_own_frames())
    return wrapped(plan)


def wrapped(plan: Plan) -> Any:
    """Return the function of a plan inside its pipeline."""
    if streams.is_stream(plan.fn) and plan.pipeline.policies:
        return plan.owned_by(wrappers.stream(plan))
    return plan.owned_by(wrappers.wrapped(plan))


def make_plan(fn: Callable[..., Any], options: PolicyOptions, decorator: str = "resilient") -> Plan:
    """Build the pipeline for `fn` from the keywords of `decorator` and of the decorators underneath.

    Raises:
        PolicyError: the keywords are contradictory or impossible for this function.
    """
    misuse.refuse_unknown(options, KEYWORDS, decorator=decorator)
    if type(fn) is not FunctionType:
        misuse.refuse_object(fn, decorator)
    options, named = expanded(settled(options))
    inner = plan_of(fn)
    idempotent = _idempotent(options, otherwise=False)
    pipeline = build(options)
    more = slots_given(options)
    if inner is not None:
        fn, idempotent, more = inner.fn, idempotent or inner.idempotent, more | inner.more
        named = named or inner.named
        pipeline = arranged((*pipeline.policies, *inner.pipeline.policies))
    _check(pipeline, fn, idempotent=idempotent, by_prefect=decorator != "resilient")
    if pipeline.policies:
        _load_failure_modules()
    plan = Plan(fn, pipeline, idempotent, operation_of(fn), callables.is_async(fn), more, without_keywords(named))
    _warn_of_abandoned_attempts(plan)
    return plan


def _load_failure_modules() -> tuple[ModuleType, ...]:
    """Import what a failure needs: when one happens, there may be no file handle left to import a module."""
    return core.failures, redaction.exceptions, redaction.values


def _idempotent(options: PolicyOptions, *, otherwise: bool) -> bool:
    given = options.get("idempotent", otherwise)
    if not isinstance(given, bool):
        msg = f"idempotent= is True or False, not {given!r}: True means that doing the work twice does no harm"
        raise PolicyError(msg)
    return given


def _check(pipeline: Pipeline, fn: Callable[..., Any], *, idempotent: bool, by_prefect: bool) -> None:
    """Refuse policies that cannot work. Prefect passes all arguments, and those with a default by name."""
    for policy in pipeline.policies:
        policy.check(fn)
        if is_stand_in(policy) and (why := policy.misfit(fn, "all by name" if by_prefect else "all")):
            if by_prefect:
                raise PolicyError(why)
            warnings.warn(why, UserWarning, stacklevel=_own_frames())
        if policy.needs_idempotent and not idempotent:
            msg = (
                f"{operation_of(fn)} would run twice at once ({policy.describe()}): set idempotent=True if that"
                f" does no harm, or drop {policy!r}"
            )
            raise PolicyError(msg)


def replaced(plan: Plan, options: PolicyOptions) -> Plan:
    """Return `plan` with the policies of `options` in place of those in the same slots.

    A keyword that is None removes its policy; `policies=None` removes those given with `policies=`. `policy=` replaces
    the policies that an earlier `policy=` gave.

    Raises:
        PolicyError: the options are contradictory.
    """
    by_name = "policy" in options
    options, named = expanded(settled(options))
    new = build(options).policies
    gone = {policy.slot for policy in new}.union(*(slots_of(name) for name, value in options.items() if value is None))
    if "policies" in options and not options["policies"]:
        gone |= plan.more
    if by_name and plan.named is not None:
        gone |= plan.named.slots
    kept = [policy for policy in plan.pipeline.policies if policy.slot not in gone]
    if "validate output" in gone:
        kept = [policy.checked_by() if is_stand_in(policy) else policy for policy in kept]
    pipeline = arranged((*kept, *new))
    idempotent = _idempotent(options, otherwise=plan.idempotent)
    _check(pipeline, plan.fn, idempotent=idempotent, by_prefect=True)
    more = plan.more - gone | slots_given(options)
    named = without_keywords(named) if by_name else plan.named
    return replace(plan, pipeline=pipeline, idempotent=idempotent, more=more, named=named, owner=None)


def plan_of(fn: object) -> Plan | None:
    """Return the plan of a decorated function, or None for anything else."""
    plan = safely.attribute(fn, "__resilient__")
    return plan if safely.is_a(plan, Plan) and plan.owner is fn else None


def _warn_of_abandoned_attempts(plan: Plan) -> None:
    if message := abandoned_attempts(plan):
        warnings.warn(message, UserWarning, stacklevel=_own_frames())


def abandoned_attempts(plan: Plan) -> str:
    """Explain why an attempt may be abandoned, which is then not retried; empty if none can be, or it is harmless."""
    if plan.idempotent or not plan.pipeline.repeats:
        return ""
    limits = [policy for policy in plan.pipeline.policies if policy.slot == "timeout"]
    if not any(getattr(policy, "enforce", "") == "auto" for policy in limits):
        return ""
    name = operation_of(plan.fn)
    if not plan.is_async:
        return (
            f"{name} is sync and has a timeout and a retry: in a worker thread Python cannot stop a slow attempt,"
            " and there will be no retry while it may still run. Set idempotent=True if doing the work twice does no"
            ' harm, use Timeout(..., enforce="process") to kill slow attempts, or make the function async'
        )
    if handed_over := _hands_over(getattr(plan.fn, "__code__", None)):
        return (
            f"{name} has a timeout and a retry, and hands work over ({', '.join(handed_over)}): cancelling it does not"
            " stop that work, and there will be no retry while it may still run. Set idempotent=True if doing the work"
            " twice does no harm, or put the timeout with enforce='process' on the sync function that does the work"
        )
    return ""


#: Calls with which an async function hands work over to where cancellation does not reach it.
_HANDS_OVER = frozenset(
    (
        *("to_thread", "run_in_executor", "run_sync", "run_in_threadpool", "sync_to_async", "asyncify", "shield"),
        *("create_subprocess_exec", "create_subprocess_shell", "Popen"),
        *("Thread", "Process", "ThreadPoolExecutor", "ProcessPoolExecutor"),
    )
)


def _hands_over(code: object) -> list[str]:
    """Return the calls that hand work over in a function's code, nested functions included."""
    if not isinstance(code, CodeType):
        return []
    inside = [name for constant in code.co_consts for name in _hands_over(constant)]
    return sorted({*inside, *_HANDS_OVER.intersection(code.co_names)})


def _own_frames() -> int:
    """Return the number of frames up to the user's code, for the `stacklevel` of a warning."""
    frame, level = sys._getframe(), 0  # noqa: SLF001  # inspect.stack() would read every source file
    ours = __name__.partition(".")[0] + "."
    while frame.f_back is not None and frame.f_globals.get("__name__", "").startswith(ours):
        frame, level = frame.f_back, level + 1
    return level
