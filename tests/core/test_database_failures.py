"""The classifier, over errors of databases: by SQLSTATE, by the number of a driver, or by text."""

import sqlite3

import pytest

from resilient_tasks import Kind, classify
from tests.core.shapes import rows, shaped, sql


def timed_out_in_sql(state):
    return shaped("driver.errors.QueryCanceled", "driver.OperationalError", "driver.DatabaseError", sqlstate=state)


def of(driver, *args, **held):
    return shaped(f"{driver}.OperationalError", f"{driver}.DatabaseError", args=args, **held)


DATABASES = {
    Kind.TRANSIENT: [
        *(sql("no", sqlstate=code) for code in ("08006", "40001", "40P01", "53300", "55P03", "57P01", "57P03")),
        sql("no", pgcode="40P01"),
        sql("40001", "[40001] [Microsoft] Transaction was deadlocked (1205)"),
        sql({"S": "ERROR", "C": "40001", "M": "could not serialize access"}),
        *(of("pymysql.err", number, "no") for number in (1040, 1205, 1213, 2003, 2006, 2013)),
        of("mysql.connector.errors", "no", errno=1213, sqlstate="HY000"),
        of("pymssql.exceptions", (1205, b"deadlock victim")),
        of("clickhouse_driver.errors", "no", code=202),
        of("oracledb.exceptions", "ORA-00060: deadlock detected while waiting for resource"),
        of("oracledb.exceptions", "DPY-6005: cannot connect to database. [Errno 111] Connection refused"),
        shaped("pymongo.errors.OperationFailure", code=11600),
        shaped("pymongo.errors.WriteError", code=1, details={"errorLabels": ["TransientTransactionError"]}),
        sqlite3.OperationalError("database is locked"),
        sqlite3.OperationalError("database table is locked: flights"),
        sql("server closed the connection unexpectedly"),
        sql('connection to server at "127.0.0.1", port 1 failed: Connection refused'),
        sql("FATAL:  sorry, too many clients already"),
        shaped("driver.SerializationError", "driver.DatabaseError"),
    ],
    Kind.TIMEOUT: [
        timed_out_in_sql("57014"),
        of("pymysql.err", 3024, "maximum statement execution time exceeded"),
        sql("connection timeout expired"),
        shaped("psycopg_pool.PoolTimeout", "psycopg.OperationalError"),
    ],
    Kind.PERMANENT: [
        *(sql("no", sqlstate=code) for code in ("28P01", "3D000", "42P01", "42601", "23505", "08P01")),
        sql("Failed to connect to DB. Incorrect username or password was specified.", sqlstate="08001"),
        sql("42S02", "[42S02] Invalid object name 'flights'"),
        *(of("pymysql.err", number, "no") for number in (1045, 1049, 1146, 1064)),
        of("pymssql.exceptions", (18456, b"Login failed for user 'sa'")),
        of("clickhouse_driver.errors", "no", code=516),
        of("oracledb.exceptions", "ORA-01017: invalid username/password; logon denied"),
        shaped("pymongo.errors.OperationFailure", code=18),
        sqlite3.OperationalError("no such table: flights"),
        sqlite3.OperationalError('near "selec": syntax error'),
        sqlite3.OperationalError("unable to open database file"),
        sql('password authentication failed for user "bob"'),
        sql('database "flights" does not exist'),
        sql("something else"),
    ],
    Kind.RESOURCE: [sql("no", sqlstate="53100"), shaped("duckdb.OutOfMemoryException", "duckdb.OperationalError")],
}


@pytest.mark.parametrize(("error", "kind"), rows(DATABASES))
def test_a_database_error_is_classified_by_its_sqlstate_number_or_text(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize(("error", "kind"), rows(DATABASES))
def test_a_database_error_has_the_same_kind_through_sqlalchemy(error, kind):
    said = f"(driver.OperationalError) {error}\n[SQL: select 1]"
    through = shaped("sqlalchemy.exc.OperationalError", "sqlalchemy.exc.DatabaseError", args=(said,), orig=error)
    assert classify(through) is kind
