"""The report of a run, computed from its events alone: what was not recovered, degraded and recovered."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from resilient_tasks.core.events import ApiAway, Event, FailureEvent, NotifySent, rows_quarantined, why_and_where
from resilient_tasks.core.shown import for_terminal
from resilient_tasks.core.wording import calls_in, number_of
from resilient_tasks.observe import report_words
from resilient_tasks.observe.report_kept import Named
from resilient_tasks.observe.report_tally import SUPPRESSED, Operation, Tally

#: The version of the shape of `RunReport.as_dict()`.
VERSION = 1


class RunReport:
    """The report of a run, from its events, in one pass.

    Args:
        events: the events; those of one call in order. `RunReport.read(...)` reads those of a run from its files.
        run: the run's `id`, `name`, `url`, and the unix seconds when it `started` and `ended`, as far as they are
            known. Default: what the events say.
        partial: why events are missing, as a sentence; None if the report is complete.
        remarks: further remarks.

    Attributes:
        events: the events, if they were given as a list or tuple.
    """

    def __init__(
        self,
        events: Iterable[Event],
        *,
        run: Mapping[str, Any] | None = None,
        partial: str | None = None,
        remarks: Sequence[str] = (),
    ) -> None:
        self.events: Sequence[Event] = tuple(events) if isinstance(events, Sequence) else ()
        self._tally = Tally()
        for event in self.events or events:
            self._tally.add(event)
        self.run: Mapping[str, Any] = _about_run(self._tally, run or {})
        self.partial: str | None = partial
        self._more_remarks = tuple(remarks)

    @classmethod
    def read(cls, run: str | os.PathLike[str] = "latest", folder: str | os.PathLike[str] | None = None) -> RunReport:
        """Return the report of a run from the event files that its processes wrote, in bounded memory.

        Args:
            run: the run's id or name, `"latest"`, the folder of its files, or one file.
            folder: has a folder for each run; by default the one that this process writes to.

        Raises:
            LookupError: there is no such run, or several have this name.
            OSError: a file cannot be read.
        """
        from resilient_tasks.observe.journal_read import Recording  # noqa: PLC0415  # few programs read a run back

        recording = Recording.of(run, None if folder is None else Path(folder).expanduser())
        report = cls(recording.events())
        report.run = {**report.run, **recording.run()}
        report.partial, report._more_remarks = recording.partial(), tuple(recording.remarks())
        return report

    @cached_property
    def operations(self) -> tuple[Operation, ...]:
        """The operations with retries, failures or invalid rows, worst first."""
        touched = (operation for operation in self._tally.operations.values() if operation.is_touched)
        return tuple(sorted(touched, key=lambda operation: (operation.gravity, operation.name)))

    @property
    def failed(self) -> int:
        """Calls that raised, except those whose failure an enclosing call handled and reports itself."""
        return self._tally.failed

    @property
    def degraded(self) -> int:
        """Calls that used a fallback."""
        return sum(operation.degraded for operation in self.operations)

    @property
    def recovered(self) -> int:
        """Calls that succeeded after a failed attempt."""
        return sum(operation.recovered for operation in self.operations)

    @property
    def quarantined(self) -> int:
        """Quarantined rows."""
        return self._tally.quarantined

    @property
    def is_worth_a_look(self) -> bool:
        """Whether anything failed, recovered, was degraded or lost rows, or Prefect's server was away."""
        return bool(self.operations) or bool(self._tally.kinds[ApiAway])

    def quarantine(self) -> str:
        """Return one line about quarantined rows, their reasons and file; empty if there are none."""
        batches = list(self._tally.batches)
        whole = f"{number_of(self.quarantined, 'row')} quarantined"
        rows = whole if self._tally.batches.left_out else rows_quarantined(batches)
        return f"{rows}{why_and_where(batches)}" if batches else ""

    def headline(self) -> str:
        """Summarize the run in one line."""
        parts = [f"{self.failed} failed", f"{self.degraded} degraded", f"{self.recovered} recovered"]
        if self.quarantined:
            parts.append(self.quarantine())
        return ", ".join(parts)

    @cached_property
    def remarks(self) -> tuple[str, ...]:
        """Remarks beyond the counts, such as work that was not stopped and alerts that were not delivered."""
        tally = self._tally
        lowered = [
            f"{limit}: {number_of(int(times), 'time')}, down to {calls_in(rate, per)}"
            for limit, (times, rate, per) in tally.adapted.items()
        ]
        waiting = [f"{event.channel}: {event.message}" for event in tally.waiting()]
        sent, (times, seconds), cut = tally.kinds[NotifySent], tally.limited, tally.waited
        remarks = {
            f"attempts abandoned, which may have continued: {tally.abandoned}": tally.abandoned.total,
            f"attempts that overran their limit and could not be interrupted: {tally.late}": tally.late.total,
            f"last good results that stood in: {tally.old}": tally.old.total,
            f"last good results that were not kept or could not be read: {tally.lost}": tally.lost.total,
            f"work on degraded data: {tally.inputs}": tally.inputs.total,
            f"calls that shared the attempt of another: {tally.shared}": tally.shared.total,
            f"calls whose deadline came while they waited for the attempt of another: {cut}": cut.total,
            f"calls that could not share an attempt and ran one by one: {tally.alone}": tally.alone.total,
            f"rate limits delayed {number_of(int(times), 'call')} by {seconds:.1f} s in all": times,
            f"rate limits that throttled calls lowered: {_named(lowered)}": len(lowered),
            f"alerts that could not be delivered, and wait: {_named(waiting)}": len(waiting),
            f"alerts sent: {sent}": sent,
            tally.warning(): 1,
            f"stores that did not answer for a while: {tally.store_lost}": tally.store_lost.total,
            **dict.fromkeys(tally.away, 1),
            **{sentence: 1 for _, sentence in tally.sinks.values()},
        }
        return (*(text for text, count in remarks.items() if text and count), *tally.bounds(), *self._more_remarks)

    def as_dict(self) -> dict[str, Any]:
        """Return the report for JSON. Times are unix seconds; lists are bounded, and counts are not."""
        tally, waiting = self._tally, self._tally.waiting()
        counts = {
            "failed": self.failed,
            "degraded": self.degraded,
            "recovered": self.recovered,
            "retries": sum(operation.retries for operation in self.operations),
            "waited_s": round(sum(operation.waited for operation in self.operations), 6),
            "rows_out": sum(operation.rows_out for operation in self.operations),
            "quarantined": self.quarantined,
            "alerts_sent": tally.kinds[NotifySent],
            "alerts_waiting": len(waiting),
            "events": tally.events,
        }
        return {
            "version": VERSION,
            "run": dict(self.run),
            "partial": self.partial,
            "headline": self.headline(),
            "counts": counts,
            "not_recovered": list(tally.not_recovered),
            "degraded": list(tally.degraded),
            "recovered": list(tally.recovered),
            "operations": [operation.as_dict() for operation in self.operations],
            "timeline": tally.time_line.as_dict(),
            "circuits": tally.spans(),
            "rows": tally.balance(),
            "alerts": {
                "sent": tally.kinds[NotifySent],
                "suppressed": sum(tally.kinds[kind] for kind in SUPPRESSED),
                "waiting": [
                    {"channel": each.channel, "reason": each.message, "retry_in_s": each.retry_in} for each in waiting
                ],
            },
            "not_stopped": tally.not_stopped,
            "remarks": list(self.remarks),
        }

    def json(self) -> str:
        """Return the report as JSON, as `as_dict()` describes it."""
        return json.dumps(self.as_dict(), indent=1)

    def text(self) -> str:
        """Return the report for a terminal: what was not recovered first, then a table of the operations."""
        return report_words.text(self.as_dict())

    def markdown(self) -> str:
        """Return the report as Markdown, for Prefect."""
        return report_words.markdown(self.as_dict())

    def html(self) -> str:
        """Return the report as one HTML page: a file that needs no network, with a time line of attempts."""
        from resilient_tasks.observe import page  # noqa: PLC0415  # few programs write one

        return page.html(self.as_dict())

    def html_table(self) -> str:
        """Return the table of the operations and the remarks as an HTML fragment, for a page of your own."""
        found = self.as_dict()
        head = "".join(f"<th>{html.escape(name)}</th>" for name in report_words.COLUMNS)
        rows = ("".join(f"<td>{_html(cell)}</td>" for cell in row) for row in report_words.rows(found))
        body = "".join(f"<tr>{row}</tr>" for row in rows)
        remarks = "".join(f"<li>{_html(remark)}</li>" for remark in self.remarks)
        return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><ul>{remarks}</ul>"

    def write(self, path: str | os.PathLike[str]) -> None:
        """Write the report to a file: JSON, Markdown or HTML by the file's suffix, and text otherwise."""
        forms = {".json": self.json, ".md": self.markdown, ".html": self.html}
        path = Path(path)
        path.write_text(forms.get(path.suffix.lower(), self.text)() + "\n", encoding="utf-8")


def taken_up(events: Iterable[Event]) -> set[str]:
    """Return the ids of calls whose failure an enclosing call handled: it retried, was degraded, or failed with it."""
    return {event.of for event in events if isinstance(event, FailureEvent) and event.of}


def _named(texts: Iterable[str]) -> Named:
    found = Named()
    for text in texts:
        found.add(text)
    return found


def _html(text: str) -> str:
    return html.escape(for_terminal(text))


def _about_run(tally: Tally, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the run's ids and times from its events, replaced by what is given."""
    run, flow_run_id = tally.run, tally.run.get("flow_run_id") or tally.run.get("task_run_id")
    url = run.get("url", "").partition("/runs/")[0]
    kind = "flow" if "flow_run_id" in run else "task"
    return {
        "id": flow_run_id,
        "name": run.get("flow_run"),
        "url": f"{url}/runs/{kind}-run/{flow_run_id}" if url else None,
        "started": tally.first,
        "ended": tally.last,
        **given,
    }
