"""The common part of the policies that replace the result of a failed call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Self, TypeVar

from resilient_tasks import safely
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.errors import PolicyError, error_to_judge
from resilient_tasks.core.events import FallbackUsed
from resilient_tasks.core.execution.limits import cut
from resilient_tasks.core.failures import describe
from resilient_tasks.core.outcome import Degraded, Failed, Outcome, without_traceback
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.parameters.signatures import Given, have_same_parameters, signature_of, why_unfit, written
from resilient_tasks.core.pipeline import Policy, operation_of
from resilient_tasks.core.wording import short_name_of

if TYPE_CHECKING:
    from resilient_tasks.core.call import Call, Proceed

S = TypeVar("S", bound="StandIn")

#: Bugs, and a machine without memory or disk, get no stand-in.
DEFAULT = frozenset(Kind) - {Kind.PERMANENT, Kind.RESOURCE}


class StandIn(Policy):
    """A policy in the fallback's slot.

    Attributes:
        through: policies that the stand-in must pass like any result: the output's schema.
    """

    slot: ClassVar[str] = "fallback"
    through: tuple[Policy, ...]

    def functions(self) -> Iterable[Callable[..., Any]]:
        """Return the functions that may stand in."""
        return ()

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        if why := self.misfit(fn):
            raise PolicyError(why)
        if callables.is_async(fn):
            return
        for use in self.functions():
            if callables.is_async(use):
                msg = (
                    f"{operation_of(fn)} is sync and its fallback {short_name_of(use)} is async: a sync call cannot"
                    " await it. Make the fallback a plain function, or the function `async def`"
                )
                raise PolicyError(msg)

    def misfit(self, fn: Callable[..., Any], given: Given = "some") -> str:
        """Explain why a function cannot take the arguments of `fn`; empty if all can. `why_unfit` explains `given`."""
        return next((why for use in self.functions() if (why := misfit(use, fn, given))), "")

    def checked_by(self, *policies: Policy) -> Self:
        """Return a copy of this policy whose value must also pass `policies`."""
        return replace(self, through=policies)  # type: ignore[type-var]  # each of them is a dataclass


async def fall_back(  # the parameters of all such policies
    call: Call,
    failed: Failed,
    produce: Proceed,
    *,
    name: str,
    through: tuple[Policy, ...] = (),
    seconds: float | None = None,
    **details: Any,
) -> Outcome[Any]:
    """Replace `failed` by the result of `produce`. If that fails too, add a note to the error.

    Args:
        call: the call that failed.
        failed: its outcome.
        produce: returns the stand-in. It runs outside the deadline, which may be the reason for the failure.
        name: the stand-in's name, for messages.
        through: policies that the stand-in must pass.
        seconds: the time limit for `produce`.
        **details: further fields of the event.
    """
    stand_in = await _produced(call.without_limits(), produce, through, seconds)
    if isinstance(stand_in, Failed):
        safely.note(failed.error, f"the fallback {name} failed too: {describe(stand_in.error)}")
        return failed
    error = failed.error
    call.emit(FallbackUsed, failed.facts, fallback=name, **details)
    try:
        return Degraded(stand_in.value, without_traceback(error))
    finally:
        del failed, error  # the frame that raised may hold on to this one


async def _produced(call: Call, produce: Proceed, through: tuple[Policy, ...], seconds: float | None) -> Outcome[Any]:
    proceed = produce
    for policy in reversed(through):
        proceed = _Around(policy, proceed)
    if seconds is None:
        return await proceed(call)
    return await cut(call, proceed, policy="fallback timeout", seconds=seconds)


@dataclass(frozen=True)
class _Around:
    policy: Policy
    proceed: Proceed

    async def __call__(self, call: Call) -> Outcome[Any]:
        return await self.policy.around(call, self.proceed)


def calling(use: Callable[..., Any], error: Exception) -> Proceed:
    """Return a function that calls `use` with a call's arguments, and with the error if it has a parameter `error`."""
    judged = error_to_judge(error)

    async def produce(call: Call) -> Outcome[Any]:
        work = call.work
        more = {"error": judged} if _takes_error(use, work.fn) else {}
        return await call.runtime.invoke(use, work.args, {**work.kwargs, **more})

    return produce


def misfit(use: Callable[..., Any], fn: Callable[..., Any], given: Given) -> str:
    """Explain why the fallback `use` cannot take the arguments of `fn`; empty if it can."""
    if have_same_parameters(use, fn):
        return ""
    why = why_unfit(use, fn, ("error",) if _takes_error(use, fn) else (), given=given)
    ours, theirs = signature_of(fn), signature_of(use)
    if not why or ours is None or theirs is None:
        return ""
    of_fn, of_use = written(ours.parameters.values()), written(theirs.parameters.values())
    error = "error" if "error" in theirs.parameters and "error" not in ours.parameters else ""
    wanted = ", ".join(part for part in (of_fn, f"*, {error}" if error else "") if part)
    name = short_name_of(use)
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
