"""Timeout: a time limit for one attempt."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from resilient_tasks.core.call import Enforce
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.execution.limits import cut
from resilient_tasks.core.outcome import Failed
from resilient_tasks.core.parameters import callables, checks, durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.pipeline import Policy, operation_of

if TYPE_CHECKING:
    from resilient_tasks.core.bounds import Bound
    from resilient_tasks.core.call import Call, Proceed
    from resilient_tasks.core.outcome import Outcome
    from resilient_tasks.core.parameters.durations import Duration


@answering("Timeout(20)")
@dataclass(frozen=True, eq=False)
class Timeout(Policy):
    """End an attempt after `seconds`, and report whether its work stopped.

    An async function is cancelled. A sync function in the main thread is interrupted by a signal. In any other thread
    it is interrupted if it runs Python code. A blocking call there cannot be stopped: the resilient call returns on
    time, and the attempt is abandoned (`stopped=False`).

    Args:
        seconds: the limit for each attempt: a number of seconds, a text such as `"20s"`, or a `timedelta`.
        enforce: `"auto"` picks one of the ways above. `"process"` runs a sync function in a child process, which is
            killed at the limit with all its descendants. `"cooperative"` interrupts nothing: the function stays on its
            thread and calls `remaining()`; an overrun is reported, and a late result is kept.

    Raises:
        PolicyError: `seconds` is not a duration above 0, or `enforce` is not one of the values above; at decoration,
            `enforce="process"` does not work for the function or on this system.
    """

    slot: ClassVar[str] = "timeout"

    seconds: float
    enforce: Enforce = "auto"

    if TYPE_CHECKING:

        def __init__(self, seconds: Duration, enforce: Enforce = "auto") -> None: ...

    def __post_init__(self) -> None:
        durations.settle(self, "seconds", where="Timeout(seconds)")
        checks.one_of(self.enforce, get_args(Enforce), "Timeout(enforce=...)")

    def check(self, fn: Callable[..., Any]) -> None:
        super().check(fn)
        if self.enforce != "process":
            return
        if callables.is_async(fn):
            msg = f"{operation_of(fn)} is async, and can be cancelled where it is: drop enforce='process'"
            raise PolicyError(msg)
        if not hasattr(os, "fork"):
            msg = "enforce='process' needs a system that can fork: use enforce='auto' here"
            raise PolicyError(msg)

    def describe(self) -> str:
        return f"timeout: {self.seconds:g} s an attempt, enforce={self.enforce!r}"

    def longest(self, inner: Bound) -> Bound:
        if self.enforce == "cooperative":
            return inner.never_interrupted(
                "nothing interrupts the function, which has to check remaining() (cooperative)"
            )
        return inner.interrupted(self.seconds)

    @property
    def first_limit(self) -> float:
        """Seconds for a first attempt without the pipeline; 0.0 if the limit needs the pipeline."""
        return self.seconds if self.enforce == "auto" else 0.0

    def limit_of_stream(self, fn: Callable[..., Any]) -> float | None:  # noqa: ARG002  # the same for all functions
        return self.seconds if self.enforce == "auto" else None

    async def around(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        if self.enforce == "process":
            return await self._in_a_process(call, proceed)
        if isinstance(call.work.prior_outcome, Failed):  # that attempt was already limited
            return await proceed(call)
        return await cut(call, proceed, policy="timeout", seconds=self.seconds, enforce=self.enforce)

    async def _in_a_process(self, call: Call, proceed: Proceed) -> Outcome[Any]:
        from resilient_tasks.subprocess.runtime import ProcessRuntime  # noqa: PLC0415  # only if needed

        runtime = ProcessRuntime(call.operation)
        try:
            runtime.prepare(call.work.fn, call.remaining())
            return await cut(
                call.changed(runtime=runtime), proceed, policy="timeout", seconds=self.seconds, enforce="process"
            )
        except Exception as error:
            return Failed(error)
        finally:
            runtime.close()
