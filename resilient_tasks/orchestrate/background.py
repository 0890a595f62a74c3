"""The futures of tasks that a task worker runs in the background (`delay`, `apply_async`).

Prefect's own future waits for an event with the name of a final state: Completed, Failed, Crashed or Cancelled.
A state with a name of its own, `Degraded` as well as Prefect's `TimedOut`, has another event, and a future that began
to wait before it would wait for ever.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

from prefect.futures import PrefectDistributedFuture, PrefectFuture

from resilient_tasks.core import real_time as time
from resilient_tasks.orchestrate import undocumented

R = TypeVar("R")

#: An event is waited for this long before the server is asked for the state: a quarter of the time waited so far, in
#: seconds, between these two. So the end is noticed soon, and a thousand futures of a long queue ask seldom.
_PATIENCE = (1.0, 30.0)


class BackgroundFuture(PrefectDistributedFuture[R]):
    """Prefect's future of a task run in the background, which also notices final states with names of their own."""

    async def wait_async(self, timeout: float | None = None) -> None:  # noqa: ASYNC109  # Prefect's signature
        """Wait until the task run has ended, for at most `timeout` seconds."""
        began = time.monotonic()
        until = began + timeout if timeout is not None else float("inf")
        while self._final_state is None and (left := until - time.monotonic()) > 0:
            patience = sorted((*_PATIENCE, (time.monotonic() - began) / 4))[1]
            await super().wait_async(timeout=min(left, patience))

    def add_done_callback(self, fn: Callable[[PrefectFuture[R]], None]) -> None:
        """Call `fn` with this future once the task run has ended; at once, if it has."""

        async def tell() -> None:
            await self.wait_async()
            fn(self)

        if self._final_state is not None:
            fn(self)
        elif not undocumented.run_in_background(tell):
            super().add_done_callback(fn)
