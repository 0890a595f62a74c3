"""Judge a database's error by its SQLSTATE, its driver's error number, or its text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from resilient_tasks import safely
from resilient_tasks.core.classification.classes import tops_of
from resilient_tasks.core.classification.kinds import Kind
from resilient_tasks.core.classification.names import of_name
from resilient_tasks.core.classification.wrapped import is_library_class
from resilient_tasks.redaction.patterns import compiled
from resilient_tasks.safely import module_of, of_class


def _table(codes: dict[Kind, str]) -> dict[str, Kind]:
    return {code: kind for kind, listed in codes.items() for code in listed.split()}


# SQLSTATEs, and their classes (the first two characters); all others are permanent.
_SQLSTATES = _table(
    {
        Kind.TRANSIENT: "08 40 53300 53000 55P03 55006 57P01 57P02 57P03 57P05 57033 25P03 25P04 58030",
        Kind.PERMANENT: "08P01 40002 08007 08N01",
        Kind.TIMEOUT: "57014 HYT00 HYT01 S1T00 25P04",
        Kind.RESOURCE: "53100 53200",
    }
)
#: These mean only that an error occurred.
_UNSPECIFIC = frozenset({"HY000", "S1000", "00000", "XX000", "58000", "58005"})

# Drivers' error numbers; all others are permanent.
_MYSQL = _table(
    {
        Kind.TRANSIENT: """
            1040 1047 1053 1077 1079 1152 1158 1159 1160 1161 1184 1203 1205 1213 1614 1637 1927 2002 2003 2005
            2006 2012 2013 2055 3058 3101 3169 3572 4031
        """,
        Kind.TIMEOUT: "1969 3024",
        Kind.RESOURCE: "1021 1037 1038 1041",
    }
)
_MSSQL = _table(
    {
        Kind.TRANSIENT: """
            20 64 233 921 1204 1205 1222 3935 4221 8645 8651 10053 10054 10060 10061 17197 20003 20004 20006
            20009 40020 40143 40166 40197 40501 40540 40613 41301 41302 41305 41325 41839 42108 42109 49918
            49919 49920 14355 17829 17830 10928 10929
        """,
        Kind.TIMEOUT: "-2 258",
    }
)
_CLICKHOUSE = _table(
    {
        Kind.TRANSIENT: "3 95 96 198 202 203 210 242 252 279 285 286 319 394 425 999 1002",
        Kind.TIMEOUT: "159 160 209",
        Kind.RESOURCE: "173 241 243",
    }
)
_MONGO = _table(
    {
        Kind.TRANSIENT: "6 7 24 91 112 117 134 189 225 251 317 9001 10107 11600 11602 13388 13435 13436",
        Kind.TIMEOUT: "50 89 202 262",
        Kind.THROTTLED: "16500",
    }
)
_ORACLE = _table(
    {
        Kind.TRANSIENT: """
            18 20 28 54 60 1012 1033 1034 1041 1089 1090 1092 2391 2396 3113 3114 3135 4068 8177 12152 12153
            12157 12170 12516 12518 12519 12520 12528 12535 12537 12541 12543 12547 12560 12570 12571 12572
            12583 12606 12608 12609 25400 25402 25408
        """,
        Kind.TIMEOUT: "51 2049 30006",
    }
)
_ORACLE_DRIVER = _table(
    {
        Kind.TRANSIENT: "1001 1010 1080 4005 4011 6005",
        Kind.TIMEOUT: "1067 4024",
    }
)

_NAMES = frozenset({"DatabaseError", "OperationalError", "InterfaceError"})


def is_database_error(error: BaseException) -> bool:
    """Return whether an error is of a driver that follows PEP 249: sqlite3, or an installed one."""
    return is_database_class(type(error))


@of_class
def is_database_class(cls: type) -> bool:
    """Return whether the errors of a class are of such a driver."""
    named = any(base.__name__ in _NAMES and module_of(base) != "builtins" for base in cls.__mro__)
    return named and (is_library_class(cls) or "sqlite3" in tops_of(cls))


@safely.or_none
def by_code(error: BaseException) -> Kind | None:
    """Return the kind for the SQLSTATE or number of a database's error; None if it has none."""
    family = is_database_error(error)
    code = _sqlstate(error, family=family)
    if (found := _CLICKHOUSE_CODE_IN_TEXT.search(_text(error))) is not None and is_library_class(type(error)):
        return _CLICKHOUSE.get(found[1], Kind.PERMANENT)
    if family and (kind := _by_number(error, _number(error))) is not None:
        return kind
    if code is not None and code not in _UNSPECIFIC:
        kind = _SQLSTATES.get(code) or _SQLSTATES.get(code[:2]) or (Kind.PERMANENT if code[0].isdigit() else None)
        refused = _REFUSED.search(_text(error)) or of_name(type(error).__name__) is Kind.PERMANENT
        return Kind.PERMANENT if code[:2] == "08" and refused else kind  # a wrong password also prevents a connection
    name = safely.attribute(error, "sqlite_errorname")
    if safely.is_a(name, str):
        return next((kind for start, kind in _SQLITE.items() if name.startswith(start)), Kind.PERMANENT)
    return _by_oracle_code(error) if family else None


_CLICKHOUSE_CODE_IN_TEXT = compiled(r"\bCode: (\d{1,4})\.\s+DB::")
_SQLSTATE_IN_TEXT = compiled(r"\bSQLSTATE[=: ]+([0-9A-Z]{5})\b")  # DB2


def _by_oracle_code(error: BaseException) -> Kind | None:
    text = _text(error)
    for prefix, codes in (("ORA|TNS", _ORACLE), ("DPY|DPI", _ORACLE_DRIVER)):
        if found := re.search(rf"\b(?:{prefix})-(\d{{4,5}})\b", text):
            kind = codes.get(found[1].lstrip("0"), Kind.PERMANENT)
            return Kind.PERMANENT if _REFUSED.search(text) else kind
    return None


_SQLITE = {
    "SQLITE_BUSY": Kind.TRANSIENT,
    "SQLITE_LOCKED": Kind.TRANSIENT,
    "SQLITE_PROTOCOL": Kind.TRANSIENT,
    "SQLITE_FULL": Kind.RESOURCE,
    "SQLITE_NOMEM": Kind.RESOURCE,
    "SQLITE_IOERR_NOMEM": Kind.RESOURCE,
    "SQLITE_CORRUPT": Kind.MALFORMED,
    "SQLITE_NOTADB": Kind.MALFORMED,
}


def _sqlstate(error: BaseException, *, family: bool) -> str | None:
    found = [safely.attribute(error, name) for name in ("sqlstate", "pgcode", "sql_state")]
    if _is_named_after_sql(type(error)):  # PostgREST passes it on
        found.append(safely.attribute(error, "code"))
    args = safely.own(error, "args")
    if family and args:
        first = args[0]
        found.append(safely.item(first, "C") if safely.is_a(first, Mapping) else first)  # pg8000; pyodbc
        found.extend(_SQLSTATE_IN_TEXT.findall(_text(error))[:1])
    elif len(args) == 2 and all(type(arg) is str for arg in args) and args[1].startswith(f"[{args[0]}]"):
        found.append(args[0])  # ODBC's bare `Error`
    return next((code for code in found if safely.is_a(code, str) and re.fullmatch(r"[0-9A-Z]{5}", code)), None)


@of_class
def _is_named_after_sql(cls: type) -> bool:
    return is_library_class(cls) and any(part in top for top in tops_of(cls) for part in ("sql", "postg", "pg"))


def _number(error: BaseException) -> int | None:
    args = safely.own(error, "args")
    first: Any = args[0] if args else None
    if safely.is_a(first, tuple) and first:  # pymssql
        first = first[0]
    found = (safely.number(each) for each in (safely.attribute(error, "errno"), first, safely.attribute(error, "code")))
    return next((number for number in found if number is not None), None)


def _by_number(error: BaseException, number: int | None) -> Kind | None:
    tops = "".join(tops_of(type(error))).lower()
    if "clickhouse" in tops and number is None:
        number = _code_in_text(error)
    if not number:
        return None
    if "clickhouse" in tops:
        codes = _CLICKHOUSE
    elif any(part in tops for part in ("mssql", "odbc", "tds")):
        codes = _MSSQL
    elif 1000 <= number < 5000 and any(part in tops for part in ("mysql", "maria", "asyncmy")):
        codes = _MYSQL
    else:
        return None
    return codes.get(str(number), Kind.PERMANENT)


def _code_in_text(error: BaseException) -> int | None:
    found = re.search(r"\bcode:? (\d{1,4})\b", _text(error), re.IGNORECASE)
    return None if found is None else int(found[1])


@safely.or_none
def by_text(error: BaseException) -> Kind | None:
    """Return the kind for the text of a database's error; None if the text is unknown."""
    if not is_database_error(error):
        return None
    text = _text(error)
    if refuses(text):
        return Kind.PERMANENT
    return next((kind for kind, phrases in _PHRASES if phrases.search(text)), None)


def refuses(text: str) -> bool:
    """Return whether a database or broker refuses the request or the client, by the text of its error."""
    return _REFUSED.search(text) is not None


_REFUSED = compiled(
    r"password|authenticat|access (?:is )?denied|permission|not authorized|login failed|does not exist"
    r"|no such (?!file or directory\s+Is the server)"
    r"|unknown (?:database|user|table|column)|syntax error|no pg_hba|certificate|unable to open|not a database"
    r"|read-?only|already exists|invalid (?:dsn|connection|value|port|uri)|unsupported|constraint|missing"
    r"|(?:password|token|license|account|session)\b.{0,40}expired|different configuration",
    re.IGNORECASE,
)
_PHRASES = (
    (Kind.TIMEOUT, compiled(r"time(?:d |-)?out|cancel\w+ statement due to", re.IGNORECASE)),
    (
        Kind.TRANSIENT,
        compiled(
            r"(?:database|table|schema)(?: \S+)? is locked|set lock on|lock is held"
            r"|conflict on (?:update|tuple)|lock wait|deadlock|serializ|gone away|lost connection|broken pipe"
            r"|too many (?:clients|connections|sessions)|starting up|shut(?:ting)? ?down|terminat|temporar|try again"
            r"|(?:could not|can't|cannot|unable to|failed to) (?:connect|translate host|resolve|establish)"
            r"|(?:connection|server|socket|link|peer|stream|session)\b.{0,60}\b(?:refused|reset|closed|lost|dropped"
            r"|aborted|broken|unreachable|unavailable|failed|failure|hung up|disconnected)|closed the connection"
            r"|unexpected eof|eof detected|not connected|network|name or service not known|service unavailable|busy",
            re.IGNORECASE,
        ),
    ),
)


@safely.or_none
def by_mongo(error: BaseException) -> Kind | None:
    """Return the kind for the number and labels of a MongoDB error."""
    if "pymongo" not in tops_of(type(error)):
        return None
    labels = safely.item(safely.attribute(error, "details"), "errorLabels")
    if safely.is_a(labels, list) and {"TransientTransactionError", "RetryableWriteError"} & {
        label for label in labels if safely.is_a(label, str)
    }:
        return Kind.TRANSIENT
    number = safely.number(safely.attribute(error, "code"))
    if number is None:
        return None
    return _MONGO.get(str(number), Kind.PERMANENT)


def _text(error: BaseException) -> str:
    """Return the text of an error without the statement that SQLAlchemy appends."""
    return safely.text(error).partition("\n[SQL:")[0][:2000]
