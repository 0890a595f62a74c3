"""A hostile Slack while whole incidents begin and end: no task waits, everything arrives, and failures are reported."""

import itertools
import logging
import re
import statistics
import time
from contextlib import contextmanager

import pytest

from resilient_tasks import RunReport, Slack, resilient
from resilient_tasks.alerts.outbox import Outbox, incident_store
from resilient_tasks.core import settings
from resilient_tasks.testing import flush_messages

#: Seconds that notify may add to a call, whatever Slack does.
DELAY = 0.05
#: Requests that meet the trouble: more than are made in any of these tests.
MANY = 1000

#: What Slack does, and what the event says of it, by webhook and by bot.
TROUBLES = {
    "refuses connections": (None, "refused"),
    "answers nothing": (lambda slack: slack.hangs(60, MANY), "timed out|not delivered within"),
    "accepts, then hangs": (lambda slack: slack.accepts_and_hangs(60, MANY), "timed out|not delivered within"),
    "drips one byte a second": (lambda slack: slack.drips(1, MANY), "timed out|not delivered within|no time is left"),
    "answers 429 for an hour": (lambda slack: slack.rate_limited(MANY, retry_after=3600), "429"),
    "says the channel is gone": (lambda slack: slack.refuses("channel_not_found", MANY), "channel_not_found"),
    "says the token is wrong": (lambda slack: slack.refuses("invalid_auth", MANY), "invalid_auth"),
    "says it limits": (lambda slack: slack.refuses("ratelimited", MANY), "ratelimited"),
    "says it failed inside": (lambda slack: slack.refuses("internal_error", MANY), "internal_error"),
    "is a proxy's page, 502": (lambda slack: slack.bad_gateway(MANY), "502"),
}
#: Slack accepts a message although its answer does not arrive, so the message is sent again.
TAKEN = {"accepts, then hangs", "drips one byte a second"}


class Hostile:
    """A Slack that is hostile inside `with hostile:`, and a clock that can be moved past its Retry-After."""

    def __init__(self, slack, name):
        self.slack, self.name = slack, name
        self.begin, self.says = TROUBLES[name]
        self.waited = 0.0

    @contextmanager
    def trouble(self):
        if self.begin is None:
            with self.slack.offline():
                yield
        else:
            self.begin(self.slack)
            yield
            self.slack._queue.clear()
        self.waited += 1000  # a quarter of an hour, and more: whatever Slack has asked for is over
        settings.configure(notify_deadline=5)  # on a busy machine a late answer would cause a duplicate


@pytest.fixture(autouse=True)
def _quickly(resilient_clock, at_once, own_settings):
    own_settings(notify_deadline=0.3)


@pytest.fixture(params=list(TROUBLES))
def hostile(request, resilient_slack, monkeypatch):
    hostile, real = Hostile(resilient_slack, request.param), Outbox.real_now
    # Deliveries and channels wait in real time, which a virtual clock does not move.
    monkeypatch.setattr(Outbox, "real_now", lambda outbox: real(outbox) + hostile.waited)
    return hostile


@pytest.fixture(params=["webhook", "bot"])
def channel(request, resilient_slack):
    if request.param == "webhook":
        return Slack(webhook=resilient_slack.webhook_url)
    return Slack(token=resilient_slack.token, channel="#ml-alerts", api_url=resilient_slack.api_url)


def named(name, failures, **options):
    """Make a function that fails so often, and then succeeds."""
    left = itertools.repeat(True, failures)

    def fn():
        if next(left, False):
            raise ConnectionError("the API is down")

    fn.__name__ = fn.__qualname__ = name
    return resilient(**options)(fn)


def summary_of(slack):
    """Return what a reader sees of each operation, in order: each message once, with its numbers."""
    seen, found = {}, {}
    for message in slack.messages:
        words = message.history[0].text if message.history else message.text
        if message.key not in seen:
            operation, _, rest = words.partition(" ")
            total = re.search(r"had failed \*(once|[\d,]+ times)\*", message.full_text)
            found.setdefault(operation, []).append(f"{rest}, {total[1]}" if total and "works" in rest else rest)
        assert seen.setdefault(message.key, words) == words, "what is sent again says the same"
    return found


def send_everything(within=15):
    """Flush until nothing waits."""
    until = time.monotonic() + within
    while not flush_messages(0.5):
        assert time.monotonic() < until, "messages still wait"


def seconds_of(call):
    began = time.perf_counter()
    call.outcome()
    return time.perf_counter() - began


def test_no_task_waits_for_slack(hostile, channel):
    with hostile.trouble():
        # On a machine that is busy a call is late with alerts or without: what we add would be there each time.
        for number in range(3):
            alerted, control = [], []
            for each in range(8):
                control.append(seconds_of(named("control", 1)))
                alerted.append(seconds_of(named(f"alerted_{number}_{each}", 1, notify=channel)))
            assert statistics.median(alerted) < statistics.median(control) + DELAY
            if max(alerted) < max(control) + DELAY:
                break
        else:
            pytest.fail(f"{max(alerted):.3f} s with alerts, and {max(control):.3f} s without")
        assert not flush_messages(0.1), "the trouble was there"
    send_everything()
    assert len(summary_of(hostile.slack)) == 8 * (number + 1)


def test_every_message_arrives_in_order_and_the_counts_add_up(
    hostile, channel, resilient_clock, resilient_events, caplog
):
    goes_on, comes_back = named("goes_on", 99, notify=channel), named("comes_back", 3, notify=channel)
    with hostile.trouble(), caplog.at_level(logging.ERROR, "resilient_tasks"):
        for _ in range(4):
            goes_on.outcome()
            comes_back.outcome()  # the last of these succeeds
        assert not flush_messages(0.7)
        resilient_clock.advance(301)
        assert not flush_messages(0.1)
        assert not resilient_events.named("notify.sent")
        failed = resilient_events.named("notify.failed")
        remarks = RunReport(resilient_events).remarks
    send_everything()

    assert summary_of(hostile.slack) == {
        "goes_on": ["failed: ConnectionError", "failed 3 more times: ConnectionError"],
        "comes_back": ["failed: ConnectionError", "works again, 3 times"],
    }
    keys = [message.key for message in hostile.slack.messages]
    again = len(keys) - len(set(keys))
    cut = [event for event in resilient_events.named("notify.failed") if "not delivered within" in event.message]
    assert (again > 0) is (hostile.name in TAKEN) or again <= len(cut)  # Slack may have taken what was cut short
    assert set(keys) == {event.key for event in resilient_events.named("notify.sent")}

    # A busy machine may cut an answer short, which is then reported instead.
    assert any(re.search(hostile.says, event.message) for event in failed)
    assert all(re.search(f"{hostile.says}|not delivered within", event.message) for event in failed)
    assert {event.channel for event in failed} == {channel.name}
    waits = "alerts that could not be delivered, and wait: "
    assert any(remark.startswith(waits) for remark in remarks)
    assert not any(remark.startswith(waits) for remark in RunReport(resilient_events).remarks)
    logged = [record for record in caplog.records if f"could not notify {channel.name}" in record.getMessage()]
    assert logged
    assert {record.levelno for record in logged} == {logging.ERROR}


@pytest.mark.parametrize("hostile", ["answers 429 for an hour"], indirect=True)
def test_a_retry_after_of_an_hour_is_cut_to_a_quarter_of_an_hour(hostile, channel, resilient_events):
    with hostile.trouble():
        named("fails", 1, notify=channel).outcome()
        for quarters in range(1, 4):
            assert not flush_messages(0.1)
            failed = resilient_events.named("notify.failed")
            assert len(failed) == quarters
            assert failed[-1].retry_in == pytest.approx(900, abs=1)
            assert Outbox(incident_store.states()).backoff(channel.name).failures == quarters
            hostile.waited += 901
    send_everything()
    assert summary_of(hostile.slack) == {"fails": ["failed: ConnectionError"]}
