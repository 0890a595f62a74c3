# ruff: noqa: INP001 - a script beside the pages, and no part of a package
"""Pictures of the page of a run report, on a desktop and on a phone.

    python docs/pictures/report_page.py [--folder docs/images] [--browser chromium] [--keep FILE]

Functions fetch from an API that fails, and alert in a fake Slack. Nothing is staged: the page reports what happened.
"""

import argparse
import contextlib
import json
import logging
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
import pandera.pandas as pa
from browser import Browser, browser
from PIL import Image

from resilient_tasks import CircuitBreaker, LastGood, Retry, RunReport, Slack, Validate, configure, resilient
from resilient_tasks.testing import (
    FakeSlack,
    Fault,
    FaultyServer,
    Hang,
    RecordedEvents,
    Request,
    Status,
    VirtualClock,
    flush_messages,
    use_clock,
)

Flights = pa.DataFrameSchema({"flight": pa.Column(int), "air_time": pa.Column(float, pa.Check.in_range(5, 1000))})
MONTHS = [f"2013-{month:02}" for month in range(1, 9)]
DAY = 86_400


class Api(FaultyServer):
    """An API of flights that is slow, and fails as it does."""

    def __init__(self) -> None:
        """Begin without a fault."""
        self.faults: dict[str, list[Fault]] = {}
        super().__init__(schedule=self.fault)
        self.serve("/flights", flights)
        self.serve("/planes", json.dumps([{"tailnum": "N10156", "seats": 55}]))
        self.serve("/weather", "[]")
        self.serve("/models", "{}")

    def fault(self, asked: Request) -> Fault | None:
        """Return the next fault of this address, after the time that an answer takes."""
        about = asked.query.get("month", "")
        time.sleep(0.15 + sum(about.encode()) % 7 / 20)
        found = self.faults.get(f"{asked.path} {about}".strip(), [])
        return found.pop(0) if found else None


def flights(asked: Request) -> str:
    """Return the flights of a month; those of March break the schema twice."""
    rows = [{"flight": n, "air_time": float(60 + n % 300)} for n in range(2_000)]
    if asked.query["month"].endswith("-03"):
        rows[7]["air_time"] = rows[21]["air_time"] = -999.0
    return json.dumps(rows)


@contextmanager
def surroundings() -> Iterator[tuple[Api, dict[str, Callable[..., Any]]]]:
    """Start the servers; yield the API, and the functions that use it."""
    with ExitStack() as stack:
        home = stack.enter_context(tempfile.TemporaryDirectory())
        api, slack = stack.enter_context(Api()), stack.enter_context(FakeSlack(channels=["#ml-alerts"]))
        os.environ["RESILIENT_TASKS_HOME"] = home
        stack.enter_context(contextlib.chdir(home))
        configure(quarantine="quarantine")
        yield api, functions(api.url, Slack(channel="#ml-alerts", api_url=slack.api_url, token=slack.token), home)


def no_weather(month: str) -> list[Any]:  # noqa: ARG001  # a fallback takes the arguments of what it replaces
    """Return that nothing is known."""
    return []


def functions(url: str, alerts: Slack, home: str) -> dict[str, Callable[..., Any]]:
    """Return the functions of the run."""

    def get(path: str, **query: str) -> Any:
        return httpx.get(url + path, params=query, trust_env=False).raise_for_status().json()

    @resilient(
        retry=Retry(attempts=4, wait=0.5),
        timeout=1.2,
        validate=Validate(output=Flights, on_invalid="quarantine"),
        idempotent=True,
    )
    def fetch_month(month: str) -> pd.DataFrame:
        return pd.DataFrame(get("/flights", month=month))

    @resilient(
        retry=Retry(attempts=2, wait=0.4), fallback=LastGood(max_age="7d", folder=f"{home}/last_good"), notify=alerts
    )
    def fetch_planes() -> Any:
        return get("/planes")

    @resilient(breaker=CircuitBreaker("weather-api", failures=3, open_for=1.5), fallback=no_weather)
    def fetch_weather(month: str) -> Any:
        return get("/weather", month=month)

    @resilient(timeout=0.6)
    def train(months: int) -> int:
        time.sleep(months / 10)
        return months

    @resilient(retry=3, notify=alerts)
    def publish(name: str) -> Any:
        return get("/models", name=name)

    return {each.__name__: each for each in (fetch_month, fetch_planes, fetch_weather, train, publish)}


def run() -> RunReport:
    """Run the functions against an API that fails, and return their report."""
    logging.getLogger("resilient_tasks").setLevel(logging.CRITICAL)
    with surroundings() as (api, run), RecordedEvents.listening() as events:
        with use_clock(VirtualClock(time.time() - 3 * DAY)):
            run["fetch_planes"]()
        events.clear()
        api.faults |= {
            "/flights 2013-02": [Status(503), Hang(5)],
            "/flights 2013-04": [Status(429)],
            "/flights 2013-05": [Status(503), Status(503), Status(503)],
            "/flights 2013-07": [Status(500)],
            "/planes": [Status(503), Status(502)],
            "/models": [Status(422)],
            **{f"/weather {month}": [Status(503)] for month in MONTHS[1:4]},
        }
        with ThreadPoolExecutor(3) as pool:
            done = [pool.submit(run["fetch_month"], month) for month in MONTHS]
            done += [pool.submit(run["fetch_planes"]), *(pool.submit(run["fetch_weather"], month) for month in MONTHS)]
            done.append(pool.submit(run["train"], 9))
        for each in done:
            each.exception()
        with suppress(httpx.HTTPStatusError):
            run["publish"]("pilot")
        flush_messages(10)
        return RunReport(events, run={"name": "monthly-retrain"})


def main() -> None:
    """Take the pictures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--folder", type=Path, default=Path("docs/images"))
    parser.add_argument("--browser", default=shutil.which("chromium") or shutil.which("google-chrome"))
    parser.add_argument("--keep", type=Path, help="where the page is kept")
    chosen = parser.parse_args()
    if chosen.browser is None:
        parser.error("no Chromium is installed here: give --browser")
    with tempfile.TemporaryDirectory() as folder, browser(chosen.browser) as seen:
        page = chosen.keep or Path(folder) / "report.html"
        page.write_text(run().html(), encoding="utf-8")
        for name, width in {"report-page": 1280, "report-page-phone": 390}.items():
            seen.open(page.resolve().as_uri(), width=width, height=1300, phone=width < 700)
            seen.wait_for("Whole run")
            take(seen, chosen.folder / f"{name}.png")
        seen.open(page.resolve().as_uri(), height=760)
        seen.wait_for("Whole run")
        seen.press("#recovered tbody td")
        seen.press("[aria-label='Whole run']")
        seen.run("document.getElementById('timeline').scrollIntoView()")
        take(seen, chosen.folder / "report-page-time-line.png")


def take(seen: Browser, file: Path) -> None:
    """Take a picture in few colours; rare ones mean something here."""
    seen.take(file)
    with Image.open(file) as picture:
        few = picture.convert("RGB").quantize(256, method=Image.Quantize.MAXCOVERAGE)
    few.save(file, optimize=True)


if __name__ == "__main__":
    sys.exit(main())
