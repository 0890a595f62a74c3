# ruff: noqa: INP001 - a script beside the pages, and no part of a package
"""Pictures of Prefect's UI: runs, their states with reasons, artifacts, and a work pool.

    python docs/pictures/prefect_ui.py [--folder docs/images] [--browser chromium]

A flow runs on a Prefect server of its own and fetches from an API that fails. Nothing is staged: the pictures show what
the server holds.
"""

import argparse
import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from browser import Browser, browser
from PIL import Image

from resilient_tasks import configure
from resilient_tasks.testing import FaultyServer, Request, Status

FLIGHTS = [{"flight": n, "origin": "JFK", "air_time": float(60 + n)} for n in range(40)]
PLANES = [{"tailnum": "N10156", "seats": 55}]


@contextmanager
def surroundings() -> Iterator[str]:
    """Start a server and an API that fails; yield the address of the UI."""
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory(ignore_cleanup_errors=True))
        faults = [Status(503), Status(429, retry_after=1)]

        def fault(asked: Request) -> Status | None:
            if asked.path == "/planes":
                return Status(503)
            return faults.pop(0) if faults else None

        api = stack.enter_context(FaultyServer(schedule=fault))
        rows = [row | {"air_time": -999.0} if row["flight"] in {7, 21, 30} else row for row in FLIGHTS]
        api.serve("/flights", json.dumps(rows))
        api.serve("/planes", json.dumps(PLANES))
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            port = found.getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        os.environ |= {"PREFECT_HOME": home, "PREFECT_API_URL": f"{address}/api", "FLIGHTS_API": api.url}
        os.environ |= {"PREFECT_SERVER_ANALYTICS_ENABLED": "false", "RESILIENT_TASKS_HOME": home}
        os.environ |= {"NO_PROXY": "127.0.0.1", "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false"}
        configure(quarantine=f"{home}/quarantine")
        command = [sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)]
        server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # noqa: S603
        try:
            _answers(f"{address}/api/health")
            yield address
        finally:
            server.terminate()
            server.wait(timeout=60)


def _answers(url: str) -> None:
    import httpx  # noqa: PLC0415

    ends = time.monotonic() + 120
    while True:
        try:
            httpx.get(url, trust_env=False).raise_for_status()
        except httpx.HTTPError:
            if time.monotonic() > ends:
                raise
            time.sleep(0.3)
        else:
            return


async def scheduled() -> None:
    """Deploy the flow to a work pool without a worker: scheduled runs, and two late ones."""
    from prefect import get_client  # noqa: PLC0415 - which reads the environment
    from prefect.client.schemas.actions import WorkPoolCreate  # noqa: PLC0415
    from prefect.flows import Flow  # noqa: PLC0415
    from prefect.states import Scheduled  # noqa: PLC0415

    async with get_client() as client:
        await client.create_work_pool(WorkPoolCreate(name="ml", type="process"))
        here = Path(__file__).parent
        flow: Flow[..., Any] = await Flow.from_source(source=str(here), entrypoint="runs.py:retrain")
        made: Any = flow.deploy(name="monthly", work_pool_name="ml", cron="0 6 1 * *", print_next_steps=False)
        id_ = await made
        for ago in (3, 1):
            state = Scheduled(scheduled_time=datetime.now(UTC) - timedelta(hours=ago))
            await client.create_flow_run_from_deployment(id_, state=state)
        ends = time.monotonic() + 120
        while len(await client.read_flow_runs()) < 5 or not any(
            run.state and run.state.name == "Late" for run in await client.read_flow_runs()
        ):
            if time.monotonic() > ends:
                raise TimeoutError("no run became late")
            await asyncio.sleep(1)


def ids() -> dict[str, str]:
    """Return the ids of the flow run, its task runs by name and its artifacts by key."""
    from prefect import get_client  # noqa: PLC0415
    from prefect.client.schemas.objects import StateType  # noqa: PLC0415

    with get_client(sync_client=True) as client:
        runs = [run for run in client.read_flow_runs() if run.state and run.state.type is StateType.COMPLETED]
        found = {"flow": str(runs[0].id)}
        found |= {re.sub(r"-\w+$", "", run.name): str(run.id) for run in client.read_task_runs()}
        return found | {str(one.key): str(one.id) for one in client.read_artifacts()}


def take(seen: Browser, address: str, folder: Path) -> None:
    """Take each picture."""
    known = ids()
    pages = {
        "prefect_runs": ("/runs", "Late"),
        "prefect_flow_run": (f"/runs/flow-run/{known['flow']}", "recovered on"),
        "prefect_recovered": (f"/runs/task-run/{known['fetch_month']}", "fetch_month"),
        "prefect_degraded": (f"/runs/task-run/{known['fetch_planes']}", "fetch_planes"),
        "prefect_degraded_input": ("/runs?tab=task-runs&tag=degraded-input", "train-"),
        "prefect_data_quality": (f"/artifacts/artifact/{known['data-quality']}", "air_time"),
        "prefect_work_pool": ("/work-pools/work-pool/ml?tab=Runs", "Late"),
    }
    for name, (where, shows) in pages.items():
        seen.open(address + where, height=900)
        seen.wait_for(shows)
        file = folder / f"{name}.png"
        seen.take(file, settle=3)
        shrink(file)
    seen.open(f"{address}/runs?tag=degraded", width=390, height=1300, phone=True)
    seen.wait_for("monthly-retrain")
    seen.take(file := folder / "prefect_runs_phone.png", settle=3)
    shrink(file)


def shrink(file: Path) -> None:
    """Reduce the colours, because these pictures are in the repository."""
    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(128)
    few.save(file, optimize=True)
    sys.stdout.write(f"{file}: {file.stat().st_size / 1000:.0f} kB\n")


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    parser.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome"))
    chosen = parser.parse_args()
    if chosen.browser is None:
        parser.error("no Chromium is installed here: give --browser")
    with surroundings() as address:
        from runs import retrain  # noqa: PLC0415 - which reads its surroundings

        retrain()
        asyncio.run(scheduled())
        with browser(chosen.browser) as seen:
            take(seen, address, chosen.folder)


if __name__ == "__main__":
    main()
