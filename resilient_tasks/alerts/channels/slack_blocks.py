"""The layout of a message in Slack: Block Kit, within Slack's limits.

Nothing in a message's text is markup or a mention: Slack's syntax is escaped
(https://docs.slack.dev/messaging/formatting-message-text), and `verbatim` keeps Slack from linking an `@here` or a
`#channel`.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from resilient_tasks.alerts.message import Message, lasted
from resilient_tasks.core.wording import number_of

Blocks = list[dict[str, Any]]

# Slack allows 150 characters in a header, 3,000 in a section, 255 in a block's id, 50 blocks, and (undocumented) about
# 13,000 characters in all. The parts below add up to less than 10,000.
_HEADER, _SECTION, _BLOCK_ID = 150, 2900, 255
_ERROR, _ERROR_AGAIN, _NOTE, _NOTES, _LINE, _WORD = 1500, 300, 200, 9, 500, 120

# They differ in shape, not only in colour.
_MARKS = {"warning": "⚠️", "error": "🔴", "critical": "🚨"}
_RECOVERED = "✅"

# What a kind means for the person on call.
_KINDS = {
    "transient": "likely to pass",
    "throttled": "the service asks for fewer calls",
    "timeout": "no answer in time",
    "malformed": "the data is not as it should be",
    "permanent": "it will fail again",
    "resource": "the machine is short of something",
    "rejected": "not tried at all",
}

_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\ud800-\udfff]")
_HALF_AN_ENTITY = re.compile(r"&[a-z]{0,3}$")
_ESCAPES = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
# A header is plain text, and Slack does not document whether it unescapes it: so it contains nothing to escape.
_LOOK_ALIKES = str.maketrans({"<": "‹", ">": "›"})


def standalone(message: Message) -> Blocks:
    """Return the layout of a separate message."""
    if message.occasion == "recovered":
        return _recovery(message)
    return _laid_out(message, _headline(message), [_counts(message), *_details(message)], _when(message))


def current_state(message: Message) -> Blocks:
    """Return the layout of an incident's first message after its edit, which shows the state as of `message`."""
    if message.occasion == "recovered":
        blocks = _recovery(message)
    else:
        # Slack shows no "(edited)" on edited blocks, so the headline shows it.
        headline = f"{message.operation} {message.status} {_number_of_times(message.total)} so far"
        blocks = _laid_out(message, headline, [_counts(message), *_details(message)], _when(message))
    # Slack asks for a new id after an edit. The bare key is the id of the reply in the thread.
    return [{**blocks[0], "block_id": _block_id(f"{message.key}/edit")}, *blocks[1:]]


def reply(message: Message) -> Blocks:
    """Return the layout of a reply in the incident's thread; the first message there has the rest."""
    if message.occasion == "recovered":
        return _recovery(message)
    parts = [_counts(message), _error(message, _ERROR_AGAIN), _where_to_look(message)]
    return _laid_out(message, _headline(message), parts, _when(message))


def plain_line(text: str) -> str:
    """Return `text` for a push notification: escaped, and in one line."""
    return escaped(_one_line(text), _LINE)


def escaped(text: str, room: int) -> str:
    """Escape Slack's syntax, drop control characters, and cut the result to `room` characters."""
    clean = _UNPRINTABLE.sub("", text[: 2 * room]).translate(_ESCAPES).replace("```", "'''")
    if len(clean) <= room:
        return clean
    return _HALF_AN_ENTITY.sub("", clean[: room - 1]) + "…"


def _laid_out(message: Message, headline: str, parts: Iterable[str], when: str) -> Blocks:
    mark = _RECOVERED if message.occasion == "recovered" else _MARKS[message.severity]
    title = _one_line(_UNPRINTABLE.sub("", f"{mark} {headline}")).translate(_LOOK_ALIKES)
    header = {"type": "plain_text", "text": title if len(title) <= _HEADER else title[: _HEADER - 1] + "…"}
    blocks: Blocks = [{"type": "header", "block_id": _block_id(message.key), "text": header}]
    for part in filter(None, parts):
        blocks.append({"type": "section", "text": _mrkdwn(part)})
    if about := _about(message, when):
        blocks.append({"type": "context", "elements": [_mrkdwn(about)]})
    return blocks


def _recovery(message: Message) -> Blocks:
    failed = f"{message.status} *{_number_of_times(message.total)}*{_flows(message)}"
    story = f"Recovered after *{lasted(message.seconds)}*: it had {failed}."
    link = _link(message, "See the run", "in which it began")
    return _laid_out(message, message.headline(), ["\n".join(filter(None, (story, _what(message), link)))], "began")


def _details(message: Message) -> Sequence[str]:
    meaning = escaped(_one_line(message.consequence), _LINE)
    done = "\n".join(f"• {note}" for note in _notes(message))
    return (
        _error(message),
        f"*What was done*\n{done}" if done else "",
        f"*What it means*\n{meaning}" if meaning else "",
        _where_to_look(message),
    )


def _when(message: Message) -> str:
    return "last failure" if message.occasion == "digest" else ""


def _headline(message: Message) -> str:
    if message.occasion == "first":
        flow = f" in {message.flows[0]}" if len(message.flows) == 1 and not _is_of(message) else ""
        often = "" if message.count == 1 else f" {number_of(message.count, 'time')}"
        return f"{message.operation} {message.status}{often}{flow}"
    again = " again," if message.relapse else ""
    return f"{message.operation} {message.status}{again} {number_of(message.count, 'more time')}"


def _is_of(message: Message) -> bool:
    """Return whether the message is about the flow itself, whose name Prefect derives from the function's."""
    return message.flows[0].replace("-", "_") == message.operation.rpartition(".")[2].replace("-", "_")


def _counts(message: Message) -> str:
    if message.occasion == "first" and message.count == 1:
        return ""
    often = f"*{_number_of_times(message.total)} in {lasted(message.seconds)}*"
    return f"{message.status.capitalize()} {often}{_flows(message)}."


def _flows(message: Message) -> str:
    if len(message.flows) < 2:
        return ""
    more = ", …" if len(message.flows) > 5 else ""
    return f", in {len(message.flows)} flows: {', '.join(map(_code, message.flows[:5]))}{more}"


def _number_of_times(number: int) -> str:
    return "once" if number == 1 else number_of(number, "time")


def _what(message: Message) -> str:
    name = f"*{escaped(_one_line(message.failure), _WORD)}*" if message.error_type else ""
    meaning = f": {_KINDS[message.kind]}" if message.kind in _KINDS and message.occasion != "recovered" else ""
    kind = f"({escaped(message.kind, _WORD)}{meaning})" if message.kind else ""
    where = f"at {_code(message.where)}" if message.where else ""
    return " ".join(filter(None, (name, kind, where)))


def _error(message: Message, room: int = _ERROR) -> str:
    text = escaped(message.error.strip(), room)
    last = "Last: " if message.occasion == "digest" else ""
    return "\n".join(filter(None, (last + _what(message), f"```{text}```" if text else "")))


def _notes(message: Message) -> list[str]:
    """Return the notes; of very many the first, on how it began, and the last, on how it ended."""
    notes = [escaped(_one_line(note), _NOTE) for note in message.notes]
    if len(notes) <= _NOTES:
        return notes
    begun = _NOTES // 2
    ended = _NOTES - begun - 1
    return [*notes[:begun], f"… {len(notes) - begun - ended} more …", *notes[-ended:]]


def _where_to_look(message: Message) -> str:
    link = _link(message, "Open the run", "in Prefect")
    return f"*Where to look*\n{link}" if link else ""


def _link(message: Message, before: str, after: str) -> str:
    # A link, not a button: Slack sends the press of a button to the app, which does not listen.
    url = message.run.get("url", "")
    if not re.fullmatch(r"https?://[^\s<>|]{1,600}", url):
        return ""
    name = _one_line(message.run.get("flow_run") or message.run.get("task_run") or "").replace("|", "/")
    words = " ".join(filter(None, (before, escaped(name, _WORD), after)))
    return f"<{url.replace('&', '&amp;')}|{words}>"


def _about(message: Message, when: str) -> str:
    parts = [f"{when} {_date(message.time)}".strip()] if message.time else []
    linked = bool(_link(message, "", ""))
    parts += [
        f"{escaped(name.replace('_', ' '), 40)} {_code(value)}"
        for name, value in message.run.items()
        if name != "url" and not (linked and name.endswith("_id"))  # the link shows them
    ]
    return " · ".join(parts[:7])


def _date(seconds: float) -> str:
    """Return a time that Slack shows in each reader's time zone."""
    spelled = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(seconds))
    return f"<!date^{int(seconds)}^{{date_short_pretty}}, {{time_secs}}|{spelled}>"


def _code(text: str) -> str:
    return f"`{escaped(_one_line(text), _WORD).replace('`', chr(39))}`"


def _one_line(text: str) -> str:
    return " ".join(text[:_SECTION].split())


def _block_id(key: str) -> str:
    return key[:_BLOCK_ID]


def _mrkdwn(text: str) -> dict[str, Any]:
    return {"type": "mrkdwn", "text": text[:_SECTION], "verbatim": True}
