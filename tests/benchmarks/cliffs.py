"""Two shapes of data for which pandera takes a minute, and the split should not."""

import statistics
import time
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pandera.polars as ppl
import polars as pl

from resilient_tasks.validation.split import split

DATES, ROWS, COLUMNS = 100_000, 200_000, 30
ROUNDS = 5


def cliffs() -> Iterator[tuple[str, float, float, str]]:
    """For each: its name, the figure, its limit, and the unit."""
    yield f"{DATES:,} date strings, one of them bad, pandas", _dates(), 0.1, "s"
    for library in ("pandas", "polars"):
        yield f"one check over {ROWS:,} x {COLUMNS} at half bad, {library}", _wide(library), 3, "x mask"


def _dates() -> float:
    texts = pd.Series(pd.date_range("2013-01-01", periods=DATES, freq="min")).astype(str)
    texts[DATES // 2] = "n/a"
    schema = pa.DataFrameSchema({"day": pa.Column("datetime64[us]", coerce=True)})
    frame = pd.DataFrame({"day": texts})
    if split(frame, schema).bad.index.tolist() != [DATES // 2]:
        raise AssertionError
    return statistics.median(_seconds(lambda: split(frame, schema)) for _ in range(ROUNDS))


def _wide(library: str) -> float:
    cells = np.random.default_rng(1).random((ROWS, COLUMNS))
    cells[::2] *= -1
    names = [f"c{number}" for number in range(COLUMNS)]
    if library == "pandas":
        frame: Any = pd.DataFrame(cells, columns=names)
        schema: Any = pa.DataFrameSchema(checks=pa.Check(lambda frame: frame >= 0))
        mask = _pandas_mask
    else:
        frame = pl.DataFrame(cells, schema=names)
        schema = ppl.DataFrameSchema(checks=ppl.Check(lambda data: data.lazyframe.select(pl.all() >= 0)))
        mask = _polars_mask
    parts = split(frame, schema)
    if (len(parts.good), len(parts.bad)) != (ROWS // 2, ROWS // 2):
        raise AssertionError
    return statistics.median(
        _seconds(lambda: split(frame, schema)) / _seconds(lambda: mask(frame)) for _ in range(ROUNDS)
    )


def _pandas_mask(frame: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    good = (frame >= 0).all(axis=1)
    return frame[good], frame[~good]


def _polars_mask(frame: pl.DataFrame) -> tuple[pl.DataFrame, pl.DataFrame]:
    good = frame.select(pl.all_horizontal(pl.all() >= 0)).to_series()
    return frame.filter(good), frame.filter(~good)


def _seconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    result = work()
    took = time.perf_counter() - began
    del result
    return took
