"""WebSocket clients: the handshake is HTTP, and the rest is not."""

from contextlib import nullcontext
from typing import Any

from .corpus import PERMANENT, THROTTLED, TIMEOUT, TRANSIENT, case
from .servers import WEB, answering, web

SHORT = 0.3  # seconds that a client waits


WEBSOCKETS = (
    (
        "503 to the handshake",
        lambda: answering(503),
        TRANSIENT,
        "unavailable for now",
        "InvalidStatus",
        "WebSocketBadStatusException",
    ),
    (
        "429 to the handshake",
        lambda: answering(429),
        THROTTLED,
        "too many requests",
        "InvalidStatus",
        "WebSocketBadStatusException",
    ),
    (
        "401 to the handshake",
        lambda: answering(401),
        PERMANENT,
        "no right to it",
        "InvalidStatus",
        "WebSocketBadStatusException",
    ),
    (
        "no answer to the handshake",
        lambda: web(WEB["no answer"]),
        TIMEOUT,
        "the next call may be answered",
        "TimeoutError",
        "WebSocketTimeoutException",
    ),
    (
        "hang-up in the handshake",
        lambda: web(WEB["hang-up"]),
        TRANSIENT,
        "a broken connection",
        "InvalidMessage",
        "WebSocketConnectionClosedException",
    ),
    (
        "an address without a scheme",
        lambda: nullcontext("127.0.0.1/feed"),
        PERMANENT,
        "the caller's mistake",
        "InvalidURI",
        "ValueError",
    ),
)


def by_websockets(url: str) -> Any:
    from websockets.sync.client import connect

    with connect(url.replace("http", "ws"), open_timeout=SHORT, proxy=None) as connection:
        return connection.recv(timeout=SHORT)


def by_websocket_client(url: str) -> Any:
    import websocket

    return websocket.create_connection(url.replace("http", "ws"), timeout=SHORT).recv()


for _what, _server, _wanted, _reason, *_errors in WEBSOCKETS:
    for _library, _error, _client in zip(
        ("websockets", "websocket-client"), _errors, (by_websockets, by_websocket_client), strict=True
    ):

        @case(_library, _error, _what, _wanted, _reason)
        def _(client=_client, server=_server) -> Any:
            with server() as url:
                return client(url)


@case(
    "websockets", "ConnectionClosedError", "1006: gone without a goodbye", TRANSIENT, "a broken connection", built=True
)
def _() -> Any:
    from websockets.exceptions import ConnectionClosedError

    return ConnectionClosedError(None, None)


@case("websockets", "ConnectionClosedError", "1012: the service restarts", TRANSIENT, "it says so", built=True)
def _() -> Any:
    from websockets.exceptions import ConnectionClosedError
    from websockets.frames import Close

    return ConnectionClosedError(Close(1012, ""), None)


@case(
    "websockets",
    "ConnectionClosedError",
    "1008: policy violation",
    PERMANENT,
    "the server refuses this client",
    built=True,
)
def _() -> Any:
    from websockets.exceptions import ConnectionClosedError
    from websockets.frames import Close

    return ConnectionClosedError(Close(1008, "token not allowed"), None)
