"""Rows and labels of any kind through the quarantine: nothing is lost, and no bad row is released."""

import datetime as dt
import json
from decimal import Decimal

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pandera.polars as ppl
import polars as pl
import pyarrow as arrow  # noqa: ICN001 - pa is pandera
import pytest
from pandas.testing import assert_frame_equal
from pandera.engines import pandas_engine
from pyarrow import parquet
from pydantic import BaseModel, Field

from resilient_tasks.quarantine.batch_file import ROW
from resilient_tasks.quarantine.quarantine import Quarantine
from resilient_tasks.quarantine.row_numbers import without_numbers
from resilient_tasks.quarantine.tables import load_table, save_table
from resilient_tasks.validation.backend import Finding
from resilient_tasks.validation.report import Report, Split
from resilient_tasks.validation.split import split

ENDINGS = pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
FLAGGED = pa.DataFrameSchema({"bad": pa.Column(bool, pa.Check.eq(False), name="bad")})
FLAGGED_POLARS = ppl.DataFrameSchema({"bad": ppl.Column(pl.Boolean, ppl.Check.eq(False))})


@pytest.fixture
def store(tmp_path):
    return Quarantine(tmp_path / "q")


def keep(store, frame, schema=FLAGGED):
    return store.write(split(frame, schema), operation="fetch", batch="b1", schema=schema)


def through_a_file(store, path, edit=lambda text: text):
    save_table(store.table("b1"), path)
    if path.suffix != ".parquet":
        path.write_bytes(edit(path.read_bytes().decode()).encode())
    return load_table(path, store.table("b1"))


class Place(BaseModel):
    lat: float = Field(ge=-90, le=90)


class TestLabels:
    @pytest.mark.parametrize(
        "columns",
        [
            pd.Index(["$", "value"]),
            pd.Index(["quarantine_row", "__quarantine_row"]),
            pd.Index(["__quarantine__x", "__quarantine_reasons"], name="names"),
            pd.Index(["y", "y"]),
            pd.Index(["y", "y.1"]),
            pd.Index([3, 1]),
            pd.RangeIndex(2),
            pd.Index(["", None], dtype=object),
            pd.MultiIndex.from_tuples([("a", 1), ("b", 2)], names=["x", None]),
            pd.date_range("2013", periods=2),
            pd.CategoricalIndex(["a", "b"], ["b", "a"]),
            pd.Index([("a", 1), "b"], tupleize_cols=False),
            pd.Index([1.5, np.nan]),
        ],
        ids=str,
    )
    @ENDINGS
    def test_columns_with_any_name_come_back_as_they_were(self, store, tmp_path, columns, ending):
        frame = pd.DataFrame([[-1, "a"], [-2, None]]).set_axis(columns, axis=1)
        found = (Finding("*", "positive", np.arange(2)),)
        store.write(Split(frame.iloc[:0], frame, Report(2, 2, (), found)), operation="fetch", batch="b1")
        rows = through_a_file(store, tmp_path / f"rows.{ending}")
        assert rows.wrong == {}
        numbers, back = without_numbers(rows.table, store_shape(store))
        assert numbers == [0, 1]
        assert_frame_equal(back, frame)
        assert len(store.read("b1")["values"][0]) == 2

    def test_polars_columns_with_internal_names_come_back(self, store, tmp_path):
        frame = pl.DataFrame({ROW: [1], "__quarantine__x": ["a"], "": [None], "bad": [True]})
        keep(store, frame, FLAGGED_POLARS)
        assert store.table("b1").columns == [ROW, f"__quarantine__{ROW}", "__quarantine____quarantine__x", "", "bad"]
        _, back = without_numbers(through_a_file(store, tmp_path / "rows.csv").table)
        assert back.equals(frame, null_equal=True)
        replay = store.replay("b1", FLAGGED_POLARS, fix=lambda table: table.with_columns(bad=pl.lit(value=False)))
        assert replay.released.drop("bad").equals(frame.drop("bad"), null_equal=True)


def store_shape(store):
    from resilient_tasks.quarantine.quarantine import waiting_rows

    return waiting_rows(store._files, "b1").part.shape


class TestIndex:
    @pytest.mark.parametrize(
        "index",
        [
            pd.date_range("2013-01-01 00:00:00.000000001", periods=3, tz="Europe/Berlin"),
            pd.Index([7, 7, 8]),
            pd.Index(["a", None, "c"], name="x"),
            pd.MultiIndex.from_tuples([(1, "a"), (1, "b"), (2, None)], names=["x", None]),
            pd.RangeIndex(10, 13),
            pd.Index([1, 2, 3], dtype="int8", name="bad"),
            pd.period_range("2013", periods=3, freq="M", name=("a", 1)),
        ],
        ids=str,
    )
    @ENDINGS
    def test_an_index_is_released_as_it_was(self, store, tmp_path, index, ending):
        frame = pd.DataFrame({"x": [1, 2, 3], "bad": [True, False, True]}, index=index)
        keep(store, frame)
        rows = through_a_file(store, tmp_path / f"rows.{ending}")
        released = store.replay("b1", FLAGGED, rows=rows, fix=lambda table: table.assign(bad=False)).released
        assert_frame_equal(released, frame.iloc[[0, 2]].assign(bad=False), check_freq=False)
        assert_frame_equal(store.release("fetch"), released)

    def test_an_unnamed_index_is_shown_with_the_values_unless_it_is_row_numbers(self, store):
        keep(store, pd.DataFrame({"bad": [True]}, index=[pd.Timestamp("2013")]))
        assert store.read("b1")["values"][0] == {"index": pd.Timestamp("2013"), "bad": True}

    def test_rows_that_are_bad_through_their_index_are_not_released_without_a_correction(self, store, tmp_path):
        schema = pa.DataFrameSchema({"x": pa.Column(int)}, index=pa.Index(int, pa.Check.ge(0), name="id"))
        keep(store, pd.DataFrame({"x": [1, 2, 3]}, index=pd.Index([-1, 5, -2], name="id")), schema)
        assert store.read("b1")["reasons"][0][0] == {
            "column": "id", "check": "greater_than_or_equal_to(0)", "value": -1,
        }  # fmt: skip
        assert store.replay("b1", schema).rows == 0
        rows = through_a_file(store, tmp_path / "rows.csv", lambda text: text.replace("0,-1,1", "0,4,1"))
        replay = store.replay("b1", schema, rows=rows)
        assert (replay.rows, replay.released.index.tolist(), replay.waiting) == (1, [4], 1)

    def test_rows_that_are_bad_beside_a_repeated_column_are_not_released_without_a_correction(self, store):
        schema = pa.DataFrameSchema({"x": pa.Column(int, pa.Check.gt(0))})
        frame = pd.DataFrame([[1, 2, 3], [-1, 4, 5]], columns=["x", "y", "y"])
        keep(store, frame, schema)
        assert store.replay("b1", schema).rows == 0

        def fix(table):
            table.iloc[:, 1] = 7
            return table

        released = store.replay("b1", schema, fix=fix).released
        assert released.columns.tolist() == ["x", "y", "y"]
        assert released.to_numpy().tolist() == [[7, 4, 5]]


class TestNeighbours:
    DATES = pa.DataFrameSchema({"day": pa.Column("datetime64[ns]", coerce=True), "n": pa.Column(int, pa.Check.gt(0))})

    def test_a_date_in_a_second_format_is_not_released_as_another_date(self, store):
        keep(store, pd.DataFrame({"day": ["2013-01-02", "03/02/2013", "2013-01-04"], "n": [1, 1, 1]}), self.DATES)
        replay = store.replay("b1", self.DATES)
        assert (replay.rows, replay.waiting) == (0, 1)
        assert replay.failing[0][1][0][:2] == ("day", "not a date")

    def test_an_ambiguous_date_waits_for_a_correction_under_another_schema_too(self, store):
        keep(store, pd.DataFrame({"day": ["31/01/2013", "03/02/2013"], "n": [1, -1]}), self.DATES)
        other = pa.DataFrameSchema({"day": pa.Column("datetime64[ns]", coerce=True), "n": pa.Column(int)})
        replay = store.replay("b1", other)
        assert replay.rows == 0
        assert replay.failing[0][1][0] == ("day", "can be read as two dates: write it as YYYY-MM-DD", "03/02/2013")
        assert "YYYY-MM-DD" in store.read("b1")["reasons"][0][0]["check"]
        replay = store.replay("b1", other, fix=lambda table: table.assign(day="2013-02-03"))
        assert replay.released["day"].tolist() == [pd.Timestamp("2013-02-03")]

    def test_a_schema_with_a_date_format_reads_dates_unambiguously(self, store):
        day = pandas_engine.DateTime(to_datetime_kwargs={"format": "%d/%m/%Y"})
        schema = pa.DataFrameSchema({"day": pa.Column(day, coerce=True), "n": pa.Column(int, pa.Check.gt(0))})
        keep(store, pd.DataFrame({"day": ["31/01/2013", "03/02/2013"], "n": [1, -1]}), schema)
        replay = store.replay("b1", schema, fix=lambda table: table.assign(n=1))
        assert replay.released["day"].tolist() == [pd.Timestamp("2013-02-03")], replay.failing

    def test_an_uncorrected_row_does_not_affect_how_others_are_read(self, store):
        keep(store, pd.DataFrame({"day": ["2013-01-02", "03/02/2013"], "n": [-1, -1]}), self.DATES)
        fix = lambda table: table.iloc[::-1].assign(n=[-1, 1])  # noqa: E731
        assert store.replay("b1", self.DATES, fix=fix).released["day"].tolist() == [pd.Timestamp("2013-01-02")]

    def test_a_duplicate_is_released_when_corrected_or_with_unchanged(self, store):
        schema = pa.DataFrameSchema({"id": pa.Column(int, unique=True)})
        keep(store, pd.DataFrame({"id": [1, 2, 2]}), schema)
        first = lambda table: table.iloc[:1]  # noqa: E731
        assert store.replay("b1", schema, fix=first).rows == 0
        assert store.replay("b1", schema, fix=first, unchanged=True).rows == 1
        assert store.replay("b1", schema, fix=lambda table: table.assign(id=3)).rows == 1

    def test_a_cell_that_failed_stands_until_it_is_corrected(self, store):
        schema = pa.DataFrameSchema({"id": pa.Column(int, unique=True), "n": pa.Column(int)})
        keep(store, pd.DataFrame({"id": [1, 2, 2], "n": [1, 2, 3]}), schema)
        replay = store.replay("b1", schema, fix=lambda table: table.iloc[:1].assign(n=5))
        assert replay.rows == 0
        assert replay.failing[0][1][0] == ("id", "is duplicated when it was read, and is not corrected", 2)

    def test_a_value_stored_as_text_is_not_released_as_text(self, store):
        class Odd:
            def __str__(self):
                return "odd"

        keep(store, pd.DataFrame({"x": [Odd()], "bad": [True]}))
        replay = store.replay("b1", FLAGGED, fix=lambda table: table.assign(bad=False))
        assert replay.failing[0][1][0] == ("x", "is stored only as text: write the value", "odd")
        assert store.replay("b1", FLAGGED, fix=lambda table: table.assign(bad=False, x=1)).rows == 1


class TestFiles:
    @ENDINGS
    def test_a_number_beyond_2_to_the_53_beside_none_is_released_as_it_was(self, store, tmp_path, ending):
        frame = pd.DataFrame({"x": pd.Series([2**53 + 1, None], dtype=object), "bad": [True, True]})
        keep(store, frame)
        rows = through_a_file(store, tmp_path / f"rows.{ending}")
        replay = store.replay("b1", FLAGGED, rows=rows, fix=lambda table: table.assign(bad=False))
        assert replay.released["x"].tolist() == [2**53 + 1, None]

    @ENDINGS
    def test_pd_na_goes_to_a_file_and_comes_back(self, store, tmp_path, ending):
        frame = pd.DataFrame({
            "x": pd.Series([pd.NA, 1, "a"], dtype=object), "n": pd.array([1, None, 3], "Int64"), "bad": [True] * 3
        })  # fmt: skip
        keep(store, frame)
        rows = through_a_file(store, tmp_path / f"rows.{ending}")
        replay = store.replay("b1", FLAGGED, rows=rows, fix=lambda table: table.assign(bad=False))
        assert_frame_equal(replay.released, frame.assign(bad=False))

    @pytest.mark.parametrize(
        "text", ["=1+1", "+1", "-cmd", "@x", "\tx", "\rx", "\nx", "'=1", "''=1", "'x", "＝1", "-5", "="]
    )
    @pytest.mark.parametrize("library", ["pandas", "polars"])
    def test_a_cell_that_a_spreadsheet_takes_for_a_formula_is_written_inert_and_read_as_it_was(
        self, store, tmp_path, text, library
    ):
        frame = pd.DataFrame({"x": [text], text: [1], "bad": [True]})
        frame, schema = (frame, FLAGGED) if library == "pandas" else (pl.from_pandas(frame), FLAGGED_POLARS)
        keep(store, frame, schema)
        path = tmp_path / "rows.csv"
        rows = through_a_file(store, path)
        import csv

        with path.open(newline="") as file:
            cells = [cell for row in csv.reader(file) for cell in row]
        assert not [cell for cell in cells if cell[:1] in "=+-@\t\r\n＝" and cell]
        released = store.replay("b1", schema, rows=rows, fix=flagged).released
        assert released["x"].to_list() == [text]
        assert list(released.columns)[1] == text

    def test_a_formula_in_a_correction_is_text_marked_or_not(self, store, tmp_path):
        keep(store, pd.DataFrame({"x": ["a", "b"], "bad": [True, True]}))
        edit = lambda text: text.replace(",a,", ",=1,").replace(",b,", ",'=2,")  # noqa: E731
        rows = through_a_file(store, tmp_path / "rows.csv", edit)
        assert rows.table["x"].tolist() == ["=1", "=2"]

    @pytest.mark.parametrize("ending", ["csv", "json"])
    @pytest.mark.parametrize(
        ("series", "good", "wrong", "value"),
        [
            (pl.Series([Decimal("1.10")] * 2), "2.50", "2.505", Decimal("2.50")),
            (pl.Series([dt.date(2013, 1, 1)] * 2), "2013-01-02", "02/01/2013", dt.date(2013, 1, 2)),
            (pl.Series([dt.timedelta(1)] * 2), "2 days 00:00:01", "5", dt.timedelta(2, 1)),
            (pl.Series([1] * 2), "7", "7.5", 7),
            (pl.Series([1.5] * 2), "7", "7,5", 7.0),
            (pl.Series([True] * 2), "False", "no", False),
            (pl.Series([dt.time(1)] * 2), "02:30", "2 o'clock", dt.time(2, 30)),
            (pl.Series([pd.Timestamp(2013, 1, 1)] * 2), "2014-01-01 05:00", "01/02/2014", pd.Timestamp(2014, 1, 1, 5)),
            (pl.Series(["a"] * 2, dtype=pl.Enum(["a", "b"])), "b", "c", "b"),
            (pl.Series([[1]] * 2), "[1, 2]", "1;2", [1, 2]),
            (pl.Series([b"a"] * 2), "Yg==", "b", b"b"),
            (pl.Series([2**100] * 2, dtype=pl.Int128), "7", "x", 7),
        ],
        ids=lambda value: str(value.dtype) if isinstance(value, pl.Series) else "",
    )
    def test_one_unreadable_cell_is_reported_and_the_other_rows_are_replayed(  # noqa: PLR0917 - one parameter a fixture
        self, store, tmp_path, ending, series, good, wrong, value
    ):
        frame = pl.DataFrame({"x": series, "bad": [True, True]}, schema_overrides={"x": series.dtype})
        keep(store, frame, FLAGGED_POLARS)
        path = tmp_path / f"rows.{ending}"
        save_table(store.table("b1"), path)
        write_cells(path, [good, wrong])
        rows = load_table(path, store.table("b1"))
        replay = store.replay("b1", FLAGGED_POLARS, rows=rows, fix=flagged)
        assert replay.released["x"].to_list() == [value]
        assert replay.released.schema == frame.schema
        ((row, (reason, *_)),) = replay.failing
        assert (row, reason.column, reason.value) == (1, "x", wrong)
        assert reason.check.startswith("cannot be read as ")
        assert store.read("b1")["reasons"][1][0]["value"] == wrong

    @pytest.mark.parametrize("ending", ["csv", "json"])
    @pytest.mark.parametrize(
        ("cells", "dtype", "good", "wrong", "value"),
        [
            ([Decimal("1.10")] * 2, object, "2.50", "x", Decimal("2.50")),
            ([dt.date(2013, 1, 1)] * 2, object, "2013-01-02", "02/01/2013", dt.date(2013, 1, 2)),
            ([dt.timedelta(1)] * 2, object, "2 days", "x", dt.timedelta(2)),
            ([pd.Timedelta(1)] * 2, "timedelta64[ns]", "2 days", "x", pd.Timedelta(days=2)),
            ([1, 1], "int64", "7", "", 7),
            ([1, 1], "Int64", "7", "x", 7),
            ([True, True], "bool", "false", "nein", False),
            (
                ["2013-01-01"] * 2,
                "datetime64[ns, Europe/Berlin]",
                "2014-01-01",
                "x",
                pd.Timestamp("2014", tz="Europe/Berlin"),
            ),
            ([1j] * 2, "complex128", "2j", "x", 2j),
        ],
    )
    def test_one_unreadable_cell_of_pandas_is_reported_and_the_other_rows_are_replayed(  # noqa: PLR0917 - as above
        self, store, tmp_path, ending, cells, dtype, good, wrong, value
    ):
        frame = pd.DataFrame({"x": pd.Series(cells, dtype=dtype), "bad": [True, True]})
        keep(store, frame)
        path = tmp_path / f"rows.{ending}"
        save_table(store.table("b1"), path)
        write_cells(path, [good, wrong if wrong or ending == "csv" else None])
        replay = store.replay("b1", FLAGGED, rows=load_table(path, store.table("b1")), fix=flagged)
        assert replay.released["x"].tolist() == [value]
        assert replay.released.dtypes["x"] == frame.dtypes["x"]
        ((row, (reason, *_)),) = replay.failing
        assert (row, reason.column) == (1, "x")
        assert reason.check.startswith("cannot be ")

    def test_a_correction_may_be_a_new_category(self, store, tmp_path):
        keep(store, pd.DataFrame({"x": pd.Categorical(["??", "UA"]), "bad": [True, True]}))
        rows = through_a_file(store, tmp_path / "rows.csv", lambda text: text.replace("??", "AA"))
        assert rows.table["x"].tolist() == ["AA", "UA"]
        assert rows.table["x"].cat.categories.tolist() == ["??", "UA", "AA"]

    def test_an_empty_column_accepts_corrections(self, store, tmp_path):
        keep(store, pd.DataFrame({"x": pd.Series([None, None], dtype=object), "bad": [True, True]}))
        path = tmp_path / "rows.csv"
        save_table(store.table("b1"), path)
        write_cells(path, ["a", ""])
        assert load_table(path, store.table("b1")).table["x"].tolist() == ["a", None]

    @ENDINGS
    def test_records_go_to_each_kind_of_file_and_come_back(self, store, tmp_path, ending):
        records = [{"lat": 91, "note": "=1"}, "rate limited", {"lat": -91.5, "at": dt.date(2013, 1, 1)}]
        keep(store, records, Place)
        rows = through_a_file(store, tmp_path / f"rows.{ending}")
        assert rows.table == dict(enumerate(records))

    def test_a_record_that_is_no_longer_json_is_reported(self, store, tmp_path):
        keep(store, [{"lat": 91}, {"lat": 92}], Place)
        edit = lambda text: text.replace("91}", "9").replace("92", "9")  # noqa: E731
        replay = store.replay("b1", Place, rows=through_a_file(store, tmp_path / "rows.csv", edit))
        assert replay.released == [{"lat": 9.0}]
        assert replay.failing[0][1][0].check == "cannot be read as JSON"

    def test_a_file_from_before_another_replay_releases_only_the_waiting_rows(self, store, tmp_path):
        keep(store, pd.DataFrame({"x": [1, 2], "bad": [True, True]}))
        path = tmp_path / "rows.csv"
        save_table(store.table("b1"), path)
        store.replay("b1", FLAGGED, fix=lambda table: flagged(table.iloc[:1]))
        assert store.replay("b1", FLAGGED, rows=load_table(path, store.table("b1")), fix=flagged).rows == 1
        path.write_text(f"{ROW},x,bad\n9,1,False\n")
        with pytest.raises(ValueError, match="has no row 9"):
            store.replay("b1", FLAGGED, rows=load_table(path, store.table("b1")))

    def test_a_row_with_too_many_cells_is_reported(self, store, tmp_path):
        keep(store, pd.DataFrame({"x": [1], "bad": [True]}))
        with pytest.raises(ValueError, match="has 4 cells, and there are 3 columns"):
            through_a_file(store, tmp_path / "rows.csv", lambda text: text.replace("True", "True,5"))


def flagged(table):
    return table.assign(bad=False) if hasattr(table, "iloc") else table.with_columns(bad=pl.lit(value=False))


def write_cells(path, cells):
    """Write into the column x of a file, row by row."""
    if path.suffix == ".json":
        rows = json.loads(path.read_text())
        path.write_text(json.dumps([{**row, "x": cell} for row, cell in zip(rows, cells, strict=True)]))
        return
    frame = pd.read_csv(path, dtype=str, keep_default_na=False)
    frame.assign(x=cells).to_csv(path, index=False)


def test_arrow_tables_are_kept_and_released_as_arrow_tables(store, tmp_path):
    from resilient_tasks.storage.arrow import from_arrow, to_arrow

    table = arrow.table({
        "a": [[1], None],
        "b": arrow.array([{"x": 1}, None]),
        "c": arrow.array([[1, 2], None], arrow.list_(arrow.int8(), 2)),
        "d": arrow.array(["x", None], arrow.string_view()),
        "e": arrow.array([3, None]).dictionary_encode(),
        "f": arrow.array([1, None], arrow.timestamp("s")),
    })  # fmt: skip
    held, shape = to_arrow(table, [0, 1])
    parquet.write_table(held, tmp_path / "x.parquet")
    assert from_arrow(parquet.read_table(tmp_path / "x.parquet"), shape, [0, 1]).equals(table)


@pytest.mark.parametrize("make", [arrow.table, pl.LazyFrame])
def test_bad_rows_of_an_arrow_table_and_of_a_lazy_frame_are_corrected_in_a_file_and_released(store, tmp_path, make):
    schema = ppl.DataFrameSchema({"n": ppl.Column(pl.Int64, ppl.Check.gt(0))})
    keep(store, make({"n": [1, -1, -2], "l": [[1], None, [2]]}), schema)
    rows = through_a_file(store, tmp_path / "rows.csv", lambda text: text.replace("-1", "7"))
    replay = store.replay("b1", schema, rows=rows)
    assert (replay.rows, replay.waiting) == (1, 1)
    released = store.release("fetch")
    assert isinstance(released, arrow.Table if make is arrow.table else pl.DataFrame)
    assert pl.DataFrame(released).to_dicts() == [{"n": 7, "l": None}]
