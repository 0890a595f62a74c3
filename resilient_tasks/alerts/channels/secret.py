"""Secrets as users keep them: plain text, pydantic's `SecretStr`, Prefect's blocks. Read only when a message is sent.

A block is recognised by its attributes, so Prefect need not be imported.
"""

from __future__ import annotations

from collections.abc import Callable
from inspect import isawaitable
from typing import Any, Protocol, TypeAlias

from resilient_tasks.core.errors import PolicyError


class SecretValue(Protocol):
    """A value that `str` does not show, such as pydantic's `SecretStr`."""

    def get_secret_value(self) -> Any: ...


class SecretBlock(Protocol):
    """A block with a secret value, such as Prefect's `Secret`."""

    def get(self) -> Any: ...


class UrlBlock(Protocol):
    """A block with a secret URL, such as Prefect's `SlackWebhook`."""

    @property
    def url(self) -> Any: ...


#: What a channel accepts as a secret.
Secret: TypeAlias = str | SecretValue | SecretBlock | UrlBlock


def revealed(secret: Secret) -> str:
    """Return the text of `secret`. Call it only to send a message, and do not store the result.

    Raises:
        PolicyError: it contains no secret, or one that is not text.
    """
    value = _reader(secret)()
    if not isinstance(value, str):
        # The value is not shown: it may be a secret all the same.
        msg = f"the secret in {type(secret).__name__} is text, not {type(value).__name__}"
        raise PolicyError(msg)
    return value


def check_secret(name: str, secret: Secret) -> None:
    """Check, without reading it, that `secret` can be read. `name` is the parameter's name in the error.

    Raises:
        PolicyError: it cannot.
    """
    try:
        _reader(secret)
    except PolicyError as error:
        msg = f"{name}: {error}"
        raise PolicyError(msg) from None


def block_name(secret: object) -> str:
    """Return the name under which a block is saved, such as `slack-webhook/alerts`; empty if it is not saved.

    It stays the same when the block's secret is replaced.
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
            close()  # or Python warns that it was never awaited
        msg = (
            f"a secret that has not been loaded yet ({type(secret).__name__}): write `await` before the block's load()"
        )
        raise PolicyError(msg)
    if isinstance(secret, type):
        msg = f"a secret is text or an object that holds it, not the class {secret.__name__}"
        raise PolicyError(msg)
    # `get()` comes last: Prefect's `Secret.get` parses JSON, and turns the password "12345" into a number.
    for holder in (secret, getattr(secret, "value", None), getattr(secret, "url", None)):
        reveal = getattr(holder, "get_secret_value", None)
        if callable(reveal):
            return reveal  # type: ignore[no-any-return]  # recognised by its name
    get = getattr(secret, "get", None)
    if callable(get) and not hasattr(secret, "keys"):
        return get  # type: ignore[no-any-return]  # as above
    msg = f"a secret is text, a SecretStr, or a block that holds one, not {type(secret).__name__}"
    raise PolicyError(msg)
