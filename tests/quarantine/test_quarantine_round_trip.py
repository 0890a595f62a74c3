"""Split, quarantine, table, file, replay, release: each row comes back unchanged, for every dtype."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import HealthCheck, given, settings
from pandas.testing import assert_frame_equal

from resilient_tasks.quarantine import replay as replays
from resilient_tasks.quarantine.quarantine import Quarantine
from resilient_tasks.quarantine.tables import load_table, save_table
from resilient_tasks.validation.backend import Finding
from resilient_tasks.validation.report import Report, Split
from tests.quarantine.strategies_quarantine import pandas_frames, polars_frames

SOME = settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
)


@pytest.fixture
def accepting(monkeypatch):
    """Accept every row as it is: any difference comes from the quarantine."""
    monkeypatch.setattr(replays, "fingerprint", lambda _: "takes all")
    monkeypatch.setattr(
        replays, "split", lambda frame, _: Split(frame, replays.take_rows(frame, []), Report(len(frame)))
    )


def _back(frame):
    """Return the released rows of a frame that is all bad, through each kind of file and without one."""
    found = (Finding("*", "everything", np.arange(len(frame))),)
    bad = Split(replays.take_rows(frame, []), frame, Report(len(frame), len(frame), (), found))
    with tempfile.TemporaryDirectory() as folder:
        store = Quarantine(folder)
        for ending in ("csv", "json", "parquet", None):
            path = store.write(bad, operation=f"by {ending}", batch="b1", schema="refused all")
            rows = None
            if ending:
                file = Path(folder, f"rows.{ending}")
                save_table(store.table(path), file)
                rows = load_table(file, store.table(path))
                assert rows.wrong == {}
            done = store.replay(path, None, rows=rows)
            assert (done.rows, done.failing) == (len(frame), ())
            yield done.released
            yield store.release(f"by {ending}")
            assert len(store.read(path)) == len(frame)


def _same(one, other):
    assert [type(value) for value in one] == [type(value) for value in other]
    assert list(map(repr, one)) == list(map(repr, other))


@SOME
@given(frame=pandas_frames())
def test_rows_of_pandas_come_back_as_they_were(accepting, frame):
    for released in _back(frame):
        assert_frame_equal(released, frame, check_index_type=not isinstance(frame.index, pd.RangeIndex) or "equiv")
        for at in range(frame.shape[1]):
            _same(released.iloc[:, at].tolist(), frame.iloc[:, at].tolist())
        _same(released.columns.tolist(), frame.columns.tolist())


@SOME
@given(frame=polars_frames())
def test_rows_of_polars_come_back_as_they_were(accepting, frame):
    for released in _back(frame):
        assert released.schema == frame.schema
        for name, dtype in frame.schema.items():
            if dtype == pl.Object:
                _same(released[name].to_list(), frame[name].to_list())
            else:
                assert released[name].equals(frame[name], null_equal=True)
