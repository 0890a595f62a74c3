"""The files that `split_parquet` reads, and the columns in their folder names."""

import pandas as pd
import pandera.pandas as pp
import pandera.polars as ppl
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resilient_tasks import Quarantine
from resilient_tasks.chunks.split import split_parquet

LIBRARIES = pytest.mark.parametrize("library", [pp, ppl], ids=["pandas", "polars"])


def positive(library, **more):
    return library.DataFrameSchema({"n": library.Column(int, library.Check.gt(0)), **more})


def put(path, *values):
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.table({"n": pa.array(values, pa.int64())}), path)


@LIBRARIES
@pytest.mark.parametrize("pattern", ["", "*/*/*.parquet", "**/*.parquet", "year=*"])
def test_the_keys_of_partitioned_folders_are_columns(tmp_path, library, pattern):
    put(tmp_path / "in" / "year=2013" / "carrier=A%2FB" / "0.parquet", 1, -1)
    put(tmp_path / "in" / "year=2014" / "carrier=__HIVE_DEFAULT_PARTITION__" / "0.parquet", 2, -2)
    schema = positive(library, year=library.Column(int, library.Check.ge(2013)))
    split_parquet(tmp_path / "in" / pattern, schema, tmp_path / "good.parquet", quarantine=tmp_path / "bad")
    good = pq.read_table(tmp_path / "good.parquet")
    assert good.to_pylist() == [
        {"n": 1, "year": 2013, "carrier": "A/B"},
        {"n": 2, "year": 2014, "carrier": None},
    ]
    bad = [
        year for batch in Quarantine(tmp_path / "bad").list() for year in pq.read_table(batch.path)["year"].to_pylist()
    ]
    assert sorted(bad) == [2013, 2014]


@LIBRARIES
def test_a_rule_over_a_key_of_folders_finds_its_rows(tmp_path, library):
    put(tmp_path / "in" / "year=2013" / "0.parquet", 1, 2)
    put(tmp_path / "in" / "year=1913" / "0.parquet", 3)
    schema = positive(library, year=library.Column(int, library.Check.ge(2000)))
    report = split_parquet(tmp_path / "in", schema, tmp_path / "good.parquet")
    assert report.reasons == {("year", "greater_than_or_equal_to(2000)"): 1}


@LIBRARIES
def test_what_pandas_and_polars_partition_comes_back_whole(tmp_path, library):
    frame = pd.DataFrame({"n": [1, 2, -1], "month": [1, 12, 1]})
    frame.to_parquet(tmp_path / "pandas", partition_cols=["month"])
    pl.from_pandas(frame).write_parquet(tmp_path / "polars", partition_by="month")
    for source in ("pandas", "polars"):
        split_parquet(tmp_path / source, positive(library), tmp_path / "good.parquet")
        assert pq.read_table(tmp_path / "good.parquet").to_pylist() == [{"n": 1, "month": 1}, {"n": 2, "month": 12}]


def test_a_column_that_is_in_the_files_is_not_that_of_the_folders(tmp_path):
    put(tmp_path / "in" / "n=7" / "0.parquet", 1)
    split_parquet(tmp_path / "in", positive(ppl), tmp_path / "good.parquet")
    assert pq.read_table(tmp_path / "good.parquet").to_pylist() == [{"n": 1}]


def test_a_null_among_numeric_folder_keys_is_a_null(tmp_path):
    put(tmp_path / "in" / "year=2013" / "0.parquet", 1)
    put(tmp_path / "in" / "year=__HIVE_DEFAULT_PARTITION__" / "0.parquet", 2)
    schema = positive(pp, year=pp.Column(float))
    report = split_parquet(tmp_path / "in", schema, tmp_path / "good.parquet", rows=1)
    assert report.reasons == {("year", "is null"): 1}


def test_folders_with_other_keys_are_reported_with_their_file(tmp_path):
    put(tmp_path / "in" / "year=2013" / "0.parquet", 1)
    put(tmp_path / "in" / "z" / "0.parquet", 2)
    with pytest.raises(ValueError, match=r"z.0\.parquet: its folders name nothing, and those of .* name 'year'"):
        split_parquet(tmp_path / "in", positive(ppl), tmp_path / "good.parquet")


@LIBRARIES
@pytest.mark.parametrize("pattern", ["", "*.parquet", "*"])
def test_a_folder_that_is_named_as_a_file_is_read_as_a_folder(tmp_path, library, pattern):
    put(tmp_path / "in" / "2013.parquet" / "part-0.parquet", 1)
    put(tmp_path / "in" / "2014.parquet" / "part-0.parquet", 2)
    report = split_parquet(tmp_path / "in" / pattern, positive(library), tmp_path / "good.parquet")
    assert (report.rows, report.chunks) == (2, 2)


BESIDE = ["_delta_log/0.parquet", ".hidden/0.parquet", "_temporary/a/0.parquet", "_metadata.parquet"]


@pytest.mark.parametrize("beside", BESIDE)
def test_files_that_writers_leave_beside_the_data_are_not_read(tmp_path, beside):
    put(tmp_path / "_in" / "0.parquet", 1)
    put(tmp_path / "_in" / beside, 2)
    assert split_parquet(tmp_path / "_in", positive(ppl), tmp_path / "good.parquet").rows == 1


def test_a_target_that_is_a_folder_is_refused_before_anything_is_kept(tmp_path):
    put(tmp_path / "in.parquet", 1, -1)
    (tmp_path / "good").mkdir()
    with pytest.raises(IsADirectoryError, match="name a file in it"):
        split_parquet(tmp_path / "in.parquet", positive(ppl), tmp_path / "good", quarantine=tmp_path / "bad")
    assert Quarantine(tmp_path / "bad").list() == []
