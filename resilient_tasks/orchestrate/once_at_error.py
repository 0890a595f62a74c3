"""One record at ERROR for a task that failed: the one with the traceback.

Prefect logs two: the error with its traceback, and the final state with the same words; three of a `TimeoutError`. A
flow run that fails with that very error adds one more, and an async flow two. Of a resilient task's error the others
are logged at INFO, as Prefect logs the final state of a flow run.
"""

from __future__ import annotations

import logging
import sys
from collections import OrderedDict
from contextlib import suppress
from typing import Any

from prefect.context import TaskRunContext

from resilient_tasks.core import safely, settings

#: Ids of this process's runs of tasks and flows whose error was logged at ERROR, until their final state is logged.
_ROOM = 4096
_logged: OrderedDict[str, None] = OrderedDict()

#: The attribute of an error with the id of the flow run in which a task's log record reported it.
_LOGGED_IN = "__resilient_logged_in__"

_LAST = "Finished in state"
_TASK_SAYS_IT_AGAIN = (_LAST, "Task run failed due to timeout", "Task run exceeded timeout")
_FLOW_SAYS_IT_AGAIN = ("Encountered exception during execution", "Flow run failed due to timeout")


def install() -> None:
    """Have Prefect's logs of runs heed that. Cheap to call again."""
    for name, heed in (("prefect.task_runs", _of_task), ("prefect.flow_runs", _of_flow)):
        logger = logging.getLogger(name)
        if heed not in logger.filters:
            logger.addFilter(heed)


def _of_task(record: logging.LogRecord) -> bool:
    """Lower the level of what says again what was logged with the traceback; let every record pass."""
    if record.levelno != logging.ERROR or not settings.current.enabled:
        return True
    words, told = str(record.msg), vars(record)
    run, context = str(told.get("task_run_id")), TaskRunContext.get()
    if run in _logged and words.startswith(_TASK_SAYS_IT_AGAIN):
        _lower(record, run, words)
    elif record.exc_info and context is not None and hasattr(context.task, "plan") and str(context.task_run.id) == run:
        _note(run)
        _mark(sys.exc_info()[1], str(told.get("flow_run_id")))
    return True


def _of_flow(record: logging.LogRecord) -> bool:
    """Do so where a flow run failed with the error of a task in it that was logged."""
    if record.levelno != logging.ERROR or not settings.current.enabled:
        return True
    words, run = str(record.msg), str(vars(record).get("flow_run_id"))
    if words.startswith(_FLOW_SAYS_IT_AGAIN):
        error = sys.exc_info()[1]
        if error is not None and safely.attribute(error, _LOGGED_IN) == run:
            _note(run)
            _lower(record, run, words)
    elif run in _logged and words.startswith(_LAST):
        _lower(record, run, words)
    return True


def _note(run: str) -> None:
    _logged[run] = None
    while len(_logged) > _ROOM:
        _logged.popitem(last=False)


def _mark(error: Any, flow_run: str) -> None:
    with suppress(Exception):  # what a log's filter raises, the run would fail with
        vars(error)[_LOGGED_IN] = flow_run  # assigning is what a frozen dataclass refuses


def _lower(record: logging.LogRecord, run: str, words: str) -> None:
    record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
    if words.startswith(_LAST):
        _logged.pop(run, None)
