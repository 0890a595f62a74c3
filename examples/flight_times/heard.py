"""The library's events of a flow run, from the files of all processes that ran its tasks.

A task on Dask or Ray emits its events in its own process, where the flow does not receive them. The library writes them
to files, in the folder RESILIENT_TASKS_EVENTS: one for each process of a run.
"""

from __future__ import annotations

from pathlib import Path

from resilient_tasks.core.events import Event
from resilient_tasks.observe import journal
from resilient_tasks.observe.journal_read import Recording


def folder(flow_run_id: object) -> Path:
    """Return the folder of a flow run's event files."""
    return journal.folder() / str(flow_run_id)


def of_run(flow_run_id: object, month: str = "") -> list[Event]:
    """Return the events of a flow run, or of one month of it ("January"), in the order of their times."""
    files = sorted(folder(flow_run_id).glob("*.jsonl"))
    found = (event for event in Recording(files).events() if event.run.get("task_run", "").startswith(month))
    return sorted(found, key=lambda event: event.time)
