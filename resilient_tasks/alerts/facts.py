"""Facts about a failure, for messages: collected once, without secrets, when an incident begins."""

from __future__ import annotations

import functools
import hashlib
import os
import sysconfig
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from resilient_tasks import safely
from resilient_tasks.alerts.delivery import Delivery
from resilient_tasks.alerts.incident import Incident
from resilient_tasks.alerts.message import Message, Severity
from resilient_tasks.core import errors
from resilient_tasks.core.events import run_ids
from resilient_tasks.core.events.event import fit_to_show
from resilient_tasks.core.failures import classify, http_failure
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.redaction.exceptions import text_of
from resilient_tasks.redaction.text import redact

_LONGEST_TEXT, _LONGEST_NOTE, _MOST_NOTES = 1500, 300, 12


class Frame(NamedTuple):
    """Where something was raised."""

    file: str
    line: int
    function: str

    def __str__(self) -> str:
        return f"{Path(self.file).name}:{self.line} in {self.function}"


def deepest_frame(error: BaseException) -> Frame | None:
    """Return the deepest frame of the user's own code, else the deepest frame; None if there is none."""
    found = deepest = None
    step = safely.own(error, "__traceback__")
    while step is not None:
        code = step.tb_frame.f_code
        deepest = (code.co_filename, step.tb_lineno, code.co_qualname)
        if not _is_library(code.co_filename):
            found = deepest
        step = step.tb_next
    chosen = found or deepest
    return None if chosen is None else Frame(*chosen)


_PATHS = (
    *(sysconfig.get_paths()[name] for name in ("stdlib", "purelib", "platlib")),
    str(Path(__file__).parents[1]),
)
_LIBRARIES = tuple(f"{Path(place).resolve()}{os.sep}" for place in _PATHS)


@functools.lru_cache(maxsize=1024)
def _is_library(file: str) -> bool:
    # Generated wrappers have no file: see `core.wrappers`.
    return file.startswith(("<frozen", "<resilient_tasks: ")) or str(Path(file).resolve()).startswith(_LIBRARIES)


def fingerprint(operation: str, status: str, kind: str, error: Exception) -> str:
    """Return a digest of what similar failures share: operation, kind, types of error and function, but no line."""
    types: list[str] = []
    link: BaseException | None = error
    while link is not None and len(types) < 5:
        types.append(type(link).__qualname__)
        link = safely.own(link, "__cause__")
    frame = deepest_frame(error)
    place = (frame.file, frame.function) if frame is not None else ()
    shared = "\0".join((operation, status, kind, *types, *place))
    return hashlib.sha256(shared.encode()).hexdigest()[:8]


#: The policy that ended a call, by the type of its error.
_POLICIES: Mapping[type[Exception], str] = {
    errors.DeadlineExceeded: "deadline",
    errors.TimedOut: "timeout",
    errors.CircuitOpen: "breaker",
    errors.BulkheadFull: "bulkhead",
    errors.RateLimited: "rate_limit",
    errors.InvalidData: "validate",
    errors.DriftDetected: "validate",
    errors.ResultRejected: "retry",
}


def policy_of(status: str, error: Exception) -> str:
    """Return the policy that ended the call: `"fallback"` if one stood in; empty if none is known."""
    if status == "degraded":
        return "fallback"
    by_type = next((name for cls, name in _POLICIES.items() if safely.is_a(error, cls)), "")
    return by_type or str(safely.marked(error, errors.ENDED_BY) or "")


def facts(
    status: str, severity: Severity, error: Exception, notes: tuple[str, ...], consequence: str
) -> dict[str, Any]:
    """Return the facts for the messages of an incident, as JSON."""
    frame = deepest_frame(error)
    every_note = (*safely.notes(error), *notes)
    more = [f"and {len(every_note) - _MOST_NOTES} more"] if len(every_note) > _MOST_NOTES else []
    return {
        "status": status,
        "severity": severity,
        "kind": kind_of(error),
        "error_type": fit_to_show(type(error).__name__),
        "http_status": http_failure(error),
        "where": "" if frame is None else fit_to_show(str(frame)),
        "notes": [for_terminal(redact(note))[:_LONGEST_NOTE] for note in every_note[:_MOST_NOTES]] + more,
        "consequence": consequence,
        **latest(error),
    }


def latest(error: Exception) -> dict[str, Any]:
    """Return the facts about the last failure, for a digest."""
    text, status = text_of(error), http_failure(error)
    if status is not None and str(status) not in text:  # the last failure may have another than the first
        text = f"HTTP {status}: {text}"
    return {
        "error": for_terminal(redact(text))[:_LONGEST_TEXT],
        "run": {name: for_terminal(fit_to_show(value), lines=False) for name, value in run_ids().items()},
        "time": time.time(),
    }


def message_of(operation: str, incident: Incident, delivery: Delivery) -> Message:
    """Return the message of a delivery."""
    about = {**incident.facts, **(delivery.latest if delivery.occasion == "digest" else {})}
    return Message(
        key=incident.key(delivery),
        incident=incident.id,
        occasion=delivery.occasion,
        operation=fit_to_show(operation),
        **{**about, "notes": tuple(about["notes"])},
        count=delivery.count,
        total=delivery.total,
        flows=tuple(map(fit_to_show, delivery.flows)),
        seconds=delivery.seconds,
        relapse=delivery.relapse,
        thread=incident.threads.get(delivery.channel, {}),
    )


#: These describe how a flow run ended, not why.
_WITHOUT_KIND = (errors.DegradedRun, errors.UnobservedFailure, errors.CrashedRun)


def kind_of(error: Exception) -> str:
    """Return the failure kind of an error; empty if it has none."""
    return "" if safely.is_a(error, _WITHOUT_KIND) else classify(error).value
