"""A split is correct where pandera's `drop_invalid_rows` loses or keeps the wrong rows.

Each test first pins pandera's behaviour, and so fails once pandera corrects it.
"""

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pytest

from resilient_tasks.validation.split import split


def schemas(*checks, **rules):
    """Return the same schema twice: for a split, and with `drop_invalid_rows`."""
    return [
        pa.DataFrameSchema({"x": pa.Column(int, list(checks), **rules)}, drop_invalid_rows=drops)
        for drops in (False, True)
    ]


def test_a_good_row_that_shares_a_label_with_a_bad_one_is_kept():
    frame = pd.DataFrame({"x": [1, -1, 2, 3]}, index=[7, 7, 7, 8])
    schema, dropping = schemas(pa.Check.ge(0))
    assert dropping.validate(frame, lazy=True)["x"].tolist() == [3]
    result = split(frame, schema)
    assert result.good["x"].tolist() == [1, 2, 3]
    assert result.bad["x"].tolist() == [-1]


def test_rows_are_dropped_from_a_multi_index_with_time_stamps():
    index = pd.MultiIndex.from_arrays([pd.to_datetime(["2013-01-01"] * 3), [1, 2, 2]])
    frame = pd.DataFrame({"x": [1, -1, 2]}, index=index)
    schema, dropping = schemas(pa.Check.ge(0))
    with pytest.raises(NameError, match="Timestamp"):
        dropping.validate(frame, lazy=True)
    result = split(frame, schema)
    assert result.good["x"].tolist() == [1, 2]
    assert result.good.index.equals(index[[0, 2]])


def test_a_failed_aggregate_check_is_a_frame_error_and_drops_nothing():
    frame = pd.DataFrame({"x": [1, 99]})
    schema, dropping = schemas(pa.Check(lambda s: s.mean() < 10, name="mean_below_10"))
    with pytest.raises(TypeError):
        dropping.validate(frame, lazy=True)
    result = split(frame, schema)
    assert result.report.frame_errors == ("column 'x': mean_below_10 failed",)
    pd.testing.assert_frame_equal(result.good, frame)
    assert len(result.bad) == 0


def test_a_split_of_either_schema_is_the_same():
    frame = pd.DataFrame({"x": np.arange(-2, 3)}, index=[0, 0, 1, 1, 1])
    one, other = (split(frame, schema) for schema in schemas(pa.Check.ge(0)))
    pd.testing.assert_frame_equal(one.good, other.good)
    assert one.report.rows_failed == other.report.rows_failed
