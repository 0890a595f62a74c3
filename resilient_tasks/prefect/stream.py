"""A client of Prefect's event stream, which carries the states of task runs, that outlasts an outage of the server.

Prefect's own client drops an event after eight seconds without a server. It keeps unconfirmed events but resends them
only with the next event, so they are lost at exit. This client keeps every event while the process lives, resends them
as soon as the server is back, and waits for that at exit.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from typing import Any, Self

from prefect.events import Event
from prefect.events.clients import RETRYABLE_EXCEPTIONS, PrefectCloudEventsClient, PrefectEventsClient
from prefect.settings import get_current_settings
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from resilient_tasks.core.execution import real_time as time
from resilient_tasks.prefect import undocumented
from resilient_tasks.prefect.away import Outage, outages

#: Seconds between checks of the server, and between attempts to reach it.
_LOOK, _AGAIN = 2.0, 1.0
#: Seconds without an answer after which the server counts as away, and the limit of one attempt to reach it.
_HUNG, _REACH = 5.0, 10.0
#: A server stores an event shortly after accepting it. If it goes away within these seconds, the event is resent.
_SETTLES = 10.0


def _is_state(event: Event) -> bool:
    return event.event.startswith("prefect.task-run.")


def _may_pass(error: Exception) -> bool:
    """Return whether the cause may be a server that is away, or a proxy that cannot reach it."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return status >= 500 or status in {408, 429}
    if isinstance(error.__cause__, ConnectionClosed):  # as for a wrong token, where the server gives a reason
        said = error.__cause__.rcvd
        return said is None or not said.reason
    return isinstance(error, (*RETRYABLE_EXCEPTIONS, InvalidMessage))


class PatientEventsClient(PrefectEventsClient):
    """Prefect's client of an event stream, for a server that may be away for a while."""

    _websocket: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reconnection_attempts = 0  # the loop below reconnects
        self._is_open = False
        self._outage: Outage | None = None
        self._broke: float | None = None
        self._sent = 0  # unconfirmed events that were sent before the connection broke
        self._taken: deque[tuple[float, int]] = deque()  # times of answered pings, and the number of events sent before

    @property
    def is_away(self) -> bool:
        """Whether there is no connection or no answer."""
        return not self._is_open or self._outage is not None

    async def __aenter__(self) -> Self:
        began = time.monotonic()
        try:
            await super().__aenter__()
        except Exception as error:
            if not _may_pass(error):
                raise
            self._break(began)
            self._start_checkpoint_task()
        else:
            if time.monotonic() - began > _HUNG:  # the server was frozen
                self._break(began)
                self._begin_outage()
                self._is_open = True
                self._end_outage(0)
        return self

    async def __aexit__(self, *exc_info: Any) -> None:  # noqa: PYI036  # Prefect's are narrower
        self._stop_checkpoint_task()
        await self._send_the_rest()
        await super().__aexit__(*exc_info)

    def _log_connection_error(self, error: Exception) -> None:
        if not _may_pass(error):  # waiting would not help
            super()._log_connection_error(error)

    def _start_checkpoint_task(self) -> None:
        if self._checkpoint_task is None or self._checkpoint_task.done():
            super()._start_checkpoint_task()

    async def _auth_handshake(self) -> None:
        await super()._auth_handshake()
        self._is_open = True

    async def _reconnect(self) -> None:
        self._is_open = False
        self._taken.clear()
        # Prefect's own method would lose these if cancelled.
        held, self._unconfirmed_events = self._unconfirmed_events, []
        try:
            await super()._reconnect()
        finally:
            self._unconfirmed_events[:0] = held
        try:
            for event in held:
                await self._send(event)
        except BaseException:
            self._is_open = False
            raise

    async def _emit(self, event: Event) -> None:
        self._unconfirmed_events.append(event)
        self._drop_surplus()
        await self._send(event)

    async def _send(self, event: Event) -> None:
        """Send an event if connected; it stays unconfirmed."""
        if self._is_open:
            try:
                await self._websocket.send(event.model_dump_json())
            except RETRYABLE_EXCEPTIONS:
                self._break(sent=len(self._unconfirmed_events) - 1)

    def _drop_surplus(self) -> None:
        """During an outage, keep no more events than Prefect's own queue would."""
        most = get_current_settings().events.worker_max_queue_size
        if self._outage is not None and len(self._unconfirmed_events) > most > 0:
            self._outage.lost += _is_state(self._unconfirmed_events.pop(0))
            self._sent = max(self._sent - 1, 0)
            self._taken.clear()

    async def _checkpoint_loop(self) -> None:
        while True:
            if self._is_open:
                await self._confirm()
            if not self._is_open:
                await self._try_to_reach()
            await self._pause()

    async def _pause(self) -> None:
        """Wait until the next check is due or the connection breaks."""
        if not self._is_open:
            is_overdue = self._outage is not None and self._outage.is_overdue
            await asyncio.sleep(_REACH if is_overdue else _AGAIN)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._websocket.wait_closed(), _LOOK)

    async def _confirm(self) -> None:
        """Ping the server, and drop the events that it accepted long enough ago."""
        asked, sent = time.monotonic(), len(self._unconfirmed_events)
        try:
            pong = asyncio.ensure_future(await self._websocket.ping())
            await asyncio.wait({pong}, timeout=_HUNG)
            await asyncio.wait({pong}, timeout=_AGAIN)  # this process itself may have been frozen
            if not pong.done():
                self._note(asked, sent)
                self._begin_outage()
            await pong
        except RETRYABLE_EXCEPTIONS:
            self._break(asked, sent)
            return
        self._end_outage(self._late())
        self._taken.append((asked, sent))
        while self._taken[0][0] <= asked - _SETTLES:
            _, settled = self._taken.popleft()
            del self._unconfirmed_events[:settled]
            self._taken = deque((when, count - settled) for when, count in self._taken)

    async def _try_to_reach(self) -> None:
        late = self._late()
        with suppress(Exception):  # the events wait, whatever the error
            await self._reconnect()
            if self._is_open:
                if self._broke is not None and time.monotonic() - self._broke > _HUNG:  # a slow first attempt
                    self._begin_outage()
                self._end_outage(late)
                return
        self._is_open = False
        self._begin_outage()

    async def _send_the_rest(self) -> None:
        """Wait until the server has confirmed all events, for as long as Prefect retries a request."""
        while self._unconfirmed_events:
            if not self._is_open:
                await self._try_to_reach()
            if self._is_open:
                try:
                    await asyncio.wait_for(await self._websocket.ping(), _REACH)
                except RETRYABLE_EXCEPTIONS:
                    self._break()
                else:
                    self._unconfirmed_events.clear()
                    break
            outage = self._begin_outage()
            if outage.is_overdue:
                outage.lost += self._late()
                outage.is_given_up = True
                break
            await asyncio.sleep(_AGAIN)
        self._end_outage(0)

    def _break(self, asked: float | None = None, sent: int = 0) -> None:
        """Record that the connection broke. It is an outage if reconnecting fails."""
        self._is_open = False
        self._note(time.monotonic() if asked is None else asked, sent)

    def _note(self, since: float, sent: int) -> None:
        if self._broke is None:
            self._broke, self._sent = since, sent

    def _late(self) -> int:
        """Return the number of states among the events that the server did not get in time."""
        return sum(map(_is_state, self._unconfirmed_events[self._sent :])) if self._broke is not None else 0

    def _begin_outage(self) -> Outage:
        if self._outage is None:
            self._note(time.monotonic(), 0)
            assert self._broke is not None  # noqa: S101  # noted
            self._outage = outages.begin(self._api_url, self._broke)
        return self._outage

    def _end_outage(self, late: int) -> None:
        if self._outage is not None:
            self._outage.late += late
            outages.end(self._outage)
        self._outage = self._broke = None


class PatientCloudEventsClient(PatientEventsClient, PrefectCloudEventsClient):
    """The same client for Prefect Cloud."""


def install() -> None:
    """Make Prefect send its events through these clients."""
    for kind, patient in (
        (PrefectEventsClient, PatientEventsClient),
        (PrefectCloudEventsClient, PatientCloudEventsClient),
    ):
        if not undocumented.replace_events_client(kind, patient):
            return
