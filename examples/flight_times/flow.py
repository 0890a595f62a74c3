"""The flow: twelve months of flights through an API that fails, and each month a challenger for the champion.

Everything about failure is in the decorators. The functions below them are what they would be if nothing ever failed.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

import httpx
import pandas as pd
from data import read_exactly
from model import CATEGORIES, TARGET, Model, rmse, split_newest, train, with_air_time
from prefect.futures import PrefectFuture
from prefect.task_runners import ThreadPoolTaskRunner
from registry import Registry, decide
from schema import Flights, Planes
from wording import in_month

from resilient_tasks import (
    Degraded,
    Drift,
    Failed,
    Kind,
    Ok,
    Retry,
    Slack,
    Timeout,
    Validate,
    current_call,
    outcome_of,
    register_kind,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.data.drift import DriftReport
from resilient_tasks.data.profile import Profile, profile


class TruncatedCsvError(ValueError):
    """The CSV has fewer rows than its header announces."""


register_kind(TruncatedCsvError, Kind.MALFORMED)

#: What passes when it is asked for again: a body that was cut short among it, which is not retried by default.
PASSING = (Kind.TRANSIENT, Kind.THROTTLED, Kind.TIMEOUT, Kind.MALFORMED)
#: Longer than any timeout below: when an attempt has taken too long is the decorator's business.
_PATIENCE = 60
#: Made once: reading the certificates takes longer than a page does.
_TLS = httpx.create_ssl_context()
#: What the model sees of a flight, and what it predicts: a month in which these have drifted is not trained on.
_GATED = [*CATEGORIES, "distance", "hour", TARGET]
ALERTS = Slack()  # SLACK_WEBHOOK_URL


@dataclass(frozen=True)
class Trained:
    """What one month came to.

    Attributes:
        model: the challenger.
        frozen, champion, challenger: errors (RMSE) on the month's newest days, in minutes; None without that model.
        promoted: the challenger is the champion now.
    """

    model: Model
    frozen: float | None
    champion: float | None
    challenger: float
    promoted: bool

    def __str__(self) -> str:
        if self.champion is None:
            return f"first champion, RMSE {self.challenger:.1f} min"
        verdict = "promoted" if self.promoted else "kept"
        return f"champion {self.champion:.1f}, challenger {self.challenger:.1f} min: {verdict}"


@dataclass(frozen=True)
class MonthResult:
    """One month as the flow saw it: its rows, what was degraded, and the training, or why there was none.

    `announced` are the rows of the pages that came, `absent` those of pages that did not, both by the index. `drift`
    says in which columns the month is unlike the one that the champion was trained on; empty where in none.
    """

    month: str
    announced: int
    absent: int
    used: int
    missing: int
    degraded: tuple[str, ...]
    trained: Trained | None
    note: str
    drift: str

    def __str__(self) -> str:
        degraded = f"  DEGRADED: {', '.join(self.degraded)}" if self.degraded else ""
        drift = f"  DRIFT: {self.drift}" if self.drift else ""
        return f"{self.month}  {self.announced:,} rows  {self.trained or self.note}{degraded}{drift}"


def _named(what: str) -> Callable[[dict[str, Any]], str]:
    """Name task runs by their month and other arguments: "January page 3"."""
    return lambda parameters: in_month(parameters["month"], what.format(**parameters))


@resilient_task(
    retry=Retry(on=PASSING, attempts=8, wait=0.2), timeout=5, idempotent=True, task_run_name=_named("index")
)
async def month_index(month: int) -> list[int]:
    """Ask how many rows each page of a month has."""
    rows: list[int] = (await _get("/months", month=month)).json()["rows_by_page"]
    return rows


@resilient_task(
    retry=Retry(on=PASSING, attempts=8),
    timeout=5,
    deadline=180,
    validate=Validate(output=Flights, on_invalid="quarantine", max_invalid=0.05),
    notify=ALERTS,
    idempotent=True,
    task_run_name=_named("page {page}"),
)
async def fetch_page(month: int, page: int) -> pd.DataFrame:
    """Fetch one page of a month's flights."""
    return _rows(await _get("/flights", month=month, page=page))


def last_good_planes(month: int) -> pd.DataFrame:  # noqa: ARG001  # a fallback takes the arguments of what it replaces
    """Read the planes as they were when they could last be had."""
    return pd.read_parquet(_good_copy())


@resilient_task(
    retry=Retry(on=PASSING, attempts=5, wait=0.5),
    timeout=5,
    deadline=60,
    validate=Planes,
    fallback=last_good_planes,
    notify=ALERTS,
    idempotent=True,
    task_run_name=_named("planes"),
)
def fetch_planes(month: int) -> pd.DataFrame:
    """Fetch the register of aircraft, as it is this month."""
    with httpx.Client(**_client()) as client:
        return _rows(client.get("/planes", params={"month": month}).raise_for_status())


@resilient_task(task_run_name=_named("keep planes"))
def keep_planes(month: int, planes: pd.DataFrame) -> None:  # noqa: ARG001  # names the run
    """Keep a good copy, for the month in which there is none to be had."""
    fresh = _good_copy().with_suffix(".new")
    planes.to_parquet(fresh)
    fresh.replace(_good_copy())


@resilient_task(
    retry=Retry(on=Kind.TRANSIENT, attempts=2),
    timeout=Timeout(60, enforce="cooperative"),
    notify=ALERTS,
    task_run_name=_named("retrain"),
)
def retrain(month: int, flights: pd.DataFrame, planes: pd.DataFrame, frozen: Model | None) -> Trained:
    """Train a challenger, hold it against the champion on the newest days, and promote the better one."""
    older, newest = split_newest(flights)
    challenger = train(older, planes)
    registry = Registry(Path(os.environ["FLIGHT_TIMES_OUT"], "registry"))
    champion = registry.champion()
    error = rmse(challenger, newest, planes)
    champion_error = None if champion is None else rmse(champion.model, newest, planes)
    promoted = champion_error is None or decide(champion_error, error)
    version = registry.register(challenger, f"2013-{month:02}", {"rmse": error})
    if promoted:
        registry.promote(version)
    frozen_error = None if frozen is None else rmse(frozen, newest, planes)
    return Trained(challenger, frozen_error, champion_error, error, promoted)


@resilient_flow(
    name="flight-times",
    task_runner=ThreadPoolTaskRunner(max_workers=8),
    notify=ALERTS,
)
def flight_times() -> list[MonthResult]:
    """Retrain the model month by month; a month that cannot be trained is named, and the next one goes on."""
    began = time.monotonic()
    results: list[MonthResult] = []
    frozen: Model | None = None
    for month in range(1, 13):
        result = one_month(month, frozen)
        if frozen is None and result.trained is not None:
            frozen = result.trained.model
        results.append(result)
        print(f"{time.monotonic() - began:5.0f} s  {result}", flush=True)
    return results


def one_month(month: int, frozen: Model | None) -> MonthResult:
    """Fetch, train and compare one month."""
    iso = f"2013-{month:02}"
    index: Any = month_index.submit(month)
    if isinstance(failed := outcome_of(index), Failed):
        return MonthResult(iso, 0, 0, 0, 0, (), None, f"not trained: index: {type(failed.error).__name__}", "")
    sizes = index.result()
    planes: Any = fetch_planes.submit(month)
    pages = [fetch_page.submit(month, page) for page in range(1, len(sizes) + 1)]
    flights, absent, problems = gathered(pages, sizes)
    degraded, known = planes_of(month, planes)
    used = len(with_air_time(flights))
    drift = None if flights.empty else drift_since_promotion(flights)
    if drift is not None and drift.action == "stop":
        problems.append(f"drifted: {', '.join(drift.drifted)}")
    trained = None
    if not problems and known:
        trained = retrain.submit(month, flights, planes, frozen).result()
        if trained.promoted:
            profile(flights, Flights).save(_baseline())
    elif not known:
        problems.append("no planes, and no earlier copy of them")
    note = f"not trained: {'; '.join(problems)}" if problems else ""
    told = drift.summary() if drift is not None and drift.noted else ""
    read, missing = sum(sizes) - absent, len(flights) - used
    return MonthResult(iso, read, absent, used, missing, degraded, trained, note, told)


def drift_since_promotion(flights: pd.DataFrame) -> DriftReport | None:
    """Hold a month against the one that the champion was trained on; None while there is no champion."""
    if not _baseline().exists():
        return None
    return Drift(Profile.load(_baseline()), columns=_GATED, on_drift="stop").judge(flights, Flights)


def gathered(pages: Sequence[PrefectFuture[Any]], sizes: Sequence[int]) -> tuple[pd.DataFrame, int, list[str]]:
    """Wait for the pages, and return the rows that came, the number of those that did not, and why they did not."""
    come, absent, problems = [], 0, []
    for number, (page, rows) in enumerate(zip(pages, sizes, strict=True), 1):
        match outcome_of(page):
            case Ok(frame) | Degraded(frame):
                come.append(frame)
            case Failed(error=error):
                absent += rows
                problems.append(f"page {number}: {type(error).__name__}")
    flights = pd.concat(come, ignore_index=True) if come else pd.DataFrame(columns=list(Flights.columns))
    return flights, absent, problems


def planes_of(month: int, planes: PrefectFuture[Any]) -> tuple[tuple[str, ...], bool]:
    """Say whether the planes are a stand-in, and whether there are any; a good set is kept."""
    match outcome_of(planes):
        case Ok(frame):
            keep_planes.submit(month, frame).wait()
            return (), True
        case Degraded():
            return ("planes",), True
        case Failed():
            return (), False


async def _get(path: str, **query: int) -> httpx.Response:
    async with httpx.AsyncClient(**_client()) as client:
        return (await client.get(path, params=query)).raise_for_status()


def _rows(response: httpx.Response) -> pd.DataFrame:
    rows = read_exactly(StringIO(response.text))
    announced = int(response.headers["X-Rows"])
    if len(rows) != announced:
        msg = f"{len(rows)} rows came of {announced}"
        raise TruncatedCsvError(msg)
    return rows


def _client() -> dict[str, Any]:
    # The API writes the id of each request down: so its log can be held against what is known here of each attempt.
    headers = {"X-Request-ID": f"{call.work.id}/{call.attempt}"} if (call := current_call()) else {}
    where = os.environ["FLIGHT_TIMES_API"]
    return {"base_url": where, "headers": headers, "follow_redirects": True, "timeout": _PATIENCE, "verify": _TLS}


def _baseline() -> Path:
    return Path(os.environ["FLIGHT_TIMES_OUT"], "registry", "baseline.json")


def _good_copy() -> Path:
    return Path(os.environ["FLIGHT_TIMES_OUT"], "last_good_planes.parquet")
