"""What a run leaves in Prefect's UI besides its states: a report of events, a report of bad data, and tags.

An artifact takes 0.1 s, so each kind is left once per run: at the end of a resilient flow's run for everything that it
gathered, otherwise at the end of the task run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.artifacts import create_markdown_artifact
from prefect.client.orchestration import get_client

from resilient_tasks.core.events import ApiAway, Event, RowsQuarantined, RowsWarned

if TYPE_CHECKING:
    from resilient_tasks.observe.quality import DataQuality
    from resilient_tasks.observe.report import RunReport

_logger = logging.getLogger("resilient_tasks")

#: The flow runs whose events this process gathers until their end.
_gathered: set[str] = set()


@contextmanager
def gathering(flow_run_id: str) -> Iterator[None]:
    """Leave artifacts about this flow run to the caller, while the block lasts."""
    _gathered.add(flow_run_id)
    try:
        yield
    finally:
        _gathered.discard(flow_run_id)


def leave(events: Sequence[Event]) -> None:
    """Leave the artifacts about `events`, at the end of their run."""
    from resilient_tasks.observe.report import RunReport  # noqa: PLC0415  # for runs that leave one

    report = RunReport(events)
    if report.operations or any(isinstance(event, ApiAway) for event in events):
        _leave("resilience-report", report)
    leave_quality(events)


def leave_quality(events: Sequence[Event]) -> None:
    """Leave an artifact about rows that were quarantined and rules that warned, if there are any."""
    from resilient_tasks.observe.quality import DataQuality  # noqa: PLC0415  # as above

    quality = DataQuality(events)
    if quality.is_worth_a_look:
        _leave("data-quality", quality)


def nobody_gathers(events: Sequence[Event]) -> bool:
    """Return whether `events` include some about data that no flow run will report at its end."""
    about_data = (event for event in events if isinstance(event, RowsQuarantined | RowsWarned))
    return any(event.run.get("flow_run_id") not in _gathered for event in about_data)


def tag(flow_run_id: UUID, tags: Iterable[str]) -> None:
    """Add tags to a flow run: Prefect's list of runs shows them and can filter by them."""
    new = set(tags)
    if not new:
        return
    try:
        with get_client(sync_client=True) as client:
            there = set(client.read_flow_run(flow_run_id).tags)
            if not new <= there:
                client.update_flow_run(flow_run_id, tags=sorted(there | new))
    except Exception:
        _logger.exception("the flow run could not be tagged %s in Prefect", ", ".join(sorted(new)))


def _leave(key: str, report: RunReport | DataQuality) -> None:
    try:
        create_markdown_artifact(report.markdown(), key=key, description=report.headline(), _sync=True)  # type: ignore[call-arg]
    except Exception:
        _logger.exception("the artifact %s could not be left in Prefect", key)
