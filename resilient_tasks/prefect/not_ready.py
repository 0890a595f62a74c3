"""Warn of a task called with a failed future: Prefect does not run it, and the call returns None."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import BaseAnnotation

from resilient_tasks import core, redaction
from resilient_tasks.core.wording import named_few
from resilient_tasks.prefect import undocumented

_logger = logging.getLogger("resilient_tasks")

_NAMED = 3
#: The depth to which arguments are searched.
_DEPTH = 6


def warn_if_not_run(operation: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Log a warning if Prefect did not run a call that returned None, because an argument had failed.

    Args:
        operation: the name of the task.
        args: the positional arguments of the call.
        kwargs: its keyword arguments.
    """
    failed = [_name(state) for state in _states((args, kwargs), _DEPTH) if not state.is_completed()]
    if failed:
        _logger.warning(
            "%s was not run and returned None: an argument had failed (%s). Prefect continues regardless. Call"
            " .result() on the future first, which raises the error, or pass allow_failure(future)",
            operation,
            redaction.text.redact(named_few(failed, _NAMED)),
        )


def _states(value: Any, depth: int) -> Iterator[State[Any]]:
    """Yield the final states that Prefect waits for in `value`, except in `allow_failure(...)`."""
    if isinstance(value, PrefectFuture):
        yield value.state
    elif isinstance(value, State):
        yield value
    elif isinstance(value, BaseAnnotation) or not depth:
        return
    elif isinstance(value, Mapping):
        for item in value.values():
            yield from _states(item, depth - 1)
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _states(item, depth - 1)


def _name(state: State[Any]) -> str:
    error = undocumented.data_in(state)
    if isinstance(error, BaseException):
        return core.failures.describe(error)  # with its HTTP status, which Prefect's message lacks
    return f"{state.name}: {state.message}" if state.message else str(state.name)
