"""The webhook channel, on a real socket."""

import dataclasses
import hashlib
import hmac
import json
import logging
import pickle
import time

import pytest

from resilient_tasks.alerts.channels.webhook import Webhook, WebhookRefusedError, as_json, signature
from resilient_tasks.alerts.message import Channel, Message
from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.failures import Kind, classify, retry_after
from resilient_tasks.testing import Response, Status

MESSAGE = Message(
    key="k-1",
    incident="i-1",
    operation="fetch_month",
    kind="transient",
    error_type="ConnectError",
    error="connection refused",
    where="flights.py:12 in fetch_month",
    notes=("gave up after attempt 3",),
    consequence="What depends on it does not run.",
    run={"flow_run_id": "f-1"},
    time=1_785_000_000.0,
    flows=("monthly",),
    thread={"ts": "1.1"},
)
SECRET = "a shared key"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def receiver(resilient_api):
    resilient_api.serve("/alerts", "", "text/plain")
    return resilient_api


@pytest.fixture
def channel(receiver):
    return Webhook(receiver.url + "/alerts", secret=SECRET, headers={"Authorization": "Bearer of-the-receiver"})


def failure(channel, within=5):
    with pytest.raises((WebhookRefusedError, OSError)) as caught:
        channel.send(MESSAGE, within=within)
    return caught.value


def test_it_is_a_channel(channel):
    assert isinstance(channel, Channel)


def test_a_message_is_posted_as_json(channel, receiver):
    assert channel.send(MESSAGE, within=5) is None
    (request,) = receiver.requests
    assert (request.method, request.headers["content-type"]) == ("POST", "application/json")
    assert request.json() == {
        "version": 1,
        "key": "k-1",
        "incident": "i-1",
        "occasion": "first",
        "operation": "fetch_month",
        "status": "failed",
        "severity": "error",
        "kind": "transient",
        "error_type": "ConnectError",
        "http_status": None,
        "error": "connection refused",
        "where": "flights.py:12 in fetch_month",
        "notes": ["gave up after attempt 3"],
        "consequence": "What depends on it does not run.",
        "run": {"flow_run_id": "f-1"},
        "time": 1_785_000_000.0,
        "count": 1,
        "total": 1,
        "relapse": False,
        "flows": ["monthly"],
        "seconds": 0.0,
        "headline": "fetch_month failed: ConnectError",
        "text": MESSAGE.text(),
    }


def test_the_body_has_every_attribute_of_a_message_but_the_thread():
    assert set(json.loads(as_json(MESSAGE))) == {
        *(part.name for part in dataclasses.fields(Message) if part.name != "thread"),
        *("version", "headline", "text"),
    }


def test_any_text_makes_json_that_any_parser_accepts(channel, receiver):
    channel.send(dataclasses.replace(MESSAGE, error="ŝ 🔴 \ud800 \x00"), within=5)
    assert receiver.requests[0].body.isascii()
    assert receiver.requests[0].json()["error"] == "ŝ 🔴 \ud800 \x00"


def test_the_given_headers_are_sent(channel, receiver):
    channel.send(MESSAGE, within=5)
    assert receiver.requests[0].headers["authorization"] == "Bearer of-the-receiver"


class TestTheSignature:
    def test_proves_the_body_and_the_time(self, channel, receiver):
        before = int(time.time())
        channel.send(MESSAGE, within=5)
        (request,) = receiver.requests
        parts = dict(part.split("=") for part in request.headers["resilient-signature"].split(","))
        proven = parts["t"].encode() + b"." + request.body
        assert hmac.compare_digest(parts["v1"], hmac.new(SECRET.encode(), proven, hashlib.sha256).hexdigest())
        assert before <= int(parts["t"]) <= time.time()

    def test_is_the_same_in_every_version_of_the_library(self):
        # The proof is what `printf '1785000000.{}' | openssl dgst -sha256 -hmac key` prints.
        assert signature("key", b"{}", 1_785_000_000) == (
            "t=1785000000,v1=bf4ef3de2fd564e03f4be7c1f884945003e21158aefd723873b18c3d270407e7"
        )

    def test_is_left_out_without_a_secret(self, receiver):
        Webhook(receiver.url + "/alerts").send(MESSAGE, within=5)
        assert "resilient-signature" not in receiver.requests[0].headers


def test_every_attempt_sends_the_same_key(channel, receiver):
    receiver.slow(60)  # it accepts the message, but does not answer in time
    receiver.hangs(60)
    failure(channel, within=0.3)
    failure(channel, within=0.3)
    channel.send(MESSAGE, within=5)
    assert [request.headers["idempotency-key"] for request in receiver.requests] == 3 * ["k-1"]


class TestFailures:
    def test_a_receiver_that_is_down(self, channel, receiver):
        receiver.down()
        error = failure(channel)
        assert (classify(error), error.status) == (Kind.TRANSIENT, 503)

    @pytest.mark.parametrize(("status", "kind"), [(400, Kind.PERMANENT), (401, Kind.PERMANENT), (502, Kind.TRANSIENT)])
    def test_a_refusal(self, channel, receiver, *, status, kind):
        receiver.fail(Status(status))
        error = failure(channel)
        assert f"answered {status}" in str(error)
        assert classify(error) is kind

    def test_a_rate_limit(self, channel, receiver):
        receiver.rate_limited(retry_after=30)
        error = failure(channel)
        assert (classify(error), retry_after(error)) == (Kind.THROTTLED, 30)

    def test_a_redirect_is_not_followed(self, channel, receiver):
        receiver.refused()
        error = failure(channel)
        assert (classify(error), error.status) == (Kind.PERMANENT, 307)
        assert "redirects are not followed" in str(error)

    @pytest.mark.parametrize("status", [301, 302, 303, 308])
    def test_a_redirect_to_a_get_is_not_followed_either(self, channel, receiver, status):
        receiver.serve("/elsewhere", "")
        receiver.serve("/alerts", lambda _: Response("", status, headers={"Location": "/elsewhere"}))
        failure(channel)
        assert [request.path for request in receiver.requests] == ["/alerts"]

    def test_a_receiver_that_hangs(self, channel, receiver):
        receiver.hangs(60)
        assert classify(failure(channel, within=0.2)) is Kind.TIMEOUT

    def test_a_connection_that_is_refused(self, channel, receiver):
        with receiver.offline():
            assert classify(failure(channel)) is Kind.TRANSIENT

    def test_a_connection_that_is_reset_after_the_message_was_accepted_is_no_failure(self, channel, receiver):
        receiver.serve("/alerts", "thank you")
        receiver.reset(after_bytes=1)
        channel.send(MESSAGE, within=5)
        assert len(receiver.requests) == 1


def test_it_is_named_by_its_host_and_not_by_its_path():
    name = Webhook("https://alerts.example.org/hooks/secret").name
    host, digest = name.removeprefix("webhook:").split(":")
    assert (host, len(digest)) == ("alerts.example.org", 8)
    assert name == Webhook("https://alerts.example.org/hooks/secret").name
    assert name != Webhook("https://alerts.example.org/hooks/other").name


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"url": "alerts.example.org"}, "is an http:// or https:// URL"),
        ({"url": "ftp://alerts.example.org"}, "is an http:// or https:// URL"),
        ({"url": "https://"}, "is an http:// or https:// URL"),
        ({"url": "https://alerts.example.org:port/"}, "is an http:// or https:// URL"),
        ({"url": "https://[alerts/"}, "is an http:// or https:// URL"),
        ({"url": "https://alerts.example.org/two words"}, "is an http:// or https:// URL"),
        ({"url": 3}, r"Webhook\(url=...\)"),
        ({"url": "https://user:hidden@alerts.example.org"}, "takes no user and password"),
        ({"url": "https://alerts.example.org", "secret": 3}, r"Webhook\(secret=...\)"),
        ({"url": "https://alerts.example.org", "secret": ""}, "an empty key"),
        ({"url": "https://alerts.example.org", "headers": {"two words": "x"}}, "not 'two words'"),
        ({"url": "https://alerts.example.org", "headers": {"Idempotency-Key": "x"}}, "not 'Idempotency-Key'"),
        ({"url": "https://alerts.example.org", "headers": {"X-Team": 3}}, r"Webhook\(headers="),
    ],
)
def test_invalid_arguments_are_refused_without_showing_a_secret(arguments, sentence):
    with pytest.raises(PolicyError, match=sentence) as caught:
        Webhook(**arguments)
    assert "hidden" not in str(caught.value)


class Kept:
    """A secret whose text does not show it."""

    def __init__(self, value):
        self.get_secret_value = lambda: value


class TestSecrets:
    def test_in_objects_are_read_when_a_message_is_sent(self, receiver):
        kept = Webhook(Kept(receiver.url + "/alerts"), secret=Kept(SECRET), headers={"X-Token": Kept("a-token\n")})
        kept.send(MESSAGE, within=5)
        (request,) = receiver.requests
        assert request.headers["x-token"] == "a-token"
        seconds = int(request.headers["resilient-signature"].split(",")[0].removeprefix("t="))
        assert request.headers["resilient-signature"] == signature(SECRET, request.body, seconds)

    @pytest.mark.parametrize("url", ["hidden", "https://[hidden/", "https://a.example.org/hidden words"])
    def test_that_are_malformed_are_not_shown_in_the_error(self, url):
        channel = Webhook(Kept(url))
        assert "hidden" not in channel.name
        with pytest.raises(PolicyError) as caught:
            channel.send(MESSAGE, within=5)
        assert "hidden" not in str(caught.value)

    def test_that_would_add_a_header_are_refused_and_not_shown(self, receiver):
        channel = Webhook(receiver.url + "/alerts", headers={"X-Token": "hidden\r\nX-Other: y"})
        with pytest.raises(PolicyError, match="one line") as caught:
            channel.send(MESSAGE, within=5)
        assert "hidden" not in str(caught.value)

    def test_show_neither_in_its_repr_nor_in_any_log(self, channel, receiver, caplog):
        caplog.set_level(logging.DEBUG)
        receiver.down()
        error = failure(channel)
        logging.getLogger("test").debug("it failed", exc_info=error)
        shown = repr(channel) + str(error)
        for secret in (SECRET, "of-the-receiver", "/alerts"):
            assert secret not in shown
        assert "of-the-receiver" not in caplog.text


def test_it_can_be_pickled(channel, receiver):
    pickle.loads(pickle.dumps(channel)).send(MESSAGE, within=5)
    assert len(receiver.requests) == 1
