"""The flows: a month of flights through an API that fails, and a challenger for the champion; once, or twelve times.

Everything about failure is in the decorators of `fetching.py` and `training.py`. The functions below them are what they
would be if nothing ever failed. Each task finds its files by `FLIGHT_TIMES_OUT` and the API by `FLIGHT_TIMES_API`, in
whatever process it runs.
"""

# Annotations are objects here, not text: `serve` passes the flow to its processes by cloudpickle, which cannot resolve
# names in text.

import time
from calendar import month_name
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import heard
import records
from fetching import ALERTS, Gathered, fetch_page, fetch_planes, gathered, month_index, named, planes_of
from model import HELD_OUT, split_newest, with_air_time
from prefect.client.schemas.objects import State
from prefect.runtime import flow_run
from prefect.states import Completed
from prefect.task_runners import ThreadPoolTaskRunner
from registry import Registry
from training import Trained, drift_since_promotion, retrain

from resilient_tasks import Failed, Kind, Retry, RunReport, Timeout, outcome_of, resilient_flow, resilient_task

#: A month that a person or a schedule asks for; "next" is the one after the newest that has a run in the registry.
Month = Literal[
    "next",
    "2013-01",
    "2013-02",
    "2013-03",
    "2013-04",
    "2013-05",
    "2013-06",
    "2013-07",
    "2013-08",
    "2013-09",
    "2013-10",
    "2013-11",
    "2013-12",
]
#: What the API can be asked for by itself.
Airport = Literal["EWR", "JFK", "LGA"]
#: With more of its rows in the quarantine, a month's challenger is not promoted by itself. A usual month has 0.4 %.
MOST_QUARANTINED = 0.02
#: With more of its rows absent, a month is not trained on.
MOST_ABSENT = 0.5
_RUNNER: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=8)


class NotTrainedError(RuntimeError):
    """Nothing was trained on the requested month; the message gives the reason."""


@dataclass(frozen=True)
class MonthResult:
    """One month as the flow saw it: its rows, what was degraded, and the training, or why there was none.

    Attributes:
        month: "2013-07".
        announced: rows of the pages that came, by the index.
        absent: rows of the pages that did not.
        used, missing: rows with and without an air time.
        quarantined: rows that the schema refused.
        withheld: good rows of pages that the schema refused as a whole.
        degraded: steps whose fallback answered.
        trained: what the training came to, or None.
        note: why there was none.
        drift: in which columns the month is unlike the one that the champion was trained on; empty where in none.
        retries: attempts after the first.
        waited: seconds waited between attempts.
    """

    month: str
    announced: int = 0
    absent: int = 0
    used: int = 0
    missing: int = 0
    quarantined: int = 0
    withheld: int = 0
    degraded: tuple[str, ...] = ()
    trained: Trained | None = None
    note: str = ""
    drift: str = ""
    retries: int = 0
    waited: float = 0.0

    def __str__(self) -> str:
        degraded = f"  DEGRADED: {', '.join(self.degraded)}" if self.degraded else ""
        drift = f"  DRIFT: {self.drift}" if self.drift else ""
        return f"{self.month}  {self.announced:,} rows  {self.trained or self.note}{degraded}{drift}"


# Killed at its timeout, an attempt writes nothing beside the next one, which completes what it has begun.
@resilient_task(
    retry=Retry(on=(Kind.TRANSIENT, Kind.TIMEOUT), attempts=2),
    timeout=Timeout(30, enforce="process"),
    notify=ALERTS,
    task_run_name=named("record"),
)
def record(month: int, result: MonthResult, key: str, seed: int, report: str) -> None:  # noqa: ARG001  # names the run
    """Record the month's result in its MLflow run, with `report`, an HTML page."""
    records.write(Registry.of_this_run(), key, result, seed, report)


@resilient_flow(name="flight-times", task_runner=_RUNNER, notify=ALERTS)
def flight_times(seed: int = 1, origins: list[Airport] | None = None) -> list[MonthResult]:
    """Retrain the model month by month; a month that cannot be trained is named, and the next one goes on.

    Args:
        seed: Of the draws behind the confidence intervals.
        origins: The airports whose flights are asked for one by one; all at once where nothing is given.
    """
    began = time.monotonic()
    results: list[MonthResult] = []
    for month in range(1, 13):
        results.append(one_month(month, seed, origins))
        print(f"{time.monotonic() - began:5.0f} s  {results[-1]}", flush=True)
    return results


@resilient_flow(name="retrain-month", task_runner=_RUNNER, notify=ALERTS)
def retrain_month(
    month: Month = "next", seed: int = 1, origins: list[Airport] | None = None
) -> MonthResult | State[Any]:
    """Fetch one month, train a challenger on it, and promote it if it is better.

    Args:
        month: "2013-07", or "next" for the one after the newest that has a run in the registry.
        seed: Of the draws behind the confidence interval.
        origins: The airports whose flights are asked for one by one; all at once where nothing is given.

    Raises:
        NotTrainedError: Nothing was trained; the registry is as it was, with a run that has the reason.
    """
    number = int(month[-2:]) if month != "next" else records.next_month(Registry.of_this_run())
    if number is None:
        return Completed(message="every month of 2013 has had its run: there is no next one")
    result = one_month(number, seed, origins)
    print(result, flush=True)
    if result.trained is None:
        raise NotTrainedError(f"{result.month} was {result.note}")
    return result


def one_month(month: int, seed: int, origins: Sequence[str] | None) -> MonthResult:
    """Fetch, train and compare one month, and record the result."""
    key = f"{flow_run.get_id()}/2013-{month:02}"
    result = _fetched_and_trained(month, key, seed, origins)
    report = RunReport(heard.of_run(flow_run.get_id(), month_name[month]))
    retries = sum(operation.retries for operation in report.operations)
    waited = sum(operation.waited for operation in report.operations)
    result = replace(result, retries=retries, waited=waited)
    record.submit(month, result, key, seed, records.page(result, report)).result()
    return result


def _fetched_and_trained(month: int, key: str, seed: int, origins: Sequence[str] | None) -> MonthResult:
    iso = f"2013-{month:02}"
    places: Sequence[str | None] = list(dict.fromkeys(origins or [])) or [None]  # each airport once
    indexes: Any = month_index.map(month, places)
    found = [outcome_of(index) for index in indexes]
    if failed := [outcome for outcome in found if isinstance(outcome, Failed)]:
        return MonthResult(iso, note=f"not trained: index: {type(failed[0].error).__name__}")
    planes: Any = fetch_planes.submit(month)
    asked = [
        (page, origin, rows)
        for origin, index in zip(places, indexes, strict=True)
        for page, rows in enumerate(index.result(), 1)
    ]
    if not asked:
        return MonthResult(iso, note="not trained: the API has no flights of this month")
    numbers, origins_of, sizes = zip(*asked, strict=True)
    pages: Any = fetch_page.map(month, numbers, origins_of)
    came = gathered(pages, sizes)
    degraded, known = planes_of(planes)
    problems, drift = _problems(came, known=known)
    trained = None
    if not problems:
        doubts = _doubts(came, degraded)
        trained = retrain.submit(month, came.flights, planes, doubts=doubts, key=key, seed=seed).result()
    used = len(with_air_time(came.flights))
    return MonthResult(
        iso,
        announced=came.read,
        absent=came.absent,
        used=used,
        missing=len(came.flights) - used,
        quarantined=came.quarantined,
        withheld=came.withheld,
        degraded=degraded,
        trained=trained,
        note=f"not trained: {'; '.join(problems)}" if problems else "",
        drift=drift,
    )


def _problems(came: Gathered, *, known: bool) -> tuple[list[str], str]:
    """Return why a month is not trained on (empty if it is), and what differs from the champion's month."""
    problems = [came.refused] if came.refused else []
    if came.absent > MOST_ABSENT * (came.read + came.absent):
        problems.append(came.lost)
    if not problems:
        problems += _too_few(came)
    if not known:
        problems.append("no planes, and no earlier copy of them")
    drift = None if came.flights.empty else drift_since_promotion(came.flights)
    if drift is not None and drift.action == "stop":
        problems.append(f"drifted: {', '.join(drift.drifted)}")
    return problems, drift.summary() if drift is not None and drift.noted else ""


def _too_few(came: Gathered) -> list[str]:
    """Return what is missing for a training: flights to train on, or the newest days to judge on."""
    if came.flights.empty:
        return ["no flights"]
    older, newest = split_newest(came.flights)
    if with_air_time(older).empty:
        return [f"no flight with an air time before the newest {HELD_OUT} days, which are held out"]
    return [f"no flight with an air time in the newest {HELD_OUT} days"] if with_air_time(newest).empty else []


def _doubts(came: Gathered, degraded: Sequence[str]) -> tuple[str, ...]:
    """Return why a month's challenger is not promoted automatically; empty if it may be."""
    doubts = [f"{name} are a stand-in" for name in degraded]
    share = came.quarantined / max(came.read, 1)
    if share > MOST_QUARANTINED:
        doubts.append(f"{share:.1%} of the rows in the quarantine, more than {MOST_QUARANTINED:.0%}")
    if came.lost:
        doubts.append(came.lost)
    return tuple(doubts)
