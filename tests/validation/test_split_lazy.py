"""A polars query in, two queries out: rows are collected only if necessary."""

import pickle
import subprocess
import sys
from pathlib import Path

import hypothesis
import numpy as np
import pandera.polars as pa
import polars as pl
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from resilient_tasks import Validate, resilient
from resilient_tasks.core.errors import InvalidData
from resilient_tasks.validation.report import Report
from resilient_tasks.validation.split import split

Hours = pa.DataFrameSchema(
    {
        "hour": pa.Column(pl.Int64, pa.Check.in_range(0, 23), coerce=True),
        "tail": pa.Column(pl.String, default="?"),
        "fare": pa.Column(pl.Float64, pa.Check.gt(0, raise_warning=True), nullable=True, required=False),
    },
    pa.Check(lambda data: data.lazyframe.select(pl.col("hour") != pl.col("tail").is_null()), name="rule of two"),
)
DATA = pl.DataFrame({
    "hour": ["1", "n/a", "99", None, "4"],
    "tail": ["a", "b", None, "d", None],
    "fare": [1.0, -1.0, 2.0, 0.0, None],
})  # fmt: skip


@pytest.fixture
def uncollected(monkeypatch):
    """Check that no frame of rows is built: only a streaming pass that counts."""
    collect = pl.LazyFrame.collect

    def counting(frame, *args, **kwargs):
        result = collect(frame, *args, **kwargs)
        assert result.height == 0 or (result.height == 1 and kwargs.get("engine") == "streaming")
        return result

    monkeypatch.setattr(pl.LazyFrame, "collect", counting)
    return monkeypatch


def test_a_query_stays_one_and_is_counted_in_one_pass(uncollected):
    result = split(DATA.lazy(), Hours)
    assert isinstance(result.good, pl.LazyFrame)
    assert isinstance(result.bad, pl.LazyFrame)
    assert (result.report.rows, result.report.invalid, result.collected) == (5, 3, None)
    assert result.report.reasons == {
        ("hour", "not a number"): 1,
        ("hour", "is null"): 1,
        ("hour", "in_range(0, 23)"): 1,
    }
    assert result.report.warned == {("fare", "greater_than(0)"): 2}
    assert result.report.summary().startswith("3 of 5 rows invalid: hour not a number ×1")
    uncollected.undo()
    assert_frame_equal(result.good.collect(), split(DATA, Hours).good)
    assert_frame_equal(result.bad.collect(), split(DATA, Hours).bad)


def findings_of(report):
    return [(each.column, each.check, each.positions.tolist(), each.values) for each in report.findings]


@pytest.mark.filterwarnings("ignore")
def test_the_positions_of_bad_rows_are_computed_on_first_use():
    lazy, eager = split(DATA.lazy(), Hours).report, split(DATA, Hours).report
    assert sorted(findings_of(lazy)) == sorted(findings_of(eager))
    assert [row for row, _ in lazy.rows_failed] == [1, 2, 3]
    assert lazy.texts == eager.texts
    assert lazy.warnings[0].values == [-1.0, 0.0]
    again = pickle.loads(pickle.dumps(lazy))
    assert type(again) is Report
    assert again.reasons == lazy.reasons


@pytest.mark.parametrize("column", [pa.Column(pl.Int64, nullable=True), pa.Column(pl.Int64)])
def test_without_bad_rows_no_row_is_read(uncollected, column):
    report = split(pl.LazyFrame({"x": [1, 2]}), pa.DataFrameSchema({"x": column})).report
    assert (report.rows, report.rows_failed, report.findings, report.reasons) == (2, (), (), {})


def test_two_rules_of_one_name_count_a_row_once():
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, [pa.Check.gt(1), pa.Check.gt(1)])})
    assert split(pl.LazyFrame({"a": [1, 2]}), schema).report.reasons == {("a", "greater_than(1)"): 1}


ANY_ROW = pa.Check(lambda data: data.lazyframe.select(pl.col("a") > pl.col("a").mean()), name="high")


@pytest.mark.parametrize(
    ("schema", "why"),
    [
        (pa.DataFrameSchema({"a": pa.Column(pl.Int64, unique=True)}), "rows are unique"),
        (pa.DataFrameSchema({"a": pa.Column(pl.Int64, ANY_ROW)}), "column 'a': high may look at other rows"),
        (pa.DataFrameSchema({"^a$": pa.Column(pl.Int64, regex=True)}), "a column is named by a pattern"),
        (pa.DataFrameSchema({"a": pa.Column(pl.Date, coerce=True)}), "only pandera knows how Int64 becomes Date"),
        (pa.DataFrameSchema({"b": pa.Column(pl.Int64, default=1)}, add_missing_columns=True), "the columns or types"),
        (pa.DataFrameSchema({"a": pa.Column(pl.Int64, pa.Check.str_matches("x"))}), "raised"),
    ],
)
def test_where_rules_are_not_masks_the_rows_are_collected_with_a_reason(schema, why):
    frame = pl.DataFrame({"a": [1, 2, 2]})
    result = split(frame.lazy(), schema)
    assert isinstance(result.good, pl.DataFrame)
    assert why in result.collected
    eager = split(frame, schema)
    assert_frame_equal(result.good, eager.good)
    assert result.report.frame_errors == eager.report.frame_errors
    assert eager.collected is None


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (pa.DataFrameSchema({"b": pa.Column(pl.Int64)}), "column 'b' is missing"),
        (pa.DataFrameSchema({"b": pa.Column(pl.Int64, coerce=True)}), "column 'b' is missing"),
        (pa.DataFrameSchema({"hour": pa.Column(pl.Int64)}), "expected column 'hour' to have type Int64, got String"),
        (pa.DataFrameSchema({"hour": pa.Column(pl.String)}, strict=True), "column 'tail' is not in the schema"),
    ],
)
def test_a_query_with_other_columns_or_types_is_refused_without_its_rows(uncollected, schema, words):
    result = split(DATA.lazy(), schema)
    assert isinstance(result.good, pl.LazyFrame)
    assert result.report.frame_errors[0] == words
    assert result.report.rows == 5
    uncollected.undo()
    assert_frame_equal(result.good.collect(), DATA)
    assert_frame_equal(result.bad.collect(), DATA.clear())
    assert result.report.frame_errors == split(DATA, schema).report.frame_errors


texts = st.sampled_from(["1", "7", "22", "-3", "1.5", "n/a", "", None])


@hypothesis.settings(max_examples=30, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(rows=st.lists(st.tuples(texts, st.none() | st.floats(), st.none() | st.integers(-2, 2)), max_size=6))
def test_a_query_gives_what_its_rows_give(rows):
    frame = pl.DataFrame(rows, schema={"n": pl.String, "x": pl.Float64, "k": pl.Int8}, orient="row")
    both = pa.Check(
        lambda data: data.lazyframe.select((pl.col("n") > pl.col("k")) | pl.col("x").is_null()), name="both"
    )
    schema = pa.DataFrameSchema(
        {
            "n": pa.Column(pl.Int64, [pa.Check.ge(0), pa.Check.lt(20, ignore_na=False)], coerce=True, nullable=True),
            "x": pa.Column(pl.Float64, default=0.5),
            "k": pa.Column(pl.Int32, pa.Check.ne(2), coerce=True, nullable=True),
        },
        both,
    )
    lazy, eager = split(frame.lazy(), schema), split(frame, schema)
    assert lazy.collected is None
    assert_frame_equal(lazy.good.collect(), eager.good)
    assert_frame_equal(lazy.bad.collect(), eager.bad)
    assert lazy.report.reasons == eager.report.reasons
    assert sorted(map(str, findings_of(lazy.report))) == sorted(map(str, findings_of(eager.report)))


def test_columns_with_internal_names_do_no_harm():
    frame = pl.LazyFrame({"_split_row": [1, 2], "_split_rule_0": ["a", "b"], "a": ["1", "x"]})
    result = split(frame, pa.DataFrameSchema({"a": pa.Column(pl.Int64, coerce=True)}))
    assert result.good.collect().to_dicts() == [{"_split_row": 1, "_split_rule_0": "a", "a": 1}]
    assert result.bad.collect().to_dicts() == [{"_split_row": 2, "_split_rule_0": "b", "a": "x"}]


@pytest.mark.parametrize("name", ["good.parquet", "good.csv", "good.ndjson", "good.arrow"])
@pytest.mark.parametrize("lazy", [True, False])
def test_the_good_rows_go_to_a_file(tmp_path, name, lazy):
    result = split(DATA.lazy() if lazy else DATA, Hours)
    (tmp_path / name).write_text("old")
    result.sink_good(tmp_path / name)
    read = {".parquet": pl.read_parquet, ".csv": pl.read_csv, ".ndjson": pl.read_ndjson, ".arrow": pl.read_ipc}
    assert read[Path(name).suffix](tmp_path / name).to_dicts() == split(DATA, Hours).good.to_dicts()
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["good.parquet", "good.csv", "good.ndjson", "good.arrow"])
def test_a_sink_that_fails_leaves_the_last_good_file(tmp_path, name):
    asked = []

    def fails_later(series, **_):
        asked.append(len(series))
        if len(asked) > 1:
            raise ValueError("the source is gone")
        return series

    frame = pl.LazyFrame({"a": range(50)}).with_columns(pl.col("a").map_batches(fails_later, return_dtype=pl.Int64))
    result = split(frame, pa.DataFrameSchema({"a": pa.Column(pl.Int64, pa.Check.ge(0))}))
    (tmp_path / name).write_text("the last good rows")
    with pytest.raises((ValueError, pl.exceptions.PolarsError), match="the source is gone"):
        result.sink_good(tmp_path / name)
    assert (tmp_path / name).read_text() == "the last good rows"
    assert [path.name for path in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("name", ["good.parquet", "good.csv", "good.ndjson", "good.arrow"])
def test_a_query_that_gives_other_rows_than_were_counted_replaces_nothing(tmp_path, name):
    DATA.write_csv(tmp_path / "in.csv")
    result = split(pl.scan_csv(tmp_path / "in.csv"), Hours)
    pl.concat([DATA, DATA]).write_csv(tmp_path / "in.csv")
    with pytest.raises(RuntimeError, match="4 of 2 good rows written: the data changed"):
        result.sink_good(tmp_path / name)
    assert not (tmp_path / name).exists()


def test_a_frame_that_cannot_be_written_is_reported(tmp_path):
    with pytest.raises(ValueError, match=r"ends in none of \.parquet"):
        split(DATA, Hours).sink_good(tmp_path / "good.xlsx")


def test_a_policy_counts_a_query_and_passes_it_on():
    @resilient(validate=Validate(output=Hours, on_invalid="drop", max_invalid=3, min_rows=5))
    def fetch():
        return DATA.lazy()

    good = fetch()
    assert isinstance(good, pl.LazyFrame)
    assert good.collect()["hour"].to_list() == [1, 4]

    @resilient(validate=Hours)
    def refuse():
        return DATA.lazy()

    with pytest.raises(InvalidData, match="3 of 5 rows invalid") as refused:
        refuse()
    assert pickle.loads(pickle.dumps(refused.value)).report.invalid == 3


LARGE = """
import resource, sys
import pandera.polars as pa, polars as pl
from resilient_tasks.validation.split import split

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024

schema = pa.DataFrameSchema({
    "a": pa.Column(pl.Int64, pa.Check.ge(0), coerce=True), **{f"x{n}": pa.Column(pl.Float64) for n in range(12)}
})
split(pl.scan_parquet("small.parquet"), schema).sink_good("good.parquet")
before = peak()
parts = split(pl.scan_parquet("large.parquet"), schema)
parts.sink_good("good.parquet")
assert parts.collected is None, parts.collected
assert parts.report.invalid == 1
print(peak() - before)
"""


def test_memory_does_not_grow_with_the_data(tmp_path):
    rows, at_once, columns = 600_000, 10_000, 12
    draw = np.random.default_rng(1)
    part = pl.DataFrame({"a": ["1"] * at_once, **{f"x{n}": draw.random(at_once) for n in range(columns)}})
    part.write_parquet(tmp_path / "small.parquet")
    with pq.ParquetWriter(tmp_path / "large.parquet", part.to_arrow().schema) as file:
        for _ in range(rows // at_once):
            file.write_table(part.to_arrow())
        file.write_table(part[:1].with_columns(a=pl.lit("-1")).to_arrow())
    whole = rows * 13 * 8 / 2**20
    done = subprocess.run([sys.executable, "-c", LARGE], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < whole / 2, (done.stdout, whole)
    assert pl.scan_parquet(tmp_path / "good.parquet").select(pl.len()).collect().item() == rows
