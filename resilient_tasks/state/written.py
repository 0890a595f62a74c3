"""How states are written: as JSON without blanks, so that a person can read them in the store."""

from __future__ import annotations

import json
from typing import Any

# `json.dumps` makes an encoder anew for each call.
_encode = json.JSONEncoder(separators=(",", ":")).encode
_decode = json.JSONDecoder().decode


def dumped(state: Any) -> bytes:
    """Return a state of plain values as bytes."""
    return _encode(state).encode()


def loaded(state: bytes | None) -> Any:
    """Return what `dumped` was given.

    Raises:
        ValueError: something else stands there, or nothing.
    """
    return _decode((state or b"").decode())
