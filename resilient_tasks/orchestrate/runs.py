"""Prefect as the host of calls: which run this code is part of, for events, log lines, alerts and waits."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from prefect.context import FlowRunContext, TaskRunContext
from prefect.exceptions import MissingContextError
from prefect.logging import get_run_logger
from prefect.settings import PREFECT_UI_URL

from resilient_tasks.core import events, host
from resilient_tasks.core.host import Check, Host, Loop, Results
from resilient_tasks.observe import lines, logs
from resilient_tasks.orchestrate import first_answer, once_at_error, related, stream, undocumented


class PrefectHost(Host):
    """Prefect, as the contexts of its runs describe it."""

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
        if found and (base := PREFECT_UI_URL.value()):
            kind, run_id = ("task", found["task_run_id"]) if task_context else ("flow", found["flow_run_id"])
            found["url"] = f"{base}/runs/{kind}-run/{run_id}"
        return found

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

    def results(self) -> Results | None:
        from resilient_tasks.orchestrate import kept_results  # noqa: PLC0415  # for those who keep results

        return kept_results.of_this_run()


class RunLogHandler(logging.Handler):
    """Passes the library's log lines on to the log of their Prefect run; outside of any, to the console."""

    def __init__(self) -> None:
        super().__init__()
        self._console: logging.Handler | None = None  # made when needed: on the stderr of that time

    def emit(self, record: logging.LogRecord) -> None:
        logger = _logger_of(record)
        if logger is None:
            self._console = self._console or logs.console_handler()
            self._console.handle(record)
        elif not _in_the_final_state(record):
            logger.log(record.levelno, "%s", _text(record), exc_info=record.exc_info)


def _logger_of(record: logging.LogRecord) -> logging.LoggerAdapter[Any] | logging.Logger | None:
    """Return the logger of the run of this context, or of the run that the record names; None if there is none.

    A message of an alert may be delivered when its run has long ended.
    """
    try:
        return get_run_logger()
    except MissingContextError:
        told = vars(record)
    ids = {name: told[name] for name in ("flow_run_id", "task_run_id") if _is_id(told.get(name))}
    if not ids:
        return None
    about: dict[str, Any] = {**ids, "flow_run_name": told.get("flow_run", ""), "flow_name": ""}
    if not threading.main_thread().is_alive():  # Python ends: what sends log lines to the API can start no thread
        about["send_to_api"] = False
    if "task_run_id" not in ids:
        return logging.LoggerAdapter(logging.getLogger("prefect.flow_runs"), about)
    about |= {"task_run_name": told.get("task_run", ""), "task_name": ""}
    return logging.LoggerAdapter(logging.getLogger("prefect.task_runs"), about)


def _is_id(value: object) -> bool:
    try:
        UUID(str(value))
    except ValueError:
        return False
    return True


def _in_the_final_state(record: logging.LogRecord) -> bool:
    """Tell whether Prefect's own last line of a task run says the same: a log line costs a third of an attempt."""
    told, context = vars(record), TaskRunContext.get()
    if told.get("event.name") != events.RetryRecovered.name or context is None:
        return False
    plan = getattr(context.task, "plan", None)
    return plan is not None and told.get("operation") == plan.operation


# What Prefect's log line says already, or the sentence itself does.
_SAID = {"flow_run_id", "flow_run", "task_run_id", "task_run", "operation"}


def _text(record: logging.LogRecord) -> str:
    text, extra = record.getMessage(), lines.extra_of(record)
    if "event.name" not in extra:  # a user's own line
        return " ".join([text, *(f"{name}={value!r}" for name, value in extra.items() if name not in _SAID)])
    attempt = extra.get("attempt", 1)
    return text if attempt == 1 or "attempt" in text else f"{text} [attempt {attempt}]"


def connect() -> None:
    """Have Prefect be the host of this process's calls: their events reach its logs, and bear its ids.

    To be called where a task or a flow is made, and where one arrives from another process, which made it.
    """
    logs.install()
    if not host.install(PrefectHost()):
        return
    import prefect.main  # noqa: F401, PLC0415  # its models and logs, which a task needs to run, and not to be imported

    once_at_error.install()
    first_answer.install()
    stream.install()
    related.install()
    if not any(isinstance(handler, RunLogHandler) for handler in logs.LOGGER.handlers):
        logs.LOGGER.addHandler(RunLogHandler())
        logs.LOGGER.propagate = False
    if logs.LOGGER.level == logging.NOTSET:
        logs.LOGGER.setLevel(logging.INFO)
