"""Escape untrusted text, such as an error's, for a terminal or for Markdown.

On a terminal an escape sequence can move the cursor, change the title or hide the following text, and a carriage return
overwrites the line; characters that change the direction of writing falsify a text; in Markdown a text can become a
link, a picture, a table or a heading.
"""

from __future__ import annotations

import re

#: Control characters except tab and line feed, lone surrogates, and characters that change direction or have no width.
_HIDDEN = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u115f\u1160\u17b4\u17b5\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f"
    "\u3164\ufeff\uffa0\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
_LINE_ENDS = re.compile("\r\n|\u2028|\u2029|\x85")
_HTML = str.maketrans({"&": "&amp;", "<": "&lt;", ">": "&gt;"})
#: Emphasis, code, links, pictures, cells of tables; an underscore inside of a word means nothing.
_MARKDOWN = re.compile(r"[\\`*\[\]~|@]|(?<!\w)_|_(?!\w)|:(?=//)|(?<=www)\.")
_BEGINS_A_BLOCK = re.compile(r"^(\d{1,9}(?=[.)](?:\s|$))|(?=[#+=-]))")


def for_terminal(text: str, *, lines: bool = True) -> str:
    r"""Escape what a terminal would obey or not show: `\x1b[31m` for an escape sequence.

    Args:
        text: any text.
        lines: keep line breaks; otherwise escape them as `\n`.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _LINE_ENDS.sub("\n", text)
    if not lines:
        text = text.replace("\n", "\\n")
    return _HIDDEN.sub(_escaped, text)


def for_markdown(text: str) -> str:
    """Return `text` in one line, escaped for Markdown and HTML."""
    line = for_terminal(" ".join(text.split())).translate(_HTML)
    return _BEGINS_A_BLOCK.sub(r"\1\\", _MARKDOWN.sub(r"\\\g<0>", line))


def _escaped(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
