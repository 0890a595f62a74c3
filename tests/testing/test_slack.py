"""The fake Slack, with the real slack_sdk."""

import json
import time
import urllib.error

import httpx
import pytest
from slack_sdk import WebClient
from slack_sdk.errors import SlackApiError
from slack_sdk.webhook import WebhookClient

from resilient_tasks.testing.faults import Status
from resilient_tasks.testing.slack import FakeSlack

web = httpx.Client(timeout=5, trust_env=False, verify=False)
SECTION = {"type": "section", "text": {"type": "mrkdwn", "text": "*fetch_month* failed"}}


@pytest.fixture(autouse=True, scope="module")
def _close_web():
    yield
    web.close()


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch):
    for name in ("HTTP_PROXY", "http_proxy", "HTTPS_PROXY", "https_proxy"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def slack():
    with FakeSlack(channels=["#ml-alerts", "general"]) as slack:
        yield slack


@pytest.fixture
def bot(slack):
    return WebClient(token=slack.token, base_url=slack.api_url, retry_handlers=[], timeout=2)


@pytest.fixture
def webhook(slack):
    return WebhookClient(slack.webhook_url, retry_handlers=[], timeout=2)


def refused_code(call, *args, **kwargs):
    with pytest.raises(SlackApiError) as caught:
        call(*args, **kwargs)
    assert caught.value.response["ok"] is False
    return caught.value.response["error"]


# --- the webhook -------------------------------------------------------------------------------------------------


def test_a_webhook_message_is_answered_ok_and_kept(slack, webhook):
    answer = webhook.send(text="fetch_month failed")
    assert (answer.status_code, answer.body) == (200, "ok")
    (message,) = slack.messages
    assert (message.text, message.via, message.channel) == ("fetch_month failed", "webhook", "#incoming-webhook")
    assert slack.requests[0].path == "/services/T000/B000/XXXX"


def test_a_webhook_message_may_be_blocks_alone(slack, webhook):
    assert webhook.send(blocks=[SECTION]).body == "ok"
    assert slack.messages[0].blocks == (SECTION,)


def test_a_webhook_message_without_content_is_refused(slack, webhook):
    answer = webhook.send_dict({"username": "bot"})
    assert (answer.status_code, answer.body) == (400, "no_text")
    assert slack.messages == []


@pytest.mark.parametrize("body", [b"not json", b"[1]", b""])
def test_a_webhook_payload_that_is_not_an_object_is_refused(slack, body):
    answer = web.post(slack.webhook_url, content=body)
    assert (answer.status_code, answer.text) == (400, "invalid_payload")


def test_a_webhook_takes_its_payload_from_a_form_too(slack):
    assert web.post(slack.webhook_url, data={"payload": '{"text": "by form"}'}).text == "ok"
    assert slack.texts() == ["by form"]


def test_a_webhook_that_does_not_exist_is_a_404(slack):
    answer = WebhookClient(slack.url + "/services/T000/B000/WRONG").send(text="lost")
    assert (answer.status_code, answer.body) == (404, "no_service")


def test_a_webhook_refuses_too_many_blocks(webhook):
    answer = webhook.send(text="x", blocks=[SECTION] * 51)
    assert (answer.status_code, answer.body) == (400, "invalid_blocks")


# --- the Web API -------------------------------------------------------------------------------------------------


def test_a_posted_message_has_a_channel_id_and_a_timestamp(slack, bot):
    answer = bot.chat_postMessage(channel="#ml-alerts", text="hello", blocks=[SECTION])
    (message,) = slack.messages
    assert (answer["channel"], answer["ts"]) == (message.channel_id, message.ts)
    assert answer["message"]["text"] == "hello"
    assert (message.channel, message.text, message.blocks, message.via) == ("#ml-alerts", "hello", (SECTION,), "bot")


def test_a_channel_has_one_id_under_all_its_names(bot):
    channels = {bot.chat_postMessage(channel=name, text="x")["channel"] for name in ("#general", "general")}
    (channel_id,) = channels
    assert bot.chat_postMessage(channel=channel_id, text="x")["channel"] == channel_id


def test_timestamps_are_unique(bot):
    stamps = [bot.chat_postMessage(channel="general", text="x")["ts"] for _ in range(5)]
    assert len(set(stamps)) == 5
    assert sorted(stamps, key=float) == stamps


def test_an_answer_in_a_thread_is_kept_with_its_thread(slack, bot):
    first = bot.chat_postMessage(channel="general", text="down")
    answer = bot.chat_postMessage(channel="general", text="up again", thread_ts=first["ts"])
    assert answer["message"]["thread_ts"] == first["ts"]
    assert [message.thread_ts for message in slack.messages] == [None, first["ts"]]


def test_a_form_is_taken_with_its_blocks_as_json_text(slack):
    fields = {"channel": "general", "text": "by form", "blocks": json.dumps([SECTION]), "token": slack.token}
    answer = web.post(slack.api_url + "chat.postMessage", data=fields).json()
    assert answer["ok"] is True
    assert slack.messages[0].blocks == (SECTION,)


def test_an_edit_replaces_the_message_and_keeps_its_history(slack, bot):
    posted = bot.chat_postMessage(channel="general", text="down")
    bot.chat_update(channel=posted["channel"], ts=posted["ts"], text="still down")
    answer = bot.chat_update(channel=posted["channel"], ts=posted["ts"], text="recovered")
    assert (answer["ts"], answer["text"]) == (posted["ts"], "recovered")
    (message,) = slack.messages
    assert message.text == "recovered"
    assert [earlier.text for earlier in message.history] == ["down", "still down"]


def test_new_text_without_blocks_removes_the_blocks(slack, bot):
    posted = bot.chat_postMessage(channel="general", text="down", blocks=[SECTION])
    bot.chat_update(channel=posted["channel"], ts=posted["ts"], text="recovered")
    assert slack.messages[0].blocks == ()


def test_new_blocks_without_text_keep_the_text(slack, bot):
    posted = bot.chat_postMessage(channel="general", text="down")
    bot.api_call("chat.update", json={"channel": posted["channel"], "ts": posted["ts"], "blocks": [SECTION]})
    assert (slack.messages[0].text, slack.messages[0].blocks) == ("down", (SECTION,))


def test_an_edit_needs_the_channels_id_and_not_its_name(bot):
    posted = bot.chat_postMessage(channel="general", text="down")
    assert refused_code(bot.chat_update, channel="general", ts=posted["ts"], text="x") == "channel_not_found"


def test_an_edit_of_an_unknown_message_is_refused(bot):
    posted = bot.chat_postMessage(channel="general", text="down")
    assert refused_code(bot.chat_update, channel=posted["channel"], ts="1.000001", text="x") == "message_not_found"


def test_a_webhooks_message_cannot_be_edited(slack, bot, webhook):
    webhook.send(text="down")
    (message,) = slack.messages
    code = refused_code(bot.chat_update, channel=message.channel_id, ts=message.ts, text="x")
    assert code == "cant_update_message"


def test_an_empty_edit_is_refused(bot):
    posted = bot.chat_postMessage(channel="general", text="down")
    code = refused_code(bot.api_call, "chat.update", json={"channel": posted["channel"], "ts": posted["ts"]})
    assert code == "no_text"


def test_an_unknown_channel_is_refused(slack, bot):
    assert refused_code(bot.chat_postMessage, channel="#nowhere", text="x") == "channel_not_found"
    assert refused_code(bot.chat_postMessage, channel="C0NOWHERE1", text="x") == "channel_not_found"
    assert slack.messages == []


def test_without_a_list_every_channel_exists():
    with FakeSlack() as slack:
        bot = WebClient(token=slack.token, base_url=slack.api_url)
        assert bot.chat_postMessage(channel="#anything", text="x")["ok"]
        assert bot.chat_postMessage(channel="C0ANYTHING", text="x")["channel"] == "C0ANYTHING"


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"channel": "general"}, "no_text"),
        ({"text": "x"}, "invalid_arguments"),
        ({"channel": "general", "blocks": [SECTION] * 51}, "invalid_blocks"),
        ({"channel": "general", "blocks": [{"text": "no type"}]}, "invalid_blocks"),
        ({"channel": "general", "blocks": ["no object"]}, "invalid_blocks_format"),
        ({"channel": "general", "attachments": "no list"}, "invalid_attachments"),
    ],
)
def test_a_message_that_breaks_slacks_rules_is_refused(slack, bot, fields, code):
    assert refused_code(bot.api_call, "chat.postMessage", json=fields) == code
    assert slack.messages == []


@pytest.mark.parametrize(("length", "taken"), [(3000, True), (3001, False)])
def test_a_sections_text_ends_at_3000_characters(bot, length, taken):
    block = {"type": "section", "text": {"type": "plain_text", "text": "x" * length}}
    if taken:
        assert bot.chat_postMessage(channel="general", blocks=[block], text="x")["ok"]
    else:
        assert refused_code(bot.chat_postMessage, channel="general", blocks=[block], text="x") == "invalid_blocks"


def test_fifty_blocks_are_accepted(bot):
    assert bot.chat_postMessage(channel="general", blocks=[SECTION] * 50, text="x")["ok"]


@pytest.mark.parametrize(
    ("content_type", "body", "code"),
    [
        ("application/json", b"{", "invalid_json"),
        ("application/json", b"[]", "json_not_object"),
        ("application/x-www-form-urlencoded", b"blocks=[", "invalid_blocks_format"),
        ("application/x-www-form-urlencoded", b"attachments=[", "invalid_attachments"),
    ],
)
def test_a_body_that_does_not_parse_is_refused(slack, content_type, body, code):
    headers = {"Content-Type": content_type, "Authorization": f"Bearer {slack.token}"}
    answer = web.post(slack.api_url + "chat.postMessage", content=body, headers=headers)
    assert (answer.status_code, answer.json()) == (200, {"ok": False, "error": code})


def test_the_token_is_checked(slack):
    assert WebClient(token=slack.token, base_url=slack.api_url).auth_test()["team"] == "Fake"
    assert refused_code(WebClient(token="another", base_url=slack.api_url).auth_test) == "invalid_auth"
    assert refused_code(WebClient(base_url=slack.api_url).auth_test) == "not_authed"


def test_an_unknown_method_is_refused(bot):
    assert refused_code(bot.api_call, "chat.unheardOf") == "unknown_method"


# --- threads, metadata, limits ---------------------------------------------------------------------------------------


def test_an_answer_can_be_shown_in_the_channel_too(slack, bot):
    first = bot.chat_postMessage(channel="general", text="down")
    bot.chat_postMessage(channel="general", text="up", thread_ts=first["ts"], reply_broadcast=True)
    bot.chat_postMessage(channel="general", text="no thread", reply_broadcast=True)
    assert [message.reply_broadcast for message in slack.messages] == [False, True, False]


METADATA = {"event_type": "incident", "event_payload": {"key": "k-1"}}


def test_metadata_survive_an_edit_without_metadata(slack, bot):
    posted = bot.chat_postMessage(channel="general", text="down", metadata=METADATA)
    bot.chat_update(channel=posted["channel"], ts=posted["ts"], text="up")
    assert slack.messages[0].metadata == METADATA
    bot.chat_update(channel=posted["channel"], ts=posted["ts"], text="up", metadata={**METADATA, "event_payload": {}})
    assert slack.messages[0].metadata["event_payload"] == {}


@pytest.mark.parametrize("metadata", ["text", {"event_type": "incident"}, {"event_type": 3, "event_payload": {}}])
def test_malformed_metadata_are_refused(slack, bot, metadata):
    assert refused_code(bot.chat_postMessage, channel="general", text="x", metadata=metadata) == (
        "invalid_metadata_format"
    )
    posted = bot.chat_postMessage(channel="general", text="x")
    edit = {"channel": posted["channel"], "ts": posted["ts"], "text": "y", "metadata": metadata}
    assert refused_code(bot.api_call, "chat.update", json=edit) == "invalid_metadata_format"
    assert slack.texts() == ["x"]


def test_a_message_has_the_key_that_it_was_sent_with(slack, bot, webhook):
    block = {**SECTION, "block_id": "k-2"}
    bot.chat_postMessage(channel="general", text="x", blocks=[block], metadata=METADATA)
    webhook.send(text="x", blocks=[block])
    webhook.send(text="x", blocks=[SECTION])
    webhook.send(text="x")
    assert [message.key for message in slack.messages] == ["k-1", "k-2", "", ""]


def test_a_message_can_be_deleted(slack, bot):
    kept, gone = (bot.chat_postMessage(channel="general", text=text) for text in ("kept", "gone"))
    bot.chat_delete(channel=gone["channel"], ts=gone["ts"])
    assert slack.texts() == ["kept"]
    named = {"channel": gone["channel"], "ts": gone["ts"]}
    assert refused_code(bot.chat_update, **named, text="x") == "message_not_found"
    assert refused_code(bot.chat_delete, **named) == "message_not_found"
    assert bot.chat_postMessage(channel="general", text="new")["ts"] not in {kept["ts"], gone["ts"]}


def test_a_bot_cannot_delete_a_webhooks_message(slack, bot, webhook):
    webhook.send(text="down")
    (message,) = slack.messages
    assert refused_code(bot.chat_delete, channel=message.channel_id, ts=message.ts) == "cant_delete_message"


def _text(kind, text):
    return {"type": kind, "text": text}


@pytest.mark.parametrize(
    "block",
    [
        {"type": "header", "text": _text("plain_text", "x" * 151)},
        {"type": "section", "text": _text("mrkdwn", "")},
        {"type": "section", "fields": [_text("mrkdwn", "x" * 3001)]},
        {"type": "context", "elements": [_text("mrkdwn", "x")] * 11},
        {**SECTION, "block_id": "x" * 256},
    ],
)
def test_a_block_beyond_its_limits_is_refused(slack, bot, webhook, block):
    assert refused_code(bot.chat_postMessage, channel="general", blocks=[block], text="x") == "invalid_blocks"
    assert webhook.send(text="x", blocks=[block]).body == "invalid_blocks"
    assert slack.messages == []


@pytest.mark.parametrize(
    "block",
    [
        {"type": "header", "text": _text("plain_text", "x" * 150)},
        {"type": "context", "elements": [_text("mrkdwn", "x")] * 10},
        {**SECTION, "block_id": "x" * 255},
    ],
)
def test_a_block_at_its_limits_is_accepted(bot, block):
    assert bot.chat_postMessage(channel="general", blocks=[block], text="x")["ok"]


def test_blocks_of_a_message_have_unique_ids(bot):
    blocks = [{**SECTION, "block_id": "x"}] * 2
    assert refused_code(bot.chat_postMessage, channel="general", blocks=blocks, text="x") == "invalid_blocks"


def test_the_total_text_of_a_message_is_limited(bot):
    blocks = [{"type": "section", "text": _text("mrkdwn", "x" * 2900)}] * 5
    assert refused_code(bot.chat_postMessage, channel="general", blocks=blocks, text="x") == "msg_blocks_too_long"


@pytest.mark.parametrize(
    ("block", "calls"),
    [
        (_text("mrkdwn", "<!channel> <!here|here> <@U1> <!subteam^S1>"), 4),
        (_text("mrkdwn", "&lt;!channel&gt; x@here.example.org"), 0),
        (_text("mrkdwn", "@here"), 1),
        ({**_text("mrkdwn", "@here"), "verbatim": True}, 0),
        ({**_text("mrkdwn", "<!here>"), "verbatim": True}, 1),
        (_text("plain_text", "<!channel> @here"), 0),
    ],
)
def test_mentions_in_blocks_are_found(slack, webhook, *, block, calls):
    webhook.send(text="x", blocks=[{"type": "section", "text": block}])
    assert len(slack.messages[0].calls) == calls


def test_mentions_in_the_text_are_found(slack, webhook):
    webhook.send(text="<!channel> @here")
    assert slack.messages[0].calls == ["<!channel>"]


# --- faults ------------------------------------------------------------------------------------------------------


def test_a_slack_that_is_down_comes_back(slack, bot, webhook):
    slack.down(2)
    assert webhook.send(text="lost").status_code == 503
    with pytest.raises(SlackApiError) as caught:
        bot.chat_postMessage(channel="general", text="lost too")
    assert caught.value.response.status_code == 503
    assert webhook.send(text="arrived").status_code == 200
    assert slack.texts() == ["arrived"]


def test_a_rate_limit_has_slacks_form_in_the_web_api_and_the_webhook(slack, bot, webhook):
    slack.rate_limited(2, retry_after=30)
    with pytest.raises(SlackApiError) as caught:
        bot.chat_postMessage(channel="general", text="x")
    response = caught.value.response
    assert (response.status_code, response["error"], response.headers["Retry-After"]) == (429, "ratelimited", "30")
    answer = webhook.send(text="x")
    assert (answer.status_code, answer.body, answer.headers["Retry-After"]) == (429, "rate_limited", "30")


def test_a_refusal_is_http_200_to_the_bot(slack, bot):
    slack.refuses("channel_not_found")
    with pytest.raises(SlackApiError) as caught:
        bot.chat_postMessage(channel="general", text="x")
    assert caught.value.response.status_code == 200
    assert caught.value.response["error"] == "channel_not_found"
    assert slack.served_faults() == {"slack_error": 1}


@pytest.mark.parametrize(
    ("code", "status"), [("no_service", 404), ("channel_is_archived", 410), ("user_not_found", 400)]
)
def test_a_refusal_is_a_status_to_the_webhook(slack, webhook, code, status):
    slack.refuses(code)
    answer = webhook.send(text="x")
    assert (answer.status_code, answer.body) == (status, code)


def test_a_proxys_html_page_is_not_a_slack_answer(slack, bot, webhook):
    slack.bad_gateway(2)
    assert "<html>" in webhook.send(text="x").body
    with pytest.raises(SlackApiError) as caught:
        bot.chat_postMessage(channel="general", text="x")
    assert caught.value.response.status_code == 502


def test_a_hanging_slack_outlasts_the_clients_timeout(slack, webhook):
    slack.hangs(60)
    webhook.timeout = 0.2
    with pytest.raises(TimeoutError):
        webhook.send(text="lost")
    assert slack.messages == []


def test_an_answer_lost_on_its_way_leaves_the_message_posted(slack, webhook):
    slack.reset(after_bytes=0)
    with pytest.raises(ConnectionResetError):
        webhook.send(text="posted all the same")
    assert slack.texts() == ["posted all the same"]


def test_a_message_is_posted_even_if_slack_hangs_before_answering(slack, webhook):
    slack.accepts_and_hangs(60)
    webhook.timeout = 0.2
    with pytest.raises(TimeoutError):
        webhook.send(text="posted all the same")
    assert webhook.send(text="the next").body == "ok"
    assert slack.texts() == ["posted all the same", "the next"]


def test_a_dripping_answer_outlasts_read_timeouts(slack, bot):
    slack.drips(bytes_per_second=200)
    bot.timeout = 1
    began = time.monotonic()
    assert bot.chat_postMessage(channel="general", text="slowly " * 40)["ok"]
    assert time.monotonic() - began > 1.5


def test_a_rate_limit_lasts_until_the_given_time(slack, webhook):
    now = 1000.0
    slack.rate_limited_until(1030, lambda: now)
    for left in (30, 10):
        now = 1030.0 - left
        answer = webhook.send(text="x")
        assert (answer.status_code, answer.body, answer.headers["Retry-After"]) == (429, "rate_limited", str(left))
    now = 1030.0
    assert webhook.send(text="x").status_code == 200


def test_an_offline_slack_refuses_connections(slack, webhook):
    with slack.offline(), pytest.raises(urllib.error.URLError, match="refused"):
        webhook.send(text="lost")
    assert webhook.send(text="arrived").body == "ok"


def test_a_fault_can_be_limited_to_the_web_api(slack, bot, webhook):
    slack.down(path="/api/*")
    slack.refuses("no_service", path="/services/*")
    assert webhook.send(text="x").body == "no_service"
    with pytest.raises(SlackApiError) as caught:
        bot.auth_test()
    assert caught.value.response.status_code == 503


def test_slack_follows_a_schedule():
    with FakeSlack(schedule=lambda request: Status(500) if request.number == 2 else None) as slack:
        webhook = WebhookClient(slack.webhook_url, retry_handlers=[])
        assert [webhook.send(text="x").status_code for _ in range(3)] == [200, 500, 200]


# --- reading the messages ----------------------------------------------------------------------------------------


def test_texts_include_blocks_and_attachments(slack, bot):
    blocks = [
        {"type": "header", "text": {"type": "plain_text", "text": "fetch_month"}},
        {"type": "section", "fields": [{"type": "mrkdwn", "text": "*Kind*"}, {"type": "mrkdwn", "text": "TIMEOUT"}]},
        {"type": "context", "elements": [{"type": "mrkdwn", "text": "attempt 5 of 5"}]},
        {"type": "divider"},
    ]
    attachments = [{"color": "#d00", "pretext": "before", "blocks": [SECTION]}]
    bot.chat_postMessage(channel="general", text="preview", blocks=blocks, attachments=attachments)
    assert slack.texts() == [
        "preview\nfetch_month\n*Kind*\nTIMEOUT\nattempt 5 of 5\nbefore\n*fetch_month* failed",
    ]


def test_messages_are_a_snapshot(slack, webhook):
    before = slack.messages
    webhook.send(text="later")
    assert before == []


def test_the_token_does_not_look_like_a_secret(slack):
    assert not slack.token.startswith("xox")
