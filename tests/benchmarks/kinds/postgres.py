"""PostgreSQL through each driver: a fake server sends the error with the server's own SQLSTATE."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

from .corpus import BUSY, LATE, PERMANENT, TIMEOUT, TRANSIENT, UNFIT, case
from .servers import HOST, UNRESOLVABLE, Handler, closed_port, hang, read_exactly, reset, serving


def _message(kind: bytes, body: bytes = b"") -> bytes:
    return kind + struct.pack("!i", len(body) + 4) + body


def _pg_error(state: str, text: str, severity: str = "ERROR") -> bytes:
    fields = {"S": severity, "V": severity, "C": state, "M": text}
    return _message(b"E", b"".join(f"{key}{value}\0".encode() for key, value in fields.items()) + b"\0")


def _greet(connection: socket.socket) -> None:
    while True:  # refuse encryption, then take the start-up message
        body = read_exactly(connection, struct.unpack("!i", read_exactly(connection, 4))[0] - 4)
        if struct.unpack("!i", body[:4])[0] not in {80877103, 80877104}:
            return
        connection.sendall(b"N")


_READY = _message(b"Z", b"I")
_SETTINGS = {
    "server_version": "16.2",
    "client_encoding": "UTF8",
    "standard_conforming_strings": "on",
    "integer_datetimes": "on",
    "TimeZone": "UTC",
    "DateStyle": "ISO, MDY",
}


def postgres(answer: bytes | None, *, at_login: bool = False) -> Handler:
    """Send `answer` at the login or to each query but BEGIN; None hangs up instead."""

    def handler(connection: socket.socket) -> None:
        _greet(connection)
        if at_login:
            return connection.sendall(answer or b"")
        told = b"".join(_message(b"S", f"{key}\0{value}\0".encode()) for key, value in _SETTINGS.items())
        connection.sendall(_message(b"R", struct.pack("!i", 0)) + told + _message(b"K", b"\0" * 8) + _READY)
        while True:
            kind = read_exactly(connection, 1)
            body = read_exactly(connection, struct.unpack("!i", read_exactly(connection, 4))[0] - 4)
            if kind == b"Q" and body.upper().startswith((b"BEGIN", b"ROLLBACK", b"SET", b"UNLISTEN", b"START")):
                connection.sendall(_message(b"C", b"BEGIN\0") + _READY)
            elif kind == b"S":
                connection.sendall(_READY)
            elif kind in {b"Q", b"P"}:
                if answer is None:
                    return reset(connection)
                connection.sendall(answer + (_READY if kind == b"Q" else b""))

    return handler


def by_psycopg(port: int) -> Any:
    import psycopg

    with psycopg.connect(
        host=HOST, port=port, user="u", dbname="d", sslmode="disable", connect_timeout=2
    ) as connection:
        return connection.execute("SELECT 1").fetchall()


def by_psycopg2(port: int) -> Any:
    import psycopg2

    connection = psycopg2.connect(host=HOST, port=port, user="u", dbname="d", sslmode="disable", connect_timeout=2)
    connection.cursor().execute("SELECT 1")


def by_asyncpg(port: int) -> Any:
    import asyncpg

    async def ask() -> Any:
        connection = await asyncpg.connect(host=HOST, port=port, user="u", database="d", ssl=False, timeout=0.5)
        try:
            return await connection.fetch("SELECT 1")
        finally:
            connection.terminate()

    return asyncio.run(ask())


def by_pg8000(port: int) -> Any:
    import pg8000.dbapi

    connection = pg8000.dbapi.connect(user="u", host=HOST, port=port, database="d", timeout=1)
    connection.cursor().execute("SELECT 1")


def by_sqlalchemy(port: int) -> Any:
    import sqlalchemy

    address = f"postgresql+psycopg://u@{HOST}:{port}/d?sslmode=disable&connect_timeout=2"
    with sqlalchemy.create_engine(address).connect() as connection:
        return connection.execute(sqlalchemy.text("SELECT 1")).fetchall()


POSTGRES: dict[str, Callable[[int], Any]] = {
    "psycopg": by_psycopg,
    "psycopg2": by_psycopg2,
    "asyncpg": by_asyncpg,
    "pg8000": by_pg8000,
    "SQLAlchemy": by_sqlalchemy,
}
# SQLSTATE, the server's words, the kind and why, whether it comes at the login, and the class of each client.
STATES = (
    ("40P01", "deadlock detected", TRANSIENT, "the other transaction is through by then", False, {
        "psycopg": "DeadlockDetected", "psycopg2": "DeadlockDetected", "asyncpg": "DeadlockDetectedError",
        "pg8000": "DatabaseError", "SQLAlchemy": "OperationalError"}),
    ("40001", "could not serialize access due to concurrent update", TRANSIENT, "made to be run again", False, {
        "psycopg": "SerializationFailure", "psycopg2": "SerializationFailure", "asyncpg": "SerializationError",
        "pg8000": "DatabaseError", "SQLAlchemy": "OperationalError"}),
    ("55P03", "could not obtain lock on relation", TRANSIENT, "the lock comes free", False, {
        "psycopg": "LockNotAvailable", "asyncpg": "LockNotAvailableError"}),
    ("57P01", "terminating connection due to administrator command", TRANSIENT, "the server restarts", False, {
        "psycopg": "AdminShutdown", "psycopg2": "AdminShutdown", "SQLAlchemy": "OperationalError"}),
    ("57014", "canceling statement due to statement timeout", LATE, "it may be quicker next time", False, {
        "psycopg": "QueryCanceled", "psycopg2": "QueryCanceled", "asyncpg": "QueryCanceledError",
        "SQLAlchemy": "OperationalError"}),
    ("53300", "sorry, too many clients already", BUSY, "connections come free", True, {
        "psycopg": "OperationalError", "psycopg2": "OperationalError", "asyncpg": "TooManyConnectionsError",
        "pg8000": "DatabaseError", "SQLAlchemy": "OperationalError"}),
    ("57P03", "the database system is starting up", TRANSIENT, "it says so", True, {
        "psycopg": "OperationalError", "psycopg2": "OperationalError", "asyncpg": "CannotConnectNowError",
        "SQLAlchemy": "OperationalError"}),
    ("28P01", 'password authentication failed for user "u"', PERMANENT, "it stays wrong", True, {
        "psycopg": "OperationalError", "psycopg2": "OperationalError", "asyncpg": "InvalidPasswordError",
        "pg8000": "DatabaseError", "SQLAlchemy": "OperationalError"}),
    ("3D000", 'database "d" does not exist', PERMANENT, "it does not appear by itself", True, {
        "psycopg": "OperationalError", "asyncpg": "InvalidCatalogNameError", "SQLAlchemy": "OperationalError"}),
    ("42P01", 'relation "flights" does not exist', PERMANENT, "it does not appear by itself", False, {
        "psycopg": "UndefinedTable", "psycopg2": "UndefinedTable", "asyncpg": "UndefinedTableError",
        "pg8000": "DatabaseError", "SQLAlchemy": "ProgrammingError"}),
    ("42601", 'syntax error at or near "SELEC"', PERMANENT, "the caller's mistake", False, {
        "psycopg": "SyntaxError", "asyncpg": "PostgresSyntaxError"}),
    ("42501", "permission denied for table flights", PERMANENT, "the right is missing", False, {
        "psycopg2": "InsufficientPrivilege", "pg8000": "DatabaseError"}),
    ("23505", "duplicate key value violates unique constraint", PERMANENT, "the row is there", False, {
        "psycopg": "UniqueViolation", "psycopg2": "UniqueViolation", "asyncpg": "UniqueViolationError",
        "SQLAlchemy": "IntegrityError"}),
    ("22P02", 'invalid input syntax for type integer: "x"', UNFIT, "the value does not fit", False, {
        "psycopg": "InvalidTextRepresentation", "SQLAlchemy": "DataError"}),
)  # fmt: skip
for _state, _text, _wanted, _reason, _at_login, _errors in STATES:
    for _library, _error in _errors.items():

        @case(_library, _error, f"{_state}: {_text}", _wanted, _reason)
        def _(ask=POSTGRES[_library], state=_state, text=_text, at_login=_at_login) -> Any:
            answer = _pg_error(state, text, "FATAL" if at_login or state == "57P01" else "ERROR")
            with serving(postgres(answer, at_login=at_login)) as port:
                return ask(port)


LINKS: tuple[tuple[str, Callable[[], Any], Any, str, dict[str, str]], ...] = (
    ("refused", closed_port, TRANSIENT, "the server may be starting", {
        "psycopg": "OperationalError", "psycopg2": "OperationalError", "asyncpg": "ConnectionRefusedError",
        "pg8000": "InterfaceError", "SQLAlchemy": "OperationalError"}),
    ("the server goes away during the query", lambda: postgres(None), TRANSIENT, "a broken connection", {
        "psycopg": "OperationalError", "psycopg2": "OperationalError", "asyncpg": "ConnectionDoesNotExistError",
        "pg8000": "ConnectionResetError", "SQLAlchemy": "OperationalError"}),
    ("no answer to the login", lambda: hang, TIMEOUT, "the next call may be answered", {
        "psycopg": "ConnectionTimeout", "asyncpg": "TimeoutError"}),
)  # fmt: skip
for _what, _make, _wanted, _reason, _errors in LINKS:
    for _library, _error in _errors.items():

        @case(_library, _error, _what, _wanted, _reason)
        def _(ask=POSTGRES[_library], make=_make) -> Any:
            made = make()
            if isinstance(made, int):
                return ask(made)
            with serving(made) as port:
                return ask(port)


@case("psycopg", "OperationalError", "unresolvable name", TRANSIENT, "name servers fail for a while")
def _() -> Any:
    import psycopg

    return psycopg.connect(host=UNRESOLVABLE, connect_timeout=2)


@case("psycopg", "ProgrammingError", "a connection string that does not parse", PERMANENT, "the caller's mistake")
def _() -> Any:
    import psycopg

    return psycopg.connect("hostlocalhost")


@case("psycopg", "InterfaceError", "the cursor is closed", PERMANENT, "the caller's mistake", built=True)
def _() -> Any:
    import psycopg

    return psycopg.InterfaceError("the cursor is closed")
