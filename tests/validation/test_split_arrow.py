"""An Arrow table in, Arrow tables out: types and metadata as read."""

import datetime as dt
from decimal import Decimal

import pandas as pd
import pandera.pandas as pp
import pandera.polars as ppl
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from resilient_tasks import Quarantine, Validate, resilient
from resilient_tasks.chunks.split import split_parquet
from resilient_tasks.core.errors import InvalidData
from resilient_tasks.validation.split import split

COLUMNS = {
    "ok": pa.array([1, -1, 2], pa.int64()),
    "int8": pa.array([1, 2, None], pa.int8()),
    "text": pa.array(["a", "b", None], pa.string()),
    "large": pa.array(["a", "b", None], pa.large_string()),
    "category": pa.array(["a", "b", None]).dictionary_encode(),
    "decimal": pa.array([Decimal("1.10"), None, Decimal("2.00")], pa.decimal128(9, 2)),
    "day": pa.array([dt.date(2013, 1, 1), None, dt.date(2013, 1, 2)]),
    "seconds": pa.array([1, None, 3], pa.timestamp("s", "Europe/Berlin")),
    "ns": pa.array([1, None, 3], pa.timestamp("ns")),
    "wait": pa.array([1, None, 3], pa.duration("ms")),
    "list": pa.array([[1], None, []], pa.list_(pa.int16())),
    "struct": pa.array([{"x": 1}, None, {"x": None}], pa.struct([("x", pa.int8())])),
    "map": pa.array([[("a", 1)], None, []], pa.map_(pa.string(), pa.int64())),
    "bytes": pa.array([b"a", None, b""], pa.binary()),
    "float": pa.array([1.0, None, float("nan")], pa.float32()),
    "null": pa.nulls(3),
}
FIELDS = [pa.field(name, column.type, metadata={"unit": name}) for name, column in COLUMNS.items()]
TABLE = pa.Table.from_arrays(list(COLUMNS.values()), schema=pa.schema(FIELDS, {"origin": "sensor 7"}))
SCHEMAS = {
    "pandas": pp.DataFrameSchema({"ok": pp.Column(int, pp.Check.gt(0))}),
    "polars": ppl.DataFrameSchema({"ok": ppl.Column(int, ppl.Check.gt(0))}),
}


@pytest.mark.parametrize("library", SCHEMAS)
def test_both_parts_have_the_types_and_metadata_that_were_read(library):
    table = TABLE if library == "pandas" else TABLE.drop_columns("map")
    result = split(table, SCHEMAS[library])
    assert result.bad.equals(table.slice(1, 1), check_metadata=True)
    assert result.good.schema.equals(table.schema, check_metadata=True)
    assert str(result.good.to_pylist()) == str(table.take([0, 2]).to_pylist())
    assert result.report.rows_failed[0][0] == 1


@pytest.mark.parametrize("library", [pp, ppl], ids=["pandas", "polars"])
def test_what_the_schema_coerces_has_its_new_type_and_the_rest_its_own(library):
    table = pa.table({"a": ["1", "x", "3"], "b": pa.array([1, 2, 3], pa.int8())})
    result = split(table, library.DataFrameSchema({"a": library.Column(int, coerce=True)}))
    assert result.good.schema.types == [pa.int64(), pa.int8()]
    assert result.good.to_pylist() == [{"a": 1, "b": 1}, {"a": 3, "b": 3}]
    assert result.bad.equals(table.slice(1, 1))


@pytest.mark.parametrize("library", [pp, ppl], ids=["pandas", "polars"])
@pytest.mark.parametrize("values", [[1, 2], [-1, -2], []])
def test_tables_that_are_all_good_all_bad_or_empty_keep_their_types(library, values):
    table = pa.table({"ok": pa.array(values, pa.int64()), "x": pa.array([None] * len(values), pa.decimal128(5, 2))})
    result = split(table, library.DataFrameSchema({"ok": library.Column(int, library.Check.gt(0))}))
    assert result.good.schema == result.bad.schema == table.schema
    assert result.good.num_rows + result.bad.num_rows == len(values)


@pytest.mark.parametrize("library", [pp, ppl], ids=["pandas", "polars"])
def test_a_table_with_frame_errors_comes_back_as_it_was(library):
    result = split(TABLE.select(["text"]), library.DataFrameSchema({"ok": library.Column(int)}))
    assert result.report.frame_errors == ("column 'ok' is missing",)
    assert result.good.equals(TABLE.select(["text"]))
    assert result.bad.num_rows == 0


def test_columns_that_the_schema_filters_adds_or_fills():
    strict = ppl.DataFrameSchema({"a": ppl.Column(int, default=7)}, strict="filter")
    table = pa.table({"b": ["x", "y"], "a": pa.array([None, 1], pa.int64())})
    assert split(table, strict).good.to_pylist() == [{"a": 7}, {"a": 1}]
    adds = pp.DataFrameSchema({"a": pp.Column(int), "c": pp.Column(str, default="z")}, add_missing_columns=True)
    good = split(pa.table({"a": [1, 2]}), adds).good
    assert good.to_pylist() == [{"a": 1, "c": "z"}, {"a": 2, "c": "z"}]


def test_a_pandas_index_stays_in_the_table():
    frame = pd.DataFrame({"ok": [1, -1, 2]}, index=pd.Index(["x", "y", "z"], name="key"))
    result = split(pa.Table.from_pandas(frame), SCHEMAS["pandas"])
    assert result.good.to_pandas().index.tolist() == ["x", "z"]
    assert result.bad.to_pandas().index.tolist() == ["y"]
    plain = split(pa.Table.from_pandas(frame.reset_index(drop=True)), SCHEMAS["pandas"])
    assert plain.good.column_names == ["ok"]


def test_values_in_the_reasons_are_those_that_were_read():
    schema = ppl.DataFrameSchema({"day": ppl.Column(pl.Date, ppl.Check.gt(dt.date(2013, 1, 1)), nullable=True)})
    report = split(TABLE.select(["day"]), schema).report
    assert report.rows_failed[0][1][0].value == dt.date(2013, 1, 1)


def test_two_columns_of_one_name_are_refused():
    with pytest.raises(ValueError, match="two columns of the table are named 'a'"):
        split(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), SCHEMAS["polars"])


@pytest.mark.parametrize("library", SCHEMAS)
def test_a_policy_validates_tables(library):
    @resilient(validate=Validate(output=SCHEMAS[library], on_invalid="drop"))
    def fetch():
        return TABLE.select(["ok", "text"])

    assert fetch().to_pylist() == [{"ok": 1, "text": "a"}, {"ok": 2, "text": None}]

    @resilient(validate=SCHEMAS[library])
    def refuse():
        return TABLE.select(["ok"])

    with pytest.raises(InvalidData):
        refuse()


VIEWS = {
    "text": pa.array(["a", None, "c", "d", "e"], pa.string_view()),
    "bytes": pa.array([b"a", None, b"c", b"d", b"e"], pa.binary_view()),
}


@pytest.mark.parametrize("column", list(VIEWS.values()), ids=list(VIEWS))
@pytest.mark.parametrize("library", [pp, ppl], ids=["pandas", "polars"])
def test_types_that_arrow_takes_no_rows_of_are_split_quarantined_and_released(tmp_path, library, column):
    table = pa.table({"n": [1, -1, 2, -2, -3], "x": column})
    schema = library.DataFrameSchema({"n": library.Column(int, library.Check.gt(0))})
    parts = split(table, schema)
    assert parts.good == pa.table({"n": [1, 2], "x": pa.array([column[0].as_py(), column[2].as_py()], column.type)})
    store = Quarantine(tmp_path)
    store.write(parts, operation="months", batch="one", schema="1")
    fixed = pa.array([5, 6, -3])
    replayed = store.replay("one", schema, fix=lambda rows: rows.set_column(rows.column_names.index("n"), "n", fixed))
    assert (replayed.rows, replayed.waiting) == (2, 1)
    assert store.release("months") == pa.table({"n": [5, 6], "x": pa.array([None, column[3].as_py()], column.type)})


@pytest.mark.parametrize("column", [pa.array([["a"], None], pa.list_(pa.string_view()))])
def test_so_are_types_that_hold_such_a_type(column):
    table = pa.table({"n": [1, -1], "x": column})
    parts = split(table, ppl.DataFrameSchema({"n": ppl.Column(int, ppl.Check.gt(0))}))
    assert (parts.good, parts.bad) == (table[:1], table[1:])


def test_a_column_without_a_name_keeps_none(tmp_path):
    table = pa.table({"n": [1, -1], "": [3, 4]})
    schema = ppl.DataFrameSchema({"n": ppl.Column(int, ppl.Check.gt(0))})
    assert split(table, schema).good == table[:1]
    pq.write_table(table, tmp_path / "in.parquet")
    split_parquet(tmp_path / "in.parquet", schema, tmp_path / "good.parquet")
    assert pq.read_table(tmp_path / "good.parquet") == table[:1]


def test_a_type_on_which_polars_panics_is_reported():
    table = pa.table({"n": [1], "x": pa.array([Decimal("1.5")], pa.decimal256(50, 2))})
    with pytest.raises(ValueError, match="does not become a frame of polars"):
        split(table, ppl.DataFrameSchema({"n": ppl.Column(int)}))
