"""Servers on loopback that misbehave in one way each. A handler receives a connection."""

import contextlib
import json
import socket
import ssl
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import cache
from pathlib import Path

HOST = "127.0.0.1"
UNRESOLVABLE = "no-such-host.invalid"  # RFC 6761: never resolves
Handler = Callable[[socket.socket], None]


@contextmanager
def serving(handler: Handler) -> Iterator[int]:
    """Yield the port of a server that handles each connection in its own thread."""
    listener = socket.create_server((HOST, 0))
    open_ones: list[socket.socket] = []

    def handle(connection: socket.socket) -> None:
        with contextlib.suppress(OSError, ssl.SSLError, struct.error), connection:
            handler(connection)

    def accept() -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                connection.settimeout(5)
                open_ones.append(connection)
                threading.Thread(target=handle, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    try:
        yield listener.getsockname()[1]
    finally:
        with contextlib.suppress(OSError):
            listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        for connection in open_ones:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


@cache
def closed_port() -> int:
    """Return a port on which nothing listens: bound for as long as this process runs, and refusing."""
    holder = socket.socket()
    holder.bind((HOST, 0))
    _held.append(holder)
    return int(holder.getsockname()[1])


def refusing() -> str:
    """Return a URL at which connections are refused."""
    return f"http://{HOST}:{closed_port()}"


_held: list[socket.socket] = []


def read_exactly(connection: socket.socket, size: int) -> bytes:
    """Read `size` bytes, or raise an OSError if the client has disconnected."""
    data = b""
    while len(data) < size:
        more = connection.recv(size - len(data))
        if not more:
            raise OSError("gone")
        data += more
    return data


def read_request(connection: socket.socket) -> bytes:
    """Read one HTTP request, with its body if it has a length or is chunked."""
    data = b""
    while b"\r\n\r\n" not in data:
        more = connection.recv(65536)
        if not more:
            return data
        data += more
    head, _, body = data.partition(b"\r\n\r\n")
    lower = head.lower()
    if b"expect: 100-continue" in lower:
        connection.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
    if b"content-length:" in lower:
        length = int(lower.partition(b"content-length:")[2].partition(b"\r\n")[0])
        while len(body) < length and (more := connection.recv(65536)):
            body += more
    elif b"transfer-encoding: chunked" in lower:
        while not body.endswith(b"0\r\n\r\n") and (more := connection.recv(65536)):
            body += more
    return head + b"\r\n\r\n" + body


def reset(connection: socket.socket) -> None:
    """End the connection with a reset instead of a goodbye."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def hang(connection: socket.socket) -> None:
    """Read, and never respond."""
    while connection.recv(65536):
        pass


def hang_up(connection: socket.socket) -> None:
    """Read, then close the connection."""
    connection.recv(65536)


def speaks(*replies: bytes, greets: bool = True) -> Handler:
    """Answer a line protocol: the first reply greets, then one follows each thing sent, the last one over and over."""

    def handler(connection: socket.socket) -> None:
        left = list(replies)
        if greets:
            connection.sendall(left.pop(0))
        while left and connection.recv(65536):
            connection.sendall(left[0] if len(left) == 1 else left.pop(0))

    return handler


def raw(answer: bytes, end: Callable[[socket.socket], None] | None = None) -> Handler:
    """Answer an HTTP request with these bytes, then end the connection in this way."""

    def handler(connection: socket.socket) -> None:
        asked = read_request(connection)
        connection.sendall(answer.partition(b"\r\n\r\n")[0] + b"\r\n\r\n" if asked.startswith(b"HEAD ") else answer)
        if end is not None:
            end(connection)

    return handler


def http_answer(status: int, body: object = b"", headers: Mapping[str, str] | None = None) -> bytes:
    """Lay out an HTTP response; a body that is no text is sent as JSON."""
    kind = "text/plain"
    if isinstance(body, str):
        body = body.encode()
        kind = "application/xml" if body.startswith(b"<") else "text/plain"
    elif not isinstance(body, bytes):
        body, kind = json.dumps(body).encode(), "application/json"
    fields = {"Content-Type": kind, "Content-Length": str(len(body)), "Connection": "close"} | dict(headers or {})
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"HTTP/1.1 {status} Said So\r\n{lines}\r\n".encode() + body


@contextmanager
def web(handler: Handler) -> Iterator[str]:
    """Give the URL of an HTTP server with this handler."""
    with serving(handler) as port:
        yield f"http://{HOST}:{port}"


@contextmanager
def answering(status: int, body: object = b"", headers: Mapping[str, str] | None = None) -> Iterator[str]:
    """Give the URL of an HTTP server that gives every request this answer."""
    with web(raw(http_answer(status, body, headers))) as url:
        yield url


def streaming(*events: str) -> Handler:
    """Answer with server-sent events."""
    text = "".join(f"{event}\n\n" for event in events)
    return raw(http_answer(200, text, {"Content-Type": "text/event-stream"}))


_LONG = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 100000\r\n\r\n" + b"x" * 500


def _then_reset(connection: socket.socket) -> None:
    # The client is to read the beginning first: a reset discards what is still under way.
    threading.Event().wait(0.1)
    reset(connection)


WEB: dict[str, Handler] = {
    "no answer": hang,
    "reset": lambda connection: (read_request(connection), reset(connection))[0] and None,
    "hang-up": lambda connection: read_request(connection) and None,
    "reset in mid-body": raw(_LONG, _then_reset),
    "body cut short": raw(_LONG),
    "body stalls": raw(_LONG, hang),
    "no HTTP": raw(b"SSH-2.0-OpenSSH_9.6\r\n\r\n"),
    "broken gzip": raw(http_answer(200, b"this is no gzip", {"Content-Encoding": "gzip"})),
    "chunks cut short": raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1000\r\nabc"),
    "not JSON": raw(http_answer(200, "<html>Sign in</html>", {"Content-Type": "application/json"})),
}


@cache
def _of_this_run() -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix="kinds-")  # removed when the process ends


def folder() -> Path:
    """Return a new, empty folder, which goes when the process ends."""
    return Path(tempfile.mkdtemp(dir=_of_this_run().name))


@cache
def certificate(*, expired: bool = False) -> str:
    """Return the path of a self-signed certificate for localhost with its key."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    names = x509.SubjectAlternativeName([x509.DNSName("localhost")])
    until = now - timedelta(days=1) if expired else now + timedelta(days=1)
    made = x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
    made = made.serial_number(1).not_valid_before(now - timedelta(days=9)).not_valid_after(until)
    signed = made.add_extension(names, critical=False).sign(key, hashes.SHA256())
    form = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    path = folder() / "server.pem"
    path.write_bytes(key.private_bytes(serialization.Encoding.PEM, *form))
    with path.open("ab") as file:
        file.write(signed.public_bytes(serialization.Encoding.PEM))
    return str(path)


@contextmanager
def tls(handler: Handler = hang_up, *, expired: bool = False) -> Iterator[int]:
    """Give the port of a server that speaks TLS with a certificate that no client trusts."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate(expired=expired))

    def handle(connection: socket.socket) -> None:
        with context.wrap_socket(connection, server_side=True) as secured:
            handler(secured)

    with serving(handle) as port:
        yield port
