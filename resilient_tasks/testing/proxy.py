"""A TCP proxy that stands between a client and a real server, such as a database, and takes the server away.

    with FaultyProxy(5432) as proxy:
        connection = psycopg.connect(host=proxy.host, port=proxy.port)
        proxy.drop()  # the connection is reset; the next one works
        with proxy.offline():
            ...  # refused
        with proxy.silent():
            ...  # connected, but nothing arrives

It forwards bytes without reading them, so any protocol works: PostgreSQL, MySQL, Redis, HTTP.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters import durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.testing._wire import HOST, reserve, reset

if TYPE_CHECKING:
    from types import TracebackType

    from resilient_tasks.core.parameters.durations import Duration

_CHUNK = 65536


@answering("FaultyProxy(5432)")
class FaultyProxy:
    """A port on 127.0.0.1 that forwards to a server, until it is asked to fail.

    Attributes:
        host: 127.0.0.1.
    """

    host: str = HOST

    def __init__(self, to_port: int, to_host: str = HOST, *, port: int = 0) -> None:
        """Prepare a proxy; `start` or a with statement opens its port.

        Args:
            to_port: The server's port.
            to_host: The server's host.
            port: The proxy's port; 0 picks a free one.

        Raises:
            PolicyError: A port is not a number from 1 to 65535.
        """
        if isinstance(to_port, bool) or not isinstance(to_port, int) or not 0 < to_port < 65536:
            raise PolicyError(f"FaultyProxy(to_port) is the port of a server, not {to_port!r}: write FaultyProxy(5432)")
        self._to = (to_host, to_port)
        self._port = port
        self._listener: socket.socket | None = None
        self._pairs: set[_Pair] = set()
        self._lock = threading.Lock()
        self._open_gate = threading.Event()
        self._open_gate.set()
        self._delay = 0.0

    @property
    def port(self) -> int:
        """The port.

        Raises:
            RuntimeError: The proxy picks its port at the start, and has not been started.
        """
        if not self._port:
            raise RuntimeError("The proxy has no port yet: start it, or use it in a with statement.")
        return self._port

    @property
    def connections(self) -> int:
        """The number of clients that are connected now."""
        with self._lock:
            return len(self._pairs)

    def start(self) -> Self:
        """Open the port and start forwarding.

        Raises:
            RuntimeError: The proxy is running already.
            OSError: The port is in use.
        """
        if self._listener is not None:
            raise RuntimeError(f"The proxy is already running at port {self.port}.")
        listener = reserve(self._port)
        listener.listen(128)
        self._port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="resilient-proxy", daemon=True).start()
        return self

    def stop(self) -> None:
        """Close the port, and reset every connection; do nothing if not running."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # wakes the thread that accepts
            listener.close()
        self.drop()

    def __enter__(self) -> Self:
        """Start the proxy."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the proxy."""
        self.stop()

    def drop(self) -> int:
        """Reset every connection (TCP RST), and return how many there were. New connections work."""
        with self._lock:
            pairs, self._pairs = self._pairs, set()
        for pair in pairs:
            pair.reset()
        return len(pairs)

    @contextlib.contextmanager
    def offline(self) -> Iterator[None]:
        """Reset every connection and refuse new ones, for the length of a with block."""
        self.stop()
        try:
            with reserve(self._port):
                yield
        finally:
            self.start()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Forward nothing in either direction, for the length of a with block; then forward what has come."""
        self._open_gate.clear()
        try:
            yield
        finally:
            self._open_gate.set()

    @contextlib.contextmanager
    def slow(self, seconds: Duration) -> Iterator[None]:
        """Delay everything by `seconds`, in each direction, for the length of a with block."""
        before, self._delay = self._delay, durations.seconds(seconds, "slow(seconds)", zero=True)
        try:
            yield
        finally:
            self._delay = before

    def _accept(self, listener: socket.socket) -> None:
        while self._listener is listener:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), name="resilient-proxy", daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._to, timeout=10)
        except OSError:
            reset(client)  # as if the server's host refused
            return
        server.settimeout(None)
        pair = _Pair(client, server)
        with self._lock:
            self._pairs.add(pair)
        if self._listener is None:  # it stopped in the meantime
            self.drop()
        back = threading.Thread(target=self._forward, args=(pair, server, client), name="resilient-proxy", daemon=True)
        back.start()
        self._forward(pair, client, server)
        back.join()
        with self._lock:
            self._pairs.discard(pair)
        pair.close()

    def _forward(self, pair: _Pair, source: socket.socket, target: socket.socket) -> None:
        """Forward bytes, and the end of the source, until the pair is reset."""
        with contextlib.suppress(OSError):
            while data := source.recv(_CHUNK):
                if self._delay:
                    time.sleep(self._delay)
                self._open_gate.wait()
                target.sendall(data)
            if not pair.is_reset:  # a FIN would come before the RST
                target.shutdown(socket.SHUT_WR)


class _Pair:
    """The connections of one client: to the client, and to the server."""

    def __init__(self, *sockets: socket.socket) -> None:
        self.sockets = sockets
        self.is_reset = False

    def reset(self) -> None:
        self.is_reset = True
        for each in self.sockets:
            with contextlib.suppress(OSError):
                each.shutdown(socket.SHUT_RD)  # wakes the thread that reads
            reset(each)

    def close(self) -> None:
        for each in self.sockets:
            each.close()
