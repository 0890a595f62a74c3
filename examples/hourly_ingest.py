"""Load an API's orders into DuckDB, an hour at a time: bad rows wait in a quarantine, old rates stand in for new ones.

    python examples/hourly_ingest.py

An hour can be loaded again at any time, and no row is there twice: its rows are replaced in one transaction, and its
batch in the quarantine has the hour's name.
"""

import argparse
import datetime as dt
import os
import shutil
import sys
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any

os.environ.setdefault("PREFECT_LOGGING_LEVEL", "ERROR")  # the tables below replace many log lines

import duckdb
import httpx
import pandas as pd
import pandera.pandas as pa
from prefect.runtime import flow_run
from prefect.testing.utilities import prefect_test_harness

from resilient_tasks import (
    Degraded,
    Failed,
    LastGood,
    Ok,
    Quarantine,
    Retry,
    Validate,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.testing import FaultyServer

OUT = Path("out/hourly_ingest")
QUARANTINE = Quarantine(OUT / "quarantine")
RETRY = Retry(attempts=4, wait=0.3)


class Orders(pa.DataFrameModel):
    id: int = pa.Field(unique=True)
    currency: str = pa.Field(isin=["EUR", "USD", "GBP"])
    amount: float = pa.Field(gt=0)

    class Config:
        coerce = True


def get(path: str) -> Any:
    return httpx.get(os.environ["ORDERS_API"] + path, timeout=10).raise_for_status().json()


@resilient_task(retry=RETRY, deadline=300)
def fetch_orders(hour: str) -> pd.DataFrame:
    return pd.DataFrame(get(f"/orders/{hour}"))


CHECK = Validate(
    output=Orders,
    on_invalid="quarantine",
    max_invalid=0.2,  # with more of its rows bad, the hour fails as a whole
    quarantine=QUARANTINE,
    batch=lambda hour: hour,
)


@resilient_task(validate=CHECK)
def check_orders(hour: str, orders: pd.DataFrame) -> pd.DataFrame:  # noqa: ARG001  # the hour names the batch
    return orders


@resilient_task(retry=RETRY, deadline=60, fallback=LastGood(max_age="2d", folder=OUT / "last_good"))
def fetch_rates() -> dict[str, float]:
    rates: dict[str, float] = get("/rates")
    return rates


# Another process may hold the file for a moment. An hour that is loaded twice is the same hour.
@resilient_task(retry=Retry(attempts=5, wait=1), timeout=60, idempotent=True)
def load(hour: str, rows: pd.DataFrame, read: int | None = None) -> None:
    """Replace the rows of an hour in one transaction; `read` is the number of rows read, None for released rows."""
    OUT.mkdir(parents=True, exist_ok=True)
    with duckdb.connect(OUT / "orders.duckdb") as db:
        db.execute("CREATE TABLE IF NOT EXISTS hours (hour TEXT PRIMARY KEY, read INT)")
        db.execute("""CREATE TABLE IF NOT EXISTS orders (id BIGINT PRIMARY KEY, hour TEXT, currency TEXT,
                      amount DOUBLE, eur DOUBLE, degraded BOOL, released BOOL)""")
        db.register("loaded", rows.assign(hour=hour, released=read is None))
        db.begin()
        if read is not None:
            db.execute("INSERT OR REPLACE INTO hours VALUES (?, ?)", [hour, read])
        db.execute("DELETE FROM orders WHERE hour = ? AND released = ?", [hour, read is None])
        db.execute("INSERT OR REPLACE INTO orders BY NAME SELECT * FROM loaded")
        db.commit()


def in_euros(rows: pd.DataFrame) -> pd.DataFrame:
    """Add the amount in euros, and whether its rates are a stand-in."""
    match fetch_rates.outcome():
        case Ok(rates):
            degraded = False
        case Degraded(rates, because=error):
            degraded = True
            print(f"{'':14} no rates ({type(error).__name__}): {error.__notes__[-1]}")
        case Failed(error=error):
            raise error
    return rows.assign(eur=rows["amount"] / rows["currency"].map(rates), degraded=degraded)


@resilient_flow
def ingest(hour: str | None = None) -> None:
    """Load the orders of an hour: by default of the hour before the one for which the run was scheduled."""
    if hour is None:
        hour = f"{flow_run.scheduled_start_time - dt.timedelta(hours=1):%Y-%m-%dT%H}"
    orders = fetch_orders(hour)
    good = check_orders(hour, orders)
    load(hour, in_euros(good), read=len(orders))


def put_back(hour: str, fix: Any) -> None:
    """Correct the waiting rows of an hour, and load those that satisfy the schema now."""
    done = QUARANTINE.replay(f"{hour}-result", Orders, fix=fix)
    released = QUARANTINE.release("check_orders", batch=f"{hour}-result")  # also rows that an earlier run did not load
    if released is not None:
        load(hour, in_euros(released))
    print(f"{done.rows} put back, {done.waiting} still waiting")


def show() -> None:
    """Print the hours, from the database and the quarantine."""
    batches = [(b.batch.removesuffix("-result"), b.rows, b.waiting) for b in QUARANTINE.list("check_orders")]
    quarantine = pd.DataFrame(batches, columns=["hour", "quarantined", "waiting"])
    with duckdb.connect(OUT / "orders.duckdb", read_only=True) as db:
        db.register("quarantine", quarantine)
        hours = db.sql("""
            SELECT hour, read, count(id) AS loaded, count(id) FILTER (degraded) AS degraded,
                   coalesce(any_value(quarantined), 0) AS quarantined, count(id) FILTER (released) AS released,
                   coalesce(any_value(waiting), 0) AS waiting, round(sum(eur), 2) AS eur
            FROM hours LEFT JOIN orders USING (hour) LEFT JOIN quarantine USING (hour) GROUP BY hour, read
            ORDER BY hour""").df()
    read, loaded, waiting = (int(hours[column].sum()) for column in ("read", "loaded", "waiting"))
    print(f"\n{hours.to_string(index=False)}\n")
    print(f"{read} rows read {'=' if read == loaded + waiting else '≠'} {loaded} loaded + {waiting} waiting\n")


# From here on: an API on this machine with a bad morning, so that the example runs as it is. For your own, set
# ORDERS_API to your URL and run `python hourly_ingest.py --serve` beside a Prefect server.

DAY = "2026-11-27"


def morning() -> FaultyServer:
    """Return an API: one hour is interrupted, the next has bad rows, and then the rates are unavailable."""
    server = FaultyServer()
    for hour in range(8, 13):
        numbers = range(hour * 1000, hour * 1000 + 40)
        orders = [{"id": n, "currency": ["EUR", "USD", "GBP"][n % 3], "amount": n % 97 + 0.5} for n in numbers]
        if hour == 10:
            orders[3] |= {"amount": "12,50"}
            orders[17] |= {"amount": "7,25"}
            orders[31] |= {"currency": "???"}
        server.serve(f"/orders/{DAY}T{hour:02}", pd.DataFrame(orders).to_json(orient="records"))
    server.serve("/rates", '{"EUR": 1.0, "USD": 1.08, "GBP": 0.84}')
    server.down(2, path=f"/orders/{DAY}T09")
    server.reset(path=f"/orders/{DAY}T09")
    return server


def demo() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    os.environ |= {"NO_PROXY": "127.0.0.1", "PREFECT_SERVER_ANALYTICS_ENABLED": "false"}
    with prefect_server(), morning() as server:
        os.environ["ORDERS_API"] = server.url
        for hour in range(8, 13):
            if hour == 11:
                server.down(4, path="/rates")  # for all attempts
            run(f"{DAY}T{hour:02}")
        show()
        print("The rates are back: the hour with old ones is loaded again. So is one with bad rows.")
        run(f"{DAY}T11")
        run(f"{DAY}T10")
        print("\nA person corrects the rows that wait: decimal commas. Then once more, by mistake.")
        for _ in range(2):
            put_back(f"{DAY}T10", lambda rows: rows.assign(amount=rows["amount"].astype(str).str.replace(",", ".")))
        show()
        failed = sum(request.fault is not None for request in server.requests)
        print(f"The API counted {len(server.requests)} requests, and failed {failed} of them.")


def prefect_server() -> AbstractContextManager[None]:
    """Return a Prefect server for this run alone, unless PREFECT_API_URL names one."""
    if os.environ.get("PREFECT_API_URL"):
        return nullcontext()
    print("starting a Prefect server, which takes 10 to 60 s ...", file=sys.stderr, flush=True)
    return prefect_test_harness(server_startup_timeout=120)


def run(hour: str) -> None:
    state = ingest(hour, return_state=True)
    print(f"{hour}  {state.name}  {(state.message or '').partition(' in ')[0]}".rstrip())


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--serve", action="store_true", help="load the API of ORDERS_API, five minutes past each hour")
    if parser.parse_args().serve:
        if not os.environ.get("ORDERS_API"):
            parser.error("ORDERS_API is not set: it names the API to load from")
        ingest.serve(name="hourly", cron="5 * * * *")
    elif os.environ.get("ORDERS_API"):  # the demonstration empties OUT, where the rows of that API may be
        parser.error("ORDERS_API names an API of yours: load it with --serve, or unset it for the demonstration")
    else:
        demo()
