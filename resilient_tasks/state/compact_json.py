"""The encoding of states: JSON without blanks, which people can read in the store."""

from __future__ import annotations

import json
from typing import Any

# `json.dumps` with options creates an encoder for each call.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


def dumps(state: Any) -> bytes:
    """Return a state of plain values as bytes."""
    return _encode(state).encode()


def loads(encoded: bytes | None) -> Any:
    """Return the state that `dumps` encoded.

    Raises:
        ValueError: the bytes are no JSON, or None.
    """
    return _decode((encoded or b"").decode())
