"""One flow with a retry, a quarantine, a fallback and a circuit, for each way in which its tasks can be run."""

import sqlite3
from pathlib import Path

import pandas as pd
import pandera.pandas as pa

from resilient_tasks import (
    CircuitBreaker,
    Degraded,
    Failed,
    Ok,
    Retry,
    Validate,
    outcome_of,
    resilient_flow,
    resilient_task,
)

ROWS = pa.DataFrameSchema({"minutes": pa.Column(int, pa.Check.gt(0))})


def tries(folder, name):
    """Note one try at the work, and return how many there were with this one."""
    with sqlite3.connect(Path(folder) / "tries.db", timeout=60) as database:
        database.execute("create table if not exists tries (name text)")
        database.execute("insert into tries values (?)", (name,))
        return database.execute("select count(*) from tries where name = ?", (name,)).fetchone()[0]


@resilient_task(retry=Retry(attempts=3, wait=0.01))
def fetch(folder, month):
    """Be refused once for each month."""
    if tries(folder, f"fetch {month}") < 2:
        raise ConnectionError("refused")
    return [month, -month]


@resilient_task(validate=Validate(output=ROWS, on_invalid="quarantine", max_invalid=0.9))
def read(folder, values):
    """Give a good row and a bad one."""
    return pd.DataFrame({"minutes": values})


def last_month(folder, month):
    """Stand in for a summary."""
    return f"summary before {month}"


@resilient_task(fallback=last_month, retry=Retry(attempts=2, wait=0.01))
def summary(folder, month):
    """Fail for even months."""
    if month % 2 == 0:
        tries(folder, f"summary {month}")
        raise ConnectionError("refused")
    return f"summary of {month}"


@resilient_task(breaker=CircuitBreaker("weather", failures=2, open_for=600))
def weather(folder, month):
    """Be down."""
    tries(folder, "weather")
    raise ConnectionError("down")


@resilient_flow(on_unobserved="ignore")
def months(folder, run):
    """Run each task for four months; `run(task, calls)` makes the calls of one task, and returns their outcomes."""
    numbers = [1, 2, 3, 4]
    fetched = run(fetch, [(folder, month) for month in numbers])
    frames = run(read, [(folder, outcome.value) for outcome in fetched])
    summaries = run(summary, [(folder, month) for month in numbers])
    down = run(weather, [(folder, 1)]) + run(weather, [(folder, 2)])
    down += run(weather, [(folder, month) for month in numbers])
    return account(folder, fetched, frames, summaries, down)


def account(folder, fetched, frames, summaries, down):
    """Return what a user can observe of it, in plain values."""
    with sqlite3.connect(Path(folder) / "tries.db", timeout=60) as database:
        tried = dict(database.execute("select name, count(*) from tries group by name"))
    return {
        "fetched": [(outcome.value, outcome.attempts) for outcome in fetched],
        "rows": [outcome.value["minutes"].to_list() for outcome in frames],
        "summaries": [_in_words(outcome) for outcome in summaries],
        "weather": [type(outcome.error).__name__ for outcome in down],
        "tried": tried,
        "quarantined": len(list(Path(folder, "quarantine").rglob("*.parquet"))),
    }


def _in_words(outcome):
    match outcome:
        case Degraded(value, because=error):
            return f"{value}, for {type(error).__name__}"
        case Ok(value):
            return value
        case Failed(error=error):
            return type(error).__name__


def directly(task, calls):
    """Call a task, one call after the other."""
    return [task.outcome(*call) for call in calls]


def submitted(task, calls):
    """Submit all calls of a task, and wait for them."""
    futures = [task.submit(*call) for call in calls]
    return [outcome_of(future) for future in futures]
