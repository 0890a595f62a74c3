"""A sync pipeline whose function returned an awaitable: it pauses there, and goes on when the rest is awaited."""

from __future__ import annotations

import types
from collections.abc import Coroutine, Generator
from typing import TYPE_CHECKING, Any, Generic, TypeVar

if TYPE_CHECKING:
    from resilient_tasks.core.outcome import Outcome

T = TypeVar("T")

#: What a pipeline gives to whoever drives it where it pauses.
PAUSE = object()


@types.coroutine
def pause() -> Generator[object, None, None]:
    """Have the driver return a `Rest` to the caller, and go on once that is awaited."""
    yield PAUSE


class Rest(Generic[T]):
    """What is left of a pipeline that has paused. Awaited once, in the caller's event loop, it gives the outcome."""

    def __init__(self, pipeline: Coroutine[Any, Any, Outcome[T]]) -> None:
        self._pipeline = pipeline

    def __await__(self) -> Generator[Any, Any, Outcome[T]]:
        # Not `await`, which refuses a coroutine that has begun.
        return (yield from self._pipeline.__await__())

    async def outcome(self) -> Outcome[T]:
        """Return the outcome."""
        return await self

    async def unwrap(self) -> T:
        """Return the value, or raise: what `unwrap` of an outcome does at once."""
        return (await self).unwrap()
