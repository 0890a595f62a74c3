"""Pandera checks names and types once, as long as schema and layout stay the same."""

import gc
import pickle
from concurrent.futures import ThreadPoolExecutor

import cloudpickle
import pandas as pd
import pandera.pandas as pa
import pytest

from resilient_tasks.validation import pandas_engine
from resilient_tasks.validation.split import split

FRAME = pd.DataFrame({"x": [1, -1, 3], "y": ["a", "b", "c"]})


@pytest.fixture
def asked(monkeypatch):
    """Count the validations by pandera."""
    frames = []
    validate = pa.DataFrameSchema.validate

    def counted(schema, frame, *args, **kwargs):
        frames.append(frame)
        return validate(schema, frame, *args, **kwargs)

    monkeypatch.setattr(pa.DataFrameSchema, "validate", counted)
    return frames


def positive(**rules):
    return pa.DataFrameSchema({"x": pa.Column(int, pa.Check.ge(0))}, **rules)


def test_frames_with_one_layout_are_validated_once(asked):
    schema = positive()
    for _ in range(3):
        assert split(FRAME, schema).good["x"].tolist() == [1, 3]
    assert len(asked) == 1


@pytest.mark.parametrize(
    ("first", "other"),
    [
        (FRAME, FRAME[["y", "x"]]),
        (FRAME, FRAME.assign(z=1)),
        (FRAME, FRAME.astype({"y": "category"})),
        (FRAME, FRAME.set_axis(["p", "q", "r"], axis=0)),
        (FRAME, FRAME.rename_axis("row")),
        (FRAME, FRAME.assign(x=[-1, -2, -3])),
        (FRAME.rename(columns={"y": 1}), FRAME.rename(columns={"y": True})),
    ],
)
def test_frames_with_another_layout_are_validated_again(asked, first, other):
    schema = positive()
    split(first, schema)
    split(other, schema)
    assert len(asked) == 2


def test_a_refused_layout_stays_refused(asked):
    schema = positive(strict=True)
    for _ in range(2):
        assert split(FRAME, schema).report.frame_errors == ("column 'y' is not in the schema",)
    assert split(FRAME[["x"]], schema).report.frame_errors == ()


def strict(schema):
    schema.strict = True


def another_type(schema):
    schema.columns["x"].dtype = "float64"


def one_more_column(schema):
    schema.columns["z"] = pa.Column(int, name="z")


def an_index(schema):
    schema.index = pa.Index("float64")


@pytest.mark.parametrize("alter", [strict, another_type, one_more_column, an_index])
def test_a_schema_that_was_altered_is_evaluated_again(alter):
    schema = positive()
    assert not split(FRAME, schema).report.frame_errors
    alter(schema)
    assert split(FRAME, schema).report.frame_errors


def test_a_schema_that_was_corrected_is_evaluated_again():
    schema = positive(strict=True)
    assert split(FRAME, schema).report.frame_errors
    schema.strict = False
    assert not split(FRAME, schema).report.frame_errors


def test_a_deleted_schema_leaves_nothing_in_the_cache():
    schema = positive()
    split(FRAME, schema)
    at = id(schema)
    assert at in pandas_engine._answers
    del schema
    gc.collect()
    assert at not in pandas_engine._answers


def test_the_cache_does_not_stop_a_schema_from_being_pickled():
    schema = positive()
    split(FRAME, schema)
    other = pickle.loads(cloudpickle.dumps(schema))
    assert other == schema
    assert split(FRAME, other).good["x"].tolist() == [1, 3]


def test_threads_may_share_a_schema():
    schema = pa.DataFrameSchema({"[xz]": pa.Column(int, pa.Check.ge(0), regex=True), "y": pa.Column(str)})
    frames = [FRAME, FRAME[["y", "x"]], FRAME.assign(z=[1, 1, -1]), FRAME.drop(columns="y")]
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda at: split(frames[at % 4], schema), range(200)))
    assert [len(result.good) for result in found] == [2, 2, 1, 3] * 50
    assert all(bool(result.report.frame_errors) == (at % 4 == 3) for at, result in enumerate(found))
