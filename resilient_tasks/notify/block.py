"""Prefect's notification blocks as channels: Teams, PagerDuty, Discord, Opsgenie, a custom webhook and others.

A block is known by its methods and never by its class: nothing of Prefect is imported to use one.
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

from resilient_tasks.core.errors import PolicyError, ResilienceError
from resilient_tasks.core.failures import classify
from resilient_tasks.core.kinds import RETRIED_BY_DEFAULT
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.notify import gate
from resilient_tasks.notify.message import Message
from resilient_tasks.notify.secret import block_name
from resilient_tasks.redaction.registered import MARK

#: What Apprise, through which most blocks send, writes to its log of an answer that refuses.
_STATUS = re.compile(r"\berror=(\d{3})\b")
#: What calls people in chats, wherever it stands.
_CALL = re.compile(r"@(?=[\w&!])|<(?=[!@#])")
#: Shorter ones are no secrets, and stand in many words.
_SHORTEST_SECRET = 6


class NotificationBlock(Protocol):
    """A Prefect `NotificationBlock`."""

    def notify(self, body: str, subject: str | None = None) -> Any:
        """Send a notification."""

    @classmethod
    def get_block_type_slug(cls) -> str:
        """Return the type's name, such as `ms-teams-webhook`."""


class BlockRefusedError(ResilienceError):
    """A block did not send the message.

    Attributes:
        status: the HTTP status with which the service refused it; None where that is not known.
        headers: the headers of that answer.
    """

    def __init__(self, message: str, status: int | None = None, headers: Any = None) -> None:
        super().__init__(message)
        self.status = status
        self.headers = {} if headers is None else headers


class BlockUnavailableError(BlockRefusedError, ConnectionError):
    """A block did not send the message, for a reason that is likely to pass."""


@dataclass(frozen=True, eq=False)
class BlockChannel:
    """Send messages by a Prefect `NotificationBlock`. `notify=` makes it of the block.

    The message's first line is the block's subject, the rest its body; nothing in them calls people. It is named by the
    block's type and the name under which it was saved, else by a digest of what it holds.

    Raises:
        PolicyError: `block` is no such block.
    """

    block: NotificationBlock = field(repr=False)
    name: str = ""

    def __post_init__(self) -> None:
        if not is_block(self.block):
            msg = f"a notification block is one of Prefect's that has notify(), not {type(self.block).__name__}"
            raise PolicyError(msg)
        # Now, and not when it is asked for: PagerDuty's block changes itself when it sends.
        object.__setattr__(self, "name", self.name or f"block:{_named(self.block)}")

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Come from another process: what a block made of its fields may not have survived, as Apprise 2.0 does not."""
        vars(self).update(state)
        begin = getattr(self.block, "block_initialization", None)
        if callable(begin):
            with contextlib.suppress(Exception):  # it is told when a message is sent
                begin()

    @property
    def family(self) -> str:
        """Names that begin so are those of blocks of the same type."""
        return f"block:{self.block.get_block_type_slug()}/"

    @property
    def place(self) -> str:
        """The address that it sends to, as `gate` names it; empty where its type knows it alone."""
        url = _revealed(getattr(self.block, "url", ""))
        return gate.place_of_url(url) if isinstance(url, str) else ""

    def send(self, message: Message, *, within: float) -> None:
        """See `Channel`.

        Raises:
            BlockRefusedError: the block did not send it; a `BlockUnavailableError` where that is likely to pass.
            Exception: the block's own, where no secret of the block is in its text.
        """
        subject, body = message.headline(), message.body()
        # A copy of its own: blocks keep what belongs to one message, and whether they raise, in themselves.
        copied = getattr(self.block, "model_copy", None)
        block: Any = copied() if callable(copied) else self.block
        try:
            with _raising(block), _following_no_redirect(block):
                result = block.notify(_calling_nobody(body or subject), _calling_nobody(subject))
                if isawaitable(result):
                    result = asyncio.run(_awaited(result, within))
        except Exception as error:
            raise self._told(error) from None
        if result is False:
            raise BlockUnavailableError(f"{self.name} says that the message was not sent")

    def _told(self, error: Exception) -> Exception:
        """Return the error to raise: without the block's secrets, and with what is known of why."""
        response = getattr(error, "response", None)
        status, headers = getattr(response, "status_code", None), getattr(response, "headers", None)
        # Prefect's `NotificationError` has no text; what Apprise logged is in its attribute.
        text = str(error) or str(getattr(error, "log", ""))
        if status is None and type(error).__name__ == "NotificationError":
            found = _STATUS.search(text)
            told = _without(text, _secrets_of(self.block)).strip() or "the message was not sent"
            if found is None:  # Apprise does not tell a service that is down from one that refuses
                return BlockUnavailableError(f"{self.name}: {told}")
            return BlockRefusedError(f"{self.name}: {told}", int(found[1]))
        told = _without(text, _secrets_of(self.block))
        if told == str(error):
            return error
        kind = BlockUnavailableError if classify(error) in RETRIED_BY_DEFAULT else BlockRefusedError
        return kind(f"{type(error).__name__}: {told}", status, headers)


def is_block(thing: object) -> TypeGuard[NotificationBlock]:
    """Tell whether `thing` is a notification block."""
    slug, notify = getattr(thing, "get_block_type_slug", None), getattr(thing, "notify", None)
    return not isinstance(thing, type) and callable(slug) and callable(notify)


@contextlib.contextmanager
def _raising(block: Any) -> Iterator[None]:
    """Have the block raise where it fails: by default Prefect's blocks log that, and return as if all were well."""
    raising = getattr(block, "raise_on_failure", None)
    with raising() if callable(raising) else contextlib.nullcontext():
        yield


@contextlib.contextmanager
def _following_no_redirect(block: Any) -> Iterator[None]:
    """Have Apprise, through which most blocks send, follow no redirect: it would count the answer as a delivery."""
    start = getattr(block, "_start_apprise_client", None)
    if not callable(start):
        yield
        return

    def refuse() -> None:
        for service in getattr(block, "_apprise_client", None) or ():
            service.redirects = False

    def started(url: Any) -> None:  # some begin anew when they send
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


def _calling_nobody(text: str) -> str:
    return _CALL.sub(lambda match: f"{match[0]}\u200b", for_terminal(text))


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
    """Return what a block was made of: its fields, and their secrets."""
    return {name: _revealed(value) for name, value in vars(block).items() if not name.startswith("_")}


def _revealed(value: Any) -> Any:
    reveal = getattr(value, "get_secret_value", None)
    return reveal() if callable(reveal) else value


def _secrets_of(block: object) -> list[str]:
    """Return the texts that a block keeps secret, the longest first, and its URL, which may hold a secret."""
    kept = [_revealed(value) for value in vars(block).values() if callable(getattr(value, "get_secret_value", None))]
    texts = {text for value in (*kept, getattr(block, "url", "")) for text in _texts(value)}
    return sorted((text for text in texts if len(text) >= _SHORTEST_SECRET), key=len, reverse=True)


def _texts(value: Any) -> Iterable[str]:
    if isinstance(value, Mapping):
        return [text for part in value.values() for text in _texts(part)]
    return [value] if isinstance(value, str) else []


def _without(text: str, secrets: Iterable[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MARK)
    return text
