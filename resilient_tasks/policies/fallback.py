"""Fallback: something that stands in for the result when nothing else helped."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar

from resilient_tasks.core import callables, durations, safely
from resilient_tasks.core.arguments import answering
from resilient_tasks.core.call import NEVER
from resilient_tasks.core.durations import SecondsOrNone
from resilient_tasks.core.errors import PolicyError, PredicateError, judged_in
from resilient_tasks.core.events import FallbackUsed
from resilient_tasks.core.failures import about, describe
from resilient_tasks.core.kinds import Kind
from resilient_tasks.core.limits import cut
from resilient_tasks.core.matching import On, matcher
from resilient_tasks.core.outcome import Degraded, Failed, Ok, Outcome, without_traceback
from resilient_tasks.core.pipeline import Policy, operation_of
from resilient_tasks.core.signatures import Given, signature_of, why_unfit, written
from resilient_tasks.core.wording import short_name_of

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Proceed

#: Bugs and a machine without memory or disk are not papered over.
_DEFAULT = frozenset(Kind) - {Kind.PERMANENT, Kind.RESOURCE}


class _Missing:
    """Tells "no value given" from the value None, also after pickling."""

    def __repr__(self) -> str:
        return "<none given>"

    def __reduce__(self) -> str:
        return "_MISSING"


_MISSING = _Missing()


@answering("Fallback(last_good)", "on", "timeout")
@dataclass(frozen=True, eq=False)
class Fallback(Policy):
    """Let something stand in for the result of a call that failed; the outcome is then `Degraded`, and says why.

    Args:
        use: a function of the call's own arguments; one with a parameter `error` is given the error too. Or a mapping
            from exception types and kinds to such functions: the first that matches, in the mapping's order, is used.
        value: a plain value to stand in, instead of `use`.
        on: which failures it is for, as in `Retry`. Default: every kind but PERMANENT and RESOURCE; a mapping's keys.
        timeout: seconds that the fallback itself may take, also as `"5s"` or a `timedelta`. It runs outside
            the call's deadline.

    A fallback that fails is noted on the original error, which is then raised.

    Raises:
        PolicyError: the arguments are contradictory or impossible.
    """

    slot: ClassVar[str] = "fallback"

    use: Callable[..., Any] | Mapping[Any, Callable[..., Any]] | None = None
    value: Any = field(default=_MISSING, kw_only=True)
    on: On | None = field(default=None, kw_only=True)
    timeout: SecondsOrNone = field(default=durations.default(None), kw_only=True)
    through: tuple[Policy, ...] = field(default=(), kw_only=True, repr=False)
    """Policies that the stand-in must pass like any result: the output schema."""

    def __post_init__(self) -> None:
        if (self.use is None) == (self.value is _MISSING):
            msg = "Fallback takes either a function, Fallback(last_good), or a value, Fallback(value=0)"
            raise PolicyError(msg)
        if isinstance(self.use, Mapping):
            _check_branches(self.use, self.on)
        elif self.use is not None and not callable(self.use):
            msg = (
                f"Fallback(use) is a function of the call's arguments, not {self.use!r}; a value is Fallback(value=...)"
            )
            raise PolicyError(msg)
        durations.settle(self, "timeout")
        if self.on is not None:
            if isinstance(self.on, Iterator):  # it could be read once only, and each failure asks
                object.__setattr__(self, "on", tuple(self.on))
            matcher(self.on, "Fallback(on=...)")

    @property
    def reacts_only(self) -> bool:
        return True

    def describe(self) -> str:
        names = ", ".join(_name(use) for use in self.functions()) or f"value {self.value!r}"
        return f"fallback: {names}"

    def limit_of_stream(self, fn: Callable[..., Any]) -> float | None:
        # Prefect words the end of an async generator itself: nobody would see that it is degraded.
        return None if callables.is_async_generator(fn) else NEVER

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        if why := self.misfit(fn):
            raise PolicyError(why)
        if callables.is_async(fn):
            return
        for use in self.functions():
            if callables.is_async(use):
                msg = (
                    f"{operation_of(fn)} is sync and its fallback {_name(use)} is async: a sync call cannot await it."
                    " Make the fallback a plain function, or the function `async def`"
                )
                raise PolicyError(msg)

    def misfit(self, fn: Callable[..., Any], given: Given = "some") -> str:
        """Say which function cannot take the arguments of `fn`, or nothing; `given` is explained in `why_unfit`."""
        return next((why for use in self.functions() if (why := _misfit(use, fn, given))), "")

    def functions(self) -> tuple[Callable[..., Any], ...]:
        """Return the functions that may stand in."""
        if isinstance(self.use, Mapping):
            return tuple(self.use.values())
        return () if self.use is None else (self.use,)

    def checked_by(self, *policies: Policy) -> Fallback:
        """Return this fallback with policies that its value must pass."""
        return replace(self, through=policies)

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        try:
            outcome = await proceed(call)
        except Exception as problem:  # of a policy further in
            outcome = Failed(problem)
        if not isinstance(outcome, Failed) or call.fenced or call.work.again:
            return outcome
        try:
            found, use = self._chosen(outcome.error)
            if not found:
                return outcome
            stand_in = await self._stand_in(call, use, judged_in(outcome.error))
        except PredicateError as problem:
            return Failed(problem)
        if isinstance(stand_in, Failed):
            safely.note(outcome.error, f"the fallback {_name(use)} failed too: {describe(stand_in.error)}")
            return outcome
        error = outcome.error
        call.emit(
            FallbackUsed,
            fallback=_name(use),
            **about(error),
        )
        try:
            return Degraded(stand_in.value, without_traceback(error))
        finally:
            del outcome, error  # the frame that raised may hold on to this one

    def _chosen(self, error: Exception) -> tuple[bool, Callable[..., Any] | None]:
        if isinstance(self.use, Mapping):
            for rule, use in self.use.items():
                if matcher(rule, "a fallback's key")(error):
                    return True, use
            return False, None
        return matcher(_DEFAULT if self.on is None else self.on, "Fallback(on=...)")(error), self.use

    async def _stand_in(self, call: Call, use: Callable[..., Any] | None, error: BaseException) -> Outcome[Any]:
        async def produce(inner: Call) -> Outcome[Any]:
            if use is None:
                return Ok(self.value)
            work = inner.work
            more = {"error": error} if _takes_error(use, work.fn) else {}
            return await inner.runtime.invoke(use, work.args, {**work.kwargs, **more})

        proceed: Proceed = produce
        for policy in reversed(self.through):
            proceed = _Around(policy, proceed)
        # Outside the deadline, which may well be what brought us here.
        free = call.undue()
        if self.timeout is None:
            return await proceed(free)
        return await cut(free, proceed, policy="fallback timeout", seconds=self.timeout)


@dataclass(frozen=True)
class _Around:
    policy: Policy
    proceed: Proceed

    async def __call__(self, call: Call) -> Outcome[Any]:
        return await self.policy.around(call, self.proceed)


def _misfit(use: Callable[..., Any], fn: Callable[..., Any], given: Given) -> str:
    why = why_unfit(use, fn, ("error",) if _takes_error(use, fn) else (), given=given)
    ours, theirs = signature_of(fn), signature_of(use)
    if not why or ours is None or theirs is None:
        return ""
    of_fn, of_use = written(ours.parameters.values()), written(theirs.parameters.values())
    error = "error" if "error" in theirs.parameters and "error" not in ours.parameters else ""
    wanted = ", ".join(part for part in (of_fn, f"*, {error}" if error else "") if part)
    name = _name(use)
    what, right = (
        (f"{name}({of_use})", f"def {name}({wanted})")
        if name.isidentifier()
        else (f"lambda {of_use}".strip(), f"lambda {wanted}: ...")
    )
    return (
        f"the fallback {what} cannot take the arguments of {operation_of(fn)}({of_fn}): {why}."
        f" A fallback is given the call's own arguments: write {right}, or take *args, **kwargs"
    )


def _takes_error(use: Callable[..., Any], fn: Callable[..., Any]) -> bool:
    if "error" in _parameters(fn):  # then `error` is an argument of the call itself
        return False
    return "error" in _parameters(use)


def _parameters(fn: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    signature = signature_of(fn)
    return {} if signature is None else signature.parameters


def _name(use: Callable[..., Any] | None) -> str:
    return "a fixed value" if use is None else short_name_of(use)


def _check_branches(branches: Mapping[Any, Any], on: object) -> None:
    if on is not None:
        msg = "Fallback(on=...) has no meaning beside a mapping: its keys say which failures each function is for"
        raise PolicyError(msg)
    if not branches:
        msg = "fallback={} has no branch: give {TimedOut: f, ...}, or Fallback(value={}) to return an empty dict"
        raise PolicyError(msg)
    for rule, use in branches.items():
        matcher(rule, "a fallback's key")
        if not callable(use):
            msg = f"the fallback for {rule!r} is a function of the call's arguments, not {use!r}"
            raise PolicyError(msg)
