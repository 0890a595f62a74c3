"""Slack through slack_sdk, met on a real socket, in all the ways in which it fails."""

import time

import pytest

from resilient_tasks import PolicyError, Slack, resilient
from resilient_tasks.notify.message import Message
from resilient_tasks.notify.slack import SlackRefusedError
from resilient_tasks.testing import Drip, flush_messages

MESSAGE = Message("fetch_month", "failed", "transient", "ConnectError", "refused")


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture(params=["webhook", "bot"])
def channel(request, resilient_slack):
    """A channel in each of the two ways of posting."""
    if request.param == "webhook":
        return Slack(webhook=resilient_slack.webhook_url)
    return Slack(token=resilient_slack.token, channel="#ml-alerts", api_url=resilient_slack.api_url)


def test_a_message_arrives_with_its_blocks(channel, resilient_slack):
    channel.send(MESSAGE, within=5)
    (message,) = resilient_slack.messages
    assert message.text == "fetch_month failed: ConnectError"
    assert "*ConnectError* (transient)" in message.full_text


def test_a_bot_posts_where_it_is_told(resilient_slack):
    Slack(token=resilient_slack.token, channel="#ml-alerts", api_url=resilient_slack.api_url).send(MESSAGE, within=5)
    assert resilient_slack.messages[0].channel == "#ml-alerts"


def test_a_rate_limit_is_waited_for(channel, resilient_slack):
    resilient_slack.rate_limited(retry_after="0.2")
    began = time.monotonic()
    channel.send(MESSAGE, within=5)
    assert time.monotonic() - began >= 0.2
    assert len(resilient_slack.messages) == 1


def test_a_rate_limit_longer_than_the_deadline_is_not_waited_for(channel, resilient_slack):
    resilient_slack.rate_limited(times=9, retry_after=30)
    began = time.monotonic()
    with pytest.raises(SlackRefusedError, match=r"429|ratelimited"):
        channel.send(MESSAGE, within=3)
    assert time.monotonic() - began < 1
    assert len(resilient_slack.requests) == 1


def test_a_bad_gateway_is_tried_again(channel, resilient_slack):
    resilient_slack.bad_gateway()
    channel.send(MESSAGE, within=5)
    assert len(resilient_slack.messages) == 1


def test_a_slack_that_is_down_is_tried_again(channel, resilient_slack):
    resilient_slack.down()
    channel.send(MESSAGE, within=5)
    assert len(resilient_slack.messages) == 1


def test_a_slack_that_refuses_connections_is_given_up_in_time(channel, resilient_slack):
    with resilient_slack.offline():
        began = time.monotonic()
        with pytest.raises(OSError, match="refused"):
            channel.send(MESSAGE, within=0.7)
        assert time.monotonic() - began < 2


@pytest.mark.parametrize("code", ["channel_not_found", "invalid_auth"])
def test_a_refusal_is_told_at_once_with_slacks_own_word(channel, resilient_slack, code):
    resilient_slack.refuses(code, times=9)
    with pytest.raises(SlackRefusedError, match=code):
        channel.send(MESSAGE, within=5)
    assert len(resilient_slack.requests) == 1


@pytest.mark.parametrize("fault", ["hangs", "drips"])
def test_a_slack_that_hangs_or_drips_costs_its_message_and_not_the_call(
    channel, resilient_slack, resilient_clock, resilient_events, own_settings, *, fault
):
    own_settings(notify_deadline=0.3)
    if fault == "hangs":
        resilient_slack.hangs(5, times=9)
    else:
        resilient_slack.fail(*[Drip(2)] * 9)

    @resilient(notify=channel)
    def fail():
        raise ConnectionError

    fail.outcome()  # imports and first log lines are not what is measured
    resilient_clock.advance(1e6)
    began = time.monotonic()
    fail.outcome()
    assert time.monotonic() - began < 0.05
    assert flush_messages(5)
    assert [event.channel for event in resilient_events.named("notify.failed")] == [channel.name] * 2
    assert resilient_events.named("notify.sent") == []


class TestTheEnvironment:
    def test_a_webhook_is_read_when_a_message_is_sent(self, resilient_slack, monkeypatch):
        channel = Slack()
        monkeypatch.setenv("SLACK_WEBHOOK_URL", resilient_slack.webhook_url)
        channel.send(MESSAGE, within=5)
        assert resilient_slack.messages[0].via == "webhook"

    def test_a_token_is_read_for_a_channel(self, resilient_slack, monkeypatch):
        monkeypatch.setenv("SLACK_BOT_TOKEN", resilient_slack.token)
        Slack(channel="#ml-alerts", api_url=resilient_slack.api_url).send(MESSAGE, within=5)
        assert resilient_slack.messages[0].via == "bot"

    def test_a_token_that_was_given_comes_before_a_webhook_of_the_environment(self, resilient_slack, monkeypatch):
        monkeypatch.setenv("SLACK_WEBHOOK_URL", resilient_slack.webhook_url)
        Slack(token=resilient_slack.token, channel="#a", api_url=resilient_slack.api_url).send(MESSAGE, within=5)
        assert resilient_slack.messages[0].via == "bot"

    @pytest.mark.parametrize("channel", [Slack(), Slack(channel="#ml-alerts")])
    def test_without_any_way_it_says_what_to_give(self, channel):
        with pytest.raises(PolicyError, match=r"give webhook=, or token= and channel=, or set SLACK_WEBHOOK_URL"):
            channel.send(MESSAGE, within=5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"webhook": "https://x", "token": "t", "channel": "#c"}, "takes webhook= or token=, not both"),
        ({"token": "t"}, r"needs channel='#ml-alerts'"),
        ({"webhook": "hooks.slack.com/services/x"}, "is the https:// URL of an incoming webhook"),
    ],
)
def test_what_makes_no_sense_is_refused(arguments, sentence):
    with pytest.raises(PolicyError, match=sentence):
        Slack(**arguments)


def test_secrets_do_not_show_in_its_repr():
    shown = repr(Slack(webhook="https://hooks.slack.com/services/secret")) + repr(Slack(token="secret", channel="#c"))
    assert "secret" not in shown


def test_a_channel_is_named_for_logs():
    assert (Slack().name, Slack(channel="#ml").name) == ("slack", "slack:#ml")
