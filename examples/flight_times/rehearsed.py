"""A month of the flow, for a rehearsal: `resilient-tasks rehearse examples/flight_times/rehearsed.py:month --runs 5`.

Each run starts a failing API of its own, with the same seed, and writes everything to its working folder, where the
rehearsal compares the files of the runs.
"""

from __future__ import annotations

import os
from pathlib import Path

os.environ |= {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "OMP_NUM_THREADS": "1",
    "RESILIENT_TASKS_LAST_GOOD": "last_good",
    "RESILIENT_TASKS_QUARANTINE": "quarantine",
}

from flow import flight_times, one_month  # Prefect reads its settings on import
from servers import flights_api  # as above

from resilient_tasks import resilient_flow  # as above


@resilient_flow(name="rehearsed-month", task_runner=flight_times.task_runner)
def month(number: int = 1, seed: int = 1) -> tuple[object, ...]:
    """Fetch one month, and train on it."""
    out = Path.cwd()
    os.environ["FLIGHT_TIMES_OUT"] = str(out)
    with flights_api(out / "api", seed=seed) as api:
        os.environ["FLIGHT_TIMES_API"] = api
        made = one_month(number, seed, None)
    return made.month, made.used, made.quarantined, made.degraded, made.note, made.trained
