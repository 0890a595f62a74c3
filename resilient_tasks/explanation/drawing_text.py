"""A pipeline as boxes within boxes, and its worst case as a line, in a terminal."""

from __future__ import annotations

import math
import textwrap
from collections.abc import Iterator

from resilient_tasks.core.shown import for_terminal
from resilient_tasks.explanation import words
from resilient_tasks.explanation.subjects import Subject
from resilient_tasks.explanation.timeline import Timeline, timeline
from resilient_tasks.explanation.wording import described, duration
from resilient_tasks.explanation.worst_case import WorstCase

_MARKS = {"attempt": "█", "wait": "·", "queue": "▒", "fallback": "▓"}
_NAMES = {"attempt": "attempt", "wait": "wait", "queue": "wait for permission", "fallback": "fallback"}
_NARROWEST = 40


def drawn(subject: Subject, worst: WorstCase, width: int) -> str:
    """Return both drawings, at most `width` columns wide."""
    width = max(_NARROWEST, width)
    boxes = [line for line, _ in _boxes([described(policy) for policy in subject.policies], subject.name, width)]
    return "\n".join([*boxes, "", *_line(timeline(subject, worst), worst, width)])


def _boxes(texts: list[str], name: str, width: int) -> Iterator[tuple[str, int]]:
    if width < _NARROWEST // 2 or not texts:
        lines = [for_terminal(name) or "the function", *(for_terminal(text) for text in texts)]
    else:
        lines = []
    yield f"┌{'─' * (width - 2)}┐", width
    if lines:
        for line in lines:
            yield f"│ {line[: width - 4]:<{width - 4}} │", width
    else:
        for line in textwrap.wrap(for_terminal(texts[0]), width - 4):
            yield f"│ {line:<{width - 4}} │", width
        for line, _ in _boxes(texts[1:], name, width - 4):
            yield f"│ {line} │", width
    yield f"└{'─' * (width - 2)}┘", width


def _line(line: Timeline, worst: WorstCase, width: int) -> Iterator[str]:
    yield from textwrap.wrap(for_terminal(words.in_short(worst)), width)
    columns = width - 2
    cells = [" "] * columns
    for segment in line.segments:
        first = round(segment.start / line.length * (columns - 1))
        last = max(first + 1, round((segment.start + segment.length) / line.length * (columns - 1)))
        for at in range(first, min(last, columns)):
            cells[at] = _MARKS[segment.kind]
    ends = {0: "0", **({} if line.is_open else {columns - 1: duration(line.length)})}
    if line.deadline < math.inf:
        at = min(columns - 1, round(line.deadline / line.length * (columns - 1)))
        cells[at] = "┃"
        ends[at] = f"deadline {duration(line.deadline)}"
    yield "".join(cells).rstrip()
    yield _scale(ends, columns)
    for kind, mark in _MARKS.items():
        shown = [segment for segment in line.segments if segment.kind == kind]
        if shown:
            each = ", ".join(segment.label for segment in shown[:8])
            yield from textwrap.wrap(
                f"{mark} {_NAMES[kind]}: {each}{', ...' if len(shown) > 8 else ''}", width, subsequent_indent="  "
            )
    if line.left_out:
        yield f"... and {'any number of' if line.left_out == math.inf else f'{line.left_out:g}'} more attempts"


def _scale(ends: dict[int, str], columns: int) -> str:
    """Return labels below their columns; of two that would touch, the later one."""
    cells = [" "] * columns
    for at, label in sorted(ends.items()):
        first = max(0, min(at - len(label) + 1 if at else 0, columns - len(label)))
        cells[max(0, first - 1) : first + len(label)] = [*(" " if first else ""), *label]
    return "".join(cells).rstrip()
