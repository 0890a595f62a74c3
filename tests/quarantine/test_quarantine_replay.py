"""Replay: corrected rows are released once, failing rows stay with their new reasons, and nothing is lost."""

import datetime as dt
import os

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pandera.polars as ppl
import polars as pl
import pytest
from pandas.testing import assert_frame_equal
from pydantic import BaseModel, Field

from resilient_tasks.quarantine import ledger
from resilient_tasks.quarantine.batch_file import ROW
from resilient_tasks.quarantine.quarantine import Quarantine, QuarantineError
from resilient_tasks.quarantine.tables import load_table, save_table
from resilient_tasks.validation.split import split

Flights = pa.DataFrameSchema(
    {"carrier": pa.Column(str, pa.Check.isin(["UA", "AA"])), "miles": pa.Column("int32", pa.Check.gt(0))}
)
FRAME = pd.DataFrame({"carrier": ["UA", "??", "AA", "UA"], "miles": np.array([1, 2, -3, -4], "int32")})
AGO = dt.timedelta(0)


class Place(BaseModel):
    lat: float = Field(ge=-90, le=90)


@pytest.fixture(params=["folder", "memory"])
def store(request, tmp_path):
    if request.param == "folder":
        yield Quarantine(tmp_path / "q")
        return
    import fsspec

    yield Quarantine("memory://replays")
    fsspec.filesystem("memory").store.clear()


def keep(store, frame=FRAME, schema=Flights, batch="b1"):
    store.write(split(frame, schema), operation="fetch", batch=batch, schema=schema)


def corrected(table):
    return table.assign(carrier=table["carrier"].replace("??", "UA"), miles=table["miles"].abs())


def test_the_table_to_correct_has_the_rows_and_types_as_read(store):
    keep(store)
    assert_frame_equal(store.table("b1").drop(columns=ROW), FRAME.iloc[1:])
    assert store.table("b1")[ROW].tolist() == [1, 2, 3]


def test_rows_as_read_fail_as_they_did(store):
    keep(store)
    replay = store.replay("b1", Flights)
    assert (replay.rows, replay.waiting, len(replay.released)) == (0, 3, 0)
    assert [row for row, _ in replay.failing] == [1, 2, 3]
    assert store.release("fetch") is None


def test_passing_rows_are_released_once_as_the_schema_returns_them(store):
    keep(store)
    first = store.replay("b1", Flights, fix=corrected)
    again = store.replay("b1", Flights, fix=corrected)
    assert (first.rows, first.waiting, first.failing) == (3, 0, ())
    assert (again.rows, again.waiting) == (0, 0)
    released = store.release("fetch")
    assert released.dtypes.to_dict() == FRAME.dtypes.to_dict()
    assert released["miles"].tolist() == first.released["miles"].tolist() == [2, 3, 4]
    assert store.rows() == 0
    assert store.list()[0].rows == 3


def test_corrected_rules_release_rows_as_read(store):
    keep(store)
    assert store.replay("b1", pa.DataFrameSchema({"carrier": pa.Column(str), "miles": pa.Column("int32")})).rows == 3


def test_rows_that_still_fail_stay_with_their_new_reasons(store):
    keep(store)
    replay = store.replay(
        "b1", Flights, fix=lambda table: table.assign(carrier="??", miles=np.array([2, 3, 0], "int32"))
    )
    assert (replay.rows, replay.waiting) == (0, 3)
    kept = store.read("b1")
    assert [reason["column"] for reason in kept["reasons"][0]] == ["carrier"]
    assert [(reason["column"], reason["value"]) for reason in kept["reasons"][2]] == [("carrier", "??"), ("miles", 0)]
    assert kept["values"][2] == {"carrier": "UA", "miles": -4}
    assert kept["released"].tolist() == [False] * 3


def test_rows_that_the_table_leaves_out_keep_waiting(store):
    keep(store)
    replay = store.replay("b1", Flights, rows=corrected(store.table("b1")).iloc[[2]])
    assert (replay.rows, replay.waiting, store.rows()) == (1, 2, 2)
    assert store.read("b1")["released"].tolist() == [False, False, True]
    assert store.table("b1")[ROW].tolist() == [1, 2]
    assert store.replay("b1", Flights, fix=corrected).rows == 2
    assert store.release("fetch")["miles"].tolist() == [4, 2, 3]


def test_a_table_saved_before_another_replay_releases_only_the_waiting_rows(store):
    keep(store)
    old = corrected(store.table("b1"))
    store.replay("b1", Flights, rows=old.iloc[:1])
    assert store.replay("b1", Flights, rows=old).rows == 2


def test_a_frame_error_releases_nothing(store):
    keep(store)
    replay = store.replay("b1", Flights, fix=lambda table: corrected(table).drop(columns="carrier"))
    assert (replay.rows, replay.waiting) == (0, 3)
    assert replay.report.frame_errors
    assert store.rows() == 3


@pytest.mark.parametrize(
    ("change", "why"),
    [
        (lambda table: table.drop(columns=ROW), "numbers in a column"),
        (lambda table: pd.concat([table, table]), "Row 1 of batch b1 occurs more than once"),
        (lambda table: table.assign(**{ROW: [0, 1, 2]}), "has no row 0"),
    ],
)
def test_a_table_without_valid_row_numbers_is_refused(store, change, why):
    keep(store)
    with pytest.raises(ValueError, match=why):
        store.replay("b1", Flights, fix=change)
    assert store.rows() == 3


def test_a_row_that_a_retry_read_differently_is_another_row(store):
    keep(store)
    store.replay("b1", Flights, fix=lambda table: corrected(table).iloc[[0]])
    keep(store)
    assert store.table("b1")[ROW].tolist() == [2, 3]
    keep(store, FRAME.assign(carrier=["UA", "!!", "AA", "UA"]))
    assert store.table("b1")[ROW].tolist() == [1, 2, 3]


def test_a_retry_that_read_one_row_differently_leaves_other_releases_alone(store):
    keep(store)
    store.replay("b1", Flights, fix=lambda table: corrected(table).iloc[[0, 1]])
    again = FRAME.assign(miles=[1, 2, -30, -4]).astype(
        {"miles": "float64"}
    )  # of another type, as with a null elsewhere
    keep(store, again, Flights.update_column("miles", dtype="float64"))
    assert store.table("b1")[ROW].tolist() == [2, 3]
    assert [batch.waiting for batch in store.list()] == [2]
    assert len(store.release("fetch")) == 2


def test_polars_rows_come_back_as_polars(store):
    schema = ppl.DataFrameSchema({"n": ppl.Column(pl.Int16, ppl.Check.gt(0)), "c": ppl.Column(pl.Categorical)})
    frame = pl.DataFrame({"n": [1, -2, -3], "c": ["a", "b", None]}, schema={"n": pl.Int16, "c": pl.Categorical})
    store.write(split(frame, schema), operation="fetch", batch="b1")
    assert dict(store.table("b1").schema) == {ROW: pl.Int64, "n": pl.Int16, "c": pl.Categorical}
    replay = store.replay("b1", schema, fix=lambda table: table.with_columns(pl.col("n").abs()))
    assert (replay.rows, replay.waiting) == (1, 1)
    assert store.release("fetch").to_dict(as_series=False) == {"n": [2], "c": ["b"]}


def test_records_come_back_as_records(store):
    keep(store, [{"lat": 1}, {"lat": 91}, "rate limited"], Place)
    assert store.table("b1") == {1: {"lat": 91}, 2: "rate limited"}
    replay = store.replay("b1", Place, rows={1: {"lat": "9.1"}, 2: "rate limited"})
    assert (replay.rows, replay.waiting) == (1, 1)
    assert store.release("fetch") == [{"lat": 9.1}]


def test_the_index_types_and_names_of_a_pandas_frame_are_restored(store):
    frame = pd.DataFrame(
        {
            0: pd.Categorical(["a", "b"], categories=["a", "b", "c"]),
            1: pd.array([1, None], "Int64"),
            2: pd.to_datetime(["2013-01-01", None], utc=True),
            3: [b"x", None],
            4: pd.array([1.5, 2.5], "float64[pyarrow]"),
        },
        index=pd.Index(["x", "y"], name="id"),
    )
    keep(store, frame, pa.DataFrameSchema({4: pa.Column("float64[pyarrow]", pa.Check.lt(0))}))
    assert_frame_equal(store.table("b1").drop(columns=ROW), frame, check_column_type=False)


@pytest.mark.parametrize("ending", ["csv", "json", "parquet"])
def test_a_file_is_corrected_by_hand_and_replayed(tmp_path, ending):
    store = Quarantine(tmp_path)
    keep(store)
    path = tmp_path / f"rows.{ending}"
    assert save_table(store.table("b1"), path) == 3
    if ending == "parquet":
        corrected(pd.read_parquet(path)).to_parquet(path)
    else:
        path.write_text(path.read_text().replace("??", "UA").replace("-", ""))
    replay = store.replay("b1", Flights, rows=load_table(path, store.table("b1")))
    assert (replay.rows, replay.waiting) == (3, 0), replay.report
    assert store.release("fetch")["miles"].tolist() == [2, 3, 4]


def test_an_unchanged_csv_holds_the_rows_as_read(tmp_path):
    store = Quarantine(tmp_path)
    frame = pd.DataFrame({
        "n": ["1", 2, None], "when": pd.to_datetime(["2013-01-01", None, "2013-01-02"]), "x": [0.1, np.nan, 1e300],
        "flag": [True, False, True], "text": ["", "a,b", 'a "quoted"\nline'], "list": [[1], {"a": 2}, None],
    })  # fmt: skip
    keep(store, frame, pa.DataFrameSchema({"x": pa.Column(float, pa.Check(lambda column: column != column))}))  # noqa: PLR0124
    table = store.table("b1")
    save_table(table, tmp_path / "rows.csv")
    assert_frame_equal(load_table(tmp_path / "rows.csv", table).table, table)


@pytest.mark.parametrize("name", ["rows.txt", "rows"])
def test_a_file_of_another_kind_is_refused(tmp_path, name):
    with pytest.raises(ValueError, match=r"none of \.csv, \.json and \.parquet"):
        save_table(FRAME, tmp_path / name)
    with pytest.raises(ValueError, match=r"none of \.csv, \.json and \.parquet"):
        load_table(tmp_path / name, FRAME)


@pytest.mark.parametrize("step", range(8))
@pytest.mark.parametrize("method", ["entries", "read"])
def test_concurrent_replays_release_no_row_twice(store, monkeypatch, method, step):
    keep(store)
    wrong = store.replay("b1", Flights, fix=lambda table: table.assign(carrier="!!"))
    assert wrong.waiting == 3  # one entry, so that there is something to read
    original, calls, other = getattr(ledger.Ledger, method), [], []

    def interrupted(self, *args):
        found = original(self, *args)
        calls.append(args)
        if len(calls) == step + 1:
            other.append(store.replay("b1", Flights, fix=corrected).rows)
        return found

    with monkeypatch.context() as patch:
        patch.setattr(ledger.Ledger, method, interrupted)
        released = store.replay("b1", Flights, fix=corrected).rows
    assert released + sum(other) == len(store.release("fetch")) == 3
    assert len(store.list()) == 1


def test_a_release_that_cannot_be_written_releases_nothing(tmp_path, monkeypatch):
    store = Quarantine(tmp_path)
    keep(store)

    def full(*_):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", full)
        with pytest.raises(QuarantineError, match=r"Cannot release rows of batch 'b1' .* No space left"):
            store.replay("b1", Flights, fix=corrected)
    assert (store.rows(), store.release("fetch")) == (3, None)


class TestPurge:
    def test_waiting_rows_are_purged_only_on_request(self, store):
        keep(store)
        assert store.purge(AGO) == []
        assert [batch.waiting for batch in store.purge(AGO, waiting=True, dry_run=True)] == [3]
        assert store.rows() == 3
        assert len(store.purge(AGO, waiting=True)) == 1
        assert store.list() == []

    def test_released_rows_are_purged_with_their_ledger_once_old(self, store):
        keep(store)
        store.replay("b1", Flights, fix=corrected)
        assert store.purge(dt.timedelta(days=1)) == []
        assert len(store.purge(AGO)) == 1
        assert (store.list(), store.release("fetch")) == ([], None)

    def test_temporary_files_of_killed_writers_are_removed(self, tmp_path):
        store = Quarantine(tmp_path)
        keep(store)
        for name, age in (("old", 7200), ("new", 60)):
            left = tmp_path / "fetch" / f".{name}.tmp"
            left.write_bytes(b"PAR1")
            os.utime(left, (left.stat().st_atime, left.stat().st_mtime - age))
        store.purge(AGO)
        assert [path.name for path in tmp_path.rglob(".*.tmp")] == [".new.tmp"]
        assert store.rows() == 3


def test_batches_are_listed_by_operation_and_day(store):
    keep(store)
    store.write(split(FRAME, Flights), operation="other", batch="b2")
    assert [batch.batch for batch in store.list(operation="other")] == ["b2"]
    assert store.list(since=dt.datetime.now(dt.UTC) + dt.timedelta(days=1)) == []
    assert len(store.list(since=dt.datetime.now(dt.UTC) - dt.timedelta(days=1))) == 2


def test_rows_of_two_libraries_are_taken_batch_by_batch(store):
    keep(store)
    store.replay("b1", Flights, fix=corrected)
    schema = ppl.DataFrameSchema({"n": ppl.Column(int, ppl.Check.gt(0))})
    store.write(split(pl.DataFrame({"n": [-1]}), schema), operation="fetch", batch="b2")
    store.replay("b2", schema, fix=lambda table: table.with_columns(pl.col("n").abs()))
    with pytest.raises(TypeError, match="batch by batch"):
        store.release("fetch")
    assert len(store.release("fetch", batch="b1")) == 3
    assert store.release("fetch", batch="b2").to_dict(as_series=False) == {"n": [1]}
