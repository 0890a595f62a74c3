"""A split by chunks equals one split of the whole, for any types, chunks and files."""

import datetime as dt
import itertools
import os
import subprocess
import sys
import tempfile
from decimal import Decimal
from pathlib import Path

import hypothesis
import pandas as pd
import pandera.pandas as pp
import pandera.polars as ppl
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import strategies as st
from pandas.testing import assert_frame_equal as same_pandas
from polars.testing import assert_frame_equal as same_polars

from resilient_tasks.chunks.split import split_parquet
from resilient_tasks.quarantine.quarantine import Quarantine
from resilient_tasks.validation.split import split

EXAMPLES = int(os.environ.get("EQUIVALENCE_EXAMPLES", "50"))
FIRST = """
import pyarrow as pa, pyarrow.parquet as pq, {module} as library
from resilient_tasks.chunks.split import split_parquet

pq.write_table(pa.table({{"a": [1, 2, -3]}}), "in.parquet")
schema = library.DataFrameSchema({{"a": library.Column(int, library.Check.gt(0))}})
assert split_parquet("in.parquet", schema, "good.parquet").invalid == 1
"""


@pytest.mark.parametrize("module", ["pandera.pandas", "pandera.polars"])
def test_panderas_own_checks_are_row_wise_in_the_first_call_of_a_process_too(tmp_path, module):
    code = FIRST.format(module=module)
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


VALUES = {
    pa.int64(): st.integers(-(2**40), 2**40),
    pa.uint8(): st.integers(0, 255),
    pa.float32(): st.floats(width=32, allow_nan=False),
    pa.float64(): st.floats(allow_nan=False),
    pa.bool_(): st.booleans(),
    pa.string(): st.text(max_size=2),
    pa.binary(): st.binary(max_size=2),
    pa.decimal128(12, 2): st.decimals(-1e9, 1e9, places=2, allow_nan=False),
    pa.date32(): st.dates(dt.date(1900, 1, 1), dt.date(2200, 1, 1)),
    pa.time64("us"): st.times(),
    pa.timestamp("ns"): st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)),  # noqa: DTZ001
    pa.timestamp("us", "Europe/Berlin"): st.datetimes(dt.datetime(1900, 1, 1), dt.datetime(2200, 1, 1)),  # noqa: DTZ001
    pa.duration("us"): st.timedeltas(dt.timedelta(-9), dt.timedelta(9)),
    pa.dictionary(pa.int32(), pa.string()): st.sampled_from("abc"),
    pa.list_(pa.int64()): st.lists(st.integers(0, 3), max_size=2),
    pa.struct([("x", pa.int64()), ("y", pa.string())]): st.fixed_dictionaries(
        {"x": st.none() | st.integers(0, 3), "y": st.text(max_size=1)}
    ),
}


@st.composite
def tables(draw):
    height = draw(st.integers(0, 9))
    kinds = draw(st.lists(st.sampled_from(list(VALUES)), min_size=1, max_size=4))
    columns = {"good": draw(st.lists(st.integers(0, 2), min_size=height, max_size=height))}
    for at, kind in enumerate(kinds):
        values = st.none() | VALUES[kind] if draw(st.booleans()) else VALUES[kind]
        columns[f"x{at}"] = pa.array(draw(st.lists(values, min_size=height, max_size=height)), kind)
    nullable = [draw(st.booleans()) for _ in kinds]
    return pa.table({"good": pa.array(columns.pop("good"), pa.int64()), **columns}), nullable


@st.composite
def cases(draw):
    table, nullable = draw(tables())
    cuts = sorted(draw(st.lists(st.integers(0, table.num_rows), max_size=3)))
    order = draw(st.permutations(table.column_names))
    return table, nullable, [0, *cuts, table.num_rows], order, draw(st.integers(1, 5)), draw(st.booleans())


def written(folder, table, cuts, order, *, statistics):
    (folder / "in").mkdir()
    for number, (start, stop) in enumerate(itertools.pairwise(cuts)):
        part = table.slice(start, stop - start)
        part = part.select(order) if number else part  # the column order of the first file counts
        pq.write_table(part, folder / "in" / f"{number}.parquet", row_group_size=2, write_statistics=statistics)
    return folder / "in"


def as_stored(frame, path):
    """Return a pandas frame as Parquet restores it: without unused categories, and with booleans as booleans."""
    stored = pa.Table.from_pandas(frame, pq.read_schema(path), preserve_index=False).to_pandas()
    return stored.astype({name: object for name, kind in stored.dtypes.items() if kind == "category"})


@hypothesis.settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(hypothesis.HealthCheck))
@hypothesis.given(case=cases())
@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_any_chunks_of_any_files_equal_one_split_of_the_whole(library, case):
    table, nullable, cuts, order, rows, statistics = case
    module = pp if library == "pandas" else ppl
    others = {f"x{at}": module.Column(nullable=each) for at, each in enumerate(nullable)}
    schema = module.DataFrameSchema({"good": module.Column(int, module.Check.gt(0)), **others})
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pq.write_table(table, folder / "whole.parquet")
        read, same = (pd.read_parquet, same_pandas) if library == "pandas" else (pl.read_parquet, same_polars)
        whole = split(read(folder / "whole.parquet"), schema)
        source = written(folder, table, cuts, order, statistics=statistics)
        report = split_parquet(source, schema, folder / "good.parquet", rows=rows, quarantine=folder / "bad")
        good = read(folder / "good.parquet")
        assert (report.rows, report.invalid) == (table.num_rows, whole.report.invalid)
        assert report.reasons == whole.report.reasons
        if library == "pandas":
            good, expected = (as_stored(each, folder / "good.parquet") for each in (good, whole.good))
        else:
            expected = whole.good
        same(good, expected[list(good.columns)])
        assert Quarantine(folder / "bad").rows() == report.invalid


FORMS = {
    "decimal": ([Decimal("-0.50"), Decimal("12345678.25")], pa.decimal128(12, 2)),
    "date": ([dt.date(2013, 1, 1), dt.date(2014, 1, 1)], pa.date32()),
    "list": ([[1], [2, 3]], pa.list_(pa.int64())),
    "dictionary": (["a", "b"], pa.dictionary(pa.int32(), pa.string())),
    "bytes": ([b"a", b"b"], pa.binary()),
}


@pytest.mark.parametrize("library", [pp, ppl], ids=["pandas", "polars"])
@pytest.mark.parametrize("first", ["bad", "null"])
@pytest.mark.parametrize("form", FORMS)
def test_the_types_of_the_target_are_not_those_of_the_first_chunk(tmp_path, library, first, form):
    values, kind = FORMS[form]
    values = [None, None, *values] if first == "null" else [values[0], values[0], *values]
    ok = [1, 1, 1, 1] if first == "null" else [-1, -1, 1, 1]
    pq.write_table(pa.table({"ok": ok, "x": pa.array(values, kind)}), tmp_path / "in.parquet")
    schema = library.DataFrameSchema({"ok": library.Column(int, library.Check.gt(0))})
    split_parquet(tmp_path / "in.parquet", schema, tmp_path / "good.parquet", rows=2)
    found = pq.read_table(tmp_path / "good.parquet")["x"]
    assert found.to_pylist() == (values if first == "null" else values[2:])
    value_type = found.type.value_type if form == "dictionary" else found.type
    assert "null" not in str(value_type)


@pytest.mark.parametrize(
    ("column", "stored", "wanted"),
    [
        (pp.Column(str, coerce=True), [1, 2], ["1", "2"]),
        (pp.Column("category", coerce=True), ["a", "b"], ["a", "b"]),
        (pp.Column(pp.Decimal(12, 2), coerce=True), [0.5, 12345678.25], [Decimal("0.50"), Decimal("12345678.25")]),
        (pp.Column(pp.Date, coerce=True), [dt.datetime(2013, 1, 1, 5)], [dt.date(2013, 1, 1)]),  # noqa: DTZ001
        (pp.Column("Int64", coerce=True, nullable=True), [1.0, None], [1, None]),
        (pp.Column(object, coerce=True), [1, 2], [1, 2]),
        (ppl.Column(pl.String, coerce=True), [1, 2], ["1", "2"]),
        (ppl.Column(pl.Decimal(12, 2), coerce=True), [0.5, 12345678.25], [Decimal("0.50"), Decimal("12345678.25")]),
        (ppl.Column(pl.Categorical, coerce=True), ["a", "b"], ["a", "b"]),
    ],
)
def test_the_types_of_the_target_are_those_that_the_schema_coerces_to(tmp_path, column, stored, wanted):
    library = pp if isinstance(column, pp.Column) else ppl
    size = len(stored)
    pq.write_table(pa.table({"ok": [-1] * size + [1] * size, "x": stored * 2}), tmp_path / "in.parquet")
    schema = library.DataFrameSchema({"ok": library.Column(int, library.Check.gt(0)), "x": column})
    split_parquet(tmp_path / "in.parquet", schema, tmp_path / "good.parquet", rows=size)
    assert pq.read_table(tmp_path / "good.parquet")["x"].to_pylist() == wanted


MINE = pp.DataFrameSchema({"a": pp.Column(int, pp.Check.gt(0))})


@pytest.mark.parametrize(
    "index",
    [
        pd.Index(["x", "y", "z", "w"]),
        pd.Index(["x", "y", "z", "w"], name="key"),
        pd.date_range("2013-01-01", periods=4, tz="UTC"),
        pd.MultiIndex.from_product([["x", "y"], [1, 2]], names=["one", None]),
        pd.RangeIndex(100, 108, 2),
        pd.RangeIndex(4, name="number"),
    ],
)
@pytest.mark.parametrize("rows", [1, 3, 10])
def test_a_pandas_index_is_kept_in_the_target_and_in_the_quarantine(tmp_path, index, rows):
    frame = pd.DataFrame({"a": [1, -2, 3, 4]}, index=index)
    (tmp_path / "in").mkdir()
    frame[:2].to_parquet(tmp_path / "in" / "1.parquet")
    frame[2:].to_parquet(tmp_path / "in" / "2.parquet")
    whole = split(frame, MINE)
    quarantine = Quarantine(tmp_path / "bad")
    split_parquet(tmp_path / "in", MINE, tmp_path / "good.parquet", rows=rows, quarantine=quarantine)
    same_pandas(pd.read_parquet(tmp_path / "good.parquet"), whole.good, check_freq=False, check_index_type=False)


def test_an_index_is_checked_by_chunks_where_its_rules_are_row_wise(tmp_path):
    frame = pd.DataFrame({"a": [1, 2, 3]}, index=pd.Index(["x", "y", ""], name="key"))
    frame.to_parquet(tmp_path / "in.parquet")
    schema = pp.DataFrameSchema(index=pp.Index(str, pp.Check.str_length(1), name="key"))
    assert split_parquet(tmp_path / "in.parquet", schema, tmp_path / "good.parquet", rows=1).invalid == 1
    unique = pp.DataFrameSchema(index=pp.Index(str, unique=True, name="key"))
    with pytest.raises(ValueError, match="index 'key': unique=True"):
        split_parquet(tmp_path / "in.parquet", unique, tmp_path / "good.parquet")


@pytest.mark.parametrize("library", [pp, ppl], ids=["pandas", "polars"])
def test_a_file_without_rows_does_not_affect_the_types(tmp_path, library):
    (tmp_path / "in").mkdir()
    pd.DataFrame({"a": []}).to_parquet(tmp_path / "in" / "0.parquet")
    pd.DataFrame({"a": [1, -1]}).to_parquet(tmp_path / "in" / "1.parquet")
    pd.DataFrame().to_parquet(tmp_path / "in" / "2.parquet")
    schema = library.DataFrameSchema({"a": library.Column(int, library.Check.gt(0))})
    report = split_parquet(tmp_path / "in", schema, tmp_path / "good.parquet")
    assert (report.rows, report.invalid) == (2, 1)


@pytest.mark.parametrize("library", [pp, ppl], ids=["pandas", "polars"])
def test_files_may_store_one_type_in_several_widths(tmp_path, library):
    (tmp_path / "in").mkdir()
    moment = dt.datetime(2013, 1, 1, 5)  # noqa: DTZ001
    for name, unit, number, text in [
        ("1", "ms", pa.int32(), pa.string()),
        ("2", "ns", pa.int64(), pa.dictionary(pa.int8(), pa.string())),
        ("3", "us", pa.null(), pa.large_string()),
    ]:
        columns = {"t": pa.array([moment], pa.timestamp(unit)), "n": pa.array([None], number)}
        pq.write_table(pa.table({**columns, "s": pa.array(["a"], text)}), tmp_path / "in" / f"{name}.parquet")
    split_parquet(tmp_path / "in", library.DataFrameSchema({}), tmp_path / "good.parquet")
    found = pq.read_table(tmp_path / "good.parquet")
    assert found["t"].to_pylist() == [pd.Timestamp(moment)] * 3
    assert found["s"].to_pylist() == ["a"] * 3


@pytest.mark.parametrize(
    ("second", "words"),
    [
        ({"a": ["1"], "b": ["x"]}, r"2\.parquet: column 'a' is string, and int64 in .*1\.parquet"),
        ({"a": [1.5], "b": ["x"]}, r"2\.parquet: column 'a' is double, and int64 in .*1\.parquet"),
        ({"a": [1]}, r"2\.parquet: column 'b' is missing"),
        ({"a": [1], "b": ["x"], "c": [1]}, r"2\.parquet: column 'c' is not in .*1\.parquet"),
    ],
)
def test_a_file_with_other_columns_or_types_is_named_before_anything_is_written(tmp_path, second, words):
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"a": [1], "b": ["x"]}), tmp_path / "in" / "1.parquet")
    pq.write_table(pa.table(second), tmp_path / "in" / "2.parquet")
    with pytest.raises(ValueError, match=words):
        split_parquet(tmp_path / "in", ppl.DataFrameSchema({}), tmp_path / "good.parquet", quarantine=tmp_path / "bad")
    assert not (tmp_path / "good.parquet").exists()


@pytest.mark.parametrize("damage", ["text", "cut", "middle"])
def test_a_file_that_is_broken_is_named(tmp_path, damage):
    (tmp_path / "in").mkdir()
    pq.write_table(pa.table({"a": [1] * 9}), tmp_path / "in" / "1.parquet")
    broken = tmp_path / "in" / "2.parquet"
    pq.write_table(pa.table({"a": list(range(5_000))}), broken, compression="snappy")
    whole = broken.read_bytes()
    changed = {"text": b"not Parquet", "cut": whole[: len(whole) // 2]}
    changed["middle"] = whole[:200] + bytes(len(whole) - 1_400) + whole[-1_200:]
    broken.write_bytes(changed[damage])
    with pytest.raises(ValueError, match=r"2\.parquet"):
        split_parquet(tmp_path / "in", MINE, tmp_path / "good.parquet")
    assert not (tmp_path / "good.parquet").exists()


@pytest.mark.parametrize("rows", [0, -1, 1.5, True])
def test_a_chunk_has_rows(tmp_path, rows):
    pq.write_table(pa.table({"a": [1]}), tmp_path / "in.parquet")
    with pytest.raises(ValueError, match="is a number of rows from 1 up"):
        split_parquet(tmp_path / "in.parquet", MINE, tmp_path / "good.parquet", rows=rows)


@pytest.mark.parametrize("library", [pp, ppl], ids=["pandas", "polars"])
def test_a_column_without_any_value_stays_without_a_type(tmp_path, library):
    pq.write_table(pa.table({"a": [1, 2], "x": pa.nulls(2)}), tmp_path / "in.parquet")
    split_parquet(
        tmp_path / "in.parquet", library.DataFrameSchema({"a": library.Column(int)}), tmp_path / "good.parquet"
    )
    assert pq.read_table(tmp_path / "good.parquet")["x"].to_pylist() == [None, None]


def test_a_map_stays_one(tmp_path):
    column = pa.array([[("a", 1)]], pa.map_(pa.string(), pa.int64()))
    pq.write_table(pa.table({"x": column}), tmp_path / "in.parquet")
    report = split_parquet(tmp_path / "in.parquet", pp.DataFrameSchema({"x": pp.Column()}), tmp_path / "good.parquet")
    assert report.good == 1
    assert pq.read_table(tmp_path / "good.parquet")["x"].to_pylist() == [[("a", 1)]]


def test_two_columns_with_one_name_are_reported_with_their_file(tmp_path):
    pq.write_table(pa.Table.from_arrays([pa.array([1]), pa.array([2])], names=["a", "a"]), tmp_path / "in.parquet")
    with pytest.raises(ValueError, match=r"in\.parquet: two columns are named 'a'"):
        split_parquet(tmp_path / "in.parquet", MINE, tmp_path / "good.parquet")


def test_a_type_that_polars_cannot_write_is_reported(tmp_path):
    pq.write_table(pa.table({"x": pa.array([Decimal(1)], pa.decimal256(60, 2))}), tmp_path / "in.parquet")
    with pytest.raises(ValueError, match="polars writes no Parquet of these types"):
        split_parquet(tmp_path / "in.parquet", ppl.DataFrameSchema({}), tmp_path / "good.parquet")
