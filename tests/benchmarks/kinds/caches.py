"""Redis and memcached: fake servers send real servers' responses."""

import socket
from typing import Any

from .corpus import BUSY, PERMANENT, TIMEOUT, TRANSIENT, case
from .servers import HOST, Handler, closed_port, hang, serving

# Redis


def redis_saying(answer: bytes) -> Handler:
    """Answer every command except the greeting."""

    def handler(connection: socket.socket) -> None:
        while data := connection.recv(65536):
            greeting = data.upper().count(b"CLIENT") + data.upper().count(b"HELLO")
            connection.sendall(b"+OK\r\n" * greeting or answer)

    return handler


def by_redis(port: int) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    return redis.Redis(HOST, port, protocol=2, socket_timeout=0.3, retry=Retry(NoBackoff(), 0))


REDIS = (
    ("BusyLoadingError", "LOADING Redis is loading the dataset in memory", TRANSIENT, "it is there soon"),
    ("MasterDownError", "MASTERDOWN Link with MASTER is down", TRANSIENT, "links come back"),
    ("ClusterDownError", "CLUSTERDOWN The cluster is down", TRANSIENT, "a failover is under way"),
    ("TryAgainError", "TRYAGAIN Multiple keys request during rehashing of slot", TRANSIENT, "it says so"),
    ("ResponseError", "BUSY Redis is busy running a script", BUSY, "the script ends"),
    ("ConnectionError", "ERR max number of clients reached", BUSY, "connections come free"),
    (
        "ResponseError",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        PERMANENT,
        "the caller's mistake",
    ),
    ("ResponseError", "ERR unknown command 'NOPE'", PERMANENT, "the caller's mistake"),
    (
        "AuthenticationError",
        "WRONGPASS invalid username-password pair or user is disabled",
        PERMANENT,
        "it stays wrong",
    ),
    (
        "NoPermissionError",
        "NOPERM this user has no permissions to run the 'get' command",
        PERMANENT,
        "the right is missing",
    ),
    ("NoScriptError", "NOSCRIPT No matching script", PERMANENT, "it has to be loaded first"),
)
for _error, _text, _wanted, _reason in REDIS:

    @case("redis", _error, _text, _wanted, _reason)
    def _(text=_text) -> Any:
        with serving(redis_saying(f"-{text}\r\n".encode())) as port:
            return by_redis(port).get("a")


@case("redis", "ConnectionError", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    return by_redis(closed_port()).get("a")


@case("redis", "TimeoutError", "no answer", TIMEOUT, "the next call may be answered")
def _() -> Any:
    with serving(hang) as port:
        return by_redis(port).get("a")


@case("redis", "DataError", "a value that it cannot write", PERMANENT, "the caller's mistake")
def _() -> Any:
    with serving(redis_saying(b"+OK\r\n")) as port:
        return by_redis(port).set("a", {"b": 1})


@case("redis", "LockNotOwnedError", "the lock expired", PERMANENT, "what it guarded is another's by now", built=True)
def _() -> Any:
    from redis.exceptions import LockNotOwnedError

    return LockNotOwnedError("Cannot release a lock that's no longer owned", lock_name="a")


# memcached


def _memcached(answer: bytes) -> Any:
    from pymemcache.client.base import Client

    def handler(connection: socket.socket) -> None:
        while connection.recv(65536):
            connection.sendall(answer)

    with serving(handler) as port:
        return Client((HOST, port), timeout=0.3, connect_timeout=0.3, default_noreply=False).set("a", b"1")


@case("pymemcache", "MemcacheServerError", "SERVER_ERROR out of memory storing object", BUSY, "others expire")
def _() -> Any:
    return _memcached(b"SERVER_ERROR out of memory storing object\r\n")


@case("pymemcache", "MemcacheClientError", "CLIENT_ERROR bad data chunk", PERMANENT, "the caller's mistake")
def _() -> Any:
    return _memcached(b"CLIENT_ERROR bad data chunk\r\n")


@case("pymemcache", "MemcacheUnexpectedCloseError", "the server goes away", TRANSIENT, "a broken connection")
def _() -> Any:
    return _memcached_gone()


@case("pymemcache", "MemcacheIllegalInputError", "a key with a blank", PERMANENT, "the caller's mistake")
def _() -> Any:
    from pymemcache.client.base import Client

    with serving(hang) as port:
        return Client((HOST, port), timeout=0.3).get("a b")


def _memcached_gone() -> Any:
    from pymemcache.client.base import Client

    with serving(lambda connection: connection.recv(100) and None) as port:
        return Client((HOST, port), timeout=0.3).get("a")
