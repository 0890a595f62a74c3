"""The stream of task run states outlasts an outage of the server."""

import asyncio
import socket
from types import SimpleNamespace

import pytest
from prefect.events import Event, clients
from prefect.events.worker import EventsWorker
from prefect.settings import PREFECT_API_URL, PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from websockets.datastructures import Headers
from websockets.exceptions import ConnectionClosedError, InvalidMessage, InvalidStatus
from websockets.http11 import Response

from resilient_tasks.core.execution import real_time
from resilient_tasks.prefect import outages
from resilient_tasks.prefect.outages import Outages, patience

NOWHERE = "127.0.0.1:9"
HERE = f"http://{NOWHERE}/api"


class Socket:
    """The server's end of the stream: it answers while `is_up`; `got` holds the received events."""

    def __init__(self):
        self.is_up, self.got, self.connections, self.refusal = True, [], 0, ConnectionRefusedError()

    def check(self):
        if not self.is_up:
            raise self.refusal

    async def __aenter__(self):
        self.check()
        self.connections += 1
        return self

    async def __aexit__(self, *_):
        pass

    async def ping(self):
        self.check()
        answered = asyncio.get_running_loop().create_future()
        answered.set_result(0.0)
        return answered

    async def send(self, text):
        self.check()
        self.got.append(Event.model_validate_json(text).event if "prefect.task-run" in text else text)

    async def recv(self):
        return '{"type": "auth_success"}'

    async def wait_closed(self):
        while self.is_up:  # noqa: ASYNC110  # a server does not announce that it goes away
            await asyncio.sleep(0.001)


@pytest.fixture
def server(monkeypatch):
    """A stream with minimal waits to a server that can be stopped, and the recorded outages.

    The stream of the tests before is ended first: it must not connect to the socket of these tests.
    """
    EventsWorker.drain_all(at_exit=False)
    end, noticed = Socket(), Outages()
    connect = clients.websocket_connect
    monkeypatch.setattr(outages, "outages", noticed)
    monkeypatch.setattr(outages, "_RECONNECT", 0.001)
    monkeypatch.setattr(outages, "_CHECK", 0.001)
    monkeypatch.setattr(clients, "websocket_connect", lambda to, **how: end if NOWHERE in to else connect(to, **how))

    async def no_check(*_, **__):
        pass

    monkeypatch.setattr(clients, "check_server_version", no_check)
    with temporary_settings({PREFECT_API_URL: HERE}):
        yield SimpleNamespace(socket=end, noticed=noticed)


def client():
    return outages.PatientEventsClient(api_url=HERE)


def event(name):
    return Event(event=f"prefect.task-run.{name}", resource={"prefect.resource.id": f"prefect.task-run.{name}"})


def states(socket):
    return [name.rpartition(".")[2] for name in socket.got if name.startswith("prefect.task-run")]


async def until(condition):
    async with asyncio.timeout(60):
        while not condition():  # noqa: ASYNC110  # the condition is Prefect's state
            await asyncio.sleep(0.001)


def test_states_of_an_outage_arrive_when_the_server_is_back(server):
    async def scenario():
        async with client() as events:
            server.socket.is_up = False
            await events.emit(event("A"))
            await events.emit(event("B"))
            await until(lambda: server.noticed._known)
            server.socket.is_up = True
            await until(lambda: server.noticed._known[0].ended)
            assert states(server.socket) == ["A", "B"]

    asyncio.run(scenario())
    (outage,) = server.noticed.noticed(0)
    assert (outage.late, outage.lost) == (2, 0)


def test_the_end_of_the_process_waits_for_the_server(server):
    async def scenario():
        async with client() as events:
            server.socket.is_up = False
            await events.emit(event("A"))
            back = asyncio.get_running_loop().call_later(0.05, setattr, server.socket, "is_up", True)
        assert back.when() <= asyncio.get_running_loop().time()

    asyncio.run(scenario())
    assert states(server.socket) == ["A"]


def test_a_stream_that_starts_in_an_outage_loses_nothing(server):
    async def scenario():
        server.socket.is_up = False
        async with client() as events:
            await events.emit(event("A"))
            server.socket.is_up = True

    asyncio.run(scenario())
    assert states(server.socket) == ["A"]


def answered(status):
    """Return the client's error after a proxy refuses its request for a stream."""
    return InvalidStatus(Response(status, "", Headers()))


REFUSALS = {
    "a port that is closed": ConnectionRefusedError(),
    "a connection that is reset": ConnectionResetError(),
    "a proxy that closes the connection": InvalidMessage("did not receive a valid HTTP response"),
    "a name that is not resolved": socket.gaierror(-2, "Name or service not known"),
    "a network that swallows everything": TimeoutError("timed out during opening handshake"),
    **{f"a proxy that answers {status}": answered(status) for status in (408, 429, 500, 502, 503, 504)},
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_stream_that_starts_in_an_outage_of_any_kind_loses_nothing(server, refusal):
    server.socket.refusal = refusal

    async def scenario():
        server.socket.is_up = False
        async with client() as events:
            await events.emit(event("A"))
            await until(lambda: server.noticed._known)
            server.socket.is_up = True

    asyncio.run(scenario())
    assert states(server.socket) == ["A"]


def test_a_connection_that_breaks_during_authentication_is_an_outage(server, monkeypatch):
    async def gone():
        raise ConnectionClosedError(None, None)

    with monkeypatch.context() as broken:
        broken.setattr(server.socket, "recv", gone)

        async def scenario():
            async with client() as events:
                await events.emit(event("A"))
                await until(lambda: server.noticed._known)
                broken.undo()

        asyncio.run(scenario())
    assert states(server.socket) == ["A"]


@pytest.mark.parametrize("status", [401, 403, 404])
def test_a_permanent_refusal_is_raised_at_once(server, status):
    server.socket.refusal, server.socket.is_up = answered(status), False

    async def scenario():
        async with client():
            pass

    with pytest.raises(InvalidStatus):
        asyncio.run(scenario())
    assert not server.noticed._known


def test_a_server_that_hung_while_the_stream_started_was_away(server, monkeypatch):
    monkeypatch.setattr(outages, "_HUNG", -1)

    async def scenario():
        async with client() as events:
            await events.emit(event("A"))

    asyncio.run(scenario())
    assert len(server.noticed.noticed(0)) == 1
    assert states(server.socket) == ["A"]


def test_events_that_a_server_accepted_but_did_not_store_are_resent(server):
    async def scenario():
        async with client() as events:
            await events.emit(event("A"))
            await until(lambda: len(events._accepted) > 2)  # accepted and confirmed
            server.socket.is_up = False
            await until(lambda: server.noticed._known)
            server.socket.is_up = True
            await until(lambda: server.noticed._known[0].ended)

    asyncio.run(scenario())
    assert states(server.socket) == ["A", "A"]
    assert server.noticed.noticed(0)[0].late == 0


def test_events_accepted_long_enough_ago_are_dropped(server, monkeypatch):
    monkeypatch.setattr(outages, "_SETTLED_AFTER", 0)

    async def scenario():
        async with client() as events:
            await events.emit(event("A"))
            await until(lambda: not events._unconfirmed_events)
            return events._is_open

    assert asyncio.run(scenario())


def test_reconnecting_at_once_is_no_outage(server):
    async def scenario():
        async with client() as events:
            events._on_break()
            await until(lambda: server.socket.connections == 2)
            await events.emit(event("A"))

    asyncio.run(scenario())
    assert not server.noticed.noticed(0)
    assert states(server.socket) == ["A"]


def test_reconnecting_late_is_an_outage(server, monkeypatch):
    monkeypatch.setattr(outages, "_HUNG", -1)

    async def scenario():
        server.socket.is_up = False
        async with client() as events:  # as after an unanswered handshake
            server.socket.is_up = True
            await events.emit(event("A"))
            await until(lambda: not events.is_away)

    asyncio.run(scenario())
    (outage,) = server.noticed.noticed(0)
    assert outage.late == 1


def test_states_are_counted_as_lost_if_the_server_does_not_return_in_time(server):
    async def scenario():
        async with client() as events:
            server.socket.is_up = False
            await events.emit(event("A"))

    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}):
        asyncio.run(scenario())
        (outage,) = server.noticed.noticed(0)
        assert (outage.late, outage.lost) == (0, 1)
        sentence = outage.as_event("flow").sentence()
        assert "has been away for" in sentence
        assert "1 state lost" in sentence


def test_no_more_events_are_kept_than_in_prefects_own_queue(server, monkeypatch):
    settings = SimpleNamespace(events=SimpleNamespace(worker_max_queue_size=2))
    monkeypatch.setattr(outages, "get_current_settings", lambda: settings)

    async def scenario():
        async with client() as events:
            server.socket.is_up = False
            await until(lambda: server.noticed._known)
            for name in "ABC":
                await events.emit(event(name))
            server.socket.is_up = True

    asyncio.run(scenario())
    assert states(server.socket) == ["B", "C"]
    assert server.noticed.noticed(0)[0].lost == 1


def test_the_wait_is_as_long_as_prefect_retries_requests():
    with temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 5}):
        assert patience() == 2 + 4 + 8 + 16 + 32


def test_a_lasting_outage_delays_no_longer_than_prefect_would(monkeypatch):
    monkeypatch.setattr(outages, "patience", lambda: 0.01)
    known = Outages()
    with temporary_settings({PREFECT_API_URL: HERE}):
        lasting = known.begin(HERE, real_time.monotonic())
        assert known.noticed(0) == [lasting]
    assert not lasting.as_event("flow").back


def test_an_outage_of_another_server_is_not_reported():
    known = Outages()
    known.begin("http://127.0.0.1:8/api", real_time.monotonic())
    with temporary_settings({PREFECT_API_URL: HERE}):
        assert known.noticed(0) == []
