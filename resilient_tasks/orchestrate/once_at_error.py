"""One record at ERROR for a task run that failed: the one with the traceback.

Prefect logs two: the error with its traceback, and the final state with the same words; three of a `TimeoutError`. Of a
resilient task the others are logged at INFO, as Prefect logs the final state of a flow run.
"""

from __future__ import annotations

import logging
from collections import OrderedDict

from prefect.context import TaskRunContext

#: Ids of this process's task runs that fail, until their final state is logged, with whether the error has been.
_ROOM = 4096
_failing: OrderedDict[str, bool] = OrderedDict()

_LAST = "Finished in state"
_SAY_IT_AGAIN = (_LAST, "Task run failed due to timeout", "Task run exceeded timeout")


def expect() -> None:
    """Take note that the task run of this context fails: Prefect is about to log its error with the traceback."""
    context = TaskRunContext.get()
    if context is None:
        return
    _failing[str(context.task_run.id)] = False
    while len(_failing) > _ROOM:
        _failing.popitem(last=False)


def install() -> None:
    """Have Prefect's log of task runs heed that. Cheap to call again."""
    logger = logging.getLogger("prefect.task_runs")
    if not any(isinstance(there, _OnceAtError) for there in logger.filters):
        logger.addFilter(_OnceAtError())


class _OnceAtError(logging.Filter):
    def filter(self, record: logging.LogRecord) -> bool:
        """Lower the level of what says again what was logged with the traceback; let every record pass."""
        run = str(vars(record).get("task_run_id"))
        if run not in _failing:
            return True
        words = str(record.msg)
        if record.levelno == logging.ERROR and words.startswith(_SAY_IT_AGAIN) and _failing[run]:
            record.levelno, record.levelname = logging.INFO, logging.getLevelName(logging.INFO)
        _failing[run] = _failing[run] or (record.levelno == logging.ERROR and bool(record.exc_info))
        if words.startswith(_LAST):
            _failing.pop(run, None)
        return True
