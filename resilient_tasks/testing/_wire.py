"""HTTP/1.1 on real sockets: read requests, send responses, perform the faults that need the socket."""

from __future__ import annotations

import contextlib
import io
import json
import os
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler
from socketserver import ThreadingTCPServer
from typing import TYPE_CHECKING, Any, TypeAlias
from urllib.parse import parse_qsl, unquote, urlsplit

from resilient_tasks.testing.faults import Drip, Fault, Hang, Incomplete, Overlong, Reset, Slow

if TYPE_CHECKING:
    import ssl

# Closing a socket with this option drops what is unsent and sends RST instead of FIN.
_LINGER_ZERO = struct.pack("ii", 1, 0)
_DRIPS_PER_SECOND = 20
HOST = "127.0.0.1"
# How often the accepting thread checks whether to stop.
_POLL_SECONDS = 0.02


#: What a handler may return as the body of a response.
Body: TypeAlias = bytes | str | dict[str, Any] | list[Any]


@dataclass(frozen=True)
class Request:
    """A request as the server read it.

    Attributes:
        number: The request's number on this server, from 1.
        time: When it had been read, in Unix seconds.
        method: `GET` or `POST`.
        path: The decoded path, without the query.
        query: The query's fields; the last one if a field is repeated.
        headers: The headers, their names in lower case.
        body: The body, empty for most GETs.
    """

    number: int
    time: float
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def id(self) -> str:
        """The header `X-Request-ID`, with which a client identifies its request; empty without one."""
        return self.headers.get("x-request-id", "")

    def json(self) -> Any:
        """Parse the body.

        Raises:
            ValueError: The body is not JSON.
        """
        return json.loads(self.body)


@dataclass(frozen=True)
class Response:
    """A handler's response.

    Attributes:
        body: Bytes, text to send as UTF-8, or a dict or list to send as JSON.
        status: The HTTP status.
        content_type: The body's media type.
        headers: Further headers.

    Raises:
        TypeError: The body is none of these, or holds a value that JSON does not have.
    """

    body: Body = b""
    status: int = 200
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if isinstance(self.body, dict | list):
            object.__setattr__(self, "body", json.dumps(self.body))
        if not isinstance(self.body, bytes | str):
            kind = type(self.body).__name__
            msg = f"A body is bytes, text, or a dict or list to send as JSON, not {kind}: pass json.dumps(...) of it."
            raise TypeError(msg)

    @property
    def payload(self) -> bytes:
        """The body in bytes, as it is sent."""
        return self.body if isinstance(self.body, bytes) else str(self.body).encode()


#: Takes the request, and a function that returns whether the client has left.
Answer: TypeAlias = Callable[[Request, Callable[[], bool]], tuple[Fault | None, Response]]


def reserve(port: int = 0) -> socket.socket:
    """Bind a port without listening on it: connections are refused, and the system gives the port to no one else.

    Without the reservation, a client that dials a free port can even connect to itself.
    """
    held = socket.socket()
    try:
        if os.name != "nt":
            held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        held.bind((HOST, port))
    except OSError:
        held.close()
        raise
    return held


def reset(connection: socket.socket) -> None:
    """Close a connection with a TCP reset: unsent data is dropped, and RST is sent instead of FIN."""
    with contextlib.suppress(OSError):
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_ZERO)
    connection.close()


class HTTPListener(ThreadingTCPServer):
    """Passes each request to `answer`, and performs the fault and response that it returns.

    A daemon thread serves each connection; stopping waits for no client.

    Attributes:
        stopping: Set when it is to stop; hangs and drips end then.
    """

    # On Unix this allows for connections in TIME_WAIT; on Windows it would let two servers share the port.
    allow_reuse_address = os.name != "nt"
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(
        self, port: int, answer: Answer, next_number: Callable[[], int], tls: ssl.SSLContext | None = None
    ) -> None:
        self.answer = answer
        self.next_number = next_number
        self.tls = tls
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((HOST, port), _Connection)
        self._acceptor = threading.Thread(target=self.serve_forever, args=(_POLL_SECONDS,), daemon=True)
        self._acceptor.start()

    @property
    def port(self) -> int:
        return int(self.server_address[1])

    def stop(self) -> None:
        """Close the port, end hangs and drips, and drop every connection, idle ones included."""
        self.stopping.set()
        self.shutdown()
        self.server_close()
        self._acceptor.join()
        with self._lock:
            for connection in self._connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)

    def process_request(self, request: Any, client_address: Any) -> None:
        with self._lock:
            self._connections.add(request)
        super().process_request(request, client_address)

    def finish_request(self, request: Any, client_address: Any) -> None:
        if self.tls is None:
            super().finish_request(request, client_address)
            return
        # Here, and not where connections are accepted: a slow or refused handshake must not delay the others.
        with self.tls.wrap_socket(request, server_side=True) as secure:
            super().finish_request(secure, client_address)

    def close_request(self, request: Any) -> None:
        with self._lock:
            self._connections.discard(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that give up are expected here; any other error is a defect to show.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)


class _Connection(BaseHTTPRequestHandler):
    server: HTTPListener
    protocol_version = "HTTP/1.1"
    server_version = "FaultyServer"
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        try:
            request = self._read()
        except ValueError:
            self.send_error(400, "The length of the body is not a number")
            return
        fault, response = self.server.answer(request, self._client_left)
        self._perform(fault, response)

    do_POST = do_GET  # noqa: N815 - the name that http.server looks up

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class's name
        """Write nothing to stderr: the server keeps its own log."""

    def _read(self) -> Request:
        url = urlsplit(self.path)
        if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
            body = self._read_chunks()
        else:
            length = int(self.headers.get("Content-Length", "0"))
            body = self.rfile.read(length)
            if len(body) < length:
                raise ConnectionAbortedError("the client left before it had sent the whole body")
        return Request(
            number=self.server.next_number(),
            time=time.time(),
            method=self.command,
            path=unquote(url.path),
            query=dict(parse_qsl(url.query, keep_blank_values=True)),
            headers={name.lower(): value for name, value in self.headers.items()},
            body=body,
        )

    def _read_chunks(self) -> bytes:
        chunks = []
        while size := int(self.rfile.readline().split(b";")[0], 16):
            chunks.append(self.rfile.read(size))
            self.rfile.readline()
        while self.rfile.readline().strip():
            pass  # trailers
        return b"".join(chunks)

    def _client_left(self) -> bool:
        """Return whether the client has closed its end, by peeking at the socket."""
        before = self.connection.gettimeout()
        self.connection.settimeout(0)
        try:
            return not socket.socket.recv(self.connection, 1, socket.MSG_PEEK)  # below TLS, which cannot peek
        except BlockingIOError:
            return False
        except OSError:  # it reset the connection
            return True
        finally:
            self.connection.settimeout(before)

    def _perform(self, fault: Fault | None, response: Response) -> None:
        body = response.payload
        match fault:
            case Hang(seconds):
                self.server.stopping.wait(seconds)
                self.close_connection = True
            case Reset(after_bytes):
                self._send_part(response, min(after_bytes, len(body) - 1))
                self._reset()
            case Incomplete(keep):
                self._send_part(response, int(keep * len(body)))
            case Overlong(announced):
                closing = replace(response, headers={**response.headers, "Connection": "close"})
                self._send_head(closing, int(announced * len(body)))
                self.wfile.write(body)
            case Drip(bytes_per_second, "head"):
                self._drip(self._head(response), bytes_per_second)
                self.wfile.write(body)
            case Drip(bytes_per_second):
                self._send_head(response, len(body))
                self._drip(body, bytes_per_second)
            case Slow(seconds) if self.server.stopping.wait(seconds):
                self.close_connection = True
            case _:
                self._send_head(response, len(body))
                self.wfile.write(body)

    def _send_head(self, response: Response, length: int) -> None:
        self.send_response(response.status)
        self.send_header("Content-Type", response.content_type)
        self.send_header("Content-Length", str(length))
        for name, value in response.headers.items():
            self.send_header(name, value)
        self.end_headers()

    def _head(self, response: Response) -> bytes:
        """Return the status line and the headers, as `_send_head` sends them."""
        connection, head = self.wfile, io.BytesIO()
        self.wfile = head
        try:
            self._send_head(response, len(response.payload))
        finally:
            self.wfile = connection
        return head.getvalue()

    def _send_part(self, response: Response, count: int) -> None:
        # An empty body is announced as one byte: otherwise the client would have received all of it.
        self._send_head(response, max(len(response.payload), 1))
        self.wfile.write(response.payload[: max(count, 0)])
        self.close_connection = True

    def _drip(self, body: bytes, bytes_per_second: float) -> None:
        step = max(1, int(bytes_per_second / _DRIPS_PER_SECOND))
        for start in range(0, len(body), step):
            self.wfile.write(body[start : start + step])
            if self.server.stopping.wait(step / bytes_per_second):
                self.close_connection = True
                return

    def _reset(self) -> None:
        # The files that http.server opened on the socket would keep it open, so it goes by its descriptor.
        reset(socket.socket(fileno=self.connection.detach()))
