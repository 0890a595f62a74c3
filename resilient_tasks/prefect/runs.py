"""Prefect as the host of calls: the current run, for events, log lines, alerts and waits; and the run's log."""

from __future__ import annotations

import logging
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext, suppress
from pathlib import Path
from typing import Any
from uuid import UUID

import prefect
from prefect.context import FlowRunContext, SettingsContext, TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_UI_URL

from resilient_tasks import safely
from resilient_tasks.core import events, host, settings
from resilient_tasks.core.call import Work
from resilient_tasks.core.host import Check, Host, Loop, Results
from resilient_tasks.observe import journal, lines, logs, otel
from resilient_tasks.prefect import outages, run_spans, undocumented


def is_in_a_run() -> bool:
    """Whether this thread is in a flow run or a task run."""
    return TaskRunContext.get() is not None or FlowRunContext.get() is not None


class PrefectHost(Host):
    """The current Prefect run, read from Prefect's contexts."""

    def run(self) -> Mapping[str, str]:
        found: dict[str, str] = {}
        task_context, flow_context = TaskRunContext.get(), FlowRunContext.get()
        if flow_context is not None and flow_context.flow_run is not None:
            found.update(flow_run_id=str(flow_context.flow_run.id), flow_run=flow_context.flow_run.name)
        if task_context is not None:
            run = task_context.task_run
            found.update(task_run_id=str(run.id), task_run=run.name)
            if run.flow_run_id is not None:
                found["flow_run_id"] = str(run.flow_run_id)
        if found:
            _remembered.settings = SettingsContext.get()
        if found and (base := PREFECT_UI_URL.value()):
            kind, run_id = ("task", found["task_run_id"]) if task_context else ("flow", found["flow_run_id"])
            found["url"] = f"{base}/runs/{kind}-run/{run_id}"
        return found

    def in_run(self) -> bool:
        return is_in_a_run()

    def flow(self) -> host.Flow:
        flow, task = FlowRunContext.get(), TaskRunContext.get()
        tags: set[str] = set()
        if flow is not None and flow.flow_run is not None:
            tags.update(flow.flow_run.tags)
        if task is not None:
            tags.update(task.task_run.tags)
        return host.Flow(flow.flow.name if flow is not None and flow.flow is not None else "", frozenset(tags))

    def loops(self) -> tuple[Loop, ...]:
        flow, task = FlowRunContext.get(), TaskRunContext.get()
        found = []
        if flow is not None and flow.flow is not None and flow.flow.retries:
            found.append(Loop(f"flow {flow.flow.name}", flow.flow.retries + 1))
        if task is not None and task.task.retries:
            found.append(Loop(f"task {task.task.name}", task.task.retries + 1))
        return tuple(found)

    def watch(self) -> Check | None:
        return undocumented.cancelled_by_its_runner()

    def is_of_run(self, work: Work) -> bool:
        from resilient_tasks.prefect import flow_run  # noqa: PLC0415  # it imports this module

        return bool(work.sinks) or flow_run.is_of_run(work)

    def results(self) -> Results | None:
        from resilient_tasks.prefect import blocks  # noqa: PLC0415  # only needed to keep results

        return blocks.results_of_this_run()


class RunLogHandler(logging.Handler):
    """Forwards the library's log lines to the log of their Prefect run, or to the console outside of runs."""

    def __init__(self) -> None:
        super().__init__()
        self._console: logging.Handler | None = None  # created on first use, with the stderr of that time

    def emit(self, record: logging.LogRecord) -> None:
        logger = _logger_of(record)
        if logger is None:
            self._console = self._console or logs.console_handler()
            self._console.handle(record)
        elif not _repeats_final_state(record):
            # As attributes, too: an application's own handler may write JSON.
            own = vars(record)
            about: dict[str, Any] = {name: own[name] for name in ("operation", "attempt") if name in own}
            with nullcontext() if is_in_a_run() else _remembered.context():
                logger.log(record.levelno, "%s", _text(record), exc_info=record.exc_info, extra=about)


class _Remembered:
    """Prefect's settings in the newest run of this process.

    A thread that outlives runs, such as the sender of alerts, has the settings of the process. On a worker of Dask or
    Ray these may name no server: a line for the log of a run would have Prefect start one there.
    """

    settings: SettingsContext | None = None

    def context(self) -> AbstractContextManager[object]:
        """Return a context with them."""
        if self.settings is None:
            return nullcontext()
        return SettingsContext(profile=self.settings.profile, settings=self.settings.settings)


_remembered = _Remembered()


def _logger_of(record: logging.LogRecord) -> logging.LoggerAdapter[Any] | logging.Logger | None:
    """Return the logger of the current run, or of the run named in the record; None if there is neither.

    An alert may be delivered after its run has ended.
    """
    try:
        return get_run_logger()
    except MissingContextError:
        attributes = vars(record)
    ids = {name: attributes[name] for name in ("flow_run_id", "task_run_id") if _is_id(attributes.get(name))}
    if not ids:
        return None
    about: dict[str, Any] = {**ids, "flow_run_name": attributes.get("flow_run", ""), "flow_name": ""}
    if not threading.main_thread().is_alive():  # at exit, no thread can be started to send log lines to the API
        about["send_to_api"] = False
    if "task_run_id" not in ids:
        return logging.LoggerAdapter(logging.getLogger("prefect.flow_runs"), about)
    about |= {"task_run_name": attributes.get("task_run", ""), "task_name": ""}
    return logging.LoggerAdapter(logging.getLogger("prefect.task_runs"), about)


def _is_id(value: object) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


#: Events whose sentence is in the message of the final state.
_IN_THE_FINAL_STATE = {events.RetryRecovered.name, events.InputDegraded.name}


def _repeats_final_state(record: logging.LogRecord) -> bool:
    """Return whether it repeats Prefect's own last line of the task run: a log line costs a third of an attempt."""
    attributes, context = vars(record), TaskRunContext.get()
    if attributes.get("event.name") not in _IN_THE_FINAL_STATE or context is None:
        return False
    plan = getattr(context.task, "plan", None)
    return plan is not None and attributes.get("operation") == plan.operation


# Prefect's log line or the sentence itself has these already.
_REPEATED = {"flow_run_id", "flow_run", "task_run_id", "task_run", "operation"}


def _text(record: logging.LogRecord) -> str:
    text, extra = record.getMessage(), lines.extra_of(record)
    if "event.name" not in extra:  # a custom line
        return " ".join([text, *(f"{name}={value!r}" for name, value in extra.items() if name not in _REPEATED)])
    attempt = extra.get("attempt", 1)
    return text if attempt == 1 or "attempt" in text else f"{text} [attempt {attempt}]"


#: The most ids to remember.
_ROOM = 4096
#: Ids of this process's latest task and flow runs whose error was logged at ERROR.
_logged: OrderedDict[str, None] = OrderedDict()

#: The attribute of an error that holds the id of the flow run in which it was logged.
_LOGGED_IN = "__resilient_logged_in__"

#: The files of Prefect's engines: records from other files are the user's and stay as they are.
_ENGINES = {str(Path(prefect.__file__).with_name(f"{kind}_engine.py")) for kind in ("task", "flow")}


def _install_filters() -> None:
    """Add the filters to Prefect's run loggers: one record at ERROR for a failed task, the one with the traceback.

    Each record has the operation and the attempt, beside the ids that Prefect adds.

    Prefect logs two: the error with its traceback, and the final state with the same text; for a `TimeoutError`, three.
    A flow run that fails with the same error adds one more, and an async flow two. For a resilient task, the others are
    logged at INFO, as Prefect logs the final state of a flow run.
    """
    for name, lower in (("prefect.task_runs", _lower_task_repeats), ("prefect.flow_runs", _lower_flow_repeats)):
        logger = logging.getLogger(name)
        if lower not in logger.filters:
            logger.addFilter(lower)
            logger.addFilter(logs.Ids())


def _lower_task_repeats(record: logging.LogRecord) -> bool:
    """Lower the level of records that repeat the one with the traceback; let every record pass."""
    if record.levelno != logging.ERROR or not settings.current.enabled:
        return True
    attributes, context = vars(record), TaskRunContext.get()
    run = str(attributes.get("task_run_id"))
    if record.exc_info:
        if context is not None and hasattr(context.task, "plan") and str(context.task_run.id) == run:
            _note(run)
            _mark(sys.exc_info()[1], str(attributes.get("flow_run_id")))
    elif run in _logged and record.pathname in _ENGINES:
        _lower(record)
    return True


def _lower_flow_repeats(record: logging.LogRecord) -> bool:
    """As `_lower_task_repeats`, for a flow run that failed with the logged error of one of its tasks."""
    if record.levelno != logging.ERROR or not settings.current.enabled or record.pathname not in _ENGINES:
        return True
    run, error = str(vars(record).get("flow_run_id")), sys.exc_info()[1]
    if error is not None and safely.attribute(error, _LOGGED_IN) == run:
        _note(run)
        _lower(record)
    elif run in _logged and not record.exc_info:
        _lower(record)
    return True


def _note(run: str) -> None:
    _logged[run] = None
    while len(_logged) > _ROOM:
        _logged.popitem(last=False)


def _mark(error: Any, flow_run: str) -> None:
    with suppress(Exception):  # an error in a log filter would fail the run
        vars(error)[_LOGGED_IN] = flow_run  # a frozen dataclass refuses assignment


def _lower(record: logging.LogRecord) -> None:
    record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)


def connect() -> None:
    """Make Prefect the host of this process's calls: their events reach its logs and carry its ids.

    Call this when a task or flow is created or unpickled.
    """
    logs.install()
    journal.install()
    otel.install_if_wanted()
    if not host.install(PrefectHost()):
        return
    import prefect.main  # noqa: F401, PLC0415  # its models and logs, needed to run a task but not to import one

    _install_filters()
    run_spans.complete()
    outages.install()
    if not any(isinstance(handler, RunLogHandler) for handler in logs.LOGGER.handlers):
        logs.LOGGER.addHandler(RunLogHandler())
        logs.LOGGER.propagate = False
    if logs.LOGGER.level == logging.NOTSET:
        logs.LOGGER.setLevel(logging.INFO)
