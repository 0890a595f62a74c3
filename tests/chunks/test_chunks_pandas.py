"""Values that pandas cannot hold, and its notes beside the columns, reach the target and the quarantine."""

import pandas as pd
import pandera.pandas as pp
import pandera.polars as ppl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resilient_tasks import Quarantine
from resilient_tasks.chunks.source import Sources, converter
from resilient_tasks.chunks.split import split_parquet

BIG = 2**53 + 1


def positive(**more):
    return pp.DataFrameSchema({"ok": pp.Column(int, pp.Check.gt(0)), **more})


def kept(folder, name):
    return [value for batch in Quarantine(folder).list() for value in pq.read_table(batch.path)[name].to_pylist()]


@pytest.mark.parametrize("statistics", [True, False])
@pytest.mark.parametrize("kind", ["int64", "uint64"])
@pytest.mark.parametrize("rows", [1, 9])
def test_an_integer_beside_a_null_keeps_its_value(tmp_path, rows, kind, statistics):
    values = pa.array([BIG, None, BIG + 2, 5, BIG + 4], kind)
    table = pa.table({"ok": [1, 1, 1, 1, -1], "x": values})
    pq.write_table(table, tmp_path / "in.parquet", write_statistics=statistics, row_group_size=2)
    source, bad = tmp_path / "in.parquet", tmp_path / "bad"
    split_parquet(source, positive(), tmp_path / "good.parquet", rows=rows, quarantine=bad)
    assert pq.read_table(tmp_path / "good.parquet")["x"].combine_chunks() == values[:4]
    assert kept(bad, "x") == [BIG + 4]


def test_such_an_integer_is_coerced_to_the_type_that_holds_it(tmp_path):
    pq.write_table(pa.table({"ok": [1, 1], "x": [BIG, None]}), tmp_path / "in.parquet")
    schema = positive(x=pp.Column("Int64", coerce=True, nullable=True))
    split_parquet(tmp_path / "in.parquet", schema, tmp_path / "good.parquet")
    assert pq.read_table(tmp_path / "good.parquet")["x"].to_pylist() == [BIG, None]


def test_where_the_schema_says_float_such_a_column_is_a_frame_error(tmp_path):
    pq.write_table(pa.table({"ok": [1, 1], "x": [BIG, None]}), tmp_path / "in.parquet")
    with pytest.raises(ValueError, match=r"in\.parquet.*'x'.*float64.*Int64"):
        split_parquet(tmp_path / "in.parquet", positive(x=pp.Column(float, nullable=True)), tmp_path / "good.parquet")


@pytest.mark.parametrize(
    ("column", "kind"),
    [
        (None, pa.int32()),
        (pp.Column(nullable=True), pa.int32()),
        (pp.Column(float, nullable=True), pa.float64()),
        (pp.Column(float, default=0.5), pa.float64()),
        (pp.Column("float32", coerce=True, nullable=True), pa.float32()),
    ],
)
def test_an_integer_stays_one_unless_the_schema_says_float(tmp_path, column, kind):
    pq.write_table(pa.table({"ok": [1, 1, -1], "x": pa.array([3, None, 4], pa.int32())}), tmp_path / "in.parquet")
    schema = positive(**({} if column is None else {"x": column}))
    split_parquet(tmp_path / "in.parquet", schema, tmp_path / "good.parquet")
    assert pq.read_schema(tmp_path / "good.parquet").field("x").type == kind


LABELS = {
    "numbers": [0, 1],
    "tuples": pd.MultiIndex.from_tuples([("a", "x"), ("b", "y")], names=["one", None]),
    "times": pd.date_range("2013-01-01", periods=2, name="day"),
}


@pytest.mark.parametrize("index", [None, pd.Index(["p", "q", "r", "s"], name="key")], ids=["no index", "index"])
@pytest.mark.parametrize("labels", list(LABELS.values()), ids=list(LABELS))
def test_column_labels_that_are_not_text_are_kept(tmp_path, labels, index):
    frame = pd.DataFrame([[1, True], [2, None], [-3, False], [4, True]], index=index)
    frame = frame.astype({0: "int64"}).set_axis(labels, axis="columns")
    pq.write_table(pa.Table.from_pandas(frame), tmp_path / "in.parquet")
    first = frame.columns[0]
    schema = pp.DataFrameSchema({first: pp.Column(int, pp.Check.gt(0))})
    split_parquet(tmp_path / "in.parquet", schema, tmp_path / "good.parquet", rows=1)
    read = pd.read_parquet(tmp_path / "good.parquet")
    assert list(read.columns) == list(frame.columns)
    assert read.columns.names == frame.columns.names
    assert list(read[first]) == [1, 2, 4]
    assert list(read.index) == ([0, 1, 2] if index is None else ["p", "q", "s"])


@pytest.mark.parametrize(
    "notes",
    [
        b"no json",
        b'{"index_columns": ["gone"], "columns": [], "column_indexes": []}',
        b'{"columns": [{"name": "ok", "field_name": "ok", "numpy_type": "list<item: int64>[pyarrow]"}]}',
    ],
)
def test_unreadable_notes_of_pandas_are_reported_with_their_file(tmp_path, notes):
    pq.write_table(pa.table({"ok": [1]}).replace_schema_metadata({"pandas": notes}), tmp_path / "in.parquet")
    with pytest.raises(ValueError, match=r"in\.parquet: pandas cannot read .*polars"):
        split_parquet(tmp_path / "in.parquet", positive(), tmp_path / "good.parquet")
    polars = ppl.DataFrameSchema({"ok": ppl.Column(int)})
    assert split_parquet(tmp_path / "in.parquet", polars, tmp_path / "good.parquet").good == 1


def test_a_category_that_appears_during_the_run_is_not_lost(tmp_path):
    def write(value):
        names = pa.array(["a", value]).dictionary_encode()
        pq.write_table(pa.table({"ok": [1, 1], "x": names}), tmp_path / "in.parquet")

    write("b")
    sources = Sources.at(tmp_path / "in.parquet")
    convert = converter("pandas", sources)
    write("c")
    (chunk,) = sources.chunks(9)
    with pytest.raises(ValueError, match="the data changed meanwhile"):
        convert(chunk)


@pytest.mark.parametrize("library", [pp, ppl], ids=["pandas", "polars"])
def test_lists_of_either_size_are_one_type(tmp_path, library):
    (tmp_path / "in").mkdir()
    for name, kind in {"0": pa.list_(pa.int32()), "1": pa.large_list(pa.int64())}.items():
        pq.write_table(pa.table({"ok": [1], "x": pa.array([[1]], kind)}), tmp_path / "in" / f"{name}.parquet")
    schema = library.DataFrameSchema({"ok": library.Column(int)})
    split_parquet(tmp_path / "in", schema, tmp_path / "good.parquet")
    assert pq.read_table(tmp_path / "good.parquet")["x"].to_pylist() == [[1], [1]]
