"""The frames for measuring the split: 8 columns of flights, with rows that break one rule each."""

import datetime as dt
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

CARRIERS = ["9E", "AA", "AS", "B6", "DL", "EV", "F9", "FL", "UA", "WN"]
TAIL = r"^N\d{3}[A-Z]{2}$"
FARTHEST, LONGEST = 5_000, 1_500  # miles, minutes
BEGIN = dt.datetime(2013, 1, 1)  # noqa: DTZ001 - the data has no zones

_NULLS = 0.02


def flights(rows: int, bad: int) -> pl.DataFrame:
    """Make a frame in which `bad` rows at random places break one of the ten rules each, every rule equally often."""
    draw = np.random.default_rng(1)
    tails = [f"N{number}{a}{b}" for number in range(100, 1000) for a, b in ("AB", "QX", "ZZ")]
    departed = draw.integers(0, 365 * 86_400, rows).astype("m8[s]")
    minutes = draw.uniform(20, 700, rows)
    good = {
        "id": np.arange(rows),
        "carrier": pl.Series(CARRIERS).gather(draw.integers(0, len(CARRIERS), rows)),
        "tail": pl.Series(tails).gather(draw.integers(0, len(tails), rows)),
        "distance": draw.integers(80, FARTHEST, rows),
        "air_time": minutes,
        "fare": draw.uniform(20, 900, rows).round(2),
        "departed": (np.datetime64(BEGIN) + departed).astype("M8[us]"),
        "arrived": (np.datetime64(BEGIN) + departed + (minutes * 60).astype("m8[s]")).astype("M8[us]"),
    }
    broken = np.zeros(rows, dtype=np.int8)
    broken[draw.choice(rows, bad, replace=False)] = np.arange(bad) % 10 + 1
    marks = {"broken": broken, "without": draw.random(rows)}
    return pl.DataFrame({**good, **marks}).with_columns(**_breaks()).drop(marks)


def _breaks() -> dict[str, pl.Expr]:
    """The columns in which some rows break a rule, or lack a value where they may."""

    def broken(rule: int, value: Any, column: pl.Expr) -> pl.Expr:
        return pl.when(pl.col("broken") == rule).then(value).otherwise(column)

    may_lack = (pl.col("broken") == 0) & (pl.col("without") < _NULLS)
    tail = broken(3, pl.lit("N1"), pl.col("tail"))
    air_time = broken(6, -1.0, broken(7, 9_999.0, pl.col("air_time")))
    return {
        "id": broken(1, -1 - pl.col("id"), pl.col("id")),
        "carrier": broken(2, pl.lit("??"), pl.col("carrier")),
        "tail": pl.when(~may_lack).then(tail),
        "distance": broken(4, 0, broken(5, FARTHEST + 1, pl.col("distance"))),
        "air_time": pl.when(~may_lack).then(air_time),
        "fare": broken(8, -0.01, pl.col("fare")),
        "departed": broken(9, pl.col("departed") - pl.duration(days=400), pl.col("departed")),
        "arrived": broken(10, pl.col("departed") - pl.duration(days=3), pl.col("arrived")),
    }


def load(path: Path, library: str) -> Any:
    """Read a frame as one of either library."""
    if library == "polars":
        return pl.read_parquet(path)
    import pandas as pd

    return pd.read_parquet(path)
