"""A listening socket for any protocol, with a thread per connection; stopping it waits for no client."""

from __future__ import annotations

import contextlib
import os
import socket
import sys
import threading
from socketserver import BaseRequestHandler, ThreadingTCPServer
from typing import Any

HOST = "127.0.0.1"
# How often the accepting thread checks whether to stop.
_POLL_SECONDS = 0.02


class Listener(ThreadingTCPServer):
    """One listening socket with a daemon thread per connection.

    Attributes:
        stopping: Set when it is to stop; hangs and drips end then.
    """

    # On Unix this allows for connections in TIME_WAIT; on Windows it would let two servers share the port.
    allow_reuse_address = os.name != "nt"
    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, port: int, session: type[BaseRequestHandler]) -> None:
        self.stopping = threading.Event()
        self._connections: set[socket.socket] = set()
        self._lock = threading.Lock()
        super().__init__((HOST, port), session)
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

    def keep_track(self, connection: socket.socket, instead_of: socket.socket | None = None) -> None:
        """Track a connection, to drop it on `stop`. TLS replaces its socket."""
        with self._lock:
            self._connections.discard(instead_of)
            self._connections.add(connection)

    def forget(self, connection: socket.socket) -> None:
        """Stop tracking a closed connection."""
        with self._lock:
            self._connections.discard(connection)

    def process_request(self, request: Any, client_address: Any) -> None:
        self.keep_track(request)
        super().process_request(request, client_address)

    def close_request(self, request: Any) -> None:
        self.forget(request)
        super().close_request(request)

    def handle_error(self, request: Any, client_address: Any) -> None:
        # Clients that give up are expected here; any other error is a defect to show.
        if not isinstance(sys.exc_info()[1], OSError):
            super().handle_error(request, client_address)
