"""Seconds for a run of a rehearsal, beside a run with a fresh Prefect server. `python tests/benchmarks/rehearsal.py`.

The flow has two tasks. The rehearsal's seconds are those of all its runs, with its import and the runs without faults,
divided by their number. A run with a fresh server is what a test would do otherwise: start one, run the flow, stop it.
"""

import platform
import subprocess
import sys
import tempfile
import time
from importlib.metadata import version
from pathlib import Path

FLOW = """
from prefect import flow
from resilient_tasks import Retry, resilient_task

@resilient_task(retry=Retry(attempts=3, wait=1), timeout=20, idempotent=True)
def fetch():
    return [1, 2, 3]

@resilient_task(timeout=20)
def store(rows):
    open("out.txt", "w").write(str(rows))

@flow
def monthly():
    store(fetch())
"""
SERVED = """
from prefect.testing.utilities import prefect_test_harness
from measured_flow import monthly
with prefect_test_harness(server_startup_timeout=120):
    monthly()
"""
RUNS, SERVED_RUNS, BAR = 60, 2, 20


def seconds_of(command, folder):
    """Return the seconds that a command takes in a folder."""
    began = time.monotonic()
    subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return time.monotonic() - began


def main():
    """Measure and print."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "measured_flow.py").write_text(FLOW)
        rehearse = [sys.executable, "-m", "resilient_tasks", "rehearse", "measured_flow.py:monthly"]
        rehearsed = seconds_of([*rehearse, "--runs", str(RUNS), "--faults", "api,timeouts,crash"], folder) / RUNS
        served = sum(seconds_of([sys.executable, "-c", SERVED], folder) for _ in range(SERVED_RUNS)) / SERVED_RUNS
    print(f"Python {platform.python_version()}, Prefect {version('prefect')}, {platform.machine()}")
    print(f"a rehearsed run            {rehearsed:6.2f} s ({RUNS} runs)")
    print(f"a run with a fresh server  {served:6.2f} s ({SERVED_RUNS} runs)")
    print(f"times faster               {served / rehearsed:6.1f} (bar: {BAR})")
    return served / rehearsed < BAR


if __name__ == "__main__":
    sys.exit(main())
