# ruff: noqa: INP001 - a script beside the pages, and no part of a package
"""The messages that the fake Slack received, as a page that looks like Slack."""

import html
import re
import time
from collections.abc import Iterable, Sequence
from typing import Any

from resilient_tasks.testing import SlackMessage

# Slack shows emoji as its own pictures, so that they look the same on every machine.
_MARKS = {
    "🔴": '<circle cx="12" cy="12" r="10" fill="#dd2e44"/>',
    "🚨": '<rect x="3" y="18" width="18" height="4" rx="1" fill="#66757f"/><path d="M6 18v-6a6 6 0 0 1 12 0v6z" '
    'fill="#dd2e44"/><path d="M12 1v3M3 4l2 2M21 4l-2 2" stroke="#dd2e44" stroke-width="2"/>',
    "⚠️": '<path d="M12 2 23 21H1z" fill="#ffcc4d"/><path d="M12 9v6M12 17.5v2" stroke="#231f20" stroke-width="2.2"/>',
    "✅": '<rect x="1" y="1" width="22" height="22" rx="4" fill="#77b255"/>'
    '<path d="m6 12 4.5 5L18 7" fill="none" stroke="#fff" stroke-width="3"/>',
}
_STYLE = """
* { box-sizing: border-box }
body { margin: 0; font: 15px/1.46 "Lato", "Liberation Sans", Arial, sans-serif; color: #1d1c1d; background: #fff;
  width: 720px }
.bar { padding: 12px 20px; font-weight: 900; font-size: 18px; border-bottom: 1px solid #ddd }
.bar span { color: #616061 }
.message { display: grid; grid-template-columns: 36px 1fr; gap: 0 10px; padding: 12px 20px }
.face { width: 36px; height: 36px; border-radius: 6px; background: #0b4f6c }
.who { line-height: 18px }
.who b { font-weight: 900 }
.app { background: #ddd; color: #616061; font-size: 10px; font-weight: 700; border-radius: 2px; padding: 0 3px;
  margin: 0 6px; vertical-align: 1px }
.time { color: #616061; font-size: 12px }
.replied { color: #616061; font-size: 13px; margin-bottom: 2px }
.replied a { color: #1264a3 }
h3 { font-size: 18px; font-weight: 900; line-height: 1.33; margin: 6px 0 2px }
p { margin: 7px 0; overflow-wrap: anywhere }
a { color: #1264a3; text-decoration: none }
code { font: 12px/1.5 "Liberation Mono", monospace; color: #c01343; background: #f6f6f6; border: 1px solid #ddd;
  border-radius: 3px; padding: 1px 3px }
pre { font: 12px/1.5 "Liberation Mono", monospace; background: #f8f8f8; border: 1px solid #ddd; border-radius: 4px;
  padding: 8px; margin: 4px 0 0; white-space: pre-wrap; overflow-wrap: anywhere }
.context { color: #616061; font-size: 12px; margin: 8px 0 2px }
.context code { font-size: 11px; color: #616061 }
.replies { font-size: 13px; margin-top: 4px; color: #1264a3; font-weight: 700 }
.replies span { color: #616061; font-weight: 400; margin-left: 6px }
svg { width: 1.2em; height: 1.2em; vertical-align: -0.22em }
"""


def page(messages: Sequence[SlackMessage], channel: str) -> str:
    """Show a channel: its messages, and replies that are also sent to the channel."""
    shown = [message for message in messages if message.thread_ts is None or message.reply_broadcast]
    body = "".join(_message(message, messages) for message in shown)
    name = html.escape(channel.lstrip("#"))
    bar = f'<div class="bar"><span>#</span> {name}</div>'
    return f'<!DOCTYPE html><meta charset="utf-8"><style>{_STYLE}</style><body>{bar}{body}</body>'


def _message(message: SlackMessage, all_of_them: Iterable[SlackMessage]) -> str:
    replied = ""
    first = next((other for other in all_of_them if other.ts == message.thread_ts), None)
    if first is not None:
        replied = f'<div class="replied">replied to a thread: <a>{_marked(html.escape(_title(first)))}</a></div>'
    answers = [other for other in all_of_them if other.thread_ts == message.ts]
    replies = ""
    if answers:
        number = "1 reply" if len(answers) == 1 else f"{len(answers)} replies"
        replies = f'<div class="replies">{number} <span>Last reply at {_time(answers[-1].ts)}</span></div>'
    who = f'<div class="who"><b>resilient-tasks</b><span class="app">APP</span><span class="time">{_time(message.ts)}'
    blocks = "".join(map(_block, message.blocks))
    face = '<svg class="face" viewBox="0 0 36 36"><path d="M7 19h6l3-9 5 16 3-7h5" fill="none" stroke="#fff" '
    face += 'stroke-width="3"/></svg>'
    return f'<div class="message"><div>{face}</div><div>{who}</span></div>{replied}{blocks}{replies}</div></div>'


def _title(message: SlackMessage) -> str:
    return next((block["text"]["text"] for block in message.blocks if block["type"] == "header"), message.text)


def _block(block: dict[str, Any]) -> str:
    match block["type"]:
        case "header":
            return f"<h3>{_marked(html.escape(block['text']['text']))}</h3>"
        case "section":
            return f"<p>{_mrkdwn(block['text']['text'])}</p>"
        case "context":
            return f'<p class="context">{" ".join(_mrkdwn(part["text"]) for part in block["elements"])}</p>'
    msg = f"no picture of a block of type {block['type']}"
    raise ValueError(msg)


def _mrkdwn(text: str) -> str:
    """Turn Slack's markup into HTML. In it, a literal `&`, `<` or `>` is escaped as in HTML."""
    parts = text.split("```")
    plain = [_inline(part.strip("\n")) for part in parts[::2]]
    boxes = [f"<pre>{html.escape(html.unescape(part))}</pre>" for part in parts[1::2]]
    return "".join(part for pair in zip(plain, [*boxes, ""], strict=True) for part in pair)


def _inline(text: str) -> str:
    text = re.sub(r"<!date\^(\d+)\^([^|>]*)\|[^>]*>", lambda found: _date(int(found[1]), found[2]), text)
    text = re.sub(r"<(https?:[^|>]*)\|([^>]*)>", r'<a href="\1">\2</a>', text)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"(?<!\w)\*([^*\n]+)\*(?!\w)", r"<b>\1</b>", text)
    return _marked(text.replace("\n", "<br>"))


def _date(seconds: int, form: str) -> str:
    moment = time.gmtime(seconds)
    date = time.strftime("%b %d, %Y", moment)
    return form.replace("{date_short_pretty}", date).replace("{time_secs}", time.strftime("%H:%M:%S", moment))


def _time(ts: str) -> str:
    return time.strftime("%H:%M", time.gmtime(float(ts)))


def _marked(text: str) -> str:
    for mark, shape in _MARKS.items():
        text = text.replace(mark, f'<svg viewBox="0 0 24 24">{shape}</svg>')
    return text
