"""Texts and numbers of the page, escaped for HTML, with control characters made visible."""

from __future__ import annotations

import math
from collections.abc import Mapping
from datetime import UTC, datetime
from html import escape
from typing import Any

from resilient_tasks.core.shown import for_terminal
from resilient_tasks.core.wording import age

NONE = "–"
#: Characters of a message that are shown at once; the others unfold.
_AT_ONCE = 300


def text(value: Any) -> str:
    """Return any text for HTML; a dash if there is none."""
    return NONE if value is None else escape(for_terminal(str(value))) or NONE


def long_text(value: str) -> str:
    """Return a message for HTML: its first line, unless that is very long; the others unfold."""
    first, *others = for_terminal(value).strip("\n").split("\n", 1) if value else [""]
    rest = [first[_AT_ONCE:], *others]
    first = escape(first[:_AT_ONCE])
    if not any(rest):
        return f'<span class="message">{first}</span>' if first else ""
    more = escape("\n".join(filter(None, rest)))
    return f'<details class="message"><summary>{first} …</summary>{more}</details>'


def lasted(seconds: float | None) -> str:
    """Return a duration: `85 ms`, `2.1 s`, `3 min 5 s`; a dash if it is unknown."""
    if seconds is None or not math.isfinite(seconds):
        return NONE
    if seconds >= 60:
        return age(seconds)
    return f"{seconds * 1000:.0f} ms" if 0 < seconds < 0.0995 else f"{seconds:.1f} s"


def length(part: Mapping[str, Any]) -> float | None:
    """Return the seconds between the start and the end of a part of the run; None if one of them is unknown."""
    return None if None in {part["started"], part["ended"]} else part["ended"] - part["started"]


def counted(errors: Mapping[str, int]) -> str:
    """Return counts for HTML: `HTTP 503 ×2, TimedOut`."""
    return ", ".join(f"{text(name)} ×{count}" if count > 1 else text(name) for name, count in errors.items()) or NONE


def error(found: Mapping[str, Any]) -> str:
    """Return an error for HTML: in brief and bold, then its type and message."""
    status = found.get("http_status")
    brief = f"HTTP {status}" if status is not None else found.get("error_type") or found["error"]
    more = found.get("error_type") if status is not None else ""
    named = f' <span class="type">{text(more)}</span>' if more else ""
    return f"<strong>{text(brief)}</strong>{named} {long_text(found['message'] or '')}"


class Times:
    """Times of one run, in UTC; with their dates if it lasted beyond midnight.

    Args:
        known: times of the run in unix seconds.
    """

    def __init__(self, *known: float | None) -> None:
        days = {moment.date() for time in known if (moment := _moment(time))}
        self._form = "%Y-%m-%d %H:%M:%S" if len(days) > 1 else "%H:%M:%S"

    def at(self, time: float | None) -> str:
        """Return a time of the run for HTML; a dash if it is unknown."""
        return _time(time, self._form)

    @staticmethod
    def dated(time: float | None) -> str:
        """Return a time with its date for HTML."""
        return _time(time, "%Y-%m-%d %H:%M:%S UTC")


def _time(time: float | None, form: str) -> str:
    moment = _moment(time)
    return f'<time datetime="{moment:%Y-%m-%dT%H:%M:%SZ}">{moment.strftime(form)}</time>' if moment else NONE


def _moment(time: float | None) -> datetime | None:
    try:
        return None if time is None else datetime.fromtimestamp(time, UTC)
    except (OverflowError, OSError, ValueError):  # no year of the calendar
        return None
