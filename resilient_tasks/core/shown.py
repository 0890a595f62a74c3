"""Text from outside, made fit for the place where it is shown: it may be an error's, and so anybody's.

On a terminal an escape sequence moves the cursor, changes the title or hides what follows, and a carriage return writes
over the line; characters that turn the direction of writing show a text other than it is; in Markdown a text becomes a
link, a picture, a table or a heading.
"""

from __future__ import annotations

import re

#: Control characters but tab and line feed, half surrogate pairs, and what turns the direction or takes no room.
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
    r"""Return `text` with what a terminal would obey, or not show, written out: `\x1b[31m` for an escape sequence.

    Args:
        text: any text.
        lines: keep its line breaks; otherwise each is written out, as `\n`.
    """
    if text.isascii() and text.isprintable():
        return text
    text = _LINE_ENDS.sub("\n", text)
    if not lines:
        text = text.replace("\n", "\\n")
    return _HIDDEN.sub(_written_out, text)


def for_markdown(text: str) -> str:
    """Return `text` in one line, in which nothing has a meaning to Markdown or HTML."""
    line = for_terminal(" ".join(text.split())).translate(_HTML)
    return _BEGINS_A_BLOCK.sub(r"\1\\", _MARKDOWN.sub(r"\\\g<0>", line))


def _written_out(match: re.Match[str]) -> str:
    number = ord(match[0])
    return f"\\x{number:02x}" if number < 0x100 else f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
