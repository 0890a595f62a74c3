"""Everything of Prefect that the library leans on and that Prefect does not document, in one place.

Each of these may change with any release of Prefect. Where one is gone, the library says once what is lost, and goes
on without it; `tests/orchestrate/test_undocumented.py` says which release broke what.
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
    """Something undocumented that the library uses.

    Attributes:
        name: what it is called in Prefect.
        since: the first Prefect that has it.
        purpose: what it is for here.
        without: what is lost where it is gone.
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
    purpose="giving the engine the function in its pipeline, and everybody else the function itself",
    without="inside its own run, task.fn is the function in its pipeline for everybody",
)
CALL_SPLIT = Reliance(
    name="prefect.utilities.callables.parameters_to_args_kwargs",
    since="2.0.0",
    purpose="calling a function that another decorator wrapped with the arguments where Prefect puts them",
    without="the arguments of such a function are passed by position where it takes them so",
)
SOURCE = Reliance(
    name="prefect.Task.source_code",
    since="3.6.8",
    purpose="a cache that is keyed by the task's source survives a change of a policy",
    without="changing a policy in the decorator invalidates a cache that is keyed by the task's source",
)
WRITE_ON_COMMIT = Reliance(
    name="prefect.transactions.Transaction.write_on_commit",
    since="3.0.0",
    purpose="keeping the stand-in of a fallback out of the cache",
    without="the stand-in of a fallback is cached like any other result",
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
    without="a submitted task in a thread goes on with its attempts although its flow run was terminated",
)
BACKGROUND = Reliance(
    name="prefect._internal.concurrency.threads.get_global_loop",
    since="3.0.0",
    purpose="calling back once a task in the background has ended in a state with a name of its own",
    without="callbacks of such a task that was degraded, or timed out, are not called",
)
TASK_RUNNER = Reliance(
    name="prefect.context.FlowRunContext.task_runner",
    since="3.0.0",
    purpose="hearing of every future that a flow run's task runner, which is its own, gives out",
    without="a flow's submitted task that failed unseen goes unnoticed, as without this library",
)
FUTURES = Reliance(
    name="prefect.futures.PrefectTaskRunFuture._final_state",
    since="3.0.0",
    purpose="knowing whether any code has looked at the end of a submitted task",
    without="asking a future counts as having seen, also where it had no answer yet",
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
    purpose="a flow run that completes with a state gives the result of that, not the error of an earlier attempt",
    without="a flow with Prefect's retries= has no words of its own in the final state of a repeated attempt",
)
STREAM = Reliance(
    name="prefect.events.worker.PrefectEventsClient",
    since="3.0.0",
    purpose="the states of task runs outlast an outage of the server, and each outage is known",
    without="states of task runs that end while the server is away for more than eight seconds may be lost",
)
HAS_CONNECTED = Reliance(
    name="prefect.client.base.PrefectHttpxSyncClient._has_connected",
    since="3.6.0",
    purpose="a flow called in a flow, an artifact and a tag wait for a server that is away",
    without="a flow that is called in a flow while the server is away fails",
)
RELATED = Reliance(
    name="prefect.events.worker.EventsWorker.attach_related_resources_from_context",
    since="3.0.0",
    purpose="a state whose flow and deployment cannot be read while the server is away is sent without them",
    without="states of task runs may be lost where the server cannot say to which flow their run belongs",
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
)

_said: set[Reliance] = set()


def say_once(reliance: Reliance) -> None:
    """Tell the user, once, what is lost because this Prefect does not have it."""
    if reliance not in _said:
        _said.add(reliance)
        logging.getLogger("resilient_tasks").warning("this Prefect lacks %s: %s", reliance.name, reliance.without)


def find(reliance: Reliance) -> Any:
    """Return what `reliance` names, or None, said once, where this Prefect does not have it."""
    module, _, name = reliance.name.rpartition(".")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError):
        say_once(reliance)
        return None


_FINDS = {
    "_publish": PUBLISH,
    "_split": CALL_SPLIT,
    "_record": RESULT_RECORD,
    "_global_loop": BACKGROUND,
    "_intent": INTENT,
}


def _its(name: str) -> Any:
    """Return what `__getattr__` below finds. It is looked for with its first use: that loads Prefect's engines."""
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
    """Tell Prefect's server that `run` went from `before` to `state`; return the event, for the next one to follow."""
    emit = _its("_publish")
    if emit is None:
        return None
    return emit(task_run=run, initial_state=before, validated_state=state, follows=follows)


def engine_run() -> tuple[Task[..., Any], TaskRun] | None:
    """Return the task that runs in this context, and the engine's own record of the run; None outside of any run."""
    context = TaskRunContext.get()
    if context is None:
        return None
    run = getattr(context, "task_run", None)
    if run is None:
        say_once(TASK_RUN)
        return None
    return context.task, run


_ENGINE = "prefect.task_engine"


def _engine_reads_fn() -> bool:
    """Tell whether the functions that run a task are where we know them, and read `fn` themselves."""
    with suppress(ImportError, AttributeError):
        engine = importlib.import_module(_ENGINE)
        runners = (engine.SyncTaskRunEngine.call_task_fn, engine.AsyncTaskRunEngine.call_task_fn)
        if all("fn" in runner.__code__.co_names for runner in runners):
            return True
    say_once(ENGINE_READS_FN)
    return False


def asked_by_the_engine(task: object) -> bool:
    """Tell whether the attribute of `task` that is being read is read by the engine, in order to run it."""
    if _its("_engine_is_known"):
        return bool(sys._getframe(2).f_globals.get("__name__") == _ENGINE)  # noqa: SLF001  # the only way to tell
    context = TaskRunContext.get()
    return context is not None and context.task is task


def split_call(
    fn: Callable[..., Any], args: tuple[Any, ...], kwargs: Mapping[str, Any]
) -> tuple[tuple[Any, ...], Mapping[str, Any]]:
    """Return the arguments in the places in which Prefect would pass them to `fn` itself."""
    split = _its("_split")
    if split is None:
        return args, kwargs
    bound: tuple[tuple[Any, ...], dict[str, Any]] = split(
        fn, dict(inspect.signature(fn).bind(*args, **kwargs).arguments)
    )
    return bound


def forget_policies_in_source(task: Task[..., Any], keywords: Collection[str]) -> None:
    """Take the decorators that bear one of `keywords` out of the source by which Prefect's cache knows a task."""
    if not hasattr(task, "source_code"):
        say_once(SOURCE)
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


def kept_apart(value: Any) -> Any:
    """Return `value` as the engine is to keep it: with results that are persisted, but where no cache looks for it.

    The engine takes a finished record as it is, with its key; a bare value it would write under the key of the cache.
    """
    from prefect.transactions import get_transaction  # noqa: PLC0415  # there by then: the engine is running

    transaction = get_transaction()
    if transaction is None or isinstance(value, State):
        return value
    if not hasattr(transaction, "write_on_commit"):
        say_once(WRITE_ON_COMMIT)
        return value
    if transaction.write_on_commit and _its("_record") is not None:
        return get_result_store().create_result_record(value, key=uuid4().hex)
    transaction.write_on_commit = False
    return value


def comes_from_the_server(state: State[Any]) -> bool:
    """Tell whether a final state was read from the server, which has no result, but knows at most where one is."""
    record = _its("_record")
    return record is not None and not isinstance(state.data, record)


def data_in(state: State[Any]) -> Any:
    """Return the data of a final state of this process, without asking the result's storage."""
    data: Any = state.data
    record = _its("_record")
    return data.result if record is not None and isinstance(data, record) else data


def cancelled_by_its_runner() -> Callable[[], None] | None:
    """Return a check that raises, as the engine itself does, once the task runner of this thread's flow run gives up.

    The engine looks at this flag between its own attempts only. None where there is no such flag.
    """
    context = FlowRunContext.get()
    runner = context.task_runner if context is not None else None
    if not isinstance(runner, ThreadPoolTaskRunner):
        return None
    flags = getattr(runner, "_cancel_events", None)
    if flags is None:
        say_once(CANCEL_EVENTS)
        return None
    flag = next(iter(tuple(flags.values())), None)  # a runner sets them all together
    return functools.partial(_raise_if_set, flag) if flag is not None else None


def _raise_if_set(flag: threading.Event) -> None:
    if flag.is_set():
        raise asyncio.CancelledError("Task run cancelled by the task runner")


def run_in_background(work: Callable[[], Coroutine[Any, Any, None]]) -> bool:
    """Have Prefect's own loop run `work()`; False where there is no way to ask it."""
    loop = _its("_global_loop")
    if loop is None:
        return False
    asyncio.run_coroutine_threadsafe(work(), loop().loop)
    return True


def ended_on_request() -> bool:
    """Tell whether the signal that ends this process was announced: its run was cancelled, or goes on elsewhere."""
    intent = _its("_intent")
    return intent is not None and intent() is not None


_FLOW_ENGINE = "prefect.flow_engine"


def forget_earlier_error(run_id: UUID) -> bool:
    """Have the engine forget what an earlier attempt of this flow run raised; False where it cannot be found.

    The engine raises that error in the place of a state that a later attempt returns.
    """
    frame: FrameType | None = sys._getframe(1)  # noqa: SLF001  # the engine is in no context
    while frame is not None:
        if frame.f_globals.get("__name__") == _FLOW_ENGINE:
            engine: Any = frame.f_locals.get("self", frame.f_locals.get("engine"))
            if getattr(getattr(engine, "flow_run", None), "id", None) == run_id and hasattr(engine, "_raised"):
                engine._raised = NotSet  # noqa: SLF001
                return True
        frame = frame.f_back
    say_once(RAISED)
    return False


#: What the stream's client builds on.
_PARTS = (
    "_reconnect",
    "_auth_handshake",
    "_emit",
    "_checkpoint_loop",
    "_start_checkpoint_task",
    "_stop_checkpoint_task",
)


def replace_events_client(kind: type[Any], other: type[Any]) -> bool:
    """Have Prefect use `other` as its client of a stream of events in the place of `kind`; False where it cannot."""
    modules = [importlib.import_module(f"prefect.events.{name}") for name in ("worker", "utilities")]
    known = all(hasattr(module, kind.__name__) for module in modules) and all(hasattr(kind, part) for part in _PARTS)
    if not known:
        say_once(STREAM)
        return False
    for module in modules:
        if getattr(module, kind.__name__) is kind:
            setattr(module, kind.__name__, other)
    return True
