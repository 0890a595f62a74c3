"""An edit in a file of bad rows is released as exactly that value, or reported."""

import csv
import datetime as dt
import json
import warnings
from decimal import Decimal

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pandera.polars as ppl
import polars as pl
import pyarrow as arrow  # noqa: ICN001 - pa is pandera
import pytest
from pyarrow import parquet

from resilient_tasks.quarantine.batch_file import ROW
from resilient_tasks.quarantine.quarantine import Quarantine
from resilient_tasks.quarantine.row_numbers import without_numbers
from resilient_tasks.quarantine.tables import load_table, save_table
from resilient_tasks.validation.split import split

FLAGGED = pa.DataFrameSchema({"bad": pa.Column(bool, pa.Check.eq(False))})
FLAGGED_POLARS = ppl.DataFrameSchema({"bad": ppl.Column(pl.Boolean, ppl.Check.eq(False))})
ENDINGS = pytest.mark.parametrize("ending", ["csv", "json", "parquet"])


@pytest.fixture
def store(tmp_path):
    return Quarantine(tmp_path / "q")


def keep(store, values):
    """Return one bad row for each value."""
    if isinstance(values, pd.Series):
        frame, schema = pd.DataFrame({"bad": True, "x": values}), FLAGGED
    else:
        frame = pl.DataFrame({"bad": [True] * len(values)}).with_columns(values.alias("x"))
        schema = FLAGGED_POLARS
    store.write(split(frame, schema), operation="fetch", batch="b1", schema=schema)
    return frame


def written(store, path, cell):
    """Return the file with one cell changed, read again."""
    save_table(store.table("b1"), path)
    if path.suffix == ".json":
        rows = json.loads(path.read_text())
        rows[0]["x"] = cell
        path.write_text(json.dumps(rows))
    else:
        rows = list(csv.DictReader(path.open(newline="")))
        rows[0]["x"] = cell
        save(path, rows)
    return load_table(path, store.table("b1"))


def save(path, rows, **options):
    with path.open("w", newline="", encoding=options.pop("encoding", "utf-8")) as file:
        sheet = csv.DictWriter(file, rows[0].keys(), **options)
        sheet.writeheader()
        sheet.writerows(rows)


def values_of(corrected):
    _, frame = without_numbers(corrected.table)
    return frame["x"].to_list()


class TestAnotherValue:
    @pytest.mark.parametrize(
        ("values", "cell"),
        [
            (pd.Series([1, 2]), 1.5),
            (pd.Series([1, None], dtype="Int64"), 2.5),
            (pl.Series([[1], [2]]), [1.5]),
            (pl.Series([[1], [2]]), "[1.5]"),
            (pl.Series([{"a": 1}, {"a": 2}]), {"b": 3}),
            (pl.Series([{"a": 1}, {"a": 2}]), {"a": 3, "b": 4}),
            (pl.Series([{"a": 1}, {"a": 2}]), []),
            (pd.Series(pd.to_datetime(["2013-01-01"] * 2)), 5.5),
            (pl.Series([0.1, 0.2], dtype=pl.Float32), 1e39),
            (pd.Series([{"a": 1}, 2], dtype=object), {"$": "x"}),
            (pd.Series([{"a": 1}, 2], dtype=object), {"$": "decimal", "value": "x"}),
            (pd.Series(pd.to_datetime(["2013-01-01"] * 2)), {"$": "x"}),
        ],
        ids=str,
    )
    def test_a_json_value_that_the_column_cannot_hold_is_reported(self, store, tmp_path, values, cell):
        keep(store, values)
        corrected = written(store, tmp_path / "rows.json", cell)
        assert list(corrected.wrong) == [0]

    @pytest.mark.parametrize(
        ("values", "cell"),
        [
            (pd.Series(pd.to_datetime(["2013-01-01"] * 2)).astype("datetime64[ns]"), "9999-01-01"),
            (pd.Series(pd.to_timedelta(["1s"] * 2)).astype("timedelta64[ns]"), "200000 days"),
            (pl.Series([0, 1]).cast(pl.Datetime("ns")), "1600-01-01"),
            (pl.Series([0, 1]).cast(pl.Datetime("ms")), "2013-01-01 00:00:00.0005"),
            (pl.Series([Decimal("1.10")] * 2, dtype=pl.Decimal(10, 2)), "1_0"),
            (pd.Series([0.1, 0.2]), "1e400"),
            (pd.Series([0.1, 0.2], dtype="float32"), "1e39"),
        ],
        ids=str,
    )
    def test_a_csv_value_that_the_column_cannot_hold_is_reported(self, store, tmp_path, values, cell):
        keep(store, values)
        corrected = written(store, tmp_path / "rows.csv", cell)
        assert list(corrected.wrong) == [0]

    @pytest.mark.parametrize(
        ("values", "cell", "wanted"),
        [
            (pl.Series([[1], [2]]), "[3, null]", [3, None]),
            (pl.Series([[Decimal("1.10")]] * 2, dtype=pl.List(pl.Decimal(10, 2))), '["1.5"]', [Decimal("1.50")]),
            (pl.Series([{"a": dt.date(2013, 1, 1)}] * 2), '{"a": "2013-02-03"}', {"a": dt.date(2013, 2, 3)}),
            (pl.Series([0.1, 0.2], dtype=pl.Float32), "inf", float("inf")),
            (pd.Series(pd.to_timedelta(["1s"] * 2)), "-1 days", pd.Timedelta(days=-1)),
            (pl.Series([None, None]), "7", "7"),
        ],
        ids=str,
    )
    def test_a_value_that_the_column_can_hold_is_accepted(self, store, tmp_path, values, cell, wanted):
        keep(store, values)
        corrected = written(store, tmp_path / "rows.csv", cell)
        assert corrected.wrong == {}
        assert values_of(corrected)[0] == wanted


class TestUnchanged:
    @ENDINGS
    @pytest.mark.parametrize(
        "values",
        [
            pl.Series([[Decimal("1.10")], None], dtype=pl.List(pl.Decimal(10, 2))),
            pl.Series([10_000_000, None]).cast(pl.Date),  # in 29,000 years: Python's dates end in 9999
            pl.Series([2**58, 1]).cast(pl.Datetime("us")),
            pl.Series([-(10**16), 1]).cast(pl.Datetime("ms", "Europe/Berlin")),
            pd.Series([3_000_000, None], dtype=pd.ArrowDtype(arrow.int32())).astype(pd.ArrowDtype(arrow.date32())),
            pd.Series([[1, 2], None], dtype=pd.ArrowDtype(arrow.list_(arrow.int64(), 2))),
            pd.Series(["a", None], dtype="string"),
        ],
        ids=["decimals in lists", "date", "us", "ms in a zone", "Arrow's date", "lists of a fixed size", "text"],
    )
    def test_every_value_comes_back_from_a_file(self, store, tmp_path, values, ending):
        frame = keep(store, values)
        save_table(store.table("b1"), tmp_path / f"rows.{ending}")
        corrected = load_table(tmp_path / f"rows.{ending}", store.table("b1"))
        assert corrected.wrong == {}
        _, back = without_numbers(corrected.table)
        assert back.equals(frame)
        assert len(store.read("b1")["reasons"]) == 2
        schema = (pa if isinstance(values, pd.Series) else ppl).DataFrameSchema({})
        assert store.replay("b1", schema, rows=corrected).released.equals(frame)

    def test_a_column_named_like_a_pandas_index_is_kept(self, store, tmp_path):
        frame = pl.DataFrame({"bad": [True], "__index_level_0__": ["a"]})
        store.write(split(frame, FLAGGED_POLARS), operation="fetch", batch="b1")
        save_table(store.table("b1"), tmp_path / "rows.parquet")
        _, back = without_numbers(load_table(tmp_path / "rows.parquet", store.table("b1")).table)
        assert back.equals(frame)

    def test_an_index_that_pandas_adds_to_parquet_is_not_a_column(self, store, tmp_path):
        keep(store, pd.Series(["a", "b", "c"]))
        path = tmp_path / "rows.parquet"
        save_table(store.table("b1"), path)
        pd.read_parquet(path).iloc[[0, 2]].to_parquet(path, index=True)
        assert "__index_level_0__" in parquet.read_schema(path).names
        _, back = without_numbers(load_table(path, store.table("b1")).table)
        assert list(back.columns) == ["bad", "x"]

    def test_times_in_a_zone_are_written_without_a_warning(self, store, tmp_path):
        keep(store, pd.Series(pd.to_datetime(["2013-11-03 05:30Z", None])).dt.tz_convert("America/New_York"))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            store.replay("b1", pa.DataFrameSchema({}), rows=store.table("b1"))
            assert store.release("fetch")["x"].dt.tz is not None

    def test_many_columns_are_read_without_a_warning(self, store):
        frame = pd.DataFrame({"bad": [True], **{f"x{number}": [number] for number in range(300)}})
        store.write(split(frame, FLAGGED), operation="fetch", batch="b1")
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert store.table("b1").shape == (1, 302)


class TestSpreadsheets:
    @pytest.mark.parametrize(
        "options",
        [
            {"delimiter": ";", "encoding": "utf-8-sig"},
            {"delimiter": "\t"},
            {"quoting": csv.QUOTE_ALL, "lineterminator": "\r\n"},
            {"delimiter": ";", "quoting": csv.QUOTE_ALL, "encoding": "utf-8-sig"},
        ],
        ids=str,
    )
    def test_a_file_is_read_with_any_delimiter_of_spreadsheets(self, store, tmp_path, options):
        texts = ['a;b\t"c",\r\nd', "=1+1"]
        keep(store, pd.Series(texts))
        path = tmp_path / "rows.csv"
        save_table(store.table("b1"), path)
        save(path, list(csv.DictReader(path.open(newline=""))), **options)
        corrected = load_table(path, store.table("b1"))
        assert (values_of(corrected), corrected.wrong) == (texts, {})

    def test_empty_rows_and_columns_at_the_border_are_ignored(self, store, tmp_path):
        keep(store, pd.Series(["a", "b"]))
        path = tmp_path / "rows.csv"
        save_table(store.table("b1"), path)
        head, *rows = path.read_text().splitlines()
        path.write_text("\n".join([f"{head},,", *(f"{row},," for row in rows), ",,,,", ""]))
        _, back = without_numbers(load_table(path, store.table("b1")).table)
        assert list(back.columns) == ["bad", "x"]
        assert back["x"].tolist() == ["a", "b"]

    @pytest.mark.parametrize(
        ("edit", "message"),
        [
            (lambda text: text.replace(b",x", b",y"), "lacks the column 'x'"),
            (lambda text: b"\n".join(line.rpartition(b",")[0] for line in text.split(b"\r\n")), "lacks the column 'x'"),
            (lambda text: text.replace(b",x", b",bad"), "has two columns 'bad'"),
            (lambda _: b"", "needs its number"),
            (lambda text: text.replace(b"a", b"\xe9"), "is not in UTF-8"),
            (lambda text: text.decode().encode("utf-16"), "is not in UTF-8"),
        ],
    )
    def test_a_file_that_is_no_longer_such_a_table_is_refused(self, store, tmp_path, edit, message):
        keep(store, pd.Series(["b", "c"]))
        path = tmp_path / "rows.csv"
        save_table(store.table("b1"), path)
        path.write_bytes(edit(path.read_bytes()))
        with pytest.raises(ValueError, match=message):
            load_table(path, store.table("b1"))

    @pytest.mark.parametrize(
        ("text", "message"), [("{", "is no JSON"), ('[{"x": 1}]', "lacks the column|needs its number")]
    )
    def test_json_that_is_not_such_a_table_is_refused_with_the_file_name(self, store, tmp_path, text, message):
        keep(store, pd.Series(["b", "c"]))
        path = tmp_path / "rows.json"
        path.write_text(text)
        with pytest.raises(ValueError, match=f"rows.json.*({message})|{ROW}"):
            load_table(path, store.table("b1"))


class TestTwoDates:
    def test_an_ambiguous_date_is_not_released_beside_columns_with_one_name(self, store):
        frame = pd.DataFrame([["a", "b", "03/02/2013"]], columns=["x", "x", "d"])
        named = pa.DataFrameSchema({"d": pa.Column(str, pa.Check(lambda dates: dates.str.len() < 0))})
        store.write(split(frame, named), operation="fetch", batch="b1", schema=named)
        dates = pa.DataFrameSchema({"d": pa.Column("datetime64[ns]", coerce=True)})
        assert [row for row, _ in store.replay("b1", dates, unchanged=True).failing] == [0]


def test_a_fix_that_returns_nothing_is_refused(store):
    keep(store, pd.Series(["a", "b"]))
    with pytest.raises(TypeError, match="returned None"):
        store.replay("b1", FLAGGED, fix=lambda table: table.__setitem__("bad", np.zeros(2, bool)))


@pytest.mark.parametrize("given", ["rows.csv", 7, [{"x": 1}]])
def test_rows_that_are_not_a_table_are_refused_with_a_hint(store, given):
    keep(store, pd.Series([1]))
    with pytest.raises(TypeError, match=r"corrected table of `Quarantine.table`, not .*--rows FILE"):
        store.replay("b1", FLAGGED, rows=given)
