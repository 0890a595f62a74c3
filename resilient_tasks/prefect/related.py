"""Send events without their related resources while the server cannot be asked for them.

Prefect's events worker reads the flow, the deployment and the work pool of a run when it sends the run's first event.
If the server does not answer, the worker drops the event, and with it the state of a task run; while it waits, all
later events wait too. Knowing the run itself is enough, and needs no server.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prefect.events import Event, related
from prefect.events.worker import EventsWorker

from resilient_tasks.core.execution import real_time as time
from resilient_tasks.prefect import undocumented

#: Seconds to wait for an answer, and to wait after a failure before the server is asked again.
_PATIENCE, _REST = 5.0, 30.0


class _Unknown:
    """A client that finds nothing, used while the server is away."""

    def __getattr__(self, name: str) -> Any:
        async def read(_: object) -> None:
            return None

        return read


def install() -> None:
    """Let Prefect's events worker send events whose related resources it cannot read."""
    prefects: Any = EventsWorker
    whole = getattr(prefects, "attach_related_resources_from_context", None)
    if getattr(whole, "__module__", "") == __name__:
        return  # installed already: wrapping it again would nest without end
    if whole is None or "_orchestration_client" not in whole.__code__.co_names:
        undocumented.warn_once(undocumented.RELATED)
        return
    asked_again: dict[EventsWorker, float] = {}

    async def attach(worker: Any, event: Event) -> None:
        is_away = getattr(worker._client, "is_away", False)  # noqa: SLF001  # set by our client of the stream
        if not is_away and time.monotonic() >= asked_again.get(worker, 0.0):
            try:
                async with asyncio.timeout(_PATIENCE):
                    await whole(worker, event)
            except Exception:  # whatever keeps the server from answering
                asked_again.clear()  # drops ended workers
                asked_again[worker] = time.monotonic() + _REST
            else:
                return
        client, worker._orchestration_client = worker._orchestration_client, _Unknown()  # noqa: SLF001
        try:
            await whole(worker, event)
        finally:
            worker._orchestration_client = client  # noqa: SLF001
            _forget_what_is_unknown()

    prefects.attach_related_resources_from_context = attach


def _forget_what_is_unknown() -> None:
    cache: dict[str, Any] = getattr(related, "RESOURCE_CACHE", {})
    for key, (entry, _) in list(cache.items()):  # a copy: the worker of another server writes it too
        if entry.get("object") is None:
            cache.pop(key, None)
