"""Outlast an outage of Prefect's server without losing the states of task runs, and report it.

Prefect's own client of the event stream drops an event after eight seconds without a server. It keeps unconfirmed
events but resends them only with the next event, so they are lost at exit. The client here keeps every event while the
process lives, resends them as soon as the server is back, and waits for that at exit.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections import deque
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Self

from prefect.client import base
from prefect.context import FlowRunContext, TaskRunContext
from prefect.events import Event, related
from prefect.events.clients import RETRYABLE_EXCEPTIONS, PrefectCloudEventsClient, PrefectEventsClient
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, get_current_settings
from websockets.exceptions import ConnectionClosed, InvalidMessage, InvalidStatus

from resilient_tasks.core.events import ApiAway
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.prefect import undocumented

_logger = logging.getLogger("resilient_tasks")


def patience() -> float:
    """Return how long Prefect retries a request, in seconds: 62 with the default of five retries."""
    return float(2 ** (PREFECT_CLIENT_MAX_RETRIES.value() + 1) - 2)


@dataclass(eq=False, slots=True)
class Outage:
    """A period in which the server did not answer.

    Attributes:
        api: the server's address.
        since: its start, on the monotonic clock.
        ended: its end; None while it lasts.
        late: states of task runs that arrived after the outage.
        lost: states of task runs that never arrive.
        is_given_up: whether the process ended first.
    """

    api: str
    since: float
    ended: float | None = None
    late: int = 0
    lost: int = 0
    is_given_up: bool = False

    @property
    def is_overdue(self) -> bool:
        """Return whether it has lasted longer than Prefect would wait."""
        return time.monotonic() - self.since > patience()

    def as_event(self, operation: str) -> ApiAway:
        """Return it as an event of `operation`."""
        seconds, is_back = (
            (self.ended or time.monotonic()) - self.since,
            self.ended is not None and not self.is_given_up,
        )
        return ApiAway(operation=operation, api=self.api, seconds=seconds, back=is_back, late=self.late, lost=self.lost)


class Outages:
    """The known outages, written by the thread that sends events and read by the threads of runs."""

    def __init__(self) -> None:
        self._known: deque[Outage] = deque(maxlen=100)
        self._change = threading.Condition()

    def begin(self, api: str, since: float) -> Outage:
        """Record that the server at `api` has not answered since the time `since`."""
        outage = Outage(api, since)
        with self._change:
            self._known.append(outage)
        waits = f"states of task runs wait for it, for {patience():g} s at the end of the process"
        _logger.warning("the Prefect API at %s does not answer: %s", api, waits)
        return outage

    def end(self, outage: Outage) -> None:
        """Record and log that the server is back or that the wait for it ended."""
        with self._change:
            outage.ended = time.monotonic()
            self._change.notify_all()
        _logger.log(logging.WARNING if outage.lost else logging.INFO, "%s", outage.as_event("").sentence())

    def noticed(self, since: float) -> list[Outage]:
        """Return the outages that ended after `since`, once the current one has ended or Prefect would give up."""
        with self._change:
            while lasting := [outage for outage in self._of_this_server() if outage.ended is None]:
                if not self._change.wait(max(patience() - time.monotonic() + lasting[0].since, 0)):
                    break
            return [outage for outage in self._of_this_server() if outage.ended is None or outage.ended >= since]

    def _of_this_server(self) -> list[Outage]:
        here = PREFECT_API_URL.value()
        return [outage for outage in self._known if outage.api == here or not here]


outages: Outages = Outages()


#: Seconds between checks of the server, and between attempts to connect.
_CHECK, _RECONNECT = 2.0, 1.0
#: Seconds without an answer after which the server counts as away, and the limit of one attempt to connect.
_HUNG, _CONNECT = 5.0, 10.0
#: A server stores an event shortly after accepting it. If it goes away within these seconds, the event is resent.
_SETTLED_AFTER = 10.0


def _is_state(event: Event) -> bool:
    return event.event.startswith("prefect.task-run.")


def _is_transient(error: Exception) -> bool:
    """Return whether the server may only be away, or behind a proxy that cannot reach it."""
    if isinstance(error, InvalidStatus):
        status = error.response.status_code
        return status >= 500 or status in {408, 429}
    if isinstance(error.__cause__, ConnectionClosed):  # as for a wrong token, where the server gives a reason
        close = error.__cause__.rcvd
        return close is None or not close.reason
    return isinstance(error, (*RETRYABLE_EXCEPTIONS, InvalidMessage))


class PatientEventsClient(PrefectEventsClient):
    """Prefect's client of an event stream, for a server that may be away for a while."""

    _websocket: Any

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._reconnection_attempts = 0  # the loop below reconnects
        self._is_open = False
        self._outage: Outage | None = None
        self._broken_since: float | None = None
        self._sent = 0  # unconfirmed events that were sent before the connection broke
        self._accepted: deque[tuple[float, int]] = deque()  # time of each answered ping, and the events sent before

    @property
    def is_away(self) -> bool:
        """Whether there is no connection or no answer."""
        return not self._is_open or self._outage is not None

    async def __aenter__(self) -> Self:
        began = time.monotonic()
        try:
            await super().__aenter__()
        except Exception as error:
            if not _is_transient(error):
                raise
            self._on_break(began)
            self._start_checkpoint_task()
        else:
            if time.monotonic() - began > _HUNG:  # the server was frozen
                self._on_break(began)
                self._begin_outage()
                self._is_open = True
                self._end_outage(0)
        return self

    async def __aexit__(self, *exc_info: Any) -> None:  # noqa: PYI036  # Prefect's are narrower
        self._stop_checkpoint_task()
        await self._drain()
        await super().__aexit__(*exc_info)

    def _log_connection_error(self, error: Exception) -> None:
        if not _is_transient(error):  # waiting would not help
            super()._log_connection_error(error)

    def _start_checkpoint_task(self) -> None:
        if self._checkpoint_task is None or self._checkpoint_task.done():
            super()._start_checkpoint_task()

    async def _auth_handshake(self) -> None:
        await super()._auth_handshake()
        self._is_open = True

    async def _reconnect(self) -> None:
        self._is_open = False
        self._accepted.clear()
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
                self._on_break(sent=len(self._unconfirmed_events) - 1)

    def _drop_surplus(self) -> None:
        """During an outage, keep no more events than Prefect's own queue would."""
        most = get_current_settings().events.worker_max_queue_size
        if self._outage is not None and len(self._unconfirmed_events) > most > 0:
            self._outage.lost += _is_state(self._unconfirmed_events.pop(0))
            self._sent = max(self._sent - 1, 0)
            self._accepted.clear()

    async def _checkpoint_loop(self) -> None:
        while True:
            if self._is_open:
                await self._confirm()
            if not self._is_open:
                await self._try_to_connect()
            await self._pause()

    async def _pause(self) -> None:
        """Wait until the next check is due or the connection breaks."""
        if not self._is_open:
            is_overdue = self._outage is not None and self._outage.is_overdue
            await asyncio.sleep(_CONNECT if is_overdue else _RECONNECT)
            return
        with suppress(TimeoutError):
            await asyncio.wait_for(self._websocket.wait_closed(), _CHECK)

    async def _confirm(self) -> None:
        """Ping the server, and drop the events that it accepted long enough ago."""
        pinged, sent = time.monotonic(), len(self._unconfirmed_events)
        try:
            pong = asyncio.ensure_future(await self._websocket.ping())
            await asyncio.wait({pong}, timeout=_HUNG)
            await asyncio.wait({pong}, timeout=_RECONNECT)  # this process itself may have been frozen
            if not pong.done():
                self._set_broken(pinged, sent)
                self._begin_outage()
            await pong
        except RETRYABLE_EXCEPTIONS:
            self._on_break(pinged, sent)
            return
        self._end_outage(self._late_states())
        self._accepted.append((pinged, sent))
        while self._accepted[0][0] <= pinged - _SETTLED_AFTER:
            _, settled = self._accepted.popleft()
            del self._unconfirmed_events[:settled]
            self._accepted = deque((when, count - settled) for when, count in self._accepted)

    async def _try_to_connect(self) -> None:
        late = self._late_states()
        with suppress(Exception):  # the events stay queued
            await self._reconnect()
            if self._is_open:
                is_slow = self._broken_since is not None and time.monotonic() - self._broken_since > _HUNG
                if is_slow:  # connecting for the first time
                    self._begin_outage()
                self._end_outage(late)
                return
        self._is_open = False
        self._begin_outage()

    async def _drain(self) -> None:
        """Wait until the server has confirmed all events, for as long as Prefect retries a request."""
        while self._unconfirmed_events:
            if not self._is_open:
                await self._try_to_connect()
            if self._is_open:
                try:
                    await asyncio.wait_for(await self._websocket.ping(), _CONNECT)
                except RETRYABLE_EXCEPTIONS:
                    self._on_break()
                else:
                    self._unconfirmed_events.clear()
                    break
            outage = self._begin_outage()
            if outage.is_overdue:
                outage.lost += self._late_states()
                outage.is_given_up = True
                break
            await asyncio.sleep(_RECONNECT)
        self._end_outage(0)

    def _on_break(self, pinged: float | None = None, sent: int = 0) -> None:
        """Record that the connection broke. It is an outage if reconnecting fails."""
        self._is_open = False
        self._set_broken(time.monotonic() if pinged is None else pinged, sent)

    def _set_broken(self, since: float, sent: int) -> None:
        if self._broken_since is None:
            self._broken_since, self._sent = since, sent

    def _late_states(self) -> int:
        """Return the number of states among the events that the server did not get in time."""
        return sum(map(_is_state, self._unconfirmed_events[self._sent :])) if self._broken_since is not None else 0

    def _begin_outage(self) -> Outage:
        if self._outage is None:
            self._set_broken(time.monotonic(), 0)
            assert self._broken_since is not None  # noqa: S101  # just set
            self._outage = outages.begin(self._api_url, self._broken_since)
        return self._outage

    def _end_outage(self, late: int) -> None:
        if self._outage is not None:
            self._outage.late += late
            outages.end(self._outage)
        self._outage = self._broken_since = None


class PatientCloudEventsClient(PatientEventsClient, PrefectCloudEventsClient):
    """The same client for Prefect Cloud."""


def _install_clients() -> None:
    """Make Prefect send its events through these clients."""
    for kind, patient in (
        (PrefectEventsClient, PatientEventsClient),
        (PrefectCloudEventsClient, PatientCloudEventsClient),
    ):
        if not undocumented.replace_events_client(kind, patient):
            return


#: Seconds to wait for an answer, and to wait after a failure before the server is queried again.
_ANSWER, _REST = 5.0, 30.0


class _EmptyClient:
    """A client that finds nothing, used while the server is away."""

    def __getattr__(self, name: str) -> Any:
        async def read(_: object) -> None:
            return None

        return read


def _send_without_related() -> None:
    """Let Prefect's events worker send events whose related resources it cannot read.

    It reads the flow, the deployment and the work pool of a run when it sends the run's first event. If the server does
    not answer, it drops the event, and with it the state of a task run; while it waits, all later events wait too. The
    run's own id is enough, and needs no server.
    """
    worker_class: Any = EventsWorker
    original = getattr(worker_class, "attach_related_resources_from_context", None)
    if getattr(original, "__module__", "") == __name__:
        return  # installed already: wrapping it again would nest without end
    if original is None or "_orchestration_client" not in original.__code__.co_names:
        undocumented.warn_once(undocumented.RELATED)
        return
    next_query: dict[EventsWorker, float] = {}

    async def attach(worker: Any, event: Event) -> None:
        is_away = getattr(worker._client, "is_away", False)  # noqa: SLF001  # set by our client of the stream
        if not is_away and time.monotonic() >= next_query.get(worker, 0.0):
            try:
                async with asyncio.timeout(_ANSWER):
                    await original(worker, event)
            except Exception:
                next_query.clear()  # drops ended workers
                next_query[worker] = time.monotonic() + _REST
            else:
                return
        client, worker._orchestration_client = worker._orchestration_client, _EmptyClient()  # noqa: SLF001
        try:
            await original(worker, event)
        finally:
            worker._orchestration_client = client  # noqa: SLF001
            _drop_missing_resources()

    worker_class.attach_related_resources_from_context = attach


def _drop_missing_resources() -> None:
    cache: dict[str, Any] = getattr(related, "RESOURCE_CACHE", {})
    for key, (entry, _) in list(cache.items()):  # a copy: the worker of another server writes it too
        if entry.get("object") is None:
            cache.pop(key, None)


class HasConnected:
    """The attribute by which Prefect's clients decide whether to retry a refused request.

    Prefect retries one only if the same client has had an answer before, so that a wrong address is noticed at once.
    Subflows, artifacts and tags each create a new client, which would give up at the first refusal. Within a run the
    address is known to be right: the server there created the run.
    """

    def __get__(self, client: Any, kind: type[Any] | None = None) -> Any:
        """Return whether the client has had an answer, or is used within a run."""
        if client is None:
            return self
        has_connected: bool = vars(client).get("_has_connected", False)
        return has_connected or FlowRunContext.get() is not None or TaskRunContext.get() is not None

    def __set__(self, client: Any, value: object) -> None:
        """Record whether the client has had an answer."""
        vars(client)["_has_connected"] = value


def _retry_refused_requests() -> None:
    """Replace the attribute of Prefect's clients."""
    for name in ("PrefectHttpxSyncClient", "PrefectHttpxAsyncClient"):
        kind = getattr(base, name, None)
        if kind is None or "_has_connected" not in kind.send.__code__.co_names:
            undocumented.warn_once(undocumented.HAS_CONNECTED)
        else:
            kind._has_connected = HasConnected()  # noqa: SLF001  # there is no public way


def install() -> None:
    """Replace the parts of Prefect that lose states of task runs, or fail a run, while the server is away."""
    _retry_refused_requests()
    _install_clients()
    _send_without_related()
