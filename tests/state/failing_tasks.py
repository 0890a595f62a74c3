"""The functions of `failing_calls` as Prefect tasks."""

from __future__ import annotations

import failing_calls
from prefect import task

from resilient_tasks import resilient_task

meet = task(failing_calls.meet)
be_busy = task(failing_calls.be_busy)


@resilient_task(breaker=failing_calls.BREAKER, fallback=failing_calls.describe)
def call(folder):
    """Call the service, as a task."""
    return failing_calls.service(folder)
