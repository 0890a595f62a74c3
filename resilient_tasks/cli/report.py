"""`resilient-tasks report`: what happened in a run, from the event files that its processes wrote."""

from __future__ import annotations

import argparse
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from resilient_tasks.cli.printing import DONE, Subparsers, UsageError, as_json, print_table, say
from resilient_tasks.observe import journal, journal_read, report_compare
from resilient_tasks.observe.report import RunReport

_SUFFIXES = {".md": "markdown", ".html": "html", ".htm": "html", ".json": "json"}


def add_to(subparsers: Subparsers) -> None:
    """Add this command."""
    report = subparsers.add_parser("report", help="show what happened in a run, also in one that was killed")
    report.add_argument("RUN", nargs="?", help="a flow run's id or name, a folder, or a file; default: the latest run")
    report.add_argument(
        "--at",
        type=_path,
        metavar="FOLDER",
        help="the folder of the runs; default: RESILIENT_TASKS_EVENTS, or ~/.resilient_tasks/runs",
    )
    report.add_argument(
        "--format",
        choices=("text", "markdown", "html", "json"),
        help="text, markdown, html or json; default: by the suffix of --output, else text",
    )
    report.add_argument("--output", type=_path, metavar="FILE", help="write the report to this file")
    report.add_argument("--list", action="store_true", help="list the runs")
    report.add_argument("--compare", nargs=2, metavar=("BEFORE", "AFTER"), help="compare two runs")
    report.set_defaults(run=_run)


def _path(text: str) -> Path:
    return Path(text).expanduser()


def _run(options: argparse.Namespace) -> int:
    if sum((options.list, options.compare is not None, options.RUN is not None)) > 1:
        raise UsageError("report takes one of RUN, --list and --compare BEFORE AFTER.")
    if options.at and not options.at.is_dir():
        raise UsageError(f"There is no folder {options.at}: --at names the one that has a folder for each run.")
    if options.list:
        return _list(options)
    form = options.format or _SUFFIXES.get(options.output.suffix.lower() if options.output else "", "text")
    if options.compare:
        before, after = (_read(run, options.at) for run in options.compare)
        written = _compared(before, after, form)
    else:
        written = _reported(_read(options.RUN or "latest", options.at), form)
    if options.output:
        options.output.write_text(written + "\n", encoding="utf-8")
        say(f"{options.output}: written")
    else:
        say(written)
    return DONE


def _read(run: str, folder: Path | None) -> RunReport:
    try:
        return RunReport.read(run, folder)
    except LookupError as error:
        raise UsageError(str(error.args[0])) from None


def _reported(report: RunReport, form: str) -> str:
    return {"text": report.text, "markdown": report.markdown, "html": report.html, "json": report.json}[form]()


def _compared(before: RunReport, after: RunReport, form: str) -> str:
    if form == "html":
        raise UsageError("A comparison is written as text, markdown or json: give --format.")
    found = report_compare.compare(before.as_dict(), after.as_dict())
    if form == "json":
        return json.dumps(found, indent=1)
    return report_compare.markdown(found) if form == "markdown" else report_compare.text(found)


def _list(options: argparse.Namespace) -> int:
    runs = journal_read.known_runs(options.at)
    if options.format == "json":
        say(as_json([_as_dict(run) for run in runs]))
        return DONE
    head = ("run", "id", "flow", "started", "state", "processes", "kB")
    rows = [
        (run.name, run.id, run.operation, _moment(run.started), run.state, len(run.files), f"{run.size / 1000:,.0f}")
        for run in runs
    ]
    print_table(head, rows)
    if not rows:
        say(f"no runs in {options.at or journal.folder()}")
    return DONE


def _as_dict(run: journal_read.KnownRun) -> dict[str, Any]:
    return {
        "id": run.id,
        "name": run.name,
        "operation": run.operation,
        "started": run.started,
        "state": run.state,
        "bytes": run.size,
        "files": [str(path) for path in run.files],
    }


def _moment(time: float) -> str:
    return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%dT%H:%M:%S+00:00")
