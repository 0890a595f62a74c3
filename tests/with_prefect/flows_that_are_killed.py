"""A flow for a separate process that sends heartbeats until it is killed or released.

Prefect sends a heartbeat every 30 s at most. Here Prefect's own thread sends them more often, as a test cannot wait for
minutes.
"""

import sys
import time
from pathlib import Path

from prefect import flow, flow_engine

_EVERY = 2


def send_heartbeats_often():
    """Make Prefect's engine send heartbeats every few seconds."""
    flow_engine.MINIMUM_HEARTBEAT_INTERVAL = _EVERY
    flow_engine.BaseFlowRunEngine.heartbeat_seconds = _EVERY


@flow
def waits(folder, name):
    """Wait until the test releases the flow."""
    Path(folder, f"{name} began").touch()
    while not Path(folder, "enough").exists():
        time.sleep(0.1)


if __name__ == "__main__":
    send_heartbeats_often()
    waits.with_options(name=sys.argv[2], flow_run_name=f"run-of-{sys.argv[2]}")(*sys.argv[1:])
