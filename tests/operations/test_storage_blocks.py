"""Results and bad rows on Prefect's storage blocks, in a folder and in an S3 on this machine."""

import asyncio
import sys
from pathlib import Path
from types import SimpleNamespace

import pandas as pd
import pandera.pandas as pa
import pytest

pytest.importorskip("moto")
pytest.importorskip("s3fs")
sys.path.insert(0, str(Path(__file__).parent))
from prefect.events.worker import EventsWorker
from prefect.filesystems import LocalFileSystem, RemoteFileSystem
from prefect.settings import PREFECT_API_URL, temporary_settings
from s3 import KEY, SECRET

from resilient_tasks import (
    LastGood,
    PolicyError,
    Quarantine,
    Retry,
    Validate,
    resilient,
    resilient_flow,
    resilient_task,
)
from resilient_tasks.cli import main
from resilient_tasks.quarantine.quarantine import QuarantineError
from resilient_tasks.validation.split import split

Positive = pa.DataFrameSchema({"n": pa.Column(int, pa.Check.gt(0))})
FRAME = pd.DataFrame({"n": [1, -1, 2]})


@pytest.fixture
def on_server(prefect_server):
    """Have this process use the session's server.

    Prefect keeps one worker that sends events, and it stays with the server for which it began: the states of task runs
    of other tests would arrive at this one.
    """
    EventsWorker.drain_all(at_exit=False)
    with temporary_settings({PREFECT_API_URL: prefect_server.url}):
        yield
        EventsWorker.drain_all(at_exit=False)


def remote(s3, folder):
    return RemoteFileSystem(basepath=f"s3://flights/{folder}/", settings=s3.options)


def s3_bucket(s3, credentials):
    aws = pytest.importorskip("prefect_aws")
    client = {"endpoint_url": s3.url}
    given = {
        "aws": lambda: aws.AwsCredentials(
            aws_access_key_id=KEY, aws_secret_access_key=SECRET, aws_client_parameters=client, region_name="us-east-1"
        ),
        "minio": lambda: aws.MinIOCredentials(
            minio_root_user=KEY, minio_root_password=SECRET, aws_client_parameters=client
        ),
    }[credentials]()
    return aws.S3Bucket(bucket_name="flights", bucket_folder=f"of-{credentials}/", credentials=given)


PLACES = {
    "a URL with options": lambda s3, _: Quarantine("s3://flights/by-url", options=s3.options),
    "a remote file system": lambda s3, _: Quarantine(remote(s3, "by-block")),
    "a bucket, by AWS's credentials": lambda s3, _: Quarantine(s3_bucket(s3, "aws")),
    "a bucket, by MinIO's credentials": lambda s3, _: Quarantine(s3_bucket(s3, "minio")),
    "a local file system": lambda _, folder: Quarantine(LocalFileSystem(basepath=str(folder / "local"))),
}


@pytest.mark.parametrize("place", PLACES.values(), ids=PLACES)
def test_rows_go_there_and_come_back(place, s3, tmp_path):
    quarantine = place(s3, tmp_path)
    path = quarantine.write(split(FRAME, Positive), operation="fetch", batch="b1")
    assert str(path).startswith(str(quarantine.folder))
    assert (quarantine.exists(), quarantine.rows()) == (True, 1)
    assert quarantine.read("b1")["values"].tolist() == [{"n": -1}]
    assert quarantine.replay("b1", Positive, fix=lambda rows: rows.assign(n=5)).rows == 1
    assert quarantine.release("fetch")["n"].tolist() == [5]
    assert [batch.batch for batch in quarantine.purge("0 s")] == ["b1"]
    assert not quarantine.list()
    assert SECRET not in repr(quarantine)


def test_a_folder_is_local_and_its_files_are_paths(tmp_path):
    quarantine = Quarantine(LocalFileSystem(basepath=str(tmp_path / "ml")))
    path = quarantine.write(split(FRAME, Positive), operation="fetch", batch="b1")
    assert path.is_relative_to(tmp_path / "ml")
    assert path.exists()


def test_a_home_is_found_as_prefect_finds_it(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Quarantine(LocalFileSystem(basepath="~/ml")).folder == tmp_path / "ml"


@pytest.mark.parametrize("given", [Quarantine, lambda block: Validate(output=Positive, quarantine=block)])
def test_a_block_that_stores_no_files_is_refused_at_once(given):
    from prefect.blocks.notifications import SlackWebhook

    block = SlackWebhook(url="https://hooks.example.org/services/T000/B000/secret-part")
    with pytest.raises(PolicyError, match=r"block of the type 'slack-webhook'.*RemoteFileSystem") as caught:
        given(block)
    assert "secret-part" not in str(caught.value)


def test_a_bucket_of_another_cloud_is_refused_and_not_taken_for_a_folder():
    class Bucket:
        """As `GcsBucket` is: its `basepath` is a folder in the bucket."""

        bucket, bucket_folder, basepath = "flights", "ml", "ml"

        def get_block_type_slug(self):
            return "gcs-bucket"

    with pytest.raises(PolicyError, match="'gcs-bucket': give a LocalFileSystem, a RemoteFileSystem"):
        Quarantine(Bucket())


def test_a_file_system_that_another_block_holds_is_taken():
    class Smb:
        """As Prefect's `SMB` is."""

        basepath = "smb://host/share"
        filesystem = RemoteFileSystem(basepath="memory://share/rows")

        def get_block_type_slug(self):
            return "smb"

    assert Quarantine(Smb()).folder == "memory://share/rows"


@pytest.mark.parametrize("name", ["block:ml", "block:", "block:remote-file-system", "block:Remote/ml"])
def test_what_only_looks_like_the_name_of_a_block_is_refused_at_once(name):
    with pytest.raises(PolicyError, match="block:TYPE/NAME, such as block:remote-file-system/ml"):
        Quarantine(name)


def test_a_missing_bucket_is_an_error_and_is_not_made(s3):
    quarantine = Quarantine("s3://flihgts/ml", options=s3.options)
    with pytest.raises(QuarantineError, match=r"s3://flihgts/ml: The specified bucket does not exist\. Check that"):
        quarantine.write(split(FRAME, Positive), operation="fetch", batch="b1")
    assert s3.buckets() == ["flights"]


def test_wrong_keys_are_an_error_without_the_keys(s3, monkeypatch):
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", "/nowhere")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", "/nowhere")
    quarantine = Quarantine("s3://flights/ml", options={"endpoint_url": s3.url})
    with pytest.raises(QuarantineError, match="NoCredentialsError: Unable to locate credentials"):
        quarantine.list()


def test_an_s3_that_is_away_in_mid_run_costs_an_attempt_and_no_row(s3, on_server):
    quarantine = Quarantine("s3://flights/mid-run", options=s3.options)
    tries = []

    @resilient_task(
        retry=Retry(attempts=3, wait=0.1),
        validate=Validate(output=Positive, on_invalid="quarantine", quarantine=quarantine),
    )
    def fetch():
        tries.append(1)
        if len(tries) == 1:
            s3.stop()
        elif s3.server is None:
            s3.start()
        return FRAME

    @resilient_flow
    def monthly():
        return fetch()["n"].tolist()

    state = monthly(return_state=True)
    assert state.result() == [1, 2]
    assert (len(tries), quarantine.rows()) == (2, 1)
    assert "1 of 3 rows quarantined" in state.message


def test_an_s3_that_stays_away_fails_the_task_and_no_row_goes_on(s3, on_server):
    quarantine = Quarantine("s3://flights/away", options=s3.options)

    @resilient_task(validate=Validate(output=Positive, on_invalid="quarantine", quarantine=quarantine))
    def fetch():
        return FRAME

    @resilient_flow
    def monthly():
        return fetch()

    with s3.away():
        state = monthly(return_state=True)
    assert state.is_failed()
    assert "QuarantineError" in state.message
    assert "EndpointConnectionError" in state.message
    assert SECRET not in state.message


@pytest.fixture
def saved(s3, on_server, monkeypatch):
    """A block that the server keeps, and its name."""
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    RemoteFileSystem(basepath="s3://flights/named", settings={"config_kwargs": s3.options["config_kwargs"]}).save(
        "named", overwrite=True
    )
    return SimpleNamespace(name="remote-file-system/named", block=RemoteFileSystem.load("named"))


def test_a_block_is_known_by_its_name_on_the_server(saved, capsys):
    @resilient_task(
        persist_result=True,
        result_storage=saved.name,
        validate=Validate(output=Positive, on_invalid="quarantine", quarantine=f"block:{saved.name}/bad-rows"),
    )
    async def fetch():
        return FRAME

    @resilient_flow
    async def monthly():
        return len(await fetch())

    assert asyncio.run(monthly()) == 2
    (batch,) = Quarantine(f"block:{saved.name}/bad-rows").list()
    assert batch.path.startswith("block:remote-file-system/named/bad-rows/fetch/")
    assert main(["quarantine", "show", batch.batch, "--at", f"block:{saved.name}/bad-rows"]) == 0
    assert "n: greater_than(0) (-1)" in capsys.readouterr().out
    assert Quarantine.sample(batch.path, 1)[0]["values"] == {"n": -1}


def test_a_saved_block_is_shown_by_its_name_which_says_all_that_is_needed_to_find_it(saved):
    assert repr(Quarantine(saved.block)) == "Quarantine(url='block:remote-file-system/named')"


def test_a_run_that_begins_anew_takes_the_persisted_result_from_the_bucket(saved, s3):
    calls, begun = [], []

    @resilient_task(persist_result=True, result_storage=saved.name)
    def fetch():
        calls.append(1)
        return 12

    @resilient_flow(retries=1)
    def monthly():
        begun.append(1)
        flights = fetch()
        if len(begun) == 1:
            raise ConnectionError("killed after the first task")
        return flights

    before = len(s3.keys("flights"))
    assert monthly() == 12
    assert (len(begun), len(calls)) == (2, 1)
    assert len(s3.keys("flights")) > before


def test_a_result_that_cannot_be_stored_fails_nothing_and_is_computed_anew(saved, s3, caplog):
    calls = []

    @resilient_task(persist_result=True, result_storage=saved.name, retry=Retry(attempts=3, wait=0.1))
    def fetch():
        calls.append(1)
        return 12

    @resilient_flow(retries=1)
    def monthly():
        if not calls:
            with s3.away():
                state = fetch(return_state=True)
            assert state.is_completed()
            raise ConnectionError("killed after the first task")
        return fetch()

    assert monthly() == 12
    assert len(calls) == 2
    assert "Could not connect to the endpoint URL" in caplog.text


def test_a_block_that_the_server_does_not_have_is_named_with_where_it_was_searched(on_server):
    with pytest.raises(QuarantineError, match=r"document named absent for block type remote-file-system on the server"):
        Quarantine("block:remote-file-system/absent").rows()


def test_a_server_that_is_away_is_an_error_of_the_quarantine(monkeypatch):
    with (
        temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}),
        pytest.raises(QuarantineError, match="Cannot use the quarantine block:remote-file-system/ml: Prefect's server"),
    ):
        Quarantine("block:remote-file-system/ml").rows()


def test_naming_a_block_asks_no_server(monkeypatch):
    monkeypatch.setitem(sys.modules, "resilient_tasks.prefect.blocks", None)
    assert repr(Quarantine("block:remote-file-system/ml")) == "Quarantine(url='block:remote-file-system/ml')"
    Validate(output=Positive, on_invalid="quarantine", quarantine="block:remote-file-system/ml/bad-rows")


def twice(last_good):
    """Call a function that is down at the second call, and return what both calls gave."""
    answers = [{"rate": 1.1}, ConnectionError("down")]

    @resilient(fallback=last_good)
    def rates():
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    return [rates(), rates()]


@pytest.mark.parametrize(
    "place",
    [
        pytest.param(lambda s3, _: LastGood(folder="s3://flights/rates", options=s3.options), id="a URL with options"),
        pytest.param(lambda s3, _: LastGood(folder=remote(s3, "rates-by-block")), id="a block"),
        pytest.param(lambda s3, _: LastGood(folder=s3_bucket(s3, "aws")), id="a bucket"),
        pytest.param(lambda _, name: LastGood(folder=f"block:{name}/rates"), id="the name of a block"),
    ],
)
def test_a_last_good_result_is_kept_there_as_well(place, s3, saved):
    before = len(s3.keys("flights"))
    assert twice(place(s3, saved.name)) == [{"rate": 1.1}] * 2
    assert len(s3.keys("flights")) == before + 1


def test_a_block_is_loaded_once_for_many_results(s3, saved, monkeypatch):
    from resilient_tasks.prefect import blocks

    loads, load = [], blocks.load
    monkeypatch.setattr(blocks, "load", lambda name: [loads.append(name), load(name)][1])
    twice(LastGood(folder=f"block:{saved.name}/once"))
    assert loads == [saved.name]


def test_a_last_good_result_that_no_block_takes_fails_no_call(on_server, resilient_events):
    with pytest.raises(ConnectionError) as caught:
        twice(LastGood(folder="block:remote-file-system/absent"))
    told = [event.reason for event in resilient_events if event.name == "fallback.unavailable"]
    assert len(told) == 2
    assert all("document named absent" in reason for reason in told)
    assert "last good result cannot be read" in "".join(caught.value.__notes__)


def test_naming_a_block_for_last_good_results_asks_no_server_and_refuses_what_is_no_name(monkeypatch):
    monkeypatch.setitem(sys.modules, "resilient_tasks.prefect.blocks", None)
    LastGood(folder="block:remote-file-system/ml")
    with pytest.raises(PolicyError, match="block:TYPE/NAME"):
        LastGood(folder="block:ml")


def test_a_block_that_was_deleted_meanwhile_is_an_error_of_the_batch_and_not_of_the_good_rows_before_it(saved):
    quarantine = Quarantine(f"block:{saved.name}/gone")
    quarantine.write(split(FRAME, Positive), operation="fetch", batch="b1")
    RemoteFileSystem.delete(saved.name.partition("/")[2])
    with pytest.raises(QuarantineError, match="document named named"):
        quarantine.write(split(FRAME, Positive), operation="fetch", batch="b2")


def test_a_command_for_a_block_says_which_server_it_asked(monkeypatch, capsys):
    with temporary_settings({PREFECT_API_URL: "http://127.0.0.1:9/api"}):
        assert main(["quarantine", "list", "--at", "block:remote-file-system/ml"]) != 0
    assert "Prefect's server does not answer" in capsys.readouterr().err
