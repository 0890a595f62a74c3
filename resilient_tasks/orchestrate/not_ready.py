"""A task that is called with the future of one that failed: Prefect does not run it, and the call returns None."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from prefect.client.schemas.objects import State
from prefect.futures import PrefectFuture
from prefect.utilities.annotations import BaseAnnotation

from resilient_tasks import core, redaction
from resilient_tasks.core.wording import named_few
from resilient_tasks.orchestrate import undocumented

_logger = logging.getLogger("resilient_tasks")

_NAMED = 3
#: Deeper than this, arguments are not searched.
_DEPTH = 6


def say_if_not_run(operation: str, args: tuple[Any, ...], kwargs: Mapping[str, Any]) -> None:
    """Log at WARNING that a call which returned None was none, where an argument is what kept Prefect from running it.

    Args:
        operation: the task's.
        args: what it was called with, as it was called.
        kwargs: the same, by name.
    """
    failed = [_name(state) for state in _states((args, kwargs), _DEPTH) if not state.is_completed()]
    if failed:
        _logger.warning(
            "%s was not run, and returned None: what it was given had failed (%s). Prefect goes on all the same. Call"
            " .result() on the future first, which raises the error, or hand it over as allow_failure(future)",
            operation,
            redaction.redact.redact(named_few(failed, _NAMED)),
        )


def _states(value: Any, depth: int) -> Iterator[State[Any]]:
    """Yield the final states that Prefect would wait for in `value`, but for `allow_failure(...)`."""
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
