"""Slack through slack_sdk, met on a real socket, in all the ways in which it fails."""

import dataclasses
import json
import logging
import pickle
import time

import pytest
from slack_sdk import WebClient

from resilient_tasks import Kind, PolicyError, Slack, classify
from resilient_tasks.alerts.channels.slack import SlackRefusedError, SlackUnavailableError, _is_broadcast
from resilient_tasks.alerts.message import Channel, Message
from resilient_tasks.core.failures import retry_after
from resilient_tasks.testing import Corrupt, FakeSlack, FaultyServer, Incomplete, Reset, Response, Truncate

FIRST = Message(
    key="k-1",
    incident="i-1",
    operation="fetch_month",
    kind="transient",
    error_type="ConnectError",
    error="connection refused",
    where="flights.py:12 in fetch_month",
    notes=("gave up after attempt 3 (ConnectError ×3): no attempts left",),
    consequence="The call raised: what depends on it does not run.",
    run={"flow_run_id": "f-1", "flow_run": "brave-otter", "url": "http://127.0.0.1:4200/runs/flow-run/f-1"},
    time=1_785_000_000.0,
)
DIGEST = dataclasses.replace(
    FIRST, key="k-2", occasion="digest", count=412, total=413, seconds=300, flows=("monthly", "daily", "backfill")
)
OVER = dataclasses.replace(FIRST, key="k-3", occasion="recovered", count=1240, total=1240, seconds=7200)


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch):
    for name in ("SLACK_WEBHOOK_URL", "SLACK_BOT_TOKEN", "HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def bot(resilient_slack):
    return Slack(token=resilient_slack.token, channel="#ml-alerts", api_url=resilient_slack.api_url)


@pytest.fixture
def webhook(resilient_slack):
    return Slack(webhook=resilient_slack.webhook_url)


@pytest.fixture(params=["webhook", "bot"])
def channel(request):
    """A channel in each of the two ways of posting."""
    return request.getfixturevalue(request.param)


def in_thread(channel, message, receipt):
    return channel.send(dataclasses.replace(message, thread=receipt), within=5)


def delete(slack, receipt):
    """What a person does who clears a channel."""
    WebClient(token=slack.token, base_url=slack.api_url, retry_handlers=[]).chat_delete(**receipt)


def test_it_is_a_channel(channel):
    assert isinstance(channel, Channel)


def test_a_message_has_what_why_what_was_done_what_it_means_and_where_to_look(channel, resilient_slack):
    channel.send(FIRST, within=5)
    (message,) = resilient_slack.messages
    assert message.text == "fetch_month failed: ConnectError"
    for part in (
        "🔴 fetch_month failed",
        "*ConnectError* (transient: likely to pass) at `flights.py:12 in fetch_month`\n```connection refused```",
        "*What was done*\n• gave up after attempt 3 (ConnectError ×3): no attempts left",
        "*What it means*\nThe call raised: what depends on it does not run.",
        "*Where to look*\n<http://127.0.0.1:4200/runs/flow-run/f-1|Open the run brave-otter in Prefect>",
        "flow run `brave-otter`",
    ):
        assert part in message.full_text


def test_a_run_that_cannot_be_linked_is_named_by_its_ids(channel, resilient_slack):
    channel.send(dataclasses.replace(FIRST, run={"flow_run_id": "f-1"}), within=5)
    assert "flow run id `f-1`" in resilient_slack.texts()[0]


def test_the_flow_is_named_first_of_all(channel, resilient_slack):
    channel.send(dataclasses.replace(FIRST, flows=("monthly",)), within=5)
    assert resilient_slack.messages[0].blocks[0]["text"]["text"] == "🔴 fetch_month failed in monthly"


@pytest.mark.parametrize("kind", [kind.value for kind in Kind])
def test_the_meaning_of_the_kind_is_explained(channel, resilient_slack, kind):
    channel.send(dataclasses.replace(FIRST, kind=kind), within=5)
    assert f"*ConnectError* ({kind}: " in resilient_slack.texts()[0]


def test_the_time_is_shown_in_each_readers_time_zone(channel, resilient_slack):
    channel.send(FIRST, within=5)
    assert "<!date^1785000000^{date_short_pretty}, {time_secs}|2026-07-25 17:20:00 UTC>" in resilient_slack.texts()[0]


class TestABot:
    def test_posts_to_its_channel_and_returns_a_receipt(self, bot, resilient_slack):
        receipt = bot.send(FIRST, within=5)
        (message,) = resilient_slack.messages
        assert message.channel == "#ml-alerts"
        assert receipt == {"channel": message.channel_id, "ts": message.ts}

    def test_shows_the_current_state_in_the_first_message_and_replies_in_its_thread(self, bot, resilient_slack):
        receipt = bot.send(FIRST, within=5)
        assert in_thread(bot, DIGEST, receipt) == receipt
        first, answer = resilient_slack.messages
        assert len(first.history) == 1
        assert "🔴 fetch_month failed 413 times so far" in first.full_text
        assert "Failed *413 times in 5 min*, in 3 flows: `monthly`, `daily`, `backfill`." in first.full_text
        assert "*What it means*" in first.full_text
        assert answer.thread_ts == first.ts
        assert "🔴 fetch_month failed 412 more times" in answer.full_text
        assert "Last: *ConnectError* (transient: likely to pass)" in answer.full_text
        assert "*What it means*" not in answer.full_text  # the first message says it

    def test_shows_the_recovery_in_the_first_message_and_replies_in_its_thread(self, bot, resilient_slack):
        receipt = bot.send(FIRST, within=5)
        in_thread(bot, OVER, receipt)
        for message in resilient_slack.messages:
            assert "✅ fetch_month works again" in message.full_text
            assert "Recovered after *2 h*: it had failed *1,240 times*." in message.full_text
            assert "|See the run brave-otter in which it began>" in message.full_text
            assert "connection refused" not in message.full_text
        assert resilient_slack.messages[1].thread_ts == receipt["ts"]

    def test_posts_a_separate_message_if_the_first_was_deleted(self, bot, resilient_slack):
        delete(resilient_slack, bot.send(FIRST, within=5))
        receipt = in_thread(bot, DIGEST, {"channel": "C00000002", "ts": "1.000001"})
        (message,) = resilient_slack.messages
        assert message.thread_ts is None
        assert "*What it means*" in message.full_text
        assert receipt == {"channel": message.channel_id, "ts": message.ts}

    @pytest.mark.parametrize("code", ["cant_update_message", "message_not_found", "channel_not_found"])
    @pytest.mark.parametrize("follows", [DIGEST, OVER])
    def test_posts_a_separate_message_if_it_may_not_edit_the_first(self, bot, resilient_slack, *, code, follows):
        receipt = bot.send(FIRST, within=5)
        resilient_slack.refuses(code, path="/api/chat.update")
        assert in_thread(bot, follows, receipt) != receipt
        assert [message.thread_ts for message in resilient_slack.messages] == [None, None]

    @pytest.mark.parametrize("code", ["thread_not_found", "cannot_reply_to_message"])
    def test_posts_a_separate_message_if_it_may_not_reply(self, bot, resilient_slack, code):
        receipt = bot.send(FIRST, within=5)
        resilient_slack.refuses(code, path="/api/chat.postMessage")
        in_thread(bot, OVER, receipt)
        assert resilient_slack.messages[1].thread_ts is None

    def test_replies_to_a_first_message_that_is_too_old_to_be_edited(self, bot, resilient_slack):
        receipt = bot.send(FIRST, within=5)
        resilient_slack.refuses("edit_window_closed", path="/api/chat.update")
        assert in_thread(bot, DIGEST, receipt) == receipt
        first, answer = resilient_slack.messages
        assert first.history == ()
        assert answer.thread_ts == first.ts

    def test_does_not_reply_if_the_edit_failed_so_that_no_reply_is_repeated(self, bot, resilient_slack):
        receipt = bot.send(FIRST, within=5)
        resilient_slack.refuses("internal_error", path="/api/chat.update")
        with pytest.raises(SlackUnavailableError, match="internal_error"):
            in_thread(bot, DIGEST, receipt)
        assert len(resilient_slack.messages) == 1
        in_thread(bot, DIGEST, receipt)
        assert len(resilient_slack.messages) == 2

    def test_posts_a_separate_message_if_the_first_is_unknown(self, bot, resilient_slack):
        bot.send(DIGEST, within=5)
        assert resilient_slack.messages[0].thread_ts is None

    def test_disables_parsing_in_an_edit_too(self, bot, resilient_slack):
        in_thread(bot, DIGEST, bot.send(FIRST, within=5))
        assert resilient_slack.requests[1].json()["parse"] == "none"

    @pytest.mark.parametrize(
        ("count", "total", "shown"),
        [(1, 2, True), (412, 413, True), (8, 11, True), (50, 80, False), (20, 100, True), (800, 999, False)],
    )
    def test_shows_the_first_digest_and_those_with_one_more_digit_in_the_channel(
        self, bot, resilient_slack, *, count, total, shown
    ):
        receipt = bot.send(FIRST, within=5)
        in_thread(bot, dataclasses.replace(DIGEST, count=count, total=total), receipt)
        assert resilient_slack.messages[1].reply_broadcast is shown

    def test_shows_the_recovery_in_the_channel(self, bot, resilient_slack):
        in_thread(bot, OVER, bot.send(FIRST, within=5))
        assert resilient_slack.messages[1].reply_broadcast

    def test_shows_few_digests_of_a_long_incident_in_the_channel(self):
        totals = range(2, 10_000, 7)
        digests = [dataclasses.replace(DIGEST, count=min(7, total - 1), total=total) for total in totals]
        assert sum(map(_is_broadcast, digests)) <= 5


class TestAWebhook:
    def test_gives_no_receipt(self, webhook):
        assert webhook.send(FIRST, within=5) is None

    def test_posts_separate_messages(self, webhook, resilient_slack):
        for message in (FIRST, DIGEST, OVER):
            in_thread(webhook, message, {"channel": "C1", "ts": "1.1"})
        first, digest, over = resilient_slack.messages
        assert "🔴 fetch_month failed" in first.full_text
        assert "🔴 fetch_month failed 412 more times" in digest.full_text
        assert "*What it means*" in digest.full_text
        assert "✅ fetch_month works again" in over.full_text
        assert {message.thread_ts for message in resilient_slack.messages} == {None}


class TestTheKey:
    def test_is_in_every_message_of_a_webhook_and_a_bot(self, channel, resilient_slack):
        channel.send(FIRST, within=5)
        (message,) = resilient_slack.messages
        assert message.key == "k-1"
        assert message.blocks[0]["block_id"] == "k-1"

    def test_is_the_same_if_slack_accepted_a_message_without_an_answer(self, channel, resilient_slack):
        resilient_slack.accepts_and_hangs(60)
        with pytest.raises(TimeoutError):
            channel.send(FIRST, within=0.3)
        channel.send(FIRST, within=5)
        assert [message.key for message in resilient_slack.messages] == ["k-1", "k-1"]

    def test_of_a_first_message_survives_its_edit(self, bot, resilient_slack):
        receipt = bot.send(FIRST, within=5)
        in_thread(bot, DIGEST, receipt)
        first, answer = resilient_slack.messages
        assert (first.key, answer.key) == ("k-1", "k-2")
        assert first.blocks[0]["block_id"] not in {"k-1", "k-2"}  # Slack wants a new one for what was edited

    def test_is_in_the_metadata_for_other_apps(self, bot, resilient_slack):
        bot.send(FIRST, within=5)
        assert resilient_slack.messages[0].metadata == {
            "event_type": "resilient_tasks_incident",
            "event_payload": {"key": "k-1", "incident": "i-1", "occasion": "first"},
        }

    def test_is_cut_to_the_length_that_slack_allows(self, channel, resilient_slack):
        channel.send(dataclasses.replace(FIRST, key="k" * 300), within=5)
        assert len(resilient_slack.messages[0].blocks[0]["block_id"]) == 255


class TestFailures:
    """Each raises an error that says whether, and when, to try again; the channel itself never does."""

    def failure(self, channel, slack, within=5):
        with pytest.raises((SlackRefusedError, OSError)) as caught:
            channel.send(FIRST, within=within)
        assert len(slack.requests) <= 1
        return caught.value

    def test_a_rate_limit(self, channel, resilient_slack):
        resilient_slack.rate_limited(retry_after=30)
        error = self.failure(channel, resilient_slack)
        assert (classify(error), retry_after(error), error.status) == (Kind.THROTTLED, 30, 429)

    def test_a_slack_that_is_down(self, channel, resilient_slack):
        resilient_slack.down()
        error = self.failure(channel, resilient_slack)
        assert (classify(error), error.status) == (Kind.TRANSIENT, 503)

    def test_a_proxys_page_of_html(self, channel, resilient_slack):
        resilient_slack.bad_gateway()
        error = self.failure(channel, resilient_slack)
        assert (classify(error), error.status) == (Kind.TRANSIENT, 502)

    def test_a_page_of_html_with_status_200(self, channel, resilient_slack):
        resilient_slack.serve("/services/T000/B000/XXXX", "<html>sign in</html>", "text/html")
        resilient_slack.malformed_json()
        assert classify(self.failure(channel, resilient_slack)) is Kind.TRANSIENT

    @pytest.mark.parametrize("code", ["channel_not_found", "invalid_auth", "no_service", "msg_too_long"])
    def test_a_refusal(self, channel, resilient_slack, code):
        resilient_slack.refuses(code)
        error = self.failure(channel, resilient_slack)
        assert code in str(error)
        assert (classify(error), error.code) == (Kind.PERMANENT, code)

    @pytest.mark.parametrize(
        "code", ["ratelimited", "internal_error", "service_unavailable", "fatal_error", "request_timeout"]
    )
    def test_a_transient_refusal(self, bot, resilient_slack, code):
        resilient_slack.refuses(code)
        error = self.failure(bot, resilient_slack)
        assert isinstance(error, SlackUnavailableError)
        assert (classify(error), error.code, error.status) == (Kind.TRANSIENT, code, None)

    @pytest.mark.parametrize("fault", [Reset(), Truncate(0.5), Incomplete(0.5), Corrupt(lambda _: b"\xff")])
    def test_an_answer_that_is_cut_short_or_broken(self, channel, resilient_slack, fault):
        resilient_slack.fail(fault)
        assert classify(self.failure(channel, resilient_slack)) is Kind.TRANSIENT
        assert [message.key for message in resilient_slack.messages] == ["k-1"]

    def test_a_connection_that_is_refused(self, channel, resilient_slack):
        with resilient_slack.offline():
            error = self.failure(channel, resilient_slack)
        assert classify(error) is Kind.TRANSIENT

    def test_a_slack_that_hangs(self, channel, resilient_slack):
        resilient_slack.hangs(60)
        began = time.monotonic()
        error = self.failure(channel, resilient_slack, within=0.2)
        assert classify(error) is Kind.TIMEOUT
        assert time.monotonic() - began < 5

    def test_no_time_at_all(self, channel, resilient_slack):
        assert classify(self.failure(channel, resilient_slack, within=0)) is Kind.TIMEOUT
        assert resilient_slack.requests == []

    def test_an_archived_channel_is_not_mistaken_for_a_deleted_thread(self, bot, resilient_slack):
        receipt = bot.send(FIRST, within=5)
        resilient_slack.refuses("is_archived", path="/api/chat.postMessage")
        with pytest.raises(SlackRefusedError, match="is_archived"):
            in_thread(bot, DIGEST, receipt)


class TestARedirect:
    """Message, webhook and token are for the host that the user named."""

    @pytest.mark.parametrize("status", [300, 301, 302, 303, 307, 308])
    @pytest.mark.parametrize("to", ["same host", "another host", "https"])
    def test_is_not_followed_and_is_no_delivery(self, channel, resilient_slack, status, to):
        with FaultyServer() as elsewhere:
            elsewhere.serve("/", "ok")
            places = {
                "same host": f"{resilient_slack.url}/elsewhere",
                "another host": f"{elsewhere.url}/",
                "https": resilient_slack.url.replace("http://", "https://"),
            }
            answer = Response("ok", status, headers={"Location": places[to]})
            for path in ("/services/T000/B000/XXXX", "/api/chat.postMessage"):
                resilient_slack.serve(path, lambda _: answer)
            for _ in range(2):
                with pytest.raises(SlackRefusedError, match=f"answered {status}.*redirects are not followed") as caught:
                    channel.send(FIRST, within=5)
                assert classify(caught.value) is Kind.PERMANENT
            assert elsewhere.requests == []
            assert {request.path for request in resilient_slack.requests} <= {
                "/services/T000/B000/XXXX",
                "/api/chat.postMessage",
            }


class TestItsName:
    def test_does_not_depend_on_the_environment(self, monkeypatch):
        channels = Slack(), Slack(channel="#ml-alerts")
        names = [channel.name for channel in channels]
        monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/one")
        assert [channel.name for channel in channels] == names
        monkeypatch.setenv("SLACK_WEBHOOK_URL", "https://hooks.slack.com/services/other")
        monkeypatch.setenv("SLACK_BOT_TOKEN", "xoxb-1")
        assert [channel.name for channel in channels] == names == ["slack", "slack:#ml-alerts"]
        assert Slack(token="xoxb-2", channel="#ml-alerts").name == names[1]

    def test_is_that_of_the_block_that_holds_the_webhook(self):
        class Block:
            _block_document_name = "alerts"
            get_block_type_slug = staticmethod(lambda: "slack-webhook")

            def __init__(self, url):
                self.url = Kept(url)

        one, rotated = (Slack(webhook=Block(f"https://hooks.slack.com/services/{end}")) for end in ("one", "two"))
        assert one.name == rotated.name == "slack:slack-webhook/alerts"


class TestTheEnvironment:
    def test_a_webhook_is_read_when_a_message_is_sent(self, resilient_slack, monkeypatch):
        channel = Slack()
        assert channel.name == "slack"
        monkeypatch.setenv("SLACK_WEBHOOK_URL", resilient_slack.webhook_url)
        channel.send(FIRST, within=5)
        assert resilient_slack.messages[0].via == "webhook"
        assert channel.name == "slack"

    def test_a_token_is_read_for_a_channel_and_comes_before_a_webhook(self, resilient_slack, monkeypatch):
        monkeypatch.setenv("SLACK_BOT_TOKEN", resilient_slack.token + "\n")
        monkeypatch.setenv("SLACK_WEBHOOK_URL", resilient_slack.webhook_url)
        channel = Slack(channel="#ml-alerts", api_url=resilient_slack.api_url)
        channel.send(FIRST, within=5)
        assert (resilient_slack.messages[0].via, channel.name) == ("bot", "slack:#ml-alerts")

    def test_a_webhook_is_used_for_a_channel_without_a_token(self, resilient_slack, monkeypatch):
        monkeypatch.setenv("SLACK_WEBHOOK_URL", resilient_slack.webhook_url)
        Slack(channel="#ml-alerts").send(FIRST, within=5)
        assert resilient_slack.messages[0].via == "webhook"

    def test_a_token_that_was_given_comes_before_a_webhook_of_the_environment(self, bot, resilient_slack, monkeypatch):
        monkeypatch.setenv("SLACK_WEBHOOK_URL", resilient_slack.webhook_url)
        bot.send(FIRST, within=5)
        assert resilient_slack.messages[0].via == "bot"

    @pytest.mark.parametrize("channel", [Slack(), Slack(channel="#ml-alerts")])
    def test_without_a_webhook_or_token_the_error_says_what_to_give(self, channel):
        with pytest.raises(PolicyError, match=r"give webhook=, or token= and channel=, or set SLACK_WEBHOOK_URL"):
            channel.send(FIRST, within=5)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"webhook": "https://x", "token": "t", "channel": "#c"}, "takes webhook= or token=, not both"),
        ({"webhook": "https://x", "channel": "#c"}, "has its own channel"),
        ({"token": "t"}, r"needs channel='#ml-alerts'"),
        ({"webhook": "hooks.slack.com/services/x"}, "is the https:// URL of an incoming webhook"),
        ({"webhook": 3}, r"Slack\(webhook=...\)"),
        ({"token": "two words", "channel": "#c"}, "is a bot's token"),
    ],
)
def test_invalid_arguments_are_refused(arguments, sentence):
    with pytest.raises(PolicyError, match=sentence):
        Slack(**arguments)


class Kept:
    """A secret whose text does not show it."""

    def __init__(self, value):
        self.get_secret_value = lambda: value


class TestSecrets:
    def test_do_not_show_in_its_repr(self):
        shown = repr(Slack(webhook="https://hooks.slack.com/services/secret"))
        assert "secret" not in shown + repr(Slack(token="secret", channel="#c"))

    def test_do_not_show_in_its_name(self):
        one, other = (Slack(webhook=f"https://hooks.slack.com/services/{end}").name for end in ("secret", "another"))
        assert "secret" not in one
        assert one != other
        assert len(one) == len("slack:") + 8
        assert one == Slack(webhook="https://hooks.slack.com/services/secret").name

    def test_in_objects_are_read_when_a_message_is_sent(self, resilient_slack):
        hidden = Slack(webhook=Kept(resilient_slack.webhook_url))
        hidden.send(FIRST, within=5)
        Slack(token=Kept(resilient_slack.token), channel="#c", api_url=resilient_slack.api_url).send(FIRST, within=5)
        assert [message.via for message in resilient_slack.messages] == ["webhook", "bot"]
        assert hidden.name == Slack(webhook=resilient_slack.webhook_url).name

    @pytest.mark.parametrize("value", ["not-a-secret-url", "https://hooks.slack.com/services/secret with blanks"])
    def test_that_are_malformed_are_not_shown_in_the_error(self, value):
        channel = Slack(webhook=Kept(value))
        assert "secret" not in channel.name
        with pytest.raises(PolicyError) as caught:
            channel.send(FIRST, within=5)
        assert "secret" not in str(caught.value)

    def test_from_a_file_may_end_in_a_line_feed(self, resilient_slack):
        Slack(webhook=resilient_slack.webhook_url + "\n").send(FIRST, within=5)
        token = resilient_slack.token + "\n"
        Slack(token=token, channel="#c", api_url=resilient_slack.api_url).send(FIRST, within=5)
        assert len(resilient_slack.messages) == 2

    @pytest.mark.parametrize("fault", [None, "down", "reset", "truncated", "bad_gateway", "rate_limited"])
    def test_reach_no_log_at_any_level(self, channel, resilient_slack, caplog, monkeypatch, *, fault):
        monkeypatch.setenv("HTTP_PROXY", "")
        for name in ("", "slack_sdk", "slack_sdk.web.base_client", "slack_sdk.webhook.client", "urllib3"):
            caplog.set_level(logging.DEBUG, logger=name)
        logging.getLogger("slack_sdk").debug("to see that these are caught")
        if fault is not None:
            getattr(resilient_slack, fault)()
        try:
            channel.send(FIRST, within=5)
        except (SlackRefusedError, OSError) as error:
            logging.getLogger("test").debug("it failed", exc_info=error)
        assert "to see that these are caught" in caplog.text
        assert resilient_slack.token not in caplog.text
        assert "/services/" not in caplog.text


def test_mentions_in_a_message_are_disabled(channel, resilient_slack):
    hostile = "<!channel> @here @channel <!subteam^S123> <@U12345678> & ```code``` &lt;!here&gt;"
    message = dataclasses.replace(
        FIRST,
        operation=f"load {hostile}",
        error_type=hostile,
        error=hostile,
        where=hostile,
        notes=(hostile,),
        consequence=hostile,
        run={"flow_run": hostile, "url": f"http://127.0.0.1/{hostile}"},
        flows=(hostile, hostile),
    )
    receipt = channel.send(message, within=5)
    for follows in (DIGEST, OVER):
        names = {"key": follows.key, "occasion": follows.occasion, "count": 5, "total": 6, "thread": receipt or {}}
        channel.send(dataclasses.replace(message, **names), within=5)
    assert len(resilient_slack.messages) == 3
    for sent in resilient_slack.messages:
        assert sent.calls == []
        quoted = "".join(block["text"]["text"] for block in sent.blocks if block["type"] == "section")
        assert "```code" not in quoted


def test_the_headline_shows_a_silenced_count_and_a_relapse(channel, resilient_slack):
    channel.send(dataclasses.replace(FIRST, count=20, total=20, seconds=60), within=5)
    channel.send(dataclasses.replace(DIGEST, relapse=True), within=5)
    first, digest = (message.blocks[0]["text"]["text"] for message in resilient_slack.messages)
    assert first.endswith("fetch_month failed 20 times")
    assert "*20 times in 60 s*" in resilient_slack.texts()[0]
    assert digest.endswith("fetch_month failed again, 412 more times")


@pytest.mark.parametrize("character", ["x", "&", "<", "`", "🔴", "\n", " ", '"'])
@pytest.mark.parametrize("occasion", ["first", "digest", "recovered"])
def test_a_message_of_any_length_stays_within_slacks_limits(channel, resilient_slack, *, character, occasion):
    long = 20_000 * character
    message = Message(
        key=long,
        incident=long,
        occasion=occasion,
        operation=long,
        severity="critical",
        kind=long,
        error_type=long,
        error=long,
        where=long,
        notes=(long,) * 60,
        consequence=long,
        run={"flow_run": long, "url": f"http://127.0.0.1/{long}", **{f"{n}{long}": long for n in range(60)}},
        time=1.0,
        count=5,
        total=10**9,
        flows=(long,) * 60,
        seconds=1e9,
    )
    receipt = channel.send(message, within=30)
    channel.send(dataclasses.replace(message, thread=receipt or {}), within=30)
    for sent in resilient_slack.messages:
        assert len(sent.full_text) < 10_000
        assert sent.calls == []


def test_unprintable_text_is_left_out(channel, resilient_slack):
    channel.send(dataclasses.replace(FIRST, error="a\x00b\x1b[31mc\ud800d\te"), within=5)
    assert "```ab[31mcd\te```" in resilient_slack.texts()[0]


def test_of_very_many_notes_the_first_and_the_last_are_shown(channel, resilient_slack):
    channel.send(dataclasses.replace(FIRST, notes=tuple(f"attempt {n}" for n in range(1, 31))), within=5)
    (text,) = resilient_slack.texts()
    assert "• attempt 4\n• … 22 more …\n• attempt 27\n" in text
    assert "• attempt 30\n" in text + "\n"


@pytest.mark.parametrize(("severity", "mark"), [("warning", "⚠️"), ("error", "🔴"), ("critical", "🚨")])
def test_the_mark_shows_the_severity(channel, resilient_slack, *, severity, mark):
    channel.send(dataclasses.replace(FIRST, severity=severity), within=5)
    assert resilient_slack.messages[0].blocks[0]["text"]["text"] == f"{mark} fetch_month failed"


@pytest.mark.parametrize("url", ["", "javascript:alert(1)", "http://127.0.0.1/a|b", "http://127.0.0.1/<!channel>"])
def test_an_invalid_url_is_not_linked(channel, resilient_slack, url):
    channel.send(dataclasses.replace(FIRST, run={"url": url}), within=5)
    assert "Where to look" not in resilient_slack.texts()[0]


def test_a_bare_message_has_no_empty_parts(channel, resilient_slack):
    channel.send(Message(key="k", incident="i", operation="f"), within=5)
    assert [block["type"] for block in resilient_slack.messages[0].blocks] == ["header"]


def test_it_can_be_pickled(channel, resilient_slack):
    pickle.loads(pickle.dumps(channel)).send(FIRST, within=5)
    assert len(resilient_slack.messages) == 1


def test_a_message_passes_slacks_validation_of_json(bot):
    with FakeSlack() as slack:
        dataclasses.replace(bot, api_url=slack.api_url).send(FIRST, within=5)
        fields = json.loads(slack.requests[0].body)
    assert set(fields) == {"channel", "text", "blocks", "metadata", "unfurl_links"}
