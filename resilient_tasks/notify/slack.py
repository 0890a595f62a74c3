"""Slack: messages by incoming webhook or bot token, through slack-sdk."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from resilient_tasks.core.errors import PolicyError, ResilienceError
from resilient_tasks.core.failures import RETRIED_BY_DEFAULT, classify, retry_after
from resilient_tasks.notify.message import Message

# Slack's limits are 3,000 characters for a section's text and 150 for a header's.
_SECTION = 2900
_HEADER = 150


class SlackRefusedError(ResilienceError):
    """Slack answered, and did not accept the message.

    Attributes:
        status: the HTTP status.
        headers: the response's headers.
    """

    def __init__(self, message: str, status: int, headers: Any) -> None:
        super().__init__(message)
        self.status = status if status >= 400 else None
        self.headers = headers


@dataclass(frozen=True, eq=False)
class Slack:
    """Send messages to Slack.

    Args:
        webhook: URL of an incoming webhook; it brings its own channel.
        token: a bot token with `chat:write`; goes with `channel`. Without either, `SLACK_WEBHOOK_URL`, then
            `SLACK_BOT_TOKEN` are read from the environment when a message is sent.
        channel: where the bot posts, as `"#ml-alerts"` or an id.
        api_url: base of Slack's Web API.

    Raises:
        PolicyError: both ways at once, or a token without a channel.
    """

    webhook: str | None = field(default=None, repr=False)
    token: str | None = field(default=None, repr=False)
    channel: str | None = None
    api_url: str = "https://slack.com/api/"

    def __post_init__(self) -> None:
        if self.webhook and self.token:
            msg = (
                "Slack takes webhook= or token=, not both: a webhook brings its own channel, a token goes with channel="
            )
            raise PolicyError(msg)
        if self.token and not self.channel:
            msg = "Slack(token=...) needs channel='#ml-alerts': a bot posts where it is told to"
            raise PolicyError(msg)
        if self.webhook and not self.webhook.startswith(("http://", "https://")):
            msg = "Slack(webhook=...) is the https:// URL of an incoming webhook"
            raise PolicyError(msg)

    @property
    def name(self) -> str:
        return f"slack:{self.channel}" if self.channel else "slack"

    def send(self, message: Message, *, within: float) -> None:
        """Deliver `message`, trying again where Slack asks for it or cannot be reached, for `within` seconds in all."""
        from tenacity import Retrying, retry_if_exception, stop_before_delay  # noqa: PLC0415  # only to send

        until = time.monotonic() + within
        post = self._poster(message)
        Retrying(
            retry=retry_if_exception(lambda error: classify(error) in RETRIED_BY_DEFAULT),
            wait=lambda state: _wait(state.outcome.exception() if state.outcome else None, state.attempt_number),
            stop=stop_before_delay(within),
            reraise=True,
        )(lambda: post(max(0.1, until - time.monotonic())))

    def _poster(self, message: Message) -> Callable[[float], None]:
        webhook = self.webhook or (None if self.token else os.environ.get("SLACK_WEBHOOK_URL"))
        if webhook:
            return lambda seconds: _by_webhook(webhook, message, seconds)
        token = self.token or os.environ.get("SLACK_BOT_TOKEN")
        if not token or not self.channel:
            msg = "Slack knows no way to post: give webhook=, or token= and channel=, or set SLACK_WEBHOOK_URL"
            raise PolicyError(msg)
        return lambda seconds: self._by_bot(token, message, seconds)

    def _by_bot(self, token: str, message: Message, seconds: float) -> None:
        from slack_sdk import WebClient  # noqa: PLC0415  # loads only where Slack is used
        from slack_sdk.errors import SlackApiError  # noqa: PLC0415

        # Whole seconds, for an int is what the client takes; the sender's own deadline is exact.
        client = WebClient(token, base_url=self.api_url, timeout=max(1, int(seconds)), retry_handlers=[])
        try:
            client.chat_postMessage(channel=str(self.channel), text=message.headline(), blocks=blocks(message))
        except SlackApiError as error:
            answer = error.response
            raise SlackRefusedError(
                f"Slack answered {answer.get('error')}", answer.status_code, answer.headers
            ) from None


def _by_webhook(url: str, message: Message, seconds: float) -> None:
    from slack_sdk.webhook import WebhookClient  # noqa: PLC0415  # loads only where Slack is used

    client = WebhookClient(url, timeout=max(1, int(seconds)), retry_handlers=[])
    answer = client.send(text=message.headline(), blocks=blocks(message))
    if answer.status_code != 200 or answer.body.strip() != "ok":
        problem = f"Slack answered {answer.status_code} {answer.body[:100]!r}"
        raise SlackRefusedError(problem, answer.status_code, answer.headers)


def blocks(message: Message) -> list[dict[str, Any]]:
    """Lay `message` out as Slack's Block Kit."""
    mark = "🔴" if message.status == "failed" else "🟠"
    told = [f"*{message.error_type}* ({message.kind})", f"```{_plain(message.error)}```" if message.error else ""]
    told += [f"• {_plain(note)}" for note in message.notes]
    told.append(message.consequence)
    where = ", ".join(f"{name} `{value}`" for name, value in message.run.items() if name != "url")
    url = message.run.get("url")
    context = " · ".join(part for part in (f"<{url}|Open the run>" if url else "", where) if part)
    parts: list[dict[str, Any]] = [
        {
            "type": "header",
            "text": {"type": "plain_text", "text": f"{mark} {message.operation} {message.status}"[:_HEADER]},
        },
        {"type": "section", "text": {"type": "mrkdwn", "text": "\n".join(filter(None, told))[:_SECTION]}},
    ]
    if context:
        parts.append({"type": "context", "elements": [{"type": "mrkdwn", "text": context[:_SECTION]}]})
    return parts


def _plain(text: str) -> str:
    """Escape what Slack's markup would read (https://docs.slack.dev/messaging/formatting-message-text)."""
    return text[:1500].replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;").replace("```", "'''")


def _wait(error: BaseException | None, attempt: int) -> float:
    asked = retry_after(error) if error is not None else None
    return asked if asked is not None else min(0.25 * 2**attempt, 5.0)
