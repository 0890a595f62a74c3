"""Prefect's notification blocks as channels: Teams, PagerDuty, Discord, Opsgenie, a custom webhook and others.

A block is recognised by its methods, so Prefect need not be imported.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from inspect import isawaitable
from typing import Any, Protocol, TypeGuard

from resilient_tasks.alerts import gate
from resilient_tasks.alerts.channels.secret import block_name
from resilient_tasks.alerts.message import Message
from resilient_tasks.core.classification.kinds import RETRIED_BY_DEFAULT
from resilient_tasks.core.errors import PolicyError, ResilienceError
from resilient_tasks.core.failures import classify
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.redaction.patterns import MARK

#: How Apprise, which most blocks use, logs the status of a refusal.
_STATUS = re.compile(r"\berror=(\d{3})\b")
#: Mentions in chats.
_MENTION = re.compile(r"@(?=[\w&!])|<(?=[!@#])")
#: Shorter texts do not count as secrets, as they occur in many words.
_SHORTEST_SECRET = 6


class NotificationBlock(Protocol):
    """A Prefect `NotificationBlock`."""

    def notify(self, body: str, subject: str | None = None) -> Any:
        """Send a notification."""

    @classmethod
    def get_block_type_slug(cls) -> str:
        """Return the name of the type, such as `ms-teams-webhook`."""


class BlockRefusedError(ResilienceError):
    """A block did not send the message.

    Attributes:
        status: the HTTP status with which the service refused it; None if unknown.
        headers: the headers of that answer.
    """

    def __init__(self, message: str, status: int | None = None, headers: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers: Any = {} if headers is None else headers


class BlockUnavailableError(BlockRefusedError, ConnectionError):
    """A block did not send the message, for a transient reason."""


@dataclass(frozen=True, eq=False)
class BlockChannel:
    """Send messages with a Prefect `NotificationBlock`; `notify=` wraps a block in it.

    The message's headline is the block's subject, the rest its body; mentions in them are disabled. Its name contains
    the block's type, and the name under which it was saved or a digest of its fields.

    Raises:
        PolicyError: `block` is no notification block.
    """

    block: NotificationBlock = field(repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        if not is_block(self.block):
            msg = f"a notification block is one of Prefect's that has notify(), not {type(self.block).__name__}"
            raise PolicyError(msg)
        # Computed now: PagerDuty's block changes itself when it sends.
        object.__setattr__(self, "name", self.name or f"block:{_named(self.block)}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Initialize the block again after unpickling, as its client may not survive that: Apprise 2.0 does not."""
        vars(self).update(state)
        begin = getattr(self.block, "block_initialization", None)
        if callable(begin):
            with contextlib.suppress(Exception):  # it raises again when a message is sent
                begin()

    @property
    def family(self) -> str:
        """The beginning of the names of all blocks of the same type."""
        return f"block:{self.block.get_block_type_slug()}/"

    @property
    def place(self) -> str:
        """The address that it sends to, see `gate`; empty if only the block's type knows it."""
        url = _revealed(getattr(self.block, "url", ""))
        return gate.place_of_url(url) if isinstance(url, str) else ""

    def send(self, message: Message, *, within: float) -> None:
        """See `Channel`.

        Raises:
            BlockRefusedError: the block did not send it; a `BlockUnavailableError` for a transient reason.
            Exception: the block's own, if its text contains no secret of the block.
        """
        subject, body = message.headline(), message.body()
        # A copy: blocks store state of one message, and whether they raise, in themselves.
        copied = getattr(self.block, "model_copy", None)
        block: Any = copied() if callable(copied) else self.block
        try:
            with _raising(block), _following_no_redirect(block):
                result = block.notify(_without_mentions(body or subject), _without_mentions(subject))
                if isawaitable(result):
                    result = asyncio.run(_awaited(result, within))
        except Exception as error:
            raise self._redacted(error) from None
        if result is False:
            raise BlockUnavailableError(f"{self.name} returned that the message was not sent")

    def _redacted(self, error: Exception) -> Exception:
        """Return the error to raise: without the block's secrets, and with the HTTP status if it is known."""
        response = getattr(error, "response", None)
        status, headers = getattr(response, "status_code", None), getattr(response, "headers", None)
        # Prefect's `NotificationError` has no text; its attribute `log` has what Apprise logged.
        text = str(error) or str(getattr(error, "log", ""))
        if status is None and type(error).__name__ == "NotificationError":
            found = _STATUS.search(text)
            shown = _without(text, _secrets_of(self.block)).strip() or "the message was not sent"
            if found is None:  # Apprise does not distinguish a service that is down from a refusal
                return BlockUnavailableError(f"{self.name}: {shown}")
            return BlockRefusedError(f"{self.name}: {shown}", int(found[1]))
        shown = _without(text, _secrets_of(self.block))
        if shown == str(error):
            return error
        kind = BlockUnavailableError if classify(error) in RETRIED_BY_DEFAULT else BlockRefusedError
        return kind(f"{type(error).__name__}: {shown}", status, headers)


def is_block(thing: object) -> TypeGuard[NotificationBlock]:
    """Return whether `thing` is a notification block."""
    slug, notify = getattr(thing, "get_block_type_slug", None), getattr(thing, "notify", None)
    return not isinstance(thing, type) and callable(slug) and callable(notify)


@contextlib.contextmanager
def _raising(block: Any) -> Iterator[None]:
    """Make the block raise on failure; by default Prefect's blocks log it and return normally."""
    raising = getattr(block, "raise_on_failure", None)
    with raising() if callable(raising) else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _following_no_redirect(block: Any) -> Iterator[None]:
    """Keep Apprise, which most blocks use, from following redirects, whose answer it counts as a delivery."""
    start = getattr(block, "_start_apprise_client", None)
    if not callable(start):
        yield
        return

    def refuse() -> None:
        for service in getattr(block, "_apprise_client", None) or ():
            service.redirects = False

    def started(url: Any) -> None:  # some blocks start it again when they send
        start(url)
        refuse()

    refuse()
    vars(block)["_start_apprise_client"] = started
    try:
        yield
    finally:
        vars(block).pop("_start_apprise_client", None)


async def _awaited(result: Any, within: float) -> Any:
    async with asyncio.timeout(within):
        return await result


def _without_mentions(text: str) -> str:
    return _MENTION.sub(lambda match: f"{match[0]}\u200b", for_terminal(text))


def _named(block: NotificationBlock) -> str:
    saved = block_name(block)
    if saved:
        return saved
    given = getattr(block, "name", None)
    if isinstance(given, str) and given:
        return f"{block.get_block_type_slug()}/{given}"
    digest = hashlib.sha256(json.dumps(_held(block), default=repr, sort_keys=True).encode()).hexdigest()[:8]
    return f"{block.get_block_type_slug()}/{digest}"


def _held(block: object) -> Mapping[str, Any]:
    """Return the fields of a block, secrets included."""
    return {name: _revealed(value) for name, value in vars(block).items() if not name.startswith("_")}


def _revealed(value: Any) -> Any:
    reveal = getattr(value, "get_secret_value", None)
    return reveal() if callable(reveal) else value


def _secrets_of(block: object) -> list[str]:
    """Return a block's secret texts and its URL, which may contain a secret, the longest first."""
    secrets = [_revealed(value) for value in vars(block).values() if callable(getattr(value, "get_secret_value", None))]
    texts = {text for value in (*secrets, getattr(block, "url", "")) for text in _texts(value)}
    return sorted((text for text in texts if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MARK)
    return text
