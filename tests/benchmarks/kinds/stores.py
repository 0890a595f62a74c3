# ruff: noqa: E501 -- one case, one line
"""Search engines, warehouses and stores of documents, graphs and series."""

from collections.abc import Callable
from typing import Any

from .corpus import BUSY, LATE, PERMANENT, THROTTLED, TIMEOUT, TRANSIENT, case
from .servers import HOST, WEB, answering, closed_port, hang, refusing, serving, web

_ELASTIC = {"X-Elastic-Product": "Elasticsearch"}


def by_elastic(url: str) -> Any:
    from elasticsearch import Elasticsearch

    return Elasticsearch(url, max_retries=0, request_timeout=0.3).search(index="flights")


def by_opensearch(url: str) -> Any:
    from opensearchpy import OpenSearch

    return OpenSearch(url, max_retries=0, timeout=0.3).search(index="flights")


def by_influx(url: str) -> Any:
    from influxdb_client import InfluxDBClient

    client = InfluxDBClient(url, token="t", org="o", timeout=300, retries=False)
    return client.query_api().query('from(bucket: "a")')


def by_clickhouse(url: str) -> Any:
    import clickhouse_connect

    port = int(url.rpartition(":")[2])
    limits = {"connect_timeout": 1, "send_receive_timeout": 1, "query_retries": 0}
    return clickhouse_connect.get_client(host=HOST, port=port, username="u", password="p", **limits)


def by_trino(url: str) -> Any:
    import trino

    port = int(url.rpartition(":")[2])
    connection = trino.dbapi.connect(host=HOST, port=port, user="u", max_attempts=1, request_timeout=0.3)
    cursor = connection.cursor()
    cursor.execute("SELECT 1")
    return cursor.fetchall()


CLIENTS: dict[str, Callable[[str], Any]] = {
    "elasticsearch": by_elastic,
    "opensearch-py": by_opensearch,
    "influxdb-client": by_influx,
    "clickhouse-connect": by_clickhouse,
    "trino": by_trino,
}


def _clickhouse(code: int, text: str) -> tuple[str, dict[str, str]]:
    return f"Code: {code}. DB::Exception: {text}", {"X-ClickHouse-Exception-Code": str(code)}


def _trino(name: str, kind: str, text: str) -> dict[str, Any]:
    failure = {"message": text, "errorCode": 1, "errorName": name, "errorType": kind}
    stats = {"state": "FAILED", "queued": False, "scheduled": False, "nodes": 0, "totalSplits": 0, "queuedSplits": 0}
    times = dict.fromkeys(
        ("runningSplits", "completedSplits", "cpuTimeMillis", "wallTimeMillis", "queuedTimeMillis"), 0
    )
    sizes = dict.fromkeys(("elapsedTimeMillis", "processedRows", "processedBytes", "peakMemoryBytes"), 0)
    return {"id": "1", "infoUri": "http://x", "stats": stats | times | sizes, "error": failure}


def _elastic(kind: str, status: int) -> dict[str, Any]:
    return {"error": {"type": kind, "reason": "said so", "root_cause": [{"type": kind}]}, "status": status}


ANSWERS = (
    ("elasticsearch", "ApiError", 429, _elastic("es_rejected_execution_exception", 429), _ELASTIC, THROTTLED, "the queue is full"),
    ("elasticsearch", "ApiError", 503, _elastic("cluster_block_exception", 503), _ELASTIC, TRANSIENT, "unavailable for now"),
    ("elasticsearch", "NotFoundError", 404, _elastic("index_not_found_exception", 404), _ELASTIC, PERMANENT, "it does not appear by itself"),
    ("elasticsearch", "BadRequestError", 400, _elastic("parsing_exception", 400), _ELASTIC, PERMANENT, "the caller's mistake"),
    ("elasticsearch", "AuthenticationException", 401, _elastic("security_exception", 401), _ELASTIC, PERMANENT, "the password is wrong"),
    ("elasticsearch", "UnsupportedProductError", 200, {}, {}, PERMANENT, "another product answers"),
    ("opensearch-py", "TransportError", 429, _elastic("rejected_execution_exception", 429), {}, THROTTLED, "the queue is full"),
    ("opensearch-py", "TransportError", 503, _elastic("cluster_manager_not_discovered_exception", 503), {}, TRANSIENT, "a new manager is being chosen"),
    ("opensearch-py", "NotFoundError", 404, _elastic("index_not_found_exception", 404), {}, PERMANENT, "it does not appear by itself"),
    ("opensearch-py", "RequestError", 400, _elastic("mapper_parsing_exception", 400), {}, PERMANENT, "the document breaks its mapping"),
    ("influxdb-client", "ApiException", 429, {"code": "too many requests"}, {"Retry-After": "5"}, THROTTLED, "asks for fewer calls"),
    ("influxdb-client", "ApiException", 503, {"code": "unavailable"}, {}, TRANSIENT, "unavailable for now"),
    ("influxdb-client", "ApiException", 401, {"code": "unauthorized"}, {}, PERMANENT, "the token is wrong"),
    ("clickhouse-connect", "DatabaseError", 516, *_clickhouse(516, "u: Authentication failed: password is incorrect"), PERMANENT, "its own code, no HTTP status: the password is wrong"),
    ("clickhouse-connect", "DatabaseError", 404, *_clickhouse(60, "Table d.flights does not exist"), PERMANENT, "it does not appear by itself"),
    ("clickhouse-connect", "DatabaseError", 400, *_clickhouse(62, "Syntax error"), PERMANENT, "the caller's mistake"),
    ("clickhouse-connect", "DatabaseError", 500, *_clickhouse(202, "Too many simultaneous queries. Maximum: 100"), BUSY, "queries end"),
    ("clickhouse-connect", "DatabaseError", 500, *_clickhouse(159, "Timeout exceeded: elapsed 30 seconds"), LATE, "it may be quicker next time"),
    ("clickhouse-connect", "DatabaseError", 500, *_clickhouse(210, "Connection refused (remote shard)"), TRANSIENT, "the shard may be starting"),
    ("trino", "TrinoUserError", 200, _trino("TABLE_NOT_FOUND", "USER_ERROR", "Table does not exist"), {}, PERMANENT, "it does not appear by itself"),
    ("trino", "TrinoUserError", 200, _trino("SYNTAX_ERROR", "USER_ERROR", "mismatched input"), {}, PERMANENT, "the caller's mistake"),
    ("trino", "TrinoQueryError", 200, _trino("CLUSTER_OUT_OF_MEMORY", "INSUFFICIENT_RESOURCES", "said so"), {}, BUSY, "other queries end"),
    ("trino", "TrinoQueryError", 200, _trino("QUERY_QUEUE_FULL", "INSUFFICIENT_RESOURCES", "Too many queued queries"), {}, BUSY, "other queries end"),
    ("trino", "TrinoExternalError", 200, _trino("HIVE_METASTORE_ERROR", "EXTERNAL", "Connection refused"), {}, TRANSIENT, "the metastore may be starting"),
    ("trino", "Http503Error", 503, "no", {}, TRANSIENT, "unavailable for now"),
    ("trino", "HttpError", 401, "no", {}, PERMANENT, "the password is wrong"),
)  # fmt: skip
for _library, _error, _status, _body, _headers, _wanted, _reason in ANSWERS:
    _failure = _body["error"] if isinstance(_body, dict) and "error" in _body else None
    _words = str(_body)[:60] if _failure is None else _failure.get("type") or _failure["errorName"]

    @case(_library, _error, f"{_status} {_words}", _wanted, _reason)
    def _(client=CLIENTS[_library], status=_status, body=_body, headers=_headers) -> Any:
        with answering(500 if status == 516 else status, body, headers) as url:
            return client(url)


for _library, _error in {
    "elasticsearch": "ConnectionError",
    "opensearch-py": "ConnectionError",
    "influxdb-client": "NewConnectionError",
    "clickhouse-connect": "OperationalError",
    "trino": "TrinoConnectionError",
}.items():

    @case(_library, _error, "refused", TRANSIENT, "the server may be starting")
    def _(client=CLIENTS[_library]) -> Any:
        return client(refusing())


for _library, _error in {
    "elasticsearch": "ConnectionTimeout",
    "opensearch-py": "ConnectionTimeout",
    "influxdb-client": "ReadTimeoutError",
    "clickhouse-connect": "OperationalError",
}.items():

    @case(_library, _error, "no answer", LATE, "the next call may be answered")
    def _(client=CLIENTS[_library]) -> Any:
        with web(WEB["no answer"]) as url:
            return client(url)


# MongoDB


def by_mongo(port: int) -> Any:
    import pymongo

    limits = {"serverSelectionTimeoutMS": 300, "connectTimeoutMS": 200, "socketTimeoutMS": 200}
    return pymongo.MongoClient(HOST, port, **limits).flights.command("ping")


@case("pymongo", "ServerSelectionTimeoutError", "refused", LATE, "the server may be starting")
def _() -> Any:
    return by_mongo(closed_port())


@case("pymongo", "ServerSelectionTimeoutError", "no answer", LATE, "the next call may be answered")
def _() -> Any:
    with serving(hang) as port:
        return by_mongo(port)


MONGO = (
    ("NotPrimaryError", 10107, "NotWritablePrimary", TRANSIENT, "a new primary is being chosen"),
    ("NotPrimaryError", 189, "PrimarySteppedDown", TRANSIENT, "a new primary is being chosen"),
    ("NotPrimaryError", 91, "ShutdownInProgress", TRANSIENT, "the server restarts"),
    ("OperationFailure", 112, "WriteConflict", TRANSIENT, "the other transaction is through by then"),
    ("ExecutionTimeout", 50, "MaxTimeMSExpired", TIMEOUT, "it may be quicker next time"),
    ("OperationFailure", 18, "AuthenticationFailed", PERMANENT, "the password is wrong"),
    ("OperationFailure", 13, "Unauthorized", PERMANENT, "the right is missing"),
    ("OperationFailure", 59, "CommandNotFound", PERMANENT, "the caller's mistake"),
    ("DuplicateKeyError", 11000, "DuplicateKey", PERMANENT, "the document is there"),
    ("OperationFailure", 121, "DocumentValidationFailure", PERMANENT, "the document breaks its schema"),
)
for _error, _code, _name, _wanted, _reason in MONGO:

    @case("pymongo", _error, f"{_code} {_name}", _wanted, _reason, built=True)
    def _(code=_code, name=_name) -> Any:
        from pymongo import helpers_shared

        answer = {"ok": 0, "code": code, "codeName": name, "errmsg": "said so"}
        if name == "WriteConflict":
            answer["errorLabels"] = ["TransientTransactionError"]
        helpers_shared._check_command_response(answer, None)


@case("pymongo", "AutoReconnect", "connection closed", TRANSIENT, "'reconnect' is its name", built=True)
def _() -> Any:
    from pymongo.errors import AutoReconnect

    return AutoReconnect("connection closed")


@case("pymongo", "InvalidURI", "an address that is none", PERMANENT, "the caller's mistake")
def _() -> Any:
    import pymongo

    return pymongo.MongoClient("http://127.0.0.1")


@case("pymongo", "InvalidDocument", "a value that BSON has no type for", PERMANENT, "the caller's mistake")
def _() -> Any:
    import bson

    return bson.encode({"a": object()})


# Neo4j, whose driver makes its error of the server's code


NEO4J = (
    (
        "TransientError",
        "Neo.TransientError.Transaction.DeadlockDetected",
        TRANSIENT,
        "the other transaction is through by then",
    ),
    ("DatabaseUnavailable", "Neo.TransientError.General.DatabaseUnavailable", TRANSIENT, "unavailable for now"),
    ("CypherTypeError", "Neo.ClientError.Statement.TypeError", PERMANENT, "the caller's mistake"),
    ("CypherSyntaxError", "Neo.ClientError.Statement.SyntaxError", PERMANENT, "the caller's mistake"),
    ("AuthError", "Neo.ClientError.Security.Unauthorized", PERMANENT, "the password is wrong"),
    ("ConstraintError", "Neo.ClientError.Schema.ConstraintValidationFailed", PERMANENT, "the node is there"),
)
for _error, _code, _wanted, _reason in NEO4J:

    @case("neo4j", _error, _code, _wanted, _reason, built=True)
    def _(code=_code) -> Any:
        from neo4j.exceptions import Neo4jError

        return Neo4jError._hydrate_neo4j(code=code, message="said so")


@case("neo4j", "ServiceUnavailable", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    import neo4j

    with neo4j.GraphDatabase.driver(f"bolt://{HOST}:{closed_port()}", auth=("u", "p")) as driver:
        return driver.verify_connectivity()
