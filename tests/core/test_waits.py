"""The wait that a service asks for, in each form that services use."""

import datetime as dt
import json
import logging
import os
import time
from types import SimpleNamespace

import pytest

from resilient_tasks import CircuitOpen, Retry, configure, resilient
from resilient_tasks.core import settings
from resilient_tasks.core.failures import retry_after
from tests.core.shapes import answered, shaped

NOW = dt.datetime(2026, 11, 27, 12, 0, tzinfo=dt.UTC).timestamp()


def body(**said):
    return json.dumps(said).encode()


def field(number, value):
    """Return one field of a protobuf message: a number, or bytes."""
    if isinstance(value, int):
        return varint(number << 3) + varint(value)
    return varint(number << 3 | 2) + varint(len(value)) + value


def varint(value):
    out = b""
    while value >= 0x80:
        out += bytes([value & 0x7F | 0x80])
        value >>= 7
    return out + bytes([value])


RETRY_INFO = field(1, field(1, 12) + field(2, 500_000_000))
AN_ANY = field(1, b"type.googleapis.com/google.rpc.RetryInfo") + field(2, RETRY_INFO)
#: Fields of 8 and of 4 bytes.
FIXED = varint(9 << 3 | 1) + b"\x01" * 8 + varint(10 << 3 | 5) + b"\x01" * 4
STATUS = field(1, 8) + field(2, b"slow down") + field(3, AN_ANY)


def rpc(*metadata):
    error = shaped("grpc._channel._InactiveRpcError", "grpc.RpcError")
    error.trailing_metadata = lambda: metadata
    return error


@pytest.mark.parametrize(
    ("error", "seconds"),
    [
        (answered(429, retry_after="7"), 7.0),
        (answered(429, retry_after="7.5"), 7.5),
        (answered(429, retry_after="Fri, 27 Nov 2026 12:00:30 GMT"), 30.0),
        (answered(429, retry_after="Fri, 27 Nov 2026 12:00:30"), 30.0),
        (answered(429, retry_after="Fri Nov 27 12:00:30 2026"), 30.0),
        (answered(429, retry_after="Friday, 27-Nov-26 12:00:30 GMT"), 30.0),
        (answered(429, retry_after="Fri, 27 Nov 2026 13:00:30 +0100"), 30.0),
        (answered(429, retry_after="2026-11-27T12:00:30Z"), 30.0),
        (answered(429, retry_after_ms="1500"), 1.5),
        (answered(429, retry_after="2", retry_after_ms="1500"), 1.5),
        (answered(503, x_ms_retry_after_ms="250"), 0.25),
        (answered(429, **{"RETRY-AFTER": "7"}), 7.0),
        (answered(429, RateLimit_Reset="30"), 30.0),
        (answered(429, X_RateLimit_Reset="30"), 30.0),
        (answered(429, X_RateLimit_Reset=f"{NOW + 30:.0f}"), 30.0),
        (answered(429, X_RateLimit_Reset=f"{(NOW + 30) * 1000:.0f}"), 30.0),
        (answered(403, X_RateLimit_Reset="30", X_RateLimit_Remaining="0"), 30.0),
        (answered(429, X_RateLimit_Reset="2026-11-27T12:00:30+00:00"), 30.0),
        (answered(429, RateLimit='"default";r=0;t=30'), 30.0),
        (answered(429, RateLimit='"minute";r=0;t=30, "day";r=4;t=3000'), 30.0),
        (answered(429, RateLimit="limit=100, remaining=0, reset=30"), 30.0),
        (answered(429, body(retry_after=1.5)), 1.5),
        (answered(429, body(parameters={"retry_after": 5})), 5.0),
        (answered(429, body(error={"retry_after": 5})), 5.0),
        (answered(429, body(error={"details": [{"@type": "….RetryInfo", "retryDelay": "3.5s"}]})), 3.5),
        (shaped("acme.Limited", retry_after=5), 5.0),
        (shaped("acme.Limited", retry_after="5"), 5.0),
        (shaped("acme.Limited", retry_after=dt.timedelta(minutes=1)), 60.0),
        (shaped("acme.Limited", error=SimpleNamespace(retry_after=5)), 5.0),
        (shaped("google.api_core.exceptions.TooManyRequests", details=[SimpleNamespace(retry_delay=None)]), None),
        (shaped("acme.Limited", details=[SimpleNamespace(retry_delay=SimpleNamespace(seconds=3, nanos=0))]), 3.0),
        (rpc(("google.rpc.retryinfo-bin", RETRY_INFO)), 12.5),
        (rpc(("grpc-status-details-bin", STATUS)), 12.5),
        (rpc(("google.rpc.retryinfo-bin", field(1, field(1, 12)))), 12.0),
        (rpc(("google.rpc.retryinfo-bin", field(1, field(2, 500_000_000)))), 0.5),
        (rpc(("google.rpc.retryinfo-bin", field(1, field(1, 2**64 - 5)))), 0.0),
        (rpc(("google.rpc.retryinfo-bin", FIXED + RETRY_INFO)), 12.5),
        (rpc(("grpc-status-details-bin", field(3, field(1, b"another")) + FIXED + STATUS)), 12.5),
        (rpc(("grpc-status-details-bin", b"\xff\xff\xff")), None),
        (shaped("tenacity.RetryError", cause=answered(429, retry_after="7")), 7.0),
        (ExceptionGroup("all", [answered(429, retry_after="7"), answered(429, retry_after="70")]), 70.0),
        (ExceptionGroup("all", [KeyError(), ExceptionGroup("in", [answered(429, retry_after="7")])]), 7.0),
    ],
)
def test_a_wait_is_read_in_each_form(error, seconds):
    assert retry_after(error, now=NOW) == pytest.approx(seconds, abs=0.001) if seconds else not seconds


@pytest.mark.parametrize(
    "error",
    [
        answered(500, X_RateLimit_Reset="3000"),
        answered(429, X_RateLimit_Reset="3000", X_RateLimit_Remaining="7"),
        answered(404, X_RateLimit_Reset=f"{NOW + 3000:.0f}", X_RateLimit_Remaining="4999"),
        answered(429, RateLimit='"default";r=4;t=30'),
        answered(429, retry_after="soon"),
        answered(429, retry_after=""),
        answered(429, retry_after="nan"),
        answered(429, retry_after="inf"),
        shaped("acme.Limited", retry_after=float("nan")),
        shaped("acme.Limited", retry_after=float("inf")),
        shaped("acme.Limited", retry_after=True),
        shaped("acme.Limited", retry_after=lambda: 5),
        CircuitOpen("open", retry_in=float("nan")),
    ],
)
def test_errors_without_a_valid_wait(error):
    assert retry_after(error, now=NOW) is None


@pytest.mark.skipif(not hasattr(time, "tzset"), reason="the zone of a process cannot be set here")
def test_a_date_without_a_zone_is_utc_wherever_the_process_runs(monkeypatch):
    monkeypatch.setitem(os.environ, "TZ", "America/New_York")
    time.tzset()
    try:
        assert retry_after(answered(503, retry_after="Fri, 27 Nov 2026 12:00:30"), now=NOW) == 30.0
        assert retry_after(answered(503, retry_after="Fri Nov 27 12:00:30 2026"), now=NOW) == 30.0
    finally:
        monkeypatch.undo()
        time.tzset()


class TestTheLongestWait:
    @pytest.fixture(autouse=True)
    def _own_settings(self, monkeypatch):
        monkeypatch.setattr(settings, "current", settings.Settings())

    @pytest.mark.parametrize("asked", ["86400", "1e300", "9" * 30, "999999999999", "Fri, 27 Nov 2099 12:00:00 GMT"])
    def test_it_is_an_hour_by_default(self, asked, caplog):
        with caplog.at_level(logging.WARNING, "resilient_tasks"):
            assert retry_after(answered(429, retry_after=asked), now=NOW) == 3600.0
        assert "longest_retry_after" in caplog.text

    def test_it_can_be_set(self):
        configure(longest_retry_after="1 day")
        assert retry_after(answered(429, retry_after="80000")) == 80000.0

    def test_a_wait_that_is_not_cut_is_not_logged(self, caplog):
        assert retry_after(answered(429, retry_after="3600")) == 3600.0
        assert not caplog.records

    def test_it_comes_from_the_environment_too(self, monkeypatch):
        monkeypatch.setenv("RESILIENT_TASKS_LONGEST_RETRY_AFTER", "90")
        assert settings._from_environment().longest_retry_after == 90.0

    def test_the_wait_of_an_open_circuit_is_not_cut(self):
        assert retry_after(CircuitOpen("open", retry_in=7200.0)) == 7200.0

    def test_a_retry_waits_no_longer(self, resilient_clock, resilient_events):
        errors = [answered(429, retry_after="1e300")]

        @resilient(retry=Retry(attempts=2, wait=1))
        def fetch():
            if errors:
                raise errors.pop()
            return "rows"

        assert fetch() == "rows"
        assert resilient_events.named("retry.scheduled")[0].delay == 3600.0

    def test_a_users_own_wait_is_limited_to_valid_dates(self, resilient_clock, resilient_events):
        errors = [ConnectionError()]

        @resilient(retry=Retry(attempts=2, wait=lambda _: 1e300))
        def fetch():
            if errors:
                raise errors.pop()
            return "rows"

        assert fetch() == "rows"
        delay = resilient_events.named("retry.scheduled")[0].delay
        assert dt.datetime.now(dt.UTC) + dt.timedelta(seconds=delay)
