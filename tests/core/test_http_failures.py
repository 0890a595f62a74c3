"""Events, alerts, notes and logs show the HTTP status of a failed request, whichever client made it."""

import io
import logging
import urllib.error
from http import HTTPStatus
from types import SimpleNamespace

import aiohttp
import httpx
import pytest
import requests
import urllib3

from resilient_tasks import Fallback, Retry, resilient
from resilient_tasks.alerts import facts
from resilient_tasks.core.failures import Kind, classify, describe, http_failure, in_words
from resilient_tasks.observe import logs
from resilient_tasks.observe.report import RunReport
from resilient_tasks.redaction.exceptions import redacted


def _httpx():
    request = httpx.Request("GET", "http://api/x")
    return httpx.HTTPStatusError("no", request=request, response=httpx.Response(503, request=request))


def _requests():
    response = requests.Response()
    response.status_code = 503
    return requests.HTTPError("no", response=response)


def _urllib():
    return urllib.error.HTTPError("http://api/x", 503, "no", {}, io.BytesIO())


def _aiohttp():
    return aiohttp.ClientResponseError(SimpleNamespace(real_url="http://api/x"), (), status=503, message="no")


def _urllib3():
    return urllib3.exceptions.MaxRetryError(
        None, "/x", urllib3.exceptions.ResponseError("too many 503 error responses")
    )


def _made(name, **held):
    """An error like that of a client that is not installed with the tests."""
    error = type(name, (Exception,), {})("no")
    vars(error).update(held)
    return error


CLIENTS = {
    "httpx": _httpx(),
    "requests": _requests(),
    "requests-retries": requests.exceptions.RetryError(_urllib3()),
    "urllib": _urllib(),
    "urllib3": _urllib3(),
    "aiohttp": _aiohttp(),
    "botocore": _made("ClientError", response={"ResponseMetadata": {"HTTPStatusCode": 503}}),
    "google.api_core": _made("ServiceUnavailable", code=HTTPStatus.SERVICE_UNAVAILABLE),
    "googleapiclient": _made("HttpError", resp=SimpleNamespace(status=503)),
    "openai": _made("InternalServerError", status_code=503),
    "kubernetes": _made("ApiException", status=503),
    "minio": _made("S3Error", response=SimpleNamespace(status=503)),
    "stripe": _made("APIError", http_status=503),
}

each_client = pytest.mark.parametrize("error", CLIENTS.values(), ids=CLIENTS)


@each_client
def test_an_errors_label_has_its_status(error):
    assert in_words(error) == f"{type(error).__name__} (HTTP 503)"
    assert describe(error).startswith(f"{type(error).__name__} (HTTP 503): ")
    assert classify(error) is Kind.TRANSIENT


@pytest.mark.parametrize(
    "error",
    [
        ConnectionError("refused"),
        _made("StatusError", code=14),
        _made("ContentTypeError", status=200),
        _made("Refused", smtp_code=550),
        _made("Odd", code=True),
        _made("Odd", status="503"),
        urllib3.exceptions.MaxRetryError(None, "/x", urllib3.exceptions.ResponseError("too many redirects")),
    ],
)
def test_an_error_of_another_sort_has_none(error):
    assert http_failure(error) is None
    assert in_words(error) == type(error).__name__


def test_the_code_of_a_mail_server_is_not_an_http_status():
    error = _made("SMTPResponseException", code=550)
    type(error).__module__ = "aiosmtplib.errors"
    assert in_words(error) == "SMTPResponseException"


def test_a_group_has_the_first_status_among_its_errors():
    assert in_words(ExceptionGroup("both", [ValueError(), _httpx()])) == "ExceptionGroup (HTTP 503)"


def _failing(error, **options):
    @resilient(**options)
    def fetch():
        raise error

    return fetch


@each_client
def test_each_event_of_a_failed_request_has_the_status(error, resilient_clock, resilient_events):
    with pytest.raises(type(error)):
        _failing(error, retry=Retry(attempts=2, wait=1))()
    for name in ("retry.scheduled", "retry.exhausted", "call.failed"):
        (event,) = resilient_events.named(name)
        assert event.as_dict()["http.response.status_code"] == 503
        assert "HTTP 503" in event.sentence()
    assert resilient_events.named("retry.scheduled")[0].sentence() == (
        f"attempt 1 of 2: {type(error).__name__} (HTTP 503); waits 1.0 s"
    )
    assert "HTTP 503 ×2" in error.__notes__[-1]


def test_an_event_of_another_failure_has_no_such_field(resilient_events):
    with pytest.raises(ConnectionError):
        _failing(ConnectionError("refused"), fallback=Fallback(value=0, on=KeyError))()
    (failed,) = resilient_events.named("call.failed")
    assert "http.response.status_code" not in failed.as_dict()


def test_a_recovered_call_counts_its_failures_by_status(resilient_clock, resilient_events):
    errors = [_httpx(), _requests(), ConnectionError("refused")]

    @resilient(retry=Retry(attempts=5, wait=1))
    def fetch():
        if errors:
            raise errors.pop()
        return 1

    fetch()
    (recovered,) = resilient_events.named("retry.recovered")
    assert recovered.sentence() == "recovered on attempt 4 of 5 (ConnectionError, HTTP 503 ×2)"


def test_the_event_of_a_stand_in_has_the_status(resilient_events):
    _failing(_httpx(), fallback=Fallback(value=0))()
    (used,) = resilient_events.named("fallback.used")
    assert used.sentence() == "degraded: a fixed value stands in after HTTPStatusError (HTTP 503)"
    assert RunReport(resilient_events).operations[0].errors == {"HTTP 503": 1}


def test_a_fallback_that_fails_too_is_noted_with_its_status():
    def cached():
        raise _requests()

    with pytest.raises(httpx.HTTPStatusError) as raised:
        _failing(_httpx(), fallback=cached)()
    assert "the fallback cached failed too: HTTPError (HTTP 503): no" in raised.value.__notes__


@each_client
def test_an_alert_names_the_status(error):
    found = facts.facts("failed", "error", error, (), "")
    assert found["http_status"] == 503
    assert "503" in found["error"]


def test_a_later_failure_of_an_incident_has_its_own_status():
    assert facts.latest(_made("ApiException", status=502))["error"] == "HTTP 502: no"


def test_a_redacted_copy_keeps_the_status():
    request = httpx.Request("GET", "http://api/x?api_key=not-a-real-one-4711")
    response = httpx.Response(503, request=request)
    error = httpx.HTTPStatusError(f"503 for {request.url}", request=request, response=response)
    copy = redacted(error)
    assert copy is not None
    assert in_words(copy) == "HTTPStatusError (HTTP 503)"


def test_the_log_line_names_the_status(monkeypatch):
    written, handler = io.StringIO(), logging.StreamHandler()
    handler.setStream(written)
    handler.setFormatter(logs.formatter())
    monkeypatch.setattr(logs.LOGGER, "handlers", [handler])
    monkeypatch.setattr(logs.LOGGER, "propagate", False)
    with pytest.raises(httpx.HTTPStatusError):
        _failing(_httpx(), fallback=Fallback(value=0, on=KeyError))()
    assert "fetch: failed with HTTPStatusError (HTTP 503, transient): no" in written.getvalue()
    assert "http.response.status_code=503" in written.getvalue()
