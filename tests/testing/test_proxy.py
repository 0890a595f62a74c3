"""The proxy before a real server, which takes the server away."""

import contextlib
import socket
import threading

import pytest

from resilient_tasks import PolicyError
from resilient_tasks.testing import FaultyProxy, FaultyServer


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


@pytest.mark.parametrize("to_host", ["", "http://localhost", "localhost:5432", "my host", None, 5, "127.0.0.1/db"])
def test_an_impossible_host_is_refused(echo, to_host):
    with pytest.raises(PolicyError, match="is a name or an address"):
        FaultyProxy(echo, to_host)


@pytest.mark.parametrize("to_host", ["localhost", "127.0.0.1", "::1", "db-1.internal", "fe80::1%eth0", "db_1"])
def test_a_possible_host_is_accepted(echo, to_host):
    assert FaultyProxy(echo, to_host).connections == 0


@pytest.mark.parametrize("port", [-1, 65536, "5433", 1.5, True, None])
def test_an_impossible_port_is_refused(echo, port):
    with pytest.raises(PolicyError, match="is a port from 1 to 65535, or 0 for a free one"):
        FaultyProxy(echo, port=port)
    with pytest.raises(PolicyError, match="is a port from 1 to 65535, or 0 for a free one"):
        FaultyServer(port=port)


def test_a_proxy_to_itself_is_refused(echo):
    with pytest.raises(PolicyError, match="leave port= out"):
        FaultyProxy(echo, port=echo)


def test_a_host_that_this_machine_does_not_know_is_refused_at_the_start(echo, monkeypatch):
    def unknown(*_):
        raise socket.gaierror(-2, "Name or service not known")

    proxy = FaultyProxy(echo, "nowhere.invalid")
    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(OSError, match=r"does not know 'nowhere\.invalid'"):
        proxy.start()


def test_offline_inside_of_offline_ends_with_the_outer_block(proxy):
    with proxy.offline():
        with proxy.offline(), pytest.raises(ConnectionRefusedError):
            connect(proxy)
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)
    with connect(proxy) as connection:
        assert sent_and_returned(connection) == b"select 1"


def test_silent_inside_of_silent_ends_with_the_outer_block(proxy):
    with connect(proxy) as connection:
        with proxy.silent():
            with proxy.silent():
                connection.sendall(b"select 1")
            connection.settimeout(0.05)
            with pytest.raises(TimeoutError):
                connection.recv(10)
        connection.settimeout(60)
        assert connection.recv(10) == b"select 1"


def test_a_proxy_that_is_stopped_while_offline_stays_stopped(echo):
    with FaultyProxy(echo) as proxy:
        with proxy.offline():
            proxy.stop()
        with pytest.raises(ConnectionRefusedError):
            connect(proxy)


def test_offline_needs_a_proxy_that_runs(echo):
    with pytest.raises(RuntimeError, match="not running: start it"), FaultyProxy(echo).offline():
        pass


def test_drop_resets_a_client_that_has_just_connected(proxy):
    for _ in range(50):
        with connect(proxy) as connection:
            assert proxy.drop() == 1
            with pytest.raises(ConnectionResetError):
                connection.recv(10)


def test_drop_resets_a_client_whose_server_has_not_answered_yet(proxy, monkeypatch):
    asked, answer = threading.Event(), threading.Event()
    open_connection = socket.create_connection

    def slowly(*arguments, **options):
        asked.set()
        answer.wait(60)
        return open_connection(*arguments, **options)

    with connect(proxy) as warm:  # before the name is replaced
        assert sent_and_returned(warm) == b"select 1"
        client = socket.socket()
        monkeypatch.setattr("resilient_tasks.testing.proxy.socket.create_connection", slowly)
        with client:
            client.connect((proxy.host, proxy.port))
            assert asked.wait(60)
            assert proxy.drop() == 2
            answer.set()
            with pytest.raises(ConnectionResetError):
                client.recv(10)
    assert proxy.connections == 0


def test_misuse_is_refused_with_what_to_write_instead(proxy, echo):
    with pytest.raises(PolicyError, match="write FaultyProxy\\(5432\\)"):
        FaultyProxy("postgres")
    with pytest.raises(RuntimeError, match="already running"):
        proxy.start()
    with pytest.raises(RuntimeError, match="no port yet"):
        FaultyProxy(echo).port  # noqa: B018
