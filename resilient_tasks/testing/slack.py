"""A fake Slack on this machine: slack_sdk talks to it unchanged, and it fails on request.

    with FakeSlack(channels=["#ml-alerts"]) as slack:
        client = WebClient(token=slack.token, base_url=slack.api_url)
        slack.rate_limited(retry_after=30)
        ...
        assert slack.texts() == ["fetch_month failed"]

It follows Slack's own rules where they matter: a failed Web API call is HTTP 200 with `"ok": false`; a webhook answers
plain text without a timestamp; `chat.update` takes a channel's id, not its name, and new text without blocks removes
the blocks.
"""

from __future__ import annotations

import itertools
import json
import math
import re
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from resilient_tasks.core.errors import PolicyError
from resilient_tasks.core.parameters.arguments import answering
from resilient_tasks.core.parameters.durations import Duration
from resilient_tasks.testing import _given
from resilient_tasks.testing import _slack_rules as rules
from resilient_tasks.testing.faults import Drip, Fault, Status, checked_retry_after
from resilient_tasks.testing.http import FaultyServer, Request, Response, Schedule
from resilient_tasks.testing.received import Verdict, only

if TYPE_CHECKING:
    from collections.abc import Collection

    from resilient_tasks.testing._slack_rules import Blocks

_WEBHOOK_CHANNEL = "#incoming-webhook"
_CHANNEL_ID = re.compile(r"[CDG][A-Z0-9]{8,}")


@dataclass(frozen=True)
class SlackMessage:
    """A message in a channel.

    Attributes:
        channel: The channel as the sender named it; a webhook's is fixed.
        channel_id: The channel's id, which `chat.update` needs.
        text: The text; if there are blocks, only the preview in a notification.
        blocks: The layout blocks.
        attachments: The attachments.
        ts: The timestamp that identifies the message in its channel.
        thread_ts: The message that it answers, None outside a thread.
        via: The webhook or the Web API ("bot").
        metadata: The sending app's metadata, invisible to readers; may be empty.
        reply_broadcast: Whether a reply in a thread is also shown in the channel.
        history: The earlier versions, oldest first; empty if it was never edited.
    """

    channel: str
    channel_id: str
    text: str
    blocks: Blocks
    attachments: Blocks
    ts: str
    thread_ts: str | None
    via: Literal["webhook", "bot"]
    metadata: Mapping[str, Any] = field(default_factory=dict)
    reply_broadcast: bool = False
    history: tuple[SlackMessage, ...] = ()

    @property
    def full_text(self) -> str:
        """The text and every text inside blocks and attachments, one per line."""
        parts = [self.text, *rules.texts_in(self.blocks), *rules.texts_in(self.attachments)]
        return "\n".join(part for part in parts if part)

    @property
    def key(self) -> str:
        """The key with which the channel `Slack` sent it; a message that is sent again has the same key.

        A bot's message has it in its metadata, which edits keep; a webhook's message in its first block's id.
        """
        of_bot = self.metadata.get("event_payload", {}).get("key")
        return str(of_bot or next((block["block_id"] for block in self.blocks[:1] if "block_id" in block), ""))

    def was_edited_to(self, text: str) -> Verdict:
        """Return whether an edit made the message contain `text`, which it did not contain before."""
        before = [version for version in self.history if text not in version.full_text]
        if not self.history:
            return Verdict(f"the message was never edited: {self.full_text!r}")
        if text not in self.full_text:
            return Verdict(f"its latest version is {self.full_text!r}")
        return Verdict("" if before else f"every version contains {text!r}")

    @property
    def calls(self) -> list[str]:
        """The mentions that would notify people, such as `<!channel>` or `@here`."""
        return rules.calls_in(self.text, self.blocks)


@dataclass(frozen=True)
class SlackError(Status):
    """An error of Slack, in the form of the Web API or of the webhook."""

    name: ClassVar[str] = "slack_error"


class FakeSlack(FaultyServer):
    """Slack's incoming webhook and Web API methods: `chat.postMessage`, `chat.update`, `chat.delete` and `auth.test`.

    It supports every fault of `FaultyServer`. A message is posted even if the sender does not see the answer: after
    `slow`, `reset`, `truncated`, `drips` and `accepts_and_hangs`, but not after `down` or `hangs`.

    Attributes:
        token: The bot token that the Web API accepts.
    """

    def __init__(
        self,
        *,
        channels: Collection[str] | None = None,
        schedule: Schedule | None = None,
    ) -> None:
        """Prepare a server; `start` or a with statement opens its port.

        Args:
            channels: The names of the channels that exist, with or without `#`. None: every channel exists.
            schedule: Returns the fault for a request, or None; see `FaultyServer`.
        """
        super().__init__(self._serve_slack, schedule)
        self.token = "a-token-for-tests"  # noqa: S105 - opens nothing but this fake
        if isinstance(channels, str):
            raise PolicyError(f"FakeSlack(channels=...) is a list of names: write channels=[{channels!r}]")
        self._any_channel = channels is None
        self._channel_ids: dict[str, str] = {}
        self._messages: list[SlackMessage] = []
        self._messages_lock = threading.Lock()
        self._limits: list[Callable[[Request], Status | None]] = []
        self._stamps = itertools.count(1)
        for name in (_WEBHOOK_CHANNEL, *(channels or ())):
            self._add_channel(name)

    @property
    def webhook_url(self) -> str:
        """The incoming webhook's URL. Raises as `port` does."""
        return self.url + rules.WEBHOOK

    @property
    def api_url(self) -> str:
        """The Web API's root, for `WebClient(base_url=...)`. Raises as `port` does."""
        return self.url + rules.API

    @property
    def messages(self) -> list[SlackMessage]:
        """Every message, oldest first, each in its latest version."""
        with self._messages_lock:
            return list(self._messages)

    def message(self, containing: str = "") -> SlackMessage:
        """Return the only message, or the only one that contains a text.

        Raises:
            AssertionError: There is none, or there are several. The error lists them, and the messages that still wait
                to be sent.
        """
        return only(self.messages, containing, lambda message: message.full_text)

    def texts(self) -> list[str]:
        """Return the text of each message, including its blocks: see `SlackMessage.full_text`."""
        return [message.full_text for message in self.messages]

    @answering('slack.refuses("channel_not_found")')
    def refuses(self, error: str, times: int = 1, *, path: str | None = None) -> None:
        """Refuse with one of Slack's codes, such as `channel_not_found`, `invalid_auth` or `no_service`.

        The Web API answers HTTP 200 with `"ok": false`, the webhook its own status with the bare code.
        """
        _given.text(error, "refuses(error)", "channel_not_found")
        _given.check_times(times, "refuses")

        def refuse(request: Request) -> SlackError:
            refusal = rules.refusal(error, request)
            return SlackError(refusal.status, None, refusal.payload, refusal.content_type)

        self.fail_by(*[refuse] * times, path=path)

    @answering("slack.rate_limited(2, retry_after=1)")
    def rate_limited(self, times: int = 1, retry_after: float | str | None = 1, *, path: str | None = None) -> None:
        """Answer 429 as Slack does, with `Retry-After` in seconds, as an HTTP date, or (None) without it."""
        _given.check_times(times, "rate_limited")
        wait = checked_retry_after(retry_after, "rate_limited")
        self.fail_by(*[lambda request: _limited(request, wait)] * times, path=path)

    def rate_limited_until(self, until: float, now: Callable[[], float] = time.time) -> None:
        """Answer every request 429 until `now()` is `until`, with the remaining seconds as `Retry-After`."""

        def limit(request: Request) -> Status | None:
            left = math.ceil(until - now())
            return _limited(request, left) if left > 0 else None

        self._limits.append(limit)

    @answering("slack.accepts_and_hangs(5)")
    def accepts_and_hangs(self, seconds: Duration, times: int = 1, *, path: str | None = None) -> None:
        """Accept the message, and answer only after `seconds`: a client that times out earlier does not know of it."""
        self.slow(seconds, times, path=path)

    @answering("slack.drips(1)")
    def drips(self, bytes_per_second: float = 1, times: int = 1, *, path: str | None = None) -> None:
        """Accept the message, and answer slowly but steadily: each read is quick, the whole response is not."""
        self._meet("drips", Drip(bytes_per_second), times, path)

    @answering("slack.bad_gateway(2)")
    def bad_gateway(self, times: int = 1, *, path: str | None = None) -> None:
        """Answer 502 with an HTML page, as a proxy would, where the client expects JSON."""
        page = b"<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
        self._meet("bad_gateway", Status(502, body=page, content_type="text/html"), times, path)

    def _fault_for(self, request: Request) -> Fault | None:
        for limit in self._limits:
            if (limited := limit(request)) is not None:
                return limited
        return super()._fault_for(request)

    def _serve_slack(self, request: Request) -> Response:
        try:
            if request.path == rules.WEBHOOK:
                self._add_message(_WEBHOOK_CHANNEL, rules.payload_of(request), via="webhook")
                return rules.accepted()
            if rules.is_api(request):
                return Response(json.dumps({"ok": True, **self._call(request)}))
        except rules.RefusedError as error:
            return rules.refusal(str(error), request)
        return rules.refusal("no_service", request)

    def _call(self, request: Request) -> dict[str, Any]:
        methods = {
            "auth.test": self._auth_test,
            "chat.postMessage": self._post_message,
            "chat.update": self._update,
            "chat.delete": self._delete,
        }
        method = methods.get(request.path.removeprefix(rules.API))
        if method is None:
            raise rules.RefusedError("unknown_method")
        fields = rules.fields_of(request)
        token = request.headers.get("authorization", "").removeprefix("Bearer ") or fields.get("token")
        if token != self.token:
            raise rules.RefusedError("invalid_auth" if token else "not_authed")
        return method(fields)

    def _auth_test(self, _: dict[str, Any]) -> dict[str, Any]:
        return {
            "url": f"{self.url}/",
            "team": "Fake",
            "user": "resilient-tasks",
            "team_id": "T00000001",
            "user_id": "U00000001",
            "bot_id": "B00000001",
        }

    def _post_message(self, fields: dict[str, Any]) -> dict[str, Any]:
        return _as_reply(self._add_message(_required(fields, "channel"), fields, via="bot"))

    def _delete(self, fields: dict[str, Any]) -> dict[str, Any]:
        channel_id, ts = _required(fields, "channel"), _required(fields, "ts")
        with self._messages_lock:
            del self._messages[self._find_own_message(channel_id, ts, "cant_delete_message")]
        return {"channel": channel_id, "ts": ts}

    def _update(self, fields: dict[str, Any]) -> dict[str, Any]:
        channel_id, ts = _required(fields, "channel"), _required(fields, "ts")
        blocks, attachments = rules.blocks_in(fields), rules.attachments_in(fields)
        metadata = rules.metadata_in(fields)
        if not (fields.get("text") or blocks or attachments):
            raise rules.RefusedError("no_text")
        with self._messages_lock:
            index = self._find_own_message(channel_id, ts, "cant_update_message")
            old = self._messages[index]
            # Slack keeps the fields that are not given, except that new text replaces blocks and attachments.
            kept = replace(old, blocks=(), attachments=()) if fields.get("text") else old
            new = replace(
                old,
                text=fields.get("text") or old.text,
                blocks=blocks if "blocks" in fields else kept.blocks,
                attachments=attachments if "attachments" in fields else kept.attachments,
                metadata=metadata if "metadata" in fields else kept.metadata,
                history=(*old.history, replace(old, history=())),
            )
            self._messages[index] = new
        return {**_as_reply(new), "text": new.text}

    def _find_own_message(self, channel_id: str, ts: str, otherwise: str) -> int:
        if channel_id not in self._channel_ids.values():
            raise rules.RefusedError("channel_not_found")
        for index, message in enumerate(self._messages):
            if (message.channel_id, message.ts) == (channel_id, ts):
                if message.via == "webhook":
                    raise rules.RefusedError(otherwise)
                return index
        raise rules.RefusedError("message_not_found")

    def _add_message(self, channel: str, fields: dict[str, Any], via: Literal["webhook", "bot"]) -> SlackMessage:
        with self._messages_lock:
            channel_id = self._find_channel(channel)
            blocks, attachments = rules.blocks_in(fields), rules.attachments_in(fields)
            text = fields.get("text") or ""
            if not (text or blocks or attachments):
                raise rules.RefusedError("no_text")
            # The fraction is a serial number, as in Slack: it distinguishes messages of the same second.
            ts = f"{int(time.time())}.{next(self._stamps):06d}"
            thread = fields.get("thread_ts")
            # As in Slack, a reply to a thread that does not exist is accepted, but not shown.
            message = SlackMessage(
                channel,
                channel_id,
                text,
                blocks,
                attachments,
                ts,
                thread,
                via,
                metadata=rules.metadata_in(fields),
                reply_broadcast=bool(thread and fields.get("reply_broadcast")),
            )
            self._messages.append(message)
            return message

    def _find_channel(self, channel: str) -> str:
        if _CHANNEL_ID.fullmatch(channel):
            known = channel in self._channel_ids.values()
            if known or self._any_channel:
                return self._channel_ids.setdefault(channel, channel)
        elif channel.lstrip("#") in self._channel_ids or self._any_channel:
            return self._add_channel(channel)
        raise rules.RefusedError("channel_not_found")

    def _add_channel(self, name: str) -> str:
        return self._channel_ids.setdefault(name.lstrip("#"), f"C{len(self._channel_ids) + 1:08d}")


def _limited(request: Request, retry_after: float | str | None) -> Status:
    refusal = rules.refusal("ratelimited" if rules.is_api(request) else "rate_limited", request)
    return Status(429, retry_after, refusal.payload, refusal.content_type)


def _required(fields: dict[str, Any], name: str) -> str:
    if not fields.get(name):
        raise rules.RefusedError("invalid_arguments")
    return str(fields[name])


def _as_reply(message: SlackMessage) -> dict[str, Any]:
    shown = {"type": "message", "text": message.text, "ts": message.ts, "blocks": message.blocks}
    if message.thread_ts is not None:
        shown["thread_ts"] = message.thread_ts
    return {"channel": message.channel_id, "ts": message.ts, "message": shown}
