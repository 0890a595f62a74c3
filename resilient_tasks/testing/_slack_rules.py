"""Slack's rules, independent of any server: the fields of requests, and what Slack refuses with which error code."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from typing import Any, TypeAlias
from urllib.parse import parse_qsl

from resilient_tasks.testing._wire import Request, Response

Blocks: TypeAlias = tuple[dict[str, Any], ...]

API = "/api/"
WEBHOOK = "/services/T000/B000/XXXX"
MAX_BLOCKS = 50
MAX_BLOCK_ID = 255
MAX_CONTEXT_ELEMENTS = 10
MAX_HEADER_TEXT = 150
MAX_TEXT = 3000
# Slack documents no limit for the total text of a message's blocks; the observed one is near this.
MAX_ALL_TEXT = 13_000
_CALLS = re.compile(r"<(?:!(?:channel|here|everyone|subteam\^\w+)|@[UW]\w+)(?:\|[^>]*)?>")
_CALLS_UNLESS_VERBATIM = re.compile(r"(?<![\w@])@(?:channel|here|everyone)\b")
_HTML = "text/html; charset=utf-8"
# A webhook's status for each code; 400 for the rest, which are about the payload.
_WEBHOOK_STATUS = {
    "action_prohibited": 403,
    "channel_is_archived": 410,
    "channel_not_found": 404,
    "invalid_token": 403,
    "no_service": 404,
    "no_team": 404,
    "rollup_error": 500,
}


class RefusedError(Exception):
    """Slack refuses the request; the text is its error code."""


def fields_of(request: Request) -> dict[str, Any]:
    """Return the fields of a Web API call: JSON, or a form (or query) whose structured fields are JSON texts.

    Raises:
        RefusedError: `invalid_json`, `json_not_object`, `invalid_blocks_format` or `invalid_attachments`.
    """
    if "json" in request.headers.get("content-type", ""):
        try:
            # Clients send the JSON header even for calls without arguments.
            fields = request.json() if request.body else {}
        except ValueError:
            raise RefusedError("invalid_json") from None
        if not isinstance(fields, dict):
            raise RefusedError("json_not_object")
        return fields
    form: dict[str, Any] = {**request.query, **dict(parse_qsl(request.body.decode(), keep_blank_values=True))}
    for name, code in (("blocks", "invalid_blocks_format"), ("attachments", "invalid_attachments")):
        if name in form:
            try:
                form[name] = json.loads(form[name])
            except ValueError:
                raise RefusedError(code) from None
    return form


def payload_of(request: Request) -> dict[str, Any]:
    """Return the payload of an incoming webhook: JSON, whatever its content type, or a form's field `payload`.

    Raises:
        RefusedError: `invalid_payload`.
    """
    body = request.body
    if request.headers.get("content-type", "").startswith("application/x-www-form-urlencoded"):
        body = dict(parse_qsl(body)).get(b"payload", body)
    try:
        payload = json.loads(body)
    except ValueError:
        raise RefusedError("invalid_payload") from None
    if not isinstance(payload, dict):
        raise RefusedError("invalid_payload")
    return payload


def blocks_in(fields: dict[str, Any]) -> Blocks:
    """Return the blocks among the fields, after checking their limits.

    Raises:
        RefusedError: `invalid_blocks_format` if they are not a list of objects; `invalid_blocks` for more than 50 of
            them, one without a type, a duplicate id or one of more than 255 characters, a text that is empty or longer
            than 3,000 characters (150 in a header), or more than 10 elements in a context; `msg_blocks_too_long` if
            their texts have more than 13,000 characters in all.
    """
    blocks = _objects(fields.get("blocks") or [], "invalid_blocks_format")
    ids = [block["block_id"] for block in blocks if "block_id" in block]
    if len(blocks) > MAX_BLOCKS or len(set(ids)) < len(ids) or not all(_is_valid(block) for block in blocks):
        raise RefusedError("invalid_blocks")
    if sum(map(len, texts_in(blocks))) > MAX_ALL_TEXT:
        raise RefusedError("msg_blocks_too_long")
    return blocks


def metadata_in(fields: dict[str, Any]) -> dict[str, Any]:
    """Return the metadata among the fields; empty if there are none.

    Raises:
        RefusedError: `invalid_metadata_format` if they are not an object with a text `event_type` and an object
            `event_payload`.
    """
    metadata = fields.get("metadata") or {}
    if metadata and not (
        isinstance(metadata, dict)
        and isinstance(metadata.get("event_type"), str)
        and isinstance(metadata.get("event_payload"), dict)
    ):
        raise RefusedError("invalid_metadata_format")
    return dict(metadata)


def attachments_in(fields: dict[str, Any]) -> Blocks:
    """Return the attachments among the fields.

    Raises:
        RefusedError: `invalid_attachments` if they are not a list of objects.
    """
    return _objects(fields.get("attachments") or [], "invalid_attachments")


def texts_in(parts: Iterable[Any]) -> Iterator[str]:
    """Yield every visible text of blocks and attachments, in order."""
    for part in parts:
        if isinstance(part, dict):
            for name, value in part.items():
                if isinstance(value, str) and name in {"text", "pretext", "title", "alt_text"}:
                    yield value
            yield from texts_in(value for value in part.values() if isinstance(value, dict | list))
        elif isinstance(part, list):
            yield from texts_in(part)


def calls_in(text: str, blocks: Blocks) -> list[str]:
    """Return the mentions that would notify people: unescaped ones, and plain ones where Slack parses them itself."""
    found = _CALLS.findall(text)
    for part in _text_objects(blocks):
        if part.get("type") == "mrkdwn":
            found += _CALLS.findall(part["text"])
            found += [] if part.get("verbatim") else _CALLS_UNLESS_VERBATIM.findall(part["text"])
    return found


def refusal(error: str, request: Request) -> Response:
    """Return an error code as the Web API or the webhook answers it."""
    if is_api(request):
        return Response(json.dumps({"ok": False, "error": error}))
    return Response(error, _WEBHOOK_STATUS.get(error, 400), _HTML)


def accepted() -> Response:
    """Return a webhook's answer to an accepted message."""
    return Response("ok", content_type=_HTML)


def is_api(request: Request) -> bool:
    """Return whether the request is for the Web API, not for a webhook."""
    return request.path.startswith(API)


def _objects(value: Any, code: str) -> Blocks:
    if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
        raise RefusedError(code)
    return tuple(value)


def _is_valid(block: dict[str, Any]) -> bool:
    longest = MAX_HEADER_TEXT if block.get("type") == "header" else MAX_TEXT
    return (
        "type" in block
        and len(block.get("block_id", "")) <= MAX_BLOCK_ID
        and all(0 < len(part["text"]) <= longest for part in _text_objects([block]))
        and (block["type"] != "context" or len(block.get("elements", ())) <= MAX_CONTEXT_ELEMENTS)
    )


def _text_objects(parts: Iterable[Any]) -> Iterator[dict[str, Any]]:
    for part in parts:
        if isinstance(part, dict):
            if part.get("type") in {"mrkdwn", "plain_text"} and isinstance(part.get("text"), str):
                yield part
            yield from _text_objects(part.values())
        elif isinstance(part, list | tuple):
            yield from _text_objects(part)
