"""What an event is related to is asked of the server before the event is sent; without a server it goes without.

Prefect's worker of events asks for the flow, the deployment and the work pool of a run when it sends the first event of
the run. If the server cannot say, the worker throws the event away, and with it the state of a task run. Where it waits
for the answer, all later events wait behind it. What is known without the server is enough: the run itself.
"""

from __future__ import annotations

import asyncio
from typing import Any

from prefect.events import Event, related
from prefect.events.worker import EventsWorker

from resilient_tasks.core import real_time as time
from resilient_tasks.orchestrate import undocumented

#: Seconds that an answer may take, and those in which the server is not asked again after it gave none.
_PATIENCE, _REST = 5.0, 30.0


class _Unknown:
    """A client in the place of one whose server is away: it knows of nothing."""

    def __getattr__(self, name: str) -> Any:
        async def read(_: object) -> None:
            return None

        return read


def install() -> None:
    """Have Prefect's worker of events send an event whose relations it cannot read."""
    prefects: Any = EventsWorker
    whole = getattr(prefects, "attach_related_resources_from_context", None)
    if getattr(whole, "__module__", "") == __name__:
        return  # it is in place: another one around it would grow without end
    if whole is None or "_orchestration_client" not in whole.__code__.co_names:
        undocumented.say_once(undocumented.RELATED)
        return
    asked_again: dict[EventsWorker, float] = {}

    async def attach(worker: Any, event: Event) -> None:
        is_away = getattr(worker._client, "is_away", False)  # noqa: SLF001  # the stream's, which knows
        if not is_away and time.monotonic() >= asked_again.get(worker, 0.0):
            try:
                async with asyncio.timeout(_PATIENCE):
                    await whole(worker, event)
            except Exception:  # whatever keeps the server from answering
                asked_again.clear()  # of workers that have ended
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
