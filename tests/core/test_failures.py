"""The classifier, over errors that real libraries raise."""

import csv
import datetime as dt
import errno
import gzip
import http.client
import io
import json
import smtplib
import socket
import ssl
import urllib.error
import zlib
from email.utils import format_datetime
from types import SimpleNamespace

import httpx
import pandas as pd
import pandera.pandas as pa
import polars as pl
import pydantic
import pytest
import requests
import sqlalchemy.exc
import urllib3.exceptions

from resilient_tasks import (
    CircuitOpen,
    InvalidData,
    Kind,
    ProcessDied,
    ResultRejected,
    TimedOut,
    classify,
    register_kind,
)
from resilient_tasks.core import failures
from resilient_tasks.core.failures import describe, retry_after, status_of

REQUEST = httpx.Request("GET", "http://127.0.0.1/")


def raised(function, *args, **kwargs):
    """The error that a real call raises."""
    try:
        function(*args, **kwargs)
    except Exception as error:
        return error
    raise AssertionError("nothing was raised")


def httpx_status(code, **headers):
    response = httpx.Response(code, headers=headers, request=REQUEST)
    return raised(response.raise_for_status)


def requests_status(code, **headers):
    response = requests.Response()
    response.status_code, response.headers = code, requests.structures.CaseInsensitiveDict(headers)
    return raised(response.raise_for_status)


def urllib_status(code, **headers):
    message = http.client.HTTPMessage()
    for name, value in headers.items():
        message[name] = value
    return urllib.error.HTTPError("http://127.0.0.1/", code, "", message, io.BytesIO())


def boto_error(code, status=400, **headers):
    error = Exception(f"An error occurred ({code})")
    error.response = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status, "HTTPHeaders": headers}}
    return error


def aiosmtplib(name, **attributes):
    """Like aiosmtplib's, which is not installed with the tests: its `code` is not an HTTP status."""
    error = type(name, (Exception,), {"__module__": "aiosmtplib.errors"})(name)
    vars(error).update(attributes)
    return error


class Model(pydantic.BaseModel):
    n: int


SCHEMA = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})

ERRORS = {
    Kind.TRANSIENT: [
        ConnectionRefusedError(),
        ConnectionResetError(),
        BrokenPipeError(),
        socket.gaierror(-2, "Name or service not known"),
        OSError(errno.EHOSTUNREACH, "No route to host"),
        http.client.RemoteDisconnected(""),
        urllib.error.URLError(ConnectionRefusedError()),
        httpx.ConnectError("refused"),
        httpx.ReadError("reset"),
        httpx.RemoteProtocolError("Server disconnected without sending a response."),
        requests.ConnectionError(),
        urllib3.exceptions.ProtocolError("aborted", ConnectionResetError()),
        urllib3.exceptions.MaxRetryError(None, "/"),
        urllib3.exceptions.NewConnectionError(None, "refused"),
        sqlalchemy.exc.OperationalError("select", {}, Exception("server closed the connection")),
        httpx_status(500),
        httpx_status(502),
        httpx_status(503),
        httpx_status(504),
        httpx_status(425),
        requests_status(503),
        urllib_status(503),
        boto_error("InternalError", 500),
        ResultRejected("not yet"),
        ssl.SSLEOFError(8, "EOF occurred in violation of protocol"),
        smtplib.SMTPServerDisconnected("Connection unexpectedly closed"),
        smtplib.SMTPConnectError(421, b"too many connections"),
        smtplib.SMTPDataError(451, b"later"),
        smtplib.SMTPSenderRefused(450, b"greylisted", "a@example.org"),
        smtplib.SMTPRecipientsRefused({"a": (550, b"no such user"), "b": (452, b"mailbox full")}),
        aiosmtplib("SMTPDataError", code=451),
        aiosmtplib("SMTPRecipientsRefused", recipients=[aiosmtplib("SMTPRecipientRefused", code=450)]),
    ],
    Kind.THROTTLED: [
        httpx_status(429),
        requests_status(429),
        urllib_status(429),
        httpx_status(503, **{"Retry-After": "7"}),
        urllib_status(503, **{"Retry-After": "7"}),
        boto_error("ThrottlingException"),
        boto_error("SlowDown", 503, **{"retry-after": "1"}),
    ],
    Kind.TIMEOUT: [
        TimeoutError(),
        TimedOut("slow"),
        OSError(errno.ETIMEDOUT, "Connection timed out"),
        urllib.error.URLError(TimeoutError()),
        httpx.ReadTimeout("slow"),
        httpx.ConnectTimeout("slow"),
        httpx.PoolTimeout("slow"),
        requests.ReadTimeout(),
        requests.ConnectTimeout(),
        urllib3.exceptions.ReadTimeoutError(None, "/", "slow"),
        sqlalchemy.exc.TimeoutError("QueuePool limit"),
        httpx_status(408),
    ],
    Kind.MALFORMED: [
        raised(json.loads, "{"),
        raised(httpx.Response(200, text="{").json),
        raised(b"\xff".decode),
        raised(list, csv.reader(io.StringIO('"a'), strict=True)),
        raised(pd.read_csv, io.StringIO("a,b\n1,2\n1,2,3\n")),
        raised(pd.read_csv, io.StringIO("")),
        raised(pl.read_csv, b""),
        raised(SCHEMA.validate, pd.DataFrame({"n": [0]})),
        raised(SCHEMA.validate, pd.DataFrame({"n": [0]}), lazy=True),
        raised(Model.model_validate, {"n": "x"}),
        raised(zlib.decompress, b"no"),
        raised(gzip.decompress, b"no gzip"),
        raised(gzip.decompress, gzip.compress(b"much data")[:-4]),
        http.client.IncompleteRead(b"half"),
        httpx.RemoteProtocolError("peer closed connection without sending complete message body"),
        httpx.DecodingError("bad gzip"),
        requests.exceptions.ChunkedEncodingError(),
        urllib3.exceptions.IncompleteRead(1, 2),
        InvalidData("bad rows"),
    ],
    Kind.PERMANENT: [
        ValueError(),
        KeyError(),
        TypeError(),
        FileNotFoundError(errno.ENOENT, "no such file"),
        PermissionError(errno.EACCES, "denied"),
        httpx.UnsupportedProtocol("ftp"),
        httpx.InvalidURL("nonsense"),
        urllib.error.URLError("unknown url type: foo"),
        requests.exceptions.SSLError(),
        sqlalchemy.exc.IntegrityError("insert", {}, Exception("duplicate key")),
        httpx_status(400),
        httpx_status(401),
        httpx_status(404),
        httpx_status(501),
        requests_status(403),
        boto_error("AccessDenied", 403),
        Exception(),
        ssl.SSLCertVerificationError(1, "certificate verify failed"),
        smtplib.SMTPAuthenticationError(535, b"authentication failed"),
        smtplib.SMTPDataError(552, b"too big"),
        smtplib.SMTPRecipientsRefused({"a": (550, b"no such user")}),
        smtplib.SMTPRecipientsRefused({}),
        smtplib.SMTPNotSupportedError("no STARTTLS"),
        aiosmtplib("SMTPDataError", code=550),
        aiosmtplib("SMTPRecipientsRefused", recipients=[aiosmtplib("SMTPRecipientRefused", code=550)]),
    ],
    Kind.RESOURCE: [
        ProcessDied("killed", signal=9),
        MemoryError(),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EMFILE, "Too many open files"),
    ],
    Kind.REJECTED: [CircuitOpen("open")],
}


@pytest.mark.parametrize(
    ("error", "kind"),
    [pytest.param(error, kind, id=f"{kind.value}-{error!r:.60}") for kind, many in ERRORS.items() for error in many],
)
def test_an_error_is_of_its_kind(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize(
    ("errors", "kind"),
    [
        ([ConnectionError(), ConnectionError()], Kind.TRANSIENT),
        ([ConnectionError(), httpx_status(429)], Kind.THROTTLED),
        ([TimeoutError(), httpx_status(429)], Kind.TIMEOUT),
        ([TimeoutError(), raised(json.loads, "{")], Kind.MALFORMED),
        ([ConnectionError(), MemoryError()], Kind.RESOURCE),
        ([MemoryError(), KeyError()], Kind.PERMANENT),
        ([ConnectionError(), ExceptionGroup("inner", [KeyError()])], Kind.PERMANENT),
    ],
)
def test_a_group_has_the_gravest_kind_of_its_errors(errors, kind):
    assert classify(ExceptionGroup("several", errors)) is kind


def test_a_subclass_of_a_known_error_has_its_kind():
    class Ours(httpx.ReadTimeout):
        pass

    assert classify(Ours("slow")) is Kind.TIMEOUT


def test_a_successful_response_does_not_decide():
    error = KeyError("rows")
    error.response = httpx.Response(200, request=REQUEST)
    assert classify(error) is Kind.PERMANENT


class TestRegisterKind:
    @pytest.fixture(autouse=True)
    def _own_rules(self, monkeypatch):
        monkeypatch.setattr(failures, "_registered", [])

    def test_an_exception_type_can_be_registered(self):
        class QuotaError(Exception):
            pass

        register_kind(QuotaError, Kind.THROTTLED)
        assert classify(QuotaError()) is Kind.THROTTLED
        assert classify(Exception()) is Kind.PERMANENT

    def test_a_predicate_can_be_registered(self):
        register_kind(lambda error: "lock" in str(error), Kind.TRANSIENT)
        assert classify(ValueError("deadlock")) is Kind.TRANSIENT
        assert classify(ValueError("other")) is Kind.PERMANENT

    def test_the_most_recent_rule_is_tried_first_and_before_the_built_in_ones(self):
        register_kind(ConnectionError, Kind.RESOURCE)
        register_kind(ConnectionError, Kind.PERMANENT)
        assert classify(ConnectionError()) is Kind.PERMANENT

    def test_a_predicate_is_never_called_with_an_interrupt(self):
        register_kind(lambda _: True, Kind.TRANSIENT)
        assert classify(KeyboardInterrupt()) is Kind.PERMANENT

    def test_anything_but_a_type_or_predicate_is_refused(self):
        with pytest.raises(TypeError, match="exception type or a predicate"):
            register_kind("ConnectionError", Kind.TRANSIENT)

    def test_anything_but_a_kind_is_refused(self):
        with pytest.raises(ValueError, match="soon"):
            register_kind(ValueError, "soon")


@pytest.mark.parametrize("make", [httpx_status, requests_status, urllib_status])
class TestRetryAfter:
    def test_seconds_are_read(self, make):
        assert retry_after(make(429, **{"Retry-After": "7"})) == 7.0

    def test_a_date_is_read_against_the_present(self, make):
        now = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
        text = format_datetime(now + dt.timedelta(seconds=90), usegmt=True)
        assert retry_after(make(503, **{"Retry-After": text}), now=now.timestamp()) == 90.0

    def test_a_date_is_compared_with_the_real_time_by_default(self, make):
        text = format_datetime(dt.datetime.now(dt.UTC) + dt.timedelta(seconds=90), usegmt=True)
        assert retry_after(make(503, **{"Retry-After": text})) == pytest.approx(90, abs=2)

    def test_a_past_date_is_no_wait(self, make):
        assert retry_after(make(503, **{"Retry-After": "Wed, 21 Oct 2015 07:28:00 GMT"})) == 0.0

    def test_a_negative_number_asks_for_no_wait(self, make):
        assert retry_after(make(503, **{"Retry-After": "-5"})) == 0.0

    @pytest.mark.parametrize("text", ["soon", "nan", "inf", "Wed, 99 Oct 2015 07:28:00 GMT"])
    def test_an_invalid_header_is_ignored(self, make, text):
        assert retry_after(make(429, **{"Retry-After": text})) is None

    def test_without_a_header_there_is_no_wait(self, make):
        assert retry_after(make(429)) is None


def test_retry_after_is_read_from_botocores_errors():
    assert retry_after(boto_error("SlowDown", 503, **{"retry-after": "3"})) == 3.0


def test_errors_without_a_response_ask_for_no_wait():
    assert retry_after(ConnectionError()) is None


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (httpx_status(404), 404),
        (requests_status(404), 404),
        (urllib_status(404), 404),
        (boto_error("NoSuchKey", 404), 404),
        (ConnectionError(), None),
        (sqlalchemy.exc.OperationalError("select", {}, Exception()), None),  # its `code` is a text
    ],
)
def test_the_status_is_found_where_each_library_keeps_it(error, status):
    assert status_of(error) == status


def test_a_status_out_of_range_is_no_status():
    error = Exception()
    error.response = SimpleNamespace(status_code=0)
    error.code = 42
    assert status_of(error) is None


def test_an_error_is_described_in_one_short_line():
    assert describe(ValueError("first\nsecond")) == "ValueError: first"
    assert describe(ValueError()) == "ValueError"
    assert len(describe(ValueError("x" * 1000))) < 230
