# ruff: noqa: E501 -- one case, one line
"""Readers of data, schemas, serializers, and what stands around calls: fsspec, tenacity, SQLAlchemy, processes."""

import io
from pathlib import Path
from typing import Any

from .corpus import MALFORMED, PERMANENT, RESOURCE, THROTTLED, TIMEOUT, TRANSIENT, UNFIT, case
from .servers import WEB, answering, folder, refusing, web


def _file(name: str, content: bytes) -> str:
    path = folder() / name
    path.write_bytes(content)
    return str(path)


def _pandas(content: bytes, **options: Any) -> Any:
    import pandas as pd

    return pd.read_csv(io.BytesIO(content), **options)


def _arrow(name: str, content: bytes) -> Any:
    import pyarrow.csv
    import pyarrow.parquet

    read = pyarrow.parquet.read_table if name.endswith("parquet") else pyarrow.csv.read_csv
    return read(_file(name, content))


def _pydantic() -> Any:
    import pydantic

    return pydantic.create_model("Flight", id=(int, ...)).model_validate({"id": "x"})


def _marshmallow() -> Any:
    import marshmallow

    return marshmallow.Schema.from_dict({"id": marshmallow.fields.Int()})().load({"id": "x"})


def _orjson() -> Any:
    import orjson

    return orjson.dumps(object())


def _msgpack(data: bytes) -> Any:
    import msgpack

    return msgpack.unpackb(data)


def _avro() -> Any:
    import fastavro

    schema = {"type": "record", "name": "a", "fields": [{"name": "id", "type": "int"}]}
    return fastavro.writer(io.BytesIO(), schema, [{"id": "x"}], validator=True)


def _protobuf() -> Any:
    from google.protobuf import timestamp_pb2

    return timestamp_pb2.Timestamp.FromString(b"\xff\xff")


def _dotted(path: str, *args: Any) -> Any:
    from importlib import import_module

    module, _, name = path.rpartition(".")
    return getattr(import_module(module), name)(*args)


DATA = (
    ("pandas", "ParserError", "rows of unlike length", MALFORMED, "it does not parse", lambda: _pandas(b"a,b\n1,2\n1,2,3\n")),
    ("pandas", "EmptyDataError", "nothing in the file", MALFORMED, "there is no data", lambda: _pandas(b"")),
    ("pandas", "UnicodeDecodeError", "no UTF-8", MALFORMED, "it does not decode", lambda: _pandas(b"a\n\xff\n")),
    ("pandas", "ValueError", "text in a column of numbers", UNFIT, "the value does not fit", lambda: _pandas(b"a\nx\n", dtype={"a": int})),
    ("pandas", "KeyError", "no such column", PERMANENT, "the caller's mistake", lambda: _pandas(b"a\n1\n")["b"]),
    ("pandas", "FileNotFoundError", "no such file", PERMANENT, "it does not appear by itself", lambda: _dotted("pandas.read_csv", "/no/such.csv")),
    ("pyarrow", "ArrowInvalid", "no Parquet", MALFORMED, "it does not parse", lambda: _arrow("a.parquet", b"text" * 9)),
    ("pyarrow", "ArrowInvalid", "rows of unlike length", MALFORMED, "it does not parse", lambda: _arrow("a.csv", b"a,b\n1,2\n1,2,3\n")),
    ("pyarrow", "FileNotFoundError", "no such file", PERMANENT, "it does not appear by itself", lambda: _dotted("pyarrow.parquet.read_table", "/no/such.parquet")),
    ("pydantic", "ValidationError", "text where a number belongs", MALFORMED, "it breaks its schema", _pydantic),
    ("marshmallow", "ValidationError", "text where a number belongs", UNFIT, "it breaks its schema", _marshmallow),
    ("jsonschema", "ValidationError", "text where a number belongs", UNFIT, "it breaks its schema", lambda: _dotted("jsonschema.validate", "x", {"type": "integer"})),
    ("jsonschema", "SchemaError", "a schema that is none", UNFIT, "the caller's mistake", lambda: _dotted("jsonschema.validate", 1, {"type": "nope"})),
    ("orjson", "JSONDecodeError", "HTML", MALFORMED, "it does not parse", lambda: _dotted("orjson.loads", "<html>")),
    ("orjson", "TypeError", "a value that JSON has no form for", PERMANENT, "the caller's mistake", _orjson),
    ("PyYAML", "ScannerError", "a tab as indentation", MALFORMED, "it does not parse", lambda: _dotted("yaml.safe_load", "a:\n\t- b")),
    ("lxml", "XMLSyntaxError", "cut short", MALFORMED, "it does not parse", lambda: _dotted("lxml.etree.fromstring", "<a><b>")),
    ("xmltodict", "ExpatError", "cut short", MALFORMED, "it does not parse", lambda: _dotted("xmltodict.parse", "<a><b>")),
    ("msgpack", "ExtraData", "more than one value", UNFIT, "it does not parse", lambda: _msgpack(b"\x01\x01")),
    ("fastavro", "ValidationError", "text where a number belongs", UNFIT, "it breaks its schema", _avro),
    ("protobuf", "DecodeError", "no message", MALFORMED, "it does not parse", _protobuf),
    ("openpyxl", "BadZipFile", "no workbook", MALFORMED, "it does not parse", lambda: _dotted("openpyxl.load_workbook", _file("a.xlsx", b"text"))),
    ("zstandard", "ZstdError", "no zstd", MALFORMED, "the data does not decode", lambda: __import__("zstandard").ZstdDecompressor().decompress(b"text" * 9)),
    ("PyJWT", "ExpiredSignatureError", "an expired token", PERMANENT, "it stays expired", lambda: __import__("jwt").decode(__import__("jwt").encode({"exp": 1}, "k" * 32), "k" * 32, ["HS256"])),
    ("cryptography", "InvalidToken", "another key", PERMANENT, "the key is wrong", lambda: __import__("cryptography.fernet").fernet.Fernet(b"a" * 43 + b"=").decrypt(b"x")),
)  # fmt: skip
for _library, _error, _what, _wanted, _reason, _make in DATA:

    @case(_library, _error, _what, _wanted, _reason)
    def _(make=_make) -> Any:
        return make()


# fsspec


def by_fsspec(url: str) -> Any:
    import aiohttp
    import fsspec

    limit = aiohttp.ClientTimeout(total=None, sock_read=0.3, sock_connect=0.3)
    return fsspec.filesystem("http", client_kwargs={"timeout": limit}, skip_instance_cache=True).cat_file(url)


for _status, _error, _wanted, _reason in (
    (404, "FileNotFoundError", PERMANENT, "it does not appear by itself"),
    (503, "ClientResponseError", TRANSIENT, "unavailable for now"),
    (429, "ClientResponseError", THROTTLED, "asks for fewer calls"),
):

    @case("fsspec", _error, f"{_status}", _wanted, _reason)
    def _(status=_status) -> Any:
        with answering(status) as url:
            return by_fsspec(url)


@case("fsspec", "ClientConnectorError", "refused", TRANSIENT, "the server may be starting")
def _() -> Any:
    return by_fsspec(refusing())


@case("fsspec", "FSTimeoutError", "no answer", TIMEOUT, "the next call may be answered")
def _() -> Any:
    with web(WEB["no answer"]) as url:
        return by_fsspec(url)


@case("fsspec", "ValueError", "a protocol that it does not know", PERMANENT, "the caller's mistake")
def _() -> Any:
    import fsspec

    return fsspec.open("nope://a/b").open()


# tenacity, whose error wraps the last attempt


def _tried(error: Exception) -> Any:
    import tenacity

    def call() -> None:
        raise error

    return tenacity.Retrying(stop=tenacity.stop_after_attempt(2))(call)


@case("tenacity", "RetryError", "around refused connections", TRANSIENT, "what was retried is transient")
def _() -> Any:
    return _tried(ConnectionRefusedError(111, "Connection refused"))


@case("tenacity", "RetryError", "around a KeyError", PERMANENT, "what was retried is a bug")
def _() -> Any:
    return _tried(KeyError("tailnum"))


@case("tenacity", "RetryError", "around httpx's 429", THROTTLED, "what was retried is a limit")
def _() -> Any:
    import httpx

    request = httpx.Request("GET", refusing())
    return _tried(httpx.HTTPStatusError("429", request=request, response=httpx.Response(429, request=request)))


# This machine's own limits


@case("os", "OSError", "ENOSPC: no space on the device", RESOURCE, "space is missing")
def _() -> Any:
    with Path("/dev/full").open("wb", buffering=0) as file:
        return file.write(b"x")


@case("os", "OSError", "EMFILE: too many open files", RESOURCE, "the limit is this process's own")
def _() -> Any:
    import resource

    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (3, before[1]))
    try:
        return Path("/dev/null").open("rb")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@case("numpy", "MemoryError", "an array larger than memory", RESOURCE, "memory is missing")
def _() -> Any:
    import numpy as np

    return np.empty(2**50)


# GraphQL


def by_gql(url: str) -> Any:
    import gql
    from gql.transport.requests import RequestsHTTPTransport

    return gql.Client(transport=RequestsHTTPTransport(url, timeout=1)).execute(gql.gql("{ flights }"))


@case("gql", "TransportServerError", "503", TRANSIENT, "unavailable for now")
def _() -> Any:
    with answering(503) as url:
        return by_gql(url)


@case("gql", "TransportQueryError", "a field that the schema lacks", PERMANENT, "the caller's mistake")
def _() -> Any:
    with answering(200, {"errors": [{"message": "Cannot query field 'flights'"}]}) as url:
        return by_gql(url)


@case("gql", "GraphQLSyntaxError", "a query that does not parse", PERMANENT, "the caller's mistake")
def _() -> Any:
    import gql

    return gql.gql("{ flights ")
