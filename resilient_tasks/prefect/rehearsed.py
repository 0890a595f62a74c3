"""What a rehearsal needs of Prefect: an API in memory for this process, and the functions of tasks as they are run."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from types import MappingProxyType
from typing import Any, Protocol
from uuid import UUID

from prefect import settings
from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import FlowRunFilter, FlowRunFilterState, FlowRunFilterStateName
from prefect.client.schemas.sorting import FlowRunSort
from prefect.context import TaskRunContext
from prefect.events.worker import EventsWorker
from prefect.task_runners import ProcessPoolTaskRunner, ThreadPoolTaskRunner
from prefect.tasks import Task

from resilient_tasks.core import call as calls
from resilient_tasks.core.call import Work
from resilient_tasks.core.parameters import callables
from resilient_tasks.core.pipeline import operation_of
from resilient_tasks.prefect import undocumented
from resilient_tasks.testing._prefect_rules import PrefectInMemory
from resilient_tasks.testing.prefect_api import CERTIFICATE, PrefectApi

_PATIENCE = 120


def send_events() -> None:
    """Send the events that wait. This also ends the worker, which would keep the connection to its first server."""
    EventsWorker.drain_all(timeout=_PATIENCE, at_exit=False)


@contextmanager
def prefect_in_memory() -> Iterator[PrefectApi]:
    """Have the flows and tasks of this process run against an empty API in memory during the block."""
    with PrefectApi(send_events) as api, TemporaryDirectory(prefix="resilient-tasks-") as home:
        in_memory = {
            settings.PREFECT_API_URL: api.url,
            settings.PREFECT_HOME: home,  # for results that tasks persist
            settings.PREFECT_LOGGING_TO_API_ENABLED: False,
        }
        send_events()
        with settings_for_tests(in_memory), _without_process_pools():
            yield api
            send_events()


@contextmanager
def _without_process_pools() -> Iterator[None]:
    """Refuse to run tasks in processes: they would not find the API in memory, and start a server of their own."""

    def refused(runner: object) -> None:
        raise RuntimeError(
            f"{type(runner).__name__} runs tasks in processes, which do not find a Prefect API in memory: run the flow"
            " with a ThreadPoolTaskRunner, or use a real server (in a test the fixture resilient_prefect, for a"
            " rehearsal --prefect server)"
        )

    own = ProcessPoolTaskRunner.__enter__
    ProcessPoolTaskRunner.__enter__ = refused  # type: ignore[assignment]
    try:
        yield
    finally:
        ProcessPoolTaskRunner.__enter__ = own  # type: ignore[method-assign]


class Server:
    """The Prefect API of all runs of a rehearsal.

    Args:
        api: in memory; None if it is a real server.
    """

    def __init__(self, api: PrefectApi | None = None) -> None:
        self._api = api
        self._before: frozenset[UUID] = frozenset()

    @property
    def address(self) -> str:
        """Its `host:port`."""
        return str(settings.PREFECT_API_URL.value() or "").partition("://")[2].partition("/")[0]

    def has_degraded(self) -> bool:
        """Whether a flow run of this run is `Degraded`."""
        if self._api is not None:
            return any(run["state_name"] == "Degraded" for run in self._api.flow_runs)
        return bool(self._degraded() - self._before)

    def forget(self) -> None:
        """Forget all runs and stored results, before the next run."""
        if self._api is not None:
            self._api.memory = PrefectInMemory()
        else:
            self._before = self._degraded()
        shutil.rmtree(settings.PREFECT_LOCAL_STORAGE_PATH.value(), ignore_errors=True)

    def _degraded(self) -> frozenset[UUID]:
        name = FlowRunFilterStateName(any_=["Degraded"])
        with get_client(sync_client=True) as client:
            found = client.read_flow_runs(
                flow_run_filter=FlowRunFilter(state=FlowRunFilterState(name=name)),
                sort=FlowRunSort.START_TIME_DESC,  # the server returns the first 200
            )
        return frozenset(run.id for run in found)


@contextmanager
def server_of(where: str) -> Iterator[Server]:
    """Have the flows of this process, and of those that it forks, run against an API of their own during the block.

    Args:
        where: `memory`, or `server` for a temporary Prefect server.
    """
    if where == "memory":
        with prefect_in_memory() as api:
            yield Server(api)
    else:
        with temporary_server():
            yield Server()


@contextmanager
def settings_for_tests(more: Mapping[Any, Any] = MappingProxyType({})) -> Iterator[None]:
    """Use settings that make runs of tests short, and `more`, during the block."""
    with TemporaryDirectory(prefix="resilient-tasks-") as folder:
        certificate = Path(folder, "certificate.pem")
        certificate.write_text(CERTIFICATE)
        for_tests = {
            # The heartbeat thread delays the end of a flow run by up to a second, and tests do not need it.
            settings.PREFECT_FLOWS_HEARTBEAT_FREQUENCY: None,
            # Prefect reads the certificates for each run, although the URL is not HTTPS.
            settings.PREFECT_API_SSL_CERT_FILE: str(certificate),
        }
        with settings.temporary_settings({**for_tests, **more}):
            yield


@contextmanager
def temporary_server() -> Iterator[None]:
    """Have flows and tasks run against a temporary Prefect server with an empty database during the block."""
    from prefect.testing import utilities  # noqa: PLC0415  # seconds to import, and few need it

    # Otherwise the server contacts a host on the internet, and logs if it cannot.
    os.environ.setdefault("PREFECT_SERVER_ANALYTICS_ENABLED", "false")
    with (
        utilities.prefect_test_harness(server_startup_timeout=_PATIENCE),
        TemporaryDirectory(prefix="resilient-tasks-") as home,
        settings_for_tests({settings.PREFECT_LOCAL_STORAGE_PATH: home}),
    ):
        yield


class Replace(Protocol):
    """Returns what is called in place of a task's function in one task run."""

    def __call__(
        self, fn: Callable[..., Any], task: str, run: TaskRun, *, is_async: bool, policies: tuple[Any, ...]
    ) -> Callable[..., Any]: ...


class TaskRun:
    """The task run that calls a function.

    Attributes:
        id: of the run.
        parameters: of the call.
        limit: Prefect's own limit of an attempt, in seconds; None without one.
    """

    def __init__(self, context: TaskRunContext) -> None:
        self.id: str = str(context.task_run.id)
        self.parameters: dict[str, Any] = dict(context.parameters)
        self.limit: float | None = context.task.timeout_seconds


def replace_functions(replace: Replace) -> None:
    """Have `replace` change the function of every task that this process runs from now on, below its policies."""

    def work_of(work: Work) -> None:
        if (context := TaskRunContext.get()) is not None:
            policies = tuple(getattr(getattr(context.task, "plan", None), "pipeline", _NoPipeline).policies)
            is_async = callables.is_async(work.fn)
            work.fn = replace(work.fn, work.operation, TaskRun(context), is_async=is_async, policies=policies)

    def function_of(task: Any, fn: Callable[..., Any]) -> Callable[..., Any]:
        context = TaskRunContext.get()
        if context is None or context.task is not task:
            return fn
        is_async = callables.is_async(fn)
        return replace(fn, operation_of(fn), TaskRun(context), is_async=is_async, policies=())

    calls.rehearse_work, calls.rehearse_function = work_of, function_of
    Task.fn = property(_plain_function, _set_function)  # type: ignore[assignment, misc]  # the process is a run's own


class _NoPipeline:
    policies = ()


def _plain_function(task: Any) -> Callable[..., Any]:
    fn: Callable[..., Any] = task.__dict__["fn"]
    if calls.rehearse_function is None or not undocumented.read_by_the_engine(task):
        return fn
    return calls.rehearse_function(task, fn)


def _set_function(task: Any, fn: Callable[..., Any]) -> None:
    task.__dict__["fn"] = fn


def runs_elsewhere(flow: object) -> str:
    """Return the name of the flow's task runner if it runs tasks in other processes; else an empty text."""
    runner = getattr(flow, "task_runner", None)
    return "" if runner is None or isinstance(runner, ThreadPoolTaskRunner) else type(runner).__name__
