"""The Markdown report about a run's quarantined rows: counts, sample rows and commands."""

import pandas as pd
import pandera.pandas as pa
import pytest
from pydantic import BaseModel

from resilient_tasks import Quarantine, Retry, Validate, resilient
from resilient_tasks.core.errors import InvalidData
from resilient_tasks.core.events import RowsQuarantined
from resilient_tasks.observe.quality import DataQuality

SCHEMA = pa.DataFrameSchema({"who": pa.Column(str, pa.Check.isin(["a"])), "n": pa.Column(int, pa.Check.gt(0))})


@pytest.fixture
def fetch(tmp_path, resilient_clock):
    """Make a function that fetches frames and quarantines their bad rows."""

    def named(name, *frames, **options):
        left = iter([pd.DataFrame(frame) for frame in frames])

        def function():
            return next(left)

        function.__name__ = function.__qualname__ = name
        policy = Validate(output=SCHEMA, on_invalid="quarantine", quarantine=tmp_path / "bad rows", **options)
        return resilient(validate=policy, retry=Retry(on=InvalidData, wait=0))(function)

    return named


def test_rows_are_counted_by_operation_column_and_check(fetch, resilient_events):
    fetch("few", {"who": ["a", "b"], "n": [1, 1]})()
    fetch("many", {"who": ["a", "b", "c"], "n": [0, 0, 1]})()
    quality = DataQuality(resilient_events)
    assert quality.headline().startswith("4 of 5 rows quarantined (who: isin(['a']) ×3, n: greater_than(0) ×2) in ")
    counts = [line for line in quality.markdown().splitlines() if line.startswith(("| few", "| many"))]
    assert sorted(counts) == [
        "| few | `who: isin(['a'])` | 1 | 2 |",
        "| many | `n: greater_than(0)` | 2 | 3 |",
        "| many | `who: isin(['a'])` | 2 | 3 |",
    ]
    assert counts[0].startswith("| many"), "most rows first"


def test_a_few_rows_are_shown_failed_values_first(fetch, resilient_events):
    fetch("fetch", {"who": ["a"] * 9, "n": [0] * 9})()
    rows = [line for line in DataQuality(resilient_events).markdown().splitlines() if 'n=0, who="a"' in line]
    assert len(rows) == 5
    assert rows[1] == '| 1 | `n: greater_than(0)` | `n=0, who="a"` |'


def test_it_has_the_commands_to_inspect_and_replay_a_batch(fetch, resilient_events, tmp_path):
    fetch("fetch", {"who": ["b"], "n": [1]})()
    (batch,) = Quarantine(tmp_path / "bad rows").list()
    text = DataQuality(resilient_events).markdown()
    assert str(batch.path) in text
    where = f"{batch.batch} --at '{tmp_path / 'bad rows'}'"
    assert f"resilient-tasks quarantine show {where}" in text
    assert f"resilient-tasks quarantine replay {where} --schema {__name__}:SCHEMA" in text


def test_a_batch_that_a_later_attempt_replaced_is_not_shown(fetch, resilient_events):
    fetch("fetch", {"who": ["b"], "n": [1]}, {"who": ["a"], "n": [1]}, max_invalid=0)()
    assert len([event for event in resilient_events if isinstance(event, RowsQuarantined)]) == 2
    assert not DataQuality(resilient_events).batches


def test_data_is_escaped_in_markdown(fetch, resilient_events):
    fetch("fetch", {"who": ["| a | `<script>`\n# b"], "n": [1]})()
    (row,) = [line for line in DataQuality(resilient_events).markdown().splitlines() if line.startswith("| 0 |")]
    assert row == r"""| 0 | `who: isin(['a'])` | `` who="\| a \| `<script>`\n# b", n=1 `` |"""


def test_records_are_shown_and_so_are_other_items(tmp_path, resilient_events):
    class Place(BaseModel):
        lat: float

    class Station(BaseModel):
        id: int
        place: Place

    @resilient(validate=Validate(output=Station, on_invalid="quarantine", quarantine=tmp_path))
    def stations():
        return [{"id": 1, "place": {"lat": "north"}}, "rate limited"]

    stations()
    text = DataQuality(resilient_events).markdown()
    assert """`place={'lat': 'north'}, id=1` |""" in text
    assert """`"rate limited"` |""" in text


def test_long_values_are_truncated(fetch, resilient_events):
    fetch("fetch", {"who": ["x" * 9000], "n": [1]})()
    assert len(DataQuality(resilient_events).markdown()) < 1200


def test_a_file_that_cannot_be_read_from_here_is_named(resilient_events):
    fields = {"rows": 3, "invalid": 1, "reasons": {"n: gt(0)": 1}, "batch": "b", "schema": ""}
    path = "/elsewhere/fetch/2013-07-01/b.parquet"
    event = RowsQuarantined(operation="fetch", action="quarantined", path=path, **fields)
    text = DataQuality([event]).markdown()
    assert f"Its rows cannot be read from here: Cannot read {path}" in text
    assert "replay b --at /elsewhere --schema MODULE:NAME" in text


def test_many_batches_and_reasons_are_truncated_with_a_remark():
    def event(number):
        reasons = {f"column {at}: not_null": 1 for at in range(20)}
        fields = {"rows": 3, "invalid": 1, "reasons": reasons, "batch": "b", "schema": ""}
        return RowsQuarantined(operation="fetch", action="quarantined", path=f"/elsewhere/{number}.parquet", **fields)

    text = DataQuality([event(number) for number in range(30)]).markdown()
    assert "… and 400 more." in text
    assert "… and 10 more batches." in text
    assert text.count("\n| fetch |") == 200
    assert text.count("### fetch") == 20
