"""Injects the faults of a plan into the tasks of this process, below their policies. Runs in the child of a run."""

from __future__ import annotations

import asyncio
import functools
import itertools
import os
import signal
import threading
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any, NamedTuple

from resilient_tasks.core.execution import real_time
from resilient_tasks.rehearsal import mutation, trace
from resilient_tasks.rehearsal.errors import error_of
from resilient_tasks.rehearsal.faults import Fault, Plan
from resilient_tasks.rehearsal.values import digest

#: How long a slow call waits if nothing stops it: longer than any run may take.
_FOR_EVER = 3600.0


class Attempt(NamedTuple):
    """What one call of a task needs to know, in whatever process it runs.

    Attributes:
        path: of the trace.
        task: the task's operation.
        call: its number.
        faults: of this call.
        schema: what its result has to satisfy; None if there is none.
    """

    path: str
    task: str
    call: int
    faults: tuple[Fault, ...]
    schema: Any = None

    def begin(self) -> tuple[int, tuple[Fault, ...]]:
        """Note that an attempt begins; return its number, and the faults for it."""
        number = 1
        if self.faults:
            number += sum(
                1
                for line in trace.read(self.path)
                if line["do"] == "attempt" and (line["task"], line["call"]) == (self.task, self.call)
            )
        trace.write(self.path, "attempt", task=self.task, call=self.call)
        return number, tuple(fault for fault in self.faults if fault.strikes(number))

    def will_be_slow(self) -> bool:
        """Whether the next attempt will be slow."""
        if not any(fault.kind == "slow" for fault in self.faults):
            return False
        lines = trace.read(self.path)
        done = sum(
            1 for line in lines if line["do"] == "attempt" and (line["task"], line["call"]) == (self.task, self.call)
        )
        return any(fault.kind == "slow" and fault.strikes(done + 1) for fault in self.faults)

    def strike(self, fault: Fault) -> None:
        """Note that a fault is injected now."""
        trace.write(self.path, "struck", fault=fault.token)

    def ended(self, seconds: float) -> None:
        """Note how long the function took."""
        trace.write(self.path, "ended", task=self.task, seconds=round(seconds, 4))


class Stage:
    """The tasks' calls of one run.

    Args:
        path: of the trace.
        faults: of the plan.
        known: the calls of the run without faults, in order: the task and the digest of its arguments. Empty in that
            run itself.
    """

    def __init__(self, path: str, faults: Plan, known: Sequence[tuple[str, str]] = ()) -> None:
        self.path = path
        self.faults = faults
        self._known: dict[str, list[str]] = {}
        for task, arguments in known:
            self._known.setdefault(task, []).append(arguments)
        self._taken: dict[str, set[int]] = {}
        self._calls: dict[str, int] = {}
        self._lock = threading.Lock()

    def call_of(self, task: str, run_id: str, parameters: Mapping[str, Any], limit: float | None) -> int:
        """Return the number of a call of a task: that of the same call in the run without faults, else the first left.

        Args:
            task: the task's operation.
            run_id: of its task run: attempts of one run are one call.
            parameters: of the call.
            limit: Prefect's own limit around it, in seconds.
        """
        with self._lock:
            if run_id in self._calls:
                return self._calls[run_id]
            arguments = digest(dict(parameters))
            taken = self._taken.setdefault(task, set())
            free = (number for number in itertools.count(1) if number not in taken)
            same = (
                number
                for number, other in enumerate(self._known.get(task, ()), 1)
                if other == arguments and number not in taken
            )
            number = next(itertools.chain(same, free))
            taken.add(number)
            self._calls[run_id] = number
        trace.write(self.path, "call", task=task, arguments=arguments, call=number, limit=limit)
        return number

    def attempt(self, task: str, call: int, schema: Any) -> Attempt:
        """Return what the function of a call needs to know."""
        mine = tuple(fault for fault in self.faults if (fault.task, fault.call) == (task, call))
        return Attempt(self.path, task, call, mine, schema)


def injected(fn: Callable[..., Any], attempt: Attempt, *, is_async: bool) -> Callable[..., Any]:
    """Return `fn` with the faults of a call in it, and the call as `rehearsed`."""
    inside: Any = _async(fn, attempt) if is_async else _sync(fn, attempt)
    functools.update_wrapper(inside, fn)
    inside.rehearsed = attempt
    replacement: Callable[..., Any] = inside
    return replacement


def _sync(fn: Callable[..., Any], attempt: Attempt) -> Callable[..., Any]:
    def function(*args: Any, **kwargs: Any) -> Any:
        _, faults = attempt.begin()
        for fault in faults:
            if _before(fault, attempt, fn):
                real_time.sleep(_FOR_EVER)
        began = real_time.monotonic()
        value = fn(*args, **kwargs)
        attempt.ended(real_time.monotonic() - began)
        for fault in faults:
            value, is_slow = _after(fault, attempt, fn, value)
            if is_slow:
                real_time.sleep(_FOR_EVER)
        return value

    return function


def _async(fn: Callable[..., Any], attempt: Attempt) -> Callable[..., Coroutine[Any, Any, Any]]:
    async def coroutine(*args: Any, **kwargs: Any) -> Any:
        _, faults = attempt.begin()
        for fault in faults:
            if _before(fault, attempt, fn):
                await asyncio.sleep(_FOR_EVER)
        began = real_time.monotonic()
        value = await fn(*args, **kwargs)
        attempt.ended(real_time.monotonic() - began)
        for fault in faults:
            value, is_slow = _after(fault, attempt, fn, value)
            if is_slow:
                await asyncio.sleep(_FOR_EVER)
        return value

    return coroutine


def _before(fault: Fault, attempt: Attempt, fn: Callable[..., Any]) -> bool:
    """Inject a fault before the function is called; return whether it is slow."""
    if fault.where != "before":
        return False
    attempt.strike(fault)
    return _happens(fault, fn)


def _after(fault: Fault, attempt: Attempt, fn: Callable[..., Any], value: Any) -> tuple[Any, bool]:
    """Inject a fault after the function was called; return what it returns then, and whether it is slow."""
    if fault.where == "data":
        changed = mutation.mutated(value, fault.kind, attempt.schema)
        if changed is mutation.NONE:
            return value, False
        attempt.strike(fault)
        return changed, False
    if fault.where != "after":
        return value, False
    attempt.strike(fault)
    return value, _happens(fault, fn)


def _happens(fault: Fault, fn: Callable[..., Any]) -> bool:
    if fault.kind == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if fault.kind == "slow":
        return True
    raise error_of(fault.kind, fn)
