"""Artifacts of a run in Prefect's UI: a report of its events, and one of its bad data.

An artifact takes 0.1 s, so each kind is created once per run: at the end of a resilient flow's run for all of its
events, otherwise at the end of the task run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from prefect.artifacts import create_markdown_artifact

from resilient_tasks.core.events import Event, RowsQuarantined, RowsWarned

if TYPE_CHECKING:
    from resilient_tasks.observe.quality import DataQuality
    from resilient_tasks.observe.report import RunReport

_logger = logging.getLogger("resilient_tasks")

#: Flow runs whose events this process collects until they end.
_gathered: set[str] = set()


@contextmanager
def gathering(flow_run_id: str) -> Iterator[None]:
    """Inside the block, leave the artifacts of this flow run to the caller."""
    _gathered.add(flow_run_id)
    try:
        yield
    finally:
        _gathered.discard(flow_run_id)


def create(events: Sequence[Event]) -> None:
    """Create the artifacts about `events`, at the end of their run."""
    from resilient_tasks.observe.report import RunReport  # noqa: PLC0415  # for runs that have one

    report = RunReport(events)
    if report.is_worth_a_look:
        _create("resilience-report", report)
    create_quality(events)


def create_quality(events: Sequence[Event]) -> None:
    """Create an artifact about quarantined rows and rules that warned, if there are any."""
    from resilient_tasks.observe.quality import DataQuality  # noqa: PLC0415  # as above

    quality = DataQuality(events)
    if quality.is_worth_a_look:
        _create("data-quality", quality)


def has_ungathered(events: Sequence[Event]) -> bool:
    """Return whether any event about data belongs to no flow run that will report it."""
    about_data = (event for event in events if isinstance(event, RowsQuarantined | RowsWarned))
    return any(event.run.get("flow_run_id") not in _gathered for event in about_data)


def _create(key: str, report: RunReport | DataQuality) -> None:
    try:
        create_markdown_artifact(report.markdown(), key=key, description=report.headline(), _sync=True)  # type: ignore[call-arg]
    except Exception:
        _logger.exception("the artifact %s could not be created in Prefect", key)
