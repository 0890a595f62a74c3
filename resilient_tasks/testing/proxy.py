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
import re
import selectors
import socket
import threading
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Self

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters import durations
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.testing import _given
from resilient_tasks.testing._wire import HOST, reserve, reset

if TYPE_CHECKING:
    from types import TracebackType

    from resilient_tasks.core.parameters.durations import Duration

_CHUNK = 65536
#: A name, or an address of IPv4 or IPv6.
_HOST = re.compile(r"[\w.-]+|(?=.*:.*:)[0-9A-Fa-f:.]+(%\w+)?")


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
            PolicyError: A port is not a number from 1 to 65535, a host is no name or address, or the proxy would
                connect to itself.
        """
        if isinstance(to_port, bool) or not isinstance(to_port, int) or not 0 < to_port < 65536:
            raise PolicyError(f"FaultyProxy(to_port) is the port of a server, not {to_port!r}: write FaultyProxy(5432)")
        if not isinstance(to_host, str) or not _HOST.fullmatch(to_host):
            such_as = 'such as "localhost" or "10.0.0.7", without a scheme or a port'
            raise PolicyError(f"FaultyProxy(to_host=...) is a name or an address, {such_as}, not {to_host!r}")
        _given.check_port(port, "FaultyProxy(port=...)")
        if port == to_port and to_host in {HOST, "localhost"}:
            raise PolicyError(f"FaultyProxy(port={port}) is the server's own port: leave port= out for a free one")
        self._to = (to_host, to_port)
        self._port = port
        self._is_running = False
        self._listener: socket.socket | None = None
        self._pairs: set[_Pair] = set()
        self._lock = threading.RLock()
        self._blocks = {"offline": 0, "silent": 0}
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
            OSError: The port is in use, or this machine does not know the server's host.
        """
        if self._is_running:
            raise RuntimeError(f"The proxy is already running at port {self.port}.")
        try:
            socket.getaddrinfo(*self._to)
        except OSError as error:
            raise OSError(f"FaultyProxy(to_host=...): this machine does not know {self._to[0]!r} ({error})") from None
        self._open()
        self._is_running = True
        return self

    def stop(self) -> None:
        """Close the port, and reset every connection; do nothing if not running."""
        self._is_running = False
        self._close()

    def _open(self) -> None:
        listener = reserve(self._port)
        listener.listen(128)
        listener.setblocking(False)
        self._port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), name="resilient-proxy", daemon=True).start()

    def _close(self) -> None:
        self.drop()
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
        """Reset every connection (TCP RST), and return how many there were. New connections work.

        A client that has just connected counts, also if the proxy has not reached the server yet.
        """
        with self._lock:
            if self._listener is not None:
                self._take(self._listener)
            pairs, self._pairs = self._pairs, set()
            for pair in pairs:
                pair.reset()
        return len(pairs)

    @contextlib.contextmanager
    def offline(self) -> Iterator[None]:
        """Reset every connection and refuse new ones, for the length of a with block.

        Of blocks inside of each other, the last one to end counts.

        Raises:
            RuntimeError: The proxy is not running.
        """
        if not self._is_running:
            raise RuntimeError("The proxy is not running: start it, or use it in a with statement.")
        with self._block("offline") as is_first:
            if is_first:
                self._close()
                self._held = reserve(self._port)
        try:
            yield
        finally:
            with self._block("offline", -1) as is_last:
                if is_last:
                    self._held.close()
                    if self._is_running:
                        self._open()

    @contextlib.contextmanager
    def silent(self) -> Iterator[None]:
        """Forward nothing in either direction, for the length of a with block; then forward what has come.

        Of blocks inside of each other, the last one to end counts.
        """
        with self._block("silent"):
            self._open_gate.clear()
        try:
            yield
        finally:
            with self._block("silent", -1) as is_last:
                if is_last:
                    self._open_gate.set()

    @contextlib.contextmanager
    def _block(self, kind: str, more: int = 1) -> Iterator[bool]:
        """Count a block that begins or ends; yield whether it is the first to begin, or the last to end."""
        with self._lock:
            before = self._blocks[kind]
            self._blocks[kind] += more
            yield 0 in {before, self._blocks[kind]}

    @contextlib.contextmanager
    def slow(self, seconds: Duration) -> Iterator[None]:
        """Delay everything by `seconds`, in each direction, for the length of a with block."""
        before, self._delay = self._delay, durations.seconds(seconds, "slow(seconds)", zero=True)
        try:
            yield
        finally:
            self._delay = before

    def _accept(self, listener: socket.socket) -> None:
        with contextlib.suppress(OSError, ValueError), selectors.DefaultSelector() as ready:  # until it is closed
            ready.register(listener, selectors.EVENT_READ)
            while self._listener is listener:
                if ready.select(1):
                    with self._lock:
                        self._take(listener)

    def _take(self, listener: socket.socket) -> None:
        """Accept all clients that are waiting. Held under the lock, so that each is waiting or in `_pairs`."""
        with contextlib.suppress(OSError):
            while self._listener is listener:
                client, _ = listener.accept()
                client.setblocking(True)
                self._pairs.add(pair := _Pair(client))
                threading.Thread(target=self._serve, args=(pair, client), name="resilient-proxy", daemon=True).start()

    def _serve(self, pair: _Pair, client: socket.socket) -> None:
        try:
            server = socket.create_connection(self._to, timeout=10)
        except OSError:
            pair.reset()  # as if the server's host refused
            with self._lock:
                self._pairs.discard(pair)
            return
        server.settimeout(None)
        with self._lock:
            pair.sockets.append(server)
            if pair.is_reset:
                reset(server)
                return
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
    """The connections of one client: to the client, and to the server once it has answered."""

    def __init__(self, *sockets: socket.socket) -> None:
        self.sockets = [*sockets]
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
