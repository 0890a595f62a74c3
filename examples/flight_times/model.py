"""The model: minutes in the air, from what is known before a flight departs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]  # it ships no types

if TYPE_CHECKING:
    from numpy.typing import NDArray

TARGET = "air_time"
CATEGORIES = ["carrier", "origin", "dest"]
# The weekday and not the day of the year: a model of one month cannot extrapolate to the days of the next.
NUMBERS = ["distance", "minute_of_day", "weekday", "seats", "engines", "built"]
# Not NaN: the booster cannot be fitted where a whole column is missing, as it is while no plane is known.
UNKNOWN = -1
#: The newest days of a month, held out of the training: no model that is judged on them has seen them.
HELD_OUT = 7


@dataclass(frozen=True)
class Model:
    """A fitted pipeline that predicts `air_time`."""

    pipeline: Pipeline

    def predict(self, flights: pd.DataFrame, planes: pd.DataFrame) -> NDArray[np.float64]:
        """Return the expected minutes in the air, one for each flight."""
        with _one_thread():
            return np.asarray(self.pipeline.predict(features(flights, planes)), dtype=np.float64)


def train(frame: pd.DataFrame, planes: pd.DataFrame) -> Model:
    """Fit a model to the flights whose air time is known; the same rows always give the same model.

    Args:
        frame: Flights that satisfy `schema.Flights`. Those without `air_time` are left out.
        planes: Aircraft that satisfy `schema.Planes`; may be empty, then nothing is known of any aircraft.

    Raises:
        ValueError: No flight has an air time.
    """
    used = _known(frame, "train on")
    pipeline = Pipeline([("encode", _encoder()), ("boost", HistGradientBoostingRegressor(random_state=0))])
    with _one_thread():
        pipeline.fit(features(used, planes), used[TARGET].to_numpy(np.float64))
    return Model(pipeline)


@dataclass(frozen=True)
class DayErrors:
    """A model's errors, by day: flights of one day share one wind.

    Attributes:
        days: The days, "2013-07-25" and so on.
        squared: The sum of the squared errors of each day, in square minutes.
        flights: How many flights that is.
    """

    days: tuple[str, ...]
    squared: NDArray[np.float64]
    flights: NDArray[np.int64]

    @property
    def rmse(self) -> float:
        """The root mean squared error over all flights, in minutes."""
        return float(np.sqrt(self.squared.sum() / self.flights.sum()))


def errors_by_day(model: Model, frame: pd.DataFrame, planes: pd.DataFrame) -> DayErrors:
    """Measure a model on the flights whose air time is known.

    Raises:
        ValueError: No flight has an air time.
    """
    used = _known(frame, "measure the error on")
    squared = (model.predict(used, planes) - used[TARGET].to_numpy(np.float64)) ** 2
    days, at = np.unique(_dates(used).dt.strftime("%Y-%m-%d").to_numpy(str), return_inverse=True)
    return DayErrors(tuple(map(str, days)), np.bincount(at, squared).astype(np.float64), np.bincount(at))


def newest_day(frame: pd.DataFrame) -> str:
    """Return the newest day on which a flight has an air time, "2013-07-24"."""
    return str(_dates(_known(frame, "date")).max().date())


def after(frame: pd.DataFrame, day: str) -> pd.DataFrame:
    """Return the flights of the days after `day`."""
    return frame[_dates(frame) > pd.Timestamp(day)]


def with_air_time(frame: pd.DataFrame) -> pd.DataFrame:
    """Return the flights whose air time is known: these count as used, the others as missing."""
    return frame[frame[TARGET].notna()]


def split_newest(frame: pd.DataFrame, days: int = HELD_OUT) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Split by date into the older flights, to train on, and those of the newest `days` days, held out.

    The newest day is the newest one in the frame. Nothing is drawn at random, because flights of one day
    share one wind: a random sample would let the model look at the days on which it is judged.
    """
    date = _dates(frame)
    newest = date > date.max() - pd.Timedelta(days=days)
    return frame[~newest], frame[newest]


def features(flights: pd.DataFrame, planes: pd.DataFrame) -> pd.DataFrame:
    """Return the model's input, the columns `CATEGORIES` and `NUMBERS`, one row a flight.

    About one flight in six has a tail number that matches no aircraft: its seats, engines and year of
    manufacture are `UNKNOWN`.
    """
    aircraft = planes.set_index("tailnum").reindex(flights["tailnum"])
    numbers = {
        "distance": flights["distance"],
        "minute_of_day": flights["hour"] * 60 + flights["minute"],
        "weekday": _dates(flights).dt.day_of_week,
        "seats": aircraft["seats"].fillna(UNKNOWN),
        "engines": aircraft["engines"].fillna(UNKNOWN),
        "built": aircraft["year"].fillna(UNKNOWN),
    }
    columns = {name: flights[name].to_numpy(object) for name in CATEGORIES}
    floats = {name: values.to_numpy(np.float64) for name, values in numbers.items()}
    return pd.DataFrame(columns | floats, index=flights.index)


def _encoder() -> ColumnTransformer:
    # An airport that appears only after training is a missing value, not an error.
    ordinal = OrdinalEncoder(handle_unknown="use_encoded_value", unknown_value=np.nan)
    return ColumnTransformer([("category", ordinal, CATEGORIES), ("number", "passthrough", NUMBERS)])


def _known(frame: pd.DataFrame, purpose: str) -> pd.DataFrame:
    used = with_air_time(frame)
    if used.empty:
        raise ValueError(f"none of the {len(frame):,} flights has an {TARGET}: there is nothing to {purpose}")
    return used


def _dates(frame: pd.DataFrame) -> pd.Series[pd.Timestamp]:
    return pd.to_datetime(frame[["year", "month", "day"]].astype("int64"))


def _one_thread() -> threadpool_limits:
    # On a busy machine OpenMP's threads wait for each other: a fit of 0.5 s becomes one of 4 to 20 s.
    return threadpool_limits(limits=1, user_api="openmp")
