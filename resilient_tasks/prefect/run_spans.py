"""Complete the spans that Prefect makes of task runs, while OpenTelemetry is installed.

Up to Prefect 3.9.1 at least, the span of a task run in another process is not in the trace of its flow run, because the
run is taken for its own parent; and the span of a task run that ends with a `TimeoutError` is never ended, so it is not
exported and its attempts have no parent. `TimedOut` is a `TimeoutError`.
"""

from __future__ import annotations

import functools
from typing import Any

from prefect.client.schemas.objects import State
from prefect.context import FlowRunContext

from resilient_tasks.core import call as calls
from resilient_tasks.prefect import undocumented


def complete() -> None:
    """Complete them from now on, in this process; cheap to call again."""
    telemetry = undocumented.find(undocumented.RUN_TELEMETRY)
    if telemetry is None or hasattr(telemetry, _COMPLETED):
        return
    own_parent, own_update = telemetry._parent_run, telemetry.update_state  # noqa: SLF001  # undocumented, as listed

    @functools.wraps(own_parent)
    def parent_run(self: Any) -> Any:
        parent, flow = own_parent(self), FlowRunContext.get()
        is_known = parent is not None and bool(parent.labels)
        if calls.observer is None or is_known or flow is None or flow.flow_run is None:
            return parent
        return flow.flow_run

    @functools.wraps(own_update)
    def update_state(self: Any, new_state: State[Any]) -> None:
        own_update(self, new_state)
        if calls.observer is not None and new_state.state_details.task_run_id and _is_timeout(new_state):
            self.record_exception(new_state.data)
            self.end_span_on_failure(new_state.message)

    telemetry._parent_run, telemetry.update_state = parent_run, update_state  # noqa: SLF001  # as above
    setattr(telemetry, _COMPLETED, True)


_COMPLETED = "__completed_by_resilient_tasks__"


def _is_timeout(state: State[Any]) -> bool:
    """Return whether it is the final state that Prefect's `handle_timeout` makes."""
    return state.is_failed() and state.name == "TimedOut" and isinstance(state.data, TimeoutError)
