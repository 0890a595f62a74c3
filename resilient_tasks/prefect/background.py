"""Futures of tasks that a task worker runs in the background (`delay`, `apply_async`).

Prefect's own future waits for an event named after a final state: Completed, Failed, Crashed or Cancelled.
A final state with another name, such as `Degraded` or Prefect's `TimedOut`, has another event, and a future that
started to wait before it would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from prefect.futures import PrefectDistributedFuture, PrefectFuture

from resilient_tasks.core.execution import real_time as time
from resilient_tasks.prefect import undocumented

R = TypeVar("R")

#: Bounds, in seconds, of the wait for an event before the server is polled: a quarter of the time waited so far. So the
#: end is noticed soon, and a thousand futures of a long queue poll seldom.
_PATIENCE = (1.0, 30.0)


class BackgroundFuture(PrefectDistributedFuture[R]):
    """Prefect's future of a background task run that also notices final states with custom names."""

    async def wait_async(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # Prefect's signature
        """Wait until the task run has ended, for at most `timeout` seconds."""
        began = time.monotonic()
        until = began + timeout if timeout is not None else float("inf")
        while self._final_state is None and (left := until - time.monotonic()) > 0:
            patience = sorted((*_PATIENCE, (time.monotonic() - began) / 4))[1]
            await super().wait_async(timeout=min(left, patience))

    def add_done_callback(self, fn: Callable[[PrefectFuture[R]], None]) -> None:
        """Call `fn` with this future once the task run has ended; immediately if it already has."""

        async def call_back() -> None:
            await self.wait_async()
            fn(self)

        if self._final_state is not None:
            fn(self)
        elif not undocumented.run_in_background(call_back):
            super().add_done_callback(fn)
