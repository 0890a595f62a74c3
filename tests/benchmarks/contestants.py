"""The contestants: ways to split a frame into good and bad rows by the same ten rules."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import dataframely as dy
import pandas as pd
import pandera.pandas as pa
import pandera.polars as ppl
import polars as pl
from flights import BEGIN, CARRIERS, FARTHEST, LONGEST, TAIL
from pandera.errors import SchemaErrors

from resilient_tasks.validation.split import split

Parts = tuple[Any, Any]
MASK, OURS, BY_HAND = "mask by hand", "ours", "pandera, split by hand"
DROPS, DATAFRAMELY = "pandera drop_invalid_rows", "dataframely filter"
OURS_TELLS, BY_HAND_TELLS = "ours, reasons on each bad row", "pandera by hand, reasons on each bad row"


@dataclass(frozen=True)
class Contestant:
    """One way to split a frame.

    Attributes:
        split: gives the good rows and the bad rows of a frame.
    """

    library: str
    name: str
    split: Callable[[Any], Parts]


@cache
def schema(library: str, *, drops: bool = False) -> Any:
    """Make the same schema for either library."""
    of, later = (pa, pandas_later) if library == "pandas" else (ppl, polars_later)
    moment = "datetime64[us]" if library == "pandas" else pl.Datetime("us")
    return of.DataFrameSchema(
        {
            "id": of.Column(int, of.Check.ge(0)),
            "carrier": of.Column(str, of.Check.isin(CARRIERS)),
            "tail": of.Column(str, of.Check.str_matches(TAIL), nullable=True),
            "distance": of.Column(int, [of.Check.gt(0), of.Check.le(FARTHEST)]),
            "air_time": of.Column(float, [of.Check.gt(0), of.Check.lt(LONGEST)], nullable=True),
            "fare": of.Column(float, of.Check.ge(0)),
            "departed": of.Column(moment, of.Check.ge(BEGIN)),
            "arrived": of.Column(moment),
        },
        checks=of.Check(later, name="arrives later"),
        drop_invalid_rows=drops,
    )


def pandas_later(frame: pd.DataFrame) -> pd.Series:
    return frame["arrived"] > frame["departed"]


def polars_later(data: Any) -> pl.LazyFrame:
    return data.lazyframe.select(pl.col("arrived") > pl.col("departed"))


def ours(library: str) -> Callable[[Any], Parts]:
    def by_schema(frame: Any) -> Parts:
        parts = split(frame, schema(library))
        return parts.good, parts.bad

    return by_schema


def ours_tells(frame: pd.DataFrame) -> Parts:
    parts = split(frame, schema("pandas"))
    return parts.good, parts.bad.assign(reasons=parts.report.texts)


def pandas_mask(frame: pd.DataFrame) -> Parts:
    good = (
        (frame["id"] >= 0)
        & frame["carrier"].isin(CARRIERS)
        & (frame["tail"].isna() | frame["tail"].str.match(TAIL))
        & (frame["distance"] > 0)
        & (frame["distance"] <= FARTHEST)
        & (frame["air_time"].isna() | ((frame["air_time"] > 0) & (frame["air_time"] < LONGEST)))
        & (frame["fare"] >= 0)
        & (frame["departed"] >= BEGIN)
        & (frame["arrived"] > frame["departed"])
    )
    return frame[good], frame[~good]


def pandas_by_hand(frame: pd.DataFrame) -> Parts:
    try:
        return schema("pandas").validate(frame, lazy=True), frame.iloc[:0]
    except SchemaErrors as errors:
        bad = frame.index.isin(errors.failure_cases["index"].unique())
        return frame[~bad], frame[bad]


def pandas_by_hand_tells(frame: pd.DataFrame) -> Parts:
    try:
        return schema("pandas").validate(frame, lazy=True), frame.iloc[:0]
    except SchemaErrors as errors:
        cases = errors.failure_cases.drop_duplicates(["index", "column", "check"])
        reasons = (cases["column"] + " " + cases["check"]).groupby(cases["index"].astype(int)).agg("; ".join)
        bad = frame.index.isin(reasons.index)
        return frame[~bad], frame[bad].assign(reasons=reasons)


def pandas_drops(frame: pd.DataFrame) -> Parts:
    good = schema("pandas", drops=True).validate(frame, lazy=True)
    return good, frame[~frame.index.isin(good.index)]


def polars_mask(frame: pl.DataFrame) -> Parts:
    rules = (
        pl.col("id") >= 0,
        pl.col("carrier").is_in(CARRIERS),
        pl.col("tail").is_null() | pl.col("tail").str.contains(TAIL),
        pl.col("distance") > 0,
        pl.col("distance") <= FARTHEST,
        pl.col("air_time").is_null() | ((pl.col("air_time") > 0) & (pl.col("air_time") < LONGEST)),
        pl.col("fare") >= 0,
        pl.col("departed") >= BEGIN,
        pl.col("arrived") > pl.col("departed"),
    )
    good = frame.select(pl.all_horizontal(rules).fill_null(value=False)).to_series()
    return frame.filter(good), frame.filter(~good)


def polars_by_hand(frame: pl.DataFrame) -> Parts:
    try:
        return schema("polars").validate(frame, lazy=True), frame.clear()
    except SchemaErrors as errors:
        numbered = frame.with_row_index("row")
        bad = pl.col("row").is_in(errors.failure_cases["index"].unique().implode())
        return numbered.filter(~bad).drop("row"), numbered.filter(bad).drop("row")


def polars_drops(frame: pl.DataFrame) -> Parts:
    numbered = frame.with_row_index("row")
    good = schema("polars", drops=True).validate(numbered, lazy=True)
    return good.drop("row"), numbered.join(good, on="row", how="anti", maintain_order="left").drop("row")


class Flights(dy.Schema):
    """The same rules for dataframely."""

    id = dy.Int64(min=0)
    carrier = dy.String(check=lambda column: column.is_in(CARRIERS))
    tail = dy.String(regex=TAIL, nullable=True)
    distance = dy.Int64(min_exclusive=0, max=FARTHEST)
    air_time = dy.Float64(min_exclusive=0, max_exclusive=LONGEST, nullable=True, allow_inf=True, allow_nan=True)
    fare = dy.Float64(min=0, allow_inf=True)
    departed = dy.Datetime(min=BEGIN)
    arrived = dy.Datetime()

    @dy.rule()
    def arrives_later(cls) -> pl.Expr:
        return pl.col("arrived") > pl.col("departed")


def dataframely_filter(frame: pl.DataFrame) -> Parts:
    good, failure = Flights.filter(frame)
    return good, failure.invalid()


CONTESTANTS = [
    Contestant("pandas", MASK, pandas_mask),
    Contestant("pandas", OURS, ours("pandas")),
    Contestant("pandas", BY_HAND, pandas_by_hand),
    Contestant("pandas", DROPS, pandas_drops),
    Contestant("pandas", OURS_TELLS, ours_tells),
    Contestant("pandas", BY_HAND_TELLS, pandas_by_hand_tells),
    Contestant("polars", MASK, polars_mask),
    Contestant("polars", OURS, ours("polars")),
    Contestant("polars", BY_HAND, polars_by_hand),
    Contestant("polars", DROPS, polars_drops),
    Contestant("polars", DATAFRAMELY, dataframely_filter),
]
