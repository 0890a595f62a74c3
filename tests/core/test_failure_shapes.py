"""The classifier, over shapes of errors that any library may raise."""

import asyncio
import concurrent.futures
import errno
import ftplib
import http.client
import imaplib
import json
import poplib
import socket
import ssl
import subprocess
import tarfile
import urllib.error
from concurrent.futures.process import BrokenProcessPool
from enum import Enum
from http import HTTPStatus
from types import SimpleNamespace

import pytest

from resilient_tasks import Kind, TimedOut, classify
from resilient_tasks.core.failures import describe, status_of
from tests.core.shapes import answered, rows, shaped, sql


class Grpc(Enum):
    """Like `grpc.StatusCode`: a number and a name."""

    UNAVAILABLE = 14
    DEADLINE_EXCEEDED = 4
    RESOURCE_EXHAUSTED = 8
    ABORTED = 10
    INVALID_ARGUMENT = 3
    PERMISSION_DENIED = 7
    INTERNAL = 13
    UNKNOWN = 2


def rpc(code, text="no"):
    error = shaped("grpc._channel._InactiveRpcError", "grpc.RpcError", args=(text,))
    error.code = lambda: code
    return error


def body(**said):
    return json.dumps(said).encode()


def reset():
    return ConnectionResetError(errno.ECONNRESET, "Connection reset by peer")


def bad_certificate():
    return ssl.SSLCertVerificationError(1, "[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed")


def hang_up():
    return ssl.SSLEOFError(8, "[SSL: UNEXPECTED_EOF_WHILE_READING] EOF occurred in violation of protocol")


def tried_last(error):
    future = concurrent.futures.Future()
    future.set_exception(error)
    return shaped("tenacity.RetryError", args=(future,), last_attempt=future)


def quoting(name, context):
    error = shaped(name, args=(f"upload failed: {context}",))
    error.__context__ = context
    error.__suppress_context__ = False
    return error


STATUSES = {
    Kind.TRANSIENT: [
        shaped("acme.ServerError", code=HTTPStatus.SERVICE_UNAVAILABLE),
        shaped("acme.Failed", status=HTTPStatus.BAD_GATEWAY),
        shaped("acme.Failed", http_status=500),
        shaped("acme.Failed", meta=SimpleNamespace(status=503)),
        shaped("acme.Failed", resp=SimpleNamespace(status=503)),
        shaped("acme.Failed", response_code=504),
        shaped("acme.HTTPError", code=502),
        shaped("acme.Failed", url="http://127.0.0.1", code=502),
        shaped("acme.HTTPError", status="503 Service Unavailable"),
        shaped("acme.Failed", response=SimpleNamespace(status_code="503")),
        shaped("acme.errors.Http503Error"),
        shaped("xmlrpc.client.ProtocolError", url="127.0.0.1/", errcode=503, headers={}),
        answered(500),
        answered(400, body(error={"type": "temporarily_unavailable"})),
    ],
    Kind.THROTTLED: [
        answered(429),
        answered(529),
        answered(403, retry_after="30"),
        answered(403, x_ratelimit_remaining="0"),
        answered(403, body(error={"code": 403, "errors": [{"reason": "rateLimitExceeded"}]})),
        answered(403, body(error={"code": 403, "errors": [{"reason": "userRateLimitExceeded"}]})),
        answered(400, body(__type="com.amazonaws#ThrottlingException")),
        answered(503, b"<?xml version='1.0'?><Error><Code>SlowDown</Code></Error>"),
        answered(200, body(ok=False, error="ratelimited")),
    ],
    Kind.TIMEOUT: [answered(408), answered(400, b"<Error><Code>RequestTimeout</Code></Error>")],
    Kind.PERMANENT: [
        answered(403),
        answered(403, x_ratelimit_remaining="12"),
        answered(404, x_ratelimit_remaining="0"),
        answered(501),
        answered(511),
        answered(409),
        answered(429, body(error={"code": "insufficient_quota", "type": "insufficient_quota"})),
        answered(403, body(error={"errors": [{"reason": "dailyLimitExceeded"}]})),
        answered(400, body(error={"type": "invalid_request_error"})),
        shaped("acme.errors.SpendLimitReached", "acme.RateLimitError", status_code=429),
        shaped("clickhouse_connect.driver.exceptions.DatabaseError", code=516),
        shaped("acme.queue.Failed", code=503),
    ],
}
CODES = {
    Kind.TRANSIENT: [
        shaped("slack_sdk.errors.SlackApiError", response={"ok": False, "error": "internal_error"}),
        shaped("openai.APIError", "openai.OpenAIError", body={"type": "server_error", "code": None}),
        shaped("acme.ApiError", response=SimpleNamespace(status_code=200), body={"error": {"type": "api_error"}}),
        rpc(Grpc.UNAVAILABLE),
        rpc(Grpc.ABORTED),
        shaped("grpclib.exceptions.GRPCError", status=Grpc.UNAVAILABLE),
        shaped("google.api_core.exceptions.Aborted", code=HTTPStatus.CONFLICT, grpc_status_code=Grpc.ABORTED),
        shaped("acme.GraphError", errors=[{"message": "no", "extensions": {"code": "SERVICE_UNAVAILABLE"}}]),
        shaped("acme.StoreError", "acme.Error", retriable=True),
        shaped("coredis.exceptions.ResponseError", args=("BUSY Redis is busy running a script",)),
    ],
    Kind.THROTTLED: [
        shaped("anthropic.APIStatusError", status_code=200, body={"error": {"type": "overloaded_error"}}),
        shaped("slack_sdk.errors.SlackApiError", response={"ok": False, "error": "ratelimited"}),
        rpc(Grpc.RESOURCE_EXHAUSTED),
        shaped("telegram.error.Flood", retry_after=5),
        *(
            shaped("botocore.exceptions.ClientError", response={"Error": {"Code": code}})
            for code in ("ThrottledException", "EC2ThrottledException", "BandwidthLimitExceeded", "RequestThrottled")
        ),
    ],
    Kind.TIMEOUT: [
        rpc(Grpc.DEADLINE_EXCEEDED),
        shaped(
            "botocore.exceptions.ClientError",
            response={"Error": {"Code": "RequestTimeout"}, "ResponseMetadata": {"HTTPStatusCode": 400}},
        ),
    ],
    Kind.PERMANENT: [
        rpc(Grpc.INVALID_ARGUMENT),
        rpc(Grpc.PERMISSION_DENIED),
        rpc(Grpc.RESOURCE_EXHAUSTED, "Received message larger than max (9000000 vs. 4194304)"),
        shaped("slack_sdk.errors.SlackApiError", response={"ok": False, "error": "channel_not_found"}),
        shaped("acme.GraphError", errors=[{"extensions": {"code": "UNAUTHENTICATED"}}]),
        shaped("acme.ApiError", body={"error": {"type": "invalid_timeout"}}),
    ],
}
WRAPPED = {
    Kind.TRANSIENT: [
        shaped("requests.exceptions.SSLError", "requests.exceptions.ConnectionError", args=(hang_up(),)),
        shaped("acme.ClientError", cause=reset()),
        shaped("acme.RequestError", reason=reset()),
        shaped("acme.RequestError", original=[reset()]),
        shaped("acme.RequestError", kwargs={"error": reset()}),
        shaped("acme.RetryError", errors=(TimeoutError(), reset()), cause=reset()),
        shaped("acme.ChunkedEncodingError", cause=reset()),
        shaped("acme.PayloadError", args=(f"not completed: {reset()!r}",), cause=shaped("acme.LengthError")),
        shaped("sqlalchemy.exc.OperationalError", "sqlalchemy.exc.DatabaseError", orig=sql("x", sqlstate="40001")),
        shaped("acme.LoadFailed", cause=answered(503)),
        tried_last(reset()),
        RuntimeError("load failed"),
        quoting("boto3.exceptions.S3UploadFailedError", reset()),
        urllib.error.URLError(hang_up()),
        shaped("acme.ws.HandshakeConnectionError", cause=EOFError("no line")),
    ],
    Kind.TIMEOUT: [
        shaped("acme.RequestError", cause=TimeoutError()),
        tried_last(TimedOut("slow")),
        shaped("acme.MaxRetries", reason=shaped("acme.ReadTimeoutError")),
    ],
    Kind.THROTTLED: [tried_last(answered(429))],
    Kind.PERMANENT: [
        shaped("openai.APIConnectionError", cause=shaped("httpx2.ConnectError", cause=bad_certificate())),
        shaped("requests.exceptions.SSLError", "requests.exceptions.ConnectionError", args=(bad_certificate(),)),
        shaped("acme.APIConnectionError", cause=UnicodeEncodeError("ascii", "ü", 0, 1, "no ASCII")),
        shaped("acme.APIConnectionError", cause=answered(401)),
        shaped("acme.AuthenticationError", cause=reset()),
        shaped("acme.Failed", exceptions=(reset(), answered(401))),
    ],
    Kind.MALFORMED: [
        shaped("acme.BadAnswer", cause=json.JSONDecodeError("no", "x", 0)),
        shaped("acme.StreamError", cause=http.client.IncompleteRead(b"half")),
        shaped("httpx2.RemoteProtocolError", "httpx2.TransportError", args=("without sending complete message body",)),
    ],
}
WRAPPED[Kind.TRANSIENT][11].__cause__ = reset()
NAMES = {
    Kind.TRANSIENT: [
        shaped("acme.errors.APIConnectionError"),
        shaped("acme.EndpointConnectionError"),
        shaped("acme.ServiceUnavailable"),
        shaped("acme.DeadlockDetected"),
        shaped("acme.ServerDisconnected"),
        shaped("acme.Quiet", "acme.NetworkError"),
        shaped("acme.InternalServerError"),
        shaped("acme.NoHostsError"),
        shaped("acme.TransportError"),
    ],
    Kind.TIMEOUT: [
        shaped("acme.APITimeoutError", "acme.APIConnectionError"),
        shaped("acme.OperationTimedOut"),
        shaped("acme.DeadlineExceeded"),
        shaped("acme.ReadTimeout", ValueError.__base__),
    ],
    Kind.THROTTLED: [
        shaped("acme.RateLimitError"),
        shaped("acme.TooManyRequests"),
        shaped("acme.ThrottlingException"),
        shaped("acme.Overloaded"),
        shaped("acme.FloodWaitError"),
    ],
    Kind.MALFORMED: [
        shaped("acme.DeserializationError"),
        shaped("acme.serializers.SerializationError"),
        shaped("acme.DecodeError"),
        shaped("acme.CorruptRecord"),
    ],
    Kind.PERMANENT: [
        shaped("acme.InvalidConnectionString"),
        shaped("acme.ConnectionNotFound"),
        shaped("acme.ConnectionStringError"),
        shaped("acme.ConnectionConfigError"),
        shaped("acme.AuthenticationTimeoutConfigError"),
        shaped("acme.TimeoutValueError", ValueError),
        shaped("acme.TimeoutOutOfRange", ValueError),
        shaped("acme.AuthenticationError", "acme.ConnectionError"),
        shaped("acme.ProbableAccessDeniedError", "acme.ConnectionError"),
        shaped("acme.TooManyRedirects"),
        shaped("acme.RateLimitValidationError"),
        shaped("acme.NonRecoverableNetworkError"),
        shaped("acme.InsecureTransportError"),
        shaped("acme.QuotaExceeded"),
        shaped("acme.SSLError", "acme.ConnectionError"),
        shaped("acme.OfflineModeIsEnabled", ConnectionError),
        shaped("acme.ConnectionVersionMissing", "acme.BadRequestError"),
        shaped("acme.NetworkVersionTooNew", "acme.BadRequestError"),
        shaped("acme.ConnectionNotExistException"),
        shaped("acme.Unheard"),
    ],
}
PYTHON = {
    Kind.TRANSIENT: [
        OSError(errno.ESTALE, "stale"),
        BlockingIOError(errno.EAGAIN, "again"),
        http.client.BadStatusLine("nonsense"),
        ftplib.error_temp("421 busy"),
        imaplib.IMAP4.abort("gone"),
        poplib.error_proto(b"-ERR [SYS/TEMP] later"),
        socket.gaierror(socket.EAI_AGAIN, "try again"),
        ssl.SSLZeroReturnError(6, "closed"),
        ssl.SSLError(1, "[SSL: DECRYPTION_FAILED_OR_BAD_RECORD_MAC]"),
        shaped("websockets.exceptions.ConnectionClosedError", rcvd=SimpleNamespace(code=1012)),
        shaped("pika.exceptions.ConnectionClosedByBroker", args=(320, "forced"), reply_code=320),
        shaped("pycurl.error", args=(7, "refused")),
    ],
    Kind.TIMEOUT: [
        subprocess.TimeoutExpired("sleep", 1),
        TimeoutError(),
        concurrent.futures.TimeoutError(),
        shaped("pycurl.error", args=(28, "slow")),
    ],
    Kind.MALFORMED: [
        tarfile.ReadError("no tar"),
        asyncio.IncompleteReadError(b"ha", 4),
        shaped("pycurl.error", args=(18, "partial file")),
    ],
    Kind.RESOURCE: [
        concurrent.futures.BrokenExecutor("died"),
        BrokenProcessPool("died"),
    ],
    Kind.PERMANENT: [
        ftplib.error_perm("550 no such file"),
        imaplib.IMAP4.error("no"),
        poplib.error_proto(b"-ERR no such user"),
        socket.gaierror(socket.EAI_SERVICE, "no such service"),
        ssl.SSLError(1, "[SSL: WRONG_VERSION_NUMBER] wrong version number"),
        subprocess.CalledProcessError(1, "false"),
        shaped("websockets.exceptions.ConnectionClosedError", rcvd=SimpleNamespace(code=1008)),
        shaped("pika.exceptions.ConnectionClosedByBroker", args=(530, "not allowed"), reply_code=530),
        shaped("pycurl.error", args=(60, "bad certificate")),
    ],
}


@pytest.mark.parametrize(("error", "kind"), rows(STATUSES, CODES))
def test_an_error_is_classified_by_its_status_and_codes(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize(("error", "kind"), rows(WRAPPED))
def test_an_error_is_classified_by_the_errors_it_wraps(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize(("error", "kind"), rows(NAMES))
def test_an_error_without_other_clues_is_classified_by_the_names_of_its_classes(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize(("error", "kind"), rows(PYTHON))
def test_an_error_of_the_standard_library_or_a_protocol_is_classified_by_its_type_and_codes(error, kind):
    assert classify(error) is kind


@pytest.mark.parametrize("base", [ValueError, TypeError, KeyError, AttributeError, AssertionError])
def test_a_bug_is_permanent_whatever_its_cause(base):
    error = base("bad")
    error.__cause__ = reset()
    assert classify(error) is Kind.PERMANENT


class UpstreamTimeout(Exception):
    """A user's own error, with a meaningful name."""


def test_the_name_of_a_users_own_class_is_not_read():
    assert classify(UpstreamTimeout("slow")) is Kind.PERMANENT


def test_a_users_own_error_has_the_kind_of_its_cause():
    error = UpstreamTimeout("slow")
    error.__cause__ = reset()
    assert classify(error) is Kind.TRANSIENT


def test_the_context_of_an_error_does_not_decide():
    error = shaped("acme.Failed", args=("cannot clean up",))
    error.__context__ = reset()
    assert classify(error) is Kind.PERMANENT


def test_the_status_of_a_wrapped_error_is_found_and_named():
    error = tried_last(answered(503))
    assert status_of(error) == 503
    assert describe(error).startswith("RetryError (HTTP 503)")


def test_an_unread_body_is_not_fetched():
    class Response:
        status_code = 403
        headers = {}  # noqa: RUF012  # like a response's

        def json(self):
            raise AssertionError("it would wait for the rest of the answer")

        text = content = property(json)

    assert classify(shaped("acme.Failed", response=Response())) is Kind.PERMANENT


def test_no_property_of_a_stored_object_is_read():
    class Keeps(Exception):
        @property
        def inner(self):
            raise AssertionError("it may be slow")

    assert classify(Keeps("no")) is Kind.PERMANENT
