"""Log one record at ERROR for a failed task: the one with the traceback.

Prefect logs two: the error with its traceback, and the final state with the same text; for a `TimeoutError`, three. A
flow run that fails with the same error adds one more, and an async flow two. For a resilient task, the others are
logged at INFO, as Prefect logs the final state of a flow run.
"""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from contextlib import suppress
from pathlib import Path
from typing import Any

import prefect
from prefect.context import TaskRunContext

from resilient_tasks import safely
from resilient_tasks.core import settings

#: Ids of this process's latest task and flow runs whose error was logged at ERROR.
_ROOM = 4096
_logged: OrderedDict[str, None] = OrderedDict()

#: The attribute of an error that holds the id of the flow run in which it was logged.
_LOGGED_IN = "__resilient_logged_in__"

#: The files of Prefect's engines: records from other files are the user's and stay as they are.
_ENGINES = {str(Path(prefect.__file__).with_name(f"{kind}_engine.py")) for kind in ("task", "flow")}


def install() -> None:
    """Add the filters to Prefect's run loggers. Cheap to call again."""
    for name, keep_one in (("prefect.task_runs", _of_task), ("prefect.flow_runs", _of_flow)):
        logger = logging.getLogger(name)
        if keep_one not in logger.filters:
            logger.addFilter(keep_one)


def _of_task(record: logging.LogRecord) -> bool:
    """Lower the level of records that repeat the one with the traceback; let every record pass."""
    if record.levelno != logging.ERROR or not settings.current.enabled:
        return True
    facts, context = vars(record), TaskRunContext.get()
    run = str(facts.get("task_run_id"))
    if record.exc_info:
        if context is not None and hasattr(context.task, "plan") and str(context.task_run.id) == run:
            _note(run)
            _mark(sys.exc_info()[1], str(facts.get("flow_run_id")))
    elif run in _logged and record.pathname in _ENGINES:
        _lower(record)
    return True


def _of_flow(record: logging.LogRecord) -> bool:
    """As `_of_task`, for a flow run that failed with the logged error of one of its tasks."""
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
