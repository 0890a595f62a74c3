"""A quarantine behind fsspec, whose file systems raise their own errors."""

import traceback

import fsspec
import pandas as pd
import pandera.pandas as pa
import pytest
from fsspec.implementations.memory import MemoryFileSystem

from resilient_tasks import InvalidData, Kind, Retry, Validate, classify, resilient
from resilient_tasks.quarantine.quarantine import Quarantine, QuarantineError
from resilient_tasks.validation.split import split

Positive = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})
FRAME = pd.DataFrame({"n": [1, -1]})
SECRET = "wJalrXUtnFEMI-K7MDENG"


class BrokenWireError(Exception):
    """Like the errors of botocore, gcsfs and paramiko, not an `OSError`."""


class Flaky(MemoryFileSystem):
    """A store in memory that raises `error` while it is set."""

    protocol = "flaky"
    store: dict = {}  # noqa: RUF012 - as fsspec has it
    pseudo_dirs = [""]  # noqa: RUF012
    cachable = False
    error = None

    def _fail(self):
        if type(self).error is not None:
            raise type(self).error

    def find(self, *args, **kwargs):
        self._fail()
        return super().find(*args, **kwargs)

    def pipe_file(self, *args, **kwargs):
        self._fail()
        return super().pipe_file(*args, **kwargs)

    def exists(self, *args, **kwargs):
        self._fail()
        return super().exists(*args, **kwargs)

    def rm_file(self, *args, **kwargs):
        self._fail()
        return super().rm_file(*args, **kwargs)

    def _open(self, *args, **kwargs):
        self._fail()
        return super()._open(*args, **kwargs)


@pytest.fixture
def flaky():
    fsspec.register_implementation("flaky", Flaky, clobber=True)
    yield Flaky
    Flaky.error = None
    Flaky.store.clear()


@pytest.fixture
def quarantine(flaky):
    return Quarantine("flaky://bucket/q", options={"key": "AKIAEXAMPLE", "client_kwargs": {"secret_key": SECRET}})


def keep(quarantine, batch="b1"):
    return quarantine.write(split(FRAME, Positive), operation="fetch", batch=batch)


USES = {
    "write": keep,
    "list": lambda quarantine: quarantine.list(),
    "exists": lambda quarantine: quarantine.exists(),
    "read": lambda quarantine: quarantine.read("flaky://bucket/q/fetch/2013-07-01/b1.parquet"),
    "release": lambda quarantine: quarantine.release("fetch"),
    "purge": lambda quarantine: quarantine.purge("30d"),
    "sample": lambda _: Quarantine.sample("flaky://bucket/q/fetch/2013-07-01/b1.parquet", 1),
}


@pytest.mark.parametrize("use", USES.values(), ids=USES)
@pytest.mark.parametrize("error", [BrokenWireError("wire cut"), OSError("wire cut"), ValueError("wire cut")], ids=repr)
def test_any_error_of_the_file_system_becomes_one_that_names_address_and_cause(flaky, quarantine, use, error):
    flaky.error = error
    with pytest.raises(QuarantineError, match=r"flaky://bucket/q.*wire cut\. Check that the service answers") as caught:
        use(quarantine)
    assert error in causes(caught.value)


def causes(error):
    found = [error]
    while found[-1].__cause__ is not None:
        found.append(found[-1].__cause__)
    return found


@pytest.mark.parametrize("use", [use for name, use in USES.items() if name != "sample"])  # it takes no options
@pytest.mark.parametrize("kind", [BrokenWireError, PermissionError])
def test_a_secret_in_the_options_is_in_no_message_and_no_traceback(flaky, quarantine, use, kind):
    flaky.error = kind(f"403 for {SECRET}")
    with pytest.raises(QuarantineError) as caught:
        use(quarantine)
    assert SECRET not in "".join(traceback.format_exception(caught.value))
    assert SECRET not in repr(quarantine)


def test_good_rows_are_not_passed_on_while_the_bad_ones_cannot_be_stored(flaky, quarantine, drive):
    flaky.error = ConnectionResetError("wire cut")
    fetch = drive(lambda: FRAME, validate=Validate(output=Positive, on_invalid="quarantine", quarantine=quarantine))
    with pytest.raises(QuarantineError):
        fetch()
    flaky.error = None
    assert len(fetch()) + quarantine.rows() == len(FRAME)


def test_a_retry_stores_the_rows_once_the_service_is_back(flaky, quarantine, resilient_clock):
    flaky.error = ConnectionResetError("wire cut")
    tries = []

    @resilient(
        retry=Retry(attempts=3, wait=1),
        validate=Validate(output=Positive, on_invalid="quarantine", quarantine=quarantine),
    )
    def fetch():
        tries.append(1)
        if len(tries) == 2:
            flaky.error = None
        return FRAME

    assert fetch()["n"].tolist() == [1]
    assert (len(tries), quarantine.rows()) == (2, 1)


def test_a_refused_batch_that_cannot_be_stored_says_so(flaky, quarantine):
    flaky.error = BrokenWireError("wire cut")

    @resilient(validate=Validate(output=Positive, on_invalid="quarantine", max_invalid=0, quarantine=quarantine))
    def fetch():
        return FRAME

    with pytest.raises(QuarantineError, match="wire cut"):
        fetch()
    flaky.error = None
    with pytest.raises(InvalidData, match="1 of 2 rows invalid"):
        fetch()
    assert quarantine.rows() == 1


def test_the_error_of_the_service_decides_whether_to_retry(flaky, quarantine):
    for error, kind in ((ConnectionResetError("cut"), Kind.TRANSIENT), (PermissionError(13, "no"), Kind.PERMANENT)):
        flaky.error = error
        with pytest.raises(QuarantineError) as caught:
            keep(quarantine)
        assert classify(caught.value) is kind


def test_no_write_creates_a_bucket():
    class Buckets(MemoryFileSystem):
        store: dict = {}  # noqa: RUF012
        cachable = False

        def makedirs(self, path, **_):
            raise AssertionError(f"{path} is made")

        @classmethod
        def _strip_protocol(cls, path):
            return super()._strip_protocol(path.removeprefix("oci:/"))

    fsspec.register_implementation("oci", Buckets, clobber=True)
    quarantine = Quarantine("oci://bucket/q")
    keep(quarantine)
    assert quarantine.replay("b1", Positive, fix=lambda rows: rows.assign(n=1)).rows == 1
