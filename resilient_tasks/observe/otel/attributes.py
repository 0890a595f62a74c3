"""The names and values of attributes, as OpenTelemetry takes them, and without secrets."""

from __future__ import annotations

import json
import sys
import traceback
from collections.abc import Mapping
from typing import Any, TypeAlias

from opentelemetry.trace import Span

from resilient_tasks import redaction, safely
from resilient_tasks.core.events import Event
from resilient_tasks.core.failures import describe
from resilient_tasks.core.shown import for_terminal

Attributes: TypeAlias = dict[str, str | bool | int | float]

#: Of the library that makes spans and metrics; importing it by name would be an import upwards.
VERSION: str = sys.modules[__name__.partition(".")[0]].__version__
#: Before the name of an attribute of a span that OpenTelemetry's conventions do not define.
PREFIX = "resilient_tasks."
ERROR_TYPE, HTTP_STATUS, THREAD = "error.type", "http.response.status_code", "thread.name"
#: What the conventions have for a value beyond the bounds.
OTHER = "_OTHER"

#: The event's name and time are the span event's own, and the run is the one whose span it is on.
_ELSEWHERE = frozenset({"event.name", "time", "flow_run_id", "flow_run", "task_run_id", "task_run", "url"})


def of_event(event: Event) -> Attributes:
    """Return the attributes of a span event: the names are those in the log and in `as_dict()`."""
    return {
        name: _plain(value)
        for name, value in event.as_dict().items()
        if name not in _ELSEWHERE and value is not None and value != ""  # 0 and False stay
    }


def _plain(value: Any) -> str | bool | int | float:
    if isinstance(value, str | bool | int | float):
        return value
    if isinstance(value, Mapping | list | tuple):
        return json.dumps(value, default=safely.text, ensure_ascii=False)
    return safely.text(value)


def record_exception(span: Span, error: BaseException) -> None:
    """Add the event `exception` for a redacted copy of `error`: its text and its traceback, without local variables.

    It does not make the span an error.
    """
    try:
        copy = redaction.exceptions.redacted(error, chain=True) or redaction.exceptions.presentable(error) or error
        lines = "".join(traceback.format_exception(copy))
        texts = {"exception.message": safely.text(copy), "exception.stacktrace": lines}
        span.record_exception(copy, {name: for_terminal(redaction.text.redact(text)) for name, text in texts.items()})
    except Exception:  # an error that cannot be formatted
        span.add_event(
            "exception", {"exception.type": type(error).__qualname__, "exception.message": status_text(error)}
        )


def status_text(error: BaseException) -> str:
    """Return the description of an error's status: one line, redacted."""
    return for_terminal(describe(error), lines=False)


class Bounded:
    """Keeps the number of values of a metric's attribute within bounds.

    Args:
        most: the first values, up to this number, stay; all others become `_OTHER`.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._known: set[str] = set()

    def __call__(self, value: str) -> str:
        if value not in self._known:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value
