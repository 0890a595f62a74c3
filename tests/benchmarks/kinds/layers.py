"""Errors of databases, caches and mail, wrapped by pools, object mappers and other layers."""

import sqlite3
from contextlib import closing
from typing import Any

from . import caches
from .corpus import BUSY, LATE, PERMANENT, TIMEOUT, TRANSIENT, UNFIT, case
from .servers import HOST, closed_port, folder, hang, serving


def by_valkey(port: int) -> Any:
    import valkey
    from valkey.backoff import NoBackoff
    from valkey.retry import Retry

    return valkey.Valkey(HOST, port, socket_timeout=0.3, retry=Retry(NoBackoff(), 0)).get("a")


VALKEY = (
    ("BusyLoadingError", "LOADING Valkey is loading the dataset in memory", TRANSIENT, "it is there soon"),
    ("ResponseError", "CLUSTERDOWN The cluster is down", TRANSIENT, "a failover is under way"),
    (
        "ResponseError",
        "WRONGTYPE Operation against a key holding the wrong kind of value",
        PERMANENT,
        "the caller's mistake",
    ),
    (
        "AuthenticationError",
        "WRONGPASS invalid username-password pair or user is disabled.",
        PERMANENT,
        "it stays wrong",
    ),
)
for _error, _text, _wanted, _reason in VALKEY:

    @case("valkey", _error, _text, _wanted, _reason)
    def _(text=_text) -> Any:
        with serving(caches.redis_saying(f"-{text}\r\n".encode())) as port:
            return by_valkey(port)


@case("valkey", "TimeoutError", "no answer", TIMEOUT, "the next call may be answered")
def _() -> Any:
    with serving(hang) as port:
        return by_valkey(port)


@case("valkey", "ConnectionError", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    return by_valkey(closed_port())


def _file() -> str:
    return str(folder() / "a.db")


def _django(statement: str, path: str = ":memory:") -> Any:
    from django.conf import settings

    if not settings.configured:
        settings.configure()
    from django.db.backends.sqlite3.base import DatabaseWrapper

    options = {"NAME": path, "OPTIONS": {"timeout": 0}, "TIME_ZONE": None, "CONN_MAX_AGE": 0, "AUTOCOMMIT": True}
    rest = {"CONN_HEALTH_CHECKS": False, "TEST": {}, "ATOMIC_REQUESTS": False, "ENGINE": "sqlite3"}
    with DatabaseWrapper(options | rest).cursor() as cursor:
        return cursor.execute(statement)


def _peewee(statement: str, path: str = ":memory:") -> Any:
    import peewee

    return peewee.SqliteDatabase(path, timeout=0).execute_sql(statement)


def _locked(ask: Any) -> Any:
    path = _file()
    with closing(sqlite3.connect(path)) as holder:
        holder.execute("BEGIN EXCLUSIVE")
        return ask("CREATE TABLE a (x)", path)


for _library, _ask in (("django", _django), ("peewee", _peewee)):

    @case(_library, "OperationalError", "SQLite: database is locked", TRANSIENT, "the other writer ends")
    def _(ask=_ask) -> Any:
        return _locked(ask)

    @case(_library, "OperationalError", "SQLite: no such table", PERMANENT, "it does not appear by itself")
    def _(ask=_ask) -> Any:
        return ask("SELECT * FROM nope")

    @case(_library, "OperationalError", "SQLite: unable to open database file", PERMANENT, "the folder is missing")
    def _(ask=_ask) -> Any:
        return ask("SELECT 1", "/no/such/a.db")


@case("django", "ImproperlyConfigured", "no such backend", PERMANENT, "the configuration is wrong")
def _() -> Any:
    from django.db.utils import load_backend

    return load_backend("nope")


@case("django", "ValidationError", "text where a number belongs", UNFIT, "it breaks its schema")
def _() -> Any:
    from django.conf import settings
    from django.db.models import IntegerField

    if not settings.configured:
        settings.configure()
    return IntegerField().to_python("x")


@case("psycopg-pool", "PoolTimeout", "no connection comes free", LATE, "connections come free")
def _() -> Any:
    from psycopg_pool import ConnectionPool

    options = {"min_size": 1, "timeout": 0.3, "open": True, "reconnect_timeout": 0.5}
    with ConnectionPool(f"host={HOST} port={closed_port()} connect_timeout=1", **options) as pool:
        return pool.getconn()


@case("psycopg-pool", "TooManyRequests", "too many wait for a connection", BUSY, "connections come free", built=True)
def _() -> Any:
    from psycopg_pool import TooManyRequests

    return TooManyRequests("the pool 'pool-1' has already 5 requests waiting")


@case("psycopg-pool", "PoolClosed", "the pool is closed", PERMANENT, "the caller's mistake", built=True)
def _() -> Any:
    from psycopg_pool import PoolClosed

    return PoolClosed("the pool 'pool-1' is already closed")


@case("vertica-python", "ConnectionError", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    import vertica_python

    return vertica_python.connect(host=HOST, port=closed_port(), user="u", password="p", connection_timeout=1)


@case("pyhive", "TTransportException", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    from pyhive import hive

    return hive.Connection(HOST, closed_port(), auth="NOSASL")


@case("aiomcache", "ClientException", "SERVER_ERROR out of memory", BUSY, "others expire", built=True)
def _() -> Any:
    from aiomcache.exceptions import ClientException

    return ClientException("set failed", b"SERVER_ERROR out of memory storing object")


# Mail and calendars


@case("imapclient", "LoginError", "wrong password", PERMANENT, "it stays wrong", built=True)
def _() -> Any:
    from imapclient.exceptions import LoginError

    return LoginError("[AUTHENTICATIONFAILED] Invalid credentials")


@case("imapclient", "abort", "the server hangs up", TRANSIENT, "'abort' asks for a new connection", built=True)
def _() -> Any:
    from imapclient.exceptions import IMAPClientAbortError

    return IMAPClientAbortError("socket error: EOF")


EXCHANGE = (
    ("ErrorServerBusy", BUSY, "busy for now"),
    ("ErrorMailboxStoreUnavailable", TRANSIENT, "unavailable for now"),
    ("ErrorTimeoutExpired", LATE, "it may be quicker next time"),
    ("ErrorAccessDenied", PERMANENT, "the right is missing"),
    ("ErrorItemNotFound", PERMANENT, "it does not appear by itself"),
    ("UnauthorizedError", PERMANENT, "the password is wrong"),
)
for _error, _wanted, _reason in EXCHANGE:

    @case("exchangelib", _error, "as the server answers", _wanted, _reason, built=True)
    def _(error=_error) -> Any:
        from exchangelib import errors

        return getattr(errors, error)("said so")


FTPUTIL = (
    ("TemporaryError", "450 File busy", TRANSIENT, "FTP's 4xx are for now"),
    ("PermanentError", "550 No such file", PERMANENT, "FTP's 5xx stay"),
)
for _error, _words, _wanted, _reason in FTPUTIL:

    @case("ftputil", _error, _words, _wanted, _reason, built=True)
    def _(error=_error, words=_words) -> Any:
        import ftputil.error

        return getattr(ftputil.error, error)(words)
