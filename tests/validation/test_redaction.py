"""Secrets in data are redacted from reasons, sources, reports and messages, and stay in the rows themselves."""

import pickle

import pandas as pd
import pandera.pandas as pa
import polars as pl
import pytest
from pyarrow import parquet
from pydantic import BaseModel, Field

from resilient_tasks import InvalidData, Quarantine, Validate, resilient
from resilient_tasks.quarantine.quarantine import QuarantineError
from resilient_tasks.redaction.exceptions import redacted
from resilient_tasks.validation.backend import without_secrets
from resilient_tasks.validation.split import split

URL = "https://bob:hunter2@example.org/x"


def no_url():
    return pa.Check(lambda series: ~series.str.contains("://"), name="no_url")


SCHEMA = pa.DataFrameSchema({"note": pa.Column(str, no_url()), "rows": pa.Column(int, pa.Check.ge(0))})
FRAME = pd.DataFrame({"note": ["plain", URL, "plain"], "rows": [1, 2, -3]})


@pytest.fixture
def kept(tmp_path):
    quarantine = Quarantine(str(tmp_path))
    path = quarantine.write(
        split(FRAME, SCHEMA), operation="load", batch="b1", schema=SCHEMA, context={"source": URL, "token": "t0k"}
    )
    return quarantine, path


def test_reasons_and_sources_are_redacted_and_the_row_is_stored_as_read(kept):
    quarantine, path = kept
    table = parquet.read_table(path)
    own = [name for name in table.column_names if name.startswith("__quarantine_")]
    others = repr([table[name].to_pylist() for name in own]) + repr(table.schema.metadata)
    assert set(table.column_names) - set(own) == set(FRAME.columns)
    assert "hunter2" not in others
    assert "t0k" not in others
    assert table["__quarantine_source"].to_pylist() == ["https://bob:***@example.org/x"] * 2
    rows = quarantine.read("b1")
    assert rows["values"][0] == {"note": URL, "rows": 2}
    assert rows["reasons"][0] == [{"column": "note", "check": "no_url", "value": "https://bob:***@example.org/x"}]
    assert rows["reasons"][1] == [{"column": "rows", "check": "greater_than_or_equal_to(0)", "value": -3}]


def test_a_replay_reads_the_whole_row_and_redacts_its_new_reasons(kept):
    quarantine, _ = kept
    replay = quarantine.replay("b1", SCHEMA, fix=lambda table: table.assign(rows=1))
    assert replay.rows == 1
    (waiting,) = [row for row in quarantine.read("b1").to_dict("records") if not row["released"]]
    assert waiting["reasons"][0]["value"] == "https://bob:***@example.org/x"
    assert waiting["values"]["note"] == URL
    assert quarantine.table("b1")["note"].tolist() == [URL]


def test_a_folder_with_credentials_is_named_without_them():
    with pytest.raises(ValueError, match=r"unknown://bob:.*@bucket") as refused:
        Quarantine("unknown://bob:hunter2@bucket/x")
    assert "hunter2" not in str(refused.value)
    quarantine = Quarantine("ftp://bob:hunter2@127.0.0.1:1/x")
    assert repr(quarantine) == "Quarantine(url='ftp://bob:***@127.0.0.1:1/x')"
    with pytest.raises(QuarantineError) as refused:
        quarantine.list()
    assert "hunter2" not in str(refused.value)
    assert "ftp://bob:***@127.0.0.1:1/x" in str(refused.value)


@pytest.mark.parametrize(
    ("column", "values", "clean"),
    [
        ("note", ["plain", URL, None], ["plain", "https://bob:***@example.org/x", None]),
        ("api_key", ["abc", None, 12, ""], ["***", None, "***", ""]),
        ("password", [1234, 5678], ["***", "***"]),
        ("note", [{"password": "hunter2"}, ["token=t0k"]], [{"password": "***"}, ["token=***"]]),
    ],
)
def test_values_are_redacted_by_content_and_by_column_name(column, values, clean):
    assert without_secrets(column, values) == clean


@pytest.mark.parametrize("values", [["plain", "words"], [1, 2.5, None], [None], [], [True, "x"]])
def test_values_without_a_secret_are_the_same_list(values):
    assert without_secrets("note", values) is values


def test_the_error_and_the_report_of_a_refused_batch_hold_no_secrets():
    @resilient(validate=Validate(output=SCHEMA))
    def load():
        return FRAME

    with pytest.raises(InvalidData) as caught:
        load()
    made = redacted(caught.value)
    assert type(made) is InvalidData
    assert made.report.reasons == caught.value.report.reasons
    assert made.report.summary() == caught.value.report.summary()
    assert made.report.rows_failed[0][1][0].value == "https://bob:***@example.org/x"
    assert caught.value.report.rows_failed[0][1][0].value == URL
    again = pickle.loads(pickle.dumps(made))
    assert again.report.rows_failed == made.report.rows_failed
    assert b"hunter2" not in pickle.dumps(made)


def test_a_pickled_report_holds_the_failed_values_and_not_their_rows():
    frame = pl.DataFrame({"note": ["plain", URL], "rows": [1, -1]})
    import pandera.polars as pp

    report = split(frame, pp.DataFrameSchema({"note": pp.Column(str), "rows": pp.Column(int, pp.Check.ge(0))})).report
    data = pickle.dumps(report)
    assert b"hunter2" not in data
    assert pickle.loads(data).rows_failed == report.rows_failed


def test_the_error_of_a_check_that_raises_holds_no_secrets():
    def breaks(_series):
        raise ValueError(f"cannot read {URL}")

    @resilient(validate=Validate(output=pa.DataFrameSchema({"note": pa.Column(str, pa.Check(breaks, name="breaks"))})))
    def load():
        return FRAME

    with pytest.raises(InvalidData, match=r"breaks raised ValueError: cannot read https://bob:\*\*\*@example.org"):
        load()


def test_records_are_no_exception(tmp_path):
    class Login(BaseModel):
        user: str
        password: str = Field(max_length=3)

    quarantine = Quarantine(str(tmp_path))
    parts = split([{"user": "bob", "password": "hunter2"}], Login)
    path = quarantine.write(parts, operation="logins", batch="b1", schema=Login)
    table = parquet.read_table(path)
    assert "hunter2" not in repr(table.drop_columns("record").to_pylist()) + repr(table.schema.metadata)
    assert quarantine.read("b1")["reasons"][0][0]["value"] == "***"
    assert quarantine.read("b1")["values"][0]["password"] == "hunter2"
