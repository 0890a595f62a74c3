"""Raise errors to Prefect, which prints them, puts their text into a state and stores them as results."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Any, NoReturn, TypeVar

from prefect.client.schemas.objects import State

from resilient_tasks import redaction
from resilient_tasks.core.outcome import Failed

R = TypeVar("R")


def fail(failed: Failed) -> NoReturn:
    """Raise the error of `failed`; if it holds a secret, raise a redacted copy without a cause.

    An error that Prefect cannot render is raised as a copy that it can.

    Raises:
        Exception: always.
    """
    copy = redaction.exceptions.redacted(failed.error)
    if copy is None:
        shown = redaction.exceptions.presentable(failed.error)
        failed = failed if shown is None else Failed(shown)
        del shown
        failed.unwrap()
    try:
        raise copy from None  # a cause would be printed with its secrets
    finally:
        del copy, failed


def items(source: Generator[Any, None, R]) -> Generator[Any, None, R]:
    """Yield from `source`; raise its errors as `fail` does."""
    try:
        return (yield from source)
    except Exception as error:
        failed = Failed(error)
    fail(failed)


async def async_items(source: AsyncGenerator[Any, None]) -> AsyncGenerator[Any, None]:
    """Yield from an async `source`; raise its errors as `fail` does."""
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


def without_secrets(state: State[Any]) -> State[Any]:
    """Return a failed state from a user's function, with its message and error redacted."""
    copy = redaction.exceptions.redacted(state.data) if isinstance(state.data, BaseException) else None
    message = None if state.message is None else redaction.text.redact(state.message)
    if copy is None and message == state.message:
        return state
    return state.model_copy(update={"message": message, "data": state.data if copy is None else copy})
