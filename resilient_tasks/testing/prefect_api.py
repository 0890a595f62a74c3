"""A Prefect API in memory: flows and tasks of this process run against it in milliseconds, without a Prefect server.

    with PrefectApi() as api:
        with temporary_settings({PREFECT_API_URL: api.url}):
            monthly()
        assert api.flow_runs[0]["state_name"] == "Completed"

It speaks Prefect's own protocol over HTTP and a web socket on loopback, so Prefect's client and engine run unchanged.
What it does not know (deployments, workers, automations, pauses) is answered with an error that says so.
"""

from __future__ import annotations

import contextlib
import json
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import SHUT_WR
from typing import TYPE_CHECKING, Any, Self
from urllib.parse import parse_qsl, urlsplit

from resilient_tasks.testing._prefect_rules import Absent, Missing, PrefectInMemory, Record
from resilient_tasks.testing._wire import HOST

if TYPE_CHECKING:
    from types import TracebackType

    from websockets.server import ServerProtocol

_PREFIX = "/api"
# How often the accepting thread checks whether to stop.
_POLL_SECONDS = 0.02
#: A certificate that no server has: its key was deleted, and it has expired. Prefect reads a file of certificates for
#: each run, even if the API's URL is plain HTTP; the usual file has 150 of them, which takes longer than the run.
CERTIFICATE = """\
-----BEGIN CERTIFICATE-----
MIIBYTCCAQegAwIBAgIBATAKBggqhkjOPQQDAjA6MTgwNgYDVQQDDC9yZXNpbGll
bnQtdGFza3M6IG5vIHNlcnZlciBoYXMgdGhpcyBjZXJ0aWZpY2F0ZTAeFw0yNjAx
MDEwMDAwMDBaFw0yNjAxMDIwMDAwMDBaMDoxODA2BgNVBAMML3Jlc2lsaWVudC10
YXNrczogbm8gc2VydmVyIGhhcyB0aGlzIGNlcnRpZmljYXRlMFkwEwYHKoZIzj0C
AQYIKoZIzj0DAQcDQgAEZwdV3wABAEFmoM20DF/Jr1m6kYI9S2JkhbM3UjRFDWcr
zXlOtBTIP4uy96vHPfwyCduqzAFUyA+uR9cL5l3TCzAKBggqhkjOPQQDAgNIADBF
AiB2Yu7Gg3Z3C6qLYPtfo6y52T0t4TJ7lO/KMnesdI8TLgIhAK+Z1v4dWNQLzMca
4mEmoOlm5oqvvTWXmeJsvkh9O0Xa
-----END CERTIFICATE-----
"""


class PrefectApi:
    """An API in memory, at `url` while it runs."""

    def __init__(self, send_events: Callable[[], object] = lambda: None) -> None:
        """Prepare the API; `start` or a with statement opens its port.

        Args:
            send_events: Is called before task runs are read: waits until Prefect's client has sent its events, from
                which the API knows them.
        """
        self.memory: PrefectInMemory = PrefectInMemory()
        self._send_events = send_events
        self._server: _Server | None = None

    def start(self) -> Self:
        """Open a port on 127.0.0.1 and start answering."""
        if self._server is None:
            self._server = _Server(self)
            serve = threading.Thread(
                target=self._server.serve_forever, args=(0.02,), name="resilient-prefect", daemon=True
            )
            serve.start()
        return self

    def stop(self) -> None:
        """Close the port; do nothing if not running."""
        server, self._server = self._server, None
        if server is not None:
            server.shutdown()
            server.server_close()

    def __enter__(self) -> Self:
        """Start the API."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the API."""
        self.stop()

    @property
    def url(self) -> str:
        """The address for `PREFECT_API_URL`.

        Raises:
            RuntimeError: The API is not running.
        """
        if self._server is None:
            raise RuntimeError("The API is not running: start it, or use it in a with statement.")
        return f"http://{HOST}:{self._server.server_address[1]}{_PREFIX}"

    @property
    def flow_runs(self) -> list[Record]:
        """The flow runs, oldest first, as the API's JSON."""
        return _copied(self.memory, self.memory.flow_runs.values())

    @property
    def task_runs(self) -> list[Record]:
        """The task runs, oldest first, as the API's JSON."""
        self._send_events()
        return _copied(self.memory, self.memory.task_runs.values())

    def states_of(self, run_id: str) -> list[Record]:
        """Return the states of a flow run or task run, oldest first."""
        self._send_events()
        return _copied(self.memory, self.memory.states.get(str(run_id), []))


def _copied(memory: PrefectInMemory, objects: Any) -> list[Record]:
    with memory.lock:
        return json.loads(json.dumps(list(objects)))  # type: ignore[no-any-return]  # as it was written


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, api: PrefectApi) -> None:
        self.api = api
        super().__init__((HOST, 0), _Connection)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore clients that leave."""


class _Connection(BaseHTTPRequestHandler):
    server: _Server
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    wbufsize = -1  # one packet a response

    def do_GET(self) -> None:
        if self.headers.get("Upgrade", "").lower() == "websocket":
            self.close_connection = True
            self._receive_events()
        else:
            self._answer()

    def do_POST(self) -> None:  # the names that http.server looks up
        self._answer()

    do_PATCH = do_PUT = do_DELETE = do_POST  # noqa: N815

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002  # the base class's name
        """Write nothing to stderr."""

    def _answer(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        raw = self.rfile.read(length)
        url = urlsplit(self.path)
        path = url.path.removeprefix(_PREFIX)
        try:
            body = json.loads(raw) if raw else None
            status, answer = self.server.api.memory.answer(self.command, path, dict(parse_qsl(url.query)), body)
        except Missing as missing:
            status, answer = 501, {"detail": f"{missing} needs a real server: use the fixture resilient_prefect"}
        except Absent:
            status, answer = 404, {"detail": "Not found"}
        payload = b"" if status == 204 else json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(payload)))
        self.end_headers()
        self.wfile.write(payload)
        self.wfile.flush()

    def _receive_events(self) -> None:
        """Speak the protocol of Prefect's event stream: log in, then one event a message."""
        from websockets.server import ServerProtocol  # noqa: PLC0415  # with the first event

        socket = ServerProtocol(subprotocols=["prefect"])  # type: ignore[list-item]  # a NewType of str
        head = [self.requestline, *(f"{name}: {value}" for name, value in self.headers.items()), "", ""]
        socket.receive_data("\r\n".join(head).encode())
        (request,) = socket.events_received()
        socket.send_response(socket.accept(request))  # type: ignore[arg-type]  # the first event is a request
        self._send(socket)
        for text in self._messages(socket):
            message = json.loads(text)
            if message.get("type") == "auth":
                socket.send_text(json.dumps({"type": "auth_success"}).encode())
                self._send(socket)
            else:
                self.server.api.memory.receive(message)

    def _messages(self, socket: ServerProtocol) -> Iterator[bytes]:
        parts: list[bytes] = []
        with contextlib.suppress(OSError):
            while data := self.connection.recv(65536):
                socket.receive_data(data)
                for frame in socket.events_received():
                    if getattr(frame, "opcode", None) in (0, 1, 2):  # a continuation, a text, or bytes
                        parts.append(bytes(frame.data))  # type: ignore[union-attr]  # no request has an opcode
                        if frame.fin:  # type: ignore[union-attr]  # as above
                            yield b"".join(parts)
                            parts = []
                self._send(socket)

    def _send(self, socket: ServerProtocol) -> None:
        for data in socket.data_to_send():
            if data:
                self.connection.sendall(data)
            else:  # the end, once the client has closed
                self.connection.shutdown(SHUT_WR)
