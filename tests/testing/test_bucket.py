"""The bucket that fails, with the libraries that write to it."""

import errno
import subprocess
import sys

import fsspec
import pandas as pd
import pandera.pandas as pa
import pytest

from resilient_tasks import Failed, PolicyError, Validate, resilient
from resilient_tasks.testing import FaultyBucket

FRAME = pd.DataFrame({"distance": [1400, -5]})
Flights = pa.DataFrameSchema({"distance": pa.Column(int, pa.Check.gt(0))})


@pytest.fixture
def bucket():
    with FaultyBucket() as bucket:
        yield bucket


def test_frames_are_written_and_read(bucket):
    FRAME.to_parquet(f"{bucket.url}/2013/07.parquet")
    FRAME.to_csv(f"{bucket.url}/2013/07.csv", index=False)
    assert pd.read_parquet(f"{bucket.url}/2013/07.parquet").equals(FRAME)
    assert pd.read_csv(f"{bucket.url}/2013/07.csv").equals(FRAME)
    assert sorted(path.name for path in bucket.folder.rglob("*.*")) == ["07.csv", "07.parquet"]


def test_in_a_full_bucket_a_file_is_created_and_every_write_raises(bucket):
    with bucket.full():
        for write in (FRAME.to_csv, FRAME.to_parquet):
            with pytest.raises(OSError, match="No space left") as raised:
                write(f"{bucket.url}/07")
            assert raised.value.errno == errno.ENOSPC
        with pytest.raises(OSError, match="No space left"):
            fsspec.filesystem("faulty").pipe_file(f"{bucket.url}/08", b"1")
    assert [path.name for path in bucket.folder.iterdir()] == ["07"]
    FRAME.to_csv(f"{bucket.url}/07")


def test_a_read_only_bucket_can_be_read(bucket):
    FRAME.to_csv(f"{bucket.url}/07.csv", index=False)
    with bucket.read_only():
        assert pd.read_csv(f"{bucket.url}/07.csv").equals(FRAME)
        with pytest.raises(PermissionError, match=r"08\.csv"):
            FRAME.to_csv(f"{bucket.url}/08.csv")


def test_a_bucket_that_is_away_refuses_everything(bucket):
    FRAME.to_csv(f"{bucket.url}/07.csv")
    with bucket.away(), pytest.raises(ConnectionError, match="could not connect"):
        pd.read_csv(f"{bucket.url}/07.csv")
    with bucket.away(), pytest.raises(ConnectionError, match="could not connect"):
        fsspec.filesystem("faulty").ls(bucket.url)


def test_an_error_meets_a_number_of_accesses_of_its_kind_and_path(bucket):
    for name in ("07", "08"):
        FRAME.to_csv(f"{bucket.url}/{name}.csv", index=False)
    bucket.fail(TimeoutError("slow"), 2, access="read", path="07*")
    for _ in range(2):
        assert pd.read_csv(f"{bucket.url}/08.csv").equals(FRAME)
        FRAME.to_csv(f"{bucket.url}/07.csv", index=False)
        with pytest.raises(TimeoutError, match="slow"):
            pd.read_csv(f"{bucket.url}/07.csv")
    assert pd.read_csv(f"{bucket.url}/07.csv").equals(FRAME)


def test_good_rows_are_not_passed_on_while_the_quarantine_is_full(bucket):
    validate = Validate(output=Flights, on_invalid="quarantine", quarantine=f"{bucket.url}/bad")
    load = resilient(validate=validate)(FRAME.copy)
    with bucket.full():
        assert isinstance(load.outcome(), Failed)
    assert len(load()) == 1


def test_two_buckets_are_apart_and_one_is_gone_after_its_block(bucket):
    with FaultyBucket() as other, other.away():
        FRAME.to_csv(f"{bucket.url}/07.csv")
        with pytest.raises(ConnectionError):
            FRAME.to_csv(f"{other.url}/07.csv")
    with pytest.raises(FileNotFoundError, match="this process has no such bucket"):
        FRAME.to_csv(f"{other.url}/07.csv")
    assert not other.folder.exists()


def test_the_files_are_deleted_at_the_end_of_the_process(tmp_path):
    program = "from resilient_tasks.testing import FaultyBucket; print(FaultyBucket().folder)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=120)
    assert not pd.io.common.file_exists(done.stdout.strip())


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        ((503,), "takes an error such as"),
        ((OSError(), "2"), "write times=2"),
        ((OSError(), 1, "append"), '"read" or "write"'),
    ],
)
def test_misuse_is_refused_with_what_to_write_instead(bucket, arguments, hint):
    error, *times = arguments[:2]
    with pytest.raises(PolicyError, match=hint):
        bucket.fail(error, *times, access=arguments[2] if len(arguments) > 2 else None)
