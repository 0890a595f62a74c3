"""The two functions that `resilient-tasks demo` prints and runs."""

import json
from urllib.request import urlopen

import pandas as pd
import pandera.pandas as pa

from resilient_tasks import Retry, Validate, resilient

Orders = pa.DataFrameSchema({"order": pa.Column(int), "amount": pa.Column(float, pa.Check.gt(0))})


@resilient(
    retry=Retry(attempts=6),  # backs off, and waits for as long as Retry-After asks
    timeout=2,  # seconds for each attempt
    validate=Validate(output=Orders, on_invalid="quarantine", max_invalid=0.2),
    idempotent=True,  # reading twice does no harm
)
def fetch_orders(api: str) -> pd.DataFrame:
    return pd.read_csv(urlopen(f"{api}/orders"))


def yesterdays_rates(api: str) -> dict[str, float]:
    return {"EUR": 1.16, "GBP": 1.34}


@resilient(retry=3, fallback=yesterdays_rates)
def fetch_rates(api: str) -> dict[str, float]:
    rates: dict[str, float] = json.load(urlopen(f"{api}/rates"))
    return rates
