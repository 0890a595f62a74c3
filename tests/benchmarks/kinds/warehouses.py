# ruff: noqa: E501 -- one case, one line
"""Cassandra, Oracle, SQL Server and Snowflake: refused connections, and the errors that their drivers make of answers."""

from typing import Any

from .corpus import BUSY, PERMANENT, TIMEOUT, TRANSIENT, case
from .servers import HOST, closed_port

# Cassandra


@case("cassandra-driver", "NoHostAvailable", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    from cassandra.cluster import Cluster

    return Cluster([HOST], port=closed_port(), connect_timeout=0.5).connect()


CASSANDRA = (
    ("ReadTimeout", {"consistency": 1}, TIMEOUT, "a replica was late"),
    ("WriteTimeout", {"consistency": 1, "write_type": 0}, TIMEOUT, "a replica was late"),
    ("Unavailable", {"consistency": 1, "required_replicas": 2, "alive_replicas": 1}, TRANSIENT, "replicas come back"),
    ("AuthenticationFailed", {}, PERMANENT, "the password is wrong"),
    ("InvalidRequest", {}, PERMANENT, "the caller's mistake"),
    ("Unauthorized", {}, PERMANENT, "the right is missing"),
)
for _error, _details, _wanted, _reason in CASSANDRA:

    @case("cassandra-driver", _error, "as the server answers", _wanted, _reason, built=True)
    def _(error=_error, details=_details) -> Any:
        import cassandra

        return getattr(cassandra, error)("said so", **details)


@case(
    "cassandra-driver",
    "OperationTimedOut",
    "no answer within the client's limit",
    TIMEOUT,
    "it may be quicker next time",
    built=True,
)
def _() -> Any:
    from cassandra import OperationTimedOut

    return OperationTimedOut({HOST: "Client request timeout. See Session.execute[_async](timeout)"}, HOST)


# Oracle and SQL Server


@case("oracledb", "OperationalError", "DPY-6005: refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    import oracledb

    return oracledb.connect(user="u", password="p", dsn=f"{HOST}:{closed_port()}/d", tcp_connect_timeout=0.5)


@case("oracledb", "DatabaseError", "DPY-4026: no tnsnames.ora", PERMANENT, "the configuration lacks it")
def _() -> Any:
    import oracledb

    return oracledb.connect(user="u", password="p", dsn="nowhere")


@case("pymssql", "OperationalError", "20009: refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    import pymssql

    return pymssql.connect(HOST, "u", "p", "d", port=closed_port(), login_timeout=1)


MSSQL = (
    (
        1205,
        "OperationalError",
        "Transaction was deadlocked on lock resources. Rerun the transaction.",
        TRANSIENT,
        "the server asks for it",
    ),
    (
        40613,
        "OperationalError",
        "Database 'd' on server 's' is not currently available.",
        TRANSIENT,
        "unavailable for now",
    ),
    (
        10928,
        "OperationalError",
        "Resource ID: 1. The request limit for the database is 90.",
        BUSY,
        "asks for fewer calls",
    ),
    (18456, "OperationalError", "Login failed for user 'u'.", PERMANENT, "the password is wrong"),
    (208, "ProgrammingError", "Invalid object name 'flights'.", PERMANENT, "it does not appear by itself"),
    (2627, "IntegrityError", "Violation of PRIMARY KEY constraint", PERMANENT, "the row is there"),
)
for _number, _error, _text, _wanted, _reason in MSSQL:

    @case("pymssql", _error, f"{_number}: {_text}", _wanted, _reason, built=True)
    def _(number=_number, error=_error, text=_text) -> Any:
        import pymssql

        return getattr(pymssql, error)(number, f"{text}DB-Lib error message {number}, severity 14".encode())


# Snowflake


def _snowflake(error: str, number: int, state: str | None, text: str) -> Any:
    from snowflake.connector import errors

    return getattr(errors, error)(msg=text, errno=number, sqlstate=state)


SNOWFLAKE = (
    (
        "OperationalError",
        250001,
        "08001",
        "Could not connect to Snowflake backend after 2 attempt(s).",
        TRANSIENT,
        "unavailable for now",
    ),
    ("ServiceUnavailableError", 503, None, "HTTP 503: Service Unavailable", TRANSIENT, "unavailable for now"),
    ("OtherHTTPRetryableError", 429, None, "HTTP 429", BUSY, "'retryable' is its name"),
    (
        "ProgrammingError",
        2003,
        "42S02",
        "Object 'FLIGHTS' does not exist or not authorized.",
        PERMANENT,
        "it does not appear by itself",
    ),
    ("ProgrammingError", 1003, "42000", "SQL compilation error: syntax error", PERMANENT, "the caller's mistake"),
    (
        "DatabaseError",
        250001,
        "08001",
        "Failed to connect to DB: a.example. Incorrect username or password was specified.",
        PERMANENT,
        "the password is wrong",
    ),
    (
        "ForbiddenError",
        250001,
        "08001",
        "Failed to connect to DB. Verify the account name is correct.",
        PERMANENT,
        "the account is wrong",
    ),
)
for _error, _number, _state, _text, _wanted, _reason in SNOWFLAKE:

    @case("snowflake-connector-python", _error, f"{_number}: {_text}", _wanted, _reason, built=True)
    def _(error=_error, number=_number, state=_state, text=_text) -> Any:
        return _snowflake(error, number, state, text)


@case("snowflake-connector-python", "ProgrammingError", "no account", PERMANENT, "the caller's mistake")
def _() -> Any:
    import snowflake.connector

    return snowflake.connector.connect(user="u", password="p")
