"""Slack: messages by incoming webhook or bot token, through slack-sdk."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from resilient_tasks.core import real_time as time
from resilient_tasks.core.arguments import answering
from resilient_tasks.core.errors import PolicyError, ResilienceError
from resilient_tasks.notify import _slack_blocks as layout
from resilient_tasks.notify import gate
from resilient_tasks.notify.message import Message
from resilient_tasks.notify.secret import Secret, block_name, check_secret, revealed

_URL = re.compile(r"https?://[!-~]+")
_TOKEN = re.compile(r"[!-~]+")
_CODE = re.compile(r"[a-z0-9_]+")

# Slack's codes for what is likely to pass; it says them with HTTP 200 as well as with a status.
_PASSING = {
    "fatal_error",
    "internal_error",
    "rate_limited",
    "ratelimited",
    "request_timeout",
    "rollup_error",
    "service_unavailable",
    "team_added_to_org",
}
# The first message is gone, or is another bot's: what is said next stands alone.
_GONE = {
    "cannot_reply_to_message",
    "cant_update_message",
    "channel_not_found",
    "message_not_found",
    "thread_not_found",
}
# It is there, and nobody may edit it any more, by a rule of the workspace.
_SEALED = "edit_window_closed"


class SlackRefusedError(ResilienceError):
    """Slack answered, and did not accept the message.

    Attributes:
        code: Slack's own word for it, such as `channel_not_found`; empty where the answer was not in Slack's words.
        status: the HTTP status where that says that the call failed; None for one that failed with 200.
        headers: the response's headers.
    """

    def __init__(self, message: str, status: int, headers: Any, code: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.status = status if status >= 400 else None
        self.headers = headers


class SlackUnavailableError(SlackRefusedError, ConnectionError):
    """Slack did not accept the message, for a reason that is likely to pass."""


@answering('Slack(webhook=...), or Slack(token=..., channel="#ml-alerts")', "channel")
@dataclass(frozen=True, eq=False)
class Slack:
    """Send messages to Slack.

    With a bot token, the first message of an incident is edited as the incident goes on: whoever scrolls past it sees
    how it stands. Each digest, and the word that it is over, is an answer in its thread. A webhook can edit nothing,
    and knows no threads: all its messages stand alone.

    Args:
        webhook: URL of an incoming webhook; it brings its own channel.
        token: a bot token with `chat:write`; goes with `channel`. Without either, `SLACK_BOT_TOKEN` (for a `channel`),
            then `SLACK_WEBHOOK_URL` are read from the environment when a message is sent.
        channel: where the bot posts, as `"#ml-alerts"` or an id.
        api_url: base of Slack's Web API.

    `webhook` and `token` are text, or an object that keeps a secret: a `SecretStr`, or Prefect's `SlackWebhook` or
    `Secret` block.

    Raises:
        PolicyError: both ways at once, or a token without a channel.
    """

    _: KW_ONLY
    webhook: Secret | None = field(default=None, repr=False)
    token: Secret | None = field(default=None, repr=False)
    channel: str | None = None
    api_url: str = "https://slack.com/api/"

    def __post_init__(self) -> None:
        if self.channel is not None and not isinstance(self.channel, str):
            raise PolicyError(f"Slack(channel=...) is one channel, such as '#ml-alerts' or an id, not {self.channel!r}")
        if self.webhook and self.token:
            msg = (
                "Slack takes webhook= or token=, not both: a webhook brings its own channel, a token goes with channel="
            )
            raise PolicyError(msg)
        if self.webhook and self.channel:
            msg = "Slack(webhook=...) brings its own channel: leave channel= out, or post there with a bot's token="
            raise PolicyError(msg)
        if self.token and not self.channel:
            msg = "Slack(token=...) needs channel='#ml-alerts': a bot posts where it is told to"
            raise PolicyError(msg)
        for name, given, form in (("webhook", self.webhook, _URL), ("token", self.token, _TOKEN)):
            if given:
                check_secret(f"Slack({name}=...)", given)
            if given and isinstance(given, str):
                _matching(given, form)

    @property
    def name(self) -> str:
        """See `Channel`: as the program names the place, and never as the environment does, which may change.

        A webhook that is given as text is named by a digest of it, for it is a secret; one in a block, by the block.
        """
        if self.webhook:
            given = block_name(self.webhook)
            return f"slack:{given or hashlib.sha256(revealed(self.webhook).strip().encode()).hexdigest()[:8]}"
        return f"slack:{self.channel}" if self.channel else "slack"

    @property
    def family(self) -> str:
        """Names that begin so are those of channels in Slack."""
        return "slack:"

    @property
    def place(self) -> str:
        """The address that it sends to, as `gate` names it."""
        return gate.place_of_url(self._webhook() or self.api_url)

    def send(self, message: Message, *, within: float) -> Mapping[str, str] | None:
        """See `Channel`. The receipt is the message's channel and timestamp; a webhook gives none.

        Raises:
            SlackRefusedError: Slack did not accept it; a `SlackUnavailableError` where that is likely to pass.
            PolicyError: neither a webhook nor a bot's token and channel were given, or found in the environment.
            OSError: Slack was not reached, or gave no answer in time.
        """
        until = time.monotonic() + within
        webhook = self._webhook()
        if webhook is not None:
            _by_webhook(_matching(webhook, _URL), message, _left(until))
            return None
        token = self.token or os.environ.get("SLACK_BOT_TOKEN")
        if not token or not self.channel:
            msg = "Slack knows no way to post: give webhook=, or token= and channel=, or set SLACK_WEBHOOK_URL"
            raise PolicyError(msg)
        return self._by_bot(_matching(revealed(token), _TOKEN), message, until)

    def _webhook(self) -> str | None:
        """Return the URL by which this posts, or None where it posts as a bot, or not at all."""
        if self.webhook:
            return revealed(self.webhook)
        if self.token or (self.channel and os.environ.get("SLACK_BOT_TOKEN")):
            return None
        return os.environ.get("SLACK_WEBHOOK_URL") or None

    def _by_bot(self, token: str, message: Message, until: float) -> Mapping[str, str]:
        first = message.thread
        if message.occasion != "first" and first.get("channel") and first.get("ts"):
            try:
                # The edit comes before the answer: done twice it does no harm, as an answer would that is sent again
                # because the edit failed. And it tells whether the message is still there, which Slack does not tell
                # an answer: it takes one to a message that was deleted, and shows it to nobody.
                self._edit(token, message, first, until)
                self._answer(token, message, first, until)
            except SlackRefusedError as error:
                if error.code not in _GONE:
                    raise
            else:
                return dict(first)
        fields = {"channel": self.channel, **_about(message, layout.as_news(message))}
        return self._ask(token, "chat.postMessage", until, fields)

    def _answer(self, token: str, message: Message, first: Mapping[str, str], until: float) -> None:
        """Say `message` in the thread of the incident's first message."""
        answer = {
            "channel": first["channel"],
            "thread_ts": first["ts"],
            "reply_broadcast": _concerns_all(message),
            **_about(message, layout.as_answer(message)),
        }
        self._ask(token, "chat.postMessage", until, answer)

    def _edit(self, token: str, message: Message, first: Mapping[str, str], until: float) -> None:
        """Have the incident's first message say how things stand, unless it may not be edited any more."""
        # What Slack keeps beside the message (`metadata`) stays, and with it the key by which it was first sent.
        edit = {
            "channel": first["channel"],
            "ts": first["ts"],
            "text": layout.plain_line(message.headline()),
            "blocks": layout.as_it_stands(message),
            "parse": "none",  # an edit's default is another than a new message's
        }
        try:
            self._ask(token, "chat.update", until, edit)
        except SlackRefusedError as error:
            if error.code != _SEALED:
                raise

    def _ask(self, token: str, method: str, until: float, fields: dict[str, Any]) -> dict[str, str]:
        from slack_sdk.errors import SlackApiError  # noqa: PLC0415  # loads only where Slack is used

        from resilient_tasks.notify import _slack_clients  # noqa: PLC0415

        client = _slack_clients.bot(token, self.api_url, _left(until))
        try:
            answer = _read(lambda: client.api_call(method, json=fields))
        except SlackApiError as error:
            refused = error.response
            raise _refusal(str(refused.get("error")), refused.status_code, refused.headers) from None
        return {"channel": str(answer.get("channel")), "ts": str(answer.get("ts"))}


def _by_webhook(url: str, message: Message, seconds: float) -> None:
    from resilient_tasks.notify import _slack_clients  # noqa: PLC0415  # loads only where Slack is used

    client = _slack_clients.webhook(url, seconds)
    text, blocks = layout.plain_line(message.headline()), layout.as_news(message)
    answer = _read(lambda: client.send(text=text, blocks=blocks, unfurl_links=False))
    said = answer.body.strip()
    if answer.status_code == 200 and said != "ok":  # a refusal has another status: this was cut short, or not Slack
        raise SlackUnavailableError(f"Slack answered 200 {said[:100]!r}", 200, answer.headers)
    if answer.status_code != 200:
        raise _refusal(said, answer.status_code, answer.headers)


def _about(message: Message, blocks: layout.Blocks) -> dict[str, Any]:
    """Say `message` in the fields of `chat.postMessage`."""
    payload = {"key": message.key, "incident": message.incident, "occasion": message.occasion}
    return {
        "text": layout.plain_line(message.headline()),
        "blocks": blocks,
        "metadata": {"event_type": "resilient_tasks_incident", "event_payload": payload},
        "unfurl_links": False,
    }


def _concerns_all(message: Message) -> bool:
    """Tell whether an answer is to be seen in the channel as well as in the thread.

    Only those who wrote in a thread are told of what is new in it, so an answer that nobody expects is seen by nobody.
    That it is over concerns all, and comes once. Of the digests, which may come every few minutes for hours, the
    channel sees the first (it was no single failure), and each by which the count has grown by a digit: at ten
    thousand failures these are at most five. The first message, which is edited, has the rest. Whoever was told that it
    was over is told that it is not.
    """
    before = message.total - message.count
    grown = len(str(message.total)) > len(str(before))
    return message.occasion == "recovered" or message.relapse or before <= 1 or grown


def _read(ask: Callable[[], Any]) -> Any:
    try:
        return ask()
    except ConnectionError:
        raise
    except (http.client.HTTPException, UnicodeDecodeError) as error:
        # Cut short, or not of Slack's making: whether it took the message is not known, so it is sent again.
        raise SlackUnavailableError(f"Slack's answer cannot be read: {type(error).__name__}", 0, {}) from None


def _refusal(said: str, status: int, headers: Any) -> SlackRefusedError:
    if 300 <= status < 400:
        problem = f"Slack answered {status}: redirects are not followed, the message was not taken"
        return SlackRefusedError(problem, status, headers)
    code = said if _CODE.fullmatch(said) else ""
    # Not in Slack's words: a proxy's page, or an answer that was cut short.
    passes = code in _PASSING or (not code and status < 400)
    answered = f"{status} {said[:100]!r}" if status >= 400 or not code else code
    error = SlackUnavailableError if passes else SlackRefusedError
    return error(f"Slack answered {answered}", status, headers, code)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("no time is left for Slack to answer")
    return left


def _matching(secret: str, form: re.Pattern[str]) -> str:
    """Return `secret` without the blanks around it. One of another form is refused, and not shown."""
    text = secret.strip()
    if not form.fullmatch(text):
        if form is _URL:
            raise PolicyError("Slack(webhook=...) is the https:// URL of an incoming webhook")
        raise PolicyError("Slack(token=...) is a bot's token: printable ASCII, without blanks")
    return text
