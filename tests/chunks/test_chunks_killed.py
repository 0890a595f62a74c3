"""Runs that are killed or stopped during a write."""

import os
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pandera.polars as pa
import polars as pl
import pyarrow.parquet as pq
import pytest

from resilient_tasks.chunks.split import split_parquet
from resilient_tasks.storage.files import atomic_write
from resilient_tasks.validation.split import split

SCHEMA = pa.DataFrameSchema({"a": pa.Column(pl.Int64)})
SCRIPT = """
import os, signal
import pandera.polars as pa, polars as pl
import pyarrow.parquet as pq
from resilient_tasks.chunks import split as chunks

written, calls = pq.ParquetWriter.write_table, iter([True, True, False])
pq.ParquetWriter.write_table = lambda *given: (written(*given), next(calls, True) or os.kill(os.getpid(), signal.{}))
schema = pa.DataFrameSchema({{"a": pa.Column(pl.Int64)}})
chunks.split_parquet("in.parquet", schema, "good.parquet", rows=20)
"""


@pytest.fixture
def folder(tmp_path):
    pl.DataFrame({"a": range(100)}).write_parquet(tmp_path / "in.parquet")
    return tmp_path


def hidden(folder):
    return [path.name for path in folder.iterdir() if path.name.startswith(".")]


@pytest.mark.parametrize("before", [None, "old"])
def test_a_run_killed_while_it_writes_leaves_the_target_as_it_was(folder, before):
    if before:
        (folder / "good.parquet").write_text(before)
    killed = subprocess.run([sys.executable, "-c", SCRIPT.format("SIGKILL")], cwd=folder, check=False)
    assert killed.returncode == -9
    assert ((folder / "good.parquet").read_text() if before else (folder / "good.parquet").exists()) == (
        before or False
    )


def test_the_next_run_removes_the_files_of_a_killed_one(folder):
    subprocess.run([sys.executable, "-c", SCRIPT.format("SIGKILL")], cwd=folder, check=False)
    assert len(hidden(folder)) == 1
    split_parquet(folder / "in.parquet", SCHEMA, folder / "other.parquet")
    assert len(hidden(folder)) == 1
    split_parquet(folder / "in.parquet", SCHEMA, folder / "good.parquet")
    assert hidden(folder) == []


def test_a_run_that_still_writes_keeps_its_file(folder):
    with subprocess.Popen([sys.executable, "-c", SCRIPT.format("SIGSTOP")], cwd=folder) as stopped:
        try:
            os.waitpid(stopped.pid, os.WUNTRACED)
            (name,) = hidden(folder)
            split_parquet(folder / "in.parquet", SCHEMA, folder / "good.parquet")
            assert hidden(folder) == [name]
        finally:
            os.kill(stopped.pid, signal.SIGCONT)
        assert stopped.wait(60) == 0
    assert hidden(folder) == []
    assert pq.read_metadata(folder / "good.parquet").num_rows == 100


@pytest.mark.parametrize("name", ["good.parquet", "good.csv", "good.ndjson", "good.arrow"])
def test_a_sink_holds_its_file_as_well(folder, name):
    found, one_by_one = [], threading.Lock()  # polars calls from several threads

    def look_in(part):
        with one_by_one:
            found.append(hidden(folder))
            with pytest.raises(ZeroDivisionError), atomic_write(folder / name):
                1 / 0  # noqa: B018
            found.append(hidden(folder))
        return part

    result = split(pl.scan_parquet(folder / "in.parquet"), SCHEMA)
    looked = replace(result, good=result.good.map_batches(look_in, streamable=True))
    looked.sink_good(folder / name)
    assert len(found[0]) == 1
    assert all(each == found[0] for each in found)
    assert hidden(folder) == []
