"""Leaves behind what this library keeps: a quarantined row, an open circuit, and a message that could not be sent."""

import contextlib

import pandas as pd
import pandera.pandas as pa

from resilient_tasks import CircuitBreaker, Slack, Validate, resilient

FLIGHTS = pa.DataFrameSchema({"minutes": pa.Column(int, pa.Check.gt(0))})


@resilient(validate=Validate(output=FLIGHTS, on_invalid="quarantine"))
def read_flights():
    """Give a good row and a bad one."""
    return pd.DataFrame({"minutes": [227, -4]})


@resilient(
    breaker=CircuitBreaker("flights-api", failures=1, open_for=3600),
    notify=Slack(webhook="http://127.0.0.1:9/nothing-listens-here"),
)
def fetch_flights():
    """Be down."""
    raise ConnectionError("refused")


if __name__ == "__main__":
    read_flights()
    with contextlib.suppress(ConnectionError):
        fetch_flights()
