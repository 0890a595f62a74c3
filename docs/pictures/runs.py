# ruff: noqa: INP001 - a script beside the pages, and no part of a package
"""A flow for the pictures of Prefect's UI: it recovers, sets rows aside, and uses a stand-in."""

import os
from typing import Any

import httpx
import pandas as pd
import pandera.pandas as pa

from resilient_tasks import Retry, Validate, resilient_flow, resilient_task

Flights = pa.DataFrameSchema(
    {"flight": pa.Column(int), "origin": pa.Column(str), "air_time": pa.Column(float, pa.Check.in_range(5, 1000))}
)


@resilient_task(
    retry=Retry(attempts=5, wait=0.3), validate=Validate(output=Flights, on_invalid="quarantine"), idempotent=True
)
def fetch_month(month: str) -> pd.DataFrame:
    """Fetch the flights of one month."""
    return pd.DataFrame(_get("/flights", month=month))


def planes_of_last_month(month: str) -> list[dict[str, Any]]:  # noqa: ARG001  # a fallback takes the arguments of what it replaces
    """Return the register as last read."""
    return [{"tailnum": "N10156", "seats": 55}]


@resilient_task(retry=Retry(attempts=2, wait=0.3), fallback=planes_of_last_month)
def fetch_planes(month: str) -> list[dict[str, Any]]:
    """Fetch the register of aircraft."""
    return list(_get("/planes", month=month))


@resilient_task
def train(flights: pd.DataFrame, planes: list[dict[str, Any]]) -> float:
    """Train a model, and return its error in minutes."""
    return float(flights["air_time"].std()) + len(planes)


@resilient_flow(name="monthly-retrain")
def retrain(month: str = "2013-07", seed: int = 1) -> float:
    """Retrain the model.

    Args:
        month: the month whose flights it is trained on.
        seed: of everything that is drawn at random.
    """
    flights, planes = fetch_month.submit(month), fetch_planes.submit(month)
    return train.submit(flights, planes).result() + 0 * seed


def _get(path: str, **query: str) -> Any:
    return httpx.get(os.environ["FLIGHTS_API"] + path, params=query, trust_env=False).raise_for_status().json()
