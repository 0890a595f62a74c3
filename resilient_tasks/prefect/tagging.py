"""Tags of runs about their data, which Prefect's lists of runs show and filter by.

Prefect's lists show the name and the tags of a run, not its message, and their filter by state offers Prefect's own
names only: so a degraded run is found by its tag.
"""

from __future__ import annotations

import logging
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from uuid import UUID

from prefect.client.orchestration import get_client
from prefect.client.schemas.filters import TaskRunFilter, TaskRunFilterId

from resilient_tasks.prefect import undocumented

if TYPE_CHECKING:
    from prefect.client.orchestration import SyncPrefectClient
    from prefect.client.schemas.objects import FlowRun

_logger = logging.getLogger("resilient_tasks")

#: Called with the name of a flow and the tags of its run inside another.
OnTags = Callable[[str, Collection[str]], None]

#: Flow runs of this process that tag themselves at their end.
_deciding: dict[UUID, OnTags] = {}

_FAILED = "the flow run could not be tagged %s in Prefect"

#: The most flow runs to remember.
_ROOM = 4096
#: The latest flow runs that were tagged here, and their tags.
_tagged: OrderedDict[UUID, frozenset[str]] = OrderedDict()
_lock = threading.Lock()


@contextmanager
def deciding(flow_run_id: UUID, on_tags: OnTags) -> Iterator[None]:
    """Inside the block, leave the tags of this flow run to the caller; pass those of runs inside it to `on_tags`."""
    _deciding[flow_run_id] = on_tags
    try:
        yield
    finally:
        _deciding.pop(flow_run_id, None)


def tag_this_task_run(tags: Iterable[str]) -> None:
    """Add tags to the current task run, which arrive on the server with its next state."""
    found = undocumented.engine_run() if tags else None
    if found is not None:
        _, run = found
        run.tags = sorted({*run.tags, *tags})


def tag(flow_run_id: UUID, tags: Iterable[str]) -> None:
    """Add tags to a flow run."""
    if not (new := set(tags)):
        return
    try:
        with get_client(sync_client=True) as client:
            _add(client, client.read_flow_run(flow_run_id), new)
    except Exception:
        _logger.exception(_FAILED, ", ".join(sorted(new)))


def has_to_tag(flow_run_id: UUID | None, tags: Collection[str]) -> bool:
    """Return whether a plain flow's run lacks any of these tags, as far as this process knows."""
    return bool(tags) and flow_run_id is not None and flow_run_id not in _deciding and not _has(flow_run_id, tags)


def tag_with_those_around(flow_run_id: UUID | None, tags: Collection[str], inside: str = "") -> None:
    """Add tags to a flow run and to those around it, up to one of a resilient flow, which tags itself at its end.

    Args:
        flow_run_id: the innermost flow run.
        tags: its tags.
        inside: the flow inside it that has these tags, if that is another.
    """
    if not tags or not (inside or has_to_tag(flow_run_id, tags)):
        return
    try:
        with _lock, get_client(sync_client=True) as client:
            _tag_upwards(client, flow_run_id, tags, inside)
    except Exception:
        _logger.exception(_FAILED, ", ".join(sorted(tags)))


def tag_runs_around(run: FlowRun, tags: Collection[str], inside: str) -> None:
    """Add tags to the flow runs around `run`, a run of the flow `inside`, as `tag_with_those_around`."""
    if run.parent_task_run_id is None or not tags:
        return
    try:
        with get_client(sync_client=True) as client:
            around = _parent_of(client, run)
    except Exception:
        _logger.exception(_FAILED, ", ".join(sorted(tags)))
    else:
        tag_with_those_around(around, tags, inside)


def _parent_of(client: SyncPrefectClient, run: FlowRun) -> UUID | None:
    if run.parent_task_run_id is None:
        return None
    wanted = TaskRunFilter(id=TaskRunFilterId(any_=[run.parent_task_run_id]))
    return next((task_run.flow_run_id for task_run in client.read_task_runs(task_run_filter=wanted)), None)


def _tag_upwards(client: SyncPrefectClient, flow_run_id: UUID | None, tags: Collection[str], inside: str) -> None:
    while flow_run_id is not None:
        on_tags = _deciding.get(flow_run_id)
        if on_tags is not None:
            if inside:  # it knows its own tasks
                on_tags(inside, tags)
            return
        if _has(flow_run_id, tags):
            return
        run = client.read_flow_run(flow_run_id)
        _add(client, run, tags)
        inside = client.read_flow(run.flow_id).name if run.parent_task_run_id else ""
        flow_run_id = _parent_of(client, run)


def _add(client: SyncPrefectClient, run: FlowRun, tags: Iterable[str]) -> None:
    new = frozenset(tags)
    if not new <= set(run.tags):
        client.update_flow_run(run.id, tags=sorted(new.union(run.tags)))
    _tagged[run.id] = new | _tagged.get(run.id, frozenset())
    while len(_tagged) > _ROOM:
        _tagged.popitem(last=False)


def _has(flow_run_id: UUID, tags: Collection[str]) -> bool:
    return _tagged.get(flow_run_id, frozenset()).issuperset(tags)
