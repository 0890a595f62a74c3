"""The proxy before a real server, which takes the server away."""

import contextlib
import socket
import threading

import pytest

from resilient_tasks import PolicyError
from resilient_tasks.testing import FaultyProxy


@pytest.fixture
def echo():
    """Return the port of a server that sends back what it receives."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve():
        with contextlib.suppress(OSError):
            while True:
                connection, _ = listener.accept()
                threading.Thread(target=reply, args=(connection,), daemon=True).start()

    def reply(connection):
        with connection, contextlib.suppress(OSError):
            while data := connection.recv(65536):
                connection.sendall(data)

    threading.Thread(target=serve, daemon=True).start()
    yield listener.getsockname()[1]
    listener.close()


@pytest.fixture
def proxy(echo):
    with FaultyProxy(echo) as proxy:
        yield proxy


def connect(proxy):
    return socket.create_connection((proxy.host, proxy.port), timeout=60)


def sent_and_returned(connection, data=b"select 1"):
    connection.sendall(data)
    returned = b""
    while len(returned) < len(data) and (part := connection.recv(65536)):
        returned += part
    return returned


def test_bytes_pass_in_both_directions(proxy):
    data = bytes(range(256)) * 5000
    with connect(proxy) as connection:
        assert sent_and_returned(connection, data) == data
        assert proxy.connections == 1


def test_the_end_of_a_connection_passes(proxy):
    with connect(proxy) as connection:
        connection.sendall(b"quit")
        connection.shutdown(socket.SHUT_WR)
        assert connection.recv(10) == b"quit"
        assert connection.recv(10) == b""


def test_drop_resets_every_connection_and_the_next_one_works(proxy):
    with connect(proxy) as one, connect(proxy) as other:
        for connection in (one, other):
            assert sent_and_returned(connection) == b"select 1"
        assert proxy.drop() == 2
        for connection in (one, other):
            with pytest.raises(ConnectionResetError):
                connection.recv(10)
    with connect(proxy) as connection:
        assert sent_and_returned(connection) == b"select 1"


def test_offline_refuses_connections_until_the_end_of_its_block(proxy):
    with connect(proxy) as before:
        assert sent_and_returned(before) == b"select 1"
        with proxy.offline():
            with pytest.raises(ConnectionResetError):
                before.recv(10)
            with pytest.raises(ConnectionRefusedError):
                connect(proxy)
    with connect(proxy) as connection:
        assert sent_and_returned(connection) == b"select 1"


def test_silent_forwards_nothing_until_the_end_of_its_block(proxy):
    with connect(proxy) as connection:
        with proxy.silent():
            connection.sendall(b"select 1")
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(10)
        connection.settimeout(60)
        assert connection.recv(10) == b"select 1"


def test_slow_delays_each_direction(proxy):
    with connect(proxy) as connection, proxy.slow("20ms"):
        assert sent_and_returned(connection) == b"select 1"


def test_a_server_that_is_gone_resets_the_connection():
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        with (
            FaultyProxy(held.getsockname()[1]) as proxy,
            connect(proxy) as connection,
            pytest.raises(ConnectionResetError),
        ):
            connection.recv(10)


def test_it_ends_its_threads_and_can_start_again_at_its_port(echo):
    proxy = FaultyProxy(echo).start()
    with connect(proxy) as connection:
        assert sent_and_returned(connection) == b"select 1"
        proxy.stop()
    port = proxy.port
    with proxy:
        assert proxy.port == port
    for thread in threading.enumerate():
        if thread.name == "resilient-proxy":
            thread.join(60)
            assert not thread.is_alive()


def test_misuse_is_refused_with_what_to_write_instead(proxy, echo):
    with pytest.raises(PolicyError, match="write FaultyProxy\\(5432\\)"):
        FaultyProxy("postgres")
    with pytest.raises(RuntimeError, match="already running"):
        proxy.start()
    with pytest.raises(RuntimeError, match="no port yet"):
        FaultyProxy(echo).port  # noqa: B018
