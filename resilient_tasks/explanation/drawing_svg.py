"""A pipeline as boxes within boxes, and its worst case as a time line to scale, as SVG.

Its width is that of a phone; a wider page shows it larger. It has colours for light and for dark pages.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator
from xml.sax.saxutils import escape

from resilient_tasks.core.bounds import StepKind
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.explanation import words
from resilient_tasks.explanation.subjects import Subject
from resilient_tasks.explanation.timeline import Segment, Timeline, timeline
from resilient_tasks.explanation.wording import described, duration
from resilient_tasks.explanation.worst_case import WorstCase
from resilient_tasks.redaction.text import redact

WIDTH = 390
_MARGIN = 12
_LINE = 16
#: The width of a character, about.
_CHARACTER = 6.5
_BAR = 26
_NAMES: dict[StepKind, str] = {
    "attempt": "attempt",
    "wait": "wait",
    "queue": "wait for permission",
    "fallback": "fallback",
}
_STYLE = """
  .page { fill: #ffffff } .box { stroke: #8fa6c4; fill: #3b6ea5; fill-opacity: .07 }
  .inner { fill: #dcebd9; stroke: #6a9a62 } .attempt { fill: #2f6db5 } .wait { fill: #c4ccd6 }
  .queue { fill: #e0a93b } .fallback { fill: #8a5fb0 } .axis { stroke: #5b6b80 }
  .late { stroke: #c0392b; stroke-width: 2; stroke-dasharray: 5 3 } .red { fill: #b03022; font-weight: 600 }
  text { fill: #1c2733; font: 12px system-ui, sans-serif } .strong { font-weight: 600; font-size: 13px }
  .small { font-size: 11px; fill: #4a5868 } .on { fill: #ffffff; font-size: 11px } .on.wait { fill: #1c2733 }
  @media (prefers-color-scheme: dark) {
    .page { fill: #14181d } .box { stroke: #4d6788; fill: #6ea3dd; fill-opacity: .08 }
    .inner { fill: #22381f; stroke: #5f8f57 } .attempt { fill: #5b9be0 } .wait { fill: #4a5563 }
    .queue { fill: #b98423 } .fallback { fill: #a885cc } .axis { stroke: #94a3b5 }
    .late { stroke: #ff7a6b } .red { fill: #ff8d80 }
    text { fill: #e6ebf1 } .small { fill: #aab6c3 } .on { fill: #0d1117 } .on.wait { fill: #e6ebf1 }
  }
"""


_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img" width="100%"'
    ' style="max-width: 640px">'
)


def drawn(subject: Subject, worst: WorstCase) -> str:
    """Return the drawing."""
    boxes, height = _boxes(subject)
    line = timeline(subject, worst)
    below = [*_line(line, worst, height + 2 * _MARGIN)]
    height = int(float(below.pop()))
    name = _text(subject.name or "a pipeline")
    return "\n".join(
        [
            _SVG.format(width=WIDTH, height=height),
            f"<title>{name}: {_text(words.in_short(worst))}</title>",
            f"<style>{_STYLE}</style>",
            f'<rect class="page" width="{WIDTH}" height="{height}"/>',
            *boxes,
            *below,
            "</svg>\n",
        ]
    )


def _text(text: str) -> str:
    return escape(for_terminal(redact(text)))


def _label(x: float, y: float, text: str, kind: str = "", anchor: str = "") -> str:
    given = "".join(f' {name}="{value}"' for name, value in (("class", kind), ("text-anchor", anchor)) if value)
    return f'<text x="{x:.1f}" y="{y:.1f}"{given}>{_text(text)}</text>'


def _boxes(subject: Subject) -> tuple[list[str], float]:
    """Return the boxes, the outermost first, and the y below them."""
    inset = 10 if len(subject.policies) <= 7 else max(3, 70 // len(subject.policies))
    tops: list[tuple[float, list[str]]] = []
    y: float = _MARGIN
    for level, policy in enumerate(subject.policies):
        wide = WIDTH - 2 * (_MARGIN + inset * level) - 16
        head, _, rest = described(policy).partition(": ")
        lines = (
            [head, *textwrap.wrap(rest, max(12, int(wide / _CHARACTER)))]
            if rest
            else textwrap.wrap(head, int(wide / 7))
        )
        tops.append((y, lines))
        y += _LINE * len(lines) + 12
    bottom = y + 30 + (inset - 2) * len(subject.policies)
    parts = [
        part
        for level, (top, lines) in enumerate(tops)
        for part in _box(level * inset, top, bottom, level * (inset - 2), lines)
    ]
    left = _MARGIN + inset * len(tops)
    parts.append(f'<rect class="inner" x="{left}" y="{y}" width="{WIDTH - 2 * left}" height="30" rx="6"/>')
    parts.append(_label(WIDTH / 2, y + 20, (subject.name or "the function")[-40:], "strong", "middle"))
    return parts, bottom


def _box(inset: float, top: float, bottom: float, shorter: float, lines: list[str]) -> Iterator[str]:
    left = _MARGIN + inset
    yield (
        f'<rect class="box" x="{left}" y="{top}" width="{WIDTH - 2 * left}" height="{bottom - shorter - top}" rx="8"/>'
    )
    for number, line in enumerate(lines):
        yield _label(left + 8, top + 17 + _LINE * number, line, "" if number else "strong")


def _line(line: Timeline, worst: WorstCase, y: float) -> Iterator[str]:
    """Yield the time line, and at last the y below it."""
    yield _label(_MARGIN, y, f"Worst case: {words.attempts_in(worst)}", "strong")
    for text in textwrap.wrap(words.time_in(worst), int((WIDTH - 2 * _MARGIN) / 6.2), break_on_hyphens=False):
        y += _LINE
        yield _label(_MARGIN, y, text)
    y += 24
    scale = (WIDTH - 2 * _MARGIN) / line.length
    rows = 1 + int(max((segment.number - 1 for segment in line.segments if segment.beside), default=0))
    height = _BAR if rows == 1 else max(8, 40 // rows)
    for segment in line.segments:
        yield from _bar(segment, y, scale, height)
    bottom = y + max(_BAR, height * rows)
    yield f'<line class="axis" x1="{_MARGIN}" y1="{bottom + 2}" x2="{WIDTH - _MARGIN}" y2="{bottom + 2}"/>'
    if not line.is_open:
        for tick in line.ticks():
            x = _MARGIN + tick * scale
            yield f'<line class="axis" x1="{x:.1f}" y1="{bottom + 2}" x2="{x:.1f}" y2="{bottom + 6}"/>'
            anchor = "start" if not tick else "end" if x > WIDTH - 3 * _MARGIN else "middle"
            yield _label(x, bottom + 18, duration(tick) if tick else "0", "small", anchor)
    else:
        yield _label(_MARGIN, bottom + 18, "not to scale: what is pale has no limit", "small")
    if line.deadline < math.inf:
        x = _MARGIN + line.deadline * scale
        yield f'<line class="late" x1="{x:.1f}" y1="{y - 4}" x2="{x:.1f}" y2="{bottom + 4}"/>'
        yield _label(x, y - 8, f"deadline {duration(line.deadline)}", "red", "end" if x > WIDTH / 2 else "start")
    y = bottom + 40
    yield from _legend(line, y)
    rows = len({segment.kind for segment in line.segments}) + bool(line.left_out)
    yield str(y + _LINE * rows)


def _bar(segment: Segment, y: float, scale: float, height: float) -> Iterator[str]:
    x, wide = _MARGIN + segment.start * scale, max(1.0, segment.length * scale)
    number = int(segment.number) if segment.beside else 1
    for each in range(number):
        later = min(wide - 1, each * segment.beside * scale)
        begins, top = x + later, y + each * height
        one = max(1.0, wide - (number - 1) * min(segment.beside * scale, wide / number))
        ends = min(wide - later, one) if segment.seconds < math.inf else wide - later
        tall = height - 2 if number > 1 else height
        fades = ' opacity="0.55"' if segment.seconds == math.inf else ""
        size = f'width="{ends:.1f}" height="{tall}" rx="2"{fades}'
        yield f'<rect class="{segment.kind}" x="{begins:.1f}" y="{top}" {size}/>'
    if number == 1 and wide > _CHARACTER * len(segment.label) + 4 and height >= 16:
        yield _label(x + wide / 2, y + height / 2 + 4, segment.label, f"on {segment.kind}", "middle")


def _legend(line: Timeline, y: float) -> Iterator[str]:
    kinds = list(dict.fromkeys(segment.kind for segment in line.segments))
    for row, kind in enumerate(kinds):
        shown = [segment for segment in line.segments if segment.kind == kind]
        each = ", ".join(dict.fromkeys(segment.label for segment in shown))
        beside = next((f", up to {segment.number:g} beside each other" for segment in shown if segment.beside), "")
        top = y + _LINE * row
        yield f'<rect class="{kind}" x="{_MARGIN}" y="{top - 10}" width="12" height="12" rx="2"/>'
        yield _label(_MARGIN + 18, top, f"{len(shown)} × {_NAMES[kind]}{beside}: {each}"[:62], "small")
    if line.left_out:
        left = "any number of" if line.left_out == math.inf else f"{line.left_out:g}"
        yield _label(_MARGIN, y + _LINE * len(kinds), f"... and {left} more attempts", "small")
