"""Part (e): everyday text without secrets, much of it similar to secrets.

In `look_alikes.txt`, and in `look_alikes_unseen.txt`, which was written without sight of the patterns, one text is a
line; `⏎` stands for a line break, and `{sha1}` and its like are filled in.
"""

from __future__ import annotations

import base64
import uuid
from collections.abc import Iterator
from pathlib import Path

from cases import HEX, Case, Maker

_TEXTS = "".join(
    Path(__file__).with_name(name).read_text(encoding="utf-8") for name in ("look_alikes.txt", "look_alikes_unseen.txt")
)
#: Names that only sound like those of secrets, and their values.
_NAMES = (
    *(("total_tokens", "1183456"), ("token_count", "12"), ("tokens_per_second", "118.4"), ("token_limit", "8192")),
    *(("password_length", "12"), ("password_changed", "2026-11-27"), ("pass_count", "118"), ("passing", "true")),
    *(("secret_name", "prod/db"), ("secret_id", "db"), ("secret_path", "kv/data/db"), ("key_name", "origin")),
    *(("sort_key", "distance"), ("partition_key", "2013-07"), ("primary_key", "id"), ("cache_key", "flights:UA")),
    *(("auth_type", "oidc"), ("auth_url", "https://example.org/oauth"), ("token_url", "https://example.org/token")),
    *(("token_type", "bearer"), ("session_timeout", "3600"), ("cookie_name", "sid"), ("signature_version", "s3v4")),
    *(("key_size", "2048"), ("keyspace", "flights"), ("credentials_file", "/etc/x.json"), ("api_key_name", "loader")),
    *(("passenger", "Ann"), ("author", "Ann"), ("tokenizer", "bert"), ("secretary", "Bob"), ("compass", "north")),
    *(("country_code", "DE"), ("status_code", "503"), ("sigma", "1.25"), ("hotkey", "F5"), ("keyboard", "us")),
)
_FORMS = ("{}={}", '{{"{}": "{}"}}', "{}: {}", "--{} {} run")


def cases() -> Iterator[Case]:
    """Yield every text, with its checksums and ids filled in."""
    make = Maker("look-alikes")
    for text in _TEXTS.splitlines():
        filled = text.replace("⏎", "\n")
        for name, fill in _FILLED.items():
            while f"{{{name}}}" in filled:
                filled = filled.replace(f"{{{name}}}", fill(make), 1)
        yield Case(text, "text", "", (), filled)
    for name, value in _NAMES:
        for form in make.random.sample(_FORMS, 3):
            yield Case(f"{name} as {form}", "pair", "", (), form.format(name, value))


_FILLED = {
    "sha1": lambda make: make.some(HEX, 40),
    "sha256": lambda make: make.some(HEX, 64),
    "md5": lambda make: make.some(HEX, 32),
    "short": lambda make: make.some(HEX, 12),
    "digits": lambda make: make.some("0123456789", 16),
    "uuid": lambda make: str(uuid.UUID(int=make.random.getrandbits(128), version=4)),
    "b64": lambda make: base64.b64encode(make.random.randbytes(32)).decode().rstrip("="),
}
