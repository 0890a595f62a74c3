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


#: Ways to read and to write with fsspec: the file system, the folder of the bucket, and a local file.
READS = {
    "open": lambda fs, url, _: fs.open(f"{url}/a").read(),
    "open as text": lambda fs, url, _: fs.open(f"{url}/a", "r").read(),
    "cat": lambda fs, url, _: fs.cat(f"{url}/a"),
    "cat_ranges": lambda fs, url, _: fs.cat_ranges([f"{url}/a"], [0], [1]),
    "read_text": lambda fs, url, _: fs.read_text(f"{url}/a"),
    "head": lambda fs, url, _: fs.head(f"{url}/a"),
    "size": lambda fs, url, _: fs.size(f"{url}/a"),
    "sizes": lambda fs, url, _: fs.sizes([f"{url}/a"]),
    "du": lambda fs, url, _: fs.du(url),
    "walk": lambda fs, url, _: [*fs.walk(url)],
    "find": lambda fs, url, _: fs.find(url),
    "glob": lambda fs, url, _: fs.glob(f"{url}/*"),
    "exists": lambda fs, url, _: fs.exists(f"{url}/a"),
    "stat": lambda fs, url, _: fs.stat(f"{url}/a"),
    "modified": lambda fs, url, _: fs.modified(f"{url}/a"),
    "checksum": lambda fs, url, _: fs.checksum(f"{url}/a"),
    "get": lambda fs, url, local: fs.get(f"{url}/a", f"{local}.copy"),
    "download": lambda fs, url, local: fs.download(f"{url}/a", f"{local}.copy"),
    "a mapper": lambda fs, url, _: fs.get_mapper(url)["a"],
}
SPARING = {
    "delete": lambda fs, url, _: fs.delete(f"{url}/a"),
    "rm": lambda fs, url, _: fs.rm(f"{url}/a"),
    "mv": lambda fs, url, _: fs.mv(f"{url}/a", f"{url}/b"),
    "mkdir": lambda fs, url, _: fs.mkdir(f"{url}/folder"),
    "touch": lambda fs, url, _: fs.touch(f"{url}/b"),
}
WRITES = {
    "put": lambda fs, url, local: fs.put(str(local), f"{url}/b"),
    "put_file": lambda fs, url, local: fs.put_file(lpath=str(local), rpath=f"{url}/b"),
    "upload": lambda fs, url, local: fs.upload(str(local), f"{url}/b"),
    "pipe": lambda fs, url, _: fs.pipe({f"{url}/b": b"1"}),
    "write_text": lambda fs, url, _: fs.write_text(f"{url}/b", "1"),
    "write_bytes": lambda fs, url, _: fs.write_bytes(f"{url}/b", b"1"),
    "copy": lambda fs, url, _: fs.copy(f"{url}/a", f"{url}/b"),
    "open": lambda fs, url, _: fs.open(f"{url}/b", "wb").write(b"1"),
    "open as text": lambda fs, url, _: fs.open(f"{url}/b", "w").write("1"),
    "append": lambda fs, url, _: fs.open(f"{url}/a", "ab").write(b"1"),
    "write in place": lambda fs, url, _: fs.open(f"{url}/a", "r+b").write(b"1"),
    "write lines": lambda fs, url, _: fs.open(f"{url}/b", "wb").writelines([b"1"]),
    "truncate": lambda fs, url, _: fs.open(f"{url}/a", "r+b").truncate(2000),
    "a mapper": lambda fs, url, _: fs.get_mapper(url).__setitem__("b", b"1"),
}


@pytest.fixture
def local(tmp_path):
    (tmp_path / "local").write_bytes(b"1")
    return tmp_path / "local"


@pytest.fixture
def fs(bucket):
    (bucket.folder / "a").write_bytes(b"content")
    return fsspec.filesystem("faulty")


@pytest.mark.parametrize("how", [*READS.values(), *SPARING.values(), *WRITES.values()], ids=[*READS, *SPARING, *WRITES])
def test_a_bucket_that_is_away_refuses_every_way_to_read_and_write(bucket, fs, local, how):
    with bucket.away(), pytest.raises(ConnectionError, match="could not connect"):
        how(fs, bucket.url, local)
    how(fs, bucket.url, local)


@pytest.mark.parametrize("how", [*SPARING.values(), *WRITES.values()], ids=[*SPARING, *WRITES])
def test_a_read_only_bucket_refuses_every_way_to_write(bucket, fs, local, how):
    with bucket.read_only(), pytest.raises(PermissionError):
        how(fs, bucket.url, local)
    assert [path.name for path in bucket.folder.iterdir()] == ["a"]
    assert (bucket.folder / "a").read_bytes() == b"content"


@pytest.mark.parametrize("how", WRITES.values(), ids=WRITES)
def test_a_full_bucket_refuses_every_way_to_write(bucket, fs, local, how):
    with bucket.full(), pytest.raises(OSError, match="No space left"):
        how(fs, bucket.url, local)
    assert (bucket.folder / "a").read_bytes() == b"content"


@pytest.mark.parametrize("how", [*SPARING.values(), *READS.values()], ids=[*SPARING, *READS])
def test_a_full_bucket_allows_what_needs_no_space(bucket, fs, local, how):
    with bucket.full():
        how(fs, bucket.url, local)


@pytest.mark.parametrize("how", READS.values(), ids=READS)
def test_a_read_only_bucket_allows_every_way_to_read(bucket, fs, local, how):
    with bucket.read_only():
        how(fs, bucket.url, local)


def test_a_file_that_is_open_meets_what_happens_to_the_bucket(bucket, fs):
    with fs.open(f"{bucket.url}/a", "r+b") as file:
        with bucket.full(), pytest.raises(OSError, match="No space left"):
            file.write(b"1")
        with bucket.away(), pytest.raises(ConnectionError):
            file.read()
        assert file.read() == b"content"


def test_reading_an_open_file_is_not_an_access_of_its_own(bucket, fs):
    with fs.open(f"{bucket.url}/a") as file:
        bucket.fail(TimeoutError("slow"))
        assert file.read() == b"content"
    with pytest.raises(TimeoutError):
        fs.cat(f"{bucket.url}/a")


def test_every_method_of_fsspec_that_takes_a_path_is_known(fs):
    from fsspec.implementations.dirfs import DirFileSystem

    from resilient_tasks.testing import bucket

    without_access = {"invalidate_cache", "set_session", "open"}
    own = {name for name, member in vars(DirFileSystem).items() if callable(member) and not name.startswith("_")}
    assert own - without_access <= {*bucket._ACCESSES}


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
