"""Secrets as users keep them: plain text, pydantic's `SecretStr`, Prefect's blocks. Read only when a message is sent.

A block is known by its attributes and never by its class: nothing of Prefect is imported to read one.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Protocol, TypeAlias

from resilient_tasks.core.errors import PolicyError


class SecretValue(Protocol):
    """A value that its text does not show, as pydantic's `SecretStr`."""

    def get_secret_value(self) -> Any: ...


class SecretBlock(Protocol):
    """A block with a secret value, as Prefect's `Secret`."""

    def get(self) -> Any: ...


class UrlBlock(Protocol):
    """A block with a secret URL, as Prefect's `SlackWebhook`."""

    @property
    def url(self) -> Any: ...


#: What a channel takes where a secret is wanted.
Secret: TypeAlias = str | SecretValue | SecretBlock | UrlBlock


def revealed(secret: Secret) -> str:
    """Return the text of `secret`. Call it to send a message, and keep the result nowhere.

    Raises:
        PolicyError: it is nothing that a secret can be read from, or its value is no text.
    """
    value = _reader(secret)()
    if not isinstance(value, str):
        # The value itself is not shown: it is a secret all the same.
        msg = f"the secret in {type(secret).__name__} is text, not {type(value).__name__}"
        raise PolicyError(msg)
    return value


def check_secret(name: str, secret: Secret) -> None:
    """Refuse what no secret can be read from, without reading it. `name` is how the user wrote the parameter.

    Raises:
        PolicyError: as said.
    """
    try:
        _reader(secret)
    except PolicyError as error:
        msg = f"{name}: {error}"
        raise PolicyError(msg) from None


def block_name(secret: object) -> str:
    """Return the name under which Prefect keeps a block, as `slack-webhook/alerts`; empty where it keeps none.

    It stays the same when the secret in the block is replaced.
    """
    name = getattr(secret, "_block_document_name", None)
    if not isinstance(name, str) or not name:
        return ""
    slug = getattr(secret, "get_block_type_slug", None)
    return f"{slug()}/{name}" if callable(slug) else f"{type(secret).__name__}/{name}"


def _reader(secret: Any) -> Callable[[], Any]:
    if isinstance(secret, str):
        return lambda: secret
    if isawaitable(secret):
        close = getattr(secret, "close", None)
        if close is not None:
            close()  # it is never awaited, and that is what this error says: no second warning from Python
        msg = (
            f"a secret that has not been loaded yet ({type(secret).__name__}): write `await` before the block's load()"
        )
        raise PolicyError(msg)
    if isinstance(secret, type):
        msg = f"a secret is text or an object that holds it, not the class {secret.__name__}"
        raise PolicyError(msg)
    # `get()` comes last: that of Prefect's `Secret` reads text as JSON, and makes a number of the password "12345".
    for holder in (secret, getattr(secret, "value", None), getattr(secret, "url", None)):
        reveal = getattr(holder, "get_secret_value", None)
        if callable(reveal):
            return reveal  # type: ignore[no-any-return]  # known by its name alone
    get = getattr(secret, "get", None)
    if callable(get) and not hasattr(secret, "keys"):
        return get  # type: ignore[no-any-return]  # as above
    msg = f"a secret is text, a SecretStr, or a block that holds one, not {type(secret).__name__}"
    raise PolicyError(msg)
