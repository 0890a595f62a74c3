# ruff: noqa: E501 -- one case, one line
"""MySQL and MariaDB through each driver: a fake server sends the error packet with the server's own number."""

import asyncio
import socket
import struct
from collections.abc import Callable
from typing import Any

from .corpus import BUSY, LATE, PERMANENT, TRANSIENT, case
from .servers import HOST, Handler, closed_port, read_exactly, reset, serving


def _packet(number: int, body: bytes) -> bytes:
    return struct.pack("<i", len(body))[:3] + bytes([number]) + body


def _error(number: int, code: int, state: str, text: str) -> bytes:
    return _packet(number, b"\xff" + struct.pack("<H", code) + f"#{state}{text}".encode())


_CAN = 0x00000001 | 0x00000008 | 0x00000200 | 0x00002000 | 0x00008000 | 0x00080000  # protocol 4.1, plugin auth
_GREETING = (
    b"\x0a8.0.36\0"
    + struct.pack("<I", 7)
    + b"12345678\0"
    + struct.pack("<H", _CAN & 0xFFFF)
    + b"\x2d"
    + struct.pack("<H", 2)
    + struct.pack("<H", _CAN >> 16)
    + b"\x15"
    + b"\0" * 10
    + b"123456789012\0"
    + b"mysql_native_password\0"
)
_OK = b"\0\0\0\2\0\0\0"


def _read(connection: socket.socket) -> tuple[int, bytes]:
    head = read_exactly(connection, 4)
    return head[3], read_exactly(connection, int.from_bytes(head[:3], "little"))


def mysql(code: int, state: str, text: str, when: str) -> Handler:
    """Send the error as the greeting, in answer to the login, or to each query that sets nothing; 0 hangs up instead."""

    def handler(connection: socket.socket) -> None:
        if when == "greeting":
            return connection.sendall(_error(0, code, state, text))
        connection.sendall(_packet(0, _GREETING))
        number, _ = _read(connection)
        if when == "login":
            return connection.sendall(_error(number + 1, code, state, text))
        connection.sendall(_packet(number + 1, _OK))
        while True:
            number, body = _read(connection)
            setting = body[:1] != b"\x03" or body[1:].upper().startswith((b"SET", b"ROLLBACK", b"COMMIT"))
            if not setting and code == 0:
                return reset(connection)
            connection.sendall(_packet(number + 1, _OK) if setting else _error(number + 1, code, state, text))

    return handler


def by_pymysql(port: int) -> Any:
    import pymysql

    connection = pymysql.connect(host=HOST, port=port, user="u", password="p", connect_timeout=1, read_timeout=1)
    connection.cursor().execute("SELECT 1")


def by_connector(port: int) -> Any:
    import mysql.connector

    options = {"use_pure": True, "connection_timeout": 1, "ssl_disabled": True, "auth_plugin": "mysql_native_password"}
    connection = mysql.connector.connect(host=HOST, port=port, user="u", password="p", **options)
    connection.cursor().execute("DELETE FROM a")


def by_aiomysql(port: int) -> Any:
    import aiomysql

    async def ask() -> None:
        connection = await aiomysql.connect(host=HOST, port=port, user="u", password="p", connect_timeout=1)
        try:
            cursor = await connection.cursor()
            await cursor.execute("SELECT 1")
        finally:
            connection.close()

    return asyncio.run(ask())


def by_sqlalchemy(port: int) -> Any:
    import sqlalchemy

    with sqlalchemy.create_engine(f"mysql+pymysql://u:p@{HOST}:{port}/d").connect() as connection:
        return connection.execute(sqlalchemy.text("SELECT 1")).fetchall()


DRIVERS: dict[str, Callable[[int], Any]] = {
    "pymysql": by_pymysql,
    "mysql-connector-python": by_connector,
    "aiomysql": by_aiomysql,
    "SQLAlchemy": by_sqlalchemy,
}
# Number, SQLSTATE, the server's words, the kind and why, when it comes, and the class of each driver.
NUMBERS = (
    (1213, "40001", "Deadlock found when trying to get lock; try restarting transaction", TRANSIENT,
     "the server asks for it", "query", {
        "pymysql": "OperationalError", "mysql-connector-python": "InternalError", "aiomysql": "OperationalError"}),
    (1205, "HY000", "Lock wait timeout exceeded; try restarting transaction", LATE, "the server asks for it", "query", {
        "pymysql": "OperationalError", "mysql-connector-python": "DatabaseError", "aiomysql": "OperationalError"}),
    (1040, "08004", "Too many connections", BUSY, "connections come free", "greeting", {
        "pymysql": "OperationalError", "mysql-connector-python": "OperationalError", "aiomysql": "OperationalError",
        "SQLAlchemy": "OperationalError"}),
    (1053, "08S01", "Server shutdown in progress", TRANSIENT, "the server restarts", "query", {
        "pymysql": "OperationalError", "mysql-connector-python": "OperationalError"}),
    (3024, "HY000", "Query execution was interrupted, maximum statement execution time exceeded", LATE,
     "it may be quicker next time", "query", {
        "pymysql": "OperationalError", "mysql-connector-python": "DatabaseError"}),
    (1045, "28000", "Access denied for user 'u'@'localhost' (using password: YES)", PERMANENT, "it stays wrong", "login", {
        "pymysql": "OperationalError", "mysql-connector-python": "ProgrammingError", "aiomysql": "OperationalError",
        "SQLAlchemy": "OperationalError"}),
    (1049, "42000", "Unknown database 'd'", PERMANENT, "it does not appear by itself", "login", {
        "pymysql": "OperationalError", "mysql-connector-python": "ProgrammingError", "SQLAlchemy": "OperationalError"}),
    (1146, "42S02", "Table 'd.flights' doesn't exist", PERMANENT, "it does not appear by itself", "query", {
        "pymysql": "ProgrammingError", "mysql-connector-python": "ProgrammingError", "aiomysql": "ProgrammingError"}),
    (1054, "42S22", "Unknown column 'x' in 'field list'", PERMANENT, "it does not appear by itself", "query", {
        "pymysql": "OperationalError", "mysql-connector-python": "ProgrammingError"}),
    (1062, "23000", "Duplicate entry '1' for key 'PRIMARY'", PERMANENT, "the row is there", "query", {
        "pymysql": "IntegrityError", "mysql-connector-python": "IntegrityError"}),
    (1142, "42000", "SELECT command denied to user", PERMANENT, "the right is missing", "query", {
        "pymysql": "OperationalError", "aiomysql": "OperationalError"}),
)  # fmt: skip
for _number, _state, _text, _wanted, _reason, _when, _errors in NUMBERS:
    for _library, _class in _errors.items():

        @case(_library, _class, f"{_number}: {_text}", _wanted, _reason)
        def _(ask=DRIVERS[_library], number=_number, state=_state, text=_text, when=_when) -> Any:
            with serving(mysql(number, state, text, when)) as port:
                return ask(port)


for _library, _class in {
    "pymysql": "OperationalError",
    "mysql-connector-python": "OperationalError",
    "aiomysql": "OperationalError",
    "SQLAlchemy": "OperationalError",
}.items():

    @case(_library, _class, "2013: the server goes away during the query", TRANSIENT, "a broken connection")
    def _(ask=DRIVERS[_library]) -> Any:
        with serving(mysql(0, "", "", "query")) as port:
            return ask(port)


for _library, _class in {
    "pymysql": "OperationalError",
    "mysql-connector-python": "InterfaceError",
    "aiomysql": "OperationalError",
}.items():

    @case(_library, _class, "2003: refused", TRANSIENT, "the server may be starting")
    def _(ask=DRIVERS[_library]) -> Any:
        return ask(closed_port())


@case("pymysql", "InterfaceError", "the connection is closed already", PERMANENT, "the caller's mistake")
def _() -> Any:
    import pymysql

    with serving(mysql(0, "", "", "query")) as port:
        connection = pymysql.connect(host=HOST, port=port, user="u", password="p")
        connection.close()
        connection.cursor().execute("SELECT 1")
