"""A Slack in trouble, with the whole of alerts in front of it: no task waits, and no message is lost."""

import statistics
import time

import pytest

from resilient_tasks import Slack, resilient
from resilient_tasks.alerts.outbox import Outbox
from resilient_tasks.testing import flush_messages

TROUBLES = {
    "is down": lambda slack: slack.down(3),
    "hangs": lambda slack: slack.hangs(60, times=3),
    "hangs after it accepted the message": lambda slack: slack.accepts_and_hangs(60, times=3),
    "drips one byte a second": lambda slack: slack.drips(1, times=3),
    "resets the connection": lambda slack: slack.reset(3, after_bytes=0),
    "answers with a page of HTML": lambda slack: slack.bad_gateway(3),
    "says that it failed": lambda slack: slack.refuses("internal_error", times=3),
    "limits the rate": lambda slack: slack.rate_limited(3, retry_after="0.2"),
    "says that the channel is gone": lambda slack: slack.refuses("channel_not_found", times=3),
}


@pytest.fixture(autouse=True)
def _settings(resilient_clock, at_once, own_settings):
    own_settings(notify_deadline=1)


@pytest.fixture(params=["webhook", "bot"])
def channel(request, resilient_slack):
    if request.param == "webhook":
        return Slack(webhook=resilient_slack.webhook_url)
    return Slack(token=resilient_slack.token, channel="#ml-alerts", api_url=resilient_slack.api_url)


def failing(name, channel):
    def fail():
        raise ConnectionError("refused")

    fail.__name__ = fail.__qualname__ = name
    return resilient(notify=channel)(fail)


def delivered(events, number):
    """Wait until this many messages were accepted, and return their keys."""
    until = time.monotonic() + 15
    while len(sent := events.named("notify.sent")) < number:
        assert time.monotonic() < until, f"{len(sent)} of {number} messages were delivered"
        flush_messages(0.5)
    return [event.key for event in sent]


@pytest.mark.parametrize("trouble", TROUBLES.values(), ids=list(TROUBLES))
def test_a_slack_in_trouble_delays_no_task_and_loses_no_message(channel, resilient_slack, resilient_events, *, trouble):
    failing("first", channel).outcome()  # warm up: imports and connections are not measured
    delivered(resilient_events, 1)
    trouble(resilient_slack)
    seconds = []
    for name in ("one", "two", "three"):
        fail = failing(name, channel)
        began = time.perf_counter()
        fail.outcome()
        seconds.append(time.perf_counter() - began)
    assert statistics.median(seconds) < 0.9  # waiting for Slack would take 1 s; for 50 ms see test_hostile_slack
    keys = delivered(resilient_events, 4)
    assert len(set(keys)) == 4  # each once
    assert {message.key for message in resilient_slack.messages} == set(keys)  # and under no other key
    assert resilient_events.named("notify.failed")


def test_a_message_accepted_before_slack_hung_arrives_twice_with_one_key(channel, resilient_slack, resilient_events):
    resilient_slack.accepts_and_hangs(60)
    failing("one", channel).outcome()
    (key,) = delivered(resilient_events, 1)
    assert [message.key for message in resilient_slack.messages] == [key, key]


def test_a_slack_that_limits_the_rate_for_an_hour_is_tried_rarely_and_gets_the_message(
    channel, resilient_slack, resilient_events, monkeypatch
):
    began, passed = time.time(), 0.0
    monkeypatch.setattr(Outbox, "real_now", lambda _: time.time() + passed)
    resilient_slack.rate_limited_until(began + 3600, lambda: time.time() + passed)
    failing("one", channel).outcome()
    for _ in range(70):  # a minute each
        flush_messages(0.02)
        passed += 60.0
    keys = delivered(resilient_events, 1)
    assert [message.key for message in resilient_slack.messages] == keys
    assert len(resilient_slack.requests) <= 1 + 3600 / 900 + 2  # at most every quarter of an hour
    assert all(event.retry_in > 0 for event in resilient_events.named("notify.failed"))
