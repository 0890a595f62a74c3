"""Models that another process cannot import validate everything there: in a pool of processes, and on Dask."""

import importlib.util

import pandas as pd
import pandera.pandas as pa
import pandera.polars as pap
import polars as pl
import pytest
from prefect.task_runners import ProcessPoolTaskRunner
from pydantic import BaseModel, field_validator

from resilient_tasks import Validate, resilient_flow, resilient_task

pytestmark = pytest.mark.usefixtures("resilient_prefect")


def dask():
    from prefect_dask import DaskTaskRunner

    cluster = {"n_workers": 1, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    return DaskTaskRunner(cluster_kwargs=cluster)


def tasks():
    """Tasks with local models, which are pickled by value, as those of a script are."""

    class OfPandas(pa.DataFrameModel):
        n: int

        @pa.check("n")
        def positive(cls, series):
            return series > 0

    class OfPolars(pap.DataFrameModel):
        n: int

        @pap.dataframe_check
        def positive(cls, data):
            return data.lazyframe.select(pl.col("n") > 0)

    class OfPydantic(BaseModel):
        n: int

        @field_validator("n")
        @classmethod
        def positive(cls, number):
            if number <= 0:
                raise ValueError("not positive")
            return number

    @resilient_task(validate=Validate(output=OfPandas, on_invalid="drop"))
    def of_pandas():
        return pd.DataFrame({"n": [1, 0, 2]})

    @resilient_task(validate=Validate(input=OfPolars, on_invalid="drop"))
    def of_polars(frame):
        return frame

    several = {"frame": OfPandas, "records": OfPydantic}

    @resilient_task(validate=Validate(output=several, on_invalid="drop"))
    def of_several():
        return {"frame": pd.DataFrame({"n": [1, 0, 2]}), "records": [{"n": 1}, {"n": 0}, {"n": 2}]}

    return of_pandas, of_polars, of_several


@pytest.mark.parametrize(
    "task_runner",
    [
        pytest.param(lambda: ProcessPoolTaskRunner(max_workers=1), id="process-pool"),
        pytest.param(
            dask,
            id="dask",
            marks=pytest.mark.skipif(importlib.util.find_spec("prefect_dask") is None, reason="no prefect_dask"),
        ),
    ],
)
def test_their_check_methods_and_validators_hold_there(task_runner):
    of_pandas, of_polars, of_several = tasks()

    @resilient_flow(task_runner=task_runner())
    def monthly():
        futures = [of_pandas.submit(), of_polars.submit(pl.DataFrame({"n": [1, 0, 2]})), of_several.submit()]
        return [future.result() for future in futures]

    pandas_frame, polars_frame, several = monthly()
    good = [1, 2]
    assert pandas_frame["n"].tolist() == polars_frame["n"].to_list() == several["frame"]["n"].tolist() == good
    assert several["records"] == [{"n": 1}, {"n": 2}]
