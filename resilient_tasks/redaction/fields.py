"""Secrets whose name is on another line or in another field: YAML, JSON, XML, and printed objects."""

from __future__ import annotations

import re
from collections.abc import Iterator

from resilient_tasks.redaction import secret_names
from resilient_tasks.redaction.patterns import MARK, compiled, redact_spans
from resilient_tasks.redaction.secret_names import Confidence
from resilient_tasks.redaction.secret_values import is_value

_NAME = r"(?<![\w.-])(?P<name>[\w.-]{2,64})"


def redact(text: str, low: str) -> str:
    """Redact blocks, lists and fields under the names of secrets.

    Args:
        text: any text.
        low: `text` in lowercase.
    """
    if ":" in low and "\n" in low:
        text = redact_spans(text, _block_values(text))
    if "[" in low or "(" in low:
        text = redact_spans(text, _list_values(text))
    if not any(map(low.__contains__, _VALUE_HINTS)):
        return text
    fields = (*_FIELD.finditer(text), *_OBJECT.finditer(text))
    return redact_spans(text, (span for field in fields if (span := _value_of(text, field)) is not None))


_BLOCK = compiled(
    rf"(?P<indent>(?:^|(?<=\n))[ \t]*(?:-[ \t]+)?)[\"']?{_NAME}[\"']?:[ \t]*"
    rf"(?P<block>(?:![\w!]+[ \t]+)?[|>][-+0-9]{{0,2}}[ \t]*)?\r?\n"
)
_ITEM = compiled(
    r"(?P<dash>-[ \t]+)?(?P<quote>[\"']?)(?P<secret>(?![-?#{[|>&*%@`]|!!?\w*(?:[ \t]|$))[^\r\n:]*"
    r"(?::(?![ \t\r\n]|$)[^\r\n:]*)*)(?P=quote)[ \t]*"
)


def _block_values(text: str) -> Iterator[tuple[int, int]]:
    """Yield the spans under the names of secrets in YAML: a block, a list, or the value on the next line."""
    done = 0
    for block in _BLOCK.finditer(text):
        confidence = secret_names.confidence(block["name"])
        if block.start() < done or not confidence:
            continue
        depth = len(block["indent"].expandtabs())
        for start, end in _inside(text, block.end(), depth) if block["block"] else _items(text, block, confidence):
            if not text.startswith(MARK, start):
                yield start, end
                done = end


def _inside(text: str, begin: int, depth: int) -> list[tuple[int, int]]:
    """Return the spans of the lines from `begin` on that are indented deeper than `depth`."""
    end = begin
    for line in _LINES.finditer(text, begin):
        if line["rest"] and _depth_of(line[0]) <= depth:
            break
        end = line.end("rest") if line["rest"] else end
    inside = text[begin:end]
    start = begin + len(inside) - len(inside.lstrip())
    return [(start, end)] if start < end else []


def _depth_of(line: str) -> int:
    return len(_INDENT.match(line)[0].expandtabs())  # type: ignore[index]  # it also matches the empty text


_INDENT = compiled(r"[ \t]*")


def _items(text: str, block: re.Match[str], confidence: Confidence) -> list[tuple[int, int]]:
    found: list[tuple[int, int]] = []
    depth = len(block["indent"].expandtabs())
    for line in _LINES.finditer(text, block.end()):
        item = _ITEM.fullmatch(line["rest"])
        here = len(line["indent"].expandtabs())
        if item is None or not item["secret"] or here < depth or (not item["dash"] and (here == depth or found)):
            break
        if is_value(item["secret"], confidence):
            found.append((line.start("rest") + item.start("secret"), line.start("rest") + item.end("secret")))
        if not item["dash"]:
            break
    return found


_LINES = compiled(r"(?P<indent>[ \t]*)(?P<rest>[^\r\n]*)(?:\r?\n|$)(?<!^)")
# A list in brackets under one name, and an object with the value in a field.
_LIST = compiled(
    rf"{_NAME}\\?[\"']?\]?[ \t]*(?:=>|[:=])[ \t]*"
    r"(?P<items>(?:\[\]\w{1,20}\{|[\[(])(?:\s{0,40}b?(?:\\{0,3}\"(?:\\.|[^\"\\\r\n])*+\"|\\{0,3}'(?:\\.|[^'\\\r\n])*+'),?){1,200}\s{0,40}[\])}])"
)
_NAMES = compiled(r"(?=.*(?:pass|secret|token|key))[A-Za-z_]+", re.IGNORECASE)
_STRINGS = compiled(r"(?P<quote>\\{0,3}[\"'])(?P<secret>(?:(?!(?P=quote))(?:\\.|[^\\\r\n]))*+)(?P=quote)")


def _list_values(text: str) -> Iterator[tuple[int, int]]:
    for listed in _LIST.finditer(text):
        confidence = secret_names.confidence(listed["name"])
        if not confidence:
            continue
        confidence = confidence if confidence is Confidence.SURE else Confidence.IF_RANDOM
        for item in _STRINGS.finditer(text, *listed.span("items")):
            if is_value(item["secret"], confidence) and _NAMES.fullmatch(item["secret"]) is None:
                yield item.span("secret")


# A name in one field and its value in another: {"name": "DB_PASSWORD", "value": "..."}, in this order and in the other.
_VALUE_HINTS = (
    "val",
    "input",
    "default",
    "content",
    "secretstring",
    "<property",
    "<entry",
    "<setting",
    "<param",
    "<string",
    "<env",
)
_Q = r"(?:\\{0,3}[\"']|&quot;)?"
_TO = rf"{_Q}[ \t]{{0,4}}(?:=>|[:=])[ \t]{{0,4}}b?"
_FIELD = compiled(
    r"(?:name|key|field|id|variable|header|setting|option|param|parameter|property|label|env)"
    rf"{_TO}(?P<quote>{_Q})(?P<name>[\w.$:/-]{{2,80}})",
    re.IGNORECASE,
)
_VALUE = compiled(
    r"(?:value|val|content|string|default|input|data)"
    rf"{_TO}(?:(?P<quote>\\{{0,3}}[\"']|&quot;)(?P<secret>(?:(?!(?P=quote))(?:\\.|[^\\\r\n]))*+)|(?P<plain>[^\s\"'{{}}\[\](),;<>]+))",
    re.IGNORECASE,
)
_OBJECT = compiled(rf"{_NAME}\\?[\"']?[ \t]*(?:(?:=>|[:=])[ \t]*)?\{{")
_INSIDE = compiled(r"[\"']?[^<>]{0,120}>(?:<value>)?(?P<secret>[^<\r\n]{1,512})(?=</)", re.IGNORECASE)
_NEXT_OBJECT = compiled(r"[{}<>]|\)(?=[,\])]|$)|\n[ \t]*-[ \t]|\}\}|\r?\n[ \t]*\r?\n")
_REACH = 240


def _value_of(text: str, field: re.Match[str]) -> tuple[int, int] | None:
    confidence = secret_names.confidence(field["name"])
    if not confidence:
        return None
    behind = text[field.end() : field.end() + _REACH]
    ends = _NEXT_OBJECT.search(behind)
    if ends is not None and ends[0] in "<>" and (inside := _INSIDE.match(behind)) is not None:
        start, end = inside.span("secret")
        return (field.end() + start, field.end() + end) if is_value(inside["secret"], confidence) else None
    found = _VALUE.search(behind)
    if found is not None and ends is not None and found.start() > ends.start():
        found = None
    offset = field.end()
    if found is None:
        before = text[max(0, field.start() - _REACH) : field.start()]
        offset = max(0, field.start() - _REACH)
        found = next(reversed([*_VALUE.finditer(before)]), None)
        if found is not None and _NEXT_OBJECT.search(before, found.end()) is not None:
            found = None
    if found is None:
        return None
    group = "secret" if found["secret"] is not None else "plain"
    if group == "plain" and found[group][0] in "|>":  # a block
        line = text.rfind("\n", 0, offset + found.start()) + 1
        begin = text.find("\n", offset + found.end()) + 1
        lines = _inside(text, begin, _depth_of(text[line:])) if begin else []
        return lines[0] if lines and not text.startswith(MARK, lines[0][0]) else None
    if not is_value(found[group], confidence):
        return None
    return offset + found.start(group), offset + found.end(group)
