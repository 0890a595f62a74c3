# ruff: noqa: E501 -- one case, one line
"""Databases within the process: SQLite, bare and through aiosqlite and SQLAlchemy, and DuckDB."""

import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

from .corpus import PERMANENT, RESOURCE, TIMEOUT, TRANSIENT, UNFIT, case
from .servers import folder


def _scratch(name: str, content: bytes = b"") -> Path:
    path = folder() / name
    path.write_bytes(content)
    return path


# SQLite


def _locked() -> Any:
    path = _scratch("locked.db")
    with closing(sqlite3.connect(path)) as one, closing(sqlite3.connect(path, timeout=0)) as other:
        one.execute("CREATE TABLE flights (id)")
        one.execute("BEGIN EXCLUSIVE")
        return other.execute("SELECT * FROM flights")


def _full() -> Any:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA max_page_count = 2")
        connection.execute("CREATE TABLE a (x)")
        connection.execute("CREATE TABLE b (x)")


def _uses(statement: str, *before: str, path: object = ":memory:", uri: bool = False) -> Any:
    with closing(sqlite3.connect(path, uri=uri)) as connection:
        for one in before:
            connection.execute(one)
        return connection.execute(statement).fetchall()


SQLITE = (
    ("OperationalError", "database is locked", TRANSIENT, "the other writer ends", _locked),
    ("OperationalError", "no such table", PERMANENT, "it does not appear by itself", lambda: _uses("SELECT * FROM nope")),
    ("OperationalError", "syntax", PERMANENT, "the caller's mistake", lambda: _uses("SELEC 1")),
    ("OperationalError", "unable to open database file", PERMANENT, "the folder is missing",
     lambda: _uses("SELECT 1", path="/no/such/folder/a.db")),
    ("OperationalError", "attempt to write a readonly database", PERMANENT, "opened so",
     lambda: _uses("CREATE TABLE a (x)", path=f"file:{_scratch('ro.db')}?mode=ro", uri=True)),
    ("OperationalError", "database or disk is full", frozenset({RESOURCE, PERMANENT}), "space is missing", _full),
    ("DatabaseError", "file is not a database", UNFIT, "the file holds something else",
     lambda: _uses("SELECT * FROM a", path=_scratch("a.db", b"text " * 500))),
    ("IntegrityError", "unique constraint", PERMANENT, "the row is there",
     lambda: _uses("INSERT INTO a VALUES (1)", "CREATE TABLE a (x UNIQUE)", "INSERT INTO a VALUES (1)")),
    ("ProgrammingError", "wrong number of bindings", PERMANENT, "the caller's mistake", lambda: _uses("SELECT ?")),
)  # fmt: skip
for _error, _what, _wanted, _reason, _make in SQLITE:

    @case("sqlite3", _error, _what, _wanted, _reason)
    def _(make=_make) -> Any:
        return make()


# SQLAlchemy over SQLite


def _by_sqlalchemy(statement: str, address: str = "sqlite://", before: str = "SELECT 1") -> Any:
    import sqlalchemy

    with sqlalchemy.create_engine(address).connect() as connection:
        connection.execute(sqlalchemy.text(before))
        return connection.execute(sqlalchemy.text(statement)).fetchall()


def _locked_for_sqlalchemy() -> Any:
    path = str(_scratch("locked.db"))
    with closing(sqlite3.connect(path)) as holder:
        holder.execute("CREATE TABLE a (x)")
        holder.execute("BEGIN EXCLUSIVE")
        return _by_sqlalchemy("SELECT * FROM a", f"sqlite:///{path}?timeout=0")


def _pool() -> Any:
    import sqlalchemy

    options = {"poolclass": sqlalchemy.QueuePool, "pool_size": 1, "max_overflow": 0, "pool_timeout": 0.1}
    engine = sqlalchemy.create_engine(f"sqlite:///{_scratch('a.db')}", **options)
    with engine.connect():
        return engine.connect()


ALCHEMY = (
    ("OperationalError", "SQLite: database is locked", TRANSIENT, "the other writer ends", _locked_for_sqlalchemy),
    ("OperationalError", "SQLite: no such table", PERMANENT, "it does not appear by itself", lambda: _by_sqlalchemy("SELECT * FROM nope")),
    ("OperationalError", "SQLite: unable to open database file", PERMANENT, "the folder is missing", lambda: _by_sqlalchemy("SELECT 1", "sqlite:////no/such/a.db")),
    ("OperationalError", "SQLite: syntax", PERMANENT, "the caller's mistake", lambda: _by_sqlalchemy("SELEC 1")),
    ("IntegrityError", "SQLite: a null", PERMANENT, "the row breaks a rule", lambda: _by_sqlalchemy("INSERT INTO a VALUES (NULL)", before="CREATE TABLE a (x NOT NULL)")),
    ("TimeoutError", "all connections of the pool in use", TIMEOUT, "connections come free", _pool),
    ("ArgumentError", "an address that is none", PERMANENT, "the caller's mistake", lambda: _by_sqlalchemy("SELECT 1", "nowhere")),
    ("NoSuchModuleError", "a dialect that is not there", PERMANENT, "the configuration is wrong", lambda: _by_sqlalchemy("SELECT 1", "nope://a/b")),
    ("StatementError", "a parameter without a value", PERMANENT, "the caller's mistake", lambda: _by_sqlalchemy("SELECT :a")),
)  # fmt: skip
for _error, _what, _wanted, _reason, _make in ALCHEMY:

    @case("SQLAlchemy", _error, _what, _wanted, _reason)
    def _(make=_make) -> Any:
        return make()


@case("aiosqlite", "OperationalError", "database is locked", TRANSIENT, "the other writer ends")
async def _() -> Any:
    import aiosqlite

    path = str(_scratch("locked.db"))
    async with aiosqlite.connect(path) as one, aiosqlite.connect(path, timeout=0) as other:
        await one.execute("BEGIN EXCLUSIVE")
        await other.execute("BEGIN EXCLUSIVE")


@case("aiosqlite", "OperationalError", "no such table", PERMANENT, "it does not appear by itself")
async def _() -> Any:
    import aiosqlite

    async with aiosqlite.connect(":memory:") as connection:
        await connection.execute("SELECT * FROM nope")


# DuckDB


def _duck(*statements: str) -> Any:
    import duckdb

    with duckdb.connect(":memory:") as connection:
        for statement in statements:
            connection.execute(statement)


DUCK = (
    ("CatalogException", "no such table", PERMANENT, "it does not appear by itself", ("SELECT * FROM nope",)),
    ("ParserException", "syntax", PERMANENT, "the caller's mistake", ("SELEC 1",)),
    ("IOException", "no such file", PERMANENT, "it does not appear by itself", ("SELECT * FROM 'nope.parquet'",)),
    ("ConversionException", "text that is no number", UNFIT, "the value does not fit", ("SELECT 'x'::INT",)),
    ("ConstraintException", "a duplicate key", PERMANENT, "the row is there",
     ("CREATE TABLE a (x INT PRIMARY KEY)", "INSERT INTO a VALUES (1)", "INSERT INTO a VALUES (1)")),
)  # fmt: skip
for _error, _what, _wanted, _reason, _statements in DUCK:

    @case("duckdb", _error, _what, _wanted, _reason)
    def _(statements=_statements) -> Any:
        return _duck(*statements)


@case("duckdb", "TransactionException", "two writers of one row", TRANSIENT, "the other transaction is through by then")
def _() -> Any:
    import duckdb

    with duckdb.connect(":memory:") as one, one.cursor() as other:
        one.execute("CREATE TABLE a (x INT)")
        one.execute("INSERT INTO a VALUES (1)")
        for connection in (one, other):
            connection.execute("BEGIN")
            connection.execute("UPDATE a SET x = x + 1")


@case("duckdb", "IOException", "another process holds the file", TRANSIENT, "the other process ends")
def _() -> Any:
    import duckdb

    path = f"{folder()}/a.duckdb"
    code = f"import duckdb; held = duckdb.connect({path!r}); print('held', flush=True); input()"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as holder:
        holder.stdout.readline()
        try:
            return duckdb.connect(path)
        finally:
            holder.communicate(b"\n")
