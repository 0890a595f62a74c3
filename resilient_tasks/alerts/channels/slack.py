"""Slack: messages by incoming webhook or bot token, through slack-sdk."""

from __future__ import annotations

import hashlib
import http.client
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

from resilient_tasks.alerts import gate
from resilient_tasks.alerts.channels import slack_blocks as layout
from resilient_tasks.alerts.channels.reach import connect
from resilient_tasks.alerts.channels.secret import Secret, block_name, check_secret, revealed
from resilient_tasks.alerts.message import Message
from resilient_tasks.core.errors import PolicyError, ResilienceError
from resilient_tasks.core.execution import real_time as time
from resilient_tasks.core.parameters.arguments import answering

_URL = re.compile(r"https?://[!-~]+")
_TOKEN = re.compile(r"[!-~]+")
_CODE = re.compile(r"[a-z0-9_]+")

# Slack's codes for transient problems; it sends them with HTTP 200 as well.
_TRANSIENT = {
    "fatal_error",
    "internal_error",
    "rate_limited",
    "ratelimited",
    "request_timeout",
    "rollup_error",
    "service_unavailable",
    "team_added_to_org",
}
# The first message is gone, or is another bot's: the next message is posted without a thread.
_GONE = {
    "cannot_reply_to_message",
    "cant_update_message",
    "channel_not_found",
    "message_not_found",
    "thread_not_found",
}
# It is there, but the workspace no longer allows to edit it.
_SEALED = "edit_window_closed"


class SlackRefusedError(ResilienceError):
    """Slack answered, and did not accept the message.

    Attributes:
        code: Slack's code, such as `channel_not_found`; empty if the answer had none.
        status: the HTTP status, from 400 on; None if the call failed with 200.
        headers: the response's headers.
    """

    def __init__(self, message: str, status: int, headers: Any, code: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.status: int | None = status if status >= 400 else None
        self.headers = headers


class SlackUnavailableError(SlackRefusedError, ConnectionError):
    """Slack did not accept the message, for a transient reason."""


@answering('Slack(webhook=...), or Slack(token=..., channel="#ml-alerts")', "channel")
@dataclass(frozen=True, eq=False)
class Slack:
    """Send messages to Slack.

    With a bot token, the first message of an incident is edited to show the incident's current state, and each digest
    and the recovery is a reply in its thread. A webhook can neither edit nor reply: it posts separate messages.

    Args:
        webhook: URL of an incoming webhook, which belongs to one channel.
        token: a bot token with `chat:write`; needs `channel`. Without either, `SLACK_BOT_TOKEN` (if `channel` is given)
            or `SLACK_WEBHOOK_URL` is read from the environment when a message is sent.
        channel: where the bot posts, as `"#ml-alerts"` or an id.
        api_url: base of Slack's Web API.

    `webhook` and `token` are text, or an object that holds a secret: a `SecretStr`, or Prefect's `SlackWebhook` or
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
            msg = "Slack takes webhook= or token=, not both: a webhook has its own channel, a token needs channel="
            raise PolicyError(msg)
        if self.webhook and self.channel:
            msg = "Slack(webhook=...) has its own channel: leave out channel=, or post with a bot's token="
            raise PolicyError(msg)
        if self.token and not self.channel:
            msg = "Slack(token=...) needs channel='#ml-alerts'"
            raise PolicyError(msg)
        for name, given, form in (("webhook", self.webhook, _URL), ("token", self.token, _TOKEN)):
            if given:
                check_secret(f"Slack({name}=...)", given)
            if given and isinstance(given, str):
                _matching(given, form)

    @property
    def name(self) -> str:
        """See `Channel`. It does not depend on the environment, which may change.

        It contains the channel, the name of the block that holds the webhook, or a digest of the webhook's URL.
        """
        if self.webhook:
            saved = block_name(self.webhook)
            return f"slack:{saved or hashlib.sha256(revealed(self.webhook).strip().encode()).hexdigest()[:8]}"
        return f"slack:{self.channel}" if self.channel else "slack"

    @property
    def family(self) -> str:
        """The beginning of the names of all Slack channels."""
        return "slack:"

    @property
    def place(self) -> str:
        """The address that it sends to, see `gate`."""
        return gate.place_of_url(self._webhook() or self.api_url)

    def send(self, message: Message, *, within: float) -> Mapping[str, str] | None:
        """See `Channel`. It returns the message's channel and timestamp; for a webhook, nothing.

        Raises:
            SlackRefusedError: Slack did not accept it; a `SlackUnavailableError` for a transient reason.
            PolicyError: there is neither a webhook nor a bot's token and channel, nor one in the environment.
            OSError: Slack was not reached, or gave no answer in time.
        """
        until = time.monotonic() + within
        webhook = self._webhook()
        if webhook is not None:
            _by_webhook(_matching(webhook, _URL), message, _left(until))
            return None
        return self._by_bot(self._token(), message, until)

    def reach(self, *, within: float) -> str:
        """Return what answered, without sending a message; of a webhook, only its host is tried.

        Raises:
            SlackRefusedError: Slack does not accept the token.
            PolicyError: as `send`.
            OSError: as `send`.
        """
        until = time.monotonic() + within
        webhook = self._webhook()
        if webhook is not None:
            return f"reached {connect(_matching(webhook, _URL), within)}; its webhook is only tried by a message"
        answer = self._call(self._token(), "auth.test", until, {})
        return f"Slack accepts the token of {answer.get('user')} in {answer.get('team')}"

    def _token(self) -> str:
        token = self.token or os.environ.get("SLACK_BOT_TOKEN")
        if not token or not self.channel:
            msg = "Slack has no way to post: give webhook=, or token= and channel=, or set SLACK_WEBHOOK_URL"
            raise PolicyError(msg)
        return _matching(revealed(token), _TOKEN)

    def _webhook(self) -> str | None:
        """Return the URL to post to; None if it posts as a bot, or has no way to post."""
        if self.webhook:
            return revealed(self.webhook)
        if self.token or (self.channel and os.environ.get("SLACK_BOT_TOKEN")):
            return None
        return os.environ.get("SLACK_WEBHOOK_URL") or None

    def _by_bot(self, token: str, message: Message, until: float) -> Mapping[str, str]:
        first = message.thread
        if message.occasion != "first" and first.get("channel") and first.get("ts"):
            try:
                # The edit comes first: repeating it is harmless, unlike repeating a reply because the edit failed. And
                # it fails if the message was deleted, whereas Slack accepts a reply to it and shows it nowhere.
                self._edit(token, message, first, until)
                self._reply(token, message, first, until)
            except SlackRefusedError as error:
                if error.code not in _GONE:
                    raise
            else:
                return dict(first)
        fields = {"channel": self.channel, **_about(message, layout.standalone(message))}
        return self._ask(token, "chat.postMessage", until, fields)

    def _reply(self, token: str, message: Message, first: Mapping[str, str], until: float) -> None:
        """Post `message` in the thread of the incident's first message."""
        reply = {
            "channel": first["channel"],
            "thread_ts": first["ts"],
            "reply_broadcast": _is_broadcast(message),
            **_about(message, layout.reply(message)),
        }
        self._ask(token, "chat.postMessage", until, reply)

    def _edit(self, token: str, message: Message, first: Mapping[str, str], until: float) -> None:
        """Show the incident's current state in its first message, if that may still be edited."""
        # The message keeps its `metadata`, and with it the key of the first message.
        edit = {
            "channel": first["channel"],
            "ts": first["ts"],
            "text": layout.plain_line(message.headline()),
            "blocks": layout.current_state(message),
            "parse": "none",  # edits have a different default from new messages
        }
        try:
            self._ask(token, "chat.update", until, edit)
        except SlackRefusedError as error:
            if error.code != _SEALED:
                raise

    def _ask(self, token: str, method: str, until: float, fields: dict[str, Any]) -> dict[str, str]:
        answer = self._call(token, method, until, fields)
        return {"channel": str(answer.get("channel")), "ts": str(answer.get("ts"))}

    def _call(self, token: str, method: str, until: float, fields: dict[str, Any]) -> Any:
        from slack_sdk.errors import SlackApiError  # noqa: PLC0415  # loads only where Slack is used

        from resilient_tasks.alerts.channels import slack_clients  # noqa: PLC0415

        client = slack_clients.bot(token, self.api_url, _left(until))
        try:
            return _read(lambda: client.api_call(method, json=fields))
        except SlackApiError as error:
            refused = error.response
            raise _refusal(str(refused.get("error")), refused.status_code, refused.headers) from None


def _by_webhook(url: str, message: Message, seconds: float) -> None:
    from resilient_tasks.alerts.channels import slack_clients  # noqa: PLC0415  # loads only where Slack is used

    client = slack_clients.webhook(url, seconds)
    headline, blocks = layout.plain_line(message.headline()), layout.standalone(message)
    answer = _read(lambda: client.send(text=headline, blocks=blocks, unfurl_links=False))
    text = answer.body.strip()
    if answer.status_code == 200 and text != "ok":  # a refusal has another status: this was cut short, or not Slack
        raise SlackUnavailableError(f"Slack answered 200 {text[:100]!r}", 200, answer.headers)
    if answer.status_code != 200:
        raise _refusal(text, answer.status_code, answer.headers)


def _about(message: Message, blocks: layout.Blocks) -> dict[str, Any]:
    """Return the fields of `chat.postMessage` for `message`."""
    payload = {"key": message.key, "incident": message.incident, "occasion": message.occasion}
    return {
        "text": layout.plain_line(message.headline()),
        "blocks": blocks,
        "metadata": {"event_type": "resilient_tasks_incident", "event_payload": payload},
        "unfurl_links": False,
    }


def _is_broadcast(message: Message) -> bool:
    """Return whether a reply is shown in the channel as well as in the thread.

    Slack notifies only those who wrote in a thread of its replies. So recoveries and relapses are shown in the channel.
    Digests may come every few minutes for hours: the channel shows the first, and each with which the count gains a
    digit, which is five for ten thousand failures. The edited first message has the rest.
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
        # Cut short, or not from Slack: it may have accepted the message, which is sent again.
        raise SlackUnavailableError(f"Slack's answer cannot be read: {type(error).__name__}", 0, {}) from None


def _refusal(text: str, status: int, headers: Any) -> SlackRefusedError:
    if 300 <= status < 400:
        problem = f"Slack answered {status}: redirects are not followed, and the message was not accepted"
        return SlackRefusedError(problem, status, headers)
    code = text if _CODE.fullmatch(text) else ""
    # Without a code it is a proxy's page, or an answer that was cut short.
    is_transient = code in _TRANSIENT or (not code and status < 400)
    answered = f"{status} {text[:100]!r}" if status >= 400 or not code else code
    error = SlackUnavailableError if is_transient else SlackRefusedError
    return error(f"Slack answered {answered}", status, headers, code)


def _left(until: float) -> float:
    left = until - time.monotonic()
    if left <= 0:
        raise TimeoutError("no time is left for Slack to answer")
    return left


def _matching(secret: str, form: re.Pattern[str]) -> str:
    """Return `secret` without surrounding blanks, or raise an error that does not show it."""
    text = secret.strip()
    if not form.fullmatch(text):
        if form is _URL:
            raise PolicyError("Slack(webhook=...) is the https:// URL of an incoming webhook")
        raise PolicyError("Slack(token=...) is a bot's token: printable ASCII, without blanks")
    return text
