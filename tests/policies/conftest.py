"""What the tests of `Validate` share: each scenario is written once, for pandas and for polars."""

import pandas as pd
import pandera.pandas as pa
import pandera.polars as pap
import polars as pl
import pytest

from resilient_tasks import Quarantine

PANDAS = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0)), "who": pa.Column(str)})
POLARS = pap.DataFrameSchema({"n": pap.Column(int, pap.Check.gt(0)), "who": pap.Column(str)})


class Library:
    """One of the two data frame libraries, as far as these tests need it."""

    def __init__(self, make, schema):
        self.make, self.schema = make, schema

    def frame(self, *numbers):
        return self.make({"n": list(numbers), "who": ["x"] * len(numbers)})

    @staticmethod
    def numbers(frame):
        return list(frame["n"])


@pytest.fixture(params=["pandas", "polars"])
def library(request):
    return Library(pd.DataFrame, PANDAS) if request.param == "pandas" else Library(pl.DataFrame, POLARS)


@pytest.fixture
def quarantine(tmp_path):
    return Quarantine(tmp_path / "quarantine")
