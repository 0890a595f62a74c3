"""Raising to Prefect, which prints the error that it is given, puts its text into a state and keeps it as a result."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, NoReturn, TypeVar

from prefect.client.schemas.objects import State

from resilient_tasks import core, redaction
from resilient_tasks.core.outcome import Failed

R = TypeVar("R")


def fail(failed: Failed) -> NoReturn:
    """Raise the error of `failed`: itself, or where it holds a secret a copy without, from nothing.

    An error that Prefect would stumble over while it shows it is raised as a copy that it can show.

    Raises:
        Exception: always.
    """
    copy = core.redacted.redacted(failed.error)
    if copy is None:
        shown = core.redacted.presentable(failed.error)
        failed = failed if shown is None else Failed(shown)
        del shown
        failed.unwrap()
    try:
        raise copy from None  # a cause would be printed, secret and all
    finally:
        del copy, failed


def items(source: Generator[Any, None, R]) -> Generator[Any, None, R]:
    """Hand on what `source` gives; what it raises is raised as `fail` does."""
    try:
        return (yield from source)
    except Exception as error:
        failed = Failed(error)
    fail(failed)


async def async_items(source: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """As `items`, for an async generator."""
    failed = None
    try:
        async for item in source:
            yield item
    except Exception as error:
        failed = Failed(error)
    finally:
        await source.aclose()
    if failed is not None:
        fail(failed)


def told(state: State[Any]) -> State[Any]:
    """Return a failed state that a user's function returned, without the secrets in its message and its error."""
    copy = core.redacted.redacted(state.data) if isinstance(state.data, BaseException) else None
    message = None if state.message is None else redaction.redact.redact(state.message)
    if copy is None and message == state.message:
        return state
    return state.model_copy(update={"message": message, "data": state.data if copy is None else copy})
