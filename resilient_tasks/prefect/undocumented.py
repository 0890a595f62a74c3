"""The undocumented parts of Prefect that the library relies on, in one place.

Any of them may change with a release of Prefect. If one is missing, the library warns once what is lost and continues
without it; `tests/with_prefect/test_undocumented.py` shows what a release broke.
"""

from __future__ import annotations

import ast
import asyncio
import functools
import importlib
import inspect
import logging
import sys
import textwrap
import threading
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from dataclasses import dataclass
from types import FrameType
from typing import Any
from uuid import UUID, uuid4

from prefect.client.schemas.objects import State, TaskRun
from prefect.context import FlowRunContext, TaskRunContext
from prefect.results import get_result_store
from prefect.task_runners import ThreadPoolTaskRunner
from prefect.tasks import Task
from prefect.utilities.annotations import NotSet


@dataclass(frozen=True, slots=True)
class Reliance:
    """An undocumented part of Prefect that the library uses.

    Attributes:
        name: its name in Prefect.
        since: the first Prefect version that has it.
        purpose: its use here.
        without: what is lost if it is missing.
    """

    name: str
    since: str
    purpose: str
    without: str


PUBLISH = Reliance(
    name="prefect.utilities.engine.emit_task_run_state_change_event",
    since="3.0.11",
    purpose="publishing AwaitingRetry and Retrying, with their reasons, from inside a task run",
    without="attempts are in the log, not in the state history",
)
TASK_RUN = Reliance(
    name="prefect.context.TaskRunContext.task_run",
    since="3.0.0",
    purpose="the engine's own task run, whose state and run_count the attempts bring forward",
    without="attempts are in the log, not in the state history",
)
ENGINE_READS_FN = Reliance(
    name="prefect.task_engine reads Task.fn to run a task",
    since="3.0.0",
    purpose="giving the engine the function in its pipeline, and all other code the function itself",
    without="inside its own run, task.fn is the function in its pipeline for all code",
)
CALL_SPLIT = Reliance(
    name="prefect.utilities.callables.parameters_to_args_kwargs",
    since="2.0.0",
    purpose="binding arguments as Prefect does, for a function wrapped by another decorator",
    without="arguments of a function wrapped by another decorator are passed by position where possible",
)
SOURCE = Reliance(
    name="prefect.Task.source_code",
    since="3.6.8",
    purpose="keeping a cache that is keyed by the task's source when a policy changes",
    without="changing a policy in the decorator invalidates a cache that is keyed by the task's source",
)
WRITE_ON_COMMIT = Reliance(
    name="prefect.transactions.Transaction.write_on_commit",
    since="3.0.0",
    purpose="keeping results of fallbacks out of the cache",
    without="the result of a fallback is cached like any other",
)
RESULT_RECORD = Reliance(
    name="prefect.results.ResultRecord",
    since="3.0.0",
    purpose="the data of a task's final state, for a direct call to return",
    without="a direct call of a task that recovered or was degraded returns Prefect's record of its result",
)
CANCEL_EVENTS = Reliance(
    name="prefect.task_runners.ThreadPoolTaskRunner._cancel_events",
    since="3.0.0",
    purpose="ending the waits of submitted tasks when their flow run is terminated or cancelled",
    without="a submitted task in a thread continues its attempts although its flow run was terminated",
)
BACKGROUND = Reliance(
    name="prefect._internal.concurrency.threads.get_global_loop",
    since="3.0.0",
    purpose="running callbacks of background tasks that end in a state with a custom name",
    without="callbacks of background tasks that were degraded or timed out are not called",
)
TASK_RUNNER = Reliance(
    name="prefect.context.FlowRunContext.task_runner",
    since="3.0.0",
    purpose="tracking every future that a flow run's task runner creates",
    without="failures of submitted tasks that no code observes go unnoticed, as in plain Prefect",
)
FUTURES = Reliance(
    name="prefect.futures.PrefectTaskRunFuture._final_state",
    since="3.0.0",
    purpose="knowing whether any code has observed the end of a submitted task",
    without="asking a future counts as observing it, even if it had not finished",
)
INTENT = Reliance(
    name="prefect._internal.control_listener.get_intent",
    since="3.8.0",
    purpose="distinguishing a run that a person cancelled from one whose process had to end",
    without="a flow run that was cancelled through its worker is reported as crashed",
)
RAISED = Reliance(
    name="prefect.flow_engine.FlowRunEngine._raised",
    since="3.0.0",
    purpose="returning the result of a repeated attempt that ends with a state, not the error of an earlier one",
    without="a flow with Prefect's retries= has no message in the final state of a repeated attempt",
)
STREAM = Reliance(
    name="prefect.events.worker.PrefectEventsClient",
    since="3.0.0",
    purpose="keeping the states of task runs through an outage of the server, and reporting each outage",
    without="states of task runs that end while the server is away for more than eight seconds may be lost",
)
HAS_CONNECTED = Reliance(
    name="prefect.client.base.PrefectHttpxSyncClient._has_connected",
    since="3.6.0",
    purpose="having subflows, artifacts and tags wait for a server that is away",
    without="a subflow that is called while the server is away fails",
)
RELATED = Reliance(
    name="prefect.events.worker.EventsWorker.attach_related_resources_from_context",
    since="3.0.0",
    purpose="sending states without their flow and deployment while the server is away",
    without="states of task runs may be lost while the server is away",
)
RUN_TELEMETRY = Reliance(
    name="prefect.telemetry.run_telemetry.RunTelemetry",
    since="3.2.0",
    purpose="joining a task run's span to its flow run's from another process, and ending it after a timeout",
    without="with OpenTelemetry, the spans of task runs in other processes begin traces of their own",
)
GIVEN = Reliance(
    name="prefect.task_engine.run_task_sync has parameters",
    since="3.0.0",
    purpose="distinguishing the result of a degraded task from an equal constant among the arguments of a task",
    without="a task may be said to compute from degraded input because of an equal constant",
)

RELIANCES = (
    PUBLISH,
    TASK_RUN,
    ENGINE_READS_FN,
    CALL_SPLIT,
    SOURCE,
    WRITE_ON_COMMIT,
    RESULT_RECORD,
    CANCEL_EVENTS,
    BACKGROUND,
    TASK_RUNNER,
    FUTURES,
    INTENT,
    RAISED,
    STREAM,
    HAS_CONNECTED,
    RELATED,
    RUN_TELEMETRY,
    GIVEN,
)

_warned: set[Reliance] = set()


def warn_once(reliance: Reliance) -> None:
    """Warn once what is lost because this Prefect does not have it."""
    if reliance not in _warned:
        _warned.add(reliance)
        logging.getLogger("resilient_tasks").warning("this Prefect lacks %s: %s", reliance.name, reliance.without)


def find(reliance: Reliance) -> Any:
    """Return the object that `reliance` names; if this Prefect lacks it, warn once and return None."""
    module, _, name = reliance.name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        warn_once(reliance)
        return None


_FINDS = {
    "_publish": PUBLISH,
    "_split": CALL_SPLIT,
    "_record": RESULT_RECORD,
    "_global_loop": BACKGROUND,
    "_intent": INTENT,
}


def _its(name: str) -> Any:
    """Return what `__getattr__` below finds, on first use: looking it up loads Prefect's engines."""
    return getattr(sys.modules[__name__], name)


def __getattr__(name: str) -> Any:
    if name == "_engine_is_known":
        found: Any = _engine_reads_fn()
    elif name in _FINDS:
        found = find(_FINDS[name])
    else:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return globals().setdefault(name, found)


def publish(run: TaskRun, before: State[Any] | None, state: State[Any], follows: Any) -> Any:
    """Publish that `run` went from `before` to `state`; return the event, for the next one to follow."""
    emit = _its("_publish")
    if emit is None:
        return None
    return emit(task_run=run, initial_state=before, validated_state=state, follows=follows)


def engine_run() -> tuple[Task[..., Any], TaskRun] | None:
    """Return the current task and the engine's own record of its run; None outside of runs."""
    context = TaskRunContext.get()
    if context is None:
        return None
    run = getattr(context, "task_run", None)
    if run is None:
        warn_once(TASK_RUN)
        return None
    return context.task, run


_ENGINE = "prefect.task_engine"


def _engine_reads_fn() -> bool:
    """Return whether the engine's functions that run a task exist and read `fn` themselves."""
    with suppress(ImportError, AttributeError):
        engine = importlib.import_module(_ENGINE)
        runners = (engine.SyncTaskRunEngine.call_task_fn, engine.AsyncTaskRunEngine.call_task_fn)
        if all("fn" in runner.__code__.co_names for runner in runners):
            return True
    warn_once(ENGINE_READS_FN)
    return False


def read_by_the_engine(task: object) -> bool:
    """Return whether the engine is reading this attribute of `task`, in order to run it."""
    if _its("_engine_is_known"):
        return bool(sys._getframe(2).f_globals.get("__name__") == _ENGINE)  # noqa: SLF001  # the only way to know
    context = TaskRunContext.get()
    return context is not None and context.task is task


def given_to_the_engine() -> tuple[Mapping[str, Any], Mapping[str, Any] | None] | None:
    """Return the parameters that the engine was given for the current task run, with futures, and the dependencies.

    In its context, futures are replaced by their results. None if it is not found among the callers.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # no context holds them
    while frame is not None:
        if frame.f_globals.get("__name__") == _ENGINE and "parameters" in frame.f_code.co_varnames:
            given = frame.f_locals
            if given.get("parameters") is not None and "task_run_id" in given:
                return given["parameters"], given.get("dependencies")
        frame = frame.f_back
    warn_once(GIVEN)
    return None


def split_call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments as Prefect would pass them to `fn` itself."""
    split = _its("_split")
    if split is None:
        return args, kwargs
    bound: tuple[tuple[Any, ...], dict[str, Any]] = split(
        fn, dict(inspect.signature(fn).bind(*args, **kwargs).arguments)
    )
    return bound


def forget_policies_in_source(task: Task[..., Any], keywords: Collection[str]) -> None:
    """Remove decorators with any of `keywords` from the source that keys Prefect's cache."""
    if not hasattr(task, "source_code"):
        warn_once(SOURCE)
    elif task.source_code is not None:
        task.source_code = _without_decorators(task.source_code, keywords)


def _without_decorators(source: str, keywords: Collection[str]) -> str:
    try:
        (definition,) = ast.parse(textwrap.dedent(source)).body
    except (SyntaxError, ValueError):  # a lambda in the middle of an expression
        return source
    lines = source.splitlines(keepends=True)
    for decorator in reversed(getattr(definition, "decorator_list", ())):
        if isinstance(decorator, ast.Call) and any(keyword.arg in keywords for keyword in decorator.keywords):
            del lines[decorator.lineno - 1 : decorator.end_lineno]
    return "".join(lines)


def outside_the_cache(value: Any) -> Any:
    """Return `value` so that the engine persists it outside of the cache.

    The engine stores a finished record under its own key; a bare value it would store under the cache key.
    """
    from prefect.transactions import get_transaction  # noqa: PLC0415  # loaded by then: the engine is running

    transaction = get_transaction()
    if transaction is None or isinstance(value, State):
        return value
    if not hasattr(transaction, "write_on_commit"):
        warn_once(WRITE_ON_COMMIT)
        return value
    if transaction.write_on_commit and _its("_record") is not None:
        return get_result_store().create_result_record(value, key=uuid4().hex)
    transaction.write_on_commit = False
    return value


def comes_from_the_server(state: State[Any]) -> bool:
    """Return whether a final state was read from the server, which has at most a reference to the result."""
    record = _its("_record")
    return record is not None and not isinstance(state.data, record)


def data_in(state: State[Any]) -> Any:
    """Return the data of a final state of this process, without reading the result storage."""
    data: Any = state.data
    record = _its("_record")
    return data.result if record is not None and isinstance(data, record) else data


def cancelled_by_its_runner() -> Callable[[], None] | None:
    """Return a check that raises as the engine does once the task runner of this flow run is cancelled.

    The engine checks this flag only between its own attempts. None if there is no such flag.
    """
    context = FlowRunContext.get()
    runner = context.task_runner if context is not None else None
    if not isinstance(runner, ThreadPoolTaskRunner):
        return None
    flags = getattr(runner, "_cancel_events", None)
    if flags is None:
        warn_once(CANCEL_EVENTS)
        return None
    flag = next(iter(tuple(flags.values())), None)  # a runner sets all of them together
    return functools.partial(_raise_if_set, flag) if flag is not None else None


def _raise_if_set(flag: threading.Event) -> None:
    if flag.is_set():
        raise asyncio.CancelledError("Task run cancelled by the task runner")


def run_in_background(work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Run `work()` on Prefect's own loop; return False if there is none."""
    loop = _its("_global_loop")
    if loop is None:
        return False
    asyncio.run_coroutine_threadsafe(work(), loop().loop)
    return True


def ended_on_request() -> bool:
    """Return whether the signal that ends this process was announced: its run was cancelled or continues elsewhere."""
    intent = _its("_intent")
    return intent is not None and intent() is not None


_FLOW_ENGINE = "prefect.flow_engine"


def forget_earlier_error(run_id: UUID) -> bool:
    """Make the engine forget the error of an earlier attempt of this flow run; return False if it is not found.

    Otherwise the engine raises that error instead of a state that a later attempt returns.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # no context holds the engine
    while frame is not None:
        if frame.f_globals.get("__name__") == _FLOW_ENGINE:
            engine: Any = frame.f_locals.get("self", frame.f_locals.get("engine"))
            if getattr(getattr(engine, "flow_run", None), "id", None) == run_id and hasattr(engine, "_raised"):
                engine._raised = NotSet  # noqa: SLF001
                return True
        frame = frame.f_back
    warn_once(RAISED)
    return False


#: The methods that the stream's client overrides or calls.
_PARTS = (
    "_reconnect",
    "_auth_handshake",
    "_emit",
    "_checkpoint_loop",
    "_start_checkpoint_task",
    "_stop_checkpoint_task",
)


def replace_events_client(kind: type[Any], other: type[Any]) -> bool:
    """Replace Prefect's events client `kind` with `other`; return False if this Prefect does not allow it."""
    modules = [importlib.import_module(f"prefect.events.{name}") for name in ("worker", "utilities")]
    known = all(hasattr(module, kind.__name__) for module in modules) and all(hasattr(kind, part) for part in _PARTS)
    if not known:
        warn_once(STREAM)
        return False
    for module in modules:
        if getattr(module, kind.__name__) is kind:
            setattr(module, kind.__name__, other)
    return True
