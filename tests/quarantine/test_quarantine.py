"""The quarantine on a real disk: everything written is read back, complete, once."""

import datetime as dt
import errno
import json
import pickle
import threading
import uuid
from decimal import Decimal
from pathlib import Path
from zoneinfo import ZoneInfo

import numpy as np
import pandas as pd
import pandera.pandas as pa
import pandera.polars as ppl
import polars as pl
import pyarrow.parquet as pq
import pytest
from pyarrow import table as arrow_table

from resilient_tasks import PolicyError, Validate
from resilient_tasks.quarantine.quarantine import Quarantine, QuarantineError
from resilient_tasks.storage import files as room
from resilient_tasks.storage.values import AsText, dumps, loads
from resilient_tasks.validation.schemas import fingerprint
from resilient_tasks.validation.split import split

Positive = pa.DataFrameSchema({"x": pa.Column(float, pa.Check.gt(0), coerce=True)})


def bad(*values):
    return split(pd.DataFrame({"x": ["1", *values], "y": range(len(values) + 1)}), Positive)


def test_a_bad_row_is_read_back_as_it_was_read_with_its_reasons(tmp_path):
    store = Quarantine(tmp_path)
    path = store.write(bad("n/a"), operation="fetch", batch="b1", schema=Positive, context={"flow_run": "f-1"})
    (row,) = store.read(path).to_dict("records")
    assert row["row"] == 1
    assert row["values"] == {"x": "n/a", "y": 1}
    assert row["reasons"] == [{"column": "x", "check": "not a number", "value": "n/a"}]
    assert (row["operation"], row["batch"], row["flow_run"]) == ("fetch", "b1", "f-1")
    assert row["schema"] == fingerprint(Positive)
    assert dt.datetime.fromisoformat(row["quarantined_at"]).utcoffset() == dt.timedelta(0)


def test_a_file_lies_under_its_operation_and_day(tmp_path):
    path = Quarantine(tmp_path).write(bad("n/a"), operation="fetch", batch="b1")
    day = dt.datetime.now(dt.UTC).date().isoformat()
    assert path.relative_to(tmp_path).as_posix() == f"fetch/{day}/b1.parquet"


def test_the_columns_of_the_frame_are_stored_unchanged_beside_the_librarys_own(tmp_path):
    store = Quarantine(tmp_path)
    first = store.write(bad("n/a"), operation="fetch", batch="1", context={"flow_run": "f-1"})
    schema = ppl.DataFrameSchema({"z": ppl.Column(int, ppl.Check.gt(0))})
    second = store.write(split(pl.DataFrame({"z": [-1]}), schema), operation="other", batch="2")
    own = [f"__quarantine_{name}" for name in ("row", "reasons", "operation", "batch", "schema", "quarantined_at")]
    assert pd.read_parquet(first).columns.tolist() == [*own, "__quarantine_flow_run", "x", "y"]
    assert pl.read_parquet(second).columns == [*own, "z"]
    assert pq.read_schema(second).field("z").type == "int64"
    both = pl.scan_parquet([first, second], missing_columns="insert", extra_columns="ignore").select(own).collect()
    assert both["__quarantine_operation"].to_list() == ["fetch", "other"]
    assert json.loads(both["__quarantine_reasons"][0]) == [{"column": "x", "check": "not a number"}]


def test_without_bad_rows_nothing_is_written(tmp_path):
    store = Quarantine(tmp_path / "q")
    assert store.write(bad(), operation="fetch", batch="b1") is None
    assert store.list() == []
    assert store.rows() == 0


def test_a_retry_replaces_the_batch_of_its_first_attempt(tmp_path):
    store = Quarantine(tmp_path)
    store.write(bad("a", "b", "c"), operation="fetch", batch="b1")
    store.write(bad("a"), operation="fetch", batch="b1")
    assert store.rows() == 1
    assert len(store.list()) == 1


def test_a_retry_after_midnight_replaces_too(tmp_path):
    store = Quarantine(tmp_path)
    path = store.write(bad("a", "b"), operation="fetch", batch="b1")
    yesterday = tmp_path / "fetch" / "2013-01-01" / path.name
    yesterday.parent.mkdir()
    path.rename(yesterday)
    assert store.write(bad("a"), operation="fetch", batch="b1") == yesterday
    assert store.rows() == 1


def test_a_retry_without_bad_rows_removes_the_batch(tmp_path):
    store = Quarantine(tmp_path)
    store.write(bad("a"), operation="fetch", batch="b1")
    store.write(bad(), operation="fetch", batch="b1")
    assert store.rows() == 0


def test_a_frame_error_leaves_the_earlier_batch_in_place(tmp_path):
    store = Quarantine(tmp_path)
    store.write(bad("a"), operation="fetch", batch="b1")
    assert store.write(split(pd.DataFrame({"y": [1]}), Positive), operation="fetch", batch="b1") is None
    assert store.rows() == 1


def test_a_batch_is_found_by_its_id_its_path_or_its_item_in_the_list(tmp_path):
    store = Quarantine(tmp_path)
    path = store.write(bad("a"), operation="fetch month", batch="2013-07/Jan")
    (item,) = store.list()
    assert (item.path, item.operation, item.batch, item.rows) == (path, "fetch month", "2013-07/Jan", 1)
    assert item.when.utcoffset() == dt.timedelta(0)
    for wanted in (item, path, str(path), "2013-07/Jan"):
        assert store.read(wanted)["row"].tolist() == [1]


def test_a_batch_that_is_unknown_or_ambiguous_is_refused(tmp_path):
    store = Quarantine(tmp_path)
    with pytest.raises(QuarantineError, match="There is no batch b1"):
        store.read("b1")
    store.write(bad("a"), operation="one", batch="b1")
    store.write(bad("a"), operation="two", batch="b1")
    with pytest.raises(QuarantineError, match="Several operations have a batch b1"):
        store.read("b1")


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "", "..", "CON:1", "x" * 300, "Ä", ".hidden", "A"])
def test_any_name_becomes_a_file_inside_the_folder(tmp_path, name):
    store = Quarantine(tmp_path)
    path = store.write(bad("a"), operation=name, batch=name)
    assert path.resolve().is_relative_to(tmp_path.resolve())
    assert len(path.relative_to(tmp_path).parts) == 3
    assert [(item.operation, item.batch) for item in store.list()] == [(name, name)]


def test_names_that_differ_only_in_unsafe_characters_stay_distinct(tmp_path):
    store = Quarantine(tmp_path)
    for batch in ("a/b", "a-b", "a:b", "A-b"):
        store.write(bad("a"), operation="fetch", batch=batch)
    assert store.rows() == 4


def test_concurrent_writers_lose_nothing(tmp_path):
    store = Quarantine(tmp_path)
    errors = []

    def writer(number):
        try:
            for batch in range(5):
                store.write(bad(*"abc"), operation="fetch", batch=f"{number}-{batch}")
                store.write(bad(*"ab"), operation="fetch", batch="shared")
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=writer, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not errors
    assert store.rows() == 6 * 5 * 3 + 2


def test_a_full_disk_is_an_error_with_advice_and_leaves_no_partial_file(tmp_path, monkeypatch):
    def full(_):
        raise OSError(errno.ENOSPC, "No space left on device")

    store = Quarantine(tmp_path)
    before = store.write(bad("a"), operation="fetch", batch="b1").read_bytes()
    monkeypatch.setattr(room.os, "fsync", full)
    with pytest.raises(QuarantineError, match=r"Cannot write batch 'b1' .* No space left on device") as caught:
        store.write(bad("a", "b"), operation="fetch", batch="b1")
    assert caught.value.errno == errno.ENOSPC
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.read_bytes() for path in files] == [before]


def test_a_file_in_place_of_the_folder_is_an_error_with_advice(tmp_path):
    (tmp_path / "q").write_text("")
    store = Quarantine(tmp_path / "q")
    with pytest.raises(QuarantineError, match="Cannot list the quarantine"):
        store.list()
    with pytest.raises(QuarantineError, match="Cannot write batch"):
        store.write(bad("a"), operation="fetch", batch="b1")


def test_a_folder_that_may_not_be_read_is_an_error_and_not_an_empty_list(tmp_path, monkeypatch):
    def denied(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)

    store = Quarantine(tmp_path)
    store.write(bad("a"), operation="fetch", batch="b1")
    monkeypatch.setattr(room.os, "scandir", denied)
    for ask in (store.list, store.rows, lambda: store.read("b1")):
        with pytest.raises(QuarantineError, match="Permission denied"):
            ask()


def test_a_damaged_file_is_an_error_and_not_skipped(tmp_path):
    store = Quarantine(tmp_path)
    path = store.write(bad("a"), operation="fetch", batch="b1")
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(QuarantineError, match="Cannot list"):
        store.rows()
    with pytest.raises(QuarantineError, match="Cannot read"):
        store.read(path)


def test_a_foreign_parquet_file_is_named(tmp_path):
    pd.DataFrame({"a": [1]}).to_parquet(tmp_path / "foreign.parquet")
    with pytest.raises(QuarantineError, match=r"foreign\.parquet was not written by a quarantine"):
        Quarantine(tmp_path).list()


@pytest.mark.parametrize(
    ("metadata", "number"),
    [({"resilient_tasks.quarantine": '{"format": 3}'}, 3), ({"quarantined_at": "2013-01-01", "operation": "fetch"}, 1)],
)
def test_a_file_of_another_format_is_refused_with_its_number(tmp_path, metadata, number):
    path = tmp_path / "fetch" / "2013-01-01" / "b1.parquet"
    path.parent.mkdir(parents=True)
    pq.write_table(arrow_table({"row": [1]}).replace_schema_metadata(metadata), path)
    for ask in (
        Quarantine(tmp_path).list,
        lambda: Quarantine(tmp_path).table("b1"),
        lambda: Quarantine.sample(path, 1),
    ):
        with pytest.raises(QuarantineError, match=f"has format {number}, and this version of resilient_tasks reads"):
            ask()


def test_a_file_url_is_a_folder(tmp_path):
    spaced = tmp_path / "with space"
    assert Quarantine(spaced.as_uri()).folder == spaced


@pytest.mark.parametrize("url", ["nowhere://bucket/q", "file://host/q", "file://"])
def test_an_address_without_a_file_system_is_refused_at_once(url):
    with pytest.raises(ValueError, match=r"No file system is known|names a folder on another host"):
        Quarantine(url)


@pytest.fixture
def in_memory():
    fsspec = pytest.importorskip("fsspec")
    yield Quarantine("memory://quarantine/here")
    fsspec.filesystem("memory").store.clear()


def test_a_store_that_fsspec_reaches_keeps_rows_too(in_memory):
    path = in_memory.write(bad("a", "b"), operation="fetch", batch="b1")
    in_memory.write(bad("a"), operation="fetch", batch="b1")
    assert str(path).startswith("memory://quarantine/here/fetch/")
    (item,) = in_memory.list()
    assert (item.path, item.rows, in_memory.rows()) == (path, 1, 1)
    for wanted in (item, path, "b1"):
        assert in_memory.read(wanted)["row"].tolist() == [1]
    assert Quarantine.sample(path, 5)[0]["values"] == {"x": "a", "y": 1}
    in_memory.write(bad(), operation="fetch", batch="b1")
    assert in_memory.list() == []


@pytest.mark.parametrize("given", [Quarantine, lambda url: Validate(output=Positive, quarantine=url)])
def test_a_url_whose_library_is_not_installed_is_refused_at_once_and_not_at_the_first_bad_row(monkeypatch, given):
    from fsspec.registry import known_implementations

    monkeypatch.setitem(known_implementations, "s3a", {"class": "absent.S3", "err": "Install s3fs to access S3"})
    with pytest.raises(PolicyError, match=r"Install s3fs to access S3: pip install 'resilient-tasks\[s3\]'"):
        given("s3a://bucket/q")


def test_a_quarantine_can_be_pickled(tmp_path):
    assert pickle.loads(pickle.dumps(Quarantine(str(tmp_path)))) == Quarantine(str(tmp_path))


def test_a_context_that_would_hide_a_column_is_refused(tmp_path):
    with pytest.raises(ValueError, match="context may not be named row"):
        Quarantine(tmp_path).write(bad("a"), operation="fetch", batch="b1", context={"row": "1"})


def test_a_named_index_is_kept_with_the_row_and_repeated_columns_are_both_kept(tmp_path):
    frame = pd.DataFrame([["1", 1, 2], ["no", 3, 4]], columns=["x", "y", "y"], index=pd.Index([7, 8], name="flight"))
    store = Quarantine(tmp_path)
    path = store.write(split(frame, Positive), operation="fetch", batch="b1")
    assert store.read(path)["values"].tolist() == [{"flight": 8, "x": "no", "y": 3, "y.1": 4}]


def test_a_polars_row_is_read_back_as_it_was_read(tmp_path):
    row = {"x": -1, "day": dt.date(2013, 1, 1), "list": [1, None], "raw": b"\x00", "price": Decimal("1.10")}
    schema = ppl.DataFrameSchema({"x": ppl.Column(int, ppl.Check.gt(0))})
    store = Quarantine(tmp_path)
    path = store.write(split(pl.DataFrame([row]), schema), operation="fetch", batch="b1")
    assert store.read(path)["values"].tolist() == [row]


@pytest.mark.parametrize(
    "value",
    [
        "n/a",
        "",
        "ünï \ud800",
        None,
        True,
        0,
        10**30,
        1.5,
        float("inf"),
        b"\xff\x00",
        Decimal("1.10"),
        dt.date(2013, 1, 1),
        dt.datetime(2013, 1, 1, 5, tzinfo=dt.UTC),
        dt.time(5, 30),
        dt.timedelta(days=-1, microseconds=3),
        pd.Timestamp("2013-01-01 05:00:00.123456789"),
        pd.Timestamp("2013-07-01", tz="Europe/Berlin"),
        pd.Timedelta("1 days 00:00:00.000000001"),
        (1, (2, [None])),
        {"a": {"$": 1}, "b": [b"x"]},
        {1: "one", (2, 3): None},
        {1, 2},
        frozenset("a"),
        complex(1, 2),
        uuid.UUID(int=3),
        dt.datetime(2013, 10, 27, 2, 30, fold=1, tzinfo=ZoneInfo("Europe/Berlin")),
        pd.Period("2013-01", "M"),
        pd.Interval(pd.Timestamp("2013"), pd.Timestamp("2014"), closed="left"),
    ],
)
def test_a_value_comes_back_as_it_went_in(value):
    text = dumps({"column": value})
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    back = loads(text)["column"]
    assert back == value
    assert type(back) is type(value)


@pytest.mark.parametrize("value", [float("nan"), pd.NA, pd.NaT, np.float64("nan")])
def test_each_kind_of_null_comes_back_as_it_was(value):
    back = loads(dumps(value))
    assert pd.isna(back)
    assert back is value if value is pd.NA or value is pd.NaT else isinstance(back, float)


@pytest.mark.parametrize(
    "value",
    [
        np.int64(3),
        np.float32(0.1),
        np.str_("a"),
        np.datetime64("2013-01-01", "D"),
        np.timedelta64(3, "ns"),
        np.bool_(True),
    ],
)
def test_numpy_scalars_come_back_as_they_were(value):
    back = loads(dumps(value))
    assert (back, back.dtype) == (value, value.dtype)


@pytest.mark.parametrize(
    "value", [np.array([[1.5, np.nan]]), np.array(["a", None], object), np.array(["2013"], "M8[D]")]
)
def test_numpy_arrays_come_back_as_they_were(value):
    np.testing.assert_array_equal(loads(dumps([value]))[0], value)


def test_a_type_unknown_to_json_is_stored_as_text_and_never_fails():
    class Mute:
        def __str__(self):
            raise RuntimeError

    loop = []
    loop.append(loop)
    assert loads(dumps(Path("a"))) == "a"
    assert isinstance(loads(dumps(Path("a"))), AsText)
    assert loads(dumps(Mute())).endswith("Mute without a text>")
    assert isinstance(dumps(loop), str)


def test_only_whole_files_are_ever_listed(tmp_path):
    store = Quarantine(tmp_path)
    path = store.write(bad("a"), operation="fetch", batch="b1")
    (path.parent / ".half.tmp").write_bytes(b"PAR1")
    assert store.rows() == 1


def test_a_file_being_replaced_stays_whole_for_its_readers(tmp_path):
    store = Quarantine(tmp_path)
    path = store.write(bad("a"), operation="fetch", batch="b1")
    before = path.read_bytes()
    with path.open("rb") as reader:
        store.write(bad("a", "b"), operation="fetch", batch="b1")
        assert reader.read() == before
