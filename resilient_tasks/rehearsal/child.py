"""One run of the flow, in a forked child: with its own folder, virtual clock, and the plan's faults."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import signal
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import psutil

from resilient_tasks.core.events import Event, RowsInvalid, RowsWarned, bus
from resilient_tasks.core.execution import limits
from resilient_tasks.core.execution.interrupt import Overrun
from resilient_tasks.core.failures import describe
from resilient_tasks.core.store import MemoryStore
from resilient_tasks.rehearsal import mutation, requests_sent, trace
from resilient_tasks.rehearsal.faults import Plan
from resilient_tasks.rehearsal.injection import Stage, injected
from resilient_tasks.rehearsal.values import flattened
from resilient_tasks.state.states import use_store
from resilient_tasks.subprocess import process_tree
from resilient_tasks.subprocess.runtime import ProcessRuntime
from resilient_tasks.testing.clock import VirtualClock, use_clock

#: Events with which a run says that something is not as usual.
_MARKS = frozenset(
    (
        *("fallback.used", "rows.quarantined", "rows.invalid", "rows.warned", "data.drifted", "input.degraded"),
        *("notify.sent", "notify.suppressed", "notify.failed"),
    )
)


@dataclass(frozen=True)
class Setting:
    """What all runs of a rehearsal share.

    Attributes:
        flow: the flow, a Prefect flow or any function that runs tasks.
        parameters: with which it is called.
        prefect: the address of the Prefect API, as `host:port`.
        slow_seconds: how long an attempt of a task may take before it counts as slow, by the task; by an empty name,
            the same for other limits, such as a flow's.
    """

    flow: Callable[..., Any]
    parameters: Mapping[str, Any]
    prefect: str
    slow_seconds: Mapping[str, float]


def run(setting: Setting, faults: Plan, known: Sequence[tuple[str, str]], folder: Path, path: Path) -> None:
    """Run the flow and write what happens to the trace; the process ends with it.

    Args:
        setting: of all runs.
        faults: to inject.
        known: the calls of the run without faults, see `Stage`.
        folder: to run in.
        path: of the trace.
    """
    os.setsid()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    process_tree.die_with_parent()
    process_tree.adopt_orphans()
    output = os.open(path.with_suffix(".txt"), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.chdir(folder)
    # Whatever is left there is removed with the run's folder.
    tempfile.tempdir = os.environ["TMPDIR"] = str(path.parent)
    modules = {*sys.modules}
    stage = Stage(str(path), faults, known)
    with ExitStack() as until:
        clock = VirtualClock()
        until.enter_context(use_clock(clock))
        until.enter_context(use_store(MemoryStore()))
        _prepare(setting, stage, clock, until)
        until.enter_context(bus.listening(lambda event: _note(event, path)))
        trace.write(str(path), "begin", pid=os.getpid())
        ending = _ending(setting)
        loaded = [name for name in [*sys.modules] if name not in modules]  # threads may still import
        trace.write(str(path), "end", **ending, modules=loaded if not faults else [])
        end()  # without waiting for what would be sent at the end


def _prepare(setting: Setting, stage: Stage, clock: VirtualClock, until: ExitStack) -> None:
    """Prepare this process."""
    from resilient_tasks.prefect import rehearsed  # noqa: PLC0415  # seconds to import: the parent has done so

    def replace(
        fn: Callable[..., Any], task: str, run: rehearsed.TaskRun, *, is_async: bool, policies: tuple[Any, ...]
    ) -> Callable[..., Any]:
        call = stage.call_of(task, run.id, run.parameters, run.limit)
        schema = next(
            (policy for policy in policies if policy.slot == "validate output" and getattr(policy, "output", None)),
            None,
        )
        return injected(fn, stage.attempt(task, call, schema), is_async=is_async)

    rehearsed.replace_functions(replace)
    requests_sent.watch(lambda what: trace.write(stage.path, "sent", what=what), except_to=setting.prefect)
    if any(fault.kind == "slow" for fault in stage.faults):
        _shorten_limits(setting.slow_seconds, clock)
    if any(fault.where == "alerts" for fault in stage.faults):
        _break_channels(stage, until)


def _ending(setting: Setting) -> dict[str, Any]:
    try:
        value = setting.flow(**setting.parameters)
        if inspect.iscoroutine(value):
            value = asyncio.run(value)
    except Exception as error:
        return {"ending": "raised", "error": describe(error)}
    return {"ending": "returned", "values": flattened(value)}


def _note(event: Event, path: Path) -> None:
    if event.operation.endswith(mutation.CHECK):
        return
    if event.name in _MARKS:
        text = f"{event.operation}: {event.name}"
        frame = f"{event.call} {getattr(event, 'part', '')}"
        trace.write(str(path), "mark", text=text, frame=frame, count=_count(event))


def _count(event: Event) -> int:
    """Return of how many rows an event is, or 1."""
    match event:
        case RowsInvalid():
            return event.invalid
        case RowsWarned():
            return sum(event.reasons.values())
        case _:
            return 1


def _shorten_limits(seconds_of: Mapping[str, float], clock: VirtualClock) -> None:
    """Make limits reach slow attempts soon: they wait in real time, and the virtual clock passes what is left."""
    in_time, in_time_async, in_process = limits.in_time, limits.in_time_async, ProcessRuntime.limit

    def shortened(seconds: float, call: Any) -> float:
        attempt = getattr(call.work.fn, "rehearsed", None)
        if attempt is None:
            return min(seconds, seconds_of.get("", seconds))
        return min(seconds, seconds_of.get(attempt.task, 0.05)) if attempt.will_be_slow() else seconds

    def passed(outcome: Any, seconds: float, real: float) -> Any:
        if isinstance(outcome, Overrun):
            clock.advance(max(0.0, seconds - real))
        return outcome

    def sync(work: Any, seconds: float, call: Any, *more: Any, **named: Any) -> Any:
        real = shortened(seconds, call)
        return passed(in_time(work, real, call, *more, **named), seconds, real)

    async def coroutine(work: Any, seconds: float, call: Any, *more: Any, **named: Any) -> Any:
        real = shortened(seconds, call)
        return passed(await in_time_async(work, real, call, *more, **named), seconds, real)

    async def process(self: ProcessRuntime, call: Any, proceed: Any, seconds: float, enforce: Any) -> Any:
        real = seconds if enforce == "cooperative" else shortened(seconds, call)
        return passed(await in_process(self, call, proceed, real, enforce), seconds, real)

    limits.in_time, limits.in_time_async = sync, coroutine  # the process is this run's own
    ProcessRuntime.limit = process  # type: ignore[method-assign]  # as above


def _break_channels(stage: Stage, until: ExitStack) -> None:
    """Let all messages go to their channels, which are down: none is reached."""
    from resilient_tasks.alerts import dispatcher, gate  # noqa: PLC0415  # few plans have this fault

    def deliver(*_: Any, **__: Any) -> Any:
        for fault in stage.faults:
            if fault.where == "alerts":
                trace.write(stage.path, "struck", fault=fault.token)
        raise ConnectionRefusedError("rehearsal: the channel is down")

    dispatcher.deliver = deliver
    until.enter_context(gate.open_to(lambda channel: True))  # noqa: ARG005  # any


def end() -> NoReturn:
    """End this process at once, with threads that still run, and the processes that it has started."""
    with contextlib.suppress(Exception):
        sys.stdout.flush()
        sys.stderr.flush()
    for process in psutil.Process().children():
        process_tree.kill_tree(process)
    os._exit(0)
