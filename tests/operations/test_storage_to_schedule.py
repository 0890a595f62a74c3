"""From storage to a scheduled run on a worker: the commands of the page, in its order, by one person in one folder.

The sections build on each other, so each fixture follows one, after the one before.
"""

import datetime as dt
import json
import sys
import urllib.request
from pathlib import Path

import pytest

from resilient_tasks import resilient

pytest.importorskip("moto")
pytest.importorskip("s3fs")
sys.path.insert(0, str(Path(__file__).parent))
from following import Reader
from running import eventually, run
from s3 import SECRET

BATCHES = "resilient-tasks quarantine list"


@pytest.fixture(scope="module")
def reader(prefect_server, s3, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flights")
    env = {**prefect_server.env, **s3.env, "COLUMNS": "190", "PREFECT_WORKER_QUERY_SECONDS": "2"}
    one = Reader(folder, env)
    try:
        yield one
    finally:
        one.stop()


@pytest.fixture(scope="module")
def stored(reader):
    reader.write("Storage", blocks_py={"/mnt/ml": str(reader.folder / "mnt")})

    def note_the_batch():
        reader.known["BATCH"] = reader.printed[BATCHES].splitlines()[1].split()[0]

    reader.follow("Storage", before={"resilient-tasks quarantine show": note_the_batch})
    return reader


@pytest.fixture(scope="module")
def deployed(stored, prefect_server):
    """Beside the schedules of the page there is one that is due soon: New York's six o'clock is not waited for."""
    stored.write("Deployments and schedules")
    stored.follow("Deployments and schedules", stays=["python serve.py"])
    return stored


@pytest.fixture(scope="module")
def served(deployed, prefect_server):
    be_due_soon(prefect_server, "served")
    run = eventually(lambda: ended_by_schedule(prefect_server, "served"), within=240)
    deployed.stop()
    return run


@pytest.fixture(scope="module")
def worked(served, deployed, prefect_server):
    be_due_soon(prefect_server, "daily")
    deployed.follow(
        "Work pools, queues and workers",
        before={"prefect deployment run": lambda: eventually(lambda: due_by_schedule(prefect_server, "daily"), 240)},
    )
    if ended := ended_by_schedule(prefect_server, "daily"):
        return ended

    def ended_after_another_start():  # the worker ran the other of the two that were due
        run(["prefect", "worker", "start", "--pool", "ml", "--run-once"], deployed.env, deployed.folder)
        return ended_by_schedule(prefect_server, "daily")

    return eventually(ended_after_another_start, within=300)


@resilient(retry=5)  # a server whose database is locked for a moment answers 503
def ask(server, path, method=None, **body):
    """Ask the server's API, as its UI does."""
    request = urllib.request.Request(
        f"{server.url}/{path}",
        data=json.dumps(body.get("items", body)).encode() if body else None,
        headers={"content-type": "application/json"},
        method=method,
    )
    with urllib.request.urlopen(request, timeout=60) as answer:
        return json.loads(answer.read() or "null")


def deployment_of(server, name):
    return ask(server, f"deployments/name/monthly/{name}")


def be_due_soon(server, name):
    """Give a deployment a schedule of a run at a time, every 15 s."""
    every = {"schedule": {"interval": 15}, "active": True, "max_scheduled_runs": 1}
    path = f"deployments/{deployment_of(server, name)['id']}"
    ask(server, f"{path}/schedules", items=[every])
    ask(server, path, "PATCH", paused=False)  # its runs are made within 5 s of a change of the deployment itself


def runs_by_schedule(server, name):
    found = ask(server, "flow_runs/filter", deployments={"name": {"any_": [name]}}, sort="EXPECTED_START_TIME_ASC")
    return [run for run in found if run["auto_scheduled"]]


def due_by_schedule(server, name):
    now = dt.datetime.now(dt.UTC).isoformat()
    return [run for run in runs_by_schedule(server, name) if run["expected_start_time"] < now]


def ended_by_schedule(server, name):
    ended = [run for run in runs_by_schedule(server, name) if run["end_time"]]
    return ended[0] if ended else None


def test_results_and_bad_rows_are_in_the_bucket_and_come_back_by_the_commands_of_the_page(stored, s3):
    keys = s3.keys("flights")
    assert any(key.startswith("ml/bad-rows/fetch_month/") for key in keys)
    assert any(key.startswith("ml/bad-rows/.ledger/") for key in keys)
    assert any("/" not in key.removeprefix("ml/") for key in keys), "no result"
    assert not any(SECRET in text for text in stored.printed.values())


@pytest.mark.parametrize("way", ["served", "worked"])
def test_a_scheduled_run_comes_to_its_end_and_says_what_it_quarantined(way, request, s3):
    run = request.getfixturevalue(way)
    assert run["state"]["type"] == "COMPLETED"
    assert run["state"]["message"].startswith("1 of 3 rows quarantined (carrier: isin(['UA', 'AA', 'DL']))")
    assert run["created_by"]["type"] == "SCHEDULE"
    assert run["parameters"]["month"] == "2013-07"


def test_the_ui_is_given_the_parameters_with_types_defaults_and_descriptions(deployed, prefect_server):
    for name in ("served", "daily"):
        schema = deployment_of(prefect_server, name)["parameter_openapi_schema"]
        assert [(one, about["default"], about["description"]) for one, about in schema["properties"].items()] == [
            ("month", "2013-07", "The month, as in 2013-07."),
            ("seed", 1, "For what is drawn at random."),
            ("model", "trees", "What is trained."),
        ]
        assert schema["definitions"]["Model"]["enum"] == ["trees", "linear"]


def test_the_environment_of_a_run_is_that_of_the_deployment_file(deployed, prefect_server):
    env = deployment_of(prefect_server, "daily")["job_variables"]["env"]
    assert env["RESILIENT_TASKS_STORE"] == f"sqlite:///{deployed.folder}/states.db"
    assert env["RESILIENT_TASKS_QUARANTINE"] == "block:remote-file-system/ml/bad-rows"


def test_the_worker_s_run_put_its_bad_rows_into_the_bucket(worked, s3):
    assert sum(key.startswith("ml/bad-rows/fetch_month/") for key in s3.keys("flights")) >= 3
