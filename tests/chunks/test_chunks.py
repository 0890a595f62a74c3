"""Splitting Parquet data by chunks, from the user's view."""

import signal
import subprocess
import sys

import pandas as pd
import pandera.pandas as pp
import pandera.polars as pa
import polars as pl
import pytest
from pandera.errors import SchemaWarning
from polars.testing import assert_frame_equal

from resilient_tasks.chunks import split as chunks
from resilient_tasks.chunks.split import split_parquet
from resilient_tasks.quarantine.quarantine import Quarantine, QuarantineError
from resilient_tasks.validation.split import split

Schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, pa.Check.ge(0)), "b": pa.Column(pl.String)})
DATA = pl.DataFrame({"a": [1, 2, -3, 4, 5, -6, 7], "b": ["x", None, "z", "q", "r", None, "t"]})


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "in").mkdir()
    DATA[:4].write_parquet(tmp_path / "in" / "1.parquet", row_group_size=3)
    DATA[4:].write_parquet(tmp_path / "in" / "2.parquet")
    return tmp_path


def kept(quarantine):
    return [(row["source"], row["row"]) for batch in quarantine.list() for _, row in quarantine.read(batch).iterrows()]


@pytest.mark.parametrize("rows", [1, 2, 3, 100])
def test_a_split_by_chunks_equals_one_split_of_the_whole(folder, rows):
    whole = split(DATA, Schema)
    report = split_parquet(folder / "in", Schema, folder / "good.parquet", rows=rows)
    assert_frame_equal(pl.read_parquet(folder / "good.parquet"), whole.good)
    assert (report.rows, report.good, report.invalid) == (7, whole.good.height, whole.bad.height)
    assert report.reasons == whole.report.reasons


@pytest.mark.parametrize("source", ["in", "in/*.parquet", "in/1.parquet"])
def test_a_file_a_folder_or_a_pattern_is_read(folder, source):
    report = split_parquet(folder / source, Schema, folder / "good.parquet")
    assert report.rows == (4 if source.endswith("1.parquet") else 7)


def test_a_missing_source_is_reported_at_once(folder):
    with pytest.raises(FileNotFoundError, match="There is no Parquet file at"):
        split_parquet(folder / "out" / "*.parquet", Schema, folder / "good.parquet")


def test_bad_rows_are_quarantined_with_their_file_and_their_row_in_it(folder):
    quarantine = Quarantine(folder / "q")
    split_parquet(folder / "in", Schema, folder / "good.parquet", quarantine=quarantine, operation="months", rows=2)
    first, second = str(folder / "in" / "1.parquet"), str(folder / "in" / "2.parquet")
    assert sorted(kept(quarantine)) == [(first, 1), (first, 2), (second, 1)]
    assert {batch.operation for batch in quarantine.list()} == {"months"}


KILLED = """
import os, signal, sys
import pandera.polars as pa, polars as pl
from resilient_tasks.chunks import split as chunks

judged, calls = chunks._split_chunk, iter([True, False])
chunks._split_chunk = lambda *given: judged(*given) if next(calls) else os.kill(os.getpid(), signal.SIGKILL)
schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, pa.Check.ge(0)), "b": pa.Column(pl.String)})
chunks.split_parquet("in", schema, "good.parquet", quarantine="q", rows=2)
"""


def test_a_killed_run_leaves_no_target_and_its_repetition_duplicates_nothing(folder, monkeypatch):
    monkeypatch.chdir(folder)
    killed = subprocess.run([sys.executable, "-c", KILLED], check=False)
    quarantine, good = Quarantine("q"), folder / "good.parquet"
    assert killed.returncode == -signal.SIGKILL
    assert not good.exists()
    assert quarantine.rows() == 1
    split_parquet("in", Schema, good, quarantine=quarantine, rows=2)
    assert quarantine.rows() == 3
    assert quarantine.rows() + pl.read_parquet(good).height == DATA.height


def test_the_old_target_stays_until_the_new_one_is_whole(folder):
    good = folder / "good.parquet"
    good.write_text("old")
    (folder / "q").write_text("a file where the folder should be")
    with pytest.raises(QuarantineError):
        split_parquet(folder / "in", Schema, good, quarantine=folder / "q")
    assert good.read_text() == "old"
    assert [path.name for path in folder.iterdir() if path.suffix == ".tmp"] == []


def test_a_chunk_with_frame_errors_is_named_and_drops_nothing(folder):
    DATA.drop("b").write_parquet(folder / "in" / "3.parquet")
    with pytest.raises(ValueError, match=r"3\.parquet: column 'b' is missing"):
        split_parquet(folder / "in", Schema, folder / "good.parquet")
    assert not (folder / "good.parquet").exists()


ANY_ROW = pa.Check(lambda data: data.lazyframe.select(pl.col("a") > pl.col("a").mean()), name="above_the_mean")
ONE_ANSWER = pa.Check(lambda data: data.lazyframe.select(pl.col("a").sum() > 0), name="positive_sum")


@pytest.mark.parametrize(
    ("schema", "words"),
    [
        (pa.DataFrameSchema({"a": pa.Column(unique=True)}), "column 'a': unique"),
        (pa.DataFrameSchema({"a": pa.Column()}, unique=["a", "b"]), r"unique=\['a', 'b'\]"),
        (pa.DataFrameSchema({"a": pa.Column(checks=ANY_ROW)}), "column 'a': above_the_mean, which may look"),
        (pa.DataFrameSchema({"a": pa.Column()}, ONE_ANSWER), "positive_sum, which may look"),
        (pa.DataFrameSchema({"a": pa.Column(checks=pa.Check.unique_values_eq([1]))}), "unique_values_eq"),
        (pa.DataFrameSchema({"b": pa.Column(pl.Datetime, coerce=True)}), "column 'b': text coerced to Datetime"),
        (pp.DataFrameSchema({"a": pp.Column(unique=True)}), "column 'a': unique"),
        (pp.DataFrameSchema({"a": pp.Column(checks=pp.Check(lambda s: s > s.mean(), name="high"))}), "'a': high"),
        (pp.DataFrameSchema({"a": pp.Column(parsers=pp.Parser(lambda s: s - s.mean()))}), "a parser"),
        (pp.DataFrameSchema({"b": pp.Column("datetime64[ns]", coerce=True)}), "text coerced to datetime64"),
        (pp.DataFrameSchema(index=pp.Index(int)), "an index"),
    ],
)
def test_a_rule_over_other_rows_is_refused_before_anything_is_read(folder, schema, words):
    with pytest.raises(ValueError, match=f"These rules need rows of other chunks: .*{words}"):
        split_parquet(folder / "in", schema, folder / "good.parquet")


def test_a_rule_over_two_columns_of_the_same_row_is_checked(folder):
    rule = pa.Check(lambda data: data.lazyframe.select((pl.col("a") > 2) | pl.col("b").is_null()), name="big_or_null")
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64)}, rule)
    report = split_parquet(folder / "in", schema, folder / "good.parquet", rows=2)
    assert report.reasons == {("*", "big_or_null"): 2}


@pytest.mark.parametrize("rows", [2, 100])
def test_a_pandas_schema_sees_the_types_of_the_whole_frame(tmp_path, rows):
    schema = pp.DataFrameSchema({"a": pp.Column(float, pp.Check.ge(0), nullable=True), "b": pp.Column(nullable=True)})
    frame = pl.DataFrame({"a": [1, 2, None, -4], "b": [None, None, "x", "y"]})
    frame.write_parquet(tmp_path / "in.parquet")
    report = split_parquet(tmp_path / "in.parquet", schema, tmp_path / "good.parquet", rows=rows)
    assert report.invalid == 1
    good = pd.read_parquet(tmp_path / "good.parquet")
    assert good["a"].fillna(0).tolist() == [1.0, 2.0, 0.0]
    assert good["b"].dropna().tolist() == ["x"]


def test_no_rows_are_good_rows_with_the_columns_of_the_schema(tmp_path):
    DATA.clear().write_parquet(tmp_path / "in.parquet")
    assert split_parquet(tmp_path / "in.parquet", Schema, tmp_path / "good.parquet").rows == 0
    assert pl.read_parquet(tmp_path / "good.parquet").schema == DATA.schema


def test_the_target_is_never_one_of_the_sources(folder):
    with pytest.raises(ValueError, match="one of the files to read"):
        split_parquet(folder / "in", Schema, folder / "in" / "1.parquet")


def test_progress_is_shown_on_request_or_in_a_terminal(folder, capsys):
    split_parquet(folder / "in", Schema, folder / "good.parquet")
    assert capsys.readouterr().err == ""
    split_parquet(folder / "in", Schema, folder / "good.parquet", progress=True)
    assert "7/7" in capsys.readouterr().err


def test_rows_read_that_are_neither_good_nor_bad_are_an_error(folder, monkeypatch):
    monkeypatch.setattr(chunks, "split", lambda frame, schema: split(frame[1:], schema))
    with pytest.raises(RuntimeError, match="4 rows read, 1 good ones written"):
        split_parquet(folder / "in", Schema, folder / "good.parquet")


def test_a_warn_only_rule_is_counted_over_all_chunks_and_keeps_its_rows(folder):
    schema = pa.DataFrameSchema({"a": pa.Column(pl.Int64, [pa.Check.ne(4, raise_warning=True), pa.Check.ge(0)])})
    with pytest.warns(SchemaWarning):
        report = split_parquet(folder / "in", schema, folder / "good.parquet", rows=2)
    assert report.warned == {("a", "not_equal_to(4)"): 1}
    assert report.good == 5
