"""Prefect's storage blocks as addresses: a block, or `block:TYPE/NAME` for one stored on the server.

A block is recognised by its attributes, not its class: nothing of Prefect is imported to use one.
"""

from __future__ import annotations

import importlib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol, TypeGuard

from resilient_tasks.core.errors import PolicyError

#: The prefix of a block's name, where a folder or a URL is accepted as well.
PREFIX = "block:"
_NAME = re.compile(r"block:/{0,2}([a-z0-9-]+/[^/\s]+)((?:/[^/]+)*)/?")
#: The module that loads a block by name: it imports Prefect.
_LOADER = "resilient_tasks.prefect.blocks"


class StorageBlock(Protocol):
    """One of Prefect's storage blocks."""

    @classmethod
    def get_block_type_slug(cls) -> str:
        """Return the type's name, such as `remote-file-system`."""


class Address(NamedTuple):
    """The location of a block's files.

    Attributes:
        url: A path or a URL.
        options: Options of fsspec's file system.
        shown: The address for messages: the block's own name if it is stored on the server, because a URL lacks
            credentials and endpoint. Empty: `url`.
    """

    url: str
    options: Mapping[str, Any]
    shown: str = ""

    def below(self, folder: str) -> Address:
        """Return the address of a folder in this one."""
        return Address(f"{self.url.rstrip('/')}/{folder}", self.options, self.shown and f"{self.shown}/{folder}")


def is_block(thing: object) -> TypeGuard[StorageBlock]:
    """Return whether `thing` is one of Prefect's storage blocks."""
    return not isinstance(thing, type) and callable(getattr(thing, "get_block_type_slug", None))


def is_name(text: str) -> bool:
    """Return whether `text` names a block.

    Raises:
        PolicyError: It has the prefix of a block's name, but is not valid.
    """
    if text.startswith(PREFIX) and _NAME.fullmatch(text) is None:
        raise PolicyError(f"a block is named block:TYPE/NAME, such as block:remote-file-system/ml, not {text!r}")
    return text.startswith(PREFIX)


def address_named(text: str) -> Address:
    """Return the address of a block on the server, or of a folder in it: `block:TYPE/NAME/FOLDER`.

    Raises:
        OSError: The block cannot be loaded.
        PolicyError: The block stores no files.
    """
    found = _NAME.fullmatch(text)
    if found is None:
        raise PolicyError(f"{text!r} names no block")
    url, options, _ = address_of(importlib.import_module(_LOADER).load(found[1]))
    return Address(url.rstrip("/") + found[2], options, f"{PREFIX}{found[1]}{found[2]}")


def address_of(block: Any) -> Address:
    """Return the address of a block.

    Raises:
        PolicyError: The block stores no files at an address for fsspec.
    """
    return Address(*_place_of(block), _saved_as(block))


def _place_of(block: Any) -> tuple[str, Mapping[str, Any]]:
    bucket, base, settings = (getattr(block, name, None) for name in ("bucket_name", "basepath", "settings"))
    if isinstance(bucket, str) and hasattr(block, "credentials"):  # S3: its `basepath` is a folder in the bucket
        folder = str(getattr(block, "bucket_folder", "") or "").strip("/")
        return f"s3://{bucket}/{folder}".rstrip("/"), _options_for_s3(block.credentials)
    if isinstance(base, str) and isinstance(settings, Mapping):
        return base, settings
    if is_block(inner := getattr(block, "filesystem", None)):  # SMB: wraps another block
        return _place_of(inner)
    if "basepath" in getattr(type(block), "model_fields", ()):  # a bucket's `basepath` is a property, not a field
        return str(Path(base or ".").expanduser()), {}
    raise PolicyError(
        f"no files can be stored in a block of the type {block.get_block_type_slug()!r}: give a LocalFileSystem, a"
        " RemoteFileSystem, an S3Bucket, or the folder's URL"
    )


def _options_for_s3(credentials: Any) -> dict[str, Any]:
    """Return the options of s3fs for an `S3Bucket`'s credentials of AWS or MinIO."""
    more = getattr(credentials, "aws_client_parameters", None)
    client = {
        "region_name": getattr(credentials, "region_name", None),
        "use_ssl": None if getattr(more, "use_ssl", True) else False,
        "verify": getattr(more, "verify", None),
    }
    options = {
        "key": _text(credentials, "aws_access_key_id", "minio_root_user"),
        "secret": _text(credentials, "aws_secret_access_key", "minio_root_password"),
        "token": _text(credentials, "aws_session_token"),
        "profile": _text(credentials, "profile_name"),
        "endpoint_url": _text(more, "endpoint_url"),
        "client_kwargs": {name: value for name, value in client.items() if value is not None},
    }
    return {name: value for name, value in options.items() if value}


def _text(holder: Any, *names: str) -> str | None:
    for name in names:
        value = getattr(holder, name, None)
        reveal = getattr(value, "get_secret_value", None)
        if value is not None:
            return str(reveal() if callable(reveal) else value)
    return None


def _saved_as(block: Any) -> str:
    name = getattr(block, "_block_document_name", None)
    return f"{PREFIX}{block.get_block_type_slug()}/{name}" if isinstance(name, str) and name else ""
