"""The classifier, over clues that are easily missed: refusals in texts, codes and numbers in unusual places."""

import configparser
import datetime as dt
import errno
import imaplib
import importlib.util
import shutil
import ssl
import sys
import tarfile
import urllib.error
from http import HTTPStatus
from types import SimpleNamespace

import pytest

from resilient_tasks import Kind, classify
from resilient_tasks.core.classification import judgement, responses
from resilient_tasks.core.classification.classes import DETAIL_NAMES
from resilient_tasks.core.failures import retry_after, status_of
from tests.core.shapes import answered, rows, shaped, sql
from tests.core.test_failure_shapes import Grpc, rpc

UNTRUSTED = [
    "certificate verify failed: self-signed certificate",
    "SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: unable to get local issuer certificate",
    "x509: certificate signed by unknown authority",
    "certificate has expired",
    "tls: bad certificate",
    "Hostname mismatch, certificate is not valid for 'db.example'",
    "PKIX path building failed",
    "invalid peer certificate: UnknownIssuer",
    "[SSL: WRONG_VERSION_NUMBER] wrong version number",
    "remote error: tls: handshake failure",
    "hostname 'a' doesn't match 'b'",
    "unable to verify the first certificate",
    "The certificate for this server is invalid.",
    "SEC_E_UNTRUSTED_ROOT - The certificate chain was issued by an authority that is not trusted.",
]


@pytest.mark.parametrize("said", UNTRUSTED)
def test_a_refused_certificate_in_a_text_is_permanent_for_any_class(said):
    carriers = [
        rpc(Grpc.UNAVAILABLE, f"failed to connect to all addresses; last error: {said}"),
        shaped("acme.NetworkError", args=(said,)),
        shaped("acme.ServerSelectionTimeoutError", "acme.AutoReconnect", args=(f"10.0.0.1:27017: {said}",)),
        ConnectionError(said),
        shaped("acme.Failed", cause=ConnectionError(said)),
        sql(f"connection to server failed: {said}"),
    ]
    assert {classify(error) for error in carriers} == {Kind.PERMANENT}


def test_a_gateways_response_that_mentions_a_certificate_is_still_a_bad_gateway():
    error = shaped("acme.Failed", args=("502: upstream certificate verify failed",), status_code=502)
    assert classify(error) is Kind.TRANSIENT


def test_a_hang_up_in_tls_is_transient_even_if_the_client_mentions_a_certificate():
    eof = ssl.SSLEOFError(8, "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol")
    error = shaped(
        "acme.APIConnectionError", args=("Could not verify the SSL certificate: unknown problem",), cause=eof
    )
    assert classify(error) is Kind.TRANSIENT


class Failure(BaseException):
    """Like Twisted's: not an exception, but it holds one."""

    def __init__(self, value):
        self.value = value


class Word(Exception):
    """A user's own failure."""


IN_WORDS = {
    Kind.TRANSIENT: [
        shaped("acme.Failed", args=("HTTP 503",)),
        shaped("acme.Failed", args=("Solr responded with an error (HTTP 502): [Reason: None]",)),
        shaped("acme.Failed", args=("Request failed with status code 500",)),
        shaped("acme.Failed", args=("unexpected status: 504",)),
        shaped("acme.Failed", args=("503: {'message': 'upstream'}",)),
        shaped("acme.Failed", args=('500 {"message": "upstream"}',)),
        shaped("acme.Failed", args=("Server error '500 Internal Server Error' for url 'http://a/'",)),
        shaped("acme.Failed", args=("Bad Gateway",)),
        shaped("pycurl.error", args=(22, "The requested URL returned error: 503")),
        shaped("acme.Failed", args=("the connection is closed by the peer",)),
        shaped("acme.Failed", args=("upstream connect error or disconnect/reset before headers",)),
        shaped("acme.Failed", args=("[Errno -3] Temporary failure in name resolution",)),
        shaped("acme.Failed", args=("Deadlock found when trying to get lock",)),
        answered(409, b'{"code": "conflict_error", "message": "Conflict while saving. Please try again."}'),
        answered(400, b'[{"errorCode": "UNABLE_TO_LOCK_ROW", "message": "unable to obtain exclusive access"}]'),
        answered(449),
    ],
    Kind.TIMEOUT: [
        shaped("acme.Failed", args=("Read timed out. (read timeout=3)",)),
        shaped("acme.Failed", args=("context deadline exceeded",)),
        shaped("acme.Failed", args=("timeout of 3000ms exceeded",)),
    ],
    Kind.THROTTLED: [
        shaped("acme.Failed", args=("HTTP 429: Too Many Requests",)),
        shaped("acme.Failed", args=("quota exceeded[reason=rate type: search]: rate limit exceeded[rate=1]",)),
        shaped("pycurl.error", args=(22, "The requested URL returned error: 429")),
        shaped("acme.Failed", args=("The server is busy, please try again later",)),
        shaped("acme.Failed", args=("Overloaded",)),
    ],
    Kind.PERMANENT: [
        shaped("acme.Failed", args=("404 Not Found",)),
        shaped("acme.Failed", args=("the timeout must be positive",)),
        shaped("acme.Failed", args=("connection refused: access denied for user",)),
        shaped("acme.Failed", args=("Request failed with status code 400",)),
        shaped("acme.Failed", args=("row 503 of the table is bad",)),
        shaped("acme.Failed", args=("500 rows could not be read",)),
        shaped("acme.Failed", args=("the status code 5031 is unknown",)),
        shaped("acme.Failed", ValueError, args=("HTTP 503",)),
        shaped("acme.MqttError", args=("Connection Refused: not authorised.",)),
        shaped("acme.MqttError", args=("Connection Refused: bad user name or password.",)),
        shaped("acme.MqttError", args=("Connection Refused: unacceptable protocol version.",)),
        shaped("pycurl.error", args=(22, "The requested URL returned error: 404")),
        Word("HTTP 503"),
        RuntimeError("HTTP 503"),
        OSError("HTTP 503"),
        answered(409, b'{"code": "conflict", "message": "Name in use. Try again with another name."}'),
        answered(526),
    ],
}


@pytest.mark.parametrize(("error", "kind"), rows(IN_WORDS))
def test_an_error_without_other_clues_is_classified_by_its_text(error, kind):
    assert classify(error) is kind


def test_a_status_in_the_text_of_a_library_is_shown_as_its_status():
    assert status_of(shaped("acme.Failed", args=("Request failed with status code 502",))) == 502
    assert status_of(Word("Request failed with status code 502")) is None


PLACES = {
    Kind.TRANSIENT: [
        shaped("acme.Failed", details={"status": 503}),
        shaped("acme.Failed", body={"statusCode": "502"}),
        shaped("acme.Failed", error={"code": 503, "message": "no"}, url="http://a/"),
        shaped("acme.Failed", response={"status": 503}),
        shaped("acme.Failed", response={"status_code": "500", "headers": {}}),
        shaped("acme.Failed", response=SimpleNamespace(response=SimpleNamespace(status_code=503))),
        shaped("acme.Failed", http_response=SimpleNamespace(status_code=HTTPStatus.BAD_GATEWAY)),
        shaped("acme.Failed", httpStatus=503),
        shaped("acme.http.HTTPError", args=((503, ("unavailable", "no")),)),
        shaped("acme.HTTPError", args=(502,)),
        shaped("acme.HTTPError", args=(503, "Service Unavailable")),
        shaped("acme.HTTPError", args=("no",), status=b"503"),
        shaped("acme.Failed", errno=errno.ECONNRESET),
        shaped("acme.Again", errno=errno.EAGAIN),
        shaped("acme.Failed", code="ECONNRESET"),
        shaped("postgrest.exceptions.APIError", code="40001"),
        shaped("acme.Failed", args=([Failure(ConnectionResetError(104, "reset"))],)),
        OSError(errno.ECONNRESET),
    ],
    Kind.TIMEOUT: [shaped("acme.Failed", code="ETIMEDOUT")],
    Kind.THROTTLED: [
        shaped("acme.Failed", details={"statusCode": "429"}),
        shaped("acme.Failed", response={"status": 429}),
    ],
    Kind.PERMANENT: [
        shaped("acme.Failed", details={"status": 404}),
        shaped("acme.Failed", details={"rows": 503}),
        shaped("acme.Failed", body={"code": 503}),
        Word({"status": 503}),
        shaped("acme.DatabaseError", args=((503, "no"),)),
        shaped("acme.Failed", errno=errno.ENOENT),
        shaped("acme.DatabaseError", errno=errno.EAGAIN),
        shaped("acme.Failed", code="ENOENT"),
        shaped("acme.Failed", code="40001"),
        shaped("postgrest.exceptions.APIError", code="42P01"),
        OSError(errno.ENOENT),
    ],
}


@pytest.mark.parametrize(("error", "kind"), rows(PLACES))
def test_a_code_counts_wherever_a_library_keeps_it(error, kind):
    assert classify(error) is kind


NAMES = {
    Kind.TRANSIENT: "NotConnected ServerError UnknownHost UnknownHostError DNSLookupError CannotResolveHostError"
    " ServiceUnitNotReady SchemaMismatchRetryable AuthRetryableError LockAcquisitionError BadTooManySessions"
    " CommClosedError LostRemote SharingViolation DocumentLockedException InstanceNotActiveError AvailabilityError",
    Kind.TIMEOUT: "TooSlowError BadRequestTimeout RequestTooSlow MaximumWaitTimeExceeded",
    Kind.THROTTLED: "TooManyLookupRequestException ProducerQueueIsFull",
    Kind.MALFORMED: "ZstdError ResponseDataLossError ChecksumMismatch",
    Kind.RESOURCE: "ProcessExpired WorkerDied KilledWorker DeadKernelError ActorDiedError",
    Kind.PERMANENT: "PermanentConnectionError NoConnectionAdapter NonRetryableError NotRetryable UnretryableError"
    " ServerErrorConfig UnknownServer RegistryNotReady DnsNameInvalid"
    " SSHUnknownHostError AccountLockedError VersionMismatch MaximumSizeExceeded",
}


@pytest.mark.parametrize(
    ("error", "kind"), rows({kind: [shaped(f"acme.{name}") for name in names.split()] for kind, names in NAMES.items()})
)
def test_an_error_is_classified_by_its_class_name(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("temporarily_unavailable", Kind.TRANSIENT),
        ("server_error", Kind.TRANSIENT),
        ("slow_down", Kind.THROTTLED),
        ("invalid_grant", Kind.PERMANENT),
        ("access_denied", Kind.PERMANENT),
    ],
)
def test_a_code_of_an_authorization_server_counts_more_than_a_class_named_after_authorization(code, kind):
    assert classify(shaped("acme.OAuthError", error=code, description="no")) is kind


CLOSED = "acme.ConnectionClosed"
OF_ODD_PLACES = {
    Kind.TRANSIENT: [
        OSError("Multiple exceptions: [Errno 111] Connect call failed ('::1', 1), [Errno 111] Connect call failed"),
        imaplib.IMAP4.error(b"[UNAVAILABLE] Temporary authentication failure"),
        imaplib.IMAP4.error(b"[INUSE] Mailbox in use"),
        shaped(CLOSED, code=1006),
        shaped("odbc.Error", args=("40001", "[40001] Transaction was deadlocked (1205)")),
        shaped("acme.ServiceError", args=("no",), status=409, message="In an incorrect state; please retry later"),
        shaped("acme.Failed", args=("timeout waiting to lock key: write-write conflict",), status_code=409),
        shaped("acme.Failed", args=("no",), code="InternalError.DBError"),
        shaped("acme.ServerException", args=("Code: 242.\nDB::Exception: Table is in readonly mode",)),
        sql("[IBM][CLI Driver] SQL30081N  A communication error. SQLSTATE=08001 SQLCODE=-30081"),
        shaped("acme.ResponseErrorCode", args=("Request to x failed with code 503 and message: b''",)),
        shaped("acme.Failed", args=("Error in request. Possibly authentication failed [503]",)),
        shaped("acme.Failed", args=("no",), status=400, body='{"error_code": "PRODUCT_NOT_READY"}'),
        *(
            shaped("acme.Failed", args=(said,))
            for said in (
                "Page.goto: net::ERR_CONNECTION_RESET at http://x/",
                "unknown error: net::ERR_NAME_NOT_RESOLVED",
                "Reached error page: NS_ERROR_CONNECTION_REFUSED",
                "get: connect ECONNREFUSED 127.0.0.1:1",
                "Fail connecting to server on localhost:1",
                "Unable to connect to the broker",
                "Device disconnected unexpectedly",
                "in <TCP>: Stream is closed",
                "Name node is in safe mode.",
            )
        ),
    ],
    Kind.TIMEOUT: [
        shaped("acme.Failed", args=("[Input/Output] No response received after 3 retries",)),
        shaped("acme.Failed", args=("net::ERR_CONNECTION_TIMED_OUT at http://x/",)),
    ],
    Kind.THROTTLED: [
        answered(418, retry_after="30"),
        shaped("acme.Failed", args=("Too many concurrent aggregations.",)),
        shaped("acme.BackPressureError"),
    ],
    Kind.MALFORMED: [
        shutil.ReadError("x.zip is not a zip file"),
        configparser.MissingSectionHeaderError("x", 1, "x"),
        urllib.error.ContentTooShortError("retrieval incomplete", b""),
    ],
    Kind.PERMANENT: [
        OSError("Multiple exceptions: [Errno 111] Connect call failed, [Errno 13] Permission denied"),
        OSError("Multiple exceptions: none with a number"),
        imaplib.IMAP4.error(b"[AUTHENTICATIONFAILED] Invalid credentials"),
        tarfile.CompressionError("lzma module is not available"),
        tarfile.FilterError("outside of the destination"),
        shaped(CLOSED, code=4004),
        shaped(CLOSED, code=1008),
        shaped("odbc.Error", args=("42000", "[42000] Incorrect syntax")),
        shaped("acme.Failed", args=("no",), code="InternalError.InvalidParameter"),
        answered(418),
        shaped("acme.ServerException", args=("Code: 62.\nDB::Exception: Syntax error: service unavailable",)),
        shaped("acme.BadNamespaceError", "acme.SocketIOError", args=("/ is not a connected namespace.",)),
        shaped("acme.ResponseErrorCode", args=("Request to x failed with code 403 and message: b''",)),
        sql("[IBM][CLI Driver] SQL0204N undefined name, network. SQLSTATE=42704 SQLCODE=-204"),
        shaped("acme.Failed", args=("net::ERR_CERT_AUTHORITY_INVALID at https://x/",)),
        shaped("acme.Failed", args=("Unable to connect to x: invalid URL",)),
        shaped("acme.Failed", args=("Failed to connect to x: bad credentials",)),
    ],
}


@pytest.mark.parametrize(("error", "kind"), rows(OF_ODD_PLACES))
def test_a_clue_counts_in_an_unusual_place(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize("args", [(503,), (503, "busy"), ((503, "busy"),), ((503, "busy"), "more")])
def test_the_first_argument_of_an_error_named_after_http_is_a_status(args):
    assert status_of(shaped("acme.HTTPError", args=args)) == 503


@pytest.mark.parametrize("args", [(200,), (503, 7), ((),), ((200, "fine"),), (503, "busy", "more")])
def test_other_arguments_of_an_error_named_after_http_are_no_status(args):
    assert status_of(shaped("acme.HTTPError", args=args)) is None


def test_the_limit_that_the_client_of_aws_retries_is_throttled():
    error = shaped("botocore.exceptions.ClientError", response={"Error": {"Code": "LimitExceededException"}})
    assert classify(error) is Kind.THROTTLED


@pytest.mark.parametrize("details", [{"status": 200}, {"status": 399}, {"rows": 503}, {}])
def test_the_details_of_an_error_hold_no_status_below_400(details):
    assert status_of(shaped("acme.Failed", details=details)) is None


@pytest.mark.parametrize(("minutes", "seconds"), [(-5, 0), (0, 0), (2, 120)])
@pytest.mark.parametrize("zone", [dt.UTC, None])
def test_a_moment_in_an_attribute_is_a_wait_until_then(minutes, seconds, zone):
    now = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC)
    moment = (now + dt.timedelta(minutes=minutes)).replace(tzinfo=zone)
    assert retry_after(shaped("acme.RateLimited", retry_after=moment), now=now.timestamp()) == seconds


@pytest.mark.parametrize(("name", "seconds"), [("FloodWaitError", 30), ("VideoTooShort", None)])
def test_the_seconds_of_an_error_are_a_wait_only_if_its_name_means_throttled(name, seconds):
    assert retry_after(shaped(f"acme.{name}", code=420, seconds=30)) == seconds


GRPC = {
    Kind.PERMANENT: [rpc(SimpleNamespace(name="INTERNAL")), rpc(Grpc.INTERNAL), rpc(Grpc.UNKNOWN)],
    Kind.TRANSIENT: [
        rpc(Grpc.INTERNAL, "Received RST_STREAM with error code 2"),
        rpc(Grpc.INTERNAL, "stream terminated by RST_STREAM"),
        rpc(Grpc.UNKNOWN, "Stream removed"),
        rpc(Grpc.UNKNOWN, "connection reset by peer"),
        rpc(Grpc.ABORTED),
        shaped(
            "google.api_core.exceptions.InternalServerError",
            code=HTTPStatus.INTERNAL_SERVER_ERROR,
            grpc_status_code=Grpc.INTERNAL,
        ),
    ],
}


@pytest.mark.parametrize(("error", "kind"), rows(GRPC))
def test_a_grpc_status_is_retried_as_google_documents_it(error, kind):
    assert classify(error) is kind


RESETS = [
    ({"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "1s"}, 1),
    ({"x_ratelimit_remaining_requests": "0", "x_ratelimit_reset_requests": "6m0s"}, 360),
    ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "120ms"}, 0.12),
    ({"x_ratelimit_remaining_tokens": "0", "x_ratelimit_reset_tokens": "0h42m3.5s"}, 2523.5),
    (
        {
            "x_ratelimit_remaining_requests": "9",
            "x_ratelimit_reset_requests": "6m0s",
            "x_ratelimit_remaining_tokens": "0",
            "x_ratelimit_reset_tokens": "7s",
        },
        7,
    ),
    ({"anthropic_ratelimit_tokens_remaining": "0", "anthropic_ratelimit_tokens_reset": "2023-11-14T22:13:50Z"}, 30),
    ({"retry_after": "1m30s"}, 90),
    ({"retry_after": '"30"'}, 30),
    ({"retry_after": "30 seconds"}, 30),
    ({"retry_after": "10, 30"}, 30),
    ({"retry_after": "10, soon"}, None),
    ({"retry_after": ["30"]}, 30),
    ({"retry_after": "1700000030"}, 30),
    ({"x_ratelimit_reset": "1700000030000000"}, 30),
    ({"x_rate_limit_retry_after_seconds": "30"}, 30),
]


@pytest.mark.parametrize(("headers", "seconds"), RESETS)
def test_the_wait_lasts_until_the_used_up_quota_is_reset(headers, seconds):
    assert retry_after(answered(429, **headers), now=1_700_000_000) == pytest.approx(seconds)


def test_a_builtin_error_raised_by_a_library_is_classified_by_its_text(tmp_path):
    folder = tmp_path / "site-packages"
    folder.mkdir()
    file = folder / "compiled_client.py"
    file.write_text("def fails(kind, said):\n    raise kind(said)\n")
    spec = importlib.util.spec_from_file_location("compiled_client", file)
    client = importlib.util.module_from_spec(spec)
    sys.modules["compiled_client"] = client
    try:
        spec.loader.exec_module(client)
        said = "Generic S3 error: Error performing GET: connection refused"
        wanted = {OSError: Kind.TRANSIENT, RuntimeError: Kind.TRANSIENT, ValueError: Kind.PERMANENT}
        for kind, judged in wanted.items():
            with pytest.raises(kind) as raised:
                client.fails(kind, said)
            assert classify(raised.value) is judged
            assert classify(kind(said)) is Kind.PERMANENT
    finally:
        del sys.modules["compiled_client"]


def test_every_attribute_that_the_classifier_reads_is_among_the_detail_names():
    read = {*responses._STATUSES, *responses._CODES, *responses._BODIES, *responses._CODE_ATTRIBUTES, *responses._PARTS}
    assert read | set(judgement._RETRYABLE_FLAGS) <= DETAIL_NAMES


def test_a_count_of_bytes_is_no_status():
    assert status_of(shaped("acme.IncompleteRead", "acme.HTTPError", args=(500, 99500))) is None
